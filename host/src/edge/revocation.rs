//! Revokes users and tokens: the list on disk first, and then the sockets that are open.
//!
//! It knows no requests. The admin listener and embedders call it.

use std::io;

use super::Edge;
use super::sockets::close::CloseReason;
use crate::revocations::{Entry, RevokeError, Revoked};

impl Edge {
    /// Refuses a user or a token from now on, and closes their sockets. When it returns, the revocation is on disk and
    /// the close frames are queued. Returns the number of closed sockets.
    pub async fn revoke(&self, revoked: Revoked) -> Result<usize, RevokeError> {
        let (revocations, meant) = (self.revocations.clone(), revoked.clone());
        let added = tokio::task::spawn_blocking(move || revocations.add(meant)).await;
        let added = added.expect("adding to a list does not panic");
        // A revocation that could not be written is in force in memory, so sockets must be closed as well.
        if let Err(RevokeError::Name | RevokeError::Full) = added {
            return added.map(|()| 0);
        }
        let sockets = self.sockets.of(&revoked);
        sockets.iter().for_each(|client| CloseReason::Revoked.end(&**client));
        added.map(|()| sockets.len())
    }

    /// Removes a revocation. False if there is none.
    pub async fn unrevoke(&self, revoked: Revoked) -> io::Result<bool> {
        let revocations = self.revocations.clone();
        let removed = tokio::task::spawn_blocking(move || revocations.remove(&revoked)).await;
        removed.expect("removing from a list does not panic")
    }

    /// All revocations.
    pub fn revocations(&self) -> Vec<Entry> {
        self.revocations.list()
    }
}
