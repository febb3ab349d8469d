//! The rules of ownership, as two state machines over plain values: [`Owner`] for the rooms that this node owns, and
//! [`Edge`] for the sockets of this node in rooms of any node.
//!
//! Both take one input at a time and answer with effects. They have no clock, no lock and no I/O: time, random numbers
//! and answers of the database are passed in. A driver carries out the effects in their order, runs the turns of rooms
//! and keeps their outputs and sockets. `tests/ownership` is such a driver, with a database and a network
//! that break.
//!
//! - **Invariant: one statement of a room is in flight at a time.** So its commits cannot overtake each other.
//! - **Invariant: outputs leave a room only after a statement that was sent after their turn has confirmed the fence.**
//! - **Invariant: each claim has its own random token.** Epochs order tenures; the token says that nothing was between.
//! - **Invariant: no rule compares clocks.** Time and the list of dead nodes decide who tries, never who is right.

mod edge;
mod ids;
mod message;
mod owner;
mod statement;

pub use edge::{Edge, EdgeEffect, EdgeInput};
pub use ids::{Fence, LaneId, NodeId, RoomId, SocketId, StatementId, Tenure};
pub use message::{Down, Peer, To, Up};
pub use owner::{Config, Effect, Ended, Input, Owner};
pub use statement::{Answer, Cached, Claimed, Commit, Proof, Resolved, Rows, Statement};
