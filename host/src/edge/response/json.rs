//! Small answers in JSON, and the answer to a HEAD request.

use hyper::Response;
use hyper::header::{self, HeaderValue};

use super::body::Body;

pub(in crate::edge) fn json_response(value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::whole(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
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
