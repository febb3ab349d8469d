//! Who is told of what a user does.

use crate::status::Status;

/// Whom a `presence_update` is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    Nobody,
    /// Everybody but the socket it came from.
    Others,
    All,
}

/// A user who was listed with the status `before`, or was not listed, is there, and chose a status or did not.
///
/// A heartbeat is no news, nor is a status that the user has already. One who was off the list is news to the others
/// whatever they do.
pub(crate) fn of(before: Option<Status>, chosen: Option<Status>) -> Audience {
    match (before, chosen) {
        (before, Some(_)) if before != chosen => Audience::All,
        (Some(_), _) => Audience::Nobody,
        (None, _) => Audience::Others,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Away, Busy, Online};

    #[test]
    fn a_heartbeat_of_a_listed_user_is_told_nobody() {
        assert_eq!(of(Some(Busy), None), Audience::Nobody);
    }

    #[test]
    fn a_change_of_status_is_told_to_all_and_the_same_status_to_nobody() {
        assert_eq!(of(Some(Online), Some(Away)), Audience::All);
        assert_eq!(of(Some(Away), Some(Away)), Audience::Nobody);
    }

    #[test]
    fn one_who_was_not_listed_comes_back_to_the_others() {
        assert_eq!(of(None, None), Audience::Others);
        assert_eq!(of(None, Some(Busy)), Audience::All);
    }
}
