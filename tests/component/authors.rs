//! What `dormouse-test` promises to a room's author.

use std::time::Duration;

use dormouse_bundle::{GAME, UNRULY};
use dormouse_test::{Fault, Message, TestRoom, User, hush};

fn text(text: &str) -> Message {
    Message::Text(text.into())
}

#[test]
fn a_turn_that_meets_a_fault_never_happened() {
    for (fault, says) in [
        (Fault::OutOfCpu, "it used its 1s of CPU"),
        (Fault::OutOfMemory, "it used its 67108864 B of memory"),
        (Fault::CommitFails, "the disk failed at the commit"),
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
        if matches!(fault, Fault::CommitFails | Fault::Crash) {
            assert!(room.open_sockets().is_empty(), "{fault:?}");
            let goodbye = (1011, "the room failed; come back".to_owned());
            assert_eq!(bo.closed(), (fault == Fault::CommitFails).then_some(goodbye), "{fault:?}");
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
fn a_client_has_the_identity_that_the_test_gives_it() {
    let mut room = TestRoom::new(UNRULY);
    let user = User { id: "7".into(), name: "Bo".into() };
    let bo = room.connect_as(user.clone(), "since=3").unwrap();
    assert_eq!((&bo.user, &room.open_sockets()[0].user), (&user, &user));
}

#[test]
fn a_crate_is_tested_as_its_author_builds_it() {
    let mut room = TestRoom::of_crate(concat!(env!("CARGO_MANIFEST_DIR"), "/../components/examples/cursors"));
    let ana = room.connect("ana", "page=1").unwrap();
    room.try_say(&ana, text("this is no place")).unwrap();
    assert_eq!(ana.closed(), Some((1008, "a place is four bytes".into())));
}

/// A crate with this manifest and this code.
fn of_crate(manifest: &str, code: &str) -> TestRoom {
    let folder = tempfile::TempDir::new().unwrap();
    let manifest = format!("[package]\nname = \"quiz\"\nedition = \"2024\"\n[workspace]\n{manifest}");
    std::fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    std::fs::write(folder.path().join("src/lib.rs"), code).unwrap();
    TestRoom::of_crate(folder.path())
}

#[test]
#[should_panic(expected = "something is missing here")]
fn who_tests_a_crate_that_does_not_build_is_told_what_the_compiler_says() {
    of_crate("", "compile_error!(\"something is missing here\");");
}

#[test]
#[should_panic(expected = "makes no component; give it `crate-type = [\"cdylib\"]`")]
fn who_tests_a_crate_that_is_no_component_is_told_what_makes_it_one() {
    of_crate("", "");
}

#[test]
#[should_panic(expected = "nowhere.wasm cannot be read")]
fn who_tests_a_file_that_is_not_there_is_told_so() {
    TestRoom::of_file("nowhere.wasm");
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
