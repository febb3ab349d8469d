//! The part of the driver that other threads see: the queue to it, its metrics, and what may be asked without waiting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::metrics::Metrics;
use super::presence::Presence;
use super::queue::Queue;
use crate::lock::Lock;
use crate::store::engine::StorageEngine;
use crate::store::error::CommitError;

/// Without an answer for so long, the server is not ready for new clients. The documents say 5 s: what asks regularly
/// does so each second.
const NOT_READY_AFTER: Duration = Duration::from_secs(4);

pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) metrics: Metrics,
    presence: Lock<Presence>,
    min_free_bytes: u64,
    has_no_space: AtomicBool,
}

impl Shared {
    pub(super) fn new(presence: Presence, queue_bytes: usize, min_free_bytes: u64) -> Self {
        Shared {
            queue: Queue::new(queue_bytes),
            metrics: Metrics::default(),
            presence: Lock::new(presence),
            min_free_bytes,
            has_no_space: AtomicBool::new(false),
        }
    }

    pub(super) fn set_presence(&self, presence: &Presence) {
        *self.presence.lock() = presence.clone();
    }

    /// The reason why nothing can be committed now, if there is one.
    pub(super) fn refuses(&self) -> Option<CommitError> {
        if let Some(failed) = self.queue.failed() {
            return Some(failed);
        }
        if self.has_no_space() {
            return Some(CommitError::NoSpace { min_free_bytes: self.min_free_bytes });
        }
        self.presence.lock().away_for(NOT_READY_AFTER).map(CommitError::Unreachable)
    }

    pub(super) fn has_no_space(&self) -> bool {
        self.has_no_space.load(Ordering::Relaxed)
    }

    /// Whether so many bytes fit on the disk of the cache.
    pub(super) fn has_space_for(&self, disk: &dyn StorageEngine, bytes: u64) -> bool {
        let least = self.min_free_bytes.saturating_add(bytes);
        disk.free_bytes().is_none_or(|free| free.map_or(true, |free| free >= least))
    }

    /// Looks at the disk of the cache, which grows with each commit.
    pub(super) fn watch_space(&self, disk: &dyn StorageEngine) {
        let has_no_space = !self.has_space_for(disk, 0);
        match (self.has_no_space.swap(has_no_space, Ordering::Relaxed), has_no_space) {
            (false, true) => tracing::error!(
                min_free_bytes = self.min_free_bytes,
                "the disk of the data directory is nearly full: turns that write are refused until there is space"
            ),
            (true, false) => tracing::info!("the disk of the data directory has space again"),
            _ => {}
        }
    }
}
