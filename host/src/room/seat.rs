//! The place of a client in its room.

use std::sync::{Arc, OnceLock};

use super::incoming::Incoming;
use super::mailbox::{Enqueued, Mailbox};
use super::peers::{Delivered, FarSeat};
use super::shared::Shared;
use crate::clock;
use crate::model::{Client, Close, Message, SocketKey, UserAccess};

/// The place of a client in its room. Its messages and its close enter the room here.
pub struct Seat {
    place: Place,
    /// The place at another node, once a room of this one has gone there.
    moved: OnceLock<Box<dyn FarSeat>>,
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
        let here = Here { shared, mailbox, socket, client };
        Seat { place: Place::Here(here), moved: OnceLock::new(), closed: false }
    }

    /// A place in a room of another node.
    pub(super) fn far(seat: Box<dyn FarSeat>) -> Self {
        Seat { place: Place::Far(seat), moved: OnceLock::new(), closed: false }
    }

    /// Delivers a message of the client.
    pub fn message(&self, message: Message) -> Delivered {
        match (&self.place, self.moved.get()) {
            (_, Some(far)) | (Place::Far(far), None) => far.message(message),
            (Place::Here(here), None) => match here.message(message) {
                Ok(delivered) => delivered,
                Err(message) => self.follow(here).map_or(Delivered::Never, |far| far.message(message)),
            },
        }
    }

    /// Replaces the claims and permissions of the client's user: the room sees the new ones from the next event on. No
    /// turn runs for it, and no instance wakes.
    ///
    /// Fails: with the access, while the queue of the room is full. [`Client::resume`] is called when it has space
    /// again.
    pub fn set_access(&self, access: UserAccess) -> Result<(), UserAccess> {
        match (&self.place, self.moved.get()) {
            (_, Some(far)) | (Place::Far(far), None) => far.set_access(access),
            (Place::Here(here), None) => match here.set_access(access) {
                Ok(set) => set,
                // A room that was removed has lost its sockets too.
                Err(access) => self.follow(here).map_or(Ok(()), |far| far.set_access(access)),
            },
        }
    }

    /// The room is not here any more: the place at the node to which it has gone, if it has.
    fn follow(&self, here: &Here) -> Option<&dyn FarSeat> {
        if let Some(seat) = here.mailbox.moved(here.socket) {
            // Only one caller gets it.
            let _ = self.moved.set(seat);
        }
        self.moved.get().map(|seat| &**seat)
    }

    /// Tells the room that the client has left.
    pub fn close(mut self, close: Close) {
        self.deliver_close(close);
    }

    fn deliver_close(&mut self, close: Close) {
        self.closed = true;
        match (&mut self.place, self.moved.get_mut()) {
            (_, Some(far)) | (Place::Far(far), None) => far.close(close),
            (Place::Here(here), None) => here.close(close),
        }
    }

    /// The auto-response of the room to this text, if it has set one. A room of another node gives it there.
    pub fn auto_response(&self, text: &str) -> Option<String> {
        match (&self.place, self.moved.get()) {
            (Place::Here(here), None) => here.auto_response(text),
            _ => None,
        }
    }
}

/// For a client of another node in a room of this one.
impl FarSeat for Seat {
    fn message(&self, message: Message) -> Delivered {
        Seat::message(self, message)
    }

    fn set_access(&self, access: UserAccess) -> Result<(), UserAccess> {
        Seat::set_access(self, access)
    }

    fn close(&mut self, close: Close) {
        self.deliver_close(close);
    }

    fn auto_response(&self, text: &str) -> Option<String> {
        Seat::auto_response(self, text)
    }
}

impl Here {
    fn auto_response(&self, text: &str) -> Option<String> {
        let reply = self.mailbox.output_gate.auto_response(text)?;
        self.client.auto_responded(clock::unix_millis());
        Some(reply)
    }

    /// Fails: with the message, if the room is not here any more.
    fn message(&self, message: Message) -> Result<Delivered, Message> {
        match Mailbox::deliver(&self.mailbox, &self.shared, Incoming::Message(self.socket, message)) {
            Enqueued::Yes => Ok(Delivered::Yes),
            Enqueued::Full(Incoming::Message(_, message)) => {
                if self.mailbox.resume_when_free(&self.client) {
                    Ok(Delivered::NotNow(message))
                } else {
                    self.message(message)
                }
            }
            Enqueued::Forgotten(Incoming::Message(_, message)) => Err(message),
            Enqueued::Full(_) | Enqueued::Forgotten(_) => Ok(Delivered::Never),
        }
    }

    /// Fails: with the access, if the room is not here any more.
    fn set_access(&self, access: UserAccess) -> Result<Result<(), UserAccess>, UserAccess> {
        match Mailbox::deliver(&self.mailbox, &self.shared, Incoming::Access(self.socket, access)) {
            Enqueued::Full(Incoming::Access(_, access)) => {
                if self.mailbox.resume_when_free(&self.client) {
                    Ok(Err(access))
                } else {
                    self.set_access(access)
                }
            }
            Enqueued::Forgotten(Incoming::Access(_, access)) => Err(access),
            Enqueued::Yes | Enqueued::Full(_) | Enqueued::Forgotten(_) => Ok(Ok(())),
        }
    }

    fn close(&self, close: Close) {
        match Mailbox::deliver(&self.mailbox, &self.shared, Incoming::Close(self.socket, close)) {
            // A room that was removed has lost its sockets too, so there is nothing to notify, unless they go on elsewhere.
            Enqueued::Forgotten(Incoming::Close(_, close)) => {
                if let Some(mut seat) = self.mailbox.moved(self.socket) {
                    seat.close(close);
                }
            }
            Enqueued::Yes | Enqueued::Full(_) | Enqueued::Forgotten(_) => {}
        }
    }
}
