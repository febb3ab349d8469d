//! Server-sent events: the same messages for clients without a WebSocket.

use serde_json::json;

use crate::harness::{BASE, Event, Server};
use hyper::Method;

/// An address in the API, as a user of dev auth.
fn api_path(path: &str, name: &str) -> String {
    format!("{BASE}{path}?token=id-{name}:{name}")
}

/// The number in the id of an event. The incarnation of the history follows behind a dot.
fn seq(event: &Event) -> Option<&str> {
    event.id.as_deref().map(|id| id.split_once('.').expect("a chat room names its incarnation").0)
}

#[tokio::test]
async fn an_event_stream_sends_the_history_and_then_new_messages() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    ana.send_chat("before").await;
    assert_eq!(ana.recv_content().await, "before");

    let mut bo = server.open_event_stream(&api_path("/rooms/lobby/events", "bo"), &[]).await.expect("it lets us in");
    assert_eq!(bo.header("content-type"), "text/event-stream");
    assert_eq!(bo.header("cache-control"), "no-store");
    let history = bo.recv().await;
    assert_eq!((history.json()["type"].as_str(), seq(&history)), (Some("history"), Some("1")));
    assert_eq!(history.json()["messages"][0]["content"], "before");
    assert_eq!(ana.recv_type("user_joined").await["userId"], "id-bo");

    ana.send_chat("after").await;
    let message = bo.recv().await;
    assert_eq!((message.json()["message"]["content"].as_str(), seq(&message)), (Some("after"), Some("2")));
    ana.send(r#"{"type":"typing"}"#).await;
    let typing = bo.recv().await;
    assert_eq!((typing.json()["type"].as_str(), typing.id), (Some("typing"), None), "it has no place in the history");
}

#[tokio::test]
async fn a_resumed_event_stream_sends_only_missed_messages() {
    let server = Server::start().await;
    for content in ["one", "two", "three"] {
        let body = json!({ "content": content }).to_string();
        assert_eq!(server.api(Method::POST, "/rooms/lobby/messages", "ana", &body).await.status, 200);
    }
    let mut bo = server
        .open_event_stream(&api_path("/rooms/lobby/events", "bo"), &[("last-event-id", "2")])
        .await
        .expect("it lets us in");
    let history = bo.recv().await;
    assert_eq!((history.json()["resumed"].as_bool(), seq(&history)), (Some(true), Some("3")));
    assert_eq!(history.json()["messages"].as_array().map(Vec::len), Some(1));
    let nothing_new = api_path("/rooms/lobby/events", "cy") + "&since=3";
    let mut cy = server.open_event_stream(&nothing_new, &[]).await.expect("it lets us in");
    let history = cy.recv().await;
    assert_eq!((history.json()["resumed"].as_bool(), history.id), (Some(true), None));
}

#[tokio::test]
async fn an_event_id_of_another_incarnation_starts_over() {
    let server = Server::start().await;
    for content in ["one", "two", "three"] {
        let body = json!({ "content": content }).to_string();
        assert_eq!(server.api(Method::POST, "/rooms/lobby/messages", "ana", &body).await.status, 200);
    }
    let mut bo = server.open_event_stream(&api_path("/rooms/lobby/events", "bo"), &[]).await.expect("it lets us in");
    let history = bo.recv().await;
    let incarnation = history.json()["incarnation"].as_str().expect("a string").to_owned();
    assert_eq!(history.id, Some(format!("3.{incarnation}")));
    for (id, resumed, messages) in
        [(format!("2.{incarnation}"), true, 1), ("2.0f".into(), false, 3), ("2".into(), true, 1)]
    {
        let mut bo = server
            .open_event_stream(&api_path("/rooms/lobby/events", "bo"), &[("last-event-id", &id)])
            .await
            .expect("let in");
        let history = bo.recv().await.json();
        assert_eq!(
            (history["resumed"].as_bool(), history["messages"].as_array().map(Vec::len)),
            (Some(resumed), Some(messages)),
            "{id}"
        );
    }
}

#[tokio::test]
async fn the_id_of_an_event_returns_when_its_reader_reconnects() {
    let server = Server::unruly("").await;
    let events = api_path("/rooms/lobby/events", "bo") + "&command=resume";
    let mut bo = server.open_event_stream(&events, &[]).await.expect("it lets us in");
    let first = bo.recv().await;
    assert_eq!((first.data.as_str(), first.id.as_deref()), ("after nothing", Some("first")));
    let mut ana = server.join("lobby", "ana").await;
    assert_eq!(ana.recv_text().await, "welcome");
    ana.send("all-with-id draft~2!x hello").await;
    assert_eq!(ana.recv_text().await, "hello", "a WebSocket does not carry the id");
    let hello = bo.recv().await;
    assert_eq!((hello.data.as_str(), hello.id.as_deref()), ("hello", Some("draft~2!x")));
    drop(bo);
    let mut bo = server.open_event_stream(&events, &[("last-event-id", "draft~2!x")]).await.expect("it lets us in");
    assert_eq!(bo.recv().await.data, "after draft~2!x");
}

#[tokio::test]
async fn the_host_takes_no_event_id_from_the_text_of_a_message() {
    let server = Server::unruly("").await;
    let mut bo = server.open_event_stream(&api_path("/rooms/lobby/events", "bo"), &[]).await.expect("it lets us in");
    assert_eq!(bo.recv().await.data, "welcome");
    for text in [r#"{"type":"message","message":{"seq":7}}"#, r#"{"messages":[{"seq":7}],"incarnation":"0f"}"#] {
        let answer = server.api(Method::POST, "/rooms/lobby/messages", "ana", &format!("all {text}")).await;
        assert_eq!(answer.status, 200);
        let event = bo.recv().await;
        assert_eq!((event.data.as_str(), event.id), (text, None));
    }
}

#[tokio::test]
async fn a_closed_event_stream_leaves_the_presence_list() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    let bo = server.open_event_stream(&api_path("/rooms/lobby/events", "bo"), &[]).await.expect("it lets us in");
    ana.recv_type("user_joined").await;
    drop(bo);
    assert_eq!(ana.recv_type("user_left").await["userId"], "id-bo");
}

#[tokio::test]
async fn an_event_stream_survives_hibernation_and_stays_present() {
    let server = Server::with("hibernate_after = \"100ms\"").await;
    let mut bo = server.open_event_stream(&api_path("/presence/events", "bo"), &[]).await.expect("it lets us in");
    assert_eq!(bo.recv().await.json()["type"], "presence_list");
    server.wait_until_all_hibernate().await;
    let busy = server.api(Method::POST, "/presence/update", "bo", r#"{"status":"busy"}"#).await;
    assert_eq!(busy.status, 200);
    let update = bo.recv().await.json();
    assert_eq!((update["user"]["status"].as_str(), update["user"]["connections"].as_u64()), (Some("busy"), Some(1)));
}

#[tokio::test]
async fn a_message_resent_over_http_is_stored_once() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    ana.send(r#"{"type":"message","content":"once","clientId":"c1"}"#).await;
    let stored = ana.recv_type("message").await["message"].clone();
    let body = r#"{"content":"once","clientId":"c1"}"#;
    let again = server.api(Method::POST, "/rooms/lobby/messages", "ana", body).await.json();
    assert_eq!(again["message"], stored);
    let all = server.api(Method::GET, "/rooms/lobby/messages", "ana", "").await.json();
    assert_eq!(all["messages"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_quiet_event_stream_sends_keep_alives() {
    let server = Server::with("[limits]\nping_every = \"200ms\"").await;
    let mut bo = server.open_event_stream(&api_path("/rooms/lobby/events", "bo"), &[]).await.expect("it lets us in");
    assert_eq!(bo.recv().await.json()["type"], "history");
    for _ in 0..3 {
        assert_eq!(bo.recv_block().await.as_deref(), Some(": ping"));
    }
}

#[tokio::test]
async fn a_shutdown_ends_event_streams_with_a_goodbye() {
    let mut server = Server::start().await;
    let mut bo = server.open_event_stream(&api_path("/rooms/lobby/events", "bo"), &[]).await.expect("it lets us in");
    bo.recv().await;
    server.send_sigterm();
    let Event { name, data, .. } = bo.recv().await;
    assert_eq!(name.as_deref(), Some("close"));
    assert!(data.starts_with(r#"{"code":1001,"reason":"server going away; retry-after="#), "{data}");
    assert_eq!(bo.recv_block().await, None, "and the stream ends");
    assert!(server.wait_for_exit().await.success());
}

#[tokio::test]
async fn a_refused_event_stream_says_why() {
    let server = Server::start().await;
    server.get(&format!("{BASE}/rooms/lobby/events")).await.is_problem(401);
    let refused = server.open_event_stream(&(api_path("/rooms/lobby/events", "bo") + "&since=many"), &[]).await.err();
    refused.expect("the room turns it down").is_problem(400);
    let wrong = server.api(Method::POST, "/rooms/lobby/events", "bo", "").await;
    wrong.is_problem(405);
    assert_eq!(wrong.header("allow"), "GET, HEAD, OPTIONS");
    // A request for a WebSocket without an upgrade still gets 426, whatever it accepts.
    let headers = [("accept", "text/event-stream"), ("authorization", "Bearer id-bo:bo")];
    server.request(Method::GET, &format!("{BASE}/rooms/lobby/ws"), &headers, "").await.is_problem(426);
}
