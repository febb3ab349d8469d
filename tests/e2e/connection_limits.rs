//! Limits of connections: by address, by rate, and behind trusted proxies.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::command_line::run;
use crate::harness::{Answer, BASE, Client, Server, TEST_TIMEOUT, within};
use crate::outbound::caller_server;

const JWT: &str = "identity.auth = \"jwt\"\nidentity.access = \"open\"\n\
                   identity.keys = [{ algorithm = \"HS256\", file = \"secret\" }]\n";

/// A server that verifies tokens and therefore has limits, and a token for it.
pub(crate) async fn jwt_server(config: &str) -> (Server, String) {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), "a secret of at least thirty-two bytes").unwrap();
    let server = Server::in_directory(directory, &format!("{JWT}{config}")).await;
    let file = server.directory.path().join("dormouse.toml");
    let token = run(&["token", "1", "--config", file.to_str().unwrap()]).stdout;
    let authorization = format!("Bearer {}", String::from_utf8(token).unwrap().trim());
    (server, authorization)
}

async fn join(server: &Server, authorization: &str, behind: &str) -> Result<Client, Answer> {
    let headers = [("authorization", authorization), ("x-forwarded-for", behind)];
    server.connect(&format!("{BASE}/rooms/lobby/ws"), &headers).await
}

/// The answer of a server to a connection that sends nothing.
async fn read_unprompted(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    let _ = within(stream.read_to_string(&mut answer)).await;
    answer
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

#[tokio::test]
async fn connections_of_an_address_are_limited() {
    let (server, authorization) = jwt_server("limits.connections_per_address = 2\n").await;
    let ana = join(&server, &authorization, "").await.unwrap();
    let _bo = join(&server, &authorization, "").await.unwrap();
    let answer = read_unprompted(connect(&server).await).await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 1"), "{answer}");
    server.wait_for_log("if this is a proxy of yours, name it in trusted_proxies").await;
    server.wait_for_refusal("connections_per_address").await;
    ana.close().await;
    within(async { while read_unprompted(connect(&server).await).await.starts_with("HTTP/1.1 429") {} }).await;
}

#[tokio::test]
async fn connections_above_the_rate_are_turned_away() {
    let (server, _) =
        jwt_server("limits.connects_per_second_per_address = 1\nlimits.header_timeout = \"100ms\"\n").await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(connect(&server).await);
    }
    let answers = futures_util::future::join_all(streams.into_iter().map(read_unprompted)).await;
    let turned_away = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 429")).count();
    assert!((5..=10).contains(&turned_away), "ten come at once, and one more a second: {turned_away}");
    server.wait_for_refusal("connects_per_second_per_address").await;
}

#[tokio::test]
async fn sockets_behind_a_proxy_count_for_the_forwarded_address() {
    let config = "trusted_proxies = [\"127.0.0.0/8\"]\nlimits.connections_per_address = 1\n";
    // Keys of the top level come before tables.
    let (server, authorization) = jwt_server(config).await;
    let _ana = join(&server, &authorization, "192.0.2.1").await.unwrap();
    let refused = join(&server, &authorization, "6.6.6.6, 192.0.2.1").await.err().unwrap();
    refused.is_problem(429);
    let _bo = join(&server, &authorization, "192.0.2.2").await.unwrap();
    let path = format!("{BASE}/rooms/lobby/events");
    let headers =
        [("authorization", &*authorization), ("x-forwarded-for", "192.0.2.1"), ("accept", "text/event-stream")];
    assert_eq!(server.open_event_stream(&path, &headers).await.err().unwrap().status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn no_spelling_of_an_address_behind_a_proxy_escapes_the_limits() {
    let config = "trusted_proxies = [\"127.0.0.0/8\"]\nlimits.connections_per_address = 1\n";
    let (server, authorization) = jwt_server(config).await;
    let join = async |header: &'static str, value: &str| {
        let headers = [("authorization", &*authorization), (header, value)];
        server.connect(&format!("{BASE}/rooms/lobby/ws"), &headers).await
    };
    let _ana = join("x-forwarded-for", "203.0.113.5:4711").await.expect("the first of its address");
    let _bo = join("forwarded", "for=\"[2001:db8::1]:4711\";proto=https").await.expect("the first of its address");
    let _unclear = join("x-forwarded-for", "unknown").await.expect("the first with an unreadable address");
    for (header, value) in [
        ("x-forwarded-for", "203.0.113.5"),
        ("x-forwarded-for", "203.0.113.5:1"),
        ("x-forwarded-for", "6.6.6.6, 203.0.113.5,"),
        ("x-forwarded-for", " ,203.0.113.5:9 , ,"),
        ("x-forwarded-for", "\u{e9}, 203.0.113.5"),
        ("x-forwarded-for", "[2001:db8::2]:80"),
        ("forwarded", "for=6.6.6.6, for=203.0.113.5"),
        ("x-forwarded-for", "6.6.6.6, no address"),
        ("x-forwarded-for", "203.0.113.5:99999"),
        ("x-forwarded-for", ","),
        ("forwarded", "for=_hidden"),
    ] {
        join(header, value).await.err().unwrap_or_else(|| panic!("{header}: {value}")).is_problem(429);
    }
}

#[tokio::test]
async fn clients_that_a_proxy_does_not_name_count_as_the_proxy() {
    let config = "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\nlimits.connections_per_address = 2\n";
    let (server, authorization) = jwt_server(config).await;
    let path = format!("{BASE}/rooms/lobby/ws");
    let join = async |header: Option<(&'static str, &str)>| {
        let headers = [Some(("authorization", &*authorization)), header].into_iter().flatten().collect::<Vec<_>>();
        server.connect(&path, &headers).await
    };
    // An absent header counts as an unreadable one.
    let _one = join(None).await.expect("the first of the proxy itself");
    let _two = join(Some(("x-forwarded-for", "unknown"))).await.expect("the second");
    join(None).await.err().expect("the third is one too many").is_problem(429);
    server.wait_for_log("this trusted proxy names no client; have it set X-Forwarded-For").await;
    // Clients whose own address is in `trusted_proxies`.
    let inside =
        [("x-forwarded-for", "10.1.2.3"), ("x-forwarded-for", "10.1.2.3, 10.0.0.1"), ("forwarded", "for=10.1.2.3")];
    let _one = join(Some(inside[0])).await.expect("the first of its address");
    let _two = join(Some(inside[1])).await.expect("the second");
    join(Some(inside[2])).await.err().expect("the third is one too many").is_problem(429);
    join(Some(("x-forwarded-for", "10.1.2.4"))).await.expect("another client has its own");
}

#[tokio::test]
async fn requests_of_a_proxy_that_names_no_client_are_rate_limited() {
    let config = "trusted_proxies = [\"127.0.0.0/8\"]\nlimits.connects_per_second_per_address = 1\n";
    let (server, authorization) = jwt_server(config).await;
    let path = format!("{BASE}/rooms/lobby/messages");
    let ask = async || server.request(Method::GET, &path, &[("authorization", &*authorization)], "").await.status;
    // A hundred requests come at once, and ten more a second.
    let paced = async { while ask().await != StatusCode::TOO_MANY_REQUESTS {} };
    within(paced).await;
    server.wait_for_refusal("connects_per_second_per_address").await;
    assert_eq!(server.get("/healthz").await.status, 200, "health checks are never limited");
}

#[tokio::test]
async fn a_room_learns_the_client_address_only_from_a_trusted_proxy() {
    let path = format!("{BASE}/rooms/a/messages");
    let headers = [("authorization", "Bearer 1:ana"), ("x-forwarded-for", "192.0.2.1")];
    let count = async |server: &Server| server.request(Method::POST, &path, &headers, r#"{"do":"count"}"#).await.json();
    let server = caller_server("", "").await;
    assert_eq!(count(&server).await["behind"], serde_json::Value::Null);
    let server = caller_server("trusted_proxies = [\"127.0.0.1/32\"]", "").await;
    assert_eq!(count(&server).await["behind"], "192.0.2.1");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off() {
    let limits = "[limits]\nwrite_timeout = \"3s\"\nping_every = \"1h\"\nsocket_queue_bytes = 67108864\n";
    let server = Server::unruly(limits).await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    // It never reads again, and nothing else would end it: it is asked for no sign of life.
    let deaf = server.join("lobby", "deaf").await;
    let text = "x".repeat(900_000);
    for _ in 0..20 {
        ana.send(&format!("all {text}")).await;
        ana.expect_text(&text).await;
    }
    assert_eq!(ana.recv_text().await, "gone id-deaf 1006 false ");
    drop(deaf);
}

/// A server whose clients have three seconds to read, and a room whose history is larger than the flow-control window
/// of HTTP/2.
async fn server_with_long_answers() -> Server {
    let limits = "h2c = true\n[limits]\nwrite_timeout = \"3s\"\nping_every = \"1h\"\n";
    let server = Server::with_trace_log(Arc::new(TempDir::new().unwrap()), limits).await;
    let message = serde_json::json!({ "content": "x".repeat(2_000) }).to_string();
    for _ in 0..100 {
        server.api(Method::POST, "/rooms/lobby/messages", "ana", &message).await;
    }
    server
}

const CUT_OFF_IN_TIME: &str = "its client did not read in time";
const CUT_BY_THE_KERNEL: &str = "an HTTP connection ended early";

#[tokio::test]
async fn a_client_that_reads_too_slowly_is_cut_off() {
    let server = server_with_long_answers().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET {BASE}/rooms/lobby/messages?limit=100&token=bo HTTP/1.1\r\nhost: localhost\r\n\r\n");
    // More than the buffers of two sockets take.
    stream.write_all(request.repeat(100).as_bytes()).await.unwrap();
    let reads = async {
        // So much that the window of TCP opens again and again, and the kernel sees a client that goes on.
        let mut few = [0; 2_000];
        while let Ok(1..) = stream.read(&mut few).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // It is cut off. The log says so a moment later.
        std::future::pending::<()>().await;
    };
    // The kernel has the same time limit for a client that takes nothing. It comes first where this test hardly runs.
    tokio::select! {
        () = server.wait_for_any_log(&[CUT_OFF_IN_TIME, CUT_BY_THE_KERNEL]) => {}
        () = reads => {}
    }
    let mut rest = Vec::new();
    let _ = within(stream.read_to_end(&mut rest)).await;
    assert!(rest.len() < 100 * 200_000, "it got everything");
}

#[tokio::test]
async fn a_stalled_http2_stream_ends_its_connection() {
    let server = server_with_long_answers().await;
    let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = client.initial_stream_window_size(1_000).handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let ask = async |path: &str| {
        let uri = format!("http://localhost{BASE}{path}");
        let request = Request::get(uri).header("authorization", "Bearer bo").header("accept", "text/event-stream");
        within(sender.clone().send_request(request.body(Empty::<Bytes>::new()).unwrap())).await.unwrap()
    };
    let mut taken = ask("/rooms/others/events").await.into_body();
    let held = ask("/rooms/lobby/messages?limit=100").await.into_body();
    let mut received = 0;
    let takes = async {
        while let Some(Ok(_)) = taken.frame().await {
            received += 1;
            server.api(Method::POST, "/rooms/others/messages", "ana", r#"{"content":"on it goes"}"#).await;
            // Without a pause the log would get thousands of lines, and the client could reach its rate of frames.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ended = tokio::time::timeout(TEST_TIMEOUT, takes).await;
    assert!(ended.is_ok(), "it was not cut off after {received} frames:\n{}", server.log());
    assert!(received > 1, "it goes on until then");
    server.wait_for_log(CUT_OFF_IN_TIME).await;
    within(connection).await.unwrap().unwrap_err();
    drop(held);
}
