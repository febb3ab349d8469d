//! Spans over OTLP, as a collector receives them: what is traced, what belongs together, what is never in a span, and
//! a collector that does not work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, span, status};
use prost::Message as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::deploy::{CONFIG, deploy, directory, join, say, version};
use crate::harness::{BASE, Server, refusing_address, within};
use crate::migration::of_data;
use crate::operate::Tailing;
use crate::outbound::{RemoteServer, caller_server, response, run_command};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Those who hold the collector open and never get an answer.
const HANG: u16 = 0;

/// A collector: a server that takes what an OpenTelemetry Collector takes.
struct Collector {
    origin: String,
    seen: Arc<Mutex<Seen>>,
    /// The status of the answers, or [`HANG`].
    status: Arc<AtomicU16>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<(hyper::http::request::Parts, Bytes)>,
    spans: Vec<Recorded>,
}

/// A span as it arrived.
#[derive(Debug, Clone)]
struct Recorded {
    trace: String,
    id: String,
    parent: String,
    state: String,
    name: String,
    kind: span::SpanKind,
    /// The text of its status, if that is an error.
    error: Option<String>,
    attributes: BTreeMap<String, String>,
    took: Duration,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let origin = format!("http://{}", listener.local_addr().expect("it has an address"));
        let (seen, status) = (Arc::<Mutex<Seen>>::default(), Arc::new(AtomicU16::new(200)));
        let collector = Collector { origin, seen: seen.clone(), status: status.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, status) = (seen.clone(), status.clone());
                let service = service_fn(move |request| answer(request, seen.clone(), status.clone()));
                let http = hyper::server::conn::http1::Builder::new();
                // A client that gives up is not an error of the collector.
                tokio::spawn(async move { drop(http.serve_connection(TokioIo::new(stream), service).await) });
            }
        });
        collector
    }

    /// The section of the configuration, with more settings.
    fn section(&self, more: &str) -> String {
        format!("[telemetry]\notlp = \"{}\"\n{more}\n", self.origin)
    }

    /// Waits for a span with this name and these attributes.
    async fn span(&self, name: &str, with: &[(&str, &str)]) -> Recorded {
        let is_it = |span: &&Recorded| {
            span.name == name && with.iter().all(|(key, value)| span.attributes.get(*key).is_some_and(|it| it == value))
        };
        let found = async {
            loop {
                if let Some(span) = self.seen.lock().unwrap().spans.iter().find(is_it) {
                    return span.clone();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(crate::harness::TEST_TIMEOUT, found).await {
            Ok(span) => span,
            Err(_) => panic!("no span {name:?} with {with:?} in {:#?}", self.spans()),
        }
    }

    fn spans(&self) -> Vec<Recorded> {
        self.seen.lock().unwrap().spans.clone()
    }

    /// Waits until it got this many requests.
    async fn wait_for_requests(&self, count: usize) {
        within(async {
            while self.seen.lock().unwrap().requests.len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Seen>>,
    status: Arc<AtomicU16>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let status = status.load(Ordering::SeqCst);
    {
        let mut seen = seen.lock().unwrap();
        if status == 200 {
            let export = ExportTraceServiceRequest::decode(&body[..]).expect("it is the protobuf of OTLP");
            for of_resource in export.resource_spans {
                let resource = attributes(&of_resource.resource.expect("it names the service").attributes);
                for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    seen.spans.push(recorded(span, &resource));
                }
            }
        }
        seen.requests.push((parts, body));
    }
    if status == HANG {
        std::future::pending::<()>().await;
    }
    Ok(Response::builder().status(status).body(Full::default()).expect("a good answer"))
}

fn recorded(span: Span, resource: &BTreeMap<String, String>) -> Recorded {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let error = span.status.as_ref().filter(|status| status.code == status::StatusCode::Error as i32);
    let mut attributes = attributes(&span.attributes);
    attributes.extend(resource.clone());
    Recorded {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state.clone(),
        name: span.name.clone(),
        kind: span.kind(),
        error: error.map(|status| status.message.clone()),
        attributes,
        took: Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano),
    }
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &KeyValue| match value.value.as_ref().and_then(|value| value.value.clone()) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("{}: {other:?}", value.key),
    };
    all.iter().map(|value| (value.key.clone(), text(value))).collect()
}

/// Runs a command in a room of ROOMS as ana, with more headers. Returns the status.
async fn command(server: &Server, room: &str, command: serde_json::Value, headers: &[(&str, &str)]) -> u16 {
    let path = format!("{BASE}/rooms/{room}/messages");
    let headers = [&[("authorization", "Bearer id-ana:ana")], headers].concat();
    server.request(Method::POST, &path, &headers, &command.to_string()).await.status.as_u16()
}

/// A server whose rooms may also reach `remote`.
async fn traced_server(collector: &Collector, remote: &RemoteServer, more: &str) -> Server {
    caller_server(&collector.section(more), &format!("outbound_private = [\"{}\"]\n", remote.origin)).await
}

#[tokio::test]
async fn a_request_continues_its_trace_and_its_turn_is_a_child() {
    let collector = Collector::start().await;
    let server = caller_server(&collector.section("trust_parent = \"all\"\nservice = \"rooms\""), "").await;
    let headers = [("traceparent", SAMPLED), ("tracestate", "vendor=1, other=2")];
    assert_eq!(command(&server, "a", json!({ "do": "count" }), &headers).await, 200);
    let request = collector.span("POST ROOMS", &[]).await;
    assert_eq!((&*request.trace, &*request.parent, request.kind), (TRACE, PARENT, span::SpanKind::Server));
    let turn = collector.span("turn request", &[]).await;
    assert_eq!((&*turn.trace, &*turn.parent, &*turn.state), (TRACE, &*request.id, "vendor=1,other=2"));
    for (key, value) in [
        ("service.name", "rooms"),
        ("dormouse.namespace", "ROOMS"),
        ("dormouse.room", "a"),
        ("dormouse.event", "request"),
        ("dormouse.outcome", "kept"),
        ("dormouse.turn", "1"),
        ("dormouse.commit", "1"),
        ("user.id", "id-ana"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(turn.attributes.get(key).map(String::as_str), Some(value), "{key}: {turn:?}");
    }
    assert!(turn.attributes["dormouse.cpu_ns"].parse::<u64>().unwrap() > 0);
    for name in ["wake", "commit"] {
        let inner = collector.span(name, &[]).await;
        assert_eq!((&*inner.trace, &*inner.parent, &inner.error), (TRACE, &*turn.id, &None), "{name}");
    }
    assert!(turn.error.is_none() && request.error.is_none() && request.took >= turn.took, "{request:?} {turn:?}");
    // The next turn of the room is awake, and one that writes nothing waits for no commit.
    assert_eq!(command(&server, "a", json!({ "do": "get-count" }), &[]).await, 200);
    let next = collector.span("turn request", &[("dormouse.turn", "2")]).await;
    assert!(next.trace != TRACE && !next.attributes.contains_key("dormouse.commit"), "{next:?}");
    assert_eq!(collector.spans().iter().filter(|span| span.name == "wake").count(), 1);
}

#[tokio::test]
async fn a_connect_continues_its_trace_and_each_message_begins_one() {
    let collector = Collector::start().await;
    let server = Server::with(&collector.section("trust_parent = \"all\"")).await;
    let path = format!("{BASE}/rooms/lobby/ws?token=id-ana:ana");
    let mut client = server.connect(&path, &[("traceparent", SAMPLED)]).await.expect("it lets us in");
    let request = collector.span("GET ROOMS", &[("http.response.status_code", "101")]).await;
    let connect = collector.span("turn connect", &[("user.id", "id-ana")]).await;
    assert_eq!((&*request.trace, &*connect.trace, &connect.parent), (TRACE, TRACE, &request.id));
    client.send_chat("one").await;
    client.recv_content().await;
    let message = collector.span("turn message", &[("user.id", "id-ana"), ("dormouse.room", "lobby")]).await;
    assert_eq!((&*message.parent, message.error), ("", None));
    assert_ne!(message.trace, TRACE);
    let commit = collector.span("commit", &[("dormouse.commit", &message.attributes["dormouse.commit"])]).await;
    assert_eq!((commit.trace, commit.parent), (message.trace, message.id));
    client.close().await;
    let close = collector.span("turn close", &[("user.id", "id-ana")]).await;
    assert_eq!(close.parent, "");
}

#[tokio::test]
async fn a_call_links_both_rooms_whatever_headers_the_guest_sets() {
    let collector = Collector::start().await;
    let server = caller_server(&collector.section(""), "").await;
    let headers = json!([["traceparent", SAMPLED], ["TraceState", "forged=1"]]);
    let count = json!({ "do": "count" });
    let call = json!({ "do": "call", "namespace": "OTHERS", "name": "b", "command": count, "headers": headers });
    assert_eq!(command(&server, "a", call, &[]).await, 200);
    let caller = collector.span("turn request", &[("dormouse.namespace", "ROOMS")]).await;
    let call = collector.span("call", &[("dormouse.to.namespace", "OTHERS"), ("dormouse.to.room", "b")]).await;
    let callee = collector.span("turn request", &[("dormouse.namespace", "OTHERS")]).await;
    assert_eq!((&call.parent, &callee.parent, call.kind), (&caller.id, &call.id, span::SpanKind::Client));
    assert_eq!((&call.trace, &callee.trace, &*callee.state), (&caller.trace, &caller.trace, ""));
    assert_eq!((&call.error, &*call.attributes["http.response.status_code"]), (&None, "200"));

    let failing = json!({ "do": "call", "namespace": "OTHERS", "name": "c", "command": { "do": "fail" } });
    assert_eq!(command(&server, "d", failing, &[]).await, 200);
    let call = collector.span("call", &[("dormouse.to.room", "c")]).await;
    assert_eq!(call.error.as_deref(), Some("failed"));
}

#[tokio::test]
async fn a_post_links_both_rooms() {
    let collector = Collector::start().await;
    let server = caller_server(&collector.section(""), "").await;
    let post = json!({ "do": "post", "namespace": "OTHERS", "name": "b", "command": { "do": "count" } });
    assert_eq!(command(&server, "a", post, &[]).await, 200);
    let sender = collector.span("turn request", &[("dormouse.namespace", "ROOMS")]).await;
    let post = collector.span("post", &[("dormouse.to.room", "b"), ("dormouse.try", "1")]).await;
    let receiver = collector.span("turn request", &[("dormouse.namespace", "OTHERS")]).await;
    assert_eq!((&post.parent, &receiver.parent, post.kind), (&sender.id, &post.id, span::SpanKind::Producer));
    assert_eq!((&post.trace, &receiver.trace, &post.error), (&sender.trace, &sender.trace, &None));
}

#[tokio::test]
async fn requests_to_servers_carry_the_trace() {
    let collector = Collector::start().await;
    let remote = RemoteServer::start(|nth| response(if nth == 0 { 200 } else { 404 }, "")).await;
    let server = traced_server(&collector, &remote, "").await;
    let fetch = |headers| json!({ "do": "fetch", "origin": remote.origin, "path": "/x?key=1", "headers": headers });
    assert_eq!(command(&server, "a", fetch(json!([["traceparent", SAMPLED]])), &[]).await, 200);
    let turn = collector.span("turn request", &[("dormouse.room", "a")]).await;
    let fetched = collector.span("fetch", &[("dormouse.to.server", &remote.origin)]).await;
    let sent = remote.requests()[0].headers.clone();
    let parents = sent.get_all("traceparent").iter().collect::<Vec<_>>();
    assert_eq!(parents, [&format!("00-{}-{}-01", fetched.trace, fetched.id)], "that of the guest is replaced");
    assert_eq!((&fetched.trace, &fetched.parent, &fetched.error), (&turn.trace, &turn.id, &None));

    assert_eq!(command(&server, "b", fetch(json!([])), &[]).await, 200);
    let fetched = collector.span("fetch", &[("http.response.status_code", "404")]).await;
    assert_eq!(fetched.error.as_deref(), Some("status"));

    let post = json!({ "do": "post-out", "origin": remote.origin, "path": "/p", "body": "" });
    assert_eq!(command(&server, "c", post, &[]).await, 200);
    let turn = collector.span("turn request", &[("dormouse.room", "c")]).await;
    let post = collector.span("post", &[("dormouse.to.server", &remote.origin)]).await;
    assert_eq!((&post.trace, &post.parent, post.error.as_deref()), (&turn.trace, &turn.id, Some("refused")));
    assert_eq!(remote.requests()[2].headers["traceparent"], format!("00-{}-{}-01", post.trace, post.id));
}

#[tokio::test]
async fn without_telemetry_the_headers_of_a_guest_are_its_own() {
    let remote = RemoteServer::start(|_| response(200, "")).await;
    let server = caller_server("", &format!("outbound_private = [\"{}\"]\n", remote.origin)).await;
    let headers = json!([["traceparent", SAMPLED]]);
    let fetch = json!({ "do": "fetch", "origin": remote.origin, "path": "/", "headers": headers });
    assert_eq!(command(&server, "a", fetch, &[]).await, 200);
    let fetch = json!({ "do": "fetch", "origin": remote.origin, "path": "/" });
    assert_eq!(command(&server, "a", fetch, &[]).await, 200);
    let seen = remote.requests();
    assert_eq!(seen[0].headers["traceparent"], SAMPLED);
    assert!(!seen[1].headers.contains_key("traceparent"));
}

#[tokio::test]
async fn a_failed_turn_is_an_error_in_one_word() {
    let collector = Collector::start().await;
    let server = caller_server(&collector.section(""), "").await;
    assert_eq!(command(&server, "a", json!({ "do": "fail" }), &[]).await, 500);
    let turn = collector.span("turn request", &[("dormouse.outcome", "undone")]).await;
    assert_eq!((turn.error.as_deref(), &*turn.attributes["error.type"]), (Some("guest"), "guest"));
    let request = collector.span("POST ROOMS", &[]).await;
    assert_eq!((request.error.as_deref(), &request.id), (Some("status"), &turn.parent));
    let mut client = server.connect(&format!("{BASE}/rooms/b/ws?token=1:bo"), &[]).await.expect("it lets us in");
    client.send(r#"{"do":"fail"}"#).await;
    client.recv_type("error").await;
    let turn = collector.span("turn message", &[("dormouse.room", "b")]).await;
    assert_eq!(turn.error.as_deref(), Some("guest"));
}

#[tokio::test]
async fn tokens_queries_bodies_and_errors_are_never_in_spans_or_logs() {
    let collector = Collector::start().await;
    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    std::fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).expect("a file");
    std::fs::write(directory.path().join("otlp.headers"), "x-api-key: hush-collector\n").expect("a file");
    let config = format!(
        "{}[namespaces.ROOMS]\ncomponent = \"caller.wasm\"",
        collector.section("headers_file = \"otlp.headers\"")
    );
    let server = Server::with_trace_log(directory, &config).await;
    let path = format!("{BASE}/rooms/a/hush-path?token=id-ana:hush-token&x=hush-query");
    let headers =
        [("cookie", "a=hush-cookie"), ("x-any", "hush-header"), ("authorization", "Bearer id-ana:hush-token")];
    for body in [r#"{"do":"hush-body"}"#, r#"{"do":"count"}"#] {
        for path in [&*path, &format!("{BASE}/rooms/a/messages?x=hush-query")] {
            server.request(Method::POST, path, &headers, body).await;
        }
    }
    collector.span("turn request", &[("dormouse.outcome", "undone")]).await;
    collector.span("turn request", &[("dormouse.outcome", "kept")]).await;
    // A guest may write a password into an address, which is refused.
    let fetch = json!({ "do": "fetch", "origin": "http://hush-user:hush-password@127.0.0.1:1", "path": "/" });
    command(&server, "a", fetch, &[]).await;
    collector.span("fetch", &[("dormouse.to.server", "http://127.0.0.1:1")]).await;
    let seen = collector.seen.lock().unwrap();
    for (parts, body) in &seen.requests {
        assert_eq!(parts.headers["x-api-key"], "hush-collector");
        assert_eq!(parts.headers["content-type"], "application/x-protobuf");
        assert_eq!((parts.method.as_str(), parts.uri.path()), ("POST", "/v1/traces"));
        assert!(!body.windows(4).any(|bytes| bytes == b"hush"), "{}", String::from_utf8_lossy(body));
    }
    assert!(!server.log().contains("hush-collector"), "{}", server.log());
}

#[tokio::test]
async fn sampling_nothing_sends_nothing_and_says_so_to_others() {
    let collector = Collector::start().await;
    let remote = RemoteServer::start(|_| response(200, "")).await;
    let mut server = traced_server(&collector, &remote, "sample = 0").await;
    let fetch = json!({ "do": "fetch", "origin": remote.origin, "path": "/" });
    assert_eq!(command(&server, "a", fetch.clone(), &[]).await, 200);
    // A client may not decide what is recorded, but its trace goes on.
    assert_eq!(command(&server, "a", fetch, &[("traceparent", SAMPLED)]).await, 200);
    let sent = remote.requests();
    let parent = |nth: usize| sent[nth].headers["traceparent"].to_str().unwrap();
    assert!(parent(0).ends_with("-00") && parent(1).ends_with("-00"), "{sent:?}");
    assert!(parent(1).starts_with(&format!("00-{TRACE}-")) && !parent(1).contains(PARENT), "{sent:?}");
    server.send_sigterm();
    assert!(server.wait_for_exit().await.success());
    assert!(collector.seen.lock().unwrap().requests.is_empty());
}

#[tokio::test]
async fn only_a_trusted_parent_decides_what_is_recorded() {
    let proxies = "trusted_proxies = [\"127.0.0.1\"]";
    for (more, first, recorded) in [
        // Nobody is trusted: all ones in the trace id would be a way to be recorded, if the id decided.
        ("sample = 0", "", false),
        ("sample = 0\ntrust_parent = \"none\"", proxies, false),
        ("sample = 0", proxies, true),
        ("sample = 0\ntrust_parent = \"all\"", "", true),
        ("sample = 1", "", true),
    ] {
        let collector = Collector::start().await;
        let mut server = caller_server(&format!("{first}\n{}", collector.section(more)), "").await;
        for parent in [SAMPLED, "00-00000000000000000000000000000001-b7ad6b7169203331-01"] {
            assert_eq!(command(&server, "a", json!({ "do": "count" }), &[("traceparent", parent)]).await, 200);
        }
        server.send_sigterm();
        assert!(server.wait_for_exit().await.success());
        let spans = collector.spans();
        let of_trace = spans.iter().filter(|span| span.trace == TRACE).count();
        assert_eq!((of_trace > 0, spans.is_empty()), (recorded, !recorded), "{first} {more}: {spans:?}");
    }
    let collector = Collector::start().await;
    let mut server = caller_server(&collector.section("trust_parent = \"all\""), "").await;
    assert_eq!(command(&server, "a", json!({ "do": "count" }), &[("traceparent", NOT_SAMPLED)]).await, 200);
    server.send_sigterm();
    assert!(server.wait_for_exit().await.success());
    assert!(collector.spans().is_empty(), "a trusted parent can also say no");
}

#[tokio::test]
async fn a_client_that_is_not_trusted_writes_no_tracestate() {
    for (more, state) in [("", ""), ("trust_parent = \"none\"", ""), ("trust_parent = \"all\"", "a=anything")] {
        let collector = Collector::start().await;
        let remote = RemoteServer::start(|_| response(200, "")).await;
        let server = traced_server(&collector, &remote, more).await;
        let headers = [("traceparent", SAMPLED), ("tracestate", "a=anything")];
        let fetch = json!({ "do": "fetch", "origin": remote.origin, "path": "/" });
        assert_eq!(command(&server, "a", fetch, &headers).await, 200);
        for name in ["POST ROOMS", "turn request", "fetch"] {
            let span = collector.span(name, &[]).await;
            assert_eq!((&*span.trace, &*span.state), (TRACE, state), "{more}");
        }
        let sent = remote.requests()[0].headers.get("tracestate").map(|state| state.to_str().unwrap().to_owned());
        assert_eq!(sent.unwrap_or_default(), state, "{more}");
    }
}

#[tokio::test]
async fn a_malformed_traceparent_is_ignored() {
    let collector = Collector::start().await;
    let remote = RemoteServer::start(|_| response(200, "")).await;
    let server = traced_server(&collector, &remote, "trust_parent = \"all\"").await;
    let zero = SAMPLED.replace(TRACE, &"0".repeat(32));
    let (short, upper) = (&SAMPLED[..54], SAMPLED.to_uppercase());
    let malformed = [short, &upper, &zero, "", "x", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"];
    for (nth, parent) in malformed.into_iter().enumerate() {
        let room = format!("room-{nth}");
        let fetch = json!({ "do": "fetch", "origin": remote.origin, "path": "/" });
        assert_eq!(command(&server, &room, fetch, &[("traceparent", parent), ("tracestate", "a=1")]).await, 200);
        let request = collector.span("POST ROOMS", &[("dormouse.room", &room)]).await;
        assert_eq!((&*request.parent, &*request.state), ("", ""), "{parent}");
        assert_ne!(request.trace, TRACE);
        assert!(remote.requests()[nth].headers["traceparent"].to_str().unwrap().contains(&request.trace));
    }
    let twice = [("traceparent", SAMPLED), ("traceparent", NOT_SAMPLED)];
    assert_eq!(command(&server, "twice", json!({ "do": "count" }), &twice).await, 200);
    assert_eq!(collector.span("POST ROOMS", &[("dormouse.room", "twice")]).await.parent, "");
    // The trace goes on without a list that cannot be sent on.
    let odd = [("traceparent", SAMPLED), ("tracestate", "no list")];
    assert_eq!(command(&server, "odd", json!({ "do": "count" }), &odd).await, 200);
    let request = collector.span("POST ROOMS", &[("dormouse.room", "odd")]).await;
    assert_eq!((&*request.trace, &*request.state), (TRACE, ""));
}

#[tokio::test]
async fn hostile_names_of_rooms_and_users_arrive_as_they_are() {
    let collector = Collector::start().await;
    let server = caller_server(&collector.section(""), "").await;
    let long = "l".repeat(128);
    for (path, name) in [
        ("%22%3E%3Cscript%3E", "\"><script>"),
        ("%F0%9F%98%80%E2%80%AE", "😀\u{202e}"),
        ("traceparent%3A%2000-1", "traceparent: 00-1"),
        ("%7B%7Broom%7D%7D", "{{room}}"),
        (&long, &long),
    ] {
        assert_eq!(command(&server, path, json!({ "do": "count" }), &[]).await, 200, "{name}");
        let turn = collector.span("turn request", &[("dormouse.room", name)]).await;
        assert_eq!(turn.error, None);
        collector.span("POST ROOMS", &[("dormouse.room", name)]).await;
    }
}

#[tokio::test]
async fn a_busy_collector_gets_the_spans_later() {
    let collector = Collector::start().await;
    collector.status.store(503, Ordering::SeqCst);
    let server = caller_server(&collector.section(""), "").await;
    assert_eq!(command(&server, "a", json!({ "do": "count" }), &[]).await, 200);
    collector.wait_for_requests(1).await;
    collector.status.store(200, Ordering::SeqCst);
    collector.span("turn request", &[("dormouse.room", "a")]).await;
    server.wait_for_count("spans_sent_total", 4).await;
    server.wait_for_log("it answered 503").await;
}

#[tokio::test]
async fn a_collector_that_is_down_harms_nothing() {
    let (_kept, closed) = refusing_address();
    let section = format!("[telemetry]\notlp = \"http://{closed}\"\n");
    let mut server = caller_server(&section, "").await;
    for room in ["a", "b"] {
        assert_eq!(command(&server, room, json!({ "do": "count" }), &[]).await, 200);
        let before = if room == "a" { 1 } else { 5 };
        server.wait_for_count("spans_lost_total{reason=\"collector\"}", before).await;
    }
    assert_eq!(run_command(&server, "a", json!({ "do": "get-count" })).await["count"], 1);
    let began = Instant::now();
    server.send_sigterm();
    assert!(server.wait_for_exit().await.success());
    assert!(began.elapsed() < Duration::from_secs(10), "the shutdown waited for the collector");
    let lines = server.log().lines().filter(|line| line.contains("spans do not reach the collector")).count();
    assert_eq!(lines, 1, "{}", server.log());
}

#[tokio::test]
async fn a_collector_that_hangs_loses_spans_and_holds_no_shutdown() {
    let collector = Collector::start().await;
    collector.status.store(HANG, Ordering::SeqCst);
    let mut server = Server::with(&collector.section("")).await;
    let mut client = server.join("lobby", "ana").await;
    collector.wait_for_requests(1).await;
    // More than the queue holds: each message is two spans.
    let mut sent = 0;
    for _ in 0..50 {
        for _ in 0..50 {
            client.send_chat("x").await;
            sent += 1;
        }
        for _ in 0..50 {
            client.recv_content().await;
        }
    }
    assert_eq!(sent, 2_500);
    server.wait_for_count("spans_lost_total{reason=\"queue\"}", 1).await;
    let began = Instant::now();
    server.send_sigterm();
    assert!(server.wait_for_exit().await.success());
    assert!(began.elapsed() < Duration::from_secs(9), "the shutdown waited for the collector");
}

#[tokio::test]
async fn a_shutdown_sends_the_spans_that_wait() {
    let collector = Collector::start().await;
    let mut server = caller_server(&collector.section(""), "").await;
    assert_eq!(command(&server, "a", json!({ "do": "count" }), &[]).await, 200);
    server.send_sigterm();
    assert!(server.wait_for_exit().await.success());
    let names = collector.spans().into_iter().map(|span| span.name).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(names, ["POST ROOMS", "commit", "turn request", "wake"].map(str::to_owned).into());
}

#[tokio::test]
async fn a_migration_is_in_the_tail_and_in_the_trace_of_its_turn() {
    let collector = Collector::start().await;
    let config = format!("{CONFIG}\n{}", collector.section(""));
    let server = Server::in_directory(directory(&version("v1", "good")), &config).await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    say(&mut ana, "one").await;
    let mut tail = Tailing::open(&server, "?room=ROOMS/lobby").await;
    deploy(&server, "ROOMS", &of_data("v2", "good", 2)).await;
    ana.send("two").await;
    ana.recv_type("numbered").await;
    let migration: Value = serde_json::from_str(&tail.line().await).unwrap();
    assert_eq!((&migration["type"], &migration["room"]), (&json!("migration"), &json!("ROOMS/lobby")), "{migration}");
    assert_eq!((&migration["from"], &migration["to"]), (&json!(0), &json!(2)));
    assert!(migration["cpuMicros"].as_u64() > Some(0), "{migration}");
    let turn: Value = serde_json::from_str(&tail.line().await).unwrap();
    assert_eq!((&turn["type"], &turn["event"]), (&json!("turn"), &json!("message")), "its turn comes next");
    let migrated = collector.span("migrate", &[("dormouse.data.to", "2")]).await;
    assert_eq!(migrated.attributes["dormouse.data.from"], "0");
    let turn = collector.span("turn message", &[("dormouse.turn", "3")]).await;
    assert_eq!((migrated.parent, migrated.trace), (turn.id, turn.trace));
}

#[tokio::test]
async fn an_unusable_file_of_headers_is_refused_without_its_content() {
    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    std::fs::write(directory.path().join("otlp.headers"), "hush\n").expect("a file");
    let config = "[telemetry]\notlp = \"http://127.0.0.1:4318\"\nheaders_file = \"otlp.headers\"\n";
    let Err(log) = Server::try_in_directory(directory.clone(), config).await else { panic!("it started") };
    assert!(log.contains("telemetry.headers_file") && log.contains("line 1 is no header"), "{log}");
    assert!(!log.contains("hush"), "{log}");
}
