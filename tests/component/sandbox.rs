//! Nothing a guest does stops the host: each misdeed costs its own turn, and says why.

use dormouse_bundle::UNRULY;
use dormouse_test::{Close, Message, TestRoom};

use crate::contract::texts;

/// The misdeed ends its turn with this in the message, and the room goes on.
fn ends_with(deed: &str, message: &str) {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.say(&ana, "put kept yes");
    let failure = room.try_say(&ana, Message::Text(format!("put lost yes; {deed}"))).expect_err("the turn should fail");
    assert!(failure.to_string().contains(message), "{deed}: {failure}");
    texts(&ana);
    room.say(&ana, "list");
    assert_eq!(texts(&ana), ["kept"], "{deed}");
}

#[test]
fn an_endless_loop_uses_up_its_cpu() {
    ends_with("loop", "used its 1s of CPU");
}

#[test]
fn hoarding_uses_up_its_memory() {
    ends_with("hoard", "used its 67108864 B of memory");
}

#[test]
fn endless_recursion_exhausts_its_own_stack() {
    ends_with("recurse", "call stack exhausted");
}

#[test]
fn keys_that_nothing_can_have_find_nothing_and_cost_nothing() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.say(&ana, "put a 1; put z 2");
    texts(&ana);
    room.say(&ana, "oversize");
    assert_eq!(texts(&ana), ["false 1 0 true"]);
}

#[test]
fn a_panic_says_its_last_words() {
    ends_with("panic", "told to panic");
}

#[test]
fn sleeping_traps_since_time_stands_still() {
    ends_with("sleep", "cannot sleep");
}

#[test]
fn exiting_ends_the_turn_alone() {
    ends_with("exit", "exit");
}

#[test]
fn saying_too_much_in_one_turn_ends_it() {
    ends_with("flood", "said more than");
}

#[test]
fn writing_too_much_in_one_turn_is_refused() {
    ends_with("fill", "TurnTooLarge");
}

#[test]
fn too_many_timers_are_refused() {
    ends_with("clocks", "TooMany");
}

#[test]
fn hoarding_handles_ends_the_turn() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    let failure = room.try_say(&ana, Message::Text("handles".into())).unwrap_err();
    assert!(failure.to_string().contains("handle"), "{failure}");
    texts(&ana);
    room.say(&ana, "count");
    assert_eq!(texts(&ana), ["1"]);
}

#[test]
fn a_flood_of_log_lines_is_cut_and_harms_nobody() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    texts(&ana);
    room.say(&ana, "shout; print; say done");
    assert_eq!(texts(&ana), ["done"]);
}

#[test]
fn a_panic_in_any_event_leaves_the_room_alive() {
    let mut room = TestRoom::new(UNRULY);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.say(&ana, "note panic on close");
    room.try_leave(&ana, Close::lost()).unwrap_err();
    texts(&bo);
    room.say(&bo, "count");
    assert_eq!(texts(&bo), ["1"]);
}
