//! A room that misbehaves loses its turn; other rooms are not affected.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_bundle::{CALLER, UNRULY};
use futures_util::future::join_all;
use tempfile::TempDir;

use crate::harness::{BASE, Client, Server, TEST_TIMEOUT};
use crate::wat_components::Module;

async fn join_and_expect_welcome(server: &Server, room: &str, name: &str) -> Client {
    let mut client = server.join(room, name).await;
    client.expect_text("welcome").await;
    client
}

/// The misbehaviour ends its turn; the sender gets an error, the socket stays open, and the log names room and cause.
async fn assert_turn_fails(command: &str, cause: &str) {
    let server = Server::unruly("").await;
    let mut ana = join_and_expect_welcome(&server, "bad", "ana").await;
    ana.send(&format!("put lost yes; {command}")).await;
    assert_eq!(ana.recv().await["code"], "room_failed");
    server.wait_for_log(cause).await;
    assert!(server.log().lines().any(|line| line.contains("ROOMS/bad") && line.contains(cause)), "{}", server.log());
    ana.expect_reply("list; say alive", "alive").await;
}

#[tokio::test]
async fn a_panic_fails_the_turn() {
    assert_turn_fails("panic", "told to panic").await;
}

#[tokio::test]
async fn an_endless_loop_fails_the_turn() {
    assert_turn_fails("loop", "used its 1s of CPU").await;
}

#[tokio::test]
async fn endless_allocation_fails_the_turn() {
    assert_turn_fails("leak", "used its 67108864 B of memory").await;
}

#[tokio::test]
async fn endless_logging_does_not_fill_the_disk() {
    let server = Server::unruly("[limits]\nlog_lines_per_second = 1\n").await;
    let began = Instant::now();
    let mut ana = join_and_expect_welcome(&server, "bad", "ana").await;
    for _ in 0..10 {
        ana.expect_reply("log; print; say done", "done").await;
        ana.send("panic").await;
        assert_eq!(ana.recv().await["code"], "room_failed");
    }
    server.wait_for_log("too much was logged").await;
    server.wait_for_refusal("log_lines_per_second").await;
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("ROOMS/bad")).count() as u64;
    // Ten at once, then one each second, and one each second that counts the dropped ones.
    assert!(lines > 10 && lines <= 12 + 2 * began.elapsed().as_secs(), "{lines} in {:?}: {log}", began.elapsed());
}

#[tokio::test]
async fn a_request_whose_turn_fails_gets_500() {
    let server = Server::unruly("").await;
    let answer = server.api(hyper::Method::POST, "/rooms/bad/messages", "ana", "fail with a secret").await;
    answer.is_problem(500);
    assert!(!answer.json().to_string().contains("secret"));
    server.wait_for_log("fail").await;
}

#[tokio::test]
async fn a_failed_connect_gets_500_and_leaves_no_socket() {
    let server = Server::unruly("").await;
    let path = format!("{}/rooms/bad/ws?token=1:ana&command=panic", crate::harness::BASE);
    server.connect(&path, &[]).await.err().unwrap().is_problem(500);
    let mut bo = join_and_expect_welcome(&server, "bad", "bo").await;
    bo.expect_reply("count", "1").await;
}

#[tokio::test]
async fn rooms_that_loop_do_not_stall_others() {
    // On a busy machine the loops take long, and their clients answer no pings here.
    let server = Server::unruly("[limits]\nping_every = \"1h\"\n").await;
    let mut good = join_and_expect_welcome(&server, "good", "ana").await;
    let mut bad = Vec::new();
    for number in 0..4 {
        let mut client = join_and_expect_welcome(&server, &format!("bad{number}"), "bo").await;
        // Two each: more work than there are threads for it, for seconds.
        client.send("loop").await;
        client.send("loop").await;
        bad.push(client);
    }
    // All of these are answered while the others loop: the last of eight seconds of work ends long after them.
    for number in 0..100 {
        let text = format!("still {number}");
        good.expect_reply(&format!("say {text}"), &text).await;
    }
    let failures = server.log().matches("used its 1s of CPU").count();
    assert!(failures < 8, "the good room waited for all the bad ones");
    for client in &mut bad {
        assert_eq!(client.recv().await["code"], "room_failed");
    }
}

#[tokio::test]
async fn a_long_turn_does_not_wait_for_looping_rooms() {
    let server = Server::unruly("").await;
    let mut good = join_and_expect_welcome(&server, "good", "ana").await;
    let mut bad = Vec::new();
    for number in 0..8 {
        let mut client = join_and_expect_welcome(&server, &format!("bad{number}"), "bo").await;
        client.send("loop").await;
        client.send("loop").await;
        bad.push(client);
    }
    // Many ticks of work, among eight rooms that want a second each, and then another one.
    good.send("work 30; say done").await;
    while good.recv_text().await != "done" {}
    let failures = server.log().matches("used its 1s of CPU").count();
    assert!(failures < 8, "the good room waited until {failures} bad turns had ended");
}

/// Memory of the server's process in MiB: now, and the maximum since it started.
fn memory_mib(server: &Server) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says so");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// A busy machine may run something else for so long before it runs what is due.
const SCHEDULING_TOLERANCE: Duration = Duration::from_millis(100);

/// How long a room takes to answer while nothing else is done.
async fn idle_latency(good: &mut Client) -> Duration {
    latency_during(good, tokio::time::sleep(Duration::from_millis(300))).await.0
}

/// How long a room takes to answer, while something else is done: the middle one of many answers.
async fn latency_during<T>(good: &mut Client, done: impl Future<Output = T>) -> (Duration, T) {
    let mut done = std::pin::pin!(done);
    let mut took = Vec::new();
    loop {
        let began = Instant::now();
        good.expect_reply("say alive", "alive").await;
        took.push(began.elapsed());
        let pause = Duration::from_millis(10);
        if let Ok(done) = tokio::time::timeout(pause, &mut done).await {
            took.sort_unstable();
            return (took[took.len() / 2], done);
        }
    }
}

/// Everything that a room can do to the host at once or piece by piece, one after the other, several times.
#[tokio::test]
async fn every_misbehaviour_is_logged_and_harms_no_other_room() {
    const MISBEHAVIOUR: [(&str, &str, &str); 11] = [
        ("panic", "told to panic", "trap"),
        ("loop", "used its 1s of CPU", "cpu"),
        ("list-loop", "used its 1s of CPU", "cpu"),
        ("leak", "used its 67108864 B of memory", "memory"),
        ("recurse", "call stack exhausted", "trap"),
        ("recurse-calls", "call stack exhausted", "trap"),
        ("flood", "sent more than 16777216 B", "trap"),
        ("tag-loop", "sent more than 16777216 B", "trap"),
        ("fill", "the turn writes more than 16777216 B", "guest"),
        ("many-timers", "is one too many: a room has 1000 at most", "guest"),
        ("timer-loop", "set and cancelled more than 10000 timers", "trap"),
    ];
    let server = Server::unruly("").await;
    let mut good = join_and_expect_welcome(&server, "good", "ana").await;
    let mut bad = join_and_expect_welcome(&server, "bad", "bo").await;
    let calm = idle_latency(&mut good).await;
    let (before, _) = memory_mib(&server);
    let mut failures = BTreeMap::new();
    for _ in 0..2 {
        for (command, reason, cause) in MISBEHAVIOUR {
            let misbehaviour = async {
                bad.send(command).await;
                assert_eq!(bad.recv().await["code"], "room_failed", "{command}");
            };
            let (latency, ()) = latency_during(&mut good, misbehaviour).await;
            assert!(
                latency < calm * 10 + SCHEDULING_TOLERANCE,
                "{command}: a neighbour's answers took {latency:?}, and {calm:?} before"
            );
            server.wait_for_log(reason).await;
            let logged = server.log().lines().any(|line| line.contains("ROOMS/bad") && line.contains(reason));
            assert!(logged, "{command}: {}", server.log());
            let failed = failures.entry(cause).or_insert(0);
            *failed += 1;
            server.wait_for_count(&format!("failures_total{{cause=\"{cause}\"}}"), *failed).await;
        }
        bad.expect_reply("list; say alive", "alive").await;
    }
    let (after, most) = memory_mib(&server);
    // A turn may hold 64 MiB of memory, and 16 MiB of each kind of output and write.
    assert!(most < before + 256, "it held {before} MiB, and {most} MiB at most");
    assert!(after < before + 160, "it held {before} MiB, and in the end {after} MiB");
    let log = server.log();
    // A guest's panic is a line of its room; the host's own would begin one.
    assert!(!log.lines().any(|line| line.starts_with("thread '")), "{log}");
    assert!(log.len() < 1 << 20, "the log has {} B", log.len());
}

#[tokio::test]
async fn log_and_output_of_a_turn_are_truncated() {
    let server = Server::unruly("").await;
    let mut bad = join_and_expect_welcome(&server, "bad", "bo").await;
    let before = server.log().len();
    bad.expect_reply("log; stderr; print; say done", "done").await;
    server.wait_for_log("too much was logged").await;
    server.wait_for_refusal("turn_log_lines").await;
    bad.send("long-error").await;
    assert_eq!(bad.recv().await["code"], "room_failed");
    server.wait_for_log("the room returned an error: xxxx").await;
    let log = server.log();
    assert!(log.len() - before < 44 << 10, "{} B", log.len() - before);
}

#[tokio::test]
async fn oversized_keys_harm_neither_the_room_nor_its_disk() {
    let server = Server::unruly("").await;
    let mut bad = join_and_expect_welcome(&server, "bad", "bo").await;
    bad.expect_reply("put a 1; put z 2; oversize", "false 1 0 true").await;
    bad.expect_reply("list", "a,z").await;
}

#[tokio::test]
async fn twenty_thousand_broadcasts_in_one_turn_delay_no_other_room() {
    const MEMBERS: usize = 50;
    let server = Server::unruly("").await;
    let mut good = join_and_expect_welcome(&server, "good", "ana").await;
    let joining = (0..MEMBERS).map(async |member| join_and_expect_welcome(&server, "bad", &format!("m{member}")).await);
    let mut members = join_all(joining).await;
    let (before, _) = memory_mib(&server);
    let spread = async {
        members[0].send("broadcast 20000; all done").await;
        join_all(members.iter_mut().map(async |member| while member.recv_text().await != "done" {})).await;
    };
    let calm = idle_latency(&mut good).await;
    let (latency, _) = latency_during(&mut good, spread).await;
    assert!(latency < calm * 20 + SCHEDULING_TOLERANCE, "a neighbour's answers took {latency:?}, and {calm:?} before");
    let (_, most) = memory_mib(&server);
    assert!(most < before + 512, "it held {before} MiB, and {most} MiB at most");
}

/// The start code of a component runs before the first event, as part of that turn.
#[tokio::test]
async fn an_endless_start_function_fails_only_its_own_rooms() {
    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    let spin = "(memory (export \"memory\") 16) (func $spin (loop $again (br $again))) (start $spin)";
    fs::write(directory.path().join("spin.wasm"), Module { fields: spin, ..Module::default() }.component()).unwrap();
    fs::write(directory.path().join("unruly.wasm"), UNRULY).unwrap();
    let config = "[limits]\nturn_cpu = \"200ms\"\n[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n\
                  [namespaces.PRESENCE]\ncomponent = \"spin.wasm\"\n";
    let server = Server::in_directory(directory, config).await;
    let mut good = join_and_expect_welcome(&server, "good", "ana").await;
    let asked = join_all((0..2).map(async |scope| {
        server.api(hyper::Method::GET, &format!("/presence/s{scope}/list"), "bo", "").await.is_problem(500);
    }));
    let calm = idle_latency(&mut good).await;
    let (latency, _) = latency_during(&mut good, asked).await;
    assert!(latency < calm * 10 + SCHEDULING_TOLERANCE, "a neighbour's answers took {latency:?}, and {calm:?} before");
    for scope in 0..2 {
        let room = format!("room{{room=PRESENCE/s{scope}}}: dormouse::room::life::turn");
        server.wait_for_log(&format!("{room}: the turn failed and was undone: it used its 200ms of CPU")).await;
    }
}

/// A connected room may wait for something that only it can complete. It waits no longer than for any answer.
#[tokio::test]
async fn a_room_that_blocks_on_itself_is_cut_off() {
    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    fs::write(directory.path().join("caller.wasm"), CALLER).unwrap();
    let config = "[limits]\nturn_calls_timeout = \"1s\"\n[namespaces.ROOMS]\ncomponent = \"caller.wasm\"\n\
                  outbound_private = [\"http://127.0.0.1:9\"]\n";
    let server = Server::in_directory(directory, config).await;
    let ask = async |command: &str| server.api(hyper::Method::POST, "/rooms/tied/messages", "ana", command).await;
    ask(r#"{"do":"wait-forever"}"#).await.is_problem(500);
    server.wait_for_log("it waited longer than any call may take").await;
    let answer = ask(r#"{"do":"never-finish","authority":"127.0.0.1:9"}"#).await;
    assert!(answer.json()["error"].as_str().is_some_and(|error| error.contains("Timeout")), "{answer:?}");
    // As many requests as may be started, each with as much body as fits before it is sent.
    let (before, _) = memory_mib(&server);
    ask(r#"{"do":"fill-bodies"}"#).await.is_problem(500);
    let (_, most) = memory_mib(&server);
    assert!(most < before + 96, "it held {before} MiB, and {most} MiB at most");
    assert_eq!(ask(r#"{"do":"count"}"#).await.json()["count"], 1);
}

#[tokio::test]
async fn a_close_by_the_guest_gives_the_client_its_reason() {
    let server = Server::unruly("").await;
    let mut ana = join_and_expect_welcome(&server, "lobby", "ana").await;
    let mut bo = join_and_expect_welcome(&server, "lobby", "bo").await;
    ana.send("note x; say before; leave good night").await;
    ana.expect_text("before").await;
    assert_eq!(ana.recv_close().await, (4000, "good night".into()));
    ana.wait_for_end().await;
    bo.expect_text("gone id-ana 4000 true x").await;
}

#[tokio::test]
async fn a_client_that_vanishes_is_noticed() {
    let server = Server::unruly("").await;
    let ana = join_and_expect_welcome(&server, "lobby", "ana").await;
    let mut bo = join_and_expect_welcome(&server, "lobby", "bo").await;
    drop(ana);
    bo.expect_text("gone id-ana 1006 false ").await;
}

#[tokio::test]
async fn a_silent_client_is_closed_with_4408() {
    let server =
        Server::unruly("[limits]\nping_every = \"500ms\"\npong_timeout = \"5s\"\nclose_timeout = \"200ms\"\n").await;
    let mut bo = join_and_expect_welcome(&server, "lobby", "bo").await;
    // Its socket stays open and it answers nothing, because it does not read.
    let silent = join_and_expect_welcome(&server, "lobby", "ana").await;
    bo.expect_text("gone id-ana 4408 false ").await;
    drop(silent);
    bo.expect_reply("say still here", "still here").await;
    tokio::time::timeout(Duration::from_secs(1), bo.wait_for_end()).await.expect_err("who answers pings stays");
}

/// The operator of a faulty room learns which user and socket were affected.
#[tokio::test]
async fn a_failed_turn_names_its_event_user_and_socket_in_the_log() {
    let server = Server::unruly("").await;
    let logs = async |words: &[&str]| {
        let says = |line: &str| words.iter().all(|word| line.contains(word));
        let found = async {
            while !server.log().lines().any(|line| line.contains("was undone") && says(line)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let found = tokio::time::timeout(TEST_TIMEOUT, found).await;
        assert!(found.is_ok(), "no line says {words:?}:\n{}", server.log());
    };
    let mut ana = join_and_expect_welcome(&server, "lobby", "ana").await;
    ana.send("panic").await;
    logs(&["event=\"message\"", "socket=", "user=\"id-ana\""]).await;
    server.api(hyper::Method::POST, "/rooms/lobby/messages", "bo", "panic").await.is_problem(500);
    logs(&["event=\"request\"", "user=\"id-bo\""]).await;
    ana.send("timer 1 panic").await;
    logs(&["event=\"timer\"", "timer=\"t\""]).await;
    ana.send("note on close panic; say noted").await;
    while ana.recv_text().await != "noted" {}
    drop(ana);
    logs(&["event=\"close\"", "socket=", "user=\"id-ana\""]).await;
    let refused = server.connect(&format!("{BASE}/rooms/lobby/ws?token=id-eve:eve&command=panic"), &[]).await;
    assert!(refused.is_err(), "the turn should fail");
    logs(&["event=\"connect\"", "socket=", "user=\"id-eve\""]).await;
}
