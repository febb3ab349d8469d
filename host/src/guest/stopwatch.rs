//! Measures the CPU of a running guest, and cuts off a guest that waits too long.
//!
//! Guests are interrupted at epoch ticks, but only in their own code: a host call runs to its end. So the guest is
//! charged with the time since the last check, not with one tick. On a busy machine others may have had the processor
//! during that time, so it is never charged with more than the CPU of its thread. Only guests with outbound imports can
//! block. A guest may block on something that only it can complete, so waits are cut off after a timeout.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::Sleep;
use wasmtime::format_err;

use super::epochs::{Epochs, TICK};
use super::outbound::Outbound;
use crate::clock;

/// Time for a wait beyond the longest call, because the answer of that call may be on its way.
const GRACE: Duration = Duration::from_secs(2);

/// The stopwatch of one instance, shared by its store and by the code that polls it.
#[derive(Debug)]
pub(super) struct CpuStopwatch {
    epochs: Epochs,
    /// Start of the time that is not charged yet: in ticks, or in nanoseconds of thread CPU.
    since: AtomicU64,
    /// The guest is on a thread for long turns, where its CPU is measured exactly. Reading that clock costs 2 µs, which
    /// is too much for a turn that takes 6 µs. There the elapsed time counts, up to what [`BEFORE`] allows.
    long: AtomicBool,
    /// It was suspended at a tick, so it does not wait for anything.
    yielded: AtomicBool,
    /// The CPU of this turn in nanoseconds, up to the last time that the guest was suspended.
    used: AtomicU64,
}

thread_local! {
    /// The CPU of this thread at some moment before the turn that runs on it, at most one tick before if the thread was
    /// busy, and the tick of that moment. What a turn has used is not more than what the thread has used since.
    static BEFORE: Cell<(u64, Duration)> = const { Cell::new((u64::MAX, Duration::ZERO)) };
}

/// The CPU of this thread since the moment before its turn.
fn cpu_at_most() -> Duration {
    clock::thread_cpu().saturating_sub(BEFORE.get().1)
}

/// The start of a time on a thread.
enum Started {
    Elapsed(Instant),
    Cpu(Duration),
}

impl CpuStopwatch {
    pub(super) fn new(epochs: Epochs) -> Arc<Self> {
        let (since, long, yielded, used) = Default::default();
        Arc::new(CpuStopwatch { epochs, since, long, yielded, used })
    }

    /// The CPU since the last call.
    pub(super) fn lap(&self) -> Duration {
        let now = self.now();
        let passed = now.saturating_sub(self.since.swap(now, Ordering::Relaxed));
        if self.long.load(Ordering::Relaxed) {
            return Duration::from_nanos(passed);
        }
        // The first tick may have come at once.
        let elapsed = TICK * u32::try_from(passed.saturating_sub(1).max(1)).unwrap_or(u32::MAX);
        elapsed.min(cpu_at_most())
    }

    /// The guest is suspended at a tick.
    pub(super) fn note_yield(&self) {
        self.yielded.store(true, Ordering::Relaxed);
    }

    /// A new turn begins.
    pub(super) fn restart(&self) {
        self.used.store(0, Ordering::Relaxed);
    }

    /// The CPU of this turn. Unlike the time that the limit counts, it is exact for short turns too.
    pub(super) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// The guest runs on a thread.
    fn start_poll(&self, long: bool) -> Started {
        self.long.store(long, Ordering::Relaxed);
        self.yielded.store(false, Ordering::Relaxed);
        let now = self.now();
        self.since.store(now, Ordering::Relaxed);
        if long {
            return Started::Cpu(clock::thread_cpu());
        }
        if BEFORE.get().0 != now {
            BEFORE.set((now, clock::thread_cpu()));
        }
        Started::Elapsed(clock::monotonic())
    }

    /// The guest is suspended, or has returned.
    fn end_poll(&self, started: &Started) {
        let used = match started {
            Started::Elapsed(at) => match clock::since(*at) {
                quick if quick < TICK => quick,
                elapsed => elapsed.min(cpu_at_most()),
            },
            Started::Cpu(before) => clock::thread_cpu().saturating_sub(*before),
        };
        let used = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        // One thread at a time polls a guest.
        self.used.store(self.used.load(Ordering::Relaxed).saturating_add(used), Ordering::Relaxed);
    }

    fn is_waiting(&self) -> bool {
        !self.yielded.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        if self.long.load(Ordering::Relaxed) {
            u64::try_from(clock::thread_cpu().as_nanos()).unwrap_or(u64::MAX)
        } else {
            self.epochs.now()
        }
    }
}

/// A wait of a guest, with its deadline.
struct Wait {
    until: Instant,
    /// Absent without a runtime; then the caller polls without pause.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Wait {
    fn until(until: Instant) -> Self {
        let alarm = Handle::try_current().is_ok().then(|| Box::pin(clock::timer_at(until)));
        Wait { until, alarm }
    }

    fn has_ended(&mut self, context: &mut Context<'_>) -> bool {
        match &mut self.alarm {
            Some(alarm) => alarm.as_mut().poll(context).is_ready(),
            None => self.until <= clock::monotonic(),
        }
    }
}

/// Polls a guest and checks its waits. A wait ends with an error if the turn may not wait, or if it exceeds `max_call`,
/// the time of the longest call, by more than the grace period.
///
/// The caller pins the future. A future that is passed by value is stored twice, and copied each time.
pub(super) async fn supervised<T>(
    stopwatch: Arc<CpuStopwatch>,
    max_call: Duration,
    outbound: Option<&dyn Outbound>,
    mut run: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
) -> wasmtime::Result<T> {
    let mut long = false;
    let mut wait = None::<Wait>;
    poll_fn(|context| {
        let _running = stopwatch.epochs.run();
        let started = stopwatch.start_poll(long);
        long = true;
        let polled = run.as_mut().poll(context);
        stopwatch.end_poll(&started);
        if let Poll::Ready(done) = polled {
            return Poll::Ready(done);
        }
        if !stopwatch.is_waiting() {
            wait = None;
            return Poll::Pending;
        }
        if outbound.is_some_and(|outbound| !outbound.may_wait()) {
            return Poll::Ready(Err(format_err!("it waits, but too many rooms are waiting already")));
        }
        let wait = wait.get_or_insert_with(|| Wait::until(clock::monotonic() + max_call + GRACE));
        if wait.has_ended(context) {
            return Poll::Ready(Err(format_err!("it waited longer than any call may take")));
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn use_cpu(duration: Duration) {
        let until = clock::thread_cpu() + duration;
        while clock::thread_cpu() < until {}
    }

    #[test]
    fn a_host_call_is_charged_for_all_ticks_during_it() {
        let epochs = Epochs::default();
        let stopwatch = CpuStopwatch::new(epochs.clone());
        stopwatch.start_poll(false);
        use_cpu(TICK * 9);
        (0..10).for_each(|_| epochs.tick());
        assert_eq!(stopwatch.lap(), TICK * 9, "the first may have been just ahead");
        assert_eq!(stopwatch.lap(), TICK, "it was charged; who is interrupted has used something");
    }

    #[test]
    fn a_short_turn_is_not_charged_for_the_cpu_of_others() {
        let epochs = Epochs::default();
        let stopwatch = CpuStopwatch::new(epochs.clone());
        epochs.tick();
        let started = stopwatch.start_poll(false);
        (0..100).for_each(|_| epochs.tick());
        std::thread::sleep(TICK * 4);
        assert!(stopwatch.lap() < TICK, "others had the processor meanwhile");
        stopwatch.end_poll(&started);
        assert!(stopwatch.used() < TICK);
    }

    #[test]
    fn a_long_turn_is_charged_only_its_own_cpu_time() {
        let epochs = Epochs::default();
        let stopwatch = CpuStopwatch::new(epochs.clone());
        stopwatch.start_poll(true);
        (0..1_000).for_each(|_| epochs.tick());
        assert!(stopwatch.lap() < TICK, "others had the processor meanwhile");
        use_cpu(TICK * 4);
        assert!(stopwatch.lap() >= TICK * 4);
    }

    #[test]
    fn the_used_cpu_adds_up_until_the_next_turn() {
        let stopwatch = CpuStopwatch::new(Epochs::default());
        for long in [false, true] {
            let before = stopwatch.used();
            let started = stopwatch.start_poll(long);
            use_cpu(TICK);
            stopwatch.end_poll(&started);
            assert!(stopwatch.used() >= before + TICK);
        }
        stopwatch.restart();
        assert_eq!(stopwatch.used(), Duration::ZERO);
    }

    #[test]
    fn a_yield_ends_the_wait() {
        let stopwatch = CpuStopwatch::new(Epochs::default());
        stopwatch.start_poll(true);
        assert!(stopwatch.is_waiting());
        stopwatch.note_yield();
        assert!(!stopwatch.is_waiting());
        stopwatch.start_poll(true);
        assert!(stopwatch.is_waiting(), "that was the last time");
    }
}
