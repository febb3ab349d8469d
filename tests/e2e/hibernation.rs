//! A room sleeps, and its clients do not notice.

use hyper::Method;

use crate::harness::{BASE, Client, Server, within};

/// Rooms that fall asleep as soon as nothing happens.
const SLEEPY: &str = "hibernate_after = \"20ms\"\n";

async fn told(client: &mut Client, ask: &str) -> String {
    client.says(ask).await;
    client.hears_text().await
}

/// A client in a room that sleeps.
async fn asleep(server: &Server) -> Client {
    let mut ana = server.join("lobby", "ana").await;
    ana.hears_exactly("welcome").await;
    ana.says("note tea; tag tea").await;
    // The room may also fall asleep between two events. Once it has counted two in a row, a later count of 1 shows that
    // it has slept.
    within(async {
        loop {
            ana.says("seen").await;
            ana.says("seen").await;
            ana.hears_text().await;
            if ana.hears_text().await != "1" {
                return;
            }
        }
    })
    .await;
    server.all_asleep().await;
    ana
}

#[tokio::test]
async fn a_message_wakes_the_room_and_names_its_sender() {
    let server = Server::unruly(SLEEPY).await;
    let mut ana = asleep(&server).await;
    ana.says("seen; who; notes").await;
    ana.hears_exactly("1").await;
    ana.hears_exactly("ana").await;
    ana.hears_exactly("tea").await;
}

#[tokio::test]
async fn a_timer_wakes_the_room() {
    let server = Server::unruly(SLEEPY).await;
    let mut ana = asleep(&server).await;
    ana.says("timer 300 tagged tea").await;
    server.all_asleep().await;
    ana.hears_exactly("timer t tagged tea 0").await;
    ana.hears_exactly("tagged tea").await;
    ana.says("timers").await;
    ana.hears_exactly("0").await;
}

#[tokio::test]
async fn a_request_wakes_the_room() {
    let server = Server::unruly(SLEEPY).await;
    let mut ana = asleep(&server).await;
    let answer = server.api(Method::POST, "/rooms/lobby/messages", "bo", "all hello").await;
    assert_eq!(answer.body, "1");
    ana.hears_exactly("hello").await;
}

#[tokio::test]
async fn a_close_wakes_the_room() {
    let server = Server::unruly(SLEEPY).await;
    let ana = asleep(&server).await;
    let mut bo = server.join("lobby", "bo").await;
    bo.hears_exactly("welcome").await;
    server.all_asleep().await;
    ana.leaves().await;
    bo.hears_exactly("gone id-ana 1005 true tea").await;
}

#[tokio::test]
async fn a_connect_wakes_the_room() {
    let server = Server::unruly(SLEEPY).await;
    let mut ana = asleep(&server).await;
    server.connect(&format!("{BASE}/rooms/lobby/ws?token=2:bo&deed=all%20bo%20is%20here"), &[]).await.unwrap();
    ana.hears_exactly("bo is here").await;
}

#[tokio::test]
async fn the_auto_response_does_not_wake_the_room() {
    let server = Server::unruly(SLEEPY).await;
    let mut ana = asleep(&server).await;
    assert_eq!(told(&mut ana, "ping").await, "pong");
    assert_eq!(server.rooms_running().await, 0);
    assert_eq!(told(&mut ana, "seen").await, "1", "the ping was no event");
}

#[tokio::test]
async fn the_auto_response_does_not_wait_for_a_long_turn() {
    let server = Server::unruly("[limits]\nturn_cpu = \"1h\"\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.hears_exactly("welcome").await;
    ana.says("loop").await;
    ana.says("ping").await;
    ana.hears_exactly("pong").await;
}

#[tokio::test]
async fn a_chat_goes_on_after_each_hibernation() {
    let server = Server::with(SLEEPY).await;
    let (mut ana, mut bo) = (server.join("lobby", "ana").await, server.join("lobby", "bo").await);
    for content in ["first", "second", "third"] {
        server.all_asleep().await;
        ana.chats(content).await;
        assert_eq!(bo.hears_content().await, content);
        assert_eq!(ana.hears_content().await, content);
    }
    server.all_asleep().await;
    bo.leaves().await;
    assert_eq!(ana.hears_a("user_left").await["userId"], "id-bo");
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
        client.hears_a("history").await;
        clients.push(client);
    }
    for round in ["once", "again"] {
        for client in &mut clients {
            client.chats(round).await;
            assert_eq!(client.hears_content().await, round);
        }
    }
}
