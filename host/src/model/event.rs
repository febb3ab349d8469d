//! What may happen to a room.

use super::{Message, Request, SocketKey, Timer};

/// One thing that happens to a room, as its guest sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A client asks to connect; its socket is in the table already.
    Connect(SocketKey, Request),
    /// A client said something.
    Message(SocketKey, Message),
    /// A client has gone; its socket is in the table until this turn is over.
    Close(SocketKey, Close),
    /// A timer is due.
    Timer(Timer),
    /// An HTTP request.
    Request(Request),
}

impl Event {
    /// Its name in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Connect(..) => "connect",
            Event::Message(..) => "message",
            Event::Close(..) => "close",
            Event::Timer(_) => "timer",
            Event::Request(_) => "request",
        }
    }
}

/// How a client left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The WebSocket close code; 1006 where the connection just ended.
    pub code: u16,
    /// What the side that closed gave as its reason.
    pub reason: String,
    /// Both sides said goodbye.
    pub clean: bool,
}
