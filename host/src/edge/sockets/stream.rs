//! The two halves of a connection that has become a WebSocket: plain TCP, or another stream such as TLS or that of an
//! embedder's server.
//!
//! TCP can be written from any thread at once. Another stream is written only by the connection's own task, which costs
//! a wakeup for each message.
//!
//! It knows no frames. `websocket` reads from one half, and `outgoing` writes to the other.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::edge::listener::activity::TrackedStream;
use crate::edge::listener::reset::{Reset, WatchReset};

type Other = TokioIo<Upgraded>;

/// The half that reads from the client.
pub(in crate::edge) enum Reader {
    Tcp(OwnedReadHalf),
    Other(ReadHalf<Other>),
}

/// The half that writes to the client.
pub(in crate::edge) enum Writer {
    Tcp(OwnedWriteHalf),
    Other {
        half: WriteHalf<Other>,
        /// Written bytes may still be buffered in the stream.
        unflushed: bool,
    },
}

/// Splits a connection into its halves and the bytes that were already read.
pub(in crate::edge) fn split(upgraded: Upgraded) -> (Reader, Writer, Bytes) {
    match upgraded.downcast::<TokioIo<TrackedStream<TcpStream>>>() {
        Ok(parts) => {
            let (stream, ahead) = parts.io.into_inner().into_parts();
            let (reader, writer) = stream.into_split();
            let read = if ahead.is_empty() { parts.read_buf } else { [&parts.read_buf[..], &ahead].concat().into() };
            (Reader::Tcp(reader), Writer::Tcp(writer), read)
        }
        Err(other) => {
            let (reader, writer) = tokio::io::split(TokioIo::new(other));
            (Reader::Other(reader), Writer::Other { half: writer, unflushed: false }, Bytes::new())
        }
    }
}

impl Reader {
    /// Watches a connection of which nothing more can be read. Of another stream nothing can be learned.
    pub(in crate::edge) fn watch_reset(&self) -> Reset {
        match self {
            Reader::Tcp(reader) => reader.as_ref().watch_reset(),
            Reader::Other(_) => Reset::unknown(),
        }
    }

    pub(in crate::edge) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Reader::Tcp(reader) => Pin::new(reader).poll_read(context, buffer),
            Reader::Other(reader) => Pin::new(reader).poll_read(context, buffer),
        }
    }
}

impl Writer {
    /// Writes as much as the connection takes at once. Without a `context` to be woken in, only TCP can be written.
    pub(in crate::edge) fn write(
        &mut self,
        frames: &[IoSlice<'_>],
        context: Option<&mut Context<'_>>,
    ) -> io::Result<usize> {
        match (self, context) {
            (Writer::Tcp(stream), _) => match frames {
                [frame] => stream.try_write(frame),
                frames => stream.try_write_vectored(frames),
            },
            (Writer::Other { half, unflushed }, Some(context)) => {
                *unflushed = true;
                match Pin::new(half).poll_write_vectored(context, frames) {
                    Poll::Ready(written) => written,
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
            (Writer::Other { .. }, None) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Flushes the stream's own buffer.
    pub(in crate::edge) fn flush(&mut self, context: Option<&mut Context<'_>>) -> io::Result<()> {
        let Writer::Other { half, unflushed: unflushed @ true } = self else { return Ok(()) };
        let Some(context) = context else { return Err(io::ErrorKind::WouldBlock.into()) };
        match Pin::new(half).poll_flush(context) {
            Poll::Ready(flushed) => {
                *unflushed = false;
                flushed
            }
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Ends our half of the connection.
    pub(in crate::edge) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Writer::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Writer::Other { half, .. } => Pin::new(half).poll_shutdown(context),
        }
    }

    /// Waits until the connection takes more. Another stream has registered its waker already when it returned
    /// `Pending`.
    pub(in crate::edge) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Writer::Tcp(stream) => {
                ready!(stream.as_ref().poll_write_ready(context))?;
                Poll::Ready(Ok(()))
            }
            Writer::Other { .. } => Poll::Pending,
        }
    }
}
