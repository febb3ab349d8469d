//! `wasi:http/outgoing-handler`: requests to servers. wasmtime-wasi-http turns the resources of the guest into one HTTP
//! request. From there it is handled like a call to a room: complete, bounded, and only after the earlier commits are
//! durable.

use std::future::Future;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use crate::clock;
use crate::guest::LogLimiter;
use crate::guest::log_context::LogContext;
use crate::guest::outbound::{CallBudget, NoMoreCalls};
use crate::guest::state::StoreData;
use crate::limits;
use crate::model::{self, StorageFailed};
use crate::outbound::FetchError;

/// Most buffered bytes of a body. It is small, because a room may begin many bodies that are never read.
const AHEAD_BYTES: usize = 64 << 10;

/// Most bytes of header names and values of one request or answer: as many as the host accepts of a client.
const FIELDS_BYTES: usize = 32 << 10;

/// The result that wasmtime-wasi-http expects: an answer, and a future that drives its connection.
type Sent = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl WasiHttpView for StoreData {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.call_budget.log_context = self.log_context();
        self.wasi();
        let wasi = self.wasi.as_mut().expect("made above");
        let http = self.http.get_or_insert_with(|| {
            let mut http = WasiHttpCtx::new();
            http.set_field_size_limit(FIELDS_BYTES);
            http
        });
        WasiHttpCtxView { hooks: &mut self.call_budget, table: &mut wasi.table, ctx: http }
    }
}

impl WasiHttpHooks for CallBudget {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let until = self.calls.take(&self.limits);
        let (outbound, after, answers) = (self.outbound.clone(), self.after, self.answers.clone());
        let (log_limiter, log_context) = (self.log_limiter.clone(), self.log_context.clone());
        Box::new(async move {
            let until = until.map_err(|NoMoreCalls| Error::ConnectionLimitReached)?;
            let outbound = outbound.ok_or(Error::HttpRequestDenied)?;
            if !outbound.may_wait() {
                return Err(Error::ConnectionLimitReached);
            }
            // The request is complete when the room has finished its body, which may never happen.
            let complete_body = clock::timeout_at(until, from_wasi(request));
            let (origin, request) = complete_body.await.map_err(|_| Error::ConnectionWriteTimeout)??;
            let space = clock::timeout_at(until, answers.acquire_many_owned(limits::RESPONSE_BYTES as u32));
            let space = space.await.map_err(|_| Error::ConnectionLimitReached)?.expect("it is never closed");
            // The storage of the room failed. The turn will be lost with its commit, whatever it gets here.
            let failed = |error: StorageFailed| Error::InternalError(Some(error.to_string()));
            let result = outbound.fetch(after, until, origin, request).await.map_err(failed)?;
            let response = to_wasi(result.map_err(|error| error_to_wasi(error, &log_limiter, &log_context))?, space)?;
            let no_io: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(async { Ok(()) });
            Ok((response, no_io))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        AHEAD_BYTES
    }
}

/// The origin of a request, and the request as plain data.
async fn from_wasi(request: Request<WasiBody>) -> Result<(String, model::Request), Error> {
    let (parts, body) = request.into_parts();
    let (Some(scheme), Some(authority)) = (parts.uri.scheme_str(), parts.uri.authority()) else {
        return Err(Error::HttpRequestUriInvalid);
    };
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), model::header_text(value.as_bytes()).into_owned())
    };
    let request = model::Request {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: parts.headers.iter().map(text).collect(),
        body: complete_body(body).await?.into(),
        user: None,
        access: model::UserAccess::default(),
    };
    Ok((format!("{scheme}://{authority}"), request))
}

/// The body of an answer. Its space is released when the last part of it is dropped.
struct BodyWithSpace {
    body: Vec<u8>,
    _space: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for BodyWithSpace {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// `space` was reserved for the longest answer.
fn to_wasi(response: model::Response, mut space: OwnedSemaphorePermit) -> Result<Response<WasiBody>, Error> {
    let mut builder = Response::builder().status(response.status);
    for (name, value) in &response.headers {
        builder = builder.header(name, value);
    }
    let body = BodyWithSpace { _space: space.split(response.body.len()), body: response.body };
    let body = Full::new(Bytes::from_owner(body)).map_err(|never| match never {}).boxed_unsync();
    builder.body(body).map_err(|error| Error::InternalError(Some(error.to_string())))
}

async fn complete_body(body: WasiBody) -> Result<Bytes, Error> {
    match Limited::new(body, limits::CALL_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Error::HttpRequestBodySize(Some(limits::CALL_BYTES as u64)))
        }
        Err(error) => Err(Error::InternalError(Some(error.to_string()))),
    }
}

fn error_to_wasi(error: FetchError, log_limiter: &LogLimiter, about: &LogContext) -> Error {
    // The room learns only the kind of failure. The operator, who may have to act, gets the details.
    if log_limiter.take() {
        let (turn, user) = (about.turn, about.user());
        tracing::info!(target: "room", turn, user, %error, "a request to a server got no answer");
    }
    match error {
        FetchError::Denied(_) => Error::HttpRequestDenied,
        FetchError::Private(_) => Error::DestinationIpProhibited,
        FetchError::Bad(_) => Error::HttpRequestUriInvalid,
        FetchError::Unknown(_) => Error::DestinationNotFound,
        FetchError::Unreachable(..) => Error::ConnectionRefused,
        FetchError::Tls(..) => Error::TlsCertificateError,
        FetchError::Http(_) => Error::HttpProtocolError,
        FetchError::Body(_) => Error::HttpResponseIncomplete,
        FetchError::TooLarge => Error::HttpResponseBodySize(Some(limits::RESPONSE_BYTES as u64)),
        FetchError::Timeout => Error::HttpResponseTimeout,
    }
}

/// Links the imports of a connected room for requests to servers.
pub(in crate::guest) fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}
