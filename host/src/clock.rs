//! The only source of time. Everything else is told what time it is, or asks here.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Unix time in milliseconds.
pub type UnixMillis = u64;

/// Now, as people and rooms read it. May jump when the operator sets the system's clock.
pub fn unix_millis() -> UnixMillis {
    to_unix_millis(SystemTime::now())
}

/// A moment as Unix time in milliseconds; 0 for one before 1970.
pub fn to_unix_millis(time: SystemTime) -> UnixMillis {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Now, for measuring how long something took. Never goes back.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Milliseconds on a clock that nobody can set, and that goes on while the machine sleeps where the system has such a clock.
/// It begins anywhere, and means nothing to another process.
pub fn steady_millis() -> u64 {
    let now = clock_gettime(STEADY);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

#[cfg(target_os = "linux")]
const STEADY: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const STEADY: ClockId = ClockId::Monotonic;

/// CPU that this thread has used.
pub fn thread_cpu() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    // Both are 0 or more: it begins with the thread.
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// Wait for a while.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// How far rooms' time may be ahead of the system's clock: so long it stands still when the clock was set back, and no
/// longer.
pub const STANDS_STILL_MS: u64 = 5_000;

/// A difference between the system's clock and the steady one above which the system's clock was set: below it the two were
/// read at different moments.
const STEP_MS: u64 = 1_000;

/// The time of rooms: that of the system's clock, which may be set while they live.
///
/// Times that were stored or are remembered, such as those of timers, are told by the system's clock. When that is set, they
/// move with it, so that what was to happen in a minute happens in a minute.
#[derive(Debug)]
pub struct Timeline {
    /// The latest time that was told.
    last: AtomicU64,
    /// How far the system's clock is ahead of the steady one.
    offset: AtomicI64,
}

impl Timeline {
    /// It begins with what both clocks say now.
    #[expect(clippy::new_without_default, reason = "it reads clocks")]
    pub fn new() -> Self {
        Timeline { last: AtomicU64::new(0), offset: AtomicI64::new(measure()) }
    }

    /// Now. It stands still while the system's clock catches up with what was told before, up to [`STANDS_STILL_MS`]; when
    /// that was set back by more, time goes back.
    pub fn now(&self) -> UnixMillis {
        self.at(unix_millis())
    }

    fn at(&self, clock: UnixMillis) -> UnixMillis {
        let last = self.last.fetch_max(clock, Ordering::Relaxed);
        if clock >= last {
            return clock;
        }
        if last - clock <= STANDS_STILL_MS {
            return last;
        }
        // Of those who see it at the same moment, one is enough.
        let _ = self.last.compare_exchange(last, clock, Ordering::Relaxed, Ordering::Relaxed);
        clock
    }

    /// How far the system's clock was ahead of the steady one when it was last looked at, in milliseconds.
    pub fn offset(&self) -> i64 {
        self.offset.load(Ordering::Acquire)
    }

    /// Whether the system's clock was set since it was last looked at: the new offset. Give it to [`set`](Self::set).
    pub fn look(&self) -> Option<i64> {
        let offset = measure();
        (offset.abs_diff(self.offset()) > STEP_MS).then_some(offset)
    }

    /// From now on remembered times are told by the clock as it was set.
    pub fn set(&self, offset: i64) {
        self.offset.store(offset, Ordering::Release);
    }
}

/// How far the system's clock is ahead of the steady one.
fn measure() -> i64 {
    /// A reading in between which the thread was not sent away, or the best of so many.
    const TRIES: u32 = 5;
    let read = |_| {
        let (before, clock, after) = (steady_millis(), unix_millis(), steady_millis());
        (after - before, clock.cast_signed().saturating_sub(before.cast_signed()))
    };
    (0..TRIES).map(read).min_by_key(|(took, _)| *took).map_or(0, |(_, offset)| offset)
}

/// A time on the clock that is so far ahead of another.
pub fn shifted(time: u64, offset: i64) -> u64 {
    time.saturating_add_signed(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_for_seconds_and_then_follows_the_clock_back() {
        let time = Timeline::new();
        let told = [1_000_000, 999_000, 995_000, 1_000_001, 994_000, 994_500, 995_000].map(|clock| time.at(clock));
        assert_eq!(told, [1_000_000, 1_000_000, 1_000_000, 1_000_001, 994_000, 994_500, 995_000]);
    }

    #[test]
    fn a_clock_that_was_not_set_is_not_taken_for_one_that_was() {
        let time = Timeline::new();
        assert_eq!(time.look(), None);
        time.set(time.offset() - 7_200_000);
        assert!(time.look().is_some());
    }
}
