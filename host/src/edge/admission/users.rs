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
    sockets: usize,
    rooms: usize,
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
        let counts = !config.identity.is_dev();
        Users {
            sockets: if counts { limits.sockets_per_user } else { 0 },
            rooms: if counts { limits.rooms_per_user } else { 0 },
            messages_per_second: if counts { limits.messages_per_second_per_user } else { 0 },
            inner: Mutex::default(),
        }
    }

    /// Returns the user with this id.
    pub(in crate::edge) fn of(&self, id: &str) -> Arc<UserUsage> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = inner.known.get(id).and_then(Weak::upgrade) {
            return user;
        }
        let fresh = || TokenBucket::new(self.messages_per_second, clock::monotonic());
        let bucket = (self.messages_per_second > 0).then(fresh);
        let here = Usage { rooms: HashMap::new(), sockets: 0, bucket };
        let user = Arc::new(UserUsage { inner: Mutex::new(here) });
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
    pub(in crate::edge) fn enter(&self, user: &Arc<UserUsage>, room: &Address) -> Result<SocketPermit, TooMany> {
        let mut here = user.here();
        if self.sockets > 0 && here.sockets >= self.sockets {
            return Err(TooMany::Sockets);
        }
        if self.rooms > 0 && here.rooms.len() >= self.rooms && !here.rooms.contains_key(room) {
            return Err(TooMany::Rooms);
        }
        here.sockets += 1;
        *here.rooms.entry(room.clone()).or_default() += 1;
        Ok(SocketPermit { user: user.clone(), room: room.clone() })
    }
}

impl UserUsage {
    /// Spends one message; false if the user has none left now.
    pub(in crate::edge) fn may_say(&self, now: Instant) -> bool {
        self.may_do(1, now)
    }

    /// Spends the cost of so many messages; false if the user has not enough left now.
    pub(in crate::edge) fn may_do(&self, messages: u32, now: Instant) -> bool {
        self.here().bucket.as_mut().is_none_or(|bucket| bucket.take_many(messages.into(), now))
    }

    fn here(&self) -> MutexGuard<'_, Usage> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SocketPermit {
    fn drop(&mut self) {
        let mut here = self.user.here();
        here.sockets = here.sockets.saturating_sub(1);
        if let Some(sockets) = here.rooms.get_mut(&self.room) {
            *sockets = sockets.saturating_sub(1);
            if *sockets == 0 {
                here.rooms.remove(&self.room);
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
        let ana = users.of("ana");
        let first = users.enter(&ana, &room("a")).unwrap();
        let _second = users.enter(&users.of("ana"), &room("a")).unwrap();
        assert_eq!(users.enter(&ana, &room("b")).err(), Some(TooMany::Sockets));
        assert!(users.enter(&users.of("bo"), &room("a")).is_ok());
        drop(first);
        assert!(users.enter(&ana, &room("b")).is_ok());
    }

    #[test]
    fn rooms_of_a_user_are_limited_independent_of_sockets_in_each() {
        let users = users(Auth::Jwt, Limits { rooms_per_user: 1, ..Limits::default() });
        let ana = users.of("ana");
        let in_a = [users.enter(&ana, &room("a")), users.enter(&ana, &room("a"))].map(Result::unwrap);
        assert_eq!(users.enter(&ana, &room("b")).err(), Some(TooMany::Rooms));
        drop(in_a);
        assert!(users.enter(&ana, &room("b")).is_ok());
    }

    #[test]
    fn a_reconnect_does_not_refill_the_token_bucket() {
        let users = users(Auth::Jwt, Limits { messages_per_second_per_user: 1, ..Limits::default() });
        let now = clock::monotonic();
        let said = (0..20).filter(|_| users.of("ana").may_say(now)).count();
        assert_eq!(said, 10);
    }

    #[test]
    fn a_refused_request_costs_nothing() {
        let users = users(Auth::Jwt, Limits { messages_per_second_per_user: 1, ..Limits::default() });
        let (ana, now) = (users.of("ana"), clock::monotonic());
        assert!(ana.may_do(8, now) && !ana.may_do(4, now) && ana.may_do(2, now) && !ana.may_say(now));
    }

    #[test]
    fn users_without_sockets_are_dropped_in_the_end() {
        let users = users(Auth::Jwt, Limits::default());
        for number in 0..4 * REMEMBERED {
            users.of(&number.to_string());
        }
        let inner = users.inner.lock().unwrap();
        assert!(inner.known.len() <= 3 * REMEMBERED, "{}", inner.known.len());
    }

    #[test]
    fn dev_auth_counts_no_user() {
        let users = users(Auth::Dev, Limits { sockets_per_user: 1, ..Limits::default() });
        let ana = users.of("ana");
        let sockets = [users.enter(&ana, &room("a")), users.enter(&ana, &room("a"))];
        assert!(sockets.iter().all(Result::is_ok));
    }
}
