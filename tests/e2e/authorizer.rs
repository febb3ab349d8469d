//! The operator's own server decides who may enter which room: its answers, its failures, and open sockets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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
use tokio::net::TcpSocket;
use tokio::sync::{Notify, Semaphore};

use crate::access::metric;
use crate::harness::{Answer, BASE, Client, EventStream, Server, refusing_address, within};
use crate::tokens::{SECRET, token_with};

/// Signs the questions.
const QUESTION_SECRET: &str = "a secret between the host and the back end";

/// How the back end answers.
#[derive(Debug, Clone)]
pub(crate) enum Mode {
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
    /// As the first one, then as the second, and so on.
    Turns(Box<[Mode; 2]>),
}

/// A back end that decides.
#[derive(Clone)]
pub(crate) struct BackEnd {
    address: std::net::SocketAddr,
    mode: Arc<Mutex<Mode>>,
    /// In rooms with these names, in place of `mode`.
    modes: Arc<Mutex<HashMap<String, Mode>>>,
    /// The questions so far, and when each came.
    questions: Arc<Mutex<Vec<(Value, Instant)>>>,
    /// Tells that one more question has come.
    asked: Arc<Notify>,
    /// Lets answers go that are held.
    release: Arc<Semaphore>,
    /// Keeps the address from others if nobody is to listen there.
    _refusing: Option<Arc<TcpSocket>>,
}

pub(crate) fn allow(permissions: &[&str], expires_in: f64) -> Mode {
    Mode::Body(json!({ "permissions": permissions, "expiresIn": expires_in }).to_string())
}

impl BackEnd {
    pub(crate) async fn start(mode: Mode) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let back_end = BackEnd {
            address: listener.local_addr().unwrap(),
            mode: Arc::new(Mutex::new(mode)),
            modes: Arc::default(),
            questions: Arc::default(),
            asked: Arc::default(),
            release: Arc::new(Semaphore::new(0)),
            _refusing: None,
        };
        let router = Router::new()
            .route("/rooms/authorize", post(BackEnd::answer))
            .route("/open", post(async || allow_all()))
            .with_state(back_end.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        back_end
    }

    /// Where no back end is.
    pub(crate) async fn gone() -> Self {
        let (socket, address) = refusing_address();
        BackEnd { address, _refusing: Some(Arc::new(socket)), ..BackEnd::start(Mode::Silent).await }
    }

    async fn answer(State(back_end): State<BackEnd>, headers: HeaderMap, body: Bytes) -> Response {
        check_signature(&headers, &body);
        let question = serde_json::from_slice::<Value>(&body).unwrap();
        let mode = back_end.mode_of(&question);
        back_end.questions.lock().unwrap().push((question, Instant::now()));
        back_end.asked.notify_waiters();
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
            Mode::Turns(_) => unreachable!("one of them was chosen"),
        }
    }

    /// How it answers this question. The user `writer` may always write.
    fn mode_of(&self, question: &Value) -> Mode {
        if question["user"]["id"] == "writer" {
            return allow(&["write"], 0.0);
        }
        let room = question["room"].as_str().unwrap();
        let mode = self.modes.lock().unwrap().get(room).cloned();
        let asked = self.questions().iter().filter(|earlier| earlier["room"] == room).count();
        match mode.unwrap_or_else(|| self.mode.lock().unwrap().clone()) {
            Mode::Turns(modes) => modes[asked % 2].clone(),
            mode => mode,
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// Answers so in one room, whatever it answers in others.
    pub(crate) fn set_in(&self, room: &str, mode: Mode) {
        self.modes.lock().unwrap().insert(room.to_owned(), mode);
    }

    pub(crate) fn questions(&self) -> Vec<Value> {
        self.questions.lock().unwrap().iter().map(|(question, _)| question.clone()).collect()
    }

    /// How often it was asked about a user in a room.
    pub(crate) fn asked_of(&self, user: &str, room: &str) -> usize {
        let is_meant = |question: &&Value| question["user"]["id"] == user && question["room"] == room;
        self.questions().iter().filter(is_meant).count()
    }

    /// When it was asked about a room.
    fn asked_about(&self, room: &str) -> Vec<Instant> {
        let questions = self.questions.lock().unwrap();
        questions.iter().filter(|(question, _)| question["room"] == room).map(|(_, at)| *at).collect()
    }

    /// Waits until so many questions have come.
    async fn wait_for_questions(&self, count: usize) {
        self.wait_until(|| self.questions().len() >= count).await;
    }

    /// Waits for a question with which something becomes true.
    pub(crate) async fn wait_until(&self, is_true: impl Fn() -> bool) {
        let enough = async {
            loop {
                let asked = self.asked.notified();
                if is_true() {
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

/// A server that asks a back end, and has open rooms in `LOUNGE`.
pub(crate) async fn server_of(back_end: &BackEnd, more: &str) -> Server {
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
    server.wait_for_log("gave no decision; users are refused").await;
    let reason = "because the server of identity.authorize gave no decision";
    wait_for_line(&server, &["a user was refused", reason, "\"ana\"", "ROOMS/team-7", "authorizer_failed"], 1).await;
    let log = server.log();
    assert!(!log.contains(QUESTION_SECRET));
    assert!(!log.contains("for want of a permission"), "nobody decided that");
}

/// A server that waits long for decisions, and has no limits of a user and of an address.
const PATIENT: &str = "authorize_timeout = \"30s\"\n[limits]\nrequests_per_user = 0\nrequests_per_address = 0\n\
                       messages_per_second_per_user = 0\nconnects_per_second_per_address = 0\n\
                       connections_per_address = 0";

/// Waits until so many lines of the log have all these parts.
async fn wait_for_line(server: &Server, parts: &[&str], count: usize) {
    let is_meant = |line: &&str| parts.iter().all(|part| line.contains(part));
    let found = async {
        while server.log().lines().filter(is_meant).count() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(found).await;
}

#[tokio::test]
async fn one_user_takes_a_part_of_the_questions_at_once() {
    let answer = json!({ "permissions": ["read"], "expiresIn": 60 }).to_string();
    let back_end = BackEnd::start(Mode::Held(answer)).await;
    let server = server_of(&back_end, PATIENT).await;
    let (ana, bo) = (token("ana"), token("bo"));
    let get = async |token: &str, room: usize| {
        ask(&server, Method::GET, &format!("/rooms/r{room}/messages"), token, "").await.status
    };
    let of_ana = futures_util::future::join_all((0..100).map(|room| get(&ana, room)));
    let of_bo = async {
        back_end.wait_for_questions(16).await;
        let answered = get(&bo, 0);
        let asked = async {
            back_end.wait_for_questions(17).await;
            let users = back_end.questions().iter().map(|question| question["user"]["id"].clone()).collect::<Vec<_>>();
            assert_eq!(users[..17].iter().filter(|user| **user == "ana").count(), 16, "{users:?}");
            assert_eq!(users[16], "bo", "the others of ana wait for their turn");
            back_end.release.add_permits(101);
        };
        tokio::join!(answered, asked).0
    };
    let (of_ana, of_bo) = within(async { tokio::join!(of_ana, of_bo) }).await;
    assert_eq!(of_bo, 200);
    assert!(of_ana.iter().all(|status| *status == 200), "{of_ana:?}");
    assert_eq!(back_end.questions().len(), 101);
}

#[tokio::test]
async fn a_back_end_that_is_down_lets_nobody_in() {
    let server = server_of(&BackEnd::gone().await, "").await;
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
    let server = server_of(&back_end, PATIENT).await;
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

/// The next event of a stream with this type, or its close event as `{"code":…}`.
async fn event_of(stream: &mut EventStream, kind: &str) -> Value {
    let found = async {
        loop {
            let event = stream.recv().await;
            let json = event.json();
            if event.name.as_deref() == Some("close") || json["type"] == kind {
                return json;
            }
        }
    };
    within(found).await
}

async fn open_stream(server: &Server, room: &str, token: &str) -> EventStream {
    let authorization = format!("Bearer {token}");
    let path = format!("{BASE}/{room}/events");
    server.open_event_stream(&path, &[("authorization", &authorization)]).await.expect("the back end lets in")
}

/// An open socket asks after ten seconds at the earliest, so these tests wait that long.
#[tokio::test]
async fn an_open_socket_asks_again_before_its_answer_ends() {
    let back_end = BackEnd::start(allow(&["read", "write"], 1.0)).await;
    back_end.set_in("use-once", allow(&["read", "write"], 0.0));
    let server = server_of(&back_end, "").await;
    let (ana, bo) = (token("ana"), token("bo"));
    let mut once = connect(&server, "/rooms/use-once/ws", &ana).await.unwrap();
    let (mut sockets, mut streams) = (Vec::new(), Vec::new());
    for room in ["less", "out"] {
        sockets.push(connect(&server, &format!("/rooms/{room}/ws"), &ana).await.unwrap());
        streams.push(open_stream(&server, &format!("rooms/{room}"), &bo).await);
    }
    for socket in &mut sockets {
        assert_eq!(socket.recv_type("permissions").await["permissions"], json!(["read", "write"]));
        socket.send_chat("one").await;
        socket.recv_type("message").await;
    }
    for stream in &mut streams {
        assert_eq!(event_of(stream, "permissions").await["permissions"], json!(["read", "write"]));
    }
    back_end.set_in("less", allow(&["read"], 1.0));
    back_end.set_in("use-once", allow(&["read"], 0.0));
    back_end.set_in("out", allow(&[], 1.0));

    // Without `write` the next message is refused.
    assert_eq!(sockets[0].recv_type("permissions").await["permissions"], json!(["read"]));
    sockets[0].send_chat("two").await;
    assert_eq!(sockets[0].recv_type("error").await["code"], "forbidden");
    assert_eq!(event_of(&mut streams[0], "permissions").await["permissions"], json!(["read"]));
    // Without `read` the sockets are closed.
    assert_eq!(sockets[1].recv_close().await.0, 4403);
    assert_eq!(event_of(&mut streams[1], "none").await["code"], 4403);
    once.recv_type("permissions").await;
    assert_eq!(once.recv_type("permissions").await["permissions"], json!(["read"]));

    let asked = back_end.asked_about("use-once");
    assert_eq!(asked.len(), 2);
    assert!(asked[1] - asked[0] >= Duration::from_secs(10), "{:?}", asked[1] - asked[0]);
    for user in ["user=\"ana\"", "user=\"bo\""] {
        wait_for_line(&server, &["for want of a permission", "ROOMS/out", user, "not_authorized"], 1).await;
    }
}

#[tokio::test]
async fn an_answer_that_ends_without_a_new_one_closes_open_sockets() {
    let back_end = BackEnd::start(allow(&["read", "write"], 1.0)).await;
    let server = server_of(&back_end, "authorize_timeout = \"200ms\"").await;
    let mut socket = connect(&server, "/rooms/fails/ws", &token("ana")).await.unwrap();
    let mut stream = open_stream(&server, "rooms/fails", &token("bo")).await;
    let mut lucky = connect(&server, "/rooms/recovers/ws", &token("ana")).await.unwrap();
    lucky.recv_type("permissions").await;
    back_end.set(Mode::Status(500));
    // A back end that fails now and then ends no socket: it is asked again until the answer ends.
    let recovers = async {
        back_end.wait_until(|| back_end.asked_about("recovers").len() >= 2).await;
        back_end.set_in("recovers", allow(&["read"], 60.0));
        assert_eq!(lucky.recv_type("permissions").await["permissions"], json!(["read"]));
    };
    let fails = async {
        assert_eq!(socket.recv_close().await.0, 1013);
        assert_eq!(event_of(&mut stream, "none").await["code"], 1013);
    };
    within(async { tokio::join!(recovers, fails) }).await;
    let name = r#"access_total{decision="refused",reason="authorizer_failed"}"#;
    assert_eq!(metric(&server, name).await, 2, "two sockets were closed");
    wait_for_line(&server, &["because the server of identity.authorize", "ROOMS/fails", "authorizer_failed"], 2).await;
    assert!(!server.log().contains("for want of a permission"), "{}", server.log());
}

/// Each answer comes before the next sign of life is due.
#[tokio::test]
async fn a_stream_with_short_answers_still_sends_signs_of_life() {
    let back_end = BackEnd::start(allow(&["read"], 0.0)).await;
    let server = server_of(&back_end, "[limits]\nping_every = \"14s\"").await;
    let mut stream = open_stream(&server, "rooms/a", &token("ana")).await;
    let pinged = async { while !stream.recv_block().await.expect("the stream goes on").starts_with(": ping") {} };
    within(pinged).await;
    assert!(back_end.questions().len() >= 2, "it was asked meanwhile");
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
