//! Nothing a guest does stops the host: each misbehaviour costs its own turn, and says why.

use std::time::Duration;

use dormouse_bundle::{CALLER, UNRULY};
use dormouse_test::{Close, Message, Request, Response, TestRoom, Timer, TurnFailure, json};

use crate::contract::received_texts;

/// The misbehaviour ends its turn with this text in the message, and the room continues.
fn assert_turn_fails(command: &str, message: &str) {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.send(&ana, "put kept yes");
    let failure =
        room.try_send(&ana, Message::Text(format!("put lost yes; {command}"))).expect_err("the turn should fail");
    assert!(failure.to_string().contains(message), "{command}: {failure}");
    received_texts(&ana);
    room.send(&ana, "list");
    assert_eq!(received_texts(&ana), ["kept"], "{command}");
}

#[test]
fn an_endless_loop_uses_up_its_cpu() {
    assert_turn_fails("loop", "used its 1s of CPU");
}

#[test]
fn endless_allocation_reaches_the_memory_limit() {
    assert_turn_fails("leak", "used its 67108864 B of memory");
}

#[test]
fn endless_recursion_exhausts_its_own_stack() {
    assert_turn_fails("recurse", "call stack exhausted");
}

#[test]
fn recursion_through_host_calls_spares_the_hosts_stack() {
    assert_turn_fails("recurse-calls", "call stack exhausted");
}

#[test]
fn millions_of_cheap_host_calls_use_up_its_cpu() {
    assert_turn_fails("call-loop", "used its 1s of CPU");
}

/// Host calls are not interrupted. They are charged all the same: a turn of them ends when it has used its second, and
/// not when its own code has.
#[test]
fn expensive_host_calls_are_charged_to_the_turn() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    let failure = room.try_send(&ana, Message::Text("list-loop".into())).expect_err("the turn should fail");
    assert!(failure.to_string().contains("used its 1s of CPU"), "{failure}");
    let used = room.cpu_of_last_turn();
    assert!(used > Duration::from_millis(500) && used < Duration::from_millis(1_800), "it took {used:?}");
}

#[test]
fn too_many_tag_changes_end_the_turn() {
    assert_turn_fails("tag-loop", "sent more than");
}

#[test]
fn too_many_timer_changes_end_the_turn() {
    assert_turn_fails("timer-loop", "set and cancelled more than 10000 timers");
}

#[test]
fn oversized_keys_find_nothing_and_cost_nothing() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.send(&ana, "put a 1; put z 2");
    received_texts(&ana);
    room.send(&ana, "oversize");
    assert_eq!(received_texts(&ana), ["false 1 0 true"]);
}

#[test]
fn failure_messages_of_a_room_are_truncated() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    let failure = room.try_send(&ana, Message::Text("long-error".into())).unwrap_err();
    assert!(failure.to_string().len() < 5_000, "{} B", failure.to_string().len());
}

#[test]
fn printed_lines_are_limited_like_log_lines() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.log();
    room.send(&ana, "stderr");
    let log = room.log();
    assert!(log.len() == 101 && log[100].contains("the rest was dropped"), "{} lines: {}", log.len(), log[100]);
}

#[test]
fn closed_sockets_receive_nothing_and_their_queries_fail() {
    let mut room = TestRoom::new(UNRULY);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, "save-sockets");
    room.leave(&bo);
    received_texts(&ana);
    room.send(&ana, "send-saved");
    assert_eq!(received_texts(&ana), ["psst", "[Ok(()), Err(SocketError::Gone)]"]);
    let failure = room.try_send(&ana, Message::Text("read-saved".into())).unwrap_err();
    assert!(failure.to_string().contains("after its client had left"), "{failure}");
    room.send(&ana, "count");
    assert_eq!(received_texts(&ana), ["1"]);
}

/// Each event does the misbehaviour, each fails for the same reason, and the next event finds the room as it was.
#[test]
fn misbehaviour_is_cut_off_in_every_event() {
    let error_text = |failure: TurnFailure| failure.to_string();
    for (command, reason) in [("loop", "used its 1s of CPU"), ("panic", "told to panic"), ("leak", "B of memory")] {
        let mut room = TestRoom::new(UNRULY);
        let (ana, bo) = (room.join("ana"), room.join("bo"));
        let message = room.try_send(&ana, Message::Text(command.into())).map_err(error_text);
        let request =
            room.try_request(Request { body: command.into(), ..Request::default() }).map(drop).map_err(error_text);
        let timer = Timer { name: "t".into(), at: 0, payload: command.into(), attempt: 0 };
        let timer = room.fire(&timer).map_err(error_text);
        room.send(&bo, &format!("note on close {command}"));
        let close = room.try_leave(&bo, Close::lost()).map_err(error_text);
        room.hibernate();
        room.put("on-wake", command);
        let wake = room.try_send(&ana, Message::Text("say hello".into())).map_err(error_text);
        room.put("on-wake", "");
        for (event, end) in
            [("message", message), ("request", request), ("timer", timer), ("close", close), ("wake", wake)]
        {
            let failure = end.expect_err("the turn should fail");
            assert!(failure.contains(reason), "{command} on {event}: {failure}");
        }
        received_texts(&ana);
        room.send(&ana, "say alive");
        assert_eq!(received_texts(&ana), ["alive"]);
    }
}

#[test]
fn a_connect_that_misbehaves_leaves_no_socket() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    for command in ["loop", "panic", "leak"] {
        assert!(room.try_connect("bo", &format!("command={command}")).is_err());
    }
    received_texts(&ana);
    room.send(&ana, "count");
    assert_eq!(received_texts(&ana), ["1"]);
}

fn run_command(room: &mut TestRoom, command: serde_json::Value) -> Result<serde_json::Value, String> {
    let request = Request { method: "POST".into(), path: "/".into(), ..Request::default() };
    let request = Request { body: command.to_string().into(), ..request };
    let answer = room.try_request(request).map_err(|failure| failure.to_string())?;
    Ok(dormouse_test::body(&answer))
}

#[test]
fn an_endless_wait_ends_the_turn() {
    let mut room = TestRoom::new(CALLER).with_servers(|_, _| unreachable!("nothing leaves"));
    let failure = run_command(&mut room, json!({ "do": "wait-forever" })).unwrap_err();
    assert!(failure.contains("it waited longer than any call may take"), "{failure}");
    assert_eq!(run_command(&mut room, json!({ "do": "count" })).unwrap()["count"], 1);
}

#[test]
fn an_unfinished_request_body_times_out() {
    let mut room = TestRoom::new(CALLER).with_servers(|_, _| unreachable!("it never leaves"));
    let answer = run_command(&mut room, json!({ "do": "never-finish", "authority": "api.example" })).unwrap();
    assert!(answer["error"].as_str().unwrap().contains("Timeout"), "{answer}");
}

#[test]
fn unread_bodies_are_limited() {
    let mut room = TestRoom::new(CALLER);
    let failure = run_command(&mut room, json!({ "do": "fill-bodies" })).unwrap_err();
    assert!(failure.contains("resource table has no free keys"), "{failure}");
}

#[test]
fn unread_answers_hold_at_most_four_of_the_largest() {
    let mut room = TestRoom::new(CALLER).with_servers(|_, request| {
        let bytes = if request.method == "POST" { 16 << 20 } else { 1 };
        Ok(Response { status: 200, headers: Vec::new(), body: vec![b'x'; bytes] })
    });
    let answer = run_command(&mut room, json!({ "do": "hold-answers", "authority": "api.example" })).unwrap();
    assert_eq!(answer["held"], 4, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("ConnectionLimitReached"), "{answer}");
    // Resources that the turn held were dropped with its variables.
    let fetch = json!({ "do": "fetch", "origin": "https://api.example", "path": "/" });
    assert_eq!(run_command(&mut room, fetch).unwrap()["status"], 200);
}

#[test]
fn a_panic_message_is_reported() {
    assert_turn_fails("panic", "told to panic");
}

#[test]
fn sleep_traps_because_time_stands_still() {
    assert_turn_fails("sleep", "cannot sleep");
}

#[test]
fn exit_ends_only_the_turn() {
    assert_turn_fails("exit", "exit");
}

#[test]
fn too_much_output_ends_the_turn() {
    assert_turn_fails("flood", "sent more than");
}

#[test]
fn writes_above_the_limit_of_a_turn_are_refused() {
    assert_turn_fails("fill", "the turn writes more than");
}

#[test]
fn too_many_timers_are_refused() {
    assert_turn_fails("many-timers", "is one too many");
}

#[test]
fn too_many_handles_end_the_turn() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    let _others = (0..99).map(|other| room.join(&other.to_string())).collect::<Vec<_>>();
    let failure = room.try_send(&ana, Message::Text("handles".into())).unwrap_err();
    assert!(failure.to_string().contains("handle"), "{failure}");
    received_texts(&ana);
    room.send(&ana, "count");
    assert_eq!(received_texts(&ana), ["100"]);
}

#[test]
fn a_flood_of_log_lines_is_truncated() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    received_texts(&ana);
    room.send(&ana, "log; print; say done");
    assert_eq!(received_texts(&ana), ["done"]);
}

#[test]
fn a_room_survives_a_panic_in_any_event() {
    let mut room = TestRoom::new(UNRULY);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, "note panic on close");
    room.try_leave(&ana, Close::lost()).unwrap_err();
    received_texts(&bo);
    room.send(&bo, "count");
    assert_eq!(received_texts(&bo), ["1"]);
}
