//! The promises of the presence tracker, by the presence rows of the protocol.
//!
//! In reading order: joins and leaves, tabs, status, heartbeats, missing users, restart, clocks, HTTP, storage.

#![deny(dead_code)]

use std::time::Duration;

use dormouse_bundle::PRESENCE_TRACKER;
use dormouse_test::{
    Close, Message, Permission, Request, TestClient, TestRoom, TestUser, User, assert_all_received,
    assert_none_received, body, discard_received, header, problem,
};
use serde_json::{Value, json};

dormouse_test::with_and_without_hibernation! { PRESENCE_TRACKER;
    the_first_frame_is_the_list,
    a_user_who_comes_online_is_announced_to_the_others,
    a_user_who_leaves_is_announced_to_the_others,
    a_user_who_left_comes_back_online,
    a_user_keeps_the_status_after_a_lost_connection,
    the_status_of_a_lost_user_expires_after_an_hour,
    users_whose_ids_share_a_prefix_are_separate,

    the_number_of_connections_of_a_user_is_announced,
    the_newest_tab_sets_the_name_for_all,
    a_user_is_present_until_the_last_tab_closes,

    a_user_without_the_permission_reads_and_is_not_listed,
    a_socket_without_presence_is_not_a_connection,
    a_message_lists_a_user_who_got_the_permission_later,
    an_update_lists_a_reader_who_got_the_permission_later,

    a_changed_status_is_broadcast,
    an_unchanged_status_is_not_broadcast,
    a_status_holds_for_all_tabs,
    errors_are_sent_only_to_the_sender,
    an_error_names_its_message,
    a_client_cannot_choose_its_identity,

    a_heartbeat_moves_last_seen_and_sends_nothing,
    a_ping_is_answered_without_the_room,

    a_silent_user_with_a_socket_stays,
    one_timer_serves_all_users,
    nothing_wakes_an_empty_room,
    many_missing_users_are_removed_in_batches,

    present_users_are_listed_after_a_restart,
    a_user_who_returns_after_a_restart_keeps_the_status,
    a_user_who_does_not_return_is_removed,
    a_user_who_returns_after_a_throttled_minute_never_left,
    a_woken_room_knows_who_is_present,

    entries_from_a_clock_that_was_ahead_expire_in_time,
    no_time_in_the_future_is_sent,

    the_list_can_be_requested,
    a_posted_update_is_broadcast_like_a_status,
    a_heartbeat_can_be_posted_and_carries_no_status,
    an_update_by_an_unlisted_user_changes_nothing,
    an_invalid_status_update_is_refused,
    requests_need_an_identity,
    other_requests_are_not_found,

    each_user_is_one_key,
    the_largest_list_and_its_reader_fit_into_one_frame,
    a_newcomer_joins_despite_a_small_send_limit,
    a_list_continues_after_a_user_who_left,
}

const HEARTBEAT: &str = r#"{"type":"heartbeat"}"#;
const PING: &str = r#"{"type":"ping"}"#;
const PONG: &str = r#"{"type":"pong"}"#;

/// How often the room checks for missing users, and how long it waits for them, in milliseconds.
const CHECK_INTERVAL_MS: u64 = 60_000;
const GRACE_PERIOD_MS: u64 = 90_000;

fn status(status: &str) -> String {
    json!({ "type": "status", "status": status }).to_string()
}

/// A user in the form of the protocol.
fn user(name: &str, status: &str, last_seen: u64, connections: u32) -> Value {
    json!({
        "userId": format!("id-{name}"), "userName": name, "status": status, "lastSeen": last_seen,
        "connections": connections,
    })
}

fn updated(user: Value) -> Value {
    json!({ "type": "presence_update", "user": user })
}

fn removed(name: &str) -> Value {
    json!({ "type": "presence_remove", "userId": format!("id-{name}") })
}

/// Connects a client, which receives the list and nothing else.
fn join_with_list(room: &mut TestRoom, name: &str) -> (TestClient, Vec<Value>) {
    let client = room.join(name);
    let [frame] = client.received().try_into().expect("a client that joins receives one frame");
    assert_eq!(frame, json!({ "type": "presence_list", "users": frame["users"] }));
    (client, by_id(&frame["users"]))
}

/// Connects clients with these names, and discards the messages of the joins.
fn join_all<const N: usize>(room: &mut TestRoom, names: [&str; N]) -> [TestClient; N] {
    let clients = names.map(|name| room.join(name));
    discard_received(&clients);
    clients
}

fn list(room: &mut TestRoom) -> Vec<Value> {
    list_after(room, None)
}

/// The rest of a list, page by page, from its cursor on.
fn list_after(room: &mut TestRoom, mut next: Option<Value>) -> Vec<Value> {
    let mut users = Vec::new();
    loop {
        let encoded = |id: &Value| id.as_str().unwrap().bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let query = next.as_ref().map(|id| format!("after={}", encoded(id))).unwrap_or_default();
        let page = body(&room.get("eve", "/list", &query));
        users.extend(by_id(&page["users"]));
        next = page.get("next").cloned();
        if next.is_none() {
            assert_eq!(page, json!({ "users": page["users"] }));
            return users;
        }
    }
}

/// The protocol does not say in which order users are listed.
fn by_id(users: &Value) -> Vec<Value> {
    let mut users = users.as_array().expect("an array of users").clone();
    users.sort_by_key(|user| user["userId"].as_str().expect("a string").to_owned());
    users
}

fn names(users: &[Value]) -> Vec<&str> {
    users.iter().map(|user| user["userName"].as_str().expect("a string")).collect()
}

fn update(room: &mut TestRoom, name: &str, status: &str) {
    let answer = room.post(name, "/update", &[], &json!({ "status": status }).to_string());
    assert_eq!(body(&answer), json!({ "success": true }));
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn the_first_frame_is_the_list(mut room: TestRoom) {
    let start = room.now();
    let (_, users) = join_with_list(&mut room, "ana");
    assert_eq!(users, [user("ana", "online", start, 1)]);
    room.advance(millis(1_234));
    let (_, users) = join_with_list(&mut room, "bo");
    assert_eq!(users, [user("ana", "online", start, 1), user("bo", "online", start + 1_234, 1)]);
}

fn a_user_who_comes_online_is_announced_to_the_others(mut room: TestRoom) {
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    room.advance(millis(1_234));
    join_with_list(&mut room, "cleo");
    let online = updated(user("cleo", "online", room.now(), 1));
    assert_all_received([&ana, &bo], &online);
}

fn a_user_who_leaves_is_announced_to_the_others(mut room: TestRoom) {
    let [ana, bo, cleo] = join_all(&mut room, ["ana", "bo", "cleo"]);
    room.leave(&bo);
    assert_eq!(ana.received(), [removed("bo")]);
    room.try_leave(&cleo, Close::lost()).unwrap();
    assert_eq!(ana.received(), [removed("cleo")]);
    assert_eq!(names(&list(&mut room)), ["ana"]);
}

fn a_user_who_left_comes_back_online(mut room: TestRoom) {
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    room.send(&bo, &status("busy"));
    room.leave(&bo);
    ana.received();
    join_with_list(&mut room, "bo");
    assert_eq!(ana.received(), [updated(user("bo", "online", room.now(), 1))]);
}

fn a_user_keeps_the_status_after_a_lost_connection(mut room: TestRoom) {
    let [ana, mut bo] = join_all(&mut room, ["ana", "bo"]);
    room.send(&bo, &status("busy"));
    // The network went away, and then the server: neither says what the user wants.
    for close in [Close::lost(), Close { code: 1001, reason: String::new(), clean: true }] {
        room.try_leave(&bo, close).unwrap();
        ana.received();
        bo = join_with_list(&mut room, "bo").0;
        assert_eq!(ana.received(), [updated(user("bo", "busy", room.now(), 1))]);
    }
    room.leave(&bo);
    join_with_list(&mut room, "bo");
    assert_eq!(ana.received(), [removed("bo"), updated(user("bo", "online", room.now(), 1))]);
}

fn the_status_of_a_lost_user_expires_after_an_hour(mut room: TestRoom) {
    const HOUR_MS: u64 = 60 * 60 * 1000;
    let [bo] = join_all(&mut room, ["bo"]);
    room.send(&bo, &status("busy"));
    room.try_leave(&bo, Close::lost()).unwrap();
    room.advance(millis(HOUR_MS - 1));
    assert_eq!(room.storage().len(), 1);
    room.advance(millis(1));
    assert!(room.storage().is_empty() && room.timers().is_empty());
    let (_, users) = join_with_list(&mut room, "bo");
    assert_eq!(users, [user("bo", "online", room.now(), 1)]);
}

fn users_whose_ids_share_a_prefix_are_separate(mut room: TestRoom) {
    let start = room.now();
    let [a, ab, odd] = join_all(&mut room, ["a", "ab", "a\u{1f42d} \"\\"]);
    room.advance(millis(1_000));
    room.send(&ab, &status("busy"));
    let busy = user("ab", "busy", start + 1_000, 1);
    let expected = [user("a", "online", start, 1), busy.clone(), user("a🐭 \"\\", "online", start, 1)];
    assert_eq!(list(&mut room), expected);
    room.leave(&a);
    room.leave(&odd);
    assert_eq!(list(&mut room), [busy]);
}

fn the_number_of_connections_of_a_user_is_announced(mut room: TestRoom) {
    let start = room.now();
    let [ana, tab] = join_all(&mut room, ["ana", "bo"]);
    for connections in [2, 3] {
        let (newest, users) = join_with_list(&mut room, "bo");
        let bo = user("bo", "online", start, connections);
        assert_eq!(users, [user("ana", "online", start, 1), bo.clone()]);
        assert_all_received([&ana, &tab], &updated(bo));
        assert_none_received([&newest]);
    }
    room.leave(&tab);
    assert_eq!(ana.received(), [updated(user("bo", "online", start, 2))]);
}

fn the_newest_tab_sets_the_name_for_all(mut room: TestRoom) {
    let start = room.now();
    let as_bo = |name: &str| User { id: "id-bo".into(), name: name.into() };
    let named = |name: &str, status: &str, last_seen: u64, connections: u32| {
        json!({
            "userId": "id-bo", "userName": name, "status": status, "lastSeen": last_seen, "connections": connections,
        })
    };
    let [ana, tab] = join_all(&mut room, ["ana", "bo"]);
    let renamed = room.connect_as(as_bo("Bo Li"), "").unwrap();
    discard_received([&renamed]);
    assert_all_received([&ana, &tab], &updated(named("Bo Li", "online", start, 2)));
    // The older tab goes on to live, to choose and to post, under the name that it had.
    room.send(&tab, HEARTBEAT);
    room.send(&renamed, HEARTBEAT);
    assert_none_received([&ana, &tab, &renamed]);
    room.send(&tab, &status("busy"));
    assert_all_received([&ana, &tab, &renamed], &updated(named("Bo Li", "busy", start, 2)));
    update(&mut room, "bo", "away");
    assert_all_received([&ana, &tab, &renamed], &updated(named("Bo Li", "away", start, 2)));
    assert_eq!(list(&mut room)[1], named("Bo Li", "away", start, 2));
    room.leave(&tab);
    assert_all_received([&ana, &renamed], &updated(named("Bo Li", "away", start, 1)));
}

fn a_user_is_present_until_the_last_tab_closes(mut room: TestRoom) {
    let start = room.now();
    let [ana, tab, other_tab] = join_all(&mut room, ["ana", "bo", "bo"]);
    room.leave(&tab);
    assert_all_received([&ana, &other_tab], &updated(user("bo", "online", start, 1)));
    assert_eq!(list(&mut room)[1], user("bo", "online", start, 1));
    room.leave(&other_tab);
    assert_eq!(ana.received(), [removed("bo")]);
    assert_eq!(names(&list(&mut room)), ["ana"]);
}

/// A client that may read and not be listed joins, and receives the list.
fn listen(room: &mut TestRoom, name: &str) -> (TestClient, Vec<Value>) {
    let client = room.connect_with(name, &["read"]).expect("it may read");
    let [frame] = client.received().try_into().expect("who joins receives one frame");
    (client, by_id(&frame["users"]))
}

fn a_user_without_the_permission_reads_and_is_not_listed(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    let (guest, users) = listen(&mut room, "bo");
    assert_eq!(names(&users), ["ana"]);
    assert_none_received([&ana]);
    let (cy, _) = join_with_list(&mut room, "cy");
    assert_all_received([&ana, &guest], &updated(user("cy", "online", room.now(), 1)));
    assert_eq!(names(&list(&mut room)), ["ana", "cy"]);
    room.leave(&guest);
    assert_none_received([&ana, &cy]);
    assert_eq!(names(&list(&mut room)), ["ana", "cy"]);
}

fn a_socket_without_presence_is_not_a_connection(mut room: TestRoom) {
    let [ana, listed] = join_all(&mut room, ["ana", "bo"]);
    let (guest, users) = listen(&mut room, "bo");
    assert_eq!(users[1], user("bo", "online", room.now(), 1));
    assert_none_received([&ana, &listed]);
    room.leave(&listed);
    assert_all_received([&ana, &guest], &removed("bo"));
    assert_eq!(names(&list(&mut room)), ["ana"]);
}

fn a_message_lists_a_user_who_got_the_permission_later(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    let (bo, _) = listen(&mut room, "bo");
    // The host passes a message on only with the permission.
    room.send(&bo, HEARTBEAT);
    assert_all_received([&ana], &updated(user("bo", "online", room.now(), 1)));
    assert_eq!(names(&list(&mut room)), ["ana", "bo"]);
    room.leave(&bo);
    assert_eq!(ana.received(), [removed("bo")]);
}

fn an_update_lists_a_reader_who_got_the_permission_later(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    let (bo, _) = listen(&mut room, "bo");
    update(&mut room, "bo", "busy");
    assert_none_received([&ana, &bo]);
    // An event stream cannot send a message.
    room.renew(&bo, TestUser::new("bo").may_only([Permission::Read, Permission::Presence]));
    update(&mut room, "bo", "busy");
    assert_all_received([&ana, &bo], &updated(user("bo", "busy", room.now(), 1)));
    assert_eq!(names(&list(&mut room)), ["ana", "bo"]);
    room.leave(&bo);
    assert_eq!(ana.received(), [removed("bo")]);
}

fn a_changed_status_is_broadcast(mut room: TestRoom) {
    let clients = join_all(&mut room, ["ana", "ana", "bo"]);
    for changed in ["away", "busy", "online"] {
        room.advance(millis(1_000));
        room.send(&clients[0], &status(changed));
        assert_all_received(&clients, &updated(user("ana", changed, room.now(), 2)));
        assert_eq!(list(&mut room)[0], user("ana", changed, room.now(), 2));
    }
}

fn an_unchanged_status_is_not_broadcast(mut room: TestRoom) {
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    for same in ["online", "away"] {
        room.send(&ana, &status(same));
        discard_received([&ana, &bo]);
        room.advance(millis(1_000));
        room.send(&ana, &status(same));
        assert_none_received([&ana, &bo]);
        assert_eq!(list(&mut room)[0], user("ana", same, room.now(), 1));
    }
}

fn a_status_holds_for_all_tabs(mut room: TestRoom) {
    let [ana, tab, other_tab] = join_all(&mut room, ["ana", "bo", "bo"]);
    room.send(&tab, &status("busy"));
    ana.received();
    let (third_tab, users) = join_with_list(&mut room, "bo");
    assert_eq!(users[1], user("bo", "busy", room.now(), 3));
    room.leave(&tab);
    discard_received([&ana]);
    room.send(&other_tab, HEARTBEAT);
    assert_eq!(list(&mut room)[1], user("bo", "busy", room.now(), 2));
    room.send(&third_tab, &status("busy"));
    assert!(ana.received().is_empty());
}

fn errors_are_sent_only_to_the_sender(mut room: TestRoom) {
    let [ana, tab, bo] = join_all(&mut room, ["ana", "ana", "bo"]);
    let before = room.storage();
    room.advance(millis(1_000));
    for (text, code) in [
        ("", "bad_json"),
        ("busy", "bad_json"),
        ("[\"status\",\"busy\"]", "bad_json"),
        (r#"{"type":"status""#, "bad_json"),
        (&r#"{"type":"#.repeat(10_000), "bad_json"),
        ("{}", "bad_message"),
        (r#"{"status":"busy"}"#, "bad_message"),
        (r#"{"type":"status"}"#, "bad_message"),
        (r#"{"type":"status","status":null}"#, "bad_message"),
        (r#"{"type":"status","status":1}"#, "bad_message"),
        (r#"{"type":"status","status":"busy","status":"away"}"#, "bad_message"),
        (&status(""), "bad_status"),
        (&status("invisible"), "bad_status"),
        (&status("Busy"), "bad_status"),
        (&status("busy "), "bad_status"),
        (r#"{"type":"message","content":"hi"}"#, "unknown_type"),
        (r#"{"type":"presence_update"}"#, "unknown_type"),
    ] {
        room.send(&ana, text);
        assert_only_error(&ana, code, text);
    }
    room.try_send(&ana, Message::Binary(HEARTBEAT.into())).unwrap();
    assert_only_error(&ana, "not_text", "binary");

    assert_none_received([&tab, &bo]);
    assert_eq!(room.storage(), before);
    assert_eq!(ana.closed(), None);
    room.send(&ana, &status("busy"));
    assert_eq!(ana.received_types(), ["presence_update"]);
}

fn an_error_names_its_message(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    for (text, code) in [
        (r#"{"type":"status","status":"invisible","clientId":"c1"}"#, "bad_status"),
        (r#"{"type":"shout","clientId":"c1"}"#, "unknown_type"),
        (r#"{"clientId":"c1","type":"sta"#, "bad_json"),
    ] {
        room.send(&ana, text);
        let [error] = ana.received().try_into().expect("one frame");
        let expected = json!({ "type": "error", "code": code, "message": error["message"], "clientId": "c1" });
        assert_eq!(error, expected, "{text}");
        let refused = room.post("ana", "/update", &[], text);
        assert_eq!(problem(&refused), 400, "{text}");
        assert_eq!(client_id_of(&refused), "c1", "{text}");
    }
}

fn client_id_of(refused: &dormouse_test::Response) -> Value {
    serde_json::from_slice::<Value>(&refused.body).expect("a problem is JSON")["clientId"].clone()
}

/// Checks that a client received one error with this code.
fn assert_only_error(client: &TestClient, code: &str, about: &str) {
    let [error] = client.received().try_into().expect("one frame");
    assert_eq!(error, json!({ "type": "error", "code": code, "message": error["message"] }), "{about:.80}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{about:.80}");
}

fn a_client_cannot_choose_its_identity(mut room: TestRoom) {
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    let forged = json!({
        "type": "status", "status": "away", "userId": "id-bo", "userName": "bo", "lastSeen": 5, "connections": 9,
    });
    room.send(&ana, &forged.to_string());
    assert_eq!(bo.received(), [updated(user("ana", "away", room.now(), 1))]);
    let forged = json!({ "status": "busy", "userId": "id-bo", "userName": "bo" });
    body(&room.post("ana", "/update", &[], &forged.to_string()));
    assert_eq!(bo.received(), [updated(user("ana", "busy", room.now(), 1))]);
    assert_eq!(list(&mut room)[1], user("bo", "online", room.now(), 1));
}

fn a_heartbeat_moves_last_seen_and_sends_nothing(mut room: TestRoom) {
    let start = room.now();
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    room.send(&ana, &status("away"));
    discard_received([&ana, &bo]);
    room.advance(millis(20_000));
    room.send(&ana, HEARTBEAT);
    assert_none_received([&ana, &bo]);
    assert_eq!(list(&mut room), [user("ana", "away", start + 20_000, 1), user("bo", "online", start, 1)]);
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

fn a_silent_user_with_a_socket_stays(mut room: TestRoom) {
    let [ana, hidden] = join_all(&mut room, ["ana", "bo"]);
    // A browser lets the timers of a hidden page fire once a minute, and later not at all: the host asks for pongs.
    for minute in 0..20 {
        room.advance(millis(60_000));
        if minute < 10 {
            room.send(&hidden, HEARTBEAT);
        }
    }
    assert_none_received([&ana, &hidden]);
    assert_eq!(names(&list(&mut room)), ["ana", "bo"]);
    room.try_leave(&hidden, Close { code: 4408, reason: "idle".into(), clean: false }).unwrap();
    assert_eq!(ana.received(), [removed("bo")], "the host gave up a socket that was silent");
}

fn one_timer_serves_all_users(mut room: TestRoom) {
    let start = room.now();
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    let set = room.timers();
    assert_eq!((set.len(), set[0].at), (1, start + CHECK_INTERVAL_MS));
    room.advance(millis(1_000));
    room.send(&bo, HEARTBEAT);
    room.send(&bo, &status("busy"));
    update(&mut room, "bo", "away");
    let (cleo, _) = join_with_list(&mut room, "cleo");
    room.leave(&cleo);
    assert_eq!(room.timers(), set, "staying and coming set no timer");

    room.advance(millis(CHECK_INTERVAL_MS));
    let set = room.timers();
    assert_eq!((set.len(), set[0].at), (1, start + 2 * CHECK_INTERVAL_MS));
    room.send(&ana, HEARTBEAT);
    assert_eq!(room.timers(), set);
}

fn nothing_wakes_an_empty_room(mut room: TestRoom) {
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    room.leave(&ana);
    room.leave(&bo);
    assert!(room.storage().is_empty());
    room.advance(millis(2 * CHECK_INTERVAL_MS));
    assert!(room.timers().is_empty());

    join_all(&mut room, ["ana"]);
    assert_eq!(room.timers().len(), 1, "it watches again as soon as somebody comes");
}

fn many_missing_users_are_removed_in_batches(mut room: TestRoom) {
    for number in 0..501 {
        room.join(&number.to_string());
    }
    room.restart();
    room.advance(millis(CHECK_INTERVAL_MS + GRACE_PERIOD_MS - 1));
    let [ana] = join_all(&mut room, ["ana"]);
    room.advance(millis(1));
    assert_eq!(ana.received().len(), 500, "more at once would be more than may wait for a socket");
    room.advance(millis(1_000));
    assert_eq!(ana.received_types(), ["presence_remove"]);
    assert_eq!(names(&list(&mut room)), ["ana"]);
}

fn present_users_are_listed_after_a_restart(mut room: TestRoom) {
    let start = room.now();
    join_all(&mut room, ["ana", "bo"]);
    room.restart();
    assert_eq!(list(&mut room), [user("ana", "online", start, 0), user("bo", "online", start, 0)]);
    room.advance(millis(1_000));
    let (_, users) = join_with_list(&mut room, "ana");
    assert_eq!(users, [user("ana", "online", start + 1_000, 1), user("bo", "online", start, 0)]);
}

fn a_user_who_returns_after_a_restart_keeps_the_status(mut room: TestRoom) {
    let [_, bo] = join_all(&mut room, ["ana", "bo"]);
    room.send(&bo, &status("busy"));
    room.restart();
    let (ana, users) = join_with_list(&mut room, "ana");
    assert_eq!(users[1], user("bo", "busy", room.now(), 0));
    room.advance(millis(1_000));
    let (bo, users) = join_with_list(&mut room, "bo");
    assert_eq!(users[1], user("bo", "busy", room.now(), 1));
    assert_eq!(ana.received(), [updated(user("bo", "busy", room.now(), 1))]);
    join_with_list(&mut room, "bo");
    assert_eq!(ana.received(), [updated(user("bo", "busy", room.now(), 2))]);
    room.leave(&bo);
    assert_eq!(ana.received(), [updated(user("bo", "busy", room.now(), 1))]);
}

fn a_user_who_does_not_return_is_removed(mut room: TestRoom) {
    join_all(&mut room, ["ana", "bo", "cleo"]);
    room.restart();
    room.advance(millis(10_000));
    let (ana, _) = join_with_list(&mut room, "ana");
    room.advance(millis(CHECK_INTERVAL_MS - 10_000 + GRACE_PERIOD_MS - 1));
    assert!(ana.received().is_empty());
    room.advance(millis(1));
    assert_eq!(ana.received(), [removed("bo"), removed("cleo")]);
    room.restart();
    room.advance(millis(CHECK_INTERVAL_MS + GRACE_PERIOD_MS));
    assert!(room.storage().is_empty(), "ghosts go even if nobody is there to see it");
    assert!(room.timers().is_empty());
}

fn a_user_who_returns_after_a_throttled_minute_never_left(mut room: TestRoom) {
    let [_, bo] = join_all(&mut room, ["ana", "bo"]);
    room.send(&bo, &status("busy"));
    // The host is down until just before the look is due, so that the time to come back is the shortest.
    room.restart();
    room.advance(millis(CHECK_INTERVAL_MS - 1));
    let (ana, _) = join_with_list(&mut room, "ana");
    room.advance(millis(65_000));
    assert!(ana.received().is_empty());
    join_with_list(&mut room, "bo");
    assert_eq!(ana.received(), [updated(user("bo", "busy", room.now(), 1))]);
    room.advance(millis(10 * GRACE_PERIOD_MS));
    assert!(ana.received().is_empty());
    // Being missing once is forgotten: after another restart there is as much time again.
    room.restart();
    room.advance(millis(GRACE_PERIOD_MS));
    assert_eq!(names(&list(&mut room)), ["ana", "bo"]);
}

fn a_woken_room_knows_who_is_present(mut room: TestRoom) {
    let [ana, bo, tab] = join_all(&mut room, ["ana", "bo", "bo"]);
    room.hibernate();
    room.send(&bo, &status("busy"));
    let busy = updated(user("bo", "busy", room.now(), 2));
    assert_all_received([&ana, &bo, &tab], &busy);
    room.hibernate();
    room.leave(&bo);
    assert_eq!(ana.received(), [updated(user("bo", "busy", room.now(), 1))]);
    room.hibernate();
    room.advance(millis(10 * GRACE_PERIOD_MS));
    assert!(ana.received().is_empty());
    room.hibernate();
    room.leave(&tab);
    assert_eq!(ana.received(), [removed("bo")]);
}

/// Lets users join while the clock is two hours ahead, and then sets it right. For a room this is the same as a host
/// that is started at another time.
fn set_clock_back_two_hours(room: &mut TestRoom) -> u64 {
    const AHEAD_MS: u64 = 2 * 60 * 60 * 1000;
    join_all(room, ["ana", "bo"]);
    room.restart();
    room.set_clock(room.now() - AHEAD_MS);
    room.now()
}

fn entries_from_a_clock_that_was_ahead_expire_in_time(mut room: TestRoom) {
    set_clock_back_two_hours(&mut room);
    assert_eq!(names(&list(&mut room)), ["ana", "bo"], "they have time to come back, as after every restart");
    room.advance(millis(CHECK_INTERVAL_MS + GRACE_PERIOD_MS));
    assert!(list(&mut room).is_empty());
    assert!(room.storage().is_empty() && room.timers().is_empty());

    // The same, where the clock steps back once more after they were found missing.
    join_all(&mut room, ["ana", "bo"]);
    room.restart();
    room.advance(millis(CHECK_INTERVAL_MS + 1));
    room.set_clock(room.now() - 7_200_000);
    let (eve, _) = join_with_list(&mut room, "eve");
    room.advance(millis(CHECK_INTERVAL_MS + GRACE_PERIOD_MS));
    assert_eq!(eve.received(), [removed("ana"), removed("bo")]);
}

fn no_time_in_the_future_is_sent(mut room: TestRoom) {
    let now = set_clock_back_two_hours(&mut room);
    assert_eq!(list(&mut room), [user("ana", "online", now, 0), user("bo", "online", now, 0)]);
    let (_, users) = join_with_list(&mut room, "eve");
    assert_eq!(users[0], user("ana", "online", now, 0));
}

fn the_list_can_be_requested(mut room: TestRoom) {
    let start = room.now();
    assert!(list(&mut room).is_empty());
    let [ana, _bo] = join_all(&mut room, ["ana", "bo"]);
    assert_eq!(list(&mut room), [user("ana", "online", start, 1), user("bo", "online", start, 1)]);
    assert!(ana.received().is_empty(), "who asks is not here");
}

fn a_posted_update_is_broadcast_like_a_status(mut room: TestRoom) {
    let clients = join_all(&mut room, ["ana", "ana", "bo"]);
    room.advance(millis(1_000));
    for _ in 0..2 {
        update(&mut room, "ana", "away");
    }
    assert_all_received(&clients, &updated(user("ana", "away", room.now(), 2)));
    assert_eq!(list(&mut room)[0], user("ana", "away", room.now(), 2));
    room.restart();
    update(&mut room, "ana", "busy");
    assert_eq!(list(&mut room)[0], user("ana", "busy", room.now(), 0), "who is listed can be updated");
}

fn a_heartbeat_can_be_posted_and_carries_no_status(mut room: TestRoom) {
    let start = room.now();
    let [ana, bo] = join_all(&mut room, ["ana", "bo"]);
    room.send(&bo, &status("busy"));
    discard_received([&ana, &bo]);
    room.advance(millis(5_000));
    for heartbeat in [HEARTBEAT, r#"{"type":"heartbeat","status":"online"}"#] {
        room.send(&bo, heartbeat);
        assert_eq!(body(&room.post("bo", "/update", &[], heartbeat)), json!({ "success": true }));
    }
    assert_none_received([&ana, &bo]);
    assert_eq!(list(&mut room), [user("ana", "online", start, 1), user("bo", "busy", start + 5_000, 1)]);
    body(&room.post("cleo", "/update", &[], HEARTBEAT));
    assert_eq!(names(&list(&mut room)), ["ana", "bo"]);
}

fn an_update_by_an_unlisted_user_changes_nothing(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    let before = (room.storage(), room.timers());
    update(&mut room, "cleo", "busy");
    assert_none_received([&ana]);
    assert_eq!((room.storage(), room.timers()), before);
    assert_eq!(names(&list(&mut room)), ["ana"]);
}

fn an_invalid_status_update_is_refused(mut room: TestRoom) {
    let [ana] = join_all(&mut room, ["ana"]);
    let before = room.storage();
    room.advance(millis(1_000));
    for bad in ["", "away", "[\"away\"]", "null", "{", "{}", r#"{"status":null}"#, r#"{"status":1}"#] {
        assert_eq!(problem(&room.post("ana", "/update", &[], bad)), 400, "{bad}");
    }
    for bad in ["", "Away", "away ", "offline"] {
        let posted = json!({ "status": bad }).to_string();
        assert_eq!(problem(&room.post("ana", "/update", &[], &posted)), 400, "{posted}");
        assert_eq!(problem(&room.post("cleo", "/update", &[], &posted)), 400, "{posted}");
    }
    assert!(ana.received().is_empty());
    assert_eq!(room.storage(), before);
}

fn requests_need_an_identity(mut room: TestRoom) {
    for (method, path) in [("GET", "/list"), ("POST", "/update")] {
        let (method, path) = (method.into(), path.into());
        let answer = room.request(Request { method, path, body: br#"{"status":"away"}"#.into(), ..Request::default() });
        assert_eq!(problem(&answer), 401);
        assert_eq!(header(&answer, "www-authenticate"), Some("Bearer"));
    }
}

fn other_requests_are_not_found(mut room: TestRoom) {
    let requests =
        [("GET", "/"), ("GET", "/ws"), ("GET", "/list/"), ("POST", "/list"), ("GET", "/update"), ("get", "/list")];
    for (method, path) in requests {
        let (method, path) = (method.into(), path.into());
        let user = Some(User { id: "id-ana".into(), name: "ana".into() });
        assert_eq!(problem(&room.request(Request { method, path, user, ..Request::default() })), 404);
    }
}

fn each_user_is_one_key(mut room: TestRoom) {
    let [ana, ..] = join_all(&mut room, ["ana", "bo", "cleo", "ana"]);
    let before = room.storage();
    assert_eq!(before.len(), 3);
    room.advance(millis(1_000));
    room.send(&ana, HEARTBEAT);
    room.send(&ana, &status("away"));
    let after = room.storage();
    let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
    assert_eq!((after.len(), changed.count()), (3, 1));
}

fn the_largest_list_and_its_reader_fit_into_one_frame(mut room: TestRoom) {
    // Every character takes six bytes as JSON, and names and ids are as long as the host lets them be.
    let long = |number: u32| format!("{}{number:03}", "\u{1}".repeat(250));
    for number in 0..400 {
        room.join(&long(number));
    }
    let last = room.join("zoe");
    let [Message::Text(frame)] = &last.received_raw()[..] else { panic!("not one frame of text") };
    assert!((512 << 10..1 << 20).contains(&frame.len()), "{} B", frame.len());
    let listed: Value = serde_json::from_str(frame).unwrap();
    assert!(names(listed["users"].as_array().unwrap()).contains(&"zoe"));
    assert!((200..401).contains(&listed["users"].as_array().unwrap().len()));
    assert_eq!(list(&mut room).len(), 401, "page by page");

    room.send(&last, &status("busy"));
    assert_eq!(
        last.received(),
        [updated(user("zoe", "busy", room.now(), 1))],
        "who is left out is tracked all the same"
    );
}

fn a_newcomer_joins_despite_a_small_send_limit(room: TestRoom) {
    let mut room = room.message_out_bytes(4_096);
    for number in 0..100 {
        room.join(&format!("{number:03}{}", "x".repeat(50)));
    }
    let zoe = room.join("zoe");
    let [Message::Text(frame)] = &zoe.received_raw()[..] else { panic!("not one frame of text") };
    assert!((2_048..4_096).contains(&frame.len()), "{} B", frame.len());
    let listed: Value = serde_json::from_str(frame).unwrap();
    assert!(names(listed["users"].as_array().unwrap()).contains(&"zoe"));
    assert_eq!(list(&mut room).len(), 101, "over HTTP all are listed");

    // The frame says where it ends, and the rest is there.
    let mut all = by_id(&listed["users"]);
    let mut rest = list_after(&mut room, listed.get("next").cloned());
    rest.retain(|user| user["userName"] != "zoe"); // She came first, and comes again in her place.
    assert!((20..100).contains(&rest.len()), "{} users", rest.len());
    all.extend(rest);
    let all = by_id(&Value::Array(all));
    assert_eq!(all.len(), 101);
    assert!(all.windows(2).all(|pair| pair[0]["userId"] != pair[1]["userId"]), "nobody comes twice");
}

fn a_list_continues_after_a_user_who_left(mut room: TestRoom) {
    let [_ana, bo, _cy] = join_all(&mut room, ["ana", "bo", "cy"]);
    assert_eq!(names(&list_after(&mut room, Some("id-ana".into()))), ["bo", "cy"]);
    room.leave(&bo);
    for (after, listed) in [("id-b", &["cy"][..]), ("id-bo", &["cy"]), ("id-cy", &[]), ("", &["ana", "cy"])] {
        assert_eq!(names(&list_after(&mut room, Some(after.into()))), listed, "{after}");
    }
}
