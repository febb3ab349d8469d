//! A listener for the operator: health, metrics, and everything that an operator looks at or does. It is meant for
//! programs and refuses every web page.
//!
//! This file accepts connections and checks who asks. `routes` has the table of all paths, and a file beside it has the
//! answers of each area. `openapi.json` describes them for programs.

mod audit;
mod backup;
mod deploys;
mod download;
mod permits;
mod personal_data;
mod request;
mod revocations;
mod room_file;
mod rooms;
mod routes;
mod tail;
mod usage;
mod users;

use std::convert::Infallible;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use self::audit::{AuditLog, Outcome};
use self::permits::{AdminConnections, AdminPermit};
use self::request::AdminRequest;
use super::Edge;
use super::drain::begun;
use crate::clock;
use crate::config;
use crate::deploys::Deploys;
use crate::edge::admission::origin::Origins;
use crate::edge::http::authorization::bearer_tokens;
use crate::edge::listener::reset::Watcher;
use crate::edge::response::body::Body;
use crate::edge::response::finish::dated;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::{Refusal, overloaded, too_many, unauthorized};
use crate::file_problem::FileProblem;
use crate::limits;
use crate::personal_data::PersonalData;

/// The longest request head, in bytes; the least that hyper allows.
const HEAD_BYTES: usize = 8 << 10;
/// The longest body that is read of a refused request, in bytes.
const REFUSED_BODY_BYTES: usize = 8 << 10;
/// The shortest token, in bytes.
const TOKEN_BYTES: usize = 32;

/// The admin listener.
pub struct Admin {
    edge: Arc<Edge>,
    deploys: Deploys,
    personal_data: PersonalData,
    /// Held while a component is received, so that only one is in memory.
    receiving: Semaphore,
    token_file: Option<PathBuf>,
    /// Absent if no token is required.
    token: RwLock<Option<TokenHash>>,
    connections: Arc<AdminConnections>,
    /// All metrics of the host, as text.
    metrics: Box<dyn Fn() -> String + Send + Sync>,
    audit: Arc<AuditLog>,
    /// One permit for each backup that may be made at the same time.
    backups: Arc<Semaphore>,
    /// The same for exports of rooms, and for imports.
    exports: Arc<Semaphore>,
    imports: Semaphore,
    user_exports: Arc<Semaphore>,
}

/// The hash of a token. Comparing hashes leaks nothing about the token by its timing.
#[derive(Clone)]
struct TokenHash([u8; 32]);

/// Why the token of the admin listener cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
#[error("admin.token_file: the token in {path} cannot be used: {problem}")]
pub struct AdminTokenError {
    path: PathBuf,
    problem: String,
}

impl TokenHash {
    fn of(token: &[u8]) -> Self {
        TokenHash(Sha256::digest(token).into())
    }

    #[expect(clippy::disallowed_methods, reason = "it reads the file of the token")]
    fn read(path: &Path) -> Result<Self, AdminTokenError> {
        let bad = |problem: String| AdminTokenError { path: path.into(), problem };
        let bytes = fs::read(path).map_err(|error| bad(FileProblem::from(error).to_string()))?;
        let token = bytes.trim_ascii();
        if token.len() < TOKEN_BYTES || !token.iter().all(u8::is_ascii_graphic) {
            return Err(bad(format!(
                "a token is a line of at least {TOKEN_BYTES} characters, such as `openssl rand -hex 32` prints"
            )));
        }
        Ok(Self::of(token))
    }

    fn is(&self, other: &Self) -> bool {
        let differ = self.0.iter().zip(&other.0).fold(0, |differ, (one, other)| differ | (one ^ other));
        differ == 0
    }
}

/// Ends the connection with this answer. A short body is read first: closing a socket with unread data resets it, and
/// the client may never see the answer.
async fn answer_and_close(request: Request<Incoming>, mut answer: Response<Body>) -> Response<Body> {
    let body = Limited::new(request.into_body(), REFUSED_BODY_BYTES).collect();
    let _ = clock::timeout(limits::ADMIN_DISCARD_TIMEOUT, body).await;
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

impl Admin {
    /// Checks that the token can be read.
    pub fn check(config: &config::Admin) -> Result<(), AdminTokenError> {
        config.token_file.as_deref().map_or(Ok(()), |file| TokenHash::read(file).map(drop))
    }

    /// Makes the listener, and reads the token if the configuration names one. The audit log is in the data directory;
    /// without one, actions are only logged.
    pub(crate) fn new(
        config: &config::Admin,
        edge: Arc<Edge>,
        deploys: Deploys,
        personal_data: PersonalData,
        data: Option<&Path>,
        metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<Arc<Self>, AdminTokenError> {
        let token = config.token_file.as_deref().map(TokenHash::read).transpose()?;
        Ok(Arc::new(Admin {
            edge,
            deploys,
            personal_data,
            receiving: Semaphore::new(1),
            token_file: config.token_file.clone(),
            token: RwLock::new(token),
            connections: Arc::default(),
            metrics: Box::new(metrics),
            audit: Arc::new(AuditLog::new(data)),
            backups: Arc::new(Semaphore::new(1)),
            exports: Arc::new(Semaphore::new(limits::ADMIN_EXPORTS)),
            imports: Semaphore::new(1),
            user_exports: Arc::new(Semaphore::new(limits::USER_EXPORTS)),
        }))
    }

    /// Reads the token again. If that fails, it stays as it was.
    pub fn reload(&self) -> Result<(), AdminTokenError> {
        if let Some(file) = &self.token_file {
            let token = TokenHash::read(file)?;
            *self.token.write().unwrap_or_else(PoisonError::into_inner) = Some(token);
        }
        Ok(())
    }

    /// Accepts connections until the edge is drained.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut draining = self.edge.draining.subscribe();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = begun(&mut draining) => return,
            };
            match accepted {
                Ok((stream, peer)) => self.clone().accept(stream, peer),
                // The edge logs a lack of file descriptors.
                Err(_) => clock::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn accept(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let permit = Arc::new(self.connections.acquire(peer.ip()));
        tokio::spawn(async move {
            let connection = self.http(stream, permit.clone());
            tokio::select! {
                () = connection => {}
                () = permit.evicted() => tracing::debug!(%peer, "a connection to the admin listener made room for another"),
            }
        });
    }

    async fn http(self: Arc<Self>, stream: TcpStream, permit: Arc<AdminPermit>) {
        let mut draining = self.edge.draining.subscribe();
        let header_timeout = self.edge.limits.header_timeout;
        let watcher = Arc::new(Watcher::of(&stream));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (admin, permit) = (self.clone(), permit.clone());
            request.extensions_mut().insert(watcher.clone());
            async move { Ok::<_, Infallible>(dated(admin.answer(request, &permit).await)) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(HEAD_BYTES)
            // A client may end its half of the connection as soon as it has sent its request.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = begun(&mut draining) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the admin listener ended early");
        }
    }

    /// Answers a request. A connection that did not show the token ends with its first answer.
    async fn answer(self: Arc<Self>, request: Request<Incoming>, permit: &AdminPermit) -> Response<Body> {
        match self.refuse(&request, permit) {
            Some(answer) => answer_and_close(request, answer).await,
            None => self.answer_authenticated(request, permit.address).await,
        }
    }

    /// The answer to a request without the token, or one that is not allowed at all.
    fn refuse(&self, request: &Request<Incoming>, permit: &AdminPermit) -> Option<Response<Body>> {
        let is_authenticated = self.shows_token(request.headers());
        if !is_authenticated && !self.connections.spend_refusal(permit.address) {
            return Some(too_many("too many requests without the token from this address"));
        }
        if let Err(refusal) = self.check_page_and_host(request) {
            return Some(refusal.into_response());
        }
        // A load balancer has no token, and the edge shows the same health to everyone.
        if !is_authenticated && let Some(answer) = self.health(request.uri().path(), request.method()) {
            return Some(answer);
        }
        if !is_authenticated {
            let detail = "show the token of the file `admin.token_file` as `authorization: Bearer TOKEN`";
            return Some(unauthorized(detail));
        }
        (!permit.authenticate()).then(|| overloaded("too many connections to the admin listener"))
    }

    async fn answer_authenticated(self: Arc<Self>, request: Request<Incoming>, from: IpAddr) -> Response<Body> {
        let request = match AdminRequest::new(request, from, self.edge.limits.body_timeout) {
            Ok(request) => request,
            Err(refusal) => return refusal.into_response(),
        };
        let (audit, recorded) = (self.audit.clone(), request.recorded.clone());
        let mut answer = self.route(request).await.unwrap_or_else(Refusal::into_response);
        audit.finish(&recorded, Outcome::of(answer.status())).await;
        if matches!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
            // The rest of the body may still come, and nobody reads it.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// Without a token, any program on this machine may ask. A page in a browser there could too (CSRF, DNS rebinding),
    /// so it is stopped here.
    fn check_page_and_host(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        let headers = request.headers();
        if headers.contains_key(header::ORIGIN) || headers.get("sec-fetch-site").is_some_and(|site| site != "none") {
            return Err(problem(StatusCode::FORBIDDEN, "pages may not use the admin listener").into());
        }
        let asks_for_token = self.token.read().unwrap_or_else(PoisonError::into_inner).is_some();
        if !asks_for_token && !Origins::of_this_machine().serve(request.uri(), headers) {
            let detail = "without a token only names of this machine are served here, such as 127.0.0.1";
            return Err(problem(StatusCode::MISDIRECTED_REQUEST, detail).into());
        }
        Ok(())
    }

    fn shows_token(&self, headers: &HeaderMap) -> bool {
        let Some(token) = self.token.read().unwrap_or_else(PoisonError::into_inner).clone() else { return true };
        // A proxy may ask for its own password beside it. All tokens are compared, so that timing does not tell which
        // one matched.
        bearer_tokens(headers).filter(|shown| token.is(&TokenHash::of(shown))).count() > 0
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make files")]
mod tests {
    use super::*;

    #[test]
    fn an_admin_token_is_one_line_of_the_minimum_length() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("token");
        assert!(TokenHash::read(&path).is_err(), "it is not there");
        let long = "0123456789abcdef0123456789abcdef";
        for (text, good) in [(long, true), (&long[1..], false), ("", false), (&format!("{long}\n{long}"), false)] {
            fs::write(&path, text).unwrap();
            assert_eq!(TokenHash::read(&path).is_ok(), good, "{text:?}");
        }
        fs::write(&path, format!("{long}\n")).unwrap();
        let token = TokenHash::read(&path).unwrap();
        assert!(token.is(&TokenHash::of(long.as_bytes())));
        assert!(!token.is(&TokenHash::of(&long.as_bytes()[1..])) && !token.is(&TokenHash::of(b"")));
    }
}
