//! The interface `access`. Users have no claims here, and every room is open.

use super::room::access::{Guest, PermissionSet};
use super::room::context::WakeReason;
use super::sessions::WOKEN_BY;
use super::{Disk, has_session};

/// The permissions of everybody in an open room.
pub(super) const OPEN: PermissionSet = PermissionSet::READ.union(PermissionSet::WRITE).union(PermissionSet::PRESENCE);

impl Guest for Disk {
    fn claims_json() -> String {
        "{}".to_owned()
    }

    /// A timer has no user. The router runs before a session is opened.
    fn permissions() -> PermissionSet {
        if has_session() && WOKEN_BY.get() != WakeReason::Timer { OPEN } else { PermissionSet::empty() }
    }
}
