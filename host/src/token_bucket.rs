//! A token bucket over plain values. It knows no clock and no limit: callers pass both.

use std::time::Instant;

/// Seconds of the rate that may come as one burst: a page that was offline sends what waits, and a paste or a drag
/// makes many messages at once.
const BURST_S: f64 = 10.0;

/// A bucket that time fills and that each action empties.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenBucket {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        TokenBucket { per_second, tokens: per_second * BURST_S, filled: now }
    }

    /// Takes one token. Returns false if there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.take_many(1.0, now)
    }

    /// Takes this many tokens. Returns false, and takes none, if there are fewer.
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

    /// Puts tokens back, up to the size of the bucket.
    pub(crate) fn fill(&mut self, times: f64) {
        self.tokens = (self.tokens + times).min(self.per_second * BURST_S);
    }

    /// Whether the bucket is full. A full bucket need not be remembered.
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
    fn a_burst_of_ten_seconds_passes_then_the_rate_applies() {
        let start = clock::monotonic();
        let mut bucket = TokenBucket::new(5, start);
        assert_eq!((0..60).filter(|_| bucket.take(start)).count(), 50);
        let later = start + Duration::from_secs(2);
        assert_eq!((0..60).filter(|_| bucket.take(later)).count(), 10);
        bucket.fill(3.0);
        assert_eq!((0..60).filter(|_| bucket.take(later)).count(), 3);
        bucket.fill(100.0);
        assert_eq!((0..60).filter(|_| bucket.take(later)).count(), 50);
    }

    #[test]
    fn an_idle_bucket_holds_at_most_one_burst() {
        let start = clock::monotonic();
        let mut bucket = TokenBucket::new(1, start);
        let later = start + Duration::from_secs(3_600);
        assert_eq!((0..60).filter(|_| bucket.take(later)).count(), 10);
    }
}
