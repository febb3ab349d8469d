//! The metrics of the store.

use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::clock;
use crate::histogram::{Counts, SharedHistogram};

/// The metrics of one store.
pub(super) struct Metrics {
    commits: Counter,
    bytes: Counter,
    syncs: Histogram,
    commit_times: SharedHistogram,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 0.1 ms, a disk with a battery-backed cache, to 3 s, a disk that is about to fail.
        let syncs = Histogram::new(exponential_buckets(0.000_1, 2.0, 16));
        Metrics { commits: Counter::default(), bytes: Counter::default(), syncs, commit_times: Default::default() }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("commits", "Commits of rooms that became durable", self.commits.clone());
        registry.register("commit_bytes", "Bytes of them", self.bytes.clone());
        registry.register("sync_seconds", "How long the disk took to write and sync a group", self.syncs.clone());
        registry.register(
            "commit_seconds",
            "How long a commit of a room took, from its submission until it was durable",
            self.commit_times.clone(),
        );
    }

    /// Counts a group of commits that became durable.
    pub(super) fn synced(&self, commits: usize, bytes: usize, took: Duration) {
        self.commits.inc_by(commits as u64);
        self.bytes.inc_by(bytes as u64);
        self.syncs.observe(took.as_secs_f64());
    }

    pub(super) fn commit_times(&self) -> Counts {
        self.commit_times.0.counts()
    }

    /// Counts commits that are durable now, by the times at which they were submitted.
    pub(super) fn committed(&self, submitted: &[Instant]) {
        let now = clock::monotonic();
        submitted.iter().for_each(|at| self.commit_times.0.observe(now.saturating_duration_since(*at)));
    }
}
