//! `connect`: how long the first client of a new room waits, from the TCP connect to the first frame.

use serde_json::json;

use super::latency::Latencies;
use super::report::{Report, Server, progress};
use super::socket::Socket;
use super::target::Target;
use super::{Connect, process};
use dormouse::clock;

/// Measures room after room, one connection at a time.
pub(super) async fn run(target: &Target, args: &Connect) -> anyhow::Result<Report> {
    let before = process::usage(target.pid());
    let latencies = Latencies::default();
    let began = clock::monotonic();
    let mut open = Vec::with_capacity(args.rooms);
    for room in 0..args.rooms {
        let name = target.room(room);
        let began = clock::monotonic();
        open.push(Socket::open(target, &name, "u").await?);
        latencies.add(began.elapsed());
        progress(format_args!("connecting: {} of {}", room + 1, args.rooms));
    }
    let mut report = Report::new("connect", json!({ "rooms": args.rooms }));
    report.seconds = began.elapsed().as_secs_f64();
    report.latency.insert("connect", latencies.percentiles());
    report.server = Server::between(target.pid(), before, before, process::usage(target.pid()));
    Ok(report)
}
