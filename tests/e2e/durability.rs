//! Nothing that a client saw is ever lost.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use rand::Rng;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::harness::{Client, Server};
use crate::seeds::{random_choices, seed};

/// The messages that one client saw before the crash, by number.
pub(crate) type ReceivedMessages = Vec<(u64, Value)>;

/// Chat until the connection breaks.
pub(crate) async fn chat_until_disconnected(mut client: Client, name: String) -> ReceivedMessages {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let mut seen = ReceivedMessages::new();
    for number in 0.. {
        let message = json!({ "type": "message", "content": format!("{name} {number}") }).to_string();
        if client.socket.send(Message::text(message)).await.is_err() {
            break;
        }
        // Several are on their way at once, so that the crash finds turns before, in and behind their commits.
        while let Ok(received) = tokio::time::timeout(Duration::from_millis(1), client.socket.next()).await {
            let Some(Ok(Message::Text(text))) = received else { return seen };
            let received = serde_json::from_str::<Value>(&text).unwrap();
            if received["type"] == "message" {
                seen.push((received["message"]["seq"].as_u64().unwrap(), received["message"].clone()));
            }
        }
    }
    seen
}

pub(crate) async fn all_messages(server: &Server, room: &str) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map_or(0, |message: &Value| message["seq"].as_u64().unwrap());
        let path = format!("/rooms/{room}/messages?limit=500&after={after}");
        let page = server.api(Method::GET, &path, "checker", "").await.json();
        all.extend(page["messages"].as_array().unwrap().iter().cloned());
        if page["hasMore"] == false {
            return all;
        }
    }
}

#[tokio::test]
async fn received_messages_survive_kill_9_at_any_moment() {
    let mut rng = random_choices(seed(), 0);
    let mut server = Server::start().await;
    let rooms = ["a", "b", "c"];
    let mut checked = 0;
    for round in 0..5 {
        let mut chats = JoinSet::new();
        for room in rooms {
            for number in 0..3 {
                let name = format!("r{round}u{number}");
                let client = server.join(room, &name).await;
                chats.spawn(async move { (room, chat_until_disconnected(client, name).await) });
            }
        }
        tokio::time::sleep(Duration::from_millis(50 + rng.next_u64() % 400)).await;
        server = server.crash_and_restart().await;
        let seen = chats.join_all().await;
        for room in rooms {
            let stored = all_messages(&server, room).await;
            for (index, message) in stored.iter().enumerate() {
                assert_eq!(message["seq"], index as u64 + 1, "{room}: numbers are dense");
            }
            for (_, received) in seen.iter().filter(|(of, _)| *of == room) {
                for (seq, message) in received {
                    assert_eq!(stored.get(*seq as usize - 1), Some(message), "{room}: what was seen is stored");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 100, "only {checked} messages were seen before the crashes");
    println!("{checked} messages were seen, and all of them are there");
}

#[tokio::test]
async fn an_answered_post_survives_kill_9() {
    let mut server = Server::start().await;
    for number in 1..=5 {
        let body = json!({ "content": number.to_string() }).to_string();
        let answer = server.api(Method::POST, "/rooms/lobby/messages", "ana", &body).await;
        assert_eq!(answer.json()["message"]["seq"], number);
        server = server.crash_and_restart().await;
    }
    assert_eq!(all_messages(&server, "lobby").await.len(), 5);
}

#[tokio::test]
async fn a_failed_turn_leaves_no_trace_after_a_restart() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_reply("put kept yes; say ok", "ok").await;
    ana.send("put lost yes; panic").await;
    assert_eq!(ana.recv().await["code"], "room_failed");
    let server = server.crash_and_restart().await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_reply("list", "kept").await;
}

#[tokio::test]
async fn turns_in_one_group_commit_are_each_atomic() {
    let server = Server::unruly("").await;
    let [mut ana, mut bo] = [server.join("lobby", "ana").await, server.join("lobby", "bo").await];
    for client in [&mut ana, &mut bo] {
        client.expect_text("welcome").await;
    }
    // While the room works the rest gathers, and its turns follow each other at once.
    ana.send("work 20").await;
    for commands in
        ["put a 1; all a", "put b 1; panic", "put c 1; get a; all c", "put a 2; fail", "put d 1; get a; all d"]
    {
        ana.send(commands).await;
    }
    assert!(ana.recv_text().await.starts_with("worked"));
    for expected in ["a", "failed", "a=1", "c", "failed", "a=1", "d"] {
        let received = ana.recv_text().await;
        assert_eq!(if received.contains("room_failed") { "failed" } else { &received }, expected);
    }
    for received in ["a", "c", "d"] {
        bo.expect_text(received).await;
    }
    let server = server.crash_and_restart().await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_reply("list", "a,c,d").await;
    ana.expect_reply("get a", "a=1").await;
}

#[tokio::test]
async fn a_presence_status_survives_a_crash_and_lost_users_leave() {
    let server = Server::start().await;
    let mut ana = server.join_presence("global", "ana").await;
    ana.send(r#"{"type":"status","status":"busy"}"#).await;
    ana.recv_type("presence_update").await;
    let server = server.crash_and_restart().await;
    let mut ana = server.join_presence("global", "ana").await;
    let users = ana.recv_type("presence_list").await["users"].take();
    assert_eq!((&users[0]["status"], &users[0]["connections"]), (&json!("busy"), &json!(1)));
}

/// The journal of a store in which three messages were written, and where in it the second one is.
async fn journal_of_three() -> (Arc<TempDir>, PathBuf, Vec<u8>, usize) {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    for content in ["message one", "message two", "message three"] {
        ana.send_chat(content).await;
        ana.recv_content().await;
    }
    let directory = server.directory.clone();
    drop(server);
    let store = directory.path().join("data/store");
    let files = std::fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path());
    let journal = files.into_iter().find(|path| path.extension() == Some("jnl".as_ref())).expect("there is a journal");
    let bytes = std::fs::read(&journal).unwrap();
    let at = bytes.windows(11).position(|window| window == b"message two").expect("it was written");
    (directory, journal, bytes, at)
}

#[tokio::test]
async fn a_store_that_lost_commits_is_refused() {
    if crate::HAS_DATABASE {
        return; // its files are its own
    }
    let (directory, journal, bytes, at) = journal_of_three().await;
    // To the engine this looks like the end that a crash leaves: it would go on without what followed.
    std::fs::write(&journal, &bytes[..at]).unwrap();
    let log = Server::try_in_directory(directory, "").await.err().expect("it does not start");
    assert!(log.contains("has lost commits"), "{log}");
}

#[tokio::test]
async fn a_store_with_a_damaged_byte_is_refused() {
    if crate::HAS_DATABASE {
        return; // its files are its own
    }
    let (directory, journal, mut bytes, at) = journal_of_three().await;
    bytes[at] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let log = Server::try_in_directory(directory, "").await.err().expect("it does not start");
    assert!(log.contains("is damaged") || log.contains("has lost commits"), "{log}");
}
