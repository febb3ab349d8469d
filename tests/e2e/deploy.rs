//! New code for rooms that are in use: no socket ends, no message is lost, doubled or reordered, and code that fails is
//! taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dormouse::Host;
use dormouse::config::{Config, Namespace};
use dormouse::deploys::{Deploy, DeployError};
use dormouse::guest::component_hash;
use dormouse::model::{Request, User};
use dormouse::rollout::Selection;
use dormouse::store::Store;
use dormouse_bundle::{GATEKEEPER, ROUTER, VERSIONED};
use futures_util::future::join_all;
use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::admin::{admin, command, failure, printed};
use crate::command_line;
use crate::harness::{self, Answer, Client, Server, within};
use crate::seeds::rounds;
use crate::wat_components::Module;

/// Short turns, so that a version that loops is noticed soon.
pub(crate) const CONFIG: &str = "[limits]\nturn_cpu = \"200ms\"\n[namespaces.ROOMS]\ncomponent = \"room.wasm\"\n";

/// A version of a test component, by its name and the word for its misbehaviour.
pub(crate) fn of(component: &[u8], name: &str, word: &str) -> Vec<u8> {
    let marker = b"behaviour:v1 good";
    let mut wasm = component.to_vec();
    let places = wasm.windows(marker.len()).enumerate().filter(|(_, bytes)| bytes == marker).map(|(at, _)| at);
    let places = places.collect::<Vec<_>>();
    assert_eq!(places.len(), 1, "the component has its marker once");
    let behaviour = format!("{:<64}", format!("behaviour:{name} {word}"));
    wasm[places[0]..places[0] + 64].copy_from_slice(behaviour.as_bytes());
    wasm
}

pub(crate) fn version(name: &str, word: &str) -> Vec<u8> {
    of(VERSIONED, name, word)
}

pub(crate) fn directory(component: &[u8]) -> Arc<TempDir> {
    let directory = Arc::new(TempDir::new().unwrap());
    fs::write(directory.path().join("room.wasm"), component).unwrap();
    directory
}

pub(crate) async fn start() -> Server {
    Server::in_directory(directory(&version("v1", "good")), CONFIG).await
}

/// Deploys with parameters such as `?canary=5%25`.
pub(crate) async fn try_deploy(server: &Server, target: &str, wasm: &[u8]) -> Answer {
    harness::request(server.admin_address(), Method::POST, &format!("/deploys/{target}"), &[], wasm).await
}

pub(crate) async fn deploy(server: &Server, target: &str, wasm: &[u8]) -> Value {
    let answer = try_deploy(server, target, wasm).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

pub(crate) async fn roll_back(server: &Server, target: &str) -> Answer {
    admin(server, Method::POST, &format!("/deploys/{target}/rollback"), "").await
}

pub(crate) async fn status(server: &Server, target: &str) -> Value {
    let all = admin(server, Method::GET, "/deploys", "").await.json();
    let found = all["deploys"].as_array().unwrap().iter().find(|deploy| deploy["target"] == target);
    found.cloned().unwrap_or_else(|| panic!("{target} is not in {all}"))
}

/// Waits until the status of `ROOMS` is as wanted.
pub(crate) async fn wait_for(server: &Server, wanted: impl Fn(&Value) -> bool) -> Value {
    within(async {
        loop {
            let status = status(server, "ROOMS").await;
            if wanted(&status) {
                return status;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// Joins a room, and returns the version that let the client in.
pub(crate) async fn join(server: &Server, room: &str, name: &str) -> (Client, String) {
    let mut client = server.join(room, name).await;
    let hello = client.recv_type("hello").await;
    (client, hello["version"].as_str().unwrap().to_owned())
}

/// Sends a message, and returns it as the room has numbered it.
pub(crate) async fn say(client: &mut Client, text: &str) -> Value {
    client.send(text).await;
    loop {
        let received = client.recv().await;
        assert_ne!(received["type"], "error", "{received}");
        if received["text"] == text {
            return received;
        }
    }
}

async fn version_of(server: &Server, room: &str) -> String {
    let answer = server.api(Method::GET, &format!("/rooms/{room}/messages"), "ana", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["version"].as_str().unwrap().to_owned()
}

/// Talks in a room until told to stop: keeps some messages on their way, and checks that everything arrives once and in
/// order, and each migration once and before all that follows it. Returns the number of its own messages, and the
/// versions that it has met.
async fn talk(server: &Server, room: &str, name: &str, stop: &AtomicBool) -> (u64, BTreeSet<String>) {
    const WINDOW: u64 = 4;
    let (mut client, _) = join(server, room, name).await;
    let (mut sent, mut received, mut last) = (0, 0, None);
    let (mut versions, mut data) = (BTreeSet::new(), None);
    let user = format!("id-{name}");
    loop {
        let is_over = stop.load(Ordering::Relaxed);
        while !is_over && sent < received + WINDOW {
            client.send(&sent.to_string()).await;
            sent += 1;
        }
        if received == sent {
            client.send("who").await;
            let who = client.recv_type("who").await;
            assert_eq!(who["attachment"], user.as_str(), "the attachment survives");
            return (sent, versions);
        }
        let message = client.recv().await;
        if message["type"] == "migrated" {
            let from = message["from"].as_u64();
            assert!(data.is_none() || data == from, "{name} in {room}: {message} after {data:?}");
            data = message["to"].as_u64();
            continue;
        }
        assert_eq!(message["type"], "numbered", "{name} in {room}: {message}");
        let seq = message["seq"].as_u64().unwrap();
        assert!(last.is_none_or(|last| seq == last + 1), "{name} in {room}: {message} after {last:?}");
        last = Some(seq);
        if message["from"] == user.as_str() && message["text"] != "left" {
            assert_eq!(message["text"], received.to_string(), "{name} in {room}");
            received += 1;
        }
        versions.insert(message["version"].as_str().unwrap().to_owned());
    }
}

/// The deploys of the next test, in turn: how each version behaves, and whether its data has another version than that
/// of the code before.
const UNDER_LOAD: [(&str, bool); 12] = [
    ("trap", false),
    ("good", true),
    ("loop", true),
    ("good", false),
    ("migrate-trap", true),
    ("grow", false),
    ("good", true),
    ("migrate-refuse", true),
    ("refuse-sockets", true),
    ("good", true),
    ("migrate-loop", true),
    ("migrate-grow", true),
];

/// `make durability ROUNDS=50 ARGS=deploys_under_load` deploys 50 times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploys_under_load_lose_double_and_reorder_nothing() {
    const ROOMS: usize = 6;
    const MEMBERS: usize = 3;
    let server = start().await;
    let stop = AtomicBool::new(false);
    let talking = (0..ROOMS).flat_map(|room| (0..MEMBERS).map(move |member| (room, member)));
    let talking = talking
        .map(async |(room, member)| talk(&server, &format!("r{room}"), &format!("m{room}-{member}"), &stop).await);
    let deploying = async {
        let (mut data, mut good) = (0, BTreeSet::from(["v1".to_owned()]));
        let deploys = UNDER_LOAD.into_iter().cycle().take(usize::try_from(rounds(12)).unwrap());
        for ((word, migrates), number) in deploys.chain([("good", true)]).zip(2..) {
            let (name, of_new) = (format!("v{number}"), data + u32::from(migrates));
            let wasm = version(&name, &format!("{word} {of_new}"));
            println!("deploy {number}: {word}, data {of_new}");
            deploy(&server, "ROOMS", &wasm).await;
            if word == "good" {
                // Each room has a message with it.
                for room in 0..ROOMS {
                    assert_eq!(version_of(&server, &format!("r{room}")).await, name);
                }
                data = of_new;
                good.insert(name);
            } else {
                let hash = component_hash(&wasm);
                wait_for(&server, |status| status["last_failure"]["hash"] == hash.as_str()).await;
            }
            // Checked and refused: nothing changes.
            try_deploy(&server, "ROOMS", &version("bad", &format!("refuse-wake {data}"))).await.is_problem(422);
        }
        stop.store(true, Ordering::Relaxed);
        (data, good)
    };
    let (talked, (data, good)) = tokio::join!(join_all(talking), deploying);
    let (mut sent, mut seen) = (vec![0; ROOMS], BTreeSet::new());
    for (nth, (own, versions)) in talked.into_iter().enumerate() {
        sent[nth / MEMBERS] += own;
        seen.extend(versions);
    }
    assert!(seen.is_subset(&good), "failed turns left something: {seen:?}");
    assert!(seen.len() > good.len() / 2, "{seen:?} of {good:?}");
    for (room, sent) in sent.into_iter().enumerate() {
        let answer = server.api(Method::GET, &format!("/rooms/r{room}/messages"), "ana", "").await.json();
        // Members have left meanwhile, and each was numbered too.
        let last = answer["last"].as_u64().unwrap();
        assert!((sent..=sent + MEMBERS as u64).contains(&last), "{sent} were sent to r{room}, which has {answer}");
        let migrations = (0..data).map(|from| [from, from + 1]).collect::<Vec<_>>();
        assert_eq!(answer["migrations"], json!(migrations), "r{room}");
    }
}

#[tokio::test]
async fn code_that_fails_is_taken_back_and_the_event_runs_on_the_old_code() {
    for (word, cause) in [
        ("trap", "told to panic"),
        ("loop", "of CPU"),
        ("grow", "of memory"),
        ("trap-with-sockets", "told to panic with sockets"),
        ("refuse-sockets", "told to refuse sockets"),
    ] {
        let server = start().await;
        let (mut ana, _) = join(&server, "lobby", "ana").await;
        let (mut bo, _) = join(&server, "other", "bo").await;
        assert_eq!(say(&mut ana, "one").await["seq"], 1);
        let wasm = version("v2", word);
        let deployed = deploy(&server, "ROOMS", &wasm).await;
        assert_eq!((&deployed["changed"], &deployed["tried_rooms"]), (&json!(true), &json!(1)), "{word}");
        let two = say(&mut ana, "two").await;
        assert_eq!((&two["seq"], &two["version"]), (&json!(2), &json!("v1")), "{word}");
        let failed = wait_for(&server, |status| !status["last_failure"].is_null()).await;
        let last_failure = &failed["last_failure"];
        assert_eq!(last_failure["hash"], component_hash(&wasm));
        assert_eq!((&last_failure["place"], &last_failure["event"]), (&json!("ROOMS/lobby"), &json!("message")));
        assert!(last_failure["reason"].as_str().unwrap().contains(cause), "{word}: {last_failure}");
        assert_eq!(failed["candidate"], Value::Null);
        assert_eq!(say(&mut bo, "hello").await["version"], "v1", "other rooms do not take it any more");
        assert_eq!(say(&mut ana, "three").await["seq"], 3);
        server.wait_for_log("the deploy has failed").await;
        let server = server.crash_and_restart().await;
        assert_eq!(version_of(&server, "lobby").await, "v1", "and not after a restart");
    }
}

#[tokio::test]
async fn rooms_that_have_taken_failing_code_return_to_the_old_one() {
    let server = start().await;
    let (mut good, _) = join(&server, "good", "ana").await;
    let (mut bad, _) = join(&server, "bad", "bo").await;
    deploy(&server, "ROOMS", &version("v2", "trap-in-bad")).await;
    assert_eq!(say(&mut good, "one").await["version"], "v2");
    assert_eq!(say(&mut bad, "one").await["version"], "v1");
    let returned = say(&mut good, "two").await;
    assert_eq!((&returned["version"], &returned["seq"]), (&json!("v1"), &json!(2)));
    let status = wait_for(&server, |status| !status["last_failure"].is_null()).await;
    assert_eq!(status["rooms"], json!([{ "hash": component_hash(&version("v1", "good")), "rooms": 2, "migrated": 0 }]));
}

#[tokio::test]
async fn a_close_and_a_timer_that_new_code_fails_run_on_the_old_code() {
    let server = start().await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    let (bo, _) = join(&server, "lobby", "bo").await;
    deploy(&server, "ROOMS", &version("v2", "trap")).await;
    bo.close().await;
    let left = ana.recv_type("numbered").await;
    assert_eq!((&left["text"], &left["version"], &left["seq"]), (&json!("left"), &json!("v1"), &json!(1)));
    // The deploy, which compiles, must end before the timer is due.
    ana.send("slow timer").await;
    ana.recv_type("set").await;
    deploy(&server, "ROOMS", &version("v3", "trap")).await;
    let fired = ana.recv_type("numbered").await;
    assert_eq!((&fired["text"], &fired["version"], &fired["seq"]), (&json!("fired"), &json!("v1"), &json!(2)));
    assert_eq!(say(&mut ana, "on").await["seq"], 3, "the timer has fired once");
    let status = wait_for(&server, |status| status["last_failure"]["event"] == "timer").await;
    assert_eq!(status["last_failure"]["place"], "ROOMS/lobby");
}

#[tokio::test]
async fn clients_cannot_stop_a_deploy() {
    let server = start().await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    deploy(&server, "ROOMS", &version("v2", "good")).await;
    // Every version panics at this.
    ana.send("poison").await;
    assert_eq!(ana.recv().await["code"], "room_failed");
    assert_eq!(say(&mut ana, "one").await["version"], "v2");
    // An error that the room returns, and a client that it rejects, are its own decisions.
    deploy(&server, "ROOMS", &version("v3", "error")).await;
    ana.send("refused").await;
    assert_eq!(ana.recv().await["code"], "room_failed");
    deploy(&server, "ROOMS", &version("v4", "reject")).await;
    let refused = server.connect(&format!("{}/rooms/lobby/ws?token=1:bo", harness::BASE), &[]).await;
    refused.err().unwrap().is_problem(403);
    let numbered = say(&mut ana, "two").await;
    assert_eq!((&numbered["version"], &numbered["seq"]), (&json!("v4"), &json!(2)));
    assert_eq!(status(&server, "ROOMS").await["last_failure"], Value::Null);
}

#[tokio::test]
async fn a_sleeping_room_wakes_with_the_new_code_and_all_its_sockets() {
    let directory = directory(&version("v1", "good"));
    let server = Server::in_directory(directory, &format!("hibernate_after = \"10ms\"\n{CONFIG}")).await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    let (_bo, _) = join(&server, "lobby", "bo").await;
    ana.send("timer").await;
    ana.recv_type("set").await;
    server.wait_until_all_hibernate().await;
    deploy(&server, "ROOMS", &version("v2", "good")).await;
    let fired = ana.recv_type("numbered").await;
    assert_eq!(fired["text"], "fired");
    assert_eq!(say(&mut ana, "one").await["version"], "v2");
    ana.send("who").await;
    let who = ana.recv_type("who").await;
    assert_eq!((&who["attachment"], &who["tagged"]), (&json!("id-ana"), &json!(2)));
}

#[tokio::test]
async fn a_component_that_cannot_run_is_refused_and_nothing_changes() {
    let server = start().await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    say(&mut ana, "one").await;
    let empty = wat::parse_str("(component)").unwrap();
    let large = "(memory (export \"memory\") 2000)";
    let large = Module { fields: large, ..Module::default() }.component();
    for (wasm, part) in [
        (&b"not wasm"[..], "is not a WebAssembly component"),
        (ROUTER, "is a router, and a room is needed"),
        (&empty, "exports no room"),
        (large, "limits.memory_bytes"),
        (&version("v2", "refuse-wake"), "cannot wake on a copy of the storage of a room without data"),
        (&version("v2", "refuse-data"), "cannot wake on a copy of the storage of ROOMS/lobby"),
    ] {
        let refused = try_deploy(&server, "ROOMS", wasm).await;
        refused.is_problem(422);
        assert!(refused.json()["detail"].as_str().unwrap().contains(part), "{refused:?}");
    }
    for (target, status, part) in [
        ("NOWHERE", 404, "there is no namespace NOWHERE"),
        ("ROOMS?canary=0", 400, "the parameter `canary` is"),
        ("ROOMS?canary=5&canary=6", 400, "given twice"),
        ("ROOMS?canery=5", 400, "`canery` is unknown"),
        ("ROOMS?rooms=", 400, "a pattern has 1 to 512 bytes"),
        ("ROOMS?watch=soon", 400, "the parameter `watch` is a time"),
        ("ROOMS?watch=30d", 400, "at most 7 days"),
        ("router?canary=5", 400, "a router has no rooms"),
    ] {
        let refused = try_deploy(&server, target, &version("v2", "good")).await;
        refused.is_problem(status);
        assert!(refused.json()["detail"].as_str().unwrap().contains(part), "{refused:?}");
    }
    try_deploy(&server, "ROOMS", b"").await.is_problem(400);
    assert_eq!(say(&mut ana, "two").await["version"], "v1");
    let status = status(&server, "ROOMS").await;
    assert_eq!((&status["candidate"], &status["versions"]), (&Value::Null, &json!([])));
    assert_eq!(status["version"]["configured"], true);
    assert!(!server.data().join("deployed").exists());
}

#[tokio::test]
async fn a_component_that_lacks_an_import_is_refused_by_its_name() {
    let server = start().await;
    let (known, unknown) = (b"dormouse:room/timers@", b"dormouse:room/tixers@");
    let mut wasm = version("v2", "good");
    for at in 0..wasm.len() - known.len() {
        if wasm[at..].starts_with(known) {
            wasm[at..at + known.len()].copy_from_slice(unknown);
        }
    }
    let refused = try_deploy(&server, "ROOMS", &wasm).await;
    refused.is_problem(422);
    assert!(refused.json()["detail"].as_str().unwrap().contains("tixers"), "{refused:?}");
}

#[tokio::test]
async fn settings_that_the_new_component_does_not_know_are_refused() {
    let config = format!("{CONFIG}config = {{ title = \"x\" }}\n");
    let server = Server::in_directory(directory(&version("v1", "good")), &config).await;
    // The chat room declares its settings.
    let refused = try_deploy(&server, "ROOMS", dormouse_bundle::CHAT_ROOM).await;
    refused.is_problem(422);
    assert!(refused.json()["detail"].as_str().unwrap().starts_with("namespaces.ROOMS.config.title:"), "{refused:?}");
}

#[tokio::test]
async fn a_canary_takes_always_the_same_rooms() {
    let server = start().await;
    let rooms = (0..40).map(|room| format!("r{room}")).collect::<Vec<_>>();
    let wasm = version("v2", "good");
    deploy(&server, "ROOMS?canary=25%25", &wasm).await;
    let versions = async |server: &Server| {
        let versions = join_all(rooms.iter().map(async |room| (room.clone(), version_of(server, room).await))).await;
        versions.into_iter().collect::<BTreeMap<_, _>>()
    };
    let selection = Selection { share: 2_500, rooms: None };
    let first = versions(&server).await;
    for (room, version) in &first {
        assert_eq!(version, if selection.has(room) { "v2" } else { "v1" }, "{room}");
    }
    let candidate = status(&server, "ROOMS").await["candidate"].clone();
    assert_eq!((&candidate["percent"], &candidate["settles_after_s"]), (&json!(25.0), &Value::Null));
    let server = server.crash_and_restart().await;
    assert_eq!(versions(&server).await, first, "after a restart too");
    let unchanged = deploy(&server, "ROOMS?canary=25%25", &wasm).await;
    assert_eq!(unchanged["changed"], false);
    deploy(&server, "ROOMS?canary=100%25&rooms=r1*", &wasm).await;
    for (room, version) in versions(&server).await {
        assert_eq!(version, if room.starts_with("r1") { "v2" } else { "v1" }, "{room}");
    }
    deploy(&server, "ROOMS?watch=0s", &wasm).await;
    let settled = wait_for(&server, |status| status["candidate"].is_null()).await;
    assert_eq!(settled["version"]["hash"], component_hash(&wasm));
    assert!(versions(&server).await.values().all(|version| version == "v2"));
}

#[tokio::test]
async fn a_rollback_returns_to_the_version_before() {
    let server = start().await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    roll_back(&server, "ROOMS").await.is_problem(409);
    for name in ["v2", "v3"] {
        deploy(&server, "ROOMS?watch=0s", &version(name, "good")).await;
        wait_for(&server, |status| status["candidate"].is_null()).await;
        assert_eq!(say(&mut ana, name).await["version"], name);
    }
    deploy(&server, "ROOMS", &version("v4", "good")).await;
    assert_eq!(say(&mut ana, "four").await["version"], "v4");
    for expected in ["v3", "v2", "v1"] {
        let rolled_back = roll_back(&server, "ROOMS").await;
        assert_eq!(rolled_back.json()["version"], component_hash(&version(expected, "good")), "{rolled_back:?}");
        assert_eq!(say(&mut ana, expected).await["version"], expected);
    }
    roll_back(&server, "ROOMS").await.is_problem(409);
    assert_eq!(status(&server, "ROOMS").await["version"]["configured"], true);
    let server = server.crash_and_restart().await;
    assert_eq!(version_of(&server, "lobby").await, "v1");
    fs::write(server.directory.path().join("room.wasm"), version("v9", "good")).unwrap();
    let server = server.crash_and_restart().await;
    assert_eq!(version_of(&server, "lobby").await, "v9", "the configuration is followed again");
}

#[tokio::test]
async fn a_version_keeps_the_time_since_which_it_runs() {
    let server = start().await;
    let at = |version: &Value| version["since"].as_u64().expect("a time");
    let first = at(&status(&server, "ROOMS").await["version"]);
    deploy(&server, "ROOMS?watch=0s", &version("v2", "good")).await;
    let after = wait_for(&server, |status| status["candidate"].is_null()).await;
    let second = at(&after["version"]);
    assert_eq!((at(&after["versions"][1]), second > first), (first, true), "{after}");
    roll_back(&server, "ROOMS").await;
    let back = status(&server, "ROOMS").await;
    assert!(at(&back["version"]) >= second, "it runs again since the rollback: {back}");
    // The configuration is followed again, by another version of it, which can run again too.
    fs::write(server.directory.path().join("room.wasm"), version("v3", "good")).unwrap();
    let server = server.crash_and_restart().await;
    let third = at(&status(&server, "ROOMS").await["version"]);
    deploy(&server, "ROOMS", &version("v4", "good")).await;
    let deploying = status(&server, "ROOMS").await;
    assert_eq!(deploying["version"]["hash"], component_hash(&version("v3", "good")));
    assert_eq!((at(&deploying["version"]), at(&deploying["candidate"]) > third), (third, true), "{deploying}");
    deploy(&server, "ROOMS", &version("v5", "good")).await;
    for expected in ["v4", "v3"] {
        let rolled_back = roll_back(&server, "ROOMS").await;
        assert_eq!(rolled_back.json()["version"], component_hash(&version(expected, "good")), "{rolled_back:?}");
    }
}

#[tokio::test]
async fn a_version_has_its_time_as_soon_as_it_runs() {
    let server = start().await;
    let started = status(&server, "ROOMS").await["version"]["since"].clone();
    let second = component_hash(&version("v2", "good"));
    for _ in 0..10 {
        deploy(&server, "ROOMS?watch=0s", &version("v2", "good")).await;
        let settled = |status: &Value| {
            let runs = status["version"]["hash"] == second;
            assert!(!runs || status["version"]["since"] != started, "it was deployed later: {status}");
            runs
        };
        wait_for(&server, settled).await;
        roll_back(&server, "ROOMS").await;
    }
}

#[tokio::test]
async fn a_rollback_needs_the_file_of_the_configuration_no_more() {
    let server = start().await;
    // As a build does, before its result is deployed.
    fs::write(server.directory.path().join("room.wasm"), version("v2", "good")).unwrap();
    deploy(&server, "ROOMS?watch=0s", &version("v2", "good")).await;
    wait_for(&server, |status| status["candidate"].is_null()).await;
    assert_eq!(version_of(&server, "lobby").await, "v2");
    assert_eq!(roll_back(&server, "ROOMS").await.status, 200);
    assert_eq!(version_of(&server, "lobby").await, "v1");
}

#[tokio::test]
async fn a_restart_runs_what_was_deployed_and_says_so() {
    let server = start().await;
    deploy(&server, "ROOMS", &version("v2", "good")).await;
    let server = server.crash_and_restart().await;
    assert!(server.log().contains("was under way, and goes on"), "{}", server.log());
    assert_eq!(version_of(&server, "lobby").await, "v2");
    deploy(&server, "ROOMS?watch=0s", &version("v3", "good")).await;
    wait_for(&server, |status| status["candidate"].is_null()).await;
    let server = server.crash_and_restart().await;
    assert!(server.log().contains("ROOMS runs the version"), "{}", server.log());
    assert_eq!(version_of(&server, "lobby").await, "v3");
    let file = server.directory.path().join("dormouse.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("data = \"data\"\n{config}")).unwrap();
    let checked = command_line::run(&["check", "--config", file.to_str().unwrap()]);
    assert!(printed(&checked).contains("warning: ROOMS runs the version"), "{checked:?}");
}

#[tokio::test]
async fn a_missing_or_damaged_version_stops_the_start_with_advice() {
    let mut server = start().await;
    let wasm = version("v2", "good");
    deploy(&server, "ROOMS?watch=0s", &wasm).await;
    wait_for(&server, |status| status["candidate"].is_null()).await;
    server.kill();
    let (directory, deployed) = (server.directory.clone(), server.data().join("deployed"));
    drop(server);
    let file = deployed.join(format!("{}.wasm", component_hash(&wasm)));
    let refused = async |part: &str| {
        let log = Server::try_in_directory(directory.clone(), CONFIG).await.err().expect("it does not start");
        assert!(log.contains(part) && log.contains("ROOMS: the deployed component"), "{log}");
        assert!(log.contains("remove") && log.contains("deploys.json"), "{log}");
    };
    fs::write(&file, b"damaged").unwrap();
    refused("is damaged").await;
    fs::remove_file(&file).unwrap();
    refused("is missing").await;
    fs::write(&file, &wasm).unwrap();
    let server = Server::in_directory(directory.clone(), CONFIG).await;
    assert_eq!(version_of(&server, "lobby").await, "v2", "the file was put back");
    drop(server);
    fs::remove_file(deployed.join("deploys.json")).unwrap();
    let server = Server::in_directory(directory, CONFIG).await;
    assert_eq!(version_of(&server, "lobby").await, "v1", "the journal was removed");
}

/// Whatever the moment of the crash, the version after it is the old one or the new one, and the new one if the deploy
/// was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_survives_kill_9_at_any_moment() {
    let mut server = start().await;
    let mut before = "v1".to_owned();
    for number in 2..=9_u32 {
        let name = format!("v{number}");
        let (address, wasm) = (server.admin_address(), version(&name, "good"));
        let acknowledged = Arc::new(AtomicBool::new(false));
        let noted = acknowledged.clone();
        let deploying = tokio::spawn(async move {
            let stream = tokio::net::TcpStream::connect(address).await.ok()?;
            let stream = hyper_util::rt::TokioIo::new(stream);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.ok()?;
            tokio::spawn(connection);
            let request = hyper::Request::post("/deploys/ROOMS").header("host", address.to_string());
            let request = request.body(http_body_util::Full::new(bytes::Bytes::from(wasm))).unwrap();
            let answer = sender.send_request(request).await.ok()?;
            noted.store(answer.status() == 200, Ordering::SeqCst);
            Some(())
        });
        let acknowledgement = async {
            while !acknowledged.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // Right after the acknowledgement, and at moments that are spread over a deploy.
        if number % 2 == 0 {
            within(acknowledgement).await;
        } else {
            let _ = tokio::time::timeout(Duration::from_millis(u64::from(number) * 20), acknowledgement).await;
        }
        let was_acknowledged = acknowledged.load(Ordering::SeqCst);
        server = server.crash_and_restart().await;
        let _ = deploying.await;
        let after = version_of(&server, "lobby").await;
        assert!(after == name || (after == before && !was_acknowledged), "{before}, {name}: {after}");
        before = after;
    }
}

#[tokio::test]
async fn sighup_deploys_a_changed_component() {
    let server = start().await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    let file = server.directory.path().join("room.wasm");
    server.send_sighup();
    server.wait_for_log("reloaded").await;
    assert_eq!(say(&mut ana, "one").await["version"], "v1");
    fs::write(&file, version("v2", "good")).unwrap();
    server.send_sighup();
    server.wait_for_log("deployed").await;
    assert_eq!(say(&mut ana, "two").await["version"], "v2");
    fs::write(&file, version("v3", "refuse-wake")).unwrap();
    server.send_sighup();
    server.wait_for_log("not deployed; the old code stays in use").await;
    assert_eq!(say(&mut ana, "three").await["version"], "v2");
    fs::remove_file(&file).unwrap();
    server.send_sighup();
    server.wait_for_log("cannot be read: it does not exist").await;
}

#[tokio::test]
async fn old_versions_and_their_compiled_code_are_removed() {
    let directory = directory(&version("v1", "good"));
    // So that code that other tests have compiled is not provided.
    let compiled = directory.path().join("data/compiled");
    DirBuilder::new().mode(0o700).recursive(true).create(&compiled).unwrap();
    let server = Server::in_directory(directory, CONFIG).await;
    let files = |directory: &str, ending: &str| {
        let files = fs::read_dir(server.data().join(directory)).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(ending)).collect::<BTreeSet<_>>()
    };
    for number in 2..=9 {
        deploy(&server, "ROOMS", &version(&format!("v{number}"), "good")).await;
    }
    // Five that can run again, and the one that is being deployed.
    let versions = (4..=9).map(|number| component_hash(&version(&format!("v{number}"), "good")));
    assert_eq!(files("deployed", ".wasm"), versions.map(|hash| format!("{hash}.wasm")).collect());
    let compiled = files("compiled", "");
    deploy(&server, "ROOMS", &version("v10", "good")).await;
    let after = files("compiled", "");
    let (more, fewer) = (after.difference(&compiled).count(), compiled.difference(&after).count());
    assert_eq!((more, fewer), (1, 1));
    assert!(files("deployed", "unfinished").is_empty());
}

#[tokio::test]
async fn a_router_is_deployed_and_taken_back_like_a_room() {
    let directory = directory(&version("v1", "good"));
    fs::write(directory.path().join("router.wasm"), GATEKEEPER).unwrap();
    let config = format!("base_path = \"/\"\nrouter = \"router.wasm\"\n{CONFIG}");
    let server = Server::in_directory(directory, &config).await;
    let routed = async |server: &Server| server.get("/version?token=1:ana").await.json();
    assert_eq!(routed(&server).await, "v1");
    deploy(&server, "router", &of(GATEKEEPER, "v2", "good")).await;
    assert_eq!(routed(&server).await, "v2");
    let refused = try_deploy(&server, "router", VERSIONED).await;
    assert!(refused.json()["detail"].as_str().unwrap().contains("is a room, and a router is needed"), "{refused:?}");
    deploy(&server, "router", &of(GATEKEEPER, "v3", "trap")).await;
    assert_eq!(routed(&server).await, "v2", "the request that it failed was answered");
    server.wait_for_log("the deploy has failed").await;
    let last_failure = status(&server, "router").await["last_failure"].clone();
    assert_eq!((&last_failure["place"], &last_failure["event"]), (&json!("router"), &json!("request")));
    let server = server.crash_and_restart().await;
    assert_eq!(routed(&server).await, "v2");
    assert_eq!(roll_back(&server, "router").await.status, 200);
    assert_eq!(routed(&server).await, "v1");
}

#[tokio::test]
async fn operators_deploy_from_the_command_line() {
    let server = start().await;
    let (mut ana, _) = join(&server, "lobby", "ana").await;
    let path = |name: &str| server.directory.path().join(name);
    let file = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let (v2, bad) = (path("v2.wasm"), path("bad.wasm"));
    fs::write(&v2, version("v2", "good")).unwrap();
    fs::write(&bad, version("bad", "refuse-wake")).unwrap();
    let said = printed(&command(&server, &["deploy", "ROOMS", &file(&v2)]).await);
    assert!(said.starts_with("ROOMS: each room takes "), "{said}");
    assert_eq!(say(&mut ana, "one").await["version"], "v2");
    let short = component_hash(&version("v2", "good"))[..12].to_owned();
    let table = printed(&command(&server, &["deploy", "ROOMS", "--status"]).await);
    assert!(
        table.lines().any(|line| line.contains(&short) && line.contains("deploying, watched for 600 s")),
        "{table}"
    );
    let refused = failure(&command(&server, &["deploy", "ROOMS", &file(&bad)]).await);
    assert!(refused.contains("told to refuse"), "{refused}");
    printed(&command(&server, &["deploy", "ROOMS", "--rollback"]).await);
    assert_eq!(say(&mut ana, "two").await["version"], "v1");
    let canary = command(&server, &["deploy", "ROOMS", &file(&v2), "--canary", "5%", "--rooms", "x*", "--json"]).await;
    let canary: Value = serde_json::from_str(&printed(&canary)).unwrap();
    assert_eq!((&canary["canary"], &canary["changed"]), (&json!(true), &json!(true)));
    let table = printed(&command(&server, &["deploy", "--status"]).await);
    assert!(table.contains("deploying, 5.0 % of x*") && table.contains("router"), "{table}");
    for (args, part) in [
        (&["deploy", "ROOMS"][..], "name the component"),
        (&["deploy", "NOWHERE", "--status"], "there is no namespace NOWHERE"),
        (&["deploy", "ROOMS", "/nowhere.wasm"], "/nowhere.wasm cannot be read"),
        (&["deploy", "ROOMS", "builtin:nothing"], "there is no builtin:nothing"),
    ] {
        let said = failure(&command(&server, args).await);
        assert!(said.contains(part), "{said}");
    }
    let audit = admin(&server, Method::GET, "/audit", "").await.json();
    let actions = audit["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap());
    assert_eq!(actions.collect::<Vec<_>>(), ["deploy", "deploy", "roll back", "deploy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedder_can_deploy_without_a_data_directory() {
    let namespaces = BTreeMap::from([("ROOMS".into(), Namespace::of("builtin:versioned"))]);
    let config = Config { namespaces, router: "builtin:gatekeeper".into(), ..Config::default() };
    let host = Host::builder(config)
        .component("versioned", version("v1", "good"))
        .component("gatekeeper", GATEKEEPER)
        .store(Store::in_memory())
        .mount()
        .await
        .unwrap();
    let room = host.rooms().get("ROOMS", "lobby").unwrap();
    let version_now = async || {
        let answer = room.request(Request::get("/").by(User::new("1", "ana"))).await.unwrap();
        answer.json::<Value>().unwrap()["version"].as_str().unwrap().to_owned()
    };
    assert_eq!(version_now().await, "v1");
    let deployed = host.deploy("ROOMS", version("v2", "good")).await.unwrap();
    assert!(deployed.changed && !deployed.canary);
    assert_eq!(version_now().await, "v2");
    assert!(matches!(host.deploy("ROOMS", &b"x"[..]).await, Err(DeployError::Load(_))));
    let none = Selection { share: 0, rooms: None };
    let none = host.deploy_with(Deploy::new("ROOMS", version("v3", "good")).to_rooms(none)).await;
    assert!(matches!(none, Err(DeployError::Selection)));
    host.roll_back("ROOMS").await.unwrap();
    assert_eq!(version_now().await, "v1");
    assert_eq!(host.deploys().iter().map(|status| status.target.as_str()).collect::<Vec<_>>(), ["ROOMS", "router"]);
    host.shutdown().await;
}
