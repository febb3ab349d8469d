//! The names of what several nodes talk about. They can be compared, and nothing else.

/// One run of a node. A node that starts again has another id, so an owner that ended never seems to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// A room. The driver knows which address it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(pub u64);

/// A socket, unique over all nodes and all time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// A connection to the database that carries commits and proofs, one statement at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u16);

/// A statement of one node, numbered from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatementId(pub u64);

/// The part of a room's row that a statement must name. A claim raises the epoch and draws a new token. A resolve
/// raises only the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// How often the row was claimed or resolved.
    pub epoch: u64,
    /// A random number of the last claim. Two claims never have the same, even if a failover undid one of them.
    pub token: u64,
}

/// The time for which one node owns a room: from one claim to the next. Its name is the fence of that claim, and it
/// keeps the name when a resolve raises the epoch. Later tenures compare as greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenure(pub Fence);
