//! The claims of a token and the permissions that it grants, as a room and a router see them, with real tokens.

use std::sync::Arc;

use dormouse::Host;
use dormouse::config::{Config, Limits};
use dormouse::model::{self, Claims, Message, Permission, Permissions, User, UserAccess};
use dormouse::room::{LocalSocket, Received};
use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::access::metric;
use crate::harness::{Answer, BASE, Client, Server, within};
use crate::tokens::{SECRET, now_s, token_with};

/// Rooms of `ROOMS` ask for grants, and call those of `OTHERS`, which are open.
const NAMESPACES: &str = r#"
[namespaces.ROOMS]
component = "badge.wasm"
calls = ["OTHERS"]
[namespaces.OTHERS]
component = "badge.wasm"
access = "open"
"#;

async fn server(config: &str) -> Server {
    server_with_identity(config, "").await
}

/// A server with more settings below `[identity]`.
async fn server_with_identity(config: &str, more: &str) -> Server {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    std::fs::write(directory.path().join("badge.wasm"), dormouse_bundle::BADGE).unwrap();
    std::fs::write(directory.path().join("gatekeeper.wasm"), dormouse_bundle::GATEKEEPER).unwrap();
    let identity = "[identity]\nauth = \"jwt\"\naudience = \"chat\"\nissuer = \"login\"\n\
                    keys = [{ algorithm = \"HS256\", file = \"secret\" }]\n";
    let config = format!("hibernate_after = \"10ms\"\n{config}{identity}{more}{NAMESPACES}");
    Server::in_directory(directory, &config).await
}

/// A token with every registered claim, grants for the room `lobby` and `OTHERS`, and these claims beside.
fn token(permissions: &Value, claims: &Value) -> String {
    let now = now_s();
    let mut all = json!({
        "iss": "login", "aud": "chat", "nbf": now - 9, "iat": now - 9, "jti": "a-token", "rooms": {
            "rooms/lobby": permissions, "others/*": ["moderate"],
        },
    });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    token_with(&all)
}

fn host() -> String {
    token(&json!(["read", "write", "moderate"]), &json!({ "role": "host", "team": { "id": 7 } }))
}

fn host_as_seen() -> Value {
    json!({
        "claims": { "name": "ana", "role": "host", "team": { "id": 7 } },
        "permissions": ["read", "write", "moderate"],
    })
}

fn guest() -> String {
    token(&json!(["read", "write"]), &json!({ "role": "guest" }))
}

fn guest_as_seen() -> Value {
    json!({ "claims": { "name": "ana", "role": "guest" }, "permissions": ["read", "write"] })
}

async fn ask(server: &Server, method: Method, path: &str, token: &str, body: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    server.request(method, &format!("{BASE}{path}"), &[("authorization", &authorization)], body).await
}

async fn connect(server: &Server, room: &str, token: &str) -> Client {
    let authorization = format!("Bearer {token}");
    let path = format!("{BASE}/{room}/ws");
    server.connect(&path, &[("authorization", &authorization)]).await.expect("the token grants read")
}

fn renewal(token: &str) -> String {
    json!({ "type": "identity", "token": token }).to_string()
}

/// The next frame about an event of the room.
async fn next(socket: &mut Client, event: &str) -> Value {
    loop {
        let frame = socket.recv().await;
        if frame["event"] == event {
            return frame;
        }
    }
}

#[tokio::test]
async fn the_claims_and_permissions_of_a_token_reach_the_room() {
    let server = server("").await;
    let mut socket = connect(&server, "rooms/lobby", &host()).await;
    let frame = next(&mut socket, "connect").await;
    assert_eq!((&frame["socket"], &frame["turn"]), (&host_as_seen(), &host_as_seen()));
    server.wait_until_all_hibernate().await;
    socket.send("hello").await;
    let frame = next(&mut socket, "hello").await;
    assert_eq!((&frame["socket"], &frame["turn"]), (&host_as_seen(), &host_as_seen()), "after hibernation");
    socket.send("later").await;
    assert_eq!(next(&mut socket, "timer").await["turn"], json!({ "claims": {}, "permissions": [] }));

    let answer = ask(&server, Method::GET, "/rooms/lobby/messages", &host(), "").await;
    assert_eq!(answer.json()["turn"], host_as_seen(), "{answer:?}");
    let authorization = format!("Bearer {}", guest());
    let headers = [("authorization", authorization.as_str())];
    let mut stream = server.open_event_stream(&format!("{BASE}/rooms/lobby/events"), &headers).await.unwrap();
    assert_eq!(stream.recv().await.json()["socket"], guest_as_seen());
    drop(stream);
    assert_eq!(next(&mut socket, "close").await["socket"], guest_as_seen());
}

/// As many providers write them, with all groups of the user.
fn with_long_claims() -> String {
    token(&json!(["read", "write"]), &json!({ "role": "host", "groups": "g".repeat(4_096) }))
}

#[tokio::test]
async fn rooms_get_none_of_the_long_claims_of_a_token() {
    let server = server("").await;
    let long = with_long_claims();
    let seen = json!({ "claims": {}, "permissions": ["read", "write"] });
    for _ in 0..3 {
        let answer = ask(&server, Method::GET, "/rooms/lobby/messages", &long, "").await;
        assert_eq!(answer.json()["turn"], seen, "{answer:?}");
    }
    let mut socket = connect(&server, "rooms/lobby", &guest()).await;
    assert_eq!(next(&mut socket, "connect").await["socket"], guest_as_seen());
    socket.send(&renewal(&long)).await;
    socket.send("behind").await;
    assert_eq!(next(&mut socket, "behind").await["socket"], seen, "no claim of the earlier token is left");
    server.wait_for_log("choose those that they need with identity.claims").await;
    assert_eq!(server.log().matches("rooms get none of them").count(), 1, "{}", server.log());
}

#[tokio::test]
async fn chosen_claims_that_are_too_long_make_a_token_invalid() {
    let chosen = server_with_identity("", "claims = [\"role\"]\n").await;
    let answer = ask(&chosen, Method::GET, "/rooms/lobby/messages", &with_long_claims(), "").await;
    assert_eq!(answer.json()["turn"]["claims"], json!({ "role": "host" }), "{answer:?}");
    let too_many = server_with_identity("", "claims = [\"role\", \"groups\"]\n").await;
    let answer = ask(&too_many, Method::GET, "/rooms/lobby/messages", &with_long_claims(), "").await;
    answer.is_problem(401);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("longer than 4096 bytes") && detail.contains("`identity.claims`"), "{detail}");
}

#[tokio::test]
async fn a_grant_adds_to_what_everybody_may_do_in_an_open_room() {
    let server = server("").await;
    let mut socket = connect(&server, "others/lobby", &guest()).await;
    let permissions = json!(["read", "write", "presence", "moderate"]);
    let seen = json!({ "claims": guest_as_seen()["claims"], "permissions": permissions });
    assert_eq!(next(&mut socket, "connect").await["socket"], seen);
}

#[tokio::test]
async fn a_request_of_another_room_has_no_claims() {
    let server = server("").await;
    let anybody = json!({ "claims": {}, "permissions": ["read", "write", "presence"] });
    let called = ask(&server, Method::POST, "/rooms/lobby/messages", &host(), r#"{"call":"called"}"#).await;
    assert_eq!(called.json()["turn"], anybody, "{called:?}");
    ask(&server, Method::POST, "/rooms/lobby/messages", &host(), r#"{"post":"posted"}"#).await;
    let noted = async {
        loop {
            let seen = ask(&server, Method::GET, "/others/posted/messages", &host(), "").await.json();
            if !seen["note"].is_null() {
                return seen["note"].clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    assert_eq!(within(noted).await, anybody);
}

#[tokio::test]
async fn no_header_of_a_client_gives_claims_or_permissions() {
    let server = server("").await;
    let authorization = format!("Bearer {}", guest());
    let headers = [
        ("authorization", authorization.as_str()),
        ("dormouse-permissions", "read, admin"),
        ("dormouse-claims", r#"{"role":"host"}"#),
    ];
    let path = format!("{BASE}/rooms/lobby/messages");
    let answer = server.request(Method::GET, &path, &headers, "").await;
    assert_eq!(answer.json()["turn"], guest_as_seen());
}

/// With space for one event in the mailbox, the new token often has to wait there.
#[tokio::test]
async fn a_new_token_changes_access_between_two_messages() {
    for config in ["", "[limits]\nevents_per_room = 1\n"] {
        let server = server(config).await;
        let mut socket = connect(&server, "rooms/lobby", &host()).await;
        next(&mut socket, "connect").await;
        for round in 0..20 {
            let (token, seen) = if round % 2 == 0 { (guest(), guest_as_seen()) } else { (host(), host_as_seen()) };
            let before = if round % 2 == 0 { host_as_seen() } else { guest_as_seen() };
            // All in one go: the client waits for nothing.
            socket.send("before").await;
            socket.send("before").await;
            socket.send(&renewal(&token)).await;
            socket.send("behind").await;
            for (event, user) in [("before", &before), ("before", &before), ("behind", &seen)] {
                let frame = next(&mut socket, event).await;
                assert_eq!((&frame["socket"], &frame["turn"]), (user, user), "round {round}");
            }
        }
        server.wait_until_all_hibernate().await;
        // A renewal wakes no instance, and the next message sees it.
        let wakes = metric(&server, "wakes_total").await;
        socket.send(&renewal(&guest())).await;
        socket.recv_type("identity").await;
        server.wait_until_all_hibernate().await;
        assert_eq!(metric(&server, "wakes_total").await, wakes);
        socket.send("after").await;
        assert_eq!(next(&mut socket, "after").await["socket"], guest_as_seen());
        // Other claims with the same permissions count as well.
        let other = token(&json!(["read", "write"]), &json!({ "role": "speaker" }));
        socket.send(&renewal(&other)).await;
        socket.send("once more").await;
        assert_eq!(next(&mut socket, "once more").await["socket"]["claims"]["role"], "speaker");
    }
}

#[tokio::test]
async fn a_router_sees_the_claims_and_asks_for_permissions_in_rooms() {
    let server = server("router = \"gatekeeper.wasm\"\n").await;
    let read = async |room: &str, headers: &[(&str, &str)]| {
        server.request(Method::GET, &format!("{BASE}/?room={room}"), headers, "").await.json()
    };
    let authorization = format!("Bearer {}", host());
    let headers = [("authorization", authorization.as_str())];
    let claims = host_as_seen()["claims"].clone();
    for (room, of_host, of_nobody) in [
        ("ROOMS/lobby", json!(["read", "write", "moderate"]), json!([])),
        ("ROOMS/other", json!([]), json!([])),
        ("OTHERS/lobby", json!(["read", "write", "presence", "moderate"]), json!(["read", "write", "presence"])),
        ("NOWHERE/lobby", json!([]), json!([])),
    ] {
        assert_eq!(read(room, &headers).await, json!({ "claims": claims, "here": 0, "there": of_host }), "{room}");
        assert_eq!(read(room, &[]).await, json!({ "claims": {}, "here": 0, "there": of_nobody }), "{room}");
    }
    let answer = ask(&server, Method::GET, "/ROOMS/lobby", &host(), "").await;
    assert_eq!(answer.json()["turn"], host_as_seen(), "the room behind such a router");
    let answer = server.get(&format!("{BASE}/OTHERS/lobby")).await;
    let anybody = json!({ "claims": {}, "permissions": ["read", "write", "presence"] });
    assert_eq!(answer.json()["turn"], anybody, "an open room, without an identity");
}

/// The next frame of a local socket about an event of the room.
async fn received(socket: &mut LocalSocket, event: &str) -> Value {
    received_with(socket, &["event", "code"], event).await
}

async fn received_type(socket: &mut LocalSocket, kind: &str) -> Value {
    received_with(socket, &["type"], kind).await
}

async fn received_with(socket: &mut LocalSocket, members: &[&str], value: &str) -> Value {
    let frame = async {
        loop {
            let Received::Message(Message::Text(text)) = socket.recv().await else { panic!("expected a text") };
            let frame = serde_json::from_str::<Value>(&text).unwrap();
            if members.iter().any(|member| frame[*member] == value) {
                return frame;
            }
        }
    };
    within(frame).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedder_gives_claims_and_permissions_and_changes_them() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let limits = Limits { awake_rooms: 100, warm_rooms: 10, requests: 50, events_per_room: 1, ..Limits::default() };
    let text = "[namespaces.ROOMS]\ncomponent = \"builtin:badge\"\n\
                [namespaces.PRESENCE]\ncomponent = \"builtin:presence-tracker\"\n";
    let config = Config { data, limits, ..Config::parse(text).unwrap() };
    let host = Host::builder(config).component("badge", dormouse_bundle::BADGE).mount().await.unwrap();
    let claims = |role: &str| Claims::new(json!({ "role": role }).as_object().unwrap()).unwrap();
    let permissions = |list: &[Permission]| list.iter().copied().collect::<Permissions>();
    let room = host.rooms().get("ROOMS", "lobby").unwrap();
    let moderator = permissions(&[Permission::Read, Permission::Write, Permission::Moderate]);
    let restricted = room.restricted_to(moderator).with_claims(claims("host"));
    let seen = json!({ "claims": { "role": "host" }, "permissions": ["read", "write", "moderate"] });
    let answer = restricted.request(model::Request::get("/").by(User::new("1", "ana"))).await.unwrap();
    assert_eq!(answer.json::<Value>().unwrap()["turn"], seen);

    let mut socket = restricted.connect(model::Request::get("/ws"), User::new("1", "ana")).await.unwrap();
    assert_eq!(received(&mut socket, "connect").await["socket"], seen);
    let text = |text: &str| Message::Text(text.into());
    for _ in 0..10 {
        socket.send(text("before")).await.unwrap();
    }
    let writer = permissions(&[Permission::Read, Permission::Write]);
    socket.set_access(UserAccess::new(claims("guest"), writer)).await.unwrap();
    socket.send(text("behind")).await.unwrap();
    for _ in 0..10 {
        assert_eq!(received(&mut socket, "before").await["socket"], seen);
    }
    let guest = json!({ "claims": { "role": "guest" }, "permissions": ["read", "write"] });
    assert_eq!(received(&mut socket, "behind").await["socket"], guest);

    socket.set_access(UserAccess::new(claims("guest"), permissions(&[Permission::Read]))).await.unwrap();
    socket.send(text("lost")).await.unwrap();
    received(&mut socket, "forbidden").await;
    socket.set_access(UserAccess::new(claims("guest"), Permissions::NONE)).await.unwrap();
    assert!(matches!(within(socket.recv()).await, Received::Closed(4403, _)));

    // A user on the list of a presence room leaves it.
    let presence = host.rooms().get("PRESENCE", "team").unwrap();
    let reader = permissions(&[Permission::Read]);
    let listed = permissions(&[Permission::Read, Permission::Presence]);
    let mut other = presence.restricted_to(reader).connect(model::Request::get("/ws"), User::new("2", "bo")).await;
    let other = other.as_mut().unwrap();
    let mut socket =
        presence.restricted_to(listed).connect(model::Request::get("/ws"), User::new("1", "ana")).await.unwrap();
    assert_eq!(received_type(other, "presence_update").await["user"]["userId"], "1");
    socket.set_access(UserAccess::new(claims("guest"), reader)).await.unwrap();
    assert_eq!(received_type(other, "presence_remove").await["userId"], "1", "also if nobody reads the socket");
    let end = async {
        loop {
            if let Received::Closed(code, _) = socket.recv().await {
                return code;
            }
        }
    };
    assert_eq!(within(end).await, 1008);
    // A reader stays.
    other.set_access(UserAccess::new(claims("guest"), reader)).await.unwrap();
    assert!(other.send(text("{}")).await.is_ok());
    received(other, "forbidden").await;

    // A handle without limits says what its request says.
    let access = UserAccess::new(claims("system"), Permissions::ALL);
    let other = host.rooms().get("ROOMS", "other").unwrap();
    let answer = other.request(model::Request { access, ..model::Request::get("/") }).await.unwrap();
    assert_eq!(answer.json::<Value>().unwrap()["turn"]["permissions"].as_array().unwrap().len(), 5);
    host.shutdown().await;
}
