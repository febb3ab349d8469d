//! `GET /overview`: the whole server in one answer, with its last quarter of an hour, for the first page of the
//! dashboard.

use std::time::Duration;

use hyper::Response;
use serde_json::{Value, json};

use super::Admin;
use super::request::AdminRequest;
use crate::clock;
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::refusals::Refusal;
use crate::histogram::Counts;
use crate::history::Sample;
use crate::limits::HISTORY_EVERY;

/// Percentiles of the answer are those of about so much time.
const WINDOW: Duration = Duration::from_secs(60);
/// Rates are means over so much time at least.
const RATE_WINDOW: Duration = Duration::from_secs(4);

impl Admin {
    /// Samples the numbers of the host, for ever.
    pub(super) async fn keep_history(&self) {
        loop {
            self.history.add(self.sample());
            clock::sleep(HISTORY_EVERY).await;
        }
    }

    pub(super) fn sample(&self) -> Sample {
        let mut sample = Sample::now();
        sample.memory_bytes = self.edge.pressure.has_bytes();
        self.edge.rooms.sample(&mut sample);
        self.edge.metrics.sample(&mut sample);
        sample
    }

    /// `GET /overview`
    pub(super) async fn overview(&self, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        let since = request.parsed("since", "the `at` of an earlier answer")?.unwrap_or(0);
        request.no_more_parameters()?;
        let rooms = self.edge.rooms.clone();
        let disk_bytes = tokio::task::spawn_blocking(move || rooms.disk_bytes()).await;
        let disk_bytes = disk_bytes.expect("reading a size does not panic");
        let now = self.sample();
        let begin = |age| self.history.before(&now, age).unwrap_or_else(|| now.clone());
        let (window, rate_window) = (begin(WINDOW), begin(RATE_WINDOW));
        let ready = self.edge.ready();
        let pressure = &self.edge.pressure;
        Ok(json_response(&json!({
            "at": now.at,
            "version": env!("CARGO_PKG_VERSION"),
            "uptimeSeconds": clock::since(self.began).as_secs(),
            "ready": ready.is_ok(),
            "notReadyBecause": ready.err().map(|not| not.to_string()),
            "rooms": now.rooms,
            "awakeRooms": now.awake,
            "mostAwakeRooms": self.edge.limits.awake_rooms,
            "sockets": now.sockets,
            "connections": now.connections,
            "memoryBytes": now.memory_bytes,
            "mostMemoryBytes": pressure.max_bytes(),
            "underPressure": pressure.is_high(),
            "diskBytes": disk_bytes,
            "messagesIn": now.messages_in,
            "messagesOut": now.messages_out,
            "turns": now.turns,
            "wakes": now.wakes,
            "cpuSeconds": now.cpu.as_secs_f64(),
            "perSecond": rates(&rate_window, &now),
            "latency": {
                "seconds": now.seconds_since(&window).round(),
                "turn": percentiles(&window.turn, &now.turn),
                "commit": percentiles(&window.commit, &now.commit),
                "delivery": percentiles(&window.delivery, &now.delivery),
                "wake": percentiles(&window.wake, &now.wake),
            },
            "limitsMet": counted("limit", self.edge.metrics.limits_met()),
            "failures": counted("cause", self.edge.rooms.failures()),
            "history": plotted(&self.history.since(since)),
        })))
    }
}

/// The growth of a sum in a second.
fn rate(before: &Sample, now: &Sample, of: impl Fn(&Sample) -> u64) -> f64 {
    of(now).saturating_sub(of(before)) as f64 / now.seconds_since(before)
}

fn rates(before: &Sample, now: &Sample) -> Value {
    json!({
        "messagesIn": rate(before, now, |sample| sample.messages_in),
        "messagesOut": rate(before, now, |sample| sample.messages_out),
        "turns": rate(before, now, |sample| sample.turns),
        "wakes": rate(before, now, |sample| sample.wakes),
        "cpu": cpu(before, now),
    })
}

/// The cores that were busy: 1 is a whole one.
fn cpu(before: &Sample, now: &Sample) -> f64 {
    now.cpu.saturating_sub(before.cpu).as_secs_f64() / now.seconds_since(before)
}

fn percentiles(before: &Counts, now: &Counts) -> Value {
    let counts = now.since(before);
    json!({ "count": counts.total(), "p50": counts.percentile(0.5), "p99": counts.percentile(0.99) })
}

fn counted(what: &str, counts: Vec<(&'static str, u64)>) -> Value {
    counts.into_iter().map(|(name, count)| json!({ what: name, "count": count })).collect()
}

/// The points of the plots: a list for each line, all of the same length.
fn plotted(samples: &[(Sample, Sample)]) -> Value {
    let all = |value: fn(&Sample, &Sample) -> Value| {
        samples.iter().map(|(before, sample)| value(before, sample)).collect::<Value>()
    };
    json!({
        "at": all(|_, now| now.at.into()),
        "messagesIn": all(|before, now| rate(before, now, |sample| sample.messages_in).into()),
        "messagesOut": all(|before, now| rate(before, now, |sample| sample.messages_out).into()),
        "turnP50": all(|before, now| now.turn.since(&before.turn).percentile(0.5).into()),
        "turnP99": all(|before, now| now.turn.since(&before.turn).percentile(0.99).into()),
        "commitP50": all(|before, now| now.commit.since(&before.commit).percentile(0.5).into()),
        "commitP99": all(|before, now| now.commit.since(&before.commit).percentile(0.99).into()),
        "sockets": all(|_, now| now.sockets.into()),
        "awakeRooms": all(|_, now| now.awake.into()),
        "memoryBytes": all(|_, now| now.memory_bytes.into()),
        "cpu": all(|before, now| cpu(before, now).into()),
    })
}
