//! Storage in memory, with the same contract as the storage on disk.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use dormouse::model::{Range, Storage, StorageFailed, Writes};

#[derive(Default)]
pub(super) struct Memory(Mutex<BTreeMap<Bytes, Bytes>>);

impl Memory {
    pub(super) fn of(entries: BTreeMap<Bytes, Bytes>) -> Self {
        Memory(Mutex::new(entries))
    }

    pub(super) fn apply(&self, writes: Writes) {
        let mut entries = self.lock();
        for (key, value) in writes {
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
    }

    pub(super) fn entries(&self) -> BTreeMap<Bytes, Bytes> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Bytes, Bytes>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Storage for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageFailed> {
        Ok(self.lock().get(key).cloned())
    }

    fn scan(&self, range: &Range, visit: &mut dyn FnMut(&Bytes, &Bytes) -> bool) -> Result<(), StorageFailed> {
        let entries = self.lock();
        let mut shown = entries.range((range.start.clone(), range.end.clone()));
        if range.reverse {
            let _ = shown.rev().all(|(key, value)| visit(key, value));
        } else {
            let _ = shown.all(|(key, value)| visit(key, value));
        }
        Ok(())
    }
}
