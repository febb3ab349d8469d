//! Rooms of other nodes, as this node's clients use them: a link to each node that has some. It is the edge's half of a
//! link; `near` is the other, and `far_socket` has the place of each client in its room.
//!
//! When a link ends, its clients are closed with 1012: what their rooms said last may be lost, and they resume. Nothing
//! is sent again by itself, because the room may have seen it. When a room is handed over in order, its clients follow
//! to the next node: the node before has said what it has run, and only the rest is sent there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper::{Request as HttpRequest, Response as HttpResponse};
use quick_cache::sync::Cache;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::arrivals::Arrivals;
use super::convert;
use super::departures::{Departures, Outcome};
use super::far_socket::{FarLink, FarSocket};
use super::link::wire::{self, Down};
use super::link::{
    AnyBody, Bounds, DialError, Greeting, HANDS_OVER, Link, Receiver, Refusal, Tls, Unanswered, Why, dial,
};
use super::metrics::Metrics;
use super::ownership::NodeId;
use super::place::Bucket;
use crate::clock;
use crate::limits::HAND_OVER_MS;
use crate::lock::Lock;
use crate::model::{
    Address, AutoResponse, Client, DataOf, MovedRoom, PostNumber, Request, Response, Socket, TenureId, User,
};
use crate::room::{Answers, Arrived, ConnectError, FarSeat, Peers, RequestError, SetsOut, UserDataError, UserDataPart};
use crate::store::{Hint, Membership};

/// Rooms whose owner is remembered. Of others the place is tried, which is right for most.
const REMEMBERED: usize = 65_536;

/// After a failure a node is not dialled again for this time.
const DIAL_PAUSE: Duration = Duration::from_millis(300);

/// How a node whose link was lost is tried: an address that refuses connections is that of a process that has ended.
const PROBES: usize = 2;
const PROBE_PAUSE: Duration = Duration::from_millis(100);

/// How long a node may take to answer a step of a hand-over.
const PASS_TIME: Duration = Duration::from_millis(HAND_OVER_MS);

/// How long a node may take until it knows what every node must know.
const TELL_TIME: Duration = Duration::from_secs(3);

/// The rooms of other nodes.
pub(super) struct Far(Arc<Inner>);

struct Inner {
    me: Greeting,
    tls: Tls,
    bounds: Bounds,
    membership: Membership,
    runtime: Handle,
    metrics: Arc<Metrics>,
    /// One for each node that was dialled and lives.
    links: Lock<HashMap<NodeId, Arc<Mutex<Slot>>>>,
    owners: Cache<Address, u64>,
    next_socket: AtomicU64,
    arrivals: Arc<Arrivals>,
    departures: Arc<Departures>,
}

/// The link to one node.
#[derive(Default)]
struct Slot {
    link: Option<Arc<FarLink>>,
    failed_at: Option<Instant>,
}

impl Far {
    pub(super) fn new(
        me: Greeting,
        tls: Tls,
        bounds: Bounds,
        membership: Membership,
        metrics: Arc<Metrics>,
        moving: (Arc<Arrivals>, Arc<Departures>),
    ) -> Self {
        let (links, next_socket) = Default::default();
        let (owners, runtime) = (Cache::new(REMEMBERED), Handle::current());
        let (arrivals, departures) = moving;
        Far(Arc::new(Inner {
            me,
            tls,
            bounds,
            membership,
            runtime,
            metrics,
            links,
            owners,
            next_socket,
            arrivals,
            departures,
        }))
    }

    /// The node that should have a room, if it is not this one. It may have it already.
    pub(super) fn better_place(&self, address: &Address) -> Option<NodeId> {
        self.0.place(address).filter(|node| *node != self.0.me.node).map(NodeId)
    }

    /// Takes a step of a hand-over at another node. False if that does not want the room, or does not answer.
    pub(super) async fn pass(&self, to: NodeId, passed: wire::Passed) -> bool {
        let Some(link) = self.0.link(to).await.filter(|link| link.link.up.version() >= HANDS_OVER) else {
            return false;
        };
        matches!(clock::timeout(PASS_TIME, link.link.pass(&passed)).await, Ok(Ok(true)))
    }

    /// Whether a room should be at this node.
    pub(super) fn is_place(&self, address: &Address) -> bool {
        self.0.place(address) == Some(self.0.me.node)
    }

    /// Tells all nodes that live something that every node must know. Returns the addresses of those that may not.
    pub(super) async fn tell_all(&self, told: &wire::Told) -> Vec<String> {
        let living = self.0.membership.living();
        let others = living.iter().filter(|row| row.node.0 != self.0.me.node);
        let tell = others.map(|row| async {
            let asked = async {
                let link = self.0.link(row.node).await.ok_or_else(|| "it is not reached".to_owned())?;
                link.link.tell(told).await.map_err(|error| error.to_string())?
            };
            let taken = clock::timeout(TELL_TIME, asked).await.unwrap_or_else(|_| Err("it does not answer".into()));
            taken.err().map(|problem| {
                tracing::error!(
                    node = row.node.0,
                    address = row.address,
                    problem,
                    "a node of the cluster may not know of a revocation"
                );
                row.address.clone()
            })
        });
        join_all(tell).await.into_iter().flatten().collect()
    }

    /// Ends all links: this node ends, and its clients have gone.
    pub(super) fn close(&self) {
        let slots = std::mem::take(&mut *self.0.links.lock());
        for slot in slots.into_values() {
            if let Ok(mut slot) = slot.try_lock()
                && let Some(link) = slot.link.take()
            {
                link.link.up.cut(Why::Closed);
            }
        }
    }
}

impl Peers for Far {
    fn this_node(&self) -> u64 {
        self.0.me.node
    }

    fn place(&self, address: &Address) -> Option<u64> {
        let living = self.0.membership.living();
        let me = self.0.me.node;
        let remembered = self.0.owners.get(address).filter(|owner| living.iter().any(|row| row.node.0 == *owner));
        remembered.or_else(|| self.0.place(address)).filter(|node| *node != me)
    }

    fn found(&self, address: &Address, owner: u64) {
        self.0.owners.insert(address.clone(), owner);
    }

    fn leaves(&self, address: &Address, tenure: TenureId, sockets: Vec<Socket>, auto_response: Option<AutoResponse>) {
        self.0.departures.pack(address, convert::offer_out(address, tenure, sockets, auto_response));
    }

    fn takes_along(&self, to: &MovedRoom, socket: u64, client: Arc<dyn Client>) -> (Box<dyn FarSeat>, SetsOut) {
        let (seat, socket_there) = FarSocket::on_its_way(client);
        self.0.owners.insert(to.room.clone(), to.node);
        let (inner, node, tenure) = (self.0.clone(), to.node, convert::tenure_out(to.tenure));
        (Box::new(seat), Box::new(move || inner.go_on(socket_there, node, tenure, socket)))
    }

    fn gone(&self, address: &Address) {
        self.0.departures.end(address, Outcome::Left);
    }

    fn arrives(&self, address: &Address, continues: Option<TenureId>) -> Option<Arrived> {
        self.0.arrivals.open(address, continues)
    }

    fn connect(
        &self,
        node: u64,
        address: Address,
        request: Request,
        user: Arc<User>,
        client: Arc<dyn Client>,
    ) -> Answers<Result<Box<dyn FarSeat>, ConnectError>> {
        let inner = self.0.clone();
        Box::pin(async move {
            let link = inner.link(NodeId(node)).await.ok_or(RequestError::Moved(None))?;
            let socket = inner.next_socket.fetch_add(1, Ordering::Relaxed);
            let placed = FarSocket::connect(&link, socket, &address, request, &user, client).await;
            inner.learn(&address, node, placed.as_ref().err().and_then(no_answer));
            placed.map(|seat| Box::new(seat) as Box<dyn FarSeat>)
        })
    }

    fn request(
        &self,
        node: u64,
        address: Address,
        request: Request,
        post: Option<(Address, PostNumber)>,
    ) -> Answers<Result<Response, RequestError>> {
        let inner = self.0.clone();
        Box::pin(async move {
            let link = inner.link(NodeId(node)).await.ok_or(RequestError::Moved(None))?;
            let of = |(room, number): (Address, PostNumber)| (room.namespace().into(), room.name().into(), number.0);
            let asked = wire::Asked {
                namespace: address.namespace().into(),
                name: address.name().into(),
                request: convert::request_out(request),
                post: post.map(of),
            };
            // Without an answer it is unknown whether the room has seen it.
            let answered = link.link.request(&asked).await.map_err(|_| RequestError::Broken)?;
            let answered = answered.map(convert::response_in).map_err(convert::no_answer_in);
            inner.learn(&address, node, answered.as_ref().err());
            answered
        })
    }

    fn user_data(
        &self,
        node: u64,
        address: Address,
        of: DataOf,
        erase: bool,
    ) -> Answers<Result<UserDataPart, UserDataError>> {
        let inner = self.0.clone();
        Box::pin(async move {
            let link = inner.link(NodeId(node)).await.ok_or(RequestError::Moved(None))?;
            let DataOf { user, after } = of;
            let (namespace, name) = (address.namespace().into(), address.name().into());
            let asked = wire::UserDataAsked { namespace, name, erase, user: (*user).to_owned(), after };
            // A part that was erased without an answer is erased again: that finds nothing.
            let answered = link.link.user_data(&asked).await.map_err(|_| RequestError::Broken)?;
            let answered = answered.map(convert::user_data_in).map_err(convert::no_user_data_in);
            if let Err(UserDataError::NoAnswer(error)) = &answered {
                inner.learn(&address, node, Some(error));
            }
            answered
        })
    }
}

impl Far {
    /// Uses a ticket of a node up; absent if it is not reached, or does not know the ticket.
    pub(super) async fn take_ticket(&self, node: NodeId, ticket: &str) -> Option<String> {
        let asked = async { self.0.link(node).await?.link.take_ticket(ticket).await.ok()? };
        clock::timeout(TELL_TIME, asked).await.ok()?
    }

    /// Passes the request of an operator on to a node. Absent if it is not reached.
    pub(super) async fn operate(
        &self,
        node: NodeId,
        request: HttpRequest<AnyBody>,
    ) -> Option<Result<HttpResponse<Incoming>, Unanswered>> {
        let link = self.0.link(node).await?;
        Some(link.link.operate(request).await)
    }
}

fn no_answer(error: &ConnectError) -> Option<&RequestError> {
    match error {
        ConnectError::NoAnswer(error) => Some(error),
        ConnectError::Refused(..) | ConnectError::Answered(_) => None,
    }
}

impl Inner {
    /// The node that should own a room, of those that live.
    fn place(&self, address: &Address) -> Option<u64> {
        let living = self.membership.living();
        let nodes = living.iter().filter(|row| !row.is_leaving).map(|row| (row.node, row.address.as_str()));
        Bucket::of(address).place(nodes).map(|node| node.0)
    }

    /// Remembers where a room was, or was not.
    fn learn(&self, address: &Address, node: u64, error: Option<&RequestError>) {
        match error {
            Some(RequestError::Moved(_)) => drop(self.owners.remove(address)),
            _ => self.owners.insert(address.clone(), node),
        }
    }

    /// The link to the node to which a room has gone. That may be this one: it has a link to itself then. It tries until
    /// there is one: a socket that waits here is closed otherwise.
    async fn patient_link(self: &Arc<Self>, node: NodeId) -> Arc<FarLink> {
        loop {
            if let Some(link) = self.link(node).await {
                return link;
            }
            clock::sleep(DIAL_PAUSE).await;
        }
    }

    /// The link to a node, which is opened if there is none. Absent if the node is not reached.
    async fn link(self: &Arc<Self>, node: NodeId) -> Option<Arc<FarLink>> {
        let slot = self.links.lock().entry(node).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(link) = slot.link.as_ref().filter(|link| link.link.up.ended().is_none()) {
            return Some(link.clone());
        }
        if slot.failed_at.is_some_and(|at| clock::since(at) < DIAL_PAUSE) {
            return None;
        }
        match self.dial(node).await {
            Some((link, down)) => {
                let link = Arc::new(FarLink::new(link));
                self.runtime.spawn(self.clone().receive(node, link.clone(), down));
                *slot = Slot { link: Some(link.clone()), failed_at: None };
                Some(link)
            }
            None => {
                *slot = Slot { link: None, failed_at: Some(clock::monotonic()) };
                None
            }
        }
    }

    /// The address of a node that lives.
    fn address_of(&self, node: NodeId) -> Option<String> {
        self.membership.living().iter().find(|row| row.node == node).map(|row| row.address.clone())
    }

    /// Dials a node, and tells the store what this says about the life of the node.
    async fn dial(&self, node: NodeId) -> Option<(Link, Receiver<Down>)> {
        let address = self.address_of(node)?;
        match dial(&self.tls, self.bounds, &self.me, Some(node), &address).await {
            Ok(linked) => Some(linked),
            Err(error) => {
                match &error {
                    DialError::NoListener(_) => self.membership.tell(Hint::Refused(node)),
                    DialError::Refused { refusal: Refusal::OtherNode(_), .. } => {
                        self.membership.tell(Hint::Replaced(node));
                    }
                    _ => {}
                }
                tracing::warn!(node = node.0, address, %error, "a node of the cluster is not reached");
                None
            }
        }
    }

    /// Takes everything that comes over a link, until it ends.
    async fn receive(self: Arc<Self>, node: NodeId, link: Arc<FarLink>, mut down: Receiver<Down>) {
        self.metrics.links.inc();
        // It may be gone from the list when the link ends.
        let address = self.address_of(node).unwrap_or_default();
        let why = loop {
            match down.next().await {
                Ok(Down::HandedOver(socket, moved)) => self.follow(&link, socket, *moved),
                Ok(message) => link.take(message),
                Err(why) => break link.link.up.ended().unwrap_or(why),
            }
        };
        self.metrics.links.dec();
        link.link.up.cut(why.clone());
        let clients = link.end();
        if why != Why::Closed {
            tracing::info!(
                node = node.0,
                address,
                clients,
                reason = %why,
                "the link to a node of the cluster has ended"
            );
            self.probe(node).await;
        }
    }

    /// The room of a socket goes on at another node, and the socket with it.
    fn follow(self: &Arc<Self>, link: &FarLink, socket: u64, moved: wire::HandedOver) {
        let Some(socket) = link.remove(socket) else { return };
        if let Ok(address) = Address::new(&moved.namespace, &moved.name) {
            self.owners.insert(address, moved.node);
        }
        socket.begins_to_follow();
        self.go_on(socket, moved.node, moved.tenure, moved.id);
    }

    /// A socket goes on at another node, where it has this id.
    fn go_on(self: &Arc<Self>, socket: Arc<FarSocket>, node: u64, tenure: wire::Tenure, id: u64) {
        let inner = self.clone();
        self.runtime.spawn(async move {
            let link = clock::timeout(PASS_TIME, inner.patient_link(NodeId(node))).await.ok();
            let link = link.filter(|link| link.link.up.version() >= HANDS_OVER);
            let number = inner.next_socket.fetch_add(1, Ordering::Relaxed);
            let follows = link.is_some_and(|link| socket.follow(&link, number, tenure, id));
            inner.metrics.followed(follows);
            if !follows {
                socket.end();
            }
        });
    }

    /// Looks whether a node whose link was lost has ended, and tells the store.
    async fn probe(&self, node: NodeId) {
        for _ in 0..PROBES {
            clock::sleep(PROBE_PAUSE).await;
            if let Some((link, _)) = self.dial(node).await {
                // The next client opens another one.
                link.up.cut(Why::Closed);
                break;
            }
        }
        // A node that has ended never comes back with this number.
        let living = self.membership.living();
        self.links.lock().retain(|node, _| living.iter().any(|row| row.node == *node));
    }
}
