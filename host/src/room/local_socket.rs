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
use super::seat::{Delivered as Delivery, Seat};
use crate::model::{Address, Client, Close, Message, OutboundMessage, Request, User};

/// A client of a room in this process. Dropping it leaves the room.
pub struct LocalSocket {
    ear: Arc<LocalClient>,
    /// Taken when the room is told of the close.
    seat: Option<Seat>,
    /// Parts of a merged message that were not returned yet.
    rest: VecDeque<OutboundMessage>,
}

/// An event for a visitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A message of the room.
    Message(Message),
    /// The room or the host closed the connection, with this WebSocket close code and reason. Nothing follows.
    Closed(u16, String),
}

/// The room has gone, or has closed this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the room has closed the connection")]
pub struct SocketClosed;

/// The next entry of the queue.
pub(crate) enum Next {
    Said(OutboundMessage),
    Closed(u16, String),
}

impl Rooms {
    /// Connects to a room from within this process, as `user`.
    ///
    /// Limit: `limits.socket_queue_bytes` may wait to be read; beyond that the visitor is closed with 1013.
    pub async fn connect_local(
        &self,
        address: &Address,
        request: Request,
        user: User,
    ) -> Result<LocalSocket, ConnectError> {
        let max_bytes = self.0.limits.socket_queue_bytes;
        let ear = Arc::new(LocalClient::new(max_bytes));
        let seat = self.connect(address, request, Arc::new(user), ear.clone()).await?;
        self.0.local_sockets.add(&ear);
        if self.0.draining.load(Ordering::Acquire) {
            ear.close(GOING_AWAY.0, GOING_AWAY.1);
        }
        Ok(LocalSocket { ear, seat: Some(seat), rest: VecDeque::new() })
    }
}

impl LocalSocket {
    /// Sends a message to the room. Waits while the queue of the room is full.
    pub async fn send(&self, message: Message) -> Result<(), SocketClosed> {
        let mut message = message;
        loop {
            // Registers before the check, so that it misses no notification of free space.
            let mut resumed = pin!(self.ear.resumed.notified());
            resumed.as_mut().enable();
            let Some(seat) = self.seat.as_ref().filter(|_| !self.ear.inner.lock().closing) else {
                return Err(SocketClosed);
            };
            match seat.message(message) {
                Delivery::Yes => return Ok(()),
                Delivery::Never => return Err(SocketClosed),
                Delivery::NotNow(back) => message = back,
            }
            resumed.await;
        }
    }

    /// The next message of the room, or its close.
    pub async fn recv(&mut self) -> Received {
        loop {
            if let Some(said) = self.rest.pop_front() {
                match said.parts() {
                    Ok(message) => return Received::Message(message.clone()),
                    Err(several) => several.iter().rev().for_each(|said| self.rest.push_front(said.clone())),
                }
                continue;
            }
            match poll_fn(|context| self.poll_next(context)).await {
                Next::Said(said) => self.rest.push_back(said),
                Next::Closed(code, reason) => return Received::Closed(code, reason),
            }
        }
    }

    /// Leaves the room with this code and reason.
    pub fn close(mut self, code: u16, reason: &str) {
        self.end(Close { code, reason: reason.into(), clean: true });
    }

    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        let mut inner = self.ear.inner.lock();
        if let Some(said) = inner.queue.pop_front() {
            inner.bytes -= said.len();
            if inner.queue.is_empty() {
                // A reader that has taken everything keeps no capacity.
                inner.queue = VecDeque::new();
            }
            return Poll::Ready(Next::Said(said));
        }
        if let Some((code, reason)) = inner.close.clone() {
            drop(inner);
            self.end(Close { code, reason: reason.clone(), clean: true });
            return Poll::Ready(Next::Closed(code, reason));
        }
        inner.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// The client side of this visitor, through which the host can close it.
    pub(crate) fn client(&self) -> Arc<dyn Client> {
        self.ear.clone()
    }

    fn end(&mut self, close: Close) {
        if let Some(seat) = self.seat.take() {
            seat.close(close);
        }
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        {
            let mut inner = self.ear.inner.lock();
            inner.closing = true;
            inner.queue = VecDeque::new();
        }
        self.end(Close::lost());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(max_bytes: usize) -> LocalSocket {
        let ear = Arc::new(LocalClient::new(max_bytes));
        LocalSocket { ear, seat: None, rest: VecDeque::new() }
    }

    fn text(text: &str) -> OutboundMessage {
        OutboundMessage::new(Message::Text(text.into()))
    }

    async fn hears(visitor: &mut LocalSocket) -> String {
        match visitor.recv().await {
            Received::Message(message) => String::from_utf8_lossy(message.as_bytes()).into_owned(),
            Received::Closed(code, _) => code.to_string(),
        }
    }

    #[tokio::test]
    async fn merged_messages_are_received_one_by_one() {
        let mut visitor = visitor(100);
        visitor.ear.say(&OutboundMessage::together(vec![text("one"), text("two")]));
        visitor.ear.say(&text("three"));
        assert_eq!(visitor.ear.buffered(), 11);
        for expected in ["one", "two", "three"] {
            assert_eq!(hears(&mut visitor).await, expected);
        }
        assert_eq!(visitor.ear.buffered(), 0);
    }

    #[tokio::test]
    async fn a_slow_local_socket_is_closed_and_its_queue_freed() {
        let mut visitor = visitor(100);
        visitor.ear.say(&text(&"x".repeat(500)));
        assert_eq!(visitor.ear.buffered(), 500, "one message always fits");
        visitor.ear.say(&text("one more"));
        assert_eq!(visitor.ear.buffered(), 0);
        visitor.ear.say(&text("after the end"));
        assert_eq!(hears(&mut visitor).await, "1013");
        assert_eq!(visitor.send(Message::Text("hello?".into())).await, Err(SocketClosed));
    }

    #[tokio::test]
    async fn messages_before_a_close_are_received_before_it() {
        let mut visitor = visitor(100);
        visitor.ear.say(&text("last words"));
        visitor.ear.close(4403, "kicked");
        assert_eq!(hears(&mut visitor).await, "last words");
        assert_eq!(visitor.recv().await, Received::Closed(4403, "kicked".into()));
        assert_eq!(visitor.recv().await, Received::Closed(4403, "kicked".into()), "and nothing follows");
    }
}
