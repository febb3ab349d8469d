//! What the chat room promises, by the chat rows of `protocol.md`.
//!
//! In reading order: joining and coming back, people, messages, errors, what is sent again, HTTP, what is kept, sleep
//! and restart.

#![deny(dead_code)]

use std::time::Duration;

use dormouse_bundle::CHAT_ROOM;
use dormouse_test::{Close, Message, Request, TestClient, TestRoom, body, header, problem};
use serde_json::{Value, json};

dormouse_test::kept_and_forgetful! { CHAT_ROOM;
    the_first_frame_is_the_history,
    the_history_is_the_last_fifty_messages_oldest_first,
    a_client_that_says_what_it_has_seen_gets_what_it_missed,
    a_client_may_have_missed_five_hundred_messages_and_not_one_more,
    a_client_that_has_seen_what_this_room_never_said_starts_over,
    a_client_whose_gap_is_kept_no_longer_starts_over,
    a_client_that_comes_back_is_announced_like_any_other,
    what_it_has_seen_must_be_a_number,

    the_others_are_told_who_joins,
    a_user_joins_once_however_many_tabs_they_open,
    a_user_has_left_when_their_last_tab_is_gone,
    a_user_who_left_joins_anew,
    one_who_types_is_shown_to_the_others_and_not_to_their_own_tabs,

    a_message_reaches_everybody_and_its_sender_too,
    a_message_has_the_fields_of_the_protocol,
    a_client_never_chooses_who_it_is,
    messages_are_numbered_without_gaps,
    content_is_kept_as_it_was_sent,
    content_is_cut_to_two_thousand_utf16_units,
    content_is_never_cut_inside_a_surrogate_pair,

    what_is_wrong_is_told_to_the_sender_alone,
    an_error_names_the_message_it_is_about,

    a_message_sent_again_is_stored_once_and_told_to_its_sender_alone,
    a_message_is_known_for_ten_minutes_and_no_longer,
    a_client_id_belongs_to_its_user,
    a_client_id_is_no_idempotency_key,
    what_was_sent_is_known_after_a_restart,
    what_was_sent_long_ago_takes_no_space,

    a_posted_message_reaches_every_socket,
    one_who_posts_does_not_join,
    a_post_with_the_same_idempotency_key_is_stored_once,
    an_idempotency_key_is_known_for_ten_minutes_and_no_longer,
    a_post_that_says_nothing_is_refused,
    the_last_hundred_messages_are_listed_oldest_first,
    a_page_is_what_the_query_asks_for,
    a_page_holds_at_most_five_hundred_messages,
    the_whole_history_can_be_read_page_by_page_either_way,
    a_bad_number_in_a_query_is_refused,
    nobody_asks_without_an_identity,
    other_requests_are_not_found,

    each_message_is_one_key_and_none_is_written_twice,
    the_newest_messages_are_kept_as_many_as_configured,
    ten_thousand_messages_are_kept_where_nothing_is_configured,
    a_room_that_shall_keep_fewer_gets_there_little_by_little,
    a_room_that_shall_keep_more_does,
    the_newest_message_is_always_kept,
    a_number_to_keep_that_is_none_is_the_operators_error,
    a_message_sent_again_is_answered_even_if_it_is_kept_no_longer,
    numbers_go_on_where_the_history_was_trimmed,
    the_largest_history_fits_into_one_frame,

    a_ping_is_answered_without_the_room,
    a_room_that_woke_knows_who_speaks,
    one_who_comes_back_after_a_restart_is_announced_again,
    nothing_wakes_a_room_that_nobody_talks_to,
}

const TYPING: &str = r#"{"type":"typing"}"#;
const PING: &str = r#"{"type":"ping"}"#;
const PONG: &str = r#"{"type":"pong"}"#;

/// How long a message that is sent again is known, in milliseconds.
const KNOWN_MS: u64 = 10 * 60 * 1000;

fn message(content: &str) -> String {
    json!({ "type": "message", "content": content }).to_string()
}

fn named_message(content: &str, client_id: &str) -> String {
    json!({ "type": "message", "content": content, "clientId": client_id }).to_string()
}

/// A client joins, and hears the history and nothing else.
fn enter(room: &mut TestRoom, name: &str, query: &str) -> (TestClient, Value) {
    let client = room.connect(name, query).expect("a chat room lets everybody in");
    let [history] = client.hears().try_into().expect("who joins hears one frame");
    assert_eq!(history["type"], "history");
    (client, history)
}

/// Clients of these names join, and have heard what there was to hear.
fn gather<const N: usize>(room: &mut TestRoom, names: [&str; N]) -> [TestClient; N] {
    let clients = names.map(|name| room.join(name));
    clients.each_ref().map(TestClient::hears);
    clients
}

/// What a client hears alone: the message in its only frame.
fn heard_message(client: &TestClient) -> Value {
    let [frame] = client.hears().try_into().expect("one frame");
    assert_eq!(frame, json!({ "type": "message", "message": frame["message"] }));
    frame["message"].clone()
}

/// A client says something, and hears it.
fn say(room: &mut TestRoom, client: &TestClient, text: &str) -> Value {
    room.say(client, text);
    heard_message(client)
}

fn post(room: &mut TestRoom, name: &str, content: &str) -> Value {
    let answer = body(&room.post(name, "/messages", &[], &json!({ "content": content }).to_string()));
    assert_eq!(answer, json!({ "success": true, "message": answer["message"] }));
    answer["message"].clone()
}

/// That many messages by somebody who is not here.
fn fill(room: &mut TestRoom, count: u64) {
    for _ in 0..count {
        post(room, "eve", "as I said");
    }
}

fn list(room: &mut TestRoom, query: &str) -> Value {
    body(&room.get("eve", "/messages", query))
}

/// The numbers of the messages in a history or an answer.
fn seqs(told: &Value) -> Vec<u64> {
    let messages = told["messages"].as_array().expect("an array of messages");
    messages.iter().map(|message| message["seq"].as_u64().expect("a number")).collect()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn the_first_frame_is_the_history(mut room: TestRoom) {
    let (_, history) = enter(&mut room, "ana", "");
    assert_eq!(history, json!({ "type": "history", "messages": [] }));
    let said = [post(&mut room, "ana", "one"), post(&mut room, "bo", "two")];
    let (_, history) = enter(&mut room, "cleo", "unknown=parameter");
    assert_eq!(history, json!({ "type": "history", "messages": said }));
}

fn the_history_is_the_last_fifty_messages_oldest_first(mut room: TestRoom) {
    fill(&mut room, 50);
    assert_eq!(seqs(&enter(&mut room, "ana", "").1), Vec::from_iter(1..=50));
    fill(&mut room, 1);
    assert_eq!(seqs(&enter(&mut room, "bo", "").1), Vec::from_iter(2..=51));
}

fn a_client_that_says_what_it_has_seen_gets_what_it_missed(mut room: TestRoom) {
    let (_, history) = enter(&mut room, "ana", "since=0");
    assert_eq!(history, json!({ "type": "history", "messages": [], "resumed": true }));
    fill(&mut room, 60);
    for since in [0, 1, 57, 60] {
        let (_, history) = enter(&mut room, "ana", &format!("since={since}"));
        assert_eq!((seqs(&history), &history["resumed"]), (Vec::from_iter(since + 1..=60), &json!(true)));
    }
}

fn a_client_may_have_missed_five_hundred_messages_and_not_one_more(mut room: TestRoom) {
    fill(&mut room, 501);
    let (_, history) = enter(&mut room, "ana", "since=1");
    assert_eq!((seqs(&history), &history["resumed"]), (Vec::from_iter(2..=501), &json!(true)));
    let (_, history) = enter(&mut room, "ana", "since=0");
    assert_eq!((seqs(&history), &history["resumed"]), (Vec::from_iter(452..=501), &json!(false)));
}

fn a_client_that_has_seen_what_this_room_never_said_starts_over(mut room: TestRoom) {
    let (_, history) = enter(&mut room, "ana", "since=1");
    assert_eq!(history, json!({ "type": "history", "messages": [], "resumed": false }));
    fill(&mut room, 5);
    for since in [6, 1000, u64::MAX] {
        let (_, history) = enter(&mut room, "ana", &format!("since={since}"));
        assert_eq!((seqs(&history), &history["resumed"]), (vec![1, 2, 3, 4, 5], &json!(false)), "{since}");
    }
}

fn a_client_whose_gap_is_kept_no_longer_starts_over(room: TestRoom) {
    let mut room = room.config("keep_messages", "5");
    fill(&mut room, 10);
    for (since, resumed) in [(5, true), (4, false), (0, false)] {
        let (_, history) = enter(&mut room, "ana", &format!("since={since}"));
        assert_eq!((seqs(&history), &history["resumed"]), (vec![6, 7, 8, 9, 10], &json!(resumed)), "{since}");
    }
}

fn a_client_that_comes_back_is_announced_like_any_other(mut room: TestRoom) {
    let [ana] = gather(&mut room, ["ana"]);
    enter(&mut room, "bo", "since=0");
    assert_eq!(ana.hears_types(), ["user_joined"]);
}

fn what_it_has_seen_must_be_a_number(mut room: TestRoom) {
    let [ana] = gather(&mut room, ["ana"]);
    for since in ["", "x", "-1", "+1", "1.5", "1e3", "18446744073709551616", "%zz"] {
        let (status, reason) = room.connect("bo", &format!("since={since}")).err().expect(since);
        assert_eq!((status, reason.contains("since")), (400, true), "{since}: {reason}");
    }
    assert!(ana.hears().is_empty(), "who was refused was never here");
    assert_eq!(room.sockets(), 1);
}

fn the_others_are_told_who_joins(mut room: TestRoom) {
    let [ana, bo] = gather(&mut room, ["ana", "bo"]);
    room.advance(millis(1_234));
    enter(&mut room, "cleo", "");
    let joined = json!({ "type": "user_joined", "userId": "id-cleo", "userName": "cleo", "timestamp": room.now() });
    assert_eq!(ana.hears(), [joined.clone()]);
    assert_eq!(bo.hears(), [joined]);
}

fn a_user_joins_once_however_many_tabs_they_open(mut room: TestRoom) {
    let [ana, bo] = gather(&mut room, ["ana", "bo"]);
    enter(&mut room, "bo", "");
    enter(&mut room, "bo", "");
    assert!(ana.hears().is_empty());
    assert!(bo.hears().is_empty());
}

fn a_user_has_left_when_their_last_tab_is_gone(mut room: TestRoom) {
    let [ana, bo, tab, other_tab] = gather(&mut room, ["ana", "bo", "bo", "bo"]);
    room.leave(&bo);
    room.try_leave(&other_tab, Close::lost()).unwrap();
    assert!(ana.hears().is_empty());
    assert!(tab.hears().is_empty());
    room.advance(millis(1_234));
    room.try_leave(&tab, Close::lost()).unwrap();
    let left = json!({ "type": "user_left", "userId": "id-bo", "userName": "bo", "timestamp": room.now() });
    assert_eq!(ana.hears(), [left]);
}

fn a_user_who_left_joins_anew(mut room: TestRoom) {
    let [ana, bo] = gather(&mut room, ["ana", "bo"]);
    room.leave(&bo);
    enter(&mut room, "bo", "");
    assert_eq!(ana.hears_types(), ["user_left", "user_joined"]);
}

fn one_who_types_is_shown_to_the_others_and_not_to_their_own_tabs(mut room: TestRoom) {
    let [ana, bo, tab, other_tab] = gather(&mut room, ["ana", "bo", "cleo", "cleo"]);
    room.say(&tab, TYPING);
    let typing = json!({ "type": "typing", "userId": "id-cleo", "userName": "cleo" });
    assert_eq!(ana.hears(), [typing.clone()]);
    assert_eq!(bo.hears(), [typing]);
    assert!(tab.hears().is_empty());
    assert!(other_tab.hears().is_empty());
    assert!(room.storage().is_empty(), "typing is nothing to keep");
}

fn a_message_reaches_everybody_and_its_sender_too(mut room: TestRoom) {
    let clients = gather(&mut room, ["ana", "ana", "bo", "cleo"]);
    let said = say(&mut room, &clients[0], &message("hello"));
    assert_eq!(said["content"], "hello");
    for client in &clients[1..] {
        assert_eq!(heard_message(client), said);
    }
    assert_eq!(list(&mut room, ""), json!({ "messages": [said] }));
}

fn a_message_has_the_fields_of_the_protocol(mut room: TestRoom) {
    let [ana] = gather(&mut room, ["ana"]);
    let mut ids = Vec::new();
    for seq in 1..=3 {
        room.advance(millis(1_234));
        let said = say(&mut room, &ana, &message("hello"));
        let mut fields = json!({
            "id": said["id"], "userId": "id-ana", "userName": "ana", "content": "hello",
            "timestamp": room.now(), "seq": seq,
        });
        assert_eq!(said, fields);

        let named = say(&mut room, &ana, &named_message("hello", &format!("c{seq}")));
        room.say(&ana, r#"{"type":"message","content":"fill the odd numbers"}"#);
        ana.hears();
        fields["clientId"] = format!("c{seq}").into();
        fields["id"] = named["id"].clone();
        fields["seq"] = named["seq"].clone();
        assert_eq!(named, fields);
        ids.extend([said["id"].clone(), named["id"].clone()]);
        todo!();
    }
}
