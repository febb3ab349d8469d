//! The admin listener: its description, its audit log, and what every path has in common.

use std::fs;
use std::io::Write as _;
use std::process::Output;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::command_line;
use crate::harness::{self, Answer, Server, within};

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

/// Sends a request to the admin listener.
pub(crate) async fn admin(server: &Server, method: Method, path: &str, body: &str) -> Answer {
    harness::request(server.admin_address(), method, path, &[], body).await
}

/// Runs a command that asks the admin listener of a server.
pub(crate) async fn command(server: &Server, args: &[&str]) -> Output {
    let url = format!("http://{}", server.admin_address());
    let args = args.iter().copied().chain(["--admin", &url]).map(String::from).collect::<Vec<_>>();
    let run = move || command_line::run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.expect("the command runs")
}

/// What a command printed on stdout, if it succeeded.
pub(crate) fn printed(output: &Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    stdout.into_owned()
}

/// Why a command failed.
pub(crate) fn failure(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn revoke(server: &Server, user: &str, operator: &str) {
    let body = json!({ "user": user }).to_string();
    let headers = [("dormouse-operator", operator)];
    let answer = harness::request(server.admin_address(), Method::POST, "/revocations", &headers, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn entries(answer: &Value) -> Vec<[String; 4]> {
    let entry = |entry: &Value| {
        ["operator", "action", "target", "from"].map(|key| entry[key].as_str().unwrap_or_default().to_owned())
    };
    answer["entries"].as_array().expect("there are entries").iter().map(entry).collect()
}

#[tokio::test]
async fn each_action_is_in_the_audit_log_and_survives_kill_9() {
    let server = Server::with(ADMIN).await;
    revoke(&server, "ana", "Robin").await;
    let server = server.crash_and_restart().await;
    revoke(&server, "bo", "B\to").await;
    let asked = admin(&server, Method::GET, "/audit", "").await.json();
    let expected = [["Robin", "revoke", "user ana", "127.0.0.1"], ["Bo", "revoke", "user bo", "127.0.0.1"]];
    assert_eq!(entries(&asked), expected);
    let last = admin(&server, Method::GET, "/audit?limit=1", "").await.json();
    assert_eq!(entries(&last), expected[1..]);

    let table = printed(&command(&server, &["audit"]).await);
    assert!(table.lines().nth(1).is_some_and(|line| line.contains("Robin") && line.contains("user ana")), "{table}");
    let shown: Value = serde_json::from_str(&printed(&command(&server, &["audit", "--json"]).await)).unwrap();
    assert_eq!(entries(&shown), expected);
}

#[tokio::test]
async fn the_audit_log_has_the_outcome_of_each_action() {
    if crate::HAS_DATABASE {
        return; // backups are its own
    }
    let server = Server::with(ADMIN).await;
    revoke(&server, "ana", "Robin").await;
    let remove = async |user: &str| {
        let body = json!({ "user": user }).to_string();
        admin(&server, Method::DELETE, "/revocations", &body).await.status
    };
    assert_eq!((remove("ana").await, remove("ana").await), (StatusCode::OK, StatusCode::NOT_FOUND));
    printed(&command(&server, &["backup", server.directory.path().join("copy").to_str().unwrap()]).await);
    // An entry without an outcome, as a crash or an older version leaves it.
    let line = json!({ "time": "2026-01-01T00:00:00Z", "action": "revoke", "target": "user bo" });
    let mut log = fs::OpenOptions::new().append(true).open(server.data().join("audit.log")).unwrap();
    log.write_all(format!("{line}\n").as_bytes()).unwrap();

    let outcomes = |answer: &Value| {
        let of = |entry: &Value| {
            format!("{} {}", entry["outcome"].as_str().unwrap(), entry["reason"].as_str().unwrap_or(""))
        };
        answer["entries"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    // That of the backup is written behind its last byte.
    let all = ["done ", "done ", "failed 404 Not Found", "done ", "unknown "];
    within(async { while outcomes(&admin(&server, Method::GET, "/audit", "").await.json()) != all {} }).await;
    let last = admin(&server, Method::GET, "/audit?limit=3", "").await.json();
    assert_eq!(outcomes(&last), ["failed 404 Not Found", "done ", "unknown "]);
    let table = printed(&command(&server, &["audit"]).await);
    assert!(table.lines().nth(3).is_some_and(|line| line.contains("failed: 404 Not Found")), "{table}");
}

#[tokio::test]
async fn a_body_that_is_too_long_gets_its_answer_and_ends_the_connection() {
    let server = Server::with(ADMIN).await;
    let mut stream = TcpStream::connect(server.admin_address()).await.unwrap();
    let body = vec![b' '; 2 << 20];
    let head = format!("POST /revocations HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    // All of it can be sent, and then the whole answer is there, with an end and not a reset.
    within(stream.write_all(&[head.as_bytes(), &body].concat())).await.expect("it is read");
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.expect("it is not reset");
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.ends_with('}'), "{answer}");
}

#[tokio::test]
async fn an_audit_log_that_was_cut_off_goes_on() {
    let server = Server::with(ADMIN).await;
    revoke(&server, "ana", "Robin").await;
    let path = server.data().join("audit.log");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole[..], &whole[..whole.len() / 2]].concat()).unwrap();
    revoke(&server, "bo", "Robin").await;
    let targets = entries(&admin(&server, Method::GET, "/audit", "").await.json());
    assert_eq!(targets.iter().map(|entry| &entry[2]).collect::<Vec<_>>(), ["user ana", "user bo"]);
}

/// The targets of all pages, the newest first, while new entries come.
async fn audit_pages(server: &Server, limit: usize) -> Vec<String> {
    let (mut targets, mut before) = (Vec::new(), String::new());
    loop {
        let page = admin(server, Method::GET, &format!("/audit?limit={limit}{before}"), "").await.json();
        let entries = entries(&page);
        assert!(entries.len() <= limit, "{page}");
        targets.extend(entries.into_iter().rev().map(|entry| entry[2].clone()));
        assert!(targets.len() <= 100, "the pages do not end: {targets:?}");
        let Some(next) = page["next"].as_str() else { return targets };
        before = format!("&before={}", next.replace(':', "%3A"));
        revoke(server, "late", "Robin").await;
    }
}

#[tokio::test]
async fn the_audit_log_is_read_backwards_in_pages_to_its_beginning() {
    let server = Server::with(ADMIN).await;
    assert_eq!(admin(&server, Method::GET, "/audit", "").await.json(), json!({ "entries": [], "next": null }));
    let line = |number: u32| {
        let time = format!("2026-01-01T00:00:{number:02}.000Z");
        json!({ "time": time, "from": "::1", "operator": null, "action": "act", "target": number.to_string(), "detail": null })
    };
    let lines = |numbers: std::ops::Range<u32>| numbers.map(|number| format!("{}\n", line(number))).collect::<String>();
    let (older, newer) = (server.data().join("audit.log.1"), server.data().join("audit.log"));
    for limit in [1, 2, 3, 4, 7, 100] {
        fs::write(&older, lines(0..4)).unwrap();
        fs::write(&newer, lines(4..7)).unwrap();
        assert_eq!(audit_pages(&server, limit).await, ["6", "5", "4", "3", "2", "1", "0"], "pages of {limit}");
    }
    // A rotation moves the place of a cursor, and the next one removes it.
    fs::write(&newer, lines(4..7)).unwrap();
    let page = admin(&server, Method::GET, "/audit?limit=1", "").await.json();
    let behind = format!("/audit?before={}", page["next"].as_str().unwrap());
    fs::rename(&newer, &older).unwrap();
    revoke(&server, "ana", "Robin").await;
    let targets = entries(&admin(&server, Method::GET, &behind, "").await.json());
    assert_eq!(targets.iter().map(|entry| &entry[2]).collect::<Vec<_>>(), ["4", "5"]);
    fs::remove_file(&older).unwrap();
    for gone in [&behind, "/audit?before=x", "/audit?before=x@1", "/audit?before=x@-1"] {
        admin(&server, Method::GET, gone, "").await.is_problem(400);
    }
}

#[tokio::test]
async fn nothing_is_done_that_the_audit_log_cannot_hold() {
    let server = Server::with(ADMIN).await;
    fs::create_dir(server.data().join("audit.log")).unwrap();
    let answer = admin(&server, Method::POST, "/revocations", r#"{"user":"ana"}"#).await;
    answer.is_problem(500);
    assert!(answer.json()["detail"].as_str().unwrap().starts_with("nothing was done"), "{answer:?}");
    assert_eq!(
        admin(&server, Method::GET, "/revocations", "").await.json(),
        json!({ "revocations": [], "next": null })
    );
}

#[tokio::test]
async fn an_unknown_path_parameter_or_method_is_named() {
    let server = Server::with(ADMIN).await;
    for (method, path, status, detail) in [
        (Method::GET, "/nothing", 404, "nothing here"),
        (Method::GET, "/audit/", 404, "nothing here"),
        (Method::POST, "/", 405, "only GET here"),
        (Method::GET, "/audit?limits=5", 400, "the parameter `limits` is unknown here"),
        (Method::GET, "/audit?limit=0", 400, "the parameter `limit` is a number from 1 to 1000"),
        (Method::GET, "/audit?limit=5&limit=6", 400, "the parameter `limit` is given twice"),
        (Method::GET, "/%ff", 400, "the path is not percent-encoded UTF-8"),
        (Method::PUT, "/revocations", 405, "only GET, POST, DELETE here"),
        (Method::POST, "/metrics", 405, "only GET here"),
        (Method::POST, "/backup", 405, "only GET here"),
    ] {
        let answer = admin(&server, method.clone(), path, "").await;
        answer.is_problem(status);
        assert_eq!(answer.json()["detail"], detail, "{method} {path}");
    }
    let description = admin(&server, Method::GET, "/openapi.json", "").await.json();
    assert_eq!(description["openapi"], "3.1.0");
}

#[tokio::test]
async fn a_head_begins_no_backup_export_or_tail() {
    let server = Server::with(ADMIN).await;
    let message = r#"{"content":"hello"}"#;
    assert_eq!(server.api(Method::POST, "/rooms/lobby/messages", "ana", message).await.status, 200);
    for path in ["/backup", "/rooms/ROOMS/lobby/export", "/users/id-ana/export", "/tail"] {
        let refused = admin(&server, Method::HEAD, path, "").await;
        assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, "GET"), "{path}");
    }
    assert_eq!(admin(&server, Method::HEAD, "/rooms", "").await.status, 200);
    let audit = admin(&server, Method::GET, "/audit", "").await.json();
    assert_eq!(audit["entries"], json!([]), "nothing was begun");
}

#[tokio::test]
async fn a_command_says_what_it_needs_to_reach_the_server() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("dormouse.toml");
    let config = file.to_str().unwrap();
    let run = |content: &str, args: &[&str]| {
        fs::write(&file, content).unwrap();
        failure(&command_line::run(&[&["audit", "--config", config], args].concat()))
    };
    for (content, args, part) in [
        ("", &[][..], "add the section [admin]"),
        ("[admin]\nlisten = \"127.0.0.1:0\"\n", &[], "has port 0"),
        ("[admin]\nlisten = \"127.0.0.1:1\"\n", &[], "http://127.0.0.1:1 cannot be reached"),
        ("", &["--admin", "https://127.0.0.1:1"], "must begin with http://"),
        ("", &["--admin", "http://127.0.0.1:1/admin"], "write only that, such as"),
        ("", &["--admin", "http://ana:SECRET@127.0.0.1:1"], "write only that, such as"),
        ("", &["--admin", "http://127.0.0.1:1?key=SECRET"], "write only that, such as"),
        ("", &["--admin", "http://ana:SECRET"], "--admin"),
        ("", &["--admin", "http://127.0.0.1:1", "--token-file", "/nowhere"], "the token in /nowhere cannot be read"),
    ] {
        let said = run(content, args);
        assert!(said.contains(part) && !said.contains("SECRET"), "{said}");
    }

    let token = "0123456789abcdef0123456789abcdef";
    fs::write(directory.path().join("admin.token"), token).unwrap();
    let token_file = directory.path().join("admin.token").display().to_string();
    let server = Server::with(&format!("{ADMIN}token_file = {token_file:?}\n")).await;
    assert!(failure(&command(&server, &["audit"]).await).contains("name the file with --token-file"));
    printed(&command(&server, &["audit", "--token-file", &token_file]).await);
}
