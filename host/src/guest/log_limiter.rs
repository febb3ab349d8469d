//! Limits the log lines of a room, or of the router, over time, with a token bucket. A limit for each turn comes before
//! it.

use std::fmt;
use std::time::{Duration, Instant};

use crate::clock;
use crate::limit_hits::{Limit, LimitHits};
use crate::limits::LOG_LINE_BYTES;
use crate::lock::Lock;
use crate::token_bucket::TokenBucket;

/// How often the number of dropped lines is reported: once for all that a flood drops in a second.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// The log limit of one room or of the router. It covers their own lines, and lines about their failures.
pub struct LogLimiter {
    inner: Lock<Inner>,
    limit_hits: LimitHits,
    /// Gets the lines of the guest beside the log.
    tap: Option<LogTap>,
}

/// Gets each line of a guest that was logged, with the name of its level. It must not block.
pub type LogTap = Box<dyn Fn(&str, &str) + Send + Sync>;

struct Inner {
    /// Absent if there is no limit.
    bucket: Option<TokenBucket>,
    /// Dropped lines that were not reported yet.
    dropped: u64,
    reported: Option<Instant>,
}

impl LogLimiter {
    /// This many lines a second, with bursts of ten times as many; 0 for no limit.
    pub fn new(per_second: u32) -> Self {
        Self::counted(per_second, LimitHits::default())
    }

    /// Like [`new`](Self::new), but dropped lines are also counted in the metrics.
    pub(crate) fn counted(per_second: u32, limit_hits: LimitHits) -> Self {
        let bucket = (per_second > 0).then(|| TokenBucket::new(per_second, clock::monotonic()));
        LogLimiter { inner: Lock::new(Inner { bucket, dropped: 0, reported: None }), limit_hits, tap: None }
    }

    /// Passes the lines of the guest to `tap` as well.
    pub(crate) fn with_tap(self, tap: LogTap) -> Self {
        LogLimiter { tap: Some(tap), ..self }
    }

    /// A line of the guest was logged.
    pub(super) fn tap(&self, level: &str, line: &str) {
        if let Some(tap) = &self.tap {
            tap(level, line);
        }
    }

    /// Whether one more line may be logged. A refused line is counted.
    pub fn take(&self) -> bool {
        let mut inner = self.inner.lock();
        let allowed = inner.bucket.as_mut().is_none_or(|bucket| bucket.take(clock::monotonic()));
        if !allowed {
            self.count_dropped(&mut inner, Limit::LogLines);
        }
        allowed
    }

    /// The same for line `number` of a turn that may log `max_lines` lines.
    pub(super) fn take_of_turn(&self, number: u32, max_lines: u32) -> bool {
        if number > max_lines {
            self.count_dropped(&mut self.inner.lock(), Limit::TurnLogLines);
            return false;
        }
        self.take()
    }

    /// Reports the number of dropped lines, once a second at most.
    pub fn report_dropped(&self) {
        let mut inner = self.inner.lock();
        if inner.dropped == 0 {
            return;
        }
        let now = clock::monotonic();
        if inner.reported.is_some_and(|reported| now.saturating_duration_since(reported) < REPORT_EVERY) {
            return;
        }
        inner.reported = Some(now);
        let dropped = std::mem::take(&mut inner.dropped);
        tracing::warn!(target: "room", dropped, "too much was logged; the rest was dropped");
    }

    fn count_dropped(&self, inner: &mut Inner, limit: Limit) {
        inner.dropped += 1;
        self.limit_hits.count(limit);
    }
}

impl fmt::Debug for LogLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogLimiter")
    }
}

/// The text of a guest as one line of the log, without control characters and with a maximum length.
pub(super) fn one_line(text: &str) -> String {
    let line = &text[..text.floor_char_boundary(LOG_LINE_BYTES)];
    line.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
