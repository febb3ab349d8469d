//! A revocation at one node holds at all of them.

use std::process::Command;

use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Answer, BASE, Server, request};
use crate::nodes::{CONFIG, Nodes, node_address};

async fn revocation(node: &Server, method: Method, revoked: &Value) -> Answer {
    request(node.admin_address(), method, "/revocations", &[], revoked.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_user_is_disconnected_at_all_nodes_and_stays_out() {
    let nodes = Nodes::start(3, CONFIG).await;
    let mut ana = nodes.node(1).join("lobby", "ana").await;
    let mut bo = nodes.node(2).join("lobby", "bo").await;
    ana.recv_type("history").await;
    bo.recv_type("history").await;
    let of_ana = json!({ "user": "id-ana" });
    let answer = revocation(nodes.node(0), Method::POST, &of_ana).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(ana.recv_close().await.0, 4403);
    for node in nodes.living() {
        let path = format!("{BASE}/rooms/lobby/ws?token=id-ana:ana");
        let refused = node.connect(&path, &[]).await.err().expect("she stays out");
        assert_eq!(refused.status, 401, "{refused:?}");
    }
    bo.send_chat("still here").await;
    assert_eq!(bo.recv_content().await, "still here");
    let answer = revocation(nodes.node(2), Method::DELETE, &of_ana).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for node in nodes.living() {
        node.join("lobby", "ana").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_may_not_know_of_a_revocation_is_named() {
    let nodes = Nodes::start(2, CONFIG).await;
    let pid = Pid::from_raw(i32::try_from(nodes.node(1).pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let answer = revocation(nodes.node(0), Method::POST, &json!({ "user": "id-ana" })).await;
    let admin = format!("http://{}", nodes.node(0).admin_address());
    let revoke = ["revoke", "user", "id-ana", "--admin", &admin];
    let command = Command::new(env!("CARGO_BIN_EXE_dormouse")).args(revoke).output().unwrap();
    kill_process(pid, Signal::CONT).unwrap();
    let (said, warned) = (String::from_utf8_lossy(&command.stdout), String::from_utf8_lossy(&command.stderr));
    assert!(said.contains("user id-ana is revoked"), "{said}{warned}");
    assert!(warned.contains("may not know of it") && warned.contains(&node_address(nodes.node(1))), "{warned}");
    assert!(!command.status.success(), "a script sees it");
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["missing"], json!([node_address(nodes.node(1))]));
    // It is repeated.
    nodes.until_all_know(2).await;
    let again = crate::harness::within(async {
        loop {
            let answer = revocation(nodes.node(0), Method::POST, &json!({ "user": "id-ana" })).await;
            if answer.status == 200 {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    again.await;
    let path = format!("{BASE}/rooms/lobby/ws?token=id-ana:ana");
    assert_eq!(nodes.node(1).connect(&path, &[]).await.err().expect("she stays out").status, 401);
}
