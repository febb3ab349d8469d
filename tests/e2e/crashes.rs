//! A real process that is killed under load, again and again, with what a power loss does to its files.
//!
//! Clients chat over sockets and HTTP, rooms post to each other and set timers. `kill -9` comes at any moment, and what
//! is in the journal then, behind the last durable commit, is torn as the power would. `power.rs` does the same
//! thousands of times to a disk of memory.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt};
use tempfile::TempDir;

use crate::damage::tear_journal;
use crate::harness::{Server, TEST_TIMEOUT};
use crate::seeds::{Progress, random_choices, rounds, seed};
use crate::workload::{Process, Workload};

/// Crashes of one data directory.
const CRASHES: usize = 4;

const CONFIG: &str = r#"
hibernate_after = "20ms"
[namespaces.ROOMS]
component = "builtin:chat-room"
[namespaces.PRESENCE]
component = "caller.wasm"
calls = ["PRESENCE"]
"#;

#[derive(Debug, Default)]
struct Stats {
    rounds: u64,
    kills: u64,
    torn: u64,
    messages: usize,
    commands: usize,
}

/// A server in a directory that other servers may have used.
async fn start_server(directory: &Arc<TempDir>) -> Server {
    fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).expect("a file");
    Server::in_directory(directory.clone(), CONFIG).await
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_messages_survive_a_power_loss_at_any_moment() {
    let (seed, rounds) = (seed(), rounds(2));
    let (mut stats, mut progress) = (Stats::default(), Progress::new());
    for round in 0..rounds {
        let mut rng = random_choices(seed, round);
        let directory = Arc::new(TempDir::new().expect("a temporary directory"));
        let mut workload = Workload::new(3, 3, rng.next_u64());
        for _ in 0..CRASHES {
            let mut server = start_server(&directory).await;
            let process = Process(server.address);
            let until = Duration::from_millis(rng.random_range(5..400));
            // No client waits for more than the server can do until then.
            let (_, ()) = tokio::join!(workload.run(&process, usize::MAX >> 1), async {
                tokio::time::sleep(until).await;
                server.kill();
            });
            stats.kills += 1;
            stats.torn += u64::from(tear_journal(&directory.path().join("data"), &mut rng));
        }
        let server = start_server(&directory).await;
        let found = workload.settle_and_check(&Process(server.address), TEST_TIMEOUT).await;
        assert_eq!(found, [], "in round {round} of the seed {seed}; the server's log:\n{}", server.log());
        let (messages, commands) = workload.totals();
        stats = Stats {
            rounds: stats.rounds + 1,
            messages: stats.messages + messages,
            commands: stats.commands + commands,
            ..stats
        };
        progress.print(&stats);
    }
    println!("{stats:?}");
    assert!(stats.messages as u64 > 10 * rounds, "too little happened: {stats:?}");
}
