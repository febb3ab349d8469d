//! One room, from its first event until nothing can wake it: it wakes, runs turns, hands their writes to the store, and
//! holds their outputs until the commit is durable. It does not know who delivers events. [`Mailbox`] starts it.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tracing::Instrument;

mod code;
mod due;
mod import;
mod leaving;
mod migration;
mod open;
mod operated;
mod personal_data;
mod tailed;
mod traced;
mod turn;
mod usage;

use self::turn::Cause;
use super::batch::Batch;
use super::error::{ConnectError, RequestError};
use super::incoming::Incoming;
use super::mailbox::{Mailbox, Next};
use super::namespace::Namespace;
use super::operator_request::Deletion;
use super::output_gate::{CLOSE_BROKEN, CLOSE_DELETED, CLOSE_MOVED, CLOSE_UNREACHABLE, Delivery, TurnOutput};
use super::overlay::StorageOverlay;
use super::policy;
use super::posts::Posting;
use super::reply::Reply;
use super::shared::Shared;
use super::timer_queue::SteadyMillis;
use super::usage::RoomUsage;
use crate::clock::{self, UnixMillis};
use crate::guest::{CompiledRoom, Instance, LogLimiter, Outbound, TurnResources};
use crate::limit_hits::Limit;
use crate::limits::USAGE_REPORT_EVERY;
use crate::model::{
    Address, Audience, Client, Close, Event, Except, MovedRoom, OutboundMessage, Output, Request, Response, Socket,
    SocketKey, StorageFailed, User,
};
use crate::panics::{catch_panic, guard};
use crate::random;
use crate::rollout::{Choice, RunsVersion};
use crate::store::{CommitError, NotOpened, Receipt, RoomLog};
use crate::telemetry::Span;

/// A room that can sleep: in its mailbox while it sleeps, in its task while it runs.
pub(super) struct RoomState {
    address: Address,
    namespace: Arc<Namespace>,
    /// The version of the code that it ran last; absent before its first event.
    runs: Option<RunsVersion>,
    /// How many of its first turns with this version are left.
    first_turns: u32,
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
    waiting_closes: VecDeque<(SocketKey, Close)>,
    /// When they are tried again.
    closes_due_at: Option<UnixMillis>,
    /// The rate limit of its log lines.
    log_limiter: Arc<LogLimiter>,
    /// It is counted as asleep with sockets.
    counted_asleep: bool,
}

/// A running room.
pub(super) struct RoomTask {
    state: Option<Box<RoomState>>,
    mailbox: Arc<Mailbox>,
    shared: Arc<Shared>,
    instance: Option<(Box<Instance>, OwnedSemaphorePermit)>,
    /// The code of its instances.
    code: Choice<CompiledRoom>,
    /// The code can read the data: they have the same version.
    data_is_checked: bool,
    /// Turns that have run but were not handed to the disk yet.
    batch: Batch,
    last_event: Instant,
    /// It had nothing to do when it was last polled.
    woken: bool,
    /// It will sleep as soon as all its outputs have left.
    wants_sleep: bool,
    /// Posts are due as soon as their commit is durable.
    posts_wait_for_disk: bool,
    /// The last turn gave a long answer.
    gave_long_answer: bool,
    /// CPU of the last turn.
    turn_cpu: Duration,
    /// The room was deleted, and this task ends.
    deletion: Option<Deletion>,
    /// How the sockets are closed if the room ends with them.
    close: (u16, &'static str),
    /// The node that owns the room, if it ends because it moved, and if that is known.
    moved_to: Option<u64>,
    /// It goes on at another node, with its sockets.
    handed_over: Option<MovedRoom>,
    /// It has said that it runs no more turns, because it shall go to another node.
    is_offered: bool,
    usage: RoomUsage,
    /// The span of the turn that runs; absent if spans are off.
    span: Option<Span>,
}

/// The room cannot go on; its held outputs are dropped.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Storage(#[from] StorageFailed),
    #[error(transparent)]
    NotOpened(#[from] NotOpened),
    /// Nothing is broken: the room was deleted.
    #[error("the room was deleted")]
    Deleted,
}

impl Broken {
    /// Nothing is broken: another node owns the room.
    fn is_moved(&self) -> bool {
        matches!(
            self,
            Broken::Commit(CommitError::Fenced { .. } | CommitError::HandedOver { .. })
                | Broken::NotOpened(NotOpened::Elsewhere { .. })
        )
    }

    /// The node that owns the room, if that is known.
    fn owner(&self) -> Option<u64> {
        match self {
            Broken::NotOpened(NotOpened::Elsewhere { node, .. }) => Some(node.0),
            Broken::Commit(CommitError::HandedOver { to, .. }) => Some(*to),
            _ => None,
        }
    }

    /// The room goes on at another node, with its sockets.
    fn handed_over(&self) -> Option<MovedRoom> {
        match self {
            Broken::Commit(CommitError::HandedOver { address, to, tenure }) => {
                Some(MovedRoom { room: address.clone(), node: *to, tenure: *tenure })
            }
            _ => None,
        }
    }

    /// Nothing is broken here: the database has not answered for too long.
    fn is_unreachable(&self) -> bool {
        matches!(self, Broken::Commit(CommitError::Unreachable(_)) | Broken::NotOpened(NotOpened::Unreachable(_)))
    }
}

impl RoomState {
    pub(super) fn new(address: Address, namespace: Arc<Namespace>) -> Box<Self> {
        Box::new(RoomState { address, namespace, runs: None, first_turns: 0, opened: None })
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
    pub(super) fn run(mut state: Box<RoomState>, mailbox: Arc<Mailbox>, shared: Arc<Shared>) {
        shared.running.fetch_add(1, Ordering::AcqRel);
        // The task that delivered the first event may be another room's: its span is no parent of this one.
        let span = tracing::info_span!(parent: None, "room", room = %state.address);
        let last_event = clock::monotonic();
        let runtime = shared.runtime.clone();
        let code = state.namespace.code.choose(state.address.name());
        state.follow(&code);
        let room = RoomTask {
            state: Some(state),
            mailbox,
            shared,
            instance: None,
            code,
            data_is_checked: false,
            batch: Batch::default(),
            last_event,
            woken: true,
            wants_sleep: false,
            posts_wait_for_disk: false,
            gave_long_answer: false,
            turn_cpu: Duration::ZERO,
            deletion: None,
            close: CLOSE_BROKEN,
            moved_to: None,
            handed_over: None,
            is_offered: false,
            usage: RoomUsage::new(last_event),
            span: None,
        };
        runtime.spawn(room.run_to_end().instrument(span));
    }

    async fn run_to_end(mut self) {
        let ended = {
            let events = pin!(self.events());
            catch_panic(events).await
        };
        match ended {
            Ok(Ok(())) => self.state = None,
            Ok(Err(Broken::Deleted)) => self.close = CLOSE_DELETED,
            // Its owner has its timers and posts.
            Ok(Err(broken)) if broken.is_moved() => {
                tracing::debug!(reason = %broken, "the room moved");
                (self.close, self.moved_to, self.handed_over) = (CLOSE_MOVED, broken.owner(), broken.handed_over());
            }
            Ok(Err(broken)) if broken.is_unreachable() => {
                tracing::warn!(reason = %broken, "the room cannot go on now; its clients are asked to come back");
                self.close = CLOSE_UNREACHABLE;
                self.retry_wake_later();
            }
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
        self.open().await?;
        self.publish();
        let hibernate_after = self.state().namespace.hibernate_after;
        let mut idle = pin!(clock::timer(hibernate_after.min(USAGE_REPORT_EVERY)));
        loop {
            if !self.batch.is_empty() && (self.batch.is_full() || !self.may_run_more()) {
                self.submit()?;
            }
            match self.next(idle.as_mut(), hibernate_after).await {
                Next::Event(event) => {
                    self.event(event).await?;
                    self.publish();
                }
                Next::Durable(receipt) => {
                    self.committed(&receipt);
                    if std::mem::take(&mut self.posts_wait_for_disk) {
                        self.carry_posts();
                        self.schedule_wake();
                    }
                }
                Next::Broken(error) => return Err(error.into()),
                Next::Report => self.report_usage(),
                Next::Leave => self.leave()?,
                Next::Hibernate => {
                    self.hibernate();
                    if self.sleep() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Schedules a retry: a broken room may have been woken for a timer or a post, and nothing else would wake it for
    /// that.
    fn retry_wake_later(&mut self) {
        if self.state.is_none() {
            return;
        }
        // A permanently failed store recovers only on restart, so no retry is scheduled then.
        if !matches!(self.shared.store.refuses(), Some(CommitError::Failed(_)))
            && let Some(wait) = policy::timer_backoff(1, random::jitter())
        {
            let address = self.state().address.clone();
            self.shared.timer_queue.set(&address, None, clock::steady_millis() + wait.as_millis() as u64);
        }
    }

    async fn next(&mut self, mut idle: Pin<&mut Sleep>, hibernate_after: Duration) -> Next {
        let max_events = self.shared.limits.events_per_room;
        std::future::poll_fn(|context| {
            let output_gate = &self.mailbox.output_gate;
            let draining = self.shared.draining.load(Ordering::Acquire);
            let is_leaving = self.mailbox.is_leaving();
            let ready = output_gate.len() < self.shared.limits.uncommitted_turns && !is_leaving;
            let wants_receipts = !ready || draining || self.wants_sleep || self.posts_wait_for_disk;
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
            if is_leaving {
                // It goes or stays within seconds, and does nothing else until then.
                if !self.is_offered && (output_gate.is_empty() || !self.batch.is_empty()) {
                    return Poll::Ready(Next::Leave);
                }
                self.woken = true;
                return Poll::Pending;
            }
            self.is_offered = false;
            if (draining || self.wants_sleep) && output_gate.is_empty() {
                return Poll::Ready(Next::Hibernate);
            }
            while idle.as_mut().poll(context).is_ready() {
                let (now, deadline) = (clock::monotonic(), self.last_event + hibernate_after);
                // Checking here is cheaper than a reset of the timer at each event.
                if deadline <= now {
                    idle.as_mut().reset((now + hibernate_after.min(USAGE_REPORT_EVERY)).into());
                    return Poll::Ready(Next::Hibernate);
                }
                if self.usage.is_due(now) {
                    idle.as_mut().reset(deadline.min(now + USAGE_REPORT_EVERY).into());
                    return Poll::Ready(Next::Report);
                }
                idle.as_mut().reset(deadline.min(now + self.usage.due_in(now)).into());
            }
            self.woken = true;
            Poll::Pending
        })
        .await
    }

    /// Whether another turn follows at once.
    fn may_run_more(&self) -> bool {
        self.mailbox.output_gate.len() < self.shared.limits.uncommitted_turns
            && self.mailbox.has_events()
            && !self.mailbox.is_leaving()
    }

    /// Drops the instance. Sockets, attachments and timers stay.
    fn hibernate(&mut self) {
        self.drop_instance();
        self.mailbox.not_idle();
        let nothing_on_its_way = self.batch.is_empty() && self.mailbox.output_gate.is_empty();
        let opened = self.opened();
        opened.resources().sockets.shrink();
        if nothing_on_its_way {
            opened.posting.forget_accepted();
        }
    }

    /// Ends the task if nothing waits. The room sleeps in its mailbox, or is removed if nothing needs it.
    fn sleep(&mut self) -> bool {
        self.wants_sleep = !self.mailbox.output_gate.is_empty();
        if self.wants_sleep {
            return false;
        }
        // `posts_wait_for_disk` is lost with this task. So posts that waited for the disk are carried now, or get an
        // entry in the timer queue.
        if self.opened().posting.waiting() > 0 && !self.shared.draining.load(Ordering::Acquire) {
            self.posts_wait_for_disk = false;
            self.carry_posts();
            self.schedule_wake();
            if self.posts_wait_for_disk {
                return false;
            }
        }
        self.report_usage();
        let Some(mut state) = self.state.take() else { return true };
        let opened = state.opened.as_mut().expect("opened before its first event");
        // A room with posts on their way stays in memory. Otherwise it would be opened again at once and would carry
        // them twice.
        let slept = if opened.resources().sockets.is_empty() && !opened.posting.is_carrying() {
            self.shared.registry.forget(state, &self.mailbox)
        } else {
            self.mailbox.sleep(state)
        };
        match slept {
            Ok(()) => true,
            Err(state) => {
                self.state = Some(state);
                false
            }
        }
    }

    async fn event(&mut self, incoming: Incoming) -> Result<(), Broken> {
        // Nothing that an operator does keeps the room awake.
        let incoming = match incoming {
            Incoming::Operator(request) => return self.operated(request).await,
            // Boxed, so that all other events need no space for it.
            Incoming::UserData { event, answer } => return Box::pin(self.user_data(event, answer)).await,
            Incoming::Arrived => return Ok(()),
            incoming => incoming,
        };
        self.last_event = clock::monotonic();
        self.wants_sleep = false;
        if self.usage.is_due(self.last_event) {
            self.report_usage();
        }
        self.follow_clock();
        self.let_disk_catch_up().await?;
        match incoming {
            // The event may have been queued before memory became short, and each event may need as much again.
            Incoming::Connect { answer, .. } if self.shared.pressure.is_high() => {
                self.shared.limit_hits.count(Limit::Memory);
                let _ = answer.send(Err(RequestError::NoMemory.into()));
                Ok(())
            }
            Incoming::Request { post: None, answer, .. } if self.shared.pressure.is_high() => {
                self.shared.limit_hits.count(Limit::Memory);
                let _ = answer.send(Err(RequestError::NoMemory));
                Ok(())
            }
            Incoming::Connect { request, user, client, answer, .. } => match self.add_socket(user, &request, client) {
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
            Incoming::Access(socket, access) => {
                self.opened().resources().sockets.set_access(socket, access);
                Ok(())
            }
            Incoming::Close(socket, close) => {
                self.left(socket);
                self.closed(socket, close).await
            }
            Incoming::Request { request, post, answer, .. } => {
                if let Some(post) = &post
                    && self.has_accepted(post)?
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
                if std::mem::take(&mut self.gave_long_answer) {
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            Incoming::Posted { number, outcome } => {
                self.posted(number, outcome);
                Ok(())
            }
            Incoming::Broadcast { message, answer } => {
                let to_everyone = Output::Message(OutboundMessage::new(message), Audience::Everyone(Except::Nobody));
                self.hold(vec![to_everyone], Reply::Broadcast(answer));
                if self.batch.is_empty() {
                    self.release();
                }
                Ok(())
            }
            Incoming::TimersDue => self.timers_due().await,
            Incoming::Operator(_) | Incoming::UserData { .. } | Incoming::Arrived => unreachable!("done above"),
            Incoming::Import { import, answer } => self.import(import, answer).await,
        }
    }

    /// Waits while too many bytes are on their way to the disk.
    async fn let_disk_catch_up(&mut self) -> Result<(), Broken> {
        if self.shared.store.is_behind() {
            self.submit()?;
            if self.shared.instances.available_permits() == 0 {
                // Other rooms need the instance while this one waits for the disk.
                self.hibernate();
            }
            self.shared.store.caught_up().await;
        }
        Ok(())
    }

    /// Adds the socket of a new client. Nothing is sent to it before its turn is durable.
    fn add_socket(
        &mut self,
        user: Arc<User>,
        request: &Request,
        client: Arc<dyn Client>,
    ) -> Result<SocketKey, ConnectError> {
        let max_sockets = self.shared.limits.sockets_per_room;
        let id = self.shared.next_socket.fetch_add(1, Ordering::Relaxed);
        let opened = self.opened();
        // Sockets whose closes wait count too, so that their number is bounded.
        let occupied = opened.resources().sockets.len() + opened.waiting_closes.len();
        let access = request.access.clone();
        let user_id = user.id.clone();
        let (tags, attachment, since) = (Vec::new(), Default::default(), clock::unix_millis());
        let socket = Socket { id, user, access, tags, attachment, since, gone: false, client };
        let key = if occupied < max_sockets { opened.resources().sockets.insert(socket) } else { None };
        let key = key.ok_or_else(|| {
            self.shared.limit_hits.count(Limit::SocketsPerRoom);
            ConnectError::Refused(503, "the room is full".into())
        })?;
        self.usage.user(&user_id).sockets.step(1, clock::steady_millis());
        Ok(key)
    }

    /// A client has left: it gets no output of later turns. It may still receive those of earlier ones, and is
    /// notified when the last has been released.
    fn left(&mut self, socket: SocketKey) {
        let sockets = &mut self.opened().resources().sockets;
        sockets.mark_gone(socket);
        let Some(client) = sockets.get(socket).map(|socket| socket.client.clone()) else { return };
        let position = self.last_position();
        let left =
            TurnOutput { deliveries: vec![Delivery::Left(client)], reply: Reply::None, taken_at: None, span: None };
        self.mailbox.output_gate.hold(position, left);
        if self.batch.is_empty() {
            self.release();
        }
    }

    /// Commits are durable: releases the outputs that waited for them.
    fn committed(&mut self, receipt: &Receipt) {
        self.mailbox.output_gate.open_up_to(receipt);
        self.opened().overlay.settle(receipt);
        self.release();
    }

    fn release(&mut self) {
        self.mailbox.output_gate.release(&self.shared.runtime, &self.mailbox.times.delivery);
    }

    /// The outbound interface, for a kind of room that imports one.
    fn outbound_interface(&mut self) -> Option<Arc<dyn Outbound>> {
        let state = self.state.as_ref().expect("a running room has its state");
        let connected = self.code.code.component.is_connected();
        let place = self.span.as_ref().map(Span::place);
        connected.then(|| {
            let prover = state.opened.as_ref().and_then(|opened| opened.log.prover());
            self.shared.outbound_of(&state.address, &state.namespace, &self.mailbox, prover, place)
        })
    }

    fn state(&mut self) -> &mut RoomState {
        self.state.as_mut().expect("a running room has its state")
    }

    fn opened(&mut self) -> &mut OpenRoom {
        self.state().opened.as_mut().expect("opened before its first event")
    }
}

impl Drop for RoomTask {
    fn drop(&mut self) {
        self.span_broken();
        // A room that sleeps has given its state away. Otherwise it is broken, or its task was cut off.
        self.report_broken();
        if let Some(state) = self.state.take() {
            let address = state.address.clone();
            let resources = state.opened.as_ref().and_then(|opened| opened.resources.as_ref());
            let sockets = resources.iter().flat_map(|resources| resources.sockets.iter());
            let clients = sockets.map(|(key, socket)| (key, socket.id, socket.client.clone())).collect::<Vec<_>>();
            // Dropped first, so that a successor does not find the log still owned.
            drop(state);
            let (seats, set_out) = self.moved_seats(&clients);
            let events = self.shared.registry.abandon(&address, &self.mailbox, seats);
            // Behind the events that waited here.
            set_out.into_iter().for_each(|set_out| set_out());
            for event in events {
                if self.close == CLOSE_MOVED {
                    self.shared.moved(&address, event, self.moved_to);
                }
            }
            let (code, reason) = self.close;
            for (_, id, client) in clients {
                // A client whose code panics must not keep the others from being closed.
                guard(|| match &self.handed_over {
                    Some(moved) if !client.is_here() => client.follow(moved, id),
                    Some(_) => {}
                    None => client.close(code, reason),
                });
            }
            if let (Some(_), Some(peers)) = (&self.handed_over, self.shared.peers.get()) {
                peers.gone(&address);
            }
        }
        self.instance = None;
        if let Some(deletion) = self.deletion.take() {
            deletion.done();
        }
        self.shared.running.fetch_sub(1, Ordering::AcqRel);
        self.shared.one_ended.notify_waiters();
    }
}
