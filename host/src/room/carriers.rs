//! Limits how many posts are carried at the same time, so that a slow destination uses only its own share.
//!
//! A post holds a slot until it is answered, at most for `answer_timeout`. Rooms answer in milliseconds and servers may
//! never answer, so posts to rooms and posts to servers have separate slots. Each namespace has a share of them, and
//! each destination a smaller part of that. A post first waits in the queue of its destination, so that posts to a slow
//! destination hold no slot of others (no head-of-line blocking). `posts` calls this.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{POSTS_AT_ONCE, POSTS_AT_ONCE_OF_A_ROOM, POSTS_AT_ONCE_TO_A_ROOM, POSTS_AT_ONCE_TO_A_SERVER};
use crate::lock::Lock;
use crate::model::Destination;

/// The slots for all posts of a host.
pub(super) struct Carriers {
    namespaces: BTreeMap<String, Arc<Shares>>,
}

/// The slots for the posts of one namespace.
struct Shares {
    to_rooms: Arc<Semaphore>,
    to_servers: Arc<Semaphore>,
    /// Destinations with posts that are being carried or wait.
    lines: Lock<HashMap<Destination, Arc<Semaphore>>>,
}

/// The slot of a post while it is carried.
pub(super) struct CarrierPermit {
    /// Released before the line, which is removed with its last post.
    _permits: [OwnedSemaphorePermit; 2],
    _line: DestinationQueue,
}

/// The queue of a destination, held by each post in it.
struct DestinationQueue {
    shares: Arc<Shares>,
    destination: Destination,
    /// Present until this is dropped.
    places: Option<Arc<Semaphore>>,
}

impl Carriers {
    pub(super) fn new<'a>(namespaces: impl ExactSizeIterator<Item = &'a String>) -> Self {
        // Each namespace can carry at least the posts of one room.
        let share = (POSTS_AT_ONCE / namespaces.len().max(1)).max(POSTS_AT_ONCE_OF_A_ROOM);
        let shares = || Shares {
            to_rooms: Arc::new(Semaphore::new(share)),
            to_servers: Arc::new(Semaphore::new(share)),
            lines: Lock::default(),
        };
        Carriers { namespaces: namespaces.map(|name| (name.clone(), Arc::new(shares()))).collect() }
    }

    /// Waits for a slot for a post from this namespace; absent if the namespace is not configured.
    pub(super) async fn place(&self, namespace: &str, destination: &Destination) -> Option<CarrierPermit> {
        let shares = self.namespaces.get(namespace)?;
        let line = shares.line(destination);
        let all = match destination {
            Destination::Room(_) => &shares.to_rooms,
            Destination::Origin(_) => &shares.to_servers,
        };
        let of_line = line.places.clone().expect("it was not left").acquire_owned().await;
        let of_all = all.clone().acquire_owned().await;
        let permits = [of_line, of_all].map(|permit| permit.expect("the semaphores are never closed"));
        Some(CarrierPermit { _permits: permits, _line: line })
    }
}

impl Shares {
    fn line(self: &Arc<Self>, destination: &Destination) -> DestinationQueue {
        let most = match destination {
            Destination::Room(_) => POSTS_AT_ONCE_TO_A_ROOM,
            Destination::Origin(_) => POSTS_AT_ONCE_TO_A_SERVER,
        };
        let mut lines = self.lines.lock();
        let places = lines.entry(destination.clone()).or_insert_with(|| Arc::new(Semaphore::new(most))).clone();
        drop(lines);
        DestinationQueue { shares: self.clone(), destination: destination.clone(), places: Some(places) }
    }
}

impl Drop for DestinationQueue {
    fn drop(&mut self) {
        let mut lines = self.shares.lines.lock();
        self.places = None;
        // No other post is in this queue; the next one makes a new queue.
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

    /// A slot, if one is free now.
    fn place(carriers: &Carriers, namespace: &str, destination: &Destination) -> Option<CarrierPermit> {
        match pin!(carriers.place(namespace, destination)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => place,
            Poll::Pending => None,
        }
    }

    fn carriers() -> Carriers {
        Carriers::new(["ROOMS".to_owned(), "GAMES".to_owned()].iter())
    }

    #[test]
    fn a_slow_destination_does_not_delay_others() {
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
    fn slow_servers_take_no_place_of_rooms_or_other_namespaces() {
        let carriers = carriers();
        let slow = |nth: usize| server(&format!("slow-{nth}"));
        let held = (0..POSTS_AT_ONCE).map_while(|nth| place(&carriers, "ROOMS", &slow(nth))).collect::<Vec<_>>();
        assert_eq!(held.len(), POSTS_AT_ONCE / 2);
        assert!(place(&carriers, "ROOMS", &server("other")).is_none());
        assert!(place(&carriers, "ROOMS", &room("a")).is_some());
        assert!(place(&carriers, "GAMES", &server("other")).is_some());
    }

    #[test]
    fn a_queue_ends_with_its_last_post_even_after_a_timeout() {
        let carriers = carriers();
        let held = (0..POSTS_AT_ONCE_TO_A_ROOM).map(|_| place(&carriers, "ROOMS", &room("a"))).collect::<Vec<_>>();
        assert!(place(&carriers, "ROOMS", &room("a")).is_none(), "it waits, and gives up");
        assert_eq!(carriers.namespaces["ROOMS"].lines.lock().len(), 1);
        drop(held);
        assert_eq!(carriers.namespaces["ROOMS"].lines.lock().len(), 0);
    }
}
