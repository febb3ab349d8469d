//! The named timers of one room.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::clock::UnixMillis;

/// One named timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// Unique within its room.
    pub name: String,
    /// When it is due.
    pub at: UnixMillis,
    /// Data that the room sets.
    pub payload: Bytes,
    /// How often it has failed since it became due.
    pub attempt: u32,
}

/// All timers of a room, by name.
#[derive(Debug, Clone, Default)]
pub struct Timers(BTreeMap<String, Timer>);

impl Timers {
    /// Sets or removes a timer.
    pub fn apply(&mut self, name: &str, timer: Option<Timer>) {
        match timer {
            Some(timer) => self.0.insert(name.to_owned(), timer),
            None => self.0.remove(name),
        };
    }

    /// The timer with this name.
    pub fn get(&self, name: &str) -> Option<&Timer> {
        self.0.get(name)
    }

    /// All timers, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = &Timer> {
        self.0.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the first timer is due.
    pub fn earliest(&self) -> Option<UnixMillis> {
        self.iter().map(|timer| timer.at).min()
    }

    /// The timer that has been due for the longest time.
    pub fn due(&self, now: UnixMillis) -> Option<&Timer> {
        self.iter().filter(|timer| timer.at <= now).min_by_key(|timer| timer.at)
    }
}

impl FromIterator<Timer> for Timers {
    fn from_iter<I: IntoIterator<Item = Timer>>(timers: I) -> Self {
        Timers(timers.into_iter().map(|timer| (timer.name.clone(), timer)).collect())
    }
}
