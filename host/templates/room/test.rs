//! Tests the room through the real contract, in the real engine, without a network or a disk.

use dormouse_test::{TestRoom, body, json};

/// A new, empty room.
fn room() -> TestRoom {
    TestRoom::of_crate(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_pinned_note_reaches_present_and_later_clients() {
    let mut room = room();
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, r#"{"text":"milk"}"#);
    room.hibernate();
    room.send(&bo, r#"{"text":"bread"}"#);
    let notes = [
        json!({ "by": "ana", "text": "milk" }),
        json!({ "by": "bo", "text": "bread" }),
    ];
    assert_eq!(ana.received(), notes);
    assert_eq!(bo.received(), notes);
    room.restart();
    assert_eq!(room.join("eve").received(), notes);
    assert_eq!(body(&room.get("eve", "/messages", "")), json!(notes));
}

#[test]
fn an_invalid_note_gets_an_error_and_is_not_stored() {
    let mut room = room();
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, "milk");
    assert_eq!(ana.received()[0]["code"], "bad_json");
    assert!(bo.received().is_empty() && room.storage().is_empty());
}
