//! Requests that a room has posted and that are not accepted yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Address, Request};
use crate::clock::UnixMillis;

/// The destination of a post.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A room of this host.
    Room(Address),
    /// A server, by scheme and authority.
    Origin(String),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Room(address) => address.fmt(f),
            Destination::Origin(origin) => f.write_str(origin),
        }
    }
}

/// A posted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Its destination.
    pub destination: Destination,
    /// The request.
    pub request: Request,
    /// When it is tried next.
    pub at: UnixMillis,
    /// How many tries have failed.
    pub attempt: u32,
    /// Its idempotency key, if another store gave it: that of a backup, or of an imported room. Otherwise the key
    /// follows from its number.
    pub key: Option<String>,
}

/// The number of a post: the number of its commit, and its place in that commit. So numbers only grow, and nothing must
/// be stored to know the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PostNumber(pub u64);

impl PostNumber {
    const PLACE_BITS: u32 = 16;

    /// The number of the post at this place of a commit.
    pub fn new(commit: u64, place: u16) -> Self {
        PostNumber(commit << Self::PLACE_BITS | u64::from(place))
    }

    /// The commit that makes it durable.
    pub fn commit(self) -> u64 {
        self.0 >> Self::PLACE_BITS
    }
}

/// All posts of a room that are not accepted yet.
#[derive(Debug, Clone, Default)]
pub struct Posts(BTreeMap<PostNumber, Post>);

impl Posts {
    /// Sets or removes a post.
    pub fn apply(&mut self, number: PostNumber, post: Option<Post>) {
        match post {
            Some(post) => self.0.insert(number, post),
            None => self.0.remove(&number),
        };
    }

    /// The post with this number.
    pub fn get(&self, number: PostNumber) -> Option<&Post> {
        self.0.get(&number)
    }

    /// Moves the time of each post.
    pub fn shift(&mut self, step: i64) {
        for post in self.0.values_mut() {
            post.at = post.at.saturating_add_signed(step);
        }
    }

    /// Limits the time of each post to `latest`.
    pub fn clamp(&mut self, latest: UnixMillis) {
        for post in self.0.values_mut() {
            post.at = post.at.min(latest);
        }
    }

    /// How many posts wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no post waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All posts, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (PostNumber, &Post)> {
        self.0.iter().map(|(number, post)| (*number, post))
    }

    /// The oldest post for each destination. Only these may be carried, so that each destination gets its posts in
    /// order.
    pub fn next(&self) -> impl Iterator<Item = (PostNumber, &Post)> {
        let mut before = BTreeSet::new();
        self.0.iter().map(|(number, post)| (*number, post)).filter(move |(_, post)| before.insert(&post.destination))
    }
}

impl FromIterator<(PostNumber, Post)> for Posts {
    fn from_iter<I: IntoIterator<Item = (PostNumber, Post)>>(posts: I) -> Self {
        Posts(posts.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_post_of_each_destination_is_the_oldest() {
        let post = |to: &str| Post {
            destination: Destination::Origin(to.into()),
            request: Request::default(),
            at: 0,
            attempt: 0,
            key: None,
        };
        let numbers = [PostNumber::new(1, 0), PostNumber::new(1, 1), PostNumber::new(2, 0), PostNumber::new(2, 1)];
        let mut posts = numbers.into_iter().zip([post("a"), post("b"), post("a"), post("c")]).collect::<Posts>();
        let next = |posts: &Posts| posts.next().map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(next(&posts), [numbers[0], numbers[1], numbers[3]]);
        posts.apply(numbers[0], None);
        assert_eq!(next(&posts), [numbers[1], numbers[2], numbers[3]]);
    }

    #[test]
    fn a_post_number_contains_its_commit_and_grows() {
        assert_eq!(PostNumber::new(7, 65_535).commit(), 7);
        assert!(PostNumber::new(7, 65_535) < PostNumber::new(8, 0));
    }
}
