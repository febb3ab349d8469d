//! Wakes rooms whose timers are due. Holds one entry a room at most: when its first timer is due, or earlier.
//!
//! It goes by the steady clock, which nobody sets. What rooms have stored is told by the system's clock: when that is set,
//! rooms move their timers with it when they next run, and of those that are not in memory the wheel knows by which clock
//! their timers were stored.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::Shared;
use super::mailbox::{Delivered, Incoming, Mailbox};
use crate::clock;
use crate::model::Address;
use crate::store::CommitError;

#[derive(Default)]
pub(super) struct Wheel {
    due: Mutex<BTreeSet<(SteadyMillis, Address)>>,
    /// Rooms whose times were stored before the system's clock was set, and how far it was ahead of the steady one then.
    /// Empty unless it was set while this process lives; never more than there are entries in the wheel at that time.
    before: Mutex<HashMap<Address, i64>>,
    sooner: Notify,
}

/// A time on the steady clock.
pub(super) type SteadyMillis = u64;

impl Wheel {
    /// Wake a room at a time, and not at the one that was set before.
    pub(super) fn set(&self, address: &Address, before: Option<SteadyMillis>, at: SteadyMillis) {
        let mut due = self.lock();
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

    /// How far the system's clock was ahead of the steady one when a room's times were stored, where that is not as now.
    pub(super) fn stored_by(&self, address: &Address) -> Option<i64> {
        self.before().get(address).copied()
    }

    /// A room's times are stored as the system's clock tells them now.
    pub(super) fn followed(&self, address: &Address) {
        self.before().remove(address);
    }

    /// The system's clock was set. `offset` is how far it was ahead before.
    fn clock_was_set(&self, offset: i64) {
        let addresses = self.lock().iter().map(|(_, address)| address.clone()).collect::<Vec<_>>();
        let mut before = self.before();
        for address in addresses {
            before.entry(address).or_insert(offset);
        }
    }

    fn before(&self) -> MutexGuard<'_, HashMap<Address, i64>> {
        self.before.lock().expect("no holder of this lock panics")
    }

    fn first(&self) -> Option<SteadyMillis> {
        self.lock().first().map(|(at, _)| *at)
    }

    fn take_due(&self, now: SteadyMillis) -> Vec<Address> {
        let mut due = self.lock();
        let mut taken = Vec::new();
        while due.first().is_some_and(|(at, _)| *at <= now) {
            taken.extend(due.pop_first().map(|(_, address)| address));
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(SteadyMillis, Address)>> {
        self.due.lock().expect("no holder of this lock panics")
    }
}

/// Turn until the host is gone or shuts down.
pub(super) async fn turn(shared: Weak<Shared>) {
    loop {
        let Some(alive) = shared.upgrade() else { return };
        look_at_clock(&alive);
        // On a full disk no timer can be done with, and no post be taken: all wait here until there is space.
        let has_space = !matches!(alive.store.refuses(), Some(CommitError::NoSpace { .. }));
        if has_space {
            for address in alive.wheel.take_due(clock::steady_millis()) {
                fire(&alive, &address);
            }
        }
        let until = alive.wheel.first().filter(|_| has_space);
        drop(alive);
        // Looks again each second at least, at the clocks, and so that a host that was dropped does not leave this task behind.
        let longest = Duration::from_secs(1);
        let wait = until.map_or(longest, |at| Duration::from_millis(at.saturating_sub(clock::steady_millis())));
        let Some(alive) = shared.upgrade() else { return };
        tokio::select! {
            () = alive.wheel.sooner.notified() => {}
            () = clock::sleep(wait.min(longest)) => {}
        }
    }
}

/// Rooms follow when the system's clock is set.
fn look_at_clock(shared: &Shared) {
    let Some(offset) = shared.timeline.look() else { return };
    let before = shared.timeline.offset();
    let (seconds, direction) = (before.abs_diff(offset) / 1_000, if offset < before { "back" } else { "forward" });
    tracing::warn!(
        seconds,
        direction,
        "the system's clock was set; rooms follow it, and timers come when they would have"
    );
    // In this order: a room that is opened in between finds that nothing has changed yet.
    shared.wheel.clock_was_set(before);
    shared.timeline.set(offset);
}

fn fire(shared: &Arc<Shared>, address: &Address) {
    let Some(namespace) = shared.namespaces.get(address.namespace()) else { return };
    loop {
        let mailbox = shared.registry.get_or_make(address, namespace, &shared.runtime);
        match Mailbox::deliver(&mailbox, shared, Incoming::TimersDue) {
            Delivered::Yes | Delivered::Full(_) => return,
            Delivered::Forgotten(_) => {}
        }
    }
}
