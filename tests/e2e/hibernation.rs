//! A room sleeps, and its clients do not notice.

use hyper::Method;

use crate::harness::{BASE, Client, Server, within};

/// Rooms that fall asleep as soon as nothing happens.
const SLEEPY: &str = "hibernate_after = \"20ms\"\n";

async fn reply_to(client: &mut Client, ask: &str) -> String {
    client.send(ask).await;
    client.recv_text().await
}

/// A client in a room that sleeps.
async fn asleep(server: &Server) -> Client {
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.send("note tea; tag tea").await;
    // The room may also fall asleep between two events. Once it has counted two in a row, a later count of 1 shows that
    // it has slept.
    within(async {
        loop {
            ana.send("events").await;
            ana.send("events").await;
            ana.recv_text().await;
            if ana.recv_text().await != "1" {
                return;
            }
        }
    })
    .await;
    server.wait_until_all_hibernate().await;
    ana
}

#[tokio::test]
async fn a_message_wakes_the_room_and_names_its_sender() {
    let server = Server::unruly(SLEEPY).await;
    let mut ana = asleep(&server).await;
    ana.send("events; who; notes").await;
    ana.expect_text("1").await;
    ana.expect_text("ana").await;
    ana.expect_text("tea").await;
}

#[tokio::test]
async fn a_timer_wakes_the_room() {
    let server = Server::unruly(SLEEPY).await;
    let mut ana = asleep(&server).await;
    ana.send("timer 300 tagged tea").await;
    server.wait_until_all_hibernate().await;
    ana.expect_text("timer t tagged tea 0").await;
    ana.expect_text("tagged tea").await;
    ana.send("timers").await;
    ana.expect_text("0").await;
}

#[tokio::test]
async fn a_request_wakes_the_room() {
    let server = Server::unruly(SLEEPY).await;
    let mut ana = asleep(&server).await;
    let answer = server.api(Method::POST, "/rooms/lobby/messages", "bo", "all hello").await;
    assert_eq!(answer.body, "1");
    ana.expect_text("hello").await;
}

#[tokio::test]
async fn a_close_wakes_the_room() {
    let server = Server::unruly(SLEEPY).await;
    let ana = asleep(&server).await;
    let mut bo = server.join("lobby", "bo").await;
    bo.expect_text("welcome").await;
    server.wait_until_all_hibernate().await;
    ana.close().await;
    bo.expect_text("gone id-ana 1005 true tea").await;
}

#[tokio::test]
async fn a_connect_wakes_the_room() {
    let server = Server::unruly(SLEEPY).await;
    let mut ana = asleep(&server).await;
    server.connect(&format!("{BASE}/rooms/lobby/ws?token=2:bo&command=all%20bo%20is%20here"), &[]).await.unwrap();
    ana.expect_text("bo is here").await;
}

#[tokio::test]
async fn the_auto_response_does_not_wake_the_room() {
    let server = Server::unruly(SLEEPY).await;
    let mut ana = asleep(&server).await;
    assert_eq!(reply_to(&mut ana, "ping").await, "pong");
    assert_eq!(server.rooms_running().await, 0);
    assert_eq!(reply_to(&mut ana, "events").await, "1", "the ping was no event");
}

#[tokio::test]
async fn the_auto_response_does_not_wait_for_a_long_turn() {
    let server = Server::unruly("[limits]\nturn_cpu = \"1h\"\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.send("loop").await;
    ana.send("ping").await;
    ana.expect_text("pong").await;
}

#[tokio::test]
async fn a_chat_goes_on_after_each_hibernation() {
    let server = Server::with(SLEEPY).await;
    let (mut ana, mut bo) = (server.join("lobby", "ana").await, server.join("lobby", "bo").await);
    for content in ["first", "second", "third"] {
        server.wait_until_all_hibernate().await;
        ana.send_chat(content).await;
        assert_eq!(bo.recv_content().await, content);
        assert_eq!(ana.recv_content().await, content);
    }
    server.wait_until_all_hibernate().await;
    bo.close().await;
    assert_eq!(ana.recv_type("user_left").await["userId"], "id-bo");
}

#[tokio::test]
async fn a_client_that_joins_while_a_room_is_unloaded_gets_in() {
    let server = Server::with("hibernate_after = \"1ms\"\n").await;
    let visit = async |name: String| {
        for number in 0..150 {
            // As long as it takes the room to go.
            tokio::time::sleep(std::time::Duration::from_micros(number * 20)).await;
            let answer = server.api(Method::GET, "/rooms/lobby/messages", &name, "").await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    };
    futures_util::future::join_all((0..4).map(|number| visit(format!("u{number}")))).await;
}

#[tokio::test]
async fn more_rooms_than_instances_share_them() {
    let server = Server::with("hibernate_after = \"1h\"\n[limits]\nawake_rooms = 4\n").await;
    let mut clients = Vec::new();
    for number in 0..20 {
        let mut client = server.join(&format!("room-{number}"), "ana").await;
        client.recv_type("history").await;
        clients.push(client);
    }
    for round in ["once", "again"] {
        for client in &mut clients {
            client.send_chat(round).await;
            assert_eq!(client.recv_content().await, round);
        }
    }
}
