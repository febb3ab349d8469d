//! Turns that have run and are about to be made durable together.
//!
//! While events wait for a room, its turns follow each other at once, and what they wrote travels in one commit: the
//! disk is handed less, and what they said leaves together. Each is still all or nothing: only turns that succeeded
//! are in here.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{Destination, Post, PostNumber, Request};
use crate::store::Changes;

/// Turns that share a commit at most: what one has said waits while the others run.
const TURNS: usize = 32;
/// Bytes they may have written together.
const BYTES: usize = 256 << 10;

/// What goes into a room's next commit.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) changes: Changes,
    turns: usize,
    bytes: usize,
    posts: u16,
}

impl Batch {
    /// One more turn, after those that are in here.
    pub(super) fn add(&mut self, changes: Changes) {
        let bytes = |(key, value): (&Bytes, &Option<Bytes>)| key.len() + value.as_ref().map_or(0, |value| value.len());
        self.bytes += changes.writes.iter().map(bytes).sum::<usize>();
        self.bytes += changes.posts.values().flatten().map(|post| post.request.body.len()).sum::<usize>();
        self.turns += 1;
        if self.changes.writes.is_empty() {
            self.changes.writes = changes.writes;
        } else {
            self.changes.writes.extend(changes.writes);
        }
        self.changes.timers.extend(changes.timers);
        self.changes.posts.extend(changes.posts);
        self.changes.taken.extend(changes.taken);
    }

    /// Number what a turn posts. `commit` is the number that this batch's commit will have.
    pub(super) fn number(
        &mut self,
        commit: u64,
        posts: Vec<(Destination, Request)>,
        now: u64,
    ) -> BTreeMap<PostNumber, Option<Post>> {
        let number = |(destination, request)| {
            let number = PostNumber::new(commit, self.posts);
            self.posts = self.posts.checked_add(1).expect("a batch has fewer posts than a room may have waiting");
            (number, Some(Post { destination, request, at: now, attempt: 0 }))
        };
        posts.into_iter().map(number).collect()
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
