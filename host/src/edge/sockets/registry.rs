//! The list of open sockets: for shutdown, and for closing those of a revoked user or token.
//!
//! A socket is listed before its revocation is checked. A revocation before that moment is found by the check, and a
//! later one finds the socket in the list. So no socket slips through in between.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

use super::close::CloseReason;
use crate::clock::UnixMillis;
use crate::edge::identity::verified::{Role, Verified};
use crate::edge::subject::Subject;
use crate::lock::Lock;
use crate::model::{Client, User};
use crate::revocations::{Revocations, Revoked};

/// All open sockets.
pub(in crate::edge) struct SocketRegistry {
    open: Lock<HashMap<u64, Open>>,
    next: AtomicU64,
    revocations: Arc<Revocations>,
    /// True once a shutdown has begun to close the registered sockets.
    draining: watch::Receiver<bool>,
    /// The metric of open sockets.
    count: Gauge,
}

struct Open {
    client: Arc<dyn Client>,
    /// As the room sees it.
    user: Arc<User>,
    token: TokenIdentity,
    /// As revocations name it.
    room: Box<str>,
}

/// The part of a socket's token that revocation and renewal need.
pub(in crate::edge) struct TokenIdentity {
    /// The user or the service of the token. A service may act for another user, whom the room sees.
    subject: Subject,
    issued_at: Option<UnixMillis>,
    id: Option<Box<str>>,
}

/// A socket in the list; dropping it removes the socket.
pub(in crate::edge) struct Registration {
    registry: Arc<SocketRegistry>,
    user: Arc<User>,
    subject: Subject,
    number: u64,
}

impl TokenIdentity {
    pub(in crate::edge) fn of(verified: &Verified) -> Self {
        TokenIdentity {
            subject: verified.subject(),
            issued_at: verified.issued_at,
            id: verified.token_id.as_deref().map(Into::into),
        }
    }
}

impl SocketRegistry {
    /// Makes an empty registry. `count` is the metric of open sockets.
    pub(in crate::edge) fn new(
        revocations: Arc<Revocations>,
        draining: watch::Receiver<bool>,
        count: Gauge,
    ) -> Arc<Self> {
        Arc::new(SocketRegistry { open: Lock::default(), next: AtomicU64::new(0), revocations, draining, count })
    }

    /// Registers a socket in a room. It is closed at once if its token is revoked, if its user was sent out of the
    /// room, or if a shutdown has begun.
    pub(in crate::edge) fn register(
        self: &Arc<Self>,
        client: Arc<dyn Client>,
        user: Arc<User>,
        token: TokenIdentity,
        room: String,
    ) -> Registration {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let subject = token.subject.clone();
        let open = Open { client: client.clone(), user: user.clone(), token, room: room.into() };
        let mut sockets = self.open.lock();
        let open = sockets.entry(number).insert_entry(open).into_mut();
        self.close_if_revoked(open);
        drop(sockets);
        self.count.inc();
        // It may have been accepted after the shutdown closed all registered sockets.
        if *self.draining.borrow() {
            CloseReason::GoingAway { retry_after_s: 1 }.end(&*client);
        }
        Registration { registry: self.clone(), user, subject, number }
    }

    /// The clients of all open sockets.
    pub(in crate::edge) fn all(&self) -> Vec<Arc<dyn Client>> {
        self.open.lock().values().map(|open| open.client.clone()).collect()
    }

    pub(in crate::edge) fn is_empty(&self) -> bool {
        self.open.lock().is_empty()
    }

    /// The clients that a revocation concerns.
    pub(in crate::edge) fn of(&self, revoked: &Revoked) -> Vec<Arc<dyn Client>> {
        let is_meant = |open: &&Open| match revoked {
            Revoked::User(revoked) => open.token.subject.id() == revoked.user,
            Revoked::Token(revoked) => open.token.id.as_deref() == Some(&revoked.jti),
            Revoked::Member(revoked) => {
                [&*open.user.id, open.token.subject.id()].contains(&&*revoked.user) && *open.room == *revoked.room
            }
        };
        self.open.lock().values().filter(is_meant).map(|open| open.client.clone()).collect()
    }

    fn close_if_revoked(&self, open: &Open) {
        let id = open.token.subject.id();
        if self.revocations.hold(id, open.token.issued_at, open.token.id.as_deref()) {
            CloseReason::Revoked.end(&*open.client);
        } else if [&*open.user.id, id].iter().any(|id| self.revocations.hold_member(id, &open.room)) {
            CloseReason::SentOut.end(&*open.client);
        }
    }
}

impl Registration {
    /// The socket's user.
    pub(in crate::edge) fn user(&self) -> &User {
        &self.user
    }

    /// The service that opened it; absent if a user did.
    pub(in crate::edge) fn service(&self) -> Option<&str> {
        self.subject.service()
    }

    /// The identity that a new token gives the socket; absent if the token is somebody else's. A service's token need
    /// not name the user again for whom the socket acts.
    pub(in crate::edge) fn renewed(&self, verified: Verified) -> Option<Verified> {
        if verified.subject() != self.subject {
            return None;
        }
        let verified = match &verified.role {
            Role::Service { acts_for: None } => verified.acting_for(User::clone(&self.user)),
            Role::Service { acts_for: Some(_) } | Role::User => verified,
        };
        (verified.room_user().id == self.user.id).then_some(verified)
    }

    /// The list that the socket was checked against.
    pub(in crate::edge) fn revocations(&self) -> &Revocations {
        &self.registry.revocations
    }

    /// The socket has another token from now on.
    pub(in crate::edge) fn set_token(&self, token: TokenIdentity) {
        let mut sockets = self.registry.open.lock();
        let Some(open) = sockets.get_mut(&self.number) else { return };
        open.token = token;
        self.registry.close_if_revoked(open);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.open.lock().remove(&self.number);
        self.registry.count.dec();
    }
}
