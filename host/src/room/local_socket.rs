//! A socket whose client is in this process: the code of an embedder, or a stream of server-sent events.
//!
//! The room treats it like any other socket. Messages from the room wait here in a bounded queue until the client takes
//! them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::Rooms;
use super::error::ConnectError;
use super::local_client::{GOING_AWAY, LocalClient};
use super::peers::Delivered;
use super::seat::Seat;
use crate::lock::Lock;
use crate::model::{
    Address, Client, ClientKind, Close, Message, OutboundMessage, Permission, Permissions, Request, User, UserAccess,
    forbidden_frame,
};

/// A client of a room in this process. Dropping it leaves the room.
pub struct LocalSocket {
    client: Arc<LocalClient>,
    seat: Arc<LocalSeat>,
    /// Parts of a merged message that were not returned yet.
    parts: VecDeque<OutboundMessage>,
    /// The permission that sending takes.
    to_send: Permission,
    may_send: bool,
}

/// The close of a socket whose user may not read any more, as for a WebSocket.
const MAY_NOT_READ: (u16, &str) = (4403, "the new token does not grant read here");
/// The close of a socket whose user may not be listed any more, as for a WebSocket.
const MAY_NOT_BE_LISTED: (u16, &str) = (1008, "you may not be listed here any more; come back to read");

/// An event for the reader of a local socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A message of the room.
    Message(Message),
    /// The room or the host closed the connection, with this WebSocket close code and reason. Nothing follows.
    Closed(u16, String),
}

/// The place in the room; absent once the room was notified of the close.
struct LocalSeat(Lock<Option<Seat>>);

impl LocalSeat {
    fn end(&self, close: Close) {
        // Released first: the room may close other clients meanwhile.
        let seat = self.0.lock().take();
        if let Some(seat) = seat {
            seat.close(close);
        }
    }
}

/// The room has gone, or has closed this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the room has closed the connection")]
pub struct SocketClosed;

/// The next entry of the queue.
pub(crate) enum Next {
    Message(OutboundMessage),
    Closed(u16, String),
}

impl Rooms {
    /// Connects to a room from within this process, as `user`.
    ///
    /// Limit: `limits.socket_queue_bytes` may wait to be read, 64 B and its id more counted for each message; beyond
    /// that the socket is closed with 1013.
    pub async fn connect_local(
        &self,
        address: &Address,
        request: Request,
        user: User,
    ) -> Result<LocalSocket, ConnectError> {
        self.connect_as(ClientKind::Local, address, request, user).await
    }

    /// As [`connect_local`](Self::connect_local), for the client of a stream of server-sent events.
    pub(crate) async fn connect_event_stream(
        &self,
        address: &Address,
        request: Request,
        user: User,
    ) -> Result<LocalSocket, ConnectError> {
        self.connect_as(ClientKind::EventStream, address, request, user).await
    }

    async fn connect_as(
        &self,
        kind: ClientKind,
        address: &Address,
        request: Request,
        user: User,
    ) -> Result<LocalSocket, ConnectError> {
        let max_bytes = self.0.limits.socket_queue_bytes;
        let client = Arc::new(LocalClient::new(max_bytes, self.0.limit_hits.clone(), kind));
        let seat = self.connect(address, request, Arc::new(user), client.clone()).await?;
        self.0.local_sockets.add(&client);
        if self.0.draining.load(Ordering::Acquire) {
            client.close(GOING_AWAY.0, GOING_AWAY.1);
        }
        let to_send = self.namespace(address.namespace()).map_or(Permission::Write, |namespace| namespace.to_send);
        let seat = Arc::new(LocalSeat(Lock::new(Some(seat))));
        Ok(LocalSocket { client, seat, parts: VecDeque::new(), to_send, may_send: true })
    }
}

impl LocalSocket {
    /// Sends a message to the room. Waits while the queue of the room is full.
    pub async fn send(&self, message: Message) -> Result<(), SocketClosed> {
        if !self.may_send {
            return self.refuse(&message);
        }
        let mut unsent = Some(message);
        self.when_free(|seat| match seat.message(unsent.take().expect("it comes back if there is no space")) {
            Delivered::Yes => Poll::Ready(Ok(())),
            Delivered::Never => Poll::Ready(Err(SocketClosed)),
            Delivered::NotNow(back) => {
                unsent = Some(back);
                Poll::Pending
            }
        })
        .await
    }

    /// Replaces the claims and permissions of its user, as a new token does on a WebSocket: the messages that were sent
    /// before run with the old ones, and the permission to send changes now. Waits while the queue of the room is full.
    ///
    /// Without `read` the socket is closed with 4403. In a presence room it is closed with 1008 if its user had
    /// `presence` and has it no more: a user on the list cannot stay there, and may come back to read.
    pub async fn set_access(&mut self, access: UserAccess) -> Result<(), SocketClosed> {
        let (permissions, could_send) = (access.permissions(), self.may_send);
        self.may_send = permissions.has(self.to_send);
        if !permissions.has(Permission::Read) {
            self.close_now(MAY_NOT_READ);
            return Ok(());
        }
        if self.to_send == Permission::Presence && could_send && !self.may_send {
            self.close_now(MAY_NOT_BE_LISTED);
            return Ok(());
        }
        let mut untold = Some(access);
        self.when_free(|seat| match seat.set_access(untold.take().expect("it comes back if there is no space")) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(back) => {
                untold = Some(back);
                Poll::Pending
            }
        })
        .await
    }

    /// Tries to deliver something, again and again while the queue of the room is full.
    async fn when_free(
        &self,
        mut deliver: impl FnMut(&Seat) -> Poll<Result<(), SocketClosed>>,
    ) -> Result<(), SocketClosed> {
        loop {
            // Registers before the check, so that it misses no notification of free space.
            let mut resumed = pin!(self.client.resumed.notified());
            resumed.as_mut().enable();
            let delivered = match &*self.seat.0.lock() {
                Some(seat) if !self.client.inner.lock().closing => deliver(seat),
                _ => return Err(SocketClosed),
            };
            if let Poll::Ready(delivered) = delivered {
                return delivered;
            }
            resumed.await;
        }
    }

    /// The next message of the room, or its close.
    pub async fn recv(&mut self) -> Received {
        loop {
            if let Some(message) = self.parts.pop_front() {
                match message.parts() {
                    Ok(message) => return Received::Message(message.clone()),
                    Err(several) => several.iter().rev().for_each(|message| self.parts.push_front(message.clone())),
                }
                continue;
            }
            match poll_fn(|context| self.poll_next(context)).await {
                Next::Message(message) => self.parts.push_back(message),
                Next::Closed(code, reason) => return Received::Closed(code, reason),
            }
        }
    }

    /// Leaves the room with this code and reason.
    pub fn close(self, code: u16, reason: &str) {
        self.end(Close { code, reason: reason.into(), clean: true });
    }

    /// The user of this socket has another access from now on. Fails: with the access, while the queue of the room is
    /// full; the caller tries again.
    pub(crate) fn try_set_access(&self, access: UserAccess) -> Result<(), UserAccess> {
        match &*self.seat.0.lock() {
            Some(seat) => seat.set_access(access),
            None => Ok(()),
        }
    }

    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        let mut inner = self.client.inner.lock();
        if let Some(message) = inner.queue.pop_front() {
            inner.bytes -= message.queue_bytes();
            if inner.queue.is_empty() {
                // A reader that has taken everything keeps no capacity.
                inner.queue = VecDeque::new();
            }
            return Poll::Ready(Next::Message(message));
        }
        if let Some((code, reason)) = inner.close.clone() {
            drop(inner);
            self.end(Close { code, reason: reason.clone(), clean: true });
            return Poll::Ready(Next::Closed(code, reason));
        }
        inner.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// The client side of this socket, through which the host can close it.
    pub(crate) fn client(&self) -> Arc<dyn Client> {
        self.client.clone()
    }

    /// Ends when the socket is closed, and tells the room then, although nobody reads the socket. Otherwise the room
    /// would keep a client that it cannot reach until that takes what waits for it.
    pub(crate) fn left(&self) -> impl Future<Output = ()> + Send + use<> {
        let (client, seat) = (self.client.clone(), self.seat.clone());
        async move {
            let close = loop {
                // Registers before the check, so that it misses no notification.
                let mut resumed = pin!(client.resumed.notified());
                resumed.as_mut().enable();
                {
                    let inner = client.inner.lock();
                    if inner.closing {
                        break inner.close.clone();
                    }
                }
                resumed.await;
            };
            let close = close.map(|(code, reason)| Close { code, reason, clean: true });
            seat.end(close.unwrap_or_else(Close::lost));
        }
    }

    /// The same socket for a client with these permissions.
    pub(super) fn restricted_to(mut self, permissions: Permissions) -> Self {
        self.may_send = permissions.has(self.to_send);
        self
    }

    /// Answers a message with an error, as a WebSocket would. The room does not see it.
    fn refuse(&self, message: &Message) -> Result<(), SocketClosed> {
        if self.seat.0.lock().is_none() || self.client.inner.lock().closing {
            return Err(SocketClosed);
        }
        self.client.enqueue(&OutboundMessage::new(Message::Text(forbidden_frame(self.to_send, message))));
        Ok(())
    }

    /// Closes the socket and tells the room at once, although nobody may read here any more.
    fn close_now(&mut self, (code, reason): (u16, &str)) {
        self.client.close(code, reason);
        self.end(Close { code, reason: reason.into(), clean: true });
    }

    fn end(&self, close: Close) {
        self.seat.end(close);
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        {
            let mut inner = self.client.inner.lock();
            inner.closing = true;
            inner.queue = VecDeque::new();
        }
        self.end(Close::lost());
        self.client.resumed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit_hits::LimitHits;
    use crate::limits::OUTPUT_BYTES;

    fn socket(max_bytes: usize) -> LocalSocket {
        let client = Arc::new(LocalClient::new(max_bytes, LimitHits::default(), ClientKind::Local));
        let seat = Arc::new(LocalSeat(Lock::default()));
        LocalSocket { client, seat, parts: VecDeque::new(), to_send: Permission::Write, may_send: true }
    }

    fn text(text: &str) -> OutboundMessage {
        OutboundMessage::new(Message::Text(text.into()))
    }

    async fn receive(socket: &mut LocalSocket) -> String {
        match socket.recv().await {
            Received::Message(message) => String::from_utf8_lossy(message.as_bytes()).into_owned(),
            Received::Closed(code, _) => code.to_string(),
        }
    }

    #[tokio::test]
    async fn merged_messages_are_received_one_by_one() {
        let mut socket = socket(1_000);
        socket.client.enqueue(&OutboundMessage::together(vec![text("one"), text("two")]));
        socket.client.enqueue(&text("three"));
        assert_eq!(socket.client.buffered(), 11 + 3 * OUTPUT_BYTES);
        for expected in ["one", "two", "three"] {
            assert_eq!(receive(&mut socket).await, expected);
        }
        assert_eq!(socket.client.buffered(), 0);
    }

    #[tokio::test]
    async fn a_slow_local_socket_is_closed_and_its_queue_freed() {
        let mut socket = socket(100);
        socket.client.enqueue(&text(&"x".repeat(500)));
        assert_eq!(socket.client.buffered(), 500 + OUTPUT_BYTES, "one message always fits");
        socket.client.enqueue(&text("one more"));
        assert_eq!(socket.client.buffered(), 0);
        socket.client.enqueue(&text("after the end"));
        assert_eq!(receive(&mut socket).await, "1013");
        assert_eq!(socket.send(Message::Text("hello?".into())).await, Err(SocketClosed));
    }

    #[tokio::test]
    async fn a_flood_of_empty_messages_is_bounded() {
        let mut socket = socket(1_000);
        for _ in 0..100 {
            socket.client.enqueue(&text(""));
        }
        assert_eq!(receive(&mut socket).await, "1013");
    }

    #[tokio::test]
    async fn messages_before_a_close_are_received_before_it() {
        let mut socket = socket(100);
        socket.client.enqueue(&text("last words"));
        socket.client.close(4403, "kicked");
        assert_eq!(receive(&mut socket).await, "last words");
        assert_eq!(socket.recv().await, Received::Closed(4403, "kicked".into()));
        assert_eq!(socket.recv().await, Received::Closed(4403, "kicked".into()), "and nothing follows");
    }
}
