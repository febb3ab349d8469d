//! The messages that wait to be sent on one link, as the body of its request or answer. HTTP/2 takes from it what its
//! peer has room for. It knows no message: they are bytes here.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};
use tokio::sync::Notify;

use super::Bounds;
use crate::clock;
use crate::lock::Lock;

/// Messages are joined up to this size: a frame and a record of TLS for each would cost more than the copy.
const JOINED_BYTES: usize = 16 << 10;

/// A queue of messages that are encoded already.
pub(super) struct Queue {
    inner: Lock<Inner>,
    bounds: Bounds,
    /// It was busy and has space again, or has ended.
    freed: Notify,
}

#[derive(Default)]
struct Inner {
    messages: VecDeque<Bytes>,
    bytes: usize,
    has_ended: bool,
    waker: Option<Waker>,
    /// When something was taken, or when the first message came into an empty queue.
    moved_at: Option<Instant>,
}

/// The result of adding a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Yes,
    /// There are too many bytes; nothing is accepted any more.
    TooMuch,
    /// The link has ended.
    Ended,
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Queue { inner: Lock::default(), bounds, freed: Notify::new() })
    }

    pub(super) fn push(&self, message: Bytes) -> Pushed {
        let mut inner = self.inner.lock();
        if inner.has_ended {
            return Pushed::Ended;
        }
        // One message always fits.
        if inner.bytes > 0 && inner.bytes + message.len() > self.bounds.queue_bytes {
            return Pushed::TooMuch;
        }
        if inner.messages.is_empty() {
            inner.moved_at = Some(clock::monotonic());
        }
        inner.bytes += message.len();
        inner.messages.push_back(message);
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        Pushed::Yes
    }

    /// Ends the body. What waits is dropped.
    pub(super) fn end(&self) {
        let mut inner = self.inner.lock();
        let waker = inner.waker.take();
        *inner = Inner { has_ended: true, ..Inner::default() };
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        self.freed.notify_waiters();
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    /// Whether so much waits that clients are paused.
    pub(super) fn is_busy(&self) -> bool {
        self.bytes() > self.bounds.busy_bytes
    }

    /// Waits until it is not busy, or has ended.
    pub(super) async fn freed(&self) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if !self.is_busy() {
                return;
            }
            freed.await;
        }
    }

    /// Whether the peer has taken nothing for so long that it must be gone, or cannot keep up.
    pub(super) fn is_stuck(&self) -> bool {
        let inner = self.inner.lock();
        let waits = inner.moved_at.filter(|_| !inner.messages.is_empty());
        waits.is_some_and(|since| clock::since(since) > self.bounds.stall)
    }

    /// How often [`is_stuck`](Self::is_stuck) should be asked.
    pub(super) fn check_every(&self) -> Duration {
        self.bounds.stall / 10
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut inner = self.inner.lock();
        if inner.has_ended {
            return Poll::Ready(None);
        }
        let Some(first) = inner.messages.pop_front() else {
            if !inner.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                inner.waker = Some(context.waker().clone());
            }
            return Poll::Pending;
        };
        let was_busy = inner.bytes > self.bounds.busy_bytes;
        let taken = match inner.messages.front() {
            Some(second) if first.len() + second.len() <= JOINED_BYTES => {
                let mut joined = BytesMut::from(&first[..]);
                while let Some(next) = inner.messages.pop_front_if(|next| joined.len() + next.len() <= JOINED_BYTES) {
                    joined.extend_from_slice(&next);
                }
                joined.freeze()
            }
            _ => first,
        };
        inner.bytes -= taken.len();
        inner.moved_at = Some(clock::monotonic());
        if inner.messages.is_empty() {
            inner.messages = VecDeque::new();
        }
        let is_freed = was_busy && inner.bytes <= self.bounds.busy_bytes;
        drop(inner);
        if is_freed {
            self.freed.notify_waiters();
        }
        Poll::Ready(Some(taken))
    }
}

/// A body that a caller has made, and that links pass on as it is.
pub type AnyBody = Pin<Box<dyn Body<Data = Bytes, Error = Infallible> + Send>>;

/// The bodies of links and of requests on them.
pub(super) enum LinkBody {
    Stream(Arc<Queue>),
    /// A body of one piece, absent once it was taken.
    Whole(Option<Bytes>),
    PassedOn(AnyBody),
}

impl Body for LinkBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            LinkBody::Stream(queue) => queue.poll(context),
            LinkBody::Whole(bytes) => Poll::Ready(bytes.take()),
            LinkBody::PassedOn(body) => return body.as_mut().poll_frame(context),
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Arc<Queue> {
        Queue::new(Bounds { queue_bytes: 100, busy_bytes: 50, ..Bounds::default() })
    }

    fn take(queue: &Queue) -> Poll<Option<Bytes>> {
        queue.poll(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn messages_are_joined_in_their_order() {
        let queue = queue();
        for text in ["one", "two", "three"] {
            assert_eq!(queue.push(Bytes::from(text)), Pushed::Yes);
        }
        assert_eq!(take(&queue), Poll::Ready(Some(Bytes::from("onetwothree"))));
        assert!(take(&queue).is_pending());
        queue.end();
        assert_eq!((take(&queue), queue.push(Bytes::new())), (Poll::Ready(None), Pushed::Ended));
    }

    #[test]
    fn a_queue_takes_no_more_than_its_bound_and_always_one_message() {
        let queue = queue();
        assert_eq!(queue.push(vec![0; 1_000].into()), Pushed::Yes);
        assert_eq!((queue.push(Bytes::from("x")), queue.is_busy()), (Pushed::TooMuch, true));
        assert!(take(&queue).is_ready());
        assert_eq!((queue.push(vec![0; 100].into()), queue.push(Bytes::from("x"))), (Pushed::Yes, Pushed::TooMuch));
    }
}
