//! Events for rooms that another node runs: they go there, follow an answer that the room is elsewhere, and come back
//! here if no other node has the room. A room of this node never comes here.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::Instrument;

use super::Rooms;
use super::error::{ConnectError, RequestError};
use super::incoming::{Hops, Incoming};
use super::peers::{Answers, FarSeat, Peers};
use super::posts::PostId;
use super::seat::Seat;
use super::shared::Shared;
use crate::clock;
use crate::model::{Address, Client, PostNumber, Request, Response, StorageFailed, User};

impl Rooms {
    /// Sets the way to rooms of other nodes, once.
    pub fn set_peers(&self, peers: Arc<dyn Peers>) {
        // A second cluster would be a bug of the host, and the first one stays.
        let _ = self.0.peers.set(peers);
    }

    /// Another node has ended: its sleeping rooms with timers and posts have to wake somewhere. Reads all such rooms and
    /// takes those that are `mine`; one that runs at another node is left to that when it wakes. It blocks on the store.
    /// Returns how many it took.
    pub fn take_over_timers(&self, mine: impl Fn(&Address) -> bool) -> Result<usize, StorageFailed> {
        let offset = self.0.timeline.offset();
        let mut taken = 0;
        for (address, at) in self.0.store.rooms_to_wake()? {
            if self.0.namespaces.contains_key(address.namespace()) && mine(&address) {
                self.0.timer_queue.set(&address, None, clock::shifted(at, -offset));
                taken += 1;
            }
        }
        Ok(taken)
    }

    /// A room came from another node: opens it, so that its sockets are in it.
    pub fn arrive(&self, address: &Address) {
        // A host that shuts down opens no room; the sockets are closed after a while.
        let _ = self.0.deliver(address, Incoming::Arrived);
    }

    /// The rooms in memory, in no order.
    pub fn in_memory(&self) -> Vec<Address> {
        let mut addresses = Vec::new();
        self.0.registry.visit(|address, _| addresses.push(address.clone()));
        addresses
    }

    /// Asks a room of this node to accept a client of another node.
    ///
    /// Fails: with [`RequestError::Moved`] if another node has the room.
    pub async fn connect_from_node(
        &self,
        address: &Address,
        request: Request,
        user: Arc<User>,
        client: Arc<dyn Client>,
    ) -> Result<Seat, ConnectError> {
        let (answer, answered) = oneshot::channel();
        let connect = Incoming::Connect { request, user, client, hops: Hops::OVER_LINK, answer };
        self.0.deliver(address, connect)?;
        answered.await.unwrap_or(Err(ConnectError::NoAnswer(RequestError::Broken)))
    }

    /// Sends a request of another node to a room of this node. `post` names the post of a room that it is.
    ///
    /// Fails: as [`connect_from_node`](Self::connect_from_node).
    pub async fn request_from_node(
        &self,
        address: &Address,
        request: Request,
        post: Option<(Address, PostNumber)>,
    ) -> Result<Response, RequestError> {
        let (answer, answered) = oneshot::channel();
        let post = post.map(|(sender, number)| PostId { sender, number });
        self.0.deliver(address, Incoming::Request { request, post, hops: Hops::OVER_LINK, answer })?;
        answered.await.unwrap_or(Err(RequestError::Broken))
    }
}

impl Shared {
    /// The node that has to get an event, if it is not this one.
    pub(super) fn place_of(&self, address: &Address, incoming: &Incoming) -> Option<u64> {
        let peers = self.peers.get().filter(|_| incoming.hops().is_some_and(Hops::may_begin))?;
        // A room in memory is here, or is being looked for here.
        if self.registry.get(address).is_some() { None } else { peers.place(address) }
    }

    /// An event that waited for a room of another node, whose number may be known: it goes there, or is answered. The
    /// room has not seen it.
    pub(super) fn moved(self: &Arc<Self>, address: &Address, incoming: Incoming, owner: Option<u64>) {
        let may_go = self.peers.get().is_some() && !self.is_draining() && incoming.hops().is_some_and(Hops::may_go_on);
        if may_go {
            self.follow(address.clone(), incoming, owner);
        } else {
            incoming.answer_moved(owner);
        }
    }

    /// Sends an event to another node.
    pub(super) fn go(self: &Arc<Self>, address: Address, incoming: Incoming, node: u64) {
        let (shared, runtime) = (self.clone(), self.runtime.clone());
        let gone = async move { shared.ask(address, incoming, node).await };
        runtime.spawn(gone.in_current_span());
    }

    /// Tries the owner that was named, or this node, which then claims the room or learns who owns it.
    fn follow(self: &Arc<Self>, address: Address, mut incoming: Incoming, owner: Option<u64>) {
        let Some(peers) = self.peers.get() else { return incoming.answer_moved(owner) };
        if !incoming.hop() {
            return incoming.answer_moved(owner);
        }
        match owner.filter(|owner| *owner != peers.this_node()) {
            Some(owner) => {
                peers.found(&address, owner);
                self.go(address, incoming, owner);
            }
            None => {
                let Some(namespace) = self.namespaces.get(address.namespace()).cloned() else {
                    return incoming.answer_moved(owner);
                };
                // A full room drops the answer, which says that the room did not give one.
                self.enqueue(&address, &namespace, incoming);
            }
        }
    }

    async fn ask(self: Arc<Self>, address: Address, incoming: Incoming, node: u64) {
        let Some(peers) = self.peers.get().cloned() else { return incoming.answer_moved(None) };
        match incoming {
            Incoming::Connect { request, user, client, hops, answer } => {
                let asked = peers.connect(node, address.clone(), request.clone(), user.clone(), client.clone());
                let asked: Result<Box<dyn FarSeat>, ConnectError> = asked.await;
                match asked {
                    Err(ConnectError::NoAnswer(RequestError::Moved(owner))) => {
                        let again = Incoming::Connect { request, user, client, hops, answer };
                        self.moved(&address, again, owner.filter(|owner| *owner != node));
                    }
                    // A seat without a receiver is closed when it is dropped.
                    asked => drop(answer.send(asked.map(Seat::far))),
                }
            }
            Incoming::Request { request, post, hops, answer } => {
                let of = post.as_ref().map(|post| (post.sender.clone(), post.number));
                let asked: Answers<_> = peers.request(node, address.clone(), request.clone(), of);
                match asked.await {
                    Err(RequestError::Moved(owner)) => {
                        let again = Incoming::Request { request, post, hops, answer };
                        self.moved(&address, again, owner.filter(|owner| *owner != node));
                    }
                    asked => drop(answer.send(asked)),
                }
            }
            other => other.answer_moved(None),
        }
    }
}
