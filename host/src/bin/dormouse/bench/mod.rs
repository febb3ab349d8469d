//! `dormouse bench`: a load generator that speaks the wire protocol, to this server or another one.
//!
//! Scenarios also check correctness. Each message carries its sender, its number and its time, so that lost, duplicated
//! and reordered messages are counted beside the speed. The load goes to `--url`; a server's CPU and memory are read by
//! its process id, on Linux.

mod check;
mod connect;
mod flood;
mod http;
mod idle;
mod latency;
mod process;
mod report;
mod socket;
mod storm;
mod target;
mod traffic;
mod wake;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use report::Report;
use target::Target;

/// Measure a server, this one or another that speaks the same protocol
#[derive(Parser)]
pub(crate) struct Bench {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// One room: some members send, all receive
    Fanout(Fanout),
    /// Many rooms with members that send
    Rooms(Rooms),
    /// Idle sockets: how much memory they cost
    Idle(Idle),
    /// The echo of a message in a sleeping room, compared with an awake one
    Wake(Wake),
    /// POST to answer, POST to delivery, GET
    Http(Http),
    /// The first connect to a new room: from the TCP connect to the first frame
    Connect(Connect),
    /// Every socket is cut at once, and all clients reconnect at once
    Storm(Storm),
    /// The echo in one room while one user floods another, compared with no flood
    Flood(Flood),
}

/// The target of the load, and the output of the results.
#[derive(Args, Clone)]
struct Common {
    /// The server. With several of a cluster, repeat it: clients are spread over them
    #[arg(long, default_value = "http://127.0.0.1:8787")]
    url: Vec<String>,
    /// The path of a room's socket; `{room}` stands for the room. HTTP requests go to `messages` beside it
    #[arg(long, default_value = "/api/realtime/rooms/{room}/ws")]
    path: String,
    /// The token that goes into the `Authorization` header; `{user}` stands for the user
    #[arg(long, default_value = "{user}:{user}")]
    token: String,
    /// The server's process, to read its CPU and memory
    #[arg(long)]
    pid: Option<u32>,
    /// Write the results as JSON to this file too; `-` for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Threads of the load generator [default: one per core]
    #[arg(long)]
    threads: Option<usize>,
    /// Connections that are opened at the same time
    #[arg(long, default_value_t = 64, value_name = "N")]
    opening: usize,
}

/// How members send.
#[derive(Args, Clone)]
struct Load {
    /// Messages of each sender that may be in flight at the same time
    #[arg(long, default_value_t = 1, conflicts_with = "rate")]
    window: u32,
    /// Messages a second of each sender, however many are in flight
    #[arg(long)]
    rate: Option<f64>,
    /// How long to measure
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How long to send before measuring
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// Length of a message's content, in bytes; its header takes about 40 of them
    #[arg(long, default_value_t = 64)]
    bytes: usize,
}

#[derive(Args)]
struct Fanout {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    load: Load,
    /// Sockets in the room
    #[arg(long, default_value_t = 100)]
    members: usize,
    /// How many of them send
    #[arg(long, default_value_t = 1)]
    senders: usize,
}

#[derive(Args)]
struct Rooms {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    load: Load,
    /// The number of rooms
    #[arg(long, default_value_t = 100)]
    rooms: usize,
    /// Sockets in each room
    #[arg(long, default_value_t = 10)]
    members: usize,
    /// How many of them send [default: all]
    #[arg(long)]
    senders: Option<usize>,
}

#[derive(Args)]
struct Idle {
    #[command(flatten)]
    common: Common,
    /// The number of sockets
    #[arg(long, default_value_t = 10_000)]
    sockets: usize,
    /// The number of rooms
    #[arg(long, default_value_t = 1_000)]
    rooms: usize,
    /// How long to wait before the memory is read: longer than the server takes to hibernate its rooms
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    settle: Duration,
}

#[derive(Args)]
struct Wake {
    #[command(flatten)]
    common: Common,
    /// The number of rooms
    #[arg(long, default_value_t = 200)]
    rooms: usize,
    /// How long to leave the rooms alone, so that they sleep
    #[arg(long, default_value = "12s", value_parser = humantime::parse_duration)]
    asleep_after: Duration,
}

#[derive(Args)]
struct Http {
    #[command(flatten)]
    common: Common,
    /// The number of rooms, each with one socket that listens
    #[arg(long, default_value_t = 10)]
    rooms: usize,
    /// Requests to each room that may be in flight at the same time
    #[arg(long, default_value_t = 1)]
    window: usize,
    /// How long to measure POST, and then GET
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    duration: Duration,
}

#[derive(Args)]
struct Connect {
    #[command(flatten)]
    common: Common,
    /// The number of rooms, one after the other
    #[arg(long, default_value_t = 1_000)]
    rooms: usize,
}

#[derive(Args)]
struct Storm {
    #[command(flatten)]
    common: Common,
    /// The number of sockets
    #[arg(long, default_value_t = 2_000)]
    sockets: usize,
    /// The number of rooms
    #[arg(long, default_value_t = 200)]
    rooms: usize,
}

#[derive(Args)]
struct Flood {
    #[command(flatten)]
    common: Common,
    /// The number of sockets that the user floods with
    #[arg(long, default_value_t = 4)]
    sockets: usize,
    /// The token of the user who floods [default: as `--token` says, for a user `flood`]
    #[arg(long)]
    flood_token: Option<String>,
    /// How long to measure without the flood, and then with it
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Fail if the 99th percentile is this many times the one without the flood
    #[arg(long, default_value_t = 2.0, value_name = "TIMES")]
    at_most: f64,
}

/// Runs one scenario and prints its results.
pub(crate) fn run(bench: Bench) -> anyhow::Result<()> {
    let common = bench.scenario.common().clone();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = common.threads {
        runtime.worker_threads(threads.max(1));
    }
    let runtime = runtime.enable_all().build().context("the runtime cannot start")?;
    let report = runtime.block_on(async {
        let target = Target::new(&common)?;
        match bench.scenario {
            Scenario::Fanout(args) => {
                let settings = traffic::Settings {
                    scenario: "fanout",
                    rooms: 1,
                    members: args.members,
                    senders: args.senders.min(args.members),
                };
                traffic::run(&target, &settings, &args.load).await
            }
            Scenario::Rooms(args) => {
                let settings = traffic::Settings {
                    scenario: "rooms",
                    rooms: args.rooms,
                    members: args.members,
                    senders: args.senders.unwrap_or(args.members).min(args.members),
                };
                traffic::run(&target, &settings, &args.load).await
            }
            Scenario::Idle(args) => idle::run(&target, &args).await,
            Scenario::Wake(args) => wake::run(&target, &args).await,
            Scenario::Http(args) => http::run(&target, &args).await,
            Scenario::Connect(args) => connect::run(&target, &args).await,
            Scenario::Storm(args) => storm::run(&target, &args).await,
            Scenario::Flood(args) => flood::run(&target, &args).await,
        }
    })?;
    report::progress_end();
    publish(&report, &common)?;
    anyhow::ensure!(report.complaint.is_none(), "{}", report.complaint.unwrap_or_default());
    Ok(())
}

fn publish(report: &Report, common: &Common) -> anyhow::Result<()> {
    // An error is ignored, since this is only for display; programs use the JSON.
    let _ = write!(std::io::stderr(), "{report}");
    let json = serde_json::to_string(report)?;
    match &common.json {
        None => Ok(()),
        Some(file) if file.as_os_str() == "-" => crate::print::line(json),
        Some(file) => {
            std::fs::write(file, json + "\n").with_context(|| format!("{} cannot be written", file.display()))
        }
    }
}

impl Scenario {
    fn common(&self) -> &Common {
        match self {
            Scenario::Fanout(args) => &args.common,
            Scenario::Rooms(args) => &args.common,
            Scenario::Idle(args) => &args.common,
            Scenario::Wake(args) => &args.common,
            Scenario::Http(args) => &args.common,
            Scenario::Connect(args) => &args.common,
            Scenario::Storm(args) => &args.common,
            Scenario::Flood(args) => &args.common,
        }
    }
}
