//! The promises of the chat room, by the chat rows of the protocol.
//!
//! In reading order: joins and resuming, users, messages, errors, retries, HTTP, trimming, hibernation and restart.

#![deny(dead_code)]

use std::time::Duration;

use dormouse_bundle::CHAT_ROOM;
use dormouse_test::{
    Close, Message, Permission, Request, TestClient, TestRoom, TestUser, User, assert_all_received,
    assert_none_received, body, discard_received, header, problem,
};
use serde_json::{Value, json};

dormouse_test::with_and_without_hibernation! { CHAT_ROOM;
    the_first_frame_is_the_history,
    the_history_is_the_last_fifty_messages_oldest_first,
    a_client_that_resumes_gets_the_missed_messages,
    a_client_resumes_after_at_most_500_missed_messages,
    a_client_ahead_of_the_room_starts_over,
    a_client_whose_gap_was_trimmed_starts_over,
    a_client_of_another_incarnation_starts_over,
    only_histories_and_messages_have_event_ids,
    a_client_that_reconnects_is_announced_like_any_other,
    the_position_to_resume_from_must_be_a_number,

    a_join_is_announced_to_the_others,
    a_user_with_many_tabs_joins_once,
    a_user_leaves_with_the_last_tab,
    a_user_who_left_can_join_again,
    users_without_presence_come_and_go_unannounced,
    a_user_is_announced_by_the_sockets_with_presence,
    presence_counts_as_it_was_when_the_socket_opened,
    typing_is_announced_to_others_and_not_to_own_tabs,

    a_message_reaches_all_clients_and_its_sender,
    a_message_has_the_fields_of_the_protocol,
    a_client_cannot_choose_its_identity,
    messages_are_numbered_without_gaps,
    content_is_kept_as_it_was_sent,
    content_is_truncated_to_two_thousand_utf16_units,
    content_is_never_truncated_inside_a_surrogate_pair,
    a_lone_surrogate_is_stored_as_the_replacement_character,

    errors_are_sent_only_to_the_sender,
    an_error_names_its_message,

    a_resent_message_is_stored_once_and_echoed_to_its_sender,
    a_message_is_recognised_for_ten_minutes,
    a_client_id_belongs_to_its_user,
    a_client_id_cannot_be_reused_for_other_content,
    a_retry_of_truncated_content_is_recognised,
    a_client_id_with_half_a_pair_is_no_other_one,
    a_client_id_is_no_idempotency_key,
    a_retry_is_recognised_after_a_restart,
    expired_retry_keys_take_no_space,
    a_retry_is_recognised_after_the_clock_stepped_back,
    keys_from_a_clock_that_was_ahead_expire,

    a_posted_message_reaches_every_socket,
    a_user_who_only_posts_does_not_join,
    a_post_with_the_same_idempotency_key_is_stored_once,
    an_idempotency_key_cannot_be_reused_for_other_content,
    a_post_with_both_keys_is_stored_once_under_either,
    an_idempotency_key_is_recognised_for_ten_minutes,
    a_post_without_content_is_refused,
    the_last_hundred_messages_are_listed_oldest_first,
    a_page_matches_its_query,
    a_page_holds_at_most_five_hundred_messages,
    the_history_can_be_paged_in_both_directions,
    a_bad_number_in_a_query_is_refused,
    requests_need_an_identity,
    other_requests_are_not_found,

    each_message_is_one_key_and_none_is_written_twice,
    the_configured_number_of_newest_messages_is_kept,
    ten_thousand_messages_are_kept_by_default,
    a_lowered_limit_is_reached_step_by_step,
    a_raised_limit_takes_effect,
    the_newest_message_is_always_kept,
    an_invalid_number_to_keep_is_a_configuration_error,
    a_resent_message_is_answered_even_after_trimming,
    numbers_continue_after_the_history_was_trimmed,
    the_largest_history_fits_into_one_frame,
    pages_limited_in_bytes_still_cover_the_history,
    a_newcomer_joins_despite_a_small_send_limit,
    a_message_too_large_to_send_is_refused_and_not_stored,

    a_ping_is_answered_without_the_room,
    a_woken_room_knows_the_sender,
    a_user_who_returns_after_a_restart_is_announced_again,
    nothing_wakes_a_quiet_room,
}

const TYPING: &str = r#"{"type":"typing"}"#;
const PING: &str = r#"{"type":"ping"}"#;
const PONG: &str = r#"{"type":"pong"}"#;

/// How long a retry is recognised, in milliseconds.
const RETRY_WINDOW_MS: u64 = 10 * 60 * 1000;

fn message(content: &str) -> String {
    json!({ "type": "message", "content": content }).to_string()
}

fn message_with_id(content: &str, client_id: &str) -> String {
    json!({ "type": "message", "content": content, "clientId": client_id }).to_string()
}

/// Connects a client, which receives the history and nothing else.
fn join_with_history(room: &mut TestRoom, name: &str, query: &str) -> (TestClient, Value) {
    let client = room.connect(name, query).expect("a chat room admits every client");
    let [mut history] = client.received().try_into().expect("a client that joins receives one frame");
    assert_eq!(history["type"], "history");
    let incarnation = history.as_object_mut().and_then(|history| history.remove("incarnation"));
    assert_eq!(incarnation, Some(json!(room_incarnation(room))));
    (client, history)
}

/// The incarnation of the room, as clients see it.
fn room_incarnation(room: &TestRoom) -> String {
    format!("{:016x}", room.incarnation())
}

/// Connects clients with these names, and discards the messages of the joins.
fn join_all<const N: usize>(room: &mut TestRoom, names: [&str; N]) -> [TestClient; N] {
    let clients = names.map(|name| room.join(name));
    discard_received(&clients);
    clients
}

/// The message in the only frame that a client received.
fn received_message(client: &TestClient) -> Value {
    let [frame] = client.received().try_into().expect("one frame");
    assert_eq!(frame, json!({ "type": "message", "message": frame["message"] }));
    frame["message"].clone()
}

/// Sends a message as a client, and returns its echo.
fn send_and_receive(room: &mut TestRoom, client: &TestClient, text: &str) -> Value {
    room.send(client, text);
    received_message(client)
}

fn post(room: &mut TestRoom, name: &str, content: &str) -> Value {
    let answer = body(&room.post(name, "/messages", &[], &json!({ "content": content }).to_string()));
    assert_eq!(answer, json!({ "success": true, "message": answer["message"] }));
    answer["message"].clone()
}

/// Posts this many messages, as a user without a socket.
fn post_many(room: &mut TestRoom, count: u64) {
    for _ in 0..count {
        post(room, "eve", "a message");
    }
}

fn list(room: &mut TestRoom, query: &str) -> Value {
    body(&room.get("eve", "/messages", query))
}

/// The numbers of the messages in a history or an answer.
fn seqs(messages: &Value) -> Vec<u64> {
    let messages = messages["messages"].as_array().expect("an array of messages");
    messages.iter().map(|message| message["seq"].as_u64().expect("a number")).collect()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn the_first_frame_is_the_history(mut room: TestRoom) {
    let (_, history) = join_with_history(&mut room, "ana", "");
    assert_eq!(history, json!({ "type": "history", "messages": [] }));
    let sent = [post(&mut room, "ana", "one"), post(&mut room, "bo", "two")];
    let (_, history) = join_with_history(&mut room, "cleo", "unknown=parameter");
    assert_eq!(history, json!({ "type": "history", "messages": sent }));
}

fn the_history_is_the_last_fifty_messages_oldest_first(mut room: TestRoom) {
    post_many(&mut room, 50);
    assert_eq!(seqs(&join_with_history(&mut room, "ana", "").1), Vec::from_iter(1..=50));
    post_many(&mut room, 1);
    assert_eq!(seqs(&join_with_history(&mut room, "bo", "").1), Vec::from_iter(2..=51));
}

fn a_client_that_resumes_gets_the_missed_messages(mut room: TestRoom) {
    let (_, history) = join_with_history(&mut room, "ana", "since=0");
    assert_eq!(history, json!({ "type": "history", "messages": [], "resumed": true }));
    post_many(&mut room, 60);
    for since in [0, 1, 57, 60] {
        let (_, history) = join_with_history(&mut room, "ana", &format!("since={since}"));
        assert_eq!((seqs(&history), &history["resumed"]), (Vec::from_iter(since + 1..=60), &json!(true)));
    }
}

fn a_client_resumes_after_at_most_500_missed_messages(mut room: TestRoom) {
    post_many(&mut room, 501);
    let (_, history) = join_with_history(&mut room, "ana", "since=1");
    assert_eq!((seqs(&history), &history["resumed"]), (Vec::from_iter(2..=501), &json!(true)));
    let (_, history) = join_with_history(&mut room, "ana", "since=0");
    assert_eq!((seqs(&history), &history["resumed"]), (Vec::from_iter(452..=501), &json!(false)));
}

fn a_client_ahead_of_the_room_starts_over(mut room: TestRoom) {
    let (_, history) = join_with_history(&mut room, "ana", "since=1");
    assert_eq!(history, json!({ "type": "history", "messages": [], "resumed": false }));
    post_many(&mut room, 5);
    for since in [6, 1000, u64::MAX] {
        let (_, history) = join_with_history(&mut room, "ana", &format!("since={since}"));
        assert_eq!((seqs(&history), &history["resumed"]), (vec![1, 2, 3, 4, 5], &json!(false)), "{since}");
    }
}

fn a_client_whose_gap_was_trimmed_starts_over(room: TestRoom) {
    let mut room = room.config("keep_messages", "5");
    post_many(&mut room, 10);
    for (since, resumed) in [(5, true), (4, false), (0, false)] {
        let (_, history) = join_with_history(&mut room, "ana", &format!("since={since}"));
        assert_eq!((seqs(&history), &history["resumed"]), (vec![6, 7, 8, 9, 10], &json!(resumed)), "{since}");
    }
}

fn a_client_of_another_incarnation_starts_over(mut room: TestRoom) {
    post_many(&mut room, 3);
    let (backup, before) = (room.backup(), room_incarnation(&room));
    post_many(&mut room, 2);
    room.restore(&backup);
    post_many(&mut room, 8);
    let now = room_incarnation(&room);
    assert_ne!(before, now);
    for (query, expected, resumed) in [
        (format!("since=5&incarnation={before}"), 1..=11, json!(false)),
        (format!("incarnation={before}&since=0"), 1..=11, json!(false)),
        ("since=5&incarnation=".into(), 1..=11, json!(false)),
        (format!("since=5&incarnation={now}"), 6..=11, json!(true)),
        ("since=5".into(), 6..=11, json!(true)),
        (format!("incarnation={before}"), 1..=11, Value::Null),
    ] {
        let (_, history) = join_with_history(&mut room, "ana", &query);
        assert_eq!((seqs(&history), &history["resumed"]), (Vec::from_iter(expected), &resumed), "{query}");
    }
}

fn only_histories_and_messages_have_event_ids(mut room: TestRoom) {
    let incarnation = room_incarnation(&room);
    let ids = |client: &TestClient| client.received_with_ids().into_iter().map(|(_, id)| id).collect::<Vec<_>>();
    let id = |seq: u64| Some(format!("{seq}.{incarnation}"));
    let ana = room.join("ana");
    assert_eq!(ids(&ana), [None], "an empty history is no place to resume from");
    post_many(&mut room, 2);
    assert_eq!(ids(&ana), [id(1), id(2)]);
    let (bo, resumed) = (room.join("bo"), room.connect("cleo", "since=1").unwrap());
    let missed_nothing = room.connect("dan", "since=2").unwrap();
    assert_eq!((ids(&bo)[0].clone(), ids(&resumed)[0].clone(), ids(&missed_nothing)), (id(2), id(2), vec![None]));
    discard_received([&ana]);
    room.send(&bo, TYPING);
    room.send(&bo, &message("three"));
    room.leave(&bo);
    assert_eq!(ids(&ana), [None, id(3), None]);
}

fn a_client_that_reconnects_is_announced_like_any_other(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    join_with_history(&mut room, "bo", "since=0");
    assert_eq!(ana.received_types(), ["user_joined"]);
}

fn the_position_to_resume_from_must_be_a_number(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    for since in ["", "x", "-1", "+1", "1.5", "1e3", "18446744073709551616"] {
        let (status, reason) = room.connect("bo", &format!("since={since}")).err().expect(since);
        assert_eq!((status, reason.contains("since")), (400, true), "{since}: {reason}");
    }
    assert!(ana.received().is_empty(), "who was refused was never here");
    assert_eq!(room.sockets(), 1);
}

fn a_join_is_announced_to_the_others(mut room: TestRoom) {
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    room.advance(millis(1_234));
    join_with_history(&mut room, "cleo", "");
    let joined = json!({ "type": "user_joined", "userId": "id-cleo", "userName": "cleo", "timestamp": room.now() });
    assert_all_received([&ana, &bo], &joined);
}

fn a_user_with_many_tabs_joins_once(mut room: TestRoom) {
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    join_with_history(&mut room, "bo", "");
    join_with_history(&mut room, "bo", "");
    assert_none_received([&ana, &bo]);
}

fn a_user_leaves_with_the_last_tab(mut room: TestRoom) {
    let [ana, bo, tab, other_tab] = join_all(&mut room, ["ana", "bo", "bo", "bo"]);
    room.leave(&bo);
    room.try_leave(&other_tab, Close::lost()).unwrap();
    assert_none_received([&ana, &tab]);
    room.advance(millis(1_234));
    room.try_leave(&tab, Close::lost()).unwrap();
    let left = json!({ "type": "user_left", "userId": "id-bo", "userName": "bo", "timestamp": room.now() });
    assert_eq!(ana.received(), [left]);
}

fn a_user_who_left_can_join_again(mut room: TestRoom) {
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    room.leave(&bo);
    join_with_history(&mut room, "bo", "");
    assert_eq!(ana.received_types(), ["user_left", "user_joined"]);
}

/// A user who may not be listed.
fn without_presence(name: &str) -> TestUser {
    TestUser::new(name).may_only([Permission::Read, Permission::Write])
}

fn users_without_presence_come_and_go_unannounced(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    let bo = room.join_as(without_presence("bo"));
    assert_eq!(bo.received_types(), ["history"]);
    assert_none_received([&ana]);
    room.send(&bo, &message("hello"));
    assert_eq!(ana.received_types(), ["message"], "what the user sends is seen");
    room.leave(&bo);
    assert_none_received([&ana]);
}

fn a_user_is_announced_by_the_sockets_with_presence(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    let quiet = room.join_as(without_presence("bo"));
    let (tab, _) = join_with_history(&mut room, "bo", "");
    assert_eq!(ana.received_types(), ["user_joined"]);
    let (other_tab, _) = join_with_history(&mut room, "bo", "");
    room.leave(&tab);
    assert_none_received([&ana]);
    room.leave(&other_tab);
    assert_eq!(ana.received_types(), ["user_left"]);
    discard_received([&quiet]);
    room.leave(&quiet);
    assert_none_received([&ana]);
}

fn presence_counts_as_it_was_when_the_socket_opened(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    let (bo, _) = join_with_history(&mut room, "bo", "");
    let cleo = room.join_as(without_presence("cleo"));
    assert_eq!(ana.received_types(), ["user_joined"]);
    room.renew(&bo, without_presence("bo"));
    room.renew(&cleo, TestUser::new("cleo"));
    room.leave(&cleo);
    assert_none_received([&ana]);
    room.leave(&bo);
    assert_eq!(ana.received_types(), ["user_left"], "others have seen this user join");
}

fn typing_is_announced_to_others_and_not_to_own_tabs(mut room: TestRoom) {
    let [ana, bo, tab, other_tab] = join_all(&mut room, ["ana", "bo", "cleo", "cleo"]);
    room.send(&tab, TYPING);
    let typing = json!({ "type": "typing", "userId": "id-cleo", "userName": "cleo" });
    assert_all_received([&ana, &bo], &typing);
    assert_none_received([&tab, &other_tab]);
    assert!(room.storage().is_empty(), "typing is nothing to keep");
}

fn a_message_reaches_all_clients_and_its_sender(mut room: TestRoom) {
    let clients = join_all(&mut room, ["ana", "ana", "bo", "cleo"]);
    let sent = send_and_receive(&mut room, &clients[0], &message("hello"));
    assert_eq!(sent["content"], "hello");
    for client in &clients[1..] {
        assert_eq!(received_message(client), sent);
    }
    assert_eq!(list(&mut room, ""), json!({ "messages": [sent] }));
}

fn a_message_has_the_fields_of_the_protocol(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    room.advance(millis(1_234));
    let core = send_and_receive(&mut room, &ana, &message("hello"));
    let expected = json!({
        "id": core["id"], "userId": "id-ana", "userName": "ana", "content": "hello", "timestamp": room.now(), "seq": 1,
    });
    assert_eq!(core, expected);

    room.advance(millis(1_234));
    let named = send_and_receive(&mut room, &ana, &message_with_id("again", "c1"));
    let expected = json!({
        "id": named["id"], "userId": "id-ana", "userName": "ana", "content": "again", "timestamp": room.now(), "seq": 2,
        "clientId": "c1",
    });
    assert_eq!(named, expected);

    assert_ne!(core["id"], named["id"]);
    for id in [&core["id"], &named["id"]] {
        let id = id.as_str().expect("a string");
        let shape: String = id.chars().map(|it| if it.is_ascii_hexdigit() { 'x' } else { it }).collect();
        assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "{id}");
        assert!(id[14..].starts_with('4') && "89ab".contains(&id[19..20]), "{id} is no random UUID");
    }
}

fn a_client_cannot_choose_its_identity(mut room: TestRoom) {
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    let forged = json!({
        "type": "message", "content": "hi", "id": "mine", "userId": "id-bo", "userName": "bo", "timestamp": 5, "seq": 99,
    });
    let sent = send_and_receive(&mut room, &ana, &forged.to_string());
    received_message(&bo);
    assert_eq!((&sent["userId"], &sent["userName"]), (&json!("id-ana"), &json!("ana")));
    assert_eq!((&sent["timestamp"], &sent["seq"]), (&json!(room.now()), &json!(1)));
    assert_ne!(sent["id"], "mine");

    room.send(&ana, r#"{"type":"typing","userId":"id-cleo","userName":"cleo"}"#);
    assert_eq!(bo.received(), [json!({ "type": "typing", "userId": "id-ana", "userName": "ana" })]);

    body(&room.post("ana", "/messages", &[], &forged.to_string()));
    assert_eq!(received_message(&bo)["userId"], "id-ana");
}

fn messages_are_numbered_without_gaps(mut room: TestRoom) {
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    for text in
        [&message("one"), TYPING, &message_with_id("two", "c"), &message_with_id("two", "c"), "no", &message("")]
    {
        room.send(&ana, text);
    }
    room.post("ana", "/messages", &[], "{}");
    post(&mut room, "cleo", "three");
    room.send(&bo, &message("four"));
    assert_eq!(seqs(&list(&mut room, "")), [1, 2, 3, 4]);
}

fn content_is_kept_as_it_was_sent(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    for content in
        ["  indented\n\tand more  ", "\"quoted\\\"", "<b>&amp;</b>", "\u{0}\u{7f}\u{2028}", "🐭 漢 é e\u{301}"]
    {
        assert_eq!(send_and_receive(&mut room, &ana, &message(content))["content"], content);
        assert_eq!(list(&mut room, "limit=1")["messages"][0]["content"], content);
    }
}

fn content_is_truncated_to_two_thousand_utf16_units(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    for (letter, kept) in [("a", 2_000), ("é", 2_000), ("漢", 2_000), ("\u{1}", 2_000), ("🐭", 1_000)] {
        for sent in [kept - 1, kept, kept + 1, 3 * kept] {
            let content = letter.repeat(kept.min(sent));
            assert_eq!(send_and_receive(&mut room, &ana, &message(&letter.repeat(sent)))["content"], content);
            assert_eq!(post(&mut room, "ana", &letter.repeat(sent))["content"], content);
            assert_eq!(received_message(&ana)["content"], content);
            assert_eq!(list(&mut room, "limit=1")["messages"][0]["content"], content);
        }
    }
}

fn content_is_never_truncated_inside_a_surrogate_pair(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    let before = "a".repeat(1_999);
    for tail in ["🐭", "🐭b", "🐭🐭🐭"] {
        assert_eq!(send_and_receive(&mut room, &ana, &message(&format!("{before}{tail}")))["content"], before);
        assert_eq!(post(&mut room, "ana", &format!("{before}{tail}"))["content"], before);
        ana.received();
    }
    let fitting = format!("{}🐭", "a".repeat(1_998));
    assert_eq!(send_and_receive(&mut room, &ana, &message(&format!("{fitting}b")))["content"], fitting);
}

fn a_lone_surrogate_is_stored_as_the_replacement_character(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    for (sent, kept) in [
        (r"cut \ud83d", "cut \u{fffd}"),
        (r"\udc2d\ud83d\udc2d", "\u{fffd}🐭"),
        (r"\\ud83d", r"\ud83d"),
        (r"\ud83d\n\u00e9", "\u{fffd}\né"),
    ] {
        let client_id = format!("c{}", sent.len());
        let text = format!(r#"{{"type":"message","content":"{sent}","clientId":"{client_id}"}}"#);
        let received = send_and_receive(&mut room, &ana, &text);
        assert_eq!((&received["content"], &received["clientId"]), (&json!(kept), &json!(client_id)), "{sent}");
        assert_eq!(send_and_receive(&mut room, &ana, &text), received, "a retry is known");
        let posted = body(&room.post("ana", "/messages", &[], &format!(r#"{{"content":"{sent}"}}"#)));
        assert_eq!(posted["message"]["content"], kept, "{sent}");
        received_message(&ana);
    }
    let sent = send_and_receive(&mut room, &ana, r#"{"type":"message","content":"hi","\ud83d":"\ud83d"}"#);
    assert_eq!(sent["content"], "hi");
}

fn errors_are_sent_only_to_the_sender(mut room: TestRoom) {
    let [ana, tab, bo] = join_all(&mut room, ["ana", "ana", "bo"]);
    let with = |client_id: &str| format!(r#"{{"type":"message","content":"hi","clientId":{client_id}}}"#);
    let only_blanks_are_left = message(&format!("{}too late", " ".repeat(2_000)));
    for (text, code) in [
        ("", "bad_json"),
        ("hello", "bad_json"),
        ("null", "bad_json"),
        ("\"message\"", "bad_json"),
        (r#"["message","hi"]"#, "bad_json"),
        (r#"{"type":"message","content":"hi""#, "bad_json"),
        (r#"{"type":"message","content":"no escape: \ud83"}"#, "bad_json"),
        (&"[".repeat(10_000), "bad_json"),
        (&r#"{"type":"#.repeat(10_000), "bad_json"),
        ("{}", "bad_message"),
        (r#"{"content":"hi"}"#, "bad_message"),
        (r#"{"type":7,"content":"hi"}"#, "bad_message"),
        (r#"{"type":"message"}"#, "bad_message"),
        (r#"{"type":"message","content":null}"#, "bad_message"),
        (r#"{"type":"message","content":7}"#, "bad_message"),
        (r#"{"type":"message","content":["hi"]}"#, "bad_message"),
        (r#"{"type":"message","content":"hi","content":"ho"}"#, "bad_message"),
        (&with("7"), "bad_message"),
        (&with("null"), "bad_message"),
        (&with("\"\""), "bad_message"),
        (&with(r#""\ud83d""#), "bad_message"),
        (&with(r#""a\udc00""#), "bad_message"),
        (&with(&format!("{:?}", "c".repeat(129))), "bad_message"),
        (r#"{"type":""}"#, "unknown_type"),
        (r#"{"type":"Message","content":"hi"}"#, "unknown_type"),
        (r#"{"type":"history"}"#, "unknown_type"),
        (&message(""), "empty_content"),
        (&message(" \n\t\u{3000}"), "empty_content"),
        (&only_blanks_are_left, "empty_content"),
    ] {
        room.send(&ana, text);
        assert_only_error(&ana, code, text);
    }
    room.try_send(&ana, Message::Binary(message("hi").into())).unwrap();
    assert_only_error(&ana, "not_text", "binary");

    assert_none_received([&tab, &bo]);
    assert_eq!(ana.closed(), None);
    assert!(room.storage().is_empty());
    send_and_receive(&mut room, &ana, &with(&format!("{:?}", "c".repeat(128))));
    received_message(&bo);
}

/// Checks that a client received one error with this code and without a `clientId`.
fn assert_only_error(client: &TestClient, code: &str, about: &str) {
    let [error] = client.received().try_into().expect("one frame");
    assert_eq!(error, json!({ "type": "error", "code": code, "message": error["message"] }), "{about:.80}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{about:.80}");
}

fn an_error_names_its_message(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    for (text, code) in [
        (r#"{"type":"message","clientId":"c1","content":""}"#, "empty_content"),
        (r#"{"type":"message","clientId":"c1","content":7}"#, "bad_message"),
        (r#"{"clientId":"c1","type":"message"}"#, "bad_message"),
        (r#"{"clientId":"c1","type":"typo"}"#, "unknown_type"),
        (r#"{"clientId":"c1","content":"hi"}"#, "bad_message"),
        (r#"{"type":"message","content":"a","content":"b","clientId":"c1"}"#, "bad_message"),
        (r#"{"type":"message","clientId":"c1","content":"cut o"#, "bad_json"),
        (r#"{"type":"message","content":"\x","clientId":"c1"}"#, "bad_json"),
    ] {
        room.send(&ana, text);
        let [error] = ana.received().try_into().expect("one frame");
        let expected = json!({ "type": "error", "code": code, "message": error["message"], "clientId": "c1" });
        assert_eq!(error, expected, "{text}");
        if code != "unknown_type" && text.contains("type") {
            let body = text.replace(r#""content":"hi""#, r#""content":" ""#);
            let refused = room.post("ana", "/messages", &[], &body);
            assert_eq!(problem(&refused), 400, "{body}");
            assert_eq!(client_id_of(&refused), "c1", "{body}");
        }
    }
    room.try_send(&ana, Message::Binary(message_with_id("hi", "c1").into())).unwrap();
    assert_eq!(ana.received()[0]["clientId"], "c1");
}

/// The `clientId` in the problem that a request was answered with.
fn client_id_of(refused: &dormouse_test::Response) -> Value {
    serde_json::from_slice::<Value>(&refused.body).expect("a problem is JSON")["clientId"].clone()
}

fn a_resent_message_is_stored_once_and_echoed_to_its_sender(mut room: TestRoom) {
    let [ana, tab, bo] = join_all(&mut room, ["ana", "ana", "bo"]);
    let first = send_and_receive(&mut room, &ana, &message_with_id("hello", "c1"));
    assert_eq!(received_message(&tab), first);
    assert_eq!(received_message(&bo), first);
    let stored = room.storage();

    room.advance(millis(5_000));
    assert_eq!(send_and_receive(&mut room, &ana, &message_with_id("hello", "c1")), first);
    assert!(tab.received().is_empty());
    assert_eq!(send_and_receive(&mut room, &tab, &message_with_id("hello", "c1")), first);
    assert_none_received([&ana, &bo]);
    assert_eq!(room.storage(), stored);
    assert_eq!(send_and_receive(&mut room, &ana, &message_with_id("hello", "c2"))["seq"], 2);
}

fn a_client_id_cannot_be_reused_for_other_content(mut room: TestRoom) {
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    let first = send_and_receive(&mut room, &ana, &message_with_id("hello", "c1"));
    discard_received([&bo]);
    let stored = room.storage();
    for other in ["other words", "hello ", "Hello"] {
        room.send(&ana, &message_with_id(other, "c1"));
        let error = &ana.received()[0];
        assert_eq!((&error["code"], &error["clientId"]), (&json!("key_reused"), &json!("c1")), "{other}");
        let posted = json!({ "content": other, "clientId": "c1" }).to_string();
        for key in [&[][..], &[("idempotency-key", "k1")]] {
            let refused = room.post("ana", "/messages", key, &posted);
            assert_eq!((problem(&refused), client_id_of(&refused)), (422, json!("c1")), "{other} {key:?}");
        }
    }
    assert_none_received([&ana, &bo]);
    assert_eq!(room.storage(), stored);
    assert_eq!(send_and_receive(&mut room, &ana, &message_with_id("hello", "c1")), first);
    // Both of another sender are as free as ever.
    assert_eq!(send_and_receive(&mut room, &bo, &message_with_id("other words", "c1"))["seq"], 2);
}

fn a_retry_of_truncated_content_is_recognised(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    let (long, blank) = ("a".repeat(2_000), "a".repeat(1_999));
    for (at, (content, kept)) in [
        (r"cut \ud83d".to_owned(), "cut \u{fffd}".to_owned()),
        (r"\udc00\ud83d\ud83d\ude00".to_owned(), "\u{fffd}\u{fffd}😀".to_owned()),
        (format!("{long}tail"), long.clone()),
        (format!("{blank}😀"), blank.clone()),
        (r" hi\t\u0000\u007f\u2028 ".to_owned(), " hi\t\0\u{7f}\u{2028} ".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let frame = format!(r#"{{"type":"message","content":"{content}","clientId":"c{at}"}}"#);
        let first = send_and_receive(&mut room, &ana, &frame);
        assert_eq!(first["content"], kept);
        assert_eq!(send_and_receive(&mut room, &ana, &frame), first, "{content}");
        let posted = format!(r#"{{"clientId":"c{at}","content":"{content}"}}"#);
        assert_eq!(body(&room.post("ana", "/messages", &[], &posted))["message"], first, "{content}");
    }
    assert_eq!(seqs(&list(&mut room, "")), [1, 2, 3, 4, 5]);
}

fn a_message_is_recognised_for_ten_minutes(mut room: TestRoom) {
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    let text = message_with_id("hello", "c1");
    // The room may put ten minutes into one drawer: wherever in a drawer a message falls, it is known as long.
    for offset in [0, 1, RETRY_WINDOW_MS / 2, RETRY_WINDOW_MS - 1] {
        room.advance(millis(2 * RETRY_WINDOW_MS - room.now() % RETRY_WINDOW_MS + offset));
        let first = send_and_receive(&mut room, &ana, &text);
        bo.received();
        for wait in [0, RETRY_WINDOW_MS / 2, RETRY_WINDOW_MS / 2 - 1] {
            room.advance(millis(wait));
            assert_eq!(send_and_receive(&mut room, &ana, &text), first, "{offset} {wait}");
            assert!(bo.received().is_empty());
        }
        room.advance(millis(1));
        let second = send_and_receive(&mut room, &ana, &text);
        assert_eq!(second["seq"].as_u64(), first["seq"].as_u64().map(|seq| seq + 1), "{offset}");
        assert_eq!(received_message(&bo), second);
        assert_eq!(send_and_receive(&mut room, &ana, &text), second, "{offset}");
    }
}

fn a_client_id_belongs_to_its_user(mut room: TestRoom) {
    let [ana, bo, anab] = join_all(&mut room, ["ana", "bo", "anab"]);
    assert_eq!(send_and_receive(&mut room, &ana, &message_with_id("hello", "c1"))["userId"], "id-ana");
    bo.received();
    assert_eq!(send_and_receive(&mut room, &bo, &message_with_id("hello", "c1"))["userId"], "id-bo");
    ana.received();
    send_and_receive(&mut room, &ana, &message_with_id("hello", "bo"));
    anab.received();
    assert_eq!(send_and_receive(&mut room, &anab, &message_with_id("hello", "o"))["seq"], 4);
    assert_eq!(seqs(&list(&mut room, "")), [1, 2, 3, 4]);
}

fn a_client_id_with_half_a_pair_is_no_other_one(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    let fields = |id: &str| format!(r#""content":"hello","clientId":"{id}""#);
    for id in [r"\ud83d", r"\udc00", r"\udc00\ud83d", r"c\uD83D"] {
        room.send(&ana, &format!(r#"{{"type":"message",{}}}"#, fields(id)));
        assert_only_error(&ana, "bad_message", id);
        let refused = room.post("ana", "/messages", &[], &format!("{{{}}}", fields(id)));
        assert_eq!(problem(&refused), 400, "{id}");
    }
    assert!(room.storage().is_empty());
    for (seq, id) in ["\u{fffd}", r"\ud83d\udc2d"].into_iter().enumerate() {
        let received = send_and_receive(&mut room, &ana, &format!(r#"{{"type":"message",{}}}"#, fields(id)));
        assert_eq!(received["seq"], seq + 1);
        assert_eq!(
            body(&room.post("ana", "/messages", &[], &format!("{{{}}}", fields(id))))["message"],
            received,
            "a retry"
        );
    }
}

fn a_client_id_is_no_idempotency_key(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    send_and_receive(&mut room, &ana, &message_with_id("hello", "k1"));
    post_as(&mut room, "ana", "k1");
    assert_eq!(seqs(&list(&mut room, "")), [1, 2]);
}

fn a_retry_is_recognised_after_a_restart(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    let first = send_and_receive(&mut room, &ana, &message_with_id("hello", "c1"));
    let posted = post_as(&mut room, "ana", "k1");
    room.restart();
    let [ana] = join_all(&mut room, ["ana"]);
    assert_eq!(send_and_receive(&mut room, &ana, &message_with_id("hello", "c1")), first);
    assert_eq!(post_as(&mut room, "ana", "k1"), posted);
}

fn expired_retry_keys_take_no_space(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    for count in 0..50 {
        send_and_receive(&mut room, &ana, &message_with_id("hello", &format!("old {count}")));
    }
    room.advance(millis(2 * RETRY_WINDOW_MS));
    for count in 0..20 {
        send_and_receive(&mut room, &ana, &message_with_id("hello", &format!("new {count}")));
    }
    assert_eq!(room.storage().len(), 50 + 20 + 20, "70 messages, and what is needed to know 20 of them again");
}

fn a_retry_is_recognised_after_the_clock_stepped_back(mut room: TestRoom) {
    // Four seconds over the edge of a drawer, ten minutes, hours, and once more.
    for back in [4_000, RETRY_WINDOW_MS, 2 * RETRY_WINDOW_MS, 7_200_000] {
        room.advance(millis(100 * RETRY_WINDOW_MS - room.now() % RETRY_WINDOW_MS + 2_000));
        let [ana] = join_all(&mut room, ["ana"]);
        let first = send_and_receive(&mut room, &ana, &message_with_id("hello", "c1"));
        let posted = post_as(&mut room, "ana", "k1");
        for _ in 0..2 {
            room.restart();
            room.set_clock(room.now() - back);
            let [ana] = join_all(&mut room, ["ana"]);
            assert_eq!(send_and_receive(&mut room, &ana, &message_with_id("hello", "c1")), first, "{back}");
            assert_eq!(post_as(&mut room, "ana", "k1"), posted, "{back}");
        }
        room.restart();
    }
}

fn keys_from_a_clock_that_was_ahead_expire(mut room: TestRoom) {
    for count in 0..10 {
        let key = format!("ahead {count}");
        post_as(&mut room, "ana", &key);
    }
    room.restart();
    room.set_clock(room.now() - 7_200_000);
    for count in 0..10 {
        let key = format!("now {count}");
        post_as(&mut room, "ana", &key);
    }
    assert_eq!(post_as(&mut room, "ana", "ahead 0")["message"]["seq"], 1);
    room.advance(millis(2 * RETRY_WINDOW_MS));
    for count in 0..10 {
        let key = format!("later {count}");
        post_as(&mut room, "ana", &key);
    }
    assert_eq!(room.storage().len(), 30 + 10, "30 messages, and what is needed to know 10 of them again");
    assert_eq!(post_as(&mut room, "ana", "ahead 0")["message"]["seq"], 31);
}

/// Post with an `Idempotency-Key`.
fn post_as(room: &mut TestRoom, name: &str, key: &str) -> Value {
    let posted = json!({ "content": "hello" }).to_string();
    body(&room.post(name, "/messages", &[("idempotency-key", key)], &posted))
}

fn a_posted_message_reaches_every_socket(mut room: TestRoom) {
    let clients = join_all(&mut room, ["ana", "ana", "bo"]);
    room.advance(millis(1_234));
    let posted = post(&mut room, "ana", "hello");
    let expected = json!({
        "id": posted["id"], "userId": "id-ana", "userName": "ana", "content": "hello", "timestamp": room.now(), "seq": 1,
    });
    assert_eq!(posted, expected);
    for client in &clients {
        assert_eq!(received_message(client), posted);
    }
    assert_eq!(list(&mut room, ""), json!({ "messages": [posted] }));
}

fn a_user_who_only_posts_does_not_join(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    post(&mut room, "bo", "hello");
    assert_eq!(ana.received_types(), ["message"]);
    join_with_history(&mut room, "bo", "");
    assert_eq!(ana.received_types(), ["user_joined"]);
}

fn a_post_with_the_same_idempotency_key_is_stored_once(mut room: TestRoom) {
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    let first = post_as(&mut room, "ana", "k1");
    assert_eq!(first["message"].get("clientId"), None);
    assert_eq!(received_message(&bo), first["message"]);
    ana.received();

    room.advance(millis(5_000));
    for same in ["k1", "\"k1\"", "\"k1\";v=1"] {
        assert_eq!(post_as(&mut room, "ana", same), first, "{same}");
    }
    assert_none_received([&ana, &bo]);

    assert_eq!(post_as(&mut room, "ana", "k2")["message"]["seq"], 2);
    assert_eq!(post_as(&mut room, "bo", "k1")["message"]["seq"], 3);
}

fn an_idempotency_key_cannot_be_reused_for_other_content(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    let first = post_as(&mut room, "ana", "k1");
    let stored = room.storage();
    discard_received([&ana]);
    for other in [r#"{"content":"other words","clientId":"c1"}"#, r#"{"content":"hello ","clientId":"c1"}"#] {
        let refused = room.post("ana", "/messages", &[("idempotency-key", "k1")], other);
        assert_eq!(problem(&refused), 422, "{other}");
        assert_eq!(client_id_of(&refused), "c1");
    }
    assert_none_received([&ana]);
    assert_eq!(room.storage(), stored);
    assert_eq!(post_as(&mut room, "ana", "k1"), first);

    // The content counts as it is kept, so what is cut off does not count.
    let long = |tail: &str| json!({ "content": "a".repeat(2_000) + tail }).to_string();
    let first = body(&room.post("ana", "/messages", &[("idempotency-key", "k2")], &long("b")));
    assert_eq!(body(&room.post("ana", "/messages", &[("idempotency-key", "k2")], &long("c"))), first);
}

fn a_post_with_both_keys_is_stored_once_under_either(mut room: TestRoom) {
    fn post_with_keys(room: &mut TestRoom, key: Option<&str>, client_id: Option<&str>) -> Value {
        let headers = key.map(|key| ("idempotency-key", key)).into_iter().collect::<Vec<_>>();
        let posted = json!({ "content": "hello", "clientId": client_id });
        let posted = if client_id.is_some() { posted } else { json!({ "content": "hello" }) };
        body(&room.post("ana", "/messages", &headers, &posted.to_string()))
    }
    let [ana] = join_all(&mut room, ["ana"]);
    let first = post_with_keys(&mut room, Some("k1"), Some("c1"));
    assert_eq!(first["message"]["clientId"], "c1");
    discard_received([&ana]);
    for (key, client_id) in [(Some("k1"), Some("c1")), (Some("k1"), None), (None, Some("c1")), (Some("k2"), Some("c1"))]
    {
        assert_eq!(post_with_keys(&mut room, key, client_id), first, "{key:?} {client_id:?}");
    }
    assert_eq!(post_with_keys(&mut room, Some("k2"), None), first, "it was the name of a retry");
    assert_eq!(post_with_keys(&mut room, Some("k1"), Some("c2")), first);
    assert_eq!(post_with_keys(&mut room, None, Some("c2")), first);
    room.send(&ana, &message_with_id("hello", "c1"));
    assert_eq!(received_message(&ana), first["message"]);
    assert_eq!(seqs(&list(&mut room, "")), [1]);
}

fn an_idempotency_key_is_recognised_for_ten_minutes(mut room: TestRoom) {
    for offset in [0, RETRY_WINDOW_MS - 1] {
        room.advance(millis(2 * RETRY_WINDOW_MS - room.now() % RETRY_WINDOW_MS + offset));
        let first = post_as(&mut room, "ana", "k1");
        room.advance(millis(RETRY_WINDOW_MS - 1));
        assert_eq!(post_as(&mut room, "ana", "k1"), first, "{offset}");
        room.advance(millis(1));
        assert_ne!(post_as(&mut room, "ana", "k1"), first, "{offset}");
    }
}

fn a_post_without_content_is_refused(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    for bad in ["", "hello", "[\"hello\"]", "null", "{", "{}", r#"{"content":null}"#, r#"{"content":7}"#] {
        assert_eq!(problem(&room.post("ana", "/messages", &[], bad)), 400, "{bad}");
    }
    for bad in ["", " \n ", &" ".repeat(2_001)] {
        let posted = json!({ "content": bad }).to_string();
        assert_eq!(problem(&room.post("ana", "/messages", &[], &posted)), 400, "{posted}");
    }
    let latin1 = Request {
        method: "POST".into(),
        path: "/messages".into(),
        body: b"{\"content\":\"caf\xe9\"}".into(),
        user: Some(ana.user.clone()),
        ..Request::default()
    };
    assert_eq!(problem(&room.request(latin1)), 400);
    for key in ["", &"k".repeat(129)] {
        let answer = room.post("ana", "/messages", &[("idempotency-key", key)], r#"{"content":"hello"}"#);
        assert_eq!(problem(&answer), 400, "{key}");
    }
    assert!(ana.received().is_empty());
    assert!(room.storage().is_empty());
    post_as(&mut room, "ana", &"k".repeat(128));
}

fn the_last_hundred_messages_are_listed_oldest_first(mut room: TestRoom) {
    assert_eq!(list(&mut room, ""), json!({ "messages": [] }));
    post_many(&mut room, 100);
    assert_eq!(seqs(&list(&mut room, "")), Vec::from_iter(1..=100));
    post_many(&mut room, 1);
    let listed = list(&mut room, "unknown=parameter");
    assert_eq!(seqs(&listed), Vec::from_iter(2..=101));
    assert_eq!(listed.get("hasMore"), None, "a client of the core gets the core alone");
}

fn a_page_matches_its_query(room: TestRoom) {
    let mut room = room.config("keep_messages", "10");
    post_many(&mut room, 12); // 1 and 2 are gone
    for (query, expected, has_more) in [
        ("limit=1", 12..13, true),
        ("limit=9", 4..13, true),
        ("limit=10", 3..13, false),
        ("limit=500", 3..13, false),
        ("before=6", 3..6, false),
        ("before=6&limit=3", 3..6, false),
        ("before=6&limit=2", 4..6, true),
        ("limit=2&before=6", 4..6, true),
        ("before=13", 3..13, false),
        ("before=18446744073709551615", 3..13, false),
        ("before=3", 0..0, false),
        ("before=0", 0..0, false),
        ("after=0", 3..13, false),
        ("after=0&limit=4", 3..7, true),
        ("after=9", 10..13, false),
        ("after=9&limit=3", 10..13, false),
        ("after=9&limit=2", 10..12, true),
        ("after=12", 0..0, false),
        ("after=18446744073709551615", 0..0, false),
        ("limit=%35&after=%39", 10..13, false),
    ] {
        let page = list(&mut room, query);
        assert_eq!(seqs(&page), Vec::from_iter(expected), "{query}");
        assert_eq!(page, json!({ "messages": page["messages"], "hasMore": has_more }), "{query}");
    }
}

fn a_page_holds_at_most_five_hundred_messages(mut room: TestRoom) {
    post_many(&mut room, 501);
    for (query, expected, has_more) in [
        ("limit=500", 2..502, true),
        ("limit=500&after=0", 1..501, true),
        ("limit=500&after=1", 2..502, false),
        ("after=0", 1..101, true),
        ("before=502", 402..502, true),
    ] {
        let page = list(&mut room, query);
        assert_eq!((seqs(&page), &page["hasMore"]), (Vec::from_iter(expected), &json!(has_more)), "{query}");
    }
}

fn the_history_can_be_paged_in_both_directions(mut room: TestRoom) {
    post_many(&mut room, 23);
    let (mut read, mut more) = (Vec::new(), true);
    while more {
        let page = list(&mut room, &format!("limit=7&after={}", read.last().unwrap_or(&0)));
        read.extend(seqs(&page));
        more = page["hasMore"].as_bool().expect("a page tells whether there is more");
    }
    assert_eq!(read, Vec::from_iter(1..=23));

    let (mut read, mut more) = (Vec::new(), true);
    while more {
        let page = list(&mut room, &format!("limit=7&before={}", read.first().unwrap_or(&u64::MAX)));
        read.splice(..0, seqs(&page));
        more = page["hasMore"].as_bool().expect("a page tells whether there is more");
    }
    assert_eq!(read, Vec::from_iter(1..=23));
}

fn a_bad_number_in_a_query_is_refused(mut room: TestRoom) {
    post_many(&mut room, 3);
    for bad in ["", "x", "-1", "+1", "%2B1", "1.5", "1e2", " 1", "0x1", "99999999999999999999", "١"] {
        for name in ["limit", "before", "after"] {
            let query = format!("{name}={bad}");
            assert_eq!(problem(&room.get("ana", "/messages", &query)), 400, "{query}");
        }
    }
    for query in ["limit=0", "limit=501", "after=1&limit=0", "limit=18446744073709551615", "before=3&after=1"] {
        assert_eq!(problem(&room.get("ana", "/messages", query)), 400, "{query}");
    }
}

fn requests_need_an_identity(mut room: TestRoom) {
    for method in ["GET", "POST"] {
        let (method, path) = (method.to_owned(), "/messages".into());
        let anonymous = Request { method, path, body: br#"{"content":"hello"}"#.into(), ..Request::default() };
        let answer = room.request(anonymous);
        assert_eq!(problem(&answer), 401);
        assert_eq!(header(&answer, "www-authenticate"), Some("Bearer"));
    }
    assert!(room.storage().is_empty());
}

fn other_requests_are_not_found(mut room: TestRoom) {
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/ws"),
        ("GET", "/messages/"),
        ("GET", "/message"),
        ("DELETE", "/messages"),
        ("get", "/messages"),
    ] {
        let answer = room.request(Request {
            method: method.into(),
            path: path.into(),
            user: Some(User { id: "id-ana".into(), name: "ana".into() }),
            ..Request::default()
        });
        assert_eq!(problem(&answer), 404, "{method} {path}");
    }
}

fn each_message_is_one_key_and_none_is_written_twice(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    let mut before = room.storage();
    for count in 1..=120 {
        send_and_receive(&mut room, &ana, &message(&"x".repeat(2_000)));
        let after = room.storage();
        assert_eq!(after.len(), count);
        assert!(before.iter().all(|(key, value)| after.get(key) == Some(value)), "message {count} changed another");
        assert!(after.values().all(|value| value.len() < 3_000), "message {count} grew something");
        before = after;
    }
}

fn the_configured_number_of_newest_messages_is_kept(room: TestRoom) {
    let mut room = room.config("keep_messages", "5");
    for last in 1..=12 {
        post_many(&mut room, 1);
        assert_eq!(seqs(&list(&mut room, "limit=500")), Vec::from_iter(last.max(5) - 4..=last), "after message {last}");
        assert_eq!(room.storage().len(), last.min(5) as usize);
    }
    assert_eq!(seqs(&join_with_history(&mut room, "ana", "").1), [8, 9, 10, 11, 12]);
}

fn ten_thousand_messages_are_kept_by_default(mut room: TestRoom) {
    post_many(&mut room, 10_000);
    assert_eq!(room.storage().len(), 10_000);
    post_many(&mut room, 1);
    assert_eq!(room.storage().len(), 10_000);
    assert_eq!(seqs(&list(&mut room, "after=0&limit=1")), [2]);
}

fn a_lowered_limit_is_reached_step_by_step(mut room: TestRoom) {
    post_many(&mut room, 20);
    room.restart();
    let mut room = room.config("keep_messages", "5");
    for left in Vec::from_iter((5..20).rev()).into_iter().chain([5, 5, 5]) {
        post_many(&mut room, 1);
        assert_eq!(room.storage().len(), left, "a message removes two, not the whole surplus");
        let kept = seqs(&list(&mut room, "limit=500"));
        assert!(kept.windows(2).all(|pair| pair[1] == pair[0] + 1), "{kept:?} has a hole");
    }
    assert_eq!(seqs(&list(&mut room, "")), [34, 35, 36, 37, 38]);
}

fn a_raised_limit_takes_effect(room: TestRoom) {
    let mut room = room.config("keep_messages", "5");
    post_many(&mut room, 20);
    room.restart();
    let mut room = room.config("keep_messages", "8");
    post_many(&mut room, 2);
    assert_eq!(seqs(&list(&mut room, "")), Vec::from_iter(16..=22));
    post_many(&mut room, 2);
    assert_eq!(seqs(&list(&mut room, "")), Vec::from_iter(17..=24));
}

fn the_newest_message_is_always_kept(room: TestRoom) {
    let mut room = room.config("keep_messages", "0");
    post_many(&mut room, 3);
    assert_eq!(seqs(&join_with_history(&mut room, "ana", "").1), [3]);
    assert_eq!(room.storage().len(), 1);
}

fn an_invalid_number_to_keep_is_a_configuration_error(room: TestRoom) {
    let mut room = room.config("keep_messages", "many");
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    let failure = room.try_send(&ana, Message::Text(message("hello"))).expect_err("there is no number to keep");
    assert!(failure.to_string().contains("keep_messages"), "{failure}");
    assert!(bo.received().is_empty());
    assert!(room.storage().is_empty());
}

fn a_resent_message_is_answered_even_after_trimming(room: TestRoom) {
    let mut room = room.config("keep_messages", "2");
    let [ana] = join_all(&mut room, ["ana"]);
    let sent = send_and_receive(&mut room, &ana, &message_with_id("hello", "c1"));
    let posted = post_as(&mut room, "bo", "k1");
    post_many(&mut room, 3);
    ana.received();
    assert_eq!(send_and_receive(&mut room, &ana, &message_with_id("hello", "c1")), sent);
    assert_eq!(post_as(&mut room, "bo", "k1"), posted);
    assert_eq!(seqs(&list(&mut room, "")), [4, 5]);
}

fn numbers_continue_after_the_history_was_trimmed(room: TestRoom) {
    let mut room = room.config("keep_messages", "1");
    for seq in 1..=5 {
        assert_eq!(post(&mut room, "ana", "hello")["seq"], seq);
        room.restart();
    }
}

fn the_largest_history_fits_into_one_frame(mut room: TestRoom) {
    // Every character takes six bytes as JSON, and name and id are as long as the host lets them be.
    let name = "\u{1}".repeat(253);
    let (content, client_id) = ("\u{1}".repeat(2_000), "\u{1}".repeat(125));
    let [ana] = join_all(&mut room, [&name]);
    for count in 100..200 {
        send_and_receive(&mut room, &ana, &message_with_id(&content, &format!("{client_id}{count}")));
    }
    for (query, first, resumed) in [("", 51, None), ("since=45", 46, Some(true)), ("since=1", 51, Some(false))] {
        let client = room.connect("bo", query).unwrap();
        let [Message::Text(frame)] = &client.received_raw()[..] else { panic!("not one frame of text") };
        assert!(frame.len() < 1 << 20, "{query}: {} B", frame.len());
        let history: Value = serde_json::from_str(frame).unwrap();
        assert_eq!(seqs(&history), Vec::from_iter(first..=100), "{query}");
        assert_eq!(history.get("resumed").and_then(Value::as_bool), resumed, "{query}");
        assert_eq!(history["messages"][0]["content"], content);
    }
}

/// Posts this many messages of the greatest length.
fn fill_with_longest_messages(room: &mut TestRoom, count: u64) {
    let content = json!({ "content": "\u{1}".repeat(2_000) }).to_string();
    for _ in 0..count {
        body(&room.post("ana", "/messages", &[], &content));
    }
}

fn pages_limited_in_bytes_still_cover_the_history(mut room: TestRoom) {
    fill_with_longest_messages(&mut room, 200);
    for query in ["", "limit=500", "limit=500&after=0", "limit=500&before=201"] {
        let answer = room.get("bo", "/messages", query);
        assert!((512 << 10..1 << 20).contains(&answer.body.len()), "{query}: {} B", answer.body.len());
        let page = body(&answer);
        assert_eq!(page.get("hasMore"), (!query.is_empty()).then_some(&json!(true)), "{query}");
        let found = seqs(&page);
        let expected = if query.contains("after") { (1, found.len() as u64) } else { (201 - found.len() as u64, 200) };
        assert_eq!((found[0], found[found.len() - 1]), expected, "those nearest to where the page begins: {query}");
    }
    let (mut read, mut more) = (Vec::new(), true);
    while more {
        let page = list(&mut room, &format!("limit=500&after={}", read.last().unwrap_or(&0)));
        read.extend(seqs(&page));
        more = page["hasMore"].as_bool().expect("a page tells whether there is more");
    }
    assert_eq!(read, Vec::from_iter(1..=200));
    let (mut read, mut more) = (Vec::new(), true);
    while more {
        let page = list(&mut room, &format!("limit=500&before={}", read.first().unwrap_or(&u64::MAX)));
        read.splice(..0, seqs(&page));
        more = page["hasMore"].as_bool().expect("a page tells whether there is more");
    }
    assert_eq!(read, Vec::from_iter(1..=200));
}

fn a_newcomer_joins_despite_a_small_send_limit(mut room: TestRoom) {
    fill_with_longest_messages(&mut room, 60);
    for most in [4_096, 20_000, 100_000, 500_000, 1 << 20] {
        room.restart();
        room = room.message_out_bytes(most);
        for (query, resumed) in [("", None), ("since=10", Some(most > 900_000)), ("since=59", Some(most > 15_000))] {
            let client = room.connect("bo", query).unwrap();
            let [Message::Text(frame)] = &client.received_raw()[..] else { panic!("not one frame of text") };
            assert!(frame.len() <= most, "{most}: {} B", frame.len());
            let history: Value = serde_json::from_str(frame).unwrap();
            assert_eq!(history.get("resumed").and_then(Value::as_bool), resumed, "{most} {query}");
            let shown = seqs(&history);
            assert!(shown.is_empty() || shown.ends_with(&[60]), "the newest are shown: {shown:?}");
            assert!(most < 20_000 || !shown.is_empty());
        }
    }
}

fn a_message_too_large_to_send_is_refused_and_not_stored(room: TestRoom) {
    let mut room = room.message_out_bytes(4_096);
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    let long = "\u{1}".repeat(1_000);
    room.send(&ana, &message_with_id(&long, "c1"));
    let [error] = ana.received().try_into().expect("one frame");
    assert_eq!((&error["code"], &error["clientId"]), (&json!("too_long"), &json!("c1")));
    assert_eq!(problem(&room.post("ana", "/messages", &[], &json!({ "content": long }).to_string())), 413);
    assert!(bo.received().is_empty() && room.storage().is_empty());
    send_and_receive(&mut room, &ana, &message_with_id("short", "c1"));
    // One that was stored while more could be sent is not sent again.
    received_message(&bo);
    room.restart();
    let mut room = room.message_out_bytes(1 << 20);
    let [ana] = join_all(&mut room, ["ana"]);
    send_and_receive(&mut room, &ana, &message_with_id(&long, "c2"));
    room.restart();
    let mut room = room.message_out_bytes(4_096);
    let [ana] = join_all(&mut room, ["ana"]);
    room.send(&ana, &message_with_id(&long, "c2"));
    assert_eq!(ana.received()[0]["code"], "too_long");
}

fn a_ping_is_answered_without_the_room(mut room: TestRoom) {
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    assert_eq!(room.auto_response(PING), Some(PONG));
    // The host knows one spelling. Any other comes to the room, which knows the rest.
    for spelling in [PING, r#"{"type": "ping"}"#, r#" {"at":5,"type":"ping"}"#] {
        room.send(&ana, spelling);
        assert_eq!(ana.received(), [json!({ "type": "pong" })], "{spelling}");
    }
    assert!(bo.received().is_empty());
    room.restart();
    join_all(&mut room, ["ana"]);
    assert_eq!(room.auto_response(PING), Some(PONG));
}

fn a_woken_room_knows_the_sender(mut room: TestRoom) {
    let [ana, bo, tab] = join_all(&mut room, ["ana", "bo", "bo"]);
    send_and_receive(&mut room, &ana, &message_with_id("before", "c1"));
    discard_received([&bo, &tab]);
    room.hibernate();
    let sent = send_and_receive(&mut room, &bo, &message("still here?"));
    assert_eq!((&sent["userName"], &sent["seq"]), (&json!("bo"), &json!(2)));
    assert_eq!(received_message(&ana), sent);
    assert_eq!(received_message(&tab), sent);
    room.hibernate();
    assert_eq!(send_and_receive(&mut room, &ana, &message_with_id("before", "c1"))["seq"], 1);
    room.hibernate();
    room.send(&ana, TYPING);
    assert_eq!(bo.received(), [json!({ "type": "typing", "userId": "id-ana", "userName": "ana" })]);
    room.hibernate();
    room.leave(&bo);
    assert!(ana.received().is_empty(), "bo has another tab");
    room.hibernate();
    room.leave(&tab);
    assert_eq!(ana.received_types(), ["user_left"]);
}

fn a_user_who_returns_after_a_restart_is_announced_again(mut room: TestRoom) {
    let [ana, ..] = join_all(&mut room, ["ana", "bo", "cleo"]);
    send_and_receive(&mut room, &ana, &message("hello"));
    room.restart();
    let (bo, history) = join_with_history(&mut room, "bo", "since=1");
    assert_eq!(history, json!({ "type": "history", "messages": [], "resumed": true }));
    let (ana, _) = join_with_history(&mut room, "ana", "");
    join_with_history(&mut room, "ana", "");
    let [joined] = bo.received().try_into().expect("ana is announced, once; nobody says that cleo left");
    assert_eq!((&joined["type"], &joined["userId"]), (&json!("user_joined"), &json!("id-ana")));
    assert_eq!(send_and_receive(&mut room, &ana, &message("hello again"))["seq"], 2);
}

fn nothing_wakes_a_quiet_room(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    send_and_receive(&mut room, &ana, &message_with_id("hello", "c1"));
    post_as(&mut room, "bo", "k1");
    assert!(room.timers().is_empty());
}
