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
    let admin = format!("http://{}", nodes.node(0).admin_address());
    kill_process(pid, Signal::STOP).unwrap();
    // Both at once: after about two seconds the node is dead, and reads what was revoked when it is back.
    let command = tokio::task::spawn_blocking(move || {
        let revoke = ["revoke", "user", "id-ana", "--admin", &admin];
        Command::new(env!("CARGO_BIN_EXE_dormouse")).args(revoke).output().unwrap()
    });
    let of_ana = json!({ "user": "id-ana" });
    let (answer, command) = tokio::join!(revocation(nodes.node(0), Method::POST, &of_ana), command);
    let command = command.unwrap();
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

fn path_of_ana() -> String {
    format!("{BASE}/rooms/lobby/ws?token=id-ana:ana")
}

/// What a node answers to a client of ana; 101 if she got in.
async fn let_in(node: &Server) -> u16 {
    node.connect(&path_of_ana(), &[]).await.map_or_else(|refused| refused.status.as_u16(), |_| 101)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_down_knows_what_was_revoked_meanwhile() {
    let mut nodes = Nodes::start(2, CONFIG).await;
    let (directory, config) = (nodes.node(1).directory.clone(), nodes.node(1).config().to_owned());
    drop(nodes.kill(1));
    nodes.until_all_know(1).await;
    let answer = revocation(nodes.node(0), Method::POST, &json!({ "user": "id-ana" })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let of_bo = json!({ "user": "id-bo" });
    revocation(nodes.node(0), Method::POST, &of_bo).await;
    revocation(nodes.node(0), Method::DELETE, &of_bo).await;
    let back = Server::in_directory(directory, &config).await;
    assert_eq!(let_in(&back).await, 401);
    let listed = request(back.admin_address(), Method::GET, "/revocations", &[], "").await.json();
    assert_eq!(listed["revocations"].as_array().unwrap().len(), 1, "{listed}");
    // So does one that was never there.
    let new = Server::in_directory(nodes.directory(), &config).await;
    assert_eq!(let_in(&new).await, 401);
    // A node that was killed keeps none of it for itself.
    assert!(!back.data().join("revocations.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_paused_lets_nobody_in_before_it_knows() {
    let nodes = Nodes::start(2, CONFIG).await;
    let paused = nodes.node(1);
    assert_eq!(let_in(paused).await, 101);
    let mut open = paused.join("lobby", "ana").await;
    open.recv_type("history").await;
    let pid = Pid::from_raw(i32::try_from(paused.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let answer = revocation(nodes.node(0), Method::POST, &json!({ "user": "id-ana" })).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["missing"]),
        (202, &json!([node_address(paused)])),
        "{answer:?}"
    );
    // Longer than a node may be without news.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    kill_process(pid, Signal::CONT).unwrap();
    let until_refused = async {
        loop {
            match let_in(paused).await {
                401 => return,
                status => assert_eq!(status, 503, "she may not get in for a moment"),
            }
        }
    };
    crate::harness::within(until_refused).await;
    // Her socket is closed as revoked, or because the room went to another node.
    assert!(matches!(open.recv_close().await.0, 4403 | 1012));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_link_reads_revocations_from_the_database() {
    let mut nodes = Nodes::start(1, CONFIG).await;
    // It can be reached only while its relay lives.
    let (relay, config) = crate::cutting::behind_a_relay().await;
    let far = Server::in_directory(nodes.directory(), &config).await;
    nodes.nodes.push(Some(far));
    nodes.until_all_know(2).await;
    relay.cut();
    let answer = revocation(nodes.node(0), Method::POST, &json!({ "user": "id-ana" })).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let until_refused = async {
        while let_in(nodes.node(1)).await != 401 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    crate::harness::within(until_refused).await;
}
