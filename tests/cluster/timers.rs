//! Timers of rooms whose node has ended.

use std::time::Duration;

use crate::harness::within;
use crate::nodes::{Nodes, UNRULY};

/// Waits until the timer of a room has fired, as the database shows it. No client opens the room.
async fn fired(nodes: &Nodes, room: &str) {
    let admin = nodes.database.admin().await;
    let query = "SELECT FROM dormouse.room_entries WHERE name = $1 AND key = 'fired'";
    let fired = async {
        while admin.query_opt(query, &[&room]).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(fired).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_of_a_killed_node_fires_at_another() {
    let mut nodes = Nodes::start(3, UNRULY).await;
    let room = nodes.room_of(0).await;
    let mut ana = nodes.node(0).join(&room, "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply("timer 3000 say late; say set", "set").await;
    drop(nodes.kill(0));
    fired(&nodes, &room).await;
    assert!(matches!(nodes.owner(&room).await, Some(1 | 2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_of_a_node_that_has_stopped_fires_at_another() {
    let mut nodes = Nodes::start(2, UNRULY).await;
    let room = nodes.room_of(0).await;
    let mut ana = nodes.node(0).join(&room, "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply("timer 4000 say late; say set", "set").await;
    drop(ana);
    nodes.node(0).send_sigterm();
    assert!(nodes.nodes[0].take().unwrap().wait_for_exit().await.success());
    fired(&nodes, &room).await;
}
