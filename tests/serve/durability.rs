//! State that survives the end of the process.

use std::time::Duration;

use hyper::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{BASE, Wasmtime, request, within};

#[tokio::test]
async fn acknowledged_and_received_posts_survive_kill_9() {
    let mut wasmtime = Wasmtime::start().await;
    let (mut acknowledged, mut received) = (Vec::new(), Vec::new());
    for round in 1..=3 {
        let mut reader = wasmtime.open_chat_events("lobby", "ana").await;
        reader.recv_type("history").await;
        let listening = tokio::spawn(async move {
            let mut received = Vec::new();
            while let Some(event) = reader.next().await {
                if event.data["type"] == "message" {
                    received.push(event.data["message"]["seq"].as_u64().unwrap());
                }
            }
            received
        });
        let mut posts = JoinSet::new();
        let address = wasmtime.address;
        for number in 0..10 {
            posts.spawn(async move {
                let mut seqs = Vec::new();
                let authorization = format!("Bearer {number}:user");
                let path = format!("{BASE}/rooms/lobby/messages");
                let body = json!({ "content": format!("{round} {number}") }).to_string();
                let headers = [("authorization", authorization.as_str())];
                while let Some(answer) = request(address, Method::POST, &path, &headers, &body).await {
                    if answer.status == 200 {
                        seqs.push(answer.json()["message"]["seq"].as_u64().unwrap());
                    } else {
                        answer.is_problem(503);
                    }
                }
                seqs
            });
        }
        // Amid posts: some are there, and some are on their way.
        within(async {
            while wasmtime.stored_seqs("lobby").await.len() < round * 40 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        wasmtime.kill();
        acknowledged.extend(posts.join_all().await.concat());
        received.extend(listening.await.unwrap());
        wasmtime = wasmtime.crash_and_restart().await;
    }
    let stored = wasmtime.stored_seqs("lobby").await;
    assert_eq!(stored, (1..=stored.len() as u64).collect::<Vec<_>>(), "there is no gap");
    assert!(acknowledged.len() > 60 && received.len() > 60, "{} {}", acknowledged.len(), received.len());
    for number in acknowledged.iter().chain(&received) {
        assert!(stored.contains(number), "{number} is gone");
    }
    let mut seqs = acknowledged.clone();
    seqs.sort();
    seqs.dedup();
    assert_eq!(seqs.len(), acknowledged.len(), "no number was given twice");
}

#[tokio::test]
async fn readers_of_a_killed_server_leave_the_presence_list() {
    let wasmtime = Wasmtime::start().await;
    let mut ana = wasmtime.open_event_stream("/presence/events", "ana", &[]).await;
    ana.recv_type("presence_list").await;
    let wasmtime = wasmtime.crash_and_restart().await;
    let mut bo = wasmtime.open_event_stream("/presence/events", "bo", &[]).await;
    // On a busy machine the restart takes longer than a reader's lease: then she is off the list already.
    let listed = bo.recv_type("presence_list").await;
    if listed["users"].as_array().unwrap().len() == 2 {
        assert_eq!(bo.recv_type("presence_remove").await["userId"], "id-ana");
    }
    let listed = wasmtime.api(Method::GET, "/presence/list", "bo", "").await.json();
    assert_eq!(listed["users"].as_array().unwrap().len(), 1, "{listed}");
}
