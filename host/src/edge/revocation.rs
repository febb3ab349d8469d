//! Revokes users, tokens and users in rooms: the list on disk first, and then the sockets that are open.
//!
//! It knows no requests. The admin listener and embedders call it.

use std::io;
use std::sync::Arc;

use super::Edge;
use super::sockets::close::CloseReason;
use crate::cluster::Node;
use crate::cluster::link::wire::{Taken, Told};
use crate::revocations::{Entry, RevokeError, Revoked, RevokedMember};

/// The outcome of a revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Everywhere {
    /// How many sockets of this server were closed.
    pub(crate) closed: usize,
    /// The addresses of nodes of the cluster that may not know of it.
    pub(crate) missing: Vec<String>,
}

impl Edge {
    /// Joins the edge with the other nodes of a cluster: a revocation holds at all of them.
    pub(crate) fn set_node(self: &Arc<Self>, node: &Arc<Node>) {
        let edge = Arc::downgrade(self);
        node.set_listener(move |told| {
            let edge = edge.clone();
            Box::pin(async move {
                match edge.upgrade() {
                    Some(edge) => edge.told(told).await,
                    None => Err("it ends".into()),
                }
            })
        });
        // A second node would be a bug of the host, and the first one stays.
        let _ = self.node.set(node.clone());
    }

    /// Takes a revocation of another node.
    async fn told(&self, told: Told) -> Taken {
        let read = |json: &str| serde_json::from_str::<Revoked>(json).map_err(|error| error.to_string());
        match told {
            Told::Revoked(json) => self.revoke(read(&json)?).await.map(drop).map_err(|error| error.to_string()),
            Told::Unrevoked(json) => self.unrevoke(read(&json)?).await.map(drop).map_err(|error| error.to_string()),
        }
    }

    /// [Revokes](Self::revoke) here and at all other nodes.
    pub(crate) async fn revoke_everywhere(&self, revoked: Revoked) -> Result<Everywhere, RevokeError> {
        let closed = self.revoke(revoked.clone()).await?;
        Ok(Everywhere { closed, missing: self.tell(Told::Revoked, &revoked).await })
    }

    /// Removes a revocation here and at all other nodes. Absent if there is none here; the others are told anyway.
    pub(crate) async fn unrevoke_everywhere(&self, revoked: Revoked) -> io::Result<(bool, Vec<String>)> {
        let was_there = self.unrevoke(revoked.clone()).await?;
        Ok((was_there, self.tell(Told::Unrevoked, &revoked).await))
    }

    async fn tell(&self, told: fn(String) -> Told, revoked: &Revoked) -> Vec<String> {
        let Some(node) = self.node.get() else { return Vec::new() };
        let json = serde_json::to_string(revoked).expect("a revocation can be written");
        node.tell_all(&told(json)).await
    }

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
