//! The metrics of links and hand-overs.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::departures::Outcome;

/// The metrics of a node.
pub(super) struct Metrics {
    pub(super) links: Gauge,
    pub(super) queued_bytes: Gauge,
    pub(super) clients: Gauge,
    hand_overs: Family<Label, Counter>,
    hand_over_times: Histogram,
    followed: Family<Label, Counter>,
}

/// How a hand-over ended, or whether a socket followed.
type Label = [(&'static str, &'static str); 1];

impl Default for Metrics {
    fn default() -> Self {
        let (links, queued_bytes, clients, hand_overs, followed) = Default::default();
        // From 1 ms to 8 s, more than a hand-over may take.
        let hand_over_times = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        Metrics { links, queued_bytes, clients, hand_overs, hand_over_times, followed }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("links", "Open links to and from other nodes of the cluster", self.links.clone());
        registry.register(
            "link_queued_bytes",
            "Bytes that wait to be sent to clients at other nodes",
            self.queued_bytes.clone(),
        );
        registry.register("link_sockets", "Sockets of other nodes in rooms of this one", self.clients.clone());
        registry.register(
            "hand_overs",
            "Rooms that were to go to another node, by how that ended: left, stayed here, lost with their sockets",
            self.hand_overs.clone(),
        );
        registry.register(
            "hand_over_seconds",
            "How long a room took to go to another node, during which it ran no turns",
            self.hand_over_times.clone(),
        );
        registry.register(
            "hand_over_sockets",
            "Sockets of this node whose room went to another one, by whether they followed; others were closed with 1012",
            self.followed.clone(),
        );
    }

    /// The hand-over of a room has ended after this time.
    pub(super) fn handed_over(&self, outcome: Outcome, took: Duration) {
        let result = match outcome {
            Outcome::Left => "left",
            Outcome::Stays => "stayed",
            Outcome::Lost => "lost",
        };
        self.hand_overs.get_or_create(&[("result", result)]).inc();
        if outcome == Outcome::Left {
            self.hand_over_times.observe(took.as_secs_f64());
        }
    }

    /// The room of a socket of this node went to another one.
    pub(super) fn followed(&self, has_followed: bool) {
        self.followed.get_or_create(&[("followed", if has_followed { "yes" } else { "no" })]).inc();
    }
}
