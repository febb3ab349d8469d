//! An engine in memory, for tests: it has the same contract, but loses everything with the process.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::engine::{Record, StorageEngine, StorageReader};
use super::error::DiskError;
use crate::lock::ReadWriteLock;

/// All entries, in memory.
#[derive(Debug, Default)]
pub struct MemoryEngine(ReadWriteLock<BTreeMap<Bytes, Bytes>>);

impl StorageEngine for MemoryEngine {
    fn write(&self, batch: Vec<Record>) -> Result<(), DiskError> {
        let mut entries = self.0.write();
        for (key, value) in batch {
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn StorageReader>, DiskError> {
        Ok(Box::new(MemoryEngine(ReadWriteLock::new(self.0.read().clone()))))
    }
}

impl StorageReader for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        Ok(self.0.read().get(key).cloned())
    }

    fn scan(
        &self,
        range: (Bound<Bytes>, Bound<Bytes>),
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), DiskError> {
        let entries = self.0.read();
        let mut shown = entries.range(range).map(|(key, value)| (key.clone(), value.clone()));
        if reverse {
            let _ = shown.rev().all(|(key, value)| visit(key, value));
        } else {
            let _ = shown.all(|(key, value)| visit(key, value));
        }
        Ok(())
    }
}
