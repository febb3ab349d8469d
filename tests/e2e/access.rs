//! Access to rooms: the grants of a token, over every transport, and for an embedder.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use dormouse::Host;
use dormouse::config::{AccessMode, Config, Identity, Limits};
use dormouse::edge::{Grants, Verified};
use dormouse::model::{self, Message, Permission, Permissions, User};
use dormouse::room::{ConnectError, Received};
use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{self, Answer, BASE, Client, Server, within};
use crate::tokens::{SECRET, token_with};

/// `ROOMS` and `PRESENCE` ask for grants, as is usual with `jwt`; the rooms of `LOUNGE` are open.
const NAMESPACES: &str = r#"
[namespaces.ROOMS]
component = "builtin:chat-room"
[namespaces.PRESENCE]
component = "builtin:presence-tracker"
[namespaces.LOUNGE]
component = "builtin:chat-room"
access = "open"
"#;

/// A server that takes tokens, in which rooms ask for grants.
async fn server_with_grants(namespaces: &str) -> Server {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    std::fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).unwrap();
    let identity = "[identity]\nauth = \"jwt\"\nkeys = [{ algorithm = \"HS256\", file = \"secret\" }]\n";
    Server::in_directory(directory, &format!("hibernate_after = \"10ms\"\n{identity}{namespaces}")).await
}

/// A token of `ana` with grants such as `{"rooms/lobby": ["read"]}`.
fn token(grants: &Value) -> String {
    token_with(&json!({ "rooms": grants }))
}

async fn ask(server: &Server, method: Method, path: &str, token: &str, body: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    server.request(method, &format!("{BASE}{path}"), &[("authorization", &authorization)], body).await
}

async fn connect(server: &Server, path: &str, token: &str) -> Result<Client, Answer> {
    let authorization = format!("Bearer {token}");
    server.connect(&format!("{BASE}{path}"), &[("authorization", &authorization)]).await
}

/// The name of the permission that a refusal names; absent if the answer is no refusal.
fn missing(answer: &Answer) -> Option<String> {
    if answer.status != 403 {
        return None;
    }
    // The answer to a HEAD has no body.
    if answer.body.is_empty() {
        return Some("read".into());
    }
    answer.is_problem(403);
    let permission = answer.json()["permission"].as_str().expect("it names the permission").to_owned();
    assert!(answer.json()["detail"].as_str().unwrap().contains(&format!("`{permission}`")), "{answer:?}");
    Some(permission)
}

/// One metric of the server.
pub(crate) async fn metric(server: &Server, name: &str) -> u64 {
    let metrics = harness::request(server.admin_address(), Method::GET, "/metrics", &[], "").await;
    let metrics = String::from_utf8(metrics.body.into()).unwrap();
    let value =
        metrics.lines().find_map(|line| line.strip_prefix("dormouse_")?.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or(0)
}

/// Every way into a room, and the permission that it takes. `to_send` is the permission for messages in that room.
async fn check_every_way(server: &Server, room: &str, token: &str, may: &dyn Fn(&str) -> bool, to_send: &str) {
    let needs = |permission: &str| (!may(permission)).then(|| permission.to_owned());
    let is_presence = room.starts_with("presence/");
    let (get, post, body) = match is_presence {
        true => ("list", "update", json!({ "status": "busy" })),
        false => ("messages", "messages", json!({ "content": "over http" })),
    };
    let body = body.to_string();
    for (method, path, body, permission) in [
        (Method::GET, get, "", "read"),
        (Method::HEAD, get, "", "read"),
        (Method::HEAD, "events", "", "read"),
        (Method::GET, "somewhere", "", "read"),
        (Method::POST, post, body.as_str(), to_send),
        (Method::PUT, "somewhere", "{}", to_send),
        (Method::DELETE, "somewhere", "", to_send),
    ] {
        let answer = ask(server, method.clone(), &format!("/{room}/{path}"), token, body).await;
        assert_eq!(missing(&answer), needs(permission), "{method} {room}/{path}: {answer:?}");
    }
    let authorization = format!("Bearer {token}");
    let stream = server.open_event_stream(&format!("{BASE}/{room}/events"), &[("authorization", &authorization)]).await;
    assert_eq!(stream.as_ref().err().and_then(missing), needs("read"), "{room}/events");

    // By a ticket, which carries the grants of its token.
    let ticket = ask(server, Method::POST, "/tickets", token, "").await.json()["ticket"].as_str().unwrap().to_owned();
    let with_ticket = server.connect(&format!("{BASE}/{room}/ws?ticket={ticket}"), &[]).await;
    assert_eq!(with_ticket.as_ref().err().and_then(missing), needs("read"), "{room}/ws by a ticket");

    let mut socket = match connect(server, &format!("/{room}/ws"), token).await {
        Ok(socket) => socket,
        Err(answer) => return assert_eq!(missing(&answer), needs("read"), "{room}/ws"),
    };
    assert_eq!(needs("read"), None, "{room}/ws");
    let (frame, kind) = match is_presence {
        true => (json!({ "type": "status", "status": "away", "clientId": "c-1" }), "presence_update"),
        false => (json!({ "type": "message", "content": "over a socket", "clientId": "c-1" }), "message"),
    };
    socket.send(&frame.to_string()).await;
    match needs(to_send) {
        None => drop(socket.recv_type(kind).await),
        Some(permission) => {
            let error = socket.recv_type("error").await;
            assert_eq!((&error["code"], &error["clientId"]), (&json!("forbidden"), &json!("c-1")), "{room}");
            assert!(error["message"].as_str().unwrap().contains(&format!("`{permission}`")), "{error}");
        }
    }
    socket.send(r#"{"type":"ping"}"#).await;
    socket.recv_type("pong").await;
}

#[tokio::test]
async fn every_way_into_a_room_takes_just_the_permission_of_the_table() {
    let server = server_with_grants(NAMESPACES).await;
    for bits in 0..8_u32 {
        let names = ["read", "write", "presence"];
        let granted = names.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, name)| *name);
        let granted = granted.collect::<Vec<_>>();
        let user = format!("user-{bits}");
        let room = format!("room-{bits}");
        let grants =
            json!({ (format!("rooms/{room}")): granted, (format!("presence/{room}")): granted, "**": ["admin"] });
        let token = token_with(&json!({ "sub": user, "rooms": grants }));
        let may = |permission: &str| granted.contains(&permission);
        check_every_way(&server, &format!("rooms/{room}"), &token, &may, "write").await;
        check_every_way(&server, &format!("presence/{room}"), &token, &may, "presence").await;
        check_every_way(&server, &format!("lounge/{room}"), &token, &|_| true, "write").await;
        // Another room, whose name only begins alike.
        check_every_way(&server, &format!("rooms/{room}x"), &token, &|_| false, "write").await;
    }
    for grants in [json!({}), json!(null)] {
        check_every_way(&server, "rooms/lobby", &token(&grants), &|_| false, "write").await;
        check_every_way(&server, "lounge/lobby", &token(&grants), &|_| true, "write").await;
    }
}

#[tokio::test]
async fn rooms_with_grants_answer_401_without_an_identity() {
    let server = server_with_grants(NAMESPACES).await;
    let answer = server.get(&format!("{BASE}/rooms/lobby/messages")).await;
    answer.is_problem(401);
    let refused = server.connect(&format!("{BASE}/rooms/lobby/ws"), &[]).await.err().expect("it is refused");
    assert_eq!(refused.status, 401);
}

#[tokio::test]
async fn no_spelling_of_a_name_reaches_a_room_beside_the_granted_one() {
    let server = server_with_grants(NAMESPACES).await;
    let token = token(&json!({ "rooms/caf\u{e9}": ["read"], "rooms/a%20b": ["read"], "rooms/public-*": ["read"] }));
    for (name, status) in [
        ("caf%C3%A9", 200),
        ("caf%c3%a9", 200),
        ("cafe%CC%81", 403),
        ("CAF%C3%89", 403),
        ("a%2520b", 200),
        ("a%20b", 403),
        ("public-a", 200),
        ("%70ublic-a", 200),
        ("public%2Da", 200),
        ("public%E2%80%91a", 403),
        ("Public-a", 403),
        ("secret", 403),
        ("%2e%2e", 403),
        ("public-%2F..%2Fsecret", 400),
    ] {
        let answer = ask(&server, Method::GET, &format!("/rooms/{name}/messages"), &token, "").await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
    }
    for path in ["/rooms/public-a/../secret/messages", "/rooms/public-a/%2e%2e/secret", "/Rooms/public-a/messages"] {
        let answer = ask(&server, Method::GET, path, &token, "").await;
        assert!(!answer.status.is_success(), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_message_without_write_is_refused_and_wakes_nothing() {
    let server = server_with_grants(NAMESPACES).await;
    let mut reader = connect(&server, "/rooms/lobby/ws", &token(&json!({ "rooms/*": ["read"] }))).await.unwrap();
    let frame = reader.recv_type("permissions").await;
    assert_eq!(frame, json!({ "type": "permissions", "permissions": ["read"] }));
    server.wait_until_all_hibernate().await;
    let (turns, wakes) = (metric(&server, "turns_total").await, metric(&server, "wakes_total").await);
    for frame in [json!({ "type": "message", "content": "hello" }), json!({ "type": "typing" })] {
        reader.send(&frame.to_string()).await;
        assert_eq!(reader.recv_type("error").await["code"], "forbidden");
    }
    let posted =
        ask(&server, Method::POST, "/rooms/lobby/messages", &token(&json!({ "rooms/*": ["read"] })), "{}").await;
    assert_eq!(missing(&posted).as_deref(), Some("write"));
    assert_eq!((metric(&server, "turns_total").await, metric(&server, "wakes_total").await), (turns, wakes));
    assert_eq!(server.rooms_running().await, 0);
}

#[tokio::test]
async fn permissions_are_sent_behind_the_rooms_first_frame() {
    let server = server_with_grants(NAMESPACES).await;
    let token = token(&json!({ "rooms/*": ["read", "moderate"], "lounge/*": ["admin"] }));
    let mut socket = connect(&server, "/rooms/lobby/ws", &token).await.unwrap();
    assert_eq!(socket.recv().await["type"], "history");
    assert_eq!(socket.recv().await, json!({ "type": "permissions", "permissions": ["read", "moderate"] }));
    let authorization = format!("Bearer {token}");
    let authorization = [("authorization", authorization.as_str())];
    let mut stream = server.open_event_stream(&format!("{BASE}/rooms/lobby/events"), &authorization).await.unwrap();
    assert_eq!(stream.recv().await.json()["type"], "history");
    assert_eq!(stream.recv().await.json(), json!({ "type": "permissions", "permissions": ["read", "moderate"] }));

    let usual = self::token(&json!({}));
    let mut open = connect(&server, "/lounge/lobby/ws", &usual).await.unwrap();
    assert_eq!(open.recv().await["type"], "history");
    open.send(r#"{"type":"ping"}"#).await;
    assert_eq!(open.recv().await, json!({ "type": "pong" }), "an open room speaks as before");
}

#[tokio::test]
async fn a_new_token_changes_what_an_open_socket_may_do_at_once() {
    let server = server_with_grants(NAMESPACES).await;
    let forbidden = |frame: &Value| frame["type"] == "error" && frame["code"] == "forbidden";
    for (renewed, expected, close, may_write) in [
        (json!({ "rooms/*": ["read", "write"] }), None, None, true),
        (json!({ "rooms/*": ["read"] }), Some(json!(["read"])), None, false),
        (json!({ "rooms/*": ["read", "write", "admin"] }), Some(json!(["read", "write", "admin"])), None, true),
        (json!({ "rooms/*": ["write"] }), None, Some(4403), false),
        (json!({ "rooms/other": ["read", "write"] }), None, Some(4403), false),
        (json!({}), None, Some(4403), false),
    ] {
        let first = token(&json!({ "rooms/lobby": ["read", "write"] }));
        let mut socket = connect(&server, "/rooms/lobby/ws", &first).await.unwrap();
        socket.recv_type("permissions").await;
        socket.send(&json!({ "type": "identity", "token": token(&renewed) }).to_string()).await;
        // Sent together with the new token: nothing that follows it is allowed any more.
        socket.send_chat("behind the new token").await;
        let mut frames = Vec::new();
        let end = loop {
            match socket.recv_or_close().await {
                Ok(frame) if frame["type"] == "message" => break Some(frame),
                Ok(frame) if forbidden(&frame) && close.is_none() => break Some(frame),
                Ok(frame) => frames.push(frame),
                Err((code, _)) => {
                    assert_eq!(Some(code), close, "{renewed}");
                    break None;
                }
            }
        };
        assert_eq!(end.is_none(), close.is_some(), "{renewed}");
        assert_eq!(end.is_some_and(|frame| frame["type"] == "message"), may_write, "{renewed}");
        assert!(frames.iter().any(|frame| frame["type"] == "identity"), "{renewed}: {frames:?}");
        let permissions = frames.iter().find(|frame| frame["type"] == "permissions");
        assert_eq!(permissions.map(|frame| frame["permissions"].clone()), expected, "{renewed}");
    }
    let mut reader = connect(&server, "/rooms/lobby/ws", &token(&json!({ "rooms/*": ["read"] }))).await.unwrap();
    let stored = reader.recv_type("history").await;
    assert_eq!(stored["messages"].as_array().unwrap().len(), 2, "those of the users who may still write: {stored}");
}

#[tokio::test]
async fn a_moderator_of_an_open_room_may_lose_the_permission() {
    let server = server_with_grants(NAMESPACES).await;
    let moderator = token(&json!({ "lounge/bar": ["moderate"] }));
    let mut socket = connect(&server, "/lounge/bar/ws", &moderator).await.unwrap();
    let frame = socket.recv_type("permissions").await;
    assert_eq!(frame["permissions"], json!(["read", "write", "presence", "moderate"]));
    let mute = json!({ "type": "mute", "user": "bo", "seconds": 60 }).to_string();
    socket.send(&mute).await;
    assert_eq!(socket.recv_type("muted").await["user"], "bo");

    // The room learns the new token in order with the messages, also asleep.
    server.wait_until_all_hibernate().await;
    socket.send(&json!({ "type": "identity", "token": token(&json!({})) }).to_string()).await;
    let frame = socket.recv_type("permissions").await;
    assert_eq!(frame["permissions"], json!(["read", "write", "presence"]));
    socket.send(&mute).await;
    assert_eq!(socket.recv_type("error").await["code"], "forbidden");
}

#[tokio::test]
async fn a_user_without_presence_reads_and_is_not_listed() {
    let server = server_with_grants(NAMESPACES).await;
    let of = |user: &str, permissions: Value| {
        token_with(&json!({ "sub": user, "name": user, "rooms": { "presence/team": permissions } }))
    };
    let bo = of("bo", json!(["read", "presence"]));
    let mut listed = connect(&server, "/presence/team/ws", &bo).await.unwrap();
    let guest = of("guest", json!(["read"]));
    // No header of a client says more than its token.
    let headers = [("authorization", format!("Bearer {guest}")), ("Dormouse-Permissions", "read, presence".into())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut unlisted = server.connect(&format!("{BASE}/presence/team/ws"), &headers).await.unwrap();
    let users =
        |list: &Value| list["users"].as_array().unwrap().iter().map(|user| user["userId"].clone()).collect::<Vec<_>>();
    assert_eq!(users(&unlisted.recv_type("presence_list").await), ["bo"]);
    let list = ask(&server, Method::GET, "/presence/team/list", &guest, "").await;
    assert_eq!(users(&list.json()), ["bo"]);
    unlisted.send(r#"{"type":"heartbeat"}"#).await;
    assert_eq!(unlisted.recv_type("error").await["code"], "forbidden");
    listed.send(r#"{"type":"status","status":"busy"}"#).await;
    assert_eq!(unlisted.recv_type("presence_update").await["user"]["status"], "busy");

    // A token that grants presence no more ends the entry on the list, and lets the user come back to read.
    listed.send(&json!({ "type": "identity", "token": of("bo", json!(["read"])) }).to_string()).await;
    assert_eq!(listed.recv_close().await.0, 1008);
    drop(listed);
    assert_eq!(unlisted.recv_type("presence_remove").await["userId"], "bo");
}

#[tokio::test]
async fn rooms_call_and_post_to_each_other_without_grants() {
    let namespaces = r#"
[namespaces.ROOMS]
component = "caller.wasm"
calls = ["OTHERS"]
[namespaces.OTHERS]
component = "caller.wasm"
"#;
    let server = server_with_grants(namespaces).await;
    let caller = token(&json!({ "rooms/asker": ["write"] }));
    for ask_for in ["call", "post"] {
        let command = json!({ "do": ask_for, "namespace": "OTHERS", "name": "b", "command": { "do": "count" } });
        let answer = ask(&server, Method::POST, "/rooms/asker/messages", &caller, &command.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let reader = token(&json!({ "others/b": ["write"] }));
    let both = async {
        loop {
            let seen = ask(&server, Method::POST, "/others/b/count", &reader, r#"{"do":"get-count"}"#).await.json();
            if seen["count"] == 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(both).await;
    let refused = ask(&server, Method::POST, "/others/b/count", &caller, r#"{"do":"count"}"#).await;
    assert_eq!(missing(&refused).as_deref(), Some("write"), "the user may not do what the room may do");
}

#[tokio::test]
async fn refusals_are_counted_all_and_logged_a_few() {
    let server = server_with_grants(NAMESPACES).await;
    let start = Instant::now();
    let stranger = token(&json!({ "rooms/other": ["read"] }));
    let reader = token(&json!({ "rooms/lobby": ["read"] }));
    for _ in 0..40 {
        let answer = ask(&server, Method::GET, "/rooms/lobby/messages", &stranger, "").await;
        assert_eq!(missing(&answer).as_deref(), Some("read"));
    }
    let answer = ask(&server, Method::POST, "/rooms/lobby/messages", &reader, "{}").await;
    assert_eq!(missing(&answer).as_deref(), Some("write"));
    assert_eq!(ask(&server, Method::GET, "/rooms/lobby/messages", &reader, "").await.status, 200);
    assert_eq!(ask(&server, Method::GET, "/lounge/lobby/messages", &stranger, "").await.status, 200);
    for (decision, reason, count) in
        [("refused", "no_grant", 40), ("refused", "not_in_grant", 1), ("allowed", "granted", 1), ("allowed", "open", 1)]
    {
        let name = format!("access_total{{decision=\"{decision}\",reason=\"{reason}\"}}");
        assert_eq!(metric(&server, &name).await, count, "{name}");
    }
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("for want of a permission")).collect::<Vec<_>>();
    for part in ["id-ana", "ROOMS/lobby", "read", "no_grant"] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    // A burst of ten lines, and one a second.
    let most = 11 + usize::try_from(start.elapsed().as_secs()).unwrap();
    assert!((1..=most).contains(&lines.len()), "{} lines", lines.len());
}

#[tokio::test]
async fn a_refusal_names_the_missing_claim_of_grants() {
    let server = server_with_grants(NAMESPACES).await;
    let without = token_with(&json!({}));
    let get = ask(&server, Method::GET, "/rooms/lobby/messages", &without, "").await;
    let join = connect(&server, "/rooms/lobby/ws", &without).await.err().expect("it is refused");
    for answer in [get, join] {
        assert_eq!(missing(&answer).as_deref(), Some("read"));
        assert_eq!(answer.json()["claim"], "rooms", "{answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("it has no claim `rooms`"), "{answer:?}");
    }
    for grants in [json!({}), json!(null), json!([])] {
        let answer = ask(&server, Method::GET, "/rooms/lobby/messages", &token(&grants), "").await;
        assert_eq!((missing(&answer).as_deref(), &answer.json()["claim"]), (Some("read"), &json!(null)), "{grants}");
    }
    for (reason, count) in [("no_claim", 2), ("no_grant", 3)] {
        let name = format!("access_total{{decision=\"refused\",reason=\"{reason}\"}}");
        assert_eq!(metric(&server, &name).await, count, "{name}");
    }
    server.wait_for_log("whose token does not have the claim with the grants").await;
    let log = server.log();
    let line = log.lines().find(|line| line.contains("no_claim")).unwrap();
    for part in ["id-ana", "ROOMS/lobby", "claim=\"rooms\""] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test]
async fn grants_may_be_a_list_of_texts() {
    let server = server_with_grants(NAMESPACES).await;
    let token = token(&json!(["rooms/team-*:read,write", "rooms/team-secret:", r"rooms/a\*b:read"]));
    for (room, get, post) in [
        ("team-7", 200, 200),
        ("team-secret", 403, 403),
        ("a*b", 200, 403),
        ("a%2Ab", 200, 403),
        ("axb", 403, 403),
        (r"a%5C*b", 403, 403),
        ("lobby", 403, 403),
    ] {
        let path = format!("/rooms/{room}/messages");
        let got = ask(&server, Method::GET, &path, &token, "").await;
        let posted = ask(&server, Method::POST, &path, &token, r#"{"content":"x"}"#).await;
        assert_eq!((got.status.as_u16(), posted.status.as_u16()), (get, post), "{room}");
    }
}

#[tokio::test]
async fn a_token_with_malformed_grants_is_refused_with_the_reason() {
    let server = server_with_grants(NAMESPACES).await;
    for (grants, says) in [
        (json!("rooms/*"), "the claim `rooms`: it is not an object"),
        (json!({ "rooms/*": ["reed"] }), "\"reed\" is not a permission"),
        (json!({ "rooms": ["read"] }), "\"rooms\" is not a pattern of rooms"),
        (json!({ r"rooms/a\b": ["read"] }), "must be followed by `*`"),
        (json!(["rooms/*:read", "Task.Read"]), "\"Task.Read\" is not a grant"),
    ] {
        for room in ["rooms/lobby", "lounge/lobby"] {
            let answer = ask(&server, Method::GET, &format!("/{room}/messages"), &token(&grants), "").await;
            answer.is_problem(401);
            assert!(answer.json()["detail"].as_str().unwrap().contains(says), "{answer:?}");
        }
    }
}

/// Several hosts share the memory maps of this process.
fn few_rooms() -> Limits {
    Limits { awake_rooms: 100, warm_rooms: 10, requests: 50, ..Limits::default() }
}

/// The login of a server around the host. A header names the grant; a real server would look up the session.
async fn log_in(mut request: Request, next: Next) -> Response {
    let grants = request.headers().get("x-grants").map(|grants| grants.to_str().unwrap().to_owned());
    let grants = Grants::from_texts(grants.as_deref()).unwrap();
    request.extensions_mut().insert(Verified::new(User::new("1", "ana")).with_grants(grants));
    next.run(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_host_takes_grants_from_the_server_around_it() {
    let directory = TempDir::new().unwrap();
    let identity = Identity { access: Some(AccessMode::Granted), ..Identity::default() };
    let data = directory.path().join("data");
    let config =
        Config { base_path: "/".into(), page: false, data, identity, limits: few_rooms(), ..Config::default() };
    let host = Host::builder(config).mount().await.unwrap();
    let routes = axum::Router::new().fallback_service(host.service()).layer(middleware::from_fn(log_in));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, routes).into_future());
    for (grants, may_read, may_write) in [
        (&[("x-grants", "rooms/lobby=read,write")][..], true, true),
        (&[("x-grants", "rooms/*=read")], true, false),
        (&[("x-grants", "rooms/lobby=write")], false, true),
        (&[("x-grants", "rooms/other=read,write")], false, false),
        (&[], false, false),
    ] {
        let needs = |permission: &str, may: bool| (!may).then(|| permission.to_owned());
        let got = harness::request(address, Method::GET, "/rooms/lobby/messages", grants, "").await;
        assert_eq!(missing(&got), needs("read", may_read), "{grants:?}");
        let body = r#"{"content":"x"}"#;
        let posted = harness::request(address, Method::POST, "/rooms/lobby/messages", grants, body).await;
        assert_eq!(missing(&posted), needs("write", may_write), "{grants:?}");
        let joined = harness::connect(address, "/rooms/lobby/ws", grants).await;
        assert_eq!(joined.err().as_ref().and_then(missing), needs("read", may_read), "{grants:?}");
    }
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_handle_of_an_embedder_does_only_what_it_may() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let config = Config { data, limits: few_rooms(), ..Config::default() };
    let host = Host::builder(config).mount().await.unwrap();
    let lobby = host.rooms().get("ROOMS", "lobby").unwrap();
    let ana = || User::new("1", "ana");
    let post = || model::Request::post_json("/messages", &json!({ "content": "hello" })).by(ana());
    let text = |received: Received| match received {
        Received::Message(Message::Text(text)) => serde_json::from_str::<Value>(&text).unwrap(),
        other => panic!("expected a text, not {other:?}"),
    };
    for (names, may_read, may_write) in [
        (&[Permission::Read, Permission::Write][..], true, true),
        (&[Permission::Read], true, false),
        (&[Permission::Write], false, true),
        (&[], false, false),
    ] {
        let room = lobby.restricted_to(names.iter().copied().collect::<Permissions>());
        let got = room.request(model::Request::get("/messages").by(ana())).await.unwrap();
        assert_eq!(got.status == 200, may_read, "{names:?}");
        let posted = room.request(post()).await.unwrap();
        assert_eq!(posted.status == 200, may_write, "{names:?}");
        if !may_write {
            assert_eq!(posted.json::<Value>().unwrap()["permission"], "write");
        }
        let joined = room.connect(model::Request::get("/ws"), ana()).await;
        let mut socket = match joined {
            Ok(socket) if may_read => socket,
            Err(ConnectError::Refused(403, reason)) if !may_read && reason.contains("`read`") => continue,
            other => panic!("{names:?}: {:?}", other.err()),
        };
        let message = json!({ "type": "message", "content": "hello", "clientId": "c-1" });
        socket.send(Message::Text(message.to_string())).await.unwrap();
        let received = async {
            loop {
                let frame = text(socket.recv().await);
                if matches!(frame["type"].as_str(), Some("message" | "error")) {
                    return frame;
                }
            }
        };
        let received = within(received).await;
        assert_eq!(received["type"] == "message", may_write, "{names:?}: {received}");
        if !may_write {
            assert_eq!((&received["code"], &received["clientId"]), (&json!("forbidden"), &json!("c-1")));
        }
    }
    assert_eq!(lobby.request(post()).await.unwrap().status, 200, "the handle itself may do everything");
    host.shutdown().await;
}
