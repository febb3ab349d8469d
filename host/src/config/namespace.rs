//! One kind of room: the settings below `[namespaces.NAME]`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::limits::MESSAGE_BYTES;
use crate::outbound::OriginPattern;

/// One kind of room.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    /// A component file, or `builtin:chat-room` or `builtin:presence-tracker`.
    pub component: String,
    /// Settings for its rooms.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// The longest message that its rooms accept, in bytes.
    #[serde(default = "message_bytes")]
    pub message_in_bytes: usize,
    /// The longest message that its rooms may send, in bytes.
    #[serde(default = "message_bytes")]
    pub message_out_bytes: usize,
    /// Namespaces that its rooms may call and post to; its own only if it is named.
    #[serde(default)]
    pub calls: BTreeSet<String>,
    /// Servers that its rooms may reach, at public addresses: origins such as `https://api.example`, or
    /// `https://*.example` for all subdomains.
    #[serde(default)]
    pub outbound: Vec<OriginPattern>,
    /// The same, at private and loopback addresses too.
    #[serde(default)]
    pub outbound_private: Vec<OriginPattern>,
    /// Headers that its rooms' answers may have beside those that all rooms may send.
    #[serde(default)]
    pub response_headers: Vec<String>,
}

impl Namespace {
    /// Rooms of a component, without settings and with the largest messages.
    pub fn of(component: &str) -> Self {
        Namespace {
            component: component.into(),
            config: BTreeMap::new(),
            message_in_bytes: MESSAGE_BYTES,
            message_out_bytes: MESSAGE_BYTES,
            calls: BTreeSet::new(),
            outbound: Vec::new(),
            outbound_private: Vec::new(),
            response_headers: Vec::new(),
        }
    }
}

fn message_bytes() -> usize {
    MESSAGE_BYTES
}
