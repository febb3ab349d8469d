//! The turn and the user that a line of the log is about. It does not know the room: the span of the room's task names
//! it. `state` makes it, and those that log for a guest have it.

use std::sync::Arc;

use crate::model::User;

/// The turn that a line of the log is about. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct LogContext {
    /// The number of the turn in its room; absent for a router.
    pub(super) turn: Option<u64>,
    user: Option<LogUser>,
}

/// A user, shared with the owner of the name.
#[derive(Clone)]
pub(super) enum LogUser {
    OfSocket(Arc<User>),
    OfRequest(Arc<str>),
}

/// Logs a line of a guest, at the level of this macro of `tracing`. The target says whether a room or the router wrote
/// it: a router has no turns.
macro_rules! log_line {
    ($level:ident, $about:expr, $line:expr) => {{
        let about: &$crate::guest::log_context::LogContext = &$about;
        let line: &str = &$line;
        let user = about.user();
        match about.turn {
            Some(turn) => tracing::$level!(target: "room", turn, user, "{line}"),
            None => tracing::$level!(target: "router", user, "{line}"),
        }
    }};
}

pub(super) use log_line;

impl LogContext {
    pub(super) fn new(turn: u64, user: Option<LogUser>) -> Self {
        LogContext { turn: Some(turn), user }
    }

    /// The id of the user whom the turn is about.
    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|user| match user {
            LogUser::OfSocket(user) => user.id.as_str(),
            LogUser::OfRequest(id) => id,
        })
    }
}
