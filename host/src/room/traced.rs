//! The spans of what leaves a room: calls, requests to servers and posts. Each carries the trace on in its headers. A
//! span has no path and no query of a server, which may hold secrets.
//!
//! A span that is dropped before its answer came was cut off: it says `timeout`.

use crate::model::{Address, Destination, Request};
use crate::telemetry::{Header, Place, Span, SpanKind, Telemetry};

/// A call to another room.
pub(super) fn call(place: &Place, to: &Address, request: &mut Request) -> Span {
    let mut span = place.begin("call", SpanKind::Client);
    to_room(&mut span, to);
    sent(span, request)
}

/// A request to a server, during a turn.
pub(super) fn fetch(place: &Place, origin: &str, request: &mut Request) -> Span {
    let mut span = place.begin("fetch", SpanKind::Client);
    to_server(&mut span, origin, request);
    sent(span, request)
}

/// One try of a post. Its headers name the turn that made it.
pub(super) fn post(telemetry: &Telemetry, to: &Destination, tries: u32, request: &mut Request) -> Span {
    let mut span = telemetry.follow("post", SpanKind::Producer, headers(request));
    match to {
        Destination::Room(to) => to_room(&mut span, to),
        Destination::Origin(origin) => to_server(&mut span, origin, request),
    }
    span.set_number("dormouse.try", tries);
    sent(span, request)
}

/// The answer to a call or a request: its status, or the reason why there is none.
pub(super) fn answered(span: Option<Span>, answer: Result<u16, &'static str>) {
    let Some(mut span) = span else { return };
    match answer {
        Ok(status) => {
            span.set_number("http.response.status_code", status);
            match status {
                400.. => span.fail("status"),
                _ => span.succeed(),
            }
        }
        Err(reason) => span.fail(reason),
    }
}

/// The headers of a request, as spans read them.
pub(super) fn headers(request: &Request) -> impl Iterator<Item = Header<'_>> {
    request.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

fn to_room(span: &mut Span, to: &Address) {
    span.set_text("dormouse.to.namespace", to.namespace());
    span.set_text("dormouse.to.room", to.name());
}

fn to_server(span: &mut Span, origin: &str, request: &Request) {
    // A guest may write a password before the host, which is refused later.
    let (scheme, rest) = origin.split_once("://").unwrap_or_default();
    let host = rest.rsplit('@').next().unwrap_or_default();
    span.set_text("dormouse.to.server", &format!("{scheme}://{host}"));
    span.set_text("http.request.method", &request.method);
}

fn sent(mut span: Span, request: &mut Request) -> Span {
    span.write_to(request);
    span.fail("timeout");
    span
}
