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
