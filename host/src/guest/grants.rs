//! The permissions in rooms, as a router asks for them before it chooses a room. The guest calls this trait; the edge
//! implements it with its policy, and the test driver with those that a test names.

use crate::model::{Address, Permissions};

/// The permissions that the user of one request has in rooms.
pub trait RouterGrants: Send + Sync {
    /// The permissions in one room; none if the host has no such namespace.
    fn permissions_in(&self, room: &Address) -> Permissions;
}
