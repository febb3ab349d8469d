//! The span of a request: from the moment when its address has paid for it until it is answered. Without `[telemetry]`
//! each function is a look at an `Option`.
//!
//! A span has neither path nor query: they may hold tokens, and what a room has in its paths is not known here.

use hyper::{Method, Request, StatusCode};

use crate::edge::Edge;
use crate::edge::identity::verified::Verified;
use crate::model::{self, Address};
use crate::telemetry::Span;

/// Begins the span of a request.
pub(super) fn begin(edge: &Edge, request: &Request<()>, is_from_proxy: bool, span: &mut Option<Span>) {
    let Some(telemetry) = edge.rooms.telemetry() else { return };
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let method = method(request.method());
    let span = span.insert(telemetry.serve(method, headers, is_from_proxy));
    span.set_word("http.request.method", method);
}

/// The user is known.
pub(super) fn user(span: &mut Option<Span>, verified: Option<&Verified>) {
    if let (Some(span), Some(verified)) = (span, verified) {
        span.set_text("user.id", &verified.room_user().id);
    }
}

/// The router has chosen the room, and has written the request for it. The trace goes on in its headers.
pub(super) fn enter_room(span: &mut Option<Span>, address: &Address, request: &mut model::Request) {
    let Some(span) = span else { return };
    span.add_to_name(address.namespace());
    span.set_text("dormouse.namespace", address.namespace());
    span.set_text("dormouse.room", address.name());
    span.write_to(request);
}

/// The request is answered.
pub(super) fn end(span: Option<Span>, status: StatusCode) {
    let Some(mut span) = span else { return };
    span.set_number("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.fail("status");
    }
}

/// The method; another word if it is none of the usual ones, because clients may invent any number of them.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}
