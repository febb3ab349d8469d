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
        let awaited = async move {
            if !stream.ready(Interest::ERROR).await.is_ok_and(|ready| ready.is_error()) {
                pending().await
            }
        };
        Reset { awaited: Some(Box::pin(awaited)) }
    }
}

impl WatchReset for TlsStream<TcpStream> {
    fn watch_reset(&self) -> Reset {
        self.get_ref().0.watch_reset()
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
