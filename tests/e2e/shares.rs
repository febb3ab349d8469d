//! No client takes the places, the memory or the rate of others: shares of requests, bodies and answers, and the cost
//! of joins and reads.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{join_all, select};
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Frame};
use hyper::client::conn::http2::SendRequest;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::admin::admin;
use crate::command_line::run;
use crate::harness::{Answer, BASE, Server, within};
use crate::outbound::PausedServer;

/// A server that verifies tokens, with rooms that follow commands.
pub(crate) async fn unruly_jwt_server(first: &str, limits: &str) -> Server {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), "a secret of at least thirty-two bytes").unwrap();
    std::fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).unwrap();
    let config = format!(
        "{first}\nh2c = true\nidentity.auth = \"jwt\"\nidentity.access = \"open\"\n\
         identity.keys = [{{ algorithm = \"HS256\", file = \"secret\" }}]\n\
         [limits]\n{limits}\n[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n[namespaces.PRESENCE]\n\
         component = \"unruly.wasm\"\n"
    );
    Server::in_directory(directory, &config).await
}

/// The same with rooms that are busy until a server elsewhere lets them go.
async fn paused_jwt_server(remote: &PausedServer, first: &str, limits: &str) -> Server {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), "a secret of at least thirty-two bytes").unwrap();
    std::fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).unwrap();
    let config = format!(
        "{first}\nidentity.auth = \"jwt\"\nidentity.access = \"open\"\n\
         identity.keys = [{{ algorithm = \"HS256\", file = \"secret\" }}]\n\
         [limits]\n{}{limits}\n{}",
        PausedServer::LIMITS,
        remote.namespaces()
    );
    Server::in_directory(directory, &config).await
}

/// The command for a room of such a server that needs no other.
const COUNT_COMMAND: &str = r#"{"do":"count"}"#;

/// The credential of a user for a server of [`unruly_jwt_server`].
pub(crate) fn bearer(server: &Server, user: &str) -> String {
    let file = server.directory.path().join("dormouse.toml");
    let token = run(&["token", user, "--config", file.to_str().unwrap()]).stdout;
    format!("Bearer {}", String::from_utf8(token).unwrap().trim())
}

async fn post_command(server: &Server, authorization: &str, room: &str, command: &str) -> Answer {
    let path = format!("{BASE}/rooms/{room}/messages");
    server.request(Method::POST, &path, &[("authorization", authorization)], command).await
}

/// A POST to a room on a new connection, whose body has begun and announces more bytes.
async fn start_unfinished_post(
    server: &Server,
    authorization: Option<&str>,
    content_length: usize,
    sent: usize,
) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let authorization = authorization.map(|token| format!("authorization: {token}\r\n")).unwrap_or_default();
    let head = format!(
        "POST {BASE}/rooms/a/messages HTTP/1.1\r\nhost: localhost\r\n{authorization}content-length: {content_length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; sent]).await.unwrap();
    stream
}

/// The status with which a connection is answered.
pub(crate) async fn read_status(stream: &mut TcpStream) -> u16 {
    let mut line = [0; 12];
    within(stream.read_exact(&mut line)).await.expect("it is answered");
    std::str::from_utf8(&line[9..]).unwrap().parse().expect("a status")
}

/// A connection of HTTP/2 whose client lets so many bytes of each answer come before it takes them.
pub(crate) async fn connect_http2<B>(server: &Server, window: u32) -> SendRequest<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = client.initial_stream_window_size(window).handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A body that gives its beginning and never ends.
struct UnfinishedBody(Option<Bytes>);

impl Body for UnfinishedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
    }
}

fn get(path: &str, authorization: &str) -> Request<Empty<Bytes>> {
    let request = Request::get(format!("http://localhost{BASE}{path}")).header("authorization", authorization);
    request.header("accept", "text/event-stream").body(Empty::new()).unwrap()
}

async fn get_over_http2(
    sender: &SendRequest<Empty<Bytes>>,
    path: &str,
    authorization: &str,
) -> Response<hyper::body::Incoming> {
    within(sender.clone().send_request(get(path, authorization))).await.expect("it answers")
}

#[tokio::test]
async fn anonymous_requests_get_401_before_the_body_and_take_no_place() {
    let server = unruly_jwt_server("", "requests = 2\nanonymous_requests = 16").await;
    let ana = bearer(&server, "ana");
    let mut streams = Vec::new();
    for number in 0..40 {
        // With none at all, and with a bad one.
        let authorization = (number % 2 == 0).then_some("Bearer nonsense");
        let mut stream = start_unfinished_post(&server, authorization, 1 << 20, 50_000).await;
        assert_eq!(read_status(&mut stream).await, 401, "the {number}th");
        streams.push(stream);
    }
    assert_eq!(post_command(&server, &ana, "a", "").await.status, 200);
    // The same over streams of HTTP/2 that stay open.
    let sender = connect_http2::<UnfinishedBody>(&server, 1 << 16).await;
    let mut answers = Vec::new();
    for _ in 0..40 {
        let body = UnfinishedBody(Some(Bytes::from(vec![b' '; 10_000])));
        let request = Request::post(format!("http://localhost{BASE}/rooms/a/messages")).body(body).unwrap();
        let answer = within(sender.clone().send_request(request)).await.expect("it answers");
        assert_eq!(answer.status(), 401);
        answers.push(answer);
    }
    assert_eq!(post_command(&server, &ana, "a", "").await.status, 200);
}

#[tokio::test]
async fn one_user_cannot_take_all_places_of_a_busy_room() {
    let remote = PausedServer::start().await;
    let server = paused_jwt_server(&remote, "", "requests = 6\nrequests_per_user = 4").await;
    let (ana, bo) = (bearer(&server, "ana"), bearer(&server, "bo"));
    let fetch = remote.fetch_command();
    let busy = join_all((0..6).map(|_| post_command(&server, &ana, "a", &fetch)));
    let meanwhile = async {
        server.wait_for_count("refused_total{limit=\"requests_per_user\"}", 2).await;
        let others = post_command(&server, &bo, "b", COUNT_COMMAND).await;
        remote.release();
        others
    };
    let (answers, others) = tokio::join!(busy, meanwhile);
    assert_eq!(others.status, 200);
    let refused = answers.iter().filter(|answer| answer.status == 429).collect::<Vec<_>>();
    assert_eq!(refused.len(), 2, "{answers:?}");
    assert!(refused[0].header("retry-after").parse::<u32>().unwrap() > 0);
}

#[tokio::test]
async fn one_address_cannot_take_all_request_places() {
    let remote = PausedServer::start().await;
    let server = paused_jwt_server(&remote, "trusted_proxies = [\"127.0.0.1/32\"]", "requests_per_address = 2").await;
    let users = ["ana", "bo", "cy"].map(|user| bearer(&server, user));
    let from = async |address: &str, user: &String, room: &str, command: &str| {
        let path = format!("{BASE}/rooms/{room}/messages");
        let headers = [("authorization", user.as_str()), ("x-forwarded-for", address)];
        server.request(Method::POST, &path, &headers, command).await.status.as_u16()
    };
    let fetch = remote.fetch_command();
    let busy = join_all(users.iter().map(|user| from("192.0.2.1", user, "a", &fetch)));
    let meanwhile = async {
        server.wait_for_refusal("requests_per_address").await;
        let other = from("192.0.2.2", &users[0], "b", COUNT_COMMAND).await;
        remote.release();
        other
    };
    let (mut answers, other) = tokio::join!(busy, meanwhile);
    answers.sort_unstable();
    assert_eq!((answers, other), (vec![200, 200, 429], 200));
}

#[tokio::test]
async fn busy_rooms_and_namespaces_leave_places_to_others() {
    for (limit, busy) in [
        ("requests_per_room", ["/rooms/a/messages", "/rooms/a/messages", "/rooms/a/messages"]),
        ("requests_per_namespace", ["/rooms/a/messages", "/rooms/b/messages", "/rooms/c/messages"]),
    ] {
        let remote = PausedServer::start().await;
        let server = remote.server(&format!("{limit} = 2")).await;
        let fetch = remote.fetch_command();
        let waiting = join_all(busy.map(|path| server.api(Method::POST, path, "ana", &fetch)));
        let meanwhile = async {
            server.wait_for_refusal(limit).await;
            let free = if limit == "requests_per_room" { "/rooms/b/messages" } else { "/presence/update" };
            let other = server.api(Method::POST, free, "bo", COUNT_COMMAND).await;
            remote.release();
            other
        };
        let (answers, other) = tokio::join!(waiting, meanwhile);
        assert_eq!(other.status, 200, "{limit}");
        let refused = answers.iter().filter(|answer| answer.status == 503).collect::<Vec<_>>();
        assert_eq!(refused.len(), 1, "{limit}: {answers:?}");
        assert!(refused[0].header("retry-after").parse::<u32>().unwrap() > 0);
    }
}

#[tokio::test]
async fn bytes_of_request_bodies_are_limited_per_user_and_in_total() {
    for (limit, status_of_it) in [("request_bytes_per_user", 429), ("request_bytes", 503)] {
        let server = unruly_jwt_server("", &format!("{limit} = 100_000\nbody_bytes = 100_000")).await;
        let (ana, bo) = (bearer(&server, "ana"), bearer(&server, "bo"));
        let mut streams = Vec::new();
        for _ in 0..8 {
            streams.push(start_unfinished_post(&server, Some(&ana), 40_000, 30_000).await);
        }
        // Three of them fit.
        server.wait_for_count(&format!("refused_total{{limit=\"{limit}\"}}"), 5).await;
        if limit == "request_bytes_per_user" {
            assert_eq!(post_command(&server, &bo, "b", &" ".repeat(90_000)).await.status, 200, "others are read");
        }
        let answers = streams.iter_mut().map(read_status).collect::<FuturesUnordered<_>>();
        let answers = answers.take(5).collect::<Vec<_>>().await;
        assert_eq!(answers, [status_of_it; 5]);
        // A request that ends gives its space back.
        drop(streams);
        let again = async { while post_command(&server, &ana, "a", &" ".repeat(90_000)).await.status != 200 {} };
        within(again).await;
    }
}

/// A room of a server whose answer to `get long` has some 900 KB.
pub(crate) async fn prepare_long_answer(server: &Server, authorization: &str) {
    let put = format!("put long {}", "x".repeat(900_000));
    assert_eq!(post_command(server, authorization, "a", &put).await.status, 200);
}

/// Ask for that answer.
pub(crate) async fn request_long_answer(
    sender: &SendRequest<Full<Bytes>>,
    authorization: &str,
) -> Response<hyper::body::Incoming> {
    let request = Request::post(format!("http://localhost{BASE}/rooms/a/messages"));
    let request = request.header("authorization", authorization).body(Full::from("get long")).unwrap();
    within(sender.clone().send_request(request)).await.expect("it answers")
}

#[tokio::test]
async fn unread_answers_are_limited_and_hold_their_places() {
    let limits = "answer_bytes = 5_000_000\nanswer_bytes_per_user = 4_000_000\nanswer_bytes_per_connection = 2_000_000\n\
                  requests_per_user = 20";
    let server = unruly_jwt_server("", limits).await;
    let (ana, bo) = (bearer(&server, "ana"), bearer(&server, "bo"));
    prepare_long_answer(&server, &ana).await;
    // Each connection has two of them, and the user four.
    let mut held = Vec::new();
    let mut refused = Vec::new();
    let mut connections = Vec::new();
    for _ in 0..3 {
        let sender = connect_http2::<Full<Bytes>>(&server, 1).await;
        for _ in 0..3 {
            let answer = request_long_answer(&sender, &ana).await;
            match answer.status().as_u16() {
                200 => held.push(answer),
                status => refused.push((status, answer)),
            }
        }
        connections.push(sender);
    }
    assert_eq!((held.len(), refused.len()), (4, 5));
    assert!(refused.iter().all(|(status, answer)| *status == 429 && answer.headers().contains_key("retry-after")));
    server.wait_for_refusal("answer_bytes_per_connection").await;
    server.wait_for_refusal("answer_bytes_per_user").await;
    // The rest of the total limit admits one more, of another user.
    let sender = connect_http2::<Full<Bytes>>(&server, 1).await;
    held.push(request_long_answer(&sender, &bo).await);
    assert_eq!(held[4].status(), 200);
    assert_eq!(request_long_answer(&sender, &bo).await.status(), 503);
    server.wait_for_refusal("answer_bytes").await;
    // A request that ends gives all of it back.
    drop((held, refused, connections, sender));
    let again = async { while post_command(&server, &ana, "a", "get long").await.status != 200 {} };
    within(again).await;
}

#[tokio::test]
async fn a_request_counts_until_its_answer_is_sent() {
    let server = unruly_jwt_server("", "requests_per_user = 2").await;
    let (ana, bo) = (bearer(&server, "ana"), bearer(&server, "bo"));
    prepare_long_answer(&server, &ana).await;
    let sender = connect_http2::<Full<Bytes>>(&server, 16_000).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let answer = request_long_answer(&sender, &ana).await;
        assert_eq!(answer.status(), 200);
        held.push(answer);
    }
    assert_eq!(post_command(&server, &ana, "a", "").await.status, 429);
    server.wait_for_refusal("requests_per_user").await;
    assert_eq!(post_command(&server, &bo, "a", "").await.status, 200);
    let taken = held.pop().unwrap().into_body().collect();
    within(taken).await.expect("it is whole");
    within(async { while post_command(&server, &ana, "a", "").await.status != 200 {} }).await;
}

#[tokio::test]
async fn unread_answers_to_anonymous_clients_affect_no_user() {
    let limits = "anonymous_requests = 8\nwrite_timeout = \"8s\"";
    let server = unruly_jwt_server("trusted_proxies = [\"127.0.0.1/32\"]", limits).await;
    let ana = bearer(&server, "ana");
    let stranger = async |sender: &SendRequest<Empty<Bytes>>, address: &str| {
        let mut request = get("/rooms/a/messages", "");
        request.headers_mut().remove("authorization");
        request.headers_mut().insert("x-forwarded-for", address.parse().unwrap());
        within(sender.clone().send_request(request)).await.expect("it answers")
    };
    // The client reads one byte of each answer.
    let sender = connect_http2(&server, 1).await;
    let mut held = Vec::new();
    for address in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3", "192.0.2.3"] {
        held.push(stranger(&sender, address).await);
        assert_eq!(held.last().unwrap().status(), 401);
    }
    let status = |answer: Response<_>| answer.status().as_u16();
    assert_eq!(status(stranger(&sender, "192.0.2.1").await), 503, "an address has a quarter");
    for _ in 0..2 {
        held.push(stranger(&sender, "192.0.2.4").await);
        assert_eq!(held.last().unwrap().status(), 401, "other addresses have their own");
    }
    let full = stranger(&sender, "192.0.2.5").await;
    assert!(full.status() == 503 && full.headers().contains_key("retry-after"), "{full:?}");
    server.wait_for_refusal("anonymous_requests").await;
    assert_eq!(
        post_command(&server, &ana, "a", "").await.status,
        200,
        "a request with a token needs none of these places"
    );
    // The connection is cut in time, which frees the places.
    let again = connect_http2(&server, 1 << 16).await;
    within(async { while status(stranger(&again, "192.0.2.1").await) != 401 {} }).await;
    drop(held);
}

#[tokio::test]
async fn an_unread_event_stream_holds_at_most_two_queues() {
    let server = unruly_jwt_server("", "socket_queue_bytes = 65_536\nmessages_per_second = 1_000").await;
    let (ana, bo) = (bearer(&server, "ana"), bearer(&server, "bo"));
    let path = format!("{BASE}/rooms/a/ws");
    let mut talker = server.connect(&path, &[("authorization", &ana)]).await.unwrap();
    talker.expect_text("welcome").await;
    // The client reads nothing more than its window, at first.
    let sender = connect_http2::<Empty<Bytes>>(&server, 1_024).await;
    let listener = get_over_http2(&sender, "/rooms/a/events", &bo).await;
    assert_eq!(listener.status(), 200);
    let text = "x".repeat(8_000);
    for _ in 0..60 {
        talker.expect_reply(&format!("all {text}"), &text).await;
    }
    // Now it reads: what was kept for it, and why there is no more.
    let kept = within(listener.into_body().collect()).await.expect("it ends in order").to_bytes();
    let goodbye = kept.windows(12).any(|bytes| bytes == b"event: close") && kept.ends_with(b"\n\n");
    assert!(goodbye && kept.windows(11).any(|bytes| bytes == b"\"code\":1013"), "{}", kept.len());
    assert!(kept.len() <= 2 * 65_536 + (16 << 10), "it held {} bytes", kept.len());
    server.wait_for_refusal("socket_queue_bytes").await;
}

#[tokio::test]
async fn a_closed_stream_that_nobody_reads_leaves_its_room_at_once() {
    let server = unruly_jwt_server("", "messages_per_second = 1_000\nwrite_timeout = \"1h\"").await;
    let (ana, bo) = (bearer(&server, "ana"), bearer(&server, "bo"));
    let path = format!("{BASE}/rooms/a/ws");
    let mut talker = server.connect(&path, &[("authorization", &ana)]).await.unwrap();
    talker.expect_text("welcome").await;
    // The client reads nothing more than its window, so the stream cannot say goodbye.
    let sender = connect_http2::<Empty<Bytes>>(&server, 1_024).await;
    let listener = get_over_http2(&sender, "/rooms/a/events", &bo).await;
    assert_eq!(listener.status(), 200);
    let text = "x".repeat(8_000);
    for _ in 0..4 {
        talker.expect_reply(&format!("all {text}"), &text).await;
    }
    let sockets = async || {
        let room = admin(&server, Method::GET, "/rooms/rooms/a", "").await.json();
        let user = admin(&server, Method::GET, "/users/bo", "").await.json();
        (room["sockets"].as_u64().unwrap(), user["sockets"].as_u64().unwrap())
    };
    assert_eq!(sockets().await, (2, 1));
    let revoked = admin(&server, Method::POST, "/revocations", r#"{"user":"bo"}"#).await;
    assert_eq!((revoked.status.as_u16(), &revoked.json()["closed"]), (200, &json!(1)));
    within(async { while sockets().await != (1, 0) {} }).await;
    drop(listener);
}

#[tokio::test]
async fn reset_joins_over_http2_count_for_the_rate_limit() {
    let server = unruly_jwt_server("", "messages_per_second_per_user = 4").await;
    let (ana, bo) = (bearer(&server, "ana"), bearer(&server, "bo"));
    let sender = connect_http2::<Empty<Bytes>>(&server, 1 << 16).await;
    let (mut joined, mut refused) = (0, 0);
    for _ in 0..40 {
        let answer = get_over_http2(&sender, "/presence/x/events", &ana).await;
        match answer.status().as_u16() {
            200 => joined += 1,
            429 => refused += 1,
            other => panic!("{other}"),
        }
        // Dropping it resets its stream.
        drop(answer);
    }
    assert!((5..=14).contains(&joined) && refused >= 26, "forty messages' worth come at once: {joined}, {refused}");
    server.wait_for_refusal("messages_per_second_per_user").await;
    assert_eq!(get_over_http2(&sender, "/presence/x/events", &bo).await.status(), 200);
    // Those who go before they are answered have paid as much.
    let cy = bearer(&server, "cy");
    let mut watcher = server.connect(&format!("{BASE}/presence/x/ws"), &[("authorization", &bo)]).await.unwrap();
    for _ in 0..10 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("GET {BASE}/presence/x/events HTTP/1.1\r\nhost: localhost\r\nauthorization: {cy}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
    }
    for _ in 0..10 {
        while !watcher.recv_text().await.starts_with("gone cy") {}
    }
    assert_eq!(get_over_http2(&sender, "/presence/x/events", &cy).await.status(), 429);
}

#[tokio::test]
async fn reads_count_for_their_user_and_their_address() {
    let server = unruly_jwt_server("", "messages_per_second_per_user = 1").await;
    let ana = bearer(&server, "ana");
    let read = async |path: &str| {
        let path = format!("{BASE}{path}");
        server.request(Method::GET, &path, &[("authorization", ana.as_str())], "").await.status.as_u16()
    };
    let answers = join_all((0..30).map(|_| read("/rooms/a/messages"))).await;
    let answered = answers.iter().filter(|status| **status == 200).count();
    assert!((10..20).contains(&answered), "{answers:?}");

    let first = "trusted_proxies = [\"127.0.0.1/32\"]";
    let server = unruly_jwt_server(first, "connects_per_second_per_address = 1").await;
    let users = ["ana", "bo"].map(|user| bearer(&server, user));
    let sender = connect_http2::<Empty<Bytes>>(&server, 1 << 16).await;
    let from = async |address: &str, user: &str, path: &str| {
        let mut request = get(path, user);
        request.headers_mut().insert("x-forwarded-for", address.parse().unwrap());
        within(sender.clone().send_request(request)).await.expect("it answers").status().as_u16()
    };
    let mut joined = 0;
    while from("192.0.2.1", &users[0], "/presence/x/events").await == 200 {
        joined += 1;
    }
    assert!((5..=14).contains(&joined), "ten connects' worth come at once: {joined}");
    server.wait_for_refusal("connects_per_second_per_address").await;
    let reads = async { while from("192.0.2.1", &users[1], "/rooms/a/messages").await == 200 {} };
    within(reads).await;
    assert_eq!(from("192.0.2.2", &users[1], "/rooms/a/messages").await, 200, "another address has its own");
}

#[tokio::test]
async fn default_limits_admit_a_page_load_and_a_mass_reconnect() {
    let server = unruly_jwt_server("", "").await;
    let users = ["ana", "bo", "cy", "di"].map(|user| bearer(&server, user));
    // Four people behind one address, whose pages have a few requests each and 50 sockets.
    let page = async |user: &String| {
        let path = format!("{BASE}/rooms/a/messages");
        for _ in 0..10 {
            let answer = server.request(Method::GET, &path, &[("authorization", user.as_str())], "").await;
            assert_eq!(answer.status, 200);
        }
        let path = format!("{BASE}/rooms/a/ws");
        let headers = [("authorization", user.as_str())];
        let sockets = (0..50).map(|_| server.connect(&path, &headers));
        join_all(sockets).await.into_iter().map(|socket| socket.expect("it lets us in")).collect::<Vec<_>>()
    };
    let sockets = join_all(users.iter().map(page)).await;
    drop(sockets);
    join_all(users.iter().map(page)).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn queued_requests_are_refused_under_memory_pressure() {
    let remote = PausedServer::start().await;
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).unwrap();
    std::fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).unwrap();
    let config = format!(
        "hibernate_after = \"1h\"\n[limits]\n{}memory_total_bytes = 200_000_000\nturn_cpu = \"1h\"\n\
         events_per_room = 1\n{}[namespaces.HOARDERS]\ncomponent = \"unruly.wasm\"\n",
        PausedServer::LIMITS,
        remote.namespaces()
    );
    let server = Server::in_directory(directory, &config).await;
    let mut hoarders = Vec::new();
    for number in 0..5 {
        let path = format!("{BASE}/hoarders/{number}/ws?token=ana");
        let mut client = server.connect(&path, &[]).await.expect("it lets us in");
        client.expect_text("welcome").await;
        hoarders.push(client);
    }
    let fetch = remote.fetch_command();
    let path = "/rooms/a/messages";
    let busy = server.api(Method::POST, path, "ana", &fetch);
    let meanwhile = async {
        remote.wait_for_requests(1).await;
        // The room is busy. One request waits for its turn: that another one is refused shows it.
        let (one, other) = (
            pin!(server.api(Method::POST, path, "bo", COUNT_COMMAND)),
            pin!(server.api(Method::POST, path, "cy", COUNT_COMMAND)),
        );
        let (refused, waits) = select(one, other).await.factor_first();
        refused.is_problem(503);
        server.wait_for_refusal("events_per_room").await;
        // These hold their memory to the end, because their turns do not end.
        for room in &mut hoarders {
            room.send("allocate 56; loop").await;
        }
        server.wait_for_log("memory is above its limit").await;
        remote.release();
        let answer = waits.await;
        answer.is_problem(503);
        assert_eq!(answer.json()["detail"], json!("the server has too little memory now"));
    };
    let (answer, ()) = tokio::join!(busy, meanwhile);
    assert_eq!(answer.status, 200, "a turn that has begun goes on");
}
