//! All close codes that the host itself uses, in one table.

/// Why the host ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The server shuts down; the client comes back after this many seconds.
    GoingAway { retry_after_s: u32 },
    /// A frame was against RFC 6455.
    Protocol,
    /// A text was no UTF-8.
    NotUtf8,
    /// A message was above the namespace's limit.
    TooBig,
    /// More waits for this client than may.
    TooSlow,
    /// The token that let it in has expired.
    Expired,
    /// That token, or its user, was revoked.
    Revoked,
    /// It showed a token of somebody else.
    SomebodyElse,
    /// No sign of life.
    Idle,
    /// It went on although it was told that it is too fast.
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

    /// What the client is told beside it.
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
