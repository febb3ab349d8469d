//! The outbox of a room: posts are carried once their commit is durable, and tried again until they are accepted. The
//! room that accepts one remembers its number, so that it ignores repeats.
//!
//! The task of the room asks here which posts to carry and which results to store. `post_delivery` carries them.

use std::collections::{BTreeMap, BTreeSet};

use super::error::RequestError;
use super::policy;
use crate::clock::UnixMillis;
use crate::guest::LogLimiter;
use crate::limits::POSTS_AT_ONCE_OF_A_ROOM;
use crate::model::{Address, Changes, Post, PostNumber, Posts};
use crate::random;

/// The result of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The destination accepted it.
    Accepted,
    /// The destination refused it permanently.
    Refused(String),
    /// The destination may accept it later.
    NotNow(String),
    /// The host had no slot or no space for it. This does not count as a try.
    NotTried,
}

/// The sender and number of a request that is a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PostId {
    pub(super) sender: Address,
    pub(super) number: PostNumber,
}

/// The posts of one room, and the posts of others that it has accepted.
pub(super) struct Posting {
    /// Its posts that are not accepted yet.
    waiting: Posts,
    /// Those of them that are being carried.
    carried: BTreeSet<PostNumber>,
    /// Highest post accepted per sender since wake; the stored value may lag.
    accepted: BTreeMap<Address, PostNumber>,
}

/// Posts to carry now.
#[derive(Default)]
pub(super) struct Due {
    pub(super) posts: Vec<(PostNumber, Post)>,
    /// More posts are due, but their commits are not durable yet.
    pub(super) more_wait_for_the_disk: bool,
}

impl Posting {
    pub(super) fn new(waiting: Posts) -> Self {
        Posting { waiting, carried: BTreeSet::new(), accepted: BTreeMap::new() }
    }

    /// Applies the changes of a turn.
    pub(super) fn apply(&mut self, changes: &Changes) {
        for (number, post) in &changes.posts {
            self.waiting.apply(*number, post.clone());
        }
        for (sender, number) in &changes.taken {
            self.accepted.insert(sender.clone(), *number);
        }
    }

    /// The system clock was set by `step`: moves the times of retries.
    pub(super) fn shift(&mut self, step: i64) {
        self.waiting.shift(step);
    }

    /// The posts that are not accepted yet.
    pub(super) fn posts(&self) -> &Posts {
        &self.waiting
    }

    /// How many posts are not accepted yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether any post is being carried.
    pub(super) fn is_carrying(&self) -> bool {
        !self.carried.is_empty()
    }

    /// When the room must look at its posts again.
    pub(super) fn next_at(&self, durable: u64) -> Option<UnixMillis> {
        policy::next_post(&self.waiting, &self.carried, durable)
    }

    /// Takes the posts that are due and durable, and marks them as being carried.
    pub(super) fn begin(&mut self, now: UnixMillis, durable: u64) -> Due {
        let mut due = Due::default();
        let mut carried = policy::carried_by_kind(&self.waiting, &self.carried);
        for (number, post) in self.waiting.next() {
            if post.at > now || self.carried.contains(&number) {
                continue;
            }
            let of_its_kind = &mut carried[policy::kind(&post.destination)];
            if number.commit() > durable {
                due.more_wait_for_the_disk = true;
            } else if *of_its_kind < POSTS_AT_ONCE_OF_A_ROOM {
                *of_its_kind += 1;
                self.carried.insert(number);
                due.posts.push((number, post.clone()));
            }
        }
        due
    }

    /// Applies the result of a try, and returns the changes to store; absent if the post is already gone.
    pub(super) fn tried(
        &mut self,
        number: PostNumber,
        outcome: Outcome,
        now: UnixMillis,
        log_limiter: &LogLimiter,
    ) -> Option<Changes> {
        self.carried.remove(&number);
        let post = self.waiting.get(number)?;
        if outcome == Outcome::NotTried {
            // Nothing to store: after a restart the post is tried at once.
            let at = now + policy::host_backoff(random::jitter()).as_millis() as u64;
            let later = Post { at, ..post.clone() };
            self.waiting.apply(number, Some(later));
            return None;
        }
        let tries = post.attempt + 1;
        let to = &post.destination;
        let again = match outcome {
            Outcome::Accepted | Outcome::NotTried => None,
            Outcome::Refused(reason) => {
                if log_limiter.take() {
                    tracing::error!(%to, reason, "a post was refused and is given up");
                }
                None
            }
            Outcome::NotNow(reason) => match policy::post_backoff(tries, random::jitter()) {
                Some(wait) => {
                    if log_limiter.take() {
                        tracing::warn!(%to, tries, reason, "a post was not accepted; it is tried again");
                    }
                    Some(Post { at: now + wait.as_millis() as u64, attempt: tries, ..post.clone() })
                }
                None => {
                    if log_limiter.take() {
                        tracing::error!(%to, tries, reason, "a post was tried too often and is given up");
                    }
                    None
                }
            },
        };
        Some(Changes { posts: BTreeMap::from([(number, again)]), ..Changes::default() })
    }

    /// The highest post of a sender that was accepted since wake.
    pub(super) fn last_accepted(&self, sender: &Address) -> Option<PostNumber> {
        self.accepted.get(sender).copied()
    }

    /// All accepted numbers are on disk now.
    pub(super) fn forget_accepted(&mut self) {
        self.accepted.clear();
    }
}

/// Whether the room or the host is the reason for a missing answer.
pub(super) fn unanswered(error: &RequestError) -> Outcome {
    match error {
        RequestError::NoNamespace | RequestError::Failed => Outcome::NotNow(error.to_string()),
        RequestError::Overloaded
        | RequestError::NoMemory
        | RequestError::TooManyRooms
        | RequestError::Broken
        | RequestError::Moved(_)
        | RequestError::NoSpace
        | RequestError::Draining => Outcome::NotTried,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Destination, Request};

    #[test]
    fn an_attempt_that_the_host_could_not_make_does_not_count() {
        let number = PostNumber::new(1, 0);
        let to = Destination::Room(Address::new("ROOMS", "a").unwrap());
        let post = Post { destination: to, request: Request::default(), at: 0, attempt: 3, key: None };
        let mut posting = Posting::new([(number, post)].into_iter().collect());
        assert_eq!(posting.begin(5, 1).posts.len(), 1);
        assert!(posting.tried(number, unanswered(&RequestError::NoSpace), 5, &LogLimiter::new(0)).is_none());
        let waiting_post = posting.waiting.get(number).unwrap();
        assert_eq!((waiting_post.attempt, waiting_post.at >= 5_005, posting.is_carrying()), (3, true, false));
        let failed = posting.tried(number, unanswered(&RequestError::Failed), 5, &LogLimiter::new(0)).unwrap();
        assert_eq!(failed.posts[&number].as_ref().unwrap().attempt, 4);
    }
}
