//! The state of an HTTP/1.1 connection: it waits for a request's head, for the next request, or for an answer of the
//! host.
//!
//! Heads must come quickly, but the time between two requests may be long, so each has its own deadline.
//!
//! A client that has ended its half of the connection still gets its answer. A client that only receives (SSE) may also
//! have closed the connection, and nothing reads the connection while the room is asked or is silent. Therefore the
//! connection is read ahead meanwhile. At its end the stream sends a comment, and a closed connection is reset then.
//!
//! A request may be refused before its body has arrived. Closing a socket with unread data resets it, and the client
//! may never see the answer. So our half ends first, and incoming data is discarded for a while.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::reset::{Reset, WatchReset};
use crate::clock;
use crate::config::Limits;

/// The bytes that are read ahead of a client that only receives. If it sends more, its end is noticed only at the next
/// write.
const AHEAD_BYTES: usize = 1_024;

/// Deadlines are checked no more often than this.
const LOOK_EVERY_MOST: Duration = Duration::from_millis(10);
/// The size of one read of discarded data, in bytes.
const DISCARDED_BYTES: usize = 8_192;
/// Reads before other tasks on this thread get their turn.
const READS_A_POLL: usize = 32;

/// The state of one connection, and its deadlines.
pub(in crate::edge) struct Activity {
    state: Mutex<State>,
    /// A head must come within this time.
    header_timeout: Duration,
    /// The next request must begin within this time.
    idle_timeout: Duration,
    /// The client must end its half within this time after we have ended ours.
    close_timeout: Duration,
    /// Tells the stream that the client receives that its client has ended its half.
    input_ended: Notify,
}

struct State {
    /// The number of requests whose answers are not fully sent.
    answering: usize,
    /// A head has begun, or the first one is awaited.
    is_in_head: bool,
    /// Since when a head is awaited, or since when the connection is idle.
    since: Instant,
    /// The client only receives, and sends nothing more.
    listens: bool,
    /// Our half has ended.
    is_ended: bool,
}

/// A request that is being answered, until its answer is sent.
pub(in crate::edge) struct AnswerGuard(Arc<Activity>);

impl Activity {
    /// The state of a new connection.
    pub(in crate::edge) fn new(limits: &Limits) -> Arc<Self> {
        let since = clock::monotonic();
        let state = State { answering: 0, is_in_head: true, since, listens: false, is_ended: false };
        Arc::new(Activity {
            state: Mutex::new(state),
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            close_timeout: limits.close_timeout,
            input_ended: Notify::new(),
        })
    }

    /// Records that the head of a request has arrived.
    pub(in crate::edge) fn answer(self: &Arc<Self>) -> AnswerGuard {
        let mut state = self.state();
        state.answering += 1;
        state.is_in_head = false;
        AnswerGuard(self.clone())
    }

    /// Records that the client of the current request only receives from now on.
    pub(in crate::edge) fn listen(&self) {
        self.state().listens = true;
    }

    /// Waits until a client that only receives has ended its half. It may still receive, or be gone.
    pub(in crate::edge) async fn input_ended(&self) {
        self.input_ended.notified().await;
    }

    /// Waits until no head is awaited or arriving, at most for `at_most`. A shutdown calls it.
    pub(in crate::edge) async fn head_arrived(&self, at_most: Duration) {
        let arrived = async {
            while matches!(*self.state(), State { answering: 0, is_in_head: true, .. }) {
                clock::sleep(LOOK_EVERY_MOST).await;
            }
        };
        let _ = clock::timeout(at_most, arrived).await;
    }

    /// Waits until the client misses a deadline.
    pub(in crate::edge) async fn overdue(&self) {
        loop {
            let left = self.left(clock::monotonic());
            if left.is_zero() {
                return;
            }
            // Meanwhile a head may begin or our half may end; both have shorter deadlines.
            clock::sleep(left.min(self.header_timeout).min(self.close_timeout).max(LOOK_EVERY_MOST)).await;
        }
    }

    fn left(&self, now: Instant) -> Duration {
        let state = self.state();
        let within = match (state.answering, state.is_in_head) {
            (0, _) if state.is_ended => self.close_timeout,
            (0, true) => self.header_timeout,
            (0, false) => self.idle_timeout,
            _ => return Duration::MAX,
        };
        within.saturating_sub(now.saturating_duration_since(state.since))
    }

    /// Records that our half has ended.
    fn end(&self) {
        let mut state = self.state();
        state.is_ended = true;
        state.since = clock::monotonic();
    }

    /// Records that bytes arrived.
    fn read(&self) {
        let mut state = self.state();
        if state.answering == 0 && !state.is_in_head {
            state.is_in_head = true;
            state.since = clock::monotonic();
        }
    }

    fn listens(&self) -> bool {
        self.state().listens
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AnswerGuard {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.answering = state.answering.saturating_sub(1);
        state.since = clock::monotonic();
        state.listens = false;
    }
}

/// A connection that reports its reads to its [`Activity`].
pub(in crate::edge) struct TrackedStream<S> {
    stream: S,
    activity: Arc<Activity>,
    /// Bytes that were read ahead.
    ahead: Vec<u8>,
    /// Present once the end of the client's half was read ahead.
    reset: Option<Reset>,
    /// Our half has ended.
    is_ended: bool,
}

impl<S> TrackedStream<S> {
    pub(in crate::edge) fn new(stream: S, activity: Arc<Activity>) -> Self {
        TrackedStream { stream, activity, ahead: Vec::new(), reset: None, is_ended: false }
    }

    /// The connection, and the bytes that were read ahead of it.
    pub(in crate::edge) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.ahead)
    }
}

impl<S: AsyncRead + WatchReset + Unpin> TrackedStream<S> {
    /// Reads ahead what is there. Fails if the connection is reset.
    fn read_ahead(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.reset.is_none() && self.ahead.len() < AHEAD_BYTES {
            let mut bytes = [0; AHEAD_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes[self.ahead.len()..]);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer)? {
                Poll::Ready(()) if buffer.filled().is_empty() => {
                    self.reset = Some(self.stream.watch_reset());
                    self.activity.input_ended.notify_one();
                }
                Poll::Ready(()) => self.ahead.extend_from_slice(buffer.filled()),
                Poll::Pending => return Ok(()),
            }
        }
        if self.reset.as_mut().is_some_and(|reset| reset.has_come(context)) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> TrackedStream<S> {
    /// Discards incoming data until the client ends its half.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..READS_A_POLL {
            let mut bytes = [MaybeUninit::uninit(); DISCARDED_BYTES];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TrackedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if this.ahead.is_empty() {
            match Pin::new(&mut this.stream).poll_read(context, buffer) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        } else {
            let now = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead[..now]);
            this.ahead.drain(..now);
            if this.ahead.is_empty() {
                // An idle connection keeps no buffer.
                this.ahead = Vec::new();
            }
        }
        if buffer.filled().len() > before {
            this.activity.read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + WatchReset + Unpin> AsyncWrite for TrackedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper calls this at each poll of a connection, even if there is nothing to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.listens() {
            self.read_ahead(context)?;
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_ended {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.is_ended = true;
            self.activity.end();
        }
        self.poll_discard(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> (Arc<Activity>, Limits) {
        let limits = Limits::default();
        (Activity::new(&limits), limits)
    }

    fn left(activity: &Activity) -> Duration {
        let since = activity.state().since;
        activity.left(since)
    }

    #[test]
    fn heads_have_a_short_timeout_and_idle_connections_a_longer_one() {
        let (activity, Limits { header_timeout, idle_timeout, close_timeout, .. }) = begun();
        assert_eq!(left(&activity), header_timeout, "the first head is awaited");
        let first = activity.answer();
        let second = activity.answer();
        assert_eq!(left(&activity), Duration::MAX, "the host owes the answer");
        drop(first);
        activity.read();
        assert_eq!(left(&activity), Duration::MAX, "one answer is still missing");
        drop(second);
        assert_eq!(left(&activity), idle_timeout);
        activity.read();
        assert_eq!(left(&activity), header_timeout, "a head has begun");
        activity.end();
        assert_eq!(left(&activity), close_timeout);
    }

    #[tokio::test]
    async fn bytes_read_ahead_come_first_and_eof_is_reported() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (ours, mut theirs) = tokio::io::duplex(64);
        let (activity, _) = begun();
        let mut noticed = TrackedStream::new(ours, activity.clone());
        let _answering = activity.answer();
        theirs.write_all(b"ab").await.unwrap();
        noticed.flush().await.unwrap();
        assert!(noticed.ahead.is_empty(), "the client does not only receive yet");
        activity.listen();
        noticed.flush().await.unwrap();
        assert_eq!(noticed.ahead, b"ab");
        theirs.write_all(b"c").await.unwrap();
        let mut read = [0; 3];
        noticed.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"abc");
        drop(theirs);
        noticed.flush().await.expect("the client may still receive");
        activity.input_ended().await;
    }

    #[tokio::test]
    async fn input_after_our_end_is_discarded_until_the_client_ends() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut noticed = TrackedStream::new(ours, begun().0);
        let ends = tokio::spawn(async move { noticed.shutdown().await });
        theirs.write_all(&[0; 100_000]).await.expect("all of it is taken");
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "our half has ended");
        assert!(!ends.is_finished());
        drop(theirs);
        ends.await.unwrap().unwrap();
    }
}
