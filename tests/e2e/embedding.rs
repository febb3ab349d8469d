//! Rooms in an embedder's program: mounted into its server, and called without a network.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use dormouse::Host;
use dormouse::config::{Config, Limits};
use dormouse::edge::Verifier;
use dormouse::model::{Message, Request, User};
use dormouse::revocations::Revoked;
use dormouse::room::{Received, RoomLookupError};
use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::harness::{self, BASE, within};

/// The example that the README names, as it is.
#[path = "../../host/examples/axum_edge/app.rs"]
mod axum_edge;

const ROOM: &str = "/realtime/rooms/lobby";

/// The axum example, served on a free port.
async fn axum_server(host: &Host) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, axum_edge::routes(host)).into_future());
    address
}

/// Several hosts share the 65,530 memory maps of this process, and each may use four a room.
fn few_rooms() -> Limits {
    Limits { awake_rooms: 100, warm_rooms: 10, requests: 50, ..Limits::default() }
}

/// A host with its own listener, in a directory.
async fn host_in(directory: &Path) -> Host {
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = Config { listen, data: directory.join("data"), limits: few_rooms(), ..Config::default() };
    Host::builder(config).start().await.unwrap()
}

fn received_json(received: Received) -> Value {
    match received {
        Received::Message(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
        other => panic!("expected a text, and received {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_host_authenticates_before_it_reads_the_body() {
    let directory = TempDir::new().unwrap();
    let limits = Limits { requests: 2, requests_per_room: 1, ..few_rooms() };
    let host = axum_edge::host(directory.path(), limits).await.unwrap();
    let address = axum_server(&host).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!("POST {ROOM}/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(crate::shares::read_status(&mut stream).await, 401);
        streams.push(stream);
    }
    let ana = [("cookie", "session=ana")];
    let asks = async |method: Method, more: &[(&str, &str)], body: &str| {
        let headers = [&ana[..], more].concat();
        harness::request(address, method, &format!("{ROOM}/messages"), &headers, body).await
    };
    for _ in 0..5 {
        // A place is given back when the answer is sent, which may be a moment after it is seen.
        within(async { while asks(Method::GET, &[], "").await.status != 200 {} }).await;
    }
    within(async { while asks(Method::HEAD, &[], "").await.status != 200 {} }).await;
    let coded = within(async {
        loop {
            let answer = asks(Method::POST, &[("content-encoding", "gzip")], "x").await;
            if answer.status != 503 {
                return answer;
            }
        }
    });
    coded.await.is_problem(415);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_axum_server_mounts_rooms_behind_its_own_login() {
    let directory = TempDir::new().unwrap();
    let host = axum_edge::host(directory.path(), few_rooms()).await.unwrap();
    let address = axum_server(&host).await;

    let login = harness::request(address, Method::POST, "/login", &[], "name=ana").await;
    assert!(login.header("set-cookie").starts_with("session=ana;"));
    let ana = [("cookie", "session=ana")];
    let mut socket = harness::connect(address, &format!("{ROOM}/ws"), &ana).await.expect("it lets us in");
    assert_eq!(socket.recv().await["type"], "history");
    let mut listener =
        harness::open_event_stream(address, &format!("{ROOM}/events"), &[("cookie", "session=bo")]).await.unwrap();
    assert_eq!(listener.recv().await.json()["type"], "history");
    assert_eq!(socket.recv_type("user_joined").await["userId"], "user-bo");

    // Long enough for several reads and writes of a stream that is not the host's own.
    let content = "x".repeat(2_000);
    for _ in 0..50 {
        socket.send_chat(&content).await;
    }
    for seq in 1..=50 {
        let message = listener.recv().await;
        let id = message.id.expect("it has a place in the history");
        assert_eq!(id.split_once('.').expect("a number and an incarnation").0, seq.to_string());
        assert_eq!(socket.recv_type("message").await["message"]["content"], content.as_str());
    }
    let body = json!({ "content": "over http" }).to_string();
    let posted = harness::request(address, Method::POST, &format!("{ROOM}/messages"), &ana, &body).await;
    assert_eq!(posted.json()["message"]["userId"], "user-ana");
    assert_eq!(socket.recv_content().await, "over http");

    let announced = harness::request(address, Method::POST, "/announce/lobby", &[], "tea is ready").await;
    assert_eq!(announced.status, 204);
    assert_eq!(socket.recv().await, json!({ "type": "notice", "text": "tea is ready" }));
    let rooms = harness::request(address, Method::GET, "/rooms", &[], "").await;
    assert_eq!(&rooms.body[..], b"lobby\n");

    let stranger = harness::connect(address, &format!("{ROOM}/ws"), &[]).await.err().expect("it is refused");
    assert_eq!(stranger.status, 401);
    host.shutdown().await;
    assert_eq!(socket.recv_close().await.0, 1001);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_socket_gets_a_close_frame_and_eof_on_errors() {
    let directory = TempDir::new().unwrap();
    // Nothing here may wait for the end of a goodbye's time.
    let limits = Limits { close_timeout: Duration::from_secs(600), ..few_rooms() };
    let host = axum_edge::host(directory.path(), limits).await.unwrap();
    let address = axum_server(&host).await;
    let ana = [("cookie", "session=ana")];
    let mut bad = harness::connect(address, &format!("{ROOM}/ws"), &ana).await.expect("it lets us in");
    let too_long = [&b"\x81\xff"[..], &(16_u64 << 20).to_be_bytes(), b"\0\0\0\0"].concat();
    assert_eq!(harness::send_protocol_violation(&mut bad, &[&too_long, &vec![b'x'; 16 << 20]]).await, 1009);
    drop(bad);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_in_one_process_are_independent() {
    let (first_directory, second_directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (first, second) = (host_in(first_directory.path()).await, host_in(second_directory.path()).await);
    let path = format!("{BASE}/rooms/lobby/ws?token=1:ana");
    let mut here = harness::connect(first.address().unwrap(), &path, &[]).await.expect("it lets us in");
    let mut there = harness::connect(second.address().unwrap(), &path, &[]).await.expect("it lets us in");
    here.send_chat("here").await;
    assert_eq!(here.recv_content().await, "here");

    first.shutdown().await;
    assert_eq!(here.recv_close().await.0, 1001);
    there.send_chat("there").await;
    assert_eq!(there.recv_content().await, "there", "and it received nothing of the other's");

    let again = host_in(first_directory.path()).await;
    let messages = again.rooms().get("ROOMS", "lobby").unwrap();
    let kept = messages.request(Request::get("/messages").by(User::new("1", "ana"))).await.unwrap();
    assert_eq!(kept.json::<Value>().unwrap()["messages"][0]["content"], "here");
    again.shutdown().await;
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedding_code_can_request_connect_and_send_as_the_system() {
    let directory = TempDir::new().unwrap();
    let host = host_in(directory.path()).await;
    let lobby = host.rooms().get("ROOMS", "lobby").unwrap();
    let path = format!("{BASE}/rooms/lobby/ws?token=2:bo");
    let mut bo = harness::connect(host.address().unwrap(), &path, &[]).await.expect("it lets us in");
    bo.recv_type("history").await;

    let mut ana = lobby.connect(Request::get("/ws"), User::new("1", "ana")).await.unwrap();
    assert_eq!(received_json(within(ana.recv()).await)["type"], "history");
    ana.send(Message::Text(json!({ "type": "message", "content": "from inside" }).to_string())).await.unwrap();
    assert_eq!(bo.recv_content().await, "from inside");
    assert_eq!(received_json(within(ana.recv()).await)["message"]["content"], "from inside");
    lobby.broadcast(Message::Text(r#""to all""#.into())).await.unwrap();
    assert_eq!(received_json(within(ana.recv()).await), "to all");
    bo.expect_text(r#""to all""#).await;

    ana.close(1000, "bye");
    assert_eq!(bo.recv_type("user_left").await["userId"], "1");
    let mut cy = lobby.connect(Request::get("/ws"), User::new("3", "cy")).await.unwrap();
    host.shutdown().await;
    loop {
        if let Received::Closed(..) = within(cy.recv()).await {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn awake_and_stored_rooms_are_listed_in_order() {
    let directory = TempDir::new().unwrap();
    let host = host_in(directory.path()).await;
    let say = Request::post_json("/messages", &json!({ "content": "hi" })).by(User::new("1", "ana"));
    for name in ["b", "a", "c"] {
        let room = host.rooms().get("ROOMS", name).unwrap();
        assert_eq!(room.request(say.clone()).await.unwrap().status, 200);
    }
    host.rooms().get("PRESENCE", "a").unwrap().request(Request::get("/list")).await.unwrap();
    host.shutdown().await;

    let host = host_in(directory.path()).await;
    let _visitor = host.rooms().get("ROOMS", "aa").unwrap().connect(Request::get("/ws"), User::new("1", "ana")).await;
    let names = |after, limit| {
        let listed = host.rooms().list("ROOMS", after, limit).unwrap();
        listed.into_iter().map(|room| (room.name, room.stored, room.in_memory)).collect::<Vec<_>>()
    };
    let all = [("a", true, false), ("aa", false, true), ("b", true, false), ("c", true, false)];
    let all = all.map(|(name, stored, in_memory)| (name.to_owned(), stored, in_memory));
    assert_eq!(names(None, 10), all);
    assert_eq!(names(Some("a"), 2), all[1..3]);
    assert_eq!(names(Some("c"), 10), []);
    assert_eq!(names(None, 0), []);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_room_name_is_refused_by_name() {
    let directory = TempDir::new().unwrap();
    let host = host_in(directory.path()).await;
    assert!(matches!(host.rooms().get("ROOMS", ""), Err(RoomLookupError::Address(_))));
    assert_eq!(host.rooms().get("OTHERS", "a").err(), Some(RoomLookupError::Namespace("OTHERS".into())));
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedder_can_verify_tokens_itself() {
    let directory = TempDir::new().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = Config { listen, data: directory.path().into(), limits: few_rooms(), ..Config::default() };
    let verifier = Verifier::custom(|token| match token.strip_prefix("friend-") {
        Some(name) => Ok(dormouse::edge::Verified::new(User::new(name, name))),
        None => Err(dormouse::edge::Invalid("friends only".into())),
    });
    let host = Host::builder(config).identity(verifier).start().await.unwrap();
    let address = host.address().unwrap();
    let path = format!("{BASE}/rooms/lobby/messages");
    let as_friend = [("authorization", "Bearer friend-ana")];
    assert_eq!(harness::request(address, Method::GET, &path, &as_friend, "").await.status, 200);
    let refused = harness::request(address, Method::GET, &path, &[("authorization", "Bearer ana")], "").await;
    refused.is_problem(401);
    assert_eq!(refused.json()["detail"], "friends only");
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_exposes_its_metrics() {
    let directory = TempDir::new().unwrap();
    let host = host_in(directory.path()).await;
    let address = host.address().unwrap();
    let mut ana = harness::connect(address, &format!("{BASE}/rooms/lobby/ws?token=ana"), &[]).await.unwrap();
    ana.recv_type("history").await;
    ana.send_chat("hello").await;
    ana.recv_type("message").await;
    let metrics = host.metrics();
    let number = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).parse::<f64>().unwrap()
    };
    for name in ["connections", "sockets", "rooms", "instances", "messages_total", "wakes_total"] {
        assert_eq!(number(&format!("dormouse_{name}")), 1.0, "{name}");
    }
    assert_eq!(number("dormouse_turns_total"), 2.0);
    assert!(number("dormouse_commits_total") >= 1.0 && number("dormouse_commit_bytes_total") > 0.0);
    assert_eq!(number("dormouse_sync_seconds_count"), number("dormouse_commits_total"));
    assert!(number("dormouse_memory_bytes") > 0.0);
    assert!(metrics.ends_with("# EOF\n"));
    ana.close().await;
    let closed = async {
        // It left without a code.
        while !host.metrics().contains("dormouse_closes_total{code=\"1005\"} 1") {
            tokio::task::yield_now().await;
        }
    };
    within(closed).await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedder_can_revoke_and_unrevoke_users() {
    let directory = TempDir::new().unwrap();
    let status = async |host: &Host, token: &str| {
        let path = format!("{BASE}/rooms/lobby/messages?token={token}");
        harness::request(host.address().unwrap(), Method::GET, &path, &[], "").await.status.as_u16()
    };
    let host = host_in(directory.path()).await;
    let path = format!("{BASE}/rooms/lobby/ws?token=1:ana");
    let mut ana = harness::connect(host.address().unwrap(), &path, &[]).await.unwrap();
    let visitor = host.rooms().get("ROOMS", "lobby").unwrap().connect(Request::get("/ws"), User::new("1", "ana")).await;
    assert_eq!(host.revoke(Revoked::user("1")).await.unwrap(), 1);
    assert_eq!(ana.recv_close().await.0, 4403);
    assert_eq!((status(&host, "1:ana").await, status(&host, "2:bo").await), (401, 200));
    visitor.unwrap().send(Message::Text(r#"{"type":"typing"}"#.into())).await.expect("our own code stays");
    assert!(host.reload().is_empty());
    host.shutdown().await;

    let host = host_in(directory.path()).await;
    assert_eq!(host.revocations().len(), 1);
    assert_eq!(status(&host, "1:ana").await, 401);
    assert!(host.unrevoke(Revoked::user("1")).await.unwrap());
    assert!(!host.unrevoke(Revoked::user("1")).await.unwrap());
    assert_eq!(status(&host, "1:ana").await, 200);
    host.shutdown().await;
}
