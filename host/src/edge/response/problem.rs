//! Errors over HTTP: `application/problem+json` of RFC 9457.
//!
//! `http`, `upgrade` and `admin` answer with it. It knows no rooms.

use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::body::Body;

/// An error answer.
pub(in crate::edge) fn problem(status: StatusCode, detail: &str) -> Response<Body> {
    problem_naming(status, detail, &[])
}

/// An error answer with further members.
pub(in crate::edge) fn problem_naming(status: StatusCode, detail: &str, members: &[(&str, &str)]) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Error");
    let mut body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    for (name, value) in members {
        body[*name] = (*value).into();
    }
    let mut response = Response::new(Body::whole(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// An error answer with one more header.
pub(in crate::edge) fn problem_with(
    status: StatusCode,
    detail: &str,
    header: HeaderName,
    value: &'static str,
) -> Response<Body> {
    let mut response = problem(status, detail);
    response.headers_mut().insert(header, HeaderValue::from_static(value));
    response
}
