//! The proof that nobody reads or writes where access says no: tables over every way into a room, the permissions of
//! the user, and everything that can happen to them.
//!
//! In reading order: entering, open sockets, rooms that reach each other; then the doors and the people behind them.
//! `access.rs` and `authorizer.rs` test how the refusals look.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::{self, Next};
use axum::response::Response;
use dormouse::Host;
use dormouse::config::{AccessMode, Config, Identity, Limits};
use dormouse::edge::{Grants, Verified};
use dormouse::model::{self, Message, Permission, Permissions, User, UserAccess};
use dormouse::revocations::Revoked;
use dormouse::room::{ConnectError, LocalSocket, Received};
use futures_util::future::join_all;
use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::authorizer::{self, BackEnd, Mode, allow};
use crate::harness::{self, Answer, BASE, Client, EventStream, Server, within};
use crate::tokens::{SECRET, now_s, token_with};

/// The answers to a WebSocket, to a message on it, to an event stream, to GET, POST and DELETE. 101 is an open socket,
/// a message is 200 if the room takes it and 403 if it is an error `forbidden`, and 0 if there is no socket. DELETE is
/// of a message that is not there: 404 is the answer of a chat room to a moderator, and of a presence room.
type Entering = [u16; 6];

const ALL: Entering = [101, 200, 200, 200, 200, 404];
const NO: Entering = [403, 0, 403, 403, 403, 403];
const WHO: Entering = [401, 0, 401, 401, 401, 401];
const LATER: Entering = [503, 0, 503, 503, 503, 503];

/// A namespace, what is so when the user comes, the permissions in the room, and the answers. The rows that begin with
/// `the back end` are of a server that asks one.
const ENTERING: &[(&str, &str, &str, Entering)] = &[
    ("rooms", "granted", "", NO),
    ("rooms", "granted", "read", [101, 403, 200, 200, 403, 403]),
    ("rooms", "granted", "write", [403, 0, 403, 403, 200, 403]),
    ("rooms", "granted", "read write", [101, 200, 200, 200, 200, 403]),
    ("rooms", "granted", "read moderate", [101, 403, 200, 200, 403, 403]),
    ("rooms", "granted", "read write moderate", ALL),
    ("rooms", "granted", "presence moderate admin", NO),
    ("rooms", "granted in another room", "read write moderate", NO),
    ("rooms", "without the claim", "read write moderate", NO),
    ("rooms", "expired", "read write moderate", WHO),
    ("rooms", "revoked", "read write moderate", WHO),
    ("rooms", "sent out of the room", "read write moderate", NO),
    ("presence", "granted", "", NO),
    ("presence", "granted", "read", [101, 403, 200, 200, 403, 403]),
    ("presence", "granted", "read write moderate admin", [101, 403, 200, 200, 403, 403]),
    ("presence", "granted", "presence", [403, 0, 403, 403, 200, 404]),
    ("presence", "granted", "read presence", ALL),
    ("presence", "granted in another room", "read presence", NO),
    ("presence", "expired", "read presence", WHO),
    ("presence", "sent out of the room", "read presence", NO),
    ("rooms", "the back end answers", "", NO),
    ("rooms", "the back end answers", "read", [101, 403, 200, 200, 403, 403]),
    ("rooms", "the back end answers", "write", [403, 0, 403, 403, 200, 403]),
    ("rooms", "the back end answers", "read write", [101, 200, 200, 200, 200, 403]),
    ("rooms", "the back end answers", "read write moderate", ALL),
    ("presence", "the back end answers", "read write", [101, 403, 200, 200, 403, 403]),
    ("presence", "the back end answers", "read presence", ALL),
    ("rooms", "the back end answers; expired", "read write moderate", WHO),
    ("rooms", "the back end answers; sent out of the room", "read write moderate", NO),
    ("rooms", "the back end says no; granted", "read write moderate", NO),
    ("rooms", "the back end is down", "read write moderate", LATER),
    ("rooms", "the back end is slow", "read write moderate", LATER),
    ("rooms", "the back end answers 500", "read write moderate", LATER),
    ("rooms", "the back end redirects", "read write moderate", LATER),
    ("rooms", "the back end writes wrong JSON", "read write moderate", LATER),
    ("rooms", "the back end writes too much", "read write moderate", LATER),
    ("rooms", "the back end means a time before now", "read write moderate", LATER),
    ("rooms", "the back end means for ever", "read write moderate", ALL),
    // Every second question, and none about the message.
    ("rooms", "the back end flaps", "read write moderate", [101, 200, 503, 200, 503, 404]),
];

/// The fate of a message on an open WebSocket, of that socket, and of an open event stream. 200 for a socket or a
/// stream that goes on to receive, or its close code.
type Staying = [u16; 3];

/// What happens while both are open, with `read write` of the token or of the back end.
const STAYING: &[(&str, Staying)] = &[
    ("nothing", [200, 200, 200]),
    ("renewed with read write moderate", [200, 200, 200]),
    ("renewed with read", [403, 200, 200]),
    ("renewed with write", [0, 4403, 200]),
    ("renewed with nothing", [0, 4403, 200]),
    ("renewed for another room", [0, 4403, 200]),
    ("renewed without the claim", [0, 4403, 200]),
    ("renewed as another user", [0, 4403, 200]),
    ("expired", [0, 4401, 4401]),
    ("revoked", [0, 4403, 4403]),
    ("sent out of the room", [0, 4403, 4403]),
    ("the back end says the same", [200, 200, 200]),
    ("the back end takes write", [403, 200, 200]),
    ("the back end takes read", [0, 4403, 4403]),
    ("the back end takes everything", [0, 4403, 4403]),
    ("the back end is slow", [0, 1013, 1013]),
    ("the back end answers 500", [0, 1013, 1013]),
    ("the back end redirects", [0, 1013, 1013]),
    ("the back end writes wrong JSON", [0, 1013, 1013]),
    ("the back end writes too much", [0, 1013, 1013]),
    ("the back end means a time before now", [0, 1013, 1013]),
    ("the back end means for ever", [200, 200, 200]),
    ("the back end flaps", [200, 200, 200]),
    ("the back end says the same; sent out of the room", [0, 4403, 4403]),
    ("mounted; nothing", [200, 200, 200]),
    ("mounted; sent out of the room", [0, 4403, 4403]),
];

/// The new permissions of a local socket, and what becomes of a message and of the socket.
const LOCAL_SOCKETS: &[(&str, [u16; 2])] =
    &[("read write moderate", [200, 200]), ("read", [403, 200]), ("write", [0, 4403]), ("", [0, 4403])];

/// What is so when a user asks a room to call another one, and to post to it: the status, and how often the other room
/// is reached. The user has no permission there.
const BETWEEN_ROOMS: &[(&str, &str, u16, u64)] = &[
    ("granted", "write", 200, 2),
    ("granted", "read", 403, 0),
    ("granted in another room", "write", 403, 0),
    ("without the claim", "write", 403, 0),
    ("expired", "write", 401, 0),
    ("sent out of the room", "write", 403, 0),
];

/// So long a failing test waits for a close. An open socket asks the back end after ten seconds at the earliest.
const CLOSED_WITHIN: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_or_writes_where_the_table_says_no() {
    let world = World::start().await;
    let entering = join_all(ENTERING.iter().enumerate().map(|(number, row)| world.enters(number, row)));
    let staying = join_all(STAYING.iter().enumerate().map(|(number, row)| world.stays(number, row)));
    let local = join_all(LOCAL_SOCKETS.iter().enumerate().map(|(number, row)| world.stays_local(number, row)));
    let between = join_all(BETWEEN_ROOMS.iter().enumerate().map(|(number, row)| world.reaches(number, row)));
    let (entering, staying, local, between) = tokio::join!(entering, staying, local, between);
    let wrong = [entering, staying, local, between].concat().concat();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    world.mounted.host.shutdown().await;
}

/// The servers, and the back ends of two of them.
struct World {
    tokens: Server,
    back_end: BackEnd,
    asking: Server,
    /// Nothing listens where it asks.
    lost: Server,
    mounted: Mounted,
}

impl World {
    async fn start() -> Self {
        let back_end = BackEnd::start(allow(&[], 0.0)).await;
        let gone = BackEnd::gone().await;
        let more = format!("leeway = \"0s\"\nauthorize_timeout = \"500ms\"\n{LIMITS}");
        let (tokens, asking, lost, mounted) = tokio::join!(
            server_of_tokens(),
            authorizer::server_of(&back_end, &more),
            authorizer::server_of(&gone, ""),
            Mounted::start(),
        );
        World { tokens, back_end, asking, lost, mounted }
    }

    /// Tries a row of [`ENTERING`] at every door that it is for. Returns what is wrong.
    async fn enters(&self, number: usize, row: &(&str, &str, &str, Entering)) -> Vec<String> {
        let (namespace, condition, permissions, expected) = *row;
        let room = format!("{namespace}/enter-{number}");
        let user = format!("user-{number}");
        let names = permissions.split_whitespace().collect::<Vec<_>>();
        let mut found = Vec::new();
        if condition.starts_with("the back end") {
            let name = room.split_once('/').unwrap().1;
            self.back_end.set_in(name, answer(condition, &names));
            let is_lost = condition == "the back end is down";
            let server = if is_lost { &self.lost } else { &self.asking };
            let rest = condition.split_once("; ").map_or("without the claim", |(_, rest)| rest);
            let door = Door::of(server, &self.token(server, &user, &room, rest, &names).await);
            found.push(("a server that asks", door.enter(&room).await));
            if !is_lost {
                self.back_end.set_in(name, allow(&["read"], 0.0));
                let reader = Door::of(server, &token_of("reader", &json!({})));
                found.extend(stored(&reader, &room, expected).await);
            }
        } else {
            let token = self.token(&self.tokens, &user, &room, condition, &names).await;
            found.push(("a server of tokens", Door::of(&self.tokens, &token).enter(&room).await));
            let reader = token_of("reader", &json!({ "rooms": { (room.clone()): ["read"] } }));
            found.extend(stored(&Door::of(&self.tokens, &reader), &room, expected).await);
            if let Some(door) = self.mounted.door(&user, &room, condition, &names).await {
                found.push(("a mounted host", door.enter(&room).await));
                let reader = self.mounted.door("reader", &room, "granted", &["read"]).await.unwrap();
                found.extend(stored(&reader, &room, expected).await);
            }
            if condition == "granted" {
                let mut embedded = self.mounted.enter(&format!("{room}-embedded"), &names).await;
                // An embedder has no event stream.
                embedded[2] = expected[2];
                found.push(("an embedder", embedded));
            }
        }
        let is_wrong = |(_, found): &(&str, Entering)| *found != expected;
        let wrong = found.into_iter().filter(is_wrong);
        wrong.map(|(door, found)| format!("{row:?}: {door}: {found:?}")).collect()
    }

    /// A token for a room, and what must happen before it is used.
    async fn token(&self, server: &Server, user: &str, room: &str, condition: &str, names: &[&str]) -> String {
        let grants = json!({ "rooms": { (room.to_owned()): names } });
        match condition {
            "granted" => {}
            "granted in another room" => return token_of(user, &json!({ "rooms": { (format!("{room}x")): names } })),
            "without the claim" => return token_of(user, &json!({})),
            "expired" => return token_of(user, &json!({ "rooms": grants["rooms"], "exp": now_s() - 1 })),
            "revoked" => revoke(server, &json!({ "user": user })).await,
            "sent out of the room" => revoke(server, &json!({ "user": user, "room": room })).await,
            other => panic!("no such condition: {other}"),
        }
        token_of(user, &grants)
    }

    /// Tries a row of [`STAYING`].
    async fn stays(&self, number: usize, row: &(&str, Staying)) -> Vec<String> {
        let (condition, expected) = *row;
        let room = format!("rooms/stay-{number}");
        let [ana, cleo] = ["ana", "cleo"].map(|user| format!("{user}-{number}"));
        let grants = json!({ "rooms": { (room.clone()): ["read", "write"] } });
        let writer = token_of("writer", &grants);
        let (doors, writer, server) = match condition.split_once("; ") {
            Some(("mounted", _)) => {
                let mut doors = Vec::new();
                for user in [ana.as_str(), cleo.as_str(), "writer"] {
                    doors.push(self.mounted.door(user, &room, "granted", &["read", "write"]).await.unwrap());
                }
                let writer = doors.pop().unwrap();
                (doors, writer, None)
            }
            _ => {
                let is_asking = condition.starts_with("the back end");
                let server = if is_asking { &self.asking } else { &self.tokens };
                let mut claims = if is_asking { json!({}) } else { grants };
                if condition == "expired" {
                    claims["exp"] = json!(now_s() + 10);
                }
                let doors = [&ana, &cleo].map(|user| Door::of(server, &token_of(user, &claims)));
                (doors.into(), Door::of(server, &writer), Some(server))
            }
        };
        let name = room.split_once('/').unwrap().1;
        self.back_end.set_in(name, allow(&["read", "write"], 0.0));
        let mut socket = doors[0].connect(&room).await.expect("it may read");
        let mut stream = doors[1].open_stream(&room).await.expect("it may read");
        socket.recv_type("permissions").await;
        event_of(&mut stream, "permissions").await;
        self.happens(condition, &room, [&ana, &cleo], server, &mut socket).await;

        // The closes first: otherwise the last message could arrive before them.
        let mut found = [0; 3];
        match expected[1] {
            200 => found[0] = send(&mut socket).await,
            _ => found[1] = end_of_socket(&mut socket).await,
        }
        if expected[2] != 200 {
            found[2] = end_of_stream(&mut stream).await;
        }
        let posted = writer.ask(Method::POST, &format!("/{room}/messages"), r#"{"content":"after"}"#).await;
        assert_eq!(posted.status, 200, "{posted:?}");
        if expected[1] == 200 {
            found[1] = end_of_socket(&mut socket).await;
        }
        if expected[2] == 200 {
            found[2] = end_of_stream(&mut stream).await;
        }
        if found == expected { Vec::new() } else { vec![format!("{row:?}: {found:?}")] }
    }

    /// Lets something happen to the users of an open socket and an open stream.
    async fn happens(
        &self,
        condition: &str,
        room: &str,
        [ana, cleo]: [&str; 2],
        server: Option<&Server>,
        socket: &mut Client,
    ) {
        let name = room.split_once('/').unwrap().1;
        let renewed = match condition {
            "renewed with read write moderate" => Some((room.to_owned(), json!(["read", "write", "moderate"]))),
            "renewed with read" => Some((room.to_owned(), json!(["read"]))),
            "renewed with write" => Some((room.to_owned(), json!(["write"]))),
            "renewed with nothing" => Some((room.to_owned(), json!([]))),
            "renewed for another room" => Some((format!("{room}x"), json!(["read", "write"]))),
            _ => None,
        };
        let token = match condition {
            "renewed without the claim" => Some(token_of(ana, &json!({}))),
            "renewed as another user" => Some(token_of("eve", &json!({ "rooms": { (room.to_owned()): ["read"] } }))),
            _ => renewed.map(|(room, names)| token_of(ana, &json!({ "rooms": { (room): names } }))),
        };
        if let Some(token) = token {
            socket.send(&json!({ "type": "identity", "token": token }).to_string()).await;
        }
        for user in [ana, cleo] {
            match (condition, server) {
                ("revoked", Some(server)) => revoke(server, &json!({ "user": user })).await,
                (condition, Some(server)) if condition.ends_with("sent out of the room") => {
                    revoke(server, &json!({ "user": user, "room": room })).await;
                }
                (condition, None) if condition.ends_with("sent out of the room") => {
                    self.mounted.host.revoke(Revoked::member(user, room)).await.unwrap();
                }
                _ => {}
            }
        }
        if condition.starts_with("the back end") && !condition.contains(';') {
            let names = match condition {
                "the back end takes write" => &["read"][..],
                "the back end takes read" => &["write"],
                "the back end takes everything" => &[],
                _ => &["read", "write"],
            };
            self.back_end.set_in(name, answer(condition, names));
            // The answers that let both in, and the next ones. One that flaps fails once meanwhile.
            let asked = |user| self.back_end.asked_of(user, name);
            let is_enough = || match condition {
                "the back end flaps" => asked(ana) + asked(cleo) >= 5,
                _ => asked(ana) >= 2 && asked(cleo) >= 2,
            };
            self.back_end.wait_until(is_enough).await;
            if condition == "the back end takes write" {
                socket.recv_type("permissions").await;
            }
        }
    }

    /// Tries a row of [`LOCAL_SOCKETS`].
    async fn stays_local(&self, number: usize, row: &(&str, [u16; 2])) -> Vec<String> {
        let (names, expected) = *row;
        let handle = self.mounted.host.rooms().get("ROOMS", &format!("local-{number}")).unwrap();
        let room = handle.restricted_to(permissions(&["read", "write"]));
        let mut socket = room.connect(model::Request::get("/ws"), User::new("1", "ana")).await.unwrap();
        let access = UserAccess::new(Default::default(), permissions(&names.split_whitespace().collect::<Vec<_>>()));
        socket.set_access(access).await.unwrap();
        let message = if expected[1] == 200 { send_local(&mut socket).await } else { 0 };
        // Code of the host may always write.
        let after = model::Request::post_json("/messages", &json!({ "content": "after" })).by(User::new("2", "bo"));
        assert_eq!(handle.request(after).await.unwrap().status, 200);
        let end = async {
            loop {
                match socket.recv().await {
                    Received::Closed(code, _) => return code,
                    Received::Message(Message::Text(text)) if text.contains("after") => return 200,
                    Received::Message(_) => {}
                }
            }
        };
        let found = [message, within(end).await];
        if found == expected { Vec::new() } else { vec![format!("a local socket: {row:?}: {found:?}")] }
    }

    /// Tries a row of [`BETWEEN_ROOMS`].
    async fn reaches(&self, number: usize, row: &(&str, &str, u16, u64)) -> Vec<String> {
        let (condition, names, status, times) = *row;
        let (room, user) = (format!("askers/between-{number}"), format!("asker-{number}"));
        let token = self.token(&self.tokens, &user, &room, condition, &[names]).await;
        let door = Door::of(&self.tokens, &token);
        let mut wrong = Vec::new();
        for way in ["call", "post"] {
            let name = format!("target-{number}");
            let command = json!({ "do": way, "namespace": "TARGETS", "name": name, "command": { "do": "count" } });
            let answer = door.ask(Method::POST, &format!("/{room}/messages"), &command.to_string()).await;
            if answer.status != status {
                wrong.push(format!("{row:?}: {way}: {answer:?}"));
            }
        }
        let target = format!("/targets/target-{number}/messages");
        let direct = door.ask(Method::POST, &target, r#"{"do":"count"}"#).await;
        if !matches!(direct.status.as_u16(), 401 | 403) {
            wrong.push(format!("{row:?}: directly: {direct:?}"));
        }
        let grants = json!({ "rooms": { "targets/*": ["write"] } });
        let reader = Door::of(&self.tokens, &token_of("reader", &grants));
        let reached = async {
            loop {
                let counted = reader.ask(Method::POST, &target, r#"{"do":"get-count"}"#).await.json()["count"].as_u64();
                // A post arrives later than its answer.
                if counted.unwrap() >= times {
                    return counted.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = within(reached).await;
        if reached != times {
            wrong.push(format!("{row:?}: reached {reached} times"));
        }
        wrong
    }
}

/// What the back end answers.
fn answer(condition: &str, names: &[&str]) -> Mode {
    let body = |expires_in: f64, more: &str| {
        json!({ "permissions": names, "expiresIn": expires_in, "more": more }).to_string()
    };
    match condition.split("; ").next().unwrap() {
        "the back end says no" => allow(&[], 0.0),
        "the back end is slow" => Mode::Silent,
        "the back end answers 500" => Mode::Status(500),
        "the back end redirects" => Mode::Redirect,
        "the back end writes wrong JSON" => Mode::Body(body(60.0, "") + "}"),
        "the back end writes too much" => Mode::Body(body(60.0, &"x".repeat(1 << 20))),
        "the back end means a time before now" => Mode::Body(body(-1.0, "")),
        "the back end means for ever" => Mode::Body(body(1e300, "")),
        "the back end flaps" => Mode::Turns(Box::new([allow(names, 0.0), Mode::Status(500)])),
        _ => allow(names, 0.0),
    }
}

/// A server that takes tokens, in which rooms ask for grants.
async fn server_of_tokens() -> Server {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    std::fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).unwrap();
    let config = r#"
hibernate_after = "10ms"
[identity]
auth = "jwt"
leeway = "0s"
keys = [{ algorithm = "HS256", file = "secret" }]
"#;
    let namespaces = r#"
[namespaces.ROOMS]
component = "builtin:chat-room"
[namespaces.PRESENCE]
component = "builtin:presence-tracker"
[namespaces.ASKERS]
component = "caller.wasm"
calls = ["TARGETS"]
[namespaces.TARGETS]
component = "caller.wasm"
"#;
    Server::in_directory(directory, &format!("{config}{LIMITS}{namespaces}")).await
}

/// Everything comes from one address, and some of it from one user.
const LIMITS: &str = "[limits]\nmessages_per_second_per_user = 0\nconnects_per_second_per_address = 0\n\
                      connections_per_address = 0\nrequests_per_address = 0\n";

/// A token of a user that was issued a while ago, so that a revocation leaves no doubt.
fn token_of(user: &str, claims: &Value) -> String {
    let mut all = json!({ "sub": user, "name": user, "iat": now_s() - 60 });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    token_with(&all)
}

async fn revoke(server: &Server, revocation: &Value) {
    let answer =
        harness::request(server.admin_address(), Method::POST, "/revocations", &[], &revocation.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A way into rooms over the network, as one user.
struct Door {
    address: SocketAddr,
    base: &'static str,
    headers: Vec<(&'static str, String)>,
}

impl Door {
    fn of(server: &Server, token: &str) -> Self {
        Door { address: server.address, base: BASE, headers: vec![("authorization", format!("Bearer {token}"))] }
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> Answer {
        harness::request(self.address, method, &format!("{}{path}", self.base), &self.headers(), body).await
    }

    async fn connect(&self, room: &str) -> Result<Client, Answer> {
        harness::connect(self.address, &format!("{}/{room}/ws", self.base), &self.headers()).await
    }

    async fn open_stream(&self, room: &str) -> Result<EventStream, Answer> {
        harness::open_event_stream(self.address, &format!("{}/{room}/events", self.base), &self.headers()).await
    }

    /// Tries every way into a room.
    async fn enter(&self, room: &str) -> Entering {
        let (ws, message) = match self.connect(room).await {
            Err(answer) => (answer.status.as_u16(), 0),
            Ok(mut socket) => (101, send_in(&mut socket, room).await),
        };
        let stream = self.open_stream(room).await;
        let (get, post, body) = requests_of(room);
        let get = self.ask(Method::GET, &format!("/{room}/{get}"), "").await;
        let post = self.ask(Method::POST, &format!("/{room}/{post}"), body).await;
        let delete = self.ask(Method::DELETE, &format!("/{room}/messages/{NO_MESSAGE}"), "").await;
        let events = stream.map_or_else(|answer| answer.status.as_u16(), |_| 200);
        [ws, message, events, get.status.as_u16(), post.status.as_u16(), delete.status.as_u16()]
    }
}

/// No message has this id.
const NO_MESSAGE: &str = "00000000-0000-4000-8000-000000000000";

/// The paths of GET and POST in a room, and the body of POST.
fn requests_of(room: &str) -> (&'static str, &'static str, &'static str) {
    if room.starts_with("presence/") {
        ("list", "update", r#"{"status":"busy"}"#)
    } else {
        ("messages", "messages", r#"{"content":"over http"}"#)
    }
}

/// Checks that a chat room has stored what the table lets it, and no more. Otherwise the answers seem to be refusals of
/// everything.
async fn stored(reader: &Door, room: &str, expected: Entering) -> Option<(&'static str, Entering)> {
    if room.starts_with("presence/") {
        return None;
    }
    let written = [expected[1], expected[4]].iter().filter(|status| **status == 200).count();
    let answer = reader.ask(Method::GET, &format!("/{room}/messages"), "").await;
    let found = answer.json()["messages"].as_array().map_or(usize::MAX, Vec::len);
    (found != written).then(|| {
        eprintln!("{room} has {found} messages: {answer:?}");
        ("the stored messages", [0; 6])
    })
}

/// Sends a message, and returns what becomes of it.
async fn send(socket: &mut Client) -> u16 {
    send_in(socket, "rooms/").await
}

async fn send_in(socket: &mut Client, room: &str) -> u16 {
    let (frame, kind) = match room.starts_with("presence/") {
        true => (json!({ "type": "status", "status": "away" }), "presence_update"),
        false => (json!({ "type": "message", "content": "over a socket" }), "message"),
    };
    socket.send(&frame.to_string()).await;
    loop {
        match socket.recv_or_close().await {
            Ok(frame) if frame["type"] == kind => return 200,
            Ok(frame) if frame["code"] == "forbidden" => return 403,
            Ok(_) => {}
            Err(_) => return 0,
        }
    }
}

/// The close code of a socket; 200 if it receives the last message instead, or if nothing happens.
async fn end_of_socket(socket: &mut Client) -> u16 {
    let end = async {
        loop {
            match socket.recv_or_close().await {
                Ok(frame) if frame["message"]["content"] == "after" => return 200,
                Ok(_) => {}
                Err((code, _)) => return code,
            }
        }
    };
    tokio::time::timeout(CLOSED_WITHIN, end).await.unwrap_or(200)
}

async fn end_of_stream(stream: &mut EventStream) -> u16 {
    let end = async {
        loop {
            let event = stream.recv().await;
            if event.name.as_deref() == Some("close") {
                return event.json()["code"].as_u64().unwrap() as u16;
            }
            if event.json()["message"]["content"] == "after" {
                return 200;
            }
        }
    };
    tokio::time::timeout(CLOSED_WITHIN, end).await.unwrap_or(200)
}

async fn event_of(stream: &mut EventStream, kind: &str) {
    within(async { while stream.recv().await.json()["type"] != kind {} }).await;
}

/// A host in this process, behind a server that knows its users.
struct Mounted {
    host: Host,
    address: SocketAddr,
    _directory: TempDir,
}

/// The login of the server around the host. A real one would look up a session.
async fn log_in(mut request: Request, next: Next) -> Response {
    let verified = verified(request.headers());
    request.extensions_mut().insert(verified);
    next.run(request).await
}

fn verified(headers: &HeaderMap) -> Verified {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let user = header("x-user").expect("every request of the test has a user");
    let (grants, expires_at) = (header("x-grants"), header("x-expires").map(|at| at.parse().unwrap()));
    let grants = Grants::from_texts(grants.as_deref()).unwrap();
    Verified { expires_at, ..Verified::new(User::new(user.clone(), user)).with_grants(grants) }
}

impl Mounted {
    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let identity = Identity { access: Some(AccessMode::Granted), ..Identity::default() };
        // Several hosts share the memory maps of this process.
        let limits = Limits { awake_rooms: 100, warm_rooms: 10, requests: 100, ..Limits::default() };
        let data = directory.path().join("data");
        let config = Config { base_path: "/".into(), page: false, data, identity, limits, ..Config::default() };
        let host = Host::builder(config).mount().await.unwrap();
        let routes = axum::Router::new().fallback_service(host.service()).layer(middleware::from_fn(log_in));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, routes).into_future());
        Mounted { host, address, _directory: directory }
    }

    /// The door of a user; absent if the condition does not exist here.
    async fn door(&self, user: &str, room: &str, condition: &str, names: &[&str]) -> Option<Door> {
        let granted = |room: &str| ("x-grants", format!("{room}={}", names.join(",")));
        let mut headers = vec![("x-user", user.to_owned())];
        match condition {
            "granted" => headers.push(granted(room)),
            "granted in another room" => headers.push(granted(&format!("{room}x"))),
            "without the claim" => {}
            "revoked" => {
                headers.push(granted(room));
                self.host.revoke(Revoked::user(user)).await.unwrap();
            }
            "expired" => headers.extend([granted(room), ("x-expires", ((now_s() - 1) * 1_000).to_string())]),
            "sent out of the room" => {
                headers.push(granted(room));
                self.host.revoke(Revoked::member(user, room)).await.unwrap();
            }
            _ => return None,
        }
        Some(Door { address: self.address, base: "", headers })
    }

    /// Tries every way into a room of the embedder's own code.
    async fn enter(&self, room: &str, names: &[&str]) -> Entering {
        let (namespace, name) = room.split_once('/').unwrap();
        let handle = self.host.rooms().get(&namespace.to_uppercase(), name).unwrap();
        let handle = handle.restricted_to(permissions(names));
        let ana = || User::new("1", "ana");
        let (ws, message) = match handle.connect(model::Request::get("/ws"), ana()).await {
            Ok(mut socket) => (101, send_local_in(&mut socket, room).await),
            Err(ConnectError::Refused(status, _)) => (status, 0),
            Err(error) => panic!("{room}: {error}"),
        };
        let (get, post, body) = requests_of(room);
        let body = serde_json::from_str::<Value>(body).unwrap();
        let delete =
            model::Request { method: "DELETE".into(), ..model::Request::get(&format!("/messages/{NO_MESSAGE}")) };
        let mut found = [ws, message, 0, 0, 0, 0];
        let requests =
            [model::Request::get(&format!("/{get}")), model::Request::post_json(&format!("/{post}"), &body), delete];
        for (index, request) in requests.into_iter().enumerate() {
            found[3 + index] = handle.request(request.by(ana())).await.unwrap().status;
        }
        found
    }
}

fn permissions(names: &[&str]) -> Permissions {
    names.iter().map(|name| name.parse::<Permission>().unwrap()).collect()
}

async fn send_local(socket: &mut LocalSocket) -> u16 {
    send_local_in(socket, "rooms/").await
}

async fn send_local_in(socket: &mut LocalSocket, room: &str) -> u16 {
    let (frame, kind) = match room.starts_with("presence/") {
        true => (json!({ "type": "status", "status": "away" }), "presence_update"),
        false => (json!({ "type": "message", "content": "over a socket" }), "message"),
    };
    socket.send(Message::Text(frame.to_string())).await.unwrap();
    let end = async {
        loop {
            let Received::Message(Message::Text(text)) = socket.recv().await else { return 0 };
            let frame = serde_json::from_str::<Value>(&text).unwrap();
            match (frame["type"] == kind, frame["code"] == "forbidden") {
                (true, _) => return 200,
                (_, true) => return 403,
                _ => {}
            }
        }
    };
    within(end).await
}
