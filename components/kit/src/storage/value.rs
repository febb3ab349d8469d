//! One value under one key, with its type said once.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{delete, get_json, put_json};
use crate::Result;

/// One value of one type, kept as JSON. Made to be a constant of the room:
/// `const TITLE: Value<String> = Value::new("title");`
#[derive(Debug, Clone, Copy)]
pub struct Value<T> {
    key: &'static str,
    kept: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Value<T> {
    /// The value under this key. No two may share one.
    pub const fn new(key: &'static str) -> Self {
        Value { key, kept: PhantomData }
    }

    /// What is stored, where anything is. Fails where it is of another type.
    pub fn get(&self) -> Result<Option<T>> {
        get_json(self.key)
    }

    /// Store it in the place of what was there.
    pub fn put(&self, value: &T) -> Result<()> {
        put_json(self.key, value)
    }

    /// Store nothing any more. True where something was stored.
    pub fn delete(&self) -> bool {
        delete(self.key)
    }
}

/// A number that begins at 0: `const VOTES: Counter = Counter::new("votes");`
#[derive(Debug, Clone, Copy)]
pub struct Counter(Value<i64>);

impl Counter {
    /// The number under this key. No two may share one.
    pub const fn new(key: &'static str) -> Self {
        Counter(Value::new(key))
    }

    /// How far it has come.
    pub fn get(&self) -> Result<i64> {
        Ok(self.0.get()?.unwrap_or(0))
    }

    /// Count on, or back. The new number; it stays at the ends of what 64 bits hold.
    pub fn add(&self, by: i64) -> Result<i64> {
        let number = self.get()?.saturating_add(by);
        self.0.put(&number)?;
        Ok(number)
    }
}
