//! Sends spans that have ended to the collector: in batches, one at a time, over HTTP. A collector that is down or slow
//! costs spans, and nothing else: they wait in a bounded queue, and those that do not fit are counted.
//!
//! It does not know how spans begin and end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::Message;
use tokio::sync::{mpsc, watch};

use super::headers;
use super::queue::{Counts, Lost};
use crate::clock;
use crate::config::{Config, TrustParent};
use crate::file_problem::FileProblem;
use crate::limits::{
    COLLECTOR_ANSWER_BYTES, COLLECTOR_LINES_EVERY, COLLECTOR_TIMEOUT, COLLECTOR_TRIES, COLLECTOR_WAIT, SPANS_A_BATCH,
    SPANS_WAIT,
};
use crate::model::{Request, Response};
use crate::outbound::{Allowed, HttpClient};

/// Why spans cannot be sent. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The file with the headers cannot be used.
    #[error("telemetry.headers_file: {path} cannot be read")]
    Headers {
        /// The file.
        path: PathBuf,
        /// The problem.
        source: FileProblem,
    },
}

/// The way to the collector, before it is used.
pub struct Exporter {
    collector: Collector,
    pub(super) sample: f64,
    pub(super) trust_parent: TrustParent,
}

struct Collector {
    client: HttpClient,
    /// The origin of the collector, and nothing else.
    allowed: Allowed,
    origin: String,
    path: String,
    headers: Vec<(String, String)>,
    resource: ResourceAttributesWithSchema,
}

/// The task that sends.
struct Task {
    collector: Collector,
    queue: mpsc::Receiver<SpanData>,
    deadline: watch::Receiver<Option<Instant>>,
    counts: Counts,
    complaints: Complaints,
}

/// The result of one try.
enum Tried {
    /// The collector has them, but for so many that it refused.
    Taken { refused: u64 },
    /// It will never take them.
    Refused(String),
    /// It may take them later, after this time if it says one.
    NotNow(String, Option<Duration>),
}

impl Exporter {
    /// Makes the exporter that the configuration names; absent if it names none. It reads the file of the headers, and
    /// sends nothing.
    pub fn new(config: &Config, client: &HttpClient) -> Result<Option<Self>, TelemetryError> {
        let Some(telemetry) = &config.telemetry else { return Ok(None) };
        let headers = telemetry
            .headers_file
            .as_ref()
            .map(|path| headers::read(path).map_err(|source| TelemetryError::Headers { path: path.clone(), source }));
        let mut headers = headers.transpose()?.unwrap_or_default();
        headers.push(("content-type".into(), "application/x-protobuf".into()));
        let origin = telemetry.otlp.origin();
        let pattern = origin.parse().expect("the address was checked when it was read");
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", telemetry.service.clone()),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        let collector = Collector {
            client: client.clone(),
            allowed: Allowed { public: Vec::new(), private: vec![pattern] },
            origin,
            path: telemetry.otlp.traces_path(),
            headers,
            resource: ResourceAttributesWithSchema::from(&resource),
        };
        Ok(Some(Exporter { collector, sample: telemetry.sample, trust_parent: telemetry.trust_parent }))
    }

    /// Sends spans until the queue is closed and empty, or the deadline of the shutdown has passed.
    pub(super) async fn run(
        self,
        queue: mpsc::Receiver<SpanData>,
        counts: Counts,
        deadline: watch::Receiver<Option<Instant>>,
    ) {
        let complaints = Complaints { last: None, lost_then: counts.all_lost() };
        Task { collector: self.collector, queue, deadline, counts, complaints }.run().await;
    }
}

impl Task {
    async fn run(mut self) {
        let mut batch = Vec::new();
        while self.gather(&mut batch).await {
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    /// Waits for spans, and a moment longer for more of them. Returns false when all are sent and no more can come.
    async fn gather(&mut self, batch: &mut Vec<SpanData>) -> bool {
        let mut until = None;
        loop {
            let last = async {
                match until {
                    Some(until) => clock::timer_at(until).await,
                    None => std::future::pending().await,
                }
            };
            let (is_closed, space) = (self.queue.is_closed(), SPANS_A_BATCH - batch.len());
            tokio::select! {
                biased;
                more = self.queue.recv_many(batch, space) => {
                    if more == 0 || batch.len() == SPANS_A_BATCH {
                        return !batch.is_empty();
                    }
                    until.get_or_insert_with(|| clock::monotonic() + SPANS_WAIT);
                }
                () = last => return true,
                // All that waits is received without a pause from now on.
                _ = self.deadline.changed(), if !is_closed => self.queue.close(),
            }
        }
    }

    /// Sends a batch, and tries again for a while if the collector cannot take it now.
    async fn send(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len() as u64;
        let body = self.collector.body(batch);
        let mut tries = 0;
        loop {
            tries += 1;
            let deadline = *self.deadline.borrow();
            let (lost, problem) = match self.try_once(&body).await {
                Tried::Taken { refused } => {
                    self.counts.sent.inc_by(spans.saturating_sub(refused));
                    if refused > 0 {
                        self.counts.lose(Lost::Refused, refused);
                        self.complain(Some("it refused some of them"));
                    } else {
                        self.complain(None);
                    }
                    return;
                }
                Tried::Refused(problem) => (Lost::Refused, problem),
                Tried::NotNow(problem, asked) if tries < COLLECTOR_TRIES && deadline.is_none() => {
                    self.complain(Some(&problem));
                    let wait = asked.unwrap_or(Duration::from_secs(1 << (tries - 1))).min(COLLECTOR_WAIT);
                    tokio::select! {
                        () = clock::sleep(wait) => {}
                        // One more try, without a pause.
                        _ = self.deadline.changed() => self.queue.close(),
                    }
                    continue;
                }
                Tried::NotNow(problem, _) if deadline.is_some() => (Lost::Shutdown, problem),
                Tried::NotNow(problem, _) => (Lost::Collector, problem),
            };
            self.counts.lose(lost, spans);
            self.complain(Some(&problem));
            return;
        }
    }

    /// Sends a batch once. A shutdown that begins meanwhile cuts it off at its deadline.
    async fn try_once(&mut self, body: &[u8]) -> Tried {
        let no_time = || Tried::NotNow("no answer in time".into(), None);
        let sending = self.collector.send(body.to_vec());
        let mut deadline = self.deadline.clone();
        let cut_off = async {
            // It fails if the host is gone without a shutdown.
            if let Ok(Some(deadline)) = deadline.wait_for(Option::is_some).await.map(|deadline| *deadline) {
                clock::timer_at(deadline).await;
            }
        };
        tokio::select! {
            biased;
            tried = sending => tried,
            () = cut_off => no_time(),
        }
    }

    fn complain(&mut self, problem: Option<&str>) {
        let lost = self.counts.all_lost();
        if let Some(lost) = self.complaints.take(problem.is_some(), lost, clock::monotonic()) {
            let problem = problem.unwrap_or("more spans end than can be sent");
            let collector = &self.collector.origin;
            tracing::warn!(
                collector,
                lost,
                problem,
                "spans do not reach the collector of telemetry.otlp; all else works"
            );
        }
    }
}

impl Collector {
    fn body(&self, batch: Vec<SpanData>) -> Vec<u8> {
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    async fn send(&self, body: Vec<u8>) -> Tried {
        let (method, path, headers) = ("POST".into(), self.path.clone(), self.headers.clone());
        let request = Request { method, path, headers, body, ..Request::default() };
        let (client, allowed, origin) = (&self.client, &self.allowed, &self.origin);
        match client.fetch_up_to(allowed, origin, request, COLLECTOR_TIMEOUT, COLLECTOR_ANSWER_BYTES).await {
            Ok(response) => tried(&response),
            Err(error) => Tried::NotNow(error.to_string(), None),
        }
    }
}

/// The meaning of an answer, as the specification of OTLP has it.
fn tried(response: &Response) -> Tried {
    let problem = || format!("it answered {}", response.status);
    match response.status {
        200..=299 => {
            let answer = ExportTraceServiceResponse::decode(&response.body[..]).unwrap_or_default();
            let refused = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
            Tried::Taken { refused: refused.try_into().unwrap_or(0) }
        }
        429 | 502 | 503 | 504 => {
            let asked = response.headers.iter().find(|(name, _)| name == "retry-after");
            Tried::NotNow(problem(), asked.and_then(|(_, seconds)| seconds.parse().ok()).map(Duration::from_secs))
        }
        _ => Tried::Refused(problem()),
    }
}

/// When the log had the last line about lost spans.
struct Complaints {
    last: Option<Instant>,
    /// How many were lost then.
    lost_then: u64,
}

impl Complaints {
    /// Whether a line is due now, and how many spans were lost since the one before.
    fn take(&mut self, is_problem: bool, lost: u64, now: Instant) -> Option<u64> {
        let since = lost - self.lost_then;
        let is_quiet = self.last.is_none_or(|last| now.saturating_duration_since(last) >= COLLECTOR_LINES_EVERY);
        if !is_quiet || (!is_problem && since == 0) {
            return None;
        }
        (self.last, self.lost_then) = (Some(now), lost);
        Some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_spans_are_logged_once_a_minute_with_their_number() {
        let now = clock::monotonic();
        let mut complaints = Complaints { last: None, lost_then: 0 };
        assert_eq!(complaints.take(false, 0, now), None);
        assert_eq!(complaints.take(true, 3, now), Some(3));
        assert_eq!(complaints.take(true, 10, now + Duration::from_secs(59)), None);
        assert_eq!(complaints.take(false, 10, now + Duration::from_secs(60)), Some(7));
        assert_eq!(complaints.take(false, 10, now + Duration::from_secs(200)), None);
    }
}
