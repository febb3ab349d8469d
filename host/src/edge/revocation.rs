//! Revokes users, tokens and users in rooms: the list on disk first, and then the sockets that are open.
//!
//! It knows no requests. The admin listener and embedders call it.

use std::io;

use super::Edge;
use super::sockets::close::CloseReason;
use crate::revocations::{Entry, RevokeError, Revoked, RevokedMember};

impl Edge {
    /// Refuses a user, a token, or a user in a room from now on, and closes their sockets. When it returns, the
    /// revocation is on disk and the close frames are queued. Returns the number of closed sockets.
    pub async fn revoke(&self, revoked: Revoked) -> Result<usize, RevokeError> {
        let revoked = self.with_known_room(revoked).map_err(RevokeError::Room)?;
        let (revocations, meant) = (self.revocations.clone(), revoked.clone());
        let added = tokio::task::spawn_blocking(move || revocations.add(meant)).await;
        let added = added.expect("adding to a list does not panic");
        // A revocation that could not be written is in force in memory, so sockets must be closed as well.
        if let Err(RevokeError::Name | RevokeError::Full) = added {
            return added.map(|()| 0);
        }
        let sockets = self.sockets.of(&revoked);
        let why = if matches!(revoked, Revoked::Member(_)) { CloseReason::SentOut } else { CloseReason::Revoked };
        sockets.iter().for_each(|client| why.end(&**client));
        added.map(|()| sockets.len())
    }

    /// Removes a revocation. False if there is none.
    pub async fn unrevoke(&self, revoked: Revoked) -> io::Result<bool> {
        // An entry of a namespace that is not configured any more can be removed too.
        let revoked = self.with_known_room(revoked.clone()).unwrap_or(revoked);
        let revocations = self.revocations.clone();
        let removed = tokio::task::spawn_blocking(move || revocations.remove(&revoked)).await;
        removed.expect("removing from a list does not panic")
    }

    /// The revocation with its room spelled as sockets and requests are compared with it. The error is the room. A `*` is
    /// no pattern here, so it is written `\*`: an operator who means many rooms must not believe that they are closed.
    fn with_known_room(&self, revoked: Revoked) -> Result<Revoked, String> {
        let Revoked::Member(RevokedMember { user, room }) = revoked else { return Ok(revoked) };
        let policy = self.access.policy();
        if room.replace("\\*", "").contains('*') {
            return Err(room);
        }
        match policy.find(&room.replace("\\*", "*")) {
            Some(found) => Ok(Revoked::member(user, policy.spelled(&found))),
            None => Err(room),
        }
    }

    /// All revocations.
    pub fn revocations(&self) -> Vec<Entry> {
        self.revocations.list()
    }
}
