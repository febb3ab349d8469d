//! Everything has a limit, and a client that reaches it is notified.

use std::pin::pin;

use dormouse::pressure::MEASURE_EVERY;
use futures_util::future::{join_all, select};
use futures_util::{SinkExt, StreamExt};
use hyper::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use crate::connection_limits::jwt_server;
use crate::harness::{Answer, BASE, Client, Server, within};
use crate::outbound::PausedServer;

async fn join(server: &Server, authorization: &str, room: &str) -> Result<Client, Answer> {
    server.connect(&format!("{BASE}/rooms/{room}/ws"), &[("authorization", authorization)]).await
}

#[tokio::test]
async fn a_thousand_concurrent_rooms_stay_separate() {
    let server = Server::start().await;
    let rooms = 0..1_000;
    let mut clients = Vec::new();
    for batch in rooms.clone().collect::<Vec<_>>().chunks(50) {
        clients.extend(join_all(batch.iter().map(async |room| server.join(&format!("r{room}"), "ana").await)).await);
    }
    for (room, client) in rooms.clone().zip(&mut clients) {
        client.send_chat(&format!("in {room}")).await;
    }
    for (room, client) in rooms.zip(&mut clients) {
        let message = client.recv_type("message").await["message"].take();
        assert_eq!((message["seq"].as_u64(), message["content"].as_str()), (Some(1), Some(&*format!("in {room}"))));
    }
}

#[tokio::test]
async fn a_slow_reader_is_closed_with_1013_and_others_miss_nothing() {
    let server = Server::unruly("[limits]\nsocket_queue_bytes = 65536\nclose_timeout = \"300ms\"\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    // It never reads again.
    let slow = server.join("lobby", "slow").await;
    let text = "x".repeat(50_000);
    for number in 0.. {
        ana.send(&format!("all {number} {text}")).await;
        let received = ana.recv_text().await;
        if received == "gone id-slow 1013 false " {
            break;
        }
        assert!(received.starts_with(&format!("{number} ")), "out of order: {}", &received[..20]);
    }
    drop(slow);
    server.wait_for_count("closes_total{code=\"1013\"}", 1).await;
    // The code has other causes too, such as an answer of the authorizer that has ended.
    server.wait_for_refusal("socket_queue_bytes").await;
}

#[tokio::test]
async fn a_message_that_its_id_lifts_above_the_limit_is_refused() {
    let server = Server::with("[limits]\nturn_output_bytes = 4288\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.recv_type("history").await;
    let (mut sent, mut refused) = (0, 0);
    // The frames have about 3,900 to 4,200 B, and 4,096 are allowed.
    for number in 0..80 {
        ana.send_chat(&format!("{}{}", "\u{20ac}".repeat(1_250), "x".repeat(4 * number))).await;
        let answer = ana.recv().await;
        match (answer["type"].as_str(), answer["code"].as_str()) {
            (Some("message"), None) => sent += 1,
            (Some("error"), Some("too_long")) => refused += 1,
            _ => panic!("{number}: {answer}"),
        }
    }
    assert!(sent > 0 && refused > 0, "{sent} sent, {refused} refused");
}

#[tokio::test]
async fn a_message_above_the_limit_is_closed_with_1009() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    ana.recv_type("history").await;
    ana.send(&"x".repeat((64 << 10) + 1)).await;
    assert_eq!(ana.recv_close().await.0, 1009);
    server.wait_for_count("closes_total{code=\"1009\"}", 1).await;
}

#[tokio::test]
async fn a_message_at_the_limit_is_accepted() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    ana.recv_type("history").await;
    let frame = r#"{"type":"message","content":"#.len() + 3;
    ana.send_chat(&"x".repeat((64 << 10) - frame)).await;
    assert_eq!(ana.recv_content().await.len(), 2_000, "content is cut");
}

#[tokio::test]
async fn a_full_room_refuses_clients_with_a_reason() {
    let server = Server::with("[limits]\nsockets_per_room = 2\n").await;
    let ana = server.join("lobby", "ana").await;
    let _bo = server.join("lobby", "bo").await;
    let path = format!("{BASE}/rooms/lobby/ws?token=3:cy");
    server.connect(&path, &[]).await.err().unwrap().is_problem(503);
    server.wait_for_refusal("sockets_per_room").await;
    ana.close().await;
    within(async { while server.connect(&path, &[]).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_client_that_sends_faster_than_its_room_works_loses_nothing() {
    // Many times what the queues hold.
    const MESSAGES: usize = 60;
    let server = Server::unruly("[limits]\nevents_per_socket = 2\nevents_per_room = 4\n").await;
    let mut clients = Vec::new();
    for number in 0..5 {
        let mut client = server.join("lobby", &format!("u{number}")).await;
        client.expect_text("welcome").await;
        clients.push(client);
    }
    let talk = clients.into_iter().map(async |client| {
        let (mut says, receives) = client.socket.split();
        let all_sent = async {
            for number in 0..MESSAGES {
                says.send(Message::text(format!("work 1; say {number}"))).await.unwrap();
            }
        };
        let all_received = receives.filter_map(async |received| match received.unwrap() {
            Message::Text(text) if !text.starts_with(['w', 'g']) => Some(text.as_str().to_owned()),
            _ => None,
        });
        let all_received = all_received.take(MESSAGES).collect::<Vec<_>>();
        let (received, ()) = within(async { tokio::join!(all_received, all_sent) }).await;
        assert_eq!(received, (0..MESSAGES).map(|number| number.to_string()).collect::<Vec<_>>());
    });
    join_all(talk).await;
}

#[tokio::test]
async fn a_client_at_its_limit_is_read_again_after_its_turns() {
    let server = Server::unruly("[limits]\nevents_per_socket = 1\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    // Turns without outputs: only their end shows that there is space for the next.
    for number in 0..50 {
        ana.send(&format!("put a {number}")).await;
    }
    ana.expect_reply("get a", "a=49").await;
}

#[tokio::test]
async fn a_request_to_an_overloaded_room_gets_retry_after() {
    let remote = PausedServer::start().await;
    let server = remote.server("events_per_room = 1").await;
    let ask = async |user: &str, command: &str| server.api(Method::POST, "/rooms/lobby/messages", user, command).await;
    let wait = remote.fetch_command();
    let busy = ask("ana", &wait);
    let others = async {
        remote.wait_for_requests(1).await;
        // One of them takes the one place in the queue, and is answered when the room works again.
        let (one, other) = (pin!(ask("bo", r#"{"do":"count"}"#)), pin!(ask("cy", r#"{"do":"count"}"#)));
        let (refused, waits) = select(one, other).await.factor_first();
        refused.is_problem(503);
        assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
        server.wait_for_refusal("events_per_room").await;
        remote.release();
        assert_eq!(waits.await.json()["count"], 1);
    };
    let (answer, ()) = tokio::join!(busy, others);
    assert_eq!(answer.json()["status"], 200, "{answer:?}");
    assert_eq!(ask("cy", r#"{"do":"count"}"#).await.json()["count"], 2, "the refused one did not run");
}

#[tokio::test]
async fn a_flood_gets_rate_limit_errors_and_the_socket_stays_open() {
    let (server, authorization) = jwt_server("limits.messages_per_second = 1\n").await;
    let mut ana = join(&server, &authorization, "lobby").await.unwrap();
    for number in 0..15 {
        ana.send(&json!({ "type": "message", "content": "hi", "clientId": format!("c{number}") }).to_string()).await;
    }
    let error = ana.recv_type("error").await;
    assert_eq!(error["code"], "rate_limited");
    assert!(error["clientId"].as_str().is_some_and(|id| id.starts_with('c')), "it says which message: {error}");
    server.wait_for_refusal("messages_per_second").await;
    ana.close().await;
}

#[tokio::test]
async fn a_flood_that_goes_on_is_closed_with_4429() {
    let (server, authorization) = jwt_server("limits.messages_per_second = 2\n").await;
    let mut bo = join(&server, &authorization, "lobby").await.unwrap();
    for flood in [Message::text(r#"{"type":"ping"}"#), Message::text("x"), Message::Ping("x".into())] {
        let mut ana = join(&server, &authorization, "lobby").await.unwrap();
        let flooding = async {
            for _ in 0..200 {
                if ana.socket.feed(flood.clone()).await.is_err() {
                    break;
                }
            }
            let _ = ana.socket.flush().await;
        };
        within(flooding).await;
        assert_eq!(ana.recv_close().await.0, 4429, "{flood:?}");
    }
    server.wait_for_count("closes_total{code=\"4429\"}", 3).await;
    bo.send_chat("still here").await;
    assert_eq!(bo.recv_content().await, "still here");
}

#[tokio::test]
async fn empty_fragments_count_for_the_rate_limit() {
    let (server, authorization) = jwt_server("limits.messages_per_second = 1\n").await;
    let mut ana = join(&server, &authorization, "lobby").await.unwrap();
    ana.recv_type("history").await;
    let fragment = b"\x00\x80\0\0\0\0".repeat(1 << 10);
    let stream = ana.socket.get_mut();
    stream.write_all(b"\x01\x80\0\0\0\0").await.unwrap();
    // So much would be ten seconds of the longest messages; to send it all may fail when it is closed.
    for _ in 0..128 {
        if stream.write_all(&fragment).await.is_err() {
            break;
        }
    }
    assert_eq!(ana.recv_close().await.0, 4429);
}

#[tokio::test]
async fn endless_empty_fragments_are_closed_with_4429() {
    let (server, authorization) = jwt_server("limits.messages_per_second = 2\n").await;
    let mut ana = join(&server, &authorization, "lobby").await.unwrap();
    ana.recv_type("history").await;
    // A message in a few fragments is read as ever.
    let text = br#"{"type":"ping"}"#;
    let fragment = |first: u8, bytes: &[u8]| [&[first, 0x80 | bytes.len() as u8, 0, 0, 0, 0], bytes].concat();
    let whole = [fragment(0x01, &text[..4]), fragment(0x00, b""), fragment(0x80, &text[4..])].concat();
    within(ana.socket.get_mut().write_all(&whole)).await.unwrap();
    ana.expect_text(r#"{"type":"pong"}"#).await;
    // Twenty frames pass at once, and twenty more are refused before it is a flood. All of these have 600 bytes.
    let endless = [&fragment(0x01, b"")[..], &fragment(0x00, b"").repeat(99)].concat();
    within(ana.socket.get_mut().write_all(&endless)).await.unwrap();
    assert_eq!(ana.recv_close().await.0, 4429);
    server.wait_for_count("closes_total{code=\"4429\"}", 1).await;
}

#[tokio::test]
async fn a_user_has_one_rate_limit_for_all_sockets_and_requests() {
    let (server, authorization) = jwt_server("limits.messages_per_second_per_user = 1\n").await;
    let path = format!("{BASE}/rooms/lobby/messages");
    let headers = [("authorization", &*authorization)];
    let mut posted = 0;
    for number in 0..20 {
        let answer = server.request(Method::POST, &path, &headers, &format!(r#"{{"content":"{number}"}}"#)).await;
        match answer.status.as_u16() {
            200 => posted += 1,
            _ => {
                answer.is_problem(429);
                assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
                break;
            }
        }
    }
    assert!((10..20).contains(&posted), "{posted}");
    assert_eq!(server.request(Method::GET, &path, &headers, "").await.status, 429, "to read costs as much");
    // A join costs four of them, one a second.
    let joined = async {
        loop {
            if let Ok(socket) = join(&server, &authorization, "lobby").await {
                return socket;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        }
    };
    let mut socket = within(joined).await;
    socket.recv_type("history").await;
    for text in ["one", "two", "three"] {
        socket.send_chat(text).await;
    }
    assert_eq!(socket.recv_type("error").await["code"], "rate_limited");
    server.wait_for_refusal("messages_per_second_per_user").await;
}

#[tokio::test]
async fn sockets_and_rooms_of_a_user_are_limited() {
    let (server, authorization) = jwt_server("limits.sockets_per_user = 3\nlimits.rooms_per_user = 2\n").await;
    let a = join(&server, &authorization, "a").await.unwrap();
    let _b = join(&server, &authorization, "b").await.unwrap();
    join(&server, &authorization, "c").await.err().unwrap().is_problem(429);
    let _a_again = join(&server, &authorization, "a").await.unwrap();
    join(&server, &authorization, "a").await.err().unwrap().is_problem(429);
    let events = format!("{BASE}/rooms/a/events");
    let headers = [("authorization", &*authorization), ("accept", "text/event-stream")];
    server.open_event_stream(&events, &headers).await.err().unwrap().is_problem(429);
    server.wait_for_refusal("rooms_per_user").await;
    server.wait_for_refusal("sockets_per_user").await;
    a.close().await;
    within(async { while join(&server, &authorization, "a").await.is_err() {} }).await;
}

#[tokio::test]
async fn rooms_in_memory_are_limited_and_open_sockets_stay() {
    let server = Server::with("[limits]\nrooms = 2\n").await;
    let mut ana = server.join("a", "ana").await;
    let bo = server.join("b", "bo").await;
    let c = format!("{BASE}/rooms/c/ws?token=cy");
    let refused = server.connect(&c, &[]).await.err().unwrap();
    refused.is_problem(503);
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    server.wait_for_refusal("rooms").await;
    ana.send_chat("still here").await;
    assert_eq!(ana.recv_content().await, "still here");
    server.join("a", "cy").await.recv_type("history").await;
    bo.close().await;
    within(async { while server.connect(&c, &[]).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_failed_turn_names_the_message_to_its_sender() {
    let server = Server::with("[limits]\nroom_bytes = 2000\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.recv_type("history").await;
    let long = json!({ "type": "message", "content": "x".repeat(1_900), "clientId": "c1" }).to_string();
    ana.send(&long).await;
    let error = ana.recv_type("error").await;
    assert_eq!((&error["code"], &error["clientId"]), (&json!("room_failed"), &json!("c1")));
}

#[tokio::test]
async fn a_room_at_its_storage_limit_writes_only_after_removals() {
    let server = Server::unruly("[limits]\nroom_bytes = 100000\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    let text = "x".repeat(30_000);
    for key in ["a", "b", "c"] {
        ana.expect_reply(&format!("put {key} {text}; say kept"), "kept").await;
    }
    ana.send(&format!("put d {text}; say kept")).await;
    assert_eq!(ana.recv().await["code"], "room_failed");
    server.wait_for_log("the room's storage has reached its limit of 100000 bytes").await;
    server.wait_for_refusal("room_bytes").await;
    for _ in 0..5 {
        ana.expect_reply(&format!("put c {text}; say kept"), "kept").await;
    }
    let server = server.crash_and_restart().await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.send(&format!("put d {text}; say kept")).await;
    assert_eq!(ana.recv().await["code"], "room_failed", "after a restart it is as full");
    ana.expect_reply("delete a; say removed", "removed").await;
    let server = server.crash_and_restart().await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply(&format!("put d {text}; say kept"), "kept").await;
    let mut other = server.join("other", "bo").await;
    other.expect_text("welcome").await;
    other.expect_reply(&format!("put a {text}; say kept"), "kept").await;
}

#[tokio::test]
async fn a_full_room_may_write_right_after_a_removal() {
    let server = Server::unruly("[limits]\nroom_bytes = 100000\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    let text = "x".repeat(30_000);
    for _ in 0..3 {
        for key in ["a", "b", "c"] {
            ana.expect_reply(&format!("put {key} {text}; say kept"), "kept").await;
        }
        ana.send(&format!("put d {text}; say kept")).await;
        assert_eq!(ana.recv().await["code"], "room_failed");
        ana.expect_reply("delete a; say removed", "removed").await;
        ana.expect_reply(&format!("put d {text}; say kept"), "kept").await;
        ana.send(&format!("put e {text}; say kept")).await;
        assert_eq!(ana.recv().await["code"], "room_failed", "and no more than that");
        ana.expect_reply(&format!("delete b; put e {text}; say exchanged"), "exchanged").await;
        // Behind each other, before any of it is on the disk.
        for commands in ["put c small", "delete d", "delete e", &format!("put f {text}"), &format!("put g {text}")] {
            ana.send(commands).await;
        }
        ana.expect_reply("list", "c,f,g").await;
        ana.expect_reply("delete c; delete f; delete g; say empty", "empty").await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_pressure_refuses_newcomers_and_hibernates_idle_rooms() {
    let server = Server::unruly("hibernate_after = \"1h\"\n[limits]\nmemory_total_bytes = 250_000_000\n").await;
    let mut ana = server.join("ana", "ana").await;
    ana.expect_text("welcome").await;
    let mut hoarders = Vec::new();
    for number in 0..8 {
        let mut hoarder = server.join(&number.to_string(), "bo").await;
        hoarder.expect_text("welcome").await;
        hoarders.push(hoarder);
    }
    // Together more than there is; each of them is within its own bounds.
    for hoarder in &mut hoarders {
        hoarder.expect_reply("allocate 48", "kept").await;
    }
    server.wait_for_log("memory is above its limit").await;
    server.wait_for_log("memory is below its limit again").await;
    ana.expect_reply("say here", "here").await;
    let mut forgot = 0;
    for hoarder in &mut hoarders {
        hoarder.send("events").await;
        forgot += usize::from(hoarder.recv_text().await == "1");
    }
    assert!(forgot > 0, "a room that hibernates forgets its memory");
    server.join("newcomer", "cy").await.expect_text("welcome").await;
}

#[tokio::test]
async fn rooms_that_become_idle_under_memory_pressure_hibernate() {
    let limits = "[limits]\nmemory_total_bytes = 250_000_000\nturn_cpu = \"1h\"\n";
    let server = Server::unruly(&format!("hibernate_after = \"1h\"\n{limits}")).await;
    let mut ana = server.join("ana", "ana").await;
    ana.expect_text("welcome").await;
    let mut busy = Vec::new();
    for number in 0..6 {
        busy.push(server.join(&number.to_string(), "bo").await);
    }
    // Those that hold the memory have something to do.
    for room in &mut busy {
        room.send("allocate 48; loop").await;
    }
    server.wait_for_log("memory is above its limit").await;
    ana.send("events").await;
    ana.recv_text().await;
    let forgets = async {
        loop {
            tokio::time::sleep(MEASURE_EVERY).await;
            ana.send("events").await;
            if ana.recv_text().await == "1" {
                return;
            }
        }
    };
    within(forgets).await;
    assert!(!server.log().contains("memory is below its limit again"), "it was still short then");
}

#[tokio::test]
async fn a_server_without_memory_answers_503_and_health_checks() {
    // Little more than the least that is accepted.
    let server = Server::unruly("[limits]\nmemory_total_bytes = 130_000_000\nturn_cpu = \"1h\"\n").await;
    let mut hoarders = Vec::new();
    for number in 0..3 {
        hoarders.push(server.join(&number.to_string(), "bo").await);
    }
    // These hold their memory to the end, because their turns do not end.
    for room in &mut hoarders {
        room.send("allocate 48; loop").await;
    }
    server.wait_for_log("memory is above its limit").await;
    let refused = server.connect(&format!("{BASE}/rooms/a/ws?token=ana"), &[]).await.err().unwrap();
    refused.is_problem(503);
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    server.api(Method::GET, "/rooms/a/messages", "ana", "").await.is_problem(503);
    assert_eq!(server.get("/healthz").await.status, 200);
    server.wait_for_refusal("memory_total_bytes").await;
}

#[tokio::test]
async fn connections_above_the_limit_are_turned_away() {
    let server = Server::with("[limits]\nconnections = 2\n").await;
    let _ana = server.join("lobby", "ana").await;
    let _bo = server.join("lobby", "bo").await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let mut answer = String::new();
    within(tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    server.wait_for_refusal("connections").await;
    server.wait_for_log("limit=\"connections\"").await;
    assert!(!server.log().contains("connections_per_address"), "no other limit is blamed");
}

#[tokio::test]
async fn concurrent_requests_are_limited() {
    let remote = PausedServer::start().await;
    let server = remote.server("requests = 1").await;
    let path = "/rooms/lobby/messages";
    let fetch = remote.fetch_command();
    let busy = server.api(Method::POST, path, "ana", &fetch);
    let one_more = async {
        remote.wait_for_requests(1).await;
        let refused = server.api(Method::POST, "/rooms/other/messages", "bo", r#"{"do":"count"}"#).await;
        refused.is_problem(503);
        assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
        server.wait_for_refusal("requests").await;
        remote.release();
    };
    let (answer, ()) = tokio::join!(busy, one_more);
    assert_eq!(answer.status, 200, "{answer:?}");
    // A place is given back when its answer is sent, which may be a moment after it is seen.
    within(async { while server.api(Method::POST, path, "ana", r#"{"do":"count"}"#).await.status != 200 {} }).await;
}

#[tokio::test]
async fn unused_tickets_are_limited() {
    let server = Server::with("[limits]\ntickets = 2\n").await;
    let ticket = || server.api(Method::POST, "/tickets", "ana", "");
    let first = ticket().await.json()["ticket"].as_str().expect("it is one").to_owned();
    ticket().await;
    let refused = ticket().await;
    refused.is_problem(503);
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    server.wait_for_refusal("tickets").await;
    server.connect(&format!("{BASE}/rooms/lobby/ws?ticket={first}"), &[]).await.expect("it is good still");
    assert_eq!(ticket().await.status, 200, "there is space again");
}

#[tokio::test]
async fn unused_tickets_of_a_user_are_limited_in_number_and_rate() {
    let config = "[limits]\ntickets_per_user = 3\nmessages_per_second_per_user = 1\n";
    let server = crate::tokens::server_with_secret(config).await;
    let bearer = |user: &str| format!("Bearer {}", crate::tokens::token_with(&serde_json::json!({ "sub": user })));
    let (ana, bo) = (bearer("ana"), bearer("bo"));
    let ticket = async |authorization: &str| {
        let path = format!("{BASE}/tickets");
        server.request(Method::POST, &path, &[("authorization", authorization)], "").await
    };
    let mut first = None;
    for _ in 0..3 {
        let answer = ticket(&ana).await;
        first = first.or_else(|| answer.json()["ticket"].as_str().map(str::to_owned));
    }
    let refused = ticket(&ana).await;
    refused.is_problem(429);
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    server.wait_for_refusal("tickets_per_user").await;
    assert_eq!(ticket(&bo).await.status, 200, "others have their own");
    let path = format!("{BASE}/rooms/lobby/ws?ticket={}", first.expect("a ticket was given"));
    server.connect(&path, &[]).await.expect("the tickets that were given are good");
    assert_eq!(ticket(&ana).await.status, 200, "a used ticket makes space");

    // Refused ones count as well: the pace of a user is one for everything that the user does.
    for _ in 0..20 {
        ticket(&ana).await.is_problem(429);
    }
    server.wait_for_refusal("messages_per_second_per_user").await;
}
