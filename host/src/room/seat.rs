//! The place of a client in its room.

use std::sync::Arc;

use super::incoming::Incoming;
use super::mailbox::{Enqueued, Mailbox};
use super::shared::Shared;
use crate::model::{Client, Close, Message, SocketKey, UserAccess};

/// The place of a client in its room. Its messages and its close enter the room here.
pub struct Seat {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    socket: SocketKey,
    client: Arc<dyn Client>,
    /// The room was notified of the close.
    closed: bool,
}

impl Drop for Seat {
    /// Also closes a seat that was lost because its client left before it received the seat.
    fn drop(&mut self) {
        if !self.closed {
            self.deliver_close(Close::lost());
        }
    }
}

/// The result of delivering a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The message waits for its turn.
    Yes,
    /// The queue of the room is full. [`Client::resume`] is called when it has space again.
    NotNow(Message),
    /// The room is broken; the client will be closed.
    Never,
}

impl Seat {
    pub(super) fn new(shared: Arc<Shared>, mailbox: Arc<Mailbox>, socket: SocketKey, client: Arc<dyn Client>) -> Self {
        Seat { shared, mailbox, socket, client, closed: false }
    }

    /// Delivers a message of the client.
    pub fn message(&self, message: Message) -> Delivered {
        match Mailbox::deliver(&self.mailbox, &self.shared, Incoming::Message(self.socket, message)) {
            Enqueued::Yes => Delivered::Yes,
            Enqueued::Full(Incoming::Message(_, message)) => {
                if self.mailbox.resume_when_free(&self.client) {
                    Delivered::NotNow(message)
                } else {
                    self.message(message)
                }
            }
            Enqueued::Full(_) | Enqueued::Forgotten(_) => Delivered::Never,
        }
    }

    /// Replaces the claims and permissions of the client's user: the room sees the new ones from the next event on. No
    /// turn runs for it, and no instance wakes.
    ///
    /// Fails: with the access, while the queue of the room is full. [`Client::resume`] is called when it has space
    /// again.
    pub fn set_access(&self, access: UserAccess) -> Result<(), UserAccess> {
        match Mailbox::deliver(&self.mailbox, &self.shared, Incoming::Access(self.socket, access)) {
            Enqueued::Full(Incoming::Access(_, access)) => {
                if self.mailbox.resume_when_free(&self.client) {
                    Err(access)
                } else {
                    self.set_access(access)
                }
            }
            // A room that was removed has lost its sockets too.
            Enqueued::Yes | Enqueued::Full(_) | Enqueued::Forgotten(_) => Ok(()),
        }
    }

    /// Tells the room that the client has left.
    pub fn close(mut self, close: Close) {
        self.deliver_close(close);
    }

    fn deliver_close(&mut self, close: Close) {
        self.closed = true;
        // A room that was removed has lost its sockets too, so there is nothing to notify.
        let _ = Mailbox::deliver(&self.mailbox, &self.shared, Incoming::Close(self.socket, close));
    }

    /// The auto-response of the room to this text, if it has set one.
    pub fn auto_response(&self, text: &str) -> Option<String> {
        self.mailbox.output_gate.auto_response(text)
    }
}
