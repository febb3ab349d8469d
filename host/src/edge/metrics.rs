//! The metrics of the edge.
//!
//! It decides nothing: the other modules of the edge count here, and the admin listener shows the numbers.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::history::Sample;
use crate::limit_hits::{Limit, LimitHits};

/// The metrics of one host's edge.
pub(super) struct Metrics {
    pub(super) connections: Gauge,
    pub(super) sockets: Gauge,
    /// Messages of sockets that the rate limits let pass.
    pub(super) messages: Counter,
    limit_hits: LimitHits,
    requests: Family<[(&'static str, &'static str); 1], Counter>,
    closes: Family<[(&'static str, u16); 1], Counter>,
}

impl Metrics {
    /// Starts at 0. Refusals of the edge are counted together with those of rooms.
    pub(super) fn new(refusals: LimitHits) -> Self {
        Metrics {
            connections: Gauge::default(),
            sockets: Gauge::default(),
            messages: Counter::default(),
            limit_hits: refusals,
            requests: Family::default(),
            closes: Family::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Connections that are open", self.connections.clone());
        registry.register("sockets", "WebSockets and streams of events that are open", self.sockets.clone());
        registry.register("messages", "Messages of clients that were taken", self.messages.clone());
        registry.register(
            "requests",
            "HTTP requests below the base path that were answered, by status class",
            self.requests.clone(),
        );
        registry.register("closes", "Sockets that were closed, by code", self.closes.clone());
    }

    /// The counters of refusals, for those who count without the rest of the edge.
    pub(super) fn limit_hits(&self) -> LimitHits {
        self.limit_hits.clone()
    }

    /// Adds the numbers of the edge to a sample.
    pub(super) fn sample(&self, sample: &mut Sample) {
        let gauge = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        sample.connections = gauge(&self.connections);
        sample.sockets = gauge(&self.sockets);
        sample.messages_in = self.messages.get();
    }

    /// The limits that were met, with how often.
    pub(super) fn limits_met(&self) -> Vec<(&'static str, u64)> {
        self.limit_hits.all()
    }

    /// A limit was met.
    pub(super) fn refused(&self, refused: Limit) {
        self.limit_hits.count(refused);
    }

    /// A request was answered.
    pub(super) fn answered(&self, status: u16) {
        let class = match status {
            100..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&[("status", class)]).inc();
    }

    /// Counts a closed socket by the code that its room got. Codes that rooms choose are counted as 0.
    pub(super) fn closed(&self, code: u16) {
        let code = if code < 3_000 || (4_400..4_500).contains(&code) { code } else { 0 };
        self.closes.get_or_create(&[("code", code)]).inc();
    }
}
