//! Asks the router where a request goes, with the request as components see it.
//!
//! It alone runs the router; the rooms' own guests run in `room`.

use hyper::{Method, Request, StatusCode};

use super::credential::without_credentials;
use crate::clock;
use crate::edge::identity::verified::Verified;
use crate::edge::response::component::from_component;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::Refusal;
use crate::edge::{Edge, headers};
use crate::guest::{Decision, Moment};
use crate::{model, random};

/// The request as components see it: without credentials, and still without its body. They see a HEAD as a GET.
pub(super) fn component_request(request: Request<()>, path: String, verified: Option<&Verified>) -> model::Request {
    let (parts, ()) = request.into_parts();
    let method = if parts.method == Method::HEAD { Method::GET } else { parts.method };
    model::Request {
        method: method.as_str().to_owned(),
        path,
        query: parts.uri.query().and_then(without_credentials),
        headers: headers::for_rooms(&parts.headers),
        body: Vec::new(),
        user: verified.map(|verified| verified.room_user().clone()),
    }
}

/// Asks the router where a request goes.
pub(super) async fn ask(edge: &Edge, request: model::Request) -> Result<Decision, Refusal> {
    let moment = Moment { now: clock::unix_millis(), seed: random::bytes() };
    edge.router.route(request, moment, &edge.long_turns).await.map_err(|failure| {
        tracing::error!(%failure, "the router failed");
        problem(StatusCode::INTERNAL_SERVER_ERROR, "the router failed").into()
    })
}

/// Refuses a request whose body is not read yet, if the router would refuse it with any body.
pub(super) async fn check_unread(edge: &Edge, request: model::Request) -> Result<(), Refusal> {
    match ask(edge, request).await? {
        Decision::Respond(answer) if is_refusal(answer.status) => {
            Err(from_component(&edge.response_headers, None, answer).into())
        }
        _ => Ok(()),
    }
}

/// Returns whether a router's answer depends only on the user and the path, so that it would be the same with a body.
fn is_refusal(status: u16) -> bool {
    matches!(status, 401 | 403 | 404 | 405 | 410 | 429)
}
