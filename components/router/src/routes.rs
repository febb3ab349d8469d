//! The routes, and the valid names of rooms.
//!
//! Every namespace of the host's configuration has the route `/{namespace}/{name}`; the path after it goes to the room.
//! A path spells a namespace in one way only: in lower case, with `-` for `_`.

use dormouse_room::percent_decode;

/// The destination of a path.
#[derive(Debug)]
pub(crate) struct Route<'a> {
    /// The namespace, as the configuration spells it.
    pub(crate) namespace: &'a str,
    /// The name, as the path spells it. [`room_name`] decodes it.
    pub(crate) name: &'a str,
    pub(crate) endpoint: Endpoint<'a>,
}

/// One endpoint of a room.
#[derive(Debug)]
pub(crate) struct Endpoint<'a> {
    /// The path that the room sees: the end of the whole path, from a slash on.
    pub(crate) path: &'a str,
    /// The allowed methods. `None` if the room itself decides.
    pub(crate) methods: Option<&'static [&'static str]>,
    pub(crate) kind: RouteKind,
}

/// The kind of an endpoint: a WebSocket, server-sent events, or a request with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteKind {
    WebSocket,
    EventStream,
    Request,
}

/// The namespaces of the two shipped rooms, as a path spells them.
const ROOMS: &str = "rooms";
const PRESENCE: &str = "presence";

/// The presence room for all users. A path may leave out its name.
const GLOBAL: &str = "global";

/// The most bytes in the name of a room.
const MAX_NAME_BYTES: usize = 128;

/// Finds the route of a path. The number of segments tells a route from a room with the same name: `/presence/ws` is a
/// route of `global`, and `/presence/ws/ws` the same route of the room `ws`.
pub(crate) fn find_route<'a>(path: &'a str, namespaces: &'a [String]) -> Option<Route<'a>> {
    let (spelled, rest) = path.strip_prefix('/')?.split_once('/')?;
    let namespace = namespaces.iter().find(|namespace| is_spelling(spelled, namespace))?;
    let (name, path) = match (spelled, rest) {
        (PRESENCE, "ws" | "events" | "list" | "update") => (GLOBAL, &path[path.len() - "/".len() - rest.len()..]),
        _ => rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash)),
    };
    Some(Route { namespace, name, endpoint: endpoint(spelled, path) })
}

/// Whether a path spells this namespace so. If two namespaces have the same spelling, the first one gets the route.
fn is_spelling(spelled: &str, namespace: &str) -> bool {
    let letter = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    spelled.bytes().eq(namespace.bytes().map(letter))
}

fn endpoint<'a>(namespace: &str, path: &'a str) -> Endpoint<'a> {
    use RouteKind::{EventStream, Request, WebSocket};
    let (methods, kind): (Option<&[&str]>, _) = match (namespace, path) {
        (_, "/ws") => (Some(&["GET"]), WebSocket),
        (_, "/events") => (Some(&["GET"]), EventStream),
        (ROOMS, "/messages") => (Some(&["GET", "POST"]), Request),
        (PRESENCE, "/list") => (Some(&["GET"]), Request),
        (PRESENCE, "/update") => (Some(&["POST"]), Request),
        _ => (None, Request),
    };
    Endpoint { path, methods, kind }
}

/// Decodes the name of a room from a path. `None` if no room may have it.
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
            assert!(is_spelling(expected, namespace), "{namespace}");
        }
    }

    #[test]
    fn of_two_colliding_namespaces_the_first_has_the_route() {
        let namespaces = ["A_B".to_owned(), "a-b".to_owned()];
        assert_eq!(find_route("/a-b/x", &namespaces).unwrap().namespace, "A_B");
    }
}
