//! The local copy of rooms: an engine of the embedded store that is never synced. It has the records of rooms under the
//! same keys as the database, with the ids of their rows. The driver writes it, and guests read it.
//!
//! A room's own record has the number and the token of the last confirmed commit. It is the last record that is written
//! when a room is filled, and the first that is removed before. So a copy that is torn by a crash has no such record, or
//! an older one whose number and token the database does not have.

use std::sync::Arc;

use bytes::Bytes;

use crate::cluster::ownership::Cached;
use crate::model::Address;
use crate::store::engine::{Record, StorageEngine};
use crate::store::error::DiskError;
use crate::store::records::{self, RoomRecord};

/// Records that are removed at once.
const REMOVED_AT_ONCE: usize = 10_000;
/// Bytes that are written at once while a room is filled.
const FILLED_AT_ONCE: usize = 1 << 20;

/// The local copy.
#[derive(Clone)]
pub(super) struct Cache(pub(super) Arc<dyn StorageEngine>);

impl Cache {
    /// The last confirmed commit in the copy of a room; absent if there is no copy of this row.
    pub(super) fn of(&self, address: &Address, row: u64) -> Result<Option<Cached>, DiskError> {
        let record = records::room(&*self.0, address)?.filter(|record| record.id == row);
        Ok(record.map(|record| Cached { number: record.number, token: record.epoch }))
    }

    /// Removes the copy of a row, and that of an older row of the address. From then on there is none.
    pub(super) fn clear(&self, address: &Address, row: u64) -> Result<(), DiskError> {
        let older = records::room(&*self.0, address)?.map(|record| record.id).filter(|id| *id != row);
        self.0.write(vec![records::no_room(address)])?;
        self.remove(row)?;
        match older {
            // In a database that went back, the row may be that of another room now.
            Some(older) if records::address_of(&*self.0, older)?.as_ref() == Some(address) => self.remove(older),
            _ => Ok(()),
        }
    }

    fn remove(&self, row: u64) -> Result<(), DiskError> {
        loop {
            let keys = records::some_keys(&*self.0, row, REMOVED_AT_ONCE)?;
            if keys.is_empty() {
                return self.0.write(vec![records::no_name(row)]);
            }
            self.0.write(keys.into_iter().map(|key| (key, None)).collect())?;
        }
    }

    /// Says that the copy of a room is whole.
    pub(super) fn confirm(&self, address: &Address, record: RoomRecord) -> Result<(), DiskError> {
        self.0.write(vec![record.name_record(address), record.to_record(address)])
    }
}

/// Fills the copies of rooms with what the database sends.
pub(super) struct Filling {
    cache: Cache,
    batch: Vec<Record>,
    size: usize,
    pub(super) bytes: u64,
    /// The first error. Nothing more is written after it.
    pub(super) failed: Option<DiskError>,
}

impl Filling {
    pub(super) fn new(cache: Cache) -> Self {
        Filling { cache, batch: Vec::new(), size: 0, bytes: 0, failed: None }
    }

    pub(super) fn add(&mut self, key: Bytes, value: Bytes) {
        self.size += key.len() + value.len();
        self.batch.push((key, Some(value)));
        if self.size >= FILLED_AT_ONCE {
            self.write();
        }
    }

    pub(super) fn write(&mut self) {
        self.bytes += self.size as u64;
        self.size = 0;
        let batch = std::mem::take(&mut self.batch);
        if self.failed.is_none() && !batch.is_empty() {
            self.failed = self.cache.0.write(batch).err();
        }
    }
}
