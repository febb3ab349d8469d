//! How much of what a room, or the router, says for its operator gets into the log: the turn bounds it a turn, and this
//! over time.

use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::bucket::Bucket;
use crate::clock;
use crate::refused::{Refusals, Refused};

/// How often it is told that lines were dropped.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// The lines of one room or of the router: its own and those about its failures.
pub struct Lines {
    inner: Mutex<Inner>,
    refusals: Refusals,
}

struct Inner {
    /// Absent where there is no limit.
    bucket: Option<Bucket>,
    /// What their operator was not told yet.
    dropped: u64,
    reported: Option<Instant>,
}

impl Lines {
    /// So many lines a second, and ten times as many at once; 0 for no limit.
    pub fn new(per_second: u32) -> Self {
        Self::counted(per_second, Refusals::default())
    }

    /// As [`new`](Self::new); those that are dropped are counted.
    pub(crate) fn counted(per_second: u32, refusals: Refusals) -> Self {
        let bucket = (per_second > 0).then(|| Bucket::new(per_second, clock::monotonic()));
        Lines { inner: Mutex::new(Inner { bucket, dropped: 0, reported: None }), refusals }
    }

    /// Whether there may be one more line. One that may not be is counted.
    pub fn take(&self) -> bool {
        let mut inner = self.lock();
        let may = inner.bucket.as_mut().is_none_or(|bucket| bucket.take(clock::monotonic()));
        if !may {
            self.drop_one(&mut inner, Refused::LogLines);
        }
        may
    }

    /// The same for the `number`th line of a turn, which may have `most`.
    pub(super) fn take_of_turn(&self, number: u32, most: u32) -> bool {
        if number > most {
            self.drop_one(&mut self.lock(), Refused::TurnLogLines);
            return false;
        }
        self.take()
    }

    /// Tell the operator how many lines were dropped, but not all the time.
    pub fn report_dropped(&self) {
        let mut inner = self.lock();
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

    fn drop_one(&self, inner: &mut Inner, limit: Refused) {
        inner.dropped += 1;
        self.refusals.count(limit);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}
