//! The shared part of a room: its queue of events, its output gate, and the room itself while it sleeps.
//!
//! A delivery to a sleeping room takes the room out and starts its task. So a room never has more than one task, and a
//! sleeping room has none. The mailbox does not know how a turn runs. The registry holds it; clients, timers, the
//! commit thread and the task of the room call it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;

use super::activity::Activity;
use super::incoming::Incoming;
use super::life::{RoomState, RoomTask};
use super::metrics::Times;
use super::output_gate::OutputGate;
use super::peers::FarSeat;
use super::reply::Reply;
use super::shared::Shared;
use crate::clock;
use crate::lock::Lock;
use crate::model::{Client, SocketKey};
use crate::panics::guard;
use crate::store::{CommitError, CommitListener, Receipt};

/// The reason why a room with an instance does not use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Idle {
    /// It waits for an event.
    Nothing,
    /// It waits for the disk.
    Disk,
}

/// The result of a delivery.
pub(super) enum Enqueued {
    Yes,
    Full(Incoming),
    Forgotten(Incoming),
}

/// The next action of a running room.
pub(super) enum Next {
    Event(Incoming),
    /// Commits are durable. Their outputs may have left already.
    Durable(Receipt),
    Broken(CommitError),
    /// Its counters of usage are due.
    Report,
    Hibernate,
    /// The room shall go to another node, and there is something to do for that.
    Leave,
}

pub(super) struct Mailbox {
    inner: Lock<Inner>,
    /// When the last turn of the instance ended, on the steady clock. It is 0 without an instance and during a turn.
    last_used: AtomicU64,
    /// The room shall go to another node, so it runs no more turns.
    is_leaving: AtomicBool,
    /// Its numbers for the operator.
    pub(super) activity: Activity,
    /// Outputs of turns that have not left yet.
    pub(super) output_gate: OutputGate<Reply>,
    /// The histograms of its namespace.
    pub(super) times: Arc<Times>,
    runtime: Handle,
}

struct Inner {
    events: VecDeque<Incoming>,
    /// The room while it has no task.
    asleep: Option<Box<RoomState>>,
    /// Wakes the task of the room while it waits.
    waker: Option<Waker>,
    durable: Option<Receipt>,
    /// The task waits for receipts too, not only for events.
    wants_receipts: bool,
    broken: Option<CommitError>,
    must_hibernate: bool,
    /// It is no longer in the registry: a delivery must look for its successor.
    forgotten: bool,
    /// Clients from which nothing is read until the queue has space.
    paused: Vec<Arc<dyn Client>>,
    /// The places of sockets whose room has gone to another node, until their clients need them.
    moved: MovedSeats,
}

/// Places of clients of this node in rooms that have gone to another one.
pub(super) type MovedSeats = HashMap<SocketKey, Box<dyn FarSeat>>;

impl Mailbox {
    pub(super) fn new(state: Box<RoomState>, runtime: Handle, times: Arc<Times>) -> Self {
        Mailbox {
            inner: Lock::new(Inner {
                events: VecDeque::new(),
                asleep: Some(state),
                waker: None,
                durable: None,
                wants_receipts: false,
                broken: None,
                must_hibernate: false,
                forgotten: false,
                paused: Vec::new(),
                moved: MovedSeats::new(),
            }),
            last_used: AtomicU64::new(0),
            is_leaving: AtomicBool::new(false),
            activity: Activity::default(),
            output_gate: OutputGate::default(),
            times,
            runtime,
        }
    }

    /// Queues an event, and starts the room if it sleeps.
    pub(super) fn deliver(self: &Arc<Self>, shared: &Arc<Shared>, incoming: Incoming) -> Enqueued {
        let mut inner = self.inner.lock();
        if inner.forgotten {
            return Enqueued::Forgotten(incoming);
        }
        // Each socket sends one close, each room one due event, and each post one result. They are never refused,
        // because nothing repeats them.
        // Operators are few, and a full room is one that they want to see.
        let may_wait = matches!(
            incoming,
            Incoming::Close(..)
                | Incoming::TimersDue
                | Incoming::Posted { .. }
                | Incoming::Operator(_)
                | Incoming::Arrived
        );
        if inner.events.len() >= shared.pressure.shorten(shared.limits.events_per_room) && !may_wait {
            return Enqueued::Full(incoming);
        }
        match incoming {
            Incoming::Operator(_) => inner.events.push_front(incoming),
            _ => inner.events.push_back(incoming),
        }
        match inner.asleep.take() {
            Some(state) => {
                drop(inner);
                RoomTask::run(state, self.clone(), shared.clone());
            }
            None => wake(inner),
        }
        Enqueued::Yes
    }

    /// The next action of the task. Receipts come before events, so that durable outputs leave at once. `ready` tells
    /// whether one more event may run.
    pub(super) fn poll_next(
        &self,
        context: &Context<'_>,
        ready: bool,
        wants_receipts: bool,
        max_events: usize,
    ) -> Poll<Next> {
        let mut inner = self.inner.lock();
        if let Some(error) = inner.broken.take() {
            return Poll::Ready(Next::Broken(error));
        }
        if let Some(receipt) = inner.durable.take() {
            return Poll::Ready(Next::Durable(receipt));
        }
        if std::mem::take(&mut inner.must_hibernate) {
            return Poll::Ready(Next::Hibernate);
        }
        if ready && let Some(event) = inner.events.pop_front() {
            let resumed = if inner.events.len() < max_events.div_ceil(2) {
                std::mem::take(&mut inner.paused)
            } else {
                Vec::new()
            };
            drop(inner);
            resumed.iter().for_each(|client| client.resume());
            return Poll::Ready(Next::Event(event));
        }
        inner.wants_receipts = wants_receipts;
        if !inner.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            inner.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Whether an event waits.
    pub(super) fn has_events(&self) -> bool {
        !self.inner.lock().events.is_empty()
    }

    /// How many events wait.
    pub(super) fn events_waiting(&self) -> usize {
        self.inner.lock().events.len()
    }

    /// Looks at a room that has no task. Absent if it has one. The room cannot start meanwhile, so it must be quick.
    pub(super) fn with_sleeping<T>(&self, look: impl FnOnce(&RoomState) -> T) -> Option<T> {
        self.inner.lock().asleep.as_deref().map(look)
    }

    /// The room is opened with commits up to `durable`: its output gate begins anew. A receipt of an earlier opening that
    /// its task has not taken yet counts no more, because its position means nothing now.
    pub(super) fn open_at(&self, durable: u64) {
        self.inner.lock().durable = None;
        self.output_gate.start_at(durable);
    }

    /// Puts a room to sleep. If an event or a receipt came meanwhile, it returns the room instead.
    pub(super) fn sleep(&self, state: Box<RoomState>) -> Result<(), Box<RoomState>> {
        let mut inner = self.inner.lock();
        if inner.has_work() {
            return Err(state);
        }
        inner.waker = None;
        inner.events = VecDeque::new();
        inner.asleep = Some(state);
        Ok(())
    }

    /// Refuses all deliveries from now on, unless an event or a receipt came meanwhile. The caller holds the lock of
    /// the registry.
    pub(super) fn forget(&self) -> bool {
        let mut inner = self.inner.lock();
        if inner.has_work() {
            return false;
        }
        inner.forgotten = true;
        true
    }

    /// Like [`forget`](Self::forget), but unconditional. Returns the events that wait; the caller answers or drops them.
    /// Events of sockets that go on at another node are sent there instead, before any later one of their clients.
    pub(super) fn abandon(&self, mut seats: MovedSeats) -> VecDeque<Incoming> {
        let mut inner = self.inner.lock();
        inner.forgotten = true;
        inner.asleep = None;
        let (mut events, paused) = (std::mem::take(&mut inner.events), std::mem::take(&mut inner.paused));
        if !seats.is_empty() {
            events = events.into_iter().filter_map(|event| go_on(event, &mut seats)).collect();
            self.output_gate.forget_auto_response();
        }
        inner.moved = seats;
        drop(inner);
        for client in paused {
            guard(|| client.resume());
        }
        self.output_gate.clear();
        events
    }

    /// The place of a socket at the node to which its room has gone.
    pub(super) fn moved(&self, socket: SocketKey) -> Option<Box<dyn FarSeat>> {
        self.inner.lock().moved.remove(&socket)
    }

    /// Another owner has the room. It is started if it sleeps, so that its sockets are closed.
    pub(super) fn tenure_ended(self: &Arc<Self>, shared: &Arc<Shared>, error: &CommitError) {
        let mut inner = self.inner.lock();
        if inner.forgotten {
            return;
        }
        inner.broken = Some(error.clone());
        match inner.asleep.take() {
            Some(state) => {
                drop(inner);
                RoomTask::run(state, self.clone(), shared.clone());
            }
            None => wake(inner),
        }
        self.output_gate.fail();
    }

    /// The room shall go to another node. It is started if it sleeps: it has to say that it runs no turn.
    pub(super) fn pause(self: &Arc<Self>, shared: &Arc<Shared>) {
        let mut inner = self.inner.lock();
        if inner.forgotten {
            return;
        }
        self.is_leaving.store(true, Ordering::Release);
        match inner.asleep.take() {
            Some(state) => {
                drop(inner);
                RoomTask::run(state, self.clone(), shared.clone());
            }
            None => wake(inner),
        }
    }

    /// It stays here.
    pub(super) fn go_on(&self) {
        let inner = self.inner.lock();
        self.is_leaving.store(false, Ordering::Release);
        wake(inner);
    }

    /// Whether it shall go to another node.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    /// Calls [`Client::resume`] when the queue has space. Returns false if it has space already.
    pub(super) fn resume_when_free(&self, client: &Arc<dyn Client>) -> bool {
        let mut inner = self.inner.lock();
        // Nothing is taken from an empty queue, so the client would never be resumed.
        if inner.events.is_empty() || inner.forgotten {
            return false;
        }
        inner.paused.push(client.clone());
        true
    }

    pub(super) fn hibernate(&self) {
        let mut inner = self.inner.lock();
        if inner.asleep.is_none() {
            inner.must_hibernate = true;
            wake(inner);
        }
    }

    /// Wakes the task, so that it checks its state again.
    pub(super) fn wake_task(&self) {
        wake(self.inner.lock());
    }

    /// Why a room with an instance is idle, and since when. Absent without an instance, with waiting events, and during
    /// a turn.
    pub(super) fn idle(&self) -> Option<(Idle, u64)> {
        let last_used = self.last_used.load(Ordering::Relaxed);
        if last_used == 0 || !self.inner.lock().events.is_empty() {
            return None;
        }
        Some((if self.output_gate.is_empty() { Idle::Nothing } else { Idle::Disk }, last_used))
    }

    /// When the last turn of its instance ended, on the steady clock; 0 without an instance and during a turn.
    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    /// The room has an instance, whose turn has just ended.
    pub(super) fn turn_ended(&self) {
        self.last_used.store(clock::steady_millis().max(1), Ordering::Relaxed);
    }

    /// The room has no instance, or its turn is running.
    pub(super) fn not_idle(&self) {
        self.last_used.store(0, Ordering::Relaxed);
    }
}

impl Inner {
    fn has_work(&self) -> bool {
        !self.events.is_empty() || self.durable.is_some() || self.broken.is_some()
    }
}

/// Sends an event to the node of its room, if its socket has a place there.
fn go_on(event: Incoming, seats: &mut MovedSeats) -> Option<Incoming> {
    let (Incoming::Message(key, _) | Incoming::Access(key, _) | Incoming::Close(key, _)) = &event else {
        return Some(event);
    };
    let Some(seat) = seats.get_mut(key) else { return Some(event) };
    match event {
        // These do not wait: the sockets are on their way, and have no link that could be full.
        Incoming::Message(_, message) => drop(seat.message(message)),
        Incoming::Access(_, access) => drop(seat.set_access(access)),
        Incoming::Close(_, close) => seat.close(close),
        _ => {}
    }
    None
}

/// Releases the lock first, so that the task does not block on it.
fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl CommitListener for Mailbox {
    fn committed(&self, receipt: Receipt, few: bool) {
        {
            // Both in one step, and before anything is released: a room with an empty output gate may go to sleep, but
            // not before it has seen the receipt, which its posts wait for.
            let mut inner = self.inner.lock();
            // Waiters outside of the task are notified here, because the task may be waiting for them.
            self.output_gate.open_up_to(&receipt);
            if inner.durable.as_ref().is_none_or(|earlier| *earlier < receipt) {
                inner.durable = Some(receipt);
            }
        }
        if few {
            // The shortest way from the disk to the wire: no task has to wake.
            self.output_gate.release(&self.runtime, &self.times.delivery);
        }
        let inner = self.inner.lock();
        if !few || inner.wants_receipts {
            wake(inner);
        }
    }

    fn failed(&self, error: &CommitError) {
        let mut inner = self.inner.lock();
        inner.broken = Some(error.clone());
        wake(inner);
        self.output_gate.fail();
    }
}
