//! The data of one user: how rooms export and erase it, and what the host makes of a room that does it badly.

#![deny(dead_code)]

use std::time::Duration;

use dormouse_bundle::{CHAT_ROOM, COUNTER, KEEPER, POLL, PRESENCE_TRACKER};
use dormouse_test::{
    FailureKind, Message, Permission, TestClient, TestRoom, TestUser, assert_all_received, assert_none_received, body,
    discard_received,
};
use serde_json::{Value, json};

const MODERATOR: &[Permission] = &[Permission::Read, Permission::Write, Permission::Moderate];

fn send(room: &mut TestRoom, client: &TestClient, value: &Value) {
    room.send(client, &value.to_string());
}

/// Sends a message in a chat room, and returns it as it is stored.
fn say(room: &mut TestRoom, client: &TestClient, content: &str) -> Value {
    discard_received([client]);
    send(room, client, &json!({ "type": "message", "content": content, "clientId": content }));
    let [frame] = client.received().try_into().expect("one frame");
    assert_eq!(frame["type"], "message", "{frame}");
    frame["message"].clone()
}

fn messages(room: &mut TestRoom) -> Vec<Value> {
    body(&room.get("reader", "/messages", "limit=500"))["messages"].as_array().unwrap().clone()
}

/// Whether any key or value of the storage has this text.
fn is_stored(room: &TestRoom, text: &str) -> bool {
    let has = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    room.storage().iter().any(|(key, value)| has(key) || has(value))
}

fn erased(message: &Value, at: u64) -> Value {
    json!({
        "id": message["id"], "userId": "", "userName": "", "content": "", "timestamp": message["timestamp"],
        "seq": message["seq"], "deleted": { "by": "", "at": at },
    })
}

#[test]
fn a_chat_room_exports_the_messages_of_a_user_and_of_nobody_else() {
    let mut room = TestRoom::new(CHAT_ROOM);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    let first = say(&mut room, &ana, "one");
    say(&mut room, &bo, "two");
    let last = say(&mut room, &ana, "three");
    room.hibernate();
    let items = [json!({ "message": first }), json!({ "message": last })];
    assert_eq!(room.export_user("id-ana"), items);
    assert_eq!(room.export_user("id-an"), Vec::<Value>::new());
    assert_eq!(room.export_user("id-ana"), items, "an export changes nothing");
}

#[test]
fn erased_messages_keep_their_places_and_clients_are_told() {
    let mut room = TestRoom::new(CHAT_ROOM);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    let first = say(&mut room, &ana, "one");
    let other = say(&mut room, &bo, "two");
    let last = say(&mut room, &ana, "three");
    discard_received([&ana, &bo]);
    let at = room.now();
    assert_eq!(room.erase_user("id-ana"), 2);
    let frame =
        |message: &Value| json!({ "type": "deleted", "id": message["id"], "seq": message["seq"], "by": "", "at": at });
    for client in [&ana, &bo] {
        assert_eq!(client.received(), [frame(&first), frame(&last)]);
    }
    assert_eq!(messages(&mut room), [erased(&first, at), other, erased(&last, at)]);
    for text in ["id-ana", "\"ana\"", "one", "three"] {
        assert!(!is_stored(&room, text), "{text}");
    }
    assert!(is_stored(&room, "two") && is_stored(&room, "id-bo"));
    assert_eq!(room.erase_user("id-ana"), 0, "there is nothing left");
    assert_none_received([&ana, &bo]);
    let next = say(&mut room, &bo, "four");
    assert_eq!(next["seq"], 4, "the numbering goes on");
}

#[test]
fn a_client_that_was_away_learns_of_erased_messages() {
    let mut room = TestRoom::new(CHAT_ROOM);
    let ana = room.join("ana");
    let message = say(&mut room, &ana, "one");
    let at = room.now();
    room.erase_user("id-ana");
    let bo = room.connect("bo", "since=1").unwrap();
    let [history] = bo.received().try_into().unwrap();
    let entry = json!({ "id": message["id"], "seq": 1, "by": "", "at": at });
    assert_eq!((&history["resumed"], &history["deleted"]), (&json!(true), &json!([entry])));
}

#[test]
fn messages_that_only_a_retry_record_has_are_exported_and_erased() {
    let mut room = TestRoom::new(CHAT_ROOM).config("keep_messages", "1");
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    let message = say(&mut room, &ana, "one");
    say(&mut room, &bo, "two");
    assert_eq!(room.export_user("id-ana"), [json!({ "message": message })]);
    assert!(is_stored(&room, "one"));
    room.erase_user("id-ana");
    assert!(!is_stored(&room, "one") && !is_stored(&room, "id-ana"));
    assert_eq!(room.export_user("id-ana"), Vec::<Value>::new());
}

#[test]
fn a_moderator_is_erased_from_deletions_and_mutes() {
    let mut room = TestRoom::new(CHAT_ROOM);
    let ana = room.join("ana");
    let moderator = room.join_as(TestUser::new("mo").may_only(MODERATOR.iter().copied()));
    let message = say(&mut room, &ana, "one");
    send(&mut room, &moderator, &json!({ "type": "delete", "id": message["id"] }));
    send(&mut room, &moderator, &json!({ "type": "mute", "user": "id-ana", "seconds": 600 }));
    let (at, until) = (room.now(), room.now() + 600_000);
    let items = [
        json!({ "deletedMessage": { "id": message["id"], "seq": 1, "at": at } }),
        json!({ "mutedSomebody": { "until": until } }),
    ];
    assert_eq!(room.export_user("id-mo"), items);
    let tombstone = room.export_user("id-ana")[0]["message"].clone();
    assert_eq!(tombstone["deleted"]["by"], "id-mo");
    room.erase_user("id-mo");
    assert!(!is_stored(&room, "id-mo"));
    assert_eq!(messages(&mut room)[0]["deleted"], json!({ "by": "", "at": at }));
    send(&mut room, &ana, &json!({ "type": "message", "content": "muted" }));
    assert_eq!(ana.received().last().unwrap()["code"], "muted", "the mute of another user stays");
}

#[test]
fn a_mute_is_erased_with_its_user() {
    let mut room = TestRoom::new(CHAT_ROOM);
    let moderator = room.join_as(TestUser::new("mo").may_only(MODERATOR.iter().copied()));
    send(&mut room, &moderator, &json!({ "type": "mute", "user": "id-ana", "seconds": 600 }));
    assert_eq!(room.export_user("id-ana"), [json!({ "mute": { "until": room.now() + 600_000 } })]);
    discard_received([&moderator]);
    assert_eq!(room.erase_user("id-ana"), 1);
    let ended = json!({ "type": "muted", "user": "id-ana", "until": room.now(), "seconds": 0, "by": "" });
    assert_all_received([&moderator], &ended);
    assert!(!is_stored(&room, "id-ana"));
}

#[test]
fn a_long_history_is_exported_and_erased_in_short_turns() {
    let mut room = TestRoom::new(CHAT_ROOM);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    for number in 0..1_500 {
        let client = if number % 3 == 0 { &bo } else { &ana };
        send(
            &mut room,
            client,
            &json!({ "type": "message", "content": format!("{number}"), "clientId": number.to_string() }),
        );
    }
    assert_eq!(room.export_user("id-ana").len(), 1_000);
    let (mut parts, mut items, mut after) = (0, 0, None);
    loop {
        let (some, next) = room.try_erase_user("id-ana", after.as_deref()).unwrap();
        assert!(room.cpu_of_last_turn() < Duration::from_millis(500), "{:?}", room.cpu_of_last_turn());
        (parts, items, after) = (parts + 1, items + some, next);
        // A turn sends few frames, so that no socket is closed because its queue is full.
        assert!(bo.received().len() <= 100 + usize::from(parts == 1) * 2_000);
        room.hibernate();
        if after.is_none() {
            break;
        }
    }
    assert_eq!(items, 1_000);
    assert!(parts >= 10, "{parts}");
    assert!(!is_stored(&room, "id-ana"));
    assert_eq!(room.export_user("id-bo").len(), 500);
}

#[test]
fn a_place_that_the_room_did_not_give_is_refused() {
    let mut room = TestRoom::new(CHAT_ROOM);
    let failed = room.try_erase_user("id-ana", Some("elsewhere")).unwrap_err();
    assert!(failed.kind == FailureKind::Guest && failed.to_string().contains("`after`"), "{failed}");
}

#[test]
fn a_user_is_erased_from_a_presence_room_and_leaves_the_list() {
    let mut room = TestRoom::new(PRESENCE_TRACKER);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, r#"{"type":"status","status":"busy"}"#);
    let items = room.export_user("id-ana");
    assert_eq!(
        (items.len(), &items[0]["presence"]["name"], &items[0]["presence"]["status"]),
        (1, &json!("ana"), &json!("busy"))
    );
    discard_received([&ana, &bo]);
    assert_eq!(room.erase_user("id-ana"), 1);
    assert_all_received([&ana, &bo], &json!({ "type": "presence_remove", "userId": "id-ana" }));
    assert!(!is_stored(&room, "ana") && is_stored(&room, "bo"));
    room.leave(&ana);
    assert_none_received([&bo]);
}

#[test]
fn the_status_of_a_lost_user_is_erased_too() {
    let mut room = TestRoom::new(PRESENCE_TRACKER);
    let ana = room.join("ana");
    room.send(&ana, r#"{"type":"status","status":"busy"}"#);
    room.try_leave(&ana, dormouse_test::Close { code: 1006, reason: String::new(), clean: false }).unwrap();
    assert_eq!(room.export_user("id-ana")[0]["savedStatus"]["status"], "busy");
    assert_eq!(room.erase_user("id-ana"), 1);
    assert!(!is_stored(&room, "id-ana"));
}

#[test]
fn an_erased_vote_does_not_count() {
    let mut room = TestRoom::new(POLL);
    room.post("host", "/", &[], r#"{"text":"Tea?","options":["yes","no"]}"#);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, "yes");
    room.send(&bo, "yes");
    assert_eq!(room.export_user("id-ana"), [json!("yes")]);
    assert_eq!((room.erase_user("id-ana"), room.erase_user("id-ana")), (1, 0));
    assert_eq!(body(&room.get("bo", "/", ""))["votes"], json!({ "yes": 1, "no": 0 }));
}

/// A room that behaves so, with a text of the user `id-ana`.
fn keeper(behaviour: &str) -> TestRoom {
    let mut room = TestRoom::new(KEEPER);
    let ana = room.join("ana");
    room.send(&ana, "mine tea");
    room.send(&ana, &format!("behave {behaviour}"));
    room
}

#[test]
fn an_export_that_changes_something_fails_and_changes_nothing() {
    for behaviour in ["write", "delete", "send", "timer"] {
        let mut room = keeper(behaviour);
        let before = room.storage();
        let failed = room.try_export_user("id-ana", None).unwrap_err();
        assert_eq!(failed.kind, FailureKind::Trap, "{behaviour}: {failed}");
        assert!(failed.to_string().contains("export-user may only read"), "{behaviour}: {failed}");
        assert_eq!((room.storage(), room.timers().len()), (before, 0), "{behaviour}");
        assert_eq!(room.erase_user("id-ana"), 1, "{behaviour}: the room goes on, and may write again");
    }
}

#[test]
fn a_wrong_answer_of_a_room_fails_its_turn() {
    for (behaviour, says) in [
        ("fail", "told to fail"),
        ("trap", "told to panic"),
        ("no json", "is not JSON"),
        ("long", "a part may have 4194304 B"),
    ] {
        let failed = keeper(behaviour).try_export_user("id-ana", None).unwrap_err();
        assert!(failed.to_string().contains(says), "{behaviour}: {failed}");
    }
    let mut room = keeper("again");
    assert_eq!(room.try_erase_user("id-ana", None).unwrap(), (0, Some("again".into())));
    let failed = room.try_erase_user("id-ana", Some("again")).unwrap_err();
    assert!(failed.to_string().contains("equal to `after`"), "{failed}");
    assert!(room.try_export_user("id-ana", Some("again")).unwrap_err().to_string().contains("equal to `after`"));
}

#[test]
fn parts_are_asked_for_until_the_last_one() {
    let mut room = keeper("parts");
    assert_eq!(room.export_user("id-ana"), [json!("tea"), json!("second")]);
    assert_eq!(room.erase_user("id-ana"), 2);
}

#[test]
fn a_failed_erasure_erases_nothing() {
    let mut room = keeper("parts");
    room.fail_next_turn(dormouse_test::Fault::OutOfMemory);
    assert!(room.try_erase_user("id-ana", Some("second")).is_err());
    assert!(is_stored(&room, "tea"));
}

#[test]
fn a_component_that_does_not_declare_how_says_so() {
    let mut room = TestRoom::new(COUNTER);
    let failed = room.try_export_user("id-ana", None).unwrap_err();
    assert!(failed.to_string().contains("does not export `personal-data`"), "{failed}");
    let ana = room.join("ana");
    room.try_send(&ana, Message::Text("one".into())).expect("the room works as before");
}
