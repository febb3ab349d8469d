//! Clients of any node talk in any room.

use std::time::Duration;

use hyper::Method;
use serde_json::json;

use crate::harness::{BASE, within};
use crate::nodes::{Balanced, CONFIG, Nodes, UNRULY, metric};
use crate::seeds::{random_choices, seed};
use crate::workload::Workload;
use rand::Rng;

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_all_nodes_talk_in_one_room() {
    let nodes = Nodes::start(3, CONFIG).await;
    let mut clients = Vec::new();
    for (index, name) in ["ana", "bo", "cy"].into_iter().enumerate() {
        let mut client = nodes.node(index).join("lobby", name).await;
        client.recv_type("history").await;
        clients.push(client);
    }
    for number in 0..30 {
        let content = format!("message {number}");
        clients[number % 3].send_chat(&content).await;
        for client in &mut clients {
            assert_eq!(client.recv_content().await, content);
        }
    }
    let owners = within(nodes.database.admin().await.query("SELECT DISTINCT owner FROM dormouse.rooms", &[])).await;
    assert_eq!(owners.unwrap().len(), 1, "one node runs the room");
    // A socket that leaves at one node is gone for the room at another.
    let mut left = clients.remove(0);
    crate::nodes::Closes::close_and_wait(&mut left).await;
    clients[0].send_chat("still here").await;
    for client in &mut clients {
        assert_eq!(client.recv_content().await, "still here");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_event_streams_reach_rooms_of_other_nodes() {
    let nodes = Nodes::start(2, CONFIG).await;
    let room = nodes.room_of(0).await;
    let other = nodes.node(1);
    let (path, message) = (format!("/rooms/{room}/messages"), json!({ "content": "hi" }).to_string());
    assert_eq!(other.api(Method::POST, &path, "ana", &message).await.status, 200);
    let path = format!("{BASE}/rooms/{room}/events?token=id-bo:bo");
    let mut stream = other.open_event_stream(&path, &[("accept", "text/event-stream")]).await.unwrap();
    let history = within(async {
        loop {
            let event = stream.recv().await;
            if format!("{event:?}").contains("history") {
                return format!("{event:?}");
            }
        }
    });
    assert!(history.await.contains("hi"));
    let mut cy = nodes.node(0).join(&room, "cy").await;
    cy.recv_type("history").await;
    cy.send_chat("hello over there").await;
    let heard = within(async {
        loop {
            let event = format!("{:?}", stream.recv().await);
            if event.contains("hello over there") {
                return event;
            }
        }
    });
    assert!(heard.await.contains("cy"));
    assert_eq!(nodes.owner(&room).await, Some(0));
    assert!(metric(nodes.node(0), "link_sockets").await >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_elsewhere_does_all_that_a_room_here_does() {
    let nodes = Nodes::start(2, UNRULY).await;
    let room = nodes.room_of(0).await;
    let mut ana = nodes.node(1).join(&room, "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply("put tea hot; say stored", "stored").await;
    ana.expect_reply("get tea", "tea=hot").await;
    // The auto-response is given without the room.
    ana.send("events").await;
    let events = ana.recv_text().await.parse::<u32>().unwrap();
    ana.expect_reply("ping", "pong").await;
    ana.expect_reply("events", &(events + 1).to_string()).await;
    // A long message, both ways.
    let long = "x".repeat(200_000);
    ana.expect_reply(&format!("say {long}"), &long).await;
    // Others hear of its end, and the host does not wait for more.
    let mut bo = nodes.node(0).join(&room, "bo").await;
    bo.expect_text("welcome").await;
    ana.send("say bye; leave enough").await;
    ana.expect_text("bye").await;
    assert_eq!(ana.recv_close().await, (4000, "enough".into()));
    assert!(bo.recv_text().await.starts_with("gone id-ana 4000"));
    // A turn that fails says nothing, and the room goes on.
    let mut cy = nodes.node(1).join(&room, "cy").await;
    cy.expect_text("welcome").await;
    cy.send("say never; panic").await;
    assert!(cy.recv_text().await.contains("room_failed"));
    cy.expect_reply("get tea", "tea=hot").await;
    // A room that refuses a client says why.
    let path = format!("{BASE}/rooms/{room}/ws?token=id-di:di&command=refuse");
    let refused = nodes.node(1).connect(&path, &[]).await.err().expect("it is refused");
    assert_eq!(refused.status, 418);
    assert!(String::from_utf8_lossy(&refused.body).contains("told to refuse"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_hibernates_with_sockets_of_other_nodes() {
    let nodes = Nodes::start(2, CONFIG).await;
    let room = nodes.room_of(0).await;
    let mut ana = nodes.node(1).join(&room, "ana").await;
    ana.recv_type("history").await;
    nodes.node(0).wait_until_all_hibernate().await;
    ana.send_chat("good morning").await;
    assert_eq!(ana.recv_content().await, "good morning");
    assert_eq!(nodes.owner(&room).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_nothing_needs_is_let_go_and_may_run_elsewhere() {
    let nodes = Nodes::start(2, CONFIG).await;
    let room = nodes.room_of(0).await;
    let admin = nodes.database.admin().await;
    // Let go by its owner after some seconds.
    let let_go = async {
        loop {
            let query = "SELECT owner IS NULL FROM dormouse.rooms WHERE name = $1";
            match admin.query_opt(query, &[&room]).await.unwrap() {
                Some(row) if !row.get::<_, bool>(0) => tokio::time::sleep(Duration::from_millis(100)).await,
                _ => return,
            }
        }
    };
    within(let_go).await;
    let mut ana = nodes.node(1).join(&room, "ana").await;
    ana.recv_type("history").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_while_all_nodes_serve_all_rooms() {
    let nodes = Nodes::start(3, CONFIG).await;
    let mut rng = random_choices(seed(), 0);
    let mut workload = Workload::new(4, 4, rng.next_u64());
    let balanced = Balanced::over(&nodes);
    workload.run(&balanced, 40).await;
    let found = workload.settle_and_check(&balanced, crate::harness::TEST_TIMEOUT).await;
    assert_eq!(found, []);
    let (messages, _) = workload.totals();
    assert!(messages > 400, "too little happened: {messages}");
}
