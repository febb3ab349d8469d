//! `wake`: the cost of waking a room. It compares the same echo in awake and in sleeping rooms.

use serde_json::json;

use super::latency::Latencies;
use super::report::{Report, Server, progress};
use super::socket::Socket;
use super::target::Target;
use super::{Wake, process};
use dormouse::clock;

/// Measures room after room, first awake and then asleep.
pub(super) async fn run(target: &Target, args: &Wake) -> anyhow::Result<Report> {
    let before = process::usage(target.pid());
    let mut sockets = Vec::with_capacity(args.rooms);
    for room in 0..args.rooms {
        sockets.push(Socket::open(target, &target.room(room), "u").await?);
        progress(format_args!("opening: {} of {}", sockets.len(), args.rooms));
    }
    let began = clock::monotonic();
    let (awake, asleep) = (Latencies::default(), Latencies::default());
    let mut number = 0;
    // The first echo in a room is not counted, since it may create the room's storage.
    for round in [None, Some(&awake), Some(&awake)] {
        echo_all(&mut sockets, &mut number, round).await?;
    }
    progress(format_args!("leaving the rooms alone for {:?}", args.asleep_after));
    let from = process::usage(target.pid());
    clock::sleep(args.asleep_after).await;
    echo_all(&mut sockets, &mut number, Some(&asleep)).await?;
    let to = process::usage(target.pid());

    let mut report = Report::new("wake", json!({ "rooms": args.rooms }));
    report.seconds = began.elapsed().as_secs_f64();
    report.latency.insert("awake", awake.percentiles());
    report.latency.insert("asleep", asleep.percentiles());
    report.server = Server::between(target.pid(), before, from, to);
    Ok(report)
}

async fn echo_all(sockets: &mut [Socket], number: &mut u64, round: Option<&Latencies>) -> anyhow::Result<()> {
    for socket in sockets {
        *number += 1;
        let took = socket.echo(*number).await?;
        if let Some(round) = round {
            round.add(took);
        }
    }
    Ok(())
}
