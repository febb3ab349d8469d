//! This process as a node of a cluster: it listens for links, opens links, and ends them in order. The host starts it
//! after the rooms.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::arrivals::Arrivals;
use super::departures::Departures;
use super::far::Far;
use super::hand_over::HandOvers;
use super::link::wire::{Taken, Told};
use super::link::{Answers, AnyBody, Bounds, Greeting, Tls, listen};
use super::members::{BEAT_MS, Row};
use super::metrics::Metrics;
use super::near::{Accepts, Near};
use super::ownership::NodeId;
use crate::clock;
use crate::config::Limits;
use crate::model::Address;
use crate::room::Rooms;
use crate::store::postgres::{Tables, TablesError};
use crate::store::{Hint, Membership, Reading};

/// How long it takes until the other nodes know that this one ends: its next beat, and their next readings.
const KNOWN_AFTER: Duration = Duration::from_millis(2 * BEAT_MS + 100);

/// Handing rooms over takes no more than this part of the time for a shutdown.
const LEAVE_PART: u32 = 2;

/// The pause before the timers of a node that has ended are asked for again.
const TAKE_OVER_PAUSE: Duration = Duration::from_secs(1);

/// How often the owner of a room is looked for whose node is not known yet.
const OWNER_LOOKS: usize = 3;

/// The reason why the request of an operator has no answer of another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotOperated {
    /// Nothing was sent.
    #[error("it cannot be reached now; nothing was done there")]
    Unreached,
    /// The request may have been carried out.
    #[error("it did not answer; look before you try again")]
    Unanswered,
}

/// A node.
pub struct Node {
    membership: Membership,
    tables: Tables,
    far: Arc<Far>,
    near: Arc<Near>,
    metrics: Arc<Metrics>,
    listening: JoinHandle<()>,
    /// Takes over the timers of nodes that end.
    following: JoinHandle<()>,
    hand_overs: Arc<HandOvers>,
    /// Carries out the steps of hand-overs, and hands rooms over to nodes that join.
    handing_over: Vec<JoinHandle<()>>,
    address: String,
    leave_timeout: Duration,
}

impl Node {
    /// Joins the rooms of this process with those of other nodes. Call it in a tokio runtime, before the rooms are used.
    /// `limits` are those of all nodes.
    pub fn start(
        rooms: &Rooms,
        membership: Membership,
        tables: Tables,
        listener: TcpListener,
        tls: Tls,
        limits: &Limits,
    ) -> Self {
        let me = Greeting::new(membership.store(), membership.node());
        let mine = membership.living().iter().find(|row| row.node == membership.node()).map(|row| row.address.clone());
        let address = mine.unwrap_or_default();
        let metrics = Arc::<Metrics>::default();
        // A message of a room, or an answer, is no longer than the output of a turn; its headers and ids come beside.
        let longest = limits.turn_output_bytes.max(limits.body_bytes).saturating_mul(2);
        let bounds = Bounds::default();
        let bounds = Bounds { message_bytes: bounds.message_bytes.max(longest), ..bounds };
        let (arrivals, departures) = (Arc::<Arrivals>::default(), Arc::<Departures>::default());
        let moving = (arrivals.clone(), departures.clone());
        let far = Arc::new(Far::new(me.clone(), tls.clone(), bounds, membership.clone(), metrics.clone(), moving));
        rooms.set_peers(far.clone());
        let events = limits.events_per_socket;
        let near = Near::new(rooms.clone(), metrics.clone(), events, membership.clone(), arrivals.clone());
        let near = Arc::new(near);
        let accepts = Arc::new(Accepts::new(near.clone()));
        let listening = tokio::spawn(listen(listener, tls, bounds, me, accepts.clone(), accepts));
        let following = tokio::spawn(follow(rooms.clone(), far.clone(), membership.clone()));
        let hand_overs = Arc::new(HandOvers {
            rooms: rooms.clone(),
            membership: membership.clone(),
            far: far.clone(),
            near: near.clone(),
            arrivals,
            departures,
            metrics: metrics.clone(),
        });
        let steps = membership.take_steps().map(|steps| tokio::spawn(hand_overs.clone().run(steps)));
        let sharing = tokio::spawn(share(hand_overs.clone(), membership.clone()));
        let handing_over = steps.into_iter().chain([sharing]).collect();
        let leave_timeout = limits.drain_timeout / LEAVE_PART;
        Node {
            membership,
            tables,
            far,
            near,
            metrics,
            listening,
            following,
            hand_overs,
            handing_over,
            address,
            leave_timeout,
        }
    }

    /// The number of this node.
    pub fn number(&self) -> u64 {
        self.membership.node().0
    }

    /// The address at which other nodes reach it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sets the receiver of what every node must know: `take` gets it from other nodes.
    pub fn set_listener(&self, take: impl Fn(Told) -> Answers<Taken> + Send + Sync + 'static) {
        self.near.set_listener(Box::new(take));
    }

    /// Sets the answers to requests of operators that other nodes pass on: `answer` gets the node and the request.
    pub fn set_operator(
        &self,
        answer: impl Fn(NodeId, Request<Incoming>) -> Answers<Response<AnyBody>> + Send + Sync + 'static,
    ) {
        self.near.set_operator(Box::new(answer));
    }

    /// Sets how tickets of this node are used up: `take` returns the user of one as JSON.
    pub fn set_tickets(&self, take: impl Fn(&str) -> Option<String> + Send + Sync + 'static) {
        self.near.set_tickets(Box::new(take));
    }

    /// Uses a ticket of another node up, and returns its user as JSON; absent if it was used or has expired, and if the
    /// node is not reached.
    pub async fn take_ticket(&self, node: NodeId, ticket: &str) -> Option<String> {
        self.far.take_ticket(node, ticket).await
    }

    /// Passes the request of an operator on to another node, whose URI is a path and a query.
    ///
    /// Fails: if the node does not answer. Then the request may have been carried out.
    pub async fn operate(&self, node: NodeId, request: Request<AnyBody>) -> Result<Response<Incoming>, NotOperated> {
        match self.far.operate(node, request).await {
            None => Err(NotOperated::Unreached),
            Some(answer) => answer.map_err(|_| NotOperated::Unanswered),
        }
    }

    /// The node that has a room, as the database names it; absent if no node that lives does.
    pub async fn owner_of(&self, address: &Address) -> Result<Option<Row>, TablesError> {
        for _ in 0..OWNER_LOOKS {
            let Some(owner) = self.tables.owner(address).await? else { return Ok(None) };
            let reading = self.membership.reading();
            match reading.nodes.iter().find(|seen| seen.row.node == owner) {
                Some(seen) => return Ok(seen.lives.then(|| seen.row.clone())),
                // It has ended long ago, or has just started: the next reading tells.
                None => clock::sleep(Duration::from_millis(BEAT_MS)).await,
            }
        }
        Ok(None)
    }

    /// The nodes that live, without this one.
    pub fn others(&self) -> Vec<Row> {
        let me = self.membership.node();
        self.membership.living().iter().filter(|row| row.node != me).cloned().collect()
    }

    /// All nodes with rows, as they were last read.
    pub fn reading(&self) -> Reading {
        self.membership.reading()
    }

    /// Waits until the nodes that live are others.
    pub fn changes(&self) -> watch::Receiver<Arc<[Row]>> {
        self.membership.changes()
    }

    /// Tells all nodes that live something that every node must know, and waits until they do, for some seconds.
    /// Returns the addresses of those that may not.
    pub async fn tell_all(&self, told: &Told) -> Vec<String> {
        self.far.tell_all(told).await
    }

    /// Tells the other nodes that this one ends: it gets no more rooms.
    pub fn announce_leave(&self) {
        self.membership.tell(Hint::Leaving);
    }

    /// Hands the rooms with clients of other nodes over to those, once they know that this one ends. Clients whose rooms
    /// could not go in time are closed with 1012. Rooms without clients are let go.
    pub async fn leave(&self) {
        self.announce_leave();
        if self.membership.living().len() > 1 {
            clock::sleep(KNOWN_AFTER).await;
            self.hand_overs.leave(self.leave_timeout).await;
        }
        self.near.leave();
    }

    /// Ends all links. Call it when the rooms have ended.
    pub fn close(&self) {
        self.listening.abort();
        self.following.abort();
        self.handing_over.iter().for_each(JoinHandle::abort);
        self.near.close();
        self.far.close();
    }

    /// Registers the metrics of links.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Updates the gauges that are measured when the metrics are read.
    pub(crate) fn measure(&self) {
        self.metrics.queued_bytes.set(self.near.queued_bytes() as i64);
        self.metrics.clients.set(self.near.clients() as i64);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.close();
    }
}

/// Takes over the timers of rooms that no node runs any more, whenever a node has ended.
async fn follow(rooms: Rooms, far: Arc<Far>, membership: Membership) {
    let mut changes = membership.changes();
    let named = |living: &[Row]| living.iter().map(|row| row.node).collect::<BTreeSet<_>>();
    let mut before = named(&changes.borrow_and_update());
    while changes.changed().await.is_ok() {
        let now = named(&changes.borrow_and_update());
        let has_ended = !before.is_subset(&now);
        before = now;
        // A database that does not answer is asked again, until another node ends.
        while has_ended && !changes.has_changed().unwrap_or(true) {
            let (rooms, far) = (rooms.clone(), far.clone());
            let taken = tokio::task::spawn_blocking(move || rooms.take_over_timers(|address| far.is_place(address)));
            match taken.await {
                Ok(Ok(0)) => break,
                Ok(Ok(taken)) => {
                    tracing::info!(rooms = taken, "rooms with timers or posts were taken over");
                    break;
                }
                Ok(Err(error)) => tracing::warn!(%error, "the timers of a node that has ended are taken over later"),
                Err(_) => return,
            }
            clock::sleep(TAKE_OVER_PAUSE).await;
        }
    }
}

/// Hands rooms over to nodes that join, once all know them.
async fn share(hand_overs: Arc<HandOvers>, membership: Membership) {
    let mut changes = membership.changes();
    let me = membership.node();
    let named = |living: &[Row]| living.iter().map(|row| row.node).collect::<BTreeSet<_>>();
    let mut before = named(&changes.borrow_and_update());
    while changes.changed().await.is_ok() {
        let living = changes.borrow_and_update().clone();
        let now = named(&living);
        let has_joined = !now.is_subset(&before);
        before = now;
        let is_leaving = living.iter().any(|row| row.node == me && row.is_leaving);
        if has_joined && !is_leaving {
            clock::sleep(KNOWN_AFTER).await;
            hand_overs.share().await;
        }
    }
}

/// Listens for links.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
