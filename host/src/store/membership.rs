//! The cluster as this node's store sees it: which nodes live. It knows no connection and no room. The store makes it;
//! `cluster` asks it where rooms are, and tells what links have found out.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

use crate::cluster::members::{Row, Seen};
use crate::cluster::ownership::{NodeId, Peer};
use crate::lock::Lock;
use crate::model::Address;

/// The membership of this node. Cheap to clone.
#[derive(Clone)]
pub struct Membership {
    node: NodeId,
    store: Arc<str>,
    living: watch::Receiver<Arc<[Row]>>,
    reading: watch::Receiver<Reading>,
    tell: Arc<dyn Fn(Hint) + Send + Sync>,
    steps: Arc<Lock<Option<Receiver<Step>>>>,
}

/// The most steps of hand-overs that wait for the cluster. A hand-over whose step has no place ends by its timeout.
pub(super) const STEPS: usize = 4_096;

/// A step of the hand-over of a room, as the rules of ownership ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send a message to another node.
    Send {
        /// The other node.
        to: NodeId,
        /// The room.
        room: Address,
        /// The message.
        message: Peer,
    },
    /// A room that should go to another node stays here, and goes on.
    Stays(Address),
    /// It has gone to another node.
    Left(Address),
    /// It is unknown whether it has gone, so its sockets were closed.
    Lost(Address),
    /// Sockets that came with a room, and whose edges have not followed yet, are lost.
    AdoptionEnds(Address),
    /// The room whose offer this node has accepted does not come.
    OfferEnds(Address),
}

/// The last reading of the rows of all nodes.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The nodes, also those that have ended, as long as they have rows.
    pub nodes: Arc<[Seen]>,
    /// When it was read, in milliseconds, on the clock of [`Seen::beat_at`].
    pub at: u64,
    /// The same moment; absent before the first reading.
    pub read_at: Option<Instant>,
}

/// Something that the driver of the store does not find out by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The address of a node refuses connections.
    Refused(NodeId),
    /// Another process answers at the address of a node.
    Replaced(NodeId),
    /// This node will end soon: it shall get no more rooms, and those that nothing needs are let go at once.
    Leaving,
    /// A room shall go to another node. The answer is one of [`Step::Stays`], [`Step::Left`] and [`Step::Lost`].
    HandOver(Address, NodeId),
    /// Another node says something about the hand-over of a room.
    Said {
        /// The other node.
        from: NodeId,
        /// The room.
        room: Address,
        /// The message.
        message: Peer,
    },
}

impl Membership {
    pub(super) fn new(
        node: NodeId,
        store: &str,
        living: watch::Receiver<Arc<[Row]>>,
        reading: watch::Receiver<Reading>,
        tell: Arc<dyn Fn(Hint) + Send + Sync>,
        steps: Receiver<Step>,
    ) -> Self {
        Membership { node, store: store.into(), living, reading, tell, steps: Arc::new(Lock::new(Some(steps))) }
    }

    /// The steps of hand-overs. Absent if they were taken before.
    pub fn take_steps(&self) -> Option<Receiver<Step>> {
        self.steps.lock().take()
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

    /// All nodes with rows, as they were last read.
    pub fn reading(&self) -> Reading {
        self.reading.borrow().clone()
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
