//! The built-in router: it maps each request to a room. `routes.rs` has the routes, `event_stream.rs` the requests for
//! server-sent events. The namespaces are those of the host's configuration.
//!
//! The host does its part first: it removes the base path, answers `/tickets` and CORS preflights itself, and verifies
//! `user`. Afterwards it checks that a request for a socket is a WebSocket upgrade.

mod event_stream;
mod routes;

use dormouse_room::{Decision, Destination, Request, Response, Router, context};

use crate::routes::{Route, RouteKind};

struct BuiltinRouter;

dormouse_room::export_router!(BuiltinRouter);

impl Router for BuiltinRouter {
    fn route(request: Request) -> Decision {
        route(request, &context::namespaces())
    }
}

// The checks on the path come before the check of the identity: no login helps with a path or a room name that cannot
// exist. The answers reveal nothing about the rooms.
fn route(mut request: Request, namespaces: &[String]) -> Decision {
    let path = std::mem::take(&mut request.path);
    let Some(Route { namespace, name, endpoint }) = routes::find_route(&path, namespaces) else {
        return Response::problem(404, "there is nothing at this path").into();
    };
    if let Some(methods) = endpoint.methods.filter(|methods| !methods.contains(&request.method.as_str())) {
        let allowed = methods.join(", ");
        return Response::problem(405, format!("this path answers {allowed}")).header("allow", &allowed).into();
    }
    let Some(name) = routes::room_name(name) else {
        let detail = "the name of a room is 1 to 128 bytes of UTF-8 without control characters or /";
        return Response::problem(400, detail).into();
    };
    if request.user.is_none() {
        return Response::problem(401, "this needs a valid identity").header("www-authenticate", "Bearer").into();
    }
    request.path = endpoint.path.into();
    let destination = |request| Destination { namespace: namespace.into(), name, request };
    match endpoint.kind {
        RouteKind::WebSocket => Decision::Connect(destination(event_stream::for_websocket(request))),
        RouteKind::EventStream => Decision::Connect(destination(event_stream::for_event_stream(request))),
        RouteKind::Request => Decision::Request(destination(request)),
    }
}

#[cfg(test)]
mod tests {
    use dormouse_room::User;

    use super::*;

    fn request(method: &str, path: &str) -> Request {
        Request {
            method: method.into(),
            path: path.into(),
            query: Some("since=5".into()),
            headers: vec![("idempotency-key".into(), "k1".into())],
            body: b"{}".into(),
            user: Some(User { id: "u1".into(), name: "Ana".into() }),
        }
    }

    fn decide(request: Request) -> Decision {
        route(request, &["BIG_POLLS".into(), "PRESENCE".into(), "ROOMS".into()])
    }

    fn response(request: Request) -> Response {
        match decide(request) {
            Decision::Respond(response) => response,
            other => panic!("not answered by the router: {other:?}"),
        }
    }

    /// The kind of the decision, the room, and the path that the room sees.
    fn destination(method: &str, path: &str) -> (RouteKind, String, String, String) {
        let (kind, to) = match decide(request(method, path)) {
            Decision::Connect(to) if to.request.header("accept") == Some("text/event-stream") => {
                (RouteKind::EventStream, to)
            }
            Decision::Connect(to) => (RouteKind::WebSocket, to),
            Decision::Request(to) => (RouteKind::Request, to),
            Decision::Respond(response) => panic!("{method} {path}: {response:?}"),
        };
        (kind, to.namespace, to.name, to.request.path)
    }

    fn status(method: &str, path: &str) -> u16 {
        response(request(method, path)).status
    }

    #[test]
    fn every_route_of_the_protocol_leads_to_its_room() {
        use RouteKind::{EventStream, Request, WebSocket};
        for (method, path, kind, namespace, name, seen) in [
            ("GET", "/rooms/lobby/ws", WebSocket, "ROOMS", "lobby", "/ws"),
            ("GET", "/rooms/lobby/events", EventStream, "ROOMS", "lobby", "/events"),
            ("GET", "/rooms/lobby/messages", Request, "ROOMS", "lobby", "/messages"),
            ("POST", "/rooms/lobby/messages", Request, "ROOMS", "lobby", "/messages"),
            ("GET", "/presence/ws", WebSocket, "PRESENCE", "global", "/ws"),
            ("GET", "/presence/events", EventStream, "PRESENCE", "global", "/events"),
            ("GET", "/presence/list", Request, "PRESENCE", "global", "/list"),
            ("POST", "/presence/update", Request, "PRESENCE", "global", "/update"),
            ("GET", "/presence/team/ws", WebSocket, "PRESENCE", "team", "/ws"),
            ("GET", "/presence/team/events", EventStream, "PRESENCE", "team", "/events"),
            ("GET", "/presence/team/list", Request, "PRESENCE", "team", "/list"),
            ("POST", "/presence/team/update", Request, "PRESENCE", "team", "/update"),
        ] {
            let expected = (kind, namespace.into(), name.into(), seen.into());
            assert_eq!(destination(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn any_other_path_below_a_room_name_goes_to_the_room() {
        use RouteKind::{EventStream, Request, WebSocket};
        for (method, path, kind, namespace, name, seen) in [
            ("GET", "/big-polls/lunch", Request, "BIG_POLLS", "lunch", "/"),
            ("PUT", "/big-polls/lunch/", Request, "BIG_POLLS", "lunch", "/"),
            ("DELETE", "/big-polls/lunch/votes/%2F//7", Request, "BIG_POLLS", "lunch", "/votes/%2F//7"),
            ("GET", "/big-polls/lunch/ws", WebSocket, "BIG_POLLS", "lunch", "/ws"),
            ("GET", "/big-polls/lunch/events", EventStream, "BIG_POLLS", "lunch", "/events"),
            ("POST", "/big-polls/lunch/ws/more", Request, "BIG_POLLS", "lunch", "/ws/more"),
            ("POST", "/big-polls/lunch/%77s", Request, "BIG_POLLS", "lunch", "/%77s"),
            ("PUT", "/big-polls/ws", Request, "BIG_POLLS", "ws", "/"),
            ("PUT", "/rooms/lobby/topic", Request, "ROOMS", "lobby", "/topic"),
            ("GET", "/presence/team", Request, "PRESENCE", "team", "/"),
        ] {
            let expected = (kind, namespace.into(), name.into(), seen.into());
            assert_eq!(destination(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_namespace_that_is_not_configured_has_no_route() {
        for path in ["/rooms/lobby/ws", "/presence/ws", "/presence/team/list"] {
            let decided = route(request("GET", path), &["POLLS".into()]);
            assert!(matches!(decided, Decision::Respond(Response { status: 404, .. })), "{path}: {decided:?}");
        }
    }

    #[test]
    fn a_room_may_be_named_like_a_route() {
        for (path, name, seen) in [
            ("/presence/ws/ws", "ws", "/ws"),
            ("/presence/list/ws", "list", "/ws"),
            ("/presence/ws/list", "ws", "/list"),
            ("/presence/list/list", "list", "/list"),
            ("/presence/update/list", "update", "/list"),
            ("/presence/events/ws", "events", "/ws"),
            ("/presence/events/events", "events", "/events"),
            ("/rooms/messages/messages", "messages", "/messages"),
            ("/rooms/ws/ws", "ws", "/ws"),
        ] {
            let (_, _, found, path_seen) = destination("GET", path);
            assert_eq!((found.as_str(), path_seen.as_str()), (name, seen), "{path}");
        }
    }

    #[test]
    fn a_name_is_percent_decoded() {
        for (path, name) in [
            ("/rooms/a%20b/ws", "a b"),
            ("/rooms/caf%C3%A9/ws", "café"),
            ("/rooms/a+b%2Bc/ws", "a+b+c"),
            ("/rooms/100%25/ws", "100%"),
            ("/rooms/%2e%2E/ws", ".."),
            ("/rooms/a%3Fb/ws", "a?b"),
        ] {
            assert_eq!(destination("GET", path).2, name, "{path}");
        }
    }

    #[test]
    fn an_invalid_room_name_is_a_bad_request() {
        let long = format!("/rooms/{}/ws", "%C3%A9".repeat(64));
        assert_eq!(destination("GET", &long).2.len(), 128);
        let too_long = format!("/rooms/{}/ws", "a".repeat(129));
        for path in [
            &too_long,
            "/rooms//ws",
            "/presence//list",
            "/rooms/a%2Fb/ws",
            "/rooms/a%00b/messages",
            "/rooms/a%0Ab/ws",
            "/rooms/%C2%85/ws",
            "/rooms/%7F/ws",
            "/rooms/%FF/ws",
            "/rooms/%C3/ws",
            "/rooms/%/ws",
            "/rooms/%4/ws",
            "/rooms/%zz/ws",
        ] {
            assert_eq!(status("GET", path), 400, "{path}");
        }
    }

    #[test]
    fn an_unknown_path_is_not_found() {
        for path in [
            "/",
            "",
            "rooms/lobby/ws",
            "/rooms",
            "/ROOMS/lobby/ws",
            "/%72ooms/lobby/ws",
            "/presence",
            "//rooms/lobby/ws",
            "/big-polls",
            "/big_polls/x",
            "/BIG_POLLS/x",
            "/polls/x/ws",
            "/other/%FF",
        ] {
            assert_eq!(status("GET", path), 404, "{path}");
        }
    }

    #[test]
    fn a_wrong_method_gets_the_allowed_ones() {
        for (method, path, allowed) in [
            ("POST", "/rooms/lobby/ws", "GET"),
            ("POST", "/rooms/lobby/events", "GET"),
            ("DELETE", "/rooms/lobby/messages", "GET, POST"),
            ("HEAD", "/presence/list", "GET"),
            ("PUT", "/big-polls/lunch/ws", "GET"),
            ("GET", "/presence/update", "POST"),
            ("PUT", "/presence/team/update", "POST"),
            ("get", "/presence/team/ws", "GET"),
        ] {
            let response = response(request(method, path));
            assert_eq!(response.status, 405, "{method} {path}");
            assert!(response.headers.contains(&("allow".into(), allowed.into())), "{method} {path}");
        }
    }

    #[test]
    fn rooms_require_an_identity() {
        for (method, path) in [
            ("GET", "/rooms/lobby/ws"),
            ("GET", "/rooms/lobby/events"),
            ("GET", "/presence/events"),
            ("GET", "/rooms/lobby/messages"),
            ("POST", "/rooms/lobby/messages"),
            ("GET", "/presence/ws"),
            ("GET", "/presence/list"),
            ("POST", "/presence/update"),
            ("GET", "/presence/team/ws"),
            ("GET", "/presence/team/list"),
            ("POST", "/presence/team/update"),
        ] {
            let response = response(Request { user: None, ..request(method, path) });
            assert_eq!(response.status, 401, "{method} {path}");
            assert!(response.headers.contains(&("www-authenticate".into(), "Bearer".into())), "{method} {path}");
        }
    }

    #[test]
    fn a_wrong_address_is_reported_before_a_missing_identity() {
        for (method, path, expected) in
            [("GET", "/other", 404), ("POST", "/rooms/lobby/ws", 405), ("GET", "/rooms//ws", 400)]
        {
            assert_eq!(response(Request { user: None, ..request(method, path) }).status, expected, "{path}");
        }
    }

    #[test]
    fn the_room_sees_the_request_unchanged_but_for_its_path() {
        let Decision::Request(to) = decide(request("POST", "/rooms/lobby/messages")) else { panic!() };
        let received = Request { path: "/messages".into(), ..request("POST", "/rooms/lobby/messages") };
        assert_eq!(format!("{:?}", to.request), format!("{received:?}"));
    }
}
