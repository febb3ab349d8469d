//! The other nodes, as the driver of a clustered server knows them: what it has read of their beats, and rooms whose
//! owner was not known. The rules are in `cluster::members`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use super::beats::Beats;
use crate::clock;
use crate::cluster::members::{Life, Members, Row};
use crate::cluster::ownership::{NodeId, RoomId};
use crate::store::membership::{Hint, Reading, Step};

/// The nodes of the cluster.
pub(super) struct Nodes {
    members: Members,
    beats: Beats,
    began: Instant,
    living: watch::Sender<Arc<[Row]>>,
    steps: Sender<Step>,
    reading: watch::Sender<Reading>,
    /// Rooms whose owner was unknown when they were claimed.
    pub(super) undecided: Vec<RoomId>,
    pub(super) is_leaving: bool,
}

/// The nodes, as other threads see them.
pub(super) struct Watched {
    pub(super) living: watch::Receiver<Arc<[Row]>>,
    pub(super) reading: watch::Receiver<Reading>,
}

impl Nodes {
    /// The nodes of the first reading.
    pub(super) fn new(me: NodeId, beats: Beats, rows: Vec<Row>, steps: Sender<Step>) -> (Self, Watched) {
        let (living, reading) = (watch::Sender::new(Arc::from([])), watch::Sender::default());
        let watched = Watched { living: living.subscribe(), reading: reading.subscribe() };
        let (members, began) = (Members::new(me), clock::monotonic());
        let undecided = Vec::new();
        let mut nodes = Nodes { members, beats, began, living, steps, reading, undecided, is_leaving: false };
        nodes.read(rows, began);
        (nodes, watched)
    }

    /// Takes a reading. True if the dead nodes may be others now.
    pub(super) fn read(&mut self, rows: Vec<Row>, at: Instant) -> bool {
        let now = u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX);
        let is_news = self.members.read(now, rows);
        for (node, beat) in self.members.removable(now) {
            self.beats.remove(node, beat);
        }
        if is_news {
            self.publish();
        }
        self.reading.send_replace(Reading { nodes: self.members.seen().collect(), at: now, read_at: Some(at) });
        is_news
    }

    /// Takes what a link has found out. True if the dead nodes may be others now.
    pub(super) fn take(&mut self, hint: Hint) -> bool {
        match hint {
            Hint::Refused(node) => self.members.refused(node),
            Hint::Replaced(node) => {
                self.members.replaced(node);
                self.publish();
                return true;
            }
            Hint::Leaving => {
                self.is_leaving = true;
                self.beats.set_leaving();
            }
            // The driver does these.
            Hint::HandOver(..) | Hint::Said { .. } => {}
        }
        false
    }

    /// Tells the cluster a step of a hand-over.
    pub(super) fn step(&self, step: Step) {
        if self.steps.try_send(step).is_err() {
            tracing::warn!("too many rooms are being handed over; some of their clients will be asked to come back");
        }
    }

    fn publish(&mut self) {
        let living = self.members.living().cloned().collect::<Arc<[Row]>>();
        let named = |rows: &[Row]| rows.iter().map(|row| row.node).collect::<BTreeSet<_>>();
        let (before, now) = (named(&self.living.borrow()), named(&living));
        for row in living.iter().filter(|row| !before.contains(&row.node)) {
            tracing::info!(node = row.node.0, address = row.address, "a node of the cluster lives");
        }
        for row in self.living.borrow().iter().filter(|row| !now.contains(&row.node)) {
            tracing::warn!(
                node = row.node.0,
                address = row.address,
                "a node of the cluster has ended, or does not answer; its rooms may be claimed"
            );
        }
        self.living.send_replace(living);
    }

    /// Whether the owner of a room lives.
    pub(super) fn life(&mut self, node: NodeId) -> Life {
        self.members.life(node)
    }

    pub(super) fn dead(&self) -> BTreeSet<NodeId> {
        self.members.dead()
    }

    /// How many nodes live.
    pub(super) fn living(&self) -> usize {
        self.living.borrow().len()
    }

    /// Tells the others that this node has ended.
    pub(super) async fn leave(self) {
        self.beats.leave().await;
    }
}
