//! Outbound requests of rooms: calls to other rooms, requests to servers, and posts that must not be lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::harness::{Server, within};

/// ROOMS may call ROOMS and OTHERS; OTHERS may call ROOMS; LONERS may call no room.
const NAMESPACES: &str = r#"
[namespaces.ROOMS]
component = "caller.wasm"
calls = ["ROOMS", "OTHERS"]
ROOMS_MORE
[namespaces.OTHERS]
component = "caller.wasm"
calls = ["ROOMS"]
[namespaces.LONERS]
component = "caller.wasm"
"#;

/// A server with rooms that call others on command (`tests/guests/caller`). `more` goes into the namespace `ROOMS`,
/// `first` before everything.
pub(crate) async fn caller_server(first: &str, more: &str) -> Server {
    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    std::fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).expect("a file");
    Server::in_directory(directory, &format!("{first}\n{}", NAMESPACES.replace("ROOMS_MORE", more))).await
}

/// Runs a command in a room of ROOMS.
pub(crate) async fn run_command(server: &Server, room: &str, command: Value) -> Value {
    let answer = server.api(Method::POST, &format!("/rooms/{room}/messages"), "ana", &command.to_string()).await;
    if answer.status == 500 {
        return json!({ "failed": true });
    }
    answer.json()
}

/// Runs a command in a room of a namespace, through a call of another room.
async fn call_room(server: &Server, namespace: &str, name: &str, command: Value) -> Value {
    let call = json!({ "do": "call", "namespace": namespace, "name": name, "command": command });
    run_command(server, "asker", call).await["answer"].clone()
}

/// Waits until the count of a room is at least `count`.
async fn wait_for_count(server: &Server, namespace: &str, name: &str, count: i64) -> Value {
    within(async {
        loop {
            let seen = call_room(server, namespace, name, json!({ "do": "get-count" })).await;
            if seen["count"].as_i64() >= Some(count) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// A remote server that answers only after [`release`](Self::release). A room that sends it a request is busy until
/// then, however fast or slow the machine is.
pub(crate) struct PausedServer {
    pub(crate) origin: String,
    requests_seen: watch::Receiver<usize>,
    release_sender: watch::Sender<bool>,
}

impl PausedServer {
    /// Limits with which rooms wait for it as long as the test does.
    pub(crate) const LIMITS: &str = "turn_calls_timeout = \"1h\"\nanswer_timeout = \"1h\"\n";

    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let origin = format!("http://{}", listener.local_addr().expect("it has an address"));
        let (request_count, requests_seen) = watch::channel(0);
        let (release_sender, released) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (request_count, mut released) = (request_count.clone(), released.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await?);
                    }
                    request_count.send_modify(|requests_seen| *requests_seen += 1);
                    if released.wait_for(|released| *released).await.is_ok() {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                        stream.write_all(answer).await?;
                    }
                    std::io::Result::Ok(())
                });
            }
        });
        PausedServer { origin, requests_seen, release_sender }
    }

    /// The namespaces `ROOMS` and `PRESENCE`, with rooms that may send it requests.
    pub(crate) fn namespaces(&self) -> String {
        let namespace = |name| {
            format!("[namespaces.{name}]\ncomponent = \"caller.wasm\"\noutbound_private = [\"{}\"]\n", self.origin)
        };
        namespace("ROOMS") + &namespace("PRESENCE")
    }

    /// A server with those rooms.
    pub(crate) async fn server(&self, limits: &str) -> Server {
        let directory = Arc::new(TempDir::new().expect("a temporary directory"));
        std::fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).expect("a file");
        let config = format!("[limits]\n{}{limits}\n{}", Self::LIMITS, self.namespaces());
        Server::in_directory(directory, &config).await
    }

    /// The command with which a room sends it a request.
    pub(crate) fn fetch_command(&self) -> String {
        json!({ "do": "fetch", "origin": self.origin, "path": "/" }).to_string()
    }

    /// Waits until it has received this many requests.
    pub(crate) async fn wait_for_requests(&self, times: usize) {
        let mut requests_seen = self.requests_seen.clone();
        within(requests_seen.wait_for(|requests_seen| *requests_seen >= times)).await.expect("it listens");
    }

    /// Answers all requests, now and later.
    pub(crate) fn release(&self) {
        self.release_sender.send_replace(true);
    }
}

/// A remote server. `answer` gives the response to its nth request, and it records all requests.
pub(crate) struct RemoteServer {
    pub(crate) origin: String,
    seen: Arc<Mutex<Vec<RecordedRequest>>>,
}

#[derive(Debug, Clone)]
pub(crate) struct RecordedRequest {
    pub(crate) path: String,
    pub(crate) headers: hyper::HeaderMap,
    body: Bytes,
}

impl RemoteServer {
    pub(crate) async fn start(answer: impl Fn(usize) -> Response<Full<Bytes>> + Clone + Send + 'static) -> Self {
        Self::serve(answer, None).await
    }

    /// The same with TLS, and a certificate for `localhost` that only its own authority vouches for.
    async fn start_tls(answer: impl Fn(usize) -> Response<Full<Bytes>> + Clone + Send + 'static) -> (Self, String) {
        let mut authority = CertificateParams::new(Vec::new()).expect("no names are good names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let (authority_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let root = authority.self_signed(&authority_key).expect("a certificate");
        let server = CertificateParams::new(["localhost".to_owned()]).expect("a good name");
        let certificate = server.signed_by(&key, &Issuer::new(authority, authority_key)).expect("a certificate");
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("good versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("they fit");
        (Self::serve(answer, Some(TlsAcceptor::from(Arc::new(config)))).await, root.pem())
    }

    async fn serve(
        answer: impl Fn(usize) -> Response<Full<Bytes>> + Clone + Send + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let origin = match tls {
            Some(_) => format!("https://localhost:{}", address.port()),
            None => format!("http://{address}"),
        };
        let seen = Arc::<Mutex<Vec<RecordedRequest>>>::default();
        let (recorded, count) = (seen.clone(), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (recorded, count, answer) = (recorded.clone(), count.clone(), answer.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (recorded, count, answer) = (recorded.clone(), count.clone(), answer.clone());
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        recorded.lock().unwrap().push(RecordedRequest {
                            path: parts.uri.to_string(),
                            headers: parts.headers,
                            body,
                        });
                        Ok::<_, hyper::Error>(answer(count.fetch_add(1, Ordering::SeqCst)))
                    }
                });
                let http = hyper::server::conn::http1::Builder::new();
                let tls = tls.clone();
                tokio::spawn(async move {
                    // A client that disconnects, or does not trust the certificate, is not an error of this server.
                    let _ = match tls {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => Ok(()),
                        },
                        None => http.serve_connection(TokioIo::new(stream), service).await,
                    };
                });
            }
        });
        RemoteServer { origin, seen }
    }

    fn port(&self) -> &str {
        self.origin.rsplit_once(':').expect("it has a port").1
    }

    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) async fn wait_for_requests(&self, count: usize) -> Vec<RecordedRequest> {
        within(async {
            while self.requests().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        self.requests()
    }
}

pub(crate) fn response(status: u16, body: &str) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(Bytes::from(body.to_owned()))).expect("a good answer")
}

#[tokio::test]
async fn a_room_calls_another_and_is_identified_to_it() {
    let server = caller_server("", "").await;
    let call = json!({ "do": "call", "namespace": "OTHERS", "name": "b", "command": { "do": "count" }, "user": "u7" });
    let answered = run_command(&server, "a", call).await;
    assert_eq!(answered["status"], 200);
    assert_eq!(
        answered["answer"],
        json!({ "count": 1, "caller": "ROOMS/a", "key": null, "user": "u7", "act": null, "behind": null })
    );
}

#[tokio::test]
async fn a_client_cannot_impersonate_a_room() {
    let server = caller_server("", "").await;
    let headers = [("authorization", "Bearer 1:ana"), ("dormouse-caller", "OTHERS/admin")];
    let path = format!("{}/rooms/a/messages", crate::harness::BASE);
    let counted = server.request(Method::POST, &path, &headers, r#"{"do":"count"}"#).await.json();
    assert_eq!(counted["caller"], Value::Null);
}

#[tokio::test]
async fn a_room_calls_only_what_the_operator_allows() {
    let server = caller_server("", "").await;
    for (namespace, name, error) in
        [("LONERS", "a", "Denied"), ("NOWHERE", "a", "Denied"), ("OTHERS", "", "NoSuchRoom")]
    {
        let call = json!({ "do": "call", "namespace": namespace, "name": name, "command": { "do": "count" } });
        let denied = run_command(&server, "a", call).await["error"].clone();
        assert!(denied.as_str().is_some_and(|text| text.contains(error)), "{namespace}/{name}: {denied}");
    }
    let post = json!({ "do": "post", "namespace": "LONERS", "name": "a", "command": { "do": "count" } });
    assert!(run_command(&server, "a", post).await["error"].as_str().is_some_and(|text| text.contains("Denied")));
    // OTHERS may call ROOMS, and not itself.
    let through = json!({ "do": "call", "namespace": "OTHERS", "name": "c", "command": { "do": "count" } });
    let inner = call_room(&server, "OTHERS", "b", through).await;
    assert!(inner["error"].as_str().is_some_and(|text| text.contains("Denied")), "{inner}");
}

#[tokio::test]
async fn a_callee_keeps_its_commit_if_the_callers_turn_fails() {
    let server = caller_server("", "").await;
    let call = json!({ "do": "call", "namespace": "OTHERS", "name": "b", "command": { "do": "count" }, "fail": true });
    assert_eq!(run_command(&server, "a", call).await, json!({ "failed": true }));
    assert_eq!(call_room(&server, "OTHERS", "b", json!({ "do": "get-count" })).await["count"], 1);
    assert_eq!(run_command(&server, "a", json!({ "do": "get-count" })).await["count"], 0);
}

#[tokio::test]
async fn a_failed_callee_fails_only_the_call() {
    let server = caller_server("", "").await;
    let call = json!({ "do": "count-and-call", "namespace": "OTHERS", "name": "b", "command": { "do": "fail" } });
    let failed = run_command(&server, "a", call).await["error"].clone();
    assert!(failed.as_str().is_some_and(|text| text.contains("Failed")), "{failed}");
    assert_eq!(run_command(&server, "a", json!({ "do": "get-count" })).await["count"], 1);
}

#[tokio::test]
async fn a_call_that_would_deadlock_fails_at_once() {
    let server = caller_server("", "").await;
    let deadlock = |answer: &Value| answer["error"].as_str().is_some_and(|text| text.contains("Deadlock"));
    let itself = json!({ "do": "call", "namespace": "ROOMS", "name": "a", "command": { "do": "count" } });
    assert!(deadlock(&run_command(&server, "a", itself.clone()).await));
    let circle = json!({ "do": "call", "namespace": "OTHERS", "name": "b", "command": itself });
    let answered = run_command(&server, "a", circle).await;
    assert!(deadlock(&answered["answer"]), "{answered}");
}

#[tokio::test]
async fn rooms_that_call_each_other_concurrently_all_go_on() {
    let server = caller_server("[limits]\nturn_calls_timeout = \"5s\"", "").await;
    let call = |to: &str| json!({ "do": "call", "namespace": "ROOMS", "name": to, "command": { "do": "count" } });
    let (to_b, to_a) = (call("b"), call("a"));
    for _ in 0..50 {
        let (one, other) =
            tokio::join!(run_command(&server, "a", to_b.clone()), run_command(&server, "b", to_a.clone()));
        for answered in [one, other] {
            let fine = answered["status"] == 200;
            let is_deadlock = answered["error"].as_str().is_some_and(|text| text.contains("Deadlock"));
            assert!(fine || is_deadlock, "{answered}");
        }
    }
}

#[tokio::test]
async fn calls_of_a_turn_are_limited() {
    let server = caller_server("", "").await;
    let call = json!({ "do": "call-often", "namespace": "OTHERS", "name": "b", "times": 34 });
    let answers = run_command(&server, "a", call).await;
    let answers = answers.as_array().expect("a list");
    assert!(answers[..32].iter().all(|answer| answer["status"] == 200), "{answers:?}");
    assert!(answers[32..].iter().all(|answer| answer["error"].as_str().is_some_and(|text| text.contains("TooMany"))));
}

#[tokio::test]
async fn a_post_arrives_once_and_only_after_its_turn_commits() {
    let server = caller_server("", "").await;
    let post =
        |fail| json!({ "do": "post", "namespace": "OTHERS", "name": "b", "command": { "do": "count" }, "fail": fail });
    assert_eq!(run_command(&server, "a", post(true)).await, json!({ "failed": true }));
    assert_eq!(run_command(&server, "a", post(false)).await, json!({ "posted": true }));
    wait_for_count(&server, "OTHERS", "b", 1).await;
    let waiting = json!({ "do": "waiting" });
    within(async { while run_command(&server, "a", waiting.clone()).await["waiting"] != 0 {} }).await;
    assert_eq!(call_room(&server, "OTHERS", "b", json!({ "do": "get-count" })).await["count"], 1);
}

#[tokio::test]
async fn a_refused_post_is_retried() {
    let server = caller_server("", "").await;
    let command = json!({ "do": "flaky", "times": 1 });
    run_command(&server, "a", json!({ "do": "post", "namespace": "OTHERS", "name": "b", "command": command })).await;
    server.wait_for_log("it is tried again").await;
    wait_for_count(&server, "OTHERS", "b", 2).await;
    let waiting = json!({ "do": "waiting" });
    within(async { while run_command(&server, "a", waiting.clone()).await["waiting"] != 0 {} }).await;
}

#[tokio::test]
async fn posts_that_always_fail_do_not_fill_the_log() {
    let server = caller_server("limits.log_lines_per_second = 1", "").await;
    let began = Instant::now();
    let command = json!({ "do": "flaky", "times": 1_000_000 });
    // Those to one room go one after the other, and would be slow enough.
    for room in 0..100 {
        let post = json!({ "do": "post", "namespace": "OTHERS", "name": format!("b{room}"), "command": command });
        assert_eq!(run_command(&server, "a", post).await["posted"], true);
    }
    server.wait_for_log("the rest was dropped").await;
    let log = server.log();
    let logged = log.lines().filter(|line| line.contains("a post was not accepted")).count() as u64;
    assert!(logged > 0 && logged <= 11 + began.elapsed().as_secs(), "{logged} in {:?}: {log}", began.elapsed());
}

#[tokio::test]
async fn acknowledged_posts_arrive_exactly_once_across_kills() {
    let mut server = caller_server("", "").await;
    let mut acknowledged = 0;
    for round in 0..5 {
        // Ten rooms post three times each, all to one; the server dies somewhere in between.
        let post =
            json!({ "do": "post", "namespace": "OTHERS", "name": "sum", "command": { "do": "count" }, "times": 3 });
        for room in 0..10 {
            assert_eq!(run_command(&server, &format!("r{room}"), post.clone()).await["posted"], true);
            acknowledged += 3;
            if room == 2 * round {
                server = server.crash_and_restart().await;
            }
        }
        server = server.crash_and_restart().await;
    }
    wait_for_count(&server, "OTHERS", "sum", acknowledged).await;
    for room in 0..10 {
        let waiting = json!({ "do": "waiting" });
        within(async { while run_command(&server, &format!("r{room}"), waiting.clone()).await["waiting"] != 0 {} })
            .await;
    }
    assert_eq!(call_room(&server, "OTHERS", "sum", json!({ "do": "get-count" })).await["count"], acknowledged);
}

#[tokio::test]
async fn invalid_posts_are_refused_and_not_stored() {
    let server = caller_server("", "").await;
    let much = |bytes| json!({ "do": "post-much", "namespace": "OTHERS", "name": "b", "bytes": bytes });
    let refused = |answer: &Value, why: &str| answer["error"].as_str().is_some_and(|text| text.contains(why));
    assert!(refused(&run_command(&server, "a", much(256 << 10)).await, "TooLarge"));
    // Its destination answers 503 for ever, so they wait.
    let command = json!({ "do": "flaky", "times": 1_000_000 });
    let many = json!({ "do": "post", "namespace": "OTHERS", "name": "b", "command": command, "times": 1_001 });
    assert!(refused(&run_command(&server, "a", many).await, "TooMany"));
    assert_eq!(run_command(&server, "a", json!({ "do": "waiting" })).await["waiting"], 1_000);
    // The room can still do everything else.
    assert_eq!(run_command(&server, "a", json!({ "do": "count" })).await["count"], 1);
}

#[tokio::test]
async fn a_room_calls_a_server_that_the_operator_allows() {
    let remote = RemoteServer::start(|_| response(201, "made")).await;
    let server = caller_server("", &format!("outbound_private = [\"{}\"]", remote.origin)).await;
    let fetch = json!({ "do": "fetch", "origin": remote.origin, "path": "/things?x=1", "body": "x".repeat(100_000) });
    let answered = run_command(&server, "a", fetch).await;
    assert_eq!((answered["status"].as_u64(), answered["body"].as_str()), (Some(201), Some("made")), "{answered}");
    let seen = remote.requests();
    assert_eq!((seen.len(), seen[0].path.as_str(), seen[0].body.len()), (1, "/things?x=1", 100_000));
    assert_eq!(seen[0].headers["host"], remote.origin.trim_start_matches("http://"));
}

#[tokio::test]
async fn requests_to_unlisted_servers_and_private_addresses_fail() {
    let remote = RemoteServer::start(|_| response(200, "secret")).await;
    let port = remote.port();
    let public = format!("outbound = [\"{}\", \"http://localhost:{port}\"]", remote.origin);
    let server = caller_server("", &public).await;
    for (origin, why) in [
        (remote.origin.clone(), "DestinationIpProhibited"),
        (format!("http://localhost:{port}"), "DestinationIpProhibited"),
        (format!("http://127.0.0.2:{port}"), "HttpRequestDenied"),
        (format!("https://127.0.0.1:{port}"), "HttpRequestDenied"),
    ] {
        let error =
            run_command(&server, "a", json!({ "do": "fetch", "origin": origin, "path": "/" })).await["error"].clone();
        assert!(error.as_str().is_some_and(|text| text.contains(why)), "{origin}: {error}");
    }
    assert!(remote.requests().is_empty());
}

#[tokio::test]
async fn a_call_to_an_unresponsive_server_times_out() {
    // It accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", silent.local_addr().unwrap());
    let limits = "[limits]\nturn_calls_timeout = \"300ms\"";
    let server = caller_server(limits, &format!("outbound_private = [\"{origin}\"]")).await;
    let fetch = json!({ "do": "fetch", "origin": origin, "path": "/" });
    let answer = run_command(&server, "a", fetch).await;
    assert!(answer["error"].as_str().is_some_and(|text| text.contains("HttpResponseTimeout")), "{answer}");
}

#[tokio::test]
async fn a_room_that_answers_too_late_fails_only_the_call() {
    let server = caller_server("[limits]\nturn_calls_timeout = \"200ms\"", "").await;
    let call = json!({ "do": "count-and-call", "namespace": "OTHERS", "name": "b", "command": { "do": "spin" } });
    let answer = run_command(&server, "a", call).await;
    assert!(answer["error"].as_str().is_some_and(|text| text.contains("Timeout")), "{answer}");
    assert_eq!(run_command(&server, "a", json!({ "do": "get-count" })).await["count"], 1);
}

#[tokio::test]
async fn an_oversized_answer_fails_the_call() {
    let remote = RemoteServer::start(|_| response(200, &"x".repeat((16 << 20) + 1))).await;
    let server = caller_server("", &format!("outbound_private = [\"{}\"]", remote.origin)).await;
    let fetch = json!({ "do": "fetch", "origin": remote.origin, "path": "/" });
    let answer = run_command(&server, "a", fetch).await;
    assert!(answer["error"].as_str().is_some_and(|text| text.contains("HttpResponseBodySize")), "{answer}");
}

#[tokio::test]
async fn a_post_to_a_server_is_retried_with_one_idempotency_key() {
    let remote = RemoteServer::start(|nth| response(if nth == 0 { 503 } else { 200 }, "")).await;
    let server = caller_server("", &format!("outbound_private = [\"{}\"]", remote.origin)).await;
    let post = json!({ "do": "post-out", "origin": remote.origin, "path": "/hook", "body": "won" });
    assert_eq!(run_command(&server, "a", post).await, json!({ "posted": true }));
    let seen = remote.wait_for_requests(2).await;
    let key = |nth: usize| seen[nth].headers["idempotency-key"].to_str().unwrap().to_owned();
    assert_eq!(key(0), key(1));
    assert!(key(0).len() >= 32 && !key(0).contains("ROOMS"), "it can be guessed: {}", key(0));
    assert_eq!((seen[1].path.as_str(), &seen[1].body[..]), ("/hook", &b"won"[..]));
    let denied = json!({ "do": "post-out", "origin": "https://other.example", "path": "/", "body": "" });
    assert_eq!(run_command(&server, "a", denied).await, json!({ "error": "PostError::Denied" }));
}

#[tokio::test]
async fn a_room_cannot_impersonate_another_room_or_its_posts() {
    let remote = RemoteServer::start(|_| response(200, "")).await;
    let server = caller_server("", &format!("outbound_private = [\"{}\"]", remote.origin)).await;
    let forged = json!([
        ["dormouse-caller", "OTHERS/admin"],
        ["Dormouse_Caller", "OTHERS/admin"],
        ["idempotency-key", "forged"],
        ["Idempotency_Key", "forged"],
        ["x-other", "kept"]
    ]);
    let call = json!({
        "do": "call", "namespace": "OTHERS", "name": "b", "command": { "do": "count" }, "headers": forged
    });
    let called = run_command(&server, "a", call).await["answer"].clone();
    assert_eq!((&called["caller"], &called["key"]), (&json!("ROOMS/a"), &Value::Null));

    let fetch = json!({ "do": "fetch", "origin": remote.origin, "path": "/fetch", "headers": forged });
    assert_eq!(run_command(&server, "a", fetch).await["status"], 200);
    let post = json!({ "do": "post-out", "origin": remote.origin, "path": "/post", "body": "", "headers": forged });
    for number in 2..4 {
        assert_eq!(run_command(&server, "a", post.clone()).await, json!({ "posted": true }));
        remote.wait_for_requests(number).await;
    }
    let seen = remote.wait_for_requests(3).await;
    let header = |nth: usize, name: &str| {
        seen[nth].headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for nth in 0..3 {
        assert_eq!(header(nth, "x-other"), ["kept"]);
        assert!(header(nth, "dormouse_caller").is_empty() && header(nth, "idempotency_key").is_empty());
    }
    assert!(header(0, "dormouse-caller").is_empty() && header(0, "idempotency-key").is_empty());
    assert_eq!(header(1, "dormouse-caller"), ["ROOMS/a"]);
    let keys = [header(1, "idempotency-key"), header(2, "idempotency-key")];
    assert!(keys.iter().all(|keys| keys.len() == 1 && keys[0] != "forged"), "{keys:?}");
    assert_ne!(keys[0], keys[1], "each post has its own");
}

#[tokio::test]
async fn an_undelivered_post_to_a_server_survives_kill_9() {
    let remote = RemoteServer::start(|nth| response(if nth == 0 { 503 } else { 200 }, "")).await;
    let server = caller_server("", &format!("outbound_private = [\"{}\"]", remote.origin)).await;
    let post = json!({ "do": "post-out", "origin": remote.origin, "path": "/hook", "body": "won" });
    run_command(&server, "a", post).await;
    remote.wait_for_requests(1).await;
    let _server = server.crash_and_restart().await;
    let seen = remote.wait_for_requests(2).await;
    assert_eq!(seen[1].path, "/hook");
    assert_eq!(seen[0].headers["idempotency-key"], seen[1].headers["idempotency-key"], "it is the same post");
}

#[tokio::test]
async fn only_listed_response_headers_of_a_room_reach_a_client() {
    let added = "response_headers = [\"X-Of-Namespace\"]";
    let server = caller_server("response_headers = [\"x-everywhere\"]", added).await;
    let recorded = ["content-type", "content-language", "etag", "retry-after", "x-everywhere", "x-of-namespace"];
    let dropped = [
        "clear-site-data",
        "alt-svc",
        "x-accel-redirect",
        "x-accel-buffering",
        "x-sendfile",
        "refresh",
        "nel",
        "report-to",
        "reporting-endpoints",
        "service-worker-allowed",
        "set-cookie",
        "link",
        "sourcemap",
        "speculation-rules",
        "origin-agent-cluster",
        "permissions-policy",
        "cross-origin-resource-policy",
        "access-control-allow-origin",
        "strict-transport-security",
        "x-anything-else",
        "dormouse-caller",
        "date",
        "server",
    ];
    let headers = recorded.iter().chain(&dropped).map(|name| json!([name, "of-room"])).collect::<Vec<_>>();
    let command = json!({ "do": "answer", "headers": headers }).to_string();
    let answer = server.api(Method::POST, "/rooms/a/messages", "ana", &command).await;
    assert_eq!(answer.status, 200);
    for name in recorded {
        assert_eq!(answer.header(name), "of-room", "{name}");
    }
    for name in dropped {
        assert_ne!(answer.header(name), "of-room", "{name}");
    }
    assert!(answer.header("content-security-policy").contains("sandbox"));

    // Of a header that must be single the first counts; lists stay whole.
    let twice = json!([
        ["content-type", "text/plain"],
        ["content-type", "text/html"],
        ["location", "/a"],
        ["location", "/b"],
        ["content-language", "de"],
        ["content-language", "sv"]
    ]);
    let command = json!({ "do": "answer", "headers": twice }).to_string();
    let answer = server.api(Method::POST, "/rooms/a/messages", "ana", &command).await;
    let all =
        |name: &str| answer.headers.get_all(name).into_iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!((all("content-type"), all("location")), (vec!["text/plain"], vec!["/a"]));
    assert_eq!(all("content-language"), ["de", "sv"]);

    // Only the host request_count for a password.
    let command = json!({ "do": "answer", "status": 401, "headers": [["www-authenticate", "Basic realm=\"x\""]] });
    let answer = server.api(Method::POST, "/rooms/a/messages", "ana", &command.to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, "Bearer"));
}

#[tokio::test]
async fn a_server_needs_a_valid_certificate() {
    let (remote, authority) = RemoteServer::start_tls(|_| response(200, "trusted")).await;
    let allow = format!("outbound_private = [\"https://*:{0}\", \"{1}\"]", remote.port(), remote.origin);
    let fetch = json!({ "do": "fetch", "origin": remote.origin, "path": "/" });
    let server = caller_server("", &allow).await;
    let answer = run_command(&server, "a", fetch.clone()).await;
    assert!(answer["error"].as_str().is_some_and(|text| text.contains("TlsCertificateError")), "{answer}");

    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    std::fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).expect("a file");
    std::fs::write(directory.path().join("authority.pem"), authority).expect("a file");
    let config = format!("outbound_ca = \"authority.pem\"\n{}", NAMESPACES.replace("ROOMS_MORE", &allow));
    let server = Server::in_directory(directory, &config).await;
    let answer = run_command(&server, "a", fetch).await;
    assert_eq!(answer["body"], "trusted", "{answer} {}", server.log());
    // The same server, under a name that its certificate does not have.
    let other = format!("https://127.0.0.1:{}", remote.port());
    let answer = run_command(&server, "a", json!({ "do": "fetch", "origin": other, "path": "/" })).await;
    assert!(answer["error"].as_str().is_some_and(|text| text.contains("TlsCertificateError")), "{answer}");
}

#[tokio::test]
async fn check_lists_rooms_with_outbound_imports() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).unwrap();
    let config = directory.path().join("dormouse.toml");
    std::fs::write(&config, NAMESPACES.replace("ROOMS_MORE", "")).unwrap();
    let output = crate::command_line::run(&["check", "--config", config.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    for way in ["dormouse:room/rooms@", "dormouse:room/outbox@", "wasi:http/outgoing-handler@"] {
        assert!(text.contains(way), "{text}");
    }
    let shipped = crate::command_line::run(&["check"]);
    let text = String::from_utf8(shipped.stdout).unwrap();
    assert!(!text.contains("wasi:http") && !text.contains("room/rooms") && !text.contains("room/outbox"), "{text}");
}
