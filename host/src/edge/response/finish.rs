//! The last changes to every answer: its date, and no body for a HEAD.

use std::time::{Duration, UNIX_EPOCH};

use hyper::Response;
use hyper::header::{self, HeaderValue};

use super::body::Body;
use crate::clock;

/// Sets the `date` header. hyper would set it from a cache, which stands still after the system clock was set back.
pub(in crate::edge) fn dated(mut response: Response<Body>) -> Response<Body> {
    let now = UNIX_EPOCH + Duration::from_millis(clock::unix_millis());
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now)) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// Makes the answer to a HEAD from the answer to a GET. hyper would send the body over HTTP/2.
pub(in crate::edge) fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length @ 1..) = body.len() {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::default())
}
