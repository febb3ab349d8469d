//! The promises of the contract to every room.

use std::time::Duration;

use dormouse_bundle::UNRULY;
use dormouse_test::{Close, Message, Request, TestClient, TestRoom, discard_received};

pub(crate) fn received_texts(client: &TestClient) -> Vec<String> {
    let text = |message| match message {
        Message::Text(text) => text,
        Message::Binary(bytes) => format!("{} bytes", bytes.len()),
    };
    client.received_raw().into_iter().map(text).collect()
}

fn run(room: &mut TestRoom, client: &TestClient, commands: &str) -> Vec<String> {
    received_texts(client);
    room.send(client, commands);
    received_texts(client)
}

fn run_failing(room: &mut TestRoom, client: &TestClient, commands: &str) -> String {
    let failure = room.try_send(client, Message::Text(commands.into())).expect_err("the turn should fail");
    failure.to_string()
}

#[test]
fn a_failed_turn_writes_and_sends_nothing() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    received_texts(&ana);
    for end in ["fail on purpose", "panic"] {
        run_failing(
            &mut room,
            &ana,
            &format!("put key value; say hello; timer 1000 x; note changed; tag changed; {end}"),
        );
        assert_eq!(received_texts(&ana), [""; 0], "{end}");
        assert!(room.storage().is_empty(), "{end}");
        assert!(room.timers().is_empty(), "{end}");
        assert_eq!(run(&mut room, &ana, "notes; tagged changed"), [""], "{end}");
    }
}

#[test]
fn a_turn_sees_its_own_writes_and_removals() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.send(&ana, "put a 1; put c 3");
    let received = run(&mut room, &ana, "put b 2; delete a; put c 4; list; get c; get a");
    assert_eq!(received, ["b,c", "c=4", "a="]);
    assert_eq!(run(&mut room, &ana, "list"), ["b,c"]);
}

#[test]
fn an_instance_is_a_cache_and_a_failed_turn_drops_it() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.send(&ana, "");
    assert_eq!(run(&mut room, &ana, "events"), ["3"]);
    run_failing(&mut room, &ana, "fail");
    assert_eq!(run(&mut room, &ana, "events"), ["1"]);
    room.hibernate();
    assert_eq!(run(&mut room, &ana, "events"), ["1"]);
}

#[test]
fn a_refused_client_leaves_nothing_behind() {
    let mut room = TestRoom::new(UNRULY);
    assert_eq!(room.connect("ana", "command=refuse").err(), Some((418, "told to refuse".into())));
    assert_eq!((room.sockets(), room.storage().len()), (0, 0));
}

#[test]
fn the_user_of_a_socket_is_known_after_hibernation() {
    let mut room = TestRoom::new(UNRULY);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, "note likes tea; tag tea");
    room.hibernate();
    assert_eq!(run(&mut room, &ana, "who; notes"), ["ana", "likes tea"]);
    room.hibernate();
    received_texts(&bo);
    room.send(&bo, "tagged tea; count");
    assert_eq!(received_texts(&ana), ["tagged tea"]);
    assert_eq!(received_texts(&bo), ["2"]);
}

#[test]
fn a_closed_socket_is_known_only_in_its_close_event() {
    let mut room = TestRoom::new(UNRULY);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, "note was here");
    received_texts(&bo);
    room.try_leave(&ana, Close::lost()).unwrap();
    assert_eq!(received_texts(&bo), ["gone id-ana 1006 false was here"]);
    assert_eq!(run(&mut room, &bo, "count"), ["1"]);
}

#[test]
fn a_timer_fires_once_with_its_payload() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    assert_eq!(run(&mut room, &ana, "timer 5000 put a b; timers"), ["1"]);
    room.advance(Duration::from_millis(4_999));
    assert!(received_texts(&ana).is_empty());
    room.hibernate();
    room.advance(Duration::from_millis(1));
    assert_eq!(received_texts(&ana), ["timer t put a b 0"]);
    assert_eq!(run(&mut room, &ana, "timers; get a"), ["0", "a=b"]);
}

#[test]
fn a_timer_set_again_in_its_own_turn_stays_set() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.send(&ana, "timer 1000 timer 1000 say never");
    room.advance(Duration::from_secs(1));
    assert_eq!(room.timers().len(), 1);
    assert_eq!(room.timers()[0].payload, "say never".as_bytes());
}

#[test]
fn a_cancelled_timer_does_not_fire() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.send(&ana, "timer 1000 say never; cancel");
    received_texts(&ana);
    room.advance(Duration::from_secs(2));
    assert!(received_texts(&ana).is_empty());
}

#[test]
fn a_timer_whose_turn_fails_is_still_set() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.send(&ana, "timer 1000 panic");
    let timer = room.timers().remove(0);
    room.fire(&timer).unwrap_err();
    assert_eq!(room.timers(), [timer]);
    assert!(room.storage().is_empty());
}

#[test]
fn a_restart_ends_sockets_and_keeps_storage_and_timers() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.send(&ana, "put a 1; timer 1000 put b 2");
    room.restart();
    room.advance(Duration::from_secs(1));
    let bo = room.join("bo");
    assert_eq!(run(&mut room, &bo, "count; get a; get b"), ["1", "a=1", "b=2"]);
}

#[test]
fn an_incarnation_stays_until_a_backup_is_restored() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.send(&ana, "put a 1; timer 1000 say rings");
    let backup = room.backup();
    let first = run(&mut room, &ana, "put a 2; cancel; incarnation");
    room.hibernate();
    assert_eq!(run(&mut room, &ana, "incarnation"), first);
    room.restart();
    let ana = room.join("ana");
    assert_eq!(run(&mut room, &ana, "incarnation; get a; timers"), [&first[0], "a=2", "0"]);
    room.restore(&backup);
    let ana = room.join("ana");
    let restored = run(&mut room, &ana, "get a; timers; incarnation");
    assert_eq!(restored[..2], ["a=1", "1"]);
    assert_ne!(restored[2], first[0]);
    assert_eq!(restored[2], room.incarnation().to_string());
}

#[test]
fn a_message_keeps_the_id_that_its_room_gave_it() {
    let mut room = TestRoom::new(UNRULY);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    discard_received([&ana, &bo]);
    room.send(&ana, "say-with-id 7.0f seven; say plain; all-with-id ~!x eight");
    let message = |text: &str, id: Option<&str>| (Message::Text(text.into()), id.map(str::to_owned));
    let eight = message("eight", Some("~!x"));
    assert_eq!(ana.received_with_ids(), [message("seven", Some("7.0f")), message("plain", None), eight.clone()]);
    assert_eq!(bo.received_with_ids(), [eight]);
}

#[test]
fn an_event_id_that_fits_no_header_is_refused() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    discard_received([&ana]);
    for id in ["", "a\tb", "a\nb", "a\0b", "é", &"x".repeat(129)] {
        for command in ["say-with-id", "all-with-id"] {
            run_failing(&mut room, &ana, &format!("{command} {id} hello"));
            assert_eq!(received_texts(&ana), [""; 0], "{command} {id:?}");
        }
    }
    let longest = "x".repeat(128);
    room.send(&ana, &format!("say-with-id {longest} hello"));
    assert_eq!(ana.received_with_ids(), [(Message::Text("hello".into()), Some(longest))]);
}

#[test]
fn the_auto_response_is_known_to_the_host() {
    let mut room = TestRoom::new(UNRULY);
    room.join("ana");
    assert_eq!(room.auto_response("ping"), Some("pong"));
    assert_eq!(room.auto_response("ping "), None);
}

#[test]
fn a_room_can_close_a_socket() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.send(&ana, "leave good night");
    assert_eq!(ana.closed(), Some((4000, "good night".into())));
}

#[test]
fn a_room_whose_wake_fails_stores_nothing_and_can_wake_later() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.send(&ana, "put fail-wake yes");
    room.hibernate();
    assert!(run_failing(&mut room, &ana, "put more 1").contains("told to fail on wake"));
    assert_eq!(room.storage().len(), 1);
}

#[test]
fn a_request_gets_an_answer_or_the_failure_of_its_turn() {
    let mut room = TestRoom::new(UNRULY);
    assert_eq!(room.post("ana", "/", &[], "put a 1").status, 200);
    assert_eq!(room.post("ana", "/", &[], "get a").body, b"\"1\"");
    let failing =
        Request { method: "POST".into(), path: "/".into(), body: b"fail told so".into(), ..Request::default() };
    assert!(room.try_request(failing).unwrap_err().to_string().contains("told so"));
}
