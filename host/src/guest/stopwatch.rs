//! Measures the CPU of a running guest, and cuts off a guest that waits too long.
//!
//! Guests are interrupted at epoch ticks, but only in their own code: a host call runs to its end. So the guest is
//! charged with the time since the last check, not with one tick. Only guests with outbound imports can block. A guest
//! may block on something that only it can complete, so waits are cut off after a timeout.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::Sleep;
use wasmtime::format_err;

use super::outbound::Outbound;
use crate::clock;

/// The interval at which a running guest is interrupted. It holds its thread for two of these at most.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Time for a wait beyond the longest call, because the answer of that call may be on its way.
const GRACE: Duration = Duration::from_secs(2);

/// Epoch ticks since the engine started.
#[derive(Debug, Clone, Default)]
pub(super) struct Epochs(Arc<AtomicU64>);

impl Epochs {
    pub(super) fn tick(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The stopwatch of one instance, shared by its store and by the code that polls it.
#[derive(Debug)]
pub(super) struct CpuStopwatch {
    epochs: Epochs,
    /// Start of the time that is not charged yet: in ticks, or in nanoseconds of thread CPU.
    since: AtomicU64,
    /// The guest is on a thread for long turns, where its CPU is measured exactly. Reading that clock costs 2 µs, which
    /// is too much for a turn that takes 6 µs. But those threads have a lower priority, so elapsed time would charge
    /// guests for the CPU of others.
    long: AtomicBool,
    /// It was suspended at a tick, so it does not wait for anything.
    yielded: AtomicBool,
    /// The CPU of this turn in nanoseconds, up to the last time that the guest was suspended. Before it moves to the
    /// threads for long turns, elapsed time counts.
    used: AtomicU64,
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

    /// The time since the last call.
    pub(super) fn lap(&self) -> Duration {
        let now = self.now();
        let passed = now.saturating_sub(self.since.swap(now, Ordering::Relaxed));
        if self.long.load(Ordering::Relaxed) {
            return Duration::from_nanos(passed);
        }
        // The first tick may have come at once.
        TICK * u32::try_from(passed.saturating_sub(1)).unwrap_or(u32::MAX)
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
        self.since.store(self.now(), Ordering::Relaxed);
        if long { Started::Cpu(clock::thread_cpu()) } else { Started::Elapsed(clock::monotonic()) }
    }

    /// The guest is suspended, or has returned.
    fn end_poll(&self, started: &Started) {
        let used = match started {
            Started::Elapsed(at) => clock::since(*at),
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

    #[test]
    fn a_host_call_is_charged_for_all_ticks_during_it() {
        let epochs = Epochs::default();
        let stopwatch = CpuStopwatch::new(epochs.clone());
        stopwatch.start_poll(false);
        (0..10).for_each(|_| epochs.tick());
        assert_eq!(stopwatch.lap(), TICK * 9, "the first may have been just ahead");
        assert_eq!(stopwatch.lap(), Duration::ZERO, "it was charged");
    }

    #[test]
    fn a_long_turn_is_charged_only_its_own_cpu_time() {
        let epochs = Epochs::default();
        let stopwatch = CpuStopwatch::new(epochs.clone());
        stopwatch.start_poll(true);
        (0..1_000).for_each(|_| epochs.tick());
        assert!(stopwatch.lap() < TICK, "others had the processor meanwhile");
        let until = clock::thread_cpu() + TICK * 4;
        while clock::thread_cpu() < until {}
        assert!(stopwatch.lap() >= TICK * 4);
    }

    #[test]
    fn the_used_cpu_adds_up_until_the_next_turn() {
        let stopwatch = CpuStopwatch::new(Epochs::default());
        for long in [false, true] {
            let before = stopwatch.used();
            let started = stopwatch.start_poll(long);
            let until = clock::thread_cpu() + TICK;
            while clock::thread_cpu() < until {}
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
