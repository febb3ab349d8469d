//! The data of one user over all rooms: exported, erased, and erased to the end whatever happens meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::admin::{admin, command, failure, printed};
use crate::command_line;
use crate::harness::{self, Answer, BASE, Client, Server};

const CONFIG: &str = r#"
hibernate_after = "50ms"
[namespaces.ROOMS]
component = "builtin:chat-room"
[namespaces.PRESENCE]
component = "builtin:presence-tracker"
[namespaces.KEEPERS]
component = "keeper.wasm"
[namespaces.COUNTERS]
component = "counter.wasm"
"#;

/// The rooms of most tests; each has two messages of ana and one of bo.
const ROOMS: usize = 200;

async fn server() -> Server {
    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    fs::write(directory.path().join("keeper.wasm"), dormouse_bundle::KEEPER).expect("a file");
    fs::write(directory.path().join("counter.wasm"), dormouse_bundle::COUNTER).expect("a file");
    Server::in_directory(directory, CONFIG).await
}

async fn post(server: &Server, room: &str, name: &str, content: &str) {
    let body = json!({ "content": content }).to_string();
    let answer = server.api(Method::POST, &format!("/rooms/{room}/messages"), name, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn fill(server: &Server, rooms: usize) {
    for room in 0..rooms {
        let room = format!("r{room}");
        post(server, &room, "ana", "first").await;
        post(server, &room, "bo", "second").await;
        post(server, &room, "ana", "third").await;
    }
}

/// The messages of a room, each as its author and its content.
async fn messages(server: &Server, room: &str) -> Vec<(String, String)> {
    let answer = server.api(Method::GET, &format!("/rooms/{room}/messages"), "reader", "").await.json();
    let text = |message: &Value, key: &str| message[key].as_str().expect("a text").to_owned();
    let message = |message: &Value| (text(message, "userId"), text(message, "content"));
    answer["messages"].as_array().expect("a list").iter().map(message).collect()
}

async fn assert_erased(server: &Server, rooms: usize) {
    let of = |user: &str, content: &str| (user.to_owned(), content.to_owned());
    for room in 0..rooms {
        let found = messages(server, &format!("r{room}")).await;
        assert_eq!(found, [of("", ""), of("id-bo", "second"), of("", "")], "r{room}");
    }
}

fn in_path(user: &str) -> String {
    utf8_percent_encode(user, NON_ALPHANUMERIC).to_string()
}

/// The lines of an export, checked against its last one.
fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = std::str::from_utf8(&answer.body).expect("text");
    let (before, last) = text.trim_end().rsplit_once('\n').expect("some lines");
    let last: Value = serde_json::from_str(last).expect("JSON");
    let sum = Sha256::digest(format!("{before}\n"));
    let sum = sum.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut lines = before.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>();
    assert_eq!((&last["kind"], &last["lines"]), (&json!("end"), &json!(lines.len())));
    assert_eq!(last["sha256"], sum);
    lines.push(last);
    lines
}

async fn export(server: &Server, user: &str) -> Vec<Value> {
    lines(&admin(server, Method::GET, &format!("/users/{}/export", in_path(user)), "").await)
}

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

/// Begins to erase a user. Returns the number of the erasure.
async fn begin(server: &Server, user: &str) -> String {
    let answer = admin(server, Method::POST, &format!("/users/{}/erase", in_path(user)), "").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json()["erasure"].as_str().expect("text").to_owned();
    assert_eq!(answer.header("location"), format!("/erasures/{id}"));
    id
}

/// Waits until an erasure is as wanted.
async fn wait_for(server: &Server, id: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let wanted = async {
        loop {
            last = admin(server, Method::GET, &format!("/erasures/{id}"), "").await.json();
            if is_wanted(&last) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let came = tokio::time::timeout(harness::TEST_TIMEOUT, wanted).await.is_ok();
    assert!(came, "the erasure is still {last:#}");
    last
}

async fn wait_for_end(server: &Server, id: &str) -> Value {
    wait_for(server, id, |erasure| erasure["state"] != "running").await
}

/// A client of a room that stores a text of each user, and exports and erases it as it is told.
async fn keeper(server: &Server, room: &str, name: &str) -> Client {
    let path = format!("{BASE}/keepers/{room}/ws?token=id-{name}:{name}");
    server.connect(&path, &[]).await.expect("it lets us in")
}

#[tokio::test]
async fn a_user_is_exported_and_erased_in_200_rooms_and_others_stay() {
    let server = server().await;
    fill(&server, ROOMS).await;
    let (mut awake, mut presence) = (server.join("r7", "cleo").await, server.join_presence("all", "ana").await);
    awake.recv_type("history").await;
    presence.recv_type("presence_list").await;
    let mut keeper = keeper(&server, "one", "ana").await;
    keeper.expect_reply("mine tea", "kept").await;
    let silent = format!("{BASE}/counters/c/ws?token=id-ana:ana");
    let _counter = server.connect(&silent, &[]).await.expect("it lets us in");

    let exported = export(&server, "id-ana").await;
    let items = of_kind(&exported, "item");
    let rooms = items.iter().map(|item| item["room"].as_str().unwrap()).collect::<BTreeSet<_>>();
    assert_eq!((items.len(), rooms.len()), (2 * ROOMS + 2, ROOMS + 2));
    assert!(items.iter().any(|item| item["room"] == "KEEPERS/one" && item["item"] == "tea"));
    assert!(items.iter().any(|item| item["room"] == "PRESENCE/all" && item["item"]["presence"]["name"] == "ana"));
    let of_chat = items.iter().filter(|item| item["room"] == "ROOMS/r7");
    let contents = of_chat.map(|item| item["item"]["message"]["content"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(contents, ["first", "third"]);
    assert_eq!(of_kind(&exported, "socket").len(), 3);
    let undeclared = of_kind(&exported, "undeclared");
    assert_eq!((undeclared.len(), &undeclared[0]["namespace"]), (1, &json!("COUNTERS")));

    let id = begin(&server, "id-ana").await;
    let erasure = wait_for_end(&server, &id).await;
    assert_eq!((&erasure["state"], &erasure["failed"]), (&json!("finished"), &json!([])));
    assert_eq!(erasure["items"], 2 * ROOMS + 2);
    assert_eq!((&erasure["user"], &erasure["undeclared"][0]["namespace"]), (&Value::Null, &json!("COUNTERS")));
    assert_erased(&server, ROOMS).await;
    let deleted = [awake.recv_type("deleted").await, awake.recv_type("deleted").await];
    assert_eq!(
        deleted.each_ref().map(|frame| (&frame["seq"], &frame["by"])),
        [(&json!(1), &json!("")), (&json!(3), &json!(""))]
    );
    assert_eq!(presence.recv_type("presence_remove").await["userId"], "id-ana");
    assert_eq!(of_kind(&export(&server, "id-ana").await, "item").len(), 0);
    assert_eq!(of_kind(&export(&server, "id-bo").await, "item").len(), ROOMS);

    // The file knows that this user was erased, and not who it was.
    let file = fs::read_to_string(server.data().join("erasures.json")).unwrap();
    assert!(file.contains(&id) && !file.contains("ana"), "{file}");
    let known = admin(&server, Method::GET, "/erasures?user=id-ana", "").await.json();
    assert_eq!(known["erasures"].as_array().unwrap().len(), 1);
    let unknown = admin(&server, Method::GET, "/erasures?user=id-bo", "").await.json();
    assert_eq!(unknown["erasures"], json!([]));
}

#[tokio::test]
async fn a_room_that_slept_sleeps_again_and_its_sockets_stay_open() {
    let server = server().await;
    let mut ana = server.join("r0", "ana").await;
    ana.recv_type("history").await;
    ana.send_chat("hello").await;
    ana.recv_content().await;
    server.wait_until_all_hibernate().await;
    assert_eq!(of_kind(&export(&server, "id-ana").await, "item").len(), 1);
    server.wait_until_all_hibernate().await;
    wait_for_end(&server, &begin(&server, "id-ana").await).await;
    ana.recv_type("deleted").await;
    server.wait_until_all_hibernate().await;
    ana.send_chat("again").await;
    assert_eq!(ana.recv_content().await, "again");
}

#[tokio::test]
async fn an_erasure_goes_on_after_kill_9_and_ends_with_everything_erased() {
    let mut server = server().await;
    fill(&server, ROOMS).await;
    let mut watcher = server.join("r100", "cleo").await;
    watcher.recv_type("history").await;
    let id = begin(&server, "id-ana").await;
    // It is in the middle: rooms are visited in the order of their names.
    watcher.recv_type("deleted").await;
    server.kill();
    let server = server.crash_and_restart().await;
    assert!(server.log().contains("erasures of users go on"), "{}", server.log());
    let erasure = wait_for_end(&server, &id).await;
    assert_eq!((&erasure["state"], &erasure["rooms"]), (&json!("finished"), &json!(ROOMS)));
    assert_erased(&server, ROOMS).await;
    // A finished one is not run again.
    let server = server.crash_and_restart().await;
    assert!(!server.log().contains("erasures of users go on"), "{}", server.log());
    assert_eq!(admin(&server, Method::GET, &format!("/erasures/{id}"), "").await.json(), erasure);
}

#[tokio::test]
async fn a_room_that_fails_is_tried_again_and_reported() {
    let server = server().await;
    post(&server, "r0", "ana", "first").await;
    let (mut mended, mut broken) = (keeper(&server, "mended", "ana").await, keeper(&server, "broken", "ana").await);
    for (client, behaviour) in [(&mut mended, "trap"), (&mut broken, "fail")] {
        client.expect_reply("mine tea", "kept").await;
        client.expect_reply(&format!("behave {behaviour}"), "told").await;
    }
    let exported = export(&server, "id-ana").await;
    let failed = of_kind(&exported, "failed");
    assert_eq!(
        failed.iter().map(|line| line["room"].as_str().unwrap()).collect::<BTreeSet<_>>(),
        ["KEEPERS/broken", "KEEPERS/mended"].into()
    );
    assert_eq!((of_kind(&exported, "item").len(), &exported.last().unwrap()["failed"]), (1, &json!(2)));

    let id = begin(&server, "id-ana").await;
    let running = wait_for(&server, &id, |erasure| erasure["items"] == 1).await;
    assert_eq!(
        (&running["state"], &running["user"], &running["items"]),
        (&json!("running"), &json!("id-ana"), &json!(1))
    );
    let failed = running["failed"].as_array().unwrap().iter().map(|failed| failed["room"].as_str().unwrap());
    assert_eq!(failed.collect::<BTreeSet<_>>(), ["KEEPERS/broken", "KEEPERS/mended"].into());
    mended.expect_reply("behave well", "told").await;
    let left = wait_for(&server, &id, |erasure| erasure["failed"].as_array().is_some_and(|it| it.len() == 1)).await;
    assert_eq!((&left["failed"][0]["room"], &left["items"]), (&json!("KEEPERS/broken"), &json!(2)));
    assert!(left["failed"][0]["error"].as_str().unwrap().contains("told to fail"), "{left}");
    // It is tried again after a restart too.
    let server = server.crash_and_restart().await;
    let mut broken = keeper(&server, "broken", "bo").await;
    broken.expect_reply("behave well", "told").await;
    let ended = wait_for_end(&server, &id).await;
    assert_eq!((&ended["state"], &ended["failed"], &ended["items"]), (&json!("finished"), &json!([]), &json!(3)));
}

#[tokio::test]
async fn what_a_user_wrote_before_the_erasure_goes_while_the_user_writes_on() {
    let server = server().await;
    fill(&server, 20).await;
    let mut ana = server.join("r5", "ana").await;
    ana.recv_type("history").await;
    let answer = admin(&server, Method::POST, "/users/id-ana/erase", "").await.json();
    assert_eq!(answer["sockets"], 1, "the operator is told that the user can write on");
    let id = answer["erasure"].as_str().unwrap().to_owned();
    for number in 0..50 {
        ana.send_chat(&format!("m{number}")).await;
    }
    let erasure = wait_for_end(&server, &id).await;
    assert_eq!(erasure["state"], "finished");
    ana.send_chat("last").await;
    while ana.recv_content().await != "last" {}
    let found = messages(&server, "r5").await;
    assert_eq!(found.len(), 3 + 51, "the numbering has no gap");
    let erased = found.iter().take_while(|(user, _)| user.is_empty() || user == "id-bo").count();
    assert!(erased >= 3 && found[erased..].iter().all(|(user, _)| user == "id-ana"), "{found:?}");
    assert_eq!(found[1], ("id-bo".into(), "second".into()));
    // Once more, without the user.
    admin(&server, Method::POST, "/revocations", r#"{"user":"id-ana"}"#).await;
    ana.recv_close().await;
    wait_for_end(&server, &begin(&server, "id-ana").await).await;
    assert!(messages(&server, "r5").await.iter().all(|(user, _)| user != "id-ana"));
}

#[tokio::test]
async fn an_erasure_is_cancelled_and_forgets_its_user() {
    let server = server().await;
    let mut client = keeper(&server, "one", "ana").await;
    client.expect_reply("behave fail", "told").await;
    let id = begin(&server, "id-ana").await;
    assert_eq!(begin(&server, "id-ana").await, id, "it is the same as long as it runs");
    wait_for(&server, &id, |erasure| !erasure["failed"].as_array().unwrap().is_empty()).await;
    let cancelled = admin(&server, Method::DELETE, &format!("/erasures/{id}"), "").await.json();
    assert_eq!((&cancelled["state"], &cancelled["user"]), (&json!("cancelled"), &Value::Null));
    let server = server.crash_and_restart().await;
    assert_eq!(wait_for_end(&server, &id).await, cancelled);
    assert!(!fs::read_to_string(server.data().join("erasures.json")).unwrap().contains("id-ana"));
}

#[tokio::test]
async fn a_cancelled_erasure_stops_and_counts_what_it_erased() {
    let server = server().await;
    fill(&server, 200).await;
    let all = of_kind(&export(&server, "id-ana").await, "item").len() as u64;
    let id = begin(&server, "id-ana").await;
    server.wait_for_log("a user is being erased").await;
    let cancelled = admin(&server, Method::DELETE, &format!("/erasures/{id}"), "").await.json();
    assert_eq!(cancelled["state"], "cancelled");
    // The rooms that it was in are finished and counted.
    server.wait_for_log("the erasure of a user was cancelled").await;
    let erased = admin(&server, Method::GET, &format!("/erasures/{id}"), "").await.json()["items"].as_u64().unwrap();
    let left = of_kind(&export(&server, "id-ana").await, "item").len() as u64;
    assert_eq!(erased + left, all);
    assert!(left > 0, "it went on to the end");
}

#[tokio::test]
async fn what_the_host_keeps_about_a_user_is_exported_and_its_use_is_erased() {
    let server = server().await;
    fill(&server, 3).await;
    admin(&server, Method::POST, "/revocations", r#"{"user":"id-eve"}"#).await;
    admin(&server, Method::POST, "/revocations", r#"{"user":"id-ana","room":"rooms/r1"}"#).await;
    server.wait_until_all_hibernate().await;
    let exported = export(&server, "id-ana").await;
    let usage = of_kind(&exported, "usage");
    assert_eq!(
        (usage.len(), &usage[0]["usage"]["user"], &usage[0]["usage"]["events"]),
        (1, &json!("id-ana"), &json!(6))
    );
    assert_eq!(of_kind(&exported, "revocation").len(), 1);
    let audit = of_kind(&exported, "audit").iter().map(|line| line["entry"]["action"].clone()).collect::<Vec<_>>();
    assert_eq!(audit, ["revoke", "export a user"]);

    let of_namespace = async || {
        let answer = admin(&server, Method::GET, "/usage?by=namespace", "").await.json();
        let row = &answer["rows"][0];
        assert_eq!((&row["namespace"], answer["rows"].as_array().unwrap().len()), (&json!("ROOMS"), 1));
        ["events", "turns", "cpuSeconds", "calls"].map(|amount| row[amount].clone())
    };
    let before = of_namespace().await;
    assert_eq!((&before[0], &before[1]), (&json!(9), &json!(9)), "an export is no event");
    wait_for_end(&server, &begin(&server, "id-ana").await).await;
    let by_user = admin(&server, Method::GET, "/usage?by=user", "").await.json();
    let rows = by_user["rows"].as_array().unwrap().iter().map(|row| (row["user"].as_str().unwrap(), &row["events"]));
    assert_eq!(rows.collect::<Vec<_>>(), [("", &json!(6)), ("id-bo", &json!(3))]);
    // The rooms report as they fall asleep.
    server.wait_until_all_hibernate().await;
    assert_eq!(of_namespace().await, before, "the sums stay, and an erasure is no event");
    let exported = export(&server, "id-ana").await;
    assert_eq!((of_kind(&exported, "usage").len(), of_kind(&exported, "revocation").len()), (0, 1));
    let audit = admin(&server, Method::GET, "/audit", "").await.json();
    let erased = audit["entries"].as_array().unwrap().iter().find(|entry| entry["action"] == "erase a user").unwrap();
    assert!(!erased.to_string().contains("id-ana"), "{erased}");
}

/// The most memory that the process has had up to now, in bytes.
fn most_memory(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    most.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

#[tokio::test]
async fn a_full_audit_log_takes_an_export_little_memory() {
    let server = server().await;
    let time = "2026-11-29T00:00:00.000Z";
    let mut number = 0_u64;
    for file in ["audit.log.1", "audit.log"] {
        let mut log = String::new();
        while log.len() < 16 << 20 {
            number += 1;
            let id = format!("{number:016x}");
            let action = json!({
                "id": id, "time": time, "from": "127.0.0.1", "operator": "Robin", "session": null,
                "action": "disconnect", "target": "user id-ana", "detail": null,
            });
            let outcome = json!({ "of": id, "time": time, "outcome": "done" });
            log += &format!("{action}\n{outcome}\n");
        }
        fs::write(server.data().join(file), log).expect("a file");
    }
    let before = most_memory(&server);
    let exported = export(&server, "id-ana").await;
    let audit = of_kind(&exported, "audit");
    // The export itself has replaced the older file, since the newer one is full.
    assert!(audit.len() as u64 > number / 2 && audit[0]["entry"]["outcome"] == "done", "{} of {number}", audit.len());
    let more = most_memory(&server).saturating_sub(before);
    assert!(more < 32 << 20, "the export took {more} B");
}

#[tokio::test]
async fn without_its_place_on_disk_no_erasure_begins() {
    let server = server().await;
    fill(&server, 1).await;
    // A directory is where the list of erasures is written before it replaces the older one.
    let unfinished = server.data().join("erasures.json.unfinished");
    fs::create_dir(&unfinished).expect("a directory");
    let refused = admin(&server, Method::POST, "/users/id-ana/erase", "").await;
    refused.is_problem(500);
    assert!(refused.json()["detail"].as_str().unwrap().starts_with("nothing was done"), "{refused:?}");
    assert_eq!(admin(&server, Method::GET, "/erasures", "").await.json(), json!({ "erasures": [] }));
    assert_eq!(of_kind(&export(&server, "id-ana").await, "item").len(), 2);
    fs::remove_dir(&unfinished).expect("it is empty");
    assert_eq!(wait_for_end(&server, &begin(&server, "id-ana").await).await["state"], "finished");
    assert_erased(&server, 1).await;
}

#[tokio::test]
async fn hostile_ids_of_users_are_only_ids() {
    let server = server().await;
    post(&server, "r0", "ana", "hello").await;
    for user in [
        "../../etc/passwd",
        "a/b",
        "\" OR 1",
        "id-an",
        "id-ana ",
        "%2e%2e",
        "é\u{202e}",
        "{\"kind\":\"end\"}",
        &"x".repeat(256),
    ] {
        let exported = export(&server, user).await;
        assert_eq!((&exported[0]["user"], of_kind(&exported, "item").len()), (&json!(user), 0), "{user}");
        let erasure = wait_for_end(&server, &begin(&server, user).await).await;
        assert_eq!((&erasure["state"], &erasure["items"]), (&json!("finished"), &json!(0)), "{user}");
    }
    for user in ["", &"x".repeat(257)] {
        admin(&server, Method::GET, &format!("/users/{user}/export"), "").await.is_problem(400);
        admin(&server, Method::POST, &format!("/users/{user}/erase"), "").await.is_problem(400);
    }
    for id in ["nothing", "..", "%2e%2e%2ferasures.json"] {
        admin(&server, Method::GET, &format!("/erasures/{id}"), "").await.is_problem(404);
    }
    assert_eq!(messages(&server, "r0").await, [("id-ana".into(), "hello".into())]);
}

#[tokio::test]
async fn only_the_admin_token_exports_or_erases() {
    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    let token = "0123456789abcdef0123456789abcdef";
    fs::write(directory.path().join("token"), token).unwrap();
    let server = Server::in_directory(directory, "[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"token\"\n").await;
    post(&server, "r0", "ana", "hello").await;
    for (method, path) in [
        (Method::GET, "/users/id-ana/export"),
        (Method::POST, "/users/id-ana/erase"),
        (Method::GET, "/erasures"),
        (Method::DELETE, "/erasures/0"),
    ] {
        for shown in ["", "Bearer wrong", "Bearer id-ana:ana"] {
            let headers = [("authorization", shown)];
            let answer = harness::request(server.admin_address(), method.clone(), path, &headers, "").await;
            answer.is_problem(401);
        }
        // The public listener has no such path.
        let answer = server.api(method, path, "ana", "").await;
        assert_eq!(answer.status, 404, "{answer:?}");
    }
    let headers = [("authorization", format!("Bearer {token}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = harness::request(server.admin_address(), Method::GET, "/erasures", &headers, "").await;
    assert_eq!(answer.json(), json!({ "erasures": [] }));
    assert_eq!(messages(&server, "r0").await.len(), 1);
}

#[tokio::test]
async fn the_commands_export_count_erase_and_list() {
    let server = server().await;
    fill(&server, 3).await;
    let exported = printed(&command(&server, &["users", "export", "id-ana"]).await);
    assert_eq!(exported.lines().filter(|line| line.starts_with(r#"{"kind":"item""#)).count(), 6);
    assert!(exported.lines().last().unwrap().starts_with(r#"{"kind":"end","#), "{exported}");
    let refused = failure(&command(&server, &["users", "erase", "id-ana"]).await);
    assert!(refused.contains("--yes"), "{refused}");
    let counted = printed(&command(&server, &["users", "erase", "id-ana", "--dry-run"]).await);
    assert_eq!(counted, "3 rooms asked, 6 items found in 3 of them; nothing was erased\n");
    assert_eq!(messages(&server, "r0").await.len(), 3);
    let json = printed(&command(&server, &["users", "erase", "id-ana", "--yes", "--json"]).await);
    let erasure: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&erasure["state"], &erasure["items"]), (&json!("finished"), &json!(6)));
    assert_erased(&server, 3).await;
    let id = erasure["erasure"].as_str().unwrap();
    let table = printed(&command(&server, &["users", "erasures", "--user", "id-ana"]).await);
    assert!(table.lines().nth(1).is_some_and(|line| line.starts_with(id) && line.contains("finished")), "{table}");
    let shown = printed(&command(&server, &["users", "erasures", id]).await);
    assert!(shown.starts_with(&format!("erasure {id}: finished; 3 rooms asked, 6 items erased\n")), "{shown}");
    assert!(shown.contains("not asked: COUNTERS: "), "{shown}");

    let mut broken = keeper(&server, "one", "bo").await;
    broken.expect_reply("behave fail", "told").await;
    let incomplete = failure(&command(&server, &["users", "export", "id-bo"]).await);
    assert!(
        incomplete.contains("failed: KEEPERS/one") && incomplete.contains("1 room could not be exported"),
        "{incomplete}"
    );
}

/// Makes a backup of a server, erases ana there, and restores the backup in another directory with the newer list of
/// erasures. Returns what the restore said, and the server on the restored data.
async fn restored_after_an_erasure(config: &str) -> (String, String, Server) {
    let server = Server::with(config).await;
    fill(&server, 3).await;
    let backup = server.directory.path().join("backup");
    let text = |path: &std::path::Path| path.to_str().expect("a plain path").to_owned();
    printed(&command(&server, &["backup", &text(&backup)]).await);
    let id = begin(&server, "id-ana").await;
    wait_for_end(&server, &id).await;
    assert_erased(&server, 3).await;
    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    let (data, list) = (directory.path().join("data"), server.data().join("erasures.json"));
    let run = [text(&backup), text(&data), text(&list)];
    let [backup, data, list] = run.each_ref().map(String::as_str);
    let said = printed(&command_line::run(&["restore", backup, "--data", data, "--erasures", list]));
    (id, said, Server::in_directory(directory, config).await)
}

#[tokio::test]
async fn a_restored_server_says_who_must_be_erased_again() {
    if crate::HAS_DATABASE {
        return; // backups are its own
    }
    let (id, said, server) = restored_after_an_erasure("").await;
    assert!(said.contains("erasures that need the id of their user again: 1;"), "{said}");
    server.wait_for_log("erasures must be repeated whose users are not known").await;
    let repeat = admin(&server, Method::GET, &format!("/erasures/{id}"), "").await.json();
    assert_eq!((&repeat["state"], &repeat["user"]), (&json!("repeat"), &Value::Null));
    assert_eq!(messages(&server, "r0").await[0].1, "first", "the backup has it");
    // Another user does not settle it, and a restart neither.
    wait_for_end(&server, &begin(&server, "id-cleo").await).await;
    let server = server.crash_and_restart().await;
    assert_eq!(admin(&server, Method::GET, "/erasures?user=id-ana", "").await.json()["erasures"][0], repeat);
    wait_for_end(&server, &begin(&server, "id-ana").await).await;
    assert_erased(&server, 3).await;
    let settled = admin(&server, Method::GET, &format!("/erasures/{id}"), "").await.json();
    assert_eq!(settled["state"], "finished");
}

#[tokio::test]
async fn a_restored_server_erases_users_again_whose_ids_are_kept() {
    if crate::HAS_DATABASE {
        return; // backups are its own
    }
    let (id, said, server) = restored_after_an_erasure("keep_erased_ids = \"30d\"\n").await;
    assert!(said.contains("erasures that the server repeats when it starts: 1"), "{said}");
    let erasure = wait_for_end(&server, &id).await;
    assert_eq!(
        (&erasure["state"], &erasure["user"], &erasure["items"]),
        (&json!("finished"), &json!("id-ana"), &json!(6))
    );
    assert_erased(&server, 3).await;
}
