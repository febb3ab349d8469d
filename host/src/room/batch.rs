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
    /// Posts that are new in here.
    posts: usize,
}

impl Batch {
    /// One more turn, after those that are in here. `commit` is the number that this batch's commit will have.
    pub(super) fn add(&mut self, commit: u64, changes: Changes) {
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
        self.posts += changes.posts.keys().filter(|number| number.commit() == commit).count();
        self.changes.posts.extend(changes.posts);
        self.changes.taken.extend(changes.taken);
    }

    /// Number what a turn posts, behind what the turns in here have posted: a turn that fails after this used no number.
    /// `commit` is the number that this batch's commit will have.
    pub(super) fn number(
        &self,
        commit: u64,
        posts: Vec<(Destination, Request)>,
        now: u64,
    ) -> BTreeMap<PostNumber, Option<Post>> {
        let number = |(place, (destination, request))| {
            let place =
                u16::try_from(place).expect("a room has no more posts waiting, and all of these are among them");
            (PostNumber::new(commit, place), Some(Post { destination, request, at: now, attempt: 0 }))
        };
        (self.posts..).zip(posts).map(number).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn posts(count: usize) -> Vec<(Destination, Request)> {
        vec![(Destination::Origin("http://a".into()), Request::default()); count]
    }

    #[test]
    fn a_turn_that_fails_uses_no_number() {
        let mut batch = Batch::default();
        for _ in 0..100 {
            assert_eq!(batch.number(1, posts(1_000), 0).len(), 1_000, "and the turn fails");
        }
        let kept = batch.number(1, posts(2), 0);
        assert_eq!(kept.keys().copied().collect::<Vec<_>>(), [PostNumber::new(1, 0), PostNumber::new(1, 1)]);
        batch.add(1, Changes { posts: kept, ..Changes::default() });
        let tried = BTreeMap::from([(PostNumber::new(0, 7), None)]);
        batch.add(1, Changes { posts: tried, ..Changes::default() });
        assert_eq!(batch.number(1, posts(1), 0).into_keys().next(), Some(PostNumber::new(1, 2)));
    }
}
