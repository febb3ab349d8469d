//! The batch of a room: turns that have run and will share one commit, or one proof if none of them wrote anything.
//!
//! While events wait, turns follow each other at once and their writes go into one commit. That is less work for the
//! disk, and their outputs leave together. Each turn is still all or nothing, because only successful turns are added.
//! The task of the room calls this.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{Changes, Destination, Post, PostNumber, Request};

/// Most turns in one commit: the outputs of the first one wait while the others run, less than a millisecond for so
/// many turns of a few microseconds.
const TURNS: usize = 32;
/// Most bytes that they may have written together: a disk writes them in about a millisecond.
const BYTES: usize = 256 << 10;

/// The next commit or proof of a room.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) changes: Changes,
    /// Turns that wrote something.
    turns: usize,
    /// Turns whose outputs or reply wait for this batch to be confirmed, because the store wants proofs.
    speaking: usize,
    bytes: usize,
    /// New posts in this batch.
    posts: usize,
}

impl Batch {
    /// Adds a turn behind the others. `commit` is the number that the commit of this batch will have.
    pub(super) fn add(&mut self, commit: u64, changes: Changes) {
        let bytes = |(key, value): (&Bytes, &Option<Bytes>)| key.len() + value.as_ref().map_or(0, |value| value.len());
        self.bytes += changes.writes.iter().map(bytes).sum::<usize>();
        self.bytes += changes.posts.values().flatten().map(|post| post.request.body.len()).sum::<usize>();
        self.turns += 1;
        self.posts += changes.posts.keys().filter(|number| number.commit() == commit).count();
        self.changes.extend(changes);
    }

    /// Something that a turn says waits for this batch, even if nothing is written.
    pub(super) fn add_speaking(&mut self) {
        self.speaking += 1;
    }

    /// How many turns have written something.
    pub(super) fn turns(&self) -> usize {
        self.turns
    }

    /// Numbers the posts of a turn behind the posts in this batch. A turn that fails afterwards uses up no number.
    /// `commit` is the number that the commit of this batch will have.
    pub(super) fn number(
        &self,
        commit: u64,
        posts: Vec<(Destination, Request)>,
        now: u64,
    ) -> BTreeMap<PostNumber, Option<Post>> {
        let number = |(place, (destination, request))| {
            let place =
                u16::try_from(place).expect("a room has no more posts waiting, and all of these are among them");
            (PostNumber::new(commit, place), Some(Post { destination, request, at: now, attempt: 0, key: None }))
        };
        (self.posts..).zip(posts).map(number).collect()
    }

    /// Whether there is nothing to commit and nothing to prove.
    pub(super) fn is_empty(&self) -> bool {
        self.turns == 0 && self.speaking == 0
    }

    /// Whether there is something to commit. Otherwise a proof is enough.
    pub(super) fn has_changes(&self) -> bool {
        self.turns > 0
    }

    /// Whether the batch should be submitted now.
    pub(super) fn is_full(&self) -> bool {
        self.turns.max(self.speaking) >= TURNS || self.bytes >= BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posts(count: usize) -> Vec<(Destination, Request)> {
        vec![(Destination::Origin("http://a".into()), Request::default()); count]
    }

    #[test]
    fn a_failed_turn_uses_no_post_number() {
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
