//! All close codes that the edge itself uses, in one table. Rooms have their own: they close with 1011 if they failed,
//! with 1012 if another server has them now, with 1013 if their database does not answer, and with 4410 if they were
//! deleted (`room/output_gate.rs`).
//!
//! It knows no sockets; all modules of the edge close them with these codes.

use crate::edge::access::socket_access::Renewed;
use crate::model::{CLOSED_BY_OPERATOR, Client};

/// Why the host ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum CloseReason {
    /// The client ended its half of the connection without a close frame, and has everything that it asked for.
    InputEnded,
    /// The server shuts down; the client should come back after this many seconds.
    GoingAway { retry_after_s: u32 },
    /// A frame violated RFC 6455.
    Protocol,
    /// A text message was not valid UTF-8.
    NotUtf8,
    /// A message was longer than the namespace allows.
    TooBig,
    /// Too many bytes wait for this client (slow consumer).
    TooSlow,
    /// The token that opened the socket has expired.
    Expired,
    /// The token or its user was revoked.
    Revoked,
    /// The user was sent out of this room.
    SentOut,
    /// An operator disconnected the user, who may come back.
    Disconnected,
    /// The latest token or answer does not let its user read in this room.
    MayNotRead,
    /// The latest token or answer does not let its user be listed. The client may come back and read.
    MayNotBeListed,
    /// The operator's server did not say in time whether the user may stay.
    AccessUnknown,
    /// The client sent a token of another user.
    SomebodyElse,
    /// The client did not answer a ping.
    Idle,
    /// The client stayed above the rate limit although it was notified.
    Flood,
}

impl CloseReason {
    /// Why a socket is closed after a change of what its user may do; absent if it stays open.
    pub(in crate::edge) fn after(renewed: Renewed) -> Option<Self> {
        match renewed {
            Renewed::Same | Renewed::OtherClaims | Renewed::Changed => None,
            Renewed::MayNotRead => Some(CloseReason::MayNotRead),
            Renewed::MayNotBeListed => Some(CloseReason::MayNotBeListed),
            Renewed::Unknown => Some(CloseReason::AccessUnknown),
        }
    }

    /// The WebSocket close code.
    pub(in crate::edge) fn code(self) -> u16 {
        match self {
            CloseReason::InputEnded => 1000,
            CloseReason::GoingAway { .. } => 1001,
            CloseReason::Protocol => 1002,
            CloseReason::NotUtf8 => 1007,
            CloseReason::TooBig => 1009,
            CloseReason::TooSlow | CloseReason::AccessUnknown => 1013,
            CloseReason::Expired => 4401,
            CloseReason::MayNotBeListed => 1008,
            CloseReason::Revoked | CloseReason::SentOut | CloseReason::MayNotRead | CloseReason::SomebodyElse => 4403,
            CloseReason::Idle => 4408,
            CloseReason::Disconnected => CLOSED_BY_OPERATOR,
            CloseReason::Flood => 4429,
        }
    }

    /// The reason in the close frame.
    pub(in crate::edge) fn reason(self) -> String {
        match self {
            CloseReason::InputEnded => "no more input".into(),
            CloseReason::GoingAway { retry_after_s } => format!("server going away; retry-after={retry_after_s}"),
            CloseReason::Protocol => "bad frame".into(),
            CloseReason::NotUtf8 => "text is not UTF-8".into(),
            CloseReason::TooBig => "message too big".into(),
            CloseReason::TooSlow => "too slow; come back and resume".into(),
            CloseReason::Expired => "identity expired".into(),
            CloseReason::Revoked => "identity revoked".into(),
            CloseReason::SentOut => "you may not be in this room any more".into(),
            CloseReason::Disconnected => "disconnected by the operator".into(),
            CloseReason::MayNotRead => "you may not read here any more".into(),
            CloseReason::AccessUnknown => "it cannot be decided now who may be here; come back".into(),
            CloseReason::MayNotBeListed => "you may not be listed here any more; come back to read".into(),
            CloseReason::SomebodyElse => "this socket is another user's".into(),
            CloseReason::Idle => "no sign of life".into(),
            CloseReason::Flood => "too many messages; slow down".into(),
        }
    }

    /// Closes a client's connection behind the frames that wait.
    pub(in crate::edge) fn end(self, client: &dyn Client) {
        client.close(self.code(), &self.reason());
    }
}
