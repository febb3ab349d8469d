//! One client's WebSocket: tungstenite validates the frames; this module reads and writes them, many at a time.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use anyhow::Context as _;
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tungstenite::error::Error;
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

use super::check;
use super::target::{PATIENCE, Target};
use dormouse::clock;

/// The bytes that one system call may read.
const READ_BYTES: usize = 64 << 10;

thread_local! {
    /// Shared by all sockets of a thread, so that thousands of idle ones hold no buffers.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// An open WebSocket.
pub(super) struct Socket {
    stream: TcpStream,
    protocol: WebSocketContext,
    /// Bytes that arrived together with the upgrade's answer.
    early: Vec<u8>,
    outgoing: Vec<u8>,
}

/// Why a socket did not open, or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the upgrade was answered with {0}")]
    Refused(StatusCode),
    #[error("the server closed it with {0}: {1}")]
    Closed(u16, String),
    #[error("{0}")]
    Lost(String),
}

impl Socket {
    /// Connects to a room, and waits for the first frame.
    pub(super) async fn open(target: &Target, room: &str, user: &str) -> Result<Self, Ended> {
        let mut socket = tokio::time::timeout(PATIENCE, Self::upgrade(target, room, user))
            .await
            .unwrap_or_else(|_| Err(Ended::Lost(format!("no upgrade within {PATIENCE:?}"))))?;
        let mut received = false;
        let first = std::future::poll_fn(|context| {
            loop {
                match socket.poll_receive(context, &mut |_| received = true) {
                    Poll::Ready(Ok(())) if received => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(ended)) => return Poll::Ready(Err(ended)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        let first = tokio::time::timeout(PATIENCE, first).await;
        first.unwrap_or_else(|_| Err(Ended::Lost(format!("no first frame within {PATIENCE:?}"))))?;
        Ok(socket)
    }

    async fn upgrade(target: &Target, room: &str, user: &str) -> Result<Self, Ended> {
        let lost = |error: anyhow::Error| Ended::Lost(format!("{error:#}"));
        let request = target.upgrade(room, user).map_err(lost)?;
        let mut sender = target.http().await.map_err(lost)?;
        let response = sender.send_request(request).await.map_err(|error| lost(error.into()))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Ended::Refused(response.status()));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| lost(error.into()))?;
        let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| Ended::Lost("no TCP".into()))?;
        let config = WebSocketConfig::default().read_buffer_size(4 << 10).write_buffer_size(0);
        Ok(Socket {
            stream: parts.io.into_inner(),
            protocol: WebSocketContext::new(Role::Client, Some(config)),
            early: parts.read_buf.to_vec(),
            outgoing: Vec::new(),
        })
    }

    /// Passes every received text to `visit`; ready once at least one read returned data.
    pub(super) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        visit: &mut dyn FnMut(&str),
    ) -> Poll<Result<(), Ended>> {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            return Poll::Ready(self.take_in(&early, visit));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            loop {
                match self.stream.try_read(scratch) {
                    Ok(0) => return Poll::Ready(Err(Ended::Lost("the connection ended".into()))),
                    Ok(read) => return Poll::Ready(self.take_in(&scratch[..read], visit)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        match self.stream.poll_read_ready(context) {
                            Poll::Ready(Ok(())) => {}
                            Poll::Ready(Err(error)) => return Poll::Ready(Err(Ended::Lost(error.to_string()))),
                            Poll::Pending => return Poll::Pending,
                        }
                    }
                    Err(error) => return Poll::Ready(Err(Ended::Lost(error.to_string()))),
                }
            }
        })
    }

    /// Waits for the next texts and passes them to `visit`.
    pub(super) async fn receive(&mut self, mut visit: impl FnMut(&str)) -> Result<(), Ended> {
        std::future::poll_fn(|context| self.poll_receive(context, &mut visit)).await
    }

    /// Reads the frames that have arrived, without waiting.
    pub(super) fn receive_available(&mut self) -> Result<(), Ended> {
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(received) = self.poll_receive(&mut context, &mut |_| {}) {
            received?;
        }
        Ok(())
    }

    fn take_in(&mut self, input: &[u8], visit: &mut dyn FnMut(&str)) -> Result<(), Ended> {
        let mut wire = Wire { input, output: &mut self.outgoing };
        loop {
            match self.protocol.read(&mut wire) {
                Ok(Message::Text(text)) => visit(&text),
                Ok(Message::Close(frame)) => {
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                    return Err(Ended::Closed(code, reason));
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Ended::Lost(error.to_string())),
            }
        }
    }

    /// Queues a text.
    pub(super) fn queue(&mut self, text: String) -> Result<(), Ended> {
        let mut wire = Wire { input: &[], output: &mut self.outgoing };
        let queued = self.protocol.write(&mut wire, Message::Text(text.into()));
        queued.and_then(|()| self.protocol.flush(&mut wire)).map_err(|error| Ended::Lost(error.to_string()))
    }

    /// Writes queued frames, as far as the server takes them.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Result<(), Ended> {
        let lost = |error: io::Error| Ended::Lost(error.to_string());
        while !self.outgoing.is_empty() {
            match self.stream.try_write(&self.outgoing) {
                Ok(written) => {
                    self.outgoing.drain(..written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match self.stream.poll_write_ready(context) {
                        Poll::Ready(ready) => ready.map_err(lost)?,
                        Poll::Pending => return Ok(()),
                    }
                }
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(())
    }

    /// Sends one text now.
    pub(super) async fn say(&mut self, text: String) -> anyhow::Result<()> {
        self.queue(text)?;
        let flushed = std::future::poll_fn(|context| match self.poll_flush(context) {
            Ok(()) if self.outgoing.is_empty() => Poll::Ready(Ok(())),
            Ok(()) => Poll::Pending,
            Err(ended) => Poll::Ready(Err(ended)),
        });
        tokio::time::timeout(PATIENCE, flushed).await.context("the server reads no more")??;
        Ok(())
    }

    /// Sends message `number`, waits for its echo, and returns the time between them.
    pub(super) async fn echo(&mut self, number: u64) -> anyhow::Result<Duration> {
        let began = clock::monotonic();
        self.say(format!(r#"{{"type":"message","content":"{}"}}"#, check::line(0, number, 0, 64))).await?;
        let mut came_back = false;
        while !came_back {
            let visit =
                |frame: &str| came_back |= check::parts(frame).is_some_and(|(_, received, _)| received == number);
            tokio::time::timeout(PATIENCE, self.receive(visit)).await.context("no echo came")??;
        }
        Ok(began.elapsed())
    }

    /// Keeps the socket open and reads it until it ends.
    pub(super) async fn listen(mut self) -> Ended {
        loop {
            if let Err(ended) = self.receive(|_| {}).await {
                return ended;
            }
            // The answers to pings are in the queue.
            if let Err(ended) = std::future::poll_fn(|context| Poll::Ready(self.poll_flush(context))).await {
                return ended;
            }
        }
    }
}

/// The connection as tungstenite sees it: the bytes that were read, and those to be written.
struct Wire<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
