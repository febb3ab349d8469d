//! Rooms in JavaScript, served by the real binary, from code that was compiled before.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dormouse::code_cache_dir::CompiledCode;
use dormouse::config::Limits;
use dormouse::guest::Engine;
use hyper::Method;
use rand::Rng;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::admin::printed;
use crate::durability::{all_messages, chat_until_disconnected};
use crate::harness::Server;
use crate::room_files::{export, import};
use crate::seeds::{random_choices, seed};

const AUCTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../components/examples/javascript/dist/auction.wasm");

const ENGINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/javascript/dormouse-engine.wasm");
const CHAT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/javascript/chat.js");
const SQL_CHAT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/javascript/sql-chat.js");

/// Compile as a server does that starts on this data directory, by what tests have compiled before where they have.
fn compile_into(data: &Path, wasm: &[u8]) {
    let of_tests = Path::new(env!("CARGO_BIN_EXE_dormouse")).ancestors().nth(2).expect("it is in the target directory");
    let of_tests = of_tests.join("dormouse-compiled");
    let code = CompiledCode::open(&of_tests).expect("a directory of our own");
    // Each place of an instance needs memory maps, of which a process may have 65,530, and tests run side by side.
    let limits = Limits { awake_rooms: 10, warm_rooms: 1, requests: 5, ..Limits::default() };
    let engine = Engine::new(Arc::new(limits)).expect("an engine").with_cache(Arc::new(code));
    engine.room("auction.wasm", wasm).expect("it is a room");
    fs::create_dir(data).expect("a new directory");
    CompiledCode::open(&data.join("compiled")).expect("a directory of our own");
    for file in fs::read_dir(of_tests).expect("it is there") {
        let file = file.expect("it is there");
        fs::copy(file.path(), data.join("compiled").join(file.file_name())).expect("it can be copied");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_javascript_room_is_served_like_any_other() {
    assert!(fs::exists(AUCTION).unwrap_or(false), "the room in JavaScript is not built: run `make javascript`");
    let wasm = fs::read(AUCTION).unwrap();
    let directory = Arc::new(TempDir::new().unwrap());
    fs::write(directory.path().join("auction.wasm"), &wasm).unwrap();
    let data = directory.path().join("data");
    tokio::task::spawn_blocking(move || compile_into(&data, &wasm)).await.unwrap();
    let config = "hibernate_after = \"100ms\"\n[namespaces.ROOMS]\ncomponent = \"auction.wasm\"\n";
    let server = Server::in_directory(directory, config).await;

    let answer = server.api(Method::POST, "/rooms/lamp/messages", "host", r#"{"thing":"a lamp"}"#).await;
    assert_eq!(answer.json()["thing"], "a lamp");
    let mut ana = server.join("lamp", "ana").await;
    let mut bo = server.join("lamp", "bo").await;
    assert_eq!(ana.recv().await["bid"], 0);
    assert_eq!(bo.recv().await["bid"], 0);
    server.wait_until_all_hibernate().await;
    ana.send("5").await;
    assert_eq!(bo.recv().await["bidder"], "ana");
    let server = server.crash_and_restart().await;
    let mut bo = server.join("lamp", "bo").await;
    // The auction ends ten seconds after the bid. The restart has taken some of them, and perhaps all.
    let mut received = bo.recv().await;
    assert_eq!(received["bid"], 5);
    while received["sold"] != true {
        received = bo.recv().await;
    }
    assert_eq!(received["bidder"], "ana");
}

/// A server whose rooms are in the JavaScript engine of `dormouse build`.
async fn serve_built(source: &str, config: &str) -> Server {
    assert!(fs::exists(ENGINE).unwrap_or(false), "the JavaScript engine is not built: run `make javascript-engine`");
    let directory = Arc::new(TempDir::new().unwrap());
    let component = directory.path().join("room.wasm");
    let built = Command::new(env!("CARGO_BIN_EXE_dormouse"))
        .args(["build", source, "--no-bundle", "--engine", ENGINE])
        .args((source == SQL_CHAT).then_some("--sql"))
        .arg("-o")
        .arg(&component)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let (data, wasm) = (directory.path().join("data"), fs::read(&component).unwrap());
    tokio::task::spawn_blocking(move || compile_into(&data, &wasm)).await.unwrap();
    Server::in_directory(directory, &format!("{config}[namespaces.ROOMS]\ncomponent = \"room.wasm\"\n")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_the_javascript_engine_sleeps_between_messages() {
    let server = serve_built(CHAT, "hibernate_after = \"20ms\"\n").await;
    let mut ana = server.join("lobby", "ana").await;
    let mut bo = server.join("lobby", "bo").await;
    for number in 1..=3 {
        server.wait_until_all_hibernate().await;
        ana.send_chat(&format!("tea {number}")).await;
        for client in [&mut ana, &mut bo] {
            let message = client.recv().await["message"].take();
            assert_eq!((&message["seq"], &message["content"]), (&number.into(), &format!("tea {number}").into()));
        }
    }
    assert_eq!(all_messages(&server, "lobby").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_javascript_room_survive_kill_9_at_any_moment() {
    let mut server = serve_built(CHAT, "hibernate_after = \"5ms\"\n").await;
    let mut rng = random_choices(seed(), 0);
    let mut checked = 0;
    for round in 0..4 {
        let stored;
        (server, stored) = chat_and_crash(server, round, rng.next_u64(), &mut checked).await;
        for (index, message) in stored.iter().enumerate() {
            assert_eq!(message["seq"], index as u64 + 1, "numbers are dense");
        }
    }
    assert!(checked > 50, "only {checked} messages were seen before the crashes");
    println!("{checked} messages were seen, and all of them are there");
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_of_a_javascript_room_survives_kill_9_at_any_moment() {
    let mut server = serve_built(SQL_CHAT, "hibernate_after = \"5ms\"\n").await;
    let mut rng = random_choices(seed(), 0);
    let mut checked = 0;
    for round in 0..4 {
        let stored;
        (server, stored) = chat_and_crash(server, round, rng.next_u64(), &mut checked).await;
        for (index, message) in stored.iter().enumerate() {
            assert_eq!(message["seq"], index as u64 + 1, "numbers are dense");
        }
        let found = server.api(Method::GET, "/rooms/lobby/check", "checker", "").await.json();
        assert_eq!(found[0]["quick_check"], "ok", "SQLite finds no damage");
    }
    assert!(checked > 50, "only {checked} messages were seen before the crashes");
    println!("{checked} messages were seen, and all of them are there");
}

/// Lets four clients chat, kills the server, and checks that what they saw is stored.
async fn chat_and_crash(server: Server, round: u32, random: u64, checked: &mut u32) -> (Server, Vec<Value>) {
    let mut chats = JoinSet::new();
    for number in 0..4 {
        let name = format!("r{round}u{number}");
        let client = server.join("lobby", &name).await;
        chats.spawn(chat_until_disconnected(client, name));
    }
    tokio::time::sleep(Duration::from_millis(100 + random % 400)).await;
    let server = server.crash_and_restart().await;
    let seen = chats.join_all().await;
    let stored = all_messages(&server, "lobby").await;
    for (seq, message) in seen.iter().flatten() {
        assert_eq!(stored.get(*seq as usize - 1), Some(message), "what was seen is stored");
        *checked += 1;
    }
    (server, stored)
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_sql_does_not_stall_other_rooms() {
    let server = serve_built(SQL_CHAT, "").await;
    let mut bo = server.join("quiet", "bo").await;
    let mut ana = server.join("busy", "ana").await;
    ana.send(r#"{"endless":true}"#).await;
    for number in 0..20 {
        bo.send_chat(&format!("{number}")).await;
        assert_eq!(bo.recv().await["message"]["content"], format!("{number}"));
    }
    assert_eq!(ana.recv().await["code"], "room_failed");
    ana.send_chat("again").await;
    assert_eq!(ana.recv().await["message"]["seq"], 1);
    server.wait_for_log("CPU").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_room_takes_its_sql_with_it() {
    let server = serve_built(SQL_CHAT, "").await;
    let mut ana = server.join("lobby", "ana").await;
    for number in 1..=3 {
        ana.send_chat(&format!("tea {number}")).await;
        ana.recv().await;
    }
    let before = all_messages(&server, "lobby").await;
    let exported = export(&server, "ROOMS/lobby").await;
    printed(&import(&server, "ROOMS/copy", &exported).await);
    assert_eq!(all_messages(&server, "copy").await, before);
    let mut bo = server.join("copy", "bo").await;
    bo.send_chat("tea 4").await;
    assert_eq!(bo.recv().await["message"]["seq"], 4);
    assert_eq!(all_messages(&server, "lobby").await, before);
}
