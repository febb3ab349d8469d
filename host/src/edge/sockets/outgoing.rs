//! The sending side of a WebSocket, as its room sees it: a bounded queue of frames, the stream, and the waker of the
//! connection's task.
//!
//! A caller that queues a message may also write it: [`flush`](Client::flush) writes waiting frames from any thread, as
//! far as the connection takes them at once. Only the rest needs the connection's own task. So a message to ten clients
//! costs ten writes, and wakes no task.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};

use super::close::CloseReason;
use super::frames;
use super::stream;
use crate::clock::UnixMillis;
use crate::limit_hits::{Limit, LimitHits};
use crate::lock::Lock;
use crate::model::{Client, ClientKind, Form, OutboundMessage};
use crate::pressure::Pressure;

/// Frames written with one system call.
const FRAMES_A_WRITE: usize = 64;

/// The queue that the room and the host fill, and the stream that empties it.
pub(in crate::edge) struct Outgoing {
    inner: Lock<Inner>,
    /// Messages that were given to the room and whose turns have not ended.
    in_flight: AtomicUsize,
    /// When the host last gave it the auto-response; 0 if it never did.
    auto_responded_at: AtomicU64,
    max_waiting: usize,
    max_in_flight: usize,
    pressure: Arc<Pressure>,
    limit_hits: LimitHits,
}

#[derive(Default)]
struct Inner {
    /// Absent before the upgrade and after the end.
    stream: Option<stream::Writer>,
    queue: Queue,
    writer: Writer,
    close: Option<(u16, String)>,
    closing: bool,
    cut: bool,
    resumed: bool,
    nothing_follows: bool,
    waker: Option<Waker>,
}

/// Waiting frames. A single frame waits without an allocation: usually it is the only one.
#[derive(Default)]
struct Queue {
    first: Option<Bytes>,
    rest: VecDeque<Bytes>,
    /// Bytes of all frames that are not written.
    bytes: usize,
    /// A part of the first frame is written, so it can no longer be dropped.
    begun: bool,
}

/// The next writer of the stream.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// None: no frame waits.
    #[default]
    Idle,
    /// The caller that queued the first waiting frame.
    Caller,
    /// The connection's task, when the connection takes more.
    Task,
}

/// The requests to the connection's task.
#[derive(Default)]
pub(in crate::edge) struct Work {
    /// Send a close frame behind the waiting frames.
    pub(in crate::edge) close: Option<(u16, String)>,
    /// End at once.
    pub(in crate::edge) cut: bool,
    /// The room's mailbox has space again.
    pub(in crate::edge) resumed: bool,
    /// The room knows that the client has left, and all its messages to the client are queued.
    pub(in crate::edge) nothing_follows: bool,
}

impl Outgoing {
    pub(in crate::edge) fn new(
        max_waiting: usize,
        max_in_flight: usize,
        pressure: Arc<Pressure>,
        limit_hits: LimitHits,
    ) -> Self {
        let (inner, in_flight, auto_responded_at) = Default::default();
        Outgoing { inner, in_flight, auto_responded_at, max_waiting, max_in_flight, pressure, limit_hits }
    }

    /// Sets the stream after the upgrade: waiting frames may be written.
    pub(in crate::edge) fn open(&self, stream: stream::Writer) {
        self.inner.lock().stream = Some(stream);
    }

    /// Ends the connection: nothing is sent any more, and waiting frames are dropped.
    pub(in crate::edge) fn hang_up(&self) {
        let mut inner = self.inner.lock();
        inner.closing = true;
        inner.queue = Queue::default();
        inner.writer = Writer::Idle;
        let stream = inner.stream.take();
        drop(inner);
        drop(stream);
    }

    /// Takes all requests to the task, and registers its waker for more.
    pub(in crate::edge) fn take(&self, context: &Context<'_>) -> Work {
        let mut inner = self.inner.lock();
        if !inner.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            inner.waker = Some(context.waker().clone());
        }
        Work {
            close: inner.close.take(),
            cut: inner.cut,
            resumed: std::mem::take(&mut inner.resumed),
            nothing_follows: inner.nothing_follows,
        }
    }

    /// Queues a frame of the host itself, such as an answer to a ping. Returns the number of waiting frames.
    pub(in crate::edge) fn reply(&self, frame: Bytes) -> usize {
        let mut inner = self.inner.lock();
        inner.queue.push(frame);
        inner.queue.len()
    }

    /// Queues the last frame; later messages of the room are dropped. Returns the number of waiting frames.
    pub(in crate::edge) fn goodbye(&self, frame: Bytes) -> usize {
        let mut inner = self.inner.lock();
        inner.closing = true;
        inner.queue.push(frame);
        inner.queue.len()
    }

    /// Ends our half of the connection after the last frame is written. The client can still send.
    ///
    /// Fails: when the connection is gone.
    pub(in crate::edge) fn poll_end(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inner.lock();
        let Some(stream) = &mut inner.stream else { return Poll::Ready(Ok(())) };
        let ended = ready!(stream.poll_shutdown(context));
        inner.stream = None;
        Poll::Ready(ended)
    }

    /// Writes waiting frames, as far as the connection takes them, and registers the waker for the rest. Returns the
    /// number of waiting frames.
    ///
    /// Fails: when the connection is gone.
    pub(in crate::edge) fn poll_write(&self, context: &mut Context<'_>) -> io::Result<usize> {
        let mut inner = self.inner.lock();
        while !inner.write(Some(context))? {
            let Some(stream) = &inner.stream else { break };
            match stream.poll_ready(context) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    inner.writer = Writer::Task;
                    break;
                }
            }
        }
        Ok(inner.queue.len())
    }

    /// Counts a message that goes to the room.
    pub(in crate::edge) fn sent(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether the client may send one more message.
    pub(in crate::edge) fn may_send(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) < self.max_in_flight
    }
}

impl Inner {
    /// Writes until no frame waits (true), or the connection takes no more (false). `context` is present if the
    /// connection's task is the caller.
    fn write(&mut self, mut context: Option<&mut Context<'_>>) -> io::Result<bool> {
        let Some(stream) = &mut self.stream else { return Ok(self.queue.is_empty()) };
        while let Some(first) = &self.queue.first {
            let wrote = if self.queue.rest.is_empty() {
                stream.write(&[IoSlice::new(first)], context.as_deref_mut())
            } else {
                let mut frames = [IoSlice::new(&[]); FRAMES_A_WRITE];
                let waiting = std::iter::once(first).chain(&self.queue.rest);
                let count = frames.iter_mut().zip(waiting).map(|(slot, frame)| *slot = IoSlice::new(frame)).count();
                stream.write(&frames[..count], context.as_deref_mut())
            };
            match wrote {
                Ok(written) => self.queue.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match stream.flush(context) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        self.writer = Writer::Idle;
        Ok(true)
    }
}

impl Queue {
    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        if self.first.is_none() {
            self.first = Some(frame);
        } else {
            self.rest.push_back(frame);
        }
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = &mut self.first {
            if written < first.len() {
                first.advance(written);
                self.begun |= written > 0;
                return;
            }
            written -= first.len();
            self.begun = false;
            self.first = self.rest.pop_front();
        }
        // An idle connection keeps no buffer.
        self.rest = VecDeque::new();
    }

    /// Drops all frames of which nothing is written.
    fn clear(&mut self) {
        let begun = if self.begun { self.first.take() } else { None };
        let was_begun = begun.is_some();
        *self = Queue::default();
        if let Some(frame) = begun {
            self.push(frame);
            self.begun = was_begun;
        }
    }
}

/// Wakes the task after the lock is released, so that the task does not have to wait for it.
fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Client for Outgoing {
    fn enqueue(&self, message: &OutboundMessage) -> bool {
        let frame = message.encoded(Form::Frame, |message, _| frames::encode(message));
        let mut inner = self.inner.lock();
        if inner.closing {
            return false;
        }
        let waiting = inner.queue.bytes;
        // One frame always fits, however long: a history may be longer than the queue's limit.
        if waiting > 0 && waiting + frame.len() > self.pressure.shorten(self.max_waiting) {
            inner.queue.clear();
            inner.closing = true;
            inner.close = Some((CloseReason::TooSlow.code(), CloseReason::TooSlow.reason()));
            self.limit_hits.count(Limit::SocketQueue);
            wake(inner);
            return false;
        }
        inner.queue.push(frame.clone());
        let first = inner.writer == Writer::Idle;
        if first {
            inner.writer = Writer::Caller;
        }
        first
    }

    fn flush(&self) {
        let mut inner = self.inner.lock();
        // Before the upgrade all frames wait; the connection's task writes them first.
        if inner.stream.is_some() && inner.writer == Writer::Caller && !inner.write(None).unwrap_or(false) {
            // The task handles the rest, or the error.
            inner.writer = Writer::Task;
            wake(inner);
        }
    }

    fn close(&self, code: u16, reason: &str) {
        let mut inner = self.inner.lock();
        if !std::mem::replace(&mut inner.closing, true) {
            inner.close = Some((code, reason.to_owned()));
            wake(inner);
        }
    }

    fn abort(&self) {
        let mut inner = self.inner.lock();
        inner.closing = true;
        inner.cut = true;
        wake(inner);
    }

    fn auto_responded(&self, at: UnixMillis) {
        self.auto_responded_at.store(at, Ordering::Relaxed);
    }

    fn auto_responded_at(&self) -> Option<UnixMillis> {
        Some(self.auto_responded_at.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    fn turn_done(&self) {
        // Only a client at its limit is paused, so only then must its task be woken.
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == self.max_in_flight {
            wake(self.inner.lock());
        }
    }

    fn resume(&self) {
        let mut inner = self.inner.lock();
        inner.resumed = true;
        wake(inner);
    }

    fn nothing_follows(&self) {
        let mut inner = self.inner.lock();
        inner.nothing_follows = true;
        wake(inner);
    }

    fn buffered(&self) -> usize {
        self.inner.lock().queue.bytes
    }

    fn kind(&self) -> ClientKind {
        ClientKind::WebSocket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Message;

    fn outgoing(max_waiting: usize, max_in_flight: usize) -> Outgoing {
        Outgoing::new(max_waiting, max_in_flight, Arc::new(Pressure::above(u64::MAX)), LimitHits::default())
    }

    fn say(outgoing: &Outgoing, bytes: usize) -> bool {
        outgoing.enqueue(&OutboundMessage::new(Message::Binary(vec![0; bytes])))
    }

    fn close_code(outgoing: &Outgoing) -> Option<u16> {
        outgoing.take(&Context::from_waker(Waker::noop())).close.map(|(code, _)| code)
    }

    /// The two ends of a connection.
    async fn connection() -> (stream::Writer, tokio::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let (ours, theirs) = tokio::join!(listener.accept(), connect);
        (stream::Writer::Tcp(ours.unwrap().0.into_split().1), theirs.unwrap())
    }

    #[test]
    fn a_slow_client_is_closed_with_1013_and_its_queue_freed() {
        let outgoing = outgoing(100, 1);
        say(&outgoing, 60);
        say(&outgoing, 60);
        assert_eq!(close_code(&outgoing), Some(1013));
        assert_eq!(outgoing.buffered(), 0);
    }

    #[test]
    fn one_frame_always_fits() {
        let outgoing = outgoing(100, 1);
        say(&outgoing, 5_000);
        assert_eq!(close_code(&outgoing), None);
        assert_eq!(outgoing.buffered(), 5_000 + 4);
    }

    #[test]
    fn nothing_is_queued_after_a_close_frame() {
        let outgoing = outgoing(100, 1);
        say(&outgoing, 1);
        outgoing.close(CloseReason::Idle.code(), "");
        say(&outgoing, 1);
        outgoing.close(CloseReason::TooBig.code(), "");
        assert_eq!(close_code(&outgoing), Some(4408));
        assert_eq!(outgoing.buffered(), 3);
    }

    #[test]
    fn no_message_of_the_room_follows_the_close_frame() {
        let outgoing = outgoing(100, 1);
        say(&outgoing, 1);
        outgoing.goodbye(Bytes::from_static(b"\x88\0"));
        assert!(!say(&outgoing, 1));
        outgoing.close(CloseReason::TooBig.code(), "");
        assert_eq!(close_code(&outgoing), None);
        assert_eq!(outgoing.buffered(), 3 + 2);
    }

    #[test]
    fn only_the_first_queued_frame_asks_for_a_flush() {
        let outgoing = outgoing(100, 1);
        assert!(say(&outgoing, 1));
        assert!(!say(&outgoing, 1));
    }

    #[tokio::test]
    async fn a_flush_writes_all_queued_frames_in_order() {
        use tokio::io::AsyncReadExt;
        let (ours, mut theirs) = connection().await;
        let outgoing = outgoing(1_000, 1);
        (1..=3).for_each(|bytes| {
            say(&outgoing, bytes);
        });
        outgoing.flush();
        assert_eq!(outgoing.buffered(), 3 + 4 + 5, "before the upgrade everything waits");
        outgoing.open(ours);
        outgoing.flush();
        assert_eq!(outgoing.buffered(), 0);
        let mut received = [0; 12];
        theirs.read_exact(&mut received).await.unwrap();
        assert_eq!(received, [0x82, 1, 0, 0x82, 2, 0, 0, 0x82, 3, 0, 0, 0]);
        assert!(say(&outgoing, 1), "and the next one asks for a flush again");
    }

    #[tokio::test]
    async fn a_partly_written_frame_is_completed_after_a_drop() {
        use tokio::io::AsyncReadExt;
        let (ours, mut theirs) = connection().await;
        let outgoing = outgoing(32 << 20, 1);
        outgoing.open(ours);
        let long = 16 << 20;
        say(&outgoing, long);
        outgoing.flush();
        let left = outgoing.buffered();
        assert!(left > 0 && left < long, "an unread connection takes a part of it");
        say(&outgoing, 100);
        say(&outgoing, long);
        say(&outgoing, long);
        assert_eq!(close_code(&outgoing), Some(1013));
        assert_eq!(outgoing.buffered(), left, "the begun frame stays, the frames behind it are dropped");
        let reader = tokio::spawn(async move {
            let mut received = vec![0; long + 10];
            theirs.read_exact(&mut received).await.unwrap();
        });
        let all = std::future::poll_fn(|context| match outgoing.poll_write(context).unwrap() {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        });
        all.await;
        reader.await.unwrap();
    }
}
