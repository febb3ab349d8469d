//! Data of an older version: each room is migrated once, before the first event with the new code, and as a whole or not
//! at all.

use std::sync::Arc;
use std::time::Duration;

use dormouse::guest::component_hash;
use dormouse_bundle::COUNTER;
use hyper::Method;
use rand::RngExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::admin::{command, failure, printed};
use crate::command_line;
use crate::deploy::{CONFIG, deploy, directory, join, roll_back, say, start, try_deploy, version, wait_for};
use crate::harness::{Client, Server};
use crate::room_files::{export, import};
use crate::seeds::{random_choices, rounds, seed};

/// A version of the test component whose data has the version `data`.
pub(crate) fn of_data(name: &str, word: &str, data: u32) -> Vec<u8> {
    version(name, &format!("{word} {data}"))
}

/// What a room says of itself; it is an event.
async fn look(server: &Server, room: &str) -> Value {
    let answer = server.api(Method::GET, &format!("/rooms/{room}/messages"), "ana", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Sends a message, and returns the error that comes back.
async fn fails(client: &mut Client, text: &str) -> Value {
    client.send(text).await;
    client.recv_type("error").await["code"].clone()
}

/// Deploys, and waits until there is no way back by itself.
pub(crate) async fn settle(server: &Server, wasm: &[u8]) {
    deploy(server, "ROOMS?watch=0s", wasm).await;
    wait_for(server, |status| status["candidate"].is_null()).await;
}

#[tokio::test]
async fn a_room_is_migrated_once_before_the_first_event_with_new_code() {
    let server = start().await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    assert_eq!(say(&mut ana, "one").await["seq"], 1);
    let v2 = of_data("v2", "good", 2);
    let deployed = deploy(&server, "ROOMS", &v2).await;
    assert_eq!((&deployed["tried_rooms"], &deployed["migrated_rooms"]), (&json!(1), &json!(1)));
    assert!(deployed["no_way_back"].as_str().unwrap().contains("told not to return"), "{deployed}");
    ana.send("two").await;
    assert_eq!(ana.recv().await, json!({ "type": "migrated", "from": 0, "to": 2 }), "its messages come first");
    let two = ana.recv().await;
    assert_eq!((&two["text"], &two["seq"], &two["version"]), (&json!("two"), &json!(2), &json!("v2")));
    assert_eq!(say(&mut ana, "three").await["seq"], 3);
    let once = json!({ "version": "v2", "last": 3, "migrations": [[0, 2]], "marks": [2] });
    assert_eq!(look(&server, "lobby").await, once);
    let status = wait_for(&server, |_| true).await;
    let rooms = json!([{ "hash": component_hash(&v2), "rooms": 1, "migrated": 1 }]);
    assert_eq!(status["rooms"], rooms);
    let table = printed(&command(&server, &["deploy", "ROOMS", "--status"]).await);
    assert!(table.contains("MIGRATED"), "{table}");
    let shown = printed(&command(&server, &["rooms", "show", "ROOMS/lobby", "--json"]).await);
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["dataVersion"], 2);
    let server = server.crash_and_restart().await;
    assert_eq!(look(&server, "lobby").await, once, "and not again after a restart");
    // The same version of the data.
    settle(&server, &of_data("v3", "good", 2)).await;
    assert_eq!(look(&server, "lobby").await["migrations"], json!([[0, 2]]));
}

#[tokio::test]
async fn a_room_that_sleeps_during_a_deploy_is_migrated_when_it_wakes() {
    let config = format!("hibernate_after = \"10ms\"\n{CONFIG}");
    let server = Server::in_directory(directory(&version("v1", "good")), &config).await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    say(&mut ana, "one").await;
    assert_eq!(look(&server, "stored").await["last"], 0);
    server.wait_until_all_hibernate().await;
    settle(&server, &of_data("v2", "good", 2)).await;
    settle(&server, &of_data("v3", "good", 3)).await;
    ana.send("two").await;
    assert_eq!(ana.recv_type("migrated").await, json!({ "type": "migrated", "from": 0, "to": 3 }));
    assert_eq!(ana.recv_type("numbered").await["seq"], 2);
    assert_eq!(look(&server, "lobby").await["migrations"], json!([[0, 3]]), "the version between never ran there");
}

#[tokio::test]
async fn a_stored_room_is_migrated_by_a_deploy_while_it_was_not_in_memory() {
    let server = start().await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    say(&mut ana, "one").await;
    drop(ana);
    let server = server.crash_and_restart().await;
    settle(&server, &of_data("v2", "good", 2)).await;
    let server = server.crash_and_restart().await;
    let migrated = look(&server, "lobby").await;
    assert_eq!((&migrated["migrations"], &migrated["version"]), (&json!([[0, 2]]), &json!("v2")));
}

#[tokio::test]
async fn a_new_room_begins_with_the_version_of_its_code() {
    let server = start().await;
    settle(&server, &of_data("v2", "good", 2)).await;
    let (mut ana, _) = join(&server, "new", "ana").await;
    assert_eq!(say(&mut ana, "one").await["seq"], 1);
    assert_eq!(look(&server, "new").await["migrations"], Value::Null);
    let server = server.crash_and_restart().await;
    settle(&server, &of_data("v3", "good", 3)).await;
    let migrated = look(&server, "new").await;
    assert_eq!((&migrated["migrations"], &migrated["last"]), (&json!([[2, 3]]), &json!(1)));
}

#[tokio::test]
async fn a_failing_migration_is_taken_back_and_the_event_runs_on_the_old_code() {
    for (word, cause) in [
        ("migrate-refuse", "told to refuse the migration"),
        ("migrate-trap", "told to panic in the migration"),
        ("migrate-loop", "of CPU"),
        ("migrate-grow", "of memory"),
    ] {
        let server = start().await;
        let (mut ana, _) = join(&server, "lobby", "ana").await;
        let (mut bo, _) = join(&server, "other", "bo").await;
        say(&mut ana, "one").await;
        // The trial does not find it, because it has no sockets.
        let wasm = of_data("v2", word, 2);
        deploy(&server, "ROOMS", &wasm).await;
        ana.send("two").await;
        let two = ana.recv().await;
        assert_eq!((&two["text"], &two["seq"], &two["version"]), (&json!("two"), &json!(2), &json!("v1")), "{word}");
        let failed = wait_for(&server, |status| !status["last_failure"].is_null()).await;
        let last_failure = &failed["last_failure"];
        assert_eq!((&last_failure["place"], &last_failure["event"]), (&json!("ROOMS/lobby"), &json!("migrate")));
        let reason = last_failure["reason"].as_str().unwrap();
        assert!(reason.contains(cause) && reason.contains("has version 0"), "{word}: {reason}");
        assert_eq!(failed["candidate"], Value::Null);
        assert_eq!(say(&mut bo, "hello").await["version"], "v1", "other rooms do not take it any more");
        let server = server.crash_and_restart().await;
        let after = look(&server, "lobby").await;
        assert_eq!(after, json!({ "version": "v1", "last": 2 }), "{word}: nothing of it is left");
    }
}

#[tokio::test]
async fn a_trial_finds_a_failing_migration_before_any_room_takes_it() {
    let server = start().await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    say(&mut ana, "one").await;
    let refused = try_deploy(&server, "ROOMS", &of_data("v2", "migrate-fail", 2)).await;
    refused.is_problem(422);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("it cannot migrate a copy of the storage of ROOMS/lobby"), "{detail}");
    assert!(detail.contains("told to fail the migration"), "{detail}");
    // It wakes on migrated data.
    let refused = try_deploy(&server, "ROOMS", &of_data("v2", "refuse-data", 2)).await;
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("it cannot wake on a copy of the storage of ROOMS/lobby"), "{detail}");
    assert_eq!(look(&server, "lobby").await, json!({ "version": "v1", "last": 1 }));
    // A room without data needs no migration.
    let server = start().await;
    let deployed = deploy(&server, "ROOMS", &of_data("v2", "migrate-fail", 2)).await;
    assert_eq!((&deployed["migrated_rooms"], &deployed["no_way_back"]), (&json!(0), &Value::Null));
}

#[tokio::test]
async fn an_event_that_new_code_fails_undoes_the_migration_too() {
    for word in ["trap", "loop", "refuse-sockets"] {
        let server = start().await;
        let (mut ana, _) = join(&server, "lobby", "ana").await;
        say(&mut ana, "one").await;
        deploy(&server, "ROOMS", &of_data("v2", word, 2)).await;
        ana.send("two").await;
        let two = ana.recv().await;
        assert_eq!((&two["text"], &two["seq"], &two["version"]), (&json!("two"), &json!(2), &json!("v1")), "{word}");
        let failed = wait_for(&server, |status| !status["last_failure"].is_null()).await;
        assert_eq!(failed["last_failure"]["event"], "message", "{word}");
        assert_eq!(look(&server, "lobby").await, json!({ "version": "v1", "last": 2 }), "{word}");
        let shown = printed(&command(&server, &["rooms", "show", "ROOMS/lobby", "--json"]).await);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["timers"], 0, "{word}: its timer is gone");
        assert_eq!(say(&mut ana, "three").await["seq"], 3);
        let server = server.crash_and_restart().await;
        assert_eq!(look(&server, "lobby").await, json!({ "version": "v1", "last": 3 }), "{word}");
    }
}

#[tokio::test]
async fn code_that_can_change_newer_data_back_returns_after_a_failed_deploy() {
    let server = Server::in_directory(directory(&version("v1", "returns")), CONFIG).await;
    let (mut good, _) = join(&server, "good", "ana").await;
    let (mut bad, _) = join(&server, "bad", "bo").await;
    say(&mut good, "one").await;
    let deployed = deploy(&server, "ROOMS", &of_data("v2", "trap-in-bad", 2)).await;
    assert_eq!((&deployed["migrated_rooms"], &deployed["no_way_back"]), (&json!(1), &Value::Null));
    assert_eq!(say(&mut good, "two").await["version"], "v2");
    assert_eq!(say(&mut bad, "one").await["version"], "v1");
    assert_eq!(say(&mut good, "three").await["version"], "v1");
    let back = json!({ "version": "v1", "last": 3, "migrations": [[0, 2], [2, 0]], "marks": [0] });
    assert_eq!(look(&server, "good").await, back);
    assert_eq!(look(&server, "bad").await, json!({ "version": "v1", "last": 1 }));
    // A restart before the failure is on disk tries the failed version again.
    wait_for(&server, |status| !status["last_failure"].is_null()).await;
    let server = server.crash_and_restart().await;
    assert_eq!(look(&server, "good").await, back);
}

#[tokio::test]
async fn older_code_never_runs_on_newer_data_that_it_cannot_read() {
    let server = start().await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    say(&mut ana, "one").await;
    let v2 = of_data("v2", "good", 2);
    settle(&server, &v2).await;
    say(&mut ana, "two").await;
    assert_eq!(roll_back(&server, "ROOMS").await.status, 200);
    assert_eq!(fails(&mut ana, "lost").await, "room_failed");
    server.wait_for_log("the data of the room has version 2 and could not be migrated").await;
    let (mut bo, _) = join(&server, "new", "bo").await;
    assert_eq!(say(&mut bo, "one").await["version"], "v1", "rooms without newer data go on");
    // Code without any version.
    let refused = try_deploy(&server, "ROOMS", COUNTER).await;
    refused.is_problem(422);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("has version 2, and this code declares no version"), "{detail}");
    deploy(&server, "ROOMS", &v2).await;
    let three = say(&mut ana, "three").await;
    assert_eq!((&three["seq"], &three["version"]), (&json!(3), &json!("v2")), "nothing was changed meanwhile");
    assert_eq!(look(&server, "lobby").await["migrations"], json!([[0, 2]]));
}

#[tokio::test]
async fn clients_cannot_stop_a_deploy_that_has_migrated_their_room() {
    let server = start().await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    say(&mut ana, "one").await;
    deploy(&server, "ROOMS", &of_data("v2", "good", 2)).await;
    // Every version panics at this: at first both run it on their own data, later the old one cannot return.
    for _ in 0..2 {
        assert_eq!(fails(&mut ana, "poison").await, "room_failed");
        assert_eq!(say(&mut ana, "on").await["version"], "v2");
    }
    let status = wait_for(&server, |_| true).await;
    assert_eq!(status["last_failure"], Value::Null);
    assert!(!status["candidate"].is_null());
    let after = look(&server, "lobby").await;
    assert_eq!((&after["migrations"], &after["last"]), (&json!([[0, 2]]), &json!(3)));
}

/// Whatever the moment, the room has the data of one version as a whole, and goes on with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_survives_kill_9_as_a_whole_or_not_at_all() {
    let seed = seed();
    let mut server = start().await;
    let (mut acknowledged, mut before) = (0, 0);
    for round in 1..=rounds(6) {
        let mut rng = random_choices(seed, round);
        let data = u32::try_from(round).unwrap();
        let (mut ana, _) = join(&server, "lobby", "ana").await;
        assert_eq!(say(&mut ana, "before").await["seq"], before + 1);
        acknowledged = before + 1;
        settle(&server, &of_data(&format!("v{round}"), "migrate-slowly", data)).await;
        ana.send("during").await;
        let dies = tokio::time::sleep(Duration::from_millis(rng.random_range(0..80)));
        let numbered = async { ana.recv_type("numbered").await };
        tokio::select! {
            () = dies => {}
            _ = numbered => acknowledged += 1,
        }
        server = server.crash_and_restart().await;
        let after = look(&server, "lobby").await;
        let last = after["last"].as_u64().unwrap();
        assert!((acknowledged..=before + 2).contains(&last), "round {round}: {acknowledged} and {after}");
        let chain = (0..data).map(|from| [from, from + 1]).collect::<Vec<_>>();
        assert_eq!(after["migrations"], json!(chain), "round {round}");
        assert_eq!(after["marks"], json!([data]), "round {round}");
        before = last;
    }
    assert!(acknowledged > 0);
}

#[tokio::test]
async fn an_export_and_an_import_keep_the_version_of_the_data() {
    let server = start().await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    say(&mut ana, "one").await;
    let old = export(&server, "ROOMS/lobby").await;
    assert!(!old.contains("data_version"), "{old}");
    settle(&server, &of_data("v2", "good", 2)).await;
    assert_eq!(look(&server, "lobby").await["migrations"], json!([[0, 2]]));
    let new = export(&server, "ROOMS/lobby").await;
    assert!(new.lines().next().unwrap().contains("\"data_version\":2"), "{new}");
    printed(&import(&server, "ROOMS/new", &new).await);
    assert_eq!(look(&server, "new").await["migrations"], json!([[0, 2]]), "and not again");
    printed(&import(&server, "ROOMS/old", &old).await);
    assert_eq!(look(&server, "old").await["migrations"], json!([[0, 2]]), "its data is old");
    let server = server.crash_and_restart().await;
    for room in ["new", "old"] {
        let room = look(&server, room).await;
        assert_eq!((&room["migrations"], &room["last"]), (&json!([[0, 2]]), &json!(1)), "{room}");
    }
}

#[tokio::test]
async fn a_backup_has_the_version_of_the_data() {
    if crate::HAS_DATABASE {
        return; // backups are its own
    }
    let server = start().await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    say(&mut ana, "one").await;
    settle(&server, &of_data("v2", "good", 2)).await;
    say(&mut ana, "two").await;
    let restored = Arc::new(TempDir::new().unwrap());
    let path = |name: &str| restored.path().join(name).to_str().unwrap().to_owned();
    printed(&command(&server, &["backup", &path("backup")]).await);
    printed(&command_line::run(&["restore", &path("backup"), "--data", &path("data")]));
    std::fs::write(restored.path().join("room.wasm"), version("v1", "good")).unwrap();
    let server = Server::in_directory(restored, CONFIG).await;
    let after = look(&server, "lobby").await;
    assert_eq!((&after["migrations"], &after["last"]), (&json!([[0, 2]]), &json!(2)), "{after}");
}

#[tokio::test]
async fn operators_read_that_migrated_rooms_have_no_way_back() {
    let server = start().await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    say(&mut ana, "one").await;
    let file = server.directory.path().join("v2.wasm");
    std::fs::write(&file, of_data("v2", "good", 2)).unwrap();
    let said = printed(&command(&server, &["deploy", "ROOMS", file.to_str().unwrap()]).await);
    assert!(said.contains("tried on 1 room, of which 1 were migrated"), "{said}");
    assert!(said.contains("cannot return to the version before"), "{said}");
    let refused = file.with_file_name("bad.wasm");
    std::fs::write(&refused, of_data("v3", "migrate-fail", 3)).unwrap();
    let said = failure(&command(&server, &["deploy", "ROOMS", refused.to_str().unwrap()]).await);
    assert!(said.contains("it cannot migrate a copy of the storage of ROOMS/lobby"), "{said}");
}
