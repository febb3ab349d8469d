//! `POST /tickets`: a single-use ticket for a user that showed a token.

use hyper::header;
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use super::credential::Bearer;
use crate::edge::Edge;
use crate::edge::identity::tickets::VALID_FOR;
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::problem::problem_with;
use crate::edge::response::refusals::{Refusal, refuse, unauthorized};

/// Issues a ticket.
pub(super) fn answer(edge: &Edge, method: &Method, bearer: Option<Bearer>) -> Result<Response<Body>, Refusal> {
    if method != Method::POST {
        return Err(problem_with(StatusCode::METHOD_NOT_ALLOWED, "only POST here", header::ALLOW, "POST").into());
    }
    let bearer = bearer.ok_or_else(|| unauthorized("a ticket needs an identity"))?;
    if bearer.by_ticket {
        // Otherwise a ticket could be renewed without end.
        return Err(unauthorized("a ticket is not given for a ticket").into());
    }
    let ticket = edge.issue_ticket(bearer.verified).map_err(|limit| refuse(&edge.metrics, limit))?;
    Ok(json_response(&json!({ "ticket": ticket, "expiresIn": VALID_FOR.as_secs() })))
}
