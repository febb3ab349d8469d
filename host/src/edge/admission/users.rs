//! The limits of one user, over all of the user's sockets: sockets, rooms and rate. A service has limits of its own,
//! and shares none with a user of the same id.
//!
//! A user is known while a socket of theirs is open, and for a while after. So leaving and coming back does not refill
//! the token bucket.
//!
//! It knows no connections. `http` spends from a user for each request, and `rate` for each message.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use crate::clock;
use crate::config::Config;
use crate::edge::subject::Subject;
use crate::limit_hits::Limit;
use crate::model::Address;
use crate::token_bucket::TokenBucket;

/// The number of users that stay known after they have left: the latest ones.
const REMEMBERED: usize = 16_384;

/// All users that are connected or were lately.
pub(in crate::edge) struct Users {
    of_user: Maxima,
    of_service: Maxima,
    inner: Mutex<Inner>,
}

/// The most that one user or service may have; 0 for no limit.
#[derive(Debug, Clone, Copy)]
struct Maxima {
    sockets: usize,
    rooms: usize,
    messages_per_second: u32,
}

#[derive(Default)]
struct Inner {
    known: HashMap<Subject, Weak<UserUsage>>,
    /// Keeps the latest users known.
    latest: VecDeque<Arc<UserUsage>>,
}

/// One user or service.
pub(in crate::edge) struct UserUsage {
    max: Maxima,
    is_service: bool,
    inner: Mutex<Usage>,
}

struct Usage {
    /// The user's sockets in each room.
    rooms: HashMap<Address, usize>,
    sockets: usize,
    /// Absent if there is no limit.
    bucket: Option<TokenBucket>,
}

/// One of a user's sockets; dropping it returns its place.
pub(in crate::edge) struct SocketPermit {
    user: Arc<UserUsage>,
    room: Address,
}

impl Users {
    /// Reads the limits. With dev auth there are none.
    pub(in crate::edge) fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let of_user = Maxima {
            sockets: limits.sockets_per_user,
            rooms: limits.rooms_per_user,
            messages_per_second: limits.messages_per_second_per_user,
        };
        // A socket is in one room, so a limit of sockets is one of rooms.
        let of_service = Maxima {
            sockets: limits.service_sockets,
            rooms: 0,
            messages_per_second: limits.service_messages_per_second,
        };
        let unlimited = Maxima { sockets: 0, rooms: 0, messages_per_second: 0 };
        let limited = |max: Maxima| if config.identity.is_dev() { unlimited } else { max };
        Users { of_user: limited(of_user), of_service: limited(of_service), inner: Mutex::default() }
    }

    /// Returns a user or a service.
    pub(in crate::edge) fn usage_of(&self, subject: &Subject) -> Arc<UserUsage> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = inner.known.get(subject).and_then(Weak::upgrade) {
            return user;
        }
        let (max, is_service) = match subject {
            Subject::User(_) => (self.of_user, false),
            Subject::Service(_) => (self.of_service, true),
        };
        let fresh = || TokenBucket::new(max.messages_per_second, clock::monotonic());
        let bucket = (max.messages_per_second > 0).then(fresh);
        let usage = Usage { rooms: HashMap::new(), sockets: 0, bucket };
        let user = Arc::new(UserUsage { max, is_service, inner: Mutex::new(usage) });
        // Users who have left are removed when the map would grow, so it is never twice as long as necessary.
        if inner.known.len() == inner.known.capacity() {
            inner.known.retain(|_, user| user.strong_count() > 0);
        }
        inner.known.insert(subject.clone(), Arc::downgrade(&user));
        inner.latest.push_back(user.clone());
        if inner.latest.len() > REMEMBERED {
            inner.latest.pop_front();
        }
        user
    }
}

impl UserUsage {
    /// Counts one more socket in a room, or returns the limit that it meets.
    pub(in crate::edge) fn acquire_socket(self: &Arc<Self>, room: &Address) -> Result<SocketPermit, Limit> {
        let mut usage = self.usage();
        if self.max.sockets > 0 && usage.sockets >= self.max.sockets {
            return Err(if self.is_service { Limit::ServiceSockets } else { Limit::SocketsPerUser });
        }
        if self.max.rooms > 0 && usage.rooms.len() >= self.max.rooms && !usage.rooms.contains_key(room) {
            return Err(Limit::RoomsPerUser);
        }
        usage.sockets += 1;
        *usage.rooms.entry(room.clone()).or_default() += 1;
        Ok(SocketPermit { user: self.clone(), room: room.clone() })
    }

    /// Whether it is a service.
    pub(in crate::edge) fn is_service(&self) -> bool {
        self.is_service
    }

    /// The limit of its rate.
    pub(in crate::edge) fn rate_limit(&self) -> Limit {
        if self.is_service { Limit::ServiceMessages } else { Limit::MessagesPerUser }
    }

    /// Spends one message; false if the user has none left now.
    pub(in crate::edge) fn spend_message(&self, now: Instant) -> bool {
        self.spend_messages(1, now)
    }

    /// Spends the cost of so many messages; false if the user has not enough left now.
    pub(in crate::edge) fn spend_messages(&self, messages: u32, now: Instant) -> bool {
        self.usage().bucket.as_mut().is_none_or(|bucket| bucket.take_many(messages.into(), now))
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SocketPermit {
    fn drop(&mut self) {
        let mut usage = self.user.usage();
        usage.sockets = usage.sockets.saturating_sub(1);
        if let Some(sockets) = usage.rooms.get_mut(&self.room) {
            *sockets = sockets.saturating_sub(1);
            if *sockets == 0 {
                usage.rooms.remove(&self.room);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Auth, Identity, Limits};

    fn users(auth: Auth, limits: Limits) -> Users {
        Users::new(&Config { identity: Identity { auth, ..Identity::default() }, limits, ..Config::default() })
    }

    fn user(id: &str) -> Subject {
        Subject::User(id.into())
    }

    fn room(name: &str) -> Address {
        Address::new("ROOMS", name).unwrap()
    }

    #[test]
    fn each_user_has_its_own_socket_limit() {
        let users = users(Auth::Jwt, Limits { sockets_per_user: 2, ..Limits::default() });
        let ana = users.usage_of(&user("ana"));
        let first = ana.acquire_socket(&room("a")).unwrap();
        let _second = users.usage_of(&user("ana")).acquire_socket(&room("a")).unwrap();
        assert_eq!(ana.acquire_socket(&room("b")).err(), Some(Limit::SocketsPerUser));
        assert!(users.usage_of(&user("bo")).acquire_socket(&room("a")).is_ok());
        drop(first);
        assert!(ana.acquire_socket(&room("b")).is_ok());
    }

    #[test]
    fn rooms_of_a_user_are_limited_independent_of_sockets_in_each() {
        let users = users(Auth::Jwt, Limits { rooms_per_user: 1, ..Limits::default() });
        let ana = users.usage_of(&user("ana"));
        let in_a = [ana.acquire_socket(&room("a")), ana.acquire_socket(&room("a"))].map(Result::unwrap);
        assert_eq!(ana.acquire_socket(&room("b")).err(), Some(Limit::RoomsPerUser));
        drop(in_a);
        assert!(ana.acquire_socket(&room("b")).is_ok());
    }

    #[test]
    fn a_reconnect_does_not_refill_the_token_bucket() {
        let users = users(Auth::Jwt, Limits { messages_per_second_per_user: 1, ..Limits::default() });
        let now = clock::monotonic();
        let sent = (0..20).filter(|_| users.usage_of(&user("ana")).spend_message(now)).count();
        assert_eq!(sent, 10);
    }

    #[test]
    fn a_refused_request_costs_nothing() {
        let users = users(Auth::Jwt, Limits { messages_per_second_per_user: 1, ..Limits::default() });
        let (ana, now) = (users.usage_of(&user("ana")), clock::monotonic());
        assert!(
            ana.spend_messages(8, now)
                && !ana.spend_messages(4, now)
                && ana.spend_messages(2, now)
                && !ana.spend_message(now)
        );
    }

    #[test]
    fn users_without_sockets_are_dropped_in_the_end() {
        let users = users(Auth::Jwt, Limits::default());
        for number in 0..4 * REMEMBERED {
            users.usage_of(&user(&number.to_string()));
        }
        let inner = users.inner.lock().unwrap();
        assert!(inner.known.len() <= 3 * REMEMBERED, "{}", inner.known.len());
    }

    #[test]
    fn dev_auth_counts_no_user() {
        let users = users(Auth::Dev, Limits { sockets_per_user: 1, ..Limits::default() });
        let ana = users.usage_of(&user("ana"));
        let sockets = [ana.acquire_socket(&room("a")), ana.acquire_socket(&room("a"))];
        assert!(sockets.iter().all(Result::is_ok));
    }

    #[test]
    fn a_service_shares_no_limit_with_a_user_of_the_same_id() {
        let limits = Limits {
            sockets_per_user: 1,
            rooms_per_user: 1,
            messages_per_second_per_user: 1,
            service_sockets: 2,
            service_messages_per_second: 2,
            ..Limits::default()
        };
        let users = users(Auth::Jwt, limits);
        let (service, ana) = (users.usage_of(&Subject::Service("ana".into())), users.usage_of(&user("ana")));
        let _sockets = [service.acquire_socket(&room("a")), service.acquire_socket(&room("b"))].map(Result::unwrap);
        assert_eq!(service.acquire_socket(&room("c")).err(), Some(Limit::ServiceSockets));
        let now = clock::monotonic();
        assert_eq!((0..40).filter(|_| service.spend_message(now)).count(), 20);
        assert!(ana.acquire_socket(&room("a")).is_ok());
        assert_eq!((0..40).filter(|_| ana.spend_message(now)).count(), 10);
        assert_eq!((service.rate_limit(), ana.rate_limit()), (Limit::ServiceMessages, Limit::MessagesPerUser));
    }
}
