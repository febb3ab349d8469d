//! Accepts connections and serves HTTP/1.1 and HTTP/2 on them, until [`drain`](super::drain) begins.
//!
//! It knows no requests: `http` answers each of them. `listener` has the parts of a connection that are used here.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::admission::connection_limits::{ConnectionPermit, TurnedAway};
use super::drain::{LAST_ANSWERS_WITHIN, begun};
use super::listener::activity::{Activity, TrackedStream};
use super::listener::reset::WatchReset;
use super::listener::write_timeout::WriteDeadline;
use super::{Edge, http, listener, response};
use crate::clock;

/// The longest request head, in bytes: enough for a token of 8 KB and a page's cookies.
const HEAD_BYTES: usize = 32 << 10;

/// Requests of one HTTP/2 connection that are answered at the same time.
const STREAMS: u32 = 64;
/// How much of an HTTP/2 request's body a client may send before it is read, in bytes.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// The same for all requests of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

impl Edge {
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
        let permit = match self.connection_limits.acquire(peer.ip()) {
            Ok(permit) => permit,
            Err(turned_away_by) => {
                self.metrics.refused(turned_away_by.into());
                // Write only what fits into the socket's buffer: the server does not wait for a client that it turns
                // away. With TLS there is no plain answer to send.
                if self.certificate.is_none() {
                    let _ = stream.try_write(turned_away(turned_away_by).as_bytes());
                }
                return;
            }
        };
        // Frames are written whole, so Nagle's algorithm would only delay them.
        if let Err(error) = stream.set_nodelay(true).and_then(|()| give_up_after(&stream, self.limits.write_timeout)) {
            tracing::debug!(%peer, %error, "the connection ended before it began");
            return;
        }
        tokio::spawn(self.connection(stream, Arc::new(permit)));
    }

    /// Serves one connection until it ends or becomes a WebSocket.
    async fn connection(self: Arc<Self>, stream: TcpStream, permit: Arc<ConnectionPermit>) {
        let within = self.limits.header_timeout;
        let Some(certificate) = &self.certificate else {
            let begins = async || clock::timeout(within, begins_with_http2(&stream)).await;
            let is_http2 = self.h2c && begins().await.unwrap_or(false);
            return self.http(stream, is_http2, permit).await;
        };
        match clock::timeout(within, certificate.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(listener::tls::HTTP_2);
                self.http(stream, is_http2, permit).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake did not end in time"),
        }
    }

    async fn http<S>(self: Arc<Self>, stream: S, is_http2: bool, permit: Arc<ConnectionPermit>)
    where
        S: AsyncRead + AsyncWrite + WatchReset + Unpin + Send + 'static,
    {
        let draining = self.draining.subscribe();
        let edge = self.clone();
        let deadline = Arc::new(WriteDeadline::default());
        let watching = deadline.clone();
        // HTTP/2 has its own keep-alive pings, and its streams end one by one.
        let activity = (!is_http2).then(|| Activity::new(&self.limits));
        let noticing = activity.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(permit.clone());
            let answering = noticing.as_ref().map(|activity| {
                request.extensions_mut().insert(activity.clone());
                Arc::new(activity.answer())
            });
            let answer = http::answer(edge.clone(), request);
            let deadline = watching.clone();
            async move { Ok::<_, Infallible>(answer.await.map(|body| deadline.watch(body, answering))) }
        });
        let not_taken = deadline.overdue(self.limits.write_timeout);
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
            // hyper would end a connection at once whose first head has not been read yet.
            let head = activity.head_arrived(LAST_ANSWERS_WITHIN);
            until_end(connection, |connection| connection.graceful_shutdown(), draining, head, overdue).await
        } else {
            let paced = listener::http2::Paced::new(stream, self.limits.header_timeout, self.metrics.clone());
            let connection = conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                // All of them may break off when the client ends its half of the connection.
                .max_pending_accept_reset_streams(STREAMS as usize)
                .max_header_list_size(HEAD_BYTES as u32)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .keep_alive_interval(self.limits.ping_every)
                .keep_alive_timeout(self.limits.pong_timeout)
                .serve_connection(TokioIo::new(paced), service);
            let head = std::future::ready(());
            until_end(connection, |connection| connection.graceful_shutdown(), draining, head, overdue).await
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
}

/// Drives a connection until it ends or is overdue. Once draining begins and then `head` is ready, it takes no further
/// requests.
async fn until_end<C: Future>(
    connection: C,
    end_gracefully: fn(Pin<&mut C>),
    mut draining: watch::Receiver<bool>,
    head: impl Future<Output = ()>,
    overdue: impl Future<Output = Overdue>,
) -> Result<C::Output, Overdue> {
    let mut connection = pin!(connection);
    let mut overdue = pin!(overdue);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended),
        overdue = overdue.as_mut() => return Err(overdue),
        () = async { begun(&mut draining).await; head.await } => end_gracefully(connection.as_mut()),
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
fn turned_away(turned_away_by: TurnedAway) -> String {
    let status = match turned_away_by {
        TurnedAway::Everywhere => "503 Service Unavailable",
        TurnedAway::Address | TurnedAway::TooFast => "429 Too Many Requests",
    };
    let retry_after = response::refusals::RETRY_AFTER.as_secs();
    format!("HTTP/1.1 {status}\r\nretry-after: {retry_after}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}
