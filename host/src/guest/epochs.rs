//! Ticks that interrupt running guests, so that long computations yield. While no guest runs there are none, so an idle
//! server wakes no thread for them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

/// The interval at which a running guest is interrupted. It holds its thread for two of these at most.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Ticks without a guest after which the ticks pause. To wake their thread costs more than a few idle ticks.
const IDLE_TICKS: u32 = 20;

/// The longest time for which a paused thread does not notice that its engine is gone.
const PAUSE: Duration = Duration::from_secs(1);

/// Epoch ticks since the engine started, as far as guests ran.
#[derive(Debug, Clone, Default)]
pub(super) struct Epochs(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    ticks: AtomicU64,
    /// How often guests began and stopped to run on a thread: they differ while one runs.
    begun: AtomicU64,
    stopped: AtomicU64,
    paused: AtomicBool,
    thread: OnceLock<Thread>,
}

/// A guest runs on a thread until this is dropped.
pub(super) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.stopped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Epochs {
    /// The ticks up to now.
    pub(super) fn now(&self) -> u64 {
        self.0.ticks.load(Ordering::Relaxed)
    }

    /// Notes that a guest runs, and wakes the thread of the ticks if it has paused.
    pub(super) fn run(&self) -> Running<'_> {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        // The thread looks at the count after it has said that it pauses: one of the two sees what the other did.
        if self.0.paused.load(Ordering::SeqCst) {
            self.resume();
        }
        Running(&self.0)
    }

    /// The CPU of a thread before this moment belongs to an earlier tick: so this is one too.
    #[cold]
    fn resume(&self) {
        if self.0.paused.swap(false, Ordering::SeqCst) {
            self.tick();
            if let Some(thread) = self.0.thread.get() {
                thread.unpark();
            }
        }
    }

    pub(super) fn tick(&self) {
        self.0.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// Ticks on a thread of its own, as long as `on_tick` returns true.
    pub(super) fn start(&self, mut on_tick: impl FnMut() -> bool + Send + 'static) -> std::io::Result<()> {
        let epochs = self.clone();
        thread::Builder::new().name("dormouse-epoch".into()).spawn(move || {
            epochs.0.thread.get_or_init(thread::current);
            let (mut idle, mut begun_before) = (0, 0);
            loop {
                epochs.tick();
                if !on_tick() {
                    return;
                }
                let begun = epochs.0.begun.load(Ordering::Relaxed);
                idle = if begun == begun_before && !epochs.is_running() { idle + 1 } else { 0 };
                begun_before = begun;
                if idle < IDLE_TICKS {
                    thread::sleep(TICK);
                } else {
                    epochs.pause();
                }
            }
        })?;
        Ok(())
    }

    /// Sleeps until a guest runs, or for [`PAUSE`].
    fn pause(&self) {
        self.0.paused.store(true, Ordering::SeqCst);
        if !self.is_running() {
            thread::park_timeout(PAUSE);
        }
        self.0.paused.store(false, Ordering::SeqCst);
    }

    fn is_running(&self) -> bool {
        let stopped = self.0.stopped.load(Ordering::SeqCst);
        self.0.begun.load(Ordering::SeqCst) != stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_until(is_true: impl Fn() -> bool) {
        while !is_true() {
            thread::yield_now();
        }
    }

    #[test]
    fn ticks_pause_while_no_guest_runs() {
        let epochs = Epochs::default();
        epochs.start(|| true).unwrap();
        for _ in 0..3 {
            wait_until(|| epochs.0.paused.load(Ordering::SeqCst));
            let before = epochs.now();
            let running = epochs.run();
            // More than are made without a guest.
            wait_until(|| epochs.now() > before + 2 * u64::from(IDLE_TICKS));
            assert!(!epochs.0.paused.load(Ordering::SeqCst), "a guest runs");
            drop(running);
        }
    }

    #[test]
    fn the_thread_ends_with_its_engine() {
        let engine = Arc::new(());
        let (epochs, weak) = (Epochs::default(), Arc::downgrade(&engine));
        epochs.start(move || weak.upgrade().is_some()).unwrap();
        wait_until(|| epochs.0.paused.load(Ordering::SeqCst));
        drop(engine);
        wait_until(|| Arc::strong_count(&epochs.0) == 1);
    }
}
