//! The list of open sockets: for shutdown, and for closing those of a revoked user or token.
//!
//! A socket is listed before its revocation is checked. A revocation before that moment is found by the check, and a
//! later one finds the socket in the list. So no socket slips through in between.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::close::CloseReason;
use crate::clock::UnixMillis;
use crate::edge::Edge;
use crate::edge::drain::end;
use crate::edge::identity::verified::{Invalid, Verified};
use crate::lock::Lock;
use crate::model::{Client, User};
use crate::revocations::{Entry, RevokeError, Revoked};

/// All open sockets.
#[derive(Default)]
pub(in crate::edge) struct SocketRegistry {
    open: Lock<HashMap<u64, Open>>,
    next: AtomicU64,
}

struct Open {
    client: Arc<dyn Client>,
    user: Arc<User>,
    token: TokenIdentity,
}

/// The part of a socket's token that revocation needs.
pub(in crate::edge) struct TokenIdentity {
    issued_at: Option<UnixMillis>,
    id: Option<Box<str>>,
}

/// A socket in the list; dropping it removes the socket.
pub(in crate::edge) struct Registration {
    edge: Arc<Edge>,
    user: Arc<User>,
    number: u64,
}

impl TokenIdentity {
    pub(in crate::edge) fn of(verified: &Verified) -> Self {
        TokenIdentity { issued_at: verified.issued_at, id: verified.token_id.as_deref().map(Into::into) }
    }
}

impl SocketRegistry {
    /// The clients of all open sockets.
    pub(in crate::edge) fn all(&self) -> Vec<Arc<dyn Client>> {
        self.open.lock().values().map(|open| open.client.clone()).collect()
    }

    pub(in crate::edge) fn is_empty(&self) -> bool {
        self.open.lock().is_empty()
    }

    fn of(&self, revoked: &Revoked) -> Vec<Arc<dyn Client>> {
        let is_meant = |open: &&Open| match revoked {
            Revoked::User(revoked) => open.user.id == revoked.user,
            Revoked::Token(revoked) => open.token.id.as_deref() == Some(&revoked.jti),
        };
        self.open.lock().values().filter(is_meant).map(|open| open.client.clone()).collect()
    }
}

impl Registration {
    pub(in crate::edge) fn new(
        edge: &Arc<Edge>,
        client: Arc<dyn Client>,
        user: Arc<User>,
        token: TokenIdentity,
    ) -> Self {
        let number = edge.sockets.next.fetch_add(1, Ordering::Relaxed);
        let is_out = |token: &TokenIdentity| edge.revocations.hold(&user.id, token.issued_at, token.id.as_deref());
        let open = Open { client: client.clone(), user: user.clone(), token };
        let mut sockets = edge.sockets.open.lock();
        let token = &sockets.entry(number).insert_entry(open).into_mut().token;
        if is_out(token) {
            end(&*client, CloseReason::Revoked);
        }
        drop(sockets);
        edge.metrics.sockets.inc();
        // It may have been accepted after the shutdown closed all listed sockets.
        if *edge.draining.borrow() {
            end(&*client, CloseReason::GoingAway { retry_after_s: 1 });
        }
        Registration { edge: edge.clone(), user, number }
    }

    /// The socket's user.
    pub(in crate::edge) fn user(&self) -> &User {
        &self.user
    }

    pub(in crate::edge) fn edge(&self) -> &Edge {
        &self.edge
    }

    /// The socket has another token from now on.
    pub(in crate::edge) fn set_token(&self, token: TokenIdentity) {
        let mut sockets = self.edge.sockets.open.lock();
        let Some(open) = sockets.get_mut(&self.number) else { return };
        open.token = token;
        if self.edge.revocations.hold(&open.user.id, open.token.issued_at, open.token.id.as_deref()) {
            end(&*open.client, CloseReason::Revoked);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.edge.sockets.open.lock().remove(&self.number);
        self.edge.metrics.sockets.dec();
    }
}

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
        sockets.iter().for_each(|client| end(&**client, CloseReason::Revoked));
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

    pub(in crate::edge) fn check_revoked(&self, verified: &Verified) -> Result<(), Invalid> {
        let Verified { user, issued_at, token_id, .. } = verified;
        if self.revocations.hold(&user.id, *issued_at, token_id.as_deref()) {
            return Err(Invalid("the token was revoked".into()));
        }
        Ok(())
    }
}
