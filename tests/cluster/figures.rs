//! The cost of a message with one, two and three nodes, from one run on one machine: `make cluster-bench`. It asserts
//! nothing but that no message is lost. CPU is that of whole processes, so it holds on a busy machine too; times do
//! not, and the throughput of several nodes on one machine says nothing about several machines.

use std::process::Command;
use std::time::{Duration, Instant};

use dormouse::cluster::link::ClusterKey;
use serde_json::Value;

use crate::cluster::{Server as Postgres, cpu_of};
use crate::harness::Server;
use crate::nodes::{Nodes, directory};

/// Rooms, clients in each, and the messages a second of the client in each room that sends; and how long.
type Load = (usize, usize, f64);
const LOADS: [Load; 3] = [(1, 1_000, 10.0), (100, 10, 5.0), (1_000, 4, 0.5)];

/// How long clients send, and the part of it that is measured.
const DURATION: &str = "12s";
const WINDOW: Duration = Duration::from_secs(10);

/// The most nodes.
const NODES: usize = 3;

const CONFIG: &str = "[limits]\nmessages_per_second = 0\n";

/// The result of one run. CPU and commits are those of the window.
struct Figures {
    report: Value,
    window: Duration,
    commits: u64,
    nodes: Duration,
    database: Duration,
}

/// A moment of a run.
struct Sample {
    at: Instant,
    commits: u64,
    nodes: Duration,
    database: Duration,
}

impl Sample {
    async fn take(nodes: &Nodes, database: &Postgres) -> Self {
        let cpu = nodes.living().map(|node| cpu_of(node.pid())).sum();
        let (at, database) = (Instant::now(), database.cpu());
        Sample { at, commits: commits(nodes).await, nodes: cpu, database }
    }
}

async fn commits(nodes: &Nodes) -> u64 {
    let mut sum = 0;
    for node in nodes.living() {
        sum += node.count("commits_total").await;
    }
    sum
}

async fn measure(nodes: &Nodes, database: &Postgres, (rooms, members, rate): Load) -> Figures {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    bench.args(["bench", "rooms", "--senders", "1", "--json", "-", "--threads", "1", "--warmup", "0s"]);
    bench.args(["--duration", DURATION, "--rate", &rate.to_string()]);
    bench.args(["--rooms", &rooms.to_string(), "--members", &members.to_string()]);
    for node in nodes.living() {
        bench.args(["--url", &format!("http://{}", node.address)]);
    }
    let before = commits(nodes).await;
    let bench = tokio::task::spawn_blocking(move || bench.output().unwrap());
    // Clients that join store nothing. When the first message is stored, all have joined.
    while commits(nodes).await == before && !bench.is_finished() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let from = Sample::take(nodes, database).await;
    tokio::time::sleep(WINDOW).await;
    let to = Sample::take(nodes, database).await;
    let output = bench.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Figures {
        report: serde_json::from_slice(&output.stdout).unwrap(),
        window: to.at - from.at,
        commits: to.commits - from.commits,
        nodes: to.nodes - from.nodes,
        database: to.database - from.database,
    }
}

fn micros_each(cpu: Duration, count: f64) -> f64 {
    cpu.as_secs_f64() * 1e6 / count.max(1.0)
}

#[expect(clippy::cast_precision_loss, reason = "a figure")]
fn print(nodes: &str, (rooms, members, _): Load, figures: &Figures) {
    let latency = &figures.report["latency"]["delivery"];
    let millis = |key: &str| latency[key].as_f64().unwrap() / 1e3;
    let a_second = figures.report["perSecond"]["deliveries"].as_f64().unwrap();
    let (deliveries, commits) = (a_second * figures.window.as_secs_f64(), figures.commits as f64);
    println!(
        "| {rooms} × {members} | {nodes} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} |",
        figures.report["perSecond"]["sends"].as_f64().unwrap(),
        a_second,
        millis("p50"),
        millis("p99"),
        micros_each(figures.nodes, deliveries),
        micros_each(figures.nodes, commits),
        micros_each(figures.database, commits),
    );
}

/// Servers on a new database.
async fn start(database: &Postgres, count: usize, is_cluster: bool) -> Nodes {
    let mut nodes = Nodes::on(database.empty_database().await, CONFIG);
    if is_cluster {
        for _ in 0..count {
            nodes.add().await;
        }
        nodes.until_all_know(count).await;
    } else {
        let directory = directory(&nodes.database.url, &ClusterKey::generate().unwrap().to_pem());
        nodes.nodes.push(Some(Server::in_directory(directory, CONFIG).await));
    }
    nodes
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures, for some minutes: make cluster-bench"]
async fn figures() {
    let database = Postgres::start(&[]);
    println!("load before: {}", std::fs::read_to_string("/proc/loadavg").unwrap());
    println!(
        "| rooms × clients | nodes | messages/s | deliveries/s | p50, ms | p99, ms | CPU µs of the nodes a delivery | \
         of the nodes a commit | of the database a commit |\n|---|---|---|---|---|---|---|---|---|"
    );
    for load in LOADS {
        let alone = start(&database, 1, false).await;
        print("no cluster", load, &measure(&alone, &database, load).await);
        drop(alone);
        for count in 1..=NODES {
            let nodes = start(&database, count, true).await;
            print(&count.to_string(), load, &measure(&nodes, &database, load).await);
        }
    }
    println!("load after: {}", std::fs::read_to_string("/proc/loadavg").unwrap());
}
