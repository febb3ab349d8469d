//! Clients of other nodes in rooms of this one. It is the owner's half of a link; `far` is the other.
//!
//! To its room each of them is a client like any other. A broadcast is one message for all clients of a link that get
//! it. When the link ends, the room is told that all of them are lost.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use super::arrivals::Arrivals;
use super::convert;
use super::link::wire::{self, Down, Up};
use super::link::{Answers, AnyBody, Handler, Receiver, Refusals, Sender, Why};
use super::metrics::Metrics;
use super::near_client::{Event, NearClient, NearLink};
use super::ownership::{NodeId, Peer};
use crate::clock;
use crate::limits::HAND_OVER_MS;
use crate::lock::Lock;
use crate::model::{Address, Client, DataOf, MOVED_REASON, PostNumber, ROOM_MOVED};
use crate::room::{RequestError, Rooms, UserDataError};
use crate::store::{Hint, Membership};

/// How long the rules may take to answer an offer. The node that offers waits no longer.
const ANSWER_TIME: Duration = Duration::from_millis(HAND_OVER_MS);

/// Refusals are logged at most this often.
const LOG_REFUSALS_EVERY: Duration = Duration::from_secs(1);

/// Events of one socket that may wait beside those that its edge lets through: its access, and its close.
const EVENTS_BESIDE: usize = 64;

/// The clients of other nodes.
pub(super) struct Near {
    rooms: Rooms,
    metrics: Arc<Metrics>,
    /// Events of one socket that its edge may have sent before the room has taken any.
    max_events: usize,
    membership: Membership,
    /// Rooms that other nodes hand over.
    arrivals: Arc<Arrivals>,
    links: Lock<Vec<Arc<NearLink>>>,
    is_leaving: AtomicBool,
    /// Takes what every node must know; absent until the host is complete.
    listener: OnceLock<Listener>,
    /// Answers requests of operators that other nodes pass on; absent until the host is complete.
    operator: OnceLock<OperatorSide>,
    /// Uses tickets of this node up; absent until the host is complete.
    tickets: OnceLock<Tickets>,
}

/// Uses a ticket up, and returns its user as JSON.
pub(super) type Tickets = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Answers the requests of operators that other nodes pass on.
pub(super) type OperatorSide = Box<dyn Fn(NodeId, Request<Incoming>) -> Answers<Response<AnyBody>> + Send + Sync>;

/// Takes what every node must know.
pub(super) type Listener = Box<dyn Fn(wire::Told) -> Answers<wire::Taken> + Send + Sync>;

impl Near {
    pub(super) fn new(
        rooms: Rooms,
        metrics: Arc<Metrics>,
        max_events: usize,
        membership: Membership,
        arrivals: Arc<Arrivals>,
    ) -> Self {
        let (links, is_leaving, listener, operator, tickets) = Default::default();
        Near { rooms, metrics, max_events, membership, arrivals, links, is_leaving, listener, operator, tickets }
    }

    /// Sets how tickets of this node are used up, once.
    pub(super) fn set_tickets(&self, tickets: Tickets) {
        // A second one would be a bug of the host, and the first one stays.
        let _ = self.tickets.set(tickets);
    }

    /// Sets the answers to requests of operators that other nodes pass on, once.
    pub(super) fn set_operator(&self, operator: OperatorSide) {
        // A second one would be a bug of the host, and the first one stays.
        let _ = self.operator.set(operator);
    }

    /// Sets the receiver of what every node must know, once.
    pub(super) fn set_listener(&self, listener: Listener) {
        // A second one would be a bug of the host, and the first one stays.
        let _ = self.listener.set(listener);
    }

    /// This node ends: clients of other nodes are closed with 1012, and no more are let in.
    pub(super) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
        for link in self.links.lock().iter() {
            link.clients().iter().for_each(|client| client.close(ROOM_MOVED, MOVED_REASON));
        }
    }

    /// The rooms of this node with clients of others.
    pub(super) fn rooms(&self) -> BTreeSet<Address> {
        let clients = |link: &Arc<NearLink>| link.clients();
        self.links.lock().iter().flat_map(clients).map(|client| client.address.clone()).collect()
    }

    /// Clients of other nodes.
    pub(super) fn clients(&self) -> usize {
        let of = |link: &Arc<NearLink>| link.sockets.lock().as_ref().map_or(0, |sockets| sockets.len());
        self.links.lock().iter().map(of).sum()
    }

    /// Bytes that wait to be sent to other nodes.
    pub(super) fn queued_bytes(&self) -> usize {
        self.links.lock().iter().map(|link| link.down.queued_bytes()).sum()
    }

    /// Ends all links.
    pub(super) fn close(&self) {
        for link in self.links.lock().iter() {
            link.down.cut(Why::Closed);
        }
    }

    fn refuses(&self) -> Option<RequestError> {
        self.is_leaving.load(Ordering::Acquire).then_some(RequestError::Draining)
    }
}

/// The handler of links, and the log of those that are refused.
pub(super) struct Accepts {
    near: Arc<Near>,
    /// When a refusal was logged: anybody can cause one.
    logged_at: Lock<Option<Instant>>,
}

impl Accepts {
    pub(super) fn new(near: Arc<Near>) -> Self {
        Accepts { near, logged_at: Lock::default() }
    }
}

impl Handler for Accepts {
    fn linked(&self, down: Sender<Down>, up: Receiver<Up>) {
        let link = Arc::new(NearLink::new(down));
        self.near.links.lock().push(link.clone());
        tokio::spawn(self.near.clone().receive(link, up));
    }

    fn request(&self, _: NodeId, asked: wire::Asked) -> Answers<wire::Answered> {
        let near = self.near.clone();
        Box::pin(async move {
            let answered = near.request(asked).await;
            answered.map(convert::response_out).map_err(|error| convert::no_answer_out(&error))
        })
    }

    fn told(&self, _: NodeId, told: wire::Told) -> Answers<wire::Taken> {
        match self.near.listener.get() {
            Some(listener) => listener(told),
            None => Box::pin(async { Err("it is starting".into()) }),
        }
    }

    fn passed(&self, from: NodeId, passed: wire::Passed) -> Answers<bool> {
        let near = self.near.clone();
        Box::pin(async move {
            match passed {
                wire::Passed::Offer(offer) => near.offered(from, offer).await,
                wire::Passed::Yours(yours) => near.came(from, yours),
            }
        })
    }

    fn user_data(&self, _: NodeId, asked: wire::UserDataAsked) -> Answers<wire::UserDataAnswered> {
        let near = self.near.clone();
        Box::pin(async move { near.user_data(asked).await.map_err(convert::no_user_data_out) })
    }

    fn take_ticket(&self, _: NodeId, ticket: String) -> Answers<Option<String>> {
        let taken = self.near.tickets.get().and_then(|take| take(&ticket));
        Box::pin(async move { taken })
    }

    fn operate(&self, from: NodeId, request: Request<Incoming>) -> Answers<Response<AnyBody>> {
        match self.near.operator.get() {
            Some(operator) => operator(from, request),
            None => Box::pin(async {
                let mut starting = Response::new(Box::pin(Empty::new()) as AnyBody);
                *starting.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                starting
            }),
        }
    }
}

impl Refusals for Accepts {
    fn refused(&self, from: String, reason: String) {
        let now = clock::monotonic();
        let mut logged_at = self.logged_at.lock();
        if logged_at.is_none_or(|at| now.saturating_duration_since(at) >= LOG_REFUSALS_EVERY) {
            *logged_at = Some(now);
            tracing::warn!(from, reason, "a connection to the address of this node was refused");
        }
    }
}

impl Near {
    async fn request(&self, asked: wire::Asked) -> Result<crate::model::Response, RequestError> {
        self.refuses().map_or(Ok(()), Err)?;
        let wire::Asked { namespace, name, request, post } = asked;
        let room = |namespace: &str, name: &str| Address::new(namespace, name).map_err(|_| RequestError::NoNamespace);
        let address = room(&namespace, &name)?;
        let post = match post {
            Some((namespace, name, number)) => Some((room(&namespace, &name)?, PostNumber(number))),
            None => None,
        };
        self.rooms.request_from_node(&address, convert::request_in(request), post).await
    }

    async fn user_data(&self, asked: wire::UserDataAsked) -> Result<wire::UserData, UserDataError> {
        self.refuses().map_or(Ok(()), Err)?;
        let wire::UserDataAsked { namespace, name, erase, user, after } = asked;
        let address = Address::new(&namespace, &name).map_err(|_| RequestError::NoNamespace)?;
        let of = DataOf { user: user.into(), after };
        Ok(convert::user_data_out(self.rooms.user_data_for_node(&address, of, erase).await?))
    }

    /// Takes everything that comes over a link, until it ends.
    async fn receive(self: Arc<Self>, link: Arc<NearLink>, mut up: Receiver<Up>) {
        self.metrics.links.inc();
        while let Ok(message) = up.next().await {
            match message {
                Up::Connect(connect) => self.connect(&link, *connect),
                Up::Message(socket, content) => {
                    self.event(&link, socket, Event::Message(convert::message_in(content)));
                }
                Up::Access(socket, access) => self.event(&link, socket, Event::Access(convert::access_in(&access))),
                Up::Close(socket, close) => self.event(&link, socket, Event::Close(convert::close_in(close))),
                Up::Buffered(socket, bytes) => {
                    if let Some(client) = link.client(socket) {
                        client.buffered.store(usize::try_from(bytes).unwrap_or(usize::MAX), Ordering::Relaxed);
                    }
                }
                Up::Adopt(adopt) => self.arrivals.adopt(&link, &adopt),
            }
        }
        self.metrics.links.dec();
        self.links.lock().retain(|other| !Arc::ptr_eq(other, &link));
        // Dropping the seats tells their rooms that the clients are lost. The lock is released first.
        let clients = link.sockets.lock().take().unwrap_or_default();
        clients.values().for_each(|client| client.lost());
    }

    fn connect(self: &Arc<Self>, link: &Arc<NearLink>, connect: wire::Connect) {
        let wire::Connect { socket, namespace, name, user, request, kind } = connect;
        let address = Address::new(&namespace, &name);
        let kind = convert::kind_in(kind);
        let address = match (self.refuses(), address) {
            (None, Ok(address)) => address,
            (refused, _) => {
                let refused = refused.unwrap_or(RequestError::NoNamespace);
                return link.send(&Down::Refused(socket, convert::not_seated_out(refused.into())));
            }
        };
        let client = NearClient::connecting(link, socket, address.clone(), kind);
        link.add(socket, &client);
        let (near, link) = (self.clone(), link.clone());
        tokio::spawn(async move {
            let (request, user) = (convert::request_in(request), Arc::new(convert::user_in(user)));
            match near.rooms.connect_from_node(&address, request, user, client.clone()).await {
                Ok(seat) => client.seated(Box::new(seat), true),
                Err(error) => {
                    client.forget();
                    link.send(&Down::Refused(socket, convert::not_seated_out(error)));
                }
            }
        });
    }

    fn event(&self, link: &Arc<NearLink>, socket: u64, event: Event) {
        let Some(client) = link.client(socket) else { return };
        if !client.event(event, self.max_events + EVENTS_BESIDE) {
            link.down.cut(Why::Malformed);
        }
    }

    /// Another node offers a room. Returns whether this one waits for it.
    async fn offered(&self, from: NodeId, offer: wire::Offer) -> bool {
        let Ok(room) = Address::new(&offer.namespace, &offer.name) else { return false };
        if self.refuses().is_some() || self.rooms.namespace(room.namespace()).is_none() {
            return false;
        }
        let tenure = convert::tenure_of(offer.tenure);
        let Some(answered) = self.arrivals.offer(&room, offer) else { return false };
        self.membership.tell(Hint::Said { from, room: room.clone(), message: Peer::Offer { tenure } });
        let is_accepted = matches!(clock::timeout(ANSWER_TIME, answered).await, Ok(Ok(true)));
        if !is_accepted {
            self.arrivals.end(&room);
        }
        is_accepted
    }

    /// Another node has let go of a room for this one.
    fn came(&self, from: NodeId, yours: wire::Yours) -> bool {
        let Ok(room) = Address::new(&yours.namespace, &yours.name) else { return false };
        let message = Peer::Yours { tenure: convert::tenure_of(yours.tenure), number: yours.number };
        self.membership.tell(Hint::Said { from, room: room.clone(), message });
        // Its sockets are in it before its first turn, and its timers are set.
        self.rooms.arrive(&room);
        true
    }
}
