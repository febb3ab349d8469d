//! The places among the calls to the operator's server: so many in all, and a part of them for one user, so that a user
//! with many rooms does not keep others waiting.
//!
//! It knows no questions and no time: the caller waits for a place as long as it wants.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::limits::{AUTHORIZER_CALLS, AUTHORIZER_CALLS_OF_A_USER};
use crate::lock::Lock;

/// All places.
pub(super) struct Places {
    all: Semaphore,
    users: Lock<HashMap<Box<str>, UserPlaces>>,
}

/// The places of one user, for as long as one is held or awaited.
struct UserPlaces {
    free: Arc<Semaphore>,
    /// How many calls hold a place or wait for one.
    calls: usize,
}

/// A place among the calls, given back on drop.
pub(super) struct Place<'a> {
    _of_all: SemaphorePermit<'a>,
    _of_user: OwnedSemaphorePermit,
    _calls: UserCall<'a>,
}

/// A call of a user, which holds a place or waits for one.
struct UserCall<'a> {
    places: &'a Places,
    user: &'a str,
}

impl Places {
    pub(super) fn new() -> Self {
        Places { all: Semaphore::new(AUTHORIZER_CALLS), users: Lock::default() }
    }

    /// Waits for a place.
    pub(super) async fn take<'a>(&'a self, user: &'a str) -> Place<'a> {
        let (call, free) = self.enter(user);
        // The user's own first: a call that waits for that must not hold one of all.
        let of_user = free.acquire_owned().await.expect("nothing closes it");
        let of_all = self.all.acquire().await.expect("nothing closes it");
        Place { _of_all: of_all, _of_user: of_user, _calls: call }
    }

    fn enter<'a>(&'a self, user: &'a str) -> (UserCall<'a>, Arc<Semaphore>) {
        let mut users = self.users.lock();
        let new = || UserPlaces { free: Arc::new(Semaphore::new(AUTHORIZER_CALLS_OF_A_USER)), calls: 0 };
        let places = users.entry(user.into()).or_insert_with(new);
        places.calls += 1;
        (UserCall { places: self, user }, places.free.clone())
    }
}

impl Drop for UserCall<'_> {
    fn drop(&mut self) {
        let mut users = self.places.users.lock();
        let Some(places) = users.get_mut(self.user) else { return };
        places.calls -= 1;
        if places.calls == 0 {
            users.remove(self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn taken<'a>(places: &'a Places, user: &'a str) -> Option<Place<'a>> {
        places.take(user).now_or_never()
    }

    #[test]
    fn a_user_holds_a_part_of_all_places_and_they_come_back() {
        let places = Places::new();
        let mut of_ana = Vec::from_iter((0..100).map_while(|_| taken(&places, "ana")));
        assert_eq!(of_ana.len(), AUTHORIZER_CALLS_OF_A_USER);
        let users = (0..100).map(|user| format!("user-{user}")).collect::<Vec<_>>();
        let of_others = Vec::from_iter(users.iter().map_while(|user| taken(&places, user)));
        assert_eq!(of_others.len(), AUTHORIZER_CALLS - AUTHORIZER_CALLS_OF_A_USER);
        assert!(taken(&places, "ana").is_none() && taken(&places, "bo").is_none());
        drop(of_ana.pop());
        for user in ["bo", "ana"] {
            assert!(taken(&places, user).is_some(), "{user}");
        }
        drop((of_ana, of_others));
        assert!(places.users.lock().is_empty(), "users without a call are forgotten");
    }
}
