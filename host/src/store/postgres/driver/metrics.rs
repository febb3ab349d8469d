//! The metrics of rooms in a database.

use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::clock;
use crate::histogram::{Counts, SharedHistogram};

/// The label that says whether a statement without an answer had happened.
type Happened = [(&'static str, &'static str); 1];

/// The metrics of one driver.
pub(in crate::store) struct Metrics {
    commits: Counter,
    bytes: Counter,
    statements: Histogram,
    batch_rooms: Histogram,
    proofs: Counter,
    fenced: Counter,
    in_doubt: Family<Happened, Counter>,
    went_back: Counter,
    synchronous_standbys: Gauge,
    claims: Counter,
    claim_times: Histogram,
    hydrate_times: Histogram,
    hydrated_bytes: Counter,
    cache_hits: Counter,
    cache_misses: Counter,
    nodes_alive: Gauge,
    commit_times: SharedHistogram,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 0.2 ms, a database on this machine without a sync, to 6 s, more than the time for an answer.
        let seconds = || Histogram::new(exponential_buckets(0.000_2, 2.0, 16));
        Metrics {
            commits: Counter::default(),
            bytes: Counter::default(),
            statements: seconds(),
            batch_rooms: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            proofs: Counter::default(),
            fenced: Counter::default(),
            in_doubt: Family::default(),
            went_back: Counter::default(),
            synchronous_standbys: Gauge::default(),
            claims: Counter::default(),
            claim_times: seconds(),
            hydrate_times: seconds(),
            hydrated_bytes: Counter::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            nodes_alive: Gauge::default(),
            commit_times: SharedHistogram::default(),
        }
    }
}

impl Metrics {
    pub(in crate::store) fn register(&self, registry: &mut Registry) {
        registry.register("commits", "Commits of rooms that became durable", self.commits.clone());
        registry.register("commit_bytes", "Bytes of them", self.bytes.clone());
        registry.register(
            "commit_seconds",
            "How long a commit of a room took, from its submission until it was durable",
            self.commit_times.clone(),
        );
        registry.register(
            "store_commit_seconds",
            "How long the database took for a statement with commits or proofs",
            self.statements.clone(),
        );
        registry.register("store_batch_rooms", "Rooms of such a statement", self.batch_rooms.clone());
        registry.register("store_proofs", "Proofs that a room is still owned by this server", self.proofs.clone());
        registry.register("store_fenced", "Rooms that another server has taken", self.fenced.clone());
        registry.register(
            "store_in_doubt",
            "Rooms of statements without an answer, by whether the statement had happened",
            self.in_doubt.clone(),
        );
        registry.register(
            "store_went_back",
            "Rooms that had lost commits in the database: a standby without them, or a backup, took its place",
            self.went_back.clone(),
        );
        registry.register(
            "store_synchronous_standbys",
            "Standbys that every commit waits for",
            self.synchronous_standbys.clone(),
        );
        registry.register(
            "nodes_alive",
            "Nodes of the cluster that live, with this one; 0 without a cluster",
            self.nodes_alive.clone(),
        );
        registry.register("store_claims", "Rooms that were claimed to be opened", self.claims.clone());
        registry.register("store_claim_seconds", "How long a claim took", self.claim_times.clone());
        registry.register(
            "store_hydrate_seconds",
            "How long it took to read rooms that were not in the cache",
            self.hydrate_times.clone(),
        );
        registry.register("store_hydrated_bytes", "Bytes of them", self.hydrated_bytes.clone());
        registry.register("store_cache_hits", "Claimed rooms that the cache had", self.cache_hits.clone());
        registry.register("store_cache_misses", "Claimed rooms that were read", self.cache_misses.clone());
    }

    /// Counts a statement with commits or proofs that has ended.
    pub(super) fn round(&self, rooms: usize, proofs: usize, took: Duration) {
        self.statements.observe(took.as_secs_f64());
        self.batch_rooms.observe(rooms as f64);
        self.proofs.inc_by(proofs as u64);
    }

    pub(super) fn claimed(&self, rooms: usize, took: Duration) {
        self.claims.inc_by(rooms as u64);
        self.claim_times.observe(took.as_secs_f64());
    }

    pub(super) fn hydrated(&self, bytes: u64, took: Duration) {
        self.hydrated_bytes.inc_by(bytes);
        self.hydrate_times.observe(took.as_secs_f64());
    }

    pub(super) fn opened(&self, is_cached: bool) {
        if is_cached { &self.cache_hits } else { &self.cache_misses }.inc();
    }

    pub(super) fn fenced(&self) {
        self.fenced.inc();
    }

    pub(super) fn in_doubt(&self, happened: bool) {
        let happened = if happened { "yes" } else { "no" };
        self.in_doubt.get_or_create(&[("happened", happened)]).inc();
    }

    pub(super) fn went_back(&self) {
        self.went_back.inc();
    }

    pub(super) fn set_nodes(&self, living: usize) {
        self.nodes_alive.set(living as i64);
    }

    pub(super) fn set_synchronous_standbys(&self, standbys: i64) {
        self.synchronous_standbys.set(standbys);
    }

    /// Counts a commit that is durable now, by the time at which it was submitted.
    pub(super) fn committed(&self, bytes: usize, at: Instant) {
        self.commits.inc();
        self.bytes.inc_by(bytes as u64);
        self.commit_times.0.observe(clock::since(at));
    }

    pub(in crate::store) fn commit_times(&self) -> Counts {
        self.commit_times.0.counts()
    }
}
