//! What the store counts, for an operator to see.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Numbers of one store.
pub(super) struct Metrics {
    commits: Counter,
    bytes: Counter,
    syncs: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        // From a disk with a battery, 0.1 ms, to one that is about to fail, 3 s.
        let syncs = Histogram::new(exponential_buckets(0.000_1, 2.0, 16));
        Metrics { commits: Counter::default(), bytes: Counter::default(), syncs }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("commits", "Commits of rooms that became durable", self.commits.clone());
        registry.register("commit_bytes", "Bytes of them", self.bytes.clone());
        registry.register("sync_seconds", "How long the disk took to write and sync a group", self.syncs.clone());
    }

    /// A group of commits became durable.
    pub(super) fn synced(&self, commits: usize, bytes: usize, took: Duration) {
        self.commits.inc_by(commits as u64);
        self.bytes.inc_by(bytes as u64);
        self.syncs.observe(took.as_secs_f64());
    }
}
