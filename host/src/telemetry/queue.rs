//! Spans that have ended and wait for the exporter, and how many were sent and lost. It is bounded: a collector that
//! does not work must not cost memory.

use std::sync::Arc;

use opentelemetry_sdk::trace::SpanData;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::limits::SPANS_WAITING;

/// The way into the queue. Cheap to clone.
#[derive(Clone)]
pub(super) struct SpanQueue(Arc<Inner>);

struct Inner {
    sender: mpsc::Sender<SpanData>,
    counts: Counts,
}

/// Spans by their fate.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) sent: Counter,
    lost: Family<[(&'static str, &'static str); 1], Counter>,
}

/// Why spans are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// Too many spans waited.
    Queue,
    /// The collector could not be reached, or stayed busy.
    Collector,
    /// The collector refused them.
    Refused,
    /// There was no time left at the shutdown.
    Shutdown,
}

impl SpanQueue {
    pub(super) fn new() -> (Self, mpsc::Receiver<SpanData>) {
        let (sender, receiver) = mpsc::channel(SPANS_WAITING);
        (SpanQueue(Arc::new(Inner { sender, counts: Counts::default() })), receiver)
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// A span has ended. It is lost if too many wait.
    pub(super) fn push(&self, span: SpanData) {
        match self.0.sender.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.0.counts.lose(Lost::Queue, 1),
            Err(TrySendError::Closed(_)) => self.0.counts.lose(Lost::Shutdown, 1),
        }
    }
}

impl Counts {
    pub(super) fn lose(&self, lost: Lost, spans: u64) {
        self.lost.get_or_create(&[("reason", lost.name())]).inc_by(spans);
    }

    pub(super) fn all_lost(&self) -> u64 {
        let reasons = [Lost::Queue, Lost::Collector, Lost::Refused, Lost::Shutdown];
        reasons.iter().map(|lost| self.lost.get_or_create(&[("reason", lost.name())]).get()).sum()
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("spans_sent", "Spans that the collector has accepted", self.sent.clone());
        registry.register("spans_lost", "Spans that no collector got, by the reason", self.lost.clone());
    }
}

impl Lost {
    fn name(self) -> &'static str {
        match self {
            Lost::Queue => "queue",
            Lost::Collector => "collector",
            Lost::Refused => "refused",
            Lost::Shutdown => "shutdown",
        }
    }
}
