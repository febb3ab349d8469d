//! The answer of a component, checked: its status, its length, and the headers that it may send.

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::Body;
use super::problem::problem;
use crate::edge::headers::{self, ResponseHeaders};
use crate::limits;
use crate::model::{self, Address};

/// Makes an HTTP answer of a component's answer, with only the headers that a component may set. `room` is absent for
/// the router.
pub(in crate::edge) fn from_component(
    allowed: &ResponseHeaders,
    room: Option<&Address>,
    answer: model::Response,
) -> Response<Body> {
    let bad = |what: &str| {
        tracing::error!(room = room.map(tracing::field::display), "a component's answer cannot be sent: {what}");
        problem(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be sent")
    };
    let status = match StatusCode::from_u16(answer.status) {
        Ok(status) if (200..600).contains(&answer.status) => status,
        _ => return bad("its status is not within 200 to 599"),
    };
    if answer.body.len() > limits::RESPONSE_BYTES {
        return bad("its body is too large");
    }
    if answer.headers.len() > limits::RESPONSE_HEADERS {
        return bad("it has too many headers");
    }
    let mut response = Response::new(Body::whole(answer.body));
    *response.status_mut() = status;
    let sent = response.headers_mut();
    for (name, value) in answer.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return bad("it has a header that HTTP does not allow");
        };
        if allowed.may_send(room.map(Address::namespace), &name) {
            headers::add(sent, name, value);
        }
    }
    // A room's answer shares the page's origin, so browsers must treat it as data and never as a program.
    sent.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    sent.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    // Only the host knows which credentials work here. With another scheme a browser would ask for a password.
    if status == StatusCode::UNAUTHORIZED {
        sent.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    sent.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
