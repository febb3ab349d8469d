//! `http`: the time from a POST to its answer and to its delivery on a socket, and the time of a GET.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::task::JoinSet;

use super::check;
use super::latency::Latencies;
use super::report::{PerSecond, Report, Server, progress};
use super::socket::Socket;
use super::target::Target;
use super::{Http, process};
use dormouse::clock;

/// How long the last messages may take to reach the listeners.
const DELIVERED_WITHIN: Duration = Duration::from_secs(10);

/// The measurements, shared by all requests.
#[derive(Default)]
struct Measured {
    post: Latencies,
    delivery: Latencies,
    get: Latencies,
    posted: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
}

/// Measures POST, and then GET.
pub(super) async fn run(target: &Target, args: &Http) -> anyhow::Result<Report> {
    let before = process::usage(target.pid());
    let measured = Arc::new(Measured::default());
    let start = clock::monotonic();
    let mut listeners = JoinSet::new();
    for room in 0..args.rooms {
        let mut socket = Socket::open(target, &target.room(room), "listener").await?;
        let measured = measured.clone();
        listeners.spawn(async move {
            loop {
                let mut visit = |frame: &str| {
                    if let Some((_, _, said_at)) = check::parts(frame) {
                        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                        measured.delivery.record(room, [nanos.saturating_sub(said_at)]);
                        measured.delivered.fetch_add(1, Ordering::Relaxed);
                    }
                };
                if socket.receive(&mut visit).await.is_err() {
                    return;
                }
            }
        });
    }
    let (from, began) = (process::usage(target.pid()), clock::monotonic());
    requests(target, args, &measured, Some(start)).await?;
    let posted = measured.posted.load(Ordering::Relaxed);
    let (to, seconds) = (process::usage(target.pid()), began.elapsed().as_secs_f64());
    let waited = clock::monotonic();
    while measured.delivered.load(Ordering::Relaxed) < posted && waited.elapsed() < DELIVERED_WITHIN {
        clock::sleep(Duration::from_millis(10)).await;
    }
    let delivered = measured.delivered.load(Ordering::Relaxed);
    requests(target, args, &measured, None).await?;

    let mut report = Report::new("http", json!({ "rooms": args.rooms, "window": args.window }));
    report.seconds = seconds;
    report.counts.sends = posted;
    report.counts.deliveries = delivered;
    report.counts.lost = posted.saturating_sub(delivered);
    report.counts.duplicated = delivered.saturating_sub(posted);
    report.counts.failed = measured.failed.load(Ordering::Relaxed);
    report.per_second = PerSecond { sends: posted as f64 / seconds, deliveries: delivered as f64 / seconds };
    report.latency.insert("post", measured.post.percentiles());
    report.latency.insert("post_to_delivery", measured.delivery.percentiles());
    report.latency.insert("get", measured.get.percentiles());
    report.server = Server::between(target.pid(), before, from, to);
    report.complain(None);
    Ok(report)
}

/// Sends requests one after the other on each connection: POST if `start` has the start of the run, GET otherwise.
async fn requests(
    target: &Target,
    args: &Http,
    measured: &Arc<Measured>,
    start: Option<Instant>,
) -> anyhow::Result<()> {
    let until = clock::monotonic() + args.duration;
    let mut connections = JoinSet::new();
    for number in 0..args.rooms * args.window.max(1) {
        let (target, measured) = (target.clone(), measured.clone());
        let room = target.room(number % args.rooms.max(1));
        let mut sender = target.http().await?;
        connections.spawn(async move {
            let mut sent = 0;
            while clock::monotonic() < until {
                let began = clock::monotonic();
                let request = match start {
                    Some(start) => {
                        sent += 1;
                        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                        let body = json!({ "content": check::line(number, sent, nanos, 64) }).to_string();
                        target.messages("POST", &room, "poster", body.into())?
                    }
                    None => target.messages("GET", &room, "poster", Bytes::new())?,
                };
                let response = sender.send_request(request).await?;
                let good = response.status().is_success();
                response.into_body().collect().await?;
                let latencies = if start.is_some() { &measured.post } else { &measured.get };
                latencies.add(began.elapsed());
                match (good, start) {
                    (true, Some(_)) => measured.posted.fetch_add(1, Ordering::Relaxed),
                    (true, None) => 0,
                    (false, _) => measured.failed.fetch_add(1, Ordering::Relaxed),
                };
            }
            anyhow::Ok(())
        });
    }
    progress(format_args!("measuring {}", if start.is_some() { "POST" } else { "GET" }));
    while let Some(ended) = connections.join_next().await {
        ended??;
    }
    Ok(())
}
