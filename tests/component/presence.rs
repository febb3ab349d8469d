//! What the presence tracker promises, by the presence rows of `protocol.md`.
//!
//! In reading order: coming and going, tabs, status, heartbeats, silence, restart, HTTP, what is kept.

#![deny(dead_code)]

use std::time::Duration;

use dormouse_bundle::PRESENCE_TRACKER;
use dormouse_test::{
    Close, Message, Request, TestClient, TestRoom, User, all_hear, body, header, hush, none_hears, problem,
};
use serde_json::{Value, json};

dormouse_test::kept_and_forgetful! { PRESENCE_TRACKER;
    the_first_frame_is_the_list,
    the_others_are_told_who_comes_online,
    the_others_are_told_who_has_gone,
    a_user_who_left_comes_back_online,
    users_whose_ids_begin_alike_are_not_mixed_up,

    another_tab_is_counted_and_no_news,
    a_user_is_here_until_their_last_tab_is_gone,

    a_change_of_status_is_told_to_all,
    the_same_status_is_told_to_nobody,
    a_status_holds_for_all_tabs,
    what_is_wrong_is_told_to_the_sender_alone,
    a_client_never_chooses_who_it_is,

    a_heartbeat_moves_last_seen_and_sends_nothing,
    a_ping_is_answered_without_the_room,

    a_user_is_removed_after_sixty_seconds_of_silence,
    a_heartbeat_gives_a_user_sixty_seconds_more,
    a_status_gives_a_user_sixty_seconds_more,
    any_of_its_tabs_keeps_a_user_here,
    users_fall_silent_each_at_their_own_time,
    a_silent_user_comes_back_with_a_heartbeat,
    a_silent_user_comes_back_with_a_status,
    a_silent_user_comes_back_with_another_tab,
    a_silent_user_who_comes_back_may_fall_silent_again,
    a_silent_user_who_leaves_is_not_removed_twice,
    one_timer_watches_over_everybody,
    nothing_wakes_a_room_that_everybody_left,
    a_crowd_that_fell_silent_is_removed_in_parts,

    who_was_here_is_listed_after_a_restart,
    one_who_comes_back_after_a_restart_keeps_their_status,
    one_who_does_not_come_back_is_removed_when_silent,
    a_room_that_woke_knows_who_is_here,

    the_list_is_told_to_whoever_asks,
    an_update_is_told_to_all_as_a_status_is,
    an_update_by_somebody_unknown_changes_nothing,
    an_update_to_no_status_is_refused,
    nobody_asks_without_an_identity,
    other_requests_are_not_found,

    each_user_is_one_key,
    the_largest_list_fits_into_one_frame_with_whoever_asks,
}

const HEARTBEAT: &str = r#"{"type":"heartbeat"}"#;
const PING: &str = r#"{"type":"ping"}"#;
const PONG: &str = r#"{"type":"pong"}"#;

/// How long a user may be silent, in milliseconds.
const PATIENCE_MS: u64 = 60_000;

fn status(status: &str) -> String {
    json!({ "type": "status", "status": status }).to_string()
}

/// A user, as the protocol tells them.
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

/// A client joins, and hears the list and nothing else.
fn enter(room: &mut TestRoom, name: &str) -> (TestClient, Vec<Value>) {
    let client = room.join(name);
    let [frame] = client.hears().try_into().expect("who joins hears one frame");
    assert_eq!(frame, json!({ "type": "presence_list", "users": frame["users"] }));
    (client, by_id(&frame["users"]))
}

/// Clients of these names join, and have heard what there was to hear.
fn gather<const N: usize>(room: &mut TestRoom, names: [&str; N]) -> [TestClient; N] {
    let clients = names.map(|name| room.join(name));
    hush(&clients);
    clients
}

fn list(room: &mut TestRoom) -> Vec<Value> {
    let listed = body(&room.get("eve", "/list", ""));
    assert_eq!(listed, json!({ "users": listed["users"] }));
    by_id(&listed["users"])
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
    let (_, users) = enter(&mut room, "ana");
    assert_eq!(users, [user("ana", "online", start, 1)]);
    room.advance(millis(1_234));
    let (_, users) = enter(&mut room, "bo");
    assert_eq!(users, [user("ana", "online", start, 1), user("bo", "online", start + 1_234, 1)]);
}

fn the_others_are_told_who_comes_online(mut room: TestRoom) {
    let [ana, bo] = gather(&mut room, ["ana", "bo"]);
    room.advance(millis(1_234));
    enter(&mut room, "cleo");
    let online = updated(user("cleo", "online", room.now(), 1));
    all_hear([&ana, &bo], &online);
}

fn the_others_are_told_who_has_gone(mut room: TestRoom) {
    let [ana, bo, cleo] = gather(&mut room, ["ana", "bo", "cleo"]);
    room.leave(&bo);
    assert_eq!(ana.hears(), [removed("bo")]);
    room.try_leave(&cleo, Close::lost()).unwrap();
    assert_eq!(ana.hears(), [removed("cleo")]);
    assert_eq!(names(&list(&mut room)), ["ana"]);
}

fn a_user_who_left_comes_back_online(mut room: TestRoom) {
    let [ana, bo] = gather(&mut room, ["ana", "bo"]);
    room.say(&bo, &status("busy"));
    room.leave(&bo);
    ana.hears();
    enter(&mut room, "bo");
    assert_eq!(ana.hears(), [updated(user("bo", "online", room.now(), 1))]);
}

fn users_whose_ids_begin_alike_are_not_mixed_up(mut room: TestRoom) {
    let start = room.now();
    let [a, ab, odd] = gather(&mut room, ["a", "ab", "a\u{1f42d} \"\\"]);
    room.advance(millis(1_000));
    room.say(&ab, &status("busy"));
    let busy = user("ab", "busy", start + 1_000, 1);
    let expected = [user("a", "online", start, 1), busy.clone(), user("a🐭 \"\\", "online", start, 1)];
    assert_eq!(list(&mut room), expected);
    room.leave(&a);
    room.leave(&odd);
    assert_eq!(list(&mut room), [busy]);
}

fn another_tab_is_counted_and_no_news(mut room: TestRoom) {
    let start = room.now();
    let [ana, tab] = gather(&mut room, ["ana", "bo"]);
    for connections in [2, 3] {
        let (_, users) = enter(&mut room, "bo");
        assert_eq!(users, [user("ana", "online", start, 1), user("bo", "online", start, connections)]);
    }
    none_hears([&ana, &tab]);
}

fn a_user_is_here_until_their_last_tab_is_gone(mut room: TestRoom) {
    let start = room.now();
    let [ana, tab, other_tab] = gather(&mut room, ["ana", "bo", "bo"]);
    room.leave(&tab);
    none_hears([&ana, &other_tab]);
    assert_eq!(list(&mut room)[1], user("bo", "online", start, 1));
    room.leave(&other_tab);
    assert_eq!(ana.hears(), [removed("bo")]);
    assert_eq!(names(&list(&mut room)), ["ana"]);
}

fn a_change_of_status_is_told_to_all(mut room: TestRoom) {
    let clients = gather(&mut room, ["ana", "ana", "bo"]);
    for changed in ["away", "busy", "online"] {
        room.advance(millis(1_000));
        room.say(&clients[0], &status(changed));
        all_hear(&clients, &updated(user("ana", changed, room.now(), 2)));
        assert_eq!(list(&mut room)[0], user("ana", changed, room.now(), 2));
    }
}

fn the_same_status_is_told_to_nobody(mut room: TestRoom) {
    let [ana, bo] = gather(&mut room, ["ana", "bo"]);
    for same in ["online", "away"] {
        room.say(&ana, &status(same));
        hush([&ana, &bo]);
        room.advance(millis(1_000));
        room.say(&ana, &status(same));
        none_hears([&ana, &bo]);
        assert_eq!(list(&mut room)[0], user("ana", same, room.now(), 1));
    }
}

fn a_status_holds_for_all_tabs(mut room: TestRoom) {
    let [ana, tab, other_tab] = gather(&mut room, ["ana", "bo", "bo"]);
    room.say(&tab, &status("busy"));
    ana.hears();
    let (third_tab, users) = enter(&mut room, "bo");
    assert_eq!(users[1], user("bo", "busy", room.now(), 3));
    room.leave(&tab);
    room.say(&other_tab, HEARTBEAT);
    assert_eq!(list(&mut room)[1], user("bo", "busy", room.now(), 2));
    room.say(&third_tab, &status("busy"));
    assert!(ana.hears().is_empty());
}

fn what_is_wrong_is_told_to_the_sender_alone(mut room: TestRoom) {
    let [ana, tab, bo] = gather(&mut room, ["ana", "ana", "bo"]);
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
        room.say(&ana, text);
        complains(&ana, code, text);
    }
    room.try_say(&ana, Message::Binary(HEARTBEAT.into())).unwrap();
    complains(&ana, "not_text", "binary");

    none_hears([&tab, &bo]);
    assert_eq!(room.storage(), before);
    assert_eq!(ana.closed(), None);
    room.say(&ana, &status("busy"));
    assert_eq!(ana.hears_types(), ["presence_update"]);
}

/// A client hears one error of this code.
fn complains(client: &TestClient, code: &str, about: &str) {
    let [error] = client.hears().try_into().expect("one frame");
    assert_eq!(error, json!({ "type": "error", "code": code, "message": error["message"] }), "{about:.80}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{about:.80}");
}

fn a_client_never_chooses_who_it_is(mut room: TestRoom) {
    let [ana, bo] = gather(&mut room, ["ana", "bo"]);
    let forged = json!({
        "type": "status", "status": "away", "userId": "id-bo", "userName": "bo", "lastSeen": 5, "connections": 9,
    });
    room.say(&ana, &forged.to_string());
    assert_eq!(bo.hears(), [updated(user("ana", "away", room.now(), 1))]);
    let forged = json!({ "status": "busy", "userId": "id-bo", "userName": "bo" });
    body(&room.post("ana", "/update", &[], &forged.to_string()));
    assert_eq!(bo.hears(), [updated(user("ana", "busy", room.now(), 1))]);
    assert_eq!(list(&mut room)[1], user("bo", "online", room.now(), 1));
}

fn a_heartbeat_moves_last_seen_and_sends_nothing(mut room: TestRoom) {
    let start = room.now();
    let [ana, bo] = gather(&mut room, ["ana", "bo"]);
    room.say(&ana, &status("away"));
    hush([&ana, &bo]);
    room.advance(millis(20_000));
    room.say(&ana, HEARTBEAT);
    none_hears([&ana, &bo]);
    assert_eq!(list(&mut room), [user("ana", "away", start + 20_000, 1), user("bo", "online", start, 1)]);
}

fn a_ping_is_answered_without_the_room(mut room: TestRoom) {
    let [ana, bo] = gather(&mut room, ["ana", "bo"]);
    assert_eq!(room.auto_response(PING), Some(PONG));
    // The host knows one spelling. Any other comes to the room, which knows the rest.
    for spelling in [PING, r#"{"type": "ping"}"#, r#" {"at":5,"type":"ping"}"#] {
        room.say(&ana, spelling);
        assert_eq!(ana.hears(), [json!({ "type": "pong" })], "{spelling}");
    }
    assert!(bo.hears().is_empty());
    room.restart();
    gather(&mut room, ["ana"]);
    assert_eq!(room.auto_response(PING), Some(PONG));
}

fn a_user_is_removed_after_sixty_seconds_of_silence(mut room: TestRoom) {
    let [ana] = gather(&mut room, ["ana"]);
    room.advance(millis(PATIENCE_MS - 1));
    assert!(ana.hears().is_empty());
    assert_eq!(names(&list(&mut room)), ["ana"]);
    room.advance(millis(1));
    assert_eq!(ana.hears(), [removed("ana")], "who is silent may still listen");
    assert!(list(&mut room).is_empty());
    assert_eq!((room.sockets(), ana.closed()), (1, None));
}

fn a_heartbeat_gives_a_user_sixty_seconds_more(mut room: TestRoom) {
    let [ana] = gather(&mut room, ["ana"]);
    for wait in [1, 30_000, PATIENCE_MS - 1, 20_000, PATIENCE_MS - 1, PATIENCE_MS - 1] {
        room.advance(millis(wait));
        room.say(&ana, HEARTBEAT);
    }
    room.advance(millis(PATIENCE_MS - 1));
    assert!(ana.hears().is_empty());
    room.advance(millis(1));
    assert_eq!(ana.hears(), [removed("ana")]);
}

fn a_status_gives_a_user_sixty_seconds_more(mut room: TestRoom) {
    let [ana] = gather(&mut room, ["ana"]);
    room.advance(millis(30_000));
    room.say(&ana, &status("online"));
    room.advance(millis(20_000));
    update(&mut room, "ana", "online");
    room.advance(millis(PATIENCE_MS - 1));
    assert!(ana.hears().is_empty());
    room.advance(millis(1));
    assert_eq!(ana.hears(), [removed("ana")]);
}

fn any_of_its_tabs_keeps_a_user_here(mut room: TestRoom) {
    let [tab, other_tab] = gather(&mut room, ["ana", "ana"]);
    for _ in 0..5 {
        room.advance(millis(40_000));
        room.say(&other_tab, HEARTBEAT);
    }
    assert!(tab.hears().is_empty());
    room.advance(millis(40_000));
    enter(&mut room, "ana");
    room.advance(millis(PATIENCE_MS - 1));
    assert!(tab.hears().is_empty(), "opening a tab is a sign of life as well");
}

fn users_fall_silent_each_at_their_own_time(mut room: TestRoom) {
    let [ana, bo, _cleo] = gather(&mut room, ["ana", "bo", "cleo"]);
    room.advance(millis(10_000));
    room.say(&bo, HEARTBEAT);
    room.advance(millis(15_000));
    room.join("dan");
    ana.hears();
    // Cleo is silent since 0 s, bo since 10 s, dan since 25 s; ana beats every 7 s.
    let mut heard = Vec::new();
    for second in 26..100 {
        room.advance(millis(1_000));
        heard.extend(ana.hears().into_iter().map(|frame| (second, frame)));
        if second % 7 == 0 {
            room.say(&ana, HEARTBEAT);
        }
    }
    assert_eq!(heard, [(60, removed("cleo")), (70, removed("bo")), (85, removed("dan"))]);
    assert_eq!(names(&list(&mut room)), ["ana"]);
}

/// Ana, who is seen all the time, and bo, who listens and was removed as silent.
fn with_a_silent_bo(room: &mut TestRoom) -> [TestClient; 2] {
    let [ana, bo] = gather(room, ["ana", "bo"]);
    room.say(&bo, &status("busy"));
    room.advance(millis(PATIENCE_MS - 1_000));
    room.say(&ana, HEARTBEAT);
    room.advance(millis(2_000));
    room.say(&ana, HEARTBEAT);
    hush([&ana]);
    let [.., heard] = &bo.hears()[..] else { panic!("a listener is told") };
    assert_eq!(*heard, removed("bo"));
    [ana, bo]
}

fn a_silent_user_comes_back_with_a_heartbeat(mut room: TestRoom) {
    let [ana, bo] = with_a_silent_bo(&mut room);
    room.say(&bo, HEARTBEAT);
    let back = user("bo", "online", room.now(), 1);
    assert_eq!(ana.hears(), [updated(back.clone())]);
    assert!(bo.hears().is_empty(), "a heartbeat sends nothing to whom it came from");
    assert_eq!(list(&mut room)[1], back);
    room.advance(millis(PATIENCE_MS - 1));
    assert!(ana.hears().is_empty());
    room.advance(millis(1));
    assert_eq!(ana.hears(), [removed("ana"), removed("bo")]);
}

fn a_silent_user_comes_back_with_a_status(mut room: TestRoom) {
    let [ana, bo] = with_a_silent_bo(&mut room);
    room.say(&bo, &status("away"));
    let back = user("bo", "away", room.now(), 1);
    all_hear([&ana, &bo], &updated(back.clone()));
    assert_eq!(list(&mut room)[1], back);
}

fn a_silent_user_comes_back_with_another_tab(mut room: TestRoom) {
    let [ana, bo] = with_a_silent_bo(&mut room);
    enter(&mut room, "bo");
    let back = user("bo", "online", room.now(), 2);
    all_hear([&ana, &bo], &updated(back.clone()));
    assert_eq!(list(&mut room)[1], back);
}

fn a_silent_user_who_comes_back_may_fall_silent_again(mut room: TestRoom) {
    let [ana] = gather(&mut room, ["ana"]);
    for sign_of_life in [HEARTBEAT, &status("away"), HEARTBEAT] {
        room.advance(millis(2 * PATIENCE_MS));
        assert_eq!(ana.hears(), [removed("ana")]);
        room.say(&ana, sign_of_life);
        hush([&ana]);
        room.advance(millis(PATIENCE_MS - 1));
        none_hears([&ana]);
    }
}

fn a_silent_user_who_leaves_is_not_removed_twice(mut room: TestRoom) {
    let [ana, bo] = with_a_silent_bo(&mut room);
    room.leave(&bo);
    assert!(ana.hears().is_empty());
    enter(&mut room, "bo");
    assert_eq!(ana.hears(), [updated(user("bo", "online", room.now(), 1))]);
}

fn one_timer_watches_over_everybody(mut room: TestRoom) {
    let start = room.now();
    let [ana, bo] = gather(&mut room, ["ana", "bo"]);
    let set = room.timers();
    assert_eq!((set.len(), set[0].at), (1, start + PATIENCE_MS));
    room.advance(millis(1_000));
    room.say(&bo, HEARTBEAT);
    room.say(&bo, &status("busy"));
    update(&mut room, "bo", "away");
    let (cleo, _) = enter(&mut room, "cleo");
    room.leave(&cleo);
    assert_eq!(room.timers(), set, "staying and coming set no timer");

    room.advance(millis(PATIENCE_MS - 1_000));
    let set = room.timers();
    assert_eq!((set.len(), set[0].at), (1, start + 1_000 + PATIENCE_MS), "the next who may be silent is bo");
    room.say(&ana, HEARTBEAT);
    assert_eq!(room.timers(), set);
}

fn nothing_wakes_a_room_that_everybody_left(mut room: TestRoom) {
    let [ana, bo] = gather(&mut room, ["ana", "bo"]);
    room.leave(&ana);
    room.leave(&bo);
    assert!(room.storage().is_empty());
    room.advance(millis(2 * PATIENCE_MS));
    assert!(room.timers().is_empty());

    gather(&mut room, ["ana"]);
    assert_eq!(room.timers().len(), 1, "it watches again as soon as somebody comes");
}

fn a_crowd_that_fell_silent_is_removed_in_parts(mut room: TestRoom) {
    for number in 0..501 {
        room.join(&number.to_string());
    }
    room.restart();
    room.advance(millis(PATIENCE_MS - 1));
    let [ana] = gather(&mut room, ["ana"]);
    room.advance(millis(1));
    assert_eq!(ana.hears().len(), 500, "more at once would be more than may wait for a socket");
    room.advance(millis(1_000));
    assert_eq!(ana.hears_types(), ["presence_remove"]);
    assert_eq!(names(&list(&mut room)), ["ana"]);
}

fn who_was_here_is_listed_after_a_restart(mut room: TestRoom) {
    let start = room.now();
    gather(&mut room, ["ana", "bo"]);
    room.restart();
    assert_eq!(list(&mut room), [user("ana", "online", start, 0), user("bo", "online", start, 0)]);
    room.advance(millis(1_000));
    let (_, users) = enter(&mut room, "ana");
    assert_eq!(users, [user("ana", "online", start + 1_000, 1), user("bo", "online", start, 0)]);
}

fn one_who_comes_back_after_a_restart_keeps_their_status(mut room: TestRoom) {
    let [_, bo] = gather(&mut room, ["ana", "bo"]);
    room.say(&bo, &status("busy"));
    room.restart();
    let (ana, users) = enter(&mut room, "ana");
    assert_eq!(users[1], user("bo", "busy", room.now(), 0));
    room.advance(millis(1_000));
    let (bo, users) = enter(&mut room, "bo");
    assert_eq!(users[1], user("bo", "busy", room.now(), 1));
    assert_eq!(ana.hears(), [updated(user("bo", "busy", room.now(), 1))]);
    enter(&mut room, "bo");
    assert!(ana.hears().is_empty(), "the second of the tabs that come back is no news");
    room.leave(&bo);
    assert!(ana.hears().is_empty());
}

fn one_who_does_not_come_back_is_removed_when_silent(mut room: TestRoom) {
    let [_, bo, _] = gather(&mut room, ["ana", "bo", "cleo"]);
    room.advance(millis(20_000));
    room.say(&bo, HEARTBEAT);
    room.restart();
    room.advance(millis(10_000));
    let (ana, _) = enter(&mut room, "ana");
    room.advance(millis(PATIENCE_MS - 30_000 - 1));
    assert!(ana.hears().is_empty());
    room.advance(millis(1));
    assert_eq!(ana.hears(), [removed("cleo")]);
    room.advance(millis(20_000 - 1));
    assert!(ana.hears().is_empty());
    room.advance(millis(1));
    assert_eq!(ana.hears(), [removed("bo")]);
    room.restart();
    room.advance(millis(PATIENCE_MS));
    assert!(room.storage().is_empty(), "ghosts go even if nobody is there to see it");
    assert!(room.timers().is_empty());
}

fn a_room_that_woke_knows_who_is_here(mut room: TestRoom) {
    let [ana, bo, tab] = gather(&mut room, ["ana", "bo", "bo"]);
    room.hibernate();
    room.say(&bo, &status("busy"));
    let busy = updated(user("bo", "busy", room.now(), 2));
    all_hear([&ana, &bo, &tab], &busy);
    room.hibernate();
    room.leave(&bo);
    assert!(ana.hears().is_empty());
    room.advance(millis(30_000));
    room.hibernate();
    room.say(&ana, HEARTBEAT);
    room.hibernate();
    room.advance(millis(30_000));
    assert_eq!(ana.hears(), [removed("bo")]);
    room.hibernate();
    room.say(&tab, HEARTBEAT);
    assert_eq!(ana.hears(), [updated(user("bo", "online", room.now(), 1))]);
}

fn the_list_is_told_to_whoever_asks(mut room: TestRoom) {
    let start = room.now();
    assert!(list(&mut room).is_empty());
    let [ana, _bo] = gather(&mut room, ["ana", "bo"]);
    assert_eq!(list(&mut room), [user("ana", "online", start, 1), user("bo", "online", start, 1)]);
    assert!(ana.hears().is_empty(), "who asks is not here");
}

fn an_update_is_told_to_all_as_a_status_is(mut room: TestRoom) {
    let clients = gather(&mut room, ["ana", "ana", "bo"]);
    room.advance(millis(1_000));
    for _ in 0..2 {
        update(&mut room, "ana", "away");
    }
    all_hear(&clients, &updated(user("ana", "away", room.now(), 2)));
    assert_eq!(list(&mut room)[0], user("ana", "away", room.now(), 2));
    room.restart();
    update(&mut room, "ana", "busy");
    assert_eq!(list(&mut room)[0], user("ana", "busy", room.now(), 0), "who is listed can be updated");
}

fn an_update_by_somebody_unknown_changes_nothing(mut room: TestRoom) {
    let [ana, bo] = with_a_silent_bo(&mut room);
    let before = (room.storage(), room.timers());
    update(&mut room, "cleo", "busy");
    update(&mut room, "bo", "busy");
    none_hears([&ana, &bo]);
    assert_eq!((room.storage(), room.timers()), before);
    assert_eq!(names(&list(&mut room)), ["ana"]);
}

fn an_update_to_no_status_is_refused(mut room: TestRoom) {
    let [ana] = gather(&mut room, ["ana"]);
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
    assert!(ana.hears().is_empty());
    assert_eq!(room.storage(), before);
}

fn nobody_asks_without_an_identity(mut room: TestRoom) {
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
    let [ana, ..] = gather(&mut room, ["ana", "bo", "cleo", "ana"]);
    let before = room.storage();
    assert_eq!(before.len(), 3);
    room.advance(millis(1_000));
    room.say(&ana, HEARTBEAT);
    room.say(&ana, &status("away"));
    let after = room.storage();
    let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
    assert_eq!((after.len(), changed.count()), (3, 1));
}

fn the_largest_list_fits_into_one_frame_with_whoever_asks(mut room: TestRoom) {
    // Every character takes six bytes as JSON, and names and ids are as long as the host lets them be.
    let long = |number: u32| format!("{}{number:03}", "\u{1}".repeat(250));
    for number in 0..400 {
        room.join(&long(number));
    }
    let last = room.join("zoe");
    let [Message::Text(frame)] = &last.hears_raw()[..] else { panic!("not one frame of text") };
    assert!((512 << 10..1 << 20).contains(&frame.len()), "{} B", frame.len());
    let told: Value = serde_json::from_str(frame).unwrap();
    assert!(names(told["users"].as_array().unwrap()).contains(&"zoe"));
    assert!(list(&mut room).len() > 200);

    room.say(&last, &status("busy"));
    assert_eq!(last.hears(), [updated(user("zoe", "busy", room.now(), 1))], "who is left out is tracked all the same");
}
