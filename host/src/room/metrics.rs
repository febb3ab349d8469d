//! The metrics of rooms.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::guest::TurnFailure;
use crate::histogram::{ByNamespace, Counts, Histogram};
use crate::history::Sample;
use crate::named_counters::NamedCounters;

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
    /// Messages to clients, once for each receiver.
    pub(super) deliveries: Counter,
    /// Tried posts, by outcome.
    pub(super) posts: Family<[(&'static str, &'static str); 1], Counter>,
    pub(super) failures: NamedCounters,
    /// By namespace.
    pub(super) times: BTreeMap<String, Arc<Times>>,
}

/// Durations of one namespace.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// The CPU of turns, also of failed ones.
    pub(super) turn_cpu: Histogram,
    /// From the need of an instance until it is there.
    pub(super) wake: Histogram,
    /// From the moment when a room takes an event until the messages of its turn were written, or left to the task of
    /// a slow connection.
    pub(super) delivery: Histogram,
}

/// The name and the help text of a histogram, and where it is.
type Measured = (&'static str, &'static str, fn(&Times) -> &Histogram);

impl Metrics {
    pub(super) fn new<'a>(namespaces: impl Iterator<Item = &'a String>) -> Self {
        let times = namespaces.map(|name| (name.clone(), Arc::default())).collect();
        Metrics { times, ..Metrics::default() }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("rooms", "Rooms in memory, awake or asleep", self.rooms.clone());
        registry.register("instances", "Rooms with an instance", self.instances.clone());
        registry.register("turns", "Turns that succeeded", self.turns.clone());
        registry.register(
            "deliveries",
            "Messages of rooms to sockets, once for each receiver, counted before they are sent",
            self.deliveries.clone(),
        );
        registry.register("wakes", "Instances that were made", self.wakes.clone());
        registry.register("posts", "Posts that were tried, by outcome", self.posts.clone());
        self.failures.register(registry, "failures", "Turns that failed and were undone, by cause");
        let histograms: [Measured; 3] = [
            ("turn_cpu_seconds", "CPU time of turns, also of failed ones.", |times| &times.turn_cpu),
            ("wake_seconds", "How long it took to make an instance, with the wait for its place.", |times| &times.wake),
            (
                "delivery_seconds",
                "From the moment when a room takes an event until the messages of its turn are written.",
                |times| &times.delivery,
            ),
        ];
        for (name, help, histogram) in histograms {
            let namespaces = self.times.iter().map(|(name, times)| (name.clone(), times.clone())).collect();
            registry.register_collector(Box::new(ByNamespace { name, help, namespaces, histogram }));
        }
    }

    /// Adds the numbers of rooms to a sample.
    pub(super) fn sample(&self, sample: &mut Sample) {
        let gauge = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        sample.rooms = gauge(&self.rooms);
        sample.awake = gauge(&self.instances);
        sample.messages_out = self.deliveries.get();
        sample.turns = self.turns.get();
        sample.wakes = self.wakes.get();
        let sum = |histogram: fn(&Times) -> &Histogram| {
            let mut sum = Counts::default();
            self.times.values().for_each(|times| sum.add(&histogram(times).counts()));
            sum
        };
        sample.turn = sum(|times| &times.turn_cpu);
        sample.wake = sum(|times| &times.wake);
        sample.delivery = sum(|times| &times.delivery);
    }

    /// Counts a failed turn.
    pub(super) fn failed(&self, failure: &TurnFailure) {
        self.failures.count("cause", cause(failure));
    }

    /// Counts a turn that failed because there was no space for its writes.
    pub(super) fn found_no_space(&self) {
        self.failures.count("cause", "space");
    }
}

/// The cause of a failed turn in one word, for counts and spans.
pub(super) fn cause(failure: &TurnFailure) -> &'static str {
    match failure {
        TurnFailure::Guest(_) | TurnFailure::Wake(_) | TurnFailure::DataVersion { .. } => "guest",
        TurnFailure::Migration { cause: failure, .. } => cause(failure),
        TurnFailure::Cpu { .. } => "cpu",
        TurnFailure::Memory { .. } => "memory",
        TurnFailure::Tables { .. } => "tables",
        TurnFailure::Trap { .. } => "trap",
        TurnFailure::Instantiate(_) => "instantiate",
        TurnFailure::Host(_) => "host",
    }
}
