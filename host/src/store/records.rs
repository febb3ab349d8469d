//! How the store's keys and values are laid out. Every key begins with a byte that tells its kind; numbers are
//! big-endian, so that keys sort as their numbers do.
//!
//! | key | value |
//! |---|---|
//! | 0 `epoch` | how often this store was opened |
//! | 0 `group` | number of the last group commit |
//! | 1 namespace 0 name | the room's id, the epoch and number of its last commit |
//! | 2 id key | one entry of the room's storage |
//! | 3 id name | one timer: due, attempt, payload |
//! | 4 id | namespace 0 name |

use std::ops::Bound;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::DiskError;
use super::disk::{Disk, Record};
use crate::clock::UnixMillis;
use crate::model::{Address, Range, StorageFailed, Timer};

const STORE: u8 = 0;
const ROOM: u8 = 1;
const ENTRY: u8 = 2;
const TIMER: u8 = 3;
const NAME: u8 = 4;

/// What the disk knows of a room beside its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoomRecord {
    /// Stands for the address in the keys of its entries.
    pub(super) id: u64,
    /// Which start of the store made the last commit.
    pub(super) epoch: u64,
    /// The number of the last commit.
    pub(super) number: u64,
}

impl RoomRecord {
    pub(super) fn to_record(self, address: &Address) -> Record {
        let mut value = BytesMut::with_capacity(24);
        value.put_u64(self.id);
        value.put_u64(self.epoch);
        value.put_u64(self.number);
        (room_key(address), Some(value.freeze()))
    }

    /// The way back from the id to the address.
    pub(super) fn name_record(self, address: &Address) -> Record {
        (id_key(NAME, self.id, b""), Some(address_bytes(address)))
    }
}

pub(super) fn epoch(disk: &dyn Disk) -> Result<u64, DiskError> {
    read_number(disk, b"epoch")
}

pub(super) fn epoch_record(epoch: u64) -> Record {
    (store_key(b"epoch"), Some(number(epoch)))
}

pub(super) fn last_group(disk: &dyn Disk) -> Result<u64, DiskError> {
    read_number(disk, b"group")
}

pub(super) fn group_record(group: u64) -> Record {
    (store_key(b"group"), Some(number(group)))
}

/// The highest id that any room has; 0 where there is none.
pub(super) fn last_room(disk: &dyn Disk) -> Result<u64, DiskError> {
    let mut last = Ok(0);
    disk.scan(kind(NAME), true, &mut |key, _| {
        last = id_of(&key);
        false
    })?;
    last
}

pub(super) fn room(disk: &dyn Disk, address: &Address) -> Result<Option<RoomRecord>, DiskError> {
    let Some(mut value) = disk.get(&room_key(address))? else { return Ok(None) };
    if value.len() != 24 {
        return Err(damaged(&room_key(address)));
    }
    Ok(Some(RoomRecord { id: value.get_u64(), epoch: value.get_u64(), number: value.get_u64() }))
}

pub(super) fn entry_key(id: u64, key: &[u8]) -> Bytes {
    id_key(ENTRY, id, key)
}

pub(super) fn entry(id: u64, key: &[u8], value: Option<Bytes>) -> Record {
    (entry_key(id, key), value)
}

pub(super) fn scan_entries(
    disk: &dyn Disk,
    id: u64,
    range: &Range,
    visit: &mut dyn FnMut(&Bytes, &Bytes) -> bool,
) -> Result<(), StorageFailed> {
    let bound = |bound: &Bound<Bytes>, open: Bound<Bytes>| match bound {
        Bound::Included(key) => Bound::Included(entry_key(id, key)),
        Bound::Excluded(key) => Bound::Excluded(entry_key(id, key)),
        Bound::Unbounded => open,
    };
    let start = bound(&range.start, Bound::Included(entry_key(id, b"")));
    let end = bound(&range.end, Bound::Excluded(entry_key(id + 1, b"")));
    let prefix = entry_key(id, b"").len();
    Ok(disk.scan((start, end), range.reverse, &mut |key, value| visit(&key.slice(prefix..), &value))?)
}

pub(super) fn timer(id: u64, name: &str, timer: Option<&Timer>) -> Record {
    let value = timer.map(|timer| {
        let mut value = BytesMut::with_capacity(12 + timer.payload.len());
        value.put_u64(timer.at);
        value.put_u32(timer.attempt);
        value.put_slice(&timer.payload);
        value.freeze()
    });
    (id_key(TIMER, id, name.as_bytes()), value)
}

pub(super) fn timers(disk: &dyn Disk, id: u64) -> Result<impl Iterator<Item = Timer>, DiskError> {
    let mut timers = Vec::new();
    let range = (Bound::Included(id_key(TIMER, id, b"")), Bound::Excluded(id_key(TIMER, id + 1, b"")));
    disk.scan(range, false, &mut |key, value| {
        timers.push(read_timer(&key, value).map(|(_, timer)| timer));
        true
    })?;
    Ok(timers.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter())
}

/// Every room that has a timer, and when its first is due.
pub(super) fn rooms_with_timers(disk: &dyn Disk) -> Result<Vec<(Address, UnixMillis)>, StorageFailed> {
    let mut found = Vec::<Result<(u64, UnixMillis), DiskError>>::new();
    disk.scan(kind(TIMER), false, &mut |key, value| {
        match (read_timer(&key, value), found.last_mut()) {
            (Ok((id, timer)), Some(Ok((last, at)))) if *last == id => *at = timer.at.min(*at),
            (read, _) => found.push(read.map(|(id, timer)| (id, timer.at))),
        }
        true
    })?;
    let rooms = found.into_iter().map(|found| {
        let (id, at) = found?;
        let key = id_key(NAME, id, b"");
        let name = disk.get(&key)?.ok_or_else(|| damaged(&key))?;
        Ok((read_address(&name).ok_or_else(|| damaged(&key))?, at))
    });
    rooms.collect::<Result<_, DiskError>>().map_err(Into::into)
}

fn read_timer(key: &Bytes, mut value: Bytes) -> Result<(u64, Timer), DiskError> {
    let name = key.get(9..).and_then(|name| String::from_utf8(name.to_vec()).ok());
    let (Some(name), true) = (name, value.len() >= 12) else { return Err(damaged(key)) };
    let (at, attempt) = (value.get_u64(), value.get_u32());
    Ok((id_of(key)?, Timer { name, at, attempt, payload: value }))
}

fn read_number(disk: &dyn Disk, name: &[u8]) -> Result<u64, DiskError> {
    let key = store_key(name);
    match disk.get(&key)? {
        None => Ok(0),
        Some(value) => Ok(u64::from_be_bytes(value.as_ref().try_into().map_err(|_| damaged(&key))?)),
    }
}

fn read_address(bytes: &[u8]) -> Option<Address> {
    let (namespace, name) = std::str::from_utf8(bytes).ok()?.split_once('\0')?;
    Address::new(namespace, name).ok()
}

fn id_of(key: &Bytes) -> Result<u64, DiskError> {
    let id = key.get(1..9).ok_or_else(|| damaged(key))?;
    Ok(u64::from_be_bytes(id.try_into().expect("the slice has 8 bytes")))
}

fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn store_key(name: &[u8]) -> Bytes {
    [&[STORE], name].concat().into()
}

fn room_key(address: &Address) -> Bytes {
    let mut key = BytesMut::with_capacity(2 + address.namespace().len() + address.name().len());
    key.put_u8(ROOM);
    key.put_slice(&address_bytes(address));
    key.freeze()
}

/// Neither part can hold a zero byte, so it parts them.
fn address_bytes(address: &Address) -> Bytes {
    [address.namespace().as_bytes(), &[0], address.name().as_bytes()].concat().into()
}

fn id_key(kind: u8, id: u64, key: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(9 + key.len());
    bytes.put_u8(kind);
    bytes.put_u64(id);
    bytes.put_slice(key);
    bytes.freeze()
}

fn kind(kind: u8) -> (Bound<Bytes>, Bound<Bytes>) {
    (Bound::Included(vec![kind].into()), Bound::Excluded(vec![kind + 1].into()))
}

fn damaged(key: &[u8]) -> DiskError {
    DiskError(format!("the record {} is damaged", key.escape_ascii()))
}
