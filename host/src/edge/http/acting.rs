//! The header `dormouse-act`, by which a service acts for a user in one request, or on one socket.
//!
//! It knows who may send the header: only a service. `identity::act` reads it.

use hyper::StatusCode;
use hyper::header::HeaderMap;

use super::credential::Bearer;
use crate::edge::identity::act;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::{Refusal, unauthorized};
use crate::model::ACT;

/// Applies the header of a request, which wins over the claim of a token. Any other identity than a service is refused,
/// so that no request takes effect as another user than the one that its sender meant.
pub(super) fn apply(headers: &HeaderMap, bearer: Option<Bearer>) -> Result<Option<Bearer>, Refusal> {
    let Some(value) = headers.get(ACT) else { return Ok(bearer) };
    let Some(bearer) = bearer else {
        return Err(unauthorized("the header `dormouse-act` needs the token of a service").into());
    };
    if !bearer.verified.is_service() {
        let detail = "only a service may send the header `dormouse-act`, and this token is a user's";
        return Err(problem(StatusCode::FORBIDDEN, detail).into());
    }
    let user = act::read(value.as_bytes()).map_err(|invalid| {
        problem(StatusCode::BAD_REQUEST, &format!("the header `dormouse-act` cannot be used: {}", invalid.0))
    })?;
    // A back end gives the ticket to its user, whose page must not become another user with it.
    if bearer.by_ticket && bearer.verified.acts_for().is_some_and(|asked_for| asked_for.id != user.id) {
        let detail = "the ticket was asked for another user than the header `dormouse-act` names";
        return Err(problem(StatusCode::FORBIDDEN, detail).into());
    }
    Ok(Some(Bearer { verified: bearer.verified.acting_for(user), ..bearer }))
}
