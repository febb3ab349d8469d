//! Bad input gets a clear error, and does not affect other clients.

use hyper::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{self, BASE, Client, Server, within};

/// The answer of a server to these bytes, until it closes.
async fn exchange_raw(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end as well.
    let _ = within(stream.read_to_end(&mut answer)).await;
    answer
}

/// The close code with which a server answers these bytes on an open WebSocket.
async fn close_code_for(server: &Server, bytes: &[u8]) -> u16 {
    let mut client = server.join("lobby", "bad").await;
    client.recv_type("history").await;
    client.socket.get_mut().write_all(bytes).await.unwrap();
    client.recv_close().await.0
}

async fn ana(server: &Server) -> Client {
    let mut ana = server.join("lobby", "ana").await;
    ana.recv_type("history").await;
    ana
}

async fn assert_still_works(server: &Server, ana: &mut Client) {
    ana.send_chat("still here").await;
    assert_eq!(ana.recv_content().await, "still here");
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn malformed_messages_get_an_error_and_the_socket_stays_open() {
    let server = Server::start().await;
    let mut ana = ana(&server).await;
    let deep = "[".repeat(50_000);
    let bad = [
        "",
        "{",
        "nonsense",
        "null",
        "[]",
        "42",
        "{}",
        &deep,
        r#"{"type":5}"#,
        r#"{"type":"nonsense"}"#,
        r#"{"type":"message"}"#,
        r#"{"type":"message","content":5}"#,
        r#"{"type":"message","content":""}"#,
        r#"{"type":"message","content":"  "}"#,
        r#"{"type":"message","content":"x","clientId":5}"#,
        r#"{"type":"message","content":"x","clientId":""}"#,
        r#"{"type":"message","content":"\ud80"}"#,
    ];
    for text in bad {
        ana.send(text).await;
        let received = ana.recv().await;
        assert_eq!(received["type"], "error", "{text}: {received}");
        assert!(received["code"].is_string() && received["message"].is_string(), "{text}: {received}");
    }
    within(futures_util::SinkExt::send(&mut ana.socket, Message::binary(vec![0xff; 10]))).await.unwrap();
    assert_eq!(ana.recv().await["type"], "error");
    assert_still_works(&server, &mut ana).await;
}

#[tokio::test]
async fn presence_answers_malformed_messages_with_errors() {
    let server = Server::start().await;
    let mut ana = server.join_presence("team", "ana").await;
    ana.recv_type("presence_list").await;
    for text in ["nonsense", r#"{"type":"status"}"#, r#"{"type":"status","status":"asleep"}"#, r#"{"type":"x"}"#] {
        ana.send(text).await;
        assert_eq!(ana.recv().await["type"], "error", "{text}");
    }
}

#[tokio::test]
async fn invalid_frames_are_closed_with_the_right_code() {
    let server = Server::start().await;
    let mut ana = ana(&server).await;
    // Not masked; reserved bit; reserved opcode; a ping in fragments; a fragment of nothing.
    for bad in [&b"\x81\x02hi"[..], b"\xc1\x80aaaa", b"\x83\x80aaaa", b"\x09\x80aaaa", b"\x80\x80aaaa"] {
        assert_eq!(close_code_for(&server, bad).await, 1002, "{bad:?}");
    }
    // No UTF-8, under a mask of zeros.
    assert_eq!(close_code_for(&server, b"\x81\x82\0\0\0\0\xff\xff").await, 1007);
    // A frame that claims to have 2^62 bytes.
    assert_eq!(close_code_for(&server, b"\x82\xff\x40\0\0\0\0\0\0\0\0\0\0\0").await, 1009);
    // Fragments that are too large together: 17 of 4 KiB each.
    let fragment = [&b"\xfe\x10\x00\0\0\0\0"[..], &[b'x'; 4096]].concat();
    let mut fragments = [&b"\x02"[..], &fragment].concat();
    for _ in 0..16 {
        fragments.extend([&b"\x00"[..], &fragment].concat());
    }
    assert_eq!(close_code_for(&server, &fragments).await, 1009);
    assert_still_works(&server, &mut ana).await;
}

#[tokio::test]
async fn a_protocol_error_amid_a_message_gets_a_close_frame_and_eof() {
    // Nothing here may wait for the end of a goodbye's time.
    let server = Server::unruly("[limits]\nclose_timeout = \"10m\"\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    let rest = vec![b'x'; 16 << 20];
    let fragment = [&b"\xff"[..], &(1_u64 << 19).to_be_bytes(), b"\0\0\0\0", &vec![b'x'; 1 << 19]].concat();
    let fragments = [&b"\x01"[..], &fragment, b"\0", &fragment, b"\0", &fragment].concat();
    // A frame of 16 MiB; fragments that are too large together; a reserved bit; no UTF-8. Each before a long rest.
    let faults = [
        (1009, [&b"\x81\xff"[..], &(16_u64 << 20).to_be_bytes(), b"\0\0\0\0"].concat()),
        (1009, fragments),
        (1002, b"\xc1\x80aaaa".to_vec()),
        (1007, b"\x81\x82\0\0\0\0\xff\xff".to_vec()),
    ];
    for (code, fault) in faults {
        let mut bad = server.join("lobby", "bad").await;
        bad.expect_text("welcome").await;
        assert_eq!(harness::send_protocol_violation(&mut bad, &[&fault, &rest]).await, code, "{:?}", &fault[..8]);
        drop(bad);
        ana.expect_text(&format!("gone id-bad {code} false ")).await;
    }
}

#[tokio::test]
async fn nothing_is_sent_after_a_close_frame() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.send("leave").await;
    assert_eq!(ana.recv_close().await.0, 4000);
    // A text with an auto-response, a ping, and the expected goodbye.
    ana.socket.get_mut().write_all(b"\x81\x84\0\0\0\0ping\x89\x80\0\0\0\0\x88\x80\0\0\0\0").await.unwrap();
    let mut received = Vec::new();
    within(ana.socket.get_mut().read_to_end(&mut received)).await.unwrap();
    assert_eq!(received.escape_ascii().to_string(), "");
}

#[tokio::test]
async fn a_protocol_error_after_the_close_frame_gets_eof() {
    let server = Server::unruly("[limits]\nclose_timeout = \"10m\"\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.send("leave").await;
    assert_eq!(ana.recv_close().await.0, 4000);
    let too_long = [&b"\x81\xff"[..], &(16_u64 << 20).to_be_bytes(), &[0; 4], &vec![b'x'; 16 << 20]].concat();
    within(ana.socket.get_mut().write_all(&too_long)).await.unwrap();
    let mut received = Vec::new();
    within(ana.socket.get_mut().read_to_end(&mut received)).await.unwrap();
    assert_eq!(received.escape_ascii().to_string(), "");
}

#[tokio::test]
async fn a_fragmented_message_with_a_ping_between_is_one_message() {
    let server = Server::start().await;
    let mut ana = ana(&server).await;
    let text = br#"{"type":"message","content":"whole"}"#;
    let frame = |first: u8, part: &[u8]| [&[first, 0x80 | part.len() as u8, 0, 0, 0, 0], part].concat();
    let bytes = [frame(0x01, &text[..10]), frame(0x89, b"?"), frame(0x00, &text[10..20]), frame(0x80, &text[20..])];
    for part in bytes.concat().chunks(3) {
        ana.socket.get_mut().write_all(part).await.unwrap();
    }
    assert_eq!(ana.recv_content().await, "whole");
}

#[tokio::test]
async fn malformed_requests_get_400() {
    let server = Server::start().await;
    let path = format!("{BASE}/rooms/a/messages");
    let host = "host: localhost\r\nauthorization: Bearer 1:ana\r\n";
    let smuggled = format!("POST {path} HTTP/1.1\r\n{host}content-length: 5\r\ncontent-length: 6\r\n\r\nhello");
    let bad = ["nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\0\0\0\0\0\0\r\n\r\n", &smuggled];
    for request in bad {
        let answer = exchange_raw(&server, request.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{request:?}: {}", answer.escape_ascii());
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let answer = exchange_raw(&server, long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", answer.escape_ascii());
    let mut ana = ana(&server).await;
    assert_still_works(&server, &mut ana).await;
}

/// Bytes that a proxy could read as one request and we as two are refused, and nothing behind them is read.
#[tokio::test]
async fn ambiguous_request_framing_is_refused_and_ends_the_connection() {
    let server = Server::start().await;
    let head = format!("POST {BASE}/rooms/a/messages HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer 1:ana\r\n");
    let hidden = "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    // Read as one of both would have it, each of them says something that the room takes.
    let plain = r#"{"content":"x"}"#;
    let chunked = &*format!("f\r\n{plain}\r\n0\r\n\r\n");
    let sound =
        exchange_raw(&server, format!("{head}content-length: 15\r\nconnection: close\r\n\r\n{plain}").as_bytes()).await;
    assert!(sound.starts_with(b"HTTP/1.1 200"), "{}", sound.escape_ascii());
    let doubtful = [
        ("content-length: 15\r\ncontent-length: 16\r\n", plain),
        ("content-length: 15, 16\r\n", plain),
        ("content-length: +15\r\n", plain),
        ("content-length: 0xf\r\n", plain),
        ("content-length: -1\r\n", ""),
        ("content-length: 18446744073709551631\r\n", plain),
        ("transfer-encoding: xchunked\r\n", chunked),
        ("transfer-encoding: chunked, identity\r\n", chunked),
        ("transfer-encoding: identity\r\n", chunked),
        ("transfer-encoding : chunked\r\n", chunked),
        ("transfer-encoding: \x0bchunked\r\n", chunked),
        (" transfer-encoding: chunked\r\n", chunked),
        ("x: y\r\n transfer-encoding: chunked\r\n", chunked),
        ("x: y\rtransfer-encoding: chunked\r\n", chunked),
        ("transfer-encoding: chunked\r\n", "-1\r\nx\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked\r\n", "1 1\r\nx\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked\r\n", "ffffffffffffffffff\r\nx\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked\r\n", "1\r\nxyz\r\n0\r\n\r\n"),
        ("content-length: 15\r\nhost: localhost\r\n", plain),
    ];
    for (headers, body) in doubtful {
        let request = format!("{head}{headers}\r\n{body}{hidden}");
        let answer = String::from_utf8(exchange_raw(&server, request.as_bytes()).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{headers:?} {body:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{headers:?} {body:?}: {answer}");
    }
    // Where both are there, the chunks count, as RFC 9112 has it, and the connection ends behind them.
    for headers in
        ["content-length: 15\r\ntransfer-encoding: chunked\r\n", "transfer-encoding: chunked\r\ncontent-length: 15\r\n"]
    {
        let answer = exchange_raw(&server, format!("{head}{headers}\r\n{chunked}{hidden}").as_bytes()).await;
        assert_eq!(String::from_utf8(answer).unwrap().matches("HTTP/1.1").count(), 1, "{headers:?}");
    }
    let nameless = exchange_raw(&server, b"GET /healthz HTTP/1.1\r\n\r\n").await;
    assert!(nameless.starts_with(b"HTTP/1.1 400"), "{}", nameless.escape_ascii());
    let old = format!("{}transfer-encoding: chunked\r\n\r\n{chunked}", head.replace("HTTP/1.1", "HTTP/1.0"));
    let answer = exchange_raw(&server, old.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.0 400") || answer.starts_with(b"HTTP/1.1 400"), "{}", answer.escape_ascii());
    let mut ana = ana(&server).await;
    assert_still_works(&server, &mut ana).await;
}

#[tokio::test]
async fn duplicates_of_single_headers_are_refused() {
    let server = Server::start().await;
    let path = format!("{BASE}/rooms/a/messages");
    let post =
        async |headers: &[(&str, &str)]| server.request(Method::POST, &path, headers, r#"{"content":"x"}"#).await;
    let ana = ("authorization", "Bearer 1:ana");
    for (name, one, other) in [
        ("idempotency-key", "k1", "k2"),
        ("idempotency-key", "k1", "k1"),
        ("content-type", "application/json", "text/plain"),
        ("origin", "http://localhost:5173", "https://evil.example"),
        ("sec-fetch-site", "same-origin", "cross-site"),
        ("last-event-id", "1", "2"),
    ] {
        let answer = post(&[ana, (name, one), (name, other)]).await;
        answer.is_problem(400);
        assert!(answer.json()["detail"].as_str().unwrap().contains(&format!("`{name}`")), "{answer:?}");
    }
    post(&[ana, ("authorization", "Bearer 2:bo")]).await.is_problem(400);
    post(&[("authorization", "Bearer 1:ana, Bearer 2:bo")]).await.is_problem(400);
    post(&[("sec-websocket-protocol", "bearer.1"), ("sec-websocket-protocol", "bearer.2")]).await.is_problem(400);
    let key = ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
    let upgrade = [ana, ("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"), key];
    let ws = format!("{BASE}/rooms/a/ws");
    for more in [key, ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAQ=="), ("sec-websocket-version", "8")] {
        let headers = [&upgrade[..], &[more]].concat();
        server.request(Method::GET, &ws, &headers, "").await.is_problem(400);
    }
    let stored = server.api(Method::GET, "/rooms/a/messages", "ana", "").await;
    assert_eq!(stored.json()["messages"].as_array().map(Vec::len), Some(0));
    assert_eq!(post(&[ana, ("idempotency-key", "k1")]).await.status, 200);
}

#[tokio::test]
async fn invalid_upgrades_are_refused_with_a_reason() {
    let server = Server::start().await;
    let path = format!("{BASE}/rooms/a/ws?token=1:ana");
    let ask = async |headers: &[(&str, &str)]| server.request(Method::GET, &path, headers, "").await;
    let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")];
    ask(&upgrade).await.is_problem(400);
    let old =
        [&upgrade[..], &[("sec-websocket-version", "8"), ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")]].concat();
    let answer = ask(&old).await;
    answer.is_problem(400);
    assert_eq!(answer.header("sec-websocket-version"), "13");
    let short = [&upgrade[..], &[("sec-websocket-version", "13"), ("sec-websocket-key", "AA==")]].concat();
    ask(&short).await.is_problem(400);
}

#[tokio::test]
async fn an_upgrade_over_http_1_0_or_with_a_body_is_refused() {
    let server = Server::start().await;
    let upgrade = |version: &str, more: &str| {
        format!(
            "GET {BASE}/rooms/a/ws?token=1:ana HTTP/{version}\r\nhost: localhost\r\nconnection: upgrade, close\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}"
        )
    };
    let wrong = [
        upgrade("1.0", "\r\n"),
        upgrade("1.1", "content-length: 5\r\n\r\nhello"),
        upgrade("1.1", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        upgrade("1.1", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ];
    for request in wrong {
        let answer = String::from_utf8(exchange_raw(&server, request.as_bytes()).await).unwrap();
        assert!(answer[8..].starts_with(" 400") && answer.contains("an upgrade "), "{request}: {answer}");
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(upgrade("1.1", "content-length: 0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    within(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101", "nothing is no body");
}

#[tokio::test]
async fn a_body_with_a_content_encoding_is_refused_by_name() {
    let server = Server::start().await;
    let post = async |coding: &str, body: &str| {
        let headers = [("authorization", "Bearer 1:ana"), ("content-encoding", coding)];
        server.request(Method::POST, &format!("{BASE}/rooms/a/messages"), &headers, body).await
    };
    for coding in ["gzip", "br", "identity, deflate", "GZIP"] {
        let answer = post(coding, "\u{1f}x").await;
        answer.is_problem(415);
        let named = coding.rsplit(", ").next().unwrap();
        assert!(answer.json()["detail"].as_str().unwrap().contains(&format!("`{named}`")), "{answer:?}");
        assert_eq!(answer.header("accept-encoding"), "identity");
    }
    for plain in ["identity", ""] {
        assert_eq!(post(plain, r#"{"content":"plain"}"#).await.status, 200, "{plain:?}");
    }
}

#[tokio::test]
async fn head_is_answered_like_get_without_the_body() {
    let server = Server::with("h2c = true\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.recv_type("history").await;
    ana.send_chat("here").await;
    ana.recv_content().await;
    let headers = [("authorization", "Bearer id-bo:bo")];
    for path in ["/rooms/lobby/messages", "/presence/list", "/rooms/lobby/ws", "/nowhere", "/rooms/lobby/events"] {
        let path = format!("{BASE}{path}");
        let head = server.request(Method::HEAD, &path, &headers, "").await;
        assert!(head.body.is_empty());
        if path.ends_with("/events") {
            assert_eq!((head.status.as_u16(), head.header("content-type")), (200, "text/event-stream"));
            continue;
        }
        let get = server.request(Method::GET, &path, &headers, "").await;
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-type", "content-length", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
    }
    // Over HTTP/2 as well, where nothing would stop a body.
    let stream = hyper_util::rt::TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
    tokio::spawn(connection);
    for path in ["/rooms/lobby/messages?token=id-bo:bo", "/nowhere"] {
        let request = hyper::Request::head(format!("http://localhost{BASE}{path}"));
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        let answer = within(sender.send_request(request)).await.expect("it answers");
        assert!(answer.headers().contains_key("content-length"), "{answer:?}");
        let body = within(http_body_util::BodyExt::collect(answer.into_body())).await.unwrap().to_bytes();
        assert_eq!(body.len(), 0);
    }
    ana.send_chat("nobody came").await;
    assert_eq!(ana.recv().await["message"]["content"], "nobody came", "a HEAD is no join");
}

#[tokio::test]
async fn a_client_that_sends_a_refused_body_still_reads_the_error() {
    let server = Server::start().await;
    let path = format!("{BASE}/rooms/a/messages");
    let long = vec![b' '; 8 << 20];
    let length = long.len();
    for (status, more) in [(401, ""), (413, "authorization: Bearer 1:ana\r\n")] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{more}content-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // Nothing is reset while it still sends, and it reads only then.
        within(stream.write_all(&long)).await.expect("it is taken");
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.expect("it ends in order");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

#[tokio::test]
async fn an_oversized_body_is_refused() {
    let server = Server::start().await;
    let body = "x".repeat((1 << 20) + 1);
    server.api(Method::POST, "/rooms/a/messages", "ana", &body).await.is_problem(413);
    for bad in ["", "nonsense", "{}", r#"{"content":5}"#, r#"{"content":""}"#] {
        server.api(Method::POST, "/rooms/a/messages", "ana", bad).await.is_problem(400);
    }
}

#[tokio::test]
async fn endless_heads_and_bodies_are_cut_off() {
    let server = Server::with("[limits]\nbody_timeout = \"1s\"\nheader_timeout = \"1s\"\n").await;
    let head = format!(
        "POST {BASE}/rooms/a/messages HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer 1:ana\r\ncontent-length: 50\r\n\r\n{{"
    );
    let answer = exchange_raw(&server, head.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", answer.escape_ascii());
    // It is closed without hearing the end of it.
    exchange_raw(&server, b"GET / HTTP/1.1\r\nhost: ").await;
}

#[tokio::test]
async fn half_open_connections_do_no_harm() {
    let server = Server::start().await;
    let mut ana = ana(&server).await;
    let mut half_open = Vec::new();
    for _ in 0..50 {
        half_open.push(TcpStream::connect(server.address).await.unwrap());
    }
    assert_still_works(&server, &mut ana).await;
}

#[tokio::test]
async fn clients_that_vanish_while_they_join_leave_the_room() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    // They ask while the room is busy, and are gone before it answers.
    ana.send("loop").await;
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "GET {BASE}/rooms/lobby/ws?token=2:bo HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    assert_eq!(ana.recv().await["code"], "room_failed");
    let alone = async {
        loop {
            ana.send("count").await;
            let mut received = ana.recv_text().await;
            while received.starts_with("gone") {
                received = ana.recv_text().await;
            }
            if received == "1" {
                return;
            }
        }
    };
    within(alone).await;
}
