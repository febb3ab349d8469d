//! Posts are carried by themselves, whatever their rooms and others do meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dormouse::Host;
use dormouse::config::{Config, Limits, Namespace};
use dormouse::limits::POSTS_AT_ONCE;
use dormouse::model::{Address, Client, Message, OutboundMessage, Request, User};
use dormouse::room::Rooms;
use dormouse::store::Store;
use serde_json::{Value, json};

use crate::harness::{more_than_is_free, within};
use crate::outbound::{RemoteServer, caller_server, response, run_command};

/// Rooms that rest as soon as they have nothing to do.
async fn host_that_hibernates_at_once(origins: &[&str]) -> Host {
    let limits = Limits { awake_rooms: 300, warm_rooms: 10, requests: 20, ..Limits::default() };
    let caller_server = Namespace {
        calls: ["ROOMS".to_owned()].into(),
        outbound_private: origins.iter().map(|origin| origin.parse().unwrap()).collect(),
        ..Namespace::of("builtin:caller")
    };
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        hibernate_after: Duration::from_millis(1),
        namespaces: [("ROOMS".to_owned(), caller_server)].into(),
        limits,
        ..Config::default()
    };
    let store = Store::in_memory();
    Host::builder(config).component("caller", dormouse_bundle::CALLER).store(store).start().await.unwrap()
}

async fn run_in_room(rooms: &Rooms, room: &str, command: &Value) -> Value {
    let room = rooms.get("ROOMS", room).unwrap();
    within(room.request(Request::post_json("/", command))).await.unwrap().json().unwrap()
}

fn post_to(name: &str) -> Value {
    json!({ "do": "post", "namespace": "ROOMS", "name": name, "command": { "do": "count" } })
}

/// Wait until a room has counted so far.
async fn wait_for_count(rooms: &Rooms, room: &str, count: i64) {
    within(async {
        while run_in_room(rooms, room, &json!({ "do": "get-count" })).await["count"] != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A client that blocks the thread that flushes it, which is the commit thread, until its room sleeps.
#[derive(Default)]
struct BlockingClient {
    rooms: OnceLock<Rooms>,
    held: AtomicBool,
}

impl Client for BlockingClient {
    fn enqueue(&self, _: &OutboundMessage) -> bool {
        true
    }

    fn flush(&self) {
        // As long as it takes the room to rest, if it does.
        let until = Instant::now() + Duration::from_millis(500);
        let rooms = self.rooms.get().expect("set before it is spoken to");
        while rooms.running() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.held.store(true, Ordering::SeqCst);
    }

    fn close(&self, _: u16, _: &str) {}
    fn turn_done(&self) {}
    fn resume(&self) {}
    fn buffered(&self) -> usize {
        0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_delivered_although_its_room_hibernates_at_commit() {
    let host = host_that_hibernates_at_once(&[]).await;
    let client = Arc::new(BlockingClient::default());
    client.rooms.set(host.rooms().clone()).ok().expect("once");
    let address = Address::new("ROOMS", "poster").unwrap();
    let user = Arc::new(User::new("1", "ana"));
    let seat = host.rooms().connect(&address, Request::get("/ws"), user, client.clone()).await.unwrap();
    seat.message(Message::Text(post_to("sum").to_string()));
    within(async {
        while !client.held.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    wait_for_count(host.rooms(), "sum", 1).await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_of_rooms_that_hibernate_at_once_are_all_delivered() {
    let host = host_that_hibernates_at_once(&[]).await;
    for round in 1..=5 {
        let posts = (0..100).map(|room| {
            let rooms = host.rooms().clone();
            tokio::spawn(async move { run_in_room(&rooms, &format!("r{room}"), &post_to("sum")).await })
        });
        for posted in posts.collect::<Vec<_>>() {
            assert_eq!(posted.await.unwrap()["posted"], true);
        }
        wait_for_count(host.rooms(), "sum", round * 100).await;
    }
    host.shutdown().await;
}

/// Its receivers remember the numbers of its posts, and would take lower ones for repeats.
#[tokio::test]
async fn a_room_that_was_deleted_can_post_again() {
    let host = host_that_hibernates_at_once(&[]).await;
    for round in 1..=3 {
        for _ in 0..5 {
            run_in_room(host.rooms(), "sender", &post_to("receiver")).await;
        }
        wait_for_count(host.rooms(), "receiver", 5 * round).await;
        host.rooms().get("ROOMS", "sender").unwrap().delete(false).await.unwrap();
    }
    host.rooms().get("ROOMS", "receiver").unwrap().delete(false).await.unwrap();
    wait_for_count(host.rooms(), "receiver", 0).await;
    host.shutdown().await;
}

#[tokio::test]
async fn failed_turns_use_up_no_post_numbers() {
    // Every turn that posts fails.
    let server = caller_server(&more_than_is_free(), "").await;
    let mut ana = server.join("a", "ana").await;
    let many =
        json!({ "do": "post", "namespace": "OTHERS", "name": "b", "command": { "do": "count" }, "times": 1_000 });
    // A commit has 65,536 numbers for posts.
    for _ in 0..70 {
        let answer = run_command(&server, "a", many.clone()).await;
        assert_ne!(answer["posted"], true, "{answer}: {}", server.log());
    }
    ana.send(r#"{"do":"get-count"}"#).await;
    let answer = ana.recv().await;
    assert_eq!(answer["count"], 0, "{answer}: {}", server.log());
}

/// A server that accepts connections and never answers.
async fn start_silent_server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    origin
}

#[tokio::test(flavor = "multi_thread")]
async fn unresponsive_servers_delay_no_other_posts() {
    let (silent, remote) = (start_silent_server().await, RemoteServer::start(|_| response(200, "received")).await);
    let host = host_that_hibernates_at_once(&[&silent, &remote.origin]).await;
    // More than can be carried at once in all.
    let posts = (0..POSTS_AT_ONCE + 50).map(|room| {
        let (rooms, origin) = (host.rooms().clone(), silent.clone());
        let post = json!({ "do": "post-out", "origin": origin, "path": "/", "body": "" });
        tokio::spawn(async move { run_in_room(&rooms, &format!("r{room}"), &post).await })
    });
    for posted in posts.collect::<Vec<_>>() {
        assert_eq!(posted.await.unwrap()["posted"], true);
    }
    run_in_room(host.rooms(), "another", &post_to("sum")).await;
    wait_for_count(host.rooms(), "sum", 1).await;
    let post = json!({ "do": "post-out", "origin": remote.origin, "path": "/received", "body": "" });
    run_in_room(host.rooms(), "another", &post).await;
    assert_eq!(remote.wait_for_requests(1).await[0].path, "/received");
    host.shutdown().await;
}
