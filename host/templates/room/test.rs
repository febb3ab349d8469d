//! Tests the room through the real contract, in the real engine, without a network or a disk.

use dormouse_test::{TestRoom, body, json};

/// A new, empty room.
fn room() -> TestRoom {
    TestRoom::of_crate(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn what_is_pinned_is_seen_by_everybody_now_and_later() {
    let mut room = room();
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.say(&ana, r#"{"text":"milk"}"#);
    room.hibernate();
    room.say(&bo, r#"{"text":"bread"}"#);
    let notes = [
        json!({ "by": "ana", "text": "milk" }),
        json!({ "by": "bo", "text": "bread" }),
    ];
    assert_eq!(ana.hears(), notes);
    assert_eq!(bo.hears(), notes);
    room.restart();
    assert_eq!(room.join("eve").hears(), notes);
    assert_eq!(body(&room.get("eve", "/messages", "")), json!(notes));
}

#[test]
fn what_is_no_note_is_complained_of_and_not_kept() {
    let mut room = room();
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.say(&ana, "milk");
    assert_eq!(ana.hears()[0]["code"], "bad_json");
    assert!(bo.hears().is_empty() && room.storage().is_empty());
}
