//! Tickets: one of any node is valid at each of them, once.

use hyper::Method;

use crate::harness::{BASE, Server};
use crate::nodes::{CONFIG, Nodes};

async fn ticket(node: &Server) -> String {
    let answer = node.api(Method::POST, "/tickets", "ana", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["ticket"].as_str().expect("text").to_owned()
}

/// What a node answers to a client with a ticket; 101 if it is let in.
async fn let_in(node: &Server, ticket: &str) -> u16 {
    let path = format!("{BASE}/rooms/lobby/ws?ticket={ticket}");
    node.connect(&path, &[]).await.map_or_else(|refused| refused.status.as_u16(), |_| 101)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_valid_once_at_whichever_node_it_is_shown() {
    let mut nodes = Nodes::start(3, CONFIG).await;
    for shown in 0..3 {
        let ticket = ticket(nodes.node(0)).await;
        assert_eq!(let_in(nodes.node(shown), &ticket).await, 101, "at the node {shown}");
        for node in nodes.living() {
            assert_eq!(let_in(node, &ticket).await, 401);
        }
    }
    let at_once = ticket(nodes.node(0)).await;
    let (one, other) = tokio::join!(let_in(nodes.node(1), &at_once), let_in(nodes.node(2), &at_once));
    assert_eq!((one.min(other), one.max(other)), (101, 401));
    let lost = ticket(nodes.node(0)).await;
    for wrong in ["", "7-", "-", "x", "99999999999999999999-00", &lost[..lost.len() - 1], &lost.replace('-', "")] {
        assert_eq!(let_in(nodes.node(1), wrong).await, 401, "{wrong}");
    }
    // It ends with its node.
    drop(nodes.kill(0));
    assert_eq!(let_in(nodes.node(1), &lost).await, 401);
}
