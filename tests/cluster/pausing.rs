//! A node that is paused and goes on: others have its rooms, and it says nothing stale.

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{BASE, Server, within};
use crate::nodes::{CONFIG, Nodes, join_when_free, metric};

fn signal(server: &Server, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_slept_says_nothing_stale() {
    let nodes = Nodes::start(2, CONFIG).await;
    let room = nodes.room_of(0).await;
    let mut ana = nodes.node(0).join(&room, "ana").await;
    let mut bo = nodes.node(1).join(&room, "bo").await;
    ana.recv_type("history").await;
    bo.recv_type("history").await;
    bo.send_chat("before").await;
    assert_eq!((ana.recv_content().await, bo.recv_content().await), ("before".into(), "before".into()));
    signal(nodes.node(0), Signal::STOP);
    assert_eq!(bo.recv_close().await.0, 1012, "the link is silent");
    let path = format!("{BASE}/rooms/{room}/ws?token=id-bo:bo");
    let mut bo = join_when_free(nodes.node(1), &path).await;
    bo.recv_type("history").await;
    bo.send_chat("meanwhile").await;
    assert_eq!(bo.recv_content().await, "meanwhile");
    // The paused node finds this when it goes on, and believes that it owns the room.
    ana.send_chat("stale").await;
    signal(nodes.node(0), Signal::CONT);
    let closed = within(async {
        loop {
            match ana.recv_or_close().await {
                Ok(frame) => assert_ne!(frame["type"], "message", "{frame}"),
                Err((code, _)) => return code,
            }
        }
    });
    assert_eq!(closed.await, 1012);
    assert_eq!(metric(nodes.node(0), "store_fenced_total").await, 1);
    // It has learnt who has the room.
    let mut ana = within(async {
        loop {
            match nodes.node(0).connect(&path, &[]).await {
                Ok(client) => return client,
                Err(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    let history = ana.recv_type("history").await;
    let contents = history["messages"].as_array().unwrap().iter().map(|message| message["content"].clone());
    assert_eq!(contents.collect::<Vec<_>>(), ["before", "meanwhile"]);
    assert_eq!(nodes.owner(&room).await, Some(1));
    nodes.until_all_know(2).await;
}
