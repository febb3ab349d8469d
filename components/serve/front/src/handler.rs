//! Handles a request: checks its origin and identity, asks the router, and calls the room.

use std::env;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use crate::auth::{self, Origin};
use crate::bindings::dormouse::room::router::{self, Decision, Destination};
use crate::bindings::dormouse::room::types::{Request, Response, User};
use crate::bindings::dormouse::serve::sessions::Error;
use crate::event_stream;
use crate::http::{self, Head};
use crate::response::{HttpResponse, problem};
use crate::rooms::{Failure, Room};

/// The path of the API, unless `--env BASE_PATH=…` sets another one.
const BASE_PATH: &str = "/api/realtime";

/// The value of `accept` by which the router marks a reader of events; other connects are for WebSockets.
const EVENTS: &str = "text/event-stream";

/// Headers of a request that no component sees: credentials.
const CREDENTIAL_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// Headers of a component's answer that are sent to the client: the host's list (`host/src/limits.rs`). Others may
/// affect the whole origin, or a proxy.
const RESPONSE_HEADERS: [&str; 14] = [
    "accept-ranges",
    "allow",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-range",
    "content-type",
    "etag",
    "expires",
    "last-modified",
    "location",
    "retry-after",
    "vary",
];

struct Front;

wasip2::http::proxy::export!(Front);

/// The result of a request.
enum Outcome {
    Response(HttpResponse),
    /// A reader has joined.
    Reader(Room, u64),
}

impl Guest for Front {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let head = http::head(&request);
        let origin = auth::origin(&head.headers, &head.authority);
        let mut common_headers = vec![("vary".to_owned(), "origin".to_owned())];
        if let Origin::Allowed(origin) = &origin {
            common_headers.push(("access-control-allow-origin".into(), origin.clone()));
            common_headers.push(("access-control-allow-credentials".into(), "true".into()));
        }
        match respond(&request, head, &origin).unwrap_or_else(Outcome::Response) {
            Outcome::Response(mut response) => {
                response.headers.extend(common_headers);
                http::send(out, response);
            }
            Outcome::Reader(room, socket) => {
                for (name, value) in
                    [("content-type", EVENTS), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
                {
                    common_headers.push((name.into(), value.into()));
                }
                event_stream::serve(&room, socket, out, &common_headers);
            }
        }
    }
}

fn respond(request: &IncomingRequest, head: Head, origin: &Origin) -> Result<Outcome, HttpResponse> {
    if !auth::is_loopback(&head.authority) {
        let detail = "this server trusts every identity, so it answers only to localhost, 127.0.0.1 and [::1]";
        return Err(problem(403, detail));
    }
    if head.path == "/healthz" {
        let headers = vec![("content-type".into(), "application/json".into())];
        return Ok(Outcome::Response(HttpResponse { status: 200, headers, body: br#"{"status":"ok"}"#.to_vec() }));
    }
    let base = env::var("BASE_PATH").unwrap_or_else(|_| BASE_PATH.into());
    let relative = head.path.strip_prefix(base.trim_end_matches('/')).filter(|path| path.starts_with('/'));
    let Some(path) = relative.map(str::to_owned) else { return Err(problem(404, "nothing here")) };
    if head.method == "OPTIONS" {
        return preflight(origin).map(Outcome::Response);
    }
    // CSRF: a foreign page could send a POST under any name without reading the answer, so foreign origins are refused.
    if *origin == Origin::Foreign {
        return Err(problem(403, "this origin is not allowed"));
    }
    let user = auth::identify(&head.headers, &head.query, origin)
        .map_err(|detail| problem(401, &detail).with("www-authenticate", "Bearer"))?;
    if path == "/tickets" {
        return Err(problem(404, "tickets need Dormouse itself: this server has none"));
    }
    let user = user.map(|(id, name)| User { id, name });
    let body = http::body(request)?;
    let headers = head.headers.into_iter().filter(|(name, _)| !CREDENTIAL_HEADERS.contains(&name.as_str())).collect();
    let query = auth::without_credentials(&head.query);
    // A HEAD is a GET to components; wasmtime leaves the body out.
    let is_head = head.method == "HEAD";
    let method = if is_head { "GET".to_owned() } else { head.method };
    let request = Request { method, path, query, headers, body, user };
    match router::route(&request) {
        Decision::Respond(response) => Ok(Outcome::Response(from_component(response))),
        Decision::Request(to) => {
            let result = room(&to)?.request(&to.request);
            result.map(|response| Outcome::Response(from_component(response))).map_err(failure_response)
        }
        Decision::Connect(to) => connect(&to, origin, is_head),
    }
}

fn connect(to: &Destination, origin: &Origin, is_head: bool) -> Result<Outcome, HttpResponse> {
    if auth::header(&to.request.headers, "accept") != Some(EVENTS) {
        let detail =
            "wasmtime serve has no WebSockets, Dormouse itself has: read …/events instead, and POST your messages";
        return Err(problem(426, detail));
    }
    if *origin == Origin::Foreign {
        return Err(problem(403, "this origin may not read here"));
    }
    let Some(user) = &to.request.user else {
        return Err(problem(401, "a reader needs an identity").with("www-authenticate", "Bearer"));
    };
    // A HEAD reads no events, so it must not join.
    if is_head {
        let response = HttpResponse { status: 200, headers: Vec::new(), body: Vec::new() };
        return Ok(Outcome::Response(response.with("content-type", EVENTS).with("cache-control", "no-store")));
    }
    let room = room(to)?;
    let socket = room.connect(&to.request, user).map_err(failure_response)?;
    Ok(Outcome::Reader(room, socket))
}

fn room(to: &Destination) -> Result<Room, HttpResponse> {
    Room::new(&to.namespace, &to.name).ok_or_else(|| problem(500, "the router names a namespace that is not here"))
}

fn failure_response(failure: Failure) -> HttpResponse {
    match failure {
        Failure::Session(Error::Busy) => {
            problem(503, "the room was busy for too long; the request may still take effect").with("retry-after", "1")
        }
        Failure::Session(Error::Disk(problem_text)) => {
            eprintln!("{problem_text}");
            problem(503, "the room cannot be read or written; the log says why")
        }
        Failure::Refused(status, reason) => problem(if (400..600).contains(&status) { status } else { 500 }, &reason),
        Failure::Turn => problem(500, "the room failed"),
    }
}

fn preflight(origin: &Origin) -> Result<HttpResponse, HttpResponse> {
    if *origin == Origin::Foreign {
        return Err(problem(403, "this origin is not allowed"));
    }
    Ok(HttpResponse { status: 204, headers: Vec::new(), body: Vec::new() }
        .with("access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE")
        .with("access-control-allow-headers", "authorization, content-type, idempotency-key, last-event-id")
        .with("access-control-max-age", "600"))
}

/// The answer of a component, without the headers that it may not set.
fn from_component(response: Response) -> HttpResponse {
    let Response { status, headers, body } = response;
    if !(200..600).contains(&status) {
        return problem(500, "the answer cannot be sent");
    }
    let headers = headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let mut headers = headers.filter(|(name, _)| RESPONSE_HEADERS.contains(&name.as_str())).collect::<Vec<_>>();
    if status == 405 {
        complete_allow(&mut headers);
    }
    if status == 401 {
        headers.push(("www-authenticate".into(), "Bearer".into()));
    }
    if auth::header(&headers, "cache-control").is_none() {
        headers.push(("cache-control".into(), "no-store".into()));
    }
    HttpResponse { status, headers, body }
        .with("content-security-policy", "default-src 'none'; sandbox")
        .with("x-content-type-options", "nosniff")
}

/// Adds HEAD (where GET is allowed) and OPTIONS to `allow`: both are answered here, so no component lists them.
fn complete_allow(headers: &mut [(String, String)]) {
    let Some((_, allow)) = headers.iter_mut().find(|(name, _)| name == "allow") else { return };
    *allow = format!("{}, OPTIONS", allow.replace("GET", "GET, HEAD"));
}
