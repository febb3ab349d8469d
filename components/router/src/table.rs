//! The routes, and what may be the name of a room.

use dormouse_room::percent_decode;

/// What a path leads to.
pub(crate) struct Found<'a> {
    pub(crate) namespace: &'static str,
    /// As it stands in the path: [`room_name`] makes the room's name of it.
    pub(crate) name: &'a str,
    pub(crate) endpoint: Endpoint,
}

/// One thing that a room offers.
pub(crate) struct Endpoint {
    /// Where the room sees it.
    pub(crate) path: &'static str,
    pub(crate) methods: &'static [&'static str],
    pub(crate) how: How,
}

/// As a client that stays, and speaks or only listens, or as a request with an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum How {
    Connect,
    Listen,
    Request,
}

const WS: Endpoint = Endpoint { path: "/ws", methods: &["GET"], how: How::Connect };
const EVENTS: Endpoint = Endpoint { path: "/events", methods: &["GET"], how: How::Listen };
const MESSAGES: Endpoint = Endpoint { path: "/messages", methods: &["GET", "POST"], how: How::Request };
const LIST: Endpoint = Endpoint { path: "/list", methods: &["GET"], how: How::Request };
const UPDATE: Endpoint = Endpoint { path: "/update", methods: &["POST"], how: How::Request };

/// Namespaces, as the host's configuration names them.
const ROOMS: &str = "ROOMS";
const PRESENCE: &str = "PRESENCE";

/// The presence room of everybody: the one whose name need not be in the path.
const GLOBAL: &str = "global";

/// The most bytes in the name of a room.
const MAX_NAME_BYTES: usize = 128;

/// The number of segments tells a route from a room that is named like one: `/presence/ws` is a route of `global`, and
/// `/presence/ws/ws` the same route of the room `ws`.
pub(crate) fn find(path: &str) -> Option<Found<'_>> {
    let segments: Vec<_> = path.strip_prefix('/')?.split('/').collect();
    let (namespace, name, endpoint) = match *segments.as_slice() {
        ["rooms", name, "ws"] => (ROOMS, name, WS),
        ["rooms", name, "events"] => (ROOMS, name, EVENTS),
        ["rooms", name, "messages"] => (ROOMS, name, MESSAGES),
        ["presence", "ws"] => (PRESENCE, GLOBAL, WS),
        ["presence", "events"] => (PRESENCE, GLOBAL, EVENTS),
        ["presence", "list"] => (PRESENCE, GLOBAL, LIST),
        ["presence", "update"] => (PRESENCE, GLOBAL, UPDATE),
        ["presence", scope, "ws"] => (PRESENCE, scope, WS),
        ["presence", scope, "events"] => (PRESENCE, scope, EVENTS),
        ["presence", scope, "list"] => (PRESENCE, scope, LIST),
        ["presence", scope, "update"] => (PRESENCE, scope, UPDATE),
        _ => return None,
    };
    Some(Found { namespace, name, endpoint })
}

/// The name of a room, from its percent-encoded form. `None` where no room may have it.
pub(crate) fn room_name(encoded: &str) -> Option<String> {
    let name = percent_decode(encoded)?;
    let is_allowed = |character: char| character != '/' && !character.is_control();
    ((1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(is_allowed)).then_some(name)
}
