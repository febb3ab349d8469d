//! Rooms that wait for an instance, and how long the first of them has waited. The health check reads it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::clock;

/// One entry for each room that waits.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<BTreeSet<(Instant, u64)>>,
    /// Distinguishes entries with the same time.
    next: AtomicU64,
}

/// The entry of a room; dropping it ends the wait.
pub(super) struct Entry<'a> {
    queue: &'a Queue,
    key: (Instant, u64),
}

impl Queue {
    /// Adds a room that begins to wait.
    pub(super) fn enter(&self) -> Entry<'_> {
        let key = (clock::monotonic(), self.next.fetch_add(1, Ordering::Relaxed));
        self.lock().insert(key);
        Entry { queue: self, key }
    }

    /// The longest current wait; absent if no room waits.
    pub(super) fn longest(&self) -> Option<Duration> {
        let since = self.lock().first()?.0;
        Some(clock::monotonic().saturating_duration_since(since))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(Instant, u64)>> {
        self.waiting.lock().expect("no holder of this lock panics")
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.queue.lock().remove(&self.key);
    }
}
