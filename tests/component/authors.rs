//! What `dormouse-test` promises to a room's author.

use std::time::Duration;

use dormouse_bundle::{GAME, UNRULY};
use dormouse_test::{Fault, Message, TestRoom, hush};

fn text(text: &str) -> Message {
    Message::Text(text.into())
}

#[test]
fn a_turn_that_meets_a_fault_never_happened() {
    for (fault, says) in [
        (Fault::OutOfCpu, "it used its 1s of CPU"),
        (Fault::OutOfMemory, "it used its 67108864 B of memory"),
        (Fault::Crash, "the host died before the commit"),
    ] {
        let mut room = TestRoom::new(UNRULY);
        let (ana, bo) = (room.join("ana"), room.join("bo"));
        room.say(&ana, "put key before; note before; tag before");
        hush([&ana, &bo]);
        room.next_turn_meets(fault);
        let deeds = "put key after; note after; tag after; timer 1000 x; all hello";
        let failure = room.try_say(&ana, text(deeds)).expect_err("it should fail").to_string();
        assert!(failure.contains(says), "{failure}");
        assert!(bo.hears_raw().is_empty() && room.timers().is_empty(), "{fault:?}");
        assert_eq!(room.storage()[&b"key"[..]], "before", "{fault:?}");
        if fault == Fault::Crash {
            assert!(room.open_sockets().is_empty());
            continue;
        }
        assert_eq!(room.open_sockets()[0].attachment, "before", "{fault:?}");
        assert_eq!(room.open_sockets()[0].tags, ["before"], "{fault:?}");
        // Once only, and the instance is a new one.
        room.say(&ana, "seen");
        assert_eq!(ana.hears_raw(), [text("1")], "{fault:?}");
    }
}

#[test]
fn a_timer_whose_turn_was_lost_in_a_crash_fires_again() {
    let mut room = TestRoom::new(GAME);
    let (ana, _bo) = (room.join("ana"), room.join("bo"));
    room.say(&ana, "4");
    let clock = room.timers().remove(0);
    room.next_turn_meets(Fault::Crash);
    room.fire(&clock).expect_err("it is lost");
    assert_eq!(room.timers(), [clock]);
    room.advance(Duration::from_secs(30));
    let bo = room.join("bo");
    assert_eq!(bo.hears().pop().unwrap()["winner"], 0);
}

#[test]
fn a_replayed_event_runs_again() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.say(&ana, "say hello");
    hush([&ana]);
    room.replay().unwrap();
    assert_eq!(ana.hears_raw(), [text("hello")]);
}

#[test]
fn a_game_whose_clock_rings_twice_has_one_loser() {
    let mut room = TestRoom::new(GAME);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.say(&ana, "4");
    room.advance(Duration::from_secs(30));
    room.replay().unwrap();
    assert_eq!(bo.hears().pop().unwrap()["winner"], 0);
}

#[test]
fn open_sockets_are_those_whose_clients_are_here() {
    let mut room = TestRoom::new(UNRULY);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.say(&bo, "tag tea");
    room.leave(&ana);
    let open = room.open_sockets();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].id, open[0].user.name.as_str(), open[0].tags.as_slice()), (2, "bo", &["tea".to_owned()][..]));
}

#[test]
fn what_a_room_logs_and_prints_can_be_read() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.log();
    room.say(&ana, "shout");
    let log = room.log();
    assert_eq!(log.first().map(String::as_str), Some("INFO line 0"), "{log:?}");
    assert_eq!(room.log(), [""; 0]);
    room.say(&ana, "print");
    assert!(room.log()[0].ends_with("line 0"));
}
