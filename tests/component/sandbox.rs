//! Nothing a guest does stops the host: each misdeed costs its own turn, and says why.

use std::time::Duration;

use dormouse_bundle::{CALLER, UNRULY};
use dormouse_test::{Close, Message, Request, Response, TestRoom, Timer, TurnFailure, json};

use crate::contract::texts;

/// The misdeed ends its turn with this text in the message, and the room continues.
fn ends_with(deed: &str, message: &str) {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.send(&ana, "put kept yes");
    let failure =
        room.try_send(&ana, Message::Text(format!("put lost yes; {deed}"))).expect_err("the turn should fail");
    assert!(failure.to_string().contains(message), "{deed}: {failure}");
    texts(&ana);
    room.send(&ana, "list");
    assert_eq!(texts(&ana), ["kept"], "{deed}");
}

#[test]
fn an_endless_loop_uses_up_its_cpu() {
    ends_with("loop", "used its 1s of CPU");
}

#[test]
fn endless_allocation_reaches_the_memory_limit() {
    ends_with("hoard", "used its 67108864 B of memory");
}

#[test]
fn endless_recursion_exhausts_its_own_stack() {
    ends_with("recurse", "call stack exhausted");
}

#[test]
fn recursion_through_host_calls_spares_the_hosts_stack() {
    ends_with("descend", "call stack exhausted");
}

#[test]
fn millions_of_cheap_host_calls_use_up_its_cpu() {
    ends_with("storm", "used its 1s of CPU");
}

/// Host calls are not interrupted. They are charged all the same: a turn of them ends when it has used its second, and
/// not when its own code has.
#[test]
fn expensive_host_calls_are_charged_to_the_turn() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    let failure = room.try_send(&ana, Message::Text("survey".into())).expect_err("the turn should fail");
    assert!(failure.to_string().contains("used its 1s of CPU"), "{failure}");
    let used = room.cpu_of_last_turn();
    assert!(used > Duration::from_millis(500) && used < Duration::from_millis(1_800), "it took {used:?}");
}

#[test]
fn too_many_tag_changes_end_the_turn() {
    ends_with("retag", "sent more than");
}

#[test]
fn too_many_timer_changes_end_the_turn() {
    ends_with("waver", "set and cancelled more than 10000 timers");
}

#[test]
fn oversized_keys_find_nothing_and_cost_nothing() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.send(&ana, "put a 1; put z 2");
    texts(&ana);
    room.send(&ana, "oversize");
    assert_eq!(texts(&ana), ["false 1 0 true"]);
}

#[test]
fn failure_messages_of_a_room_are_truncated() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    let failure = room.try_send(&ana, Message::Text("excuse".into())).unwrap_err();
    assert!(failure.to_string().len() < 5_000, "{} B", failure.to_string().len());
}

#[test]
fn printed_lines_are_limited_like_log_lines() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.log();
    room.send(&ana, "drip");
    let log = room.log();
    assert!(log.len() == 101 && log[100].contains("the rest was dropped"), "{} lines: {}", log.len(), log[100]);
}

#[test]
fn closed_sockets_receive_nothing_and_their_queries_fail() {
    let mut room = TestRoom::new(UNRULY);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, "hold");
    room.leave(&bo);
    texts(&ana);
    room.send(&ana, "tell");
    assert_eq!(texts(&ana), ["psst", "[Ok(()), Err(SocketError::Gone)]"]);
    let failure = room.try_send(&ana, Message::Text("ask".into())).unwrap_err();
    assert!(failure.to_string().contains("after its client had left"), "{failure}");
    room.send(&ana, "count");
    assert_eq!(texts(&ana), ["1"]);
}

/// Each event does the misdeed, each fails for the same reason, and the next event finds the room as it was.
#[test]
fn misbehaviour_is_cut_off_in_every_event() {
    let said = |failure: TurnFailure| failure.to_string();
    for (deed, reason) in [("loop", "used its 1s of CPU"), ("panic", "told to panic"), ("hoard", "B of memory")] {
        let mut room = TestRoom::new(UNRULY);
        let (ana, bo) = (room.join("ana"), room.join("bo"));
        let message = room.try_send(&ana, Message::Text(deed.into())).map_err(said);
        let request = room.try_request(Request { body: deed.into(), ..Request::default() }).map(drop).map_err(said);
        let timer = Timer { name: "t".into(), at: 0, payload: deed.into(), attempt: 0 };
        let timer = room.fire(&timer).map_err(said);
        room.send(&bo, &format!("note on close {deed}"));
        let close = room.try_leave(&bo, Close::lost()).map_err(said);
        room.hibernate();
        room.put("on-wake", deed);
        let wake = room.try_send(&ana, Message::Text("say hello".into())).map_err(said);
        room.put("on-wake", "");
        for (event, end) in
            [("message", message), ("request", request), ("timer", timer), ("close", close), ("wake", wake)]
        {
            let failure = end.expect_err("the turn should fail");
            assert!(failure.contains(reason), "{deed} on {event}: {failure}");
        }
        texts(&ana);
        room.send(&ana, "say alive");
        assert_eq!(texts(&ana), ["alive"]);
    }
}

#[test]
fn a_connect_that_misbehaves_leaves_no_socket() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    for deed in ["loop", "panic", "hoard"] {
        assert!(room.try_connect("bo", &format!("deed={deed}")).is_err());
    }
    texts(&ana);
    room.send(&ana, "count");
    assert_eq!(texts(&ana), ["1"]);
}

fn ask(room: &mut TestRoom, command: serde_json::Value) -> Result<serde_json::Value, String> {
    let request = Request { method: "POST".into(), path: "/".into(), ..Request::default() };
    let request = Request { body: command.to_string().into(), ..request };
    let answer = room.try_request(request).map_err(|failure| failure.to_string())?;
    Ok(dormouse_test::body(&answer))
}

#[test]
fn an_endless_wait_ends_the_turn() {
    let mut room = TestRoom::new(CALLER).with_servers(|_, _| unreachable!("nothing leaves"));
    let failure = ask(&mut room, json!({ "do": "wait-for-nobody" })).unwrap_err();
    assert!(failure.contains("it waited longer than any call may take"), "{failure}");
    assert_eq!(ask(&mut room, json!({ "do": "count" })).unwrap()["count"], 1);
}

#[test]
fn an_unfinished_request_body_times_out() {
    let mut room = TestRoom::new(CALLER).with_servers(|_, _| unreachable!("it never leaves"));
    let answer = ask(&mut room, json!({ "do": "never-finish", "authority": "api.example" })).unwrap();
    assert!(answer["error"].as_str().unwrap().contains("Timeout"), "{answer}");
}

#[test]
fn unread_bodies_are_limited() {
    let mut room = TestRoom::new(CALLER);
    let failure = ask(&mut room, json!({ "do": "fill-bodies" })).unwrap_err();
    assert!(failure.contains("resource table has no free keys"), "{failure}");
}

#[test]
fn unread_answers_hold_at_most_four_of_the_largest() {
    let mut room = TestRoom::new(CALLER).with_servers(|_, request| {
        let bytes = if request.method == "POST" { 16 << 20 } else { 1 };
        Ok(Response { status: 200, headers: Vec::new(), body: vec![b'x'; bytes] })
    });
    let answer = ask(&mut room, json!({ "do": "hold-answers", "authority": "api.example" })).unwrap();
    assert_eq!(answer["held"], 4, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("ConnectionLimitReached"), "{answer}");
    // Resources that the turn held were dropped with its variables.
    let fetch = json!({ "do": "fetch", "origin": "https://api.example", "path": "/" });
    assert_eq!(ask(&mut room, fetch).unwrap()["status"], 200);
}

#[test]
fn a_panic_message_is_reported() {
    ends_with("panic", "told to panic");
}

#[test]
fn sleep_traps_because_time_stands_still() {
    ends_with("sleep", "cannot sleep");
}

#[test]
fn exit_ends_only_the_turn() {
    ends_with("exit", "exit");
}

#[test]
fn too_much_output_ends_the_turn() {
    ends_with("flood", "sent more than");
}

#[test]
fn writes_above_the_limit_of_a_turn_are_refused() {
    ends_with("fill", "the turn writes more than");
}

#[test]
fn too_many_timers_are_refused() {
    ends_with("clocks", "is one too many");
}

#[test]
fn too_many_handles_end_the_turn() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    let _others = (0..99).map(|other| room.join(&other.to_string())).collect::<Vec<_>>();
    let failure = room.try_send(&ana, Message::Text("handles".into())).unwrap_err();
    assert!(failure.to_string().contains("handle"), "{failure}");
    texts(&ana);
    room.send(&ana, "count");
    assert_eq!(texts(&ana), ["100"]);
}

#[test]
fn a_flood_of_log_lines_is_truncated() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    texts(&ana);
    room.send(&ana, "shout; print; say done");
    assert_eq!(texts(&ana), ["done"]);
}

#[test]
fn a_room_survives_a_panic_in_any_event() {
    let mut room = TestRoom::new(UNRULY);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, "note panic on close");
    room.try_leave(&ana, Close::lost()).unwrap_err();
    texts(&bo);
    room.send(&bo, "count");
    assert_eq!(texts(&bo), ["1"]);
}
