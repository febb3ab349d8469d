//! The life of a room: an event wakes it, turns run one at a time, and it hibernates again. Start reading here.
//!
//! ```text
//! edge ──▶ Rooms ──▶ registry ──▶ mailbox ──▶ life: wake, run, commit, hold ──▶ outbox ──▶ Client (edge)
//!                                    ▲                              │              ▲
//!                                  wheel (timers)                 store ──receipt──┘
//! ```
//!
//! An awake room is one task; a sleeping room is only data in its mailbox. This module knows no TCP, no WebSocket
//! frames and no files: it reaches clients through [`Client`], the disk through `store`, and the guest through `guest`.
//! The edge and embedders call [`Rooms`].

mod batch;
mod carriers;
mod handle;
mod life;
mod mailbox;
mod metrics;
mod outbox;
mod pending;
mod policy;
mod posting;
mod queue;
mod reach;
mod registry;
mod visitor;
mod wheel;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus_client::registry::Registry as Registered;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::clock::{self, Timeline};
use crate::config::{INSTANCE_WITHIN, Limits, WAITING_ROOMS_PART};
use crate::guest::{Lane, RoomKind};
use crate::model::{Address, Client, Close, Message, Request, Response, SocketKey, StorageFailed, User};
use crate::outbound::{Allowed, Outbound};
use crate::pressure::{self, Change, Pressure};
use crate::refused::{Refusals, Refused};
use crate::store::{CommitError, Store};

pub use handle::{KnownRoom, NAMES_A_LIST, NoRoom, RoomHandle};
pub(crate) use visitor::Next;
pub use visitor::{Gone, Heard, Visitor};

use carriers::Carriers;
use mailbox::{Delivered, Idle, Incoming, Mailbox};
use metrics::Metrics;
use queue::Queue;
use reach::Waits;
use registry::Registry;
use visitor::Visitors;
use wheel::Wheel;

/// One kind of room, and the settings for all rooms of a namespace.
pub struct Namespace {
    /// The component.
    pub kind: RoomKind,
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
    lane: Lane,
    /// The runtime on which room tasks run.
    runtime: Handle,
    registry: Registry,
    timeline: Timeline,
    wheel: Wheel,
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
    outbound: Outbound,
    waits: Waits,
    visitors: Visitors,
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
    NoAnswer(#[from] NoAnswer),
}

/// The reason why a room did not answer. The client may retry, unless the case says otherwise.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoAnswer {
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

impl NoAnswer {
    /// The `code` of the error frame for a client that sent a message over a socket.
    fn code(&self) -> &'static str {
        match self {
            NoAnswer::NoSpace => "storage_full",
            NoAnswer::Overloaded | NoAnswer::NoMemory | NoAnswer::TooManyRooms => "overloaded",
            NoAnswer::NoNamespace | NoAnswer::Failed | NoAnswer::Broken | NoAnswer::Draining => "room_failed",
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
        lane: Lane,
        outbound: Outbound,
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
            lane,
            runtime: Handle::current(),
            registry: Registry::new(metrics.rooms.clone()),
            timeline: Timeline::new(),
            wheel: Wheel::default(),
            instances: Arc::new(Semaphore::new(limits.awake_rooms as usize)),
            queue: Queue::default(),
            waiting: Arc::new(Semaphore::new((limits.awake_rooms / WAITING_ROOMS_PART).max(1) as usize)),
            limits,
            making_space: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            one_ended: Notify::new(),
            outbound,
            waits: Waits::default(),
            visitors: Visitors::default(),
            carriers,
            pressure,
            metrics,
        });
        for (address, at) in to_wake {
            if shared.namespaces.contains_key(address.namespace()) {
                shared.wheel.set(&address, None, clock::shifted(at, -shared.timeline.offset()));
            } else {
                tracing::warn!(room = %address, "a timer or a post waits in a room whose namespace is not configured");
            }
        }
        tokio::spawn(wheel::turn(Arc::downgrade(&shared)));
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
        answered.await.unwrap_or(Err(ConnectError::NoAnswer(NoAnswer::Broken)))
    }

    /// Sends a request to a room. The answer comes when its turn is durable.
    pub async fn request(&self, address: &Address, request: Request) -> Result<Response, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        self.deliver(address, Incoming::Request { request, post: None, answer })?;
        answered.await.unwrap_or(Err(NoAnswer::Broken))
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
    pub(crate) fn refusals(&self) -> Refusals {
        self.0.metrics.refusals.clone()
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
        self.0.visitors.say_goodbye();
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

    fn deliver(&self, address: &Address, incoming: Incoming) -> Result<(), NoAnswer> {
        if self.0.draining.load(Ordering::Acquire) {
            return Err(NoAnswer::Draining);
        }
        let namespace = self.0.namespaces.get(address.namespace()).ok_or(NoAnswer::NoNamespace)?;
        // A full host refuses new clients and requests from outside. Posts, closes and timers of its rooms are still
        // delivered.
        let from_outside = matches!(incoming, Incoming::Connect { .. } | Incoming::Request { post: None, .. });
        if from_outside && self.0.registry.len() >= self.0.limits.rooms && self.0.registry.get(address).is_none() {
            self.0.metrics.refusals.count(Refused::Rooms);
            return Err(NoAnswer::TooManyRooms);
        }
        let mut incoming = incoming;
        loop {
            let mailbox = self.0.registry.get_or_make(address, namespace, &self.0.runtime);
            match Mailbox::deliver(&mailbox, &self.0, incoming) {
                Delivered::Yes => return Ok(()),
                Delivered::Full(_) => {
                    self.0.metrics.refusals.count(Refused::EventsPerRoom);
                    return Err(NoAnswer::Overloaded);
                }
                // The room was removed between look-up and delivery: try again with a new mailbox.
                Delivered::Forgotten(back) => incoming = back,
            }
        }
    }
}

/// Under memory pressure, hibernates rooms that are idle.
async fn watch_memory(shared: Weak<Shared>) {
    loop {
        clock::sleep(pressure::LOOK_EVERY).await;
        let Some(shared) = shared.upgrade() else { return };
        let (has_bytes, most_bytes) = (shared.pressure.has_bytes(), shared.pressure.most_bytes());
        match shared.pressure.look() {
            Change::None => continue,
            Change::Ended => tracing::info!(has_bytes, most_bytes, "memory is below its limit again"),
            Change::Began => {
                tracing::error!(
                    most_bytes,
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
    told: bool,
}

impl Drop for Seat {
    /// Also closes a seat that was lost because its client left before it received the seat.
    fn drop(&mut self) {
        if !self.told {
            self.tell(Close::lost());
        }
    }
}

/// The result of delivering a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// The message waits for its turn.
    Yes,
    /// The queue of the room is full. [`Client::resume`] is called when it has space again.
    NotNow(Message),
    /// The room is broken; the client will be closed.
    Never,
}

impl Seat {
    /// Delivers a message of the client.
    pub fn message(&self, message: Message) -> Said {
        match Mailbox::deliver(&self.mailbox, &self.shared, Incoming::Message(self.socket, message)) {
            Delivered::Yes => Said::Yes,
            Delivered::Full(Incoming::Message(_, message)) => {
                if self.mailbox.tell_when_free(&self.client) {
                    Said::NotNow(message)
                } else {
                    self.message(message)
                }
            }
            Delivered::Full(_) | Delivered::Forgotten(_) => Said::Never,
        }
    }

    /// Tells the room that the client has left.
    pub fn close(mut self, close: Close) {
        self.tell(close);
    }

    fn tell(&mut self, close: Close) {
        self.told = true;
        // A room that was removed has lost its sockets too, so no one needs to be told.
        let _ = Mailbox::deliver(&self.mailbox, &self.shared, Incoming::Close(self.socket, close));
    }

    /// The auto-response of the room to this text, if it has set one.
    pub fn auto_response(&self, text: &str) -> Option<String> {
        self.mailbox.auto_response(text)
    }
}
