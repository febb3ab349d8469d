//! The state that all rooms of a host share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};

use super::carriers::Carriers;
use super::error::RequestError;
use super::incoming::{Hops, Incoming};
use super::local_client::LocalSockets;
use super::mailbox::{Enqueued, Mailbox};
use super::meter::Meter;
use super::metrics::Metrics;
use super::namespace::Namespace;
use super::peers::Peers;
use super::policy;
use super::queue::Queue;
use super::registry::Registry;
use super::tail::Tails;
use super::timer_queue::TimerQueue;
use super::wait_graph::WaitGraph;
use crate::clock::{self, Timeline};
use crate::config::Limits;
use crate::guest::LongTurns;
use crate::limit_hits::{Limit, LimitHits};
use crate::model::{Address, Request, Response};
use crate::outbound::HttpClient;
use crate::pressure::Pressure;
use crate::store::Store;
use crate::telemetry::Telemetry;

/// The state that all rooms of a host share.
pub(super) struct Shared {
    pub(super) namespaces: BTreeMap<String, Arc<Namespace>>,
    pub(super) store: Store,
    /// The store wants proofs: another node may own a room by now. It never changes.
    pub(super) wants_proofs: bool,
    pub(super) limits: Arc<Limits>,
    pub(super) long_turns: LongTurns,
    /// The runtime on which room tasks run.
    pub(super) runtime: Handle,
    pub(super) registry: Registry,
    pub(super) timeline: Timeline,
    pub(super) timer_queue: TimerQueue,
    /// One permit for each instance that may exist.
    pub(super) instances: Arc<Semaphore>,
    /// Rooms that wait for an instance, and since when.
    pub(super) queue: Queue,
    /// One permit for each turn that may wait for other rooms and servers.
    pub(super) waiting: Arc<Semaphore>,
    pub(super) making_space: AtomicBool,
    pub(super) next_socket: AtomicU64,
    pub(super) draining: AtomicBool,
    /// Rooms that have a running task.
    pub(super) running: AtomicUsize,
    pub(super) one_ended: Notify,
    /// A room was deleted, so there are records to remove.
    pub(super) one_deleted: Arc<Notify>,
    pub(super) tails: Arc<Tails>,
    pub(super) outbound: HttpClient,
    /// The way to rooms of other nodes; absent if there are none.
    pub(super) peers: OnceLock<Arc<dyn Peers>>,
    pub(super) wait_graph: WaitGraph,
    pub(super) local_sockets: LocalSockets,
    pub(super) carriers: Carriers,
    pub(super) pressure: Arc<Pressure>,
    pub(super) limit_hits: LimitHits,
    pub(super) metrics: Metrics,
    pub(super) meter: Meter,
    /// Absent if spans are off.
    pub(super) telemetry: Option<Telemetry>,
}

impl Shared {
    /// Sends a request to a room. The answer comes when its turn is durable.
    pub(super) async fn request(
        self: &Arc<Self>,
        address: &Address,
        request: Request,
    ) -> Result<Response, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.deliver(address, Incoming::Request { request, post: None, hops: Hops::NONE, answer })?;
        answered.await.unwrap_or(Err(RequestError::Broken))
    }

    /// How long a room of a namespace stays awake without events; 0 if there is no such namespace.
    pub(super) fn hibernate_after(&self, address: &Address) -> Duration {
        self.namespaces.get(address.namespace()).map_or(Duration::ZERO, |namespace| namespace.hibernate_after)
    }

    /// Whether the host is shutting down.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Delivers an event to a room, unless the host is shutting down or a limit is reached.
    pub(super) fn deliver(self: &Arc<Self>, address: &Address, incoming: Incoming) -> Result<(), RequestError> {
        if self.is_draining() {
            return Err(RequestError::Draining);
        }
        let namespace = self.namespaces.get(address.namespace()).ok_or(RequestError::NoNamespace)?;
        // A full host refuses new clients and requests from outside. Posts, closes and timers of its rooms are still
        // delivered.
        let from_outside = matches!(
            incoming,
            Incoming::Connect { .. } | Incoming::Request { post: None, .. } | Incoming::UserData { .. }
        );
        if from_outside && self.registry.len() >= self.limits.rooms && self.registry.get(address).is_none() {
            self.limit_hits.count(Limit::Rooms);
            return Err(RequestError::TooManyRooms);
        }
        if let Some(node) = self.place_of(address, &incoming) {
            self.go(address.clone(), incoming, node);
            return Ok(());
        }
        if self.enqueue(address, namespace, incoming) {
            Ok(())
        } else {
            self.limit_hits.count(Limit::EventsPerRoom);
            Err(RequestError::Overloaded)
        }
    }

    /// Puts an event into the mailbox of a room, which wakes if it sleeps. Returns false if too many events wait there.
    pub(super) fn enqueue(
        self: &Arc<Self>,
        address: &Address,
        namespace: &Arc<Namespace>,
        mut incoming: Incoming,
    ) -> bool {
        loop {
            let mailbox = self.registry.get_or_make(address, namespace, &self.runtime);
            match Mailbox::deliver(&mailbox, self, incoming) {
                Enqueued::Yes => return true,
                Enqueued::Full(_) => return false,
                // The room was removed between look-up and delivery: try again with a new mailbox.
                Enqueued::Forgotten(back) => incoming = back,
            }
        }
    }

    /// All instances are in use: makes the longest idle rooms hibernate. One scan at a time serves all waiting rooms.
    pub(super) fn make_space(self: &Arc<Self>) {
        if self.making_space.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = self.clone();
        tokio::spawn(async move {
            loop {
                while shared.instances.available_permits() == 0 {
                    let idle = shared.registry.idle(|_| true);
                    for mailbox in idle.iter().take(policy::rooms_to_hibernate(idle.len())) {
                        mailbox.hibernate();
                    }
                    // They need a moment for it; if none is idle now, one will be.
                    clock::sleep(std::time::Duration::from_millis(5)).await;
                }
                shared.making_space.store(false, Ordering::Release);
                // Another room may have begun to wait just before the flag was cleared, and relied on this scan.
                if shared.instances.available_permits() > 0 || shared.making_space.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        });
    }
}
