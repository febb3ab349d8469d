//! Finds rooms by address. It holds at most one mailbox for each address, so there is at most one instance. It does not
//! know the content of a mailbox. [`Rooms`](super::Rooms), the timer queue and room tasks call it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, MutexGuard};

use prometheus_client::metrics::gauge::Gauge;
use tokio::runtime::Handle;

use super::incoming::Incoming;
use super::life::RoomState;
use super::mailbox::{Idle, Mailbox, MovedSeats};
use super::metrics::Times;
use super::namespace::Namespace;
use crate::lock::Lock;
use crate::model::Address;

/// Enough that two busy cores rarely want the same lock.
const SHARDS: usize = 64;

pub(super) struct Registry {
    shards: Vec<Lock<HashMap<Address, Arc<Mailbox>>>>,
    hasher: RandomState,
    /// The number of rooms.
    rooms: Gauge,
    /// The histograms of each namespace.
    times: BTreeMap<String, Arc<Times>>,
}

impl Registry {
    /// `rooms` is the gauge that counts them, and `times` has the histograms of their namespaces.
    pub(super) fn new(rooms: Gauge, times: BTreeMap<String, Arc<Times>>) -> Self {
        let shards = (0..SHARDS).map(|_| Lock::default()).collect();
        Registry { shards, hasher: RandomState::new(), rooms, times }
    }

    /// The number of rooms in memory.
    pub(super) fn len(&self) -> usize {
        usize::try_from(self.rooms.get()).unwrap_or(0)
    }

    pub(super) fn get(&self, address: &Address) -> Option<Arc<Mailbox>> {
        self.shard(address).get(address).cloned()
    }

    pub(super) fn get_or_make(&self, address: &Address, namespace: &Arc<Namespace>, runtime: &Handle) -> Arc<Mailbox> {
        let mut shard = self.shard(address);
        if let Some(mailbox) = shard.get(address) {
            return mailbox.clone();
        }
        let times = self.times.get(address.namespace()).cloned().unwrap_or_default();
        let state = RoomState::new(address.clone(), namespace.clone());
        let mailbox = Arc::new(Mailbox::new(state, runtime.clone(), times));
        shard.insert(address.clone(), mailbox.clone());
        self.rooms.inc();
        mailbox
    }

    /// Removes a room that nothing keeps in memory. If an event came meanwhile, it returns the room instead. The room
    /// is dropped before the lock is released, so that a successor never finds the log of the room still owned.
    pub(super) fn forget(&self, state: Box<RoomState>, mailbox: &Arc<Mailbox>) -> Result<(), Box<RoomState>> {
        let address = state.address().clone();
        let mut shard = self.shard(&address);
        if !mailbox.forget() {
            return Err(state);
        }
        drop(state);
        shard.remove(&address);
        self.rooms.dec();
        Ok(())
    }

    /// Removes a room even if events wait for it, and returns these events. Those of sockets that go on at another node
    /// go there; `seats` has their places.
    pub(super) fn abandon(&self, address: &Address, mailbox: &Arc<Mailbox>, seats: MovedSeats) -> VecDeque<Incoming> {
        let mut shard = self.shard(address);
        // A successor under the same address must stay.
        if shard.get(address).is_some_and(|current| Arc::ptr_eq(current, mailbox)) {
            shard.remove(address);
            self.rooms.dec();
        }
        drop(shard);
        mailbox.abandon(seats)
    }

    /// Takes and returns each lock.
    pub(super) fn take_locks(&self) {
        self.shards.iter().for_each(|shard| drop(shard.lock()));
    }

    pub(super) fn for_each(&self, mut visit: impl FnMut(&Mailbox)) {
        for shard in &self.shards {
            let mailboxes = shard.lock().values().cloned().collect::<Vec<_>>();
            mailboxes.iter().for_each(|mailbox| visit(mailbox));
        }
    }

    /// Calls `visit` for each room in memory, in no order. It must be quick: a part of the registry is locked meanwhile.
    pub(super) fn visit(&self, mut visit: impl FnMut(&Address, &Mailbox)) {
        for shard in &self.shards {
            shard.lock().iter().for_each(|(address, mailbox)| visit(address, mailbox));
        }
    }

    /// The names of the rooms of a namespace that are in memory and `wanted`.
    pub(super) fn names(&self, namespace: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let matching = shard.keys().filter(|address| address.namespace() == namespace && wanted(address.name()));
            names.extend(matching.map(|address| address.name().to_owned()));
        }
        names
    }

    /// At most `limit` rooms of a namespace that are in memory, those that were used last first.
    pub(super) fn recent(&self, namespace: &str, limit: usize) -> Vec<Address> {
        let mut recent = BinaryHeap::new();
        for shard in &self.shards {
            for (address, mailbox) in &*shard.lock() {
                if address.namespace() == namespace {
                    recent.push(Reverse((mailbox.last_used(), address.clone())));
                    if recent.len() > limit {
                        recent.pop();
                    }
                }
            }
        }
        recent.into_sorted_vec().into_iter().map(|Reverse((_, address))| address).collect()
    }

    /// Rooms with an instance that they do not use now, the longest idle first. Rooms that wait for the disk come last,
    /// if they are `wanted`; they need no instance for that.
    pub(super) fn idle(&self, wanted: impl Fn(Idle) -> bool) -> Vec<Arc<Mailbox>> {
        let mut idle = Vec::new();
        for shard in &self.shards {
            let mailboxes = shard.lock().values().cloned().collect::<Vec<_>>();
            idle.extend(mailboxes.into_iter().filter_map(|mailbox| Some((mailbox.idle()?, mailbox))));
        }
        idle.retain(|((idle, _), _)| wanted(*idle));
        idle.sort_by_key(|(idle, _)| *idle);
        idle.into_iter().map(|(_, mailbox)| mailbox).collect()
    }

    fn shard(&self, address: &Address) -> MutexGuard<'_, HashMap<Address, Arc<Mailbox>>> {
        let hash = self.hasher.hash_one(address);
        self.shards[(hash % SHARDS as u64) as usize].lock()
    }
}
