//! HTTP and WebSocket: accept, identify, route, upgrade, drain. Knows no wasm, and no room's inside.
//!
//! A frame enters in `connection`, becomes an event through a room's [`Seat`](crate::room::Seat), and what the room
//! says comes back through `outgoing` and leaves in `connection`. All close codes are in `close`.

mod body;
mod bucket;
mod close;
mod connection;
mod events;
mod frames;
mod http;
mod identity;
mod origin;
mod outgoing;
mod page;
mod problem;
mod service;
mod tickets;
mod upgrade;
mod wire;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::clock;
use crate::config::{Config, Limits};
use crate::guest::{Lane, RouterKind};
use crate::model::Client;
use crate::room::Rooms;

pub use body::Body;
pub use frames::encode;
pub use identity::{Invalid, KeyError, Verified, Verifier, mint};
pub use service::Service;

use close::Why;
use origin::Origins;
use tickets::Tickets;

/// After the goodbyes, how long clients may take to answer them.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// How long connections that are cut may take to notice.
const CUT_WITHIN: Duration = Duration::from_secs(1);
/// The longest request head, in bytes: room for a token of 8 KB and a page's cookies.
const HEAD_BYTES: usize = 32 << 10;

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
    connections: Arc<Semaphore>,
    sockets: Mutex<HashMap<u64, Arc<dyn Client>>>,
    next_socket: AtomicU64,
    draining: watch::Sender<bool>,
}

/// A socket in the list of those to say goodbye to; dropping it takes it out.
struct Listed {
    edge: Arc<Edge>,
    number: u64,
}

impl Edge {
    /// The edge before `rooms`.
    pub fn new(
        config: &Config,
        limits: Arc<Limits>,
        rooms: Rooms,
        router: RouterKind,
        verifier: Verifier,
        lane: Lane,
    ) -> Arc<Self> {
        Arc::new(Edge {
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
            connections: Arc::new(Semaphore::new(limits.connections)),
            limits,
            sockets: Mutex::default(),
            next_socket: AtomicU64::new(0),
            draining: watch::Sender::new(false),
        })
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
        let Ok(place) = self.connections.clone().try_acquire_owned() else {
            let retry_after = http::RETRY_AFTER.as_secs();
            let full = format!(
                "HTTP/1.1 503 Service Unavailable\r\nretry-after: {retry_after}\r\ncontent-length: 0\r\n\
                 connection: close\r\n\r\n"
            );
            // As far as the socket's own buffer takes it: nobody waits for a client that is turned away.
            let _ = stream.try_write(full.as_bytes());
            return;
        };
        // Frames are written when they are whole; to wait for more would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "the connection ended before it began");
            return;
        }
        tokio::spawn(self.http(stream, Arc::new(place)));
    }

    /// One HTTP connection, until it ends or becomes a WebSocket.
    async fn http(self: Arc<Self>, stream: TcpStream, place: Arc<OwnedSemaphorePermit>) {
        let mut draining = self.draining.subscribe();
        let edge = self.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(place.clone());
            let answer = http::answer(edge.clone(), request);
            async { Ok::<_, Infallible>(answer.await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_within)
            .max_buf_size(HEAD_BYTES)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = begun(&mut draining) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection ended early");
        }
    }

    /// Accept no more, and say goodbye to every socket: 1001, and when to come back.
    pub fn say_goodbye(&self) {
        self.draining.send_replace(true);
        let sockets = self.sockets.lock().expect("no holder of this lock panics").values().cloned().collect::<Vec<_>>();
        for socket in sockets {
            // Spread, so that the next server is not met by all of them at once.
            end(&*socket, Why::GoingAway { retry_after_s: rand::random_range(1..=3) });
        }
    }

    /// [Say goodbye](Self::say_goodbye), give clients a moment to answer, and end the connections of those who do not.
    pub async fn drain(&self) {
        self.say_goodbye();
        if self.all_gone_within(GOODBYE_WITHIN).await {
            return;
        }
        let silent = self.sockets.lock().expect("no holder of this lock panics").values().cloned().collect::<Vec<_>>();
        tracing::info!(clients = silent.len(), "some clients did not answer the goodbye");
        silent.iter().for_each(|client| client.cut());
        self.all_gone_within(CUT_WITHIN).await;
    }

    async fn all_gone_within(&self, within: Duration) -> bool {
        let all_gone = async {
            while !self.sockets.lock().expect("no holder of this lock panics").is_empty() {
                clock::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(within, all_gone).await.is_ok()
    }
}

fn end(client: &dyn Client, why: Why) {
    client.close(why.code(), &why.reason());
}

/// Wait until draining has begun.
async fn begun(draining: &mut watch::Receiver<bool>) {
    // The sender lives as long as the edge, and whoever waits here holds that.
    let _ = draining.wait_for(|draining| *draining).await;
}

impl Listed {
    fn new(edge: &Arc<Edge>, client: Arc<dyn Client>) -> Self {
        let number = edge.next_socket.fetch_add(1, Ordering::Relaxed);
        edge.sockets.lock().expect("no holder of this lock panics").insert(number, client.clone());
        // It may have come between the goodbyes and the end.
        if *edge.draining.borrow() {
            end(&*client, Why::GoingAway { retry_after_s: 1 });
        }
        Listed { edge: edge.clone(), number }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.edge.sockets.lock().expect("no holder of this lock panics").remove(&self.number);
    }
}
