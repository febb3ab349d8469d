//! Answers to requests that are not served: a limit was met, a room did not answer, or a room refused.

use std::time::Duration;

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::Body;
use super::component::from_component;
use super::problem::{problem, problem_naming, problem_with};
use crate::edge::headers::ResponseHeaders;
use crate::edge::metrics::Metrics;
use crate::limit_hits::Limit;
use crate::model::{Address, Permission};
use crate::random;
use crate::room::{ConnectError, RequestError};

/// The answer to a request that is not served, as an error that ends the request's checks.
pub(in crate::edge) struct Refusal(Box<Response<Body>>);

impl From<Response<Body>> for Refusal {
    fn from(response: Response<Body>) -> Self {
        Refusal(Box::new(response))
    }
}

impl Refusal {
    pub(in crate::edge) fn into_response(self) -> Response<Body> {
        *self.0
    }
}

/// An answer with 401: a valid token would help.
pub(in crate::edge) fn unauthorized(detail: &str) -> Response<Body> {
    problem_with(StatusCode::UNAUTHORIZED, detail, header::WWW_AUTHENTICATE, "Bearer")
}

/// An answer with 403 that names the permission that the user lacks in a room.
pub(in crate::edge) fn forbidden(missing: Permission, room: &str) -> Response<Body> {
    let detail = format!("this needs the permission `{missing}` in {room}, which you do not have");
    problem_naming(StatusCode::FORBIDDEN, &detail, &[("permission", missing.name())])
}

/// The same for a token without the claim that grants permissions. Its issuer has most likely forgotten it.
pub(in crate::edge) fn forbidden_without_claim(missing: Permission, room: &str, claim: &str) -> Response<Body> {
    let detail = format!(
        "this needs the permission `{missing}` in {room}, and your token grants nothing: it has no claim `{claim}`"
    );
    problem_naming(StatusCode::FORBIDDEN, &detail, &[("permission", missing.name()), ("claim", claim)])
}

/// An answer with 503. The delay is random, so that clients do not return all at once.
pub(in crate::edge) fn overloaded(detail: &str) -> Response<Body> {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, detail);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(random::seconds(1..=5)));
    response
}

/// An answer with 429. The delay is random, as above.
pub(in crate::edge) fn too_many(detail: &str) -> Response<Body> {
    let mut response = problem(StatusCode::TOO_MANY_REQUESTS, detail);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(random::seconds(1..=5)));
    response
}

/// Counts a limit that was met, and answers: 429 for a limit of one user, service, address or connection, and 503 for a
/// limit of all.
pub(in crate::edge) fn refuse(metrics: &Metrics, refused: Limit) -> Response<Body> {
    metrics.refused(refused);
    match refused {
        Limit::MessagesPerUser => too_many("too many messages, requests or joins of one user; slow down"),
        Limit::ConnectsPerAddress => too_many("too many connects, requests or joins from one address; slow down"),
        Limit::SocketsPerUser | Limit::RoomsPerUser | Limit::ConnectionsPerAddress => {
            too_many("too many sockets of one user, or from one address")
        }
        Limit::TicketsPerUser => too_many("too many unused tickets of this user"),
        Limit::RequestsPerUser => too_many("too many requests of one user at once"),
        Limit::RequestsPerAddress => too_many("too many requests from one address at once"),
        Limit::RequestBytesPerUser => too_many("too many bytes in the bodies of this user's requests"),
        Limit::AnswerBytesPerUser => too_many("too many unread answers of this user"),
        Limit::AnswerBytesPerConnection => too_many("too many unread answers on this connection"),
        Limit::ServiceMessages => too_many("too many messages, requests or joins of one service; slow down"),
        Limit::ServiceSockets => too_many("too many sockets or unused tickets of one service"),
        Limit::ServiceRequests => too_many("too many requests of one service at once"),
        Limit::ServiceRequestBytes => too_many("too many bytes in the bodies of this service's requests"),
        Limit::ServiceAnswerBytes => too_many("too many unread answers of this service"),
        Limit::Tickets => overloaded("too many unused tickets in all"),
        Limit::RequestsPerRoom => overloaded("too many requests to one room at once"),
        Limit::RequestsPerNamespace => overloaded("too many requests to rooms of one kind at once"),
        Limit::RequestBytes => overloaded("too many bytes in the bodies of all requests"),
        Limit::AnswerBytes => overloaded("too many unread answers in all"),
        Limit::AnonymousRequests => overloaded("too many requests without an identity at once"),
        _ => overloaded("too many requests at once"),
    }
}

/// The answer if the room `address` gave a client no socket.
pub(in crate::edge) fn not_connected(
    allowed: &ResponseHeaders,
    address: &Address,
    error: ConnectError,
) -> Response<Body> {
    match error {
        ConnectError::Answered(answer) => from_component(allowed, Some(address), answer),
        ConnectError::Refused(status, reason) => {
            let status = StatusCode::from_u16(status).ok().filter(|status| (400..600).contains(&status.as_u16()));
            problem(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &reason)
        }
        ConnectError::NoAnswer(no_answer) => unanswered(&no_answer),
    }
}

pub(in crate::edge) fn unanswered(no_answer: &RequestError) -> Response<Body> {
    match no_answer {
        RequestError::NoNamespace => {
            tracing::error!("the router named a namespace that is not configured");
            problem(StatusCode::INTERNAL_SERVER_ERROR, &no_answer.to_string())
        }
        RequestError::Failed => problem(StatusCode::INTERNAL_SERVER_ERROR, &no_answer.to_string()),
        RequestError::Overloaded
        | RequestError::NoMemory
        | RequestError::TooManyRooms
        | RequestError::Broken
        | RequestError::NoSpace
        | RequestError::Draining => overloaded(&no_answer.to_string()),
        RequestError::Moved(_) => {
            let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, &no_answer.to_string());
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER.as_secs()));
            response
        }
    }
}

/// The delay for a client whose connection was turned away.
pub(in crate::edge) const RETRY_AFTER: Duration = Duration::from_secs(1);
