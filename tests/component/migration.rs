//! The version of a room's data: how a component migrates older data, and what the host makes of one that does it badly.

#![deny(dead_code)]

use dormouse_bundle::{CALLER, COUNTER, VERSIONED};
use dormouse_test::{FailureKind, Fault, Response, TestRoom, body};
use serde_json::{Value, json};

/// The test component with this misbehaviour and this version of its data.
fn room(word: &str, data: u32) -> TestRoom {
    let marker = b"behaviour:v1 good";
    let mut wasm = VERSIONED.to_vec();
    let at = wasm.windows(marker.len()).position(|bytes| bytes == marker).expect("it has its marker");
    wasm[at..at + 64].copy_from_slice(format!("{:<64}", format!("behaviour:v {word} {data}")).as_bytes());
    TestRoom::new(Box::leak(wasm.into_boxed_slice()))
}

fn look(room: &mut TestRoom) -> Value {
    body(&room.get("ana", "/", ""))
}

#[test]
fn older_data_is_migrated_before_the_room_wakes() {
    let mut room = room("good", 3);
    room.put("last-v1", "7");
    assert_eq!(room.migrate(1), 3);
    assert_eq!(look(&mut room), json!({ "version": "v", "last": 7, "migrations": [[1, 3]], "marks": [3] }));
    assert_eq!(room.timers().len(), 1, "its timer is set");
    assert_eq!(room.migrate(3), 3, "there is nothing to do");
    assert_eq!(look(&mut room)["migrations"], json!([[1, 3]]));
}

#[test]
fn a_migration_sees_the_sockets_of_the_room_and_may_send() {
    let mut room = room("good", 1);
    let ana = room.join("ana");
    ana.received();
    room.hibernate();
    // The data that it has stored since it was new has the present version.
    room.migrate(0);
    assert_eq!(ana.received(), [json!({ "type": "migrated", "from": 0, "to": 1 })]);
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    for (word, kind, text) in [
        ("migrate-fail", FailureKind::Guest, "told to fail the migration"),
        ("migrate-trap", FailureKind::Trap, "told to panic in the migration"),
        ("migrate-loop", FailureKind::Cpu, "of CPU"),
        ("migrate-grow", FailureKind::Memory, "of memory"),
    ] {
        let mut room = room(word, 1);
        let ana = room.join("ana");
        ana.received();
        room.put("last", "7");
        let (storage, timers) = (room.storage(), room.timers());
        let failure = room.try_migrate(0).unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.to_string().contains(text) && failure.to_string().contains("has version 0"), "{failure}");
        assert_eq!((room.storage(), room.timers()), (storage, timers), "{word}");
        assert_eq!(ana.received(), Vec::<Value>::new(), "{word}");
    }
}

#[test]
fn a_migration_that_was_never_committed_can_be_repeated() {
    let mut room = room("good", 1);
    room.put("last", "7");
    room.fail_next_turn(Fault::Crash);
    room.try_migrate(0).unwrap_err();
    room.migrate(0);
    assert_eq!(look(&mut room)["migrations"], json!([[0, 1]]));
}

#[test]
fn newer_data_is_changed_back_or_refused() {
    let mut old = room("good", 1);
    old.put("last-v2", "7");
    let refused = old.try_migrate(2).unwrap_err();
    assert!(refused.to_string().contains("told not to return"), "{refused}");
    let mut returns = room("returns", 1);
    returns.put("last-v2", "7");
    assert_eq!(returns.migrate(2), 1);
    assert_eq!(look(&mut returns)["last"], 7);
}

#[test]
fn a_component_without_a_version_runs_only_on_data_without_one() {
    let mut room = TestRoom::new(COUNTER);
    assert_eq!(room.migrate(0), 0);
    let refused = room.try_migrate(1).unwrap_err();
    assert!(refused.to_string().contains("has version 1, and this code declares no version"), "{refused}");
}

#[test]
fn a_migration_reaches_no_other_room() {
    let mut room = TestRoom::new(CALLER).with_rooms(|_, _| Ok(Response { status: 200, headers: vec![], body: vec![] }));
    room.migrate(1);
    let denied = "\"Err(CallError::Denied), Err(PostError::Denied)\"";
    assert_eq!(room.storage()[&b"migrated"[..]], denied);
    assert!(room.posted().is_empty());
}
