//! Limits how many posts are carried at the same time, so that a slow destination uses only its own share.
//!
//! A post holds a slot until it is answered, at most for `answer_timeout`. Rooms answer in milliseconds and servers may
//! never answer, so posts to rooms and posts to servers have separate slots. Each namespace has a share of them, and
//! each destination a smaller part of that. A post first waits in the queue of its destination, so that posts to a slow
//! destination hold no slot of others (no head-of-line blocking). `post_delivery` calls this.

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
    queues: Lock<HashMap<Destination, Arc<Semaphore>>>,
}

/// The slot of a post while it is carried.
pub(super) struct CarrierPermit {
    /// Released before the queue, which is removed with its last post.
    _slots: [OwnedSemaphorePermit; 2],
    _queue: DestinationQueue,
}

/// The queue of a destination, held by each post in it.
struct DestinationQueue {
    shares: Arc<Shares>,
    destination: Destination,
    /// Present until this is dropped.
    slots: Option<Arc<Semaphore>>,
}

impl Carriers {
    pub(super) fn new<'a>(namespaces: impl ExactSizeIterator<Item = &'a String>) -> Self {
        // Each namespace can carry at least the posts of one room.
        let share = (POSTS_AT_ONCE / namespaces.len().max(1)).max(POSTS_AT_ONCE_OF_A_ROOM);
        let shares = || Shares {
            to_rooms: Arc::new(Semaphore::new(share)),
            to_servers: Arc::new(Semaphore::new(share)),
            queues: Lock::default(),
        };
        Carriers { namespaces: namespaces.map(|name| (name.clone(), Arc::new(shares()))).collect() }
    }

    /// Waits for a slot for a post from this namespace; absent if the namespace is not configured.
    pub(super) async fn slot(&self, namespace: &str, destination: &Destination) -> Option<CarrierPermit> {
        let shares = self.namespaces.get(namespace)?;
        let queue = shares.queue(destination);
        let slots_of_namespace = match destination {
            Destination::Room(_) => &shares.to_rooms,
            Destination::Origin(_) => &shares.to_servers,
        };
        let of_destination = queue.slots.clone().expect("it was not left").acquire_owned().await;
        let of_namespace = slots_of_namespace.clone().acquire_owned().await;
        let slots = [of_destination, of_namespace].map(|permit| permit.expect("the semaphores are never closed"));
        Some(CarrierPermit { _slots: slots, _queue: queue })
    }
}

impl Shares {
    fn queue(self: &Arc<Self>, destination: &Destination) -> DestinationQueue {
        let max_posts = match destination {
            Destination::Room(_) => POSTS_AT_ONCE_TO_A_ROOM,
            Destination::Origin(_) => POSTS_AT_ONCE_TO_A_SERVER,
        };
        let mut queues = self.queues.lock();
        let slots = queues.entry(destination.clone()).or_insert_with(|| Arc::new(Semaphore::new(max_posts))).clone();
        drop(queues);
        DestinationQueue { shares: self.clone(), destination: destination.clone(), slots: Some(slots) }
    }
}

impl Drop for DestinationQueue {
    fn drop(&mut self) {
        let mut queues = self.shares.queues.lock();
        self.slots = None;
        // No other post is in this queue; the next one makes a new queue.
        if queues.get(&self.destination).is_some_and(|slots| Arc::strong_count(slots) == 1) {
            queues.remove(&self.destination);
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
    fn slot(carriers: &Carriers, namespace: &str, destination: &Destination) -> Option<CarrierPermit> {
        match pin!(carriers.slot(namespace, destination)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) => slot,
            Poll::Pending => None,
        }
    }

    fn carriers() -> Carriers {
        Carriers::new(["ROOMS".to_owned(), "GAMES".to_owned()].iter())
    }

    #[test]
    fn a_slow_destination_does_not_delay_others() {
        let carriers = carriers();
        let mut taken = Vec::new();
        while let Some(slot) = slot(&carriers, "ROOMS", &server("slow")) {
            taken.push(slot);
        }
        assert_eq!(taken.len(), POSTS_AT_ONCE_TO_A_SERVER);
        assert!(slot(&carriers, "ROOMS", &server("other")).is_some());
        assert!(slot(&carriers, "ROOMS", &room("a")).is_some());
        assert!(slot(&carriers, "GAMES", &server("slow")).is_some(), "another namespace has a queue of its own");
        taken.pop();
        assert!(slot(&carriers, "ROOMS", &server("slow")).is_some());
    }

    #[test]
    fn slow_servers_take_no_place_of_rooms_or_other_namespaces() {
        let carriers = carriers();
        let slow = |nth: usize| server(&format!("slow-{nth}"));
        let taken = (0..POSTS_AT_ONCE).map_while(|nth| slot(&carriers, "ROOMS", &slow(nth))).collect::<Vec<_>>();
        assert_eq!(taken.len(), POSTS_AT_ONCE / 2);
        assert!(slot(&carriers, "ROOMS", &server("other")).is_none());
        assert!(slot(&carriers, "ROOMS", &room("a")).is_some());
        assert!(slot(&carriers, "GAMES", &server("other")).is_some());
    }

    #[test]
    fn a_queue_ends_with_its_last_post_even_after_a_timeout() {
        let carriers = carriers();
        let taken = (0..POSTS_AT_ONCE_TO_A_ROOM).map(|_| slot(&carriers, "ROOMS", &room("a"))).collect::<Vec<_>>();
        assert!(slot(&carriers, "ROOMS", &room("a")).is_none(), "it waits, and gives up");
        assert_eq!(carriers.namespaces["ROOMS"].queues.lock().len(), 1);
        drop(taken);
        assert_eq!(carriers.namespaces["ROOMS"].queues.lock().len(), 0);
    }
}
