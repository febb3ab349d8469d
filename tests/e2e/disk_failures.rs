//! A failing disk: rooms that needed it break with an error, and no client received anything untrue.
//!
//! These run the host in this process, on a disk that fails on request.

use std::ops::Bound;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use dormouse::config::{Config, Namespace};
use dormouse::store::{DiskError, MemoryEngine, Record, StorageEngine, StorageReader, Store, StoreOptions};
use dormouse::{Host, model};
use futures_util::future::{Either, select};
use serde_json::json;

use crate::harness::{self, BASE};
use crate::outbound::{RemoteServer, response};

/// Fails at its nth sync, and forever after. What was written since the last good sync is lost with it.
struct DyingDisk {
    durable: MemoryEngine,
    visible: MemoryEngine,
    unsynced: Mutex<Vec<Record>>,
    syncs_left: AtomicI64,
}

impl DyingDisk {
    fn new(syncs: i64) -> Arc<Self> {
        Arc::new(DyingDisk {
            durable: MemoryEngine::default(),
            visible: MemoryEngine::default(),
            unsynced: Default::default(),
            syncs_left: AtomicI64::new(syncs),
        })
    }

    /// The disk after a power loss.
    fn after_power_loss(&self) -> Arc<MemoryEngine> {
        let found = MemoryEngine::default();
        let mut records = Vec::new();
        self.durable
            .scan((Bound::Unbounded, Bound::Unbounded), false, &mut |key, value| {
                records.push((key, Some(value)));
                true
            })
            .unwrap();
        found.write(records).unwrap();
        Arc::new(found)
    }
}

impl StorageEngine for DyingDisk {
    fn write(&self, batch: Vec<Record>) -> Result<(), DiskError> {
        self.unsynced.lock().unwrap().extend(batch.iter().cloned());
        self.visible.write(batch)
    }

    fn sync(&self) -> Result<(), DiskError> {
        if self.syncs_left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(DiskError("input/output error".into()));
        }
        self.durable.write(std::mem::take(&mut *self.unsynced.lock().unwrap()))
    }
}

impl StorageReader for DyingDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        self.visible.get(key)
    }

    fn scan(
        &self,
        range: (Bound<Bytes>, Bound<Bytes>),
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), DiskError> {
        self.visible.scan(range, reverse, visit)
    }
}

/// Each sync waits until it may be done.
#[derive(Default)]
struct PausedDisk {
    disk: MemoryEngine,
    /// How many may be done, and how many wait.
    syncs: Mutex<(usize, usize)>,
    changed: Condvar,
}

impl PausedDisk {
    /// Let so many syncs be done.
    fn release(&self, syncs: usize) {
        self.syncs.lock().unwrap().0 += syncs;
        self.changed.notify_all();
    }

    /// Wait until a sync waits.
    async fn wait_until_blocked(self: &Arc<Self>) {
        let disk = self.clone();
        let waiting = move || {
            let mut syncs = disk.syncs.lock().unwrap();
            while syncs.0 > 0 || syncs.1 == 0 {
                syncs = disk.changed.wait_timeout(syncs, harness::TEST_TIMEOUT).unwrap().0;
            }
        };
        tokio::task::spawn_blocking(waiting).await.unwrap();
    }
}

impl StorageEngine for PausedDisk {
    fn write(&self, batch: Vec<Record>) -> Result<(), DiskError> {
        self.disk.write(batch)
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut syncs = self.syncs.lock().unwrap();
        syncs.1 += 1;
        self.changed.notify_all();
        while syncs.0 == 0 {
            syncs = self.changed.wait(syncs).unwrap();
        }
        *syncs = (syncs.0 - 1, syncs.1 - 1);
        Ok(())
    }
}

impl StorageReader for PausedDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        self.disk.get(key)
    }

    fn scan(
        &self,
        range: (Bound<Bytes>, Bound<Bytes>),
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), DiskError> {
        self.disk.scan(range, reverse, visit)
    }
}

/// Lets go of everything when the test is over, even if it failed: the host's thread must come to its end.
struct ReleaseOnDrop(Arc<PausedDisk>);

impl Drop for ReleaseOnDrop {
    fn drop(&mut self) {
        self.0.release(1_000);
    }
}

async fn host(disk: Arc<dyn StorageEngine>) -> Host {
    start(disk, Config::default()).await
}

async fn start(disk: Arc<dyn StorageEngine>, mut config: Config) -> Host {
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.limits.awake_rooms = 100;
    let store = Store::on_engine(disk, StoreOptions::default()).unwrap();
    Host::builder(config).component("caller", dormouse_bundle::CALLER).store(store).start().await.unwrap()
}

/// A host with rooms that call each other, and a server, on command (`tests/guests/caller`).
async fn caller_host(disk: Arc<dyn StorageEngine>, origin: &str) -> Host {
    let callers = Namespace {
        calls: ["ROOMS".to_owned()].into(),
        outbound_private: vec![origin.parse().unwrap()],
        ..Namespace::of("builtin:caller")
    };
    start(disk, Config { namespaces: [("ROOMS".to_owned(), callers)].into(), ..Config::default() }).await
}

/// Runs a command in a room; `None` if there is no answer.
async fn run_command(host: &Host, name: &str, command: serde_json::Value) -> Option<serde_json::Value> {
    let room = host.rooms().get("ROOMS", name).unwrap();
    let answer = harness::within(room.request(model::Request::post_json("/", &command))).await.ok()?;
    answer.json().ok()
}

async fn join(host: &Host, room: &str) -> harness::Client {
    let path = format!("{BASE}/rooms/{room}/ws?token=1:ana");
    harness::connect(host.address().unwrap(), &path, &[]).await.expect("it lets us in")
}

#[tokio::test(flavor = "multi_thread")]
async fn received_messages_survive_a_disk_that_dies_at_any_sync() {
    // The first sync is the start's own.
    for syncs in 1..12 {
        let disk = DyingDisk::new(syncs);
        let first = host(disk.clone()).await;
        let mut ana = join(&first, "lobby").await;
        ana.recv_type("history").await;
        let mut seen = Vec::new();
        let code = loop {
            assert!(seen.len() < 20, "the disk never failed");
            ana.send_chat(&format!("message {}", seen.len())).await;
            match ana.recv_or_close().await {
                Ok(received) => seen.push(received["message"].clone()),
                Err((code, _)) => break code,
            }
        };
        assert_eq!(code, 1011);
        assert_eq!(seen.len() as i64, syncs - 1, "each message had a sync of its own");
        assert!(first.rooms().health().is_err() && first.ready().is_err());
        assert!(first.liveness().check().await.is_err(), "a watchdog restarts it");
        // No client sees data that were written and never synced.
        let path = format!("{BASE}/rooms/lobby/ws?token=1:ana");
        harness::connect(first.address().unwrap(), &path, &[]).await.err().expect("it is refused").is_problem(503);
        first.shutdown().await;

        let second = host(disk.after_power_loss()).await;
        let history = join(&second, "lobby").await.recv_type("history").await;
        assert_eq!(history["messages"].as_array().unwrap(), &seen);
        second.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_of_each_turn_wait_for_its_own_commit() {
    const PING: &str = r#"{"type":"ping"}"#;
    let disk = Arc::new(PausedDisk::default());
    disk.release(1);
    let host = host(disk.clone()).await;
    let at_last = ReleaseOnDrop(disk.clone());
    let mut ana = join(&host, "lobby").await;
    ana.recv_type("history").await;

    ana.send_chat("one").await;
    disk.wait_until_blocked().await;
    // Both run while the disk works on the first; the answer to the ping overtakes all, and says that they were read.
    ana.send_chat("two").await;
    ana.send_chat("three").await;
    ana.send(PING).await;
    assert_eq!(ana.recv().await["type"], "pong");

    disk.release(1);
    assert_eq!(ana.recv_content().await, "one");
    // The next sync has begun: everything that the last one made durable has been sent.
    disk.wait_until_blocked().await;
    ana.send(PING).await;
    assert_eq!(ana.recv().await["type"], "pong", "nothing else was sent before it is durable");

    drop(at_last);
    assert_eq!(ana.recv_content().await, "two");
    assert_eq!(ana.recv_content().await, "three");
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liveness_check_waits_for_a_stuck_disk() {
    const PING: &str = r#"{"type":"ping"}"#;
    let disk = Arc::new(PausedDisk::default());
    disk.release(1);
    let host = host(disk.clone()).await;
    let at_last = ReleaseOnDrop(disk.clone());
    let liveness = host.liveness();
    harness::within(liveness.check()).await.unwrap();
    let mut ana = join(&host, "lobby").await;
    ana.recv_type("history").await;
    ana.send_chat("one").await;
    disk.wait_until_blocked().await;
    let mut check = pin!(liveness.check());
    for _ in 0..20 {
        ana.send(PING).await;
        match select(check.as_mut(), pin!(ana.recv())).await {
            Either::Left(_) => panic!("the commit thread hangs, and the check has ended"),
            Either::Right((pong, _)) => assert_eq!(pong["type"], "pong", "everything else goes on"),
        }
    }
    drop(at_last);
    harness::within(check).await.unwrap();
    assert_eq!(ana.recv_content().await, "one");
    host.shutdown().await;
    assert!(liveness.check().await.is_err(), "the store is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_disk_holds_only_outputs_that_depend_on_it() {
    const PING: &str = r#"{"type":"ping"}"#;
    let disk = Arc::new(PausedDisk::default());
    disk.release(1);
    let host = host(disk.clone()).await;
    let at_last = ReleaseOnDrop(disk.clone());
    let address = host.address().unwrap();
    let (mut ana, mut bo) = (join(&host, "lobby").await, join(&host, "garden").await);
    for client in [&mut ana, &mut bo] {
        client.recv_type("history").await;
    }
    ana.send_chat("one").await;
    disk.wait_until_blocked().await;
    bo.send_chat("two").await;
    // Others come, ask and are answered; rooms that have written say nothing.
    let mut cy = join(&host, "elsewhere").await;
    assert_eq!(cy.recv().await["type"], "history");
    let path = format!("{BASE}/rooms/nowhere/messages?token=1:ana");
    assert_eq!(harness::request(address, hyper::Method::GET, &path, &[], "").await.status, 200);
    assert_eq!(harness::request(address, hyper::Method::GET, "/healthz", &[], "").await.status, 200);
    for client in [&mut ana, &mut bo, &mut cy] {
        client.send(PING).await;
        assert_eq!(client.recv().await["type"], "pong");
    }
    drop(at_last);
    assert_eq!(ana.recv_content().await, "one");
    assert_eq!(bo.recv_content().await, "two");
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_stays_while_the_result_of_its_post_is_committed() {
    /// For what must not happen to happen.
    const GRACE_PERIOD: Duration = Duration::from_millis(50);
    let disk = Arc::new(PausedDisk::default());
    disk.release(1);
    let host = caller_host(disk.clone(), "http://localhost").await;
    let at_last = ReleaseOnDrop(disk.clone());
    let poster = host.rooms().get("ROOMS", "poster").unwrap();
    let post = json!({ "do": "post", "namespace": "ROOMS", "name": "sum", "command": { "do": "count" } });
    let posting = run_command(&host, "poster", post);
    let syncs = async {
        // The post itself, and that it was taken.
        for _ in 0..2 {
            disk.wait_until_blocked().await;
            disk.release(1);
        }
        disk.wait_until_blocked().await;
    };
    let (posted, ()) = tokio::join!(posting, syncs);
    assert_eq!(posted.unwrap()["posted"], true);
    // That it is done with is on its way. The room has nothing to do, and is asked to go.
    poster.hibernate();
    tokio::time::sleep(GRACE_PERIOD).await;
    let answer = {
        let asked = pin!(run_command(&host, "poster", json!({ "do": "waiting" })));
        let asked = match select(asked, pin!(tokio::time::sleep(GRACE_PERIOD))).await {
            Either::Left((answer, _)) => panic!("it answers before what it has seen is durable: {answer:?}"),
            Either::Right(((), asked)) => asked,
        };
        drop(at_last);
        asked.await
    };
    assert_eq!(answer.expect("it is there")["waiting"], 0);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_commit_fails_gets_an_error() {
    let first = host(DyingDisk::new(1)).await;
    let address = model::Address::new("ROOMS", "lobby").unwrap();
    let request = model::Request {
        method: "POST".into(),
        path: "/messages".into(),
        body: br#"{"content":"lost"}"#.to_vec(),
        user: Some(model::User { id: "1".into(), name: "ana".into() }),
        ..model::Request::default()
    };
    let answer = first.rooms().request(&address, request).await;
    assert_eq!(answer, Err(dormouse::room::RequestError::Broken));
    first.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_leaves_a_room_before_its_writes_are_durable() {
    let remote = RemoteServer::start(|_| response(200, "received")).await;
    let disk = Arc::new(PausedDisk::default());
    disk.release(1);
    let host = Arc::new(caller_host(disk.clone(), &remote.origin).await);
    let at_last = ReleaseOnDrop(disk.clone());
    let spawn_command = |name: &'static str, command: serde_json::Value| {
        let host = host.clone();
        tokio::spawn(async move { run_command(&host, name, command).await })
    };
    let fetch = |path: &str| json!({ "do": "fetch", "origin": remote.origin, "path": path });
    let written = spawn_command("writer", json!({ "do": "count" }));
    disk.wait_until_blocked().await;
    let fetched = spawn_command("writer", fetch("/after-a-write"));
    let called = spawn_command(
        "writer",
        json!({ "do": "call", "namespace": "ROOMS", "name": "called", "command": { "do": "get-count" } }),
    );
    let post = json!({ "do": "post-out", "origin": remote.origin, "path": "/posted", "body": "" });
    let posted = spawn_command("poster", post);
    // One that wrote nothing may ask at once; when it was received, the others have had their time.
    for nth in 1..=20 {
        spawn_command("reader", fetch("/at-once")).await.unwrap();
        assert!(remote.requests().iter().all(|seen| seen.path == "/at-once"), "the {nth}th time");
    }
    drop(at_last);
    assert_eq!(written.await.unwrap().unwrap()["count"], 1);
    assert_eq!(fetched.await.unwrap().unwrap()["body"], "received");
    assert_eq!(called.await.unwrap().unwrap()["status"], 200);
    assert_eq!(posted.await.unwrap().unwrap()["posted"], true);
    let seen = remote.wait_for_requests(22).await;
    for path in ["/after-a-write", "/posted"] {
        assert!(seen[20..].iter().any(|seen| seen.path == path), "{path} came in the end");
    }
    Arc::into_inner(host).expect("everybody is done").shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_arrive_exactly_once_if_the_disk_dies_at_any_sync() {
    // The first sync is the start's own.
    for syncs in 1..12 {
        let disk = DyingDisk::new(syncs);
        let first = caller_host(disk.clone(), "http://localhost").await;
        let post =
            json!({ "do": "post", "namespace": "ROOMS", "name": "sum", "command": { "do": "count" }, "times": 2 });
        let mut acknowledged = 0;
        while run_command(&first, "poster", post.clone()).await.is_some_and(|answer| answer["posted"] == true) {
            acknowledged += 2;
            assert!(acknowledged < 100, "the disk never failed");
        }
        first.shutdown().await;

        let second = caller_host(disk.after_power_loss(), "http://localhost").await;
        let waiting = json!({ "do": "waiting" });
        harness::within(async {
            while run_command(&second, "poster", waiting.clone()).await.unwrap()["waiting"] != 0 {}
        })
        .await;
        let arrived =
            run_command(&second, "sum", json!({ "do": "get-count" })).await.unwrap()["count"].as_i64().unwrap();
        // The last ones may have been durable when their answer was lost.
        assert!(
            (acknowledged..=acknowledged + 2).contains(&arrived),
            "{arrived} of {acknowledged} after {syncs} syncs"
        );
        assert_eq!(arrived % 2, 0, "and they went together");
        second.shutdown().await;
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_with_errors_and_reads_go_on() {
    let server = harness::Server::unruly(&harness::more_than_is_free()).await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.send("put a 1; say done").await;
    assert_eq!(ana.recv().await["code"], "storage_full");
    ana.expect_reply("say still here", "still here").await;
    server.wait_for_log("the data disk is nearly full").await;
    server.get("/healthz").await.is_problem(503);
}

#[tokio::test]
async fn senders_by_socket_and_by_post_learn_of_a_full_disk() {
    let server = harness::Server::with(&harness::more_than_is_free()).await;
    let mut ana = server.join("lobby", "ana").await;
    ana.recv_type("history").await;
    ana.send(&json!({ "type": "message", "content": "hello", "clientId": "c1" }).to_string()).await;
    let expected = json!({
        "type": "error", "code": "storage_full", "message": "the server's disk is full; nothing was done", "clientId": "c1",
    });
    assert_eq!(ana.recv().await, expected);
    let body = r#"{"content":"hello","clientId":"c1"}"#;
    let posted = server.api(hyper::Method::POST, "/rooms/lobby/messages", "ana", body).await;
    posted.is_problem(503);
    assert!(expected["message"].as_str().unwrap().starts_with(posted.json()["detail"].as_str().unwrap()));
    assert!(posted.header("retry-after").parse::<u32>().unwrap() > 0);
}
