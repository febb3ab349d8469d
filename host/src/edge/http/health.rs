//! `/healthz`: whether writes are possible.

use hyper::{Response, StatusCode};
use serde_json::json;

use crate::edge::Edge;
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::problem::problem;

/// Tells whether the host can serve its rooms.
pub(in crate::edge) fn answer(edge: &Edge) -> Response<Body> {
    match edge.rooms.health() {
        Ok(()) => json_response(&json!({ "status": "ok", "roomsRunning": edge.rooms.running() })),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}
