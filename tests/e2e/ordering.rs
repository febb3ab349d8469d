//! Frames to one socket keep the order in which the room sent them, and numbers are dense.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Client, Server};

const SENDERS: usize = 5;
const MESSAGES: usize = 100;

/// Say many things without waiting, and receive what everybody says.
async fn chat(mut client: Client, name: String) -> Vec<(u64, String)> {
    for number in 0..MESSAGES {
        client.send_chat(&format!("{name} {number}")).await;
    }
    let mut received = Vec::new();
    while received.len() < SENDERS * MESSAGES {
        let message = client.recv_type("message").await["message"].take();
        received.push((message["seq"].as_u64().unwrap(), message["content"].as_str().unwrap().to_owned()));
    }
    received
}

#[tokio::test]
async fn all_clients_receive_the_same_order_without_a_gap() {
    let server = Server::start().await;
    let names = (0..SENDERS).map(|number| format!("u{number}"));
    let clients = join_all(names.map(async |name| (server.join("lobby", &name).await, name))).await;
    let received = join_all(clients.into_iter().map(|(client, name)| chat(client, name))).await;
    for each in &received {
        assert_eq!(each, &received[0]);
        assert_eq!(each.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=500).collect::<Vec<_>>());
    }
    let mut spoken = BTreeMap::<&str, usize>::new();
    for (_, content) in &received[0] {
        let (name, number) = content.split_once(' ').unwrap();
        let next = spoken.entry(name).or_default();
        assert_eq!(number, next.to_string(), "{name} was received out of order");
        *next += 1;
    }
}

#[tokio::test]
async fn a_turn_reads_uncommitted_writes_of_earlier_turns() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    for number in 0..300 {
        ana.send(&format!("put a {number}; put k{number} x; delete k{}", number - 1)).await;
        ana.send("get a; list k").await;
    }
    for number in 0..300 {
        ana.expect_text(&format!("a={number}")).await;
        ana.expect_text(&format!("k{number}")).await;
    }
}

#[tokio::test]
async fn a_retry_with_the_same_client_id_is_stored_once() {
    let server = Server::start().await;
    let (mut ana, mut bo) = (server.join("lobby", "ana").await, server.join("lobby", "bo").await);
    let message = json!({ "type": "message", "content": "once", "clientId": "c1" }).to_string();
    ana.send(&message).await;
    let first = ana.recv_type("message").await;
    assert_eq!(first["message"]["clientId"], "c1");
    ana.send(&message).await;
    assert_eq!(ana.recv_type("message").await, first, "the sender is sent the stored message again");
    // The same id of another user is another message.
    bo.send(&message).await;
    assert_eq!(bo.recv_type("message").await, first);
    assert_eq!(bo.recv_type("message").await["message"]["seq"], 2);
}

#[tokio::test]
async fn a_client_that_joins_late_receives_each_message_once() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    let talk = async {
        for number in 0..600 {
            ana.send_chat(&number.to_string()).await;
        }
        for _ in 0..600 {
            ana.recv_content().await;
        }
    };
    let join = async {
        for number in 0..40 {
            let mut client = server.join("lobby", &format!("u{number}")).await;
            let history = client.recv().await;
            let mut last =
                history["messages"].as_array().unwrap().last().map_or(0, |last| last["seq"].as_u64().unwrap());
            while last < 600 {
                let seq = client.recv_type("message").await["message"]["seq"].as_u64().unwrap();
                assert_eq!(seq, last + 1, "after {last}");
                last = seq;
                if seq % 10 == 0 {
                    break;
                }
            }
        }
    };
    tokio::join!(talk, join);
}
