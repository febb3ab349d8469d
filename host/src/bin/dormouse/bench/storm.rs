//! `storm`: every connection is cut at once, and all clients reconnect at once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::latency::Latencies;
use super::report::{Report, Server, progress};
use super::socket::{Ended, Socket};
use super::target::{PATIENCE, Target};
use super::{Storm, idle, process};
use dormouse::clock;

/// A refused client tries again after this time, plus a random part of the same length.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Opens the sockets, cuts them and reconnects.
pub(super) async fn run(target: &Target, args: &Storm) -> anyhow::Result<Report> {
    let before = process::usage(target.pid());
    idle::open_all(target, args.sockets, args.rooms).await?.cut().await;
    let from = process::usage(target.pid());
    let latencies = Arc::new(Latencies::default());
    let began = clock::monotonic();
    let mut coming_back = JoinSet::new();
    for number in 0..args.sockets {
        let (target, latencies) = (target.clone(), latencies.clone());
        let room = target.room(number % args.rooms.max(1));
        coming_back.spawn(async move {
            let socket = come_back(&target, &room, &format!("u{number}")).await;
            latencies.record(number, [u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)]);
            socket
        });
    }
    // Sockets that are back stay open until all are.
    let mut back = Vec::with_capacity(args.sockets);
    let mut report = Report::new("storm", json!({ "sockets": args.sockets, "rooms": args.rooms }));
    let mut example = None;
    while let Some(came) = coming_back.join_next().await {
        match came? {
            Ok(socket) => back.push(socket),
            Err(ended) => {
                report.counts.failed += 1;
                example.get_or_insert_with(|| ended.to_string());
            }
        }
        progress(format_args!("back: {} of {}", back.len(), args.sockets));
    }
    report.seconds = began.elapsed().as_secs_f64();
    report.latency.insert("reconnect", latencies.percentiles());
    report.server = Server::between(target.pid(), before, from, process::usage(target.pid()));
    report.complain(example);
    Ok(report)
}

/// Tries until it works, as a client would.
async fn come_back(target: &Target, room: &str, user: &str) -> Result<Socket, Ended> {
    let began = clock::monotonic();
    loop {
        match Socket::open(target, room, user).await {
            Ok(socket) => return Ok(socket),
            Err(ended) if began.elapsed() > PATIENCE => return Err(ended),
            Err(_) => clock::sleep(AGAIN_AFTER.mul_f64(1.0 + rand::random::<f64>())).await,
        }
    }
}
