//! A router that tells the claims of a request's user, and what the user may do in the room of the query, such as
//! `?room=ROOMS/lobby`. A path such as `/ROOMS/lobby` leads to that room.

use dormouse_room::{Decision, Destination, Permission, Request, Response, Router, access};
use serde_json::{Value, json};

struct Gatekeeper;

dormouse_room::export_router!(Gatekeeper);

impl Router for Gatekeeper {
    fn route(request: Request) -> Decision {
        let Some(room) = request.query().get("room") else {
            let (namespace, name) = request.path.trim_matches('/').split_once('/').unwrap_or_default();
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            return Decision::Request(Destination { namespace, name, request });
        };
        let (namespace, name) = room.split_once('/').unwrap_or((&room, ""));
        let may = |permission: &Permission| access::may_in(namespace, name, *permission);
        let answer = json!({
            "claims": access::claims::<Value>().ok(),
            "here": Permission::ALL.into_iter().filter(|permission| access::may(*permission)).count(),
            "there": Permission::ALL.into_iter().filter(may).map(Permission::name).collect::<Vec<_>>(),
        });
        Response::json(&answer).unwrap_or_else(|error| Response::problem(500, error.to_string())).into()
    }
}
