//! The events of a room.

use super::{DataOf, Message, Request, SocketKey, Timer};

/// An event, as the guest sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A client asks to connect. Its socket is already in the table.
    Connect(SocketKey, Request),
    /// A client sent a message.
    Message(SocketKey, Message),
    /// A client has left. Its socket stays in the table until this turn is over.
    Close(SocketKey, Close),
    /// A timer is due.
    Timer(Timer),
    /// An HTTP request.
    Request(Request),
    /// An operator asks for a part of the data of a user.
    ExportUser(DataOf),
    /// An operator erases a part of the data of a user.
    EraseUser(DataOf),
    /// The data has this version, and the component may have another one. Without a version there is no data yet.
    Migrate(Option<u32>),
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
            Event::ExportUser(_) => "export-user",
            Event::EraseUser(_) => "erase-user",
            Event::Migrate(_) => "migrate",
        }
    }
}

/// How a client left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The WebSocket close code; 1006 if the connection ended without a close.
    pub code: u16,
    /// The reason given by the side that closed.
    pub reason: String,
    /// Both sides completed the close handshake.
    pub clean: bool,
}

impl Close {
    /// The connection ended without a close.
    pub fn lost() -> Self {
        Close { code: 1006, reason: String::new(), clean: false }
    }
}
