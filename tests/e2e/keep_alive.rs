//! How long a connection of HTTP/1.1 lives: between two requests, within one, and when its client has ended its half.

use std::time::{Duration, Instant};

use hyper::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{BASE, Server, within};

const HEALTH_REQUEST: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

/// Ask, and read the answer to its end.
async fn request_health(stream: &mut TcpStream) -> String {
    stream.write_all(HEALTH_REQUEST.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within(async {
        while !answer.ends_with(b"}") {
            answer.push(stream.read_u8().await.expect("it is answered"));
        }
    })
    .await;
    String::from_utf8(answer).unwrap()
}

/// The bytes that arrive until the server ends the connection.
async fn read_to_end(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.expect("it ends in order");
    String::from_utf8(rest).unwrap()
}

#[tokio::test]
async fn idle_connections_outlive_the_head_timeout() {
    let server = Server::with("[limits]\nheader_timeout = \"1s\"\n").await;
    let mut stream = connect(&server).await;
    for _ in 0..3 {
        assert!(request_health(&mut stream).await.starts_with("HTTP/1.1 200"));
        // The pause is what is tested.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    assert!(request_health(&mut stream).await.starts_with("HTTP/1.1 200"));
    // A head that has begun has as little time as the first one.
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: ").await.unwrap();
    assert_eq!(read_to_end(stream).await, "");
    assert_eq!(read_to_end(connect(&server).await).await, "", "and so has the first head before it begins");
}

#[tokio::test]
async fn idle_connections_end_after_the_idle_timeout() {
    let server = Server::with("[limits]\nidle_timeout = \"300ms\"\n").await;
    let mut stream = connect(&server).await;
    let began = Instant::now();
    request_health(&mut stream).await;
    assert_eq!(read_to_end(stream).await, "");
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn an_answer_may_take_longer_than_both_timeouts() {
    let server = Server::unruly(
        "[limits]\nidle_timeout = \"1s\"\nheader_timeout = \"1s\"\nturn_cpu = \"2s\"\nanswer_timeout = \"1h\"\n",
    )
    .await;
    let answer = server.api(Method::POST, "/rooms/a/messages", "ana", "loop").await;
    assert_eq!(answer.status, 500, "its turn was cut off after two seconds");
}

fn post_request(body: &str, content_length: usize) -> String {
    format!(
        "POST {BASE}/rooms/lobby/messages HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer id-ana:ana\r\n\
         content-length: {content_length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_half_closed_connection_gets_its_answer() {
    let server = Server::start().await;
    let body = r#"{"content":"stored"}"#;
    let mut stream = connect(&server).await;
    stream.write_all(post_request(body, body.len()).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_to_end(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("stored"), "{answer}");
    // Several at once are answered in order, and then the connection ends.
    let mut stream = connect(&server).await;
    stream.write_all(post_request(body, body.len()).repeat(3).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_to_end(stream).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 3, "{answer}");
    let all = server.api(Method::GET, "/rooms/lobby/messages", "ana", "").await.json();
    assert_eq!(all["messages"].as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn a_half_close_while_a_room_is_busy_keeps_the_answer() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.send("loop").await;
    let mut stream = connect(&server).await;
    stream.write_all(post_request("put a b", 7).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_to_end(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(ana.recv().await["code"], "room_failed");
    ana.expect_reply("get a", "a=b").await;
}

#[tokio::test]
async fn a_half_close_within_a_body_is_refused_at_once() {
    let server = Server::start().await;
    let mut stream = connect(&server).await;
    stream.write_all(post_request("{", 50).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_to_end(stream).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("broke off"), "{answer}");
}

#[tokio::test]
async fn a_closed_event_stream_of_a_quiet_room_is_noticed_at_once() {
    // Nothing is written to it that would show that it went.
    let server = Server::unruly("[limits]\nping_every = \"1h\"\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    for further in ["", HEALTH_REQUEST] {
        let mut bo = connect(&server).await;
        let ask = format!("GET {BASE}/rooms/lobby/events?token=id-bo:bo HTTP/1.1\r\nhost: localhost\r\n\r\n{further}");
        bo.write_all(ask.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        within(async {
            while !received.ends_with(b"welcome\n\n\r\n") {
                received.push(bo.read_u8().await.unwrap());
            }
        })
        .await;
        drop(bo);
        ana.expect_text("gone id-bo 1006 false ").await;
    }
}
