//! `flood`: how one user who sends as much as possible affects the others. It measures the same echo before and during
//! the flood.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use super::latency::Latencies;
use super::report::{Report, Server, progress};
use super::socket::Socket;
use super::target::Target;
use super::{Flood, process};
use dormouse::clock;

/// The pause between two echoes: 40 messages a second, more than a busy person sends.
const PAUSE: Duration = Duration::from_millis(25);
/// The number of messages that a flooding socket sends in one burst.
const BURST: usize = 64;
/// The pause between two bursts. It gives a thousand times the allowed rate.
const BREATH: Duration = Duration::from_millis(1);

/// Measures without the flood, and then with a flood in another room.
pub(super) async fn run(target: &Target, args: &Flood) -> anyhow::Result<Report> {
    let before = process::usage(target.pid());
    let mut socket = Socket::open(target, &target.room(0), "u").await?;
    let (quiet, flooded) = (Latencies::default(), Latencies::default());
    let mut number = 0;
    progress(format_args!("without the flood"));
    echoes(&mut socket, &mut number, &quiet, args.duration).await?;
    progress(format_args!("with the flood"));
    let from = process::usage(target.pid());
    let began = clock::monotonic();
    let mut flood = JoinSet::new();
    for _ in 0..args.sockets {
        flood.spawn(pour(target.clone(), args.flood_token.clone()));
    }
    echoes(&mut socket, &mut number, &flooded, args.duration).await?;
    flood.abort_all();

    let mut report = Report::new("flood", json!({ "sockets": args.sockets }));
    report.seconds = began.elapsed().as_secs_f64();
    let (quiet, flooded) = (quiet.percentiles(), flooded.percentiles());
    report.latency.insert("quiet", quiet);
    report.latency.insert("flooded", flooded);
    report.server = Server::between(target.pid(), before, from, process::usage(target.pid()));
    if flooded.count < quiet.count / 2 {
        // The percentiles would only describe the few echoes that came back.
        report.complaint =
            Some(format!("only {} echoes came back, and {} without the flood", flooded.count, quiet.count));
    } else if flooded.p99 > quiet.p99 * args.at_most {
        let times = flooded.p99 / quiet.p99;
        report.complaint = Some(format!("the 99th percentile rose {times:.1} times, and {} is allowed", args.at_most));
    }
    Ok(report)
}

async fn echoes(socket: &mut Socket, number: &mut u64, took: &Latencies, within: Duration) -> anyhow::Result<()> {
    let until = clock::monotonic() + within;
    while clock::monotonic() < until {
        *number += 1;
        took.add(socket.echo(*number).await?);
        clock::sleep(PAUSE).await;
    }
    Ok(())
}

/// Sends as much as the server takes, and reconnects when it closes.
async fn pour(target: Target, token: Option<String>) {
    let target = token.map_or(target.clone(), |token| target.with_token(&token));
    let room = target.room(1);
    loop {
        let opened: Instant = clock::monotonic();
        if let Ok(socket) = Socket::open(&target, &room, "flood").await {
            let _ = pour_into(socket).await;
        }
        // A socket that is refused at once would keep this program busy instead of the server.
        if opened.elapsed() < PAUSE {
            clock::sleep(PAUSE).await;
        }
    }
}

async fn pour_into(mut socket: Socket) -> anyhow::Result<()> {
    loop {
        for _ in 0..BURST {
            socket.queue(r#"{"type":"message","content":"flood"}"#.into())?;
        }
        socket.say(r#"{"type":"typing"}"#.into()).await?;
        // Incoming frames are read, so that the flood ends this connection and not our slow reading.
        socket.receive_available()?;
        // If the server takes everything at once, nothing above ever waits, and other tasks of this program would not
        // run.
        clock::sleep(BREATH).await;
    }
}
