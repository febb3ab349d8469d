//! The first message of a link in each direction: which store, which node, which versions. Plain values: no connection.

use serde::{Deserialize, Serialize};

use crate::cluster::ownership::NodeId;

/// The versions of the messages in `wire` that this program speaks. A change that an older program cannot read gets a
/// new one, and the version before is spoken for one more release.
pub const VERSIONS: Versions = Versions { oldest: 1, newest: 2 };

/// From this version on, rooms are handed over with their sockets.
pub const HANDS_OVER: u32 = 2;

/// A range of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub oldest: u32,
    /// The newest.
    pub newest: u32,
}

/// The first message of a node that dials, and its own values at the node that is dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The name of the store, a UUID.
    pub store: String,
    /// The number of the node that sends it.
    pub node: u64,
    /// The versions that it speaks.
    pub versions: Versions,
}

/// A greeting with the node that its sender wants to reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) from: Greeting,
    /// Absent if any node will do.
    pub(super) to: Option<u64>,
}

/// The first message back: the version that both use.
pub(super) type Welcome = Result<u32, Refusal>;

/// The reason why a node refuses a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// It has the rooms of another database.
    #[error("it serves another store ({0}); give all nodes of a cluster the same database")]
    OtherStore(String),
    /// Another process has this address now, so the node that was meant has ended.
    #[error("it is node {0} now")]
    OtherNode(u64),
    /// It speaks none of our versions.
    #[error(
        "it speaks the versions {} to {} of the links, and this program {} to {}; install programs of neighbouring \
         releases", .theirs.oldest, .theirs.newest, .ours.oldest, .ours.newest
    )]
    OtherVersions {
        /// The versions of the node that refuses.
        theirs: Versions,
        /// The versions of the node that dials.
        ours: Versions,
    },
}

impl Greeting {
    /// The greeting of this program.
    pub fn new(store: &str, node: NodeId) -> Self {
        Greeting { store: store.into(), node: node.0, versions: VERSIONS }
    }

    /// The version that both speak.
    pub(super) fn accept(&self, hello: &Hello) -> Welcome {
        let (ours, theirs) = (hello.from.versions, self.versions);
        if hello.from.store != self.store {
            return Err(Refusal::OtherStore(self.store.clone()));
        }
        if hello.to.is_some_and(|to| to != self.node) {
            return Err(Refusal::OtherNode(self.node));
        }
        let newest = ours.newest.min(theirs.newest);
        if newest < ours.oldest.max(theirs.oldest) {
            return Err(Refusal::OtherVersions { theirs, ours });
        }
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_speaks_the_newest_version_that_both_know() {
        let node = |oldest, newest| Greeting { store: "a".into(), node: 1, versions: Versions { oldest, newest } };
        let hello = |oldest, newest| Hello { from: node(oldest, newest), to: Some(1) };
        for ((theirs, ours), spoken) in [
            (((1, 1), (1, 1)), Some(1)),
            (((1, 2), (2, 3)), Some(2)),
            (((2, 3), (1, 2)), Some(2)),
            (((1, 1), (2, 2)), None),
        ] {
            let welcome = node(theirs.0, theirs.1).accept(&hello(ours.0, ours.1));
            assert_eq!(welcome.ok(), spoken, "{theirs:?} {ours:?}");
        }
    }
}
