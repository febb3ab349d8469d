//! The list of open sockets: for shutdown, and for closing those of a revoked user or token.
//!
//! A socket is listed before its revocation is checked. A revocation before that moment is found by the check, and a
//! later one finds the socket in the list. So no socket slips through in between.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

use super::close::CloseReason;
use crate::clock::{self, UnixMillis};
use crate::edge::identity::verified::{Role, Verified};
use crate::edge::subject::Subject;
use crate::lock::Lock;
use crate::model::{Address, Client, ClientKind, User};
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
    address: Address,
    since: UnixMillis,
}

/// A user with sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineUser {
    /// The id.
    pub id: String,
    /// The name for display, as one of the sockets has it.
    pub name: String,
    /// How many sockets.
    pub sockets: usize,
    /// In how many rooms.
    pub rooms: usize,
}

/// A socket of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSocket {
    /// Its room.
    pub room: Address,
    /// The id of its user, as the room sees it.
    pub user: String,
    /// The name of its user.
    pub user_name: String,
    /// The service that acts for the user; absent if the user opened it.
    pub service: Option<String>,
    /// How it is connected.
    pub kind: ClientKind,
    /// When it connected.
    pub since: UnixMillis,
    /// Bytes that wait to be sent to it.
    pub queued_bytes: usize,
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

    /// Registers a socket in a room, which `room` names as revocations do. It is closed at once if its token is revoked, if its user was sent out of the
    /// room, or if a shutdown has begun.
    pub(in crate::edge) fn register(
        self: &Arc<Self>,
        client: Arc<dyn Client>,
        user: Arc<User>,
        token: TokenIdentity,
        room: String,
        address: &Address,
    ) -> Registration {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let subject = token.subject.clone();
        let (address, since) = (address.clone(), clock::unix_millis());
        let open = Open { client: client.clone(), user: user.clone(), token, room: room.into(), address, since };
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

    /// The users with sockets whose ids begin with `prefix` and come after `after`, ordered by id: at most `limit`, and
    /// whether more follow.
    pub(in crate::edge) fn users(&self, prefix: &str, after: Option<&str>, limit: usize) -> (Vec<OnlineUser>, bool) {
        // One more than is asked for, to know whether another one follows.
        let mut first = BTreeMap::<String, (String, usize, HashSet<Address>)>::new();
        for open in self.open.lock().values() {
            let id = open.user.id.as_str();
            let is_meant = id.starts_with(prefix) && after.is_none_or(|after| id > after);
            let has_space = first.len() <= limit || first.last_key_value().is_some_and(|(last, _)| id <= last.as_str());
            if !is_meant || !has_space {
                continue;
            }
            let user = match first.get_mut(id) {
                Some(user) => user,
                None => first.entry(id.to_owned()).or_insert((open.user.name.clone(), 0, HashSet::new())),
            };
            user.1 += 1;
            user.2.insert(open.address.clone());
            // A user that is removed here has no place later either, so all sockets of the others are counted.
            if first.len() > limit + 1 {
                first.pop_last();
            }
        }
        let has_more = first.len() > limit;
        let online = |(id, (name, sockets, rooms)): (String, (String, usize, HashSet<Address>))| OnlineUser {
            id,
            name,
            sockets,
            rooms: rooms.len(),
        };
        (first.into_iter().take(limit).map(online).collect(), has_more)
    }

    /// The sockets of a user, the oldest first: at most `limit`, and how many there are. A service is found by its own
    /// id and by those of the users for whom it acts.
    pub(in crate::edge) fn sockets_of(&self, user: &str, limit: usize) -> (Vec<UserSocket>, usize) {
        let sockets = self.open.lock();
        let mut found = sockets.iter().filter(|(_, open)| open.is_of(user)).collect::<Vec<_>>();
        found.sort_by_key(|(number, _)| **number);
        let count = found.len();
        let socket = |(_, open): (&u64, &Open)| UserSocket {
            room: open.address.clone(),
            user: open.user.id.clone(),
            user_name: open.user.name.clone(),
            service: open.token.subject.service().map(str::to_owned),
            kind: open.client.kind(),
            since: open.since,
            queued_bytes: open.client.buffered(),
        };
        (found.into_iter().take(limit).map(socket).collect(), count)
    }

    /// The clients of a user, in all rooms or in one.
    pub(in crate::edge) fn clients_of(&self, user: &str, room: Option<&Address>) -> Vec<Arc<dyn Client>> {
        let is_meant = |open: &&Open| open.is_of(user) && room.is_none_or(|room| *room == open.address);
        self.open.lock().values().filter(is_meant).map(|open| open.client.clone()).collect()
    }

    /// Closes the sockets whose tokens or users are revoked, and returns how many they are.
    pub(in crate::edge) fn close_revoked(&self) -> usize {
        self.open.lock().values().filter(|open| self.close_if_revoked(open)).count()
    }

    /// Returns whether it was closed.
    fn close_if_revoked(&self, open: &Open) -> bool {
        let id = open.token.subject.id();
        if self.revocations.hold(id, open.token.issued_at, open.token.id.as_deref()) {
            CloseReason::Revoked.end(&*open.client);
        } else if [&*open.user.id, id].iter().any(|id| self.revocations.hold_member(id, &open.room)) {
            CloseReason::SentOut.end(&*open.client);
        } else {
            return false;
        }
        true
    }
}

impl Open {
    fn is_of(&self, user: &str) -> bool {
        self.user.id == user || self.token.subject.id() == user
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
