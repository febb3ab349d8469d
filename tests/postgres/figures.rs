//! Figures of rooms in a database beside those of the embedded store, from one run on one machine: `make
//! postgres-bench`. It asserts nothing but that no message is lost. CPU is that of whole processes, so it holds on a busy
//! machine too; times do not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{Server as Database, cpu_of};
use crate::command_line;
use crate::databases::{use_no_store, use_store};
use crate::harness::{Client, Server};

/// Rooms that are busy at the same time. Each has one client, which sends its next message when it has its last one.
const ROOMS: [usize; 4] = [1, 16, 256, 1_000];

/// The time for each number of rooms.
const DURATION: &str = "8s";

/// Statements of a database alone, and frames of a client that types.
const REPEATED: usize = 300;

/// Rooms that are woken, and the messages that each has.
const WOKEN: usize = 200;
const MESSAGES: usize = 50;

const CONFIG: &str = "[limits]\nmessages_per_second = 0\n";

/// A store, and what it runs on.
struct Store {
    name: &'static str,
    primary: Option<Database>,
    standby: Option<Database>,
    url: Option<String>,
}

impl Store {
    async fn all() -> Vec<Store> {
        let alone = Database::start(&[]);
        let url = Some(alone.empty_database().await.url);
        let primary = Database::start(&[]);
        let standby = primary.standby().await;
        let replicated = Some(primary.empty_database().await.url);
        primary.wait_for_standby().await;
        vec![
            Store { name: "embedded", primary: None, standby: None, url: None },
            Store { name: "PostgreSQL", primary: Some(alone), standby: None, url },
            Store { name: "with a standby", primary: Some(primary), standby: Some(standby), url: replicated },
        ]
    }

    fn directory(&self) -> Arc<TempDir> {
        let directory = Arc::new(TempDir::new().unwrap());
        match &self.url {
            Some(url) => use_store(directory.path(), url),
            None => use_no_store(directory.path()),
        }
        directory
    }

    fn cpu(&self) -> [Duration; 2] {
        [&self.primary, &self.standby].map(|server| server.as_ref().map_or(Duration::ZERO, Database::cpu))
    }
}

/// Percentiles of durations, in ms.
fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |hundredths: usize| times[(times.len() - 1) * hundredths / 100].as_secs_f64() * 1e3;
    format!("{:.1} | {:.1}", at(50), at(99))
}

#[expect(clippy::cast_precision_loss, reason = "a figure")]
fn micros_each(cpu: Duration, count: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / count.max(1) as f64
}

/// Clients that send in so many rooms. Prints a row of the table.
async fn commits(store: &Store, rooms: usize) {
    let server = Server::in_directory(store.directory(), CONFIG).await;
    let (url, rooms_text) = (format!("http://{}", server.address), rooms.to_string());
    let (own, others, before) = (cpu_of(server.pid()), store.cpu(), server.count("commits_total").await);
    let bench = tokio::task::spawn_blocking(move || {
        let arguments = ["bench", "rooms", "--members", "1", "--duration", DURATION, "--json", "-", "--threads", "1"];
        command_line::run(&[&arguments[..], &["--rooms", &rooms_text, "--url", &url]].concat())
    });
    let output = bench.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = serde_json::from_slice::<Value>(&output.stdout).unwrap();
    let commits = server.count("commits_total").await - before;
    let (own, after) = (cpu_of(server.pid()) - own, store.cpu());
    let [primary, standby] = [0, 1].map(|nth| micros_each(after[nth] - others[nth], commits));
    let latency = &report["latency"]["delivery"];
    let millis = |key: &str| latency[key].as_f64().unwrap() / 1e3;
    println!(
        "| {rooms} | {} | {:.0} | {:.1} | {:.1} | {:.0} | {primary:.0} | {standby:.0} |",
        store.name,
        report["perSecond"]["sends"].as_f64().unwrap(),
        millis("p50"),
        millis("p99"),
        micros_each(own, commits),
    );
}

/// The time of a transaction with one commit record, on a connection of its own.
async fn alone(store: &Store) {
    let Some(primary) = &store.primary else { return };
    let client = primary.admin("postgres").await;
    let mut times = Vec::new();
    for _ in 0..REPEATED {
        let began = Instant::now();
        client.execute("SELECT pg_logical_emit_message(true, 'dormouse', '')", &[]).await.unwrap();
        times.push(began.elapsed());
    }
    println!("| {} | {} |", store.name, percentiles(times));
}

/// One client of a chat types, and another one hears it: a turn that writes nothing.
async fn typing(store: &Store) {
    let server = Server::in_directory(store.directory(), CONFIG).await;
    let (mut ana, mut bo) = (server.join("lobby", "ana").await, server.join("lobby", "bo").await);
    bo.recv_type("history").await;
    let mut times = Vec::new();
    for _ in 0..REPEATED {
        let began = Instant::now();
        ana.send(r#"{"type":"typing"}"#).await;
        bo.recv_type("typing").await;
        times.push(began.elapsed());
    }
    let proofs = server.count("store_proofs_total").await;
    println!("| {} | {} | {proofs} |", store.name, percentiles(times));
}

async fn history(server: &Server, room: usize) -> Client {
    let mut client = server.join(&format!("r{room}"), "cy").await;
    client.recv_type("history").await;
    client
}

/// The first connect to rooms after a start, up to their history: with the cache of the server before, and without.
async fn wakes(store: &Store) {
    let directory = store.directory();
    let mut server = Server::in_directory(directory.clone(), CONFIG).await;
    for room in 0..WOKEN {
        let mut client = history(&server, room).await;
        for number in 0..MESSAGES {
            client
                .send(&json!({ "type": "message", "content": format!("{number}: {}", "x".repeat(200)) }).to_string())
                .await;
        }
        for _ in 0..MESSAGES {
            client.recv_content().await;
        }
    }
    for cache in ["warm", "cold"] {
        if cache == "cold" && store.url.is_none() {
            continue;
        }
        server.kill();
        if cache == "cold" {
            std::fs::remove_dir_all(server.data().join("cache")).unwrap();
        }
        drop(server);
        server = Server::in_directory(directory.clone(), CONFIG).await;
        let mut times = Vec::new();
        for room in 0..WOKEN {
            let began = Instant::now();
            let _client = history(&server, room).await;
            times.push(began.elapsed());
        }
        println!("| {}, {cache} | {} |", store.name, percentiles(times));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures, for some minutes: make postgres-bench"]
async fn figures() {
    let stores = Store::all().await;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    println!("load before: {load}");
    println!("| rooms | store | messages/s | p50, ms | p99, ms | CPU µs a commit: server | primary | standby |");
    println!("|---|---|---|---|---|---|---|---|");
    for rooms in ROOMS {
        for store in &stores {
            commits(store, rooms).await;
        }
    }
    println!("\n| a transaction of the database alone | p50, ms | p99, ms |\n|---|---|---|");
    for store in &stores {
        alone(store).await;
    }
    println!("\n| typing, heard by another client | p50, ms | p99, ms | proofs |\n|---|---|---|---|");
    for store in &stores {
        typing(store).await;
    }
    println!("\n| the first connect to a room after a start | p50, ms | p99, ms |\n|---|---|---|");
    for store in &stores {
        wakes(store).await;
    }
    println!("load after: {}", std::fs::read_to_string("/proc/loadavg").unwrap());
}
