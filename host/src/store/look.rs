//! Looks at stored rooms without opening them, for the operator: pages of rooms and of entries. Each call reads a
//! bounded number of records, and takes no ownership, so the owner of a room may commit meanwhile.

use std::ops::Bound;

use bytes::Bytes;

use super::engine::StorageReader;
use super::error::unreadable;
use super::records::RoomRecord;
use super::{Store, records};
use crate::model::{Address, Posts, Range, StorageFailed, Timers};

/// Entries are counted until so many bytes were read for it: the engine reads the values together with the keys.
const COUNTED_BYTES: usize = 16 << 20;

/// A stored room, as its record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRoom {
    /// Its name.
    pub name: String,
    /// Counted bytes of its storage. Overwritten and removed data stays counted until the next exact count.
    pub bytes: u64,
}

/// A page of stored rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRooms {
    /// The rooms, ordered by name.
    pub rooms: Vec<StoredRoom>,
    /// More may follow after the last one.
    pub more: bool,
}

/// The facts about a stored room, beside its entries.
#[derive(Debug)]
pub struct StoredRecord {
    /// Counted bytes of its storage.
    pub bytes: u64,
    /// The number of its last commit.
    pub commit: u64,
    /// Its incarnation.
    pub incarnation: u64,
    /// The version of its data.
    pub data_version: u32,
    /// Its timers.
    pub timers: Timers,
    /// Its posts that are not accepted yet.
    pub posts: Posts,
}

/// Which entries of a room's storage a page has.
#[derive(Debug, Clone, Default)]
pub struct EntriesQuery {
    /// Only keys that begin with this.
    pub prefix: Bytes,
    /// Only keys after this one.
    pub after: Option<Bytes>,
    /// The most entries.
    pub limit: usize,
    /// Longer values are cut.
    pub value_bytes: usize,
    /// The page ends when its keys and values together have this many bytes; it has one entry at least.
    pub page_bytes: usize,
}

/// Some entries of a room's storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntriesPage {
    /// Each key with the beginning of its value, and the length of the whole value.
    pub entries: Vec<(Bytes, Bytes, usize)>,
    /// More may follow after the last one.
    pub more: bool,
}

impl EntriesQuery {
    fn range(&self) -> Range {
        let first = Bound::Included(self.prefix.clone());
        let start = match &self.after {
            Some(after) if *after >= self.prefix => Bound::Excluded(after.clone()),
            _ => first,
        };
        Range { start, end: behind(&self.prefix), reverse: false }
    }
}

/// The first key after all keys with this prefix.
fn behind(prefix: &[u8]) -> Bound<Bytes> {
    let Some(last) = prefix.iter().rposition(|byte| *byte < u8::MAX) else { return Bound::Unbounded };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Bound::Excluded(end.into())
}

impl Store {
    /// The namespaces of all stored rooms, in order.
    pub fn namespaces(&self) -> Result<Vec<String>, StorageFailed> {
        let read = |disk: &dyn StorageReader| records::namespaces(disk);
        self.0.read_all(|disk| read(disk).map_err(|error| unreadable("the rooms", &"all namespaces", &error)))
    }

    /// The stored rooms of a namespace whose names begin with `prefix`, beginning after `after`.
    pub fn rooms(
        &self,
        namespace: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<StoredRooms, StorageFailed> {
        let mut rooms = Vec::new();
        if limit == 0 {
            return Ok(StoredRooms { rooms, more: true });
        }
        let mut more = false;
        let mut visit = |name: String, record: RoomRecord| {
            more = rooms.len() == limit;
            if !more {
                rooms.push(StoredRoom { name, bytes: record.bytes });
            }
            !more
        };
        self.0.read_all(|disk| {
            let read = records::rooms(disk, namespace, prefix, after, &mut visit);
            read.map_err(|error| unreadable("the rooms", &namespace, &error))
        })?;
        Ok(StoredRooms { rooms, more })
    }

    /// A stored room; absent if nothing is stored of it.
    pub fn record(&self, address: &Address) -> Result<Option<StoredRecord>, StorageFailed> {
        self.read_room(address, |disk, record| {
            Ok(StoredRecord {
                bytes: record.bytes,
                commit: record.number,
                incarnation: self.0.incarnation_of(address, record.generation),
                data_version: record.data_version,
                timers: records::timers(disk, record.id)?.collect(),
                posts: records::posts(disk, record.id)?,
            })
        })
    }

    /// Whether anything is stored of a room.
    pub fn is_stored(&self, address: &Address) -> Result<bool, StorageFailed> {
        Ok(self.read_room(address, |_, _| Ok(()))?.is_some())
    }

    /// How many entries the storage of a room has, and whether it may have more than the `limit` that were counted.
    pub fn count_entries(&self, address: &Address, limit: usize) -> Result<(usize, bool), StorageFailed> {
        let counted = self.read_room(address, |disk, record| {
            let (mut entries, mut bytes, mut more) = (0, 0, false);
            let all = Range { start: Bound::Unbounded, end: Bound::Unbounded, reverse: false };
            records::scan_entries(disk, record.id, &all, &mut |_, value| {
                more = entries == limit || bytes >= COUNTED_BYTES;
                bytes += value.len();
                entries += usize::from(!more);
                !more
            })?;
            Ok((entries, more))
        })?;
        Ok(counted.unwrap_or((0, false)))
    }

    /// Some entries of the storage of a room, as they are on disk; none if nothing is stored of it.
    pub fn entries(&self, address: &Address, query: &EntriesQuery) -> Result<EntriesPage, StorageFailed> {
        let read = self.read_room(address, |disk, record| {
            let mut page = EntriesPage { entries: Vec::new(), more: false };
            let mut bytes = 0;
            // Behind all keys with this prefix.
            if query.after.as_ref().is_some_and(|after| *after > query.prefix && !after.starts_with(&query.prefix)) {
                return Ok(page);
            }
            records::scan_entries(disk, record.id, &query.range(), &mut |key, value| {
                page.more = page.entries.len() == query.limit || (bytes >= query.page_bytes && bytes > 0);
                if page.more {
                    return false;
                }
                let cut = value.slice(..value.len().min(query.value_bytes));
                bytes += key.len() + cut.len();
                page.entries.push((key.clone(), cut, value.len()));
                true
            })?;
            Ok(page)
        })?;
        Ok(read.unwrap_or(EntriesPage { entries: Vec::new(), more: false }))
    }

    fn read_room<T>(
        &self,
        address: &Address,
        read: impl FnOnce(&dyn StorageReader, RoomRecord) -> Result<T, super::DiskError>,
    ) -> Result<Option<T>, StorageFailed> {
        self.0.read_all(|disk| {
            let read = || records::room(disk, address)?.map(|record| read(disk, record)).transpose();
            read().map_err(|error| unreadable("the records", address, &error))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(behind(b"ab"), Bound::Excluded(Bytes::from_static(b"ac")));
        assert_eq!(behind(b"a\xff"), Bound::Excluded(Bytes::from_static(b"b")));
        assert_eq!(behind(b"\xff\xff"), Bound::Unbounded);
        assert_eq!(behind(b""), Bound::Unbounded);
    }
}
