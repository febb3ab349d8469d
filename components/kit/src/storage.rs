//! The room's own storage: ordered keys and their values, both bytes, durable with the turn that wrote them.
//!
//! [`Value`], [`Counter`] and [`List`] bind a key to a type. The functions here work on single keys.

mod list;
mod value;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::room::dormouse::room::storage as wit;
use crate::{Error, Result};

pub use list::{Entry, List};
pub use value::{Counter, Value};
pub use wit::{StorageError, delete_range};

/// The value of a key.
pub fn get(key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    wit::get(key.as_ref())
}

/// Sets the value of a key.
///
/// Fails: above a limit, with an error that names the key, its size and the limit.
pub fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
    let (key, value) = (key.as_ref(), value.as_ref());
    wit::put(key, value).map_err(|error| put_error(&error, key, value.len()))
}

/// The limits in wit/storage.wit.
const KEY_BYTES: usize = 2_048;
const VALUE_BYTES: usize = 2 << 20;
const TURN_WRITE_BYTES: usize = 16 << 20;

/// The most bytes of a key that an error shows.
const MAX_SHOWN_KEY_BYTES: usize = 64;

fn put_error(error: &StorageError, key: &[u8], value_bytes: usize) -> Error {
    let (key_bytes, more) = (key.len(), if key.len() > MAX_SHOWN_KEY_BYTES { "…" } else { "" });
    let shown = format!("\"{}{more}\"", key[..key_bytes.min(MAX_SHOWN_KEY_BYTES)].escape_ascii());
    Error::new(match error {
        StorageError::BadKey => {
            format!("the key {shown} has {key_bytes} B, and a key has 1 to {KEY_BYTES} B")
        }
        StorageError::ValueTooLarge => format!(
            "the value of the key {shown} has {value_bytes} B, and a value has {VALUE_BYTES} B at most: split it over \
             several keys"
        ),
        StorageError::TurnTooLarge => format!(
            "with the key {shown} of {key_bytes} B and its value of {value_bytes} B the turn writes more than \
             {TURN_WRITE_BYTES} B: spread it over several turns"
        ),
    })
}

/// Removes a key. Returns whether it existed.
pub fn delete(key: impl AsRef<[u8]>) -> bool {
    wit::delete(key.as_ref())
}

/// Reads the value of a key as JSON.
pub fn get_json<T: DeserializeOwned>(key: impl AsRef<[u8]>) -> Result<Option<T>> {
    get(&key).map(|value| from_json(key.as_ref(), &value)).transpose()
}

/// Sets the value of a key, as JSON.
pub fn put_json(key: impl AsRef<[u8]>, value: &impl Serialize) -> Result<()> {
    put(key, serde_json::to_vec(value)?)
}

/// The entries whose keys begin with `prefix`. Narrow the range, then [`list`](Range::list) it.
pub fn prefix(prefix: impl AsRef<[u8]>) -> Range {
    Range(wit::Range { prefix: Some(prefix.as_ref().to_vec()), start: None, end: None, reverse: false, limit: 1000 })
}

/// A range of the room's entries, in key order.
#[derive(Debug, Clone)]
#[must_use = "a range does nothing until it is listed"]
pub struct Range(wit::Range);

impl Range {
    /// Only keys from this one on, including it.
    pub fn from(mut self, key: impl AsRef<[u8]>) -> Self {
        self.0.start = Some(key.as_ref().to_vec());
        self
    }

    /// Only keys before this one.
    pub fn before(mut self, key: impl AsRef<[u8]>) -> Self {
        self.0.end = Some(key.as_ref().to_vec());
        self
    }

    /// Highest key first.
    pub fn reverse(mut self) -> Self {
        self.0.reverse = true;
        self
    }

    /// The most entries to return; 1,000 by default and at most.
    pub fn limit(mut self, limit: u32) -> Self {
        self.0.limit = limit;
        self
    }

    /// The entries. The list ends early at 16 MiB: continue after its last key.
    pub fn list(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        wit::list(&self.0)
    }

    /// The values without their keys, read as JSON.
    pub fn list_json<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        self.list().iter().map(|(key, value)| from_json(key, value)).collect()
    }
}

fn from_json<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|error| {
        Error::new(format!("the value of {} does not have the expected type: {error}", key.escape_ascii()))
    })
}
