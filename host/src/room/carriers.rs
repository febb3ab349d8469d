//! How many posts are carried at the same time, and whose: a slow destination holds its own share and no more.
//!
//! A post that is carried holds its place until it was answered, up to `answer_within`. Posts to rooms and to servers have
//! places of their own, since rooms answer in milliseconds and servers may not answer at all. Of each kind a namespace has
//! its share, and of that each destination a smaller one. A post takes its place in the destination's line first, so that
//! those that wait for a slow destination hold none of the places that others need.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{POSTS_AT_ONCE, POSTS_AT_ONCE_OF_A_ROOM, POSTS_AT_ONCE_TO_A_ROOM, POSTS_AT_ONCE_TO_A_SERVER};
use crate::model::Destination;

/// The places of all posts of a host.
pub(super) struct Carriers {
    namespaces: BTreeMap<String, Arc<Shares>>,
}

/// The places of one namespace's posts.
struct Shares {
    to_rooms: Arc<Semaphore>,
    to_servers: Arc<Semaphore>,
    /// Destinations that something is carried to, or waits for.
    lines: Mutex<HashMap<Destination, Arc<Semaphore>>>,
}

/// A post's place while it is carried.
pub(super) struct Place {
    /// Given back before the line, which ends with its last place.
    _permits: [OwnedSemaphorePermit; 2],
    _line: Line,
}

/// A destination's line, while a post is in it.
struct Line {
    shares: Arc<Shares>,
    destination: Destination,
    /// Present until it is left.
    places: Option<Arc<Semaphore>>,
}

impl Carriers {
    pub(super) fn new<'a>(namespaces: impl ExactSizeIterator<Item = &'a String>) -> Self {
        // Each has what it needs to carry for one room at least.
        let share = (POSTS_AT_ONCE / namespaces.len().max(1)).max(POSTS_AT_ONCE_OF_A_ROOM);
        let shares = || Shares {
            to_rooms: Arc::new(Semaphore::new(share)),
            to_servers: Arc::new(Semaphore::new(share)),
            lines: Mutex::default(),
        };
        Carriers { namespaces: namespaces.map(|name| (name.clone(), Arc::new(shares()))).collect() }
    }

    /// Wait for a place for a post of a namespace's room; absent for a namespace that is not configured.
    pub(super) async fn place(&self, namespace: &str, destination: &Destination) -> Option<Place> {
        let shares = self.namespaces.get(namespace)?;
        let line = shares.line(destination);
        let all = match destination {
            Destination::Room(_) => &shares.to_rooms,
            Destination::Origin(_) => &shares.to_servers,
        };
        let of_line = line.places.clone().expect("it was not left").acquire_owned().await;
        let of_all = all.clone().acquire_owned().await;
        let permits = [of_line, of_all].map(|permit| permit.expect("the semaphores are never closed"));
        Some(Place { _permits: permits, _line: line })
    }
}

impl Shares {
    fn line(self: &Arc<Self>, destination: &Destination) -> Line {
        let most = match destination {
            Destination::Room(_) => POSTS_AT_ONCE_TO_A_ROOM,
            Destination::Origin(_) => POSTS_AT_ONCE_TO_A_SERVER,
        };
        let mut lines = self.lock();
        let places = lines.entry(destination.clone()).or_insert_with(|| Arc::new(Semaphore::new(most))).clone();
        drop(lines);
        Line { shares: self.clone(), destination: destination.clone(), places: Some(places) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Destination, Arc<Semaphore>>> {
        self.lines.lock().expect("no holder of this lock panics")
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut lines = self.shares.lock();
        self.places = None;
        // Nobody else is in it: whoever comes next begins a new one.
        if lines.get(&self.destination).is_some_and(|places| Arc::strong_count(places) == 1) {
            lines.remove(&self.destination);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::model::Address;

    fn server(name: &str) -> Destination {
        Destination::Origin(format!("https://{name}.example"))
    }

    fn room(name: &str) -> Destination {
        Destination::Room(Address::new("ROOMS", name).unwrap())
    }

    /// A place, where there is one at once.
    fn place(carriers: &Carriers, namespace: &str, destination: &Destination) -> Option<Place> {
        match pin!(carriers.place(namespace, destination)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => place,
            Poll::Pending => None,
        }
    }

    fn carriers() -> Carriers {
        Carriers::new(["ROOMS".to_owned(), "GAMES".to_owned()].iter())
    }

    #[test]
    fn a_destination_holds_its_share_and_all_others_go_on() {
        let carriers = carriers();
        let mut held = Vec::new();
        while let Some(place) = place(&carriers, "ROOMS", &server("slow")) {
            held.push(place);
        }
        assert_eq!(held.len(), POSTS_AT_ONCE_TO_A_SERVER);
        assert!(place(&carriers, "ROOMS", &server("other")).is_some());
        assert!(place(&carriers, "ROOMS", &room("a")).is_some());
        assert!(place(&carriers, "GAMES", &server("slow")).is_some(), "another namespace has a line of its own");
        held.pop();
        assert!(place(&carriers, "ROOMS", &server("slow")).is_some());
    }

    #[test]
    fn servers_that_are_slow_take_no_place_of_rooms_or_of_other_namespaces() {
        let carriers = carriers();
        let slow = |nth: usize| server(&format!("slow-{nth}"));
        let held = (0..POSTS_AT_ONCE).map_while(|nth| place(&carriers, "ROOMS", &slow(nth))).collect::<Vec<_>>();
        assert_eq!(held.len(), POSTS_AT_ONCE / 2);
        assert!(place(&carriers, "ROOMS", &server("other")).is_none());
        assert!(place(&carriers, "ROOMS", &room("a")).is_some());
        assert!(place(&carriers, "GAMES", &server("other")).is_some());
    }

    #[test]
    fn a_line_ends_with_its_last_post_even_one_that_gave_up_waiting() {
        let carriers = carriers();
        let held = (0..POSTS_AT_ONCE_TO_A_ROOM).map(|_| place(&carriers, "ROOMS", &room("a"))).collect::<Vec<_>>();
        assert!(place(&carriers, "ROOMS", &room("a")).is_none(), "it waits, and gives up");
        assert_eq!(carriers.namespaces["ROOMS"].lock().len(), 1);
        drop(held);
        assert_eq!(carriers.namespaces["ROOMS"].lock().len(), 0);
    }
}
