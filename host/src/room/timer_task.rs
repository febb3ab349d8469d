//! The task that wakes rooms whose timers are due, and tells them when the system clock was set.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::incoming::Incoming;
use super::shared::Shared;
use crate::clock;
use crate::model::Address;
use crate::store::CommitError;

/// Runs until the host is dropped.
pub(super) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(alive) = shared.upgrade() else { return };
        check_clock(&alive);
        // On a full disk no timer can be completed and no post accepted, so all wait until there is space.
        let has_space = !matches!(alive.store.refuses(), Some(CommitError::NoSpace { .. }));
        if has_space {
            for address in alive.timer_queue.take_due(clock::steady_millis()) {
                wake(&alive, &address);
            }
        }
        let until = alive.timer_queue.first().filter(|_| has_space);
        drop(alive);
        // Checks at least every second, because of the clocks, and so that this task ends when the host is dropped.
        let longest = Duration::from_secs(1);
        let wait = until.map_or(longest, |at| Duration::from_millis(at.saturating_sub(clock::steady_millis())));
        let Some(alive) = shared.upgrade() else { return };
        tokio::select! {
            () = alive.timer_queue.first_changed.notified() => {}
            () = clock::sleep(wait.min(longest)) => {}
        }
    }
}

/// Passes a step of the system clock on to the rooms.
fn check_clock(shared: &Shared) {
    let Some(offset) = shared.timeline.changed_offset() else { return };
    let before = shared.timeline.offset();
    let (seconds, direction) = (before.abs_diff(offset) / 1_000, if offset < before { "back" } else { "forward" });
    tracing::warn!(
        seconds,
        direction,
        "the system clock was set; rooms follow it, and timers keep their remaining time"
    );
    // This order matters: a room that is opened in between must still see the old offset.
    shared.timer_queue.clock_was_set(before);
    shared.timeline.set(offset);
}

fn wake(shared: &Arc<Shared>, address: &Address) {
    if let Some(namespace) = shared.namespaces.get(address.namespace()) {
        // This event always fits: a room gets one at a time.
        shared.enqueue(address, namespace, Incoming::TimersDue);
    }
}
