//! Durable Objects and a Worker as their authors write them (`tests/guests/durable-objects`), bundled, built and served
//! unmodified.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dormouse::code_cache_dir::CompiledCode;
use dormouse::config::Limits;
use dormouse::guest::Engine;
use hyper::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Answer, Client, Server};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The bindings of the project, in the order of their configuration.
const BINDINGS: [&str; 7] = ["COUNTERS", "RATE_LIMITER", "BATCHER", "HIBERNATION", "SOCKETS", "NOTES", "GREETER"];

/// The components of the project, built once.
fn components() -> &'static Path {
    static BUILT: OnceLock<TempDir> = OnceLock::new();
    BUILT.get_or_init(build).path()
}

fn build() -> TempDir {
    let folder = TempDir::new().unwrap();
    let (packages, project) = (format!("{ROOT}/components/javascript"), format!("{ROOT}/tests/guests/durable-objects"));
    assert!(fs::exists(format!("{packages}/node_modules")).unwrap(), "run `make packages-setup`");
    let engine = format!("{ROOT}/target/javascript/dormouse-engine.wasm");
    assert!(fs::exists(&engine).unwrap(), "the JavaScript engine is not built: run `make javascript-engine`");
    run(Command::new("node").arg("build.mjs").current_dir(&packages));
    let bundled = folder.path().join("js");
    run(Command::new("node")
        .arg(format!("{packages}/bundle/cli.js"))
        .arg(format!("{project}/wrangler.jsonc"))
        .arg("-o")
        .arg(&bundled));
    for name in BINDINGS.into_iter().chain(["router"]) {
        run(Command::new(env!("CARGO_BIN_EXE_dormouse"))
            .args(["build", "--no-bundle", "--engine", &engine])
            .arg(bundled.join(format!("{name}.js")))
            .arg("-o")
            .arg(folder.path().join(format!("{name}.wasm"))));
    }
    // Each server would compile them again.
    let code = CompiledCode::open(&folder.path().join("compiled")).expect("a directory of our own");
    let engine = Engine::new(Arc::new(Limits::default())).expect("an engine").with_cache(Arc::new(code));
    for name in BINDINGS {
        engine.room(name, &fs::read(folder.path().join(format!("{name}.wasm"))).unwrap()).expect("it is a room");
    }
    engine.router("router", &fs::read(folder.path().join("router.wasm")).unwrap()).expect("it is a router");
    folder
}

/// A directory for a server, with the compiled components.
fn directory() -> Arc<TempDir> {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    drop(CompiledCode::open(&data.join("compiled")).expect("a directory of our own"));
    for file in fs::read_dir(components().join("compiled")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), data.join("compiled").join(file.file_name())).unwrap();
    }
    Arc::new(directory)
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program can be run");
    assert!(
        output.status.success(),
        "{command:?}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What an operator writes for the project.
fn config(more: &str, of_namespaces: &str) -> String {
    let path = |name: &str| -> PathBuf { components().join(format!("{name}.wasm")) };
    let all = BINDINGS.map(|name| format!("\"{name}\"")).join(", ");
    let mut text = format!(
        "router = {:?}\nrouter_calls = [{all}]\nbase_path = \"/\"\npage = false\nhibernate_after = \"50ms\"\n{more}\n",
        path("router")
    );
    for name in BINDINGS {
        text += &format!("[namespaces.{name}]\ncomponent = {:?}\ncalls = [{all}]\n{of_namespaces}\n", path(name));
    }
    text
}

async fn serve(more: &str) -> Server {
    serve_with(more, "").await
}

async fn serve_with(more: &str, of_namespaces: &str) -> Server {
    let (more, of_namespaces) = (more.to_owned(), of_namespaces.to_owned());
    let made = tokio::task::spawn_blocking(move || (config(&more, &of_namespaces), directory())).await;
    let (config, directory) = made.unwrap();
    Server::in_directory(directory, &config).await
}

const ANA: (&str, &str) = ("authorization", "Bearer 1:ana");

async fn get(server: &Server, path: &str) -> Answer {
    server.request(Method::GET, path, &[ANA], "").await
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).expect("text")
}

async fn join(server: &Server, path: &str) -> Client {
    server.connect(path, &[ANA]).await.unwrap_or_else(|answer| panic!("{}: {}", answer.status, text(&answer)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_calls_methods_of_objects() {
    let server = serve("").await;
    assert_eq!(text(&get(&server, "/counter/A").await), "Durable Object 'A' count: 0");
    for count in 1..=3 {
        assert_eq!(text(&get(&server, "/counter/A/increment").await), format!("Durable Object 'A' count: {count}"));
    }
    assert_eq!(text(&get(&server, "/counter/A/decrement").await), "Durable Object 'A' count: 2");
    let server = server.crash_and_restart().await;
    assert_eq!(text(&get(&server, "/counter/A").await), "Durable Object 'A' count: 2");
    assert_eq!(text(&get(&server, "/counter/B").await), "Durable Object 'B' count: 0");
    assert_eq!(get(&server, "/counter/A/other").await.status, 404);

    let greeted = get(&server, "/greeter?who=Ana").await;
    let expected = json!({
        "one": { "text": "Hello, Ana! This is first.", "at": "1970-01-01T00:00:00.000Z" },
        "two": "first says: Hello, Ana! This is first.", "last": "Ana", "at": 0,
    });
    assert_eq!(greeted.json(), expected);
    let refused = get(&server, "/greeter?who=").await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()),
        (400, json!({ "error": "a name is needed", "remote": true }))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_a_limit_are_refused_until_an_alarm() {
    let server = serve_with("", "hibernate_after = \"1h\"").await;
    let ask = async || server.request(Method::GET, "/limited", &[ANA, ("x-client-ip", "10.0.0.1")], "").await;
    for _ in 0..3 {
        assert_eq!(ask().await.status, 200);
    }
    assert_eq!(ask().await.status, 429);
    while ask().await.status == 429 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(get(&server, "/limited").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_handles_what_was_queued_and_tries_again() {
    let server = serve("").await;
    for (number, item) in ["one", "fail once", "three"].into_iter().enumerate() {
        let answer = server.request(Method::POST, "/batcher/x", &[ANA], item).await;
        assert_eq!(answer.json(), json!({ "queued": number + 1 }));
    }
    let waiting = get(&server, "/batcher/x/batch").await.json();
    assert_eq!(waiting["done"].as_array().map(Vec::len), Some(0), "{waiting}");
    let done = loop {
        let batch = get(&server, "/batcher/x/batch").await.json();
        if batch["waiting"] == 0 {
            break batch;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(done, json!({ "done": ["one", "fail once", "three"], "waiting": 0, "alarm": false }));
    server.wait_for_log("the upstream is away").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_hibernate_keep_their_attachments_and_tags() {
    let server = serve("").await;
    let mut ana = join(&server, "/hibernation/foo?name=ana").await;
    let mut bo = join(&server, "/hibernation/foo?name=bo").await;
    server.wait_until_all_hibernate().await;
    ana.send("hello").await;
    bo.expect_text("ana: hello. Total connections: 2").await;
    ana.send("pinged?").await;
    ana.expect_text("pinged: false").await;
    server.wait_until_all_hibernate().await;
    ana.expect_reply("ping", "pong").await;
    assert_eq!(server.rooms_running().await, 0, "the host has answered");
    ana.send("pinged?").await;
    ana.expect_text("pinged: true").await;
    ana.send("tags?").await;
    ana.expect_text("ana,all: 1 of 2").await;
    bo.send("going away").await;
    assert_eq!(bo.recv_close().await, (1001, "as you say".into()));
    let refused = server.connect("/hibernation/foo", &[ANA]).await.err().expect("it needs a name");
    assert_eq!((refused.status.as_u16(), text(&refused)), (400, "Say who you are: ?name=…".into()));
    assert_eq!(refused.header("retry-after"), "never");
    let answer = get(&server, "/hibernation/foo").await;
    assert_eq!((answer.status.as_u16(), text(&answer)), (426, "Worker expected Upgrade: websocket".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_with_listeners_live_as_long_as_their_object() {
    let server = serve_with("", "hibernate_after = \"1h\"").await;
    let mut ana = join(&server, "/sockets/foo").await;
    let bo = join(&server, "/sockets/foo").await;
    ana.send("hello").await;
    ana.expect_text("[Durable Object] currentlyConnectedWebSockets: 2, hello").await;
    bo.close().await;
    loop {
        ana.send("again").await;
        if ana.recv_text().await == "[Durable Object] currentlyConnectedWebSockets: 1, again" {
            break;
        }
    }
    let server = serve("").await;
    let mut ana = join(&server, "/sockets/foo").await;
    server.wait_until_all_hibernate().await;
    ana.send("hello?").await;
    assert_eq!(ana.recv_close().await, (1012, "the object was asleep; come back".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_api_answers_as_it_is_documented() {
    let server = serve("").await;
    assert_eq!(get(&server, "/notes/a/fill").await.status, 204);
    server.wait_until_all_hibernate().await;
    let expected = json!({
        "range": ["note:2", "note:3"], "prefix": ["note:3", "note:2"], "after": ["other"],
        "many": ["note:1", "other"], "big": "1", "date": 5,
    });
    assert_eq!(get(&server, "/notes/a/list").await.json(), expected);
    assert_eq!(get(&server, "/notes/a/transaction").await.json(), json!(["one", "one", 1]));
    assert_eq!(get(&server, "/notes/a/clear").await.json(), json!([0, null]));
    let ids = get(&server, "/ids").await.json();
    let expected = json!({ "length": 64, "isEqual": true, "name": [null, "a"], "stub": true, "other": false });
    assert_eq!(ids, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_answers_preflights_if_the_operator_lets_it() {
    let origin = ("origin", "https://app.example");
    let asks =
        [origin, ("access-control-request-method", "POST"), ("access-control-request-headers", "content-type, x-mine")];
    let identity = "[identity]\nauth = \"dev\"\nallowed_origins = [\"https://app.example\"]";
    let of_host = serve(identity).await;
    let answer = of_host.request(Method::OPTIONS, "/batcher/x", &asks, "").await;
    assert_eq!(answer.header("access-control-allow-origin"), origin.1, "the host answers");

    let server = serve(&format!("router_cors = true\n{identity}")).await;
    let answer = server.request(Method::OPTIONS, "/batcher/x", &asks, "").await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, "*"));
    assert_eq!(answer.header("access-control-allow-headers"), "content-type, x-mine");
    assert_eq!(answer.header("access-control-max-age"), "86400");
    let answer = server.request(Method::POST, "/batcher/x", &[ANA, origin], "one").await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, "*"));
    assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    let answer = server.request(Method::GET, "/counter/A", &[ANA, origin], "").await;
    assert_eq!(answer.header("access-control-allow-origin"), origin.1, "the Worker has said nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_the_worker_serves_as_many_requests_as_allowed() {
    for (setting, expected) in [("", "1 1 1 1 1 1 1"), ("router_reuse = 3", "1 2 3 1 2 3 1")] {
        let server = serve(setting).await;
        let mut served = Vec::new();
        for _ in 0..7 {
            served.push(text(&get(&server, "/served").await));
        }
        assert_eq!(served.join(" "), expected, "{setting}");
        // The calls of each request are its own.
        for count in 1..=8 {
            assert_eq!(text(&get(&server, "/counter/A/increment").await), format!("Durable Object 'A' count: {count}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_calls_only_what_the_operator_allows() {
    let config = tokio::task::spawn_blocking(|| config("", "")).await.unwrap();
    let only = config.replacen(&config.lines().nth(1).unwrap().to_owned(), "router_calls = [\"NOTES\"]", 1);
    let server = Server::in_directory(directory(), &only).await;
    assert_eq!(get(&server, "/counter/A").await.status, 500);
    server.wait_for_log("call of COUNTERS/A: denied: the operator does not allow it; name the namespace in").await;
    // A request that it forwards is no call of its own.
    assert_eq!(get(&server, "/notes/a/fill").await.status, 204);
    let unknown = config.replacen("router_calls = [", "router_calls = [\"OTHER\", ", 1);
    let refused = Server::try_in_directory(Arc::new(TempDir::new().unwrap()), &unknown).await.err().unwrap();
    assert!(refused.contains("router_calls: there is no namespace `OTHER`"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_an_identity_reaches_a_called_object_once() {
    let server = serve("").await;
    for number in 1..=2 {
        let answer = server.request(Method::POST, "/batcher/anonymous", &[], "hello").await;
        assert_eq!(answer.json(), json!({ "queued": number }));
    }
}
