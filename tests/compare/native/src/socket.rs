//! One WebSocket: the queue of its frames, and the task that reads from it and writes to it.
//!
//! tungstenite reads and judges what comes in; what it answers to pings and goodbyes goes into the same queue as what
//! the room says. The buffers of an idle socket are small: a thousand bytes to read into, and space for a few frames.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice, Read, Write};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop;
use tungstenite::Message;
use tungstenite::error::{CapacityError, Error, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};

use crate::protocol::User;
use crate::room::Room;

/// Bytes that may wait for a client. Above this the client is dropped; one frame may always wait.
const MAX_QUEUE_BYTES: usize = 4 << 20;
/// The longest message of a client, in bytes.
const MESSAGE_BYTES: usize = 64 << 10;
/// Size of the read buffer. It is held while the socket lives, so it is small; a longer message gets its own buffer.
const READ_BUFFER_BYTES: usize = 1 << 10;
/// Messages that are read before the room hears them, and others on this thread get their turn.
const MESSAGES_AT_ONCE: usize = 32;
/// Frames written with one system call.
const FRAMES_A_WRITE: usize = 64;
/// The space for frames that an idle socket keeps, so that the next few need no allocation.
const FRAMES_KEPT: usize = 8;

/// A client as its room sees it.
pub(crate) struct Socket {
    user: User,
    queue: Mutex<Queue>,
    /// Of the socket's task, since it first ran. A task has the same waker for life.
    waker: OnceLock<Waker>,
}

struct Queue {
    frames: VecDeque<Bytes>,
    /// Bytes that wait: in `frames`, and taken but not yet written.
    waiting: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The task sleeps; the sender of a frame must wake it.
    Asleep,
    /// The task will look into the queue without being woken.
    Awake,
    /// Too much waited; the task has to end.
    TooSlow,
}

/// The task of a socket.
pub(crate) struct Connection {
    stream: TcpStream,
    protocol: WebSocketContext,
    socket: Arc<Socket>,
    room: Arc<Room>,
    /// Frames on their way; the first may be written in part.
    writing: VecDeque<Bytes>,
    /// Bytes written since the queue was last updated.
    written: usize,
    /// There may be more to read without a wakeup: tungstenite holds it, or the stream did not register this task.
    may_hold_more: bool,
}

/// How far the client has taken its frames.
enum WriteProgress {
    All,
    /// It will be woken when the client takes more.
    NotYet,
}

/// The connection is over.
struct ConnectionEnded;

impl Socket {
    pub(crate) fn new(user: User) -> Arc<Self> {
        let queue = Queue { frames: VecDeque::new(), waiting: 0, state: State::Awake };
        Arc::new(Socket { user, queue: Mutex::new(queue), waker: OnceLock::new() })
    }

    pub(crate) fn user(&self) -> &User {
        &self.user
    }

    /// Tell the client: one frame, or several in one piece.
    pub(crate) fn send(&self, frames: Bytes) {
        let mut queue = self.lock();
        let too_much = queue.waiting > 0 && queue.waiting + frames.len() > MAX_QUEUE_BYTES;
        let before = queue.state;
        match before {
            State::TooSlow => return,
            _ if too_much => {
                queue.state = State::TooSlow;
                queue.frames = VecDeque::new();
            }
            State::Asleep | State::Awake => {
                queue.state = State::Awake;
                queue.waiting += frames.len();
                queue.frames.push_back(frames);
            }
        }
        // The lock is let go first, so that the task does not run into it.
        drop(queue);
        if (before == State::Asleep || too_much)
            && let Some(waker) = self.waker.get()
        {
            waker.wake_by_ref();
        }
    }

    /// The task runs, and will look into the queue before it sleeps: what the room says meanwhile need not wake it.
    fn stay_awake(&self) {
        let mut queue = self.lock();
        if queue.state == State::Asleep {
            queue.state = State::Awake;
        }
    }

    /// The client takes no more for now. `written` is what it took since the queue was last updated.
    fn wait(&self, written: usize) -> Result<(), ConnectionEnded> {
        self.settle(written).map(drop)
    }

    /// Take all frames that wait. If there are none, the next sender wakes the task.
    fn take(&self, written: usize, frames: &mut VecDeque<Bytes>) -> Result<WriteProgress, ConnectionEnded> {
        let mut queue = self.settle(written)?;
        if queue.frames.is_empty() {
            queue.state = State::Asleep;
            queue.frames.shrink_to(FRAMES_KEPT);
            return Ok(WriteProgress::All);
        }
        mem::swap(&mut queue.frames, frames);
        Ok(WriteProgress::NotYet)
    }

    fn settle(&self, written: usize) -> Result<MutexGuard<'_, Queue>, ConnectionEnded> {
        let mut queue = self.lock();
        queue.waiting -= written;
        if queue.state == State::TooSlow { Err(ConnectionEnded) } else { Ok(queue) }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder of this lock panics")
    }
}

impl Connection {
    /// A socket after its upgrade, which has joined `room`. `read` is what came with the request.
    pub(crate) fn new(stream: TcpStream, read: &[u8], socket: Arc<Socket>, room: Arc<Room>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        let protocol = WebSocketContext::from_partially_read(read.to_vec(), Role::Server, Some(config));
        let writing = VecDeque::new();
        Connection { stream, protocol, socket, room, writing, written: 0, may_hold_more: true }
    }

    fn drive(&mut self, context: &mut Context<'_>) -> Result<(), ConnectionEnded> {
        let read = self.read(context);
        // Also after the end of what was read: the answer to a goodbye is still to be written.
        self.write(context)?;
        read?;
        if self.may_hold_more {
            context.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Reads the available messages, up to a limit, and passes them to the room.
    fn read(&mut self, context: &mut Context<'_>) -> Result<(), ConnectionEnded> {
        // Most often it was woken to write. Then the stream still wakes this task when the client sends something.
        if !self.may_hold_more && self.stream.try_io(Interest::READABLE, || Ok(())).is_err() {
            return Ok(());
        }
        let mut received = Vec::new();
        let mut replies = Vec::new();
        let mut wire = Wire { stream: &mut self.stream, context, replies: &mut replies };
        let over = loop {
            if received.len() == MESSAGES_AT_ONCE {
                self.may_hold_more = true;
                break false;
            }
            match self.protocol.read(&mut wire) {
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => received.push(message),
                // tungstenite has answered pings, and goodbyes when it is asked once more.
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    // If tokio refused because this task had used its budget, the stream wakes no task.
                    self.may_hold_more = !coop::has_budget_remaining();
                    break false;
                }
                Err(error) => {
                    if let Some((code, reason)) = fault(&error) {
                        // It only fails if both sides have sent a close frame already.
                        let _ = self.protocol.close(&mut wire, Some(CloseFrame { code, reason: reason.into() }));
                    }
                    break true;
                }
            }
        };
        if !received.is_empty() || !replies.is_empty() {
            self.socket.stay_awake();
        }
        if !received.is_empty() {
            self.room.receive(&self.socket, &received);
        }
        if !replies.is_empty() {
            self.socket.send(replies.into());
        }
        if over { Err(ConnectionEnded) } else { Ok(()) }
    }

    /// Write what waits, as far as the client takes it, many frames at a time.
    fn write(&mut self, context: &mut Context<'_>) -> Result<(), ConnectionEnded> {
        loop {
            let wrote = self.write_taken(context)?;
            let written = mem::take(&mut self.written);
            if let WriteProgress::NotYet = wrote {
                return self.socket.wait(written);
            }
            if let WriteProgress::All = self.socket.take(written, &mut self.writing)? {
                self.writing.shrink_to(FRAMES_KEPT);
                return Ok(());
            }
        }
    }

    fn write_taken(&mut self, context: &mut Context<'_>) -> Result<WriteProgress, ConnectionEnded> {
        while !self.writing.is_empty() {
            let stream = Pin::new(&mut self.stream);
            let wrote = match self.writing.len() {
                // The common case in a quiet room. The kernel needs less time without a list.
                1 => stream.poll_write(context, &self.writing[0]),
                waiting => {
                    let mut slices = [IoSlice::new(&[]); FRAMES_A_WRITE];
                    for (slice, frames) in slices.iter_mut().zip(&self.writing) {
                        *slice = IoSlice::new(frames);
                    }
                    stream.poll_write_vectored(context, &slices[..waiting.min(FRAMES_A_WRITE)])
                }
            };
            match wrote {
                Poll::Ready(Ok(written)) => self.advance(written),
                Poll::Ready(Err(_)) => return Err(ConnectionEnded),
                Poll::Pending => return Ok(WriteProgress::NotYet),
            }
        }
        Ok(WriteProgress::All)
    }

    fn advance(&mut self, mut written: usize) {
        self.written += written;
        while let Some(frames) = self.writing.front_mut() {
            if written < frames.len() {
                frames.advance(written);
                return;
            }
            written -= frames.len();
            self.writing.pop_front();
        }
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Before the queue is looked into: from then on it is the waker that counts.
        self.socket.waker.get_or_init(|| context.waker().clone());
        match self.drive(context) {
            Ok(()) => Poll::Pending,
            Err(ConnectionEnded) => Poll::Ready(()),
        }
    }
}

impl Drop for Connection {
    /// However it ended, the room is notified once.
    fn drop(&mut self) {
        self.room.leave(&self.socket);
    }
}

/// The close code and reason for an error of the client; absent if the connection was lost.
fn fault(error: &Error) -> Option<(CloseCode, &'static str)> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some((CloseCode::Size, "message too big")),
        Error::Utf8(_) => Some((CloseCode::Invalid, "text is not UTF-8")),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) | Error::Capacity(_) => Some((CloseCode::Protocol, "bad frame")),
        _ => None,
    }
}

/// The connection as tungstenite sees it: reads come from the client, writes go behind our own frames.
struct Wire<'a, 'b> {
    stream: &'a mut TcpStream,
    context: &'a mut Context<'b>,
    replies: &'a mut Vec<u8>,
}

impl Read for Wire<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Not `try_read`: this one knows that there is no more where it read less than it could, and does not try.
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut *self.stream).poll_read(self.context, &mut buffer) {
            Poll::Ready(done) => done.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Wire<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.replies.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> Arc<Socket> {
        Socket::new(User { id: "1".into(), name: "Ana".into() })
    }

    fn send(socket: &Socket, bytes: usize) {
        socket.send(vec![0; bytes].into());
    }

    #[test]
    fn queued_output_is_bounded_until_it_is_written() {
        let (socket, mut writing) = (socket(), VecDeque::new());
        send(&socket, MAX_QUEUE_BYTES + 1);
        assert!(matches!(socket.take(0, &mut writing), Ok(WriteProgress::NotYet)));
        assert!(socket.wait(MAX_QUEUE_BYTES).is_ok());
        send(&socket, MAX_QUEUE_BYTES - 1);
        assert!(socket.wait(0).is_ok());
        send(&socket, 1);
        assert!(socket.wait(0).is_err(), "one byte too many");
        assert!(socket.lock().frames.is_empty(), "nothing is held for a dropped client");
    }

    #[test]
    fn only_an_idle_socket_is_woken() {
        let (socket, mut writing) = (socket(), VecDeque::new());
        assert!(matches!(socket.take(0, &mut writing), Ok(WriteProgress::All)));
        assert_eq!(socket.lock().state, State::Asleep);
        socket.stay_awake();
        send(&socket, 1);
        assert!(matches!(socket.take(0, &mut writing), Ok(WriteProgress::NotYet)));
        assert_eq!((writing.len(), socket.lock().state), (1, State::Awake), "it looks once more before it sleeps");
    }
}
