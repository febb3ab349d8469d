//! All close codes that the host itself uses, in one table. Rooms have their own.
//!
//! It knows no sockets; all modules of the edge close them with these codes.

/// Why the host ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
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
    /// The client sent a token of another user.
    SomebodyElse,
    /// The client did not answer a ping.
    Idle,
    /// The client stayed above the rate limit although it was told.
    Flood,
}

impl Why {
    /// The WebSocket close code.
    pub(super) fn code(self) -> u16 {
        match self {
            Why::GoingAway { .. } => 1001,
            Why::Protocol => 1002,
            Why::NotUtf8 => 1007,
            Why::TooBig => 1009,
            Why::TooSlow => 1013,
            Why::Expired => 4401,
            Why::Revoked | Why::SomebodyElse => 4403,
            Why::Idle => 4408,
            Why::Flood => 4429,
        }
    }

    /// The reason in the close frame.
    pub(super) fn reason(self) -> String {
        match self {
            Why::GoingAway { retry_after_s } => format!("server going away; retry-after={retry_after_s}"),
            Why::Protocol => "bad frame".into(),
            Why::NotUtf8 => "text is not UTF-8".into(),
            Why::TooBig => "message too big".into(),
            Why::TooSlow => "too slow; come back and resume".into(),
            Why::Expired => "identity expired".into(),
            Why::Revoked => "identity revoked".into(),
            Why::SomebodyElse => "this socket is another user's".into(),
            Why::Idle => "no sign of life".into(),
            Why::Flood => "too many messages; slow down".into(),
        }
    }
}
