//! Asks the router where a request goes, with the request as components see it.
//!
//! It alone runs the router; the rooms' own guests run in `room`.

use std::sync::Arc;

use hyper::{Method, Request, StatusCode};

use super::credential::without_credentials;
use crate::clock;
use crate::deploys::ROUTER;
use crate::edge::access::control::AccessControl;
use crate::edge::identity::verified::Verified;
use crate::edge::response::component::from_component;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::Refusal;
use crate::edge::{Edge, headers};
use crate::guest::{CompiledRouter, Decision, Moment, Outbound, RouterGrants, TurnFailure};
use crate::model::{Address, Permissions, UserAccess};
use crate::rollout::{Choice, Failed};
use crate::room::RouterCalls;
use crate::{model, random};

/// The request as components see it: without credentials, and still without its body. They see a HEAD as a GET. A
/// router sees the claims, and no permissions: there is no room yet.
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
        access: verified
            .map_or_else(UserAccess::default, |user| UserAccess::new(user.claims.clone(), Permissions::OPEN)),
    }
}

/// Asks the router where a request goes.
pub(super) async fn ask(
    edge: &Edge,
    request: model::Request,
    verified: Option<&Verified>,
) -> Result<Decision, Refusal> {
    let choice = edge.router.choose("");
    let calls = edge.rooms.router_calls(&edge.router_calls);
    let routed = match &choice.fallback {
        None => route(edge, &choice.code.component, request, verified, calls).await,
        Some(_) => Box::pin(route_during_deploy(edge, &choice, request, verified)).await,
    };
    routed.map_err(|failure| failed(&failure))
}

fn failed(failure: &TurnFailure) -> Refusal {
    tracing::error!(%failure, "the router failed");
    problem(StatusCode::INTERNAL_SERVER_ERROR, "the router failed").into()
}

async fn route(
    edge: &Edge,
    router: &CompiledRouter,
    request: model::Request,
    verified: Option<&Verified>,
    calls: Arc<RouterCalls>,
) -> Result<Decision, TurnFailure> {
    let moment = Moment { now: clock::unix_millis(), seed: random::bytes() };
    let grants = router.asks_for_grants().then(|| {
        let grants = Grants { control: edge.access.clone(), user: verified.cloned() };
        Arc::new(grants) as Arc<dyn RouterGrants>
    });
    let calls = router.is_connected().then_some(calls as Arc<dyn Outbound>);
    router.route(request, grants, calls, moment, &edge.long_turns).await
}

/// Asks a new router. If it fails, the one before decides, and the deploy stops; unless that one fails in the same way,
/// because any client could stop a deploy otherwise.
async fn route_during_deploy(
    edge: &Edge,
    choice: &Choice<CompiledRouter>,
    request: model::Request,
    verified: Option<&Verified>,
) -> Result<Decision, TurnFailure> {
    let calls = || edge.rooms.router_calls(&edge.router_calls);
    let routed = route(edge, &choice.code.component, request.clone(), verified, calls()).await;
    let (Err(failure), Some(before)) = (&routed, &choice.fallback) else { return routed };
    let again = route(edge, &before.component, request, verified, calls()).await;
    if again.as_ref().is_err_and(|again| again.is_like(failure)) {
        return routed;
    }
    let (hash, place, reason) = (choice.code.version.hash().clone(), ROUTER.to_owned(), failure.to_string());
    edge.router.fail(&choice.code.version, Failed { hash, place, event: "request", reason });
    again
}

/// The permissions of the user of one request, for a router that asks before it chooses a room.
struct Grants {
    control: Arc<AccessControl>,
    user: Option<Verified>,
}

impl RouterGrants for Grants {
    fn permissions_in(&self, room: &Address) -> Permissions {
        self.control.permissions_in(room, self.user.as_ref())
    }
}

/// Refuses a request without an identity whose body is not read yet, if the router would refuse it with any body. A
/// router that would call a room first accepts it so far: no room may see a request without its body, so the call fails
/// the routing.
pub(super) async fn check_unread(edge: &Edge, request: model::Request) -> Result<(), Refusal> {
    let choice = edge.router.choose("");
    let decision = if choice.code.component.is_connected() {
        let calls = edge.rooms.no_router_calls(&edge.router_calls);
        match route(edge, &choice.code.component, request, None, calls.clone()).await {
            Ok(decision) => decision,
            Err(_) => return Ok(()),
        }
    } else {
        ask(edge, request, None).await?
    };
    match decision {
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
