//! How a client gets into a room, and what it receives first.

use futures_util::future::join_all;
use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{BASE, Client, Server};

fn contents(history: &Value) -> Vec<&str> {
    history["messages"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect()
}

async fn join_since(server: &Server, seq: u64) -> Client {
    server.connect(&format!("{BASE}/rooms/lobby/ws?since={seq}&token=1:ana"), &[]).await.unwrap()
}

#[tokio::test]
async fn a_client_receives_the_history_first() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    let history = ana.recv().await;
    let incarnation = history["incarnation"].as_str().expect("a string");
    assert_eq!(history, json!({ "type": "history", "messages": [], "incarnation": incarnation }));
    for number in 0..60 {
        ana.send_chat(&number.to_string()).await;
    }
    for _ in 0..60 {
        ana.recv_content().await;
    }
    let history = server.join("lobby", "bo").await.recv().await;
    assert_eq!(history["type"], "history");
    assert_eq!(contents(&history), (10..60).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_that_reconnects_receives_only_missed_messages() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    for content in ["one", "two", "three"] {
        ana.send_chat(content).await;
        ana.recv_content().await;
    }
    let history = join_since(&server, 1).await.recv().await;
    assert_eq!((contents(&history), &history["resumed"]), (vec!["two", "three"], &json!(true)));
    let history = join_since(&server, 3).await.recv().await;
    assert_eq!((contents(&history), &history["resumed"]), (vec![], &json!(true)));
    let history = join_since(&server, 9).await.recv().await;
    assert_eq!((contents(&history), &history["resumed"]), (vec!["one", "two", "three"], &json!(false)));
    for bad in ["x", "%zz", "", "-1"] {
        let refused = server.connect(&format!("{BASE}/rooms/lobby/ws?since={bad}&token=1:ana"), &[]).await;
        refused.err().unwrap().is_problem(400);
    }
}

#[tokio::test]
async fn a_join_is_announced_once_for_each_user_and_not_for_each_tab() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    let bo = server.join("lobby", "bo").await;
    let bo_again = server.join("lobby", "bo").await;
    let joined = ana.recv_type("user_joined").await;
    assert_eq!((&joined["userId"], &joined["userName"]), (&json!("id-bo"), &json!("bo")));
    bo.close().await;
    bo_again.close().await;
    // The next thing she receives is that bo left: neither the second tab's coming nor the first one's going.
    assert_eq!(ana.recv().await["type"], "user_left");
}

#[tokio::test]
async fn typing_is_announced_only_to_the_others() {
    let server = Server::start().await;
    let (mut ana, mut bo) = (server.join("lobby", "ana").await, server.join("lobby", "bo").await);
    ana.recv_type("user_joined").await;
    ana.send(r#"{"type":"typing"}"#).await;
    assert_eq!(bo.recv_type("typing").await, json!({ "type": "typing", "userId": "id-ana", "userName": "ana" }));
    ana.send_chat("done").await;
    assert_eq!(ana.recv().await["type"], "message");
}

#[tokio::test]
async fn presence_is_per_user_and_ends_with_the_last_tab() {
    let server = Server::start().await;
    let mut ana = server.join_presence("team", "ana").await;
    assert_eq!(ana.recv_type("presence_list").await["users"][0]["userId"], "id-ana");
    let bo = server.join_presence("team", "bo").await;
    assert_eq!(ana.recv_type("presence_update").await["user"]["userId"], "id-bo");
    let mut bo_again = server.join_presence("team", "bo").await;
    assert_eq!(bo_again.recv_type("presence_list").await["users"].as_array().unwrap().len(), 2);
    assert_eq!(ana.recv_type("presence_update").await["user"]["connections"], 2);
    bo.close().await;
    assert_eq!(ana.recv_type("presence_update").await["user"]["connections"], 1);
    bo_again.send(r#"{"type":"status","status":"away"}"#).await;
    let update = ana.recv_type("presence_update").await;
    assert_eq!((&update["user"]["status"], &update["user"]["connections"]), (&json!("away"), &json!(1)));
    bo_again.close().await;
    assert_eq!(ana.recv_type("presence_remove").await["userId"], "id-bo");
}

#[tokio::test]
async fn a_missing_user_is_removed_and_a_connected_one_stays() {
    let config = "[limits]\nping_every = \"500ms\"\npong_timeout = \"5s\"\nclose_timeout = \"200ms\"\n";
    let server = Server::with(config).await;
    let mut ana = server.join_presence("team", "ana").await;
    ana.recv_type("presence_list").await;
    // This client does not read, as after a cable was pulled.
    let ghost = server.join_presence("team", "bo").await;
    assert_eq!(ana.recv_type("presence_update").await["user"]["userId"], "id-bo");
    assert_eq!(ana.recv_type("presence_remove").await["userId"], "id-bo");
    drop(ghost);
    // Ana has sent nothing since she came, and her client has answered.
    let listed = server.api(Method::GET, "/presence/team/list", "eve", "").await.json();
    let users = listed["users"].as_array().unwrap().iter().map(|user| user["userId"].as_str().unwrap());
    assert_eq!(users.collect::<Vec<_>>(), ["id-ana"]);
}

#[tokio::test]
async fn concurrent_connects_meet_in_one_room() {
    let server = Server::start().await;
    let mut clients = join_all((0..20).map(|number| server.join_later("new", number))).await;
    server.api(Method::POST, "/rooms/new/messages", "zoe", r#"{"content":"all here"}"#).await;
    for client in &mut clients {
        assert_eq!(client.recv_content().await, "all here");
    }
}

impl Server {
    async fn join_later(&self, room: &str, number: usize) -> Client {
        self.join(room, &format!("u{number}")).await
    }
}
