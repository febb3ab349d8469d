//! Services: back ends with tokens of a key of their own, which post, read and connect, also for a user.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use dormouse::Host;
use dormouse::config::{AccessMode, Config, Identity, Limits};
use dormouse::edge::{Grants, Verified};
use dormouse::model::User;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{self, Answer, BASE, Client, Server, within};
use crate::tokens::{SECRET, now_s, signed_with, token_with};

/// Only back ends have it.
const SERVICE_SECRET: &str = "the secret of the back ends, which no user sees";
const FOR_ANA: &str = r#"{"sub":"id-ana","name":"Ana"}"#;

/// A server with a key for users, one for services, and a set with another one for users.
async fn server_with_services(config: &str) -> Server {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    std::fs::write(directory.path().join("service.secret"), SERVICE_SECRET).unwrap();
    let set = json!({ "keys": [{ "kty": "oct", "kid": "set", "k": BASE64_URL_SAFE_NO_PAD.encode(secret_of_set()) }] });
    std::fs::write(directory.path().join("keys.json"), set.to_string()).unwrap();
    std::fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).unwrap();
    let identity = r#"
[identity]
auth = "jwt"
leeway = "0s"
jwks = "keys.json"
[[identity.keys]]
algorithm = "HS256"
file = "secret"
[[identity.keys]]
algorithm = "HS256"
file = "service.secret"
service = true
"#;
    Server::in_directory(directory, &format!("{identity}{config}")).await
}

fn secret_of_set() -> String {
    format!("of the set: {SECRET}")
}

/// A token of the service `backend` with all grants for chat rooms, and these claims.
fn service_with(claims: &Value) -> String {
    let mut all = json!({
        "sub": "backend", "name": "Back end", "role": "service", "exp": now_s() + 3_600, "iat": now_s() - 60,
        "rooms": { "rooms/**": ["read", "write"] },
    });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    signed_with(&json!({ "alg": "HS256" }), &all, SERVICE_SECRET.as_bytes())
}

fn service() -> String {
    service_with(&json!({}))
}

/// A token of an ordinary user who may do the same.
fn user_with(claims: &Value) -> String {
    let mut all = json!({ "rooms": { "rooms/**": ["read", "write"] } });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    token_with(&all)
}

/// A request with a token, and the header by which a service acts for a user.
async fn ask(server: &Server, method: Method, path: &str, token: &str, act: Option<&str>, body: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let mut headers = vec![("authorization", authorization.as_str())];
    headers.extend(act.map(|act| ("dormouse-act", act)));
    server.request(method, &format!("{BASE}{path}"), &headers, body).await
}

async fn post(server: &Server, token: &str, act: Option<&str>, content: &str) -> Answer {
    ask(server, Method::POST, "/rooms/lobby/messages", token, act, &json!({ "content": content }).to_string()).await
}

/// The users and contents of the messages in the lobby.
async fn history(server: &Server) -> Vec<(String, String, String)> {
    let answer = ask(server, Method::GET, "/rooms/lobby/messages", &service(), None, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let messages = answer.json()["messages"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    messages.iter().map(|one| (text(&one["userId"]), text(&one["userName"]), text(&one["content"]))).collect()
}

async fn join(server: &Server, token: &str, act: Option<&str>) -> Result<Client, Answer> {
    let authorization = format!("Bearer {token}");
    let mut headers = vec![("authorization", authorization.as_str())];
    headers.extend(act.map(|act| ("dormouse-act", act)));
    server.connect(&format!("{BASE}/rooms/lobby/ws"), &headers).await
}

async fn revoke(server: &Server, revocation: Value) -> Value {
    let address = server.admin_address();
    harness::request(address, Method::POST, "/revocations", &[], &revocation.to_string()).await.json()
}

#[tokio::test]
async fn a_service_posts_reads_and_connects_as_itself_and_as_a_user() {
    let server = server_with_services("").await;
    let by_claim = service_with(&json!({ "act": { "sub": "id-bo", "name": "Bo" } }));
    for (token, act, user) in [
        (service(), None, ("backend", "Back end")),
        (by_claim.clone(), None, ("id-bo", "Bo")),
        (service(), Some(FOR_ANA), ("id-ana", "Ana")),
        (by_claim.clone(), Some(FOR_ANA), ("id-ana", "Ana")),
        (service(), Some(r#"{"sub":"id-cy"}"#), ("id-cy", "id-cy")),
    ] {
        let content = format!("{user:?} {act:?}");
        assert_eq!(post(&server, &token, act, &content).await.status, StatusCode::OK, "{content}");
        let last = history(&server).await.pop().unwrap();
        assert_eq!((last.0.as_str(), last.1.as_str(), last.2.as_str()), (user.0, user.1, content.as_str()));

        let mut socket = join(&server, &token, act).await.unwrap();
        socket.send_chat(&content).await;
        let message = socket.recv_type("message").await["message"].clone();
        assert_eq!((&message["userId"], &message["userName"]), (&json!(user.0), &json!(user.1)));

        let authorization = format!("Bearer {token}");
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(act.map(|act| ("dormouse-act", act)));
        let stream = server.open_event_stream(&format!("{BASE}/rooms/lobby/events"), &headers).await;
        assert_eq!(stream.unwrap().recv().await.json()["type"], "history");

        // Its ticket stays a service's, for the same user.
        let ticket = ask(&server, Method::POST, "/tickets", &token, act, "").await.json()["ticket"].clone();
        let path = format!("{BASE}/rooms/lobby/ws?ticket={}", ticket.as_str().unwrap());
        let mut socket = server.connect(&path, &[]).await.unwrap();
        socket.send_chat("by ticket").await;
        assert_eq!(socket.recv_type("message").await["message"]["userId"], user.0);
    }
}

#[tokio::test]
async fn only_a_service_may_act_for_a_user() {
    let server = server_with_services("").await;
    let ordinary_of_service_key = service_with(&json!({ "role": "host" }));
    let anonymous = format!("{BASE}/rooms/lobby/messages");
    server.request(Method::POST, &anonymous, &[("dormouse-act", FOR_ANA)], "{}").await.is_problem(401);
    for token in [user_with(&json!({})), user_with(&json!({ "act": { "sub": "bo" } })), ordinary_of_service_key.clone()]
    {
        let refused = post(&server, &token, Some(FOR_ANA), "forged").await;
        refused.is_problem(403);
        assert!(refused.json()["detail"].as_str().unwrap().contains("dormouse-act"), "{refused:?}");
        assert_eq!(join(&server, &token, Some(FOR_ANA)).await.err().unwrap().status, 403);
        ask(&server, Method::GET, "/rooms/lobby/events", &token, Some(FOR_ANA), "").await.is_problem(403);
        ask(&server, Method::POST, "/tickets", &token, Some(FOR_ANA), "").await.is_problem(403);
    }
    for bad in ["", "id-ana", "{}", r#"{"sub":""}"#, r#"{"sub":"a","admin":true}"#, r#"["id-ana"]"#] {
        post(&server, &service(), Some(bad), "forged").await.is_problem(400);
    }
    let authorization = format!("Bearer {}", service());
    let twice = [("authorization", authorization.as_str()), ("dormouse-act", FOR_ANA), ("dormouse-act", FOR_ANA)];
    server.request(Method::POST, &anonymous, &twice, r#"{"content":"forged"}"#).await.is_problem(400);
    assert_eq!(history(&server).await, []);

    // The claim of RFC 8693 in an ordinary token means something else, and is ignored.
    let delegated = user_with(&json!({ "act": { "sub": "bo" } }));
    assert_eq!(post(&server, &delegated, None, "as myself").await.status, StatusCode::OK);
    assert_eq!(post(&server, &ordinary_of_service_key, None, "as a user").await.status, StatusCode::OK);
    let users = history(&server).await.into_iter().map(|message| message.0).collect::<Vec<_>>();
    assert_eq!(users, ["id-ana", "backend"]);
}

#[tokio::test]
async fn a_ticket_for_one_user_acts_for_no_other() {
    let server = server_with_services("").await;
    let with_ticket = async |header: &str| {
        let ticket = ask(&server, Method::POST, "/tickets", &service(), Some(FOR_ANA), "").await.json();
        let path = format!("{BASE}/rooms/lobby/messages?ticket={}", ticket["ticket"].as_str().unwrap());
        server.request(Method::POST, &path, &[("dormouse-act", header)], r#"{"content":"hello"}"#).await
    };
    with_ticket(r#"{"sub":"boss"}"#).await.is_problem(403);
    assert_eq!(with_ticket(FOR_ANA).await.status, StatusCode::OK);
    assert_eq!(history(&server).await, [("id-ana".into(), "Ana".into(), "hello".into())]);
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_cannot_send_the_header() {
    let server = server_with_services("").await;
    let origin = format!("http://{}", server.address);
    let headers = [("origin", origin.as_str()), ("access-control-request-method", "POST")];
    let allowed = server.request(Method::OPTIONS, &format!("{BASE}/rooms/lobby/messages"), &headers, "").await;
    assert_eq!(allowed.status, StatusCode::NO_CONTENT);
    assert_eq!(allowed.header("access-control-allow-headers"), "authorization, content-type, idempotency-key");
}

#[tokio::test]
async fn a_service_role_by_a_key_that_is_not_for_services_is_401() {
    let server = server_with_services("").await;
    let claims = json!({
        "sub": "backend", "role": "service", "exp": now_s() + 3_600, "rooms": { "rooms/**": ["read", "write"] },
    });
    let of_set = secret_of_set();
    for (head, secret) in [
        (json!({ "alg": "HS256" }), SECRET),
        (json!({ "alg": "HS256", "kid": "set" }), &of_set),
        (json!({ "alg": "HS256", "kid": "service.secret" }), SECRET),
    ] {
        let refused = post(&server, &signed_with(&head, &claims, secret.as_bytes()), None, "forged").await;
        refused.is_problem(401);
        assert!(refused.json()["detail"].as_str().unwrap().contains("`service = true`"), "{refused:?}");
    }
    assert_eq!(history(&server).await, []);
}

#[tokio::test]
async fn no_component_sees_the_header() {
    let server = server_with_services("[namespaces.ROOMS]\ncomponent = \"caller.wasm\"\n").await;
    for act in [Some(FOR_ANA), None] {
        let answer = ask(&server, Method::POST, "/rooms/a/messages", &service(), act, r#"{"do":"count"}"#).await;
        let user = if act.is_some() { "id-ana" } else { "backend" };
        assert_eq!((&answer.json()["act"], &answer.json()["user"]), (&Value::Null, &json!(user)), "{answer:?}");
    }
    // Another spelling names nobody, and is removed as well.
    let authorization = format!("Bearer {}", service());
    let headers = [("authorization", authorization.as_str()), ("dormouse_act", FOR_ANA)];
    let path = format!("{BASE}/rooms/a/messages");
    let answer = server.request(Method::POST, &path, &headers, r#"{"do":"count"}"#).await;
    assert_eq!((&answer.json()["act"], &answer.json()["user"]), (&Value::Null, &json!("backend")), "{answer:?}");
}

#[tokio::test]
async fn a_service_has_its_own_limits_not_those_of_users() {
    let limits = "[limits]\nmessages_per_second_per_user = 1\nservice_messages_per_second = 2\n";
    let server = server_with_services(limits).await;
    // A user with the same id shares nothing with the service, whatever user that acts for.
    let user = user_with(&json!({ "sub": "backend" }));
    let posted_until_refused = async |token: &str, act: Option<&str>| {
        for posted in 0..200 {
            let answer = post(&server, token, act, "one more").await;
            if answer.status != StatusCode::OK {
                answer.is_problem(429);
                assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
                return posted;
            }
        }
        panic!("nothing stops it");
    };
    let of_user = posted_until_refused(&user, None).await;
    assert!(of_user >= 10, "{of_user}");
    let of_service = posted_until_refused(&service(), None).await;
    assert!(of_service >= 20, "{of_service}");
    let for_ana = posted_until_refused(&service(), Some(FOR_ANA)).await;
    assert!(for_ana < 20, "only what has come back since: {for_ana}");
    let ana = user_with(&json!({}));
    assert_eq!(post(&server, &ana, None, "not counted by what the service did for her").await.status, StatusCode::OK);
    server.wait_for_refusal("messages_per_second_per_user").await;
    server.wait_for_refusal("service_messages_per_second").await;
}

#[tokio::test]
async fn sockets_and_tickets_of_a_service_have_a_limit_of_their_own() {
    let limits = "[limits]\nsockets_per_user = 1\nrooms_per_user = 1\ntickets_per_user = 1\nservice_sockets = 2\n";
    let server = server_with_services(limits).await;
    let user = user_with(&json!({ "sub": "backend" }));
    let _of_user = join(&server, &user, None).await.unwrap();
    join(&server, &user, None).await.err().unwrap().is_problem(429);
    let _of_service = [join(&server, &service(), None).await, join(&server, &service(), Some(FOR_ANA)).await]
        .map(|joined| joined.expect("it lets the service in"));
    let refused = join(&server, &service(), None).await.err().unwrap();
    refused.is_problem(429);
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    let ticket = async || ask(&server, Method::POST, "/tickets", &service(), None, "").await;
    assert_eq!([ticket().await.status, ticket().await.status], [StatusCode::OK; 2]);
    ticket().await.is_problem(429);
    server.wait_for_refusal("service_sockets").await;
}

#[tokio::test]
async fn a_socket_of_a_service_may_send_faster_than_one_of_a_user() {
    let limits = "[limits]\nmessages_per_second = 1\nservice_messages_per_second = 4\n";
    let server = server_with_services(limits).await;
    let mut socket = join(&server, &service(), None).await.unwrap();
    socket.recv_type("history").await;
    for number in 0..60 {
        socket.send_chat(&number.to_string()).await;
    }
    let (mut accepted, mut refused) = (0, 0);
    while accepted + refused < 60 {
        let frame = socket.recv().await;
        match frame["type"].as_str() {
            Some("message") => accepted += 1,
            Some("error") => {
                assert_eq!(frame["code"], "rate_limited");
                refused += 1;
            }
            _ => {}
        }
    }
    assert!(accepted >= 30 && refused > 0, "more than the ten of a user's socket: {accepted}, {refused}");
    server.wait_for_refusal("service_messages_per_second").await;
}

/// Answers to requests over one connection, until one is refused.
async fn answered_on_one_connection(server: &Server, token: &str, most: usize) -> usize {
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for answered in 0..most {
        let request = hyper::Request::get(format!("{BASE}/rooms/lobby/messages"))
            .header("host", server.address.to_string())
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(Bytes::new()))
            .unwrap();
        let answer = within(sender.send_request(request)).await.unwrap();
        if answer.status() != StatusCode::OK {
            return answered;
        }
        within(answer.into_body().collect()).await.unwrap();
    }
    most
}

#[tokio::test]
async fn requests_of_a_service_cost_its_address_nothing() {
    let limits = "[limits]\nconnects_per_second_per_address = 1\nmessages_per_second_per_user = 0\n";
    let server = server_with_services(limits).await;
    assert_eq!(answered_on_one_connection(&server, &service(), 400).await, 400);
    let of_user = answered_on_one_connection(&server, &user_with(&json!({})), 400).await;
    assert!((50..400).contains(&of_user), "the address still has its places, and they end: {of_user}");
    server.wait_for_refusal("connects_per_second_per_address").await;
}

#[tokio::test]
async fn a_revocation_of_the_service_ends_what_it_does_for_users() {
    let server = server_with_services("").await;
    for (revocation, jti) in [(json!({ "jti": "leaked" }), "leaked"), (json!({ "user": "backend" }), "other")] {
        let token = service_with(&json!({ "jti": jti }));
        let mut sockets =
            [join(&server, &token, None).await.unwrap(), join(&server, &token, Some(FOR_ANA)).await.unwrap()];
        // A revocation of the user's tokens is not one of the service's.
        assert_eq!(revoke(&server, json!({ "user": "id-ana" })).await["closed"], 0);
        assert_eq!(post(&server, &token, Some(FOR_ANA), "before").await.status, StatusCode::OK);
        assert_eq!(revoke(&server, revocation).await["closed"], 2);
        for socket in &mut sockets {
            assert_eq!(socket.recv_close().await.0, 4403);
        }
        post(&server, &token, None, "after").await.is_problem(401);
        post(&server, &token, Some(FOR_ANA), "after").await.is_problem(401);
    }
}

#[tokio::test]
async fn nobody_acts_for_a_user_who_was_sent_out_of_the_room() {
    let server = server_with_services("").await;
    let mut acting = join(&server, &service(), Some(FOR_ANA)).await.unwrap();
    let mut own = join(&server, &service(), None).await.unwrap();
    let out = json!({ "user": "id-ana", "room": "rooms/lobby" });
    assert_eq!(revoke(&server, out.clone()).await["closed"], 1);
    assert_eq!(acting.recv_close().await.0, 4403);
    post(&server, &service(), Some(FOR_ANA), "for her").await.is_problem(403);
    post(&server, &service_with(&json!({ "act": { "sub": "id-ana" } })), None, "for her").await.is_problem(403);
    join(&server, &service(), Some(FOR_ANA)).await.err().unwrap().is_problem(403);
    let elsewhere = ask(&server, Method::GET, "/rooms/other/messages", &service(), Some(FOR_ANA), "").await;
    assert_eq!(elsewhere.status, StatusCode::OK);
    assert_eq!(post(&server, &service(), None, "for itself").await.status, StatusCode::OK);
    assert_eq!(own.recv_content().await, "for itself");

    // The service itself can be sent out too; then it acts for nobody there.
    revoke(&server, json!({ "user": "backend", "room": "rooms/lobby" })).await;
    assert_eq!(own.recv_close().await.0, 4403);
    post(&server, &service(), None, "out").await.is_problem(403);
    post(&server, &service(), Some(r#"{"sub":"id-bo"}"#), "out").await.is_problem(403);
}

#[tokio::test]
async fn a_service_does_only_what_its_own_grants_say() {
    let namespaces = "[namespaces.ROOMS]\ncomponent = \"builtin:chat-room\"\n\
                      [namespaces.LOUNGE]\ncomponent = \"builtin:chat-room\"\naccess = \"open\"\n";
    let server = server_with_services(namespaces).await;
    let reader = service_with(&json!({ "rooms": { "rooms/lobby": ["read"] } }));
    for act in [None, Some(FOR_ANA)] {
        let read = ask(&server, Method::GET, "/rooms/lobby/messages", &reader, act, "").await;
        assert_eq!(read.status, StatusCode::OK);
        let refused = post(&server, &reader, act, "refused").await;
        refused.is_problem(403);
        assert_eq!(refused.json()["permission"], "write");
        ask(&server, Method::GET, "/rooms/other/messages", &reader, act, "").await.is_problem(403);
        // An open room lets it do what everybody may.
        let body = r#"{"content":"hello"}"#;
        let open = ask(&server, Method::POST, "/lounge/lobby/messages", &reader, act, body).await;
        assert_eq!(open.status, StatusCode::OK);
    }
    let named = |line: &str| line.contains("\"id-ana\"") && line.contains("service=\"backend\"");
    assert!(server.log().lines().any(named), "the log names both: {}", server.log());
}

#[tokio::test]
async fn a_socket_is_renewed_by_its_service_for_its_user() {
    let server = server_with_services("").await;
    let act = |user: &str| service_with(&json!({ "act": { "sub": user } }));
    let other_service = service_with(&json!({ "sub": "other", "act": { "sub": "id-ana" } }));
    for (renewed, is_accepted) in [
        (service(), true),
        (act("id-ana"), true),
        (act("id-bo"), false),
        (other_service, false),
        (user_with(&json!({ "sub": "backend" })), false),
        (user_with(&json!({})), false),
    ] {
        let mut socket = join(&server, &service(), Some(FOR_ANA)).await.unwrap();
        socket.recv_type("permissions").await;
        socket.send(&json!({ "type": "identity", "token": renewed }).to_string()).await;
        if is_accepted {
            socket.recv_type("identity").await;
            socket.send_chat("still here").await;
            assert_eq!(socket.recv_type("message").await["message"]["userId"], "id-ana");
        } else {
            assert_eq!(socket.recv_close().await.0, 4403);
        }
    }
    // A user's socket does not become a service's.
    let mut socket = join(&server, &user_with(&json!({ "sub": "backend" })), None).await.unwrap();
    socket.send(&json!({ "type": "identity", "token": service() }).to_string()).await;
    assert_eq!(socket.recv_close().await.0, 4403);
}

#[tokio::test]
async fn a_key_that_services_share_with_users_is_refused_at_start() {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("one"), SECRET).unwrap();
    std::fs::write(directory.path().join("two"), format!("{SECRET}\n")).unwrap();
    let keys = "[identity]\nauth = \"jwt\"\n[[identity.keys]]\nalgorithm = \"HS256\"\nid = \"a\"\nfile = \"one\"\n\
                [[identity.keys]]\nalgorithm = \"HS256\"\nid = \"b\"\nfile = \"two\"\nservice = true\n";
    let log = Server::try_in_directory(directory, keys).await.err().expect("it does not start");
    assert!(log.contains("identity.keys.service: the key in") && log.contains("a key of their own"), "{log}");
}

/// The login of a server around the host, to which its own back end is known.
async fn log_in(mut request: Request, next: Next) -> Response {
    let grants = Grants::from_texts(["rooms/*=read,write"]).unwrap();
    let verified = match request.headers().contains_key("x-backend") {
        true => Verified::service(User::new("backend", "Back end")),
        false => Verified::new(User::new("1", "ana")),
    };
    request.extensions_mut().insert(verified.with_grants(grants));
    next.run(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_host_knows_the_services_of_the_server_around_it() {
    let directory = TempDir::new().unwrap();
    let identity = Identity { access: Some(AccessMode::Granted), ..Identity::default() };
    let data = directory.path().join("data");
    let limits = Limits { awake_rooms: 100, warm_rooms: 10, requests: 50, ..Limits::default() };
    let config = Config { base_path: "/".into(), page: false, data, identity, limits, ..Config::default() };
    let host = Host::builder(config).mount().await.unwrap();
    let routes = axum::Router::new().fallback_service(host.service()).layer(middleware::from_fn(log_in));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, routes).into_future());
    let body = r#"{"content":"x"}"#;
    for (headers, status, user) in [
        (&[("x-backend", "1"), ("dormouse-act", FOR_ANA)][..], 200, "id-ana"),
        (&[("x-backend", "1")], 200, "backend"),
        (&[], 200, "1"),
        (&[("dormouse-act", FOR_ANA)], 403, ""),
    ] {
        let posted = harness::request(address, Method::POST, "/rooms/lobby/messages", headers, body).await;
        assert_eq!(posted.status, status, "{headers:?}: {posted:?}");
        if status == 200 {
            assert_eq!(posted.json()["message"]["userId"], user, "{headers:?}");
        }
    }
    host.shutdown().await;
}
