//! Rooms of other nodes, as this node's clients use them: a link to each node that has some, and the place of each
//! client in its room. It is the edge's half of a link; `near` is the other.
//!
//! When a link ends, its clients are closed with 1012: what their rooms said last may be lost, and they resume. Nothing
//! is sent again by itself, because the room may have seen it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use quick_cache::sync::Cache;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};

use super::convert;
use super::link::wire::{self, Down, NotSeated, Up};
use super::link::{Bounds, DialError, Greeting, Link, Receiver, Refusal, Tls, Why, dial};
use super::metrics::Metrics;
use super::ownership::NodeId;
use super::place::Bucket;
use crate::clock;
use crate::lock::Lock;
use crate::model::{Address, Client, Close, Message, PostNumber, ROOM_MOVED, Request, Response, User, UserAccess};
use crate::panics::guard;
use crate::room::{Answers, ConnectError, Delivered, FarSeat, Peers, RequestError};
use crate::store::{Hint, Membership};

/// Rooms whose owner is remembered. Of others the place is tried, which is right for most.
const REMEMBERED: usize = 65_536;

/// After a failure a node is not dialled again for this time.
const DIAL_PAUSE: Duration = Duration::from_millis(300);

/// How a node whose link was lost is tried: an address that refuses connections is that of a process that has ended.
const PROBES: usize = 2;
const PROBE_PAUSE: Duration = Duration::from_millis(100);

/// How long a node may take until it knows what every node must know.
const TELL_TIME: Duration = Duration::from_secs(3);

/// A change of the bytes that wait for a client is told from this size on.
const BUFFERED_STEP: usize = 64 << 10;

/// The close of clients whose link is lost.
const MOVED: &str = "the room moved; come back";

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
}

/// The link to one node.
#[derive(Default)]
struct Slot {
    link: Option<Arc<FarLink>>,
    failed_at: Option<Instant>,
}

/// An open link.
struct FarLink {
    link: Link,
    sockets: Lock<Sockets>,
}

#[derive(Default)]
struct Sockets {
    has_ended: bool,
    sockets: HashMap<u64, Socket>,
    /// Clients from which nothing is read until the link has space.
    paused: Vec<Arc<dyn Client>>,
}

struct Socket {
    client: Arc<dyn Client>,
    /// Absent once the room has answered.
    answer: Option<oneshot::Sender<Result<(), NotSeated>>>,
    /// The client has left.
    has_left: bool,
    /// The room has closed it.
    is_closed: bool,
    /// The bytes that wait for it, as the owner was told.
    buffered: Arc<AtomicUsize>,
}

impl Far {
    pub(super) fn new(me: Greeting, tls: Tls, bounds: Bounds, membership: Membership, metrics: Arc<Metrics>) -> Self {
        let (links, next_socket) = Default::default();
        let (owners, runtime) = (Cache::new(REMEMBERED), Handle::current());
        Far(Arc::new(Inner { me, tls, bounds, membership, runtime, metrics, links, owners, next_socket }))
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
                tracing::error!(address = row.address, problem, "a node of the cluster may not know of a revocation");
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
            let placed = link.connect(socket, &address, request, &user, client).await;
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
}

fn no_answer(error: &ConnectError) -> Option<&RequestError> {
    match error {
        ConnectError::NoAnswer(error) => Some(error),
        ConnectError::Refused(..) => None,
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
                let link = Arc::new(FarLink { link, sockets: Lock::default() });
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

    /// Dials a node, and tells the store what this says about the life of the node.
    async fn dial(&self, node: NodeId) -> Option<(Link, Receiver<Down>)> {
        let living = self.membership.living();
        let address = living.iter().find(|row| row.node == node).map(|row| row.address.clone())?;
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
                tracing::warn!(node = node.0, %error, "a node of the cluster is not reached");
                None
            }
        }
    }

    /// Takes everything that comes over a link, until it ends.
    async fn receive(self: Arc<Self>, node: NodeId, link: Arc<FarLink>, mut down: Receiver<Down>) {
        self.metrics.links.inc();
        let why = loop {
            match down.next().await {
                Ok(message) => link.take(message),
                Err(why) => break link.link.up.ended().unwrap_or(why),
            }
        };
        self.metrics.links.dec();
        link.link.up.cut(why.clone());
        let clients = link.end();
        if why != Why::Closed {
            tracing::info!(node = node.0, clients, reason = %why, "the link to a node of the cluster has ended");
            self.probe(node).await;
        }
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

impl FarLink {
    async fn connect(
        self: &Arc<Self>,
        socket: u64,
        address: &Address,
        request: Request,
        user: &User,
        client: Arc<dyn Client>,
    ) -> Result<Seat, ConnectError> {
        let (answer, answered) = oneshot::channel();
        let (kind, buffered) = (client.kind(), Arc::default());
        let entry =
            Socket { client: client.clone(), answer: Some(answer), has_left: false, is_closed: false, buffered };
        {
            let mut sockets = self.sockets.lock();
            if sockets.has_ended {
                return Err(RequestError::Moved(None).into());
            }
            sockets.sockets.insert(socket, entry);
        }
        // From here on, giving up closes the socket.
        let seat = Seat { link: self.clone(), socket, client, has_closed: false };
        let connect = wire::Connect {
            socket,
            namespace: address.namespace().into(),
            name: address.name().into(),
            user: convert::user_out(user.clone()),
            request: convert::request_out(request),
            kind: convert::kind_out(kind),
        };
        // If the link has ended, the answer is dropped with it.
        let _ = self.link.up.send(&Up::Connect(Box::new(connect)));
        match answered.await {
            Ok(Ok(())) => Ok(seat),
            Ok(Err(refused)) => Err(convert::not_seated_in(refused)),
            Err(_) => Err(RequestError::Broken.into()),
        }
    }

    fn take(&self, message: Down) {
        match message {
            Down::Seated(socket) => {
                if let Some(answer) = self.with(socket, |socket| socket.answer.take()).flatten() {
                    // The client may have given up; its seat has told the room.
                    let _ = answer.send(Ok(()));
                }
            }
            Down::Refused(socket, why) => {
                let removed = self.sockets.lock().sockets.remove(&socket);
                if let Some(answer) = removed.and_then(|socket| socket.answer) {
                    let _ = answer.send(Err(why));
                }
            }
            Down::Say(sockets, said) => self.say(&sockets, said),
            Down::Done(socket, turns) => {
                if let Some(client) = self.client(socket) {
                    (0..turns).for_each(|_| client.turn_done());
                }
            }
            Down::Close(socket, code, reason) => {
                let client = self.with(socket, |socket| {
                    socket.is_closed = true;
                    socket.client.clone()
                });
                if let Some(client) = client {
                    guard(|| client.close(code, &reason));
                    self.tidy(socket);
                }
            }
            Down::Left(socket) => {
                let removed = self.sockets.lock().sockets.remove(&socket);
                if let Some(socket) = removed {
                    guard(|| socket.client.nothing_follows());
                }
            }
        }
    }

    /// Gives messages of a room to clients. They are encoded once for all of them.
    fn say(&self, to: &[u64], said: Vec<wire::Said>) {
        let message = convert::said_in(said);
        let clients = {
            let sockets = self.sockets.lock();
            let found = to.iter().filter_map(|id| Some((*id, sockets.sockets.get(id)?)));
            found.map(|(id, socket)| (id, socket.client.clone(), socket.buffered.clone())).collect::<Vec<_>>()
        };
        for (_, client, _) in &clients {
            if guard(|| client.enqueue(&message)).is_some_and(|must_flush| must_flush) {
                guard(|| client.flush());
            }
        }
        for (id, client, told) in clients {
            let (before, now) = (told.load(Ordering::Relaxed), client.buffered());
            if before.abs_diff(now) >= BUFFERED_STEP {
                told.store(now, Ordering::Relaxed);
                let _ = self.link.up.send(&Up::Buffered(id, now as u64));
            }
        }
    }

    fn with<T>(&self, socket: u64, change: impl FnOnce(&mut Socket) -> T) -> Option<T> {
        self.sockets.lock().sockets.get_mut(&socket).map(change)
    }

    fn client(&self, socket: u64) -> Option<Arc<dyn Client>> {
        self.with(socket, |socket| socket.client.clone())
    }

    /// Forgets a socket that both sides have closed.
    fn tidy(&self, socket: u64) {
        let removed = {
            let mut sockets = self.sockets.lock();
            let is_over = sockets.sockets.get(&socket).is_some_and(|socket| socket.has_left && socket.is_closed);
            if is_over { sockets.sockets.remove(&socket) } else { None }
        };
        if let Some(socket) = removed {
            guard(|| socket.client.nothing_follows());
        }
    }

    /// The link has ended: all clients are closed, and told that nothing follows. Returns their number.
    fn end(&self) -> usize {
        let (sockets, paused) = {
            let mut all = self.sockets.lock();
            all.has_ended = true;
            (std::mem::take(&mut all.sockets), std::mem::take(&mut all.paused))
        };
        let clients = sockets.len();
        for socket in sockets.into_values() {
            // A connect without an answer fails when this is dropped.
            drop(socket.answer);
            guard(|| socket.client.close(ROOM_MOVED, MOVED));
            guard(|| socket.client.nothing_follows());
        }
        for client in paused {
            guard(|| client.resume());
        }
        clients
    }

    /// Resumes a client when the link has space again. Returns false if it has space already.
    fn pause(self: &Arc<Self>, client: &Arc<dyn Client>) -> bool {
        let is_first = {
            let mut sockets = self.sockets.lock();
            if sockets.has_ended || !self.link.up.is_busy() {
                return false;
            }
            sockets.paused.push(client.clone());
            sockets.paused.len() == 1
        };
        if is_first {
            let link = self.clone();
            tokio::spawn(async move {
                link.link.up.freed().await;
                let paused = std::mem::take(&mut link.sockets.lock().paused);
                for client in paused {
                    guard(|| client.resume());
                }
            });
        }
        true
    }
}

/// The place of a client in a room of another node.
struct Seat {
    link: Arc<FarLink>,
    socket: u64,
    client: Arc<dyn Client>,
    has_closed: bool,
}

impl FarSeat for Seat {
    fn message(&self, message: Message) -> Delivered {
        if self.link.pause(&self.client) {
            return Delivered::NotNow(message);
        }
        let message = Up::Message(self.socket, convert::message_out(message));
        match self.link.link.up.send(&message) {
            Ok(()) => Delivered::Yes,
            Err(_) => Delivered::Never,
        }
    }

    fn set_access(&self, access: UserAccess) -> Result<(), UserAccess> {
        if self.link.pause(&self.client) {
            return Err(access);
        }
        // A link that has ended has closed the client.
        let _ = self.link.link.up.send(&Up::Access(self.socket, convert::access_out(&access)));
        Ok(())
    }

    fn close(&mut self, close: Close) {
        self.has_closed = true;
        self.link.with(self.socket, |socket| socket.has_left = true);
        let _ = self.link.link.up.send(&Up::Close(self.socket, convert::close_out(close)));
        self.link.tidy(self.socket);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.has_closed {
            // It was refused, or its client left before the answer came.
            let was_there = self.link.sockets.lock().sockets.remove(&self.socket).is_some();
            if was_there {
                let _ = self.link.link.up.send(&Up::Close(self.socket, convert::close_out(Close::lost())));
            }
        }
    }
}
