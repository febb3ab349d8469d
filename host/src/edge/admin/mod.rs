//! A listener for the operator: health, metrics, and everything that an operator looks at or does. Programs show its
//! token. Of all web pages only its own, the dashboard, may use it, with a session.
//!
//! This file accepts connections and checks who asks. `routes` has the table of all paths, and a file beside it has the
//! answers of each area. `openapi.json` describes them for programs.

mod audit;
mod backup;
mod credential;
mod dashboard;
mod deploys;
mod download;
mod elsewhere;
mod nodes;
mod outcome;
mod overview;
mod permits;
mod personal_data;
mod request;
mod revocations;
mod room_file;
mod rooms;
mod rooms_everywhere;
mod routes;
mod secret;
mod sessions;
mod sign_in;
mod source;
mod tail;
mod tail_everywhere;
mod usage;
mod users;

use std::convert::Infallible;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use self::audit::AuditLog;
use self::credential::{Shown, check_single_headers, shows_token};
use self::outcome::Outcome;
use self::permits::{AdminConnections, AdminPermit};
use self::request::AdminRequest;
pub use self::secret::AdminTokenError;
use self::secret::SecretHash;
use self::sessions::{SESSION, Sessions, SignedIn};
use self::source::Source;
use super::Edge;
use super::drain::begun;
use crate::clock;
use crate::config;
use crate::deploys::Deploys;
use crate::edge::admission::origin::Origins;
use crate::edge::listener::reset::Watcher;
use crate::edge::response::body::Body;
use crate::edge::response::file::PageFile;
use crate::edge::response::finish::dated;
use crate::edge::response::problem::{problem, problem_with};
use crate::edge::response::refusals::{Refusal, overloaded, too_many, unauthorized};
use crate::history::History;
use crate::limits;
use crate::personal_data::PersonalData;

/// The longest request head, in bytes. A browser sends the cookies of all servers on this machine.
const HEAD_BYTES: usize = 16 << 10;
/// The longest body that is read of a refused request, in bytes.
const REFUSED_BODY_BYTES: usize = 8 << 10;
/// The Content-Security-Policy of all answers that are no files of the dashboard: a browser shows them as they are.
const ANSWER_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// The admin listener.
pub struct Admin {
    edge: Arc<Edge>,
    deploys: Deploys,
    personal_data: PersonalData,
    /// Held while a component is received, so that only one is in memory.
    receiving: Semaphore,
    token_file: Option<PathBuf>,
    /// Absent if no token is required.
    token: RwLock<Option<SecretHash>>,
    sessions: Sessions,
    /// Tells answers that go on for long that a session was ended or the token replaced.
    credentials_changed: watch::Sender<()>,
    /// For the plots of the dashboard.
    history: History,
    /// When the listener was made.
    began: Instant,
    /// The names under which browsers may use it.
    names: Origins,
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

/// Ends the connection with this answer. A short body is read first: closing a socket with unread data resets it, and
/// the client may never see the answer.
async fn answer_and_close(request: Request<Incoming>, mut answer: Response<Body>) -> Response<Body> {
    let body = Limited::new(request.into_body(), REFUSED_BODY_BYTES).collect();
    let _ = clock::timeout(limits::ADMIN_DISCARD_TIMEOUT, body).await;
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Headers that keep an answer out of caches and of pages of other origins, and a browser from guessing its type.
fn guarded(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, ANSWER_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// How an admitted request goes on.
enum Admitted {
    /// It asks for a file of the dashboard.
    File(PageFile),
    /// It asks about a session, to begin or to end one. The operator is that of its session, if it has one.
    Session(Option<SignedIn>),
    /// Its sender has a credential.
    Sender(Shown),
}

impl Admin {
    /// Checks that the token can be read.
    pub fn check(config: &config::Admin) -> Result<(), AdminTokenError> {
        config.token_file.as_deref().map_or(Ok(()), |file| SecretHash::of_token_in(file).map(drop))
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
        let token = config.token_file.as_deref().map(SecretHash::of_token_in).transpose()?;
        Ok(Arc::new(Admin {
            edge,
            deploys,
            personal_data,
            receiving: Semaphore::new(1),
            token_file: config.token_file.clone(),
            token: RwLock::new(token),
            sessions: Sessions::default(),
            credentials_changed: watch::Sender::new(()),
            history: History::default(),
            began: clock::monotonic(),
            names: Origins::of_dashboard(&config.hosts),
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
            let token = SecretHash::of_token_in(file)?;
            *self.token.write().unwrap_or_else(PoisonError::into_inner) = Some(token);
            self.credentials_changed.send_replace(());
        }
        Ok(())
    }

    /// Accepts connections until the edge is drained, and keeps the history meanwhile.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        tokio::select! {
            () = self.clone().accept_all(listener) => {}
            () = self.keep_history() => {}
        }
    }

    async fn accept_all(self: Arc<Self>, listener: TcpListener) {
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
            async move { Ok::<_, Infallible>(guarded(dated(admin.answer(request, &permit).await))) }
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

    /// Answers a request. A connection that has shown no credential ends with its first answer that is no file of the
    /// dashboard.
    async fn answer(self: Arc<Self>, request: Request<Incoming>, permit: &AdminPermit) -> Response<Body> {
        let source = Source::of(&self.names, request.method(), request.uri(), request.headers());
        match self.admit(&request, source, permit) {
            Err(refusal) => answer_and_close(request, refusal.into_response()).await,
            Ok(Admitted::File(file)) => {
                let mut answer = file.answer(dashboard::POLICY, request.headers());
                answer.headers_mut().insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
                answer
            }
            Ok(Admitted::Session(signed_in)) => {
                let is_signed_in = signed_in.is_some();
                let answered = self.session(request, source, signed_in, permit).await;
                let mut answer = answered.unwrap_or_else(Refusal::into_response);
                if !is_signed_in && !answer.status().is_success() {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                answer
            }
            Ok(Admitted::Sender(shown)) => self.answer_sender(request, permit.address, shown).await,
        }
    }

    /// Decides who may go on. The error is the answer to all others, and ends their connection.
    fn admit(&self, request: &Request<Incoming>, source: Source, permit: &AdminPermit) -> Result<Admitted, Refusal> {
        let (path, method) = (request.uri().path(), request.method());
        let file = dashboard::find(path).filter(|_| source != Source::OtherPage);
        let shown = self.shown(request, source);
        let has_none = shown.is_none();
        // Files hold no secret, so asking for them is no guess. `sign_in` counts wrong tokens itself.
        if file.is_none() && path != "/session" && has_none && !self.connections.spend_refusal(permit.address) {
            return Err(too_many("too many requests without the token from this address").into());
        }
        check_single_headers(request.headers())?;
        self.check_host(request, source, file.is_some())?;
        if let Some(file) = file {
            return match *method {
                Method::GET | Method::HEAD => Ok(Admitted::File(file)),
                _ => {
                    let status = StatusCode::METHOD_NOT_ALLOWED;
                    Err(problem_with(status, "only GET here", header::ALLOW, "GET, HEAD").into())
                }
            };
        }
        if matches!(source, Source::Link | Source::OtherPage) {
            let detail = "pages of other origins may not use the admin listener";
            return Err(problem(StatusCode::FORBIDDEN, detail).into());
        }
        // A load balancer has no token, and the edge shows the same health to everyone.
        if has_none && let Some(answer) = self.health(path, method) {
            return Err(answer.into());
        }
        if path == "/session" {
            return Ok(Admitted::Session(shown.and_then(|shown| shown.signed_in)));
        }
        let Some(shown) = shown else {
            return Err(unauthorized(match source {
                Source::OwnPage => "sign in first",
                _ => "show the token of the file `admin.token_file` as `authorization: Bearer TOKEN`",
            })
            .into());
        };
        if permit.authenticate() {
            Ok(Admitted::Sender(shown))
        } else {
            Err(overloaded("too many connections to the admin listener").into())
        }
    }

    /// The credential of a request; absent if it has no valid one.
    ///
    /// A page needs a session even if no token is required. Otherwise only the headers of its browser would tell it
    /// from a page of another origin.
    fn shown(&self, request: &Request<Incoming>, source: Source) -> Option<Shown> {
        let (headers, token) = (request.headers(), self.present_token());
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match source {
            Source::Link | Source::OtherPage => None,
            Source::Program if !headers.contains_key(SESSION) => {
                shows_token(headers, token.as_ref()).then_some(Shown { token, signed_in: None })
            }
            // A browser that tells nothing of the site of a GET names the origin of every other request.
            Source::Program if !is_read => None,
            Source::Program | Source::OwnPage => {
                let signed_in = self.signed_in(headers, token.as_ref())?;
                Some(Shown { token, signed_in: Some(signed_in) })
            }
        }
    }

    /// Resolves when the credential of a request is no longer valid: its session has ended, or another token is
    /// required. A client that has signed out, or has only the old token, must not get more of an answer that goes on.
    fn credential_ends(self: &Arc<Self>, request: &AdminRequest) -> impl Future<Output = ()> + use<> {
        let (admin, token, signed_in) = (self.clone(), request.token, request.signed_in.clone());
        let mut changed = self.credentials_changed.subscribe();
        // The node that the operator asked looks after it.
        let is_passed_on = request.via.is_some();
        async move {
            if is_passed_on {
                return pending().await;
            }
            loop {
                let present = admin.present_token();
                let is_valid = SecretHash::are_same(token.as_ref(), present.as_ref())
                    && signed_in.as_ref().is_none_or(|signed_in| admin.sessions.has(signed_in, present.as_ref()));
                if !is_valid {
                    return;
                }
                // A session also ends by its time, and nobody tells of that.
                let _ = clock::timeout(limits::ADMIN_CREDENTIAL_EVERY, changed.changed()).await;
            }
        }
    }

    /// Refuses host names that an attacker could let resolve to this machine (DNS rebinding). Without a token, any
    /// program on this machine may ask, and the attacker's page in a browser there would be such a program. With one,
    /// only the dashboard is concerned: its page asks for the token.
    fn check_host(&self, request: &Request<Incoming>, source: Source, is_file: bool) -> Result<(), Refusal> {
        let (uri, headers) = (request.uri(), request.headers());
        if self.present_token().is_none() && !Origins::of_this_machine().serve(uri, headers) {
            let detail = "without a token only names of this machine are served here, such as 127.0.0.1";
            return Err(problem(StatusCode::MISDIRECTED_REQUEST, detail).into());
        }
        let is_page = is_file || source == Source::OwnPage || headers.contains_key(SESSION);
        if is_page && !self.names.serve(uri, headers) {
            let detail = "the dashboard is not known by this host name: use an IP address, a name of this machine, or \
                          one that `admin.hosts` lists";
            return Err(problem(StatusCode::MISDIRECTED_REQUEST, detail).into());
        }
        Ok(())
    }

    async fn answer_sender(self: Arc<Self>, request: Request<Incoming>, from: IpAddr, shown: Shown) -> Response<Body> {
        let mut request = match AdminRequest::new(request, from, self.edge.limits.body_timeout) {
            Ok(request) => request,
            Err(refusal) => return refusal.into_response(),
        };
        (request.signed_in, request.token) = (shown.signed_in, shown.token);
        let (audit, recorded) = (self.audit.clone(), request.recorded.clone());
        let mut answer = self.route(request).await.unwrap_or_else(Refusal::into_response);
        audit.finish(&recorded, Outcome::of(answer.status())).await;
        if matches!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
            // The rest of the body may still come, and nobody reads it.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// The token that is required now; absent if none is.
    fn present_token(&self) -> Option<SecretHash> {
        *self.token.read().unwrap_or_else(PoisonError::into_inner)
    }
}
