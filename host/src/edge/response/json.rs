//! Small answers in JSON.

use hyper::Response;
use hyper::header::{self, HeaderValue};

use super::body::Body;

pub(in crate::edge) fn json_response(value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::whole(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
