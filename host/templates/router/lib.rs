//! Chooses the room of a request: `/chat/{name}/ws` and `/chat/{name}/events` connect to a room, and any other path
//! below the name is a request to it.

use dormouse_room::{Decision, Destination, Request, Response, Router, percent_decode};

struct Routes;
dormouse_room::export_router!(Routes);

// The host does not start without these namespaces. `context::namespaces()` returns all that are configured.
dormouse_room::routes_to!["ROOMS"];

impl Router for Routes {
    fn route(request: Request) -> Decision {
        let path = request.path.clone();
        let Some((name, rest)) = path.strip_prefix("/chat/").and_then(|path| path.split_once('/')) else {
            return Response::problem(404, "there is nothing at this path").into();
        };
        let Some(name) = percent_decode(name) else {
            return Response::problem(400, "the name of the room is not UTF-8").into();
        };
        // The host has verified the user. A router for public rooms need not refuse here.
        if request.user.is_none() {
            return Response::problem(401, "this needs a valid identity").into();
        }
        // The room sees this path. The rest of the request is unchanged.
        let request = Request { path: format!("/{rest}"), ..request };
        let to = |request| Destination { namespace: "ROOMS".into(), name, request };
        match rest {
            "ws" => Decision::Connect(to(request)),
            "events" => Decision::Connect(to(listening(request))),
            _ => Decision::Request(to(request)),
        }
    }
}

/// Marks a request for server-sent events: the host knows it by this header.
fn listening(mut request: Request) -> Request {
    request.headers.retain(|(name, _)| name != "accept");
    request.headers.push(("accept".into(), "text/event-stream".into()));
    request
}

#[cfg(test)]
mod tests {
    use dormouse_room::User;

    use super::*;

    fn route(path: &str) -> Decision {
        Routes::route(Request::get(path).by(User { id: "1".into(), name: "ana".into() }))
    }

    #[test]
    fn a_path_leads_to_its_room() {
        let Decision::Connect(to) = route("/chat/caf%C3%A9/ws") else { panic!("not a socket") };
        assert_eq!((&*to.namespace, &*to.name, &*to.request.path), ("ROOMS", "café", "/ws"));
        let Decision::Connect(to) = route("/chat/lobby/events") else { panic!("not a stream") };
        assert_eq!(to.request.header("accept"), Some("text/event-stream"));
        let Decision::Request(to) = route("/chat/lobby/messages?limit=5") else { panic!("not a request") };
        assert_eq!((&*to.request.path, to.request.query.as_deref()), ("/messages", Some("limit=5")));
    }

    #[test]
    fn other_paths_get_404_and_anonymous_requests_401() {
        assert!(matches!(route("/other"), Decision::Respond(Response { status: 404, .. })));
        let anonymous = Routes::route(Request::get("/chat/lobby/ws"));
        assert!(matches!(anonymous, Decision::Respond(Response { status: 401, .. })));
    }
}
