//! `flood`: what everybody else feels while one user says as much as they can. The same echo, before and during.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use super::latency::Latencies;
use super::report::{Report, Server, progress};
use super::socket::Socket;
use super::target::Target;
use super::{Flood, process};
use dormouse::clock;

/// Between two echoes: so many a second are a person in a hurry.
const PAUSE: Duration = Duration::from_millis(25);
/// Messages that a flooding socket hands over at once.
const BURST: usize = 64;
/// Between two of them. That is a thousand times what a socket may say.
const BREATH: Duration = Duration::from_millis(1);

/// Measure in a quiet room, and then beside a flood in another one.
pub(super) async fn run(target: &Target, args: &Flood) -> anyhow::Result<Report> {
    let before = process::usage(target.pid());
    let mut socket = Socket::open(target, &target.room(0), "u").await?;
    let (quiet, flooded) = (Latencies::default(), Latencies::default());
    let mut number = 0;
    progress(format_args!("nobody floods"));
    echoes(&mut socket, &mut number, &quiet, args.duration).await?;
    progress(format_args!("one user floods"));
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
        // Its percentiles would be those of the few that came through.
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

/// Say as much as the server takes, and come back when it closes.
async fn pour(target: Target, token: Option<String>) {
    let target = token.map_or(target.clone(), |token| target.with_token(&token));
    let room = target.room(1);
    loop {
        let opened: Instant = clock::monotonic();
        if let Ok(socket) = Socket::open(&target, &room, "flood").await {
            let _ = pour_into(socket).await;
        }
        // One that is refused at once would otherwise keep this program busy and not the server.
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
        // What comes back is read, so that it is the flood that ends this and not our deafness.
        socket.hear_what_is_there()?;
        // Where the server takes it all at once, nothing above ever waits: the others of this program want to run too.
        clock::sleep(BREATH).await;
    }
}
