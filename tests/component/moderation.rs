//! The promises of the chat room to moderators: deleted messages and muted users.
//!
//! In reading order: deletion, resuming after it, mutes, limits.

#![deny(dead_code)]

use std::time::Duration;

use dormouse_bundle::CHAT_ROOM;
use dormouse_test::{
    Message, Permission, Request, Response, TestClient, TestRoom, TestUser, assert_all_received, assert_none_received,
    body, discard_received, header, problem,
};
use serde_json::{Value, json};

dormouse_test::with_and_without_hibernation! { CHAT_ROOM;
    a_moderator_deletes_anybodys_message,
    a_deleted_message_keeps_its_place,
    the_content_of_a_deleted_message_is_not_stored_any_more,
    expired_retry_keys_lose_the_content_too,
    a_deletion_is_sent_only_when_it_is_durable,
    only_moderators_delete,
    a_message_is_deleted_once,
    a_message_that_is_not_there_cannot_be_deleted,
    a_retry_of_a_deleted_message_stays_deleted,
    a_message_is_deleted_over_http,
    a_message_is_found_by_its_id_among_ten_thousand,

    a_client_that_resumes_learns_of_deletions,
    a_client_that_saw_the_deletion_does_not_get_it_again,
    a_client_that_starts_over_gets_tombstones,
    a_page_has_tombstones,
    a_client_that_missed_too_many_deletions_starts_over,
    the_log_of_deletions_is_bounded,
    deletions_fit_into_the_first_frame,
    deletions_outlive_a_restart,

    a_muted_user_cannot_send,
    a_mute_ends_by_itself,
    a_mute_can_be_ended,
    a_client_that_connects_learns_its_own_mute,
    a_retry_of_a_message_from_before_the_mute_is_answered,
    a_muted_user_is_not_shown_typing,
    a_mute_binds_its_user_with_every_permission,
    only_moderators_mute,
    a_mute_needs_a_user_and_a_time,
    mutes_are_made_listed_and_ended_over_http,
    a_mute_outlives_a_restart,
    a_room_has_at_most_a_thousand_mutes,
    two_moderators_work_at_once,
}

const TYPING: &str = r#"{"type":"typing"}"#;
const MODERATOR: &[Permission] = &[Permission::Read, Permission::Write, Permission::Moderate];

/// Connects a user who may read and write.
fn join(room: &mut TestRoom, name: &str) -> TestClient {
    join_with(room, name, &[Permission::Read, Permission::Write])
}

fn join_with(room: &mut TestRoom, name: &str, permissions: &[Permission]) -> TestClient {
    let client = room.join_as(TestUser::new(name).may_only(permissions.iter().copied()));
    discard_received([&client]);
    client
}

/// The first frame of a client of this user.
fn first_frame(room: &mut TestRoom, name: &str, query: &str) -> Value {
    let client = room.connect(name, query).expect("a chat room admits every client");
    let [history] = client.received().try_into().expect("one frame");
    room.leave(&client);
    history
}

fn send(room: &mut TestRoom, client: &TestClient, value: &Value) {
    room.send(client, &value.to_string());
}

/// Sends a message, and returns it as it is stored.
fn say(room: &mut TestRoom, client: &TestClient, content: &str, client_id: &str) -> Value {
    discard_received([client]);
    send(room, client, &json!({ "type": "message", "content": content, "clientId": client_id }));
    let [frame] = client.received().try_into().expect("one frame");
    assert_eq!(frame["type"], "message", "{frame}");
    frame["message"].clone()
}

fn delete(room: &mut TestRoom, moderator: &TestClient, message: &Value) {
    send(room, moderator, &json!({ "type": "delete", "id": message["id"] }));
}

fn mute(room: &mut TestRoom, moderator: &TestClient, user: &str, seconds: u64) {
    send(room, moderator, &json!({ "type": "mute", "user": user, "seconds": seconds }));
}

/// The message that stays in the place of a deleted one.
fn tombstone(message: &Value, by: &str, at: u64) -> Value {
    let mut tombstone = message.clone();
    tombstone["content"] = json!("");
    tombstone["deleted"] = json!({ "by": by, "at": at });
    tombstone
}

fn deleted(message: &Value, by: &str, at: u64) -> Value {
    json!({ "type": "deleted", "id": message["id"], "seq": message["seq"], "by": by, "at": at })
}

/// The entry of a deletion in a history.
fn entry(message: &Value, by: &str, at: u64) -> Value {
    json!({ "id": message["id"], "seq": message["seq"], "by": by, "at": at })
}

/// Fails the test if the storage contains this text.
#[track_caller]
fn assert_not_stored(room: &TestRoom, text: &str) {
    for (key, value) in room.storage() {
        let found = [&key, &value].iter().any(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()));
        assert!(!found, "{} holds {text}", key.escape_ascii());
    }
}

fn request_as(
    room: &mut TestRoom,
    name: &str,
    permissions: &[Permission],
    method: &str,
    path: &str,
    body: &str,
) -> Response {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
    let request = Request { method: method.into(), path: path.into(), query, body: body.into(), ..Request::default() };
    room.request_as(TestUser::new(name).may_only(permissions.iter().copied()), request)
}

fn list(room: &mut TestRoom, query: &str) -> Vec<Value> {
    body(&room.get("eve", "/messages", query))["messages"].as_array().expect("an array of messages").clone()
}

fn id_of(message: &Value) -> &str {
    message["id"].as_str().expect("a string")
}

fn a_moderator_deletes_anybodys_message(mut room: TestRoom) {
    let (ana, bo, mo) = (join(&mut room, "ana"), join(&mut room, "bo"), join_with(&mut room, "mo", MODERATOR));
    let message = say(&mut room, &ana, "a rude word", "c1");
    discard_received([&ana, &bo, &mo]);
    room.advance(Duration::from_millis(1_234));
    delete(&mut room, &mo, &message);
    assert_all_received([&ana, &bo, &mo], &deleted(&message, "id-mo", room.now()));
    assert_eq!(list(&mut room, ""), [tombstone(&message, "id-mo", room.now())]);
}

fn a_deleted_message_keeps_its_place(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    let messages = ["one", "two", "three"].map(|content| say(&mut room, &ana, content, content));
    delete(&mut room, &mo, &messages[2]);
    delete(&mut room, &mo, &messages[0]);
    discard_received([&ana]);
    let at = room.now();
    let four = say(&mut room, &ana, "four", "four");
    assert_eq!(four["seq"], 4, "the number of a deleted message is not used again");
    let expected =
        [tombstone(&messages[0], "id-mo", at), messages[1].clone(), tombstone(&messages[2], "id-mo", at), four];
    assert_eq!(list(&mut room, ""), expected);
    assert_eq!(first_frame(&mut room, "eve", "")["messages"], json!(expected));
}

fn the_content_of_a_deleted_message_is_not_stored_any_more(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    let secret = "correct horse battery staple";
    let message = say(&mut room, &ana, secret, "c1");
    let post = |room: &mut TestRoom, key| {
        room.post(
            "ana",
            "/messages",
            &[("idempotency-key", key)],
            &json!({ "content": secret, "clientId": "c1" }).to_string(),
        )
    };
    // The keys of two retries, in two generations of records.
    assert_eq!(body(&post(&mut room, "k1"))["message"], message);
    room.advance(Duration::from_secs(9 * 60));
    assert_eq!(body(&post(&mut room, "k2"))["message"], message);
    let others = say(&mut room, &mo, "another text", "c1");
    delete(&mut room, &mo, &message);
    assert_not_stored(&room, secret);
    assert_not_stored(&room, "horse");
    assert_eq!(list(&mut room, "").pop(), Some(others), "other messages stay");
    assert_eq!(body(&post(&mut room, "k2"))["message"]["content"], "");
    assert_not_stored(&room, secret);
}

fn expired_retry_keys_lose_the_content_too(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    let messages =
        Vec::from_iter((0..300).map(|count| say(&mut room, &ana, &format!("text {count}."), &format!("c{count}"))));
    room.advance(Duration::from_secs(24 * 60 * 60));
    for count in [0, 150, 299] {
        delete(&mut room, &mo, &messages[count]);
        assert_not_stored(&room, &format!("text {count}."));
    }
    discard_received([&ana]);
}

fn a_deletion_is_sent_only_when_it_is_durable(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    let message = say(&mut room, &ana, "stays", "c1");
    discard_received([&mo]);
    room.fail_next_turn(dormouse_test::Fault::CommitFails);
    let text = json!({ "type": "delete", "id": message["id"] }).to_string();
    room.try_send(&mo, Message::Text(text)).expect_err("the commit fails");
    assert_none_received([&ana, &mo]);
    assert_eq!(list(&mut room, ""), [message]);
}

fn only_moderators_delete(mut room: TestRoom) {
    let (ana, bo) =
        (join(&mut room, "ana"), join_with(&mut room, "bo", &[Permission::Read, Permission::Write, Permission::Admin]));
    let open = room.join("open");
    discard_received([&ana, &open]);
    let message = say(&mut room, &ana, "hello", "c1");
    discard_received([&bo, &open]);
    let stored = room.storage();
    // Neither the author nor an administrator, nor a user of an open room.
    for client in [&ana, &bo, &open] {
        send(&mut room, client, &json!({ "type": "delete", "id": message["id"], "clientId": "c2" }));
        let [error] = client.received().try_into().expect("one frame");
        let expected = json!({
            "type": "error", "code": "forbidden", "message": error["message"], "permission": "moderate", "clientId": "c2",
        });
        assert_eq!(error, expected);
    }
    let path = format!("/messages/{}", id_of(&message));
    let refused = request_as(&mut room, "ana", &[Permission::Read, Permission::Write], "DELETE", &path, "");
    assert_eq!(problem(&refused), 403);
    assert_eq!(refused.json::<Value>().unwrap()["permission"], "moderate");
    assert_none_received([&ana, &bo, &open]);
    assert_eq!(room.storage(), stored);
}

fn a_message_is_deleted_once(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    let max = join_with(&mut room, "max", MODERATOR);
    let message = say(&mut room, &ana, "hello", "c1");
    delete(&mut room, &mo, &message);
    let first = deleted(&message, "id-mo", room.now());
    discard_received([&ana, &mo, &max]);
    let stored = room.storage();
    room.advance(Duration::from_secs(5));
    delete(&mut room, &max, &message);
    assert_all_received([&max], &first);
    let path = format!("/messages/{}", id_of(&message));
    let answer = body(&request_as(&mut room, "max", MODERATOR, "DELETE", &path, ""));
    assert_eq!(answer["deleted"]["by"], "id-mo");
    assert_none_received([&ana, &mo]);
    assert_eq!(room.storage(), stored);
}

fn a_message_that_is_not_there_cannot_be_deleted(room: TestRoom) {
    let mut room = room.config("keep_messages", "2");
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    let [trimmed, kept, _] = ["one", "two", "three"].map(|content| say(&mut room, &ana, content, content));
    discard_received([&mo]);
    let stored = room.storage();
    let id = id_of(&kept);
    for (target, seq) in [
        ("", None),
        ("x", None),
        ("00000000-0000-4000-8000-000000000000", None),
        (&id[..35], None),
        (id_of(&trimmed), None),
        (id_of(&trimmed), Some(1)),
        (id, Some(3)),
        (id, Some(0)),
        (id, Some(u64::MAX)),
    ] {
        let seq = seq.map_or(json!({}), |seq| json!({ "seq": seq }));
        let mut frame = json!({ "type": "delete", "id": target });
        frame.as_object_mut().unwrap().extend(seq.as_object().unwrap().clone());
        send(&mut room, &mo, &frame);
        let [error] = mo.received().try_into().expect("one frame");
        assert_eq!(error["code"], "not_found", "{frame}");
    }
    let missing = "/messages/00000000-0000-4000-8000-000000000000";
    assert_eq!(problem(&request_as(&mut room, "mo", MODERATOR, "DELETE", missing, "")), 404);
    discard_received([&ana]);
    assert_eq!(room.storage(), stored);
    send(&mut room, &mo, &json!({ "type": "delete", "id": id, "seq": 2 }));
    assert_all_received([&ana], &deleted(&kept, "id-mo", room.now()));
}

fn a_retry_of_a_deleted_message_stays_deleted(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    let message = say(&mut room, &ana, "hello", "c1");
    delete(&mut room, &mo, &message);
    let tombstone = tombstone(&message, "id-mo", room.now());
    discard_received([&ana, &mo]);
    room.advance(Duration::from_secs(5));
    assert_eq!(say(&mut room, &ana, "hello", "c1"), tombstone);
    let posted = json!({ "content": "hello", "clientId": "c1" }).to_string();
    assert_eq!(body(&room.post("ana", "/messages", &[("idempotency-key", "k1")], &posted))["message"], tombstone);
    assert_eq!(body(&room.post("ana", "/messages", &[("idempotency-key", "k1")], &posted))["message"], tombstone);
    assert_none_received([&mo]);
    assert_eq!(list(&mut room, ""), [tombstone]);
}

fn a_message_is_deleted_over_http(mut room: TestRoom) {
    let ana = join(&mut room, "ana");
    let messages = ["one", "two"].map(|content| say(&mut room, &ana, content, content));
    discard_received([&ana]);
    for (message, query) in messages.iter().zip(["", "?seq=2"]) {
        let path = format!("/messages/{}{query}", id_of(message));
        let answer = body(&request_as(&mut room, "mo", MODERATOR, "DELETE", &path, ""));
        assert_eq!(answer, json!({ "success": true, "deleted": entry(message, "id-mo", room.now()) }));
        assert_all_received([&ana], &deleted(message, "id-mo", room.now()));
    }
    let path = format!("/messages/{}", id_of(&messages[0]));
    assert_eq!(problem(&request_as(&mut room, "mo", MODERATOR, "DELETE", &format!("{path}?seq=x"), "")), 400);
    let wrong = request_as(&mut room, "mo", MODERATOR, "PUT", &path, "");
    assert_eq!((problem(&wrong), header(&wrong, "allow")), (405, Some("DELETE")));
}

fn a_message_is_found_by_its_id_among_ten_thousand(room: TestRoom) {
    // Instances that are dropped after each event make no difference to a search, and cost a minute here.
    let mut room = room.hibernate_after_each_event(false);
    let mo = join_with(&mut room, "mo", MODERATOR);
    let content = json!({ "content": "x".repeat(2_000) }).to_string();
    for _ in 0..10_000 {
        room.post("eve", "/messages", &[], &content);
    }
    discard_received([&mo]);
    let oldest = list(&mut room, "after=0&limit=1").remove(0);
    delete(&mut room, &mo, &json!({ "id": "00000000-0000-4000-8000-000000000000" }));
    println!("a search took {:?} of CPU", room.cpu_of_last_turn());
    assert_eq!(mo.received()[0]["code"], "not_found");
    delete(&mut room, &mo, &oldest);
    assert_all_received([&mo], &deleted(&oldest, "id-mo", room.now()));
}

fn a_client_that_resumes_learns_of_deletions(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    let messages = ["one", "two", "three"].map(|content| say(&mut room, &ana, content, content));
    // A client that was here left after the third message.
    delete(&mut room, &mo, &messages[0]);
    let (first, at) = (entry(&messages[0], "id-mo", room.now()), room.now());
    let history = first_frame(&mut room, "eve", "since=3");
    assert_eq!((&history["messages"], &history["resumed"]), (&json!([]), &json!(true)));
    assert_eq!(history["deleted"], json!([first]));
    // More was sent and deleted meanwhile.
    discard_received([&ana]);
    let four = say(&mut room, &ana, "four", "four");
    room.advance(Duration::from_secs(5));
    delete(&mut room, &mo, &messages[1]);
    delete(&mut room, &mo, &four);
    let later = room.now();
    let history = first_frame(&mut room, "eve", "since=3");
    assert_eq!(history["messages"], json!([tombstone(&four, "id-mo", later)]));
    let expected = [first.clone(), entry(&messages[1], "id-mo", later), entry(&four, "id-mo", later)];
    assert_eq!(history["deleted"], json!(expected));
    let history = first_frame(&mut room, "eve", "since=0");
    assert_eq!(
        (&history["deleted"], &history["messages"][0]),
        (&json!(expected), &tombstone(&messages[0], "id-mo", at))
    );
}

fn a_client_that_saw_the_deletion_does_not_get_it_again(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    let messages = ["one", "two"].map(|content| say(&mut room, &ana, content, content));
    delete(&mut room, &mo, &messages[0]);
    discard_received([&ana]);
    say(&mut room, &ana, "three", "three");
    assert!(first_frame(&mut room, "eve", "since=2").get("deleted").is_some());
    // It received the third message, and the deletion before it.
    assert_eq!(first_frame(&mut room, "eve", "since=3").get("deleted"), None);
}

fn a_client_that_starts_over_gets_tombstones(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    let message = say(&mut room, &ana, "hello", "c1");
    delete(&mut room, &mo, &message);
    let expected = json!([tombstone(&message, "id-mo", room.now())]);
    for query in ["", "since=7", "since=1&incarnation=abc"] {
        let history = first_frame(&mut room, "eve", query);
        assert_eq!((&history["messages"], history.get("deleted")), (&expected, None), "{query}");
    }
}

fn a_page_has_tombstones(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    let messages = Vec::from_iter((1..=20).map(|count| say(&mut room, &ana, "hello", &format!("c{count}"))));
    for message in &messages[5..15] {
        delete(&mut room, &mo, message);
    }
    for (query, first, deleted) in [("after=0&limit=7", 1, 2), ("before=16&limit=5", 11, 5), ("limit=3", 18, 0)] {
        let page = list(&mut room, query);
        assert_eq!(page[0]["seq"], first, "{query}");
        assert_eq!(page.iter().filter(|message| message.get("deleted").is_some()).count(), deleted, "{query}");
        assert!(page.iter().all(|message| (message["content"] == "") == message.get("deleted").is_some()), "{query}");
    }
}

/// Sends messages as this client, and deletes them all.
fn delete_many(room: &mut TestRoom, moderator: &TestClient, count: usize) {
    let content = json!({ "content": "hello" }).to_string();
    for _ in 0..count {
        let message = body(&room.post("eve", "/messages", &[], &content))["message"].clone();
        send(room, moderator, &json!({ "type": "delete", "id": message["id"], "seq": message["seq"] }));
    }
    discard_received([moderator]);
}

fn a_client_that_missed_too_many_deletions_starts_over(mut room: TestRoom) {
    let mo = join_with(&mut room, "mo", MODERATOR);
    let content = json!({ "content": "hello" }).to_string();
    let messages =
        Vec::from_iter((0..510).map(|_| body(&room.post("eve", "/messages", &[], &content))["message"].clone()));
    for (count, message) in messages.iter().enumerate() {
        send(&mut room, &mo, &json!({ "type": "delete", "id": message["id"], "seq": message["seq"] }));
        if [498, 499, 509].contains(&count) {
            let history = first_frame(&mut room, "eve", "since=510");
            assert_eq!(history["resumed"], json!(count < 499), "after {} deletions", count + 1);
            assert_eq!(history["deleted"].as_array().map(Vec::len), (count < 499).then_some(count + 1));
        }
    }
    discard_received([&mo]);
    assert!(room.storage().len() <= 510 + 500);
    // A client that sees a later message resumes as before.
    room.post("eve", "/messages", &[], &content);
    assert_eq!(first_frame(&mut room, "eve", "since=511")["resumed"], true);
}

fn the_log_of_deletions_is_bounded(room: TestRoom) {
    let mut room = room.hibernate_after_each_event(false);
    let mo = join_with(&mut room, "mo", MODERATOR);
    delete_many(&mut room, &mo, 700);
    let entries = room.storage().keys().filter(|key| key.starts_with(b"d")).count();
    assert!(entries <= 500, "{entries}");
    for (since, resumed) in [(202, true), (201, false), (650, true)] {
        let history = first_frame(&mut room, "eve", &format!("since={since}"));
        let deleted = history["deleted"].as_array().map_or(0, Vec::len);
        assert_eq!(history["resumed"], resumed, "{since}");
        assert!(!resumed || deleted >= 700 - since, "{since}: {deleted}");
    }
}

fn deletions_fit_into_the_first_frame(mut room: TestRoom) {
    let mo = join_with(&mut room, "mo", MODERATOR);
    delete_many(&mut room, &mo, 100);
    for most in [4_096, 20_000, 1 << 20] {
        room.restart();
        room = room.message_out_bytes(most);
        for (query, resumed) in [("since=0", most > 50_000), ("since=99", true)] {
            let client = room.connect("bo", query).unwrap();
            let [Message::Text(frame)] = &client.received_raw()[..] else { panic!("not one frame of text") };
            assert!(frame.len() <= most, "{most}: {} B", frame.len());
            let history: Value = serde_json::from_str(frame).unwrap();
            assert_eq!(history["resumed"], resumed, "{most} {query}");
        }
    }
}

fn deletions_outlive_a_restart(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    let message = say(&mut room, &ana, "hello", "c1");
    delete(&mut room, &mo, &message);
    let at = room.now();
    room.restart();
    room.advance(Duration::from_secs(5));
    let history = first_frame(&mut room, "eve", "since=1");
    assert_eq!(history["deleted"], json!([entry(&message, "id-mo", at)]));
    assert_eq!(list(&mut room, ""), [tombstone(&message, "id-mo", at)]);
    let ana = join(&mut room, "ana");
    assert_eq!(say(&mut room, &ana, "hello", "c1"), tombstone(&message, "id-mo", at));
}

fn a_muted_user_cannot_send(mut room: TestRoom) {
    let (ana, bo, mo) = (join(&mut room, "ana"), join(&mut room, "bo"), join_with(&mut room, "mo", MODERATOR));
    discard_received([&ana, &bo]);
    mute(&mut room, &mo, "id-ana", 600);
    let until = room.now() + 600_000;
    let muted = json!({ "type": "muted", "user": "id-ana", "until": until, "seconds": 600, "by": "id-mo" });
    assert_all_received([&ana, &bo, &mo], &muted);
    let stored = room.storage();
    room.advance(Duration::from_millis(1_500));

    send(&mut room, &ana, &json!({ "type": "message", "content": "hello", "clientId": "c1" }));
    let [error] = ana.received().try_into().expect("one frame");
    let expected = json!({
        "type": "error", "code": "muted", "message": error["message"], "clientId": "c1", "until": until, "seconds": 599,
    });
    assert_eq!(error, expected);
    let posted = json!({ "content": "hello", "clientId": "c1" }).to_string();
    for headers in [&[][..], &[("idempotency-key", "k1")]] {
        let refused = room.post("ana", "/messages", headers, &posted);
        assert_eq!(problem(&refused), 403);
        let refused: Value = refused.json().unwrap();
        assert_eq!(
            (&refused["code"], &refused["until"], &refused["seconds"]),
            (&json!("muted"), &json!(until), &json!(599))
        );
        assert_eq!((&refused["clientId"], refused.get("permission")), (&json!("c1"), None));
    }
    assert_none_received([&bo, &mo]);
    assert_eq!(room.storage(), stored);
    say(&mut room, &bo, "others may", "c1");
}

fn a_mute_ends_by_itself(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    mute(&mut room, &mo, "id-ana", 60);
    discard_received([&ana]);
    room.advance(Duration::from_millis(59_999));
    send(&mut room, &ana, &json!({ "type": "message", "content": "hello" }));
    assert_eq!(ana.received()[0]["code"], "muted");
    room.advance(Duration::from_millis(1));
    say(&mut room, &ana, "hello", "c1");
    assert!(room.timers().is_empty(), "nothing wakes a room for it");
}

fn a_mute_can_be_ended(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    mute(&mut room, &mo, "id-ana", 600);
    discard_received([&ana, &mo]);
    room.advance(Duration::from_secs(5));
    mute(&mut room, &mo, "id-ana", 0);
    let muted = json!({ "type": "muted", "user": "id-ana", "until": room.now(), "seconds": 0, "by": "id-mo" });
    assert_all_received([&ana, &mo], &muted);
    assert!(room.storage().is_empty());
    say(&mut room, &ana, "hello", "c1");
    mute(&mut room, &mo, "id-ana", 0); // harmless
    say_after(&mut room, &ana);
}

/// Says something after other frames have come.
fn say_after(room: &mut TestRoom, client: &TestClient) {
    discard_received([client]);
    say(room, client, "after", "after");
}

fn a_client_that_connects_learns_its_own_mute(mut room: TestRoom) {
    let mo = join_with(&mut room, "mo", MODERATOR);
    mute(&mut room, &mo, "id-ana", 600);
    let until = room.now() + 600_000;
    room.advance(Duration::from_secs(5));
    for query in ["", "since=0"] {
        let own = json!({ "user": "id-ana", "until": until, "seconds": 595, "by": "id-mo" });
        assert_eq!(first_frame(&mut room, "ana", query)["muted"], own, "{query}");
        assert_eq!(first_frame(&mut room, "bo", query).get("muted"), None, "{query}");
    }
    room.advance(Duration::from_secs(595));
    assert_eq!(first_frame(&mut room, "ana", "").get("muted"), None);
}

fn a_retry_of_a_message_from_before_the_mute_is_answered(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    let message = say(&mut room, &ana, "hello", "c1");
    mute(&mut room, &mo, "id-ana", 60);
    discard_received([&ana]);
    assert_eq!(say(&mut room, &ana, "hello", "c1"), message);
    send(&mut room, &ana, &json!({ "type": "message", "content": "hello", "clientId": "c2" }));
    assert_eq!(ana.received()[0]["code"], "muted");
    // A retry of the refused message is stored once the mute is over.
    room.advance(Duration::from_secs(60));
    assert_eq!(say(&mut room, &ana, "hello", "c2")["seq"], 2);
}

fn a_muted_user_is_not_shown_typing(mut room: TestRoom) {
    let (ana, bo, mo) = (join(&mut room, "ana"), join(&mut room, "bo"), join_with(&mut room, "mo", MODERATOR));
    mute(&mut room, &mo, "id-ana", 60);
    discard_received([&ana, &bo, &mo]);
    room.send(&ana, TYPING);
    assert_none_received([&ana, &bo, &mo]);
    room.send(&bo, TYPING);
    assert_eq!(ana.received_types(), ["typing"]);
    room.advance(Duration::from_secs(60));
    room.send(&ana, TYPING);
    assert_eq!(bo.received_types(), ["typing"]);
}

fn a_mute_binds_its_user_with_every_permission(mut room: TestRoom) {
    let (mo, max) = (join_with(&mut room, "mo", MODERATOR), join_with(&mut room, "max", MODERATOR));
    let message = r#"{"content":"hello"}"#;
    mute(&mut room, &mo, "id-max", 60);
    discard_received([&mo, &max]);
    send(&mut room, &max, &json!({ "type": "message", "content": "hello", "clientId": "c1" }));
    room.send(&max, TYPING);
    assert_eq!(max.received()[0]["code"], "muted");
    // As a service does that acts for Max: it has its own permissions, and the user's mute.
    let refused = request_as(&mut room, "max", MODERATOR, "POST", "/messages", message);
    assert_eq!(problem(&refused), 403);
    assert_none_received([&mo]);
    // To moderate goes on, and so the mute can be ended.
    let ended = request_as(&mut room, "max", MODERATOR, "DELETE", "/mutes/id-max", "");
    assert_eq!(body(&ended)["success"], true);
    let posted = request_as(&mut room, "max", MODERATOR, "POST", "/messages", message);
    assert_eq!(body(&posted)["success"], true);
}

fn only_moderators_mute(mut room: TestRoom) {
    let (ana, open) = (join(&mut room, "ana"), room.join("open"));
    discard_received([&ana, &open]);
    for client in [&ana, &open] {
        send(&mut room, client, &json!({ "type": "mute", "user": "id-bo", "seconds": 60, "clientId": "c1" }));
        let [error] = client.received().try_into().expect("one frame");
        assert_eq!((&error["code"], &error["permission"]), (&json!("forbidden"), &json!("moderate")));
        assert_eq!(error["clientId"], "c1");
    }
    let order = r#"{"user":"id-bo","seconds":60}"#;
    for (method, path, body) in
        [("POST", "/mutes", order), ("POST", "/mutes", ""), ("DELETE", "/mutes/id-bo", ""), ("GET", "/mutes", "")]
    {
        let refused =
            request_as(&mut room, "ana", &[Permission::Read, Permission::Write, Permission::Admin], method, path, body);
        assert_eq!(problem(&refused), 403, "{method} {path}");
        assert_eq!(refused.json::<Value>().unwrap()["permission"], "moderate", "{method} {path}");
    }
    assert_none_received([&ana, &open]);
    assert!(room.storage().is_empty());
}

fn a_mute_needs_a_user_and_a_time(mut room: TestRoom) {
    let mo = join_with(&mut room, "mo", MODERATOR);
    let month = 30 * 24 * 60 * 60;
    for (user, seconds) in [
        (json!(null), json!(60)),
        (json!(""), json!(60)),
        (json!("u".repeat(257)), json!(60)),
        (json!("id-ana"), json!(null)),
        (json!("id-ana"), json!("60")),
        (json!("id-ana"), json!(-1)),
        (json!("id-ana"), json!(1.5)),
        (json!("id-ana"), json!(month + 1)),
        (json!("id-ana"), json!(u64::MAX)),
    ] {
        send(&mut room, &mo, &json!({ "type": "mute", "user": user, "seconds": seconds }));
        assert_eq!(mo.received()[0]["code"], "bad_message", "{user} {seconds}");
        let order = json!({ "user": user, "seconds": seconds }).to_string();
        assert_eq!(problem(&request_as(&mut room, "mo", MODERATOR, "POST", "/mutes", &order)), 400, "{order}");
    }
    assert!(room.storage().is_empty());
    mute(&mut room, &mo, &"u".repeat(256), month);
    assert_eq!(mo.received()[0]["until"], room.now() + month * 1_000);
}

fn mutes_are_made_listed_and_ended_over_http(mut room: TestRoom) {
    let ana = join(&mut room, "ana");
    let order = r#"{"user":"id a/é","seconds":60}"#;
    let answer = body(&request_as(&mut room, "mo", MODERATOR, "POST", "/mutes", order));
    let until = room.now() + 60_000;
    let mute = json!({ "user": "id a/é", "until": until, "seconds": 60, "by": "id-mo" });
    assert_eq!(answer, json!({ "success": true, "mute": mute }));
    let mut muted = mute.clone();
    muted["type"] = json!("muted");
    assert_all_received([&ana], &muted);
    request_as(&mut room, "mo", MODERATOR, "POST", "/mutes", r#"{"user":"id-bo","seconds":30}"#);
    room.advance(Duration::from_secs(30));
    let listed = body(&request_as(&mut room, "mo", MODERATOR, "GET", "/mutes", ""));
    let left = json!({ "user": "id a/é", "until": until, "seconds": 30, "by": "id-mo" });
    assert_eq!(listed, json!({ "mutes": [left] }), "ended mutes are not listed");
    discard_received([&ana]);
    let ended = body(&request_as(&mut room, "mo", MODERATOR, "DELETE", "/mutes/id%20a%2F%C3%A9", ""));
    assert_eq!((&ended["success"], &ended["mute"]["seconds"]), (&json!(true), &json!(0)));
    assert_eq!(ana.received()[0]["user"], "id a/é");
    assert_eq!(body(&request_as(&mut room, "mo", MODERATOR, "GET", "/mutes", "")), json!({ "mutes": [] }));
    let wrong = request_as(&mut room, "mo", MODERATOR, "PUT", "/mutes", "");
    assert_eq!((problem(&wrong), header(&wrong, "allow")), (405, Some("GET, POST")));
    assert_eq!(problem(&request_as(&mut room, "mo", MODERATOR, "DELETE", "/mutes/", "")), 404);
}

fn a_mute_outlives_a_restart(mut room: TestRoom) {
    let mo = join_with(&mut room, "mo", MODERATOR);
    mute(&mut room, &mo, "id-ana", 600);
    room.restart();
    room.advance(Duration::from_secs(60));
    let ana = join(&mut room, "ana");
    send(&mut room, &ana, &json!({ "type": "message", "content": "hello" }));
    let [error] = ana.received().try_into().expect("one frame");
    assert_eq!((&error["code"], &error["seconds"]), (&json!("muted"), &json!(540)));
}

fn a_room_has_at_most_a_thousand_mutes(room: TestRoom) {
    let mut room = room.hibernate_after_each_event(false);
    let mo = join_with(&mut room, "mo", MODERATOR);
    for count in 0..1_000 {
        mute(&mut room, &mo, &format!("user-{count}"), if count == 7 { 30 } else { 600 });
    }
    discard_received([&mo]);
    mute(&mut room, &mo, "one-more", 600);
    assert_eq!(mo.received()[0]["code"], "too_many_mutes");
    let refused = request_as(&mut room, "mo", MODERATOR, "POST", "/mutes", r#"{"user":"one-more","seconds":600}"#);
    assert_eq!(problem(&refused), 409);
    assert_eq!(room.storage().len(), 1_000);
    // An earlier mute can be changed, and ended ones make room.
    mute(&mut room, &mo, "user-5", 900);
    assert_eq!(mo.received()[0]["seconds"], 900);
    room.advance(Duration::from_secs(30));
    mute(&mut room, &mo, "one-more", 600);
    assert_eq!(mo.received()[0]["user"], "one-more");
    assert_eq!(room.storage().len(), 1_000);
}

fn two_moderators_work_at_once(mut room: TestRoom) {
    let (ana, mo) = (join(&mut room, "ana"), join_with(&mut room, "mo", MODERATOR));
    let max = join_with(&mut room, "max", MODERATOR);
    let messages = ["one", "two"].map(|content| say(&mut room, &ana, content, content));
    discard_received([&mo, &max]);
    delete(&mut room, &mo, &messages[0]);
    delete(&mut room, &max, &messages[1]);
    mute(&mut room, &mo, "id-ana", 600);
    mute(&mut room, &max, "id-ana", 60);
    let now = room.now();
    let expected = [
        deleted(&messages[0], "id-mo", now),
        deleted(&messages[1], "id-max", now),
        json!({ "type": "muted", "user": "id-ana", "until": now + 600_000, "seconds": 600, "by": "id-mo" }),
        json!({ "type": "muted", "user": "id-ana", "until": now + 60_000, "seconds": 60, "by": "id-max" }),
    ];
    for client in [&ana, &mo, &max] {
        assert_eq!(client.received(), expected);
    }
    assert_eq!(first_frame(&mut room, "ana", "")["muted"]["by"], "id-max", "the last word counts");
}
