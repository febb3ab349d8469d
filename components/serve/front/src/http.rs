//! Reads requests and sends answers with `wasi:http`.

use wasip2::clocks::monotonic_clock::{self, Duration};
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::poll::{self, Pollable};
use wasip2::io::streams::{OutputStream, StreamError};

use crate::response::{HttpResponse, problem};

/// The longest body, in bytes.
const BODY_BYTES: usize = 1 << 20;

/// The time in which a body must arrive.
const BODY_TIMEOUT_NS: Duration = 30_000_000_000;

/// The most bytes that are read or written at once.
const CHUNK_BYTES: u64 = 64 * 1024;

/// The head of a request.
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) authority: String,
}

pub(crate) fn head(request: &IncomingRequest) -> Head {
    let method = match request.method() {
        Method::Get => "GET".to_owned(),
        Method::Head => "HEAD".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Put => "PUT".to_owned(),
        Method::Delete => "DELETE".to_owned(),
        Method::Connect => "CONNECT".to_owned(),
        Method::Options => "OPTIONS".to_owned(),
        Method::Trace => "TRACE".to_owned(),
        Method::Patch => "PATCH".to_owned(),
        Method::Other(method) => method,
    };
    let target = request.path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let headers = request.headers().entries().into_iter();
    // UTF-8, else Latin-1, the old encoding of HTTP: one odd byte must not hide a header.
    let text = |value: Vec<u8>| {
        String::from_utf8(value).unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect())
    };
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), text(value)));
    Head {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers.collect(),
        authority: request.authority().unwrap_or_default(),
    }
}

/// Reads the complete body of a request.
pub(crate) fn body(request: &IncomingRequest) -> Result<Vec<u8>, HttpResponse> {
    let broken = || problem(400, "the body broke off");
    let incoming: IncomingBody = request.consume().map_err(|()| broken())?;
    let stream = incoming.stream().map_err(|()| broken())?;
    let deadline = monotonic_clock::subscribe_duration(BODY_TIMEOUT_NS);
    let more = stream.subscribe();
    let mut body = Vec::new();
    loop {
        match stream.read(CHUNK_BYTES) {
            Ok(chunk) if chunk.is_empty() => {
                poll::poll(&[&more, &deadline]);
                if deadline.ready() {
                    return Err(problem(408, "the body did not arrive in time"));
                }
            }
            Ok(chunk) => body.extend(chunk),
            Err(StreamError::Closed) => return Ok(body),
            Err(StreamError::LastOperationFailed(_)) => return Err(broken()),
        }
        if body.len() > BODY_BYTES {
            return Err(problem(413, "the body is too large"));
        }
    }
}

/// Sends a response. Errors are ignored: the client has disconnected.
pub(crate) fn send(out: ResponseOutparam, response: HttpResponse) {
    let length = response.body.len().to_string();
    let response = response.with("content-length", &length);
    let Some(outgoing) = send_head(out, response.status, &response.headers) else { return };
    let Ok(stream) = outgoing.write() else { return };
    // The limit of `blocking_write_and_flush`.
    for chunk in response.body.chunks(4096) {
        if stream.blocking_write_and_flush(chunk).is_err() {
            break;
        }
    }
    drop(stream);
    let _ = OutgoingBody::finish(outgoing, None);
}

/// A stream of events.
pub(crate) struct EventStream {
    // In this order: a stream must be dropped before its body.
    stream: OutputStream,
    body: OutgoingBody,
}

/// The result of a write.
pub(crate) enum WriteResult {
    /// This many bytes were accepted.
    Accepted(usize),
    /// The client has disconnected.
    Closed,
}

impl EventStream {
    pub(crate) fn open(out: ResponseOutparam, headers: &[(String, String)]) -> Option<Self> {
        let body = send_head(out, 200, headers)?;
        let stream = body.write().ok()?;
        Some(EventStream { stream, body })
    }

    /// Writes as much as the stream accepts without waiting.
    pub(crate) fn write(&self, bytes: &[u8]) -> WriteResult {
        let Ok(space) = self.stream.check_write() else { return WriteResult::Closed };
        let fits = bytes.len().min(space.min(CHUNK_BYTES) as usize);
        if fits == 0 {
            return WriteResult::Accepted(0);
        }
        match self.stream.write(&bytes[..fits]).and_then(|()| self.stream.flush()) {
            Ok(()) => WriteResult::Accepted(fits),
            Err(_) => WriteResult::Closed,
        }
    }

    /// Waits for a time, or, if `until_writable`, until the stream accepts bytes.
    pub(crate) fn wait(&self, time: Duration, until_writable: bool) {
        let time = monotonic_clock::subscribe_duration(time);
        let space: Option<Pollable> = until_writable.then(|| self.stream.subscribe());
        match &space {
            Some(space) => drop(poll::poll(&[&time, space])),
            None => time.block(),
        }
    }

    pub(crate) fn finish(self) {
        drop(self.stream);
        let _ = OutgoingBody::finish(self.body, None);
    }
}

fn send_head(out: ResponseOutparam, status: u16, headers: &[(String, String)]) -> Option<OutgoingBody> {
    let fields = Fields::new();
    for (name, value) in headers {
        // This fails for headers that HTTP does not allow, and for those that wasi:http sets itself, such as
        // `connection`.
        let _ = fields.append(name, value.as_bytes());
    }
    let response = OutgoingResponse::new(fields);
    let _ = response.set_status_code(status);
    let body = response.body().ok();
    ResponseOutparam::set(out, Ok(response));
    body
}
