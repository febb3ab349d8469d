//! The statements that the database runs for an owner, by their meaning, and their answers. Each is one transaction.
//!
//! An answer counts when the transaction has ended: in PostgreSQL at `ReadyForQuery`. `CommandComplete` may come before
//! the commit has reached the standby.

use super::ids::{Fence, NodeId, RoomId};

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// For each room whose owner is absent, this node, or in `dead`: makes this node its owner, raises the epoch by
    /// one and stores a new random token. Answered by [`Rows::Claimed`].
    Claim {
        /// The rooms, in the order in which their rows are locked.
        rooms: Vec<RoomId>,
        /// Owners that may be replaced.
        dead: Vec<NodeId>,
    },
    /// Reads the stored content of each room together with its fence, in one snapshot. It may run on another
    /// connection than the claim, even on a database that was replaced, so the fence is compared. Answered by
    /// [`Rows::Read`].
    Read {
        /// The rooms.
        rooms: Vec<RoomId>,
    },
    /// Stores the commits whose fence and base number are those of the row, and confirms
    /// the proofs that agree with it.
    /// Answered by [`Rows::Confirmed`].
    ///
    /// If there is any proof, the transaction also writes a message to the log of the database. Commits that are
    /// refused write nothing, and a transaction that writes nothing proves nothing: a primary that was replaced
    /// answers it.
    Round {
        /// One for each room that has writes.
        commits: Vec<Commit>,
        /// One for each room whose turns wrote nothing.
        proofs: Vec<Proof>,
    },
    /// Raises the epoch by one where the owner is this node and the token is this one. So a statement that may still
    /// be running can change nothing any more. Answered by [`Rows::Resolved`].
    ///
    /// The owner alone is not enough: a claim of this node that runs very late makes it the owner again, after another
    /// node has written.
    Resolve {
        /// Each room with the token of its tenure.
        rooms: Vec<(RoomId, u64)>,
    },
    /// Sets the owner to `next` where the fence is this one. Answered by [`Rows::LetGo`].
    LetGo {
        /// Each room with its fence.
        rooms: Vec<(RoomId, Fence)>,
        /// The next owner; absent if any node may claim the rooms.
        next: Option<NodeId>,
    },
}

/// The writes of one or more turns of a room, as one row of a [`Statement::Round`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// The room.
    pub room: RoomId,
    /// The fence that its row must have.
    pub fence: Fence,
    /// The number that its row must have.
    pub base: u64,
    /// The number that its row gets: the writes of the turns `base + 1` to `number` are stored.
    pub number: u64,
}

/// A room that must still have this fence and this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The room.
    pub room: RoomId,
    /// The fence that its row must have.
    pub fence: Fence,
    /// The number that its row must have. It differs only if the database has lost commits.
    pub number: u64,
}

/// How a statement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The transaction ended and the database reported success.
    Done {
        /// Its result.
        rows: Rows,
        /// A notice of the level WARNING came while it ran. PostgreSQL reports a commit that may not be on the standby
        /// in this way, so the outcome is unknown.
        warned: bool,
    },
    /// The database reported an error on a connection that goes on: the transaction was rolled back.
    Error {
        /// True for a conflict or a shortage, after which the same statement may succeed.
        retry: bool,
    },
    /// There was no answer: the connection ended, or it took too long. The statement may have run, may run now, or may
    /// run later. The connection is not used again.
    Lost,
}

/// The result of a statement. Rooms whose condition did not hold are absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// Of [`Statement::Claim`].
    Claimed {
        /// Rooms that this node owns now.
        claimed: Vec<Claimed>,
        /// Rooms that another node owns.
        elsewhere: Vec<(RoomId, NodeId)>,
    },
    /// Of [`Statement::Read`]: the fence of each row that was read. The driver keeps the content.
    Read(Vec<(RoomId, Fence)>),
    /// Of [`Statement::Round`].
    Confirmed(Vec<RoomId>),
    /// Of [`Statement::Resolve`].
    Resolved(Vec<Resolved>),
    /// Of [`Statement::LetGo`].
    LetGo(Vec<RoomId>),
}

/// A room that was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed {
    /// The room.
    pub room: RoomId,
    /// The fence that the row has now.
    pub fence: Fence,
    /// The token that the row had before.
    pub old_token: u64,
    /// The number of the last commit.
    pub number: u64,
    /// The record of this node's cache, which the driver adds to the answer.
    pub cached: Option<Cached>,
}

/// The last confirmed commit that is in the cache of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cached {
    /// The number of the commit.
    pub number: u64,
    /// The token of its tenure.
    pub token: u64,
}

/// A room that is still owned by this node, in the same tenure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// The room.
    pub room: RoomId,
    /// The epoch that the row has now.
    pub epoch: u64,
    /// The number of the last commit.
    pub number: u64,
}
