//! Readers: the messages and events that they get.

use hyper::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::Wasmtime;

#[tokio::test]
async fn a_reader_receives_the_history_and_then_new_messages() {
    let wasmtime = Wasmtime::start().await;
    wasmtime.post("lobby", "bo", "before").await;
    let mut ana = wasmtime.open_chat_events("lobby", "ana").await;
    assert_eq!(ana.headers["content-type"], "text/event-stream");
    assert_eq!(
        (&ana.headers["cache-control"], &ana.headers["x-accel-buffering"]),
        (&"no-store".parse().unwrap(), &"no".parse().unwrap())
    );
    let history = ana.next().await.unwrap();
    let incarnation = history.data["incarnation"].as_str().unwrap().to_owned();
    assert_eq!((history.kind, history.id), (None, Some(format!("1.{incarnation}"))));
    assert_eq!((&history.data["type"], &history.data["messages"][0]["content"]), (&json!("history"), &json!("before")));
    let body = json!({ "content": "now" }).to_string();
    let posted = wasmtime.api(Method::POST, "/rooms/lobby/messages", "bo", &body).await.json();
    let received = ana.next().await.unwrap();
    assert_eq!(received.id, Some(format!("2.{incarnation}")));
    assert_eq!(received.data, json!({ "type": "message", "message": posted["message"] }));
}

#[tokio::test]
async fn a_reader_that_reconnects_receives_only_missed_messages() {
    let wasmtime = Wasmtime::start().await;
    wasmtime.post("lobby", "bo", "1").await;
    let mut ana = wasmtime.open_chat_events("lobby", "ana").await;
    let incarnation = ana.recv_type("history").await["incarnation"].as_str().unwrap().to_owned();
    wasmtime.post("lobby", "bo", "2").await;
    assert_eq!(ana.recv_seq().await, 2);
    drop(ana);
    wasmtime.post("lobby", "bo", "3").await;
    wasmtime.post("lobby", "bo", "4").await;
    let other = ("last-event-id", "2.0f");
    let mut began_anew = wasmtime.open_event_stream("/rooms/lobby/events", "ana", &[other]).await;
    assert_eq!(began_anew.recv_type("history").await["resumed"], false);
    drop(began_anew);
    let last = format!("2.{incarnation}");
    let mut ana = wasmtime.open_event_stream("/rooms/lobby/events", "ana", &[("last-event-id", &last)]).await;
    let missed = ana.next().await.unwrap();
    let numbers = missed.data["messages"].as_array().unwrap().iter().map(|message| message["seq"].as_u64().unwrap());
    assert_eq!((numbers.collect::<Vec<_>>(), &missed.data["resumed"]), (vec![3, 4], &json!(true)));
    assert_eq!(missed.id, Some(format!("4.{incarnation}")));
    wasmtime.post("lobby", "bo", "5").await;
    assert_eq!(ana.recv_seq().await, 5);
    let mut again = wasmtime.open_event_stream("/rooms/lobby/events?since=4", "ana", &[]).await;
    assert_eq!(again.recv_type("history").await["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn all_clients_receive_the_same_order_without_a_gap() {
    let wasmtime = std::sync::Arc::new(Wasmtime::start().await);
    let mut readers = Vec::new();
    for name in ["ana", "bo", "cy"] {
        let mut reader = wasmtime.open_chat_events("lobby", name).await;
        reader.recv_type("history").await;
        readers.push(reader);
    }
    let mut posts = JoinSet::new();
    for number in 0..60 {
        let wasmtime = wasmtime.clone();
        posts.spawn(async move { wasmtime.post("lobby", "dee", &format!("{number}")).await });
    }
    posts.join_all().await;
    for reader in &mut readers {
        for expected in 1..=60 {
            assert_eq!(reader.recv_seq().await, expected);
        }
    }
}

#[tokio::test]
async fn joins_and_leaves_are_announced_once_per_user() {
    let wasmtime = Wasmtime::start().await;
    let mut ana = wasmtime.open_chat_events("lobby", "ana").await;
    ana.recv_type("history").await;
    let mut tabs = [wasmtime.open_chat_events("lobby", "bo").await, wasmtime.open_chat_events("lobby", "bo").await];
    for tab in &mut tabs {
        tab.recv_type("history").await;
    }
    assert_eq!(ana.recv_type("user_joined").await["userId"], "id-bo");
    let [first, second] = tabs;
    drop(first);
    wasmtime.post("lobby", "cy", "one tab is left").await;
    drop(second);
    let received = [ana.recv().await, ana.recv().await].map(|received| received["type"].clone());
    assert_eq!(received, ["message", "user_left"]);
}

#[tokio::test]
async fn presence_lists_a_reader_until_it_leaves() {
    let wasmtime = Wasmtime::start().await;
    let mut ana = wasmtime.open_event_stream("/presence/events", "ana", &[]).await;
    let list = ana.next().await.unwrap();
    assert_eq!((list.id, &list.data["type"]), (None, &json!("presence_list")));
    let mut bo = wasmtime.open_event_stream("/presence/events", "bo", &[]).await;
    bo.recv_type("presence_list").await;
    assert_eq!(ana.recv_type("presence_update").await["user"]["userId"], "id-bo");
    wasmtime.api(Method::POST, "/presence/update", "bo", r#"{"status":"busy"}"#).await;
    assert_eq!(ana.recv_type("presence_update").await["user"]["status"], "busy");
    drop(bo);
    assert_eq!(ana.recv_type("presence_remove").await["userId"], "id-bo");
    let listed = wasmtime.api(Method::GET, "/presence/list", "ana", "").await.json();
    assert_eq!(listed["users"].as_array().unwrap().len(), 1, "{listed}");
}
