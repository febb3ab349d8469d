//! When each room must wake: at most one entry for each room, at the time of its first timer or earlier. It does not
//! know the timers themselves. `timer_task` wakes the rooms.
//!
//! It uses the steady clock, which cannot be set. Rooms store times of the system clock. When that clock is set, a room
//! moves its timers at its next event. For rooms that are not in memory, the timer queue remembers the old offset of
//! the clock.

use std::collections::{BTreeSet, HashMap};

use tokio::sync::Notify;

use crate::lock::Lock;
use crate::model::Address;

#[derive(Default)]
pub(super) struct TimerQueue {
    due: Lock<BTreeSet<(SteadyMillis, Address)>>,
    /// Rooms whose stored times still use the old system clock, and the offset of that clock to the steady one. Empty
    /// unless the clock was set during this process; never longer than the timer queue was at that moment.
    old_offsets: Lock<HashMap<Address, i64>>,
    pub(super) first_changed: Notify,
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
            self.first_changed.notify_one();
        }
    }

    /// Removes the entry of a room at this time.
    pub(super) fn remove(&self, address: &Address, at: SteadyMillis) {
        self.due.lock().remove(&(at, address.clone()));
        self.old_offsets.lock().remove(address);
    }

    /// The old clock offset of the stored times of a room; absent if they use the current one.
    pub(super) fn old_offset(&self, address: &Address) -> Option<i64> {
        self.old_offsets.lock().get(address).copied()
    }

    /// The stored times of a room now use the current system clock.
    pub(super) fn clock_followed(&self, address: &Address) {
        self.old_offsets.lock().remove(address);
    }

    /// The system clock was set. `offset` is its offset before.
    pub(super) fn clock_was_set(&self, offset: i64) {
        let addresses = self.due.lock().iter().map(|(_, address)| address.clone()).collect::<Vec<_>>();
        let mut old_offsets = self.old_offsets.lock();
        for address in addresses {
            old_offsets.entry(address).or_insert(offset);
        }
    }

    /// When the first room wakes.
    pub(super) fn first(&self) -> Option<SteadyMillis> {
        self.due.lock().first().map(|(at, _)| *at)
    }

    /// Removes and returns the rooms that are due.
    pub(super) fn take_due(&self, now: SteadyMillis) -> Vec<Address> {
        let mut due = self.due.lock();
        let mut taken = Vec::new();
        while due.first().is_some_and(|(at, _)| *at <= now) {
            taken.extend(due.pop_first().map(|(_, address)| address));
        }
        taken
    }
}
