//! Decides which sockets get a `presence_update` about a user.

use crate::status::Status;

/// The receivers of a `presence_update`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    None,
    /// All sockets except the one that caused it.
    Others,
    All,
}

/// The audience after a heartbeat or a status. `before` is the listed status, `None` if the user was not listed;
/// `chosen` is the status that the user chose, if any.
///
/// A heartbeat or an unchanged status is not sent. A user who was not listed is always announced to the others.
pub(crate) fn audience_of(before: Option<Status>, chosen: Option<Status>) -> Audience {
    match (before, chosen) {
        (before, Some(_)) if before != chosen => Audience::All,
        (Some(_), _) => Audience::None,
        (None, _) => Audience::Others,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Away, Busy, Online};

    #[test]
    fn a_heartbeat_of_a_listed_user_is_not_broadcast() {
        assert_eq!(audience_of(Some(Busy), None), Audience::None);
    }

    #[test]
    fn only_a_changed_status_is_broadcast() {
        assert_eq!(audience_of(Some(Online), Some(Away)), Audience::All);
        assert_eq!(audience_of(Some(Away), Some(Away)), Audience::None);
    }

    #[test]
    fn a_user_who_was_not_listed_is_announced() {
        assert_eq!(audience_of(None, None), Audience::Others);
        assert_eq!(audience_of(None, Some(Busy)), Audience::All);
    }
}
