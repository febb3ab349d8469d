//! `idle`: the memory of idle sockets in sleeping rooms.

use serde_json::json;
use tokio::task::JoinSet;

use super::report::{Report, Server, progress};
use super::socket::{Ended, Socket};
use super::target::Target;
use super::{Idle, process};
use dormouse::clock;

/// Opens the sockets, waits until the rooms sleep, and reads the server's memory.
pub(super) async fn run(target: &Target, args: &Idle) -> anyhow::Result<Report> {
    let before = process::usage(target.pid());
    let began = clock::monotonic();
    let listening = open_all(target, args.sockets, args.rooms).await?;
    let seconds = began.elapsed().as_secs_f64();
    let opened = process::usage(target.pid());
    clock::sleep(args.settle).await;
    let settled = process::usage(target.pid());

    let mut report = Report::new("idle", json!({ "sockets": args.sockets, "rooms": args.rooms }));
    report.seconds = seconds;
    report.counts.failed = listening.gone();
    report.server = Server::between(target.pid(), before, before, settled);
    if let (Some(server), Some(_)) = (&mut report.server, opened) {
        let grown = server.resident_bytes.saturating_sub(server.resident_bytes_before);
        server.bytes_per_socket = Some(grown as f64 / args.sockets.max(1) as f64);
    }
    report.complain(None);
    Ok(report)
}

/// Open sockets that are read.
pub(super) struct Listening(JoinSet<Ended>);

impl Listening {
    /// The number of sockets that ended by themselves.
    pub(super) fn gone(mut self) -> u64 {
        std::iter::from_fn(|| self.0.try_join_next()).count() as u64
    }

    /// Cuts all connections, without a close frame.
    pub(super) async fn cut(mut self) {
        self.0.shutdown().await;
    }
}

/// Opens many sockets, spread over rooms, and reads them.
pub(super) async fn open_all(target: &Target, sockets: usize, rooms: usize) -> Result<Listening, Ended> {
    let mut opening = JoinSet::new();
    for number in 0..sockets {
        let target = target.clone();
        let room = target.room(number % rooms.max(1));
        opening.spawn(async move {
            let _turn = target.may_open().await;
            Socket::open(&target, &room, &format!("u{number}")).await
        });
    }
    let mut listening = JoinSet::new();
    while let Some(opened) = opening.join_next().await {
        listening.spawn(opened.expect("opening a socket does not panic")?.listen());
        progress(format_args!("opening: {} of {sockets}", listening.len()));
    }
    Ok(Listening(listening))
}
