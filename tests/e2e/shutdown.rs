//! How it ends: bounded, with a goodbye, and with everything on disk.

use std::time::{Duration, Instant};

use hyper::Method;

use crate::harness::Server;

#[tokio::test]
async fn sigterm_closes_every_socket_and_loses_nothing() {
    let mut server = Server::start().await;
    let mut clients = Vec::new();
    for number in 0..20 {
        let mut client = server.join(&format!("r{}", number % 4), &format!("u{number}")).await;
        client.recv_type("history").await;
        clients.push(client);
    }
    for client in &mut clients {
        client.send_chat("last words").await;
    }
    // All five of each room, its own included: a message that no client got may be lost.
    for client in &mut clients {
        for _ in 0..5 {
            client.recv_content().await;
        }
    }
    server.send_sigterm();
    for client in &mut clients {
        let (code, reason) = client.recv_close().await;
        assert_eq!(code, 1001);
        let retry_after = reason.rsplit_once("retry-after=").expect("a hint").1.parse::<u32>().unwrap();
        assert!((1..=3).contains(&retry_after));
    }
    drop(clients);
    assert!(server.wait_for_exit().await.success());
    server.wait_for_log("stopped").await;
    let log = server.log();
    let last = log.lines().last().expect("it logs");
    assert!(last.contains("stopped") && last.contains("took="), "{log}");

    let server = Server::in_directory(server.directory.clone(), "").await;
    for room in 0..4 {
        let path = format!("/rooms/r{room}/messages");
        let listed = server.api(Method::GET, &path, "ana", "").await.json();
        assert_eq!(listed["messages"].as_array().unwrap().len(), 5);
    }
}

#[tokio::test]
async fn clients_that_ignore_the_close_do_not_delay_shutdown() {
    let mut server = Server::unruly("").await;
    let mut stuck = Vec::new();
    for number in 0..10 {
        stuck.push(server.join("lobby", &format!("u{number}")).await);
    }
    // And a room that is in the middle of something.
    stuck[0].send("loop").await;
    stuck[0].send("loop").await;
    let began = Instant::now();
    server.send_sigterm();
    assert!(server.wait_for_exit().await.success());
    // A bound, and no measure: the promise is ten seconds.
    assert!(began.elapsed() < Duration::from_secs(10));
}
