//! `storage`: the ordered keys of the room, with the writes of this turn on top.

use std::ops::Bound;

use bytes::Bytes;
use wasmtime::bail;

use crate::guest::bindings::room::dormouse::room::storage::{self, StorageError};
use crate::guest::state::StoreData;
use crate::limits;
use crate::model::{self, scan_over};

impl StoreData {
    fn read(&mut self, key: &[u8]) -> wasmtime::Result<Option<Bytes>> {
        // An invalid key was never written, and the engine has its own limit for keys.
        if !is_key(key) {
            return Ok(None);
        }
        if let Some(written) = self.turn.changes.writes.get(key) {
            return Ok(written.clone());
        }
        Ok(self.resources()?.storage.get(key)?)
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> wasmtime::Result<()> {
        self.check_may_change()?;
        self.usage.write_bytes += limits::RECORD_BYTES + key.len() + value.as_ref().map_or(0, Vec::len);
        self.turn.changes.writes.insert(Bytes::from(key), value.map(Bytes::from));
        Ok(())
    }

    fn check(&self, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<(), StorageError> {
        let mut bytes = self.usage.write_bytes;
        for (key, value) in entries {
            if !is_key(key) {
                return Err(StorageError::BadKey);
            }
            if value.len() > limits::VALUE_BYTES {
                return Err(StorageError::ValueTooLarge);
            }
            bytes += limits::RECORD_BYTES + key.len() + value.len();
        }
        if bytes > limits::TURN_WRITE_BYTES { Err(StorageError::TurnTooLarge) } else { Ok(()) }
    }

    fn scan(
        &mut self,
        start: Vec<u8>,
        end: Option<Vec<u8>>,
        reverse: bool,
        visit: &mut dyn FnMut(&Bytes, &Bytes) -> bool,
    ) -> wasmtime::Result<()> {
        let range = model::Range { start: lower_bound(start), end: end.map_or(Bound::Unbounded, upper_bound), reverse };
        let storage = self.resources()?.storage.clone();
        Ok(scan_over(&self.turn.changes.writes, &*storage, &range, visit)?)
    }
}

impl storage::Host for StoreData {
    fn get(&mut self, key: Vec<u8>) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.read(&key)?.map(|value| value.to_vec()))
    }

    fn get_many(&mut self, keys: Vec<Vec<u8>>) -> wasmtime::Result<Vec<Option<Vec<u8>>>> {
        if keys.len() > limits::LIST_ENTRIES {
            bail!("get-many was asked for more than {} keys", limits::LIST_ENTRIES);
        }
        let mut bytes = 0;
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            let value = self.read(&key)?;
            bytes += value.as_ref().map_or(0, |value| value.len());
            if bytes > limits::LIST_BYTES {
                bail!("get-many was asked for more than {} B of values", limits::LIST_BYTES);
            }
            values.push(value.map(|value| value.to_vec()));
        }
        Ok(values)
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> wasmtime::Result<Result<(), StorageError>> {
        self.put_many(vec![(key, value)])
    }

    fn put_many(&mut self, entries: Vec<(Vec<u8>, Vec<u8>)>) -> wasmtime::Result<Result<(), StorageError>> {
        if let Err(error) = self.check(&entries) {
            return Ok(Err(error));
        }
        for (key, value) in entries {
            self.write(key, Some(value))?;
        }
        Ok(Ok(()))
    }

    fn delete(&mut self, key: Vec<u8>) -> wasmtime::Result<bool> {
        let existed = self.read(&key)?.is_some();
        if existed {
            self.remove(key)?;
        }
        Ok(existed)
    }

    fn delete_range(&mut self, start: Vec<u8>, end: Vec<u8>, limit: u32) -> wasmtime::Result<u32> {
        let max_entries = entry_limit(limit);
        let mut keys = Vec::new();
        self.scan(start, Some(end), false, &mut |key, _| {
            if keys.len() < max_entries {
                keys.push(key.to_vec());
            }
            keys.len() < max_entries
        })?;
        let deleted = keys.len();
        for key in keys {
            self.remove(key)?;
        }
        Ok(u32::try_from(deleted).expect("a call removes 1,000 keys at most"))
    }

    fn list(&mut self, range: storage::Range) -> wasmtime::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let max_entries = entry_limit(range.limit);
        let mut entries = Vec::new();
        let mut bytes = 0;
        let reverse = range.reverse;
        let (start, end) = bounds(range);
        self.scan(start, end, reverse, &mut |key, value| {
            bytes += key.len() + value.len();
            if entries.len() == max_entries || bytes > limits::LIST_BYTES {
                return false;
            }
            entries.push((key.to_vec(), value.to_vec()));
            entries.len() < max_entries
        })?;
        Ok(entries)
    }
}

impl StoreData {
    /// Removals count as writes: they are held until the end of the turn and go to the disk.
    fn remove(&mut self, key: Vec<u8>) -> wasmtime::Result<()> {
        self.write(key, None)?;
        if self.usage.write_bytes > limits::TURN_WRITE_BYTES {
            bail!("the turn wrote and removed more than {} B", limits::TURN_WRITE_BYTES);
        }
        Ok(())
    }
}

fn is_key(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= limits::KEY_BYTES
}

fn entry_limit(limit: u32) -> usize {
    usize::try_from(limit).map_or(limits::LIST_ENTRIES, |limit| limit.min(limits::LIST_ENTRIES))
}

/// The narrowest bounds that contain everything in the requested range.
fn bounds(range: storage::Range) -> (Vec<u8>, Option<Vec<u8>>) {
    let (first, after) = match range.prefix {
        Some(prefix) => {
            let after = successor(&prefix);
            (prefix, after)
        }
        None => (Vec::new(), None),
    };
    let start = range.start.map_or(first.clone(), |start| start.max(first));
    let end = match (range.end, after) {
        (Some(end), Some(after)) => Some(end.min(after)),
        (end, after) => end.or(after),
    };
    (start, end)
}

/// A lower bound, included. A bound longer than a key is shortened: keys after it are the keys after its prefix.
fn lower_bound(start: Vec<u8>) -> Bound<Bytes> {
    match shortened(start) {
        (whole, true) => Bound::Included(whole),
        (cut, false) => Bound::Excluded(cut),
    }
}

/// An upper bound, excluded; shortened in the same way.
fn upper_bound(end: Vec<u8>) -> Bound<Bytes> {
    match shortened(end) {
        (whole, true) => Bound::Excluded(whole),
        (cut, false) => Bound::Included(cut),
    }
}

/// Shortens bytes to the longest key, and tells whether they were complete.
fn shortened(mut bytes: Vec<u8>) -> (Bytes, bool) {
    let whole = bytes.len() <= limits::KEY_BYTES;
    bytes.truncate(limits::KEY_BYTES);
    (bytes.into(), whole)
}

/// The first key after all keys that begin with `prefix`; absent if there is none.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}
