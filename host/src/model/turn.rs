//! The result of one event that ran through the guest: its writes, timers, posts and outputs.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{AutoResponse, Destination, Except, OutboundMessage, Request, Response, SocketKey, Timer};

/// Keys and their new values; an absent value removes the key.
pub type Writes = BTreeMap<Bytes, Option<Bytes>>;

/// All effects of one event. They happen together or not at all; only `room` takes them apart.
#[derive(Debug)]
#[must_use = "a turn that is dropped never happened"]
pub struct Turn {
    /// Writes to commit.
    pub writes: Writes,
    /// Timers that were set and removed; committed with the writes.
    pub timers: BTreeMap<String, Option<Timer>>,
    /// Requests to send once the turn is durable; committed with the writes.
    pub posts: Vec<(Destination, Request)>,
    /// The old tags and attachments of changed sockets, in the order of the changes.
    pub sockets_before: Vec<(SocketKey, SocketChange)>,
    /// Outputs that leave once the turn is durable, in order.
    pub outputs: Vec<Output>,
    /// The answer to the cause of the event.
    pub answer: Answer,
}

/// Tags or attachment of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketChange {
    /// Its tags.
    Tags(Vec<String>),
    /// Its attachment.
    Attachment(Bytes),
}

/// An output of a turn.
#[derive(Debug)]
pub enum Output {
    /// A message to sockets.
    Message(OutboundMessage, Audience),
    /// Closes a socket, after the earlier messages to it.
    Close {
        /// Its key.
        socket: SocketKey,
        /// The WebSocket close code.
        code: u16,
        /// At most 123 bytes.
        reason: String,
    },
    /// Sets or removes the auto-response.
    AutoResponse(Option<AutoResponse>),
}

/// The receivers of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every socket that was in the room at the end of the turn.
    Everyone(Except),
    /// These sockets.
    These(Vec<SocketKey>),
}

/// The answer of the guest to the cause of the event.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The event has no answer.
    None,
    /// The client may connect.
    Accept,
    /// The client is refused with an HTTP status and a reason. Nothing else of the turn is kept.
    Refuse(u16, String),
    /// The answer to a request.
    Response(Response),
}
