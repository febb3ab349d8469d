//! The HTTP and WebSocket side of a host: it accepts connections, identifies users, routes requests and drains at
//! shutdown. It knows no wasm, and nothing of how a room works inside.
//!
//! A request passes these checks in this order, over HTTP/1.1 and HTTP/2. A mounted host does the ones that it has data
//! for. Each check costs less than those after it, and no body is read before its sender is known:
//!
//! 1. the connection: a place among all and for its address, and the address's rate (`admission::connection_limits`);
//!    503 or 429. Over HTTP/2 also the rate of frames (`http2`), or the connection ends
//! 2. the head: complete in time, not too long, exactly one host (400), a served host name (421), and no duplicate of a
//!    header that must be single (400)
//! 3. answers without an identity: the page, preflights, and `/healthz`, which is answered under any name
//! 4. the origin: a foreign one gets no socket (403)
//! 5. memory: refused while memory is short (503)
//! 6. the address's rate: each request costs tokens (429)
//! 7. the identity: the credential is valid, and the user is not revoked (401)
//! 8. the user's rate: each request costs tokens (429)
//! 9. `/tickets`: the request ends here
//! 10. unsent answers: few bytes for the connection, for the user, and in all (`budget`; 429, 503)
//! 11. a place among `requests`: for the user, for the address, and in all (`budget`; 429, 503). Requests without an
//!     identity have a few places of their own, and the router must accept them before any of the body is read
//! 12. the body: no content coding (415), not too long (413), complete in time (408), and its bytes for the user and in
//!     all (`budget`; 429, 503)
//! 13. the router
//! 14. a place among the requests to the room and to its namespace (`budget`; 503)
//! 15. for a socket: an identity (401), the rates again, the user's sockets and rooms (429), the address's places (429)
//! 16. the room: a place in its mailbox, memory once more (503), its turn
//! 17. the answer: its bytes for the connection, the user and in all (`budget`; 429, 503)
//!
//! The places of 11 and 14 and the bytes of 17 are returned when the answer is sent.
//!
//! A frame enters in `websocket` and becomes an event through the room's [`Seat`](crate::room::Seat). The room's output
//! comes back through `outgoing`, which writes it; `websocket` writes what the socket did not accept at once. All close
//! codes are in `close`.

mod admin;
mod admission;
mod headers;
mod http;
mod identity;
mod listener;
mod metrics;
mod response;
mod sockets;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::clock;
use crate::config::{Config, Limits};
use crate::guest::{CompiledRouter, LongTurns};
use crate::limit_hits::Limit;
use crate::limits::JOIN_COST;
use crate::model::{Address, Client};
use crate::pressure::Pressure;
use crate::revocations::Revocations;
use crate::room::Rooms;

pub use admin::{Admin, AdminTokenError};
pub use http::service::Service;
pub use identity::keys::KeyError;
pub use identity::verifier::{Invalid, Verified, Verifier, mint};
pub use listener::tls::{TlsError, check_certificate};
pub use response::body::Body;
pub use sockets::frames::encode;

use admission::budget::Budget;
use admission::connection_limits::{AddressPermit, ConnectionLimits, ConnectionPermit, TurnedAway};
use admission::origin::Origins;
use admission::users::{TooMany, UserUsage, Users};
use headers::ResponseHeaders;
use identity::tickets::Tickets;
use listener::activity::{Activity, TrackedStream};
use listener::tls::Certificate;
use listener::write_timeout::WriteDeadline;
use metrics::Metrics;
use sockets::close::CloseReason;
use sockets::registry::SocketRegistry;

/// Sockets closed in one stage of a shutdown, and the time between two stages: 100,000 clients get a close frame within
/// two seconds.
const GOODBYES_A_STAGE: usize = 500;
const STAGE: Duration = Duration::from_millis(10);
/// How long clients may take to answer the close frames.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// How long connection tasks may take to end after they are told to.
const CUT_WITHIN: Duration = Duration::from_secs(1);
/// The longest request head, in bytes: enough for a token of 8 KB and a page's cookies.
const HEAD_BYTES: usize = 32 << 10;

/// Requests of one HTTP/2 connection that are answered at the same time.
const STREAMS: u32 = 64;
/// How much of an HTTP/2 request's body a client may send before it is read, in bytes.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// The same for all requests of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// The HTTP side of one host.
pub struct Edge {
    rooms: Rooms,
    router: CompiledRouter,
    long_turns: LongTurns,
    verifier: Verifier,
    origins: Origins,
    tickets: Tickets,
    cookie: String,
    response_headers: ResponseHeaders,
    base_path: String,
    page: bool,
    limits: Arc<Limits>,
    budget: Budget,
    connection_limits: Arc<ConnectionLimits>,
    users: Users,
    metrics: Arc<Metrics>,
    pressure: Arc<Pressure>,
    /// Absent where connections are plain.
    certificate: Option<Certificate>,
    h2c: bool,
    sockets: SocketRegistry,
    revocations: Arc<Revocations>,
    draining: watch::Sender<bool>,
}

/// The permits for one client's socket; dropping them returns the places.
struct SocketPermits {
    user: Arc<UserUsage>,
    _socket: admission::users::SocketPermit,
    /// Present if the client came through a proxy.
    _at_door: Option<AddressPermit>,
}

impl Edge {
    /// Makes the edge in front of `rooms`.
    pub(crate) fn new(
        config: &Config,
        limits: Arc<Limits>,
        rooms: Rooms,
        router: CompiledRouter,
        verifier: Verifier,
        revocations: Arc<Revocations>,
        lane: LongTurns,
    ) -> Result<Arc<Self>, TlsError> {
        let metrics = Arc::new(Metrics::new(rooms.limit_hits()));
        let pressure = rooms.pressure();
        let edge = Edge {
            rooms,
            router,
            long_turns: lane,
            verifier,
            origins: Origins::new(&config.identity, config.tls.is_some()),
            tickets: Tickets::new(limits.tickets, if config.identity.is_dev() { 0 } else { limits.tickets_per_user }),
            cookie: config.identity.cookie.clone(),
            response_headers: ResponseHeaders::new(config),
            base_path: config.base_path.clone(),
            page: config.page,
            budget: Budget::new(config),
            connection_limits: ConnectionLimits::new(config, metrics.connections.clone()),
            users: Users::new(config),
            metrics,
            pressure,
            certificate: config.tls.as_ref().map(Certificate::load).transpose()?,
            h2c: config.h2c,
            limits,
            sockets: SocketRegistry::default(),
            revocations,
            draining: watch::Sender::new(false),
        };
        Ok(Arc::new(edge))
    }

    /// Reads the certificate again. If it does not work, the one before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.certificate.as_ref().map_or(Ok(()), Certificate::reload)
    }

    /// Registers the edge's metrics.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// The edge as a service, for a server of the embedder that accepts the connections.
    pub fn service(self: &Arc<Self>) -> Service {
        Service::new(self.clone())
    }

    /// Accepts connections until [`drain`](Self::drain).
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut draining = self.draining.subscribe();
        let mut out_of_files = false;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = begun(&mut draining) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    out_of_files = false;
                    let edge = self.clone();
                    survives("a connection was lost", move || edge.accept(stream, peer));
                }
                // The client disconnected before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Most likely out of file descriptors: wait, so that others can close, and go on.
                    if !std::mem::replace(&mut out_of_files, true) {
                        survives("a line of the log was lost", || {
                            tracing::error!(%error, "connections cannot be accepted; raise the limit of open files");
                        });
                    }
                    clock::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn accept(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let place = match self.connection_limits.enter(peer.ip()) {
            Ok(place) => place,
            Err(full) => {
                self.metrics.refused(by_address(full));
                // Write only what fits into the socket's buffer: the server does not wait for a client that it turns
                // away. With TLS there is no plain answer to send.
                if self.certificate.is_none() {
                    let _ = stream.try_write(turned_away(full).as_bytes());
                }
                return;
            }
        };
        // Frames are written whole, so Nagle's algorithm would only delay them.
        if let Err(error) = stream.set_nodelay(true).and_then(|()| give_up_after(&stream, self.limits.write_timeout)) {
            tracing::debug!(%peer, %error, "the connection ended before it began");
            return;
        }
        tokio::spawn(self.connection(stream, Arc::new(place)));
    }

    /// Serves one connection until it ends or becomes a WebSocket.
    async fn connection(self: Arc<Self>, stream: TcpStream, place: Arc<ConnectionPermit>) {
        let within = self.limits.header_timeout;
        let Some(certificate) = &self.certificate else {
            let begins = async || tokio::time::timeout(within, begins_with_http2(&stream)).await;
            let is_http2 = self.h2c && begins().await.unwrap_or(false);
            return self.http(stream, is_http2, place).await;
        };
        match tokio::time::timeout(within, certificate.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(listener::tls::HTTP_2);
                self.http(stream, is_http2, place).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake did not end in time"),
        }
    }

    async fn http<S>(self: Arc<Self>, stream: S, is_http2: bool, place: Arc<ConnectionPermit>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let draining = self.draining.subscribe();
        let edge = self.clone();
        let unsent = Arc::new(WriteDeadline::default());
        let watching = unsent.clone();
        // HTTP/2 has its own keep-alive pings, and its streams end one by one.
        let activity = (!is_http2).then(|| Activity::new(&self.limits));
        let noticing = activity.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(place.clone());
            let answering = noticing.as_ref().map(|activity| {
                request.extensions_mut().insert(activity.clone());
                Arc::new(activity.answer())
            });
            let answer = http::answer(edge.clone(), request);
            let unsent = watching.clone();
            async move { Ok::<_, Infallible>(answer.await.map(|body| unsent.watch(body, answering))) }
        });
        let not_taken = unsent.overdue(self.limits.write_timeout);
        let overdue = async {
            match &activity {
                Some(activity) => tokio::select! {
                    () = not_taken => Overdue::Answer,
                    () = activity.overdue() => Overdue::Request,
                },
                None => {
                    not_taken.await;
                    Overdue::Answer
                }
            }
        };
        let ended = if let Some(activity) = &activity {
            let connection = conn::http1::Builder::new()
                .timer(TokioTimer::new())
                // `Activity` has separate deadlines for a head and for the idle time between two requests.
                .header_read_timeout(None)
                .max_buf_size(HEAD_BYTES)
                // A client may end its half of the connection as soon as it has sent its request.
                .half_close(true)
                .serve_connection(TokioIo::new(TrackedStream::new(stream, activity.clone())), service)
                .with_upgrades();
            until_end(connection, |connection| connection.graceful_shutdown(), draining, overdue).await
        } else {
            let paced = listener::http2::Paced::new(stream, self.limits.header_timeout, self.metrics.clone());
            let connection = conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                .max_header_list_size(HEAD_BYTES as u32)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .keep_alive_interval(self.limits.ping_every)
                .keep_alive_timeout(self.limits.pong_timeout)
                .serve_connection(TokioIo::new(paced), service);
            until_end(connection, |connection| connection.graceful_shutdown(), draining, overdue).await
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection ended early"),
            Err(Overdue::Answer) => {
                tracing::debug!("an HTTP connection was cut: its client did not read in time")
            }
            Err(Overdue::Request) => tracing::debug!("an HTTP connection was ended: no request came in time"),
        }
    }

    /// Decides whether a user may have one more socket in a room, over this connection. `behind` is the user's address,
    /// if a proxy names it. The cost is spent even if the socket is refused later.
    fn admit(
        &self,
        user: &str,
        room: &Address,
        place: Option<&ConnectionPermit>,
        behind: Option<IpAddr>,
    ) -> Result<SocketPermits, Limit> {
        let user = self.users.of(user);
        let by_user = |too_many| match too_many {
            TooMany::Sockets => Limit::SocketsPerUser,
            TooMany::Rooms => Limit::RoomsPerUser,
        };
        // The request itself already cost one message.
        if !user.may_do(JOIN_COST.saturating_sub(1), clock::monotonic()) {
            return Err(Limit::MessagesPerUser);
        }
        place.map_or(Ok(()), |place| self.connection_limits.may_join(place)).map_err(by_address)?;
        let socket = self.users.enter(&user, room).map_err(by_user)?;
        let at_door =
            behind.map(|behind| self.connection_limits.enter_behind(behind)).transpose().map_err(by_address)?;
        Ok(SocketPermits { user, _socket: socket, _at_door: at_door })
    }

    /// Accepts no more connections and closes every socket at once, with 1001 and a delay for the reconnect.
    pub fn say_goodbye(&self) {
        self.draining.send_replace(true);
        let sockets = self.sockets.all();
        let longest = comes_back_within(sockets.len());
        sockets.iter().for_each(|socket| goodbye(&**socket, longest));
    }

    /// Accepts no more connections, closes every socket in stages, waits a moment for the answers, and then cuts the
    /// connections that did not answer.
    pub async fn drain(&self) {
        self.draining.send_replace(true);
        let sockets = self.sockets.all();
        let longest = comes_back_within(sockets.len());
        for stage in sockets.chunks(GOODBYES_A_STAGE) {
            stage.iter().for_each(|socket| goodbye(&**socket, longest));
            // Meanwhile answers are read, and turns go on.
            clock::sleep(STAGE).await;
        }
        drop(sockets);
        if self.all_gone_within(GOODBYE_WITHIN).await {
            return;
        }
        let silent = self.sockets.all();
        tracing::info!(clients = silent.len(), "some clients did not answer the close frame");
        silent.iter().for_each(|client| client.cut());
        self.all_gone_within(CUT_WITHIN).await;
    }

    async fn all_gone_within(&self, within: Duration) -> bool {
        let all_gone = async {
            while !self.sockets.is_empty() {
                clock::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(within, all_gone).await.is_ok()
    }
}

/// The limit that the connection limits met.
fn by_address(full: TurnedAway) -> Limit {
    match full {
        TurnedAway::Everywhere => Limit::Connections,
        TurnedAway::Address => Limit::ConnectionsPerAddress,
        TurnedAway::TooFast => Limit::ConnectsPerAddress,
    }
}

/// Drives a connection until it ends or is overdue. Once draining begins, it takes no further requests.
async fn until_end<C: Future>(
    connection: C,
    end_gracefully: fn(Pin<&mut C>),
    mut draining: watch::Receiver<bool>,
    overdue: impl Future<Output = Overdue>,
) -> Result<C::Output, Overdue> {
    let mut connection = pin!(connection);
    let mut overdue = pin!(overdue);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended),
        overdue = overdue.as_mut() => return Err(overdue),
        () = begun(&mut draining) => end_gracefully(connection.as_mut()),
    }
    tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        overdue = overdue => Err(overdue),
    }
}

/// The thing that a client failed to do in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overdue {
    /// It did not read an answer.
    Answer,
    /// It did not send a request, or the rest of a request's head.
    Request,
}

/// Runs something so that a panic in it does not end the listener.
fn survives(what_is_lost: &'static str, run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        let _ = catch_unwind(|| tracing::error!("{what_is_lost}: a panic, which is a bug in the server"));
    }
}

/// Returns whether a plain connection starts with the HTTP/2 preface. The bytes stay in the stream.
async fn begins_with_http2(stream: &TcpStream) -> bool {
    // HTTP/1.1 has no such method, so the prefix is unambiguous.
    const BEGIN: &[u8] = b"PRI ";
    let mut begin = [0; BEGIN.len()];
    loop {
        match stream.peek(&mut begin).await {
            Ok(read) if read < BEGIN.len() && read > 0 && BEGIN.starts_with(&begin[..read]) => {
                clock::sleep(Duration::from_millis(5)).await;
            }
            read => return read.is_ok_and(|read| begin[..read] == *BEGIN),
        }
    }
}

/// Has the kernel end a connection whose client acknowledges nothing that was sent to it.
fn give_up_after(stream: &TcpStream, within: Duration) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let milliseconds = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        rustix::net::sockopt::set_tcp_user_timeout(stream, milliseconds)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, within);
    Ok(())
}

/// The answer to a connection that is over a limit.
fn turned_away(full: TurnedAway) -> String {
    let status = match full {
        TurnedAway::Everywhere => "503 Service Unavailable",
        TurnedAway::Address | TurnedAway::TooFast => "429 Too Many Requests",
    };
    let retry_after = response::refusals::RETRY_AFTER.as_secs();
    format!("HTTP/1.1 {status}\r\nretry-after: {retry_after}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

/// The longest delay until clients come back, in seconds: the next server then meets at most a thousand a second.
fn comes_back_within(sockets: usize) -> u32 {
    u32::try_from(sockets / 1_000).unwrap_or(u32::MAX).clamp(3, 60)
}

fn goodbye(client: &dyn Client, longest_s: u32) {
    end(client, CloseReason::GoingAway { retry_after_s: rand::random_range(1..=longest_s) });
}

fn end(client: &dyn Client, why: CloseReason) {
    client.close(why.code(), &why.reason());
}

/// Waits until draining has begun.
async fn begun(draining: &mut watch::Receiver<bool>) {
    // The sender lives in the edge, and every caller holds the edge.
    let _ = draining.wait_for(|draining| *draining).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_of_more_clients_are_spread_over_more_time() {
        assert_eq!([0, 2_999, 10_000, 1_000_000].map(comes_back_within), [3, 3, 10, 60]);
    }
}
