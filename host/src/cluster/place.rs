//! The node that should own a room: a pure function of its address and of the nodes that live.
//!
//! It is a hint. The owner in the database is the truth, and a room whose owner differs from its place is no error. All
//! nodes compute the same place from the same list, so most rooms are asked for where they run.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::ownership::NodeId;
use crate::model::Address;

/// Rooms are divided into so many parts, which nodes share. With a hundred nodes each has about ten.
pub const BUCKETS: u16 = 1_024;

/// A part of all rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(pub u16);

impl Bucket {
    /// The part of a room. It never changes.
    pub fn of(address: &Address) -> Self {
        // No name has a zero byte.
        let bytes = [address.namespace().as_bytes(), &[0], address.name().as_bytes()].concat();
        Bucket((xxh3_64(&bytes) % u64::from(BUCKETS)) as u16)
    }

    /// The node that should own it, by rendezvous hashing: each node draws a number, and the highest wins. So a node
    /// that joins takes only its share, and one that leaves gives only its own. The numbers come from the addresses of
    /// the nodes: a node that starts again has its rooms again.
    pub fn place<'a>(self, nodes: impl IntoIterator<Item = (NodeId, &'a str)>) -> Option<NodeId> {
        let draw =
            |(node, address): (NodeId, &str)| (xxh3_64_with_seed(address.as_bytes(), u64::from(self.0) + 1), node);
        // Of two with the same address the newer one lives.
        nodes.into_iter().map(draw).max().map(|(_, node)| node)
    }
}
