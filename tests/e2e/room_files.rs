//! One room as a file: exports and imports through the admin listener.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, Response};
use rand::RngExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::admin::{command, failure, printed};
use crate::command_line;
use crate::harness::{Server, within};
use crate::outbound::{RemoteServer, caller_server, run_command};
use crate::seeds::{random_choices, seed};

/// Lines with their end.
fn with_end(lines: &[Value]) -> String {
    let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let sha256 = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{text}{}\n", json!({ "kind": "end", "lines": lines.len(), "sha256": sha256 }))
}

fn header(entries: &[(String, String)]) -> Value {
    let bytes = entries.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    json!({
        "kind": "room", "version": 1, "namespace": "ROOMS", "name": "made", "component": null, "contract": null,
        "dormouse": "0.1.0", "exported": 0, "commit": 1, "entries": entries.len(), "timers": 0, "posts": 0,
        "accepted": 0, "bytes": bytes,
    })
}

fn lines(entries: &[(String, String)]) -> Vec<Value> {
    let entry = |(key, value): &(String, String)| json!({ "kind": "entry", "key": key, "value": value });
    [header(entries)].into_iter().chain(entries.iter().map(entry)).collect()
}

/// A room with these entries, as an export shows it.
pub(crate) fn room_file(entries: &[(String, String)]) -> String {
    with_end(&lines(entries))
}

/// `dormouse rooms import`, with this on stdin.
pub(crate) async fn import(server: &Server, room: &str, file: &str) -> Output {
    import_at(server.admin_address(), room, file, &[]).await
}

async fn import_by_force(server: &Server, room: &str, file: &str) -> Output {
    import_at(server.admin_address(), room, file, &["--force"]).await
}

async fn import_at(admin: SocketAddr, room: &str, file: &str, args: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dormouse"))
        .args(["rooms", "import", room, "--admin", &format!("http://{admin}")])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let (mut stdin, file) = (child.stdin.take().expect("it is piped"), file.to_owned());
    let run = move || {
        // A refused import does not read everything.
        let _ = stdin.write_all(file.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("it ends")
    };
    tokio::task::spawn_blocking(run).await.expect("the command runs")
}

pub(crate) async fn export(server: &Server, room: &str) -> String {
    printed(&command(server, &["rooms", "export", room]).await)
}

/// The lines between the first and the last.
fn content(export: &str) -> Vec<&str> {
    let lines = export.lines().collect::<Vec<_>>();
    lines[1..lines.len() - 1].to_vec()
}

/// The same as JSON: its keys may have another order.
fn values(export: &str) -> Vec<Value> {
    content(export).into_iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn send_messages(server: &Server, room: &str, count: usize) {
    let mut ana = server.join(room, "ana").await;
    for number in 0..count {
        ana.send_chat(&format!("message {number} \"quoted\" \u{202e}\u{1f600}")).await;
        ana.recv_content().await;
    }
}

async fn messages(server: &Server, room: &str) -> Value {
    server.api(Method::GET, &format!("/rooms/{room}/messages?limit=500"), "ana", "").await.json()["messages"].take()
}

#[tokio::test]
async fn an_imported_room_equals_the_exported_one() {
    let (server, other) = tokio::join!(Server::start(), Server::start());
    send_messages(&server, "lobby", 30).await;
    let exported = export(&server, "ROOMS/lobby").await;
    let first: Value = serde_json::from_str(exported.lines().next().unwrap()).unwrap();
    assert_eq!((&first["name"], &first["component"]), (&json!("lobby"), &json!("builtin:chat-room")));
    assert!(first["contract"].as_str().unwrap().starts_with("dormouse:room@"), "{first}");
    for (target, room) in [(&other, "lobby"), (&server, "copy")] {
        let said = printed(&import(target, &format!("ROOMS/{room}"), &exported).await);
        assert!(said.starts_with(&format!("imported ROOMS/{room}: {} entries", first["entries"])), "{said}");
        assert_eq!(content(&export(target, &format!("ROOMS/{room}")).await), content(&exported));
        assert_eq!(messages(target, room).await, messages(&server, "lobby").await);
        send_messages(target, room, 1).await;
        assert_eq!(messages(target, room).await.as_array().unwrap().last().unwrap()["seq"], 31);
    }
    let again = other.crash_and_restart().await;
    assert_eq!(messages(&again, "lobby").await.as_array().unwrap().len(), 31);
}

#[tokio::test]
async fn a_deleted_room_comes_back_by_its_export() {
    let server = Server::unruly("").await;
    let visit = async |commands: &str| {
        let mut ana = server.join("lobby", "ana").await;
        ana.expect_text("welcome").await;
        ana.send(commands).await;
        let incarnation = ana.recv_text().await;
        ana.close().await;
        incarnation
    };
    let first = visit("put k v; incarnation").await;
    let exported = export(&server, "ROOMS/lobby").await;
    printed(&command(&server, &["rooms", "delete", "ROOMS/lobby", "--force"]).await);
    failure(&command(&server, &["rooms", "export", "ROOMS/lobby"]).await);
    printed(&import(&server, "ROOMS/lobby", &exported).await);
    assert_eq!(content(&export(&server, "ROOMS/lobby").await), content(&exported));
    assert_ne!(visit("incarnation").await, first, "numbers that clients know may stand for other messages");
}

#[tokio::test]
async fn an_export_of_an_awake_room_is_a_state_between_two_turns() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    // Both keys change in each turn.
    for number in 0..50 {
        ana.send(&format!("put a {number}; put b {number}; say done")).await;
    }
    ana.expect_text("done").await;
    for _ in 0..10 {
        let exported = export(&server, "ROOMS/lobby").await;
        let value = |line: &&str| serde_json::from_str::<Value>(line).unwrap()["value"].clone();
        let values = content(&exported).iter().map(value).collect::<Vec<_>>();
        assert_eq!(values[0], values[1], "{exported}");
    }
    for _ in 1..50 {
        ana.expect_text("done").await;
    }
    let exported = export(&server, "ROOMS/lobby").await;
    assert!(content(&exported)[0].contains("\"49\""), "acknowledged, so it is there: {exported}");
}

#[tokio::test]
async fn timers_of_an_imported_room_fire() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply("timer 3600000 say late; put k v; say set", "set").await;
    let exported = export(&server, "ROOMS/lobby").await;
    let mut lines = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    lines.pop();
    let timer = lines.iter_mut().find(|line| line["kind"] == "timer").expect("it has one");
    timer["at"] = json!(1);
    printed(&import(&server, "ROOMS/other", &with_end(&lines)).await);
    within(async {
        while !export(&server, "ROOMS/other").await.contains("\"fired\"") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_import_refuses_a_room_that_exists_or_is_in_use() {
    let server = Server::start().await;
    send_messages(&server, "lobby", 1).await;
    let exported = export(&server, "ROOMS/lobby").await;
    let said = failure(&import(&server, "ROOMS/lobby", &exported).await);
    assert!(said.contains("the room exists already") && said.contains("409"), "{said}");
    assert_eq!(content(&export(&server, "ROOMS/lobby").await), content(&exported), "it is as it was");
    let unruly = Server::unruly("").await;
    let mut ana = unruly.join("used", "ana").await;
    ana.expect_text("welcome").await;
    let said = failure(&import_by_force(&unruly, "ROOMS/used", &exported).await);
    assert!(said.contains("or has sockets"), "{said}");
    ana.expect_reply("say still here", "still here").await;
}

#[tokio::test]
async fn a_room_of_another_component_is_imported_only_by_force() {
    let server = Server::start().await;
    send_messages(&server, "lobby", 1).await;
    let exported = export(&server, "rooms/lobby").await;
    assert_eq!(content(&exported), content(&export(&server, "ROOMS/lobby").await), "a namespace as in a path");
    let said = failure(&import(&server, "presence/lobby", &exported).await);
    assert!(
        said.contains("exported from builtin:chat-room, and PRESENCE runs builtin:presence-tracker")
            && said.contains("nothing was imported")
            && said.contains("--force"),
        "{said}"
    );
    let nothing = failure(&command(&server, &["rooms", "export", "presence/lobby"]).await);
    assert!(nothing.contains("there is no room PRESENCE/lobby with stored data"), "{nothing}");
    printed(&import_by_force(&server, "presence/lobby", &exported).await);
    assert_eq!(content(&export(&server, "PRESENCE/lobby").await), content(&exported));
    printed(&import(&server, "rooms/copy", &exported).await);
    // The same component in another folder is no other one.
    let line = exported.lines().next().unwrap();
    let mut header: Value = serde_json::from_str(line).unwrap();
    header["component"] = "elsewhere/builtin:chat-room".into();
    let lines = content(&exported).into_iter().map(|line| serde_json::from_str(line).unwrap());
    let moved = with_end(&[header].into_iter().chain(lines).collect::<Vec<_>>());
    printed(&import(&server, "rooms/moved", &moved).await);
}

#[tokio::test]
async fn an_import_refuses_files_that_are_not_whole_and_right() {
    let server = Server::start().await;
    let entries = [("a", "1"), ("b", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let good = room_file(&entries);
    let changed = |change: fn(&mut Vec<Value>)| {
        let mut lines = lines(&entries);
        change(&mut lines);
        with_end(&lines)
    };
    let too_long = "x".repeat((2 << 20) + 1);
    for (file, part) in [
        (String::new(), "incomplete"),
        ("hello\n".into(), "this is not an exported room"),
        (good.lines().take(3).map(|line| format!("{line}\n")).collect(), "incomplete"),
        (good.replace("\"2\"", "\"3\""), "the checksum does not match"),
        (format!("{good}{good}"), "line 5: something follows the last line"),
        (changed(|lines| lines[0]["version"] = json!(2)), "has the format 2"),
        (changed(|lines| lines[0]["entries"] = json!(3)), "lines are missing"),
        (changed(|lines| lines.swap(1, 2)), "not in the order of keys"),
        (changed(|lines| lines[2]["key"] = json!("a")), "not in the order of keys"),
        (changed(|lines| lines[0]["bytes"] = json!(1_u64 << 50)), "raise `limits.room_bytes`"),
        (changed(|lines| lines[0]["commit"] = json!(u64::MAX)), "imported too often"),
        (changed(|lines| lines[1]["extra"] = json!(1)), "line 2: it cannot be read"),
        (changed(|lines| lines[1]["value"] = json!({ "base64": "?" })), "line 2: it cannot be read"),
        (room_file(&[("k".into(), too_long)]), "a value 2097152"),
        ("x".repeat(9 << 20), "line 1: it is too long"),
    ] {
        let said = failure(&import(&server, "ROOMS/new", &file).await);
        assert!(said.contains(part), "{part}: {said}");
        let nothing = failure(&command(&server, &["rooms", "export", "ROOMS/new"]).await);
        assert!(nothing.contains("there is no room ROOMS/new with stored data"), "{nothing}");
    }
    for (room, part) in
        [("NONE/x", "there is no such namespace"), ("ROOMS", "is not a room"), ("ROOMS/\u{7}", "no control characters")]
    {
        let said = failure(&import(&server, room, &good).await);
        assert!(said.contains(part), "{part}: {said}");
    }
    printed(&import(&server, "ROOMS/new", &good).await);
}

#[tokio::test]
async fn rooms_with_hostile_names_are_exported_and_imported() {
    let server = Server::start().await;
    let file = room_file(&[("k".into(), "v".into())]);
    let long = "x".repeat(512);
    for name in ["a/b", "../..", "%2f?x=1&y#z", "<script>", "\u{202e}txt.exe", "a b'\"\\", &long] {
        let room = format!("ROOMS/{name}");
        printed(&import(&server, &room, &file).await);
        let exported = export(&server, &room).await;
        assert!(values(&exported) == values(&file), "{name}");
        let header: Value = serde_json::from_str(exported.lines().next().unwrap()).unwrap();
        assert_eq!(header["name"], name);
    }
    let said = failure(&import(&server, &format!("ROOMS/{long}x"), &file).await);
    assert!(said.contains("1 to 512 bytes"), "{said}");
}

#[tokio::test]
async fn an_import_is_whole_or_nothing_after_kill_9() {
    let mut rng = random_choices(seed(), 0);
    let entries = (0..30).map(|nth| (format!("k{nth:03}"), "x".repeat(1 << 20))).collect::<Vec<_>>();
    let file = room_file(&entries);
    let (mut whole, mut nothing) = (0, 0);
    for _ in 0..6 {
        let mut server = Server::start().await;
        let after = Duration::from_millis(rng.random_range(0..200));
        let (address, audit) = (server.admin_address(), server.data().join("audit.log"));
        let killer = async {
            // The audit log has the import just before its first commit.
            let begun = async {
                while !std::fs::read_to_string(&audit).is_ok_and(|log| log.contains("\"import\"")) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            within(begun).await;
            tokio::time::sleep(after).await;
            server.kill();
        };
        let (imported, ()) = tokio::join!(import_at(address, "ROOMS/big", &file, &[]), killer);
        let server = server.crash_and_restart().await;
        let exported = command(&server, &["rooms", "export", "ROOMS/big"]).await;
        if exported.status.success() {
            assert!(values(&printed(&exported)) == values(&file), "a part of the room is missing");
            whole += 1;
        } else {
            assert!(failure(&exported).contains("there is no room"));
            assert!(!imported.status.success(), "it was acknowledged, and is lost");
            nothing += 1;
        }
        // The same room can be imported now.
        if !exported.status.success() {
            printed(&import(&server, "ROOMS/big", &file).await);
        }
    }
    println!("{whole} whole, {nothing} nothing");
}

#[tokio::test]
async fn posts_of_restored_and_imported_rooms_keep_their_keys() {
    if crate::HAS_DATABASE {
        return; // backups are its own
    }
    let remote = RemoteServer::start(|_| Response::builder().status(503).body(Default::default()).unwrap()).await;
    let more = format!("outbound_private = [{:?}]\n", remote.origin);
    let mut server = caller_server("", &more).await;
    let post = json!({ "do": "post-out", "origin": remote.origin, "path": "/", "body": "x" });
    run_command(&server, "sender", post).await;
    remote.wait_for_requests(1).await;
    let copy = server.directory.path().join("backup");
    printed(&command(&server, &["backup", copy.to_str().unwrap()]).await);
    let exported = export(&server, "ROOMS/sender").await;
    server.kill();
    let tries = remote.requests().len();

    let restored = Arc::new(TempDir::new().unwrap());
    std::fs::write(restored.path().join("caller.wasm"), dormouse_bundle::CALLER).unwrap();
    let data = restored.path().join("data");
    printed(&command_line::run(&["restore", copy.to_str().unwrap(), "--data", data.to_str().unwrap()]));
    let _restored = Server::in_directory(restored, server.config()).await;
    remote.wait_for_requests(tries + 1).await;
    drop(_restored);

    let tries = remote.requests().len();
    let other = caller_server("", &more).await;
    printed(&import(&other, "ROOMS/moved", &exported).await);
    remote.wait_for_requests(tries + 1).await;
    let seen = remote.requests();
    let keys =
        seen.iter().map(|request| request.headers["idempotency-key"].to_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert!(keys[0].len() == 32 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}
