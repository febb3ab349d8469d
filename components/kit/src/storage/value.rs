//! One value of one type under one key.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{delete, get_json, put_json};
use crate::Result;

/// One value of one type, stored as JSON. Use it as a constant:
/// `const TITLE: Value<String> = Value::new("title");`
#[derive(Debug, Clone, Copy)]
pub struct Value<T> {
    key: &'static str,
    value_type: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Value<T> {
    /// The value under this key, which no other value may have.
    pub const fn new(key: &'static str) -> Self {
        Value { key, value_type: PhantomData }
    }

    /// The stored value, if there is one. Fails if it has another type.
    pub fn get(&self) -> Result<Option<T>> {
        get_json(self.key)
    }

    /// Stores a value, in place of the previous one.
    pub fn put(&self, value: &T) -> Result<()> {
        put_json(self.key, value)
    }

    /// Removes the value. Returns whether there was one.
    pub fn delete(&self) -> bool {
        delete(self.key)
    }
}

/// A number that starts at 0: `const VOTES: Counter = Counter::new("votes");`
#[derive(Debug, Clone, Copy)]
pub struct Counter(Value<i64>);

impl Counter {
    /// The number under this key, which no other value may have.
    pub const fn new(key: &'static str) -> Self {
        Counter(Value::new(key))
    }

    /// The current number.
    pub fn get(&self) -> Result<i64> {
        Ok(self.0.get()?.unwrap_or(0))
    }

    /// Adds to the number, and returns the new one. It saturates at the limits of `i64`.
    pub fn add(&self, by: i64) -> Result<i64> {
        let number = self.get()?.saturating_add(by);
        self.0.put(&number)?;
        Ok(number)
    }
}
