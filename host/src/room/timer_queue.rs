//! Wakes rooms whose timers are due. It holds at most one entry for each room, at the time of its first timer or
//! earlier. It does not know the timers themselves.
//!
//! It uses the steady clock, which cannot be set. Rooms store times of the system clock. When that clock is set, a room
//! moves its timers at its next event. For rooms that are not in memory, the timer queue remembers the old offset of the
//! clock.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::Shared;
use super::mailbox::{Enqueued, Incoming, Mailbox};
use crate::clock;
use crate::lock::Lock;
use crate::model::Address;
use crate::store::CommitError;

#[derive(Default)]
pub(super) struct TimerQueue {
    due: Lock<BTreeSet<(SteadyMillis, Address)>>,
    /// Rooms whose stored times still use the old system clock, and the offset of that clock to the steady one. Empty
    /// unless the clock was set during this process; never longer than the timer queue was at that moment.
    before: Lock<HashMap<Address, i64>>,
    sooner: Notify,
}

/// A time on the steady clock.
pub(super) type SteadyMillis = u64;

impl TimerQueue {
    /// Sets the time at which a room wakes, in place of the time `before`.
    pub(super) fn set(&self, address: &Address, before: Option<SteadyMillis>, at: SteadyMillis) {
        let mut due = self.due.lock();
        if let Some(before) = before {
            due.remove(&(before, address.clone()));
        }
        let first = due.first().is_none_or(|(first, _)| at < *first);
        due.insert((at, address.clone()));
        drop(due);
        if first {
            self.sooner.notify_one();
        }
    }

    /// The old clock offset of the stored times of a room; absent if they use the current one.
    pub(super) fn stored_by(&self, address: &Address) -> Option<i64> {
        self.before.lock().get(address).copied()
    }

    /// The stored times of a room now use the current system clock.
    pub(super) fn followed(&self, address: &Address) {
        self.before.lock().remove(address);
    }

    /// The system clock was set. `offset` is its offset before.
    fn clock_was_set(&self, offset: i64) {
        let addresses = self.due.lock().iter().map(|(_, address)| address.clone()).collect::<Vec<_>>();
        let mut before = self.before.lock();
        for address in addresses {
            before.entry(address).or_insert(offset);
        }
    }

    fn first(&self) -> Option<SteadyMillis> {
        self.due.lock().first().map(|(at, _)| *at)
    }

    fn take_due(&self, now: SteadyMillis) -> Vec<Address> {
        let mut due = self.due.lock();
        let mut taken = Vec::new();
        while due.first().is_some_and(|(at, _)| *at <= now) {
            taken.extend(due.pop_first().map(|(_, address)| address));
        }
        taken
    }
}

/// Runs until the host is dropped.
pub(super) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(alive) = shared.upgrade() else { return };
        look_at_clock(&alive);
        // On a full disk no timer can be completed and no post accepted, so all wait until there is space.
        let has_space = !matches!(alive.store.refuses(), Some(CommitError::NoSpace { .. }));
        if has_space {
            for address in alive.timer_queue.take_due(clock::steady_millis()) {
                fire(&alive, &address);
            }
        }
        let until = alive.timer_queue.first().filter(|_| has_space);
        drop(alive);
        // Checks at least every second, because of the clocks, and so that this task ends when the host is dropped.
        let longest = Duration::from_secs(1);
        let wait = until.map_or(longest, |at| Duration::from_millis(at.saturating_sub(clock::steady_millis())));
        let Some(alive) = shared.upgrade() else { return };
        tokio::select! {
            () = alive.timer_queue.sooner.notified() => {}
            () = clock::sleep(wait.min(longest)) => {}
        }
    }
}

/// Passes a step of the system clock on to the rooms.
fn look_at_clock(shared: &Shared) {
    let Some(offset) = shared.timeline.look() else { return };
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

fn fire(shared: &Arc<Shared>, address: &Address) {
    let Some(namespace) = shared.namespaces.get(address.namespace()) else { return };
    loop {
        let mailbox = shared.registry.get_or_make(address, namespace, &shared.runtime);
        match Mailbox::deliver(&mailbox, shared, Incoming::TimersDue) {
            Enqueued::Yes | Enqueued::Full(_) => return,
            Enqueued::Forgotten(_) => {}
        }
    }
}
