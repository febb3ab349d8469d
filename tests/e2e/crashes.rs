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

use crate::damage::tear;
use crate::harness::{Server, TEST_TIMEOUT};
use crate::seeds::{Progress, choices, rounds, seed};
use crate::workload::{Cast, Process};

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
struct Figures {
    rounds: u64,
    kills: u64,
    torn: u64,
    messages: usize,
    errands: usize,
}

/// A server in a directory that other servers may have used.
async fn serve(directory: &Arc<TempDir>) -> Server {
    fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).expect("a file");
    Server::in_directory(directory.clone(), CONFIG).await
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_messages_survive_a_power_loss_at_any_moment() {
    let (seed, rounds) = (seed(), rounds(2));
    let (mut figures, mut progress) = (Figures::default(), Progress::new());
    for round in 0..rounds {
        let mut rng = choices(seed, round);
        let directory = Arc::new(TempDir::new().expect("a temporary directory"));
        let mut cast = Cast::new(3, 3, rng.next_u64());
        for _ in 0..CRASHES {
            let mut server = serve(&directory).await;
            let world = Process(server.address);
            let until = Duration::from_millis(rng.random_range(5..400));
            // No client waits for more than the server can do until then.
            let (_, ()) = tokio::join!(cast.live(&world, usize::MAX >> 1), async {
                tokio::time::sleep(until).await;
                server.kill();
            });
            figures.kills += 1;
            figures.torn += u64::from(tear(&directory.path().join("data"), &mut rng));
        }
        let server = serve(&directory).await;
        let found = cast.settle(&Process(server.address), TEST_TIMEOUT).await;
        assert_eq!(found, [], "in round {round} of the seed {seed}; the server's log:\n{}", server.log());
        let (messages, errands) = cast.told();
        figures = Figures {
            rounds: figures.rounds + 1,
            messages: figures.messages + messages,
            errands: figures.errands + errands,
            ..figures
        };
        progress.say(&figures);
    }
    println!("{figures:?}");
    assert!(figures.messages as u64 > 10 * rounds, "too little happened: {figures:?}");
}
