//! Revocation: users and tokens are disconnected and stay out.

use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::admin::{failure, printed};
use crate::harness::{self, Answer, BASE, Client, EventStream, Server, within};
use crate::tokens::{SECRET, now_s, request_with_token, server_with_secret, token_with, with_secret};

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

async fn admin_request(server: &Server, method: Method, body: &str) -> Answer {
    harness::request(server.admin_address(), method, "/revocations", &[], body).await
}

async fn revoke(server: &Server, revocation: Value) -> Value {
    let answer = admin_request(server, Method::POST, &revocation.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

async fn join(server: &Server, token: &str) -> Result<Client, Answer> {
    let authorization = format!("Bearer {token}");
    server.connect(&format!("{BASE}/rooms/lobby/ws"), &[("authorization", &authorization)]).await
}

async fn open_event_stream(server: &Server, token: &str) -> Result<EventStream, Answer> {
    let authorization = format!("Bearer {token}");
    server.open_event_stream(&format!("{BASE}/rooms/lobby/events"), &[("authorization", &authorization)]).await
}

async fn ticket(server: &Server, token: &str) -> String {
    let authorization = format!("Bearer {token}");
    let path = format!("{BASE}/tickets");
    let answer = server.request(Method::POST, &path, &[("authorization", &authorization)], "").await;
    answer.json()["ticket"].as_str().expect("a ticket").to_owned()
}

fn assert_revoked(answer: &Answer) {
    answer.is_problem(401);
    assert_eq!(answer.json()["detail"], "the token was revoked");
}

/// Runs a command that asks the admin listener.
async fn run(server: &Server, args: &[&str]) -> Output {
    crate::admin::command(server, args).await
}

#[tokio::test]
async fn users_and_tokens_are_revoked_from_the_command_line() {
    let server = server_with_secret(ADMIN).await;
    let (ana, bo) = (token_of("ana", json!({})), token_of("bo", json!({ "jti": "t-1", "exp": now_s() + 600 })));
    let mut socket = join(&server, &ana).await.unwrap();
    let said = printed(&run(&server, &["revoke", "user", "ana"]).await);
    assert_eq!(said, "user ana is revoked; 1 socket is closed\n");
    assert_eq!(socket.recv_close().await.0, 4403);
    assert_revoked(&join(&server, &ana).await.err().expect("it is refused"));
    let exp = (now_s() + 600).to_string();
    let said = printed(&run(&server, &["revoke", "token", "t-1", "--exp", &exp]).await);
    assert_eq!(said, "token t-1 is revoked; 0 sockets are closed\n");
    assert_revoked(&join(&server, &bo).await.err().expect("it is refused"));
    let said = printed(&run(&server, &["revoke", "user", "cy", "--room", "ROOMS/lobby"]).await);
    assert!(said.starts_with("user cy in ROOMS/lobby is revoked; "), "{said}");
    let wrong = failure(&run(&server, &["revoke", "user", "cy", "--room", "rooms/*"]).await);
    assert!(wrong.contains("there is no such room"), "{wrong}");

    let list = printed(&run(&server, &["revocations", "list"]).await);
    let columns = |line: &str| line.split_whitespace().take(3).map(str::to_owned).collect::<Vec<_>>();
    let rows = list.lines().skip(1).map(columns).collect::<Vec<_>>();
    assert_eq!(rows, [["user", "ana", "tokens"], ["token", "t-1", "until"], ["user", "cy", "rooms/lobby"]], "{list}");
    let shown: Value = serde_json::from_str(&printed(&run(&server, &["revocations", "list", "--json"]).await)).unwrap();
    assert_eq!(shown["revocations"].as_array().unwrap().len(), 3);

    for removed in [&["user", "ana"][..], &["token", "t-1"], &["user", "cy", "--room", "rooms/lobby"]] {
        let said = printed(&run(&server, &[&["revocations", "remove"][..], removed].concat()).await);
        assert!(said.ends_with(" is no longer revoked\n"), "{said}");
    }
    let again = failure(&run(&server, &["revocations", "remove", "user", "ana"]).await);
    assert!(again.contains("that is not revoked"), "{again}");
    join(&server, &ana).await.unwrap();
}

/// Issued a while ago, so that the same second is in no doubt.
fn token_of(user: &str, claims: Value) -> String {
    let mut all = json!({ "sub": user, "name": user, "iat": now_s() - 60 });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    token_with(&all)
}

#[tokio::test]
async fn a_revoked_user_is_disconnected_and_older_tokens_are_refused() {
    let server = server_with_secret(ADMIN).await;
    let (ana, bo) = (token_of("ana", json!({})), token_of("bo", json!({})));
    let undated = token_with(&json!({ "sub": "ana" }));
    let of_tomorrow = |claims: Value| token_of("ana", claims);
    let kept = ticket(&server, &ana).await;
    let mut sockets = [join(&server, &ana).await.unwrap(), join(&server, &undated).await.unwrap()];
    let mut stream = open_event_stream(&server, &ana).await.unwrap();
    let mut other = join(&server, &bo).await.unwrap();

    let answer = revoke(&server, json!({ "user": "ana" })).await;
    assert_eq!(answer, json!({ "revoked": { "user": "ana" }, "closed": 3 }));
    for socket in &mut sockets {
        assert_eq!(socket.recv_close().await, (4403, "identity revoked".into()));
    }
    loop {
        let event = stream.recv().await;
        if event.name.as_deref() == Some("close") {
            assert_eq!(event.json(), json!({ "code": 4403, "reason": "identity revoked" }));
            break;
        }
    }
    for token in [&ana, &undated] {
        assert_revoked(&request_with_token(&server, token).await);
        assert_revoked(&join(&server, token).await.err().unwrap());
        assert_revoked(&open_event_stream(&server, token).await.err().unwrap());
    }
    assert_revoked(&server.get(&format!("{BASE}/rooms/a/messages?ticket={kept}")).await);
    other.send_chat("still here").await;
    assert_eq!(other.recv_content().await, "still here");

    // A later token is good. Tokens count in whole seconds.
    let revoked_at = admin_request(&server, Method::GET, "").await.json()["revocations"][0]["before"].as_u64().unwrap();
    while now_s() <= revoked_at {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(request_with_token(&server, &of_tomorrow(json!({ "iat": now_s() }))).await.status, StatusCode::OK);
    assert_revoked(&request_with_token(&server, &of_tomorrow(json!({ "iat": revoked_at }))).await);
}

#[tokio::test]
async fn a_revocation_for_one_room_survives_a_crash() {
    let mut server = server_with_secret(ADMIN).await;
    let (ana, bo) = (token_of("ana", json!({})), token_of("bo", json!({})));
    let connect = async |server: &Server, room: &str, token: &str| {
        let authorization = format!("Bearer {token}");
        server.connect(&format!("{BASE}/{room}/ws"), &[("authorization", &authorization)]).await
    };
    let post = async |server: &Server, room: &str, token: &str| {
        let authorization = [("authorization", format!("Bearer {token}"))];
        let authorization = authorization.each_ref().map(|(name, value)| (*name, value.as_str()));
        server.request(Method::POST, &format!("{BASE}/{room}/messages"), &authorization, r#"{"content":"x"}"#).await
    };
    let mut out = connect(&server, "rooms/team-7", &ana).await.unwrap();
    let mut stays = connect(&server, "rooms/team-8", &ana).await.unwrap();
    let mut other = connect(&server, "rooms/team-7", &bo).await.unwrap();
    let answer = revoke(&server, json!({ "user": "ana", "room": "ROOMS/team-7" })).await;
    assert_eq!(answer["closed"], 1);
    assert_eq!(out.recv_close().await, (4403, "you may not be in this room any more".into()));
    stays.send_chat("still here").await;
    assert_eq!(stays.recv_content().await, "still here");
    other.send_chat("still here").await;
    assert_eq!(other.recv_content().await, "still here");
    for _ in 0..2 {
        connect(&server, "rooms/team-7", &ana).await.err().expect("it is refused").is_problem(403);
        post(&server, "rooms/team-7", &ana).await.is_problem(403);
        assert_eq!(post(&server, "rooms/team-8", &ana).await.status, 200);
        assert_eq!(post(&server, "rooms/team-7", &bo).await.status, 200);
        let list = admin_request(&server, Method::GET, "").await.json();
        assert_eq!(list["revocations"], json!([{ "user": "ana", "room": "rooms/team-7" }]));
        server = server.crash_and_restart().await;
    }
    let again =
        admin_request(&server, Method::DELETE, &json!({ "user": "ana", "room": "rooms/team-7" }).to_string()).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(post(&server, "rooms/team-7", &ana).await.status, 200);
    for nowhere in ["polls/x", "rooms", "rooms/", ""] {
        let body = json!({ "user": "ana", "room": nowhere }).to_string();
        admin_request(&server, Method::POST, &body).await.is_problem(400);
    }
}

#[tokio::test]
async fn one_token_can_be_revoked_and_unrevoked() {
    let server = server_with_secret(ADMIN).await;
    let (one, two) = (token_of("ana", json!({ "jti": "one" })), token_of("ana", json!({ "jti": "two" })));
    let (mut first, mut second) = (join(&server, &one).await.unwrap(), join(&server, &two).await.unwrap());
    let exp = now_s() + 3_600;
    assert_eq!(revoke(&server, json!({ "jti": "one", "exp": exp })).await["closed"], 1);
    assert_eq!(first.recv_close().await.0, 4403);
    assert_revoked(&request_with_token(&server, &one).await);
    assert_eq!(request_with_token(&server, &two).await.status, StatusCode::OK);
    second.send_chat("still here").await;
    assert_eq!(second.recv_content().await, "still here");

    let listed = admin_request(&server, Method::GET, "").await.json();
    assert_eq!(listed, json!({ "revocations": [{ "jti": "one", "exp": exp }], "next": null }));
    let body = json!({ "jti": "one" }).to_string();
    assert_eq!(admin_request(&server, Method::DELETE, &body).await.json(), json!({ "restored": { "jti": "one" } }));
    assert_eq!(request_with_token(&server, &one).await.status, StatusCode::OK);
    admin_request(&server, Method::DELETE, &body).await.is_problem(404);
    assert_eq!(admin_request(&server, Method::GET, "").await.json(), json!({ "revocations": [], "next": null }));
}

#[tokio::test]
async fn revocations_survive_kill_9() {
    let mut server = server_with_secret(ADMIN).await;
    let (ana, bo) = (token_of("ana", json!({})), token_of("bo", json!({ "jti": "b" })));
    for (round, what) in [json!({ "user": "ana" }), json!({ "jti": "b" })].into_iter().enumerate() {
        revoke(&server, what).await;
        server = server.crash_and_restart().await;
        assert_revoked(&request_with_token(&server, &ana).await);
        let expected = [StatusCode::OK, StatusCode::UNAUTHORIZED][round];
        assert_eq!(request_with_token(&server, &bo).await.status, expected);
    }
    admin_request(&server, Method::DELETE, r#"{"user":"ana"}"#).await;
    let server = server.crash_and_restart().await;
    assert_eq!(request_with_token(&server, &ana).await.status, StatusCode::OK);
    assert_revoked(&request_with_token(&server, &bo).await);

    let file = server.directory.path().join("data/revocations.json");
    let directory = server.directory.clone();
    drop(server);
    std::fs::write(&file, "{\"version\":1,\"revocat").unwrap();
    let text = Server::try_in_directory(directory, &with_secret(ADMIN)).await.err().expect("it does not start");
    assert!(text.contains("revocations.json cannot be read") && text.contains("remove the file"), "{text}");
}

#[tokio::test]
async fn no_connect_races_past_a_revocation() {
    let server = server_with_secret(ADMIN).await;
    for round in 0..10 {
        let user = format!("u{round}");
        let token = token_of(&user, json!({}));
        let joins = futures_util::future::join_all((0..20).map(|_| join(&server, &token)));
        let (joined, _) = tokio::join!(joins, revoke(&server, json!({ "user": user })));
        for joined in joined {
            match joined {
                Ok(mut client) => assert_eq!(client.recv_close().await.0, 4403),
                Err(answer) => assert_revoked(&answer),
            }
        }
    }
}

#[tokio::test]
async fn users_of_dev_auth_can_be_revoked_too() {
    let server = Server::with(ADMIN).await;
    let mut ana = server.join("lobby", "ana").await;
    revoke(&server, json!({ "user": "id-ana" })).await;
    assert_eq!(ana.recv_close().await.0, 4403);
    assert_revoked(&server.api(Method::GET, "/rooms/a/messages", "ana", "").await);
}

#[tokio::test]
async fn revocations_are_listed_by_user_and_in_pages() {
    let server = server_with_secret(ADMIN).await;
    let revoked = [
        json!({ "user": "ana" }),
        json!({ "user": "bo" }),
        json!({ "jti": "a/b&c" }),
        json!({ "user": "ana", "room": "rooms/a" }),
        json!({ "user": "ana", "room": "rooms/b" }),
        json!({ "user": "cy", "room": "rooms/a" }),
    ];
    for revocation in revoked.iter().rev() {
        revoke(&server, revocation.clone()).await;
    }
    let page = async |query: &str| {
        let answer =
            harness::request(server.admin_address(), Method::GET, &format!("/revocations{query}"), &[], "").await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {answer:?}");
        let mut page = answer.json();
        for entry in page["revocations"].as_array_mut().unwrap() {
            entry.as_object_mut().unwrap().remove("before");
        }
        page
    };
    assert_eq!(page("").await, json!({ "revocations": revoked, "next": null }));
    for limit in 1..=6 {
        let (mut listed, mut after) = (Vec::new(), String::new());
        loop {
            let page = page(&format!("?limit={limit}{after}")).await;
            listed.extend(page["revocations"].as_array().unwrap().clone());
            assert!(listed.len() <= revoked.len(), "pages of {limit}: {listed:?}");
            let Some(next) = page["next"].as_str() else { break };
            let next = url::form_urlencoded::byte_serialize(next.as_bytes()).collect::<String>();
            after = format!("&after={next}");
        }
        assert_eq!(listed, revoked, "pages of {limit}");
    }
    let of_ana = [&revoked[0], &revoked[3], &revoked[4]];
    assert_eq!(page("?user=ana").await["revocations"], json!(of_ana));
    assert_eq!(page("?user=a%2Fb%26c").await["revocations"], json!([]), "that is a token");
    for wrong in ["?after=ana", "?limit=0", "?users=ana"] {
        harness::request(server.admin_address(), Method::GET, &format!("/revocations{wrong}"), &[], "")
            .await
            .is_problem(400);
    }
}

#[tokio::test]
async fn a_revocation_without_a_user_or_token_is_refused() {
    let server = server_with_secret(ADMIN).await;
    let long = json!({ "user": "x".repeat(257) }).to_string();
    let bad = [
        "",
        "{",
        "null",
        "[]",
        "{}",
        "\"ana\"",
        r#"{"user":7}"#,
        r#"{"user":""}"#,
        r#"{"jti":""}"#,
        &long,
        r#"{"user":"a","jti":"b"}"#,
        r#"{"user":"a","more":1}"#,
        r#"{"jti":"b","exp":"soon"}"#,
        r#"{"jti":"b","exp":-1}"#,
    ];
    for body in bad {
        admin_request(&server, Method::POST, body).await.is_problem(400);
        if !body.contains("xxx") && !body.contains("\"\"") {
            admin_request(&server, Method::DELETE, body).await.is_problem(400);
        }
    }
    admin_request(&server, Method::POST, &"x".repeat(9_000)).await.is_problem(413);
    let wrong = admin_request(&server, Method::PUT, "{}").await;
    wrong.is_problem(405);
    assert_eq!(wrong.header("allow"), "GET, HEAD, POST, DELETE");
    let wrong = harness::request(server.admin_address(), Method::POST, "/metrics", &[], "").await;
    assert_eq!((wrong.status.as_u16(), wrong.header("allow")), (405, "GET, HEAD"));
    for path in ["/metrics", "/revocations", "/healthz", "/readyz"] {
        let head = harness::request(server.admin_address(), Method::HEAD, path, &[], "").await;
        assert!(head.status == 200 && head.body.is_empty() && head.headers.contains_key("content-length"), "{head:?}");
    }
    let at = |path: &'static str| harness::request(server.admin_address(), Method::GET, path, &[], "");
    assert_eq!(at("/healthz").await.json()["status"], "ok");
    assert_eq!(at("/readyz").await.json()["status"], "ready");
    at("/nothing").await.is_problem(404);
    at("/api/realtime/rooms/a/messages").await.is_problem(404);
    assert_eq!(admin_request(&server, Method::GET, "").await.json(), json!({ "revocations": [], "next": null }));
    server.get("/revocations").await.is_problem(404);
}

#[tokio::test]
async fn web_pages_cannot_use_the_admin_api() {
    let server = server_with_secret(ADMIN).await;
    let address = server.admin_address();
    let own = format!("http://{address}");
    let body = r#"{"user":"ana"}"#;
    // The own page needs a session.
    for (header, status) in [
        (("origin", own.as_str()), 401),
        (("sec-fetch-site", "same-origin"), 401),
        (("origin", "null"), 403),
        (("origin", "https://evil.example"), 403),
        (("sec-fetch-site", "cross-site"), 403),
    ] {
        for method in [Method::POST, Method::GET, Method::OPTIONS] {
            let answer = harness::request(address, method, "/revocations", &[header], body).await;
            answer.is_problem(status);
            assert!(!answer.headers.contains_key("access-control-allow-origin"));
        }
    }
    let head =
        "POST /revocations HTTP/1.1\r\nhost: evil.example:8788\r\ncontent-length: 14\r\nconnection: close\r\n\r\n";
    let answer = raw_request(address, head, body).await;
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    assert_eq!(admin_request(&server, Method::GET, "").await.json(), json!({ "revocations": [], "next": null }));
}

async fn raw_request(address: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_admin_token_is_required_and_sighup_reloads_it() {
    let (first, second) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    std::fs::write(directory.path().join("admin.token"), format!("{first}\n")).unwrap();
    let config = with_secret(&format!("{ADMIN}token_file = \"admin.token\"\n"));
    let server = Server::in_directory(directory, &config).await;
    let as_one = async |authorization: &str| {
        let headers = [("authorization", authorization)];
        harness::request(server.admin_address(), Method::POST, "/revocations", &headers, r#"{"user":"ana"}"#).await
    };
    let good = format!("Bearer {first}");
    let bad = [
        "",
        "Bearer",
        "Bearer ",
        first,
        &format!("Basic {first}"),
        &good[..good.len() - 1],
        &format!("{good}0"),
        &format!("Bearer {second}"),
        &format!("Bearer {}", first.to_uppercase()),
    ];
    for authorization in bad {
        as_one(authorization).await.is_problem(401);
    }
    admin_request(&server, Method::GET, "").await.is_problem(401);
    admin_request(&server, Method::POST, r#"{"user":"ana"}"#).await.is_problem(401);
    assert_eq!(as_one(&good).await.status, StatusCode::OK);
    let health = harness::request(server.admin_address(), Method::GET, "/healthz", &[], "").await;
    assert_eq!(health.status, StatusCode::OK);

    std::fs::write(server.directory.path().join("admin.token"), second).unwrap();
    server.send_sighup();
    server.wait_for_log("reloaded").await;
    as_one(&good).await.is_problem(401);
    assert_eq!(as_one(&format!("bearer {second}")).await.status, StatusCode::OK);
    std::fs::write(server.directory.path().join("admin.token"), "short").unwrap();
    server.send_sighup();
    server.wait_for_log("the old one stays in use: admin.token_file").await;
    assert_eq!(as_one(&format!("Bearer {second}")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_public_admin_listener_needs_a_long_token() {
    let directory = Arc::new(TempDir::new().unwrap());
    let refusal = async |config: &str| {
        Server::try_in_directory(directory.clone(), config)
            .await
            .err()
            .unwrap_or_else(|| panic!("it starts with {config}"))
    };
    let text = refusal("[admin]\nlisten = \"0.0.0.0:0\"\n").await;
    assert!(text.contains("admin.token_file") && text.contains("can be reached from other machines"), "{text}");
    let with_file = "[admin]\nlisten = \"0.0.0.0:0\"\ntoken_file = \"admin.token\"\n";
    assert!(refusal(with_file).await.contains("admin.token cannot be used"));
    std::fs::write(directory.path().join("admin.token"), "0123456789abcdef0123456789abcde").unwrap();
    assert!(refusal(with_file).await.contains("at least 32 characters"));
}

#[tokio::test]
async fn slow_or_long_admin_requests_are_cut_off() {
    let config = format!("{ADMIN}[limits]\nbody_timeout = \"1s\"\nheader_timeout = \"1s\"\n");
    let server = server_with_secret(&config).await;
    let slow = async |bytes: &str| {
        let mut stream = TcpStream::connect(server.admin_address()).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = within(stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    slow("GET / HTTP/1.1\r\nhost: ").await;
    let head = "POST /revocations HTTP/1.1\r\nhost: localhost\r\ncontent-length: 14\r\n\r\n{";
    let answer = slow(head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let long = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    let answer = slow(&long).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    // Many connections that occupy it at once keep others out no longer than that.
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(TcpStream::connect(server.admin_address()).await.unwrap());
    }
    let answers = async {
        loop {
            let mut stream = TcpStream::connect(server.admin_address()).await.unwrap();
            let asked =
                stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
            let mut answer = String::new();
            if asked.is_ok() && stream.read_to_string(&mut answer).await.is_ok() && answer.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    };
    within(answers).await;
}

const ADMIN_TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A server whose admin listener asks for a token.
async fn server_with_admin_token(config: &str) -> Server {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    std::fs::write(directory.path().join("admin.token"), ADMIN_TOKEN).unwrap();
    let config = format!("{ADMIN}token_file = \"admin.token\"\n{config}");
    Server::in_directory(directory, &with_secret(&config)).await
}

async fn revoke_as_operator(server: &Server) -> Answer {
    let authorization = format!("Bearer {ADMIN_TOKEN}");
    let headers = [("authorization", authorization.as_str())];
    harness::request(server.admin_address(), Method::GET, "/revocations", &headers, "").await
}

#[tokio::test]
async fn an_admin_connection_without_the_token_gets_one_answer() {
    let server = server_with_admin_token("").await;
    for (path, status) in [("/revocations", "401"), ("/healthz", "200"), ("/nothing", "401")] {
        let mut stream = TcpStream::connect(server.admin_address()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.expect("it ends in order");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    }
    // With the token it stays open for the next request.
    let mut stream = TcpStream::connect(server.admin_address()).await.unwrap();
    let request =
        format!("GET /revocations HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\r\n");
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains("\"revocations\":[]}") {
            assert_ne!(within(stream.read_buf(&mut answer)).await.unwrap(), 0, "{}", answer.escape_ascii());
        }
    }
}

#[tokio::test]
async fn the_operator_gets_in_despite_many_idle_admin_connections() {
    let server = server_with_admin_token("").await;
    let mut held = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(server.admin_address()).await.unwrap();
        // Some send nothing, and some send half a request.
        if number % 2 == 0 {
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: ").await;
        }
        held.push(stream);
        if number % 40 == 39 {
            assert_eq!(revoke_as_operator(&server).await.status, StatusCode::OK, "beside {number}");
        }
    }
    // One line for all of them, and not one for each.
    server.wait_for_log("the admin listener turns away").await;
    assert_eq!(server.log().matches("the admin listener turns away").count(), 1, "{}", server.log());
}

#[tokio::test]
async fn wrong_admin_tokens_are_rate_limited_and_the_right_one_is_not() {
    let server = server_with_admin_token("").await;
    let guess = async || {
        let headers = [("authorization", "Bearer another-token-of-thirty-two-letters")];
        harness::request(server.admin_address(), Method::GET, "/revocations", &headers, "").await
    };
    let paced = async {
        loop {
            let answer = guess().await;
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                return answer;
            }
            answer.is_problem(401);
        }
    };
    let paced = within(paced).await;
    assert!(paced.header("retry-after").parse::<u32>().unwrap() > 0);
    for _ in 0..150 {
        assert_eq!(revoke_as_operator(&server).await.status, StatusCode::OK);
    }
    assert_eq!(server.log().matches("the admin listener turns away").count(), 1, "{}", server.log());
}

#[tokio::test]
async fn a_log_line_of_a_revocation_names_its_user_or_token() {
    let server = server_with_secret(ADMIN).await;
    revoke(&server, json!({ "user": "ana" })).await;
    server.wait_for_log("revoked kind=\"user\" id=\"ana\" closed=0").await;
    revoke(&server, json!({ "jti": "one" })).await;
    server.wait_for_log("revoked kind=\"jti\" id=\"one\" closed=0").await;
    admin_request(&server, Method::DELETE, &json!({ "user": "ana" }).to_string()).await;
    server.wait_for_log("no longer revoked kind=\"user\" id=\"ana\"").await;
    assert!(!server.log().contains("RevokedUser"), "{}", server.log());
}

#[tokio::test]
async fn revocation_covers_tokens_of_issuers_whose_clock_is_ahead() {
    let config = with_secret(ADMIN).replace("leeway = \"0s\"", "leeway = \"4s\"");
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    let server = Server::in_directory(directory, &config).await;
    let ahead = token_of("ana", json!({ "iat": now_s() + 3 }));
    let unused = token_of("ana", json!({ "iat": now_s() + 3, "jti": "unused" }));
    let mut ana = join(&server, &ahead).await.expect("within the leeway it is good");
    let kept = ticket(&server, &ahead).await;
    revoke(&server, json!({ "user": "ana" })).await;
    assert_eq!(ana.recv_close().await.0, 4403);
    let before = admin_request(&server, Method::GET, "").await.json()["revocations"][0]["before"].as_u64().unwrap();
    assert_revoked(&server.get(&format!("{BASE}/rooms/a/messages?ticket={kept}")).await);
    while now_s() <= before {
        for token in [&ahead, &unused] {
            assert_revoked(&request_with_token(&server, token).await);
            assert_revoked(&join(&server, token).await.err().unwrap());
            assert_revoked(&open_event_stream(&server, token).await.err().unwrap());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // Once the leeway is over, a new token is good, and those from before are not.
    assert_eq!(
        request_with_token(&server, &token_of("ana", json!({ "iat": before + 1 }))).await.status,
        StatusCode::OK
    );
    let server = server.crash_and_restart().await;
    assert_revoked(&request_with_token(&server, &ahead).await);
    assert_revoked(&request_with_token(&server, &unused).await);
}

/// Begins a POST to the lobby, and returns when the server reads its body: the identity was checked before.
async fn begin_post(server: &Server, token: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST {BASE}/rooms/lobby/messages HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         expect: 100-continue\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    within(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn a_body_that_ends_after_the_revocation_has_no_effect() {
    let server = server_with_secret(ADMIN).await;
    let body = json!({ "content": "late" }).to_string();
    let finish = async |mut stream: TcpStream| {
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    };
    for revocation in [json!({ "user": "ana" }), json!({ "jti": "leaked" })] {
        let id = revocation["user"].as_str().unwrap_or("bo");
        let stream = begin_post(&server, &token_of(id, json!({ "jti": "leaked" })), &body).await;
        revoke(&server, revocation).await;
        finish(stream).await;
    }
    let expiring = token_of("cleo", json!({ "exp": now_s() + 2 }));
    let stream = begin_post(&server, &expiring, &body).await;
    while request_with_token(&server, &expiring).await.status != StatusCode::UNAUTHORIZED {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    finish(stream).await;
    let history = request_to_lobby(&server, &token_of("dora", json!({}))).await.json();
    assert_eq!(history["messages"], json!([]));
}

async fn request_to_lobby(server: &Server, token: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let path = format!("{BASE}/rooms/lobby/messages");
    server.request(Method::GET, &path, &[("authorization", &authorization)], "").await
}

#[tokio::test]
async fn a_revocation_names_one_room_and_no_pattern() {
    let server = server_with_secret(ADMIN).await;
    for room in ["rooms/*", "rooms/a*b", "rooms/**"] {
        let answer = admin_request(&server, Method::POST, &json!({ "user": "ana", "room": room }).to_string()).await;
        answer.is_problem(400);
        assert!(answer.json()["detail"].as_str().unwrap().contains("names one room"), "{answer:?}");
    }
    let escaped = json!({ "user": "ana", "room": "rooms/a\\*b" });
    revoke(&server, escaped.clone()).await;
    let path = format!("{BASE}/rooms/a*b/messages");
    let authorization = format!("Bearer {}", token_of("ana", json!({})));
    let asked = async || server.request(Method::GET, &path, &[("authorization", &authorization)], "").await;
    asked().await.is_problem(403);
    assert_eq!(admin_request(&server, Method::DELETE, &escaped.to_string()).await.status, StatusCode::OK);
    assert_eq!(asked().await.status, StatusCode::OK);
}
