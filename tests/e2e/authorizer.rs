//! The operator's own server decides who may enter which room: its answers, its failures, and open sockets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use hmac::{Hmac, Mac};
use hyper::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};

use crate::harness::{Answer, BASE, Client, Server, within};
use crate::tokens::{SECRET, token_with};

/// Signs the questions.
const QUESTION_SECRET: &str = "a secret between the host and the back end";

/// How the back end answers.
#[derive(Debug, Clone)]
enum Mode {
    /// With 200 and this body.
    Body(String),
    /// With this status and a body that would let everybody in.
    Status(u16),
    /// With a redirect to a place that would let everybody in.
    Redirect,
    /// Never.
    Silent,
    /// With these permissions, once the test lets it.
    Held(String),
}

/// A back end that decides.
#[derive(Clone)]
struct BackEnd {
    address: std::net::SocketAddr,
    mode: Arc<Mutex<Mode>>,
    /// The questions so far.
    questions: Arc<Mutex<Vec<Value>>>,
    /// Tells that one more question has come.
    asked: Arc<Notify>,
    /// Lets answers go that are held.
    release: Arc<Semaphore>,
}

fn allow(permissions: &[&str], expires_in: f64) -> Mode {
    Mode::Body(json!({ "permissions": permissions, "expiresIn": expires_in }).to_string())
}

impl BackEnd {
    async fn start(mode: Mode) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let back_end = BackEnd {
            address: listener.local_addr().unwrap(),
            mode: Arc::new(Mutex::new(mode)),
            questions: Arc::default(),
            asked: Arc::default(),
            release: Arc::new(Semaphore::new(0)),
        };
        let router = Router::new()
            .route("/rooms/authorize", post(BackEnd::answer))
            .route("/open", post(async || allow_all()))
            .with_state(back_end.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        back_end
    }

    async fn answer(State(back_end): State<BackEnd>, headers: HeaderMap, body: Bytes) -> Response {
        check_signature(&headers, &body);
        back_end.questions.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
        back_end.asked.notify_waiters();
        let mode = back_end.mode.lock().unwrap().clone();
        let with = |status: u16, body: String| Response::builder().status(status).body(Body::from(body)).unwrap();
        match mode {
            Mode::Body(body) => with(200, body),
            Mode::Status(status) => Response::builder().status(status).body(allow_all().into_body()).unwrap(),
            Mode::Redirect => Response::builder().status(307).header("location", "/open").body(Body::empty()).unwrap(),
            Mode::Silent => std::future::pending().await,
            Mode::Held(body) => {
                back_end.release.acquire().await.unwrap().forget();
                with(200, body)
            }
        }
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    fn questions(&self) -> Vec<Value> {
        self.questions.lock().unwrap().clone()
    }

    /// Waits until so many questions have come.
    async fn wait_for_questions(&self, count: usize) {
        let enough = async {
            loop {
                let asked = self.asked.notified();
                if self.questions().len() >= count {
                    return;
                }
                asked.await;
            }
        };
        within(enough).await;
    }
}

fn allow_all() -> Response {
    let body = json!({ "permissions": ["read", "write", "presence", "moderate", "admin"], "expiresIn": 60 });
    Response::new(Body::from(body.to_string()))
}

/// The check that the documentation shows, in Rust.
fn check_signature(headers: &HeaderMap, body: &[u8]) {
    let header = |name: &str| headers[name].to_str().unwrap();
    let timestamp = header("dormouse-timestamp");
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(age.abs_diff(timestamp.parse().unwrap()) <= 300, "{timestamp}");
    let mut mac = Hmac::<Sha256>::new_from_slice(QUESTION_SECRET.as_bytes()).unwrap();
    mac.update(format!("{timestamp}.").as_bytes());
    mac.update(body);
    let given = header("dormouse-signature").strip_prefix("v1=").unwrap();
    let bytes = (0..given.len()).step_by(2).map(|at| u8::from_str_radix(&given[at..at + 2], 16).unwrap());
    mac.verify_slice(&bytes.collect::<Vec<_>>()).expect("the question is signed");
    assert_eq!(header("content-type"), "application/json");
}

async fn server_of(back_end: &BackEnd, more: &str) -> Server {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    std::fs::write(directory.path().join("authorize.secret"), format!("{QUESTION_SECRET}\n")).unwrap();
    let config = format!(
        r#"
hibernate_after = "10ms"
[identity]
auth = "jwt"
keys = [{{ algorithm = "HS256", file = "secret" }}]
authorize = "http://{}/rooms/authorize"
authorize_secret = "authorize.secret"
{more}
[namespaces.ROOMS]
component = "builtin:chat-room"
[namespaces.PRESENCE]
component = "builtin:presence-tracker"
[namespaces.LOUNGE]
component = "builtin:chat-room"
access = "open"
"#,
        back_end.address
    );
    Server::in_directory(directory, &config).await
}

fn token(user: &str) -> String {
    token_with(&json!({ "sub": user, "name": user.to_uppercase() }))
}

async fn ask(server: &Server, method: Method, path: &str, token: &str, body: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    server.request(method, &format!("{BASE}{path}"), &[("authorization", &authorization)], body).await
}

async fn connect(server: &Server, path: &str, token: &str) -> Result<Client, Answer> {
    let authorization = format!("Bearer {token}");
    server.connect(&format!("{BASE}{path}"), &[("authorization", &authorization)]).await
}

/// The status of each way into a room: a WebSocket, a stream of events, a GET and a POST.
async fn statuses(server: &Server, room: &str, token: &str) -> [u16; 4] {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let socket = connect(server, &format!("/{room}/ws"), token).await;
    let stream = server.open_event_stream(&format!("{BASE}/{room}/events"), &headers).await;
    let get = ask(server, Method::GET, &format!("/{room}/messages"), token, "").await;
    let post = ask(server, Method::POST, &format!("/{room}/messages"), token, r#"{"content":"hello"}"#).await;
    [
        socket.map_or_else(|refused| refused.status.as_u16(), |_| 101),
        stream.map_or_else(|refused| refused.status.as_u16(), |_| 200),
        get.status.as_u16(),
        post.status.as_u16(),
    ]
}

#[tokio::test]
async fn the_back_end_decides_over_every_transport() {
    let back_end = BackEnd::start(allow(&[], 0.0)).await;
    let server = server_of(&back_end, "").await;
    for (permissions, expected) in [
        (&["read", "write"][..], [101, 200, 200, 200]),
        (&["read"], [101, 200, 200, 403]),
        (&["write"], [403, 403, 403, 200]),
        (&[], [403; 4]),
    ] {
        back_end.set(allow(permissions, 0.0));
        assert_eq!(statuses(&server, "rooms/team-7", &token("ana")).await, expected, "{permissions:?}");
    }
    // The grants of the token itself do not count, and open rooms do not ask.
    let granted = token_with(&json!({ "sub": "ana", "rooms": { "rooms/**": ["read", "write"] } }));
    assert_eq!(statuses(&server, "rooms/team-7", &granted).await, [403; 4]);
    let before = back_end.questions().len();
    assert_eq!(statuses(&server, "lounge/bar", &token("ana")).await, [101, 200, 200, 200]);
    assert_eq!(back_end.questions().len(), before);
    let answer = ask(&server, Method::GET, "/rooms/team-7/messages", "", "").await;
    assert_eq!(answer.status, 401, "a request without an identity is not asked about");
    assert_eq!(back_end.questions().len(), before);
}

#[tokio::test]
async fn a_question_names_the_user_the_claims_the_room_and_the_action() {
    let back_end = BackEnd::start(allow(&["read"], 60.0)).await;
    let server = server_of(&back_end, "").await;
    let token = token_with(&json!({ "sub": "42", "name": "Ana", "team": 7, "jti": "x" }));
    let answer = ask(&server, Method::POST, "/rooms/caf%C3%A9%201/messages", &token, r#"{"content":"hello"}"#).await;
    assert_eq!(answer.json()["permission"], "write", "{answer:?}");
    assert_eq!(
        back_end.questions(),
        [json!({
            "user": { "id": "42", "name": "Ana" },
            "claims": { "name": "Ana", "team": 7 },
            "namespace": "rooms",
            "room": "café 1",
            "action": "write",
        })]
    );
}

#[tokio::test]
async fn users_are_refused_with_503_without_a_valid_answer() {
    let back_end = BackEnd::start(allow(&["read", "write"], 0.0)).await;
    let server = server_of(&back_end, "authorize_timeout = \"500ms\"").await;
    let body = |text: &str| Mode::Body(text.to_owned());
    let long = json!({ "permissions": ["read", "write"], "expiresIn": 60, "x": "x".repeat(1 << 20) }).to_string();
    for mode in [
        Mode::Silent,
        Mode::Redirect,
        Mode::Status(500),
        Mode::Status(403),
        Mode::Status(204),
        body(""),
        body("<html>"),
        body(&long),
        body(r#"{"permissions":["read","write"]}"#),
        body(r#"{"permissions":["read","write","everything"],"expiresIn":60}"#),
        body(r#"{"permissions":["read","write"],"expiresIn":-1}"#),
        body(r#"{"permissions":["read","write"],"expiresIn":"60"}"#),
    ] {
        let shown = format!("{mode:?}").chars().take(80).collect::<String>();
        back_end.set(mode);
        let answer = ask(&server, Method::GET, "/rooms/team-7/messages", &token("ana"), "").await;
        answer.is_problem(503);
        assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0, "{shown}: {answer:?}");
        let refused = connect(&server, "/rooms/team-7/ws", &token("ana")).await.err().unwrap();
        assert_eq!(refused.status, 503, "{shown}");
        // It recovers at once.
        back_end.set(allow(&["read", "write"], 0.0));
        assert_eq!(statuses(&server, "rooms/team-7", &token("ana")).await, [101, 200, 200, 200], "{shown}");
    }
    server.wait_for_log("gave no decision").await;
    assert!(!server.log().contains(QUESTION_SECRET));
}

#[tokio::test]
async fn a_back_end_that_is_down_lets_nobody_in() {
    let back_end = BackEnd::start(Mode::Silent).await;
    // Nothing listens there any more.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = BackEnd { address: listener.local_addr().unwrap(), ..back_end };
    drop(listener);
    let server = server_of(&gone, "").await;
    assert_eq!(statuses(&server, "rooms/team-7", &token("ana")).await, [503; 4]);
}

#[tokio::test]
async fn an_absurdly_long_life_of_an_answer_ends_after_five_minutes() {
    let back_end = BackEnd::start(allow(&["read"], 1e300)).await;
    let server = server_of(&back_end, "").await;
    assert_eq!(ask(&server, Method::GET, "/rooms/a/messages", &token("ana"), "").await.status, 200);
    assert_eq!(ask(&server, Method::GET, "/rooms/a/messages", &token("ana"), "").await.status, 200);
    assert_eq!(back_end.questions().len(), 1, "it is kept");
}

#[tokio::test]
async fn joins_at_once_cost_one_question_for_each_user_and_room() {
    let answer = json!({ "permissions": ["read"], "expiresIn": 60 }).to_string();
    let back_end = BackEnd::start(Mode::Held(answer)).await;
    let more = "authorize_timeout = \"30s\"\n[limits]\nrequests_per_user = 0\nrequests_per_address = 0\n\
                messages_per_second_per_user = 0\nconnects_per_second_per_address = 0\nconnections_per_address = 0";
    let server = server_of(&back_end, more).await;
    let (ana, bo) = (token("ana"), token("bo"));
    let requests = (0..300).map(|number| {
        let (token, room) = (if number % 2 == 0 { &ana } else { &bo }, ["a", "b", "c"][number % 3]);
        let path = format!("/rooms/{room}/messages");
        let server = &server;
        async move { ask(server, Method::GET, &path, token, "").await.status }
    });
    // The first asker disconnects. Its question goes on.
    {
        let first = ask(&server, Method::GET, "/rooms/a/messages", &ana, "");
        tokio::select! {
            answer = first => panic!("it was answered: {answer:?}"),
            () = back_end.wait_for_questions(1) => {}
        }
    }
    let all = async {
        let answered = futures_util::future::join_all(requests);
        let released = async {
            back_end.wait_for_questions(6).await;
            back_end.release.add_permits(6);
        };
        tokio::join!(answered, released).0
    };
    let statuses = within(all).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let mut of_each = HashMap::new();
    for question in back_end.questions() {
        *of_each.entry((question["user"]["id"].to_string(), question["room"].to_string())).or_insert(0) += 1;
    }
    assert_eq!(of_each.len(), 6);
    assert!(of_each.values().all(|count| *count == 1), "{of_each:?}");
}

#[tokio::test]
async fn an_open_socket_asks_again_before_its_answer_ends() {
    let back_end = BackEnd::start(allow(&["read", "write"], 1.0)).await;
    let server = server_of(&back_end, "").await;
    let (ana, bo) = (token("ana"), token("bo"));
    let mut socket = connect(&server, "/rooms/a/ws", &ana).await.unwrap();
    socket.recv_type("history").await;
    assert_eq!(socket.recv_type("permissions").await["permissions"], json!(["read", "write"]));
    socket.send_chat("one").await;
    socket.recv_type("message").await;
    let headers = [("authorization", format!("Bearer {bo}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut stream = server.open_event_stream(&format!("{BASE}/rooms/a/events"), &headers).await.unwrap();

    // Without `write` the next message is refused.
    back_end.set(allow(&["read"], 1.0));
    assert_eq!(socket.recv_type("permissions").await["permissions"], json!(["read"]));
    socket.send_chat("two").await;
    assert_eq!(socket.recv_type("error").await["code"], "forbidden");
    let of_stream = async {
        loop {
            let event = stream.recv().await.json();
            if event["type"] == "permissions" && event["permissions"] == json!(["read"]) {
                return;
            }
        }
    };
    within(of_stream).await;

    // Without `read` the sockets are closed.
    back_end.set(allow(&[], 1.0));
    assert_eq!(socket.recv_close().await.0, 4403);
    let closed = async {
        loop {
            let event = stream.recv().await;
            if event.name.as_deref() == Some("close") {
                return event.json();
            }
        }
    };
    assert_eq!(within(closed).await["code"], 4403);
}

#[tokio::test]
async fn an_answer_that_ends_without_a_new_one_closes_open_sockets() {
    let back_end = BackEnd::start(allow(&["read", "write"], 1.0)).await;
    let server = server_of(&back_end, "authorize_timeout = \"200ms\"").await;
    let mut socket = connect(&server, "/rooms/a/ws", &token("ana")).await.unwrap();
    let mut other = connect(&server, "/rooms/a/ws", &token("bo")).await.unwrap();
    back_end.wait_for_questions(2).await;
    back_end.set(Mode::Status(500));
    assert_eq!(socket.recv_close().await.0, 1013);
    assert_eq!(other.recv_close().await.0, 1013);
    // A back end that fails now and then ends no socket: it is asked again until the answer ends.
    back_end.set(allow(&["read", "write"], 2.0));
    let mut socket = connect(&server, "/rooms/a/ws", &token("ana")).await.unwrap();
    let asked = back_end.questions().len();
    back_end.set(Mode::Status(503));
    back_end.wait_for_questions(asked + 1).await;
    back_end.set(allow(&["read"], 60.0));
    let changed = async {
        loop {
            if socket.recv_type("permissions").await["permissions"] == json!(["read"]) {
                return;
            }
        }
    };
    within(changed).await;
}

#[tokio::test]
async fn a_new_token_with_other_claims_is_asked_about() {
    let back_end = BackEnd::start(allow(&["read", "write"], 60.0)).await;
    let server = server_of(&back_end, "").await;
    let with_team = |team: u32| token_with(&json!({ "sub": "ana", "name": "ana", "team": team }));
    let mut socket = connect(&server, "/rooms/a/ws", &with_team(1)).await.unwrap();
    socket.recv_type("permissions").await;
    socket.send(&json!({ "type": "identity", "token": with_team(1) }).to_string()).await;
    socket.recv_type("identity").await;
    assert_eq!(back_end.questions().len(), 1, "the same question has an answer");
    back_end.set(allow(&[], 60.0));
    socket.send(&json!({ "type": "identity", "token": with_team(2) }).to_string()).await;
    assert_eq!(socket.recv_close().await.0, 4403);
    assert_eq!(back_end.questions()[1]["claims"]["team"], 2);
}

#[tokio::test]
async fn a_revoked_user_stays_out_despite_the_back_end() {
    let back_end = BackEnd::start(allow(&["read", "write"], 60.0)).await;
    let server = server_of(&back_end, "").await;
    let ana = token("ana");
    let mut socket = connect(&server, "/rooms/a/ws", &ana).await.unwrap();
    let revoked = json!({ "user": "ana", "room": "rooms/a" }).to_string();
    let admin = server.admin_address();
    assert_eq!(crate::harness::request(admin, Method::POST, "/revocations", &[], &revoked).await.status, 200);
    assert_eq!(socket.recv_close().await.0, 4403);
    assert_eq!(statuses(&server, "rooms/a", &ana).await, [403; 4]);
    assert_eq!(statuses(&server, "rooms/b", &ana).await, [101, 200, 200, 200]);
    let server = server.crash_and_restart().await;
    assert_eq!(statuses(&server, "rooms/a", &ana).await, [403; 4]);
    let admin = server.admin_address();
    assert_eq!(crate::harness::request(admin, Method::DELETE, "/revocations", &[], &revoked).await.status, 200);
    assert_eq!(statuses(&server, "rooms/a", &ana).await, [101, 200, 200, 200]);
}

#[tokio::test]
async fn check_asks_the_back_end_and_prints_who_decides() {
    let back_end = BackEnd::start(allow(&["read", "moderate"], 60.0)).await;
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    std::fs::write(directory.path().join("authorize.secret"), QUESTION_SECRET).unwrap();
    let file = directory.path().join("dormouse.toml");
    let config = format!(
        "[identity]\nauth = \"jwt\"\nkeys = [{{ algorithm = \"HS256\", file = \"secret\" }}]\n\
         authorize = \"http://{}/rooms/authorize\"\nauthorize_secret = \"authorize.secret\"\n",
        back_end.address
    );
    std::fs::write(&file, config).unwrap();
    let token = token("ana");
    let run = |args: Vec<String>| {
        let file = file.to_str().unwrap().to_owned();
        tokio::task::spawn_blocking(move || {
            let args = args.iter().map(String::as_str).chain(["--config", &file]).collect::<Vec<_>>();
            let output = crate::command_line::run(&args);
            let text = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8(text).unwrap())
        })
    };
    let check = |room: &str| run(["check", "--as", &token, room].map(str::to_owned).to_vec());
    let (is_good, text) = check("rooms/team-7").await.unwrap();
    assert!(is_good, "{text}");
    for line in ["ana in rooms/team-7", "may: read, moderate", "may not: write, presence, admin", "decided so just now"]
    {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    assert_eq!(back_end.questions()[0]["room"], "team-7");
    back_end.set(Mode::Status(500));
    let (is_good, text) = check("rooms/team-7").await.unwrap();
    assert!(!is_good && text.contains("gave no decision") && text.contains("status 500"), "{text}");
    let (is_good, text) = run(vec!["check".into()]).await.unwrap();
    let decided = format!("access granted, decided by http://{}/rooms/authorize", back_end.address);
    assert!(is_good && text.contains(&decided), "{text}");
}
