//! Requests to servers, over `wasi:http`. Only a component whose bundle asks for `outbound` has them.

use rquickjs::{Ctx, Exception, IntoJs, Object};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

use super::functions;
use crate::bindings::dormouse::room::types::{Request, Response};
use crate::convert::Text;
use crate::engine::Engine;

/// Bytes of a body written at once: the limit of `blocking_write_and_flush`.
const CHUNK_BYTES: usize = 4_096;
/// Bytes of a body read at once.
const READ_BYTES: u64 = 64 << 10;

pub(super) fn install<'js>(object: &Object<'js>) -> rquickjs::Result<()> {
    functions!(object, ctx;
        turn "fetch"(origin: Text, request: Request) => {
            asked_for(&ctx)?;
            match fetch(&origin.0, request) {
                Ok(response) => response.into_js(&ctx),
                Err(problem) => problem.into_js(&ctx),
            }
        };
    );
    Ok(())
}

/// Fails in a component that does not import `wasi:http`.
fn asked_for(ctx: &Ctx<'_>) -> rquickjs::Result<()> {
    if Engine::with(|engine| engine.hooks().outbound) {
        return Ok(());
    }
    let text = "this component reaches no servers: register its hooks with `outbound: true`";
    Err(Exception::throw_message(ctx, text))
}

/// Sends a request, and waits for the whole answer.
fn fetch(origin: &str, request: Request) -> Result<Response, String> {
    let bad = |what: &str| format!("the request cannot be sent: {what}");
    let (scheme, authority) = origin.split_once("://").ok_or_else(|| bad("its origin has no scheme"))?;
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return Err(bad("only http and https are known")),
    };
    let headers = request.headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect::<Vec<_>>();
    let headers = Fields::from_list(&headers).map_err(|_| bad("it has a header that HTTP does not allow"))?;
    let path = request.query.map_or(request.path.clone(), |query| format!("{}?{query}", request.path));
    let outgoing = OutgoingRequest::new(headers);
    let set = outgoing
        .set_method(&method(&request.method))
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(&path)));
    set.map_err(|()| bad("HTTP does not allow its method, origin or path"))?;
    let body = outgoing.body().map_err(|()| bad("it has no body"))?;
    let answer = outgoing_handler::handle(outgoing, None).map_err(|error| explain(&error))?;
    write(body, &request.body)?;
    answer.subscribe().block();
    match answer.get() {
        Some(Ok(Ok(response))) => read(response),
        Some(Ok(Err(error))) => Err(explain(&error)),
        _ => Err("the host gave no answer".to_owned()),
    }
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

fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), String> {
    if !bytes.is_empty() {
        let stream = body.write().map_err(|()| "the request has no body".to_owned())?;
        for chunk in bytes.chunks(CHUNK_BYTES) {
            stream.blocking_write_and_flush(chunk).map_err(|_| "the body was not taken".to_owned())?;
        }
    }
    OutgoingBody::finish(body, None).map_err(|error| explain(&error))
}

fn read(response: IncomingResponse) -> Result<Response, String> {
    let text = |(name, value): (String, Vec<u8>)| Some((name.to_ascii_lowercase(), String::from_utf8(value).ok()?));
    let headers = response.headers().entries().into_iter().filter_map(text).collect();
    let status = response.status();
    let lost = "the answer has no body";
    let incoming = response.consume().map_err(|()| lost)?;
    let stream = incoming.stream().map_err(|()| lost)?;
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(bytes) => body.extend(bytes),
            Err(StreamError::Closed) => return Ok(Response { status, headers, body }),
            Err(StreamError::LastOperationFailed(_)) => return Err("the answer is not complete".to_owned()),
        }
    }
}

/// The error for the author. The operator must act after the first two.
fn explain(error: &ErrorCode) -> String {
    match error {
        ErrorCode::HttpRequestDenied => {
            "denied: the operator does not allow it; name the origin in `outbound` of the namespace".to_owned()
        }
        ErrorCode::DestinationIpProhibited => {
            "denied: its address is private; the operator allows such origins in `outbound_private` of the namespace"
                .to_owned()
        }
        ErrorCode::ConnectionLimitReached => {
            "this turn has made as many calls as a turn may, or too many turns wait for answers".to_owned()
        }
        ErrorCode::HttpRequestBodySize(_) => "the body has more than 1 MiB".to_owned(),
        ErrorCode::HttpResponseBodySize(_) => "the answer is too large".to_owned(),
        ErrorCode::HttpResponseTimeout | ErrorCode::ConnectionTimeout => "no answer came in time".to_owned(),
        ErrorCode::DestinationNotFound => "the name has no address".to_owned(),
        ErrorCode::ConnectionRefused => "the server cannot be reached".to_owned(),
        other => format!("{other:?}"),
    }
}
