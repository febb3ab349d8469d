//! The cluster as this node's store sees it: which nodes live. It knows no connection and no room. The store makes it;
//! `cluster` asks it where rooms are, and tells what links have found out.

use std::sync::Arc;

use tokio::sync::watch;

use crate::cluster::members::Row;
use crate::cluster::ownership::NodeId;

/// The membership of this node. Cheap to clone.
#[derive(Clone)]
pub struct Membership {
    node: NodeId,
    store: Arc<str>,
    living: watch::Receiver<Arc<[Row]>>,
    tell: Arc<dyn Fn(Hint) + Send + Sync>,
}

/// Something that the driver of the store does not find out by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// The address of a node refuses connections.
    Refused(NodeId),
    /// Another process answers at the address of a node.
    Replaced(NodeId),
    /// This node will end soon: it shall get no more rooms, and those that nothing needs are let go at once.
    Leaving,
}

impl Membership {
    pub(super) fn new(
        node: NodeId,
        store: &str,
        living: watch::Receiver<Arc<[Row]>>,
        tell: Arc<dyn Fn(Hint) + Send + Sync>,
    ) -> Self {
        Membership { node, store: store.into(), living, tell }
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The name of the store, a UUID.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// The nodes that live, with this one.
    pub fn living(&self) -> Arc<[Row]> {
        self.living.borrow().clone()
    }

    /// Changes of them.
    pub fn changes(&self) -> watch::Receiver<Arc<[Row]>> {
        self.living.clone()
    }

    /// Tells the driver. It does not wait.
    pub fn tell(&self, hint: Hint) {
        (self.tell)(hint);
    }
}
