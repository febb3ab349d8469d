//! Refusals, and their texts.

use hyper::Method;

use crate::harness::{BASE, Wasmtime};

#[tokio::test]
async fn a_websocket_request_is_refused_with_an_alternative() {
    let wasmtime = Wasmtime::start().await;
    for path in ["/rooms/lobby/ws", "/presence/ws"] {
        let answer = wasmtime.api(Method::GET, path, "ana", "").await;
        answer.is_problem(426);
        assert!(answer.json()["detail"].as_str().unwrap().contains("/events"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_host_name_other_than_loopback_is_refused() {
    let wasmtime = Wasmtime::start().await;
    for host in ["evil.example", "evil.example:8080", "localhost.evil"] {
        let path = format!("{BASE}/rooms/lobby/messages?token=1:ana");
        wasmtime.request(Method::GET, &path, &[("host", host)], "").await.is_problem(403);
    }
}

#[tokio::test]
async fn a_refused_reader_gets_a_reason_and_leaves_nothing() {
    let wasmtime = Wasmtime::start().await;
    wasmtime.api(Method::GET, "/rooms/lobby/events?since=x", "ana", "").await.is_problem(400);
    wasmtime.api(Method::GET, "/rooms/a%00b/events", "ana", "").await.is_problem(400);
    let foreign = [("origin", "https://evil.example"), ("authorization", "Bearer 1:ana")];
    wasmtime.request(Method::GET, &format!("{BASE}/rooms/lobby/events"), &foreign, "").await.is_problem(403);
    let mut bo = wasmtime.open_chat_events("lobby", "bo").await;
    bo.recv_type("history").await;
    wasmtime.post("lobby", "cy", "only bo hears this").await;
    assert_eq!(bo.recv().await["type"], "message");
}

/// The row `wasmtime serve` of the table in docs/access.md.
#[tokio::test]
async fn every_name_reads_writes_and_is_present_and_nobody_moderates() {
    let wasmtime = Wasmtime::start().await;
    let message = "00000000-0000-4000-8000-000000000000";
    for (method, path, body, status) in [
        (Method::GET, "/rooms/lobby/messages".to_owned(), "", 200),
        (Method::POST, "/rooms/lobby/messages".to_owned(), r#"{"content":"hi"}"#, 200),
        (Method::DELETE, format!("/rooms/lobby/messages/{message}"), "", 403),
        (Method::POST, "/rooms/lobby/mutes".to_owned(), r#"{"user":"2","seconds":60}"#, 403),
    ] {
        let answer = wasmtime.api(method.clone(), &path, "ana", body).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    // Its grants would be ignored, and as a name it would be shown to everybody.
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIiwicm9vbXMiOnsicm9vbXMvKiI6W119fQ.c2ln";
    let authorization = format!("Bearer {token}");
    for path in ["/rooms/lobby/messages", "/rooms/lobby/events", "/presence/events"] {
        let path = format!("{BASE}{path}");
        wasmtime.request(Method::GET, &path, &[("authorization", &authorization)], "").await.is_problem(401);
        wasmtime.request(Method::GET, &format!("{path}?token={token}"), &[], "").await.is_problem(401);
    }
}

#[tokio::test]
async fn a_damaged_room_is_refused_and_others_go_on() {
    let wasmtime = Wasmtime::start().await;
    for number in 0..3 {
        wasmtime.post("bad", "ana", &format!("{number}")).await;
    }
    let room = wasmtime.folder.path().join("data").join("=_52_4f_4f_4d_53/=bad");
    let logs = std::fs::read_dir(&room).unwrap().map(|entry| entry.unwrap().path());
    let log = logs.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log.")).max().unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let answer = wasmtime.api(Method::GET, "/rooms/bad/messages", "ana", "").await;
    answer.is_problem(503);
    assert_eq!(wasmtime.post("good", "ana", "fine").await, 1);
}
