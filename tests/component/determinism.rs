//! A turn is a function of component, storage, event, time and seed, and of nothing else.

use dormouse_bundle::UNRULY;
use dormouse_test::TestRoom;

use crate::contract::texts;

fn told(deeds: &str) -> Vec<String> {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    texts(&ana);
    room.send(&ana, deeds);
    texts(&ana)
}

#[test]
fn the_same_event_time_and_seed_give_the_same_turn() {
    let (first, second) = (told("random; now"), told("random; now"));
    assert_eq!(first, second);
    let (one, other) = first[0].split_once(' ').expect("two numbers");
    assert_ne!(one, other, "within a turn randomness goes on");
}

#[test]
fn each_turn_has_its_own_randomness() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    texts(&ana);
    room.send(&ana, "random");
    room.send(&ana, "random");
    let heard = texts(&ana);
    assert_ne!(heard[0], heard[1]);
}

#[test]
fn time_stands_still_during_a_turn() {
    let heard = told("now; work 20; now");
    assert_eq!(heard[0], heard[2]);
}

#[test]
fn a_room_has_no_files_and_no_environment() {
    let heard = told("files; env");
    assert!(heard[0].starts_with("Err("), "{heard:?}");
    assert_eq!(heard[1], "0");
}
