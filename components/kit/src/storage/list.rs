//! A list that grows at its end, a key each, so that no list outgrows a value.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Range, delete_range, from_json, get_json, prefix, put_json};
use crate::Result;

/// What stands between a list's name and a number, and never in a name.
const SEPARATOR: u8 = 0;

/// How many entries are removed in one call: what the contract allows.
const REMOVED_AT_ONCE: u32 = 1_000;

/// A list of one type that grows at its end. Its entries are numbered 1, 2, 3 …, and keep their numbers when the oldest
/// are removed. Made to be a constant of the room: `const MOVES: List<Move> = List::new("moves");`
#[derive(Debug, Clone, Copy)]
pub struct List<T> {
    name: &'static str,
    kept: PhantomData<fn() -> T>,
}

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T> {
    /// Its number.
    pub number: u64,
    /// What was pushed.
    pub value: T,
}

impl<T: Serialize + DeserializeOwned> List<T> {
    /// The list of this name. No two may share one. A name has no zero byte in it, or this does not compile in a
    /// constant.
    pub const fn new(name: &'static str) -> Self {
        let mut index = 0;
        while index < name.len() {
            assert!(name.as_bytes()[index] != SEPARATOR, "the name of a list has no zero byte");
            index += 1;
        }
        List { name, kept: PhantomData }
    }

    /// Add an entry at the end. Its number.
    pub fn push(&self, value: &T) -> Result<u64> {
        let number = self.last_number() + 1;
        put_json(self.key(number), value)?;
        Ok(number)
    }

    /// The number of the newest entry; 0 where there has never been one, and where all were removed.
    pub fn last_number(&self) -> u64 {
        self.all().reverse().limit(1).list().first().map_or(0, |(key, _)| number_of(key))
    }

    /// The entry of a number, where it is kept.
    pub fn get(&self, number: u64) -> Result<Option<T>> {
        get_json(self.key(number))
    }

    /// The newest entries, oldest first. At most 1,000, like every page.
    pub fn newest(&self, limit: u32) -> Result<Vec<Entry<T>>> {
        let mut page = entries(&self.all().reverse().limit(limit))?;
        page.reverse();
        Ok(page)
    }

    /// The entries just before a number, oldest first.
    pub fn before(&self, number: u64, limit: u32) -> Result<Vec<Entry<T>>> {
        let mut page = entries(&self.all().before(self.key(number)).reverse().limit(limit))?;
        page.reverse();
        Ok(page)
    }

    /// The entries just after a number, oldest first.
    pub fn after(&self, number: u64, limit: u32) -> Result<Vec<Entry<T>>> {
        let Some(next) = number.checked_add(1) else { return Ok(Vec::new()) };
        entries(&self.all().from(self.key(next)).limit(limit))
    }

    /// Remove the entries below a number. At most 1,000 a call, so that no turn is long: how many it were.
    pub fn remove_before(&self, number: u64) -> u32 {
        delete_range(&self.key(0), &self.key(number), REMOVED_AT_ONCE)
    }

    fn all(&self) -> Range {
        let mut start = self.name.as_bytes().to_vec();
        start.push(SEPARATOR);
        prefix(start)
    }

    fn key(&self, number: u64) -> Vec<u8> {
        let mut key = self.name.as_bytes().to_vec();
        key.push(SEPARATOR);
        key.extend(number.to_be_bytes());
        key
    }
}

fn entries<T: DeserializeOwned>(range: &Range) -> Result<Vec<Entry<T>>> {
    let entry = |(key, value): &(Vec<u8>, Vec<u8>)| Ok(Entry { number: number_of(key), value: from_json(key, value)? });
    range.list().iter().map(entry).collect()
}

/// The number at the end of a key.
fn number_of(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
