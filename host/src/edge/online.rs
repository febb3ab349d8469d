//! Connected users, for the operator: who they are, their sockets, and an end to them that is no revocation.
//!
//! It knows no requests. The admin listener and embedders call it.

use super::Edge;
use super::sockets::close::CloseReason;
use super::sockets::registry::{OnlineUser, UserSocket};
use crate::limits::LISTED_SOCKETS;
use crate::model::Address;

/// Some users with sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsersPage {
    /// The users, ordered by id.
    pub users: Vec<OnlineUser>,
    /// For the next page; absent if this is the last one.
    pub next: Option<String>,
}

impl Edge {
    /// Users with sockets whose ids begin with `prefix`, after the page that had `after` as its `next`. It reads the
    /// list of all open sockets once.
    pub fn users(&self, prefix: &str, after: Option<&str>, limit: usize) -> UsersPage {
        let (users, has_more) = self.sockets.users(prefix, after, limit);
        let next = users.last().filter(|_| has_more).map(|last| last.id.clone());
        UsersPage { users, next }
    }

    /// The sockets of a user, the oldest first and at most 1,000, and how many there are.
    pub fn sockets_of(&self, user: &str) -> (Vec<UserSocket>, usize) {
        self.sockets.sockets_of(user, LISTED_SOCKETS)
    }

    /// Closes the sockets of a user, in one room or everywhere, and returns their number. The user may come back: to
    /// prevent that, revoke.
    pub fn disconnect(&self, user: &str, room: Option<&Address>) -> usize {
        let clients = self.sockets.clients_of(user, room);
        clients.iter().for_each(|client| CloseReason::Disconnected.end(&**client));
        clients.len()
    }
}
