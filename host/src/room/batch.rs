//! Turns that have run and are about to be made durable together.
//!
//! While events wait for a room, its turns follow each other at once, and what they wrote travels in one commit: the
//! disk is handed less, and what they said leaves together. Each is still all or nothing: only turns that succeeded
//! are in here.

use std::collections::BTreeMap;

use crate::model::{Timer, Writes};

/// Turns that share a commit at most: what one has said waits while the others run.
const TURNS: usize = 32;
/// Bytes they may have written together.
const BYTES: usize = 256 << 10;

/// What goes into a room's next commit.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) writes: Writes,
    pub(super) timers: BTreeMap<String, Option<Timer>>,
    turns: usize,
    bytes: usize,
}

impl Batch {
    /// One more turn, after those that are in here.
    pub(super) fn add(&mut self, writes: Writes, timers: BTreeMap<String, Option<Timer>>) {
        let bytes =
            |(key, value): (&bytes::Bytes, &Option<bytes::Bytes>)| key.len() + value.as_ref().map_or(0, |v| v.len());
        self.bytes += writes.iter().map(bytes).sum::<usize>();
        self.turns += 1;
        if self.writes.is_empty() {
            self.writes = writes;
        } else {
            self.writes.extend(writes);
        }
        self.timers.extend(timers);
    }

    /// Whether nothing has to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.turns == 0
    }

    /// Whether it should wait for no more turns.
    pub(super) fn is_full(&self) -> bool {
        self.turns >= TURNS || self.bytes >= BYTES
    }
}
