//! Histograms of durations that many threads fill without a lock. It does not know what is measured; `room` and `store`
//! own them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The end of the first bucket: a turn of a small room takes about that long.
const FIRST: Duration = Duration::from_micros(4);

/// The buckets that have an end. Each is twice as long as the one before, so that a percentile is known to a factor of
/// two at most, and the last ends at 4.2 s: the default of `turn_cpu` is less, and so is the time that a healthy disk
/// takes. Longer ones share one bucket.
const BUCKETS: usize = 21;

/// A histogram of durations.
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS + 1],
    nanoseconds: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS + 1], nanoseconds: AtomicU64::new(0) }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").finish_non_exhaustive()
    }
}

/// The counts of a histogram at one moment, by bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counts([u64; BUCKETS + 1]);

impl Default for Counts {
    fn default() -> Self {
        Counts([0; BUCKETS + 1])
    }
}

impl Counts {
    /// Adds those of another histogram.
    pub(crate) fn add(&mut self, other: &Counts) {
        self.0.iter_mut().zip(&other.0).for_each(|(count, other)| *count += other);
    }

    /// The counts since an earlier moment.
    pub(crate) fn since(&self, earlier: &Counts) -> Counts {
        Counts(std::array::from_fn(|bucket| self.0[bucket].saturating_sub(earlier.0[bucket])))
    }

    /// How many durations were counted.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The duration in seconds below which a part of all durations is, such as 0.99; absent if there are none. Within a
    /// bucket it is estimated, as if its durations were spread evenly. Those in the last bucket count as 4.2 s.
    pub(crate) fn percentile(&self, part: f64) -> Option<f64> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let rank = (part * total as f64).clamp(1.0, total as f64);
        let mut below = 0.0;
        for (bucket, count) in self.0.iter().enumerate() {
            let count = *count as f64;
            if below + count >= rank {
                let begin = if bucket == 0 { 0.0 } else { end_of(bucket - 1) };
                let length = if bucket == BUCKETS { 0.0 } else { end_of(bucket) - begin };
                return Some(begin + length * (rank - below) / count);
            }
            below += count;
        }
        None
    }
}

impl Histogram {
    /// The counts now.
    pub(crate) fn counts(&self) -> Counts {
        Counts(std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed)))
    }

    /// Counts one duration.
    pub(crate) fn observe(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(nanoseconds)].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// The bucket of a duration: its end belongs to it.
fn bucket_of(nanoseconds: u64) -> usize {
    let firsts = nanoseconds.saturating_sub(1) / FIRST.as_nanos() as u64;
    ((u64::BITS - firsts.leading_zeros()) as usize).min(BUCKETS)
}

fn end_of(bucket: usize) -> f64 {
    if bucket == BUCKETS { f64::INFINITY } else { (FIRST * (1 << bucket)).as_secs_f64() }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let count = |bucket: usize| self.buckets[bucket].load(Ordering::Relaxed);
        let buckets = (0..=BUCKETS).map(|bucket| (end_of(bucket), count(bucket))).collect::<Vec<_>>();
        let all = buckets.iter().map(|(_, count)| count).sum();
        let seconds = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(seconds, all, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

/// A histogram without labels, for a registry.
#[derive(Debug, Default, Clone)]
pub(crate) struct SharedHistogram(pub(crate) Arc<Histogram>);

impl EncodeMetric for SharedHistogram {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Histogram::TYPE
    }
}

/// One histogram for each namespace, under one name.
pub(crate) struct ByNamespace<T> {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    /// The names of the namespaces, and where each has its histogram.
    pub(crate) namespaces: Vec<(String, Arc<T>)>,
    pub(crate) histogram: fn(&T) -> &Histogram,
}

impl<T> fmt::Debug for ByNamespace<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByNamespace").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Collector for ByNamespace<T> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, Histogram::TYPE)?;
        for (namespace, owner) in &self.namespaces {
            let labels = [("namespace", namespace.as_str())];
            (self.histogram)(owner).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_in_the_bucket_of_its_rank() {
        let histogram = Histogram::default();
        assert_eq!(histogram.counts().percentile(0.5), None);
        (0..99).for_each(|_| histogram.observe(Duration::from_micros(100)));
        histogram.observe(Duration::from_millis(100));
        let counts = histogram.counts();
        let microseconds = |part: f64| counts.percentile(part).unwrap() * 1e6;
        assert!((64.0..=128.0).contains(&microseconds(0.5)), "{}", microseconds(0.5));
        assert!((127.0..=128.0).contains(&microseconds(0.99)), "{}", microseconds(0.99));
        assert!((65_536.0..=131_072.0).contains(&microseconds(1.0)), "{}", microseconds(1.0));
        histogram.observe(Duration::from_secs(60));
        let since = histogram.counts().since(&counts);
        assert_eq!((since.total(), since.percentile(0.5)), (1, Some(end_of(BUCKETS - 1))));
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_does_not_end_before_it() {
        for (nanoseconds, bucket) in
            [(0, 0), (1, 0), (4_000, 0), (4_001, 1), (8_000, 1), (8_001, 2), (u64::MAX, BUCKETS)]
        {
            assert_eq!(bucket_of(nanoseconds), bucket, "{nanoseconds}");
        }
        for bucket in 0..BUCKETS {
            let end = (end_of(bucket) * 1e9).round() as u64;
            assert_eq!((bucket_of(end), bucket_of(end + 1)), (bucket, bucket + 1));
        }
        assert!((4.0..5.0).contains(&end_of(BUCKETS - 1)));
    }
}
