//! A copy of what is durable of one room, for a reader that does not own the room. The room may go on meanwhile.

use std::ops::Bound;

use super::error::unreadable;
use super::{Store, records};
use crate::model::{Address, Range, StorageFailed, Timers, Writes};

/// A copy of the data of a room.
pub struct Copied {
    /// The number for this history of its storage.
    pub incarnation: u64,
    /// All entries of its storage.
    pub entries: Writes,
    /// Its timers.
    pub timers: Timers,
    /// The version of its data; absent if it has none.
    pub data_version: Option<u32>,
}

impl Store {
    /// Copies the storage and the timers of a room. Absent if the room has no data, or more than `max_bytes`. Blocks on
    /// the disk.
    pub fn copy(&self, address: &Address, max_bytes: u64) -> Result<Option<Copied>, StorageFailed> {
        let incarnation = self.0.incarnation.of_room(&records::address_bytes(address));
        self.0.read_all(|disk| {
            let read = || {
                let Some(record) = records::room(disk, address)? else { return Ok(None) };
                let (mut entries, mut bytes) = (Writes::new(), 0_u64);
                let all = Range { start: Bound::Unbounded, end: Bound::Unbounded, reverse: false };
                // One scan shows one moment.
                records::scan_entries(disk, record.id, &all, &mut |key, value| {
                    bytes += (key.len() + value.len()) as u64;
                    entries.insert(key.clone(), Some(value.clone()));
                    bytes <= max_bytes
                })?;
                let timers = records::timers(disk, record.id)?.collect();
                let data_version = Some(record.data_version);
                Ok((bytes <= max_bytes).then_some(Copied { incarnation, entries, timers, data_version }))
            };
            read().map_err(|error| unreadable("the data", address, &error))
        })
    }
}
