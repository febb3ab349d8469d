//! A namespace: one kind of room, with the settings for all its rooms.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::guest::CompiledRoom;
use crate::model::Permission;
use crate::outbound::Allowed;
use crate::rollout::Rollout;

/// One kind of room, and the settings for all rooms of a namespace.
pub struct Namespace {
    /// The component, which a deploy replaces.
    pub code: Rollout<CompiledRoom>,
    /// The component as the configuration names it.
    pub component_name: String,
    /// Its rooms hibernate after this time without events.
    pub hibernate_after: Duration,
    /// Configuration values for its rooms.
    pub config: Arc<BTreeMap<String, String>>,
    /// The longest message that its rooms accept, in bytes.
    pub message_in_bytes: usize,
    /// The longest message that its rooms may send, in bytes.
    pub message_out_bytes: usize,
    /// The permission that sending to its rooms takes, for users whose permissions are restricted.
    pub to_send: Permission,
    /// The namespaces that its rooms may call and post to.
    pub calls: BTreeSet<String>,
    /// The servers that its rooms may call.
    pub outbound: Allowed,
}
