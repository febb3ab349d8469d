//! The clocks: wall time, elapsed time, a steady clock for timers, and the CPU time of a thread. Code that needs the
//! current time, a timer or a timeout asks here; `.clippy.toml` bans the clocks of the system elsewhere.
#![expect(clippy::disallowed_methods, reason = "the clocks of the system are read here")]

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use tokio::time::{Sleep, Timeout};

/// Unix time in milliseconds.
pub type UnixMillis = u64;

/// The wall-clock time, for people and rooms. It may jump when the operator sets the system clock.
pub fn unix_millis() -> UnixMillis {
    to_unix_millis(SystemTime::now())
}

/// A wall-clock time as Unix time in milliseconds; 0 if it is before 1970.
pub fn to_unix_millis(time: SystemTime) -> UnixMillis {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The wall-clock time at its full precision, for the beginning of spans.
pub(crate) fn wall_time() -> SystemTime {
    SystemTime::now()
}

/// The current time for measuring durations. It never goes back.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Milliseconds on a clock that cannot be set. Where the system supports it, this clock also runs while the machine
/// sleeps. Its start is arbitrary, so its values mean nothing to another process.
pub fn steady_millis() -> u64 {
    u64::try_from(read(STEADY).as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds on the monotonic clock of the system, as a service manager compares them with its own.
pub fn monotonic_micros() -> u64 {
    u64::try_from(read(ClockId::CLOCK_MONOTONIC).as_micros()).unwrap_or(u64::MAX)
}

#[cfg(target_os = "linux")]
const STEADY: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const STEADY: ClockId = ClockId::CLOCK_MONOTONIC;

/// CPU time that this thread has used. Reading it is a system call.
pub fn thread_cpu() -> Duration {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time that all threads of this process have used.
pub fn process_cpu() -> Duration {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

/// A clock whose time is 0 or more. nix asks the C library for it: rustix looks for the code of the kernel itself, and
/// finds none that runs under valgrind, which counts our instructions.
fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).expect("the system has this clock").into()
}

/// The time that has passed since a moment that [`monotonic`] returned.
pub fn since(moment: Instant) -> Duration {
    monotonic().saturating_duration_since(moment)
}

/// Waits for a duration.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// A timer that can be reset.
pub fn timer(duration: Duration) -> Sleep {
    tokio::time::sleep(duration)
}

/// A timer that ends at a moment.
pub fn timer_at(moment: Instant) -> Sleep {
    tokio::time::sleep_until(moment.into())
}

/// Runs a future for a limited time.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    tokio::time::timeout(limit, future)
}

/// Runs a future until a moment.
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    tokio::time::timeout_at(deadline.into(), future)
}

/// Longest time for which the time of rooms stands still after the system clock was set back: the steps of NTP are
/// shorter. After a larger step it goes back.
pub const STANDS_STILL_MS: u64 = 5_000;

/// Smallest step of the system clock that counts as set. Smaller differences come from reading both clocks at different
/// moments.
const STEP_MS: u64 = 1_000;

/// The time of rooms. It follows the system clock, which may be set while rooms live.
///
/// Stored times, such as the due times of timers, are system clock times. When the system clock is set, they move by
/// the same step, so that an event that is due in one minute stays due in one minute.
#[derive(Debug)]
pub struct Timeline {
    /// The latest time that was returned.
    last: AtomicU64,
    /// System clock minus steady clock.
    offset: AtomicI64,
}

impl Timeline {
    /// Starts with the current values of both clocks.
    #[expect(clippy::new_without_default, reason = "it reads clocks")]
    pub fn new() -> Self {
        Timeline { last: AtomicU64::new(0), offset: AtomicI64::new(measure()) }
    }

    /// The current time. After the system clock was set back, it stands still until the clock has caught up, if the
    /// step is at most [`STANDS_STILL_MS`]; after a larger step it goes back too.
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
        // If several threads see the step at the same moment, one update is enough.
        let _ = self.last.compare_exchange(last, clock, Ordering::Relaxed, Ordering::Relaxed);
        clock
    }

    /// System clock minus steady clock when last measured, in milliseconds.
    pub fn offset(&self) -> i64 {
        self.offset.load(Ordering::Acquire)
    }

    /// The new offset, if the system clock was set since the last call. Pass it to [`set`](Self::set).
    pub fn changed_offset(&self) -> Option<i64> {
        let offset = measure();
        (offset.abs_diff(self.offset()) > STEP_MS).then_some(offset)
    }

    /// Uses a new offset for stored times from now on.
    pub fn set(&self, offset: i64) {
        self.offset.store(offset, Ordering::Release);
    }
}

/// System clock minus steady clock.
fn measure() -> i64 {
    /// How often both clocks are read; the reading with the shortest interruption counts.
    const TRIES: u32 = 5;
    let read = |_| {
        let (before, clock, after) = (steady_millis(), unix_millis(), steady_millis());
        (after - before, clock.cast_signed().saturating_sub(before.cast_signed()))
    };
    (0..TRIES).map(read).min_by_key(|(took, _)| *took).map_or(0, |(_, offset)| offset)
}

/// A time moved by an offset.
pub fn shifted(time: u64, offset: i64) -> u64 {
    time.saturating_add_signed(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_and_then_follows_the_clock_back() {
        let time = Timeline::new();
        let returned = [1_000_000, 999_000, 995_000, 1_000_001, 994_000, 994_500, 995_000].map(|clock| time.at(clock));
        assert_eq!(returned, [1_000_000, 1_000_000, 1_000_000, 1_000_001, 994_000, 994_500, 995_000]);
    }

    #[test]
    fn an_unset_clock_is_not_mistaken_for_a_set_one() {
        let time = Timeline::new();
        assert_eq!(time.changed_offset(), None);
        time.set(time.offset() - 7_200_000);
        assert!(time.changed_offset().is_some());
    }
}
