//! The interface `storage`. During a session all entries are in memory, as a part of the state.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::room::storage::{Guest, Key, Range, StorageError, Value};
use super::{Disk, with_session};
use crate::state::Change;

const KEY_BYTES: usize = 2_048;
const VALUE_BYTES: usize = 2 << 20;
const TURN_BYTES: usize = 16 << 20;
/// The most keys or entries in one call.
const MAX_ENTRIES: usize = 1_000;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

fn entries<T>(look: impl FnOnce(&Entries) -> T) -> T {
    with_session(|session| look(&session.state().entries))
}

fn check(key: &[u8], value: &[u8]) -> Result<(), StorageError> {
    match (key.len(), value.len()) {
        (1..=KEY_BYTES, 0..=VALUE_BYTES) => Ok(()),
        (1..=KEY_BYTES, _) => Err(StorageError::ValueTooLarge),
        _ => Err(StorageError::BadKey),
    }
}

impl Guest for Disk {
    fn get(key: Key) -> Option<Value> {
        entries(|entries| entries.get(&key).cloned())
    }

    fn get_many(keys: Vec<Key>) -> Vec<Option<Value>> {
        assert!(keys.len() <= MAX_ENTRIES, "a room asked for more than {MAX_ENTRIES} keys at once");
        entries(|entries| keys.iter().map(|key| entries.get(key).cloned()).collect())
    }

    fn put(key: Key, value: Value) -> Result<(), StorageError> {
        Self::put_many(vec![(key, value)])
    }

    fn put_many(new: Vec<(Key, Value)>) -> Result<(), StorageError> {
        new.iter().try_for_each(|(key, value)| check(key, value))?;
        let bytes: usize = new.iter().map(|(key, value)| key.len() + value.len()).sum();
        with_session(|session| {
            if session.turn().written + bytes > TURN_BYTES {
                return Err(StorageError::TurnTooLarge);
            }
            session.turn().written += bytes;
            new.into_iter().for_each(|(key, value)| session.change(Change::Put(key, value)));
            Ok(())
        })
    }

    fn delete(key: Key) -> bool {
        with_session(|session| {
            let existed = session.state().entries.contains_key(&key);
            if existed {
                session.change(Change::Delete(key));
            }
            existed
        })
    }

    fn delete_range(start: Key, end: Key, limit: u32) -> u32 {
        let range = Range { prefix: None, start: Some(start), end: Some(end), reverse: false, limit };
        let keys = Self::list(range).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let removed = keys.len() as u32;
        with_session(|session| keys.into_iter().for_each(|key| session.change(Change::Delete(key))));
        removed
    }

    fn list(range: Range) -> Vec<(Key, Value)> {
        let prefix = range.prefix.unwrap_or_default();
        let first = range.start.unwrap_or_default().max(prefix.clone());
        let end = range.end;
        let is_within = |key: &[u8]| key.starts_with(&prefix) && end.as_deref().is_none_or(|end| key < end);
        let limit = MAX_ENTRIES.min(range.limit as usize);
        entries(|entries| {
            let mut bytes = 0;
            let fits = |(key, value): &(&Vec<u8>, &Vec<u8>)| {
                let is_first = bytes == 0;
                bytes += key.len() + value.len();
                is_first || bytes <= TURN_BYTES
            };
            let copy = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
            match range.reverse {
                false => {
                    let found = entries.range(first..).take_while(|(key, _)| is_within(key));
                    found.take(limit).take_while(fits).map(copy).collect()
                }
                true => {
                    let upper = match end.as_ref() {
                        Some(end) if *end < first => return Vec::new(),
                        Some(end) => Bound::Excluded(end.clone()),
                        None => end_of(&prefix).map_or(Bound::Unbounded, Bound::Excluded),
                    };
                    // In reverse, entries between the prefix and `end` come first: skip them.
                    let found = entries.range((Bound::Included(first), upper)).rev();
                    let found = found.skip_while(|(key, _)| !is_within(key)).take_while(|(key, _)| is_within(key));
                    found.take(limit).take_while(fits).map(copy).collect()
                }
            }
        })
    }
}

/// The lowest key above all keys with this prefix. `None` if there is none.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
