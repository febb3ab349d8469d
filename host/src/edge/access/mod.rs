//! Access to rooms: the grants of a token, and the decision for a room.
//!
//! ```text
//! pattern.rs     which rooms a pattern matches      control.rs         decides for http
//! grants.rs      the claim of a token               socket_access.rs   decides for one open socket
//! policy.rs      what a user may do in a room       decisions.rs       counts decisions and logs refusals
//! authorizer/    asks the operator's own server
//! ```
//!
//! `pattern`, `grants` and `policy` are pure. None of them knows HTTP, frames or a room: `identity` reads the grants of
//! a token, `http` asks before a request or a connect reaches its room, and `sockets` asks again for each message and
//! each new token.

pub(in crate::edge) mod authorizer;
pub(in crate::edge) mod control;
mod decisions;
pub(in crate::edge) mod grants;
pub(in crate::edge) mod pattern;
pub(in crate::edge) mod policy;
pub(in crate::edge) mod socket_access;
