//! Clients that end their half of the connection and still read (`shutdown(SHUT_WR)`): they get what they asked for,
//! over every protocol. A client that has closed the connection is noticed nevertheless.

use std::time::Duration;

use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{BASE, Client, Server, within};
use crate::tls::{connect as connect_tls, tls_server};

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

/// Sends all of it and ends our half.
async fn send_all(stream: &mut (impl AsyncWrite + Unpin), sent: impl AsRef<[u8]>) {
    within(stream.write_all(sent.as_ref())).await.unwrap();
    within(stream.shutdown()).await.unwrap();
}

/// Reads until the server ends the connection.
async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut read = Vec::new();
    within(stream.read_to_end(&mut read)).await.expect("it ends in order");
    read
}

/// Sends all of it, ends our half, and reads until the server ends the connection.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, sent: impl AsRef<[u8]>) -> Vec<u8> {
    send_all(&mut stream, sent).await;
    read_all(&mut stream).await
}

/// Reads until a text arrives.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), text: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    let arrives = async {
        while !read.windows(text.len()).any(|some| some == text) {
            assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "the end: {}", read.escape_ascii());
        }
    };
    within(arrives).await;
    read
}

/// Closes a connection with a reset.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

/// A client that sees who leaves the room.
async fn observer(server: &Server) -> Client {
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana
}

/// A path below a room, for user bo.
fn path(below: &str) -> String {
    format!("{BASE}/rooms/lobby/{below}?token=id-bo:bo")
}

fn http1(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn message() -> String {
    json!({ "content": "stored" }).to_string()
}

#[tokio::test]
async fn every_half_closed_http1_request_is_answered() {
    let server = Server::start().await;
    let (tls, certificate) = tls_server().await;
    let requests = [
        http1("GET", &path("messages"), ""),
        http1("HEAD", &path("messages"), ""),
        http1("POST", &path("messages"), &message()),
        http1("GET", "/healthz", ""),
        http1("GET", "/", ""),
        http1("GET", "/config.json", ""),
    ];
    // A connection of HTTP/1.1 may have several requests on their way.
    for sent in requests.iter().map(|request| request.repeat(2)).chain([requests.concat()]) {
        let count = sent.matches("HTTP/1.1\r\n").count();
        let tls = connect_tls(&tls, &certificate, &["http/1.1"]).await.unwrap();
        for answers in [exchange(connect(&server).await, &sent).await, exchange(tls, &sent).await] {
            let answers = String::from_utf8_lossy(&answers);
            assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), count, "{sent}{answers}");
        }
    }
}

#[tokio::test]
async fn every_half_closed_admin_request_is_answered() {
    let server = Server::start().await;
    for sent in [
        http1("GET", "/healthz", ""),
        http1("GET", "/metrics", ""),
        http1("GET", "/revocations", ""),
        http1("POST", "/revocations", r#"{"user":"id-bo"}"#),
        http1("DELETE", "/revocations", r#"{"user":"id-bo"}"#),
    ] {
        let stream = TcpStream::connect(server.admin_address()).await.unwrap();
        let answer = exchange(stream, &sent).await;
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{sent}{}", answer.escape_ascii());
    }
}

#[tokio::test]
async fn a_half_closed_http1_event_stream_goes_on() {
    let server = Server::unruly("[limits]\nping_every = \"1h\"\n").await;
    let mut ana = observer(&server).await;
    // The room is busy, so the client ends its half before it is answered.
    ana.send("loop").await;
    let mut bo = connect(&server).await;
    send_all(&mut bo, http1("GET", &path("events"), "")).await;
    let head = read_until(&mut bo, b"data: welcome\n").await;
    assert!(head.starts_with(b"HTTP/1.1 200 OK"), "{}", head.escape_ascii());
    assert_eq!(ana.recv().await["code"], "room_failed");
    ana.expect_reply("all hello", "hello").await;
    read_until(&mut bo, b"data: hello\n").await;
    // A client that is gone is noticed when something is sent to it.
    drop(bo);
    ana.expect_reply("all anyone?", "anyone?").await;
    ana.expect_text("gone id-bo 1006 false ").await;
}

#[tokio::test]
async fn a_reset_of_a_half_closed_event_stream_is_noticed_at_once() {
    let server = Server::unruly("h2c = true\n[limits]\nping_every = \"1h\"\n").await;
    let mut ana = observer(&server).await;
    let mut bo = connect(&server).await;
    send_all(&mut bo, http1("GET", &path("events"), "")).await;
    // The comment is what a closed connection would be reset for.
    read_until(&mut bo, b": ping\n\n").await;
    reset(bo);
    ana.expect_text("gone id-bo 1006 false ").await;
    let mut bo = connect(&server).await;
    send_all(&mut bo, [PREFACE, &settings(), &http2(GET, 1, &path("events"))].concat()).await;
    read_until(&mut bo, b"data: welcome\n").await;
    reset(bo);
    ana.expect_text("gone id-bo 1006 false ").await;
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The methods in HPACK's table.
const GET: u8 = 0x82;
const POST: u8 = 0x83;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn settings() -> Vec<u8> {
    frame(4, 0, 0, b"")
}

/// The head of a request; a POST goes on.
fn http2(method: u8, stream: u32, path: &str) -> Vec<u8> {
    let literal = |name: u8, value: &str| [&[name, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    let fields = [&[method, 0x86][..], &literal(0x04, path), &literal(0x01, "localhost")].concat();
    frame(HEADERS, END_HEADERS | if method == GET { END_STREAM } else { 0 }, stream, &fields)
}

/// One frame of the server.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut header = [0; 9];
    within(stream.read_exact(&mut header)).await.ok()?;
    let [a, b, c, kind, flags, id @ ..] = header;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    within(stream.read_exact(&mut payload)).await.expect("the frame is whole");
    Some(Frame { kind, flags, stream: u32::from_be_bytes(id), payload })
}

/// The body of the answer to one request. Fails the test unless it is whole and its status is 200.
fn body(answers: &[Frame], stream: u32) -> String {
    let answer = answers.iter().filter(|frame| frame.stream == stream).collect::<Vec<_>>();
    let (first, last) = (answer.first().expect("it is answered"), answer.last().expect("it is answered"));
    assert_eq!((first.kind, first.payload[0]), (HEADERS, 0x88), "HPACK's status 200: {:?}", first.payload);
    assert!(last.kind != 3 && last.flags & END_STREAM != 0, "the answer is not whole");
    let data = answer.iter().filter(|frame| frame.kind == DATA).flat_map(|frame| frame.payload.clone());
    String::from_utf8(data.collect()).unwrap()
}

/// Sends all of it, ends our half, and reads all frames until the server ends the connection.
async fn exchange_http2(mut stream: impl AsyncRead + AsyncWrite + Unpin, sent: &[Vec<u8>]) -> Vec<Frame> {
    send_all(&mut stream, [PREFACE, &settings(), &sent.concat()].concat()).await;
    let mut answers = Vec::new();
    while let Some(frame) = read_frame(&mut stream).await {
        answers.push(frame);
    }
    answers
}

#[tokio::test]
async fn every_half_closed_http2_request_is_answered() {
    let server = Server::with("h2c = true\n").await;
    let (tls, certificate) = tls_server().await;
    let sent = [
        http2(POST, 1, &path("messages")),
        frame(DATA, END_STREAM, 1, message().as_bytes()),
        http2(GET, 3, "/healthz"),
        http2(GET, 5, "/config.json"),
        http2(GET, 7, &path("messages")),
    ];
    let tls = connect_tls(&tls, &certificate, &["h2"]).await.unwrap();
    for answers in [exchange_http2(connect(&server).await, &sent).await, exchange_http2(tls, &sent).await] {
        assert!(body(&answers, 1).contains(r#""content":"stored""#));
        assert!(body(&answers, 3).contains(r#""status":"ok""#));
        assert!(body(&answers, 5).contains("basePath"));
        assert!(body(&answers, 7).starts_with(r#"{"messages":["#));
    }
}

#[tokio::test]
async fn unfinished_http2_requests_do_not_delay_a_half_close() {
    let server = Server::unruly("h2c = true\n[limits]\nbody_timeout = \"1h\"\nping_every = \"1h\"\n").await;
    let mut ana = observer(&server).await;
    ana.send("loop").await;
    let sent = [
        http2(POST, 1, &path("messages")),
        frame(DATA, 0, 1, b"put a unfinished"),
        http2(POST, 3, &path("messages")),
        frame(DATA, END_STREAM, 3, b"put a b"),
    ];
    let answers = exchange_http2(connect(&server).await, &sent).await;
    assert!(!body(&answers, 3).is_empty());
    assert!(answers.iter().all(|frame| frame.stream != 1), "a part of its request is missing");
    assert_eq!(ana.recv().await["code"], "room_failed");
    ana.expect_reply("get a", "a=b").await;
}

#[tokio::test]
async fn a_half_closed_http2_event_stream_outlives_unanswered_pings() {
    let server = Server::unruly("h2c = true\n[limits]\nping_every = \"100ms\"\npong_timeout = \"100ms\"\n").await;
    let mut bo = connect(&server).await;
    send_all(&mut bo, [PREFACE, &settings(), &http2(GET, 1, &path("events"))].concat()).await;
    for _ in 0..3 {
        while read_frame(&mut bo).await.expect("the connection goes on").kind != PING {}
    }
    assert_eq!(server.api(Method::POST, "/rooms/lobby/messages", "ana", "all hello").await.status, 200);
    read_until(&mut bo, b"data: hello\n").await;
}

#[tokio::test]
async fn a_closed_http2_connection_of_a_quiet_room_is_noticed_at_once() {
    let server = Server::unruly("h2c = true\n[limits]\nping_every = \"1h\"\n").await;
    let mut ana = observer(&server).await;
    let mut bo = connect(&server).await;
    let sent = [PREFACE, &settings(), &http2(GET, 1, &path("events"))].concat();
    within(bo.write_all(&sent)).await.unwrap();
    read_until(&mut bo, b"data: welcome\n").await;
    drop(bo);
    ana.expect_text("gone id-bo 1006 false ").await;
}

fn upgrade() -> Vec<u8> {
    let path = path("ws");
    format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    .into()
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;

/// A WebSocket frame of a client. With a mask of zeros the payload stays as it is.
fn ws(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = match payload.len() {
        short @ ..126 => vec![0x80 | u8::try_from(short).unwrap()],
        long => [&[0x80 | 127][..], &u64::try_from(long).unwrap().to_be_bytes()].concat(),
    };
    [&[0x80 | opcode], &length[..], &[0; 4], payload].concat()
}

/// The frames of the server behind its answer to the upgrade, as opcode and payload.
fn ws_frames(read: &[u8]) -> Vec<(u8, Vec<u8>)> {
    assert!(read.starts_with(b"HTTP/1.1 101"), "{}", read.escape_ascii());
    let end = read.windows(4).position(|some| some == b"\r\n\r\n").unwrap() + 4;
    let (mut rest, mut frames) = (&read[end..], Vec::new());
    while let [first, second, behind @ ..] = rest {
        let (length, behind) = match second {
            126 => (usize::from(u16::from_be_bytes(behind[..2].try_into().unwrap())), &behind[2..]),
            127 => (usize::try_from(u64::from_be_bytes(behind[..8].try_into().unwrap())).unwrap(), &behind[8..]),
            short => (usize::from(*short), behind),
        };
        let (payload, behind) = behind.split_at(length);
        frames.push((first & 0xf, payload.to_vec()));
        rest = behind;
    }
    frames
}

/// The texts, and the code of the close frame, which is the last frame.
fn texts_and_close(read: &[u8]) -> (Vec<String>, u16) {
    let mut frames = ws_frames(read);
    let (opcode, close) = frames.pop().expect("there are frames");
    assert_eq!(opcode, CLOSE, "the last frame: {}", close.escape_ascii());
    let texts = frames.into_iter().map(|(_, text)| String::from_utf8(text).unwrap()).collect();
    (texts, u16::from_be_bytes(close[..2].try_into().unwrap()))
}

#[tokio::test]
async fn a_half_closed_websocket_gets_the_outputs_of_its_messages() {
    let server = Server::unruly("").await;
    let mut ana = observer(&server).await;
    let command = ws(TEXT, b"put a b;say stored");
    let going_away = ws(CLOSE, &1001_u16.to_be_bytes());
    for (last, code, gone) in [(vec![], 1000, "gone id-bo 1006 false "), (going_away, 1001, "gone id-bo 1001 true ")] {
        // All at once, so that the end is there before the room answers; and one after the other.
        let together = exchange(connect(&server).await, [upgrade(), command.clone(), last.clone()].concat()).await;
        ana.expect_text(gone).await;
        let mut bo = connect(&server).await;
        bo.write_all(&upgrade()).await.unwrap();
        let mut apart = read_until(&mut bo, b"welcome").await;
        apart.extend(exchange(bo, [command.clone(), last].concat()).await);
        ana.expect_text(gone).await;
        for read in [together, apart] {
            assert_eq!(texts_and_close(&read), (vec!["welcome".into(), "stored".into()], code));
        }
    }
    // Without a message, and with half of one.
    for sent in [vec![], command[..10].to_vec()] {
        let read = exchange(connect(&server).await, [upgrade(), sent].concat()).await;
        assert_eq!(texts_and_close(&read), (vec!["welcome".into()], 1000));
        ana.expect_text("gone id-bo 1006 false ").await;
    }
}

#[tokio::test]
async fn a_half_closed_tls_websocket_gets_its_outputs() {
    let (server, certificate) = tls_server().await;
    let command = ws(TEXT, br#"{"type":"message","content":"stored"}"#);
    for (last, code) in [(vec![], 1000), (ws(CLOSE, &1001_u16.to_be_bytes()), 1001)] {
        let bo = connect_tls(&server, &certificate, &["http/1.1"]).await.unwrap();
        let (texts, closed) = texts_and_close(&exchange(bo, [upgrade(), command.clone(), last].concat()).await);
        assert_eq!(closed, code);
        assert!(texts.iter().any(|text| text.contains(r#""content":"stored""#)), "{texts:?}");
    }
}

#[tokio::test]
async fn a_websocket_that_leaves_waits_for_its_turns_only_so_long() {
    let limits = "turn_cpu = \"1h\"\nanswer_timeout = \"1s\"\nclose_timeout = \"1s\"\n";
    let server = Server::unruly(&format!("[limits]\n{limits}")).await;
    for (room, last, code) in [("a", vec![], 1000), ("b", ws(CLOSE, &1001_u16.to_be_bytes()), 1001)] {
        let upgrade = String::from_utf8(upgrade()).unwrap().replace("/lobby/", &format!("/{room}/"));
        let sent = [upgrade.into_bytes(), ws(TEXT, b"loop"), last].concat();
        let read = exchange(connect(&server).await, sent).await;
        assert_eq!(texts_and_close(&read), (vec!["welcome".into()], code));
    }
}

#[tokio::test]
async fn a_half_close_loses_no_frame_that_waits_for_the_client() {
    const LONG: usize = 1_000_000;
    let server = Server::unruly("[limits]\nsocket_queue_bytes = 100_000_000\nclose_timeout = \"1h\"\n").await;
    let mut ana = observer(&server).await;
    // The room closes the socket, or the client breaks the protocol.
    for (before, after, code) in [("leave bye;all left", vec![], 4000), ("all left", ws(0xf, b""), 1002)] {
        let bo = TcpSocket::new_v4().unwrap();
        bo.set_recv_buffer_size(4_096).unwrap();
        let mut bo = bo.connect(server.address).await.unwrap();
        let long = ws(BINARY, &vec![7; LONG]).repeat(12);
        within(bo.write_all(&[upgrade(), long, ws(TEXT, before.as_bytes())].concat())).await.unwrap();
        // Everything is sent by now, and it is more than the kernel takes.
        ana.expect_text("left").await;
        send_all(&mut bo, after).await;
        let read = read_all(&mut bo).await;
        let frames = ws_frames(&read);
        let (last, frames) = frames.split_last().unwrap();
        assert_eq!((last.0, &last.1[..2]), (CLOSE, &u16::to_be_bytes(code)[..]));
        assert_eq!(frames.iter().filter(|(opcode, frame)| *opcode == BINARY && frame.len() == LONG).count(), 12);
        assert!(ana.recv_text().await.starts_with("gone id-bo"));
    }
}
