//! Revokes users, tokens and users in rooms: the list on disk first, and then the sockets that are open.
//!
//! It knows no requests. The admin listener and embedders call it.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Edge;
use super::sockets::close::CloseReason;
use crate::clock;
use crate::cluster::Node;
use crate::cluster::link::wire::{Taken, Told};
use crate::revocations::{Entry, RevokeError, Revoked, RevokedMember};

/// How often the table of revocations is asked for news. Other nodes tell of them too; this finds those that were missed.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

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
        let edge = Arc::downgrade(self);
        node.set_tickets(move |ticket| edge.upgrade()?.take_ticket_for_node(ticket));
        // A second node would be a bug of the host, and the first one stays.
        let _ = self.node.set(node.clone());
    }

    /// Takes a revocation of another node.
    async fn told(&self, told: Told) -> Taken {
        let read = |json: &str| serde_json::from_str::<Revoked>(json).map_err(|error| error.to_string());
        match told {
            Told::Revoked(json) => {
                let added = self.revocations.add_of_other(read(&json)?).await;
                self.sockets.close_revoked();
                added.map_err(|error| error.to_string())
            }
            Told::Unrevoked(json) => {
                let removed = self.revocations.remove_of_other(&read(&json)?).await;
                removed.map(drop).map_err(|error| error.to_string())
            }
        }
    }

    /// Reads revocations of other servers from the table that they share, and closes the sockets that they concern, until
    /// the edge is dropped.
    pub(crate) async fn follow_revocations(edge: Weak<Self>) {
        let mut is_away = false;
        loop {
            clock::sleep(FOLLOW_EVERY).await;
            let Some(edge) = edge.upgrade() else { return };
            match edge.revocations.catch_up().await {
                Ok(is_new) => {
                    if is_new {
                        let closed = edge.sockets.close_revoked();
                        tracing::info!(closed, "new revocations were read from the database");
                    }
                    is_away = false;
                }
                Err(problem) if !is_away => {
                    is_away = true;
                    tracing::warn!(
                        problem,
                        "revocations of other servers are not read now; after 5 s nobody is let in"
                    );
                }
                Err(_) => {}
            }
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
        let added = self.revocations.add(revoked.clone()).await;
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
        self.revocations.remove(&revoked).await
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
