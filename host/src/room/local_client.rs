//! The client of a local socket: messages of the room wait here, in a bounded queue, until the reader takes them.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard, Weak};
use std::task::Waker;

use tokio::sync::Notify;

use crate::limit_hits::{Limit, LimitHits};
use crate::lock::Lock;
use crate::model::{Client, ClientKind, OutboundMessage};

/// The close of a local socket that cannot keep up, as for any other slow consumer.
const TOO_SLOW: (u16, &str) = (1013, "too slow; come back and resume");
/// The close of all local sockets at shutdown.
pub(super) const GOING_AWAY: (u16, &str) = (1001, "server going away");

/// The client that the room writes to.
pub(super) struct LocalClient {
    pub(super) inner: Lock<Inner>,
    max_bytes: usize,
    limit_hits: LimitHits,
    kind: ClientKind,
    /// Notifies senders that the queue of the room has space, or that the connection has ended.
    pub(super) resumed: Notify,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) queue: VecDeque<OutboundMessage>,
    pub(super) bytes: usize,
    pub(super) close: Option<(u16, String)>,
    pub(super) closing: bool,
    /// The waker of the reader.
    pub(super) waker: Option<Waker>,
}

impl LocalClient {
    pub(super) fn new(max_bytes: usize, limit_hits: LimitHits, kind: ClientKind) -> Self {
        LocalClient { inner: Lock::default(), max_bytes, limit_hits, kind, resumed: Notify::new() }
    }
}

/// Releases the lock first, so that the woken task does not block on it.
fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Client for LocalClient {
    /// Never asks for a flush: the reader takes everything that waits.
    fn enqueue(&self, message: &OutboundMessage) -> bool {
        let mut inner = self.inner.lock();
        if inner.closing {
            return false;
        }
        // One message always fits, however long: a history may be longer than the queue.
        if inner.bytes > 0 && inner.bytes + message.queue_bytes() > self.max_bytes {
            inner.queue = VecDeque::new();
            inner.bytes = 0;
            inner.closing = true;
            inner.close = Some((TOO_SLOW.0, TOO_SLOW.1.into()));
            self.limit_hits.count(Limit::SocketQueue);
            self.resumed.notify_waiters();
        } else {
            inner.bytes += message.queue_bytes();
            inner.queue.push_back(message.clone());
        }
        wake(inner);
        false
    }

    fn flush(&self) {}

    fn close(&self, code: u16, reason: &str) {
        let mut inner = self.inner.lock();
        if !std::mem::replace(&mut inner.closing, true) {
            inner.close = Some((code, reason.to_owned()));
            wake(inner);
            self.resumed.notify_waiters();
        }
    }

    /// Nothing to do: a sender waits only for the queue of the room, which is bounded.
    fn turn_done(&self) {}

    fn resume(&self) {
        self.resumed.notify_waiters();
    }

    fn buffered(&self) -> usize {
        self.inner.lock().bytes
    }

    fn kind(&self) -> ClientKind {
        self.kind
    }
}

/// All local sockets of a host, for the goodbye at shutdown.
#[derive(Default)]
pub(super) struct LocalSockets(Lock<Vec<Weak<LocalClient>>>);

impl LocalSockets {
    pub(super) fn add(&self, client: &Arc<LocalClient>) {
        let mut clients = self.0.lock();
        // Dead entries are removed when the list would grow, so it is never more than twice as long as needed.
        if clients.len() == clients.capacity() {
            clients.retain(|client| client.strong_count() > 0);
        }
        clients.push(Arc::downgrade(client));
    }

    /// Closes all local sockets.
    pub(super) fn say_goodbye(&self) {
        let clients = std::mem::take(&mut *self.0.lock());
        for client in clients.iter().filter_map(Weak::upgrade) {
            client.close(GOING_AWAY.0, GOING_AWAY.1);
        }
    }
}
