//! Arbitrary bytes from the network are answered, refused or cut off, and other clients are served.

use std::time::Duration;

use dormouse_fuzz::proptest::collection::vec;
use dormouse_fuzz::{fuzz, mutated};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::harness::{BASE, Server, within};

/// How long a server may be silent before nothing more is expected of it.
const QUIET_PERIOD: Duration = Duration::from_millis(20);

/// Send the bytes, receive what there is to receive, and go.
async fn exchange(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    // It may have had enough before it has got everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    while let Ok(Ok(1..)) = tokio::time::timeout(QUIET_PERIOD, stream.read_buf(&mut answer)).await {}
    answer
}

/// A WebSocket that sends these bytes, and nothing more.
async fn send_over_a_websocket(server: &Server, upgrade: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    stream.write_all(upgrade.as_bytes()).await.expect("it is read");
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        within(stream.read_buf(&mut answer)).await.expect("it answers");
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", answer.escape_ascii());
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    // A reset is an end as well.
    let _ = within(stream.read_to_end(&mut answer)).await;
}

/// A frame as clients send it: under a mask.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [first, 0x80 | payload.len() as u8].into_iter().chain(mask).chain(masked).collect()
}

/// Other clients are still served.
async fn assert_others_are_served(server: &Server) {
    assert_eq!(server.get("/healthz").await.status, 200);
    let mut ana = server.join("lobby", "ana").await;
    ana.recv_type("history").await;
    ana.send_chat("still here").await;
    while ana.recv_content().await != "still here" {}
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn fuzzed_websocket_input_harms_no_other_client() {
    let runtime = Runtime::new().expect("threads");
    let server = runtime.block_on(Server::start());
    let close = [&1000_u16.to_be_bytes()[..], b"bye"].concat();
    let frames = [
        frame(0x81, br#"{"type":"message","content":"x"}"#),
        frame(0x01, br#"{"type":"#),
        frame(0x80, br#""typing"}"#),
        frame(0x82, &[0xff; 20]),
        frame(0x89, b"?"),
        frame(0x8a, b"!"),
        frame(0x88, &close),
        vec![0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4],
    ];
    let frames = frames.each_ref().map(|frame| &frame[..]);
    let upgrade = format!(
        "GET {BASE}/rooms/fuzz/ws?token=id-x:x HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    fuzz(vec(mutated(&frames), 0..6), |parts| {
        runtime.block_on(send_over_a_websocket(&server, &upgrade, &parts.concat()));
    });
    runtime.block_on(assert_others_are_served(&server));
}

#[test]
fn fuzzed_http_input_harms_no_other_client() {
    let runtime = Runtime::new().expect("threads");
    let server = runtime.block_on(Server::start());
    let host = "host: localhost\r\nauthorization: Bearer 1:ana\r\nconnection: close\r\n";
    let body = r#"{"content":"hello"}"#;
    let requests = [
        format!("GET {BASE}/rooms/fuzz/messages?limit=5&before=9 HTTP/1.1\r\n{host}\r\n"),
        format!(
            "GET {BASE}/rooms/fuzz/events?since=1 HTTP/1.1\r\n{host}accept: text/event-stream\r\nlast-event-id: 7\r\n\r\n"
        ),
        format!(
            "POST {BASE}/rooms/%F0%9F%98%80/messages HTTP/1.1\r\n{host}content-length: {}\r\n\r\n{body}",
            body.len()
        ),
        format!(
            "POST {BASE}/rooms/fuzz/messages HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\n13\r\n{body}\r\n0\r\n\r\n"
        ),
        format!(
            "OPTIONS {BASE}/tickets HTTP/1.1\r\n{host}origin: http://localhost\r\ncookie: dormouse_token=\"1:a\"; x=%zz\r\n\r\n"
        ),
        format!("POST {BASE}/presence/update HTTP/1.1\r\n{host}content-length: 17\r\n\r\n{{\"status\":\"busy\"}}"),
    ];
    let requests = requests.each_ref().map(|request| request.as_bytes());
    fuzz(mutated(&requests), |request| {
        let answer = runtime.block_on(exchange(&server, &request));
        // A server that falls over its own feet answers with a 500.
        let good = [&b"HTTP/1.1 2"[..], b"HTTP/1.1 4", b"HTTP/1.1 1", b"HTTP/1.0 2", b"HTTP/1.0 4"];
        assert!(answer.is_empty() || good.iter().any(|good| answer.starts_with(good)), "{}", answer.escape_ascii());
    });
    runtime.block_on(assert_others_are_served(&server));
}
