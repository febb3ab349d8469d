//! A router that tells the claims of a request's user, and what the user may do in the room of the query, such as
//! `?room=ROOMS/lobby`. A path such as `/ROOMS/lobby` leads to that room.

use std::hint::black_box;

use dormouse_room::{Decision, Destination, Error, Permission, Request, Response, Router, access};
use serde_json::{Value, json};

/// Tests overwrite the rest of these bytes to make other versions: `NAME WORD`.
static BEHAVIOUR: [u8; 64] = *b"behaviour:v1 good                                               ";

/// The name of the version, and the word for its misbehaviour.
fn behaviour() -> (&'static str, &'static str) {
    let bytes: &'static [u8; 64] = black_box(&BEHAVIOUR);
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim_end();
    text.trim_start_matches("behaviour:").split_once(' ').unwrap_or((text, "good"))
}

struct Gatekeeper;

dormouse_room::export_router!(Gatekeeper);

impl Router for Gatekeeper {
    fn route(request: Request) -> Decision {
        match behaviour().1 {
            "trap" => panic!("told to panic"),
            _ if request.path == "/version" => return Response::json(&behaviour().0).unwrap_or_else(failed).into(),
            _ => {}
        }
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
        Response::json(&answer).unwrap_or_else(failed).into()
    }
}

fn failed(error: Error) -> Response {
    Response::problem(500, error.to_string())
}
