//! Requests to other servers: whole requests and whole answers, only where the operator allows. It knows no rooms and no
//! wasm; `room` calls it for posts and for requests during a turn, and `telemetry` for spans.
//!
//! [`Allowed`] knows the allowed origins, and `address` which addresses are public. A name is resolved once, and only
//! checked addresses are connected to, so a later DNS answer cannot redirect the request (DNS rebinding).

mod address;
mod allowed;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::file_problem::pem_problem;
use crate::{clock, limits, model};

pub use allowed::{Allowed, BadOrigin, OriginPattern};

/// Request headers that belong to the connection; the host sets them.
const OURS: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The client for requests of rooms. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    tls: Arc<ClientConfig>,
}

/// The operator's own certificate authorities cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("outbound_ca: {path} cannot be trusted: {problem}; name a file with certificates in PEM")]
pub struct BadAuthorities {
    path: PathBuf,
    problem: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The operator does not allow this origin.
    #[error("{0} is not allowed; the operator allows origins in `outbound` of the namespace")]
    Denied(String),
    /// The name has only private addresses.
    #[error("{0} has no public address; the operator allows private ones in `outbound_private` of the namespace")]
    Private(String),
    /// The request cannot be sent. The room's author must act.
    #[error("the request cannot be sent: {0}")]
    Bad(&'static str),
    /// The name has no address.
    #[error("{0} has no address")]
    Unknown(String),
    /// No server answers at its addresses.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, io::Error),
    /// The server has no valid certificate, or does not speak TLS.
    #[error("{0} cannot be trusted: {1}")]
    Tls(String, io::Error),
    /// The connection failed, or the server does not speak HTTP.
    #[error("the connection failed: {0}")]
    Http(#[from] hyper::Error),
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Body(String),
    /// The answer is longer than the limit.
    #[error("the answer is longer than the limit")]
    TooLarge,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
}

impl FetchError {
    /// The reason in one word, for spans.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            FetchError::Denied(_) => "denied",
            FetchError::Private(_) => "private",
            FetchError::Bad(_) => "bad_request",
            FetchError::Unknown(_) => "no_address",
            FetchError::Unreachable(..) => "unreachable",
            FetchError::Tls(..) => "tls",
            FetchError::Http(_) => "connection",
            FetchError::Body(_) => "incomplete",
            FetchError::TooLarge => "too_large",
            FetchError::Timeout => "timeout",
        }
    }
}

impl HttpClient {
    /// Makes a client that trusts the authorities of browsers and those in the file `authorities`.
    pub fn new(authorities: Option<&Path>) -> Result<Self, BadAuthorities> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        if let Some(path) = authorities {
            let bad = |problem: String| BadAuthorities { path: path.into(), problem };
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let certificates = read.map_err(|error| bad(pem_problem(error, "certificate")))?;
            if certificates.is_empty() {
                return Err(bad(pem_problem(pem::Error::NoItemsFound, "certificate")));
            }
            for (index, certificate) in certificates.into_iter().enumerate() {
                let refuse = |error: rustls::Error| bad(format!("its certificate {} is damaged: {error}", index + 1));
                roots.add(certificate).map_err(refuse)?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows the versions that are on by default")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(HttpClient { tls: Arc::new(tls) })
    }

    /// Sends a request to an origin such as `https://api.example`, and waits for the whole answer. Redirects are not
    /// followed, and headers that are not UTF-8 are read as Latin-1.
    pub async fn fetch(
        &self,
        allowed: &Allowed,
        origin: &str,
        request: model::Request,
        within: Duration,
    ) -> Result<model::Response, FetchError> {
        self.fetch_up_to(allowed, origin, request, within, limits::RESPONSE_BYTES).await
    }

    /// The same with an answer of at most `max_bytes`.
    pub async fn fetch_up_to(
        &self,
        allowed: &Allowed,
        origin: &str,
        request: model::Request,
        within: Duration,
        max_bytes: usize,
    ) -> Result<model::Response, FetchError> {
        let fetched = clock::timeout(within, self.fetch_once(allowed, origin, request, max_bytes)).await;
        let (parts, body) = fetched.unwrap_or(Err(FetchError::Timeout))?.into_parts();
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), model::header_text(value.as_bytes()).into_owned())
        };
        let headers = parts.headers.iter().map(text).collect();
        Ok(model::Response { status: parts.status.as_u16(), headers, body: body.into() })
    }

    async fn fetch_once(
        &self,
        allowed: &Allowed,
        origin: &str,
        request: model::Request,
        max_bytes: usize,
    ) -> Result<Response<Bytes>, FetchError> {
        let request = to_http(origin, request)?;
        let target = Target::of(request.uri())?;
        let may_be_private = match allowed.reach(&target.origin()) {
            Some(reach) => reach == allowed::AddressScope::Anywhere,
            None => return Err(FetchError::Denied(target.origin())),
        };
        let stream = connect(&target, may_be_private).await?;
        if target.tls {
            let name = ServerName::try_from(target.host.clone())
                .map_err(|_| FetchError::Bad("its host cannot be the name of a certificate"))?;
            let connected = TlsConnector::from(self.tls.clone()).connect(name, stream).await;
            let stream = connected.map_err(|error| FetchError::Tls(target.origin(), error))?;
            exchange(stream, &target, request, max_bytes).await
        } else {
            exchange(stream, &target, request, max_bytes).await
        }
    }
}

fn to_http(origin: &str, request: model::Request) -> Result<Request<Bytes>, FetchError> {
    let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
    let uri = format!("{}{}{query}", origin.trim_end_matches('/'), request.path);
    let mut builder = Request::builder().method(request.method.as_str()).uri(uri);
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    builder.body(request.body.into()).map_err(|_| FetchError::Bad("its method, path or headers are not valid in HTTP"))
}

/// Where a request goes.
struct Target {
    tls: bool,
    host: String,
    port: u16,
}

impl Target {
    fn of(uri: &Uri) -> Result<Self, FetchError> {
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(FetchError::Bad("its scheme is neither http nor https")),
        };
        let authority = uri.authority().ok_or(FetchError::Bad("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(FetchError::Bad("its address holds a password; send a header instead"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Target { tls, host, port })
    }

    fn origin(&self) -> String {
        allowed::origin(self.tls, &self.host, self.port)
    }

    /// The value of the header `host`: with the port only if it is not the scheme's default.
    fn authority(&self) -> String {
        let origin = self.origin();
        origin.split_once("://").map_or(origin.clone(), |(_, authority)| authority.to_owned())
    }
}

/// Connects to the first address of the name that is allowed and answers.
async fn connect(target: &Target, may_be_private: bool) -> Result<TcpStream, FetchError> {
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
    let found = found.map_err(|_| FetchError::Unknown(target.host.clone()))?.collect::<Vec<SocketAddr>>();
    let may = |address: &&SocketAddr| may_be_private || address::is_public(address.ip());
    let reachable = found.iter().filter(may).collect::<Vec<_>>();
    let mut last = match found.is_empty() {
        true => FetchError::Unknown(target.host.clone()),
        false => FetchError::Private(target.host.clone()),
    };
    for address in reachable {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = FetchError::Unreachable(target.origin(), error),
        }
    }
    Err(last)
}

async fn exchange<S>(
    stream: S,
    target: &Target,
    request: Request<Bytes>,
    max_bytes: usize,
) -> Result<Response<Bytes>, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let (mut parts, body) = request.into_parts();
    for name in OURS {
        parts.headers.remove(HeaderName::from_static(name));
    }
    let host = HeaderValue::try_from(target.authority())
        .map_err(|_| FetchError::Bad("its host cannot be a header's value"))?;
    parts.headers.insert(header::HOST, host);
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse().map_err(|_| FetchError::Bad("its path is not valid"))?;
    let exchanged = async {
        let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, max_bytes).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { FetchError::TooLarge } else { FetchError::Body(error.to_string()) }
        })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    };
    let mut exchanged = std::pin::pin!(exchanged);
    tokio::select! {
        exchanged = exchanged.as_mut() => exchanged,
        // The connection may end right after the last byte of the answer; then the answer is in the channel already.
        _ = connection => exchanged.await,
    }
}
