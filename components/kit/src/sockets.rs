//! The clients of this room: find them and send them messages.

use serde::Serialize;

use crate::bindings::room::dormouse::room::sockets as wit;
use crate::json::ClientError;
use crate::{Error, Message, Result};

pub use wit::{EventError, Except, Filter, Socket, SocketError, get};

/// Every socket of the room. Narrow the selection, then use it: `everyone().except(&me).broadcast(&message)`.
pub fn everyone() -> Selection {
    Selection(Filter { tag: None, user: None, except: Except::Nobody })
}

/// The longest message, in bytes, that every socket can be sent. Cut messages that may be long, such as a history, to
/// this length.
pub fn max_message_bytes() -> usize {
    wit::max_message_bytes() as usize
}

/// Lets the host answer a text message that equals `request` with `reply`. The room is neither woken nor told. The
/// reply bypasses the output gate: it may overtake messages of earlier turns. At most 2,048 B each.
pub fn set_auto_response(request: &str, reply: &str) -> Result<()> {
    let bytes = request.len().max(reply.len());
    wit::set_auto_response(request, reply).map_err(|error| socket_error(&error, "the auto-response", bytes))
}

/// Removes the auto-response.
pub fn clear_auto_response() {
    wit::clear_auto_response();
}

/// Some of the room's sockets.
#[derive(Debug, Clone)]
#[must_use = "a selection does nothing until it is counted, listed or broadcast to"]
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

    /// All but this socket.
    pub fn except(mut self, socket: &Socket) -> Self {
        self.0.except = Except::Socket(socket.id());
        self
    }

    /// All but the sockets of the user with this id.
    pub fn except_user(mut self, id: impl Into<String>) -> Self {
        self.0.except = Except::User(id.into());
        self
    }

    /// The number of selected sockets.
    pub fn count(&self) -> u32 {
        wit::count(&self.0)
    }

    /// The selected sockets, oldest first.
    pub fn list(&self) -> Vec<Socket> {
        wit::all(&self.0)
    }

    /// Sends a message to all of them. It is passed to the host and encoded once.
    pub fn broadcast(&self, message: &Message) -> Result<()> {
        wit::broadcast(message, &self.0).map_err(|error| socket_error(&error, "the message", message.len()))
    }

    /// Sends a message with an id to all of them. Clients of server-sent events get the id: a browser that reconnects
    /// names the last one in the header `last-event-id` of its request, so that the room can send only the messages
    /// after it. The id has 1 to 128 visible ASCII characters.
    pub fn broadcast_with_id(&self, message: &Message, id: &str) -> Result<()> {
        wit::broadcast_with_id(message, id, &self.0).map_err(|error| event_error(&error, message, id))
    }

    /// Sends a JSON text message to all of them.
    pub fn broadcast_json(&self, value: &impl Serialize) -> Result<()> {
        self.broadcast(&Message::json(value)?)
    }
}

impl Socket {
    /// Queues a JSON text message for this client.
    pub fn send_json(&self, value: &impl Serialize) -> Result<()> {
        let message = Message::json(value)?;
        self.send(&message).map_err(|error| socket_error(&error, "the message", message.len()))
    }

    /// Like [`send`](Socket::send), but succeeds if the client has left: the turn goes on, and the close event follows.
    pub fn send_if_open(&self, message: &Message) -> Result<()> {
        match self.send(message) {
            Err(SocketError::Gone) => Ok(()),
            other => other.map_err(|error| socket_error(&error, "the message", message.len())),
        }
    }

    /// Like [`send_with_id`](Socket::send_with_id), but succeeds if the client has left. For the id see
    /// [`Selection::broadcast_with_id`].
    pub fn send_with_id_if_open(&self, message: &Message, id: &str) -> Result<()> {
        match self.send_with_id(message, id) {
            Err(EventError::NotSent(SocketError::Gone)) => Ok(()),
            other => other.map_err(|error| event_error(&error, message, id)),
        }
    }

    /// Sends this client, and no other, an error about its message. The turn goes on and its writes are kept, so check
    /// the message before you write.
    pub fn send_error(&self, error: &ClientError) -> Result<()> {
        self.send_if_open(&Message::json(error)?)
    }
}

/// An error that names the refused size and the limit.
fn socket_error(error: &SocketError, subject: &str, bytes: usize) -> Error {
    match error {
        SocketError::TooLarge(limit) => Error::new(format!("{subject} has {bytes} B; the limit is {limit} B")),
        SocketError::TooMany(limit) => Error::new(format!("{subject} is one too many; the limit is {limit}")),
        SocketError::Gone => Error::new("the client has left: its close event follows"),
        SocketError::BadCloseCode => Error::new("a room may close with 1000 to 1003, 1007 to 1014, or 3000 to 4999"),
    }
}

fn event_error(error: &EventError, message: &Message, id: &str) -> Error {
    match error {
        EventError::BadId => Error::new(format!("an event's id has 1 to 128 visible ASCII characters, unlike {id:?}")),
        EventError::NotSent(error) => socket_error(error, "the message", message.len()),
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
