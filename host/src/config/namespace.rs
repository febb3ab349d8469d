//! One kind of room: the settings below `[namespaces.NAME]`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::{AccessMode, duration};
use crate::limits::MESSAGE_BYTES;
use crate::model::Permission;
use crate::outbound::OriginPattern;

/// The component whose clients send only about their own entry on its list.
const PRESENCE_TRACKER: &str = "builtin:presence-tracker";
/// The other component whose clients speak the documented protocol.
const CHAT_ROOM: &str = "builtin:chat-room";

/// One kind of room.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    /// A component file, or `builtin:chat-room` or `builtin:presence-tracker`.
    pub component: String,
    /// The entry from which `dormouse dev` builds the component. A server does not read it.
    #[serde(default)]
    pub source: Option<String>,
    /// The access to its rooms. Absent: as `identity.access` says.
    #[serde(default)]
    pub access: Option<AccessMode>,
    /// A room hibernates after this time without events. Absent: as `hibernate_after` of the host says.
    #[serde(default, deserialize_with = "duration::some")]
    pub hibernate_after: Option<Duration>,
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
            source: None,
            access: None,
            hibernate_after: None,
            config: BTreeMap::new(),
            message_in_bytes: MESSAGE_BYTES,
            message_out_bytes: MESSAGE_BYTES,
            calls: BTreeSet::new(),
            outbound: Vec::new(),
            outbound_private: Vec::new(),
            response_headers: Vec::new(),
        }
    }

    /// The same settings for another component.
    pub(crate) fn of_component(&self, component: &str) -> Self {
        Namespace { component: component.into(), ..self.clone() }
    }

    /// The permission that sending to its rooms takes. A client of the presence tracker sends only about its own entry
    /// on the list, and being listed takes `presence`.
    pub(crate) fn to_send(&self) -> Permission {
        if self.component == PRESENCE_TRACKER { Permission::Presence } else { Permission::Write }
    }

    /// Whether the clients of its rooms ignore frames that they do not know, as the protocol of the shipped rooms says.
    /// Clients of other rooms may not expect a frame that their room did not send.
    pub(crate) fn ignores_unknown_frames(&self) -> bool {
        [PRESENCE_TRACKER, CHAT_ROOM].contains(&self.component.as_str())
    }
}

fn message_bytes() -> usize {
    MESSAGE_BYTES
}
