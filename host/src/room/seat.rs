//! The place of a client in its room.

use std::sync::Arc;

use super::incoming::Incoming;
use super::mailbox::{Enqueued, Mailbox};
use super::peers::{Delivered, FarSeat};
use super::shared::Shared;
use crate::model::{Client, Close, Message, SocketKey, UserAccess};

/// The place of a client in its room. Its messages and its close enter the room here.
pub struct Seat {
    place: Place,
    /// The room was notified of the close.
    closed: bool,
}

enum Place {
    Here(Here),
    /// Another node runs the room.
    Far(Box<dyn FarSeat>),
}

struct Here {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    socket: SocketKey,
    client: Arc<dyn Client>,
}

impl Drop for Seat {
    /// Also closes a seat that was lost because its client left before it received the seat.
    fn drop(&mut self) {
        if !self.closed {
            self.deliver_close(Close::lost());
        }
    }
}

impl Seat {
    pub(super) fn new(shared: Arc<Shared>, mailbox: Arc<Mailbox>, socket: SocketKey, client: Arc<dyn Client>) -> Self {
        Seat { place: Place::Here(Here { shared, mailbox, socket, client }), closed: false }
    }

    /// A place in a room of another node.
    pub(super) fn far(seat: Box<dyn FarSeat>) -> Self {
        Seat { place: Place::Far(seat), closed: false }
    }

    /// Delivers a message of the client.
    pub fn message(&self, message: Message) -> Delivered {
        match &self.place {
            Place::Here(here) => here.message(message),
            Place::Far(far) => far.message(message),
        }
    }

    /// Replaces the claims and permissions of the client's user: the room sees the new ones from the next event on. No
    /// turn runs for it, and no instance wakes.
    ///
    /// Fails: with the access, while the queue of the room is full. [`Client::resume`] is called when it has space
    /// again.
    pub fn set_access(&self, access: UserAccess) -> Result<(), UserAccess> {
        match &self.place {
            Place::Here(here) => here.set_access(access),
            Place::Far(far) => far.set_access(access),
        }
    }

    /// Tells the room that the client has left.
    pub fn close(mut self, close: Close) {
        self.deliver_close(close);
    }

    fn deliver_close(&mut self, close: Close) {
        self.closed = true;
        match &mut self.place {
            Place::Here(here) => here.close(close),
            Place::Far(far) => far.close(close),
        }
    }

    /// The auto-response of the room to this text, if it has set one. A room of another node gives it there.
    pub fn auto_response(&self, text: &str) -> Option<String> {
        match &self.place {
            Place::Here(here) => here.mailbox.output_gate.auto_response(text),
            Place::Far(_) => None,
        }
    }
}

impl Here {
    fn message(&self, message: Message) -> Delivered {
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

    fn set_access(&self, access: UserAccess) -> Result<(), UserAccess> {
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

    fn close(&self, close: Close) {
        // A room that was removed has lost its sockets too, so there is nothing to notify.
        let _ = Mailbox::deliver(&self.mailbox, &self.shared, Incoming::Close(self.socket, close));
    }
}
