//! Rooms in the JavaScript engine of `dormouse build` keep the contract, however their scripts behave.

use std::time::Duration;

use dormouse_test::{Fault, Message, Request, TestClient, TestRoom, discard_received};

use crate::javascript_builds::test_room;

dormouse_test::with_and_without_hibernation! { room();
    messages_reach_those_whom_the_room_names,
    storage_timers_tags_and_attachments_survive_sleep,
    every_cloneable_value_comes_back_equal,
    a_close_names_who_has_left,
    bytes_come_as_bytes,
}

fn room() -> TestRoom {
    TestRoom::of_file(test_room())
}

fn joined(room: &mut TestRoom) -> (TestClient, TestClient) {
    let clients = (room.join("ana"), room.join("bo"));
    discard_received([&clients.0, &clients.1]);
    clients
}

/// The answer to a command, as text.
fn ask(room: &mut TestRoom, client: &TestClient, command: &str) -> String {
    room.send(client, command);
    last_text(client).unwrap_or_else(|| panic!("{command} gets no answer; {:?}", room.log()))
}

fn last_text(client: &TestClient) -> Option<String> {
    match client.received_raw().pop()? {
        Message::Text(text) => Some(text),
        Message::Binary(bytes) => panic!("{bytes:?}"),
    }
}

fn assert_logged(room: &TestRoom, text: &str) {
    let log = room.log();
    assert!(log.iter().any(|line| line.contains(text)), "{log:?}");
}

/// The failure of a command.
fn failure(room: &mut TestRoom, client: &TestClient, command: &str) -> String {
    let failed = room.try_send(client, Message::Text(command.into()));
    failed.expect_err(&format!("{command} should fail")).to_string()
}

fn messages_reach_those_whom_the_room_names(mut room: TestRoom) {
    let (ana, bo) = joined(&mut room);
    room.send(&ana, "say hello");
    room.send(&ana, "others psst");
    assert_eq!(last_text(&ana).unwrap(), "hello");
    assert_eq!(bo.received_raw(), [Message::Text("hello".into()), Message::Text("psst".into())]);
    assert_eq!(ask(&mut room, &bo, "who"), "bo of 2");
    assert_eq!(ask(&mut room, &bo, "close 999"), "bad-close-code");
    assert_eq!(ask(&mut room, &bo, "close 4000"), "null");
    assert_eq!(bo.closed(), Some((4000, "as you wish".into())));
}

fn storage_timers_tags_and_attachments_survive_sleep(mut room: TestRoom) {
    let (ana, bo) = joined(&mut room);
    for (command, answer) in [
        ("put a tea", "null"),
        ("put b:1 x", "null"),
        ("put b:2 x", "null"),
        ("tag red", "null"),
        ("attach sugar", "null"),
        ("timer t 5000", "null"),
        ("get a", "tea"),
        ("keys b:", "b:1 b:2"),
        ("remove a", "true"),
        ("get a", "nothing"),
        ("tagged red", "1"),
        ("attached", "sugar"),
    ] {
        assert_eq!(ask(&mut room, &ana, command), answer, "{command}");
    }
    assert_eq!(room.storage().len(), 2);
    discard_received([&bo]);
    room.advance(Duration::from_secs(10));
    assert_eq!(bo.received_raw(), [Message::Text("timer t tea 0".into())]);
    assert!(room.timers().is_empty());
    room.restart();
    let cy = room.join("cy");
    assert_eq!(ask(&mut room, &cy, "keys b:"), "b:1 b:2");
}

fn every_cloneable_value_comes_back_equal(mut room: TestRoom) {
    let (ana, _) = joined(&mut room);
    room.send(&ana, "put-values");
    assert_eq!(ask(&mut room, &ana, "check-values"), "equal");
    // JSON is stored as it is, so that people can read it.
    let stored = room.storage();
    let json = stored.iter().find(|(key, _)| key.as_ref() == b"value:json").unwrap().1;
    assert_eq!(json[0], 1);
    let json = serde_json::from_slice::<serde_json::Value>(&json[1..]).unwrap();
    assert_eq!(json["numbers"][3], 1e21);
}

#[test]
fn damaged_values_are_errors_that_a_script_can_catch() {
    let mut room = room();
    let (ana, _) = joined(&mut room);
    for _ in 0..10 {
        assert_eq!(ask(&mut room, &ana, "decode-damaged 1000"), "only errors");
    }
}

fn a_close_names_who_has_left(mut room: TestRoom) {
    let (ana, bo) = joined(&mut room);
    room.leave(&ana);
    assert!(last_text(&bo).unwrap().starts_with("gone ana "));
    assert_eq!(ask(&mut room, &bo, "who"), "bo of 1");
}

fn bytes_come_as_bytes(mut room: TestRoom) {
    let (ana, _) = joined(&mut room);
    room.try_send(&ana, Message::Binary(vec![1, 2, 3])).unwrap();
    assert_eq!(ana.received_raw(), [Message::Binary(vec![3, 2, 1])]);
}

#[test]
fn requests_and_refusals_are_answered() {
    let mut room = room();
    let response = room.post("ana", "/x", &[("a", "b")], "body ü");
    assert_eq!(response.status, 201);
    let body = serde_json::from_slice::<serde_json::Value>(&response.body).unwrap();
    assert_eq!(body["body"], "body ü");
    assert_eq!(body["user"], "ana");
    assert_eq!(room.connect("bo", "refuse").err().unwrap(), (403, "not you".into()));
    assert_eq!(room.connect("bo", "throw").err().unwrap().0, 500);
    assert_logged(&room, "connect: Error: no door     at connect (room.js:");
    for path in ["/bad-status", "/nothing"] {
        let request = Request { path: path.into(), ..Request::default() };
        let failure = room.try_request(request).unwrap_err().to_string();
        assert!(failure.contains("the answer of `request`"), "{failure}");
    }
}

#[test]
fn a_client_can_be_answered_in_place_of_a_socket() {
    let mut room = room();
    let ana = room.join("ana");
    discard_received([&ana]);
    for asked in ["1", "2"] {
        assert_eq!(room.connect("bo", "answer").err().unwrap(), (402, format!("pay, says {asked}")));
    }
    assert_eq!(ask(&mut room, &ana, "get asked"), "2", "the turn and the memory were kept");
    assert_eq!(ask(&mut room, &ana, "who"), "ana of 1");
    assert_eq!(room.connect("bo", "bad-answer").err().unwrap(), (500, "bad-answer".into()));
    assert_eq!(ask(&mut room, &ana, "answer"), "no-client");
    // A refusal after an answer is a refusal.
    assert_eq!(room.connect("bo", "refuse").err().unwrap().0, 403);
}

#[test]
fn a_room_may_close_with_the_codes_of_the_web() {
    let mut room = room();
    for code in [1000, 1001, 1002, 1003, 1007, 1010, 1014, 3000, 4999] {
        let bo = room.join("bo");
        assert_eq!(ask(&mut room, &bo, &format!("close {code}")), "null", "{code}");
        assert_eq!(bo.closed().map(|(code, _)| code), Some(code));
        room.leave(&bo);
    }
    let ana = room.join("ana");
    for code in [999, 1004, 1005, 1006, 1015, 2999, 5000] {
        assert_eq!(ask(&mut room, &ana, &format!("close {code}")), "bad-close-code", "{code}");
    }
}

#[test]
fn an_error_undoes_its_turn_and_names_its_line() {
    let mut room = room();
    let (ana, bo) = joined(&mut room);
    room.send(&ana, "events");
    let failure = failure(&mut room, &ana, "throw on-purpose");
    assert!(failure.contains("TypeError: on-purpose     at throw (room.js:"), "{failure}");
    assert!(bo.received_raw().is_empty() && room.storage().is_empty());
    assert_eq!(ask(&mut room, &ana, "events"), "1", "a new instance has counted");
    let failure = self::failure(&mut room, &ana, "throw-oddly");
    assert!(failure.contains("[object]"), "{failure}");
    let failure = self::failure(&mut room, &ana, "put-a-function");
    assert!(failure.contains("DataCloneError: ") && failure.contains("could not be cloned"), "{failure}");
    assert!(failure.contains("at put-a-function (room.js:"), "{failure}");
}

#[test]
fn a_room_that_fails_to_wake_wakes_later() {
    let mut room = room();
    let (ana, _) = joined(&mut room);
    room.send(&ana, "put broken yes");
    room.hibernate();
    let failure = failure(&mut room, &ana, "events");
    assert!(failure.contains("Error: broken since it woke"), "{failure}");
    room.put("broken", vec![1, b'0']);
    assert_eq!(ask(&mut room, &ana, "events"), "1");
}

#[test]
fn an_endless_script_loses_its_turn() {
    let mut room = room();
    let (ana, _) = joined(&mut room);
    for command in ["loop", "loop-in-a-job", "endless-jobs", "recursion regexp"] {
        let failure = failure(&mut room, &ana, command);
        assert!(
            failure.contains("CPU") || failure.contains("memory") || failure.contains("unreachable"),
            "{command}: {failure}"
        );
        assert_eq!(ask(&mut room, &ana, "events"), "1", "{command}");
    }
    assert_eq!(ask(&mut room, &ana, "many-jobs 100000"), "100000");
    // A million jobs need more memory than a room has.
    failure(&mut room, &ana, "many-jobs 1000000");
    assert_eq!(ask(&mut room, &ana, "events"), "1");
}

#[test]
fn a_turn_without_memory_is_never_kept() {
    let mut room = room();
    let (ana, bo) = joined(&mut room);
    // The script catches the error and goes on; the engine must not let it.
    let failure = failure(&mut room, &ana, "memory");
    assert!(failure.contains("memory") || failure.contains("unreachable"), "{failure}");
    assert!(room.storage().is_empty() && bo.received_raw().is_empty());
    self::failure(&mut room, &ana, "strings");
    assert!(room.storage().is_empty());
    assert_eq!(ask(&mut room, &ana, "events"), "1");
}

#[test]
fn recursion_throws_a_range_error_or_loses_its_turn() {
    let mut room = room();
    let (ana, _) = joined(&mut room);
    for way in [
        "call",
        "apply",
        "spread",
        "map",
        "sort",
        "replace",
        "getter",
        "text",
        "json",
        "proxy",
        "class",
        "generator",
        "encode",
    ] {
        let answer = ask(&mut room, &ana, &format!("recursion {way}"));
        assert_eq!(answer, "RangeError after many calls", "{way}");
    }
    for way in ["parse", "parse objects", "stringify", "stringify objects", "stringify pretty", "expression"] {
        let answer = ask(&mut room, &ana, &format!("recursion {way}"));
        assert!(answer.starts_with("RangeError") || answer.starts_with("SyntaxError"), "{way}: {answer}");
        assert_eq!(ask(&mut room, &ana, "keys half"), "half", "{way}");
    }
    assert_eq!(ask(&mut room, &ana, "recursion clone"), "DataCloneError after 1 calls");
    assert_eq!(ask(&mut room, &ana, "recursion flat"), "RangeError after 1 calls");
    room.hibernate();
    room.send(&ana, "remove half");
    match room.try_send(&ana, Message::Text("recursion source".into())) {
        Ok(()) => assert!(!last_text(&ana).unwrap().contains("no end")),
        Err(_) => assert_eq!(ask(&mut room, &ana, "get half"), "nothing"),
    }
}

#[test]
fn changed_prototypes_harm_only_their_room() {
    let mut room = room();
    let (ana, _) = joined(&mut room);
    let answer = room.try_send(&ana, Message::Text("prototypes".into()));
    if answer.is_ok() {
        assert_eq!(last_text(&ana).unwrap(), "null 0");
    }
    let _ = room.try_send(&ana, Message::Text("promise-prototype".into()));
    room.hibernate();
    assert_eq!(ask(&mut room, &ana, "events"), "1");
    room.send(&ana, "put-values");
    assert_eq!(ask(&mut room, &ana, "check-values"), "equal");
}

#[test]
fn a_promise_that_nothing_settles_fails_its_turn() {
    let mut room = room();
    let (ana, _) = joined(&mut room);
    let failure = failure(&mut room, &ana, "never");
    assert!(failure.contains("`message` waits for something that never comes"), "{failure}");
    assert_eq!(ask(&mut room, &ana, "rejected"), "done");
    assert_logged(&room, "nothing handles it: Error: nobody handles this");
}

#[test]
fn time_stands_still_and_chance_is_the_turns() {
    let mut room = room();
    let (ana, _) = joined(&mut room);
    assert_eq!(ask(&mut room, &ana, "clock"), room.now().to_string());
    room.advance(Duration::from_secs(5));
    assert_eq!(ask(&mut room, &ana, "clock"), room.now().to_string());
    let first = ask(&mut room, &ana, "random");
    let second = ask(&mut room, &ana, "random");
    room.hibernate();
    let third = ask(&mut room, &ana, "random");
    assert!(first != second && second != third && first != third, "{first} {second} {third}");
    // The test kit runs the event again, with the same seed, and compares.
    room.replay().unwrap();
}

#[test]
fn the_web_functions_that_quickjs_lacks_are_there() {
    let mut room = room();
    let (ana, _) = joined(&mut room);
    assert_eq!(ask(&mut room, &ana, "digest abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(ask(&mut room, &ana, "url https://a.example/x?q=1%202"), "1 2");
}

#[test]
fn a_lost_turn_leaves_no_trace() {
    let mut room = room();
    let (ana, bo) = joined(&mut room);
    for fault in [Fault::OutOfCpu, Fault::OutOfMemory] {
        room.fail_next_turn(fault);
        failure(&mut room, &ana, "put a tea");
        assert!(room.storage().is_empty() && bo.received_raw().is_empty());
        assert_eq!(ask(&mut room, &ana, "events"), "1");
    }
}
