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

mod activity;
mod batch;
mod calls;
mod carriers;
mod cleaner;
mod details;
mod elsewhere;
mod error;
mod handle;
mod incoming;
mod life;
mod local_client;
mod local_socket;
mod look;
mod mailbox;
mod memory_watch;
mod meter;
mod meter_task;
mod metrics;
mod namespace;
mod operator;
mod operator_request;
mod output_gate;
mod overlay;
mod peers;
mod personal_data;
mod policy;
mod post_delivery;
mod posts;
mod queue;
mod registry;
mod reply;
mod router_calls;
mod seat;
mod shared;
mod tail;
mod tenant;
mod timer_queue;
mod timer_task;
mod traced;
mod trial;
mod usage;
mod wait_graph;
mod wakefulness;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::registry::Registry as Registered;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::clock::{self, Timeline};
use crate::guest::LongTurns;
use crate::history::Sample;
use crate::host_limits::HostLimits;
use crate::limits::{INSTANCE_TIMEOUT, WAITING_ROOMS_PART};
use crate::model::{Address, Client, Request, Response, StorageFailed, UsagePage, UsageQuery, User};
use crate::outbound::HttpClient;
use crate::store::transfer::{About, CheckedImport, ImportError, ImportFile, Imported};
use crate::store::{CommitError, Snapshot, Store};
use crate::telemetry::Telemetry;

pub use crate::store::KEPT_HOURS as USAGE_KEPT_HOURS;
pub use activity::{Failure, Numbers};
pub use details::{PostDetails, RoomDetails, SocketDetails, TimerDetails};
pub use error::{ConnectError, RequestError, Unhealthy, UserDataError};
pub use handle::{KnownRoom, MAX_LISTED_NAMES, RestrictedRoom, RoomHandle, RoomLookupError};
pub(crate) use local_socket::Next;
pub use local_socket::{LocalSocket, Received, SocketClosed};
pub use look::{ListedRoom, LookError, RoomOrder, RoomsPage, RoomsQuery};
pub use namespace::Namespace;
pub use operator_request::{DeleteError, Deleted, Slept};
pub use peers::{Answers, Arrived, Delivered, FarSeat, Peers, SetsOut, TakesSeat, UserDataPart};
pub use router_calls::RouterCalls;
pub use seat::Seat;
pub use tail::{Tail, TailLine, TailOf, TooManyTails};
pub use trial::{TrialFailed, Tried};
pub use wakefulness::AwakeBecause;

use carriers::Carriers;
use incoming::{Hops, Incoming};
use local_client::LocalSockets;
use mailbox::Mailbox;
use meter::Meter;
use metrics::Metrics;
use queue::Queue;
use registry::Registry;
use shared::Shared;
use timer_queue::TimerQueue;
use wait_graph::WaitGraph;

/// All rooms of one host, asleep or awake. Cheap to clone.
#[derive(Clone)]
pub struct Rooms(Arc<Shared>);

impl Rooms {
    /// Starts the rooms of `namespaces`, with their data in `store`. Without `telemetry` there are no spans. Call it in a
    /// tokio runtime.
    ///
    /// Fails: if the timers and posts of the store cannot be read.
    pub fn start(
        store: Store,
        namespaces: BTreeMap<String, Namespace>,
        host_limits: HostLimits,
        long_turns: LongTurns,
        outbound: HttpClient,
        telemetry: Option<Telemetry>,
    ) -> Result<Self, StorageFailed> {
        let HostLimits { limits, hits: limit_hits, pressure } = host_limits;
        let metrics = Metrics::new(namespaces.keys());
        let to_wake = store.rooms_to_wake()?;
        let carriers = Carriers::new(namespaces.keys());
        let shared = Arc::new(Shared {
            namespaces: namespaces.into_iter().map(|(name, namespace)| (name, Arc::new(namespace))).collect(),
            // The number of the start is in the high bits, so that no two sockets ever share an id.
            next_socket: AtomicU64::new(store.epoch() << 40),
            meter: Meter::new(&store),
            wants_proofs: store.wants_proofs(),
            store,
            long_turns,
            runtime: Handle::current(),
            registry: Registry::new(metrics.rooms.clone(), metrics.times.clone()),
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
            one_deleted: Arc::default(),
            tails: Arc::default(),
            outbound,
            peers: OnceLock::new(),
            wait_graph: WaitGraph::default(),
            local_sockets: LocalSockets::default(),
            carriers,
            pressure,
            limit_hits,
            metrics,
            telemetry,
        });
        for (address, at) in to_wake {
            if shared.namespaces.contains_key(address.namespace()) {
                shared.timer_queue.set(&address, None, clock::shifted(at, -shared.timeline.offset()));
            } else {
                tracing::warn!(room = %address, "a timer or a post waits in a room whose namespace is not configured");
            }
        }
        tokio::spawn(timer_task::run(Arc::downgrade(&shared)));
        tokio::spawn(cleaner::run(Arc::downgrade(&shared)));
        tokio::spawn(memory_watch::watch_memory(Arc::downgrade(&shared)));
        tokio::spawn(meter_task::run(Arc::downgrade(&shared)));
        Ok(Rooms(shared))
    }

    /// The namespace with this name.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.0.namespaces.get(name).map(|namespace| &**namespace)
    }

    /// The spans of this host; absent if they are off.
    pub(crate) fn telemetry(&self) -> Option<&Telemetry> {
        self.0.telemetry.as_ref()
    }

    /// The names of all namespaces, in order.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.0.namespaces.keys().map(String::as_str)
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
        self.0.deliver(address, Incoming::Connect { request, user, client, hops: Hops::NONE, answer })?;
        answered.await.unwrap_or(Err(ConnectError::NoAnswer(RequestError::Broken)))
    }

    /// Sends a request to a room. The answer comes when its turn is durable.
    pub async fn request(&self, address: &Address, request: Request) -> Result<Response, RequestError> {
        self.0.request(address, request).await
    }

    /// The usage of rooms, namespaces or users, as far as rooms have reported it: each does so twice a minute, and
    /// before it sleeps.
    pub async fn usage(&self, query: UsageQuery) -> Result<UsagePage, StorageFailed> {
        self.0.usage(query).await
    }

    /// Fills a room that has no data and no sockets from an exported one. When this returns, it is durable. The room has
    /// a new incarnation.
    ///
    /// Fails: if the room exists, and if the host or its disk cannot store it. Then the room has no data.
    pub async fn import(&self, address: &Address, import: CheckedImport) -> Result<Imported, ImportError> {
        let (answer, answered) = oneshot::channel();
        let failed = |error: RequestError| ImportError::Failed(error.to_string());
        self.0.deliver(address, Incoming::Import { import, answer }).map_err(failed)?;
        answered.await.unwrap_or(Err(failed(RequestError::Broken)))
    }

    /// The code of the rooms of a namespace, for their exports.
    pub fn about(&self, namespace: &str) -> About {
        let Some(namespace) = self.namespace(namespace) else { return About::default() };
        let version =
            |import: &String| import.strip_prefix("dormouse:room/")?.split_once('@').map(|(_, it)| it.to_owned());
        let code = namespace.code.stable();
        let contract = code.component.imports().iter().find_map(version);
        let contract = contract.map(|version| format!("dormouse:room@{version}"));
        About { component: Some(namespace.component_name.clone()), contract }
    }

    /// An empty file for an import.
    pub fn import_file(&self) -> Result<ImportFile, ImportError> {
        ImportFile::new(&self.0.store)
    }

    /// Whether they are in a database, which has backups of its own.
    pub fn are_in_database(&self) -> bool {
        self.0.store.is_in_database()
    }

    /// All rooms as they are stored at this moment. Everything that was acknowledged before is in it.
    pub fn snapshot(&self) -> Result<Snapshot, StorageFailed> {
        self.0.store.snapshot()
    }

    /// Drops the instance of a room as soon as its turn is over. Its sockets stay open.
    pub fn hibernate(&self, address: &Address) {
        if let Some(mailbox) = self.0.registry.get(address) {
            mailbox.hibernate();
        }
    }

    /// Registers the metrics of the rooms and of their store.
    pub fn register(&self, registry: &mut Registered) {
        self.0.metrics.register(registry);
        self.0.meter.register(registry);
        self.0.store.register(registry);
        if let Some(telemetry) = &self.0.telemetry {
            telemetry.register(registry);
        }
    }

    /// Updates the gauges that are measured when the metrics are read.
    pub(crate) fn measure(&self) {
        let instances = self.0.limits.awake_rooms as usize - self.0.instances.available_permits();
        self.0.metrics.instances.set(instances as i64);
    }

    /// Adds the numbers of rooms and of their store to a sample.
    pub(crate) fn sample(&self, sample: &mut Sample) {
        self.measure();
        self.0.metrics.sample(sample);
        sample.commit = self.0.store.commit_times();
    }

    /// The causes of failed turns, with how often each was one; the most frequent first.
    pub(crate) fn failures(&self) -> Vec<(&'static str, u64)> {
        self.0.metrics.failures.all()
    }

    /// Bytes that the store takes on the disk; absent if it has none. It blocks on the disk.
    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        self.0.store.disk_bytes()
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
        self.0.registry.for_each(Mailbox::wake_task);
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
        let shared = self.0.clone();
        let close = move || {
            shared.meter.write(&shared.store);
            shared.store.close();
        };
        let closed = tokio::task::spawn_blocking(close).await;
        closed.expect("closing the store does not panic");
    }

    /// Takes and returns the locks through which every room is found and woken. It hangs if another thread keeps one.
    pub(crate) fn take_locks(&self) {
        self.0.registry.take_locks();
        let _ = self.0.timer_queue.first();
        let _ = self.0.queue.longest();
    }

    /// Waits until the commit thread of the store has answered.
    pub(crate) async fn commit_thread_answers(&self) -> Result<(), CommitError> {
        self.0.store.commit_thread_answers().await
    }

    /// Whether rooms can write and wake; if not, the reason.
    pub fn health(&self) -> Result<(), Unhealthy> {
        if let Some(refuses) = self.0.store.refuses() {
            return Err(refuses.into());
        }
        match self.0.queue.longest() {
            Some(waited) if waited > INSTANCE_TIMEOUT => {
                Err(Unhealthy::NoInstance { seconds: waited.as_secs(), awake_rooms: self.0.limits.awake_rooms })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
