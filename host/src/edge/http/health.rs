//! `/healthz`: whether rooms can write. `/readyz`: whether a load balancer should send new clients here.

use hyper::{Response, StatusCode};
use serde_json::json;

use crate::edge::Edge;
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::problem::problem;

/// Tells whether the host can serve its rooms.
pub(in crate::edge) fn health(edge: &Edge) -> Response<Body> {
    match edge.rooms.health() {
        Ok(()) => json_response(&json!({ "status": "ok", "roomsRunning": edge.rooms.running() })),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

/// Tells whether the host accepts new clients and requests.
pub(in crate::edge) fn readiness(edge: &Edge) -> Response<Body> {
    match edge.ready() {
        Ok(()) => json_response(&json!({ "status": "ready" })),
        Err(reason) => problem(StatusCode::SERVICE_UNAVAILABLE, &reason.to_string()),
    }
}
