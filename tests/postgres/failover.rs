//! A server through failures of its database: the primary is killed, and a synchronous standby takes its place. Many
//! clients talk meanwhile, and others only listen.

use std::time::Duration;

use rand::{Rng, RngExt};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::checker;
use crate::cluster::Server as Database;
use crate::databases::use_store;
use crate::harness::{Client, Server, TEST_TIMEOUT, within};
use crate::seeds::{random_choices, rounds, seed};
use crate::serving::{CONFIG, directory};
use crate::workload::{Process, ServerUnderTest, Workload, stored};

/// The rooms, and the clients in each that send over sockets. Another one sends over HTTP.
const ROOMS: usize = 3;
const TALKERS: usize = 3;

/// The clients in each room that only listen.
const LISTENERS: usize = 4;

/// Messages of each client. A socket may send 500 at once.
const MESSAGES: usize = 300;

/// The last message of a room.
const END: &str = "this was all";

/// A primary whose commits wait for a standby, and a database on both.
struct Pair {
    primary: Database,
    standby: Database,
    url: String,
}

impl Pair {
    async fn start() -> Self {
        let pair = Self::asynchronous().await;
        pair.primary.wait_for_standby().await;
        pair
    }

    /// Commits do not wait for the standby.
    async fn asynchronous() -> Self {
        let primary = Database::start(&[]);
        let standby = primary.standby().await;
        let database = primary.empty_database().await;
        let url = database.url_or_on(&standby);
        Pair { primary, standby, url }
    }

    /// The machine of the primary is lost, and the standby becomes the primary.
    async fn fail_over(&mut self) {
        self.primary.kill();
        self.standby.promote().await;
    }
}

/// Joins all rooms with clients that only listen.
async fn join_listeners(server: &Server) -> Vec<(String, Client)> {
    let mut listeners = Vec::new();
    for room in (0..ROOMS).map(|room| format!("r{room}")) {
        for listener in 0..LISTENERS {
            listeners.push((room.clone(), server.join(&room, &format!("listener{listener}")).await));
        }
    }
    listeners
}

/// All messages that a client hears on its socket, up to the last one.
async fn listen(mut client: Client) -> Vec<Value> {
    let mut heard = Vec::new();
    loop {
        let message = client.recv_type("message").await["message"].take();
        if message["content"] == END {
            return heard;
        }
        heard.push(message);
    }
}

/// Waits until rooms can be opened.
async fn until_served(process: &Process) {
    within(async {
        while process.run_command("desk", &json!({ "do": "marks" })).await.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_notice_only_a_pause_when_the_standby_takes_over() {
    let (seed, rounds) = (seed(), rounds(1));
    for round in 0..rounds {
        let mut rng = random_choices(seed, round);
        let mut pair = Pair::start().await;
        let directory = directory();
        use_store(directory.path(), &pair.url);
        let server = Server::in_directory(directory, CONFIG).await;
        server.wait_for_count("store_synchronous_standbys", 1).await;
        let mut listening = JoinSet::new();
        for (room, client) in join_listeners(&server).await {
            listening.spawn(async move { (room, listen(client).await) });
        }
        let mut workload = Workload::new(ROOMS, TALKERS, rng.next_u64());
        let process = Process(server.address);
        let after = Duration::from_millis(rng.random_range(0..300));
        let fails_over = async {
            server.wait_for_count("commits_total", 100).await;
            tokio::time::sleep(after).await;
            pair.fail_over().await;
            server.count("commits_total").await
        };
        let ((), before) = tokio::join!(workload.run(&process, MESSAGES), fails_over);
        let commits = server.count("commits_total").await;
        assert!(commits > before + 20, "it did not go on: {before} commits at the failover, {commits} in the end");
        let mut found = workload.settle_and_check(&process, TEST_TIMEOUT).await;
        for room in 0..ROOMS {
            let mut closing = server.join(&format!("r{room}"), "closing").await;
            closing.send_chat(END).await;
        }
        // Each listener had one socket all the time.
        while let Some(heard) = listening.join_next().await {
            let (room, heard) = heard.expect("its socket stayed open");
            let stored = stored(&process, &room).await;
            assert!(heard.len() >= TALKERS * MESSAGES, "{room}: {}", heard.len());
            if heard != stored[..stored.len() - 1] {
                let numbers = heard.iter().map(checker::number).collect::<Vec<_>>();
                found.push(checker::Violation::Lost(format!("{room}: a listener has heard {numbers:?}")));
            }
        }
        assert_eq!(found, [], "in round {round} of the seed {seed}; the server's log:\n{}", server.log());
        println!("{commits} commits, {before} of them before the failover");
        let server = server.crash_and_restart().await;
        let found = workload.settle_and_check(&Process(server.address), TEST_TIMEOUT).await;
        assert_eq!(found, [], "after kill -9, in round {round} of the seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_after_patience_loses_nothing_that_was_seen() {
    let mut rng = random_choices(seed(), 0);
    let mut pair = Pair::start().await;
    let directory = directory();
    use_store(directory.path(), &pair.url);
    let config = format!("{CONFIG}\n[store]\npatience = \"1s\"\n");
    let server = Server::in_directory(directory, &config).await;
    let mut workload = Workload::new(ROOMS, TALKERS, rng.next_u64());
    let process = Process(server.address);
    let listeners = join_listeners(&server).await;
    // All clients end by themselves: the server asks them to come back.
    tokio::join!(workload.run(&process, usize::MAX >> 1), async {
        server.wait_for_count("commits_total", 100).await;
        pair.primary.kill();
    });
    for (_, mut listener) in listeners {
        assert_eq!(listener.recv_close().await.0, 1013);
    }
    server.wait_for_log("longer than `store.patience`").await;
    pair.standby.promote().await;
    until_served(&process).await;
    workload.run(&process, 20).await;
    let found = workload.settle_and_check(&process, TEST_TIMEOUT).await;
    assert_eq!(found, [], "the server's log:\n{}", server.log());
    let server = server.crash_and_restart().await;
    let found = workload.settle_and_check(&Process(server.address), TEST_TIMEOUT).await;
    assert_eq!(found, [], "after kill -9");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_the_server_and_of_the_primary_at_once_loses_nothing_that_was_seen() {
    let (seed, rounds) = (seed(), rounds(2));
    for round in 0..rounds {
        let mut rng = random_choices(seed, round);
        let mut pair = Pair::start().await;
        let directory = directory();
        use_store(directory.path(), &pair.url);
        let mut workload = Workload::new(ROOMS, TALKERS, rng.next_u64());
        let failover_at = rng.random_range(0..3);
        for crash in 0..3 {
            let mut server = Server::in_directory(directory.clone(), CONFIG).await;
            let process = Process(server.address);
            let until = Duration::from_millis(rng.random_range(5..600));
            let between = Duration::from_millis(rng.random_range(0..200));
            let server_first = rng.random_range(0..2) == 0;
            let fails = async {
                tokio::time::sleep(until).await;
                if crash == failover_at && !server_first {
                    pair.primary.kill();
                    tokio::time::sleep(between).await;
                }
                server.kill();
            };
            tokio::join!(workload.run(&process, usize::MAX >> 1), fails);
            if crash == failover_at && server_first {
                pair.primary.kill();
            }
            if crash == failover_at {
                pair.standby.promote().await;
            }
            if rng.random_range(0..2) == 0 {
                std::fs::remove_dir_all(server.data().join("cache")).expect("the server has a cache");
            }
        }
        let server = Server::in_directory(directory, CONFIG).await;
        let found = workload.settle_and_check(&Process(server.address), TEST_TIMEOUT).await;
        assert_eq!(found, [], "in round {round} of the seed {seed}; the server's log:\n{}", server.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checker_finds_what_an_asynchronous_standby_loses() {
    let mut pair = Pair::asynchronous().await;
    let directory = directory();
    use_store(directory.path(), &pair.url);
    let server = Server::in_directory(directory, CONFIG).await;
    assert!(server.log().contains("warn") || server.log().contains("WARN"), "{}", server.log());
    let mut workload = Workload::new(ROOMS, TALKERS, seed());
    let process = Process(server.address);
    let mut listeners = join_listeners(&server).await;
    tokio::join!(workload.run(&process, usize::MAX >> 1), async {
        server.wait_for_count("commits_total", 50).await;
        pair.primary.stop_sending().await;
        let before = server.count("commits_total").await;
        server.wait_for_count("commits_total", before + 50).await;
        pair.fail_over().await;
    });
    assert_eq!(listeners[0].1.recv_close().await.0, 1012);
    server.wait_for_log("store went back: ROOMS/r0 had").await;
    until_served(&process).await;
    // A lost command never comes, so this does not wait for it for long.
    let found = workload.settle_and_check(&process, Duration::from_secs(2)).await;
    assert!(found.iter().any(|one| matches!(one, checker::Violation::Lost(_))), "{found:?}");
}
