//! `kill -9` of a node: its rooms are back elsewhere, and nothing that a client saw is lost.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use crate::harness::{BASE, TEST_TIMEOUT, within};
use crate::nodes::{Balanced, CONFIG, Nodes};
use crate::seeds::{random_choices, rounds, seed};
use crate::workload::Workload;

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_other_nodes_get_1012_and_the_room_is_back_within_seconds() {
    let mut nodes = Nodes::start(3, CONFIG).await;
    let room = nodes.room_of(0).await;
    let mut ana = nodes.node(1).join(&room, "ana").await;
    ana.recv_type("history").await;
    ana.send_chat("before").await;
    ana.recv_content().await;
    let began = Instant::now();
    drop(nodes.kill(0));
    let (code, reason) = ana.recv_close().await;
    assert_eq!((code, &*reason), (1012, "the room moved; come back"));
    let closed = began.elapsed();
    let path = format!("{BASE}/rooms/{room}/ws?token=id-ana:ana");
    let mut ana = within(async {
        loop {
            match nodes.node(1).connect(&path, &[]).await {
                Ok(client) => return client,
                Err(answer) => {
                    assert_eq!(answer.status, 503, "{answer:?}");
                    assert!(!answer.header("retry-after").is_empty());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    })
    .await;
    let history = ana.recv_type("history").await;
    assert_eq!(history["messages"][0]["content"], "before");
    let back = began.elapsed();
    println!("closed after {closed:?}, back after {back:?}");
    assert!(back < Duration::from_secs(5), "{back:?}");
    let owner = nodes.owner(&room).await;
    assert!(matches!(owner, Some(1 | 2)), "{owner:?}");
    // The other node follows.
    let mut bo = nodes.node(2).join(&room, "bo").await;
    bo.recv_type("history").await;
    bo.send_chat("after").await;
    assert_eq!((ana.recv_content().await, bo.recv_content().await), ("after".into(), "after".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_seen_is_lost_when_a_node_is_killed() {
    let seed = seed();
    for round in 0..rounds(1) {
        let mut rng = random_choices(seed, round);
        let mut nodes = Nodes::start(3, CONFIG).await;
        let mut workload = Workload::new(4, 4, rng.next_u64());
        for _ in 0..3 {
            let balanced = Balanced::over(&nodes);
            let (victim, until) = (rng.random_range(0..nodes.nodes.len()), rng.random_range(100..1_500));
            let talk = async {
                // Each part begins with new connections of those that have lost theirs.
                while !balanced.has_ended.load(Ordering::Relaxed) {
                    workload.run(&balanced, 10).await;
                }
            };
            let kill = async {
                tokio::time::sleep(Duration::from_millis(until)).await;
                if let Some(mut server) = nodes.nodes[victim].take() {
                    server.kill();
                }
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                balanced.has_ended.store(true, Ordering::Relaxed);
            };
            tokio::join!(talk, kill);
            nodes.nodes.retain(Option::is_some);
            nodes.add().await;
        }
        nodes.until_all_know(3).await;
        let balanced = Balanced::over(&nodes);
        let found = workload.settle_and_check(&balanced, TEST_TIMEOUT).await;
        let logs = nodes.living().map(|node| node.log()).collect::<Vec<_>>().join("\n----\n");
        assert_eq!(found, [], "in round {round} of the seed {seed}; the logs:\n{logs}");
        let (messages, _) = workload.totals();
        assert!(messages > 100, "too little happened: {messages}");
    }
}
