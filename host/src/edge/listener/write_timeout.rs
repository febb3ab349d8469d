//! Write deadlines for answers: a client that reads too little of an answer for too long is cut off, even if it answers
//! keep-alive pings.
//!
//! HTTP/2 lets a client hold back each answer separately (flow control), and HTTP/1.1 lets it read a byte now and then.
//! Both would keep the connection alive and the answer in memory (slow consumer).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::activity::AnswerGuard;
use crate::clock;
use crate::edge::response::body::Body;

/// An answer goes to hyper in pieces of at most so many bytes, and each piece must be sent in time. A client that reads
/// 300 bytes a second is fast enough.
const CHUNK_BYTES: usize = 16 << 10;

/// The pieces of one connection that hyper has not sent, and the answers that wait until hyper asks for a piece.
#[derive(Default)]
pub(in crate::edge) struct WriteDeadline(Mutex<PendingSince>);

#[derive(Default)]
struct PendingSince {
    /// The start times, the oldest first: numbers only grow.
    since: BTreeMap<u64, Instant>,
    next: u64,
}

/// One wait for the client; dropping it ends the wait.
struct Pending {
    unsent: Arc<WriteDeadline>,
    number: u64,
}

impl WriteDeadline {
    /// Wraps an answer so that the client must read it in time. `held` is dropped when all of it is sent.
    pub(in crate::edge) fn watch(self: &Arc<Self>, body: Body, held: Option<Arc<AnswerGuard>>) -> TimedBody {
        TimedBody { body, rest: Bytes::new(), waits: Some(self.wait()), unsent: self.clone(), held }
    }

    /// Waits until the oldest wait is as long as `within`.
    pub(in crate::edge) async fn overdue(&self, within: Duration) {
        loop {
            let now = clock::monotonic();
            let oldest = self.lock().since.first_key_value().map_or(now, |(_, since)| *since);
            let left = within.saturating_sub(now.saturating_duration_since(oldest));
            if left.is_zero() {
                return;
            }
            clock::sleep(left).await;
        }
    }

    fn wait(self: &Arc<Self>) -> Pending {
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.since.insert(number, clock::monotonic());
        Pending { unsent: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, PendingSince> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.unsent.lock().since.remove(&self.number);
    }
}

/// An answer in pieces, each with a deadline.
pub(in crate::edge) struct TimedBody {
    body: Body,
    /// The rest of the last chunk that the body gave.
    rest: Bytes,
    /// Present while hyper should ask for the next piece: it does not ask while the client reads nothing.
    waits: Option<Pending>,
    unsent: Arc<WriteDeadline>,
    held: Option<Arc<AnswerGuard>>,
}

/// Bytes that end their wait when they are sent.
struct Chunk {
    bytes: Bytes,
    _waits: Pending,
    _held: Option<Arc<AnswerGuard>>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        // hyper asks, so the client can take more. If the body has nothing yet, that is not the client's fault.
        this.waits = None;
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                None => return Poll::Ready(None),
            }
        }
        let bytes = this.rest.split_to(this.rest.len().min(CHUNK_BYTES));
        if !this.is_end_stream() {
            this.waits = Some(this.unsent.wait());
        }
        let piece = Chunk { bytes, _waits: this.unsent.wait(), _held: this.held.clone() };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        let mut all = SizeHint::new();
        all.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            all.set_upper(upper + rest);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn next(body: &mut TimedBody) -> Option<Bytes> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(next) => next.map(|frame| frame.unwrap().into_data().unwrap()),
            Poll::Pending => panic!("it has something"),
        }
    }

    fn waiting(unsent: &WriteDeadline) -> usize {
        unsent.lock().since.len()
    }

    #[test]
    fn an_answer_waits_for_its_client_until_all_of_it_is_sent() {
        let unsent = Arc::new(WriteDeadline::default());
        let text = vec![7; CHUNK_BYTES + 1];
        let mut body = unsent.watch(Body::whole(text.clone()), None);
        assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
        assert_eq!(waiting(&unsent), 1, "hyper has not asked for the first piece");
        let first = next(&mut body).unwrap();
        assert_eq!(body.size_hint().exact(), Some(1));
        assert_eq!(waiting(&unsent), 2, "a piece, and the rest");
        drop(first);
        assert_eq!(waiting(&unsent), 1);
        let last = next(&mut body).unwrap();
        assert_eq!((last.len(), body.is_end_stream()), (1, true));
        drop(body);
        assert_eq!(waiting(&unsent), 1, "a piece at hyper is not sent yet");
        drop(last);
        assert_eq!(waiting(&unsent), 0);
    }

    #[test]
    fn an_answer_without_a_body_is_sent_when_it_is_polled() {
        let unsent = Arc::new(WriteDeadline::default());
        let mut body = unsent.watch(Body::default(), None);
        assert!(next(&mut body).is_none());
        assert_eq!(waiting(&unsent), 0);
    }
}
