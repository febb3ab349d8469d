//! Several machines that share their rooms: which node owns a room, and how its sockets find it.
//!
//! A database holds the truth. Each room has a row there with a fence, so an owner that others have replaced cannot
//! change the room, and cannot prove that it may speak. This module knows no SQL and no guest.
//! `docs/cluster-model.md` says what is promised and how it is checked.
//!
//! [`ownership`] has the rules of owners and [`members`] those of who lives, which `store/postgres/driver` runs; the
//! simulation in `tests/ownership` runs several owners. [`place`]
//! says where a room should be, and [`link`] connects nodes. `far` has the rooms of other nodes for the clients of this
//! one, `near` has the clients of other nodes in the rooms of this one, and `node` starts and ends both. `hand_over`
//! passes rooms from node to node: `departures` has those that go, and `arrivals` those that come. Rooms reach
//! `far` through [`Peers`](crate::room::Peers), and only for a room that is not here.

mod address_check;
mod arrivals;
mod convert;
mod departures;
mod far;
mod far_socket;
mod hand_over;
pub mod link;
pub mod members;
mod metrics;
mod near;
mod near_client;
mod node;
pub mod ownership;
pub mod place;

pub use address_check::{AddressCheck, WrongAddress};
pub use node::{Node, NotOperated, bind};
