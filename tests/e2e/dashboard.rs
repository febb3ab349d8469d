//! The dashboard's backend: its files, its sessions, and that nobody gets anything without one.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::admin::admin;
use crate::harness::{self, Answer, Client, Server, within};

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const OTHER_TOKEN: &str = "fedcba9876543210fedcba9876543210";
const OPENAPI: &str = include_str!("../../host/src/edge/admin/openapi.json");

/// A server with a token, and rooms that do what they are told.
async fn guarded(more: &str) -> Server {
    let directory = Arc::new(TempDir::new().unwrap());
    fs::write(directory.path().join("admin.token"), TOKEN).unwrap();
    fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).unwrap();
    let config =
        format!("{ADMIN}token_file = \"admin.token\"\n{more}\n[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n");
    Server::in_directory(directory, &config).await
}

/// A browser with the dashboard open: the headers that it sends.
#[derive(Clone)]
struct Browser {
    address: SocketAddr,
    origin: String,
    cookie: String,
    value: String,
}

impl Browser {
    fn at(address: SocketAddr) -> Self {
        Browser { address, origin: format!("http://{address}"), cookie: String::new(), value: String::new() }
    }

    /// Signs in.
    async fn signed_in(address: SocketAddr, token: &str) -> Self {
        let mut browser = Self::at(address);
        let answer = browser.sign_in(token).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        browser.cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        browser.value = answer.json()["value"].as_str().unwrap().to_owned();
        browser
    }

    async fn sign_in(&self, token: &str) -> Answer {
        let body = json!({ "token": token, "operator": "Robin" }).to_string();
        let headers = [("origin", &*self.origin), ("content-type", "application/json")];
        patiently(self.address, Method::POST, "/session", &headers, &body).await
    }

    /// The headers of a request of the dashboard.
    fn headers(&self) -> Vec<(&'static str, String)> {
        vec![
            ("origin", self.origin.clone()),
            ("sec-fetch-site", "same-origin".into()),
            ("cookie", self.cookie.clone()),
            ("dormouse-session", self.value.clone()),
        ]
    }

    /// The same with some headers replaced. Empty ones are left out.
    fn but(&self, replaced: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        let kept = self.headers().into_iter().filter(|(name, _)| replaced.iter().all(|(other, _)| other != name));
        let replaced = replaced.iter().map(|(name, value)| (*name, (*value).to_owned()));
        kept.chain(replaced).filter(|(_, value)| !value.is_empty()).collect()
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> Answer {
        send(self.address, method, path, &self.headers(), body).await
    }
}

async fn send(address: SocketAddr, method: Method, path: &str, headers: &[(&str, String)], body: &str) -> Answer {
    let headers = headers.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>();
    patiently(address, method, path, &headers, body).await
}

/// Sends a request until it is not one too many of this address.
async fn patiently(address: SocketAddr, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    loop {
        let answer = harness::request(address, method.clone(), path, headers, body).await;
        if answer.status != 429 {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn joined(server: &Server, room: &str, user: &str) -> Client {
    let mut client = server.join(room, user).await;
    client.expect_text("welcome").await;
    client
}

/// Every method of every path that needs a credential, as the description has them.
fn routes() -> Vec<(Method, String)> {
    let description = serde_json::from_str::<Value>(OPENAPI).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap().iter().filter(|(method, _)| *method != "parameters") {
            if described["security"] == json!([]) {
                continue;
            }
            let given = [
                ("{namespace}", "ROOMS"),
                ("{name}", "lobby"),
                ("{target}", "ROOMS"),
                ("{user}", "id-ana"),
                ("{id}", "1"),
            ];
            let path = given.iter().fold(path.clone(), |path, (parameter, value)| path.replace(parameter, value));
            assert!(!path.contains('{'), "{path} has an unknown parameter");
            routes.push((Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(), path));
        }
    }
    assert!(routes.len() > 20, "{routes:?}");
    routes
}

#[tokio::test]
async fn every_route_is_closed_to_those_without_a_whole_session() {
    let server = guarded("").await;
    let mut ana = joined(&server, "lobby", "ana").await;
    ana.expect_reply("put key value; say done", "done").await;
    let browser = Browser::signed_in(server.admin_address(), TOKEN).await;
    let stranger = Browser::signed_in(server.admin_address(), TOKEN).await;
    let before = browser.ask(Method::GET, "/audit", "").await.json()["entries"].as_array().unwrap().len();
    let wrong = format!("Bearer {OTHER_TOKEN}");
    for (number, (method, path)) in (1..).zip(routes()) {
        // Each route from an address of its own, since refusals are rate-limited.
        let source = IpAddr::from([127, 0, 1, number]);
        let refused = async |status: u16, headers: Vec<(&'static str, String)>| {
            let headers = headers.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>();
            let answer = harness::request_from(source, browser.address, method.clone(), &path, &headers, "").await;
            assert_eq!(answer.status, status, "{method} {path} {headers:?}");
            answer.is_problem(status);
            assert!(!answer.headers.contains_key("access-control-allow-origin"));
        };
        refused(401, Vec::new()).await;
        refused(401, vec![("authorization", wrong.clone())]).await;
        refused(401, vec![("authorization", "Bearer ".into())]).await;
        refused(401, browser.but(&[("cookie", "")])).await;
        refused(401, browser.but(&[("cookie", &browser.cookie.replace('=', "=0"))])).await;
        refused(401, browser.but(&[("dormouse-session", "")])).await;
        refused(401, browser.but(&[("dormouse-session", &stranger.value)])).await;
        // A page that shows the token shows no session.
        let token = format!("Bearer {TOKEN}");
        refused(401, browser.but(&[("dormouse-session", ""), ("authorization", &token)])).await;
        for elsewhere in [
            &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")][..],
            &[("origin", "https://evil.example"), ("sec-fetch-site", "")],
            &[("origin", "null"), ("sec-fetch-site", "")],
            &[("origin", "http://127.0.0.1:1"), ("sec-fetch-site", "same-site")],
            &[("origin", ""), ("sec-fetch-site", "cross-site")],
            &[("origin", ""), ("sec-fetch-site", "same-site")],
        ] {
            refused(403, browser.but(elsewhere)).await;
        }
        let navigation = [("origin", ""), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        refused(403, browser.but(&[&navigation[..], &[("sec-fetch-dest", "document")]].concat())).await;
        // A name that resolves to this machine for a moment: the page there has the same origin as this server.
        let rebound = [("host", "evil.example:8788"), ("origin", "http://evil.example:8788")];
        refused(421, browser.but(&rebound)).await;
        refused(421, browser.but(&[("host", "evil.example:8788"), ("origin", "")])).await;
        if method != Method::GET {
            refused(401, browser.but(&[("origin", ""), ("sec-fetch-site", "")])).await;
        }
    }
    ana.expect_reply("get key", "key=value").await;
    let after = browser.ask(Method::GET, "/audit", "").await.json()["entries"].as_array().unwrap().len();
    assert_eq!(after, before, "nothing was done");
    assert_eq!(browser.ask(Method::GET, "/revocations", "").await.json(), json!({ "revocations": [], "next": null }));
}

#[tokio::test]
async fn others_who_guess_at_the_same_address_do_not_keep_the_operator_out() {
    let server = guarded("").await;
    let nobody = Browser::at(server.admin_address());
    while harness::request(nobody.address, Method::GET, "/rooms", &[], "").await.status != 429 {}
    let sign_in = async |token: &str| {
        let headers = [("origin", &*nobody.origin), ("content-type", "application/json")];
        let body = json!({ "token": token }).to_string();
        harness::request(nobody.address, Method::POST, "/session", &headers, &body).await.status
    };
    while sign_in(OTHER_TOKEN).await != 429 {}
    assert_eq!(sign_in(TOKEN).await, 200);
}

#[tokio::test]
async fn an_operator_signs_in_acts_and_signs_out() {
    let server = guarded("").await;
    let address = server.admin_address();
    let nobody = Browser::at(address);
    assert_eq!(nobody.ask(Method::GET, "/session", "").await.json(), json!({ "signedIn": false, "token": true }));
    for wrong in ["", OTHER_TOKEN, &TOKEN[1..]] {
        let answer = nobody.sign_in(wrong).await;
        answer.is_problem(401);
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    let body = json!({ "token": TOKEN }).to_string();
    let own = nobody.origin.as_str();
    for (status, headers) in [
        (415, &[("origin", own)][..]),
        (415, &[("origin", own), ("content-type", "text/plain")]),
        (403, &[("content-type", "application/json")]),
        (403, &[("origin", "https://evil.example"), ("content-type", "application/json")]),
        (421, &[("origin", "http://evil.example"), ("host", "evil.example"), ("content-type", "application/json")]),
    ] {
        let answer = patiently(address, Method::POST, "/session", headers, &body).await;
        answer.is_problem(status);
        assert!(!answer.headers.contains_key("set-cookie"));
    }

    let answer = nobody.sign_in(TOKEN).await;
    let cookie = answer.header("set-cookie");
    let port = address.port();
    assert!(cookie.starts_with(&format!("dormouse-session-{port}=")), "{cookie}");
    for part in ["; Path=/", "; HttpOnly", "; SameSite=Strict", "; Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let browser = Browser::signed_in(address, TOKEN).await;
    let state = browser.ask(Method::GET, "/session", "").await.json();
    assert_eq!([&state["signedIn"], &state["operator"]], [&json!(true), &json!("Robin")]);
    assert_eq!(browser.ask(Method::POST, "/revocations", r#"{"user":"ana"}"#).await.status, 200);
    let entries = browser.ask(Method::GET, "/audit?limit=2", "").await.json()["entries"].clone();
    let entry = |at: usize| ["action", "target", "operator", "from"].map(|key| entries[at][key].clone());
    assert_eq!(entry(0), ["sign in", "dashboard", "Robin", "127.0.0.1"].map(|text| json!(text)));
    assert_eq!(entry(1), ["revoke", "user ana", "Robin", "127.0.0.1"].map(|text| json!(text)));
    assert!(entries[1]["session"].is_string() && entries[0]["session"] == entries[1]["session"], "{entries}");
    // A GET over plain HTTP beyond loopback: there a browser says nothing of the site.
    let plain = send(address, Method::GET, "/rooms", &browser.but(&[("origin", ""), ("sec-fetch-site", "")]), "").await;
    assert_eq!(plain.status, 200, "{plain:?}");

    let other = Browser::signed_in(address, TOKEN).await;
    let ended = browser.ask(Method::DELETE, "/session", "").await;
    assert_eq!(ended.status, 200, "{ended:?}");
    assert!(ended.header("set-cookie").contains("Max-Age=0"), "{ended:?}");
    browser.ask(Method::GET, "/rooms", "").await.is_problem(401);
    assert_eq!(other.ask(Method::GET, "/rooms", "").await.status, 200);
}

#[tokio::test]
async fn over_tls_the_cookie_is_only_for_tls() {
    let server = guarded("").await;
    let mut browser = Browser::at(server.admin_address());
    // A proxy with TLS passes the name by which the browser called it.
    browser.origin = "https://localhost:8443".into();
    let body = json!({ "token": TOKEN }).to_string();
    let headers = [("origin", &*browser.origin), ("host", "localhost:8443"), ("content-type", "application/json")];
    let answer = patiently(browser.address, Method::POST, "/session", &headers, &body).await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-dormouse-session-8443=") && cookie.ends_with("; Secure"), "{cookie}");
    browser.cookie = cookie.split(';').next().unwrap().to_owned();
    browser.value = answer.json()["value"].as_str().unwrap().to_owned();
    let headers = browser.but(&[("host", "localhost:8443")]);
    assert_eq!(send(browser.address, Method::GET, "/rooms", &headers, "").await.status, 200);
}

#[tokio::test]
async fn names_that_the_operator_lists_are_served() {
    let server = guarded("hosts = [\"admin.example\"]\n").await;
    let page = async |host: &str| {
        patiently(server.admin_address(), Method::GET, "/", &[("host", host)], "").await.status.as_u16()
    };
    assert_eq!([page("admin.example").await, page("192.0.2.1:8788").await, page("localhost").await], [200; 3]);
    assert_eq!([page("evil.example").await, page("admin.example.evil.example").await], [421; 2]);
}

#[tokio::test]
async fn another_token_and_a_restart_end_the_sessions() {
    let server = guarded("").await;
    let browser = Browser::signed_in(server.admin_address(), TOKEN).await;
    server.send_sighup();
    server.wait_for_log("reloaded").await;
    assert_eq!(browser.ask(Method::GET, "/rooms", "").await.status, 200, "the token is the same");
    fs::write(server.directory.path().join("admin.token"), OTHER_TOKEN).unwrap();
    server.send_sighup();
    within(async {
        while browser.ask(Method::GET, "/rooms", "").await.status != 401 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    browser.sign_in(TOKEN).await.is_problem(401);
    let browser = Browser::signed_in(server.admin_address(), OTHER_TOKEN).await;
    let server = server.crash_and_restart().await;
    let address = server.admin_address();
    let id = browser.cookie.split('=').nth(1).unwrap();
    let cookie = format!("dormouse-session-{}={id}", address.port());
    let headers = browser.but(&[("origin", &format!("http://{address}")), ("cookie", &cookie)]);
    send(address, Method::GET, "/rooms", &headers, "").await.is_problem(401);
}

/// The answer to a request that goes on until the server ends it. The head has been read.
async fn open(address: SocketAddr, path: &str, headers: &[(&str, String)]) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n{headers}\r\n").as_bytes()).await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(within(stream.read_line(&mut head)).await.unwrap() > 0, "{head}");
    }
    assert!(head.contains(" 200 "), "{head}");
    stream
}

/// Whether an answer ends soon. A sign of life of a tail comes every ten seconds.
async fn ends(stream: &mut BufReader<TcpStream>) -> bool {
    tokio::time::timeout(Duration::from_secs(8), stream.read_to_string(&mut String::new())).await.is_ok()
}

#[tokio::test]
async fn a_live_tail_ends_with_its_session_or_its_token() {
    let server = guarded("").await;
    let address = server.admin_address();
    let browser = Browser::signed_in(address, TOKEN).await;
    let other = Browser::signed_in(address, TOKEN).await;
    let token = [("authorization", format!("Bearer {TOKEN}"))];
    let mut of_browser = open(address, "/tail", &browser.headers()).await;
    let mut of_other = open(address, "/tail", &other.headers()).await;
    let mut of_program = open(address, "/tail", &token).await;
    assert_eq!(browser.ask(Method::DELETE, "/session", "").await.status, 200);
    assert!(ends(&mut of_browser).await, "it signed out");
    // The same token, read again, ends nothing.
    server.send_sighup();
    server.wait_for_log("reloaded").await;
    let mut ana = joined(&server, "lobby", "ana").await;
    ana.expect_reply("say on", "on").await;
    for tail in [&mut of_other, &mut of_program] {
        let mut line = String::new();
        within(tail.read_line(&mut line)).await.unwrap();
        assert!(line.contains("id-ana"), "{line}");
    }
    fs::write(server.directory.path().join("admin.token"), OTHER_TOKEN).unwrap();
    server.send_sighup();
    assert!(ends(&mut of_other).await && ends(&mut of_program).await, "another token is required");
}

/// A proxy before the server could use the one, and the server the other.
#[tokio::test]
async fn headers_of_the_admin_listener_that_must_be_single_are_refused_twice() {
    let server = guarded("").await;
    let browser = Browser::signed_in(server.admin_address(), TOKEN).await;
    let own = browser.origin.trim_start_matches("http://");
    for (name, second) in [
        ("host", own),
        ("host", "evil.example"),
        ("origin", "https://evil.example"),
        ("origin", &*browser.origin),
        ("sec-fetch-site", "cross-site"),
        ("dormouse-session", &*browser.value),
        ("dormouse-operator", "Eve"),
    ] {
        let mut headers = browser.headers();
        headers.extend([
            ("host", own.to_owned()),
            ("dormouse-operator", "Robin".to_owned()),
            (name, second.to_owned()),
        ]);
        let answer = send(browser.address, Method::GET, "/rooms", &headers, "").await;
        answer.is_problem(400);
        assert!(answer.json()["detail"].as_str().unwrap().contains(&format!("`{name}`")), "{answer:?}");
    }
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    let ask = async |headers: &[(&str, String)]| send(browser.address, Method::GET, "/rooms", headers, "").await;
    ask(&[bearer(TOKEN), bearer(OTHER_TOKEN)]).await.is_problem(400);
    ask(&[bearer(&format!("{OTHER_TOKEN}, Bearer {TOKEN}"))]).await.is_problem(400);
    // A proxy may ask for its own password beside the token. A browser may have an older cookie too.
    assert_eq!(ask(&[("authorization", "Basic eDp5".into()), bearer(TOKEN)]).await.status, 200);
    let name = browser.cookie.split('=').next().unwrap();
    let cookies = format!("{name}=older; {}", browser.cookie);
    assert_eq!(ask(&browser.but(&[("cookie", &cookies)])).await.status, 200);
}

#[tokio::test]
async fn without_a_token_the_dashboard_has_a_session_and_other_pages_have_none() {
    let server = Server::with(ADMIN).await;
    let address = server.admin_address();
    let nobody = Browser::at(address);
    assert_eq!(nobody.ask(Method::GET, "/session", "").await.json(), json!({ "signedIn": false, "token": false }));
    nobody.ask(Method::GET, "/rooms", "").await.is_problem(401);
    let browser = Browser::signed_in(address, "").await;
    assert_eq!(browser.ask(Method::GET, "/rooms", "").await.status, 200);
    assert_eq!(admin(&server, Method::GET, "/rooms", "").await.status, 200, "a program needs nothing");
    for elsewhere in [
        &[("origin", "https://evil.example"), ("sec-fetch-site", "")][..],
        &[("origin", ""), ("sec-fetch-site", "cross-site")],
    ] {
        send(address, Method::GET, "/rooms", &browser.but(elsewhere), "").await.is_problem(403);
    }
    let rebound = [("host", "evil.example"), ("origin", "http://evil.example"), ("content-type", "application/json")];
    patiently(address, Method::POST, "/session", &rebound, "{}").await.is_problem(421);
    patiently(address, Method::GET, "/", &[("host", "evil.example")], "").await.is_problem(421);
}

#[tokio::test]
async fn the_page_needs_no_token_and_nothing_from_elsewhere() {
    let server = guarded("").await;
    let address = server.admin_address();
    let page = patiently(address, Method::GET, "/", &[], "").await;
    assert_eq!(page.status, 200, "{page:?}");
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    let sources = text.split('"').filter(|part| part.starts_with("dashboard/")).collect::<Vec<_>>();
    assert!(sources.len() >= 5, "{text}");
    assert!(!text.contains("//") && !text.contains("style=") && !text.contains(" on"), "{text}");
    for path in sources.iter().map(|path| format!("/{path}")).chain(["/".into()]) {
        let file = patiently(address, Method::GET, &path, &[("sec-fetch-site", "same-origin")], "").await;
        assert_eq!(file.status, 200, "{path}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(file.header(name), value, "{path}");
        }
        let policy = file.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        let tag = file.header("etag").to_owned();
        let again = patiently(address, Method::GET, &path, &[("if-none-match", &tag)], "").await;
        assert!(again.status == 304 && again.body.is_empty(), "{path}: {again:?}");
        // A link may lead here; a page of another origin may not load it.
        let elsewhere = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "script")];
        patiently(address, Method::GET, &path, &elsewhere, "").await.is_problem(403);
        patiently(address, Method::POST, &path, &[], "").await.is_problem(405);
        let public = server.get(&path).await;
        assert!(path == "/" || public.status == 404 || path.ends_with("favicon.svg"), "{path}: {public:?}");
    }
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(patiently(address, Method::GET, "/", &link, "").await.status, 200);
    for path in ["/dashboard", "/dashboard/", "/dashboard/../index.html", "/dashboard/%2e%2e/app.js", "/app.js"] {
        patiently(address, Method::GET, path, &[], "").await.is_problem(401);
    }
    // Other answers are no pages.
    let browser = Browser::signed_in(address, TOKEN).await;
    let answer = browser.ask(Method::GET, "/rooms", "").await;
    assert_eq!(answer.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
    assert_eq!([answer.header("cache-control"), answer.header("x-content-type-options")], ["no-store", "nosniff"]);
}

#[tokio::test]
async fn the_overview_counts_what_happens_and_keeps_a_history() {
    let server = Server::unruly(&format!("hibernate_after = \"1h\"\n{ADMIN}")).await;
    let overview = async |query: &str| {
        let answer = admin(&server, Method::GET, &format!("/overview{query}"), "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let mut clients = [joined(&server, "lobby", "ana").await, joined(&server, "lobby", "bo").await];
    clients[0].send("panic").await;
    clients[0].recv_text().await;
    for _ in 0..10 {
        clients[0].expect_reply("put key value; timer 1000000 later; say done", "done").await;
    }
    let rooms = admin(&server, Method::GET, "/rooms?sort=messages", "").await.json()["rooms"].clone();
    assert_eq!(rooms[0]["awakeBecause"][0]["reason"], "timer", "{rooms}");
    let seen = overview("").await;
    let count = |key: &str| seen[key].as_u64().unwrap_or_else(|| panic!("{key}: {seen}"));
    assert_eq!([count("sockets"), count("awakeRooms"), count("rooms")], [2, 1, 1]);
    assert_eq!(count("messagesIn"), 11);
    assert!(count("messagesOut") >= 12 && count("turns") >= 12, "{seen}");
    assert!(count("memoryBytes") > 1 << 20 && count("memoryBytes") < count("mostMemoryBytes"), "{seen}");
    assert!(count("diskBytes") > 0 && seen["cpuSeconds"].as_f64().unwrap() > 0.0, "{seen}");
    assert_eq!([&seen["ready"], &seen["notReadyBecause"]], [&json!(true), &Value::Null]);
    assert_eq!(seen["failures"], json!([{ "cause": "trap", "count": 1 }]));
    assert_eq!(seen["limitsMet"], json!([]));
    let commit = &seen["latency"]["commit"];
    assert!(commit["count"].as_u64().unwrap() >= 10, "{seen}");
    assert!(commit["p50"].as_f64().unwrap() > 0.0 && commit["p99"].as_f64() >= commit["p50"].as_f64(), "{seen}");

    // The next sample has all of it.
    let all = within(async {
        loop {
            let seen = overview("").await;
            if !seen["history"]["at"].as_array().unwrap().is_empty() {
                break seen;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let history = &all["history"];
    let lines = history.as_object().unwrap();
    assert!(lines.len() >= 10 && lines.values().all(|line| line.as_array().unwrap().len() == 1), "{history}");
    assert_eq!([&history["sockets"][0], &history["awakeRooms"][0]], [&json!(2), &json!(1)]);
    assert!(history["messagesIn"][0].as_f64().unwrap() > 1.0 && history["turnP99"][0].as_f64().is_some(), "{history}");
    let last = history["at"][0].as_u64().unwrap();
    assert_eq!(overview(&format!("?since={last}")).await["history"]["at"], json!([]));
    admin(&server, Method::GET, "/overview?since=yesterday", "").await.is_problem(400);
}
