//! The routes, and what may be the name of a room.
//!
//! Every namespace of the host's configuration has the route `/{namespace}/{name}`, and any path behind it is the room's.
//! A namespace is spelled in one way: in lower case, with `-` for `_`.

use dormouse_room::percent_decode;

/// What a path leads to.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// As the configuration names it.
    pub(crate) namespace: &'a str,
    /// As it stands in the path: [`room_name`] makes the room's name of it.
    pub(crate) name: &'a str,
    pub(crate) endpoint: Endpoint,
}

/// One thing that a room offers.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Where the room sees it.
    pub(crate) path: String,
    /// Absent where the room itself decides which methods it answers.
    pub(crate) methods: Option<&'static [&'static str]>,
    pub(crate) how: How,
}

/// As a client that stays, and speaks or only listens, or as a request with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Connect,
    Listen,
    Request,
}

/// The namespaces of the two rooms that ship with Dormouse, as they are spelled in a path.
const ROOMS: &str = "rooms";
const PRESENCE: &str = "presence";

/// The presence room of everybody: the one whose name need not be in the path.
const GLOBAL: &str = "global";

/// The most bytes in the name of a room.
const MAX_NAME_BYTES: usize = 128;

/// The number of segments tells a route from a room that is named like one: `/presence/ws` is a route of `global`, and
/// `/presence/ws/ws` the same route of the room `ws`.
pub(crate) fn find<'a>(path: &'a str, namespaces: &'a [String]) -> Option<Found<'a>> {
    let (spelled, rest) = path.strip_prefix('/')?.split_once('/')?;
    let namespace = namespaces.iter().find(|namespace| spelling(namespace) == spelled)?;
    let (name, path) = match (spelled, rest) {
        (PRESENCE, "ws" | "events" | "list" | "update") => (GLOBAL, rest),
        _ => rest.split_once('/').unwrap_or((rest, "")),
    };
    Some(Found { namespace, name, endpoint: endpoint(spelled, path) })
}

/// How a namespace is spelled in a path. Where two are spelled alike, the first one has the route.
fn spelling(namespace: &str) -> String {
    namespace.to_ascii_lowercase().replace('_', "-")
}

fn endpoint(namespace: &str, path: &str) -> Endpoint {
    use How::{Connect, Listen, Request};
    let (methods, how): (Option<&[&str]>, _) = match (namespace, path) {
        (_, "ws") => (Some(&["GET"]), Connect),
        (_, "events") => (Some(&["GET"]), Listen),
        (ROOMS, "messages") => (Some(&["GET", "POST"]), Request),
        (PRESENCE, "list") => (Some(&["GET"]), Request),
        (PRESENCE, "update") => (Some(&["POST"]), Request),
        _ => (None, Request),
    };
    Endpoint { path: format!("/{path}"), methods, how }
}

/// The name of a room, from its percent-encoded form. `None` where no room may have it.
pub(crate) fn room_name(encoded: &str) -> Option<String> {
    let name = percent_decode(encoded)?;
    let is_allowed = |character: char| character != '/' && !character.is_control();
    ((1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(is_allowed)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_spelled_in_lower_case_with_hyphens() {
        for (namespace, expected) in [
            ("POLLS", "polls"),
            ("polls", "polls"),
            ("BIG_POLLS", "big-polls"),
            ("big-polls", "big-polls"),
            ("A1", "a1"),
        ] {
            assert_eq!(spelling(namespace), expected);
        }
    }

    #[test]
    fn the_first_of_two_that_are_spelled_alike_has_the_route() {
        let namespaces = ["A_B".to_owned(), "a-b".to_owned()];
        assert_eq!(find("/a-b/x", &namespaces).unwrap().namespace, "A_B");
    }
}
