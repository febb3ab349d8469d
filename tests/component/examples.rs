//! The example rooms: each shows one capability, and here is what it shows.

use std::time::Duration;

use dormouse_bundle::{CURSORS, GAME, POLL};
use dormouse_test::{Fault, Message, TestClient, TestRoom, body, problem};
use serde_json::{Value, json};

fn last_received(client: &TestClient) -> Value {
    client.received().pop().unwrap_or_default()
}

fn poll() -> TestRoom {
    let mut room = TestRoom::new(POLL);
    room.post("host", "/", &[], r#"{"text":"What shall we drink?","options":["tea","milk"]}"#);
    room
}

#[test]
fn a_poll_counts_one_changeable_vote_per_user() {
    let mut room = poll();
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, "tea");
    room.send(&ana, "tea");
    room.send(&bo, "tea");
    assert_eq!(last_received(&ana)["votes"], json!({ "tea": 2, "milk": 0 }));
    room.hibernate();
    room.send(&bo, "milk");
    assert_eq!(last_received(&ana), json!({ "question": "What shall we drink?", "votes": { "tea": 1, "milk": 1 } }));
}

#[test]
fn poll_votes_survive_a_restart_and_newcomers_see_them() {
    let mut room = poll();
    let ana = room.join("ana");
    room.send(&ana, "milk");
    room.restart();
    assert_eq!(last_received(&room.join("bo"))["votes"], json!({ "tea": 0, "milk": 1 }));
    assert_eq!(body(&room.get("bo", "/", ""))["votes"], json!({ "tea": 0, "milk": 1 }));
}

#[test]
fn a_poll_refuses_invalid_votes() {
    let mut room = poll();
    let ana = room.join("ana");
    for text in ["beer", "", "tea "] {
        room.send(&ana, text);
        assert_eq!(last_received(&ana)["code"], "no_such_option", "{text}");
    }
    room.try_send(&ana, Message::Binary(b"tea".to_vec())).expect("an error frame is no failure");
    assert_eq!(last_received(&ana)["code"], "no_such_option");
    assert_eq!(body(&room.get("ana", "/", ""))["votes"], json!({ "tea": 0, "milk": 0 }));
    assert_eq!(problem(&room.post("ana", "/", &[], "what?")), 400);
}

#[test]
fn a_second_question_keeps_the_votes_of_a_poll() {
    let mut room = poll();
    let ana = room.join("ana");
    room.send(&ana, "tea");
    assert_eq!(problem(&room.post("host", "/", &[], r#"{"text":"And tomorrow?","options":["beer"]}"#)), 409);
    assert_eq!(body(&room.get("ana", "/", ""))["votes"], json!({ "tea": 1, "milk": 0 }));
}

fn game() -> (TestRoom, TestClient, TestClient) {
    let mut room = TestRoom::new(GAME);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    (room, ana, bo)
}

#[test]
fn players_alternate_and_a_row_wins() {
    let (mut room, ana, bo) = game();
    let eve = room.join("eve");
    for (player, field, code) in
        [(&bo, "0", "not_your_move"), (&eve, "0", "not_your_move"), (&ana, "9", "no_field"), (&ana, "x", "no_field")]
    {
        room.send(player, field);
        assert_eq!(last_received(player)["code"], code);
    }
    for (player, field) in [(&ana, "0"), (&bo, "3"), (&ana, "1"), (&bo, "4")] {
        room.send(player, field);
        room.hibernate();
    }
    room.send(&ana, "4");
    assert_eq!(last_received(&ana)["code"], "no_field");
    room.send(&ana, "2");
    assert_eq!(last_received(&eve), json!({ "players": ["id-ana", "id-bo"], "moves": [0, 3, 1, 4, 2], "winner": 0 }));
    assert!(room.timers().is_empty());
    room.send(&bo, "5");
    assert_eq!(last_received(&bo)["code"], "not_your_move");
}

#[test]
fn a_slow_player_loses_even_across_a_restart() {
    let (mut room, ana, _bo) = game();
    room.send(&ana, "4");
    room.advance(Duration::from_secs(29));
    assert_eq!(last_received(&ana)["winner"], Value::Null);
    room.restart();
    room.advance(Duration::from_secs(1));
    assert_eq!(last_received(&room.join("ana"))["winner"], 0);
}

#[test]
fn every_move_restarts_the_clock() {
    let (mut room, ana, bo) = game();
    room.send(&ana, "4");
    room.advance(Duration::from_secs(20));
    room.send(&bo, "0");
    room.advance(Duration::from_secs(20));
    room.send(&ana, "8");
    assert_eq!(last_received(&bo)["winner"], Value::Null);
    room.advance(Duration::from_secs(30));
    assert_eq!(last_received(&bo)["winner"], 0);
}

fn send_position(room: &mut TestRoom, client: &TestClient, x: u8, y: u8) {
    room.try_send(client, Message::Binary(vec![0, x, 0, y])).expect("four bytes are a place");
}

fn cursor(id: u8, position: &[u8]) -> Message {
    Message::Binary([&[0, 0, 0, 0, 0, 0, 0, id], position].concat())
}

#[test]
fn cursors_are_sent_only_to_the_same_page() {
    let mut room = TestRoom::new(CURSORS);
    let ana = room.connect("ana", "page=1").unwrap();
    let bo = room.connect("bo", "page=1").unwrap();
    let eve = room.connect("eve", "page=2").unwrap();
    send_position(&mut room, &ana, 3, 4);
    assert_eq!(bo.received_raw(), [cursor(1, &[0, 3, 0, 4])]);
    assert!(ana.received_raw().is_empty() && eve.received_raw().is_empty());
}

#[test]
fn a_cursor_lasts_while_its_socket_is_open() {
    let mut room = TestRoom::new(CURSORS);
    let ana = room.connect("ana", "page=1").unwrap();
    send_position(&mut room, &ana, 3, 4);
    room.hibernate();
    let bo = room.connect("bo", "page=1").unwrap();
    assert_eq!(bo.received_raw(), [cursor(1, &[0, 3, 0, 4])]);
    room.leave(&ana);
    assert_eq!(bo.received_raw(), [cursor(1, &[])]);
    let eve = room.connect("eve", "page=1").unwrap();
    assert!(eve.received_raw().is_empty());
    assert!(room.storage().is_empty(), "a cursor costs no storage");
}

#[test]
fn an_invalid_position_ends_the_connection() {
    let mut room = TestRoom::new(CURSORS);
    let ana = room.connect("ana", "").unwrap();
    room.try_send(&ana, Message::Binary(vec![1, 2, 3])).unwrap();
    assert_eq!(ana.closed(), Some((1008, "a position is four bytes".into())));
}

const SCORES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/javascript/scores.wasm");

fn scores() -> TestRoom {
    assert!(std::fs::exists(SCORES).unwrap_or(false), "the room with SQL is not built: run `make sql-example`");
    TestRoom::of_file(SCORES)
}

#[test]
fn the_highest_scores_are_kept_in_sql() {
    let mut room = scores();
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    for (client, points) in [(&ana, "30"), (&bo, "20"), (&ana, "10")] {
        room.send(client, points);
    }
    let list = json!([{ "name": "ana", "points": 30 }, { "name": "bo", "points": 20 }]);
    assert_eq!(last_received(&bo), list);
    room.restart();
    let bo = room.join("bo");
    assert_eq!(last_received(&bo), list);
    room.send(&bo, "999");
    assert_eq!(last_received(&bo)[0], json!({ "name": "bo", "points": 999 }));
    assert_eq!(body(&room.get("ana", "/search", "q=B")), json!([{ "name": "bo", "points": 999 }]));
}

#[test]
fn a_refused_score_undoes_its_transaction() {
    let mut room = scores();
    let ana = room.join("ana");
    for (points, code) in [("many", "no_number"), ("-1", "refused"), ("1000001", "refused")] {
        room.send(&ana, points);
        assert_eq!(last_received(&ana)["code"], code, "{points}");
    }
    // The player was inserted before the game that is refused.
    assert_eq!(body(&room.get("ana", "/search", "")), json!([]));
    room.send(&ana, "5");
    assert_eq!(last_received(&ana), json!([{ "name": "ana", "points": 5 }]));
}

#[test]
fn a_failed_turn_keeps_no_score() {
    let mut room = scores();
    let ana = room.join("ana");
    room.send(&ana, "5");
    for fault in [Fault::OutOfCpu, Fault::Crash] {
        room.fail_next_turn(fault);
        room.try_send(&ana, Message::Text("9".into())).unwrap_err();
        assert_eq!(body(&room.get("ana", "/search", ""))[0]["points"], 5);
    }
}

#[test]
fn scores_of_a_user_are_exported_and_erased() {
    let mut room = scores();
    // An export may only read, though the room makes its tables when it wakes.
    assert!(room.export_user("id-ana").is_empty() && room.storage().is_empty());
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    for (client, points) in [(&ana, "1"), (&bo, "2"), (&ana, "3")] {
        room.send(client, points);
    }
    let exported = room.export_user("id-ana");
    assert_eq!(exported, [json!({ "name": "ana", "points": 1 }), json!({ "name": "ana", "points": 3 })]);
    assert_eq!(room.erase_user("id-ana"), 3, "the player and two games");
    assert_eq!(last_received(&bo), json!([{ "name": "bo", "points": 2 }]));
    assert_eq!(room.erase_user("id-ana"), 0);
    assert!(room.export_user("id-ana").is_empty());
}
