//! HTTP and WebSocket: accept, identify, route, upgrade, drain. Knows no wasm, and no room's inside.
//!
//! A frame enters in `connection`, becomes an event through a room's [`Seat`](crate::room::Seat), and what the room
//! says comes back through `outgoing` and leaves in `connection`. All close codes are in `close`.

mod admin;
mod body;
mod close;
mod connection;
mod door;
mod events;
mod frames;
mod http;
mod identity;
mod keys;
mod listed;
mod metrics;
mod origin;
mod outgoing;
mod pace;
mod page;
mod problem;
mod renewal;
mod sent;
mod service;
mod tickets;
mod tls;
mod token;
mod upgrade;
mod users;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::clock;
use crate::config::{Config, Limits};
use crate::guest::{Lane, RouterKind};
use crate::model::{Address, Client};
use crate::pressure::Pressure;
use crate::refused::Refused;
use crate::revocations::Revocations;
use crate::room::Rooms;

pub use admin::{Admin, AdminTokenError};
pub use body::Body;
pub use frames::encode;
pub use identity::{Invalid, Verified, Verifier, mint};
pub use keys::KeyError;
pub use service::Service;
pub use tls::{TlsError, check_certificate};

use close::Why;
use door::{Counted, Door, Full, Place};
use listed::Sockets;
use metrics::Metrics;
use origin::Origins;
use sent::Unsent;
use tickets::Tickets;
use tls::Certificate;
use users::{OneUser, TooMany, Users};

/// Clients to whom goodbye is said at once, and how long before the next ones: 100,000 have heard it within two seconds.
const GOODBYES_A_STAGE: usize = 500;
const STAGE: Duration = Duration::from_millis(10);
/// After the goodbyes, how long clients may take to answer them.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// How long connections that are cut may take to notice.
const CUT_WITHIN: Duration = Duration::from_secs(1);
/// The longest request head, in bytes: room for a token of 8 KB and a page's cookies.
const HEAD_BYTES: usize = 32 << 10;

/// Requests of one HTTP/2 connection that are answered at the same time.
const STREAMS: u32 = 64;
/// What of an HTTP/2 request's body may come before it is read, in bytes.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// The same for all requests of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// The HTTP side of one host.
pub struct Edge {
    rooms: Rooms,
    router: RouterKind,
    lane: Lane,
    verifier: Verifier,
    origins: Origins,
    tickets: Tickets,
    cookie: String,
    base_path: String,
    page: bool,
    limits: Arc<Limits>,
    requests: Arc<Semaphore>,
    door: Arc<Door>,
    users: Users,
    metrics: Arc<Metrics>,
    pressure: Arc<Pressure>,
    /// Absent where connections are plain.
    certificate: Option<Certificate>,
    h2c: bool,
    sockets: Sockets,
    revocations: Arc<Revocations>,
    draining: watch::Sender<bool>,
}

/// What lets a client have a socket: dropping it gives its places up.
struct Admitted {
    user: Arc<OneUser>,
    _socket: users::Socket,
    /// Where it came through a proxy.
    _at_door: Option<Counted>,
}

impl Edge {
    /// The edge before `rooms`.
    pub(crate) fn new(
        config: &Config,
        limits: Arc<Limits>,
        rooms: Rooms,
        router: RouterKind,
        verifier: Verifier,
        revocations: Arc<Revocations>,
        lane: Lane,
    ) -> Result<Arc<Self>, TlsError> {
        let metrics = Arc::new(Metrics::new(rooms.refusals()));
        let pressure = rooms.pressure();
        let edge = Edge {
            rooms,
            router,
            lane,
            verifier,
            origins: Origins::new(&config.identity),
            tickets: Tickets::new(limits.tickets),
            cookie: config.identity.cookie.clone(),
            base_path: config.base_path.clone(),
            page: config.page,
            requests: Arc::new(Semaphore::new(limits.requests as usize)),
            door: Door::new(config, metrics.connections.clone()),
            users: Users::new(config),
            metrics,
            pressure,
            certificate: config.tls.as_ref().map(Certificate::load).transpose()?,
            h2c: config.h2c,
            limits,
            sockets: Sockets::default(),
            revocations,
            draining: watch::Sender::new(false),
        };
        Ok(Arc::new(edge))
    }

    /// Read the certificate anew. Where it does not work, the one before stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.certificate.as_ref().map_or(Ok(()), Certificate::reload)
    }

    /// What it counts.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// The same for a server of somebody else's, which accepts the connections.
    pub fn service(self: &Arc<Self>) -> Service {
        Service::new(self.clone())
    }

    /// Accept connections until [`drain`](Self::drain).
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
                    self.clone().accept(stream, peer);
                }
                // The client went away while it waited: nobody is left to serve.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Out of descriptors, most likely: shed load, and live on.
                    if !std::mem::replace(&mut out_of_files, true) {
                        tracing::error!(%error, "no connection can be accepted; raise the limit of open files");
                    }
                    clock::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn accept(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let place = match self.door.enter(peer.ip()) {
            Ok(place) => place,
            Err(full) => {
                self.metrics.refused(match full {
                    Full::Everywhere => Refused::Connections,
                    Full::Address => Refused::ConnectionsPerAddress,
                    Full::TooFast => Refused::ConnectsPerAddress,
                });
                // As far as the socket's own buffer takes it: nobody waits for a client that is turned away. Where it
                // expects TLS there is nothing that could be said.
                if self.certificate.is_none() {
                    let _ = stream.try_write(turned_away(full).as_bytes());
                }
                return;
            }
        };
        // Frames are written when they are whole; to wait for more would only delay them.
        if let Err(error) = stream.set_nodelay(true).and_then(|()| give_up_after(&stream, self.limits.sent_within)) {
            tracing::debug!(%peer, %error, "the connection ended before it began");
            return;
        }
        tokio::spawn(self.connection(stream, Arc::new(place)));
    }

    /// One connection, until it ends or becomes a WebSocket.
    async fn connection(self: Arc<Self>, stream: TcpStream, place: Arc<Place>) {
        let within = self.limits.header_within;
        let Some(certificate) = &self.certificate else {
            let begins = async || tokio::time::timeout(within, begins_with_http2(&stream)).await;
            let is_http2 = self.h2c && begins().await.unwrap_or(false);
            return self.http(stream, is_http2, place).await;
        };
        match tokio::time::timeout(within, certificate.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(tls::HTTP_2);
                self.http(stream, is_http2, place).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake did not end in time"),
        }
    }

    async fn http<S>(self: Arc<Self>, stream: S, is_http2: bool, place: Arc<Place>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let draining = self.draining.subscribe();
        let edge = self.clone();
        let unsent = Arc::new(Unsent::default());
        let watching = unsent.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(place.clone());
            let answer = http::answer(edge.clone(), request);
            let unsent = watching.clone();
            async move { Ok::<_, Infallible>(answer.await.map(|body| unsent.watch(body))) }
        });
        let stream = TokioIo::new(stream);
        let overdue = unsent.overdue(self.limits.sent_within);
        let ended = if is_http2 {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                .max_header_list_size(HEAD_BYTES as u32)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .keep_alive_interval(self.limits.ping_every)
                .keep_alive_timeout(self.limits.pong_within)
                .serve_connection(stream, service);
            until_end(connection, |connection| connection.graceful_shutdown(), draining, overdue).await
        } else {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.header_within)
                .max_buf_size(HEAD_BYTES)
                .half_close(false)
                .serve_connection(stream, service)
                .with_upgrades();
            until_end(connection, |connection| connection.graceful_shutdown(), draining, overdue).await
        };
        match ended {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%error, "an HTTP connection ended early"),
            None => tracing::debug!("an HTTP connection was cut: its client did not take what was sent"),
        }
    }

    /// Whether a user may have one more socket, in a room; `behind` is their address, where a proxy tells it.
    fn admit(&self, user: &str, room: &Address, behind: Option<IpAddr>) -> Result<Admitted, Refused> {
        let user = self.users.of(user);
        let refused = |too_many| match too_many {
            TooMany::Sockets => Refused::SocketsPerUser,
            TooMany::Rooms => Refused::RoomsPerUser,
        };
        let socket = self.users.enter(&user, room).map_err(refused)?;
        let at_door = behind.map(|behind| self.door.enter_behind(behind)).transpose();
        let at_door = at_door.map_err(|_| Refused::ConnectionsPerAddress)?;
        Ok(Admitted { user, _socket: socket, _at_door: at_door })
    }

    /// Accept no more, and say goodbye to every socket at once: 1001, and when to come back.
    pub fn say_goodbye(&self) {
        self.draining.send_replace(true);
        let sockets = self.sockets.all();
        let longest = comes_back_within(sockets.len());
        sockets.iter().for_each(|socket| goodbye(&**socket, longest));
    }

    /// Accept no more, say goodbye to every socket in stages, give clients a moment to answer, and end the connections of
    /// those who do not.
    pub async fn drain(&self) {
        self.draining.send_replace(true);
        let sockets = self.sockets.all();
        let longest = comes_back_within(sockets.len());
        for stage in sockets.chunks(GOODBYES_A_STAGE) {
            stage.iter().for_each(|socket| goodbye(&**socket, longest));
            // What they answer is read meanwhile, and turns go on.
            clock::sleep(STAGE).await;
        }
        drop(sockets);
        if self.all_gone_within(GOODBYE_WITHIN).await {
            return;
        }
        let silent = self.sockets.all();
        tracing::info!(clients = silent.len(), "some clients did not answer the goodbye");
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

/// Drive a connection to its end, or to where it is overdue; when draining begins, it takes no further requests.
async fn until_end<C: Future>(
    connection: C,
    end_gracefully: fn(Pin<&mut C>),
    mut draining: watch::Receiver<bool>,
    overdue: impl Future<Output = ()>,
) -> Option<C::Output> {
    let mut connection = pin!(connection);
    let mut overdue = pin!(overdue);
    tokio::select! {
        ended = connection.as_mut() => return Some(ended),
        () = overdue.as_mut() => return None,
        () = begun(&mut draining) => end_gracefully(connection.as_mut()),
    }
    tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = overdue => None,
    }
}

/// Whether a plain connection begins as HTTP/2 does. Nothing is taken from it.
async fn begins_with_http2(stream: &TcpStream) -> bool {
    // No method of HTTP/1.1 may be called so.
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

/// End a connection whose client takes nothing of what was sent to it, and answers nothing.
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

/// The answer for who is turned away at the door.
fn turned_away(full: Full) -> String {
    let status = match full {
        Full::Everywhere => "503 Service Unavailable",
        Full::Address | Full::TooFast => "429 Too Many Requests",
    };
    let retry_after = http::RETRY_AFTER.as_secs();
    format!("HTTP/1.1 {status}\r\nretry-after: {retry_after}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

/// Within how many seconds those who are sent away come back: spread, so that the next server is met by a thousand a
/// second at most.
fn comes_back_within(sockets: usize) -> u32 {
    u32::try_from(sockets / 1_000).unwrap_or(u32::MAX).clamp(3, 60)
}

fn goodbye(client: &dyn Client, longest_s: u32) {
    end(client, Why::GoingAway { retry_after_s: rand::random_range(1..=longest_s) });
}

fn end(client: &dyn Client, why: Why) {
    client.close(why.code(), &why.reason());
}

/// Wait until draining has begun.
async fn begun(draining: &mut watch::Receiver<bool>) {
    // The sender lives as long as the edge, and whoever waits here holds that.
    let _ = draining.wait_for(|draining| *draining).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_are_sent_away_the_longer_they_are_spread() {
        assert_eq!([0, 2_999, 10_000, 1_000_000].map(comes_back_within), [3, 3, 10, 60]);
    }
}
