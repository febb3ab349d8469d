//! The rights of pages of other origins: preflights, and the headers of each answer (CORS).
//!
//! `admission::origin` decides which origins are allowed.

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use crate::edge::admission::origin::Origin;
use crate::edge::headers::ResponseHeaders;
use crate::edge::response::body::Body;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::Refusal;

/// Answers a browser that asks whether a page may send a request.
pub(super) fn preflight(origin: &Origin) -> Result<Response<Body>, Refusal> {
    if *origin == Origin::Foreign {
        return Err(problem(StatusCode::FORBIDDEN, "this origin is not allowed").into());
    }
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, idempotency-key"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    Ok(response)
}

/// Lets a page of an allowed origin read an answer.
pub(super) fn allow(origin: &Origin, readable: &ResponseHeaders, headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    // A component may have decided, if the operator lets it.
    if let Origin::Allowed(origin) = origin
        && !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
        && let Ok(origin) = HeaderValue::from_str(origin)
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, readable.exposed());
    }
}
