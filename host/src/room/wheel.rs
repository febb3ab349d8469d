//! Wakes rooms whose timers are due. Holds one entry a room at most: when its first timer is due, or earlier.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::sync::Notify;

use super::Shared;
use super::mailbox::{Delivered, Incoming, Mailbox};
use crate::clock::{self, UnixMillis};
use crate::model::Address;

#[derive(Default)]
pub(super) struct Wheel {
    due: Mutex<BTreeSet<(UnixMillis, Address)>>,
    sooner: Notify,
}

impl Wheel {
    /// Wake a room at a time, and not at the one that was set before.
    pub(super) fn set(&self, address: &Address, before: Option<UnixMillis>, at: UnixMillis) {
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

    fn first(&self) -> Option<UnixMillis> {
        self.lock().first().map(|(at, _)| *at)
    }

    fn take_due(&self, now: UnixMillis) -> Vec<Address> {
        let mut due = self.lock();
        let mut taken = Vec::new();
        while due.first().is_some_and(|(at, _)| *at <= now) {
            taken.extend(due.pop_first().map(|(_, address)| address));
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(UnixMillis, Address)>> {
        self.due.lock().expect("no holder of this lock panics")
    }
}

/// Turn until the host is gone or shuts down.
pub(super) async fn turn(shared: Weak<Shared>) {
    loop {
        let Some(alive) = shared.upgrade() else { return };
        for address in alive.wheel.take_due(clock::unix_millis()) {
            fire(&alive, &address);
        }
        let until = alive.wheel.first();
        drop(alive);
        // Looks again each second at least, so that a host that was dropped does not leave this task behind.
        let wait = std::time::Duration::from_secs(1);
        let Some(alive) = shared.upgrade() else { return };
        tokio::select! {
            () = async { match until { Some(at) => clock::sleep_until(at).await, None => std::future::pending().await } } => {}
            () = alive.wheel.sooner.notified() => {}
            () = clock::sleep(wait) => {}
        }
    }
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
