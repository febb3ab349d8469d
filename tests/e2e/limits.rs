//! Everything has a bound, and whoever meets it is told.

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use hyper::Method;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{BASE, Server, within};

#[tokio::test]
async fn a_thousand_rooms_at_once_each_keep_to_themselves() {
    let server = Server::start().await;
    let rooms = 0..1_000;
    let mut clients = Vec::new();
    for batch in rooms.clone().collect::<Vec<_>>().chunks(50) {
        clients.extend(join_all(batch.iter().map(async |room| server.join(&format!("r{room}"), "ana").await)).await);
    }
    for (room, client) in rooms.clone().zip(&mut clients) {
        client.chats(&format!("in {room}")).await;
    }
    for (room, client) in rooms.zip(&mut clients) {
        let message = client.hears_a("message").await["message"].take();
        assert_eq!((message["seq"].as_u64(), message["content"].as_str()), (Some(1), Some(&*format!("in {room}"))));
    }
}

#[tokio::test]
async fn a_slow_reader_is_closed_with_1013_and_the_others_hear_everything() {
    let server = Server::unruly("[limits]\nsocket_queue_bytes = 65536\nclose_within = \"300ms\"\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.hears_exactly("welcome").await;
    // It never reads again.
    let slow = server.join("lobby", "slow").await;
    let text = "x".repeat(50_000);
    for number in 0.. {
        ana.says(&format!("all {number} {text}")).await;
        let heard = ana.hears_text().await;
        if heard == "gone id-slow 1013 false " {
            break;
        }
        assert!(heard.starts_with(&format!("{number} ")), "out of order: {}", &heard[..20]);
    }
    drop(slow);
}

#[tokio::test]
async fn a_message_above_the_limit_is_closed_with_1009() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    ana.hears_a("history").await;
    ana.says(&"x".repeat((64 << 10) + 1)).await;
    assert_eq!(ana.is_closed().await.0, 1009);
}

#[tokio::test]
async fn a_message_at_the_limit_is_taken() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    ana.hears_a("history").await;
    let frame = r#"{"type":"message","content":"#.len() + 3;
    ana.chats(&"x".repeat((64 << 10) - frame)).await;
    assert_eq!(ana.hears_content().await.len(), 2_000, "content is cut");
}

#[tokio::test]
async fn a_full_room_says_so() {
    let server = Server::with("[limits]\nsockets_per_room = 2\n").await;
    let ana = server.join("lobby", "ana").await;
    let _bo = server.join("lobby", "bo").await;
    let path = format!("{BASE}/rooms/lobby/ws?token=3:cy");
    server.connect(&path, &[]).await.err().unwrap().is_problem(503);
    ana.leaves().await;
    within(async { while server.connect(&path, &[]).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_client_that_sends_faster_than_its_room_works_loses_nothing() {
    let server = Server::unruly("[limits]\nevents_per_socket = 2\nevents_per_room = 4\n").await;
    let mut clients = Vec::new();
    for number in 0..5 {
        let mut client = server.join("lobby", &format!("u{number}")).await;
        client.hears_exactly("welcome").await;
        clients.push(client);
    }
    let talk = clients.into_iter().map(async |client| {
        let (mut says, hears) = client.socket.split();
        let all_said = async {
            for number in 0..200 {
                says.send(Message::text(format!("work 1; say {number}"))).await.unwrap();
            }
        };
        let all_heard = hears.filter_map(async |heard| match heard.unwrap() {
            Message::Text(text) if !text.starts_with(['w', 'g']) => Some(text.as_str().to_owned()),
            _ => None,
        });
        let all_heard = all_heard.take(200).collect::<Vec<_>>();
        let (heard, ()) = within(async { tokio::join!(all_heard, all_said) }).await;
        assert_eq!(heard, (0..200).map(|number| number.to_string()).collect::<Vec<_>>());
    });
    join_all(talk).await;
}

#[tokio::test]
async fn a_client_at_its_limit_is_read_again_when_its_turns_are_done() {
    let server = Server::unruly("[limits]\nevents_per_socket = 1\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.hears_exactly("welcome").await;
    // Turns that say nothing: nothing but their end tells that there is space for the next.
    for number in 0..50 {
        ana.says(&format!("put a {number}")).await;
    }
    ana.is_told("get a", "a=49").await;
}

#[tokio::test]
async fn a_request_to_an_overloaded_room_is_told_to_come_back() {
    let server = Server::unruly("[limits]\nevents_per_room = 1\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.hears_exactly("welcome").await;
    let ask = || server.api(Method::POST, "/rooms/lobby/messages", "bo", "");
    let overloaded = async {
        loop {
            ana.says("loop").await;
            // Once the room is busy, one of them takes the one place in the queue. They may come before that.
            let (one, two, three) = tokio::join!(ask(), ask(), ask());
            if let Some(answer) = [one, two, three].into_iter().find(|answer| answer.status == 503) {
                return answer;
            }
        }
    };
    let answer = within(overloaded).await;
    answer.is_problem(503);
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    ana.is_told("say later", "later").await;
}

#[tokio::test]
async fn a_flood_is_slowed_down_with_an_error_and_the_socket_stays_open() {
    let directory = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), "a secret of at least thirty-two bytes").unwrap();
    let config = "identity.auth = \"jwt\"\nidentity.keys = [{ algorithm = \"HS256\", file = \"secret\" }]\n\
                  limits.messages_per_second = 1\n";
    let server = Server::in_directory(directory, config).await;
    let file = server.directory.path().join("dormouse.toml");
    let token = crate::command_line::run(&["token", "1", "--config", file.to_str().unwrap()]).stdout;
    let authorization = format!("Bearer {}", String::from_utf8(token).unwrap().trim());
    let path = format!("{BASE}/rooms/lobby/ws");
    let mut ana = server.connect(&path, &[("authorization", &authorization)]).await.unwrap();
    for number in 0..15 {
        ana.chats(&number.to_string()).await;
    }
    assert_eq!(ana.hears_a("error").await["code"], "rate_limited");
    ana.leaves().await;
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
}
