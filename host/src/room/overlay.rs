//! The storage of a room as its next turn sees it: an overlay of writes that are not durable yet, over the data on
//! disk. It knows no guest and no commit order beyond numbers. The task of the room calls it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::lock::Lock;
use crate::model::{Range, Storage, StorageFailed, Writes, Written, scan_over};
use crate::store::{Receipt, RoomReader};

/// The storage of one room. Turns run ahead of the disk, so their writes are read from here until they are durable.
pub(super) struct StorageOverlay {
    disk: RoomReader,
    pending: Lock<Pending>,
}

#[derive(Default)]
struct Pending {
    writes: BTreeMap<Bytes, Value>,
    /// The keys that each commit wrote, the oldest commit first.
    commits: VecDeque<(u64, Vec<Bytes>)>,
}

#[derive(Clone)]
struct Value {
    commit: u64,
    value: Option<Bytes>,
}

/// The writes of a turn that can still be taken back: what they cover.
pub(super) struct Covered(Vec<(Bytes, Option<Value>)>);

impl Written for Value {
    fn value(&self) -> Option<&Bytes> {
        self.value.as_ref()
    }
}

impl StorageOverlay {
    pub(super) fn new(disk: RoomReader) -> Self {
        StorageOverlay { disk, pending: Lock::default() }
    }

    /// Adds the writes of a turn, which belong to this commit.
    pub(super) fn add(&self, commit: u64, writes: &Writes) {
        let mut pending = self.pending.lock();
        pending.commits.push_back((commit, writes.keys().cloned().collect()));
        let values = writes.iter().map(|(key, value)| (key.clone(), Value { commit, value: value.clone() }));
        pending.writes.extend(values);
    }

    /// Like [`add`](Self::add), and remembers what the writes cover.
    pub(super) fn cover(&self, commit: u64, writes: &Writes) -> Covered {
        let before = {
            let pending = self.pending.lock();
            writes.keys().map(|key| (key.clone(), pending.writes.get(key).cloned())).collect()
        };
        self.add(commit, writes);
        Covered(before)
    }

    /// Takes the writes back that were added last.
    pub(super) fn uncover(&self, covered: Covered) {
        let mut pending = self.pending.lock();
        pending.commits.pop_back();
        for (key, before) in covered.0 {
            match before {
                Some(value) => pending.writes.insert(key, value),
                None => pending.writes.remove(&key),
            };
        }
    }

    /// Removes writes that can now be read from the disk: those of commits up to the receipt.
    pub(super) fn settle(&self, receipt: &Receipt) {
        let mut pending = self.pending.lock();
        while pending.commits.front().is_some_and(|(commit, _)| *commit <= receipt.number()) {
            let (_, keys) = pending.commits.pop_front().expect("looked at above");
            for key in keys {
                // A later commit may have written the key again.
                if pending.writes.get(&key).is_some_and(|value| value.commit <= receipt.number()) {
                    pending.writes.remove(&key);
                }
            }
        }
        if pending.commits.is_empty() {
            // A room without pending writes must not keep capacity for them.
            *pending = Pending::default();
        }
    }
}

impl Storage for StorageOverlay {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageFailed> {
        if let Some(pending) = self.pending.lock().writes.get(key) {
            return Ok(pending.value.clone());
        }
        self.disk.get(key)
    }

    fn scan(&self, range: &Range, visit: &mut dyn FnMut(&Bytes, &Bytes) -> bool) -> Result<(), StorageFailed> {
        let pending = self.pending.lock();
        if pending.writes.is_empty() {
            drop(pending);
            return self.disk.scan(range, visit);
        }
        scan_over(&pending.writes, &self.disk, range, visit)
    }
}
