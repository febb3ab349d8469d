//! A node that ends in order, and one that joins.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng;

use crate::harness::{TEST_TIMEOUT, within};
use crate::nodes::{Balanced, CONFIG, Nodes};
use crate::seeds::{random_choices, seed};
use crate::workload::Workload;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_leaves_other_sockets_open() {
    let mut nodes = Nodes::start(2, CONFIG).await;
    let room = nodes.room_of(0).await;
    let mut ana = nodes.node(1).join(&room, "ana").await;
    ana.recv_type("history").await;
    let mut own = nodes.node(0).join(&room, "own").await;
    own.recv_type("history").await;
    nodes.node(0).send_sigterm();
    assert_eq!(within(own.recv_close()).await.0, 1001);
    let mut ended = nodes.nodes[0].take().unwrap();
    assert!(ended.wait_for_exit().await.success(), "{}", ended.log());
    nodes.until_all_know(1).await;
    let rows = nodes.database.admin().await.query("SELECT FROM dormouse.nodes", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    ana.send_chat("still here").await;
    assert_eq!(ana.recv_content().await, "still here");
    assert_eq!(nodes.owner(&room).await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_lost_while_all_nodes_are_replaced_one_by_one() {
    let mut nodes = Nodes::start(3, CONFIG).await;
    let mut rng = random_choices(seed(), 0);
    let mut workload = Workload::new(4, 4, rng.next_u64());
    for _ in 0..3 {
        nodes.add().await;
        nodes.until_all_know(4).await;
        let balanced = Balanced::over(&nodes);
        let talk = async {
            while !balanced.has_ended.load(Ordering::Relaxed) {
                workload.run(&balanced, 10).await;
            }
        };
        let stop = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut server = nodes.nodes.remove(0).unwrap();
            server.send_sigterm();
            let status = server.wait_for_exit().await;
            assert!(status.success(), "{}", server.log());
            tokio::time::sleep(Duration::from_millis(500)).await;
            balanced.has_ended.store(true, Ordering::Relaxed);
        };
        tokio::join!(talk, stop);
    }
    nodes.until_all_know(3).await;
    let found = workload.settle_and_check(&Balanced::over(&nodes), TEST_TIMEOUT).await;
    assert_eq!(found, []);
    let (messages, _) = workload.totals();
    assert!(messages > 100, "too little happened: {messages}");
}
