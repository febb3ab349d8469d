//! Backups of a whole server while it runs, and restores of them.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dormouse::guest::component_hash;
use dormouse::limits;
use dormouse::store::backup::{self, BackupError};
use hyper::Method;
use rand::{Rng, RngExt};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::admin::{admin, command, failure, printed};
use crate::command_line;
use crate::harness::{self, Server, TEST_TIMEOUT, more_than_is_free, within};
use crate::room_files::{import, room_file};
use crate::seeds::{random_choices, seed};
use crate::workload::{Process, Workload};

const CONFIG: &str = r#"
hibernate_after = "20ms"
[namespaces.ROOMS]
component = "builtin:chat-room"
[namespaces.PRESENCE]
component = "caller.wasm"
calls = ["PRESENCE"]
"#;

/// More than the buffers of two sockets hold, so that a backup cannot end while its receiver does not read.
const MUCH: usize = 20 << 20;

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn with_caller(directory: &TempDir) {
    fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).expect("a file");
}

fn restore(backup: &Path, data: &Path) -> Output {
    command_line::run(&["restore", text(backup), "--data", text(data)])
}

/// A server with a room of [`MUCH`] bytes.
async fn full_server() -> Server {
    let server = Server::start().await;
    let entries = (0..MUCH >> 20).map(|nth| (format!("k{nth:03}"), "x".repeat(1 << 20)));
    let imported = import(&server, "ROOMS/bulk", &room_file(&entries.collect::<Vec<_>>())).await;
    printed(&imported);
    server
}

/// Between a command and the admin listener. It passes the first part of an answer, and then nothing until it is told
/// to.
struct Held {
    address: SocketAddr,
    reached: watch::Receiver<bool>,
    released: watch::Sender<bool>,
}

impl Held {
    async fn before(server: &Server, pass: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, to) = (listener.local_addr().unwrap(), server.admin_address());
        let (reach, reached) = watch::channel(false);
        let (released, wait) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = TcpStream::connect(to).await.unwrap().into_split();
                let (reach, mut wait) = (reach.clone(), wait.clone());
                let up = async move {
                    let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                };
                let down = async move {
                    let (mut passed, mut buffer) = (0, vec![0; 64 << 10]);
                    while let Ok(some @ 1..) = from_server.read(&mut buffer).await {
                        passed += some;
                        if to_client.write_all(&buffer[..some]).await.is_err() {
                            return;
                        }
                        if passed >= pass {
                            reach.send_replace(true);
                            let _ = wait.wait_for(|released| *released).await;
                        }
                    }
                };
                tokio::spawn(async move {
                    tokio::select! {
                        () = up => {}
                        () = down => {}
                    }
                });
            }
        });
        Held { address, reached, released }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn wait_until_held(&mut self) {
        within(self.reached.wait_for(|reached| *reached)).await.unwrap();
    }

    fn release(&self) {
        self.released.send_replace(true);
    }
}

fn spawn_backup(directory: &Path, url: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    command
        .args(["backup", text(directory), "--admin", url, "--mib-per-second", "1000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("the binary starts")
}

async fn output(child: Child) -> Output {
    tokio::task::spawn_blocking(move || child.wait_with_output().expect("it ends")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_has_everything_acknowledged_before() {
    let mut rng = random_choices(seed(), 0);
    let directory = Arc::new(TempDir::new().unwrap());
    with_caller(&directory);
    let mut server = Server::in_directory(directory.clone(), CONFIG).await;
    let process = Process(server.address);
    let (mut before, mut during) = (Workload::new(3, 2, rng.next_u64()), Workload::named("x", 3, 2, rng.next_u64()));
    before.run(&process, 40).await;
    let copy = directory.path().join("backup");
    let (_, ()) = tokio::join!(during.run(&process, usize::MAX >> 1), async {
        // The load is heavy when the snapshot is taken.
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..400))).await;
        let said = printed(&command(&server, &["backup", text(&copy)]).await);
        assert!(said.starts_with("backed up "), "{said}");
        server.kill();
    });
    assert!(during.totals().0 > 0, "nothing happened during the backup");
    drop(server);

    let other = Arc::new(TempDir::new().unwrap());
    with_caller(&other);
    let said = printed(&restore(&copy, &other.path().join("data")));
    assert!(said.starts_with("restored into "), "{said}");
    let restored = Server::in_directory(other, CONFIG).await;
    let process = Process(restored.address);
    assert_eq!(before.settle_and_check(&process, TEST_TIMEOUT).await, [], "the log:\n{}", restored.log());
    during.forget_acknowledgements();
    assert_eq!(during.settle_and_check(&process, TEST_TIMEOUT).await, [], "posts and timers are whole, and once");
}

#[tokio::test]
async fn a_backup_that_stands_still_stops_no_commit() {
    let server = full_server().await;
    let mut ana = server.join("lobby", "ana").await;
    ana.send_chat("before").await;
    assert_eq!(ana.recv_content().await, "before");
    let mut held = Held::before(&server, 1 << 20).await;
    let copy = server.directory.path().join("backup");
    let child = spawn_backup(&copy, &held.url());
    held.wait_until_held().await;
    for number in 0..200 {
        let content = format!("while the backup stands still {number}");
        ana.send_chat(&content).await;
        assert_eq!(ana.recv_content().await, content);
    }
    let second = failure(&command(&server, &["backup", text(&server.directory.path().join("second"))]).await);
    assert!(second.contains("another backup is being made"), "{second}");
    assert!(!server.directory.path().join("second").exists());
    held.release();
    printed(&output(child).await);

    // What was committed after the snapshot is not in it.
    let data = server.directory.path().join("restored");
    printed(&restore(&copy, &data));
    let other = Arc::new(TempDir::new().unwrap());
    fs::rename(data, other.path().join("data")).unwrap();
    let restored = Server::in_directory(other, "").await;
    let page = restored.api(Method::GET, "/rooms/lobby/messages", "ana", "").await.json();
    let contents = page["messages"].as_array().unwrap().iter().map(|message| &message["content"]).collect::<Vec<_>>();
    assert_eq!(contents, ["before"]);
    assert_eq!(fs::metadata(copy.join(backup::FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(copy).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_server_killed_during_a_backup_leaves_no_backup() {
    let mut server = full_server().await;
    let mut held = Held::before(&server, 1 << 20).await;
    let copy = server.directory.path().join("backup");
    let child = spawn_backup(&copy, &held.url());
    held.wait_until_held().await;
    server.kill();
    held.release();
    let said = failure(&output(child).await);
    assert!(said.contains("broke off") && said.contains("nothing was kept"), "{said}");
    assert!(!copy.exists(), "the directory was made for it");
}

#[tokio::test]
async fn an_interrupted_command_leaves_nothing() {
    let server = full_server().await;
    for (signal, said) in [(Signal::INT, "interrupted"), (Signal::TERM, "terminated")] {
        let mut held = Held::before(&server, 1 << 20).await;
        let copy = server.directory.path().join("backup");
        let child = spawn_backup(&copy, &held.url());
        held.wait_until_held().await;
        kill_process(Pid::from_child(&child), signal).expect("it runs");
        let failed = failure(&output(child).await);
        assert!(failed.contains(&format!("{said}; nothing was kept")), "{failed}");
        assert!(!copy.exists(), "the directory was made for it");
        held.release();
        server.wait_for_log("a backup broke off").await;
    }
}

#[tokio::test]
async fn a_command_killed_during_a_backup_leaves_an_unfinished_file() {
    let server = full_server().await;
    let mut held = Held::before(&server, 1 << 20).await;
    let copy = server.directory.path().join("backup");
    let mut child = spawn_backup(&copy, &held.url());
    held.wait_until_held().await;
    child.kill().unwrap();
    child.wait().unwrap();
    held.release();
    let names = fs::read_dir(&copy).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names, ["dormouse.backup.unfinished"]);
    let said = failure(&restore(&copy, &server.directory.path().join("restored")));
    assert!(said.contains("has no finished backup"), "{said}");
    // The server notices that the receiver has gone, and makes the next one.
    server.wait_for_log("a backup broke off").await;
    let again = failure(&command(&server, &["backup", text(&copy)]).await);
    assert!(again.contains("is not empty, and nothing is overwritten"), "{again}");
    printed(&command(&server, &["backup", text(&server.directory.path().join("next"))]).await);
}

#[tokio::test]
async fn a_backup_that_was_changed_or_cut_is_refused() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    for number in 0..20 {
        ana.send_chat(&format!("message {number}")).await;
        ana.recv_content().await;
    }
    let copy = server.directory.path().join("backup");
    printed(&command(&server, &["backup", text(&copy)]).await);
    let (file, data) = (copy.join(backup::FILE), server.directory.path().join("restored"));
    let good = fs::read(&file).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).unwrap();
        assert!(backup::check(&copy, &mut |_, _| {}).is_err(), "{what} passes the check");
        assert!(backup::restore(&copy, &data, &mut |_, _, _| {}).is_err(), "{what} is restored");
        assert!(!data.exists(), "{what}: something was written");
    };
    let mut rng = random_choices(seed(), 0);
    for _ in 0..100 {
        let at = rng.random_range(0..good.len());
        let mut changed = good.clone();
        changed[at] ^= 1 << rng.random_range(0..8);
        refused(&changed, &format!("a changed byte {at}"));
        refused(&good[..at], &format!("a file cut at {at}"));
    }
    refused(&[&good[..], b"\0"].concat(), "a longer file");
    let said = failure(&restore(&copy, &data));
    assert!(said.contains("the backup is damaged after byte"), "{said}");

    let mut newer = good.clone();
    newer[19] = 9;
    fs::write(&file, newer).unwrap();
    let said = failure(&restore(&copy, &data));
    assert!(said.contains("has the format 9, and this version reads up to 1; use a newer Dormouse"), "{said}");

    fs::write(&file, &good).unwrap();
    let said = printed(&command_line::run(&["restore", text(&copy), "--check"]));
    assert!(said.starts_with("the backup is good: 1 room,"), "{said}");
    assert!(!data.exists());
    let said: Value =
        serde_json::from_str(&printed(&command_line::run(&["restore", text(&copy), "--check", "--json"])))
            .expect("it is JSON");
    assert_eq!((&said["done"], &said["rooms"]), (&json!("checked"), &json!(1)));
}

#[tokio::test]
async fn a_restore_overwrites_nothing() {
    let server = Server::start().await;
    let copy = server.directory.path().join("backup");
    printed(&command(&server, &["backup", text(&copy)]).await);
    let said = failure(&restore(&copy, &server.data()));
    assert!(said.contains("is not empty, and nothing is overwritten"), "{said}");
    let nowhere = server.directory.path().join("nowhere");
    let said = failure(&restore(&nowhere, &server.directory.path().join("restored")));
    assert!(said.contains("has no finished backup"), "{said}");
    // An empty directory, such as a new volume, is taken.
    let empty = server.directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    printed(&restore(&copy, &empty));
}

#[tokio::test]
async fn a_killed_restore_never_looks_like_a_store() {
    let server = full_server().await;
    let copy = server.directory.path().join("backup");
    printed(&command(&server, &["backup", text(&copy)]).await);
    let mut unfinished = 0;
    for round in 0..5 {
        let directory = Arc::new(TempDir::new().unwrap());
        let data = directory.path().join("data");
        let mut restoring = Command::new(env!("CARGO_BIN_EXE_dormouse"))
            .args(["restore", text(&copy), "--data", text(&data)])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let begun = async {
            while !data.join("restore.unfinished").exists() && restoring.try_wait().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        within(begun).await;
        tokio::time::sleep(Duration::from_millis(20 * round)).await;
        restoring.kill().unwrap();
        restoring.wait().unwrap();
        match Server::try_in_directory(directory, "").await {
            Ok(restored) => {
                let export = command(&restored, &["rooms", "export", "ROOMS/bulk"]).await;
                assert!(printed(&export).len() > MUCH, "it is whole");
            }
            Err(log) => {
                assert!(log.contains("has a restore that did not end"), "{log}");
                unfinished += 1;
            }
        }
    }
    assert!(unfinished > 0, "each restore was done before it was killed");
}

#[tokio::test]
async fn a_restored_server_keeps_revocations_and_the_audit_log() {
    let server = Server::start().await;
    let answer = admin(&server, Method::POST, "/revocations", r#"{"jti":"a"}"#).await;
    assert_eq!(answer.status, 200);
    let copy = server.directory.path().join("backup");
    printed(&command(&server, &["backup", text(&copy)]).await);
    let other = Arc::new(TempDir::new().unwrap());
    printed(&restore(&copy, &other.path().join("data")));
    let restored = Server::in_directory(other, "").await;
    let revoked = admin(&restored, Method::GET, "/revocations", "").await.json();
    assert_eq!(revoked, admin(&server, Method::GET, "/revocations", "").await.json());
    let audit = admin(&restored, Method::GET, "/audit", "").await.json();
    let actions = audit["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect::<Vec<_>>();
    assert_eq!(actions, ["revoke", "back up"]);
}

#[tokio::test]
async fn a_restored_room_has_another_incarnation() {
    let server = Server::unruly("").await;
    let incarnation = async |server: &Server| {
        let mut ana = server.join("lobby", "ana").await;
        ana.expect_text("welcome").await;
        ana.send("put k v; incarnation").await;
        ana.recv_text().await
    };
    let first = incarnation(&server).await;
    let copy = server.directory.path().join("backup");
    printed(&command(&server, &["backup", text(&copy)]).await);
    let directory = Arc::new(TempDir::new().unwrap());
    fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).unwrap();
    printed(&restore(&copy, &directory.path().join("data")));
    let restored = Server::in_directory(directory, server.config()).await;
    let second = incarnation(&restored).await;
    assert_ne!(first, second);
    let restored = restored.crash_and_restart().await;
    assert_eq!(incarnation(&restored).await, second, "and that stays");
}

#[tokio::test]
async fn a_server_whose_disk_is_full_can_be_backed_up() {
    let server = Server::with(&more_than_is_free()).await;
    printed(&command(&server, &["backup", text(&server.directory.path().join("backup"))]).await);
}

/// Runs a restore whose files may not be longer than so many blocks of 512 bytes, as on a disk that becomes full.
fn restore_within(backup: &Path, data: &Path, blocks: u32) -> Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_dormouse"), "restore", text(backup), "--data", text(data)]);
    command.output().expect("a shell starts")
}

#[tokio::test]
async fn a_restore_that_finds_no_space_says_what_to_do() {
    let server = full_server().await;
    let copy = server.directory.path().join("backup");
    printed(&command(&server, &["backup", text(&copy)]).await);
    let data = server.directory.path().join("restored");
    let said = failure(&restore_within(&copy, &data, 4_096));
    assert!(said.contains(&format!("{} is unfinished", data.display())), "{said}");
    assert!(said.contains("File too large") && !said.contains("Fjall"), "{said}");
    assert!(said.contains("Remove the directory, free some space if its disk is full, and restore again"), "{said}");
    let again = failure(&restore(&copy, &data));
    assert!(again.contains("is not empty"), "{again}");
    fs::remove_dir_all(&data).unwrap();
    printed(&restore(&copy, &data));
}

#[tokio::test]
async fn a_backup_during_deploys_has_the_versions_that_its_journal_names() {
    let directory = Arc::new(TempDir::new().unwrap());
    fs::write(directory.path().join("room.wasm"), large_version(0)).unwrap();
    let config = "[namespaces.ROOMS]\ncomponent = \"room.wasm\"\n";
    let server = Server::in_directory(directory, config).await;
    let deploy = async |number| {
        let answer =
            harness::request(server.admin_address(), Method::POST, "/deploys/ROOMS", &[], large_version(number)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let kept = limits::DEPLOYED_VERSIONS as u32;
    for number in 1..=kept {
        deploy(number).await;
    }
    let mut held = Held::before(&server, 1 << 20).await;
    let copy = server.directory.path().join("backup");
    let child = spawn_backup(&copy, &held.url());
    // It stands still in the middle of the first component. Each deploy removes the oldest version.
    held.wait_until_held().await;
    deploy(kept + 1).await;
    deploy(kept + 2).await;
    held.release();
    printed(&output(child).await);
    let other = Arc::new(TempDir::new().unwrap());
    printed(&restore(&copy, &other.path().join("data")));
    fs::copy(server.directory.path().join("room.wasm"), other.path().join("room.wasm")).unwrap();
    let restored = Server::in_directory(other, config).await;
    assert_eq!(restored.api(Method::GET, "/rooms/lobby/messages", "ana", "").await.status, 200);
}

/// A component of 12 MiB: two of them are more than the buffers of two sockets hold. Its hash comes before the name of
/// the journal.
fn large_version(number: u32) -> Vec<u8> {
    (0_u32..)
        .map(|attempt| {
            // A custom section, which has no meaning.
            let content = format!("{number} {attempt} {}", " ".repeat(12 << 20));
            let section = [b"\x07padding".as_slice(), content.as_bytes()].concat();
            let mut length = section.len();
            let mut wasm = [dormouse_bundle::CHAT_ROOM, &[0]].concat();
            while length >= 0x80 {
                wasm.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            wasm.push(length as u8);
            [wasm, section].concat()
        })
        .find(|wasm| component_hash(wasm).as_str() < "d")
        .expect("most are")
}

#[test]
fn a_backup_needs_no_server_to_be_refused() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("other"), "x").unwrap();
    let said = failure(&command_line::run(&["backup", text(directory.path()), "--admin", "http://127.0.0.1:1"]));
    assert!(said.contains("is not empty"), "{said}");
    let new = directory.path().join("new");
    let said = failure(&command_line::run(&["backup", text(&new), "--admin", "http://127.0.0.1:1"]));
    assert!(said.contains("cannot be reached"), "{said}");
    assert!(!new.exists());
    let error = backup::check(directory.path(), &mut |_, _| {});
    assert!(matches!(error, Err(BackupError::NoBackup(_))));
}
