//! Notices that a client is gone although it has ended its half of the connection.
//!
//! After that end, nothing more can be read, so a read cannot tell a client that waits for its answer from one that
//! closed the connection. The kernel of a client that closed it answers the next byte with a reset. `activity` and
//! `http2` have a harmless byte sent and notice the reset here; so does a WebSocket.

use std::future::pending;
use std::io;
use std::net;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::Context;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Watches a connection for its reset.
pub(in crate::edge) struct Reset {
    /// Absent once the connection was reset.
    awaited: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// A connection that can be watched for a reset.
pub(in crate::edge) trait WatchReset {
    fn watch_reset(&self) -> Reset;
}

impl Reset {
    /// Watches a connection of which nothing can be learned: a failed write or a timeout ends it.
    pub(in crate::edge) fn unknown() -> Self {
        Reset { awaited: Some(Box::pin(pending())) }
    }

    /// Returns whether the connection was reset. If not, the task is woken when it is.
    pub(in crate::edge) fn has_come(&mut self, context: &mut Context<'_>) -> bool {
        self.awaited.take_if(|awaited| awaited.as_mut().poll(context).is_ready());
        self.awaited.is_none()
    }
}

impl WatchReset for TcpStream {
    fn watch_reset(&self) -> Reset {
        // Its own descriptor and registration: those of the stream belong to another owner, and they report an end of
        // the client's half only once. Without a free descriptor nothing is watched.
        let Ok(stream) = duplicate(self) else { return Reset::unknown() };
        Reset { awaited: Some(Box::pin(async move { is_reset(&stream).await })) }
    }
}

impl WatchReset for TlsStream<TcpStream> {
    fn watch_reset(&self) -> Reset {
        self.get_ref().0.watch_reset()
    }
}

/// A second descriptor of a connection, for the answer to a client that only receives and that nobody reads meanwhile.
pub(in crate::edge) struct Watcher(Option<TcpStream>);

impl Watcher {
    /// Without a free descriptor nothing is watched.
    pub(in crate::edge) fn of(stream: &TcpStream) -> Self {
        Watcher(duplicate(stream).ok())
    }

    /// Waits until the client has ended its half. It may still read, or be gone: send something, and await
    /// [`reset`](Self::reset). For ever, if the client has sent more that nobody reads.
    pub(in crate::edge) async fn input_ended(&self) {
        match &self.0 {
            Some(stream) if !matches!(stream.peek(&mut [0]).await, Ok(1..)) => {}
            _ => pending().await,
        }
    }

    /// Waits until the connection is reset.
    pub(in crate::edge) async fn reset(&self) {
        match &self.0 {
            Some(stream) => is_reset(stream).await,
            None => pending().await,
        }
    }
}

async fn is_reset(stream: &TcpStream) {
    if !stream.ready(Interest::ERROR).await.is_ok_and(|ready| ready.is_error()) {
        pending().await
    }
}

#[cfg(test)]
impl WatchReset for tokio::io::DuplexStream {
    fn watch_reset(&self) -> Reset {
        Reset::unknown()
    }
}

fn duplicate(stream: &TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(net::TcpStream::from(stream.as_fd().try_clone_to_owned()?))
}
