//! The part of a room that others hold: its queue of events, and the room itself while it sleeps.
//!
//! Whoever delivers to a sleeping room takes its life out and sets it running; so there is never more than one task a
//! room, and a sleeping room costs none.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::life::{Life, Room};
use super::outbox::Outbox;
use super::posting::{Outcome, PostId};
use super::{ConnectError, NoAnswer, Seat, Shared};
use crate::clock;
use crate::model::{AutoResponse, Client, Close, Message, PostNumber, Request, Response, SocketKey, User};
use crate::panics::guard;
use crate::store::{CommitError, Receipt, Waiting};

/// Something that happens to a room, and who wants an answer.
pub(super) enum Incoming {
    Connect {
        request: Request,
        user: Arc<User>,
        client: Arc<dyn Client>,
        answer: oneshot::Sender<Result<Seat, ConnectError>>,
    },
    Message(SocketKey, Message),
    Close(SocketKey, Close),
    TimersDue,
    Request {
        request: Request,
        /// Absent for a request that nobody posted.
        post: Option<PostId>,
        answer: oneshot::Sender<Result<Response, NoAnswer>>,
    },
    /// The host itself says something to everyone.
    Say {
        message: Message,
        answer: oneshot::Sender<Result<(), NoAnswer>>,
    },
    /// One of the room's own posts was tried.
    Posted {
        number: PostNumber,
        outcome: Outcome,
    },
}

/// What a room waits for that has an instance and does not use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Idle {
    /// An event.
    Nothing,
    /// The disk.
    Disk,
}

/// What became of a delivery.
pub(super) enum Delivered {
    Yes,
    Full(Incoming),
    Forgotten(Incoming),
}

/// What a running room does next.
pub(super) enum Next {
    Event(Incoming),
    /// Commits are durable. What waited for them may be out already.
    Durable(Receipt),
    Broken(CommitError),
    Hibernate,
}

pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    /// When its instance's last turn ended, by the steady clock; 0 while it has none, and while a turn runs.
    last_used: AtomicU64,
    /// What its turns said and nobody has heard yet.
    pub(super) outbox: Outbox,
    runtime: Handle,
}

struct Inner {
    events: VecDeque<Incoming>,
    /// The room, while no task runs it.
    asleep: Option<Box<Life>>,
    /// How to reach its task, while that waits.
    waker: Option<Waker>,
    durable: Option<Receipt>,
    /// The task waits for receipts, and not only for events.
    wants_receipts: bool,
    broken: Option<CommitError>,
    must_hibernate: bool,
    /// No longer in the registry: a delivery must look for its successor.
    forgotten: bool,
    auto_response: Option<AutoResponse>,
    /// Clients that are read no further until there is space.
    paused: Vec<Arc<dyn Client>>,
}

impl Mailbox {
    pub(super) fn new(life: Box<Life>, runtime: Handle) -> Self {
        Mailbox {
            inner: Mutex::new(Inner {
                events: VecDeque::new(),
                asleep: Some(life),
                waker: None,
                durable: None,
                wants_receipts: false,
                broken: None,
                must_hibernate: false,
                forgotten: false,
                auto_response: None,
                paused: Vec::new(),
            }),
            last_used: AtomicU64::new(0),
            outbox: Outbox::default(),
            runtime,
        }
    }

    /// Queue an event, and set the room running if it sleeps.
    pub(super) fn deliver(self: &Arc<Self>, shared: &Arc<Shared>, incoming: Incoming) -> Delivered {
        let mut inner = self.lock();
        if inner.forgotten {
            return Delivered::Forgotten(incoming);
        }
        // A close comes once a socket, due timers once a room, and news of each post once: refusing them would lose what
        // nobody repeats.
        let may_wait = matches!(incoming, Incoming::Close(..) | Incoming::TimersDue | Incoming::Posted { .. });
        if inner.events.len() >= shared.pressure.shorten(shared.limits.events_per_room) && !may_wait {
            return Delivered::Full(incoming);
        }
        inner.events.push_back(incoming);
        match inner.asleep.take() {
            Some(life) => {
                drop(inner);
                Room::run(life, self.clone(), shared.clone());
            }
            None => wake(inner),
        }
        Delivered::Yes
    }

    /// What the room's task does next. Receipts go before events, so that what is durable leaves at once; `ready` says
    /// whether one more event may run.
    pub(super) fn poll_next(
        &self,
        context: &Context<'_>,
        ready: bool,
        wants_receipts: bool,
        most_events: usize,
    ) -> Poll<Next> {
        let mut inner = self.lock();
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
            let resumed = if inner.events.len() < most_events.div_ceil(2) {
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
        !self.lock().events.is_empty()
    }

    /// Put a room to rest, unless something came meanwhile: then it is given back.
    pub(super) fn rest(&self, life: Box<Life>) -> Result<(), Box<Life>> {
        let mut inner = self.lock();
        if inner.has_work() {
            return Err(life);
        }
        inner.waker = None;
        inner.events = VecDeque::new();
        inner.asleep = Some(life);
        Ok(())
    }

    /// Turn all deliveries away from now on, unless something came meanwhile. The registry's lock is held.
    pub(super) fn forget(&self) -> bool {
        let mut inner = self.lock();
        if inner.has_work() {
            return false;
        }
        inner.forgotten = true;
        true
    }

    /// As [`forget`](Self::forget), whatever came: what waits gets no answer.
    pub(super) fn abandon(&self) {
        let mut inner = self.lock();
        inner.forgotten = true;
        inner.asleep = None;
        let (events, paused) = (std::mem::take(&mut inner.events), std::mem::take(&mut inner.paused));
        drop(inner);
        for client in paused {
            guard(|| client.resume());
        }
        drop(events);
        self.outbox.clear();
    }

    /// Have a client resumed when there is space. False where there is some already.
    pub(super) fn tell_when_free(&self, client: &Arc<dyn Client>) -> bool {
        let mut inner = self.lock();
        // With an empty queue nothing would be taken from it, and nobody told.
        if inner.events.is_empty() || inner.forgotten {
            return false;
        }
        inner.paused.push(client.clone());
        true
    }

    pub(super) fn hibernate(&self) {
        let mut inner = self.lock();
        if inner.asleep.is_none() {
            inner.must_hibernate = true;
            wake(inner);
        }
    }

    /// Have the task look again.
    pub(super) fn nudge(&self) {
        wake(self.lock());
    }

    /// What a room that has an instance and no event waits for, and since when; absent for any other, and while a turn runs.
    pub(super) fn idle(&self) -> Option<(Idle, u64)> {
        let last_used = self.last_used.load(Ordering::Relaxed);
        if last_used == 0 || !self.lock().events.is_empty() {
            return None;
        }
        Some((if self.outbox.is_empty() { Idle::Nothing } else { Idle::Disk }, last_used))
    }

    /// The room has an instance, which was used just now.
    pub(super) fn used(&self) {
        self.last_used.store(clock::steady_millis().max(1), Ordering::Relaxed);
    }

    /// The room has no instance, or one that is being used.
    pub(super) fn unused(&self) {
        self.last_used.store(0, Ordering::Relaxed);
    }

    pub(super) fn set_auto_response(&self, auto_response: Option<AutoResponse>) {
        self.lock().auto_response = auto_response;
    }

    pub(super) fn auto_response(&self, text: &str) -> Option<String> {
        let inner = self.lock();
        inner.auto_response.as_ref().filter(|auto| auto.request == text).map(|auto| auto.reply.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }
}

impl Inner {
    fn has_work(&self) -> bool {
        !self.events.is_empty() || self.durable.is_some() || self.broken.is_some()
    }
}

/// The lock is let go first, so that the task does not run into it.
fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Waiting for Mailbox {
    fn committed(&self, receipt: Receipt, few: bool) {
        {
            // Both in one step, before anything is released: a room that finds its outbox empty may rest, and must not do so
            // before it has seen the receipt, which its posts wait for.
            let mut inner = self.lock();
            // Those who wait for it outside of the room's task are told at once: that task may wait for them.
            self.outbox.show(&receipt);
            if inner.durable.as_ref().is_none_or(|earlier| *earlier < receipt) {
                inner.durable = Some(receipt);
            }
        }
        if few {
            // The shortest way from the disk to the wire: nobody is woken for it.
            self.outbox.release(self, &self.runtime);
        }
        let inner = self.lock();
        if !few || inner.wants_receipts {
            wake(inner);
        }
    }

    fn failed(&self, error: &CommitError) {
        let mut inner = self.lock();
        inner.broken = Some(error.clone());
        wake(inner);
        self.outbox.fail();
    }
}
