//! Credentials: which ones are accepted, and for how long.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::command_line::run;
use crate::harness::{BASE, Server};
use crate::tokens::{now_s, request_with_token, server_with_secret, token_with};

const SECRET: &str = "a secret of at least thirty-two bytes";
const JWT: &str = r#"
[identity]
auth = "jwt"
access = "open"
audience = "chat"
issuer = "tests"
allowed_origins = ["https://app.example"]
leeway = "0s"
keys = [{ algorithm = "HS256", file = "secret" }]
"#;

/// Tokens that grant nothing let their user in.
const OPEN: &str = "[identity]\nauth = \"jwt\"\naccess = \"open\"\n";

async fn jwt_server() -> Server {
    let directory = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    Server::in_directory(directory, JWT).await
}

/// A token, as the command line mints it for the server's own configuration.
fn token(server: &Server, valid_for: &str) -> String {
    let config = server.directory.path().join("dormouse.toml");
    let args = ["token", "1", "--name", "ana", "--valid-for", valid_for, "--config", config.to_str().unwrap()];
    let output = run(&args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn ws_path(room: &str) -> String {
    format!("{BASE}/rooms/{room}/ws")
}

#[tokio::test]
async fn an_empty_credential_hides_no_other() {
    let server = jwt_server().await;
    let token = token(&server, "1h");
    let cookie = format!("dormouse_token={token}");
    let two_cookies = format!("dormouse_token=; {cookie}");
    let bearer = format!("Bearer {token}");
    let path = format!("{BASE}/rooms/a/messages");
    for headers in [
        &[("authorization", "Bearer "), ("cookie", cookie.as_str())][..],
        &[("authorization", "Bearer"), ("cookie", &cookie)],
        &[("authorization", "Bearer "), ("authorization", &bearer)],
        &[("authorization", &bearer), ("cookie", "dormouse_token=")],
        &[("sec-websocket-protocol", "dormouse, bearer."), ("cookie", &cookie)],
        &[("cookie", &two_cookies)],
    ] {
        assert_eq!(server.request(Method::GET, &path, headers, "").await.status, 200, "{headers:?}");
        server.connect(&format!("{}?ticket=&token=", ws_path("a")), headers).await.expect("it lets us in");
    }
    for headers in [&[("authorization", "Bearer ")][..], &[("cookie", "dormouse_token=\"\"")]] {
        server.request(Method::GET, &path, headers, "").await.is_problem(401);
    }
}

#[tokio::test]
async fn credentials_in_one_line_are_read_like_several_lines() {
    let server = jwt_server().await;
    let token = token(&server, "1h");
    let path = format!("{BASE}/rooms/a/messages");
    for line in [
        format!("Basic eDp5, Bearer {token}"),
        format!("Bearer {token}, Basic eDp5"),
        format!("Bearer {token},ApiKey k"),
        format!("Digest username=\"x, Bearer y\", realm=\"z\", Bearer {token}"),
    ] {
        let headers = [("authorization", line.as_str())];
        assert_eq!(server.request(Method::GET, &path, &headers, "").await.status, 200, "{line}");
        server.connect(&ws_path("a"), &headers).await.expect("it lets us in");
    }
    let headers = [("authorization", "Basic eDp5, Bearer wrong")];
    server.request(Method::GET, &path, &headers, "").await.is_problem(401);
}

#[tokio::test]
async fn routes_of_rooms_need_an_identity() {
    let server = Server::start().await;
    for path in ["/rooms/a/messages", "/presence/list", "/presence/team/list", "/rooms/a/ws"] {
        let answer = server.get(&format!("{BASE}{path}")).await;
        answer.is_problem(401);
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    assert_eq!(server.connect(&ws_path("a"), &[]).await.err().unwrap().status, StatusCode::UNAUTHORIZED);
    server.request(Method::POST, &format!("{BASE}/tickets"), &[], "").await.is_problem(401);
}

#[tokio::test]
async fn a_token_works_as_header_subprotocol_cookie_and_ticket() {
    let server = jwt_server().await;
    let token = token(&server, "1h");
    let bearer = format!("Bearer {token}");
    let mut client = server.connect(&ws_path("a"), &[("authorization", &bearer)]).await.unwrap();
    client.recv_type("history").await;

    let protocols = format!("dormouse, bearer.{token}");
    let client = server.connect(&ws_path("a"), &[("sec-websocket-protocol", &protocols)]).await.unwrap();
    assert_eq!(client.response.headers()["sec-websocket-protocol"], "dormouse");

    let cookie = format!("other=1; dormouse_token={token}");
    server.connect(&ws_path("a"), &[("cookie", &cookie)]).await.unwrap();
    let own = format!("http://{}", server.address);
    server.connect(&ws_path("a"), &[("cookie", &cookie), ("origin", &own)]).await.unwrap();
    server.connect(&ws_path("a"), &[("cookie", &cookie), ("origin", "https://app.example")]).await.unwrap();

    let answer = server.request(Method::POST, &format!("{BASE}/tickets"), &[("authorization", &bearer)], "").await;
    assert_eq!(answer.json()["expiresIn"], 30);
    let path = format!("{}?ticket={}", ws_path("a"), answer.json()["ticket"].as_str().unwrap());
    server.connect(&path, &[]).await.unwrap();
    server.connect(&path, &[]).await.err().unwrap().is_problem(401);
}

#[tokio::test]
async fn one_ticket_lets_in_one_of_fifty_concurrent_clients() {
    let server = jwt_server().await;
    let bearer = format!("Bearer {}", token(&server, "1h"));
    for round in 0..4 {
        let path = format!("{BASE}/tickets");
        let answer = server.request(Method::POST, &path, &[("authorization", &bearer)], "").await;
        let path = format!("{}?ticket={}", ws_path("a"), answer.json()["ticket"].as_str().unwrap());
        let all = futures_util::future::join_all((0..50).map(|_| server.connect(&path, &[]))).await;
        let (won, lost) = all.into_iter().partition::<Vec<_>, _>(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 49), "round {round}");
        lost.into_iter().for_each(|lost| lost.err().unwrap().is_problem(401));
    }
}

#[tokio::test]
async fn a_ticket_expires_with_its_token_and_buys_no_ticket() {
    let server = jwt_server().await;
    let bearer = format!("Bearer {}", token(&server, "2s"));
    let tickets = format!("{BASE}/tickets");
    let ticket = async || {
        let answer = server.request(Method::POST, &tickets, &[("authorization", &bearer)], "").await;
        answer.json()["ticket"].as_str().unwrap().to_owned()
    };
    let (first, second, third) = (ticket().await, ticket().await, ticket().await);
    server.request(Method::POST, &format!("{tickets}?ticket={first}"), &[], "").await.is_problem(401);
    let mut client = server.connect(&format!("{}?ticket={second}", ws_path("a")), &[]).await.unwrap();
    assert_eq!(client.recv_close().await.0, 4401, "its token's end is its own");
    // Half a minute is not over, but the token's time is.
    server.get(&format!("{BASE}/rooms/a/messages?ticket={third}")).await.is_problem(401);
    server.connect(&format!("{}?ticket={}", ws_path("a"), "0".repeat(48)), &[]).await.err().unwrap().is_problem(401);
}

#[tokio::test]
async fn a_cookie_from_a_foreign_origin_is_refused() {
    let server = jwt_server().await;
    let cookie = format!("dormouse_token={}", token(&server, "1h"));
    let evil = [("cookie", cookie.as_str()), ("origin", "https://evil.example")];
    server.connect(&ws_path("a"), &evil).await.err().unwrap().is_problem(403);
    server.request(Method::GET, &format!("{BASE}/rooms/a/messages"), &evil, "").await.is_problem(401);
    let post = server.request(Method::POST, &format!("{BASE}/rooms/a/messages"), &evil, r#"{"content":"x"}"#).await;
    post.is_problem(401);
    assert!(!post.headers.contains_key("access-control-allow-origin"));
    server.open_event_stream(&format!("{BASE}/rooms/a/events"), &evil).await.err().unwrap().is_problem(401);
    server.request(Method::POST, &format!("{BASE}/tickets"), &evil, "").await.is_problem(401);
    for site in ["cross-site", "same-site"] {
        let quiet = [("cookie", cookie.as_str()), ("sec-fetch-site", site)];
        server.request(Method::GET, &format!("{BASE}/rooms/a/messages"), &quiet, "").await.is_problem(401);
    }
    // A page in a frame without rights, a file, a sibling, another port, another scheme's.
    let port = server.address.port();
    for origin in
        ["null", "file://", "https://evil.app.example", "http://app.example", &format!("http://localhost:{port}")]
    {
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        server.connect(&ws_path("a"), &headers).await.err().unwrap().is_problem(403);
        server.open_event_stream(&format!("{BASE}/rooms/a/events"), &headers).await.err().unwrap().is_problem(401);
    }
}

/// The status of what is answered to bytes.
async fn status_of(server: &Server, request: &[u8]) -> u16 {
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    crate::harness::within(stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("no status: {answer}")).parse().expect("a number")
}

#[tokio::test]
async fn other_schemes_and_invalid_bytes_hide_no_credential() {
    let server = jwt_server().await;
    let token = token(&server, "1h");
    let list = format!("{BASE}/rooms/a/messages");
    let get = async |headers: &[u8]| {
        let head = format!("GET {list} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        status_of(&server, &[head.as_bytes(), headers, b"\r\n"].concat()).await
    };
    let cookie = format!("dormouse_token={token}");
    for good in [
        [b"cookie: city=Malm\xf6; ", cookie.as_bytes(), b"\r\n"].concat(),
        ["cookie: city=Malmö; ", &cookie, "\r\n"].concat().into_bytes(),
        [b"cookie: \xff\r\ncookie: a=1;", cookie.as_bytes(), b"; b=\xe9\r\n"].concat(),
        format!("authorization: Basic dXNlcjpwYXNz\r\ncookie: {cookie}\r\n").into_bytes(),
        [b"authorization: Negotiate \xe9\r\ncookie: ", cookie.as_bytes(), b"\r\n"].concat(),
        format!("authorization: Basic dXNlcjpwYXNz\r\nauthorization: Bearer {token}\r\n").into_bytes(),
        format!("authorization:  bearer\t {token} \r\n").into_bytes(),
        format!("authorization: Basic x\r\nsec-websocket-protocol: \u{e9}, bearer.{token}\r\n").into_bytes(),
        [b"sec-websocket-protocol: \xe9\r\nsec-websocket-protocol: bearer.", token.as_bytes(), b"\r\n"].concat(),
    ] {
        assert_eq!(get(&good).await, 200, "{}", good.escape_ascii());
    }
    for bad in [
        &b"authorization: Basic dXNlcjpwYXNz\r\n"[..],
        b"authorization: \xe9\r\n",
        b"authorization: Bearer \xe9\r\n",
        b"cookie: dormouse_token=\xe9\r\n",
        format!("authorization: Bearer nonsense\r\ncookie: {cookie}\r\n").as_bytes(),
    ] {
        assert_eq!(get(bad).await, 401, "{}", bad.escape_ascii());
    }
    let tickets = format!("{BASE}/tickets");
    let bearer = format!("Bearer {token}");
    let ticket = server.request(Method::POST, &tickets, &[("authorization", &bearer)], "").await.json();
    let path = format!("{}?ticket={}", ws_path("a"), ticket["ticket"].as_str().unwrap());
    server.connect(&path, &[("authorization", "Basic dXNlcjpwYXNz")]).await.expect("the ticket counts");
}

#[tokio::test]
async fn an_origin_is_equal_with_and_without_its_default_port() {
    let server = jwt_server().await;
    let cookie = format!("dormouse_token={}", token(&server, "1h"));
    let list = format!("{BASE}/rooms/a/messages");
    let from = async |host: &str, origin: &str| {
        status_by_host(&server, host, Method::GET, &list, &[("cookie", &cookie), ("origin", origin)]).await
    };
    for (host, origin) in [
        ("rooms.example:443", "https://rooms.example"),
        ("Rooms.Example", "https://rooms.example"),
        ("rooms.example:80", "http://rooms.example"),
        ("rooms.example", "https://app.example"),
    ] {
        assert_eq!(from(host, origin).await, 200, "{host} {origin}");
    }
    for (host, origin) in [
        ("rooms.example:443", "http://rooms.example"),
        ("rooms.example:8443", "https://rooms.example"),
        ("rooms.example", "https://app.example.evil"),
    ] {
        assert_eq!(from(host, origin).await, 401, "{host} {origin}");
    }
}

#[tokio::test]
async fn a_secret_is_raw_bytes_or_base64() {
    use base64::Engine as _;
    let directory = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    // Its last byte is white space to some, and its bytes are no text.
    let secret = (0..31).map(|number| 255 - number).chain([0x0c]).collect::<Vec<u8>>();
    let file = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).unwrap();
    file("raw", &secret);
    file("base64", format!("{}\n", base64::prelude::BASE64_STANDARD.encode(&secret)).as_bytes());
    let claims = json!({ "sub": "1", "exp": crate::tokens::now_s() + 3_600 });
    let token = crate::tokens::signed_with(&json!({ "alg": "HS256" }), &claims, &secret);
    for key in ["file = \"raw\"", "file = \"base64\", encoding = \"base64\""] {
        let config = format!("{OPEN}keys = [{{ algorithm = \"HS256\", {key} }}]\n");
        let server = Server::in_directory(directory.clone(), &config).await;
        assert_eq!(crate::tokens::request_with_token(&server, &token).await.status, StatusCode::OK, "{key}");
    }
    file("raw", &[&secret[..], b"\n"].concat());
    let config = format!("{OPEN}keys = [{{ algorithm = \"HS256\", file = \"raw\" }}]\n");
    let server = Server::in_directory(directory.clone(), &config).await;
    assert_eq!(crate::tokens::request_with_token(&server, &token).await.status, StatusCode::OK, "without one line end");
}

/// Any request, by a name that leads to the server.
async fn status_by_host(server: &Server, name: &str, method: Method, path: &str, headers: &[(&str, &str)]) -> u16 {
    let head = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n{head}content-length: 0\r\n\r\n");
    status_of(server, request.as_bytes()).await
}

#[tokio::test]
async fn dev_auth_refuses_dns_rebinding() {
    let server = Server::start().await;
    let port = server.address.port();
    let (evil, own) = (format!("evil.example:{port}"), format!("localhost:{port}"));
    let of_evil = format!("http://{evil}");
    let post = format!("{BASE}/rooms/a/messages?token=1:ana");
    for headers in [&[][..], &[("origin", of_evil.as_str())]] {
        assert_eq!(status_by_host(&server, &evil, Method::POST, &post, headers).await, 421);
        assert_eq!(status_by_host(&server, &evil, Method::GET, &post, headers).await, 421);
        assert_eq!(status_by_host(&server, &evil, Method::GET, "/", headers).await, 421);
    }
    assert_eq!(status_by_host(&server, &own, Method::GET, &post, &[]).await, 200);
    assert_eq!(status_by_host(&server, &evil, Method::GET, "/healthz", &[]).await, 200);
    // A page of any other name may not write under a name of its choice either: it need not read the answer.
    assert_eq!(status_by_host(&server, &own, Method::POST, &post, &[("origin", &of_evil)]).await, 403);
    drop(server);

    let server = Server::with("[identity]\nhosts = [\"evil.example\"]\n").await;
    assert_eq!(
        status_by_host(&server, "evil.example", Method::GET, &post, &[]).await,
        200,
        "where the operator says so"
    );
}

#[tokio::test]
async fn a_server_with_tokens_answers_only_to_its_configured_names() {
    let server = jwt_server().await;
    let list = format!("{BASE}/rooms/a/messages");
    assert_eq!(status_by_host(&server, "any.example", Method::GET, &list, &[]).await, 401, "none were given");
    let directory = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    let named = JWT.replace("leeway", "hosts = [\"rooms.example\"]\nleeway");
    let server = Server::in_directory(directory, &named).await;
    let bearer = format!("Bearer {}", token(&server, "1h"));
    let bearer = [("authorization", bearer.as_str())];
    assert_eq!(status_by_host(&server, "rooms.example:8443", Method::GET, &list, &bearer).await, 200);
    assert_eq!(
        status_by_host(&server, "rooms.example.", Method::GET, &list, &bearer).await,
        200,
        "DNS knows it as the same"
    );
    assert_eq!(status_by_host(&server, "Rooms.Example.:8443", Method::GET, &list, &bearer).await, 200);
    assert_eq!(status_by_host(&server, "any.example", Method::GET, &list, &bearer).await, 421);
    assert_eq!(status_by_host(&server, "localhost", Method::GET, &list, &bearer).await, 421);
    // The harness calls it by its address.
    let refused = server.get(&list).await;
    refused.is_problem(421);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("`identity.hosts`") && !detail.contains("localhost"), "{detail}");
}

#[tokio::test]
async fn only_allowed_origins_may_read_responses() {
    let server = jwt_server().await;
    let preflight = async |origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        server.request(Method::OPTIONS, &format!("{BASE}/rooms/a/messages"), &headers, "").await
    };
    let allowed = preflight("https://app.example").await;
    assert_eq!(allowed.status, StatusCode::NO_CONTENT);
    assert_eq!(allowed.header("access-control-allow-origin"), "https://app.example");
    let from_page = [("origin", "https://app.example")];
    let refused = server.request(Method::GET, &format!("{BASE}/rooms/a/messages"), &from_page, "").await;
    refused.is_problem(401);
    let exposed = refused.header("access-control-expose-headers").split(", ").collect::<Vec<_>>();
    assert!(["retry-after", "etag", "www-authenticate"].iter().all(|name| exposed.contains(name)), "{exposed:?}");
    let refused = preflight("https://app.example.evil").await;
    refused.is_problem(403);
    assert!(!refused.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_socket_is_closed_with_4401_when_its_identity_expires() {
    let server = jwt_server().await;
    let authorization = format!("Bearer {}", token(&server, "2s"));
    let mut client = server.connect(&ws_path("a"), &[("authorization", &authorization)]).await.unwrap();
    assert_eq!(client.recv_close().await.0, 4401);
}

#[tokio::test]
async fn an_event_stream_ends_with_4401_when_its_identity_expires() {
    let server = jwt_server().await;
    let authorization = format!("Bearer {}", token(&server, "2s"));
    let path = format!("{BASE}/rooms/a/events");
    let mut listener = server.open_event_stream(&path, &[("authorization", &authorization)]).await.unwrap();
    assert_eq!(listener.recv().await.json()["type"], "history");
    let goodbye = listener.recv().await;
    assert_eq!((goodbye.name.as_deref(), goodbye.json()["code"].as_u64()), (Some("close"), Some(4401)));
    assert_eq!(listener.recv_block().await, None);
}

/// A stream whose client does not read is not polled, so it cannot notice the time itself.
#[tokio::test]
async fn an_event_stream_that_is_not_read_gets_nothing_later() {
    let limits = "[limits]\nsocket_queue_bytes = 67_108_864\nmessages_per_second_per_user = 0\n";
    let server = server_with_secret(limits).await;
    let (bo, ana) = (token_with(&json!({ "sub": "bo" })), token_with(&json!({ "exp": now_s() + 6 })));
    let authorization = format!("Bearer {ana}");
    let path = format!("{BASE}/rooms/a/events");
    let mut listener = server.open_event_stream(&path, &[("authorization", &authorization)]).await.unwrap();
    assert_eq!(listener.recv().await.json()["type"], "history");
    let authorization_of_bo = format!("Bearer {bo}");
    let post = async |content: &str| {
        let path = format!("{BASE}/rooms/a/messages");
        let body = json!({ "content": content }).to_string();
        let answer = server.request(Method::POST, &path, &[("authorization", &authorization_of_bo)], &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    };
    // More than the kernel keeps for a connection.
    let long = "日".repeat(4_000);
    for _ in 0..700 {
        post(&long).await;
    }
    while request_with_token(&server, &ana).await.status != StatusCode::UNAUTHORIZED {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    post("later").await;
    loop {
        let event = listener.recv().await;
        assert!(!event.data.contains("later"), "{event:?}");
        if event.name.as_deref() == Some("close") {
            assert_eq!(event.json()["code"], 4401);
            break;
        }
    }
}

#[tokio::test]
async fn invalid_tokens_are_refused() {
    let server = jwt_server().await;
    let good = token(&server, "1h");
    let (head, rest) = good.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    // {"alg":"none","typ":"JWT"} in base64url.
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let forged = [
        "nonsense".to_owned(),
        String::new(),
        format!("{head}.{claims}."),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!("{head}.{claims}x.{signature}"),
    ];
    for token in forged {
        let authorization = format!("Bearer {token}");
        let answer = server
            .request(Method::GET, &format!("{BASE}/rooms/a/messages"), &[("authorization", &authorization)], "")
            .await;
        answer.is_problem(401);
    }
    let authorization = format!("Bearer {good}");
    for also in [&[][..], &[("authorization", authorization.as_str())]] {
        let path = format!("{BASE}/rooms/a/messages?token={good}");
        let in_url = server.request(Method::GET, &path, also, "").await;
        in_url.is_problem(401);
        assert!(in_url.json()["detail"].as_str().unwrap().contains("a token in a URL is not accepted"), "{in_url:?}");
    }
    assert!(!server.log().contains(&good), "a token is in the log");
}

#[tokio::test]
async fn tokens_for_other_audiences_and_issuers_are_refused() {
    let server = jwt_server().await;
    let directory = tempfile::TempDir::new().unwrap();
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    std::fs::write(directory.path().join("other"), "another secret of thirty-two bytes!!").unwrap();
    let others = [
        JWT.replace("\"chat\"", "\"shop\""),
        JWT.replace("\"tests\"", "\"someone\""),
        JWT.replace("audience = \"chat\"", ""),
        JWT.replace("issuer = \"tests\"", ""),
        JWT.replace("file = \"secret\"", "file = \"other\""),
    ];
    for other in others {
        let file = directory.path().join("other.toml");
        std::fs::write(&file, &other).unwrap();
        let output = run(&["token", "1", "--config", file.to_str().unwrap()]);
        let authorization = format!("Bearer {}", String::from_utf8(output.stdout).unwrap().trim());
        let path = format!("{BASE}/rooms/a/messages");
        let answer = server.request(Method::GET, &path, &[("authorization", &authorization)], "").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{other}");
    }
}

/// A key of each kind, each for tokens that name it.
fn keys_of_each_kind() -> String {
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/e2e/keys");
    let key = |algorithm: &str| {
        let name = algorithm.to_lowercase();
        format!(
            "{{ algorithm = \"{algorithm}\", id = \"{name}\", file = \"{keys}/{name}.public.pem\", \
             private_file = \"{keys}/{name}.private.pem\" }}"
        )
    };
    ["RS256", "ES256", "EdDSA"].map(key).join(", ")
}

#[tokio::test]
async fn each_kind_of_key_verifies_only_its_own_signatures() {
    let all = keys_of_each_kind();
    let config = |keys: &str| format!("{OPEN}keys = [{keys}]\n");
    let server = Server::with(&config(&all)).await;
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("one.toml");
    for one in all.split_inclusive("}").map(|key| key.trim_start_matches(", ")) {
        std::fs::write(&file, config(one)).unwrap();
        let output = run(&["token", "1", "--config", file.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        let token = String::from_utf8(output.stdout).unwrap();
        let ask = async |token: &str| {
            let authorization = format!("Bearer {}", token.trim());
            let path = format!("{BASE}/rooms/a/messages");
            server.request(Method::GET, &path, &[("authorization", &authorization)], "").await.status
        };
        assert_eq!(ask(&token).await, StatusCode::OK, "{one}");
        // Another signature under the same head and claims.
        let (signed, signature) = token.trim().rsplit_once('.').unwrap();
        let turned = signature.chars().rev().collect::<String>();
        assert_eq!(ask(&format!("{signed}.{turned}")).await, StatusCode::UNAUTHORIZED, "{one}");
        // The same key under another name.
        let renamed = one.replacen("id = \"", "id = \"other-", 1);
        std::fs::write(&file, config(&renamed)).unwrap();
        let output = run(&["token", "1", "--config", file.to_str().unwrap()]);
        assert_eq!(ask(&String::from_utf8(output.stdout).unwrap()).await, StatusCode::UNAUTHORIZED, "{one}");
    }
}

#[tokio::test]
async fn a_public_key_is_not_accepted_as_an_hmac_secret() {
    // The old trick: a token signed by HS256 with the public key's text, which the server must not take for its key.
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/e2e/keys");
    let server =
        Server::with(&format!("{OPEN}keys = [{{ algorithm = \"RS256\", file = \"{keys}/rs256.public.pem\" }}]\n"))
            .await;
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("forger.toml");
    let forger = format!("{OPEN}keys = [{{ algorithm = \"HS256\", file = \"{keys}/rs256.public.pem\" }}]\n");
    std::fs::write(&file, forger).unwrap();
    let output = run(&["token", "1", "--config", file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let authorization = format!("Bearer {}", String::from_utf8(output.stdout).unwrap().trim());
    let path = format!("{BASE}/rooms/a/messages");
    server.request(Method::GET, &path, &[("authorization", &authorization)], "").await.is_problem(401);
}

#[tokio::test]
async fn a_client_cannot_choose_its_identity() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    let lie = json!({ "type": "message", "content": "hi", "userId": "id-bo", "userName": "bo", "id": "1", "seq": 9 });
    ana.send(&lie.to_string()).await;
    let message = ana.recv_type("message").await["message"].take();
    assert_eq!((&message["userId"], &message["userName"]), (&json!("id-ana"), &json!("ana")));
    assert_eq!(message["seq"], 1);
}

#[tokio::test]
async fn dev_auth_does_not_start_on_a_public_address() {
    let directory = tempfile::TempDir::new().unwrap();
    let config = directory.path().join("public.toml");
    std::fs::write(&config, "listen = \"0.0.0.0:0\"").unwrap();
    let data = directory.path().join("data2");
    let output = run(&["serve", "--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()]);
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("loopback"), "{text}");
}
