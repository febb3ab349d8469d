//! How fast somebody may do something: a token bucket over plain values.

use std::time::Instant;

/// Seconds of it that may come at once, after a time of silence.
const BURST_S: f64 = 10.0;

/// A bucket that fills with time and is emptied by what is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Bucket { per_second, tokens: per_second * BURST_S, filled: now }
    }

    /// Take enough to do it once. False where it is empty.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.take_many(1.0, now)
    }

    /// Take enough to do it so often.
    pub(crate) fn take_many(&mut self, times: f64, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + since * self.per_second).min(self.per_second * BURST_S);
        let enough = self.tokens >= times;
        if enough {
            self.tokens -= times;
        }
        enough
    }

    /// Whether it holds as much as it ever will: then it need not be remembered.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens + since * self.per_second >= self.per_second * BURST_S
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn a_burst_of_ten_seconds_passes_and_then_the_rate_holds() {
        let start = clock::monotonic();
        let mut bucket = Bucket::new(5, start);
        assert_eq!((0..60).filter(|_| bucket.take(start)).count(), 50);
        let later = start + Duration::from_secs(2);
        assert_eq!((0..60).filter(|_| bucket.take(later)).count(), 10);
    }

    #[test]
    fn silence_never_saves_up_more_than_a_burst() {
        let start = clock::monotonic();
        let mut bucket = Bucket::new(1, start);
        let later = start + Duration::from_secs(3_600);
        assert_eq!((0..60).filter(|_| bucket.take(later)).count(), 10);
    }
}
