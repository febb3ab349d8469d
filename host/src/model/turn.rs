//! One event run through the guest: what it wrote, set, and wants to say.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{AutoResponse, Destination, Except, Request, Response, Said, SocketKey, Timer};

/// Keys and their new values; an absent value removes the key.
pub type Writes = BTreeMap<Bytes, Option<Bytes>>;

/// All that one event did. It happens as a whole: `room` takes it apart once, and only there.
#[derive(Debug)]
#[must_use = "a turn that is dropped never happened"]
pub struct Turn {
    /// To be committed.
    pub writes: Writes,
    /// Timers set and removed, to be committed with the writes.
    pub timers: BTreeMap<String, Option<Timer>>,
    /// Requests to be made once all of it is durable, to be committed with the writes.
    pub posts: Vec<(Destination, Request)>,
    /// How the sockets whose tags or attachments it changed were before, in the order of the changes.
    pub sockets_before: Vec<(SocketKey, SocketChange)>,
    /// What may be said once all of it is durable, in order.
    pub outputs: Vec<Output>,
    /// The answer to who caused the event.
    pub answer: Answer,
}

/// What a room notes on a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketChange {
    /// Its tags.
    Tags(Vec<String>),
    /// Its attachment.
    Attachment(Bytes),
}

/// Something to be said.
#[derive(Debug)]
pub enum Output {
    /// A message to sockets.
    Say(Said, Audience),
    /// Close a socket, after what was said to it before.
    Close {
        /// Which.
        socket: SocketKey,
        /// The WebSocket close code.
        code: u16,
        /// At most 123 bytes.
        reason: String,
    },
    /// Answer a text without the room from now on; or no longer.
    AutoResponse(Option<AutoResponse>),
}

/// For whom a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every socket that was in the room during the turn.
    Everyone(Except),
    /// These sockets.
    These(Vec<SocketKey>),
}

/// What the guest answered to who caused the event.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing was asked.
    None,
    /// The client may connect.
    Accept,
    /// The client is turned down with an HTTP status and a reason; nothing else of the turn is kept.
    Refuse(u16, String),
    /// The answer to a request.
    Response(Response),
}
