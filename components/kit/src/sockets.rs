//! The clients of this room: find them, tell them something.

use serde::Serialize;

use crate::bindings::room::dormouse::room::sockets as wit;
use crate::said::Complaint;
use crate::{Error, Message, Result};

pub use wit::{Except, Filter, Socket, SocketError, get};

/// Every socket of the room. Narrow it, then act on it: `everyone().except(&me).broadcast("hello")`.
pub fn everyone() -> Selection {
    Selection(Filter { tag: None, user: None, except: Except::Nobody })
}

/// The longest message, in bytes, that every socket can be sent: a room that sends more than it was sent, such as a
/// history, sends as much of it as fits.
pub fn max_message_bytes() -> usize {
    wit::max_message_bytes() as usize
}

/// Have the host answer a text message that equals `request` with `reply`, without waking the room or telling it. The
/// reply bypasses the gate: it may overtake what turns before it said. At most 2,048 B each.
pub fn set_auto_response(request: &str, reply: &str) -> Result<()> {
    let bytes = request.len().max(reply.len());
    wit::set_auto_response(request, reply).map_err(|error| refused(&error, "the auto-response", bytes))
}

/// Answer nothing without the room any more.
pub fn clear_auto_response() {
    wit::clear_auto_response();
}

/// Some of the room's sockets.
#[derive(Debug, Clone)]
#[must_use = "a selection does nothing until it is counted, listed or told something"]
pub struct Selection(Filter);

impl Selection {
    /// Only sockets with this tag.
    pub fn tagged(mut self, tag: impl Into<String>) -> Self {
        self.0.tag = Some(tag.into());
        self
    }

    /// Only sockets of the user with this id.
    pub fn of_user(mut self, id: impl Into<String>) -> Self {
        self.0.user = Some(id.into());
        self
    }

    /// Without this socket.
    pub fn except(mut self, socket: &Socket) -> Self {
        self.0.except = Except::Socket(socket.id());
        self
    }

    /// Without any socket of the user with this id.
    pub fn except_user(mut self, id: impl Into<String>) -> Self {
        self.0.except = Except::User(id.into());
        self
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        wit::count(&self.0)
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Vec<Socket> {
        wit::all(&self.0)
    }

    /// Tell all of them: one crossing of the boundary and one encoding, whatever their number.
    pub fn broadcast(&self, message: &Message) -> Result<()> {
        wit::broadcast(message, &self.0).map_err(|error| refused(&error, "the message", message.len()))
    }

    /// Tell all of them, as JSON text.
    pub fn broadcast_json(&self, value: &impl Serialize) -> Result<()> {
        self.broadcast(&Message::json(value)?)
    }
}

impl Socket {
    /// Queue a JSON text message for this client.
    pub fn send_json(&self, value: &impl Serialize) -> Result<()> {
        let message = Message::json(value)?;
        self.send(&message).map_err(|error| refused(&error, "the message", message.len()))
    }

    /// As [`send`](Socket::send), but that the client has left is no error: the turn's other work counts all the same,
    /// and the close event tells the rest.
    pub fn tell(&self, message: &Message) -> Result<()> {
        match self.send(message) {
            Err(SocketError::Gone) => Ok(()),
            other => other.map_err(|error| refused(&error, "the message", message.len())),
        }
    }

    /// Tell this client, and nobody else, what is wrong with what it said. The turn goes on and succeeds, so complain
    /// before anything is written.
    pub fn complain(&self, complaint: &Complaint) -> Result<()> {
        self.tell(&Message::json(complaint)?)
    }
}

/// An error that names the size of what was refused, and the limit.
fn refused(error: &SocketError, what: &str, bytes: usize) -> Error {
    match error {
        SocketError::TooLarge(limit) => Error::new(format!("{what} has {bytes} B, and {limit} B are the most")),
        SocketError::TooMany(limit) => Error::new(format!("{what} is one too many: {limit} are the most")),
        SocketError::Gone => Error::new("the client has left: its close event comes next"),
        SocketError::BadCloseCode => Error::new("a room closes with 1000, 1008, 1009, 1011 to 1013, or 3000 to 4999"),
    }
}

impl Message {
    fn len(&self) -> usize {
        match self {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
        }
    }

    /// A value as a JSON text message.
    pub fn json(value: &impl Serialize) -> Result<Self> {
        Ok(Message::Text(serde_json::to_string(value)?))
    }

    /// The text of a text message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }
}
