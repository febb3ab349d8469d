//! The promises of `dormouse-test` to a room's author.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use dormouse::limits;
use dormouse_bundle::{CALLER, CHAT_ROOM, GAME, ROUTER, UNRULY};
use dormouse_test::{
    Close, Fault, Message, Request, Response, TestRoom, TestRouter, User, assert_all_received, assert_none_received,
    body, discard_received, header, json, problem,
};

fn text(text: &str) -> Message {
    Message::Text(text.into())
}

#[test]
fn a_turn_that_meets_a_fault_leaves_no_trace() {
    for (fault, says) in [
        (Fault::OutOfCpu, "it used its 1s of CPU"),
        (Fault::OutOfMemory, "it used its 67108864 B of memory"),
        (Fault::CommitFails, "the disk failed at the commit"),
        (Fault::Crash, "the host died before the commit"),
    ] {
        let mut room = TestRoom::new(UNRULY);
        let (ana, bo) = (room.join("ana"), room.join("bo"));
        room.send(&ana, "put key before; note before; tag before");
        discard_received([&ana, &bo]);
        room.fail_next_turn(fault);
        let commands = "put key after; note after; tag after; timer 1000 x; all hello";
        let failure = room.try_send(&ana, text(commands)).expect_err("it should fail").to_string();
        assert!(failure.contains(says), "{failure}");
        assert!(bo.received_raw().is_empty() && room.timers().is_empty(), "{fault:?}");
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
        room.send(&ana, "events");
        assert_eq!(ana.received_raw(), [text("1")], "{fault:?}");
    }
}

#[test]
fn a_timer_whose_turn_was_lost_in_a_crash_fires_again() {
    let mut room = TestRoom::new(GAME);
    let (ana, _bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, "4");
    let clock = room.timers().remove(0);
    room.fail_next_turn(Fault::Crash);
    room.fire(&clock).expect_err("it is lost");
    assert_eq!(room.timers(), [clock]);
    room.advance(Duration::from_secs(30));
    let bo = room.join("bo");
    assert_eq!(bo.received().pop().unwrap()["winner"], 0);
}

#[test]
fn a_replayed_event_runs_again() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.send(&ana, "say hello");
    discard_received([&ana]);
    room.replay().unwrap();
    assert_eq!(ana.received_raw(), [text("hello")]);
}

#[test]
fn a_timer_that_fires_twice_ends_a_game_once() {
    let mut room = TestRoom::new(GAME);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, "4");
    room.advance(Duration::from_secs(30));
    room.replay().unwrap();
    assert_eq!(bo.received().pop().unwrap()["winner"], 0);
}

#[test]
fn a_client_has_the_user_that_the_test_chose() {
    let mut room = TestRoom::new(UNRULY);
    let user = User { id: "7".into(), name: "Bo".into() };
    let bo = room.connect_as(user.clone(), "since=3").unwrap();
    assert_eq!((&bo.user, &room.open_sockets()[0].user), (&user, &user));
}

#[test]
fn a_crate_is_tested_as_its_author_builds_it() {
    let mut room = TestRoom::of_crate(concat!(env!("CARGO_MANIFEST_DIR"), "/../components/examples/cursors"));
    let ana = room.connect("ana", "page=1").unwrap();
    room.try_send(&ana, text("this is no place")).unwrap();
    assert_eq!(ana.closed(), Some((1008, "a position is four bytes".into())));
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
fn a_crate_that_does_not_build_fails_with_the_compiler_error() {
    of_crate("", "compile_error!(\"something is missing here\");");
}

#[test]
#[should_panic(expected = "makes no component; give it `crate-type = [\"cdylib\"]`")]
fn a_crate_that_is_no_component_fails_with_advice() {
    of_crate("", "");
}

#[test]
#[should_panic(expected = "nowhere.wasm cannot be read")]
fn a_missing_component_file_is_reported() {
    TestRoom::of_file("nowhere.wasm");
}

#[test]
fn open_sockets_are_those_of_present_clients() {
    let mut room = TestRoom::new(UNRULY);
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&bo, "tag tea");
    room.leave(&ana);
    let open = room.open_sockets();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].id, open[0].user.name.as_str(), open[0].tags.as_slice()), (2, "bo", &["tea".to_owned()][..]));
}

#[test]
fn a_test_can_read_the_log_and_output_of_a_room() {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.log();
    room.send(&ana, "log");
    let log = room.log();
    assert_eq!(log.first().map(String::as_str), Some("INFO line 0"), "{log:?}");
    assert_eq!(room.log(), [""; 0]);
    room.send(&ana, "print");
    assert!(room.log()[0].ends_with("line 0"));
}

thread_local! {
    /// Where this thread panicked last.
    static PANICKED: RefCell<Option<(String, u32)>> = const { RefCell::new(None) };
}

/// The file and line of the panic in `fails`.
fn panic_location(fails: impl FnOnce()) -> (String, u32) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            let place = panicked.location().map(|place| (place.file().to_owned(), place.line()));
            PANICKED.set(place);
            usual(panicked);
        }));
    });
    panic::catch_unwind(AssertUnwindSafe(fails)).expect_err("it should fail the test");
    PANICKED.take().expect("the hook saw it")
}

/// Each of these fails, at a line of this list.
macro_rules! each_fails_here {
    ($($fails:expr;)+) => {
        let first = line!();
        $(
            let (file, at) = panic_location(|| {
                let _ = $fails;
            });
            let here = file.ends_with("test_kit.rs") && (first..first + 40).contains(&at);
            assert!(here, "{} fails at {file}:{at}", stringify!($fails));
        )+
    };
}

#[test]
fn a_failed_test_reports_its_own_line() {
    let room = || TestRoom::new(UNRULY);
    let joined = || {
        let mut room = room();
        let client = room.join("ana");
        (room, client)
    };
    let left = || {
        let (mut room, client) = joined();
        room.leave(&client);
        (room, client)
    };
    let lost = || {
        let (mut room, client) = joined();
        room.put("on-wake", "panic");
        room.hibernate();
        (room, client)
    };
    let answer = |status, body: &str| Response { status, headers: Vec::new(), body: body.into() };
    let client_after = |text: &str| {
        let (mut room, client) = joined();
        room.send(&client, text);
        client
    };
    each_fails_here! {
        TestRoom::new(b"no component");
        TestRoom::from(&b"no component"[..]);
        TestRoom::of_file("nowhere.wasm");
        TestRoom::of_crate("nowhere");
        TestRouter::new(CHAT_ROOM);
        TestRouter::of_file("nowhere.wasm");
        TestRoom::new(ROUTER);
        lost().0.join("bo");
        room().connect("bo", "command=panic");
        left().0.send(&left().1, "say hello");
        lost().0.send(&lost().1, "say hello");
        lost().0.leave(&lost().1);
        left().0.try_leave(&left().1, Close::lost());
        left().0.try_send(&left().1, Message::Binary(Vec::new()));
        lost().0.request(Request::default());
        lost().0.get("ana", "/", "");
        lost().0.post("ana", "/", &[], "");
        lost().0.advance(Duration::MAX);
        room().replay();
        client_after("say no JSON").received();
        client_after("say no JSON").received_types();
        assert_none_received([&client_after("say 1")]);
        assert_all_received([&client_after("say 1")], &json!(2));
        body(&answer(500, ""));
        body(&answer(200, "no JSON"));
        problem(&answer(500, "no JSON"));
    }
    let twice = Response { headers: vec![("x".into(), "1".into()), ("x".into(), "2".into())], ..answer(200, "") };
    each_fails_here! {
        header(&twice, "x");
    }
}

#[test]
fn a_panic_in_a_test_closure_does_not_affect_the_next_room() {
    let fetch = json!({ "do": "fetch", "origin": "https://api.example", "path": "/" }).to_string();
    let mut room = TestRoom::new(CALLER).with_servers(|_, _| panic!("the test's own closure fails"));
    panic_location(|| drop(room.post("ana", "/", &[], &fetch)));
    drop(room);
    let mut next =
        TestRoom::new(CALLER).with_servers(|_, _| Ok(Response { status: 204, headers: Vec::new(), body: Vec::new() }));
    assert_eq!(body(&next.post("ana", "/", &[], &fetch))["status"], 204);
}

/// The error of a room that does this.
fn failure_of(command: &str) -> String {
    let mut room = TestRoom::new(UNRULY);
    let ana = room.join("ana");
    room.try_send(&ana, text(command)).expect_err("the turn should fail").to_string()
}

#[test]
fn a_refused_write_reports_its_size_and_the_limit() {
    let key = failure_of(&format!("put {} v", "k".repeat(limits::KEY_BYTES + 1)));
    assert!(key.contains(&format!("has {} B", limits::KEY_BYTES + 1)), "{key}");
    assert!(key.contains(&format!("1 to {} B", limits::KEY_BYTES)) && key.contains("\"kkk"), "{key}");
    let value = failure_of(&format!("put big {}", "v".repeat(limits::VALUE_BYTES + 1)));
    assert!(
        value.contains("the key \"big\"") && value.contains(&format!("has {} B", limits::VALUE_BYTES + 1)),
        "{value}"
    );
    assert!(value.contains(&format!("{} B at most", limits::VALUE_BYTES)), "{value}");
    let writes = (0..9).map(|number| format!("put k{number} {}", "v".repeat(limits::VALUE_BYTES))).collect::<Vec<_>>();
    let turn = failure_of(&writes.join("; "));
    assert!(
        turn.contains("the key \"k7\"") && turn.contains(&format!("more than {} B", limits::TURN_WRITE_BYTES)),
        "{turn}"
    );
    let timer = failure_of(&format!("timer 1 {}", "p".repeat(limits::TIMER_PAYLOAD_BYTES + 1)));
    assert!(timer.contains("the timer \"t\"") && timer.contains(&limits::TIMER_PAYLOAD_BYTES.to_string()), "{timer}");
    let message = failure_of(&format!("all {}", "m".repeat(limits::MESSAGE_BYTES + 1)));
    assert!(message.contains(&format!("has {} B", limits::MESSAGE_BYTES + 1)), "{message}");
}

/// A room's crate with the kit, as a newcomer might leave it.
fn of_room_crate(name: &str, code: &str) -> TestRoom {
    let folder = tempfile::TempDir::new().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let kit = root.join("components/kit");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n[lib]\ncrate-type = [\"cdylib\"]\n\
         [dependencies]\ndormouse-room = {{ path = {kit:?} }}\n"
    );
    std::fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    std::fs::write(folder.path().join("src/lib.rs"), code).unwrap();
    TestRoom::of_crate(folder.path())
}

const QUIET_ROOM: &str = "
    use dormouse_room::{Message, Result, Room, Socket};
    pub struct Quiet;
    impl Room for Quiet {
        fn wake() -> Result<Self> { Ok(Quiet) }
        fn message(&mut self, _: &Socket, _: Message) -> Result<()> { act() }
    }";

#[test]
#[should_panic(expected = "exports no room: a crate in Rust names its type in `dormouse_room::export!(…)`")]
fn a_missing_export_is_named_at_load() {
    of_room_crate("forgetful", &format!("{QUIET_ROOM} fn act() -> Result<()> {{ Ok(()) }}"));
}

#[test]
#[should_panic(expected = "a room has no network, so std::net")]
fn use_of_std_net_fails_with_an_alternative() {
    let connects = "fn act() -> Result<()> { std::net::TcpStream::connect((\"127.0.0.1\", 80)).map(drop)?; Ok(()) }";
    of_room_crate("networked", &format!("{QUIET_ROOM} {connects} dormouse_room::export!(Quiet);"));
}
