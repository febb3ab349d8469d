//! Spans over OTLP: what a request, a turn, a commit and a call took, and where each belongs in a trace.
//!
//! ```text
//! span.rs      a span that is under way            queue.rs     spans that have ended, and the counts of lost ones
//! parent.rs    the headers of W3C Trace Context    exporter.rs  sends them to the collector
//!                                                  headers.rs   the file with the headers for the collector
//! ```
//!
//! It decides which traces are recorded, and knows no rooms and no HTTP of clients: `edge` and `room` begin spans. A
//! host without `[telemetry]` has no [`Telemetry`], and all that is left of this is a look at an `Option`.

mod exporter;
mod headers;
mod parent;
mod queue;
mod span;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::trace::{SpanContext, TraceId, TraceState};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::queue::SpanQueue;
use self::span::{below, context};
use crate::clock;
use crate::config::TrustParent;
use crate::lock::Lock;
use crate::random;

pub use self::exporter::{Exporter, TelemetryError};
pub(crate) use self::span::{Place, Span, SpanKind};

/// How long a shutdown waits for an exporter that does not keep its deadline.
const LATE: Duration = Duration::from_millis(100);

/// The spans of one host. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    sampler: Sampler,
    trust_parent: TrustParent,
    queue: SpanQueue,
    /// When the exporter must be done; absent until the shutdown.
    deadline: watch::Sender<Option<Instant>>,
    exporting: Lock<Option<JoinHandle<()>>>,
}

/// A header of a request: its name and its bytes.
pub(crate) type Header<'a> = (&'a str, &'a [u8]);

impl Telemetry {
    /// Starts to send spans. Call it in a tokio runtime.
    pub fn start(exporter: Exporter) -> Self {
        let (sample, trust_parent) = (exporter.sample, exporter.trust_parent);
        let (queue, ended) = SpanQueue::new();
        let (deadline, until) = watch::channel(None);
        let exporting = tokio::spawn(exporter.run(ended, queue.counts().clone(), until));
        let (sampler, exporting) = (Sampler::TraceIdRatioBased(sample), Lock::new(Some(exporting)));
        Telemetry(Arc::new(Inner { sampler, trust_parent, queue, deadline, exporting }))
    }

    /// Begins the span of a client's request. The trace of its headers goes on; whether it is recorded is the client's
    /// to say only if the operator trusts it. A trace id proves nothing, because a client can choose one that is
    /// always sampled. From other clients `tracestate` is dropped: it is text of their choice, and would go to the
    /// collector and to the servers that rooms call.
    pub(crate) fn serve<'a>(
        &self,
        name: &'static str,
        headers: impl Iterator<Item = Header<'a>>,
        is_from_proxy: bool,
    ) -> Span {
        let is_trusted = match self.0.trust_parent {
            TrustParent::None => false,
            TrustParent::Proxies => is_from_proxy,
            TrustParent::All => true,
        };
        let parent = parent::read(headers);
        let context = match &parent {
            Some(parent) if is_trusted => below(parent),
            Some(parent) => context(parent.trace_id(), self.samples(trace_id()), TraceState::default()),
            None => self.new_trace(),
        };
        self.begin(context, parent.as_ref(), name, SpanKind::Server)
    }

    /// Begins a span below the one that the headers of a request name. The host wrote them, or the code of an embedder,
    /// so they decide what is recorded. Without them a new trace begins.
    pub(crate) fn follow<'a>(
        &self,
        name: &'static str,
        kind: SpanKind,
        headers: impl Iterator<Item = Header<'a>>,
    ) -> Span {
        let parent = parent::read(headers);
        let context = parent.as_ref().map_or_else(|| self.new_trace(), below);
        self.begin(context, parent.as_ref(), name, kind)
    }

    fn begin(
        &self,
        context: SpanContext,
        parent: Option<&SpanContext>,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
    ) -> Span {
        Span::begin(self.0.queue.clone(), context, parent, name, kind)
    }

    fn new_trace(&self) -> SpanContext {
        let trace_id = trace_id();
        context(trace_id, self.samples(trace_id), TraceState::default())
    }

    fn samples(&self, trace_id: TraceId) -> bool {
        let result = self.0.sampler.should_sample(None, trace_id, "", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }

    /// Sends the spans that wait, and ends within this time. Spans that end later are lost.
    pub(crate) async fn shutdown(&self, within: Duration) {
        self.0.deadline.send_replace(Some(clock::monotonic() + within));
        let Some(exporting) = self.0.exporting.lock().take() else { return };
        let abort = exporting.abort_handle();
        if clock::timeout(within + LATE, exporting).await.is_err() {
            abort.abort();
        }
    }

    /// Registers the counts of spans.
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.0.queue.counts().register(registry);
    }
}

fn trace_id() -> TraceId {
    TraceId::from_bytes(random::bytes())
}
