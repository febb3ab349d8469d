//! A list that grows at its end. Each entry has its own key, so the size limit of a value does not limit the list.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Range, delete_range, from_json, get_json, prefix, put_json};
use crate::Result;

/// The byte between a list's name and a number. No name contains it.
const SEPARATOR: u8 = 0;

/// The most entries that one call removes: the limit of the contract.
const REMOVED_AT_ONCE: u32 = 1_000;

/// A list of one type that grows at its end. Its entries are numbered 1, 2, 3 …, and keep their numbers when the oldest
/// are removed. Use it as a constant: `const MOVES: List<Move> = List::new("moves");`
#[derive(Debug, Clone, Copy)]
pub struct List<T> {
    name: &'static str,
    value_type: PhantomData<fn() -> T>,
}

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T> {
    /// Its number.
    pub number: u64,
    /// The pushed value.
    pub value: T,
}

impl<T: Serialize + DeserializeOwned> List<T> {
    /// The list with this name, which no other list may have. A name with a zero byte does not compile in a constant.
    pub const fn new(name: &'static str) -> Self {
        let mut index = 0;
        while index < name.len() {
            assert!(name.as_bytes()[index] != SEPARATOR, "the name of a list has no zero byte");
            index += 1;
        }
        List { name, value_type: PhantomData }
    }

    /// Adds an entry at the end. Returns its number.
    pub fn push(&self, value: &T) -> Result<u64> {
        let number = self.last_number() + 1;
        put_json(self.key(number), value)?;
        Ok(number)
    }

    /// The number of the newest entry; 0 if the list is empty, also after all entries were removed.
    pub fn last_number(&self) -> u64 {
        self.all().reverse().limit(1).list().first().map_or(0, |(key, _)| number_of(key))
    }

    /// The entry with this number, if it still exists.
    pub fn get(&self, number: u64) -> Result<Option<T>> {
        get_json(self.key(number))
    }

    /// The newest entries, oldest first. A page has at most 1,000 entries.
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

    /// Removes the entries below a number, at most 1,000 a call, so that no turn is long. Returns how many were
    /// removed.
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
