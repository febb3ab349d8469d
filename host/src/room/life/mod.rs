//! One room, from its first event until nothing can wake it: it wakes, runs turns, hands their writes to the store, and
//! holds their outputs until the commit is durable. It does not know who delivers events. [`Mailbox`] starts it.

use std::collections::{BTreeMap, VecDeque};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tracing::Instrument;

mod turn;

use self::turn::Cause;
use super::batch::Batch;
use super::calls::RoomCalls;
use super::mailbox::{Incoming, Mailbox, Next};
use super::output_gate::Reply;
use super::overlay::StorageOverlay;
use super::posts::{Outcome, PostId, Posting};
use super::timer_queue::SteadyMillis;
use super::{ConnectError, Namespace, RequestError, Shared, policy};
use crate::clock::{self, UnixMillis};
use crate::guest::{Instance, LogLimiter, Outbound, TurnResources};
use crate::limit_hits::Limit;
use crate::model::{
    Address, Audience, Client, Close, Event, Except, OutboundMessage, Output, PostNumber, Response, Socket, SocketKey,
    StorageFailed, Timer, User,
};
use crate::panics::{catch_panic, guard};
use crate::store::{Changes, CommitError, Receipt, RoomLog, Stored};

/// Close code and reason for clients of a room whose storage is lost or failing.
pub(super) const CLOSE_BROKEN: (u16, &str) = (1011, "the room failed; come back");

/// A room that can sleep: in its mailbox while it sleeps, in its task while it runs.
pub(super) struct RoomState {
    address: Address,
    namespace: Arc<Namespace>,
    /// Absent until the first event: nothing is read from disk for a room without events.
    opened: Option<OpenRoom>,
}

/// The state of an open room.
struct OpenRoom {
    log: RoomLog,
    overlay: Arc<StorageOverlay>,
    /// Absent while a turn runs.
    resources: Option<Box<TurnResources>>,
    /// The time of the last turn: time does not go back within an instance.
    now: UnixMillis,
    /// Offset of the system clock to the steady clock that the times of timers and posts are based on.
    offset: i64,
    /// When the timer queue will wake this room, on the steady clock.
    wakes_at: Option<SteadyMillis>,
    posting: Posting,
    /// Closes that could not be delivered because the host lacked something, such as disk space; in order. Their
    /// sockets are still in the table, marked as gone, and count against `sockets_per_room`.
    closes: VecDeque<(SocketKey, Close)>,
    /// When they are tried again.
    closes_at: Option<UnixMillis>,
    /// The rate limit of its log lines.
    log_limiter: Arc<LogLimiter>,
}

/// A running room.
pub(super) struct RoomTask {
    life: Option<Box<RoomState>>,
    mailbox: Arc<Mailbox>,
    shared: Arc<Shared>,
    instance: Option<(Box<Instance>, OwnedSemaphorePermit)>,
    /// Turns that have run but were not handed to the disk yet.
    batch: Batch,
    last_event: Instant,
    /// It had nothing to do when it was last polled.
    woken: bool,
    /// It will sleep as soon as all its outputs have left.
    wants_rest: bool,
    /// Posts are due as soon as their commit is durable.
    posts_wait: bool,
    /// The last turn gave a long answer.
    answered_at_length: bool,
}

/// The room cannot go on; its held outputs are dropped.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Storage(#[from] StorageFailed),
}

impl RoomState {
    pub(super) fn new(address: Address, namespace: Arc<Namespace>) -> Box<Self> {
        Box::new(RoomState { address, namespace, opened: None })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }
}

impl OpenRoom {
    fn resources(&mut self) -> &mut TurnResources {
        self.resources.as_mut().expect("lent only while a turn runs")
    }

    /// The current time on the clock of this room's timers and posts.
    fn clock(&self) -> UnixMillis {
        clock::shifted(clock::steady_millis(), self.offset)
    }

    /// Converts a time of a timer or a post to the steady clock.
    fn steady(&self, at: UnixMillis) -> SteadyMillis {
        clock::shifted(at, -self.offset)
    }
}

impl RoomTask {
    /// Starts a task that runs a room until it sleeps.
    pub(super) fn run(life: Box<RoomState>, mailbox: Arc<Mailbox>, shared: Arc<Shared>) {
        shared.running.fetch_add(1, Ordering::AcqRel);
        let span = tracing::info_span!("room", address = %life.address);
        let last_event = clock::monotonic();
        let runtime = shared.runtime.clone();
        let room = RoomTask {
            life: Some(life),
            mailbox,
            shared,
            instance: None,
            batch: Batch::default(),
            last_event,
            woken: true,
            wants_rest: false,
            posts_wait: false,
            answered_at_length: false,
        };
        runtime.spawn(room.live().instrument(span));
    }

    async fn live(mut self) {
        match catch_panic(self.events()).await {
            Ok(Ok(())) => self.life = None,
            Ok(Err(broken)) => {
                tracing::error!(error = %broken, "the room is broken; its clients are asked to come back");
                self.retry_wake_later();
            }
            Err(panic) => {
                tracing::error!(%panic, "the host's own code panicked in this room; its clients are asked to come back");
                self.retry_wake_later();
            }
        }
        // A room that still has its state here could not go to sleep; dropping it closes its sockets.
    }

    /// Handles one event after the other, until the room can sleep.
    async fn events(&mut self) -> Result<(), Broken> {
        self.open()?;
        let mut idle = pin!(tokio::time::sleep(self.shared.hibernate_after));
        loop {
            if !self.batch.is_empty() && (self.batch.is_full() || !self.may_run_more()) {
                self.submit()?;
            }
            match self.next(idle.as_mut()).await {
                Next::Event(event) => self.event(event).await?,
                Next::Durable(receipt) => {
                    self.show(&receipt);
                    if std::mem::take(&mut self.posts_wait) {
                        self.carry_posts();
                        self.arm();
                    }
                }
                Next::Broken(error) => return Err(error.into()),
                Next::Hibernate => {
                    self.hibernate();
                    if self.rest() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Schedules a retry: a broken room may have been woken for a timer or a post, and nothing else would wake it for
    /// that.
    fn retry_wake_later(&mut self) {
        if self.life.is_none() {
            return;
        }
        // A permanently failed store recovers only on restart, so no retry is scheduled then.
        if !matches!(self.shared.store.refuses(), Some(CommitError::Failed(_)))
            && let Some(wait) = policy::timer_backoff(1, rand::random())
        {
            let address = self.life().address.clone();
            self.shared.timer_queue.set(&address, None, clock::steady_millis() + wait.as_millis() as u64);
        }
    }

    fn open(&mut self) -> Result<(), Broken> {
        let life = self.life();
        if life.opened.is_some() {
            return Ok(());
        }
        let (address, namespace) = (life.address.clone(), life.namespace.clone());
        // The order matters: if the clock is set in between, the first event follows it.
        let offset_now = self.shared.timeline.offset();
        let offset = self.shared.timer_queue.stored_by(&address).unwrap_or(offset_now);
        let Stored { log, timers, posts } = self.shared.store.room(&address)?;
        let ledger = Arc::new(StorageOverlay::new(log.reader()));
        let now = clock::shifted(clock::steady_millis(), offset);
        let posting = Posting::new(policy::posts_in_time(posts, now));
        let timers = policy::timers_in_time(timers, now);
        let first = timers.earliest().into_iter().chain(posting.next_at(log.number())).min();
        let wakes_at = first.map(|at| clock::shifted(at, -offset));
        if let Some(at) = wakes_at {
            // The timer queue has this entry already, unless an earlier task was woken for it and broke.
            self.shared.timer_queue.set(&address, Some(at), at);
        }
        self.mailbox.output_gate.begin(log.number());
        let lent = TurnResources {
            address,
            incarnation: log.incarnation(),
            config: namespace.config.clone(),
            sockets: Default::default(),
            timers,
            storage: ledger.clone(),
            message_out_bytes: namespace.message_out_bytes,
            outbound: None,
            commits_before: 0,
            posts_waiting: 0,
        };
        let per_second = self.shared.limits.log_lines_per_second;
        let lines = Arc::new(LogLimiter::counted(per_second, self.shared.metrics.limit_hits.clone()));
        let (closes, closes_at) = (VecDeque::new(), None);
        let lent = Some(Box::new(lent));
        let opened = OpenRoom {
            log,
            overlay: ledger,
            resources: lent,
            now: 0,
            offset,
            wakes_at,
            posting,
            closes,
            closes_at,
            log_limiter: lines,
        };
        self.life().opened = Some(opened);
        Ok(())
    }

    async fn next(&mut self, mut idle: Pin<&mut Sleep>) -> Next {
        let max_events = self.shared.limits.events_per_room;
        std::future::poll_fn(|context| {
            let outbox = &self.mailbox.output_gate;
            let draining = self.shared.draining.load(Ordering::Acquire);
            let ready = outbox.len() < self.shared.limits.uncommitted_turns;
            let wants_receipts = !ready || draining || self.wants_rest || self.posts_wait;
            // The event that woke this task may be the first of several that are being delivered. Yield once, so that
            // other ready tasks deliver theirs and one commit serves them all. Without other tasks this takes no time.
            if self.woken && self.mailbox.has_events() {
                self.woken = false;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Poll::Ready(next) = self.mailbox.poll_next(context, ready, wants_receipts, max_events) {
                return Poll::Ready(next);
            }
            if (draining || self.wants_rest) && outbox.is_empty() {
                return Poll::Ready(Next::Hibernate);
            }
            while idle.as_mut().poll(context).is_ready() {
                let deadline = self.last_event + self.shared.hibernate_after;
                // Checking here is cheaper than a reset of the timer at each event.
                if deadline <= clock::monotonic() {
                    idle.as_mut().reset((clock::monotonic() + self.shared.hibernate_after).into());
                    return Poll::Ready(Next::Hibernate);
                }
                idle.as_mut().reset(deadline.into());
            }
            self.woken = true;
            Poll::Pending
        })
        .await
    }

    /// Whether another turn follows at once.
    fn may_run_more(&self) -> bool {
        self.mailbox.output_gate.len() < self.shared.limits.uncommitted_turns && self.mailbox.has_events()
    }

    /// Drops the instance. Sockets, attachments and timers stay.
    fn hibernate(&mut self) {
        self.instance = None;
        self.mailbox.unused();
        let nothing_on_its_way = self.batch.is_empty() && self.mailbox.output_gate.is_empty();
        let opened = self.opened();
        opened.resources().sockets.shrink();
        if nothing_on_its_way {
            opened.posting.forget_taken();
        }
    }

    /// Ends the task if nothing waits. The room sleeps in its mailbox, or is removed if nothing needs it.
    fn rest(&mut self) -> bool {
        self.wants_rest = !self.mailbox.output_gate.is_empty();
        if self.wants_rest {
            return false;
        }
        // `posts_wait` is lost with this task. So posts that waited for the disk are carried now, or get an entry in
        // the timer queue.
        if self.opened().posting.waiting() > 0 && !self.shared.draining.load(Ordering::Acquire) {
            self.posts_wait = false;
            self.carry_posts();
            self.arm();
            if self.posts_wait {
                return false;
            }
        }
        let Some(mut life) = self.life.take() else { return true };
        let opened = life.opened.as_mut().expect("opened before its first event");
        // A room with posts on their way stays in memory. Otherwise it would be opened again at once and would carry
        // them twice.
        let rested = if opened.resources().sockets.is_empty() && !opened.posting.is_carrying() {
            self.shared.registry.forget(life, &self.mailbox)
        } else {
            self.mailbox.rest(life)
        };
        match rested {
            Ok(()) => true,
            Err(life) => {
                self.life = Some(life);
                false
            }
        }
    }

    async fn event(&mut self, incoming: Incoming) -> Result<(), Broken> {
        self.last_event = clock::monotonic();
        self.wants_rest = false;
        self.follow_clock();
        if self.shared.store.is_behind() {
            self.submit()?;
            if self.shared.instances.available_permits() == 0 {
                // Other rooms need the instance while this one waits for the disk.
                self.hibernate();
            }
            self.shared.store.caught_up().await;
        }
        match incoming {
            // The event may have been queued before memory became short, and each event may need as much again.
            Incoming::Connect { answer, .. } if self.shared.pressure.is_high() => {
                self.shared.metrics.limit_hits.count(Limit::Memory);
                let _ = answer.send(Err(RequestError::NoMemory.into()));
                Ok(())
            }
            Incoming::Request { post: None, answer, .. } if self.shared.pressure.is_high() => {
                self.shared.metrics.limit_hits.count(Limit::Memory);
                let _ = answer.send(Err(RequestError::NoMemory));
                Ok(())
            }
            Incoming::Connect { request, user, client, answer } => match self.seat(user, client) {
                Ok(socket) => self.turn(Event::Connect(socket, request), Cause::Connect { socket, answer }).await,
                Err(full) => {
                    // The caller may have gone.
                    let _ = answer.send(Err(full));
                    Ok(())
                }
            },
            Incoming::Message(socket, message) => {
                self.turn(Event::Message(socket, message), Cause::Message(socket)).await
            }
            Incoming::Close(socket, close) => {
                self.opened().resources().sockets.mark_gone(socket);
                self.closed(socket, close).await
            }
            Incoming::Request { request, post, answer } => {
                if let Some(post) = &post
                    && self.has_taken(post)?
                {
                    // The post arrived before, but its sender does not know that. The answer waits for the commit that
                    // recorded it.
                    let response = Response { status: 200, headers: Vec::new(), body: Vec::new() };
                    self.hold(Vec::new(), Reply::Request(Ok(response), answer));
                    if self.batch.is_empty() {
                        self.release();
                    }
                    return Ok(());
                }
                self.turn(Event::Request(request), Cause::Request { post, answer }).await?;
                // Yield, so that the receiver of the long answer can count its bytes before many of them are in memory.
                if std::mem::take(&mut self.answered_at_length) {
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            Incoming::Posted { number, outcome } => {
                self.posted(number, outcome);
                Ok(())
            }
            Incoming::Say { message, answer } => {
                let to_everyone = Output::Say(OutboundMessage::new(message), Audience::Everyone(Except::Nobody));
                self.hold(vec![to_everyone], Reply::Broadcast(answer));
                if self.batch.is_empty() {
                    self.release();
                }
                Ok(())
            }
            Incoming::TimersDue => self.timers_due().await,
        }
    }

    /// If the system clock was set, moves all stored times by the same step.
    fn follow_clock(&mut self) {
        let offset = self.shared.timeline.offset();
        let opened = self.opened();
        let step = offset.saturating_sub(opened.offset);
        if step == 0 {
            return;
        }
        opened.offset = offset;
        opened.posting.shift(step);
        opened.closes_at = opened.closes_at.map(|at| clock::shifted(at, step));
        let shift = |timer: &Timer| {
            let moved = Timer { at: clock::shifted(timer.at, step), ..timer.clone() };
            (timer.name.clone(), Some(moved))
        };
        let timers = opened.resources().timers.iter().map(shift).collect::<BTreeMap<_, _>>();
        let address = self.life().address.clone();
        if timers.is_empty() {
            self.shared.timer_queue.followed(&address);
            return;
        }
        match self.write(Changes { timers: timers.clone(), ..Changes::default() }) {
            Ok(()) => {
                self.shared.timer_queue.followed(&address);
                self.hold(Vec::new(), Reply::None);
            }
            // In memory they have moved; on disk they have not, and the timer queue still remembers the old offset.
            Err(_) => self.set_timers(timers),
        }
    }

    /// Adds the socket of a new client. Nothing is sent to it before its turn is durable.
    fn seat(&mut self, user: Arc<User>, client: Arc<dyn Client>) -> Result<SocketKey, ConnectError> {
        let most = self.shared.limits.sockets_per_room;
        let id = self.shared.next_socket.fetch_add(1, Ordering::Relaxed);
        let opened = self.opened();
        // Sockets whose closes wait count too, so that their number is bounded.
        let taken = opened.resources().sockets.len() + opened.closes.len();
        let socket = Socket { id, user, tags: Vec::new(), attachment: Default::default(), gone: false, client };
        let seat = if taken < most { opened.resources().sockets.insert(socket) } else { None };
        seat.ok_or_else(|| {
            self.shared.metrics.limit_hits.count(Limit::SocketsPerRoom);
            ConnectError::Refused(503, "the room is full".into())
        })
    }

    /// A client has left. If closes are waiting, this one waits behind them, so that the room sees them in order.
    async fn closed(&mut self, socket: SocketKey, close: Close) -> Result<(), Broken> {
        let closes = &mut self.opened().closes;
        if !closes.is_empty() {
            closes.push_back((socket, close));
            return Ok(());
        }
        self.turn(Event::Close(socket, close.clone()), Cause::Close(socket, close)).await
    }

    /// Delivers the waiting closes, in order, until the host lacks something again.
    async fn closes_due(&mut self) -> Result<(), Broken> {
        let now = self.opened().clock();
        if self.opened().closes_at.take_if(|at| *at <= now).is_none() {
            return Ok(());
        }
        while let Some((socket, close)) = self.opened().closes.pop_front() {
            self.turn(Event::Close(socket, close.clone()), Cause::Close(socket, close)).await?;
            if self.opened().closes_at.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Runs all timers that are due now, each in its own turn. A timer that is set to a past time during this waits for
    /// the next round, behind the events that came meanwhile.
    async fn timers_due(&mut self) -> Result<(), Broken> {
        let opened = self.opened();
        let now = opened.clock();
        opened.wakes_at = None;
        let mut due = opened.resources().timers.iter().filter(|timer| timer.at <= now).cloned().collect::<Vec<_>>();
        due.sort_by_key(|timer| timer.at);
        for timer in due {
            // The turn of an earlier timer may have cancelled it or set it again.
            if self.opened().resources().timers.get(&timer.name) == Some(&timer) {
                self.turn(Event::Timer(timer.clone()), Cause::Timer(timer)).await?;
            }
        }
        self.closes_due().await?;
        self.carry_posts();
        self.arm();
        Ok(())
    }

    /// Carries the posts that are due and durable.
    fn carry_posts(&mut self) {
        let durable = self.mailbox.output_gate.durable();
        let opened = self.opened();
        let now = opened.clock();
        let due = opened.posting.begin(now, durable);
        self.posts_wait |= due.more_wait_for_the_disk;
        let life = self.life.as_ref().expect("a running room has its life");
        for (number, post) in due.posts {
            self.shared.carry(&life.address, &life.namespace, number, post);
        }
    }

    /// A post was tried: removes it, or schedules the next try.
    fn posted(&mut self, number: PostNumber, outcome: Outcome) {
        let now = self.opened().clock();
        let OpenRoom { posting, log_limiter: lines, .. } = self.opened();
        let tried = posting.tried(number, outcome, now, lines);
        lines.report_dropped();
        if let Some(changes) = tried {
            let in_memory = Changes { posts: changes.posts.clone(), ..Changes::default() };
            // Without disk space the result is kept only in memory. A restart would then carry the post again, and the
            // receiver recognises it.
            match self.write(changes) {
                // No client waits for this commit, but the room must stay in memory until it is durable.
                Ok(()) => self.hold(Vec::new(), Reply::None),
                Err(_) => self.opened().posting.apply(&in_memory),
            }
        }
        self.carry_posts();
        self.arm();
    }

    /// Whether this post of another room was accepted before.
    fn has_taken(&mut self, post: &PostId) -> Result<bool, StorageFailed> {
        let opened = self.opened();
        let last = match opened.posting.last_taken(&post.sender) {
            Some(last) => Some(last),
            None => opened.log.reader().last_taken(&post.sender)?,
        };
        Ok(last.is_some_and(|last| last >= post.number))
    }

    fn set_timers(&mut self, timers: impl IntoIterator<Item = (String, Option<Timer>)>) {
        let opened = self.opened();
        for (name, timer) in timers {
            opened.resources().timers.apply(&name, timer);
        }
        self.arm();
    }

    /// Sets the time at which the timer queue wakes this room: when its first timer or post is due. If that time
    /// becomes later, the old entry stays, because one needless wake is cheaper than tracking it.
    fn arm(&mut self) {
        let has_posts = self.opened().posting.waiting() > 0;
        let durable = if has_posts { self.mailbox.output_gate.durable() } else { 0 };
        let opened = self.opened();
        let timer = opened.resources().timers.earliest();
        let post = opened.posting.next_at(durable);
        let Some(at) = timer.into_iter().chain(post).chain(opened.closes_at).min() else { return };
        let at = opened.steady(at);
        if opened.wakes_at.is_none_or(|set| at < set) {
            let before = opened.wakes_at.replace(at);
            let life = self.life();
            let address = life.address.clone();
            self.shared.timer_queue.set(&address, before, at);
        }
    }

    /// Commits are durable: releases the outputs that waited for them.
    fn show(&mut self, receipt: &Receipt) {
        self.mailbox.output_gate.show(receipt);
        self.opened().overlay.settle(receipt);
        self.release();
    }

    fn release(&mut self) {
        self.mailbox.output_gate.release(&self.mailbox, &self.shared.runtime);
    }

    /// The outbound interface, for a kind of room that imports one.
    fn reach(&mut self) -> Option<Arc<dyn Outbound>> {
        let life = self.life.as_ref().expect("a running room has its life");
        let connected = life.namespace.kind.is_connected();
        connected.then(|| {
            RoomCalls::new(life.address.clone(), life.namespace.clone(), &self.shared, &self.mailbox)
                as Arc<dyn Outbound>
        })
    }

    fn life(&mut self) -> &mut RoomState {
        self.life.as_mut().expect("a running room has its life")
    }

    fn opened(&mut self) -> &mut OpenRoom {
        self.life().opened.as_mut().expect("opened before its first event")
    }
}

impl Drop for RoomTask {
    fn drop(&mut self) {
        // A room that sleeps has given its state away. Otherwise it is broken, or its task was cut off.
        if let Some(life) = self.life.take() {
            let address = life.address.clone();
            let lent = life.opened.as_ref().and_then(|opened| opened.resources.as_ref());
            let sockets = lent.iter().flat_map(|lent| lent.sockets.iter());
            let clients = sockets.map(|(_, socket)| socket.client.clone()).collect::<Vec<_>>();
            // Dropped first, so that a successor does not find the log still owned.
            drop(life);
            self.shared.registry.abandon(&address, &self.mailbox);
            for client in clients {
                // A client whose code panics must not keep the others from being closed.
                guard(|| client.close(CLOSE_BROKEN.0, CLOSE_BROKEN.1));
            }
        }
        self.instance = None;
        self.shared.running.fetch_sub(1, Ordering::AcqRel);
        self.shared.one_ended.notify_waiters();
    }
}

impl Shared {
    /// All instances are in use: makes the longest idle rooms hibernate. One scan at a time serves all waiting rooms.
    fn make_space(self: &Arc<Self>) {
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
