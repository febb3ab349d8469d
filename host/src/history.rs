//! The last minutes of a host in numbers, for the plots of the dashboard: a ring of samples in memory.
//!
//! Nothing is counted for it: a sample reads the metrics. One task takes the samples (`edge::admin`), and one file
//! makes answers of them (`edge::admin::overview`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{self, UnixMillis};
use crate::histogram::Counts;
use crate::limits::HISTORY_SAMPLES;
use crate::lock::Lock;

/// The numbers of a host at one moment. Those of the second part are sums since its start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) at: UnixMillis,
    /// The same on the steady clock, in milliseconds.
    pub(crate) steady: u64,
    pub(crate) connections: u64,
    pub(crate) sockets: u64,
    /// Rooms in memory, and those of them with an instance.
    pub(crate) rooms: u64,
    pub(crate) awake: u64,
    pub(crate) memory_bytes: u64,

    /// The CPU time of the process.
    pub(crate) cpu: Duration,
    /// Messages of clients, and messages to clients, once for each receiver.
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) turns: u64,
    pub(crate) wakes: u64,
    /// The CPU time of turns, and other times, over all namespaces.
    pub(crate) turn: Counts,
    pub(crate) wake: Counts,
    pub(crate) delivery: Counts,
    pub(crate) commit: Counts,
}

impl Sample {
    /// An empty sample of this moment.
    pub(crate) fn now() -> Self {
        Sample {
            at: clock::unix_millis(),
            steady: clock::steady_millis(),
            cpu: clock::process_cpu(),
            ..Sample::default()
        }
    }

    /// Seconds since an earlier sample; a little more than 0 at least.
    pub(crate) fn seconds_since(&self, earlier: &Sample) -> f64 {
        self.steady.saturating_sub(earlier.steady).max(1) as f64 / 1e3
    }
}

/// The last samples, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct History(Lock<VecDeque<Sample>>);

impl History {
    /// Adds a sample. The oldest one makes room.
    pub(crate) fn add(&self, sample: Sample) {
        let mut samples = self.0.lock();
        if samples.len() == HISTORY_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The newest sample that is at least so old; the oldest if none is.
    pub(crate) fn before(&self, now: &Sample, age: Duration) -> Option<Sample> {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let samples = self.0.lock();
        let old_enough = samples.iter().rev().find(|sample| now.steady.saturating_sub(sample.steady) >= age);
        old_enough.or(samples.front()).cloned()
    }

    /// All samples after a time, each with the one before it.
    pub(crate) fn since(&self, at: UnixMillis) -> Vec<(Sample, Sample)> {
        let samples = self.0.lock();
        let pairs = samples.iter().zip(samples.iter().skip(1));
        pairs.filter(|(_, sample)| sample.at > at).map(|(before, sample)| (before.clone(), sample.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u64) -> Sample {
        Sample { at: 1_000_000 + second * 1_000, steady: second * 1_000, messages_in: second * 10, ..Sample::default() }
    }

    #[test]
    fn the_history_is_a_ring() {
        let history = History::default();
        assert!(history.before(&sample(0), Duration::ZERO).is_none() && history.since(0).is_empty());
        let last = 2 * HISTORY_SAMPLES as u64;
        (0..=last).for_each(|second| history.add(sample(second)));
        assert_eq!(history.0.lock().len(), HISTORY_SAMPLES);
        let after = history.since(1_000_000 + (last - 3) * 1_000);
        assert_eq!(
            after.iter().map(|(_, sample)| sample.messages_in).collect::<Vec<_>>(),
            [10 * (last - 2), 10 * (last - 1), 10 * last]
        );
        assert!(after.iter().all(|(before, sample)| sample.seconds_since(before) == 1.0));
        assert_eq!(history.since(0).len(), HISTORY_SAMPLES - 1);
    }

    #[test]
    fn a_window_begins_with_a_sample_of_its_age_or_with_the_oldest() {
        let history = History::default();
        [0, 5, 10, 15].into_iter().for_each(|second| history.add(sample(second)));
        let begin = |age| history.before(&sample(17), Duration::from_secs(age)).unwrap().messages_in;
        assert_eq!([begin(0), begin(5), begin(60)], [150, 100, 0]);
    }
}
