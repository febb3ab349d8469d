//! The life of a room: an event wakes it, turns run one at a time, and it hibernates again. Start reading here.
//!
//! ```text
//! edge ──▶ Rooms ──▶ registry ──▶ mailbox ──▶ life: wake, run, commit, hold ──▶ output gate ──▶ Client (edge)
//!                                    ▲                              │                ▲
//!                               timer queue                         store ──receipt──┘
//! ```
//!
//! An awake room is one task; a sleeping room is only data in its mailbox. This module knows no TCP, no WebSocket
//! frames and no files: it reaches clients through [`Client`], the disk through `store`, and the guest through `guest`.
//! The edge and embedders call [`Rooms`].

mod batch;
mod calls;
mod carriers;
mod handle;
mod life;
mod local_socket;
mod mailbox;
mod metrics;
mod output_gate;
mod overlay;
mod policy;
mod posts;
mod queue;
mod registry;
mod timer_queue;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus_client::registry::Registry as Registered;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::clock::{self, Timeline};
use crate::config::Limits;
use crate::guest::{CompiledRoom, LongTurns};
use crate::limit_hits::{Limit, LimitHits};
use crate::limits::{INSTANCE_WITHIN, WAITING_ROOMS_PART};
use crate::model::{Address, Client, Close, Message, Request, Response, SocketKey, StorageFailed, User};
use crate::outbound::{Allowed, HttpClient};
use crate::pressure::{self, Change, Pressure};
use crate::store::{CommitError, Store};

pub use handle::{KnownRoom, NAMES_A_LIST, RoomHandle, RoomLookupError};
pub(crate) use local_socket::Next;
pub use local_socket::{LocalSocket, Received, SocketClosed};

use calls::WaitGraph;
use carriers::Carriers;
use local_socket::LocalSockets;
use mailbox::{Enqueued, Idle, Incoming, Mailbox};
use metrics::Metrics;
use queue::Queue;
use registry::Registry;
use timer_queue::TimerQueue;

/// One kind of room, and the settings for all rooms of a namespace.
pub struct Namespace {
    /// The component.
    pub kind: CompiledRoom,
    /// Configuration values for its rooms.
    pub config: Arc<BTreeMap<String, String>>,
    /// The longest message that its rooms accept, in bytes.
    pub message_in_bytes: usize,
    /// The longest message that its rooms may send, in bytes.
    pub message_out_bytes: usize,
    /// The namespaces that its rooms may call and post to.
    pub calls: BTreeSet<String>,
    /// The servers that its rooms may call.
    pub outbound: Allowed,
}

/// All rooms of one host, asleep or awake. Cheap to clone.
#[derive(Clone)]
pub struct Rooms(Arc<Shared>);

/// The state that all rooms of a host share.
struct Shared {
    namespaces: BTreeMap<String, Arc<Namespace>>,
    store: Store,
    limits: Arc<Limits>,
    hibernate_after: Duration,
    long_turns: LongTurns,
    /// The runtime on which room tasks run.
    runtime: Handle,
    registry: Registry,
    timeline: Timeline,
    timer_queue: TimerQueue,
    /// One permit for each instance that may exist.
    instances: Arc<Semaphore>,
    /// Rooms that wait for an instance, and since when.
    queue: Queue,
    /// One permit for each turn that may wait for other rooms and servers.
    waiting: Arc<Semaphore>,
    making_space: AtomicBool,
    next_socket: AtomicU64,
    draining: AtomicBool,
    /// Rooms that have a running task.
    running: AtomicUsize,
    one_ended: Notify,
    outbound: HttpClient,
    wait_graph: WaitGraph,
    local_sockets: LocalSockets,
    carriers: Carriers,
    pressure: Arc<Pressure>,
    metrics: Metrics,
}

/// The reason why a room did not accept a client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The room refused the client.
    #[error("{1}")]
    Refused(u16, String),
    /// The room did not answer.
    #[error(transparent)]
    NoAnswer(#[from] RequestError),
}

/// The reason why a room did not answer. The client may retry, unless the case says otherwise.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// The configuration has no such namespace. The author of the router must act.
    #[error("there is no namespace of that name")]
    NoNamespace,
    /// The turn failed; the log has the reason.
    #[error("the room failed")]
    Failed,
    /// Too many events wait for the room.
    #[error("the room is overloaded")]
    Overloaded,
    /// The process has too little memory for one more turn.
    #[error("the server has too little memory now")]
    NoMemory,
    /// The host has as many rooms in memory as it may have.
    #[error("there are too many rooms at once")]
    TooManyRooms,
    /// A commit of the room failed, or its storage cannot be read.
    #[error("the room's storage is not available")]
    Broken,
    /// The data disk is full.
    #[error("the server's disk is full")]
    NoSpace,
    /// The host is shutting down.
    #[error("the server is going away")]
    Draining,
}

impl RequestError {
    /// The `code` of the error frame for a client that sent a message over a socket.
    fn code(&self) -> &'static str {
        match self {
            RequestError::NoSpace => "storage_full",
            RequestError::Overloaded | RequestError::NoMemory | RequestError::TooManyRooms => "overloaded",
            RequestError::NoNamespace | RequestError::Failed | RequestError::Broken | RequestError::Draining => {
                "room_failed"
            }
        }
    }
}

/// The reason why a host cannot do its work. The operator must act.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Unhealthy {
    /// Nothing can be written.
    #[error(transparent)]
    Disk(#[from] CommitError),
    /// Rooms cannot wake.
    #[error("a room has waited {seconds} s for one of the {awake_rooms} instances; raise `limits.awake_rooms`")]
    NoInstance {
        /// How long it has waited.
        seconds: u64,
        /// The limit.
        awake_rooms: u32,
    },
}

impl Rooms {
    /// Starts the rooms of `namespaces`, with their data in `store`. Call it in a tokio runtime.
    ///
    /// Fails: if the timers and posts of the store cannot be read.
    pub fn start(
        store: Store,
        namespaces: BTreeMap<String, Namespace>,
        limits: Arc<Limits>,
        hibernate_after: Duration,
        lane: LongTurns,
        outbound: HttpClient,
        pressure: Arc<Pressure>,
    ) -> Result<Self, StorageFailed> {
        let metrics = Metrics::default();
        let to_wake = store.rooms_to_wake()?;
        let carriers = Carriers::new(namespaces.keys());
        let shared = Arc::new(Shared {
            namespaces: namespaces.into_iter().map(|(name, namespace)| (name, Arc::new(namespace))).collect(),
            // The number of the start is in the high bits, so that no two sockets ever share an id.
            next_socket: AtomicU64::new(store.epoch() << 40),
            store,
            hibernate_after,
            long_turns: lane,
            runtime: Handle::current(),
            registry: Registry::new(metrics.rooms.clone()),
            timeline: Timeline::new(),
            timer_queue: TimerQueue::default(),
            instances: Arc::new(Semaphore::new(limits.awake_rooms as usize)),
            queue: Queue::default(),
            waiting: Arc::new(Semaphore::new((limits.awake_rooms / WAITING_ROOMS_PART).max(1) as usize)),
            limits,
            making_space: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            one_ended: Notify::new(),
            outbound,
            wait_graph: WaitGraph::default(),
            local_sockets: LocalSockets::default(),
            carriers,
            pressure,
            metrics,
        });
        for (address, at) in to_wake {
            if shared.namespaces.contains_key(address.namespace()) {
                shared.timer_queue.set(&address, None, clock::shifted(at, -shared.timeline.offset()));
            } else {
                tracing::warn!(room = %address, "a timer or a post waits in a room whose namespace is not configured");
            }
        }
        tokio::spawn(timer_queue::run(Arc::downgrade(&shared)));
        tokio::spawn(watch_memory(Arc::downgrade(&shared)));
        Ok(Rooms(shared))
    }

    /// The namespace with this name.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.0.namespaces.get(name).map(|namespace| &**namespace)
    }

    /// Asks a room to accept a client. The answer comes when its turn is durable. Messages to the client that come
    /// before it is ready wait in `client`.
    pub async fn connect(
        &self,
        address: &Address,
        request: Request,
        user: Arc<User>,
        client: Arc<dyn Client>,
    ) -> Result<Seat, ConnectError> {
        let (answer, answered) = oneshot::channel();
        self.deliver(address, Incoming::Connect { request, user, client, answer })?;
        answered.await.unwrap_or(Err(ConnectError::NoAnswer(RequestError::Broken)))
    }

    /// Sends a request to a room. The answer comes when its turn is durable.
    pub async fn request(&self, address: &Address, request: Request) -> Result<Response, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.deliver(address, Incoming::Request { request, post: None, answer })?;
        answered.await.unwrap_or(Err(RequestError::Broken))
    }

    /// Drops the instance of a room as soon as its turn is over. Its sockets stay open.
    pub fn hibernate(&self, address: &Address) {
        if let Some(mailbox) = self.0.registry.get(address) {
            mailbox.hibernate();
        }
    }

    /// The memory pressure of the process.
    pub(crate) fn pressure(&self) -> Arc<Pressure> {
        self.0.pressure.clone()
    }

    /// Registers the metrics of the rooms and of their store.
    pub fn register(&self, registry: &mut Registered) {
        self.0.metrics.register(registry);
        self.0.store.register(registry);
    }

    /// The counters of refusals, which the edge uses too.
    pub(crate) fn limit_hits(&self) -> LimitHits {
        self.0.metrics.limit_hits.clone()
    }

    /// Updates the gauges that are measured when the metrics are read.
    pub(crate) fn measure(&self) {
        let instances = self.0.limits.awake_rooms as usize - self.0.instances.available_permits();
        self.0.metrics.instances.set(instances as i64);
    }

    /// The number of rooms with a task: awake rooms, and rooms that wait for the disk.
    pub fn running(&self) -> usize {
        self.0.running.load(Ordering::Acquire)
    }

    /// Refuses new connections and requests, lets all started work finish, and closes the store. Work that is not done
    /// within `at_most` is cut off. Acknowledged messages are on disk in any case.
    pub async fn drain(&self, at_most: Duration) {
        self.0.draining.store(true, Ordering::Release);
        self.0.local_sockets.say_goodbye();
        self.0.registry.for_each(Mailbox::nudge);
        let all_ended = async {
            loop {
                let one_ended = self.0.one_ended.notified();
                if self.running() == 0 {
                    return;
                }
                one_ended.await;
            }
        };
        tokio::select! {
            () = all_ended => {}
            () = clock::sleep(at_most) => {
                tracing::warn!(rooms = self.running(), "shutting down before all rooms have finished");
            }
        }
        let store = self.0.store.clone();
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        closed.expect("closing the store does not panic");
    }

    /// Whether rooms can write and wake; if not, the reason.
    pub fn health(&self) -> Result<(), Unhealthy> {
        if let Some(refuses) = self.0.store.refuses() {
            return Err(refuses.into());
        }
        match self.0.queue.longest() {
            Some(waited) if waited > INSTANCE_WITHIN => {
                Err(Unhealthy::NoInstance { seconds: waited.as_secs(), awake_rooms: self.0.limits.awake_rooms })
            }
            _ => Ok(()),
        }
    }

    fn deliver(&self, address: &Address, incoming: Incoming) -> Result<(), RequestError> {
        if self.0.draining.load(Ordering::Acquire) {
            return Err(RequestError::Draining);
        }
        let namespace = self.0.namespaces.get(address.namespace()).ok_or(RequestError::NoNamespace)?;
        // A full host refuses new clients and requests from outside. Posts, closes and timers of its rooms are still
        // delivered.
        let from_outside = matches!(incoming, Incoming::Connect { .. } | Incoming::Request { post: None, .. });
        if from_outside && self.0.registry.len() >= self.0.limits.rooms && self.0.registry.get(address).is_none() {
            self.0.metrics.limit_hits.count(Limit::Rooms);
            return Err(RequestError::TooManyRooms);
        }
        let mut incoming = incoming;
        loop {
            let mailbox = self.0.registry.get_or_make(address, namespace, &self.0.runtime);
            match Mailbox::deliver(&mailbox, &self.0, incoming) {
                Enqueued::Yes => return Ok(()),
                Enqueued::Full(_) => {
                    self.0.metrics.limit_hits.count(Limit::EventsPerRoom);
                    return Err(RequestError::Overloaded);
                }
                // The room was removed between look-up and delivery: try again with a new mailbox.
                Enqueued::Forgotten(back) => incoming = back,
            }
        }
    }
}

/// Under memory pressure, hibernates rooms that are idle.
async fn watch_memory(shared: Weak<Shared>) {
    loop {
        clock::sleep(pressure::LOOK_EVERY).await;
        let Some(shared) = shared.upgrade() else { return };
        let (has_bytes, max_bytes) = (shared.pressure.has_bytes(), shared.pressure.max_bytes());
        match shared.pressure.look() {
            Change::None => continue,
            Change::Ended => tracing::info!(has_bytes, max_bytes, "memory is below its limit again"),
            Change::Began => {
                tracing::error!(
                    max_bytes,
                    "memory is above its limit: new sockets and requests are told to come back later"
                );
                shared.registry.idle(|idle| idle == Idle::Nothing).iter().for_each(|mailbox| mailbox.hibernate());
            }
            Change::Goes => {
                shared.registry.idle(|idle| idle == Idle::Nothing).iter().for_each(|mailbox| mailbox.hibernate())
            }
        }
    }
}

/// The place of a client in its room. Its messages and its close enter the room here.
pub struct Seat {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    socket: SocketKey,
    client: Arc<dyn Client>,
    /// The room was told of the close.
    closed: bool,
}

impl Drop for Seat {
    /// Also closes a seat that was lost because its client left before it received the seat.
    fn drop(&mut self) {
        if !self.closed {
            self.tell(Close::lost());
        }
    }
}

/// The result of delivering a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The message waits for its turn.
    Yes,
    /// The queue of the room is full. [`Client::resume`] is called when it has space again.
    NotNow(Message),
    /// The room is broken; the client will be closed.
    Never,
}

impl Seat {
    /// Delivers a message of the client.
    pub fn message(&self, message: Message) -> Delivered {
        match Mailbox::deliver(&self.mailbox, &self.shared, Incoming::Message(self.socket, message)) {
            Enqueued::Yes => Delivered::Yes,
            Enqueued::Full(Incoming::Message(_, message)) => {
                if self.mailbox.tell_when_free(&self.client) {
                    Delivered::NotNow(message)
                } else {
                    self.message(message)
                }
            }
            Enqueued::Full(_) | Enqueued::Forgotten(_) => Delivered::Never,
        }
    }

    /// Tells the room that the client has left.
    pub fn close(mut self, close: Close) {
        self.tell(close);
    }

    fn tell(&mut self, close: Close) {
        self.closed = true;
        // A room that was removed has lost its sockets too, so no one needs to be told.
        let _ = Mailbox::deliver(&self.mailbox, &self.shared, Incoming::Close(self.socket, close));
    }

    /// The auto-response of the room to this text, if it has set one.
    pub fn auto_response(&self, text: &str) -> Option<String> {
        self.mailbox.auto_response(text)
    }
}
