//! A turn is a function of component, storage, event, time and seed, and of nothing else.

use dormouse_bundle::UNRULY;
use dormouse_test::TestRoom;

use crate::contract::received_texts;

fn run_turn(commands: &str) -> Vec<String> {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    received_texts(&ana);
    room.send(&ana, commands);
    received_texts(&ana)
}

#[test]
fn the_same_event_time_and_seed_give_the_same_turn() {
    let (first, second) = (run_turn("random; now"), run_turn("random; now"));
    assert_eq!(first, second);
    let (one, other) = first[0].split_once(' ').expect("two numbers");
    assert_ne!(one, other, "within a turn randomness goes on");
}

#[test]
fn each_turn_has_its_own_randomness() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    received_texts(&ana);
    room.send(&ana, "random");
    room.send(&ana, "random");
    let received = received_texts(&ana);
    assert_ne!(received[0], received[1]);
}

#[test]
fn time_stands_still_during_a_turn() {
    let received = run_turn("now; work 20; now");
    assert_eq!(received[0], received[2]);
}

#[test]
fn a_room_has_no_files_and_no_environment() {
    let received = run_turn("files; env");
    assert!(received[0].starts_with("Err("), "{received:?}");
    assert_eq!(received[1], "0");
}
