//! Which nodes live: what follows from the rows that nodes change while they live. Plain values, without a clock and
//! without a connection: the driver reads the rows and passes its own time.
//!
//! Each node raises the beat in its row every [`BEAT_MS`]. A node is dead to the reader when its beat stood still over
//! six readings of the reader's own, none of which came late after the one before. So a reader that was paused itself,
//! or whose database did not answer, condemns nobody. No clock of another machine is compared.
//!
//! - **Invariant: being dead decides who tries to own rooms, and never who is right.** The fence of each room does that.

use std::collections::{BTreeMap, BTreeSet};

use super::ownership::NodeId;

/// How often a node raises its beat and reads those of the others, in milliseconds.
pub const BEAT_MS: u64 = 300;

/// A reading that comes later than this after the one before starts the count anew, in milliseconds.
const LATE_MS: u64 = 600;

/// So many readings without a change mean that a node is dead.
const STILL: u32 = 6;

/// The same for a node whose address refuses connections: its process has most likely ended. A single one would be too
/// few, because the beats of two nodes are not in step.
const STILL_IF_REFUSED: u32 = 2;

/// How many readings must begin after a node was named by a room's row, before its absence means that it has ended. One
/// may have begun before.
const READINGS: u64 = 2;

/// The row of a dead node is removed after this time, in milliseconds.
const REMOVED_AFTER_MS: u64 = 60_000;

/// Nodes that have ended and are remembered. Others that own rooms are found again.
const ENDED: usize = 1_024;

/// The row of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The node.
    pub node: NodeId,
    /// The address of its links.
    pub address: String,
    /// How often it has said that it lives.
    pub beat: u64,
    /// It will end soon and takes no more rooms.
    pub is_leaving: bool,
}

/// A node as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its row.
    pub row: Row,
    /// Whether it lives, as far as is known.
    pub lives: bool,
    /// When its beat was first seen as it is, in milliseconds of the reader's own clock.
    pub beat_at: u64,
}

/// Whether a node lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It does, as far as is known.
    Lives,
    /// It does not.
    Dead,
    /// It was not in the last reading: it has just started, or ended long ago. The next readings tell.
    Unknown,
}

/// The nodes, as one of them sees them.
#[derive(Debug)]
pub struct Members {
    me: NodeId,
    nodes: BTreeMap<NodeId, Node>,
    /// Nodes that have ended, and whose rows are gone.
    ended: BTreeSet<NodeId>,
    /// Nodes that own rooms and are not in the rows, with the number of the reading that decides.
    asked: BTreeMap<NodeId, u64>,
    readings: u64,
    read_at: Option<u64>,
}

#[derive(Debug)]
struct Node {
    row: Row,
    /// When its beat was first read as it is.
    beat_at: u64,
    /// Readings without a change.
    still: u32,
    /// Its address refuses connections.
    is_refused: bool,
    /// Another process has its address.
    is_replaced: bool,
    /// Since when it is dead.
    dead_since: Option<u64>,
}

impl Members {
    /// Nothing is known but this node.
    pub fn new(me: NodeId) -> Self {
        Members {
            me,
            nodes: BTreeMap::new(),
            ended: BTreeSet::new(),
            asked: BTreeMap::new(),
            readings: 0,
            read_at: None,
        }
    }

    /// Takes the rows of a successful reading at a time in milliseconds of this node's own clock. True if another node
    /// has begun or ceased to live, or changed its row otherwise.
    pub fn read(&mut self, now: u64, rows: Vec<Row>) -> bool {
        let is_late = self.read_at.is_none_or(|before| now.saturating_sub(before) > LATE_MS);
        self.read_at = Some(now);
        self.readings += 1;
        let shown = |members: &Self| members.living().map(Row::without_beat).collect::<Vec<_>>();
        let before = shown(self);
        let (dead_before, named) = (self.dead(), rows.iter().map(|row| row.node).collect::<BTreeSet<_>>());
        let gone = self.nodes.keys().copied().filter(|node| !named.contains(node)).collect::<Vec<_>>();
        for node in gone {
            self.nodes.remove(&node);
            self.end(node);
        }
        for row in rows {
            self.ended.remove(&row.node);
            self.asked.remove(&row.node);
            self.see(now, is_late, row);
        }
        let decided = self.asked.extract_if(.., |_, reading| *reading <= self.readings).collect::<Vec<_>>();
        decided.into_iter().for_each(|(node, _)| self.end(node));
        dead_before != self.dead() || before != shown(self)
    }

    fn see(&mut self, now: u64, is_late: bool, row: Row) {
        let is_me = row.node == self.me;
        let node = self.nodes.entry(row.node).or_insert_with(|| Node {
            row: row.clone(),
            beat_at: now,
            still: 0,
            is_refused: false,
            is_replaced: false,
            dead_since: None,
        });
        if row.beat != node.row.beat {
            node.beat_at = now;
        }
        if row.beat != node.row.beat || is_me {
            (node.still, node.is_refused, node.is_replaced, node.dead_since) = (0, false, false, None);
        } else if is_late {
            node.still = 0;
        } else {
            node.still += 1;
        }
        node.row = row;
        if node.is_condemned() {
            node.dead_since.get_or_insert(now);
        }
    }

    fn end(&mut self, node: NodeId) {
        self.ended.insert(node);
        if self.ended.len() > ENDED {
            self.ended.pop_first();
        }
    }

    /// The address of a node refuses connections.
    pub fn refused(&mut self, node: NodeId) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.is_refused = true;
        }
    }

    /// Another process answers at the address of a node, so the node has ended.
    pub fn replaced(&mut self, node: NodeId) {
        if let (Some(now), Some(node)) = (self.read_at, self.nodes.get_mut(&node).filter(|_| node != self.me)) {
            node.is_replaced = true;
            node.dead_since.get_or_insert(now);
        }
    }

    /// Whether a node lives that the row of a room names. If that is unknown, one of the next readings tells.
    pub fn life(&mut self, node: NodeId) -> Life {
        if node == self.me {
            return Life::Lives;
        }
        match self.nodes.get(&node) {
            Some(node) if node.dead_since.is_some() => Life::Dead,
            Some(_) => Life::Lives,
            None if self.ended.contains(&node) => Life::Dead,
            None => {
                self.asked.entry(node).or_insert(self.readings + READINGS);
                Life::Unknown
            }
        }
    }

    /// The nodes that live, in the order of their ids. This one is among them once it has read its own row.
    pub fn living(&self) -> impl Iterator<Item = &Row> {
        self.nodes.values().filter(|node| node.dead_since.is_none()).map(|node| &node.row)
    }

    /// All nodes with rows, in the order of their ids.
    pub fn seen(&self) -> impl Iterator<Item = Seen> {
        let seen =
            |node: &Node| Seen { row: node.row.clone(), lives: node.dead_since.is_none(), beat_at: node.beat_at };
        self.nodes.values().map(seen)
    }

    /// The nodes whose rooms may be claimed.
    pub fn dead(&self) -> BTreeSet<NodeId> {
        let dead = self.nodes.values().filter(|node| node.dead_since.is_some()).map(|node| node.row.node);
        dead.chain(self.ended.iter().copied()).collect()
    }

    /// Rows of nodes that are dead for long, with their beats. Such a row is removed if it has not changed.
    pub fn removable(&self, now: u64) -> Vec<(NodeId, u64)> {
        let is_old = |node: &&Node| node.dead_since.is_some_and(|since| now.saturating_sub(since) >= REMOVED_AFTER_MS);
        self.nodes.values().filter(is_old).map(|node| (node.row.node, node.row.beat)).collect()
    }
}

impl Row {
    /// The row as others see it: a beat is no news.
    fn without_beat(&self) -> Row {
        Row { beat: 0, ..self.clone() }
    }
}

impl Node {
    fn is_condemned(&self) -> bool {
        self.is_replaced || self.still >= if self.is_refused { STILL_IF_REFUSED } else { STILL }
    }
}
