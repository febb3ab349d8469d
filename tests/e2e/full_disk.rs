//! A disk that is full for a while: events that no client repeats wait for space, and run when there is some.

use std::time::Duration;

use dormouse::Host;
use dormouse::model::{Message, Request};
use dormouse::room::{LocalSocket, Received};
use serde_json::{Value, json};

use crate::faulty_disk::FaultDisk;
use crate::harness::within;
use crate::panics::{connect, disk, host, wait_until};

/// Longer than it takes until something is tried again that failed for the first time.
const LONGER_THAN_A_RETRY: Duration = Duration::from_millis(2_600);

async fn set_full(disk: &FaultDisk, host: &Host, full: bool) {
    disk.fill(full);
    wait_until(|| host.rooms().health().is_err() == full).await;
}

async fn send_text(socket: &LocalSocket, commands: &str) {
    within(socket.send(Message::Text(commands.into()))).await.unwrap();
}

async fn recv_text(socket: &mut LocalSocket) -> String {
    match within(socket.recv()).await {
        Received::Message(Message::Text(text)) => text,
        other => panic!("expected a text, and got {other:?}"),
    }
}

/// A socket in a room that follows its commands.
async fn enter(host: &Host) -> LocalSocket {
    let mut socket = connect(host, "UNRULY", "lobby").await;
    assert_eq!(recv_text(&mut socket).await, "welcome");
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_due_on_a_full_disk_fires_once_there_is_space() {
    let disk = disk();
    let host = host(disk.clone(), Default::default()).await;
    let mut bo = enter(&host).await;
    // Time for the host to see that the disk is full.
    let due = Duration::from_secs(4);
    send_text(&bo, &format!("timer {} say rang; say set", due.as_millis())).await;
    assert_eq!(recv_text(&mut bo).await, "set");
    set_full(&disk, &host, true).await;
    tokio::time::sleep(due + LONGER_THAN_A_RETRY).await;
    send_text(&bo, "timers").await;
    assert_eq!(recv_text(&mut bo).await, "1", "it waits");
    set_full(&disk, &host, false).await;
    assert_eq!(recv_text(&mut bo).await, "timer t say rang 0", "no attempt was used up");
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closes_on_a_full_disk_are_delivered_later_in_order() {
    let disk = disk();
    let host = host(disk.clone(), Default::default()).await;
    let mut bo = enter(&host).await;
    let mut leavers = Vec::new();
    for number in 0..3 {
        let mut leaver = enter(&host).await;
        send_text(&leaver, &format!("note on close put {number} left; say noted")).await;
        assert_eq!(recv_text(&mut leaver).await, "noted");
        leavers.push(leaver);
    }
    set_full(&disk, &host, true).await;
    leavers.into_iter().for_each(|leaver| leaver.close(4_000, "bye"));
    send_text(&bo, "count").await;
    assert_eq!(recv_text(&mut bo).await, "1", "they are here no longer");
    let room = host.rooms().get("UNRULY", "lobby").unwrap();
    room.hibernate();
    tokio::time::sleep(LONGER_THAN_A_RETRY).await;
    set_full(&disk, &host, false).await;
    for number in 0..3 {
        assert_eq!(recv_text(&mut bo).await, format!("gone bo 4000 true on close put {number} left"));
    }
    send_text(&bo, "list").await;
    assert_eq!(recv_text(&mut bo).await, "0,1,2");
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_on_a_full_disk_get_a_server_error() {
    let disk = disk();
    let host = host(disk.clone(), Default::default()).await;
    set_full(&disk, &host, true).await;
    let room = host.rooms().get("CALLERS", "desk").unwrap();
    let count = Request::post_json("/", &json!({ "do": "count" }));
    assert_eq!(within(room.request(count.clone())).await, Err(dormouse::room::RequestError::NoSpace));
    set_full(&disk, &host, false).await;
    assert_eq!(within(room.request(count)).await.unwrap().json::<Value>().unwrap()["count"], 1);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_on_a_full_disk_is_delivered_once_there_is_space() {
    let disk = disk();
    let host = host(disk.clone(), Default::default()).await;
    let rooms = host.rooms();
    let run_command = async |name: &str, command: Value| {
        let room = rooms.get("CALLERS", name).unwrap();
        within(room.request(Request::post_json("/", &command))).await.unwrap().json::<Value>().unwrap()
    };
    // The first try is not taken, so that the next one comes while the disk is full.
    let command = json!({ "do": "flaky", "times": 1 });
    run_command("desk", json!({ "do": "post", "namespace": "CALLERS", "name": "b", "command": command })).await;
    within(async { while run_command("b", json!({ "do": "get-count" })).await["count"] != 1 {} }).await;
    set_full(&disk, &host, true).await;
    tokio::time::sleep(LONGER_THAN_A_RETRY).await;
    set_full(&disk, &host, false).await;
    within(async { while run_command("b", json!({ "do": "get-count" })).await["count"] != 2 {} }).await;
    within(async { while run_command("desk", json!({ "do": "waiting" })).await["waiting"] != 0 {} }).await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_stays_taken_until_its_close_is_delivered() {
    let limits = dormouse::config::Limits { sockets_per_room: 2, ..Default::default() };
    let disk = disk();
    let host = host(disk.clone(), limits).await;
    let mut bo = enter(&host).await;
    send_text(&bo, "say here").await;
    assert_eq!(recv_text(&mut bo).await, "here");
    let leaver = enter(&host).await;
    send_text(&leaver, "note on close put left yes").await;
    set_full(&disk, &host, true).await;
    leaver.close(4_000, "bye");
    let room = host.rooms().get("UNRULY", "lobby").unwrap();
    let again = async || within(room.connect(Request::get("/ws"), dormouse::model::User::new("cy", "cy"))).await;
    within(async { while again().await.is_ok() {} }).await;
    assert!(again().await.is_err(), "the closes that wait are bounded");
    set_full(&disk, &host, false).await;
    assert!(recv_text(&mut bo).await.starts_with("gone bo 4000"));
    again().await.unwrap();
    host.shutdown().await;
}
