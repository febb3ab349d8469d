//! Requests to servers, answered during the turn, over `wasi:http`. The operator must allow them, with `outbound` of
//! the namespace. This module needs the feature `web` of this crate.
//!
//! The effects on the server stay, even if this turn fails. Use [`outbox`](crate::outbox) for requests that must not be
//! lost.
//!
//! ```no_run
//! # use dormouse_room::{Request, Result, web};
//! # fn event() -> Result<()> {
//! let answer = web::fetch("https://api.example", Request::get("/weather?city=Lund"))?;
//! # Ok(())
//! # }
//! ```

use std::fmt;

use wasip2::http::outgoing_handler;
use wasip2::http::types::{ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

use crate::{Request, Response};

/// Bytes of a body written at once: the limit of `blocking_write_and_flush`.
const CHUNK_BYTES: usize = 4_096;
/// Bytes of a body read at once.
const READ_BYTES: u64 = 64 << 10;

/// Why there is no answer.
#[derive(Debug)]
pub enum FetchError {
    /// HTTP does not allow this request. The room's author must act.
    BadRequest(&'static str),
    /// The host's error. After `HttpRequestDenied` and `DestinationIpProhibited` the operator must allow the request.
    Http(ErrorCode),
}

/// Sends a request to a server, by scheme and authority such as `https://api.example`, and waits for the whole answer.
/// This room's other events wait meanwhile. Redirects are not followed. Only the host may set the headers
/// `dormouse-caller` and `idempotency-key`: it removes them here, and adds them to posts.
///
/// Fails: [`FetchError`] says why. An answer is not an error, whatever its status.
/// Limit: body 1 MiB out, 16 MiB back.
pub fn fetch(origin: &str, request: Request) -> Result<Response, FetchError> {
    let (outgoing, body) = outgoing(origin, request)?;
    let stream = outgoing.body().map_err(|()| FetchError::BadRequest("it has no body"))?;
    let answer = outgoing_handler::handle(outgoing, None).map_err(FetchError::Http)?;
    write(stream, &body)?;
    answer.subscribe().block();
    match answer.get() {
        Some(Ok(Ok(response))) => read_response(response),
        Some(Ok(Err(error))) => Err(FetchError::Http(error)),
        _ => Err(FetchError::Http(ErrorCode::InternalError(None))),
    }
}

fn outgoing(origin: &str, request: Request) -> Result<(OutgoingRequest, Vec<u8>), FetchError> {
    let bad = FetchError::BadRequest;
    let (scheme, authority) = origin.split_once("://").ok_or(bad("its origin has no scheme"))?;
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        other => Scheme::Other(other.into()),
    };
    let headers = request.headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect::<Vec<_>>();
    let headers = Fields::from_list(&headers).map_err(|_| bad("it has a header that HTTP does not allow"))?;
    let path = request.query.map_or(request.path.clone(), |query| format!("{}?{query}", request.path));
    let outgoing = OutgoingRequest::new(headers);
    let set = outgoing
        .set_method(&method(&request.method))
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(authority.trim_end_matches('/'))))
        .and_then(|()| outgoing.set_path_with_query(Some(&path)));
    set.map_err(|()| bad("HTTP does not allow its method, origin or path"))?;
    Ok((outgoing, request.body))
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.into()),
    }
}

fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), FetchError> {
    let broken = |_| FetchError::Http(ErrorCode::ConnectionTerminated);
    if !bytes.is_empty() {
        let stream = body.write().map_err(|()| FetchError::BadRequest("it has no body"))?;
        for chunk in bytes.chunks(CHUNK_BYTES) {
            stream.blocking_write_and_flush(chunk).map_err(broken)?;
        }
    }
    OutgoingBody::finish(body, None).map_err(FetchError::Http)
}

fn read_response(response: IncomingResponse) -> Result<Response, FetchError> {
    let text = |(name, value): (String, Vec<u8>)| Some((name.to_ascii_lowercase(), String::from_utf8(value).ok()?));
    let headers = response.headers().entries().into_iter().filter_map(text).collect();
    let status = response.status();
    let internal_error = |()| FetchError::Http(ErrorCode::InternalError(None));
    let incoming = response.consume().map_err(internal_error)?;
    let stream = incoming.stream().map_err(internal_error)?;
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(bytes) => body.extend(bytes),
            Err(StreamError::Closed) => return Ok(Response { status, headers, body }),
            Err(StreamError::LastOperationFailed(_)) => {
                return Err(FetchError::Http(ErrorCode::HttpResponseIncomplete));
            }
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::BadRequest(problem) => write!(f, "the request cannot be sent: {problem}"),
            FetchError::Http(error) => write!(f, "no answer: {error}"),
        }
    }
}

impl std::error::Error for FetchError {}
