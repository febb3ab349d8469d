//! Rooms that wait for an instance, and how long the first of them has waited. The health check reads it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;
use crate::lock::Lock;

/// One entry for each room that waits.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Lock<BTreeSet<(Instant, u64)>>,
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
        self.waiting.lock().insert(key);
        Entry { queue: self, key }
    }

    /// The longest current wait; absent if no room waits.
    pub(super) fn longest(&self) -> Option<Duration> {
        let since = self.waiting.lock().first()?.0;
        Some(clock::monotonic().saturating_duration_since(since))
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.queue.waiting.lock().remove(&self.key);
    }
}
