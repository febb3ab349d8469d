//! What an operator sees of rooms and users, and does with them, through the admin listener and the commands.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use dormouse::limits;
use dormouse::model::{Address, Changes, Writes};
use dormouse::store::{CommitError, CommitListener, Receipt, Store, StoreOptions};
use futures_util::FutureExt;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::admin::{admin, command, failure, printed};
use crate::harness::{self, BASE, Client, Server, within};
use crate::seeds::rounds;

/// Rooms that fall asleep as soon as nothing happens.
const SLEEPY: &str = "hibernate_after = \"20ms\"\n";
/// A token of the admin listener.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

async fn get(server: &Server, path: &str) -> Value {
    let answer = admin(server, Method::GET, path, "").await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

async fn post(server: &Server, path: &str, body: &str) -> Value {
    let answer = admin(server, Method::POST, path, body).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

async fn delete(server: &Server, path: &str) -> harness::Answer {
    admin(server, Method::DELETE, path, "").await
}

/// Tells a room to do something, without a socket.
async fn tell(server: &Server, room: &str, told: &str) {
    let answer = server.api(Method::POST, &format!("/rooms/{room}/messages"), "robin", told).await;
    assert_eq!(answer.status, 200, "{room}: {answer:?}");
}

/// The value of a key of a room.
async fn stored(server: &Server, room: &str, key: &str) -> String {
    let answer = server.api(Method::POST, &format!("/rooms/{room}/messages"), "robin", &format!("get {key}")).await;
    answer.json().as_str().expect("a text").to_owned()
}

async fn joined(server: &Server, room: &str, user: &str) -> Client {
    let mut client = server.join(room, user).await;
    client.expect_text("welcome").await;
    client
}

fn names(page: &Value) -> Vec<String> {
    let rooms = page["rooms"].as_array().expect("a page");
    rooms.iter().map(|room| room["room"].as_str().expect("a room").to_owned()).collect()
}

/// All pages of a list of rooms.
async fn pages(server: &Server, parameters: &str) -> Vec<Vec<String>> {
    let (mut pages, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(server, &format!("/rooms?{parameters}{after}")).await;
        pages.push(names(&page));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn rooms_are_listed_in_pages_from_memory_and_disk() {
    let server = Server::unruly(SLEEPY).await;
    for room in ["a1", "a2", "a3", "a4", "b1"] {
        tell(&server, room, "put key value").await;
    }
    // These two are in memory as well, or there alone.
    let _here = [joined(&server, "a3", "ana").await, joined(&server, "a31", "bo").await];
    server.wait_until_all_hibernate().await;
    let all = ["a1", "a2", "a3", "a31", "a4", "b1"].map(|name| format!("ROOMS/{name}"));
    assert_eq!(pages(&server, "").await.concat(), all);
    for limit in 1..=6 {
        let pages = pages(&server, &format!("limit={limit}")).await;
        assert!(pages.iter().all(|page| page.len() <= limit), "{pages:?}");
        assert_eq!(pages.concat(), all, "limit {limit}");
    }
    assert_eq!(pages(&server, "prefix=a3").await.concat(), all[2..4]);
    assert_eq!(pages(&server, "prefix=a&limit=2&awake=false").await.concat(), all[..5]);
    assert_eq!(pages(&server, "awake=true").await.concat(), Vec::<String>::new());
    assert_eq!(pages(&server, "namespace=rooms&prefix=b").await.concat(), all[5..]);
    let rooms = get(&server, "/rooms?limit=3").await["rooms"].clone();
    let seen = |at: usize| ["inMemory", "awake", "sockets", "storageBytes"].map(|key| rooms[at][key].clone());
    assert_eq!(seen(0), [json!(false), json!(false), json!(0), json!(8)]);
    assert_eq!(seen(2), [json!(true), json!(false), json!(1), json!(8)]);

    let table = printed(&command(&server, &["rooms", "list", "--prefix", "a", "--limit", "3"]).await);
    assert!(table.contains("ROOMS/a1") && table.contains("on disk") && table.contains("asleep"), "{table}");
    assert!(table.contains("--after='ROOMS/a3'") && !table.contains("ROOMS/a4"), "{table}");
    for wrong in ["sort=size", "awake=yes", "after=nothing", "limit=0", "namespace=NONE", "sort=sockets&after=ROOMS/a1"]
    {
        let status = if wrong.starts_with("namespace") { 404 } else { 400 };
        admin(&server, Method::GET, &format!("/rooms?{wrong}"), "").await.is_problem(status);
    }
}

#[tokio::test]
async fn awake_rooms_are_sorted_by_what_they_use() {
    let server = Server::unruly("").await;
    let mut busy = [joined(&server, "busy", "ana").await, joined(&server, "busy", "bo").await];
    let mut large = joined(&server, "large", "cy").await;
    let _quiet = joined(&server, "quiet", "di").await;
    large.expect_reply("allocate 8; put key 0123456789; say large", "large").await;
    for _ in 0..20 {
        busy[0].expect_reply("work 3; say worked", "worked").await;
    }
    let first = async |sort: &str| names(&get(&server, &format!("/rooms?sort={sort}&limit=1")).await).remove(0);
    assert_eq!(first("sockets").await, "ROOMS/busy");
    assert_eq!(first("messages").await, "ROOMS/busy");
    assert_eq!(first("cpu").await, "ROOMS/busy");
    assert_eq!(first("memory").await, "ROOMS/large");
    assert_eq!(first("storage").await, "ROOMS/large");
    assert_eq!(first("active").await, "ROOMS/busy");
    let by_sockets = pages(&server, "sort=sockets&limit=1").await;
    assert_eq!(by_sockets.concat(), ["ROOMS/busy", "ROOMS/large", "ROOMS/quiet"], "equal ones by name, none twice");
    assert_eq!(pages(&server, "sort=sockets&awake=true&prefix=l").await.concat(), ["ROOMS/large"]);
    let shown = get(&server, "/rooms/ROOMS/large").await;
    assert!(shown["memoryBytes"].as_u64().unwrap() > 8 << 20, "{shown}");
    let table = printed(&command(&server, &["rooms", "list", "--sort", "memory", "--awake"]).await);
    assert!(
        table.lines().nth(1).is_some_and(|line| line.starts_with("ROOMS/large") && line.contains("awake")),
        "{table}"
    );
}

#[tokio::test]
async fn a_room_shows_who_is_in_it_and_why_it_is_awake() {
    let server = Server::unruly("hibernate_after = \"1h\"\n").await;
    let mut ana = joined(&server, "lobby", "ana").await;
    ana.expect_reply("tag red; put key value; timer 1000000 later; say done", "done").await;
    ana.send("panic").await;
    ana.recv_text().await;
    let _stream = server.open_event_stream(&format!("{BASE}/rooms/lobby/events?token=id-bo:bo"), &[]).await.unwrap();
    let room = get(&server, "/rooms/rooms/lobby").await;
    assert_eq!([&room["room"], &room["entries"]], [&json!("ROOMS/lobby"), &json!(1)]);
    assert!(room["component"].as_str().is_some_and(|component| component.ends_with("unruly.wasm")), "{room}");
    let deployed = get(&server, "/deploys").await["deploys"].clone();
    let deployed = deployed.as_array().unwrap().iter().find(|deployed| deployed["target"] == "ROOMS").unwrap();
    assert_eq!(room["version"], deployed["version"]["hash"]);
    assert!(room["contract"].as_str().is_some_and(|version| version.starts_with("0.1.")), "{room}");
    let clients = room["clients"].as_array().unwrap();
    let client = |at: usize| ["user", "userName", "kind", "tags"].map(|key| clients[at][key].clone());
    assert_eq!(client(0), [json!("id-ana"), json!("ana"), json!("websocket"), json!(["red"])]);
    assert_eq!(client(1), [json!("id-bo"), json!("bo"), json!("event-stream"), json!([])]);
    assert!(clients[0]["since"].as_u64() <= clients[1]["since"].as_u64() && clients[0]["queuedBytes"] == 0, "{room}");
    assert_eq!(room["nextTimers"][0]["name"], "t");
    assert_eq!([&room["lastFailures"][0]["event"], &room["lastFailures"][0]["user"]], ["message", "id-ana"]);
    assert!(room["lastFailures"][0]["error"].as_str().unwrap().contains("told to panic"), "{room}");
    let because = room["awakeBecause"].as_array().unwrap();
    assert!(
        because.iter().any(|because| because["reason"] == "timer"),
        "it is due before the room would sleep: {room}"
    );

    let shown = printed(&command(&server, &["rooms", "show", "ROOMS/lobby"]).await);
    for part in ["id-ana", "event-stream", "told to panic", "awake because of a timer, due in 16m", "red"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    admin(&server, Method::GET, "/rooms/ROOMS/nothing", "").await.is_problem(404);
    assert!(failure(&command(&server, &["rooms", "show", "ROOMS/nothing"]).await).contains("there is no such room"));
    assert!(failure(&command(&server, &["rooms", "show", "lobby"]).await).contains("NAMESPACE/NAME"));
}

#[tokio::test]
async fn a_list_says_why_its_rooms_are_awake() {
    let server = Server::unruly("hibernate_after = \"1h\"\n").await;
    let mut timed = joined(&server, "timed", "ana").await;
    timed.expect_reply("timer 1000000 later; say done", "done").await;
    let _quiet = joined(&server, "quiet", "bo").await;
    let _asleep = joined(&server, "asleep", "cy").await;
    post(&server, "/rooms/ROOMS/asleep/sleep", "").await;
    for order in ["name", "sockets", "awake"] {
        let page = get(&server, &format!("/rooms?sort={order}")).await;
        let because = |name: &str| {
            let rooms = page["rooms"].as_array().unwrap();
            rooms.iter().find(|room| room["name"] == name).unwrap()["awakeBecause"].clone()
        };
        assert_eq!(because("timed")[0]["reason"], "timer", "{page}");
        let due_at = because("timed")[0]["dueAt"].as_u64().unwrap();
        assert_eq!(get(&server, "/rooms/ROOMS/timed").await["nextTimers"][0]["dueAt"], due_at);
        // One event in the first second is a rate of one a second.
        let reason = because("quiet")[0]["reason"].clone();
        assert!(reason == "recent-event" || reason == "events", "{page}");
        assert_eq!(because("asleep"), json!([]), "{page}");
    }
    let awake = get(&server, "/rooms?sort=awake").await["rooms"].clone();
    assert!(awake[0]["since"].as_u64() <= awake[1]["since"].as_u64(), "the longest time first: {awake}");
    assert_eq!(pages(&server, "sort=awake&limit=1").await.concat()[2], "ROOMS/asleep");
}

#[tokio::test]
async fn rooms_and_users_with_names_that_no_url_has_are_reached() {
    let server = Server::unruly("").await;
    let path = format!("{BASE}/rooms/%2e%2e/ws?token=..:dots");
    let mut dots = server.connect(&path, &[]).await.expect("it lets us in");
    dots.expect_text("welcome").await;
    let _other = joined(&server, "-", "ana").await;
    for (name, sent) in [("..", "-?name=.."), ("-", "-")] {
        assert_eq!(get(&server, &format!("/rooms/ROOMS/{sent}")).await["name"], name);
    }
    assert_eq!(get(&server, "/users/-?user=..").await["clients"][0]["room"], "ROOMS/..");
    assert_eq!(get(&server, "/users/-").await["user"], "-");
    assert_eq!(post(&server, "/rooms/ROOMS/-/broadcast?name=..", r#"{"text":"hello"}"#).await["sockets"], 1);
    dots.expect_text("hello").await;
    admin(&server, Method::GET, "/users/-?user=..&user=x", "").await.is_problem(400);
    admin(&server, Method::GET, "/users/id-ana?user=..", "").await.is_problem(400);
}

#[tokio::test]
async fn looking_at_a_room_keeps_it_neither_awake_nor_in_memory() {
    let server = Server::unruly(SLEEPY).await;
    tell(&server, "lobby", "put key value").await;
    let mut ana = joined(&server, "garden", "ana").await;
    ana.expect_reply("timer 1000000 later; say done", "done").await;
    server.wait_until_all_hibernate().await;
    for _ in 0..3 {
        let lobby = get(&server, "/rooms/ROOMS/lobby").await;
        assert_eq!(
            [&lobby["inMemory"], &lobby["storageBytes"], &lobby["awakeBecause"]],
            [&json!(false), &json!(8), &json!([])]
        );
        let garden = get(&server, "/rooms/ROOMS/garden").await;
        assert_eq!([&garden["awake"], &garden["sockets"], &garden["timers"]], [&json!(false), &json!(1), &json!(1)]);
        assert_eq!(garden["clients"][0]["user"], "id-ana");
        assert_eq!(server.rooms_running().await, 0, "no task was started");
    }
    ana.expect_reply("events; say done", "done").await;
}

#[tokio::test]
async fn storage_is_shown_by_prefix_and_in_pages() {
    let server = Server::unruly("").await;
    let mut ana = joined(&server, "lobby", "ana").await;
    for (key, value) in [("a1", r#"{"x":1}"#), ("a2", "plain"), ("b", "other")] {
        ana.send(&format!("put {key} {value}")).await;
    }
    ana.send(&format!("put long {}", "é".repeat(5_000))).await;
    ana.expect_reply("say done", "done").await;
    let at = "/rooms/ROOMS/lobby/storage";
    let page = get(&server, &format!("{at}?prefix=a")).await;
    let expected = json!([
        { "key": "a1", "json": { "x": 1 }, "bytes": 7, "cut": false },
        { "key": "a2", "text": "plain", "bytes": 5, "cut": false },
    ]);
    assert_eq!([&page["entries"], &page["next"]], [&expected, &Value::Null]);
    let first = get(&server, &format!("{at}?limit=3&format=hex")).await;
    assert_eq!([&first["entries"][1]["hex"], &first["next"]], ["706c61696e", "62"]);
    let rest = get(&server, &format!("{at}?after=62")).await;
    assert_eq!([&rest["entries"][0]["cut"], &rest["entries"][0]["bytes"]], [&json!(true), &json!(10_000)]);
    assert!(rest["entries"][0]["text"].as_str().unwrap().len() <= 4 << 10);
    let full = get(&server, &format!("{at}?prefixHex=6c6f&full=true")).await;
    assert_eq!(full["entries"][0]["text"].as_str().unwrap().len(), 10_000);
    let shown = printed(&command(&server, &["rooms", "storage", "ROOMS/lobby", "--prefix", "a"]).await);
    assert_eq!(shown, "a1 = {\"x\":1}\na2 = plain\n");
    for wrong in ["format=xml", "after=zz", "prefix=a&prefixHex=61", "full=1", "limit=1001"] {
        admin(&server, Method::GET, &format!("{at}?{wrong}"), "").await.is_problem(400);
    }
}

#[tokio::test]
async fn users_are_listed_shown_and_disconnected() {
    let server = Server::unruly("").await;
    let mut ana =
        [joined(&server, "a", "ana").await, joined(&server, "b", "ana").await, joined(&server, "b", "ana").await];
    let mut bo = joined(&server, "b", "bo").await;
    let page = get(&server, "/users?limit=1").await;
    assert_eq!(page["users"], json!([{ "user": "id-ana", "userName": "ana", "sockets": 3, "rooms": 2 }]));
    let page = get(&server, &format!("/users?limit=1&after={}", page["next"].as_str().unwrap())).await;
    assert_eq!([&page["users"][0]["user"], &page["next"]], [&json!("id-bo"), &Value::Null]);
    assert_eq!(get(&server, "/users?prefix=id-c").await["users"], json!([]));
    let shown = get(&server, "/users/id-ana").await;
    let rooms = shown["clients"].as_array().unwrap().iter().map(|client| client["room"].as_str().unwrap());
    assert_eq!(rooms.collect::<Vec<_>>(), ["ROOMS/a", "ROOMS/b", "ROOMS/b"]);
    let table = printed(&command(&server, &["users", "list"]).await);
    assert!(table.contains("id-ana") && table.contains("id-bo"), "{table}");
    assert!(printed(&command(&server, &["users", "show", "id-ana"]).await).contains("websocket"));

    let said = printed(&command(&server, &["users", "disconnect", "id-ana", "--room", "rooms/b"]).await);
    assert_eq!(said, "2 sockets are closed\n");
    for client in &mut ana[1..] {
        assert_eq!(client.recv_close().await, (4410, "disconnected by the operator".into()));
    }
    bo.expect_reply("say still here", "still here").await;
    ana[0].expect_reply("say still here", "still here").await;
    // A socket is listed until its connection has ended.
    within(async {
        while get(&server, "/users/id-ana").await["sockets"] != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(post(&server, "/users/id-ana/disconnect", "").await, json!({ "closed": 1 }));
    assert_eq!(ana[0].recv_close().await.0, 4410);
    joined(&server, "a", "ana").await.expect_reply("say back", "back").await;
    let actions = get(&server, "/audit").await["entries"].clone();
    assert_eq!([&actions[0]["target"], &actions[0]["detail"]["room"]], ["user id-ana", "ROOMS/b"]);
    for wrong in [r#"{"room":"x"}"#, r#"{"rom":"ROOMS/b"}"#, "nonsense"] {
        admin(&server, Method::POST, "/users/id-ana/disconnect", wrong).await.is_problem(400);
    }
}

#[tokio::test]
async fn a_room_is_closed_told_something_and_put_to_sleep() {
    let server = Server::unruly("hibernate_after = \"1h\"\n").await;
    let mut ana = joined(&server, "lobby", "ana").await;
    let mut bo = joined(&server, "garden", "bo").await;
    let said = printed(&command(&server, &["rooms", "broadcast", "ROOMS/lobby", "maintenance at noon"]).await);
    assert_eq!(said, "sent to 1 socket\n");
    ana.expect_text("maintenance at noon").await;

    assert_eq!(printed(&command(&server, &["rooms", "sleep", "ROOMS/garden"]).await), "asleep\n");
    assert_eq!(get(&server, "/rooms/ROOMS/garden").await["awake"], false);
    assert_eq!(post(&server, "/rooms/ROOMS/garden/sleep", "").await["wasAwake"], false);
    bo.expect_reply("events; say done", "done").await;
    bo.send("timer 1000000 later").await;
    bo.expect_reply("say set", "set").await;
    let slept = post(&server, "/rooms/ROOMS/garden/sleep", "").await;
    assert_eq!([&slept["asleep"], &slept["awakeBecause"][0]["reason"]], [&json!(true), &json!("timer")]);

    let said = printed(&command(&server, &["rooms", "close", "ROOMS/lobby", "--reason", "closing time"]).await);
    assert_eq!(said, "1 socket is closed\n");
    assert_eq!(ana.recv_close().await, (4410, "closing time".into()));
    bo.expect_reply("say still here", "still here").await;
    for (path, body, status) in [
        ("/rooms/ROOMS/lobby/close", json!({ "reason": "x".repeat(124) }).to_string(), 400),
        ("/rooms/ROOMS/lobby/broadcast", String::new(), 400),
        ("/rooms/ROOMS/lobby/broadcast", json!({ "text": "x".repeat(100_000) }).to_string(), 413),
    ] {
        admin(&server, Method::POST, path, &body).await.is_problem(status);
    }
    // Rooms that are not in memory have no sockets, and none of this wakes them.
    for (action, body) in [("close", ""), ("broadcast", r#"{"text":"x"}"#), ("sleep", "")] {
        post(&server, &format!("/rooms/ROOMS/nothing/{action}"), body).await;
    }
    admin(&server, Method::GET, "/rooms/ROOMS/nothing", "").await.is_problem(404);
}

#[tokio::test]
async fn a_deleted_room_comes_back_empty_also_after_kill_9() {
    let mut server = Server::unruly(SLEEPY).await;
    let mut incarnations = BTreeSet::new();
    for round in 0..3 {
        tell(&server, "lobby", &format!("put key {round}")).await;
        tell(&server, "lobby", "timer 1000000 all late").await;
        tell(&server, "other", "put key stays").await;
        let before = get(&server, "/rooms/ROOMS/lobby").await;
        assert_eq!([&before["entries"], &before["timers"]], [&json!(1), &json!(1)]);
        assert!(incarnations.insert(before["incarnation"].as_str().unwrap().to_owned()), "{before}");
        let answer = delete(&server, "/rooms/ROOMS/lobby").await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({ "deleted": "ROOMS/lobby", "closed": 0 })));
        if round > 0 {
            server = server.crash_and_restart().await;
        }
        admin(&server, Method::GET, "/rooms/ROOMS/lobby", "").await.is_problem(404);
        assert_eq!(stored(&server, "lobby", "key").await, "");
        assert_eq!(stored(&server, "other", "key").await, "stays");
        // The commit numbers go on, because other rooms remember those of posts.
        tell(&server, "lobby", "put another value").await;
        let after = get(&server, "/rooms/ROOMS/lobby").await;
        assert!(after["commit"].as_u64() > before["commit"].as_u64(), "{before} {after}");
        assert_eq!([&after["entries"], &after["timers"]], [&json!(1), &json!(0)]);
        assert_eq!(delete(&server, "/rooms/ROOMS/lobby").await.status, 200);
        incarnations.insert(after["incarnation"].as_str().unwrap().to_owned());
    }
    assert_eq!(incarnations.len(), 6);
    delete(&server, "/rooms/ROOMS/lobby").await.is_problem(404);
    assert!(failure(&command(&server, &["rooms", "delete", "ROOMS/lobby"]).await).contains("there is no such room"));
    assert_eq!(printed(&command(&server, &["rooms", "delete", "ROOMS/other"]).await), "ROOMS/other is deleted\n");
}

#[tokio::test]
async fn a_room_with_sockets_is_deleted_only_by_force() {
    let server = Server::unruly("").await;
    let mut ana = joined(&server, "lobby", "ana").await;
    ana.expect_reply("put key value; incarnation; say done", "done").await;
    delete(&server, "/rooms/ROOMS/lobby").await.is_problem(409);
    ana.expect_reply("get key", "key=value").await;
    let said = printed(&command(&server, &["rooms", "delete", "ROOMS/lobby", "--force"]).await);
    assert_eq!(said, "ROOMS/lobby is deleted; sockets that were closed: 1\n");
    assert_eq!(ana.recv_close().await, (4410, "the room was deleted".into()));
    joined(&server, "lobby", "ana").await.expect_reply("get key", "key=").await;
}

#[tokio::test]
async fn a_very_large_room_leaves_nothing_behind_after_its_deletion() {
    let server = Server::unruly(SLEEPY).await;
    let mut ana = joined(&server, "large", "ana").await;
    // More entries than one commit removes.
    for round in 0..3 {
        let puts = (0..900).map(|number| format!("put {round}-{number} x")).collect::<Vec<_>>().join(";");
        ana.expect_reply(&format!("{puts};say {round}"), &round.to_string()).await;
    }
    ana.close().await;
    let server = {
        assert_eq!(delete(&server, "/rooms/ROOMS/large?force=true").await.status, 200);
        server.crash_and_restart().await
    };
    tell(&server, "large", "put key value").await;
    let room = get(&server, "/rooms/ROOMS/large").await;
    assert_eq!([&room["entries"], &room["storageBytes"]], [&json!(1), &json!(8)]);
}

/// Writes 200 numbers, and returns those that were answered.
async fn write_numbers(address: SocketAddr, user: usize) -> BTreeSet<String> {
    let mut answered = BTreeSet::new();
    for number in 0..200 {
        let path = format!("{BASE}/rooms/lobby/messages");
        let authorization = format!("Bearer id-{user}:{user}");
        let headers = [("authorization", authorization.as_str())];
        let put = format!("put {user}-{number} {number}");
        let answer = harness::request(address, Method::POST, &path, &headers, &put).await;
        match answer.status.as_u16() {
            200 => drop(answered.insert(format!("{user}-{number}"))),
            // Events that wait for the old room get no answer.
            503 => {}
            other => panic!("{other}: {answer:?}"),
        }
    }
    answered
}

/// Each client writes numbers and is answered when they are durable. What was answered by the room that came after the
/// deletion is there in the end, and nothing else: not the entry from before.
#[tokio::test]
async fn a_room_is_deleted_while_clients_write() {
    let server = Server::unruly("").await;
    tell(&server, "lobby", "put before the-deletion").await;
    let writers = (0..4).map(|user| tokio::spawn(write_numbers(server.address, user))).collect::<Vec<_>>();
    let mut ana = joined(&server, "lobby", "ana").await;
    let answer = delete(&server, "/rooms/ROOMS/lobby?force=true").await;
    assert_eq!((answer.status, &answer.json()["closed"]), (StatusCode::OK, &json!(1)));
    assert_eq!(ana.recv_close().await.0, 4410);
    let mut answered = BTreeSet::new();
    for writer in writers {
        answered.extend(writer.await.unwrap());
    }
    let mut kept = BTreeSet::new();
    let mut after = String::new();
    loop {
        let page = get(&server, &format!("/rooms/ROOMS/lobby/storage?limit=1000{after}")).await;
        let entries = page["entries"].as_array().unwrap().iter();
        kept.extend(entries.map(|entry| entry["key"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let unknown = kept.difference(&answered).collect::<Vec<_>>();
    assert!(unknown.is_empty(), "kept, and not answered: {unknown:?}");
    for user in 0..4 {
        // The deletion took a beginning of what each client wrote, and nothing behind it.
        let of_user = |keys: &BTreeSet<String>| {
            let numbers = keys.iter().filter_map(|key| key.strip_prefix(&format!("{user}-"))?.parse::<u32>().ok());
            numbers.collect::<BTreeSet<_>>()
        };
        let (kept, answered) = (of_user(&kept), of_user(&answered));
        let behind = answered.iter().filter(|number| kept.first().is_some_and(|first| *number >= first));
        assert!(behind.eq(kept.iter()), "answered {answered:?}, kept {kept:?}");
    }
}

/// The lines of a tail.
pub(crate) struct Tailing(BufReader<TcpStream>);

impl Tailing {
    pub(crate) async fn open(server: &Server, parameters: &str) -> Self {
        let mut stream = TcpStream::connect(server.admin_address()).await.unwrap();
        let request = format!("GET /tail{parameters} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut tail = Tailing(BufReader::new(stream));
        assert!(tail.line().await.contains("200"), "it is accepted");
        while !tail.line().await.trim().is_empty() {}
        tail
    }

    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = within(self.0.read_line(&mut line)).await.unwrap();
        assert!(read > 0, "it goes on");
        line
    }

    /// The next line of a type; other lines are skipped.
    async fn next(&mut self, kind: &str) -> Value {
        within(async {
            loop {
                let line: Value = serde_json::from_str(&self.line().await).unwrap();
                if line["type"] == kind {
                    return line;
                }
            }
        })
        .await
    }
}

#[tokio::test]
async fn a_tail_shows_turns_commits_failures_and_log_lines() {
    let server = Server::unruly("").await;
    let mut everything = Tailing::open(&server, "").await;
    let mut lobby = Tailing::open(&server, "?room=rooms/lobby").await;
    let mut of_bo = Tailing::open(&server, "?user=id-bo").await;
    let mut ana = joined(&server, "lobby", "ana").await;
    let mut bo = joined(&server, "garden", "bo").await;
    bo.expect_reply("put key value; say 1", "1").await;
    ana.expect_reply("put key value; say 1", "1").await;
    ana.send("panic").await;
    ana.recv_text().await;
    ana.send("log").await;

    let connect = lobby.next("turn").await;
    assert_eq!([&connect["room"], &connect["event"], &connect["user"]], ["ROOMS/lobby", "connect", "id-ana"]);
    let put = lobby.next("turn").await;
    assert_eq!([&put["event"], &put["bytes"], &put["outputs"]], [&json!("message"), &json!(20), &json!(1)]);
    assert!(put["cpuMicros"].as_u64() > Some(0), "{put}");
    let commit = lobby.next("commit").await;
    assert_eq!([&commit["commit"], &commit["turns"]], [&put["commit"], &json!(1)]);
    let failed = lobby.next("failure").await;
    assert_eq!([&failed["event"], &failed["user"]], ["message", "id-ana"]);
    assert!(failed["error"].as_str().unwrap().contains("told to panic"), "{failed}");
    let log = lobby.next("log").await;
    assert_eq!([&log["level"], &log["line"]], ["info", "line 0"]);

    assert_eq!(of_bo.next("turn").await["event"], "connect");
    let of_bo = of_bo.next("turn").await;
    assert_eq!([&of_bo["room"], &of_bo["event"]], ["ROOMS/garden", "message"]);
    let mut rooms = BTreeSet::new();
    while rooms.len() < 2 {
        rooms.insert(everything.next("turn").await["room"].as_str().unwrap().to_owned());
    }
    for wrong in ["?room=lobby", "?room=ROOMS/a&user=b", "?rooms=x"] {
        admin(&server, Method::GET, &format!("/tail{wrong}"), "").await.is_problem(400);
    }
    let printing = command(&server, &["tail", "--room", "ROOMS/lobby", "--lines", "1"]);
    let talking = async {
        loop {
            ana.expect_reply("say again", "again").await;
        }
    };
    let output = tokio::select! {
        output = printing => printed(&output),
        () = talking => unreachable!(),
    };
    assert!(output.contains("ROOMS/lobby message of id-ana ") && output.contains(" ms, 1 output, commit "), "{output}");
}

#[tokio::test]
async fn a_tail_whose_client_has_gone_frees_its_place_at_once() {
    let server = Server::unruly("").await;
    let mut tails = Vec::new();
    for _ in 0..limits::TAIL_READERS {
        tails.push(Tailing::open(&server, "").await);
    }
    admin(&server, Method::GET, "/tail", "").await.is_problem(503);
    let closed = Instant::now();
    tails.clear();
    let freed = async {
        let request = b"GET /tail HTTP/1.0\r\nhost: localhost\r\n\r\n";
        for _ in 0..limits::TAIL_READERS {
            let mut answer = String::new();
            while !answer.contains(" 200 ") {
                let mut stream = TcpStream::connect(server.admin_address()).await.unwrap();
                stream.write_all(request).await.unwrap();
                answer.clear();
                let mut stream = BufReader::new(stream);
                stream.read_line(&mut answer).await.unwrap();
                tails.push(Tailing(stream));
            }
        }
    };
    within(freed).await;
    assert!(closed.elapsed() < Duration::from_secs(8), "they were freed only by a sign of life");
}

#[tokio::test]
async fn a_slow_reader_of_a_tail_is_told_how_much_it_lost() {
    let server = Server::unruly("").await;
    let mut slow = Tailing::open(&server, "?room=ROOMS/lobby").await;
    let mut ana = joined(&server, "lobby", "ana").await;
    let long = "x".repeat(900);
    // Until the buffers of the connection are full, and many lines beyond.
    let mut sent = 0_u64;
    let lost = within(async {
        loop {
            for _ in 0..5_000 {
                ana.send(&format!("fail {long}")).await;
                sent += 1;
                ana.recv_text().await;
            }
            // It reads nothing meanwhile, so lines are lost as soon as the connection takes no more.
            if sent >= 20_000 {
                break;
            }
        }
        let (mut failures, mut lost) = (0, 0);
        while failures + lost < sent {
            let line: Value = serde_json::from_str(&slow.line().await).unwrap();
            match line["type"].as_str().unwrap() {
                "failure" => failures += 1,
                "lost" => lost += line["lines"].as_u64().unwrap(),
                _ => {}
            }
        }
        assert_eq!(failures + lost, sent);
        lost
    })
    .await;
    assert!(lost > 0, "of {sent} lines");
    ana.expect_reply("say on", "on").await;
}

/// Counts the commits that became durable.
struct Counted(Sender<()>);

impl CommitListener for Counted {
    fn committed(&self, _: Receipt, _: bool) {
        self.0.send(()).unwrap();
    }

    fn failed(&self, error: &CommitError) {
        panic!("{error}");
    }
}

/// Makes a data directory with so many rooms, each with one entry.
fn store_rooms(data: &Path, count: u64) {
    let store = Store::open(data, StoreOptions::default()).unwrap();
    let (durable, is_durable) = channel();
    let listener = Arc::new(Counted(durable));
    for number in 0..count {
        let address = Address::new("ROOMS", &format!("room-{number:07}")).unwrap();
        let opened = store.open_room(&address, None).now_or_never().expect("an embedded store opens rooms at once");
        let mut log = opened.unwrap().log;
        let writes = Writes::from([("key".into(), Some("value".into()))]);
        log.commit(1, Changes { writes, ..Changes::default() }, listener.clone()).unwrap();
        // Not all of them wait at once.
        if number % 10_000 == 9_999 {
            (0..10_000).for_each(|_| is_durable.recv().unwrap());
        }
    }
    (0..count % 10_000).for_each(|_| is_durable.recv().unwrap());
    store.close();
}

/// With `DORMOUSE_TEST_ROUNDS=1000` there are a million, and the printed times are those of a million.
#[tokio::test]
async fn many_stored_rooms_are_listed_a_page_at_a_time() {
    let count = rounds(3) * 1_000;
    let directory = Arc::new(TempDir::new().unwrap());
    fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).unwrap();
    let data = directory.path().join("data");
    tokio::task::spawn_blocking(move || store_rooms(&data, count)).await.unwrap();
    let server = Server::in_directory(directory, "[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n").await;
    let _ana = joined(&server, "room-0000001", "ana").await;
    let middle = format!("after=ROOMS/room-{:07}", count / 2);
    for parameters in
        ["limit=100", "limit=1000", &middle, "prefix=room-00001", "awake=false", "sort=sockets", "prefix=x"]
    {
        let began = Instant::now();
        let page = get(&server, &format!("/rooms?{parameters}")).await;
        eprintln!("{count} rooms, {parameters}: {} rooms in {:?}", names(&page).len(), began.elapsed());
    }
    let (mut listed, mut after, mut longest) = (0, String::new(), Duration::ZERO);
    loop {
        let began = Instant::now();
        let page = get(&server, &format!("/rooms?limit=1000{after}")).await;
        longest = longest.max(began.elapsed());
        listed += names(&page).len() as u64;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    eprintln!("{count} rooms: all pages of 1,000, the longest took {longest:?}");
    assert_eq!(listed, count);
}

/// Every route, with a method that it has.
const ROUTES: [(&str, &str); 15] = [
    ("GET", "/audit"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/revocations"),
    ("POST", "/revocations"),
    ("GET", "/rooms"),
    ("GET", "/rooms/ROOMS/lobby"),
    ("DELETE", "/rooms/ROOMS/lobby"),
    ("GET", "/rooms/ROOMS/lobby/storage"),
    ("POST", "/rooms/ROOMS/lobby/close"),
    ("POST", "/rooms/ROOMS/lobby/sleep"),
    ("GET", "/tail"),
    ("GET", "/users"),
    ("GET", "/users/id-ana"),
    ("POST", "/users/id-ana/disconnect"),
];

#[tokio::test]
async fn every_admin_route_is_closed_to_those_without_the_token_and_to_pages() {
    let directory = Arc::new(TempDir::new().unwrap());
    let token_file = directory.path().join("admin.token");
    fs::write(&token_file, TOKEN).unwrap();
    fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).unwrap();
    let config = format!(
        "[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = {token_file:?}\n[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n"
    );
    let server = Server::in_directory(directory.clone(), &config).await;
    let mut ana = joined(&server, "lobby", "ana").await;
    ana.expect_reply("put key value; say done", "done").await;
    let right = format!("Bearer {TOKEN}");
    let wrong = format!("Bearer {}x", &TOKEN[1..]);
    for (method, path) in ROUTES {
        let ask = async |headers: &[(&str, &str)]| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            loop {
                let answer = harness::request(server.admin_address(), method.clone(), path, headers, "").await;
                // Too many of them from one address.
                if answer.status != 429 {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        for headers in [&[][..], &[("authorization", &*wrong)], &[("cookie", &*right)], &[("authorization", TOKEN)]] {
            ask(headers).await.is_problem(401);
        }
        for page in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
            ask(&[("authorization", &right), page]).await.is_problem(403);
        }
    }
    ana.expect_reply("get key", "key=value").await;
}

#[tokio::test]
async fn hostile_names_do_no_harm_in_a_terminal() {
    let server = Server::unruly("").await;
    let names = ["<img src=x onerror=alert(1)>", "\u{202e}gnp.exe", "\u{200b}", "rooms\u{2028}", "\u{feff}x\u{e0041}"];
    let long = "é".repeat(64);
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let mut clients = Vec::new();
    for name in names.iter().copied().chain([&*long]) {
        let path = format!("{BASE}/rooms/{}/ws?token=id{}:{}", encode(name), clients.len(), encode(name));
        let mut client = server.connect(&path, &[]).await.unwrap();
        client.expect_text("welcome").await;
        client.expect_reply("tag \u{1b}]0 owned\u{7}\u{9b}2J; say done", "done").await;
        client.send("fail \u{1b}[2Jcleared").await;
        client.recv_text().await;
        clients.push(client);
    }
    let room = format!("ROOMS/{}", names[1]);
    for args in [
        &["rooms", "list"][..],
        &["rooms", "list", "--json"],
        &["rooms", "list", "--limit", "2"],
        &["rooms", "show", &room],
        &["rooms", "show", &room, "--json"],
        &["rooms", "broadcast", &room, "x"],
        &["rooms", "delete", &room, "--force"],
        &["users", "list"],
        &["users", "list", "--json"],
        &["users", "show", "id0"],
        &["audit"],
        &["audit", "--json"],
    ] {
        let output = printed(&command(&server, args).await);
        let is_harmful = |char: char| {
            (char.is_control() && char != '\n')
                || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}' | '\u{e0041}')
        };
        let harmful = output.chars().find(|char| is_harmful(*char));
        assert_eq!(harmful, None, "{args:?}: {}", output.escape_unicode());
    }
    let missing = failure(&command(&server, &["rooms", "show", &format!("NONE\u{1b}[2J/{}", names[1])]).await);
    assert!(!missing.contains('\u{1b}') && !missing.contains('\u{202e}'), "{}", missing.escape_unicode());
    let shown = printed(&command(&server, &["rooms", "show", &format!("ROOMS/{long}")]).await);
    assert!(shown.contains(&long), "{shown}");
    // A page that shows the JSON as a document gets no HTML.
    let listed = admin(&server, Method::GET, "/rooms", "").await;
    assert_eq!(listed.header("content-type"), "application/json");
}
