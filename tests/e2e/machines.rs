//! What programs that run servers see of this one: load balancers and service managers.

use std::net::SocketAddr;

use hyper::Method;
use serde_json::Value;

use crate::harness::{self, Answer, Server, within};

/// The answer at a path, which has the same status on both listeners.
async fn answer_of_both(server: &Server, path: &str) -> Answer {
    let get = async |address: SocketAddr| harness::request(address, Method::GET, path, &[], "").await;
    let (edge, admin) = (get(server.address).await, get(server.admin_address()).await);
    assert_eq!(edge.status, admin.status);
    edge
}

/// The reason why the server is not ready.
async fn reason(server: &Server) -> Value {
    let answer = answer_of_both(server, "/readyz").await;
    answer.is_problem(503);
    answer.json()["detail"].clone()
}

#[tokio::test]
async fn a_server_is_ready_once_it_has_started() {
    let server = Server::start().await;
    let answer = answer_of_both(&server, "/readyz").await;
    assert_eq!((answer.status.as_u16(), answer.json()["status"].as_str()), (200, Some("ready")));
    let wrong = harness::request(server.admin_address(), Method::POST, "/readyz", &[], "").await;
    assert_eq!((wrong.status.as_u16(), wrong.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn a_server_with_a_full_disk_is_not_ready() {
    let server = Server::with(&harness::more_than_is_free()).await;
    let reason = reason(&server).await;
    assert!(reason.as_str().unwrap().contains("disk"), "{reason}");
    answer_of_both(&server, "/healthz").await.is_problem(503);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_without_memory_is_healthy_and_not_ready() {
    // Little more than the least that is accepted.
    let server = Server::unruly("[limits]\nmemory_total_bytes = 130_000_000\nturn_cpu = \"1h\"\n").await;
    let mut busy = Vec::new();
    for number in 0..3 {
        busy.push(server.join(&number.to_string(), "bo").await);
    }
    // Rooms that have something to do keep their memory.
    for room in &mut busy {
        room.send("allocate 48; loop").await;
    }
    server.wait_for_log("memory is above its limit").await;
    assert_eq!(reason(&server).await, "the server has too little memory now");
    assert_eq!(answer_of_both(&server, "/healthz").await.status, 200);
}

#[tokio::test]
async fn a_shutdown_first_tells_load_balancers() {
    let mut server = Server::with("[limits]\ndrain_delay = \"1h\"\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.recv_type("history").await;
    server.send_sigterm();
    within(async { while server.get("/readyz").await.status == 200 {} }).await;
    assert_eq!(reason(&server).await, "the server is shutting down");
    assert_eq!(answer_of_both(&server, "/healthz").await.status, 200);
    // Clients that a load balancer still sends are let in, and all go on.
    let mut bo = server.join("lobby", "bo").await;
    bo.send_chat("hello").await;
    assert_eq!(ana.recv_content().await, "hello");
    server.send_sigterm();
    assert_eq!((ana.recv_close().await.0, bo.recv_close().await.0), (1001, 1001));
    assert!(server.wait_for_exit().await.success());
}
