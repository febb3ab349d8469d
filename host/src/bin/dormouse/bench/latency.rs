//! Latencies of many sockets in one histogram, split into shards so that threads rarely wait for each other.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Enough shards that two threads rarely need the same one.
const SHARDS: usize = 16;
/// The longest recorded latency; a longer one counts as this.
const LONGEST: Duration = Duration::from_secs(120);

/// A histogram that any thread can record in. It holds nanoseconds, with three significant digits.
pub(super) struct Latencies(Vec<Mutex<Histogram<u64>>>);

/// The result of a histogram, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Percentiles {
    pub(super) count: u64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

/// Percentiles, by the name of the measurement.
pub(super) type ByKey = BTreeMap<&'static str, Percentiles>;

impl Default for Latencies {
    fn default() -> Self {
        let new = || Histogram::new_with_max(LONGEST.as_nanos() as u64, 3).expect("the bounds are good");
        Latencies((0..SHARDS).map(|_| Mutex::new(new())).collect())
    }
}

impl Latencies {
    /// Records latencies of a socket. `number` identifies the socket and selects the shard.
    pub(super) fn record(&self, number: usize, nanos: impl IntoIterator<Item = u64>) {
        let mut shard = self.0[number % SHARDS].lock().expect("no holder of this lock panics");
        nanos.into_iter().for_each(|nanos| shard.saturating_record(nanos.max(1)));
    }

    pub(super) fn add(&self, took: Duration) {
        self.record(0, [u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)]);
    }

    pub(super) fn percentiles(&self) -> Percentiles {
        let mut shards = self.0.iter().map(|shard| shard.lock().expect("no holder of this lock panics").clone());
        let mut all = shards.next().expect("there is more than one");
        shards.for_each(|shard| all.add(shard).expect("all have the same bounds"));
        let micros = |nanos: u64| nanos as f64 / 1_000.0;
        let at = |quantile| micros(all.value_at_quantile(quantile));
        Percentiles {
            count: all.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(all.max()),
        }
    }
}
