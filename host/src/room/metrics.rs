//! The metrics of rooms.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::guest::TurnFailure;

/// The metrics of all rooms of a host.
#[derive(Default)]
pub(super) struct Metrics {
    /// Rooms in memory, awake or asleep.
    pub(super) rooms: Gauge,
    /// Rooms with an instance.
    pub(super) instances: Gauge,
    /// Turns that succeeded.
    pub(super) turns: Counter,
    pub(super) wakes: Counter,
    /// Tried posts, by outcome.
    pub(super) posts: Family<[(&'static str, &'static str); 1], Counter>,
    failures: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("rooms", "Rooms in memory, awake or asleep", self.rooms.clone());
        registry.register("instances", "Rooms with an instance", self.instances.clone());
        registry.register("turns", "Turns that succeeded", self.turns.clone());
        registry.register("wakes", "Instances that were made", self.wakes.clone());
        registry.register("posts", "Posts that were tried, by outcome", self.posts.clone());
        registry.register("failures", "Turns that failed and were undone, by cause", self.failures.clone());
    }

    /// Counts a failed turn.
    pub(super) fn failed(&self, failure: &TurnFailure) {
        let cause = match failure {
            TurnFailure::Guest(_) => "guest",
            TurnFailure::Cpu { .. } => "cpu",
            TurnFailure::Memory { .. } => "memory",
            TurnFailure::Tables { .. } => "tables",
            TurnFailure::Trap { .. } => "trap",
            TurnFailure::Instantiate(_) => "instantiate",
            TurnFailure::Host(_) => "host",
        };
        self.failures.get_or_create(&[("cause", cause)]).inc();
    }

    /// Counts a turn that failed because there was no space for its writes.
    pub(super) fn found_no_space(&self) {
        self.failures.get_or_create(&[("cause", "space")]).inc();
    }
}
