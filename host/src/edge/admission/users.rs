//! The limits of one user, over all of the user's sockets: sockets, rooms and rate.
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
use crate::limit_hits::Limit;
use crate::model::Address;
use crate::token_bucket::TokenBucket;

/// The number of users that stay known after they have left: the latest ones.
const REMEMBERED: usize = 16_384;

/// All users that are connected or were lately.
pub(in crate::edge) struct Users {
    /// 0 for no limit; the same holds for the two below.
    max_sockets: usize,
    max_rooms: usize,
    messages_per_second: u32,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    known: HashMap<String, Weak<UserUsage>>,
    /// Keeps the latest users known.
    latest: VecDeque<Arc<UserUsage>>,
}

/// One user.
pub(in crate::edge) struct UserUsage {
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

/// The thing that a user has too many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum TooMany {
    Sockets,
    Rooms,
}

impl From<TooMany> for Limit {
    fn from(too_many: TooMany) -> Self {
        match too_many {
            TooMany::Sockets => Limit::SocketsPerUser,
            TooMany::Rooms => Limit::RoomsPerUser,
        }
    }
}

impl Users {
    /// Reads the limits. With dev auth there are none.
    pub(in crate::edge) fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let is_limited = !config.identity.is_dev();
        Users {
            max_sockets: if is_limited { limits.sockets_per_user } else { 0 },
            max_rooms: if is_limited { limits.rooms_per_user } else { 0 },
            messages_per_second: if is_limited { limits.messages_per_second_per_user } else { 0 },
            inner: Mutex::default(),
        }
    }

    /// Returns the user with this id.
    pub(in crate::edge) fn usage_of(&self, id: &str) -> Arc<UserUsage> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = inner.known.get(id).and_then(Weak::upgrade) {
            return user;
        }
        let fresh = || TokenBucket::new(self.messages_per_second, clock::monotonic());
        let bucket = (self.messages_per_second > 0).then(fresh);
        let usage = Usage { rooms: HashMap::new(), sockets: 0, bucket };
        let user = Arc::new(UserUsage { inner: Mutex::new(usage) });
        // Users who have left are removed when the map would grow, so it is never twice as long as necessary.
        if inner.known.len() == inner.known.capacity() {
            inner.known.retain(|_, user| user.strong_count() > 0);
        }
        inner.known.insert(id.to_owned(), Arc::downgrade(&user));
        inner.latest.push_back(user.clone());
        if inner.latest.len() > REMEMBERED {
            inner.latest.pop_front();
        }
        user
    }

    /// Counts one more socket of a user in a room.
    pub(in crate::edge) fn acquire_socket(
        &self,
        user: &Arc<UserUsage>,
        room: &Address,
    ) -> Result<SocketPermit, TooMany> {
        let mut usage = user.usage();
        if self.max_sockets > 0 && usage.sockets >= self.max_sockets {
            return Err(TooMany::Sockets);
        }
        if self.max_rooms > 0 && usage.rooms.len() >= self.max_rooms && !usage.rooms.contains_key(room) {
            return Err(TooMany::Rooms);
        }
        usage.sockets += 1;
        *usage.rooms.entry(room.clone()).or_default() += 1;
        Ok(SocketPermit { user: user.clone(), room: room.clone() })
    }
}

impl UserUsage {
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

    fn room(name: &str) -> Address {
        Address::new("ROOMS", name).unwrap()
    }

    #[test]
    fn each_user_has_its_own_socket_limit() {
        let users = users(Auth::Jwt, Limits { sockets_per_user: 2, ..Limits::default() });
        let ana = users.usage_of("ana");
        let first = users.acquire_socket(&ana, &room("a")).unwrap();
        let _second = users.acquire_socket(&users.usage_of("ana"), &room("a")).unwrap();
        assert_eq!(users.acquire_socket(&ana, &room("b")).err(), Some(TooMany::Sockets));
        assert!(users.acquire_socket(&users.usage_of("bo"), &room("a")).is_ok());
        drop(first);
        assert!(users.acquire_socket(&ana, &room("b")).is_ok());
    }

    #[test]
    fn rooms_of_a_user_are_limited_independent_of_sockets_in_each() {
        let users = users(Auth::Jwt, Limits { rooms_per_user: 1, ..Limits::default() });
        let ana = users.usage_of("ana");
        let in_a = [users.acquire_socket(&ana, &room("a")), users.acquire_socket(&ana, &room("a"))].map(Result::unwrap);
        assert_eq!(users.acquire_socket(&ana, &room("b")).err(), Some(TooMany::Rooms));
        drop(in_a);
        assert!(users.acquire_socket(&ana, &room("b")).is_ok());
    }

    #[test]
    fn a_reconnect_does_not_refill_the_token_bucket() {
        let users = users(Auth::Jwt, Limits { messages_per_second_per_user: 1, ..Limits::default() });
        let now = clock::monotonic();
        let sent = (0..20).filter(|_| users.usage_of("ana").spend_message(now)).count();
        assert_eq!(sent, 10);
    }

    #[test]
    fn a_refused_request_costs_nothing() {
        let users = users(Auth::Jwt, Limits { messages_per_second_per_user: 1, ..Limits::default() });
        let (ana, now) = (users.usage_of("ana"), clock::monotonic());
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
            users.usage_of(&number.to_string());
        }
        let inner = users.inner.lock().unwrap();
        assert!(inner.known.len() <= 3 * REMEMBERED, "{}", inner.known.len());
    }

    #[test]
    fn dev_auth_counts_no_user() {
        let users = users(Auth::Dev, Limits { sockets_per_user: 1, ..Limits::default() });
        let ana = users.usage_of("ana");
        let sockets = [users.acquire_socket(&ana, &room("a")), users.acquire_socket(&ana, &room("a"))];
        assert!(sockets.iter().all(Result::is_ok));
    }
}
