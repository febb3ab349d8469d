//! One room, from its first event until nothing can wake it: it wakes, runs turns, hands their writes to the store, and
//! holds their outputs until the commit is durable. It does not know who delivers events. [`Mailbox`] starts it.

use std::collections::{BTreeMap, VecDeque};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Instant;

use rand::Rng;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Sleep;
use tracing::Instrument;

use super::batch::Batch;
use super::mailbox::{Incoming, Mailbox, Next};
use super::outbox::{Held, Reply, Words};
use super::pending::Ledger;
use super::posting::{Outcome, PostId, Posting};
use super::reach::Reach;
use super::wheel::SteadyMillis;
use super::{ConnectError, Namespace, NoAnswer, Seat, Shared, policy};
use crate::clock::{self, UnixMillis};
use crate::guest::{Instance, Lent, Lines, Moment, Outside, TurnFailure};
use crate::model::{
    Address, Answer, Audience, Client, Close, Event, Except, LOOKED_INTO_BYTES, Message, Output, PostNumber, Response,
    Said, Socket, SocketKey, Sockets, StorageFailed, Timer, Turn, User, error_frame,
};
use crate::panics::{catch_panic, guard};
use crate::refused::Refused;
use crate::store::{Changes, CommitError, Receipt, RoomLog, Stored};

/// Close code and reason for clients of a room whose storage is lost or failing.
pub(super) const CLOSE_BROKEN: (u16, &str) = (1011, "the room failed; come back");

/// After an answer of more bytes, the room yields to other tasks.
const LONG_ANSWER_BYTES: usize = 64 << 10;

/// A room that can sleep: in its mailbox while it sleeps, in its task while it runs.
pub(super) struct Life {
    address: Address,
    namespace: Arc<Namespace>,
    /// Absent until the first event: nothing is read from disk for a room without events.
    opened: Option<Opened>,
}

/// The state of an open room.
struct Opened {
    log: RoomLog,
    ledger: Arc<Ledger>,
    /// Absent while a turn runs.
    lent: Option<Box<Lent>>,
    /// The time of the last turn: time does not go back within an instance.
    now: UnixMillis,
    /// Offset of the system clock to the steady clock that the times of timers and posts are based on.
    offset: i64,
    /// When the timer wheel will wake this room, on the steady clock.
    wakes_at: Option<SteadyMillis>,
    posting: Posting,
    /// Closes that could not be delivered because the host lacked something, such as disk space; in order. Their
    /// sockets are still in the table, marked as gone, and count against `sockets_per_room`.
    closes: VecDeque<(SocketKey, Close)>,
    /// When they are tried again.
    closes_at: Option<UnixMillis>,
    /// The rate limit of its log lines.
    lines: Arc<Lines>,
}

/// A running room.
pub(super) struct Room {
    life: Option<Box<Life>>,
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

/// The cause of a turn, and where its answer goes.
enum Cause {
    Connect { socket: SocketKey, answer: oneshot::Sender<Result<Seat, ConnectError>> },
    Message(SocketKey),
    Close(SocketKey, Close),
    Timer(Timer),
    Request { post: Option<PostId>, answer: oneshot::Sender<Result<Response, NoAnswer>> },
}

/// The reason why a turn did not happen.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Guest(TurnFailure),
    #[error(transparent)]
    Space(CommitError),
}

impl Lost {
    /// Whether the same turn may succeed later without a change in the room, because it lacked something that the host
    /// or its operator provides.
    fn may_pass(&self) -> bool {
        match self {
            Lost::Space(error) => matches!(error, CommitError::NoSpace { .. } | CommitError::RoomFull { .. }),
            Lost::Guest(failure) => matches!(failure, TurnFailure::Instantiate(_)),
        }
    }

    /// The error for those who wait for an answer.
    fn no_answer(&self) -> NoAnswer {
        match self {
            Lost::Space(CommitError::NoSpace { .. }) => NoAnswer::NoSpace,
            Lost::Guest(TurnFailure::Instantiate(_)) => NoAnswer::Overloaded,
            Lost::Space(_) | Lost::Guest(_) => NoAnswer::Failed,
        }
    }
}

impl Life {
    pub(super) fn new(address: Address, namespace: Arc<Namespace>) -> Box<Self> {
        Box::new(Life { address, namespace, opened: None })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }
}

impl Opened {
    fn lent(&mut self) -> &mut Lent {
        self.lent.as_mut().expect("lent only while a turn runs")
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

impl Room {
    /// Starts a task that runs a room until it sleeps.
    pub(super) fn run(life: Box<Life>, mailbox: Arc<Mailbox>, shared: Arc<Shared>) {
        shared.running.fetch_add(1, Ordering::AcqRel);
        let span = tracing::info_span!("room", address = %life.address);
        let last_event = clock::monotonic();
        let runtime = shared.runtime.clone();
        let room = Room {
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
                self.look_again();
            }
            Err(panic) => {
                tracing::error!(%panic, "the host's own code panicked in this room; its clients are asked to come back");
                self.look_again();
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
    fn look_again(&mut self) {
        if self.life.is_none() {
            return;
        }
        // A permanently failed store recovers only on restart, so no retry is scheduled then.
        if !matches!(self.shared.store.refuses(), Some(CommitError::Failed(_)))
            && let Some(wait) = policy::timer_backoff(1, rand::random())
        {
            let address = self.life().address.clone();
            self.shared.wheel.set(&address, None, clock::steady_millis() + wait.as_millis() as u64);
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
        let offset = self.shared.wheel.stored_by(&address).unwrap_or(offset_now);
        let Stored { log, timers, posts } = self.shared.store.room(&address)?;
        let ledger = Arc::new(Ledger::new(log.reader()));
        let now = clock::shifted(clock::steady_millis(), offset);
        let posting = Posting::new(policy::posts_in_time(posts, now));
        let timers = policy::timers_in_time(timers, now);
        let first = timers.earliest().into_iter().chain(posting.next_at(log.number())).min();
        let wakes_at = first.map(|at| clock::shifted(at, -offset));
        if let Some(at) = wakes_at {
            // The wheel has this entry already, unless an earlier task was woken for it and broke.
            self.shared.wheel.set(&address, Some(at), at);
        }
        self.mailbox.outbox.begin(log.number());
        let lent = Lent {
            address,
            incarnation: log.incarnation(),
            config: namespace.config.clone(),
            sockets: Default::default(),
            timers,
            storage: ledger.clone(),
            message_out_bytes: namespace.message_out_bytes,
            outside: None,
            commits_before: 0,
            posts_waiting: 0,
        };
        let per_second = self.shared.limits.log_lines_per_second;
        let lines = Arc::new(Lines::counted(per_second, self.shared.metrics.refusals.clone()));
        let (closes, closes_at) = (VecDeque::new(), None);
        let lent = Some(Box::new(lent));
        let opened = Opened { log, ledger, lent, now: 0, offset, wakes_at, posting, closes, closes_at, lines };
        self.life().opened = Some(opened);
        Ok(())
    }

    async fn next(&mut self, mut idle: Pin<&mut Sleep>) -> Next {
        let most_events = self.shared.limits.events_per_room;
        std::future::poll_fn(|context| {
            let outbox = &self.mailbox.outbox;
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
            if let Poll::Ready(next) = self.mailbox.poll_next(context, ready, wants_receipts, most_events) {
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
        self.mailbox.outbox.len() < self.shared.limits.uncommitted_turns && self.mailbox.has_events()
    }

    /// Drops the instance. Sockets, attachments and timers stay.
    fn hibernate(&mut self) {
        self.instance = None;
        self.mailbox.unused();
        let nothing_on_its_way = self.batch.is_empty() && self.mailbox.outbox.is_empty();
        let opened = self.opened();
        opened.lent().sockets.shrink();
        if nothing_on_its_way {
            opened.posting.forget_taken();
        }
    }

    /// Ends the task if nothing waits. The room sleeps in its mailbox, or is removed if nothing needs it.
    fn rest(&mut self) -> bool {
        self.wants_rest = !self.mailbox.outbox.is_empty();
        if self.wants_rest {
            return false;
        }
        // `posts_wait` is lost with this task. So posts that waited for the disk are carried now, or get an entry in
        // the timer wheel.
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
        let rested = if opened.lent().sockets.is_empty() && !opened.posting.is_carrying() {
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
                self.shared.metrics.refusals.count(Refused::Memory);
                let _ = answer.send(Err(NoAnswer::NoMemory.into()));
                Ok(())
            }
            Incoming::Request { post: None, answer, .. } if self.shared.pressure.is_high() => {
                self.shared.metrics.refusals.count(Refused::Memory);
                let _ = answer.send(Err(NoAnswer::NoMemory));
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
                self.opened().lent().sockets.mark_gone(socket);
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
                let to_everyone = Output::Say(Said::new(message), Audience::Everyone(Except::Nobody));
                self.hold(vec![to_everyone], Reply::Said(answer));
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
        let timers = opened.lent().timers.iter().map(shift).collect::<BTreeMap<_, _>>();
        let address = self.life().address.clone();
        if timers.is_empty() {
            self.shared.wheel.followed(&address);
            return;
        }
        match self.write(Changes { timers: timers.clone(), ..Changes::default() }) {
            Ok(()) => {
                self.shared.wheel.followed(&address);
                self.hold(Vec::new(), Reply::None);
            }
            // In memory they have moved; on disk they have not, and the timer wheel still remembers the old offset.
            Err(_) => self.set_timers(timers),
        }
    }

    /// Adds the socket of a new client. Nothing is sent to it before its turn is durable.
    fn seat(&mut self, user: Arc<User>, client: Arc<dyn Client>) -> Result<SocketKey, ConnectError> {
        let most = self.shared.limits.sockets_per_room;
        let id = self.shared.next_socket.fetch_add(1, Ordering::Relaxed);
        let opened = self.opened();
        // Sockets whose closes wait count too, so that their number is bounded.
        let taken = opened.lent().sockets.len() + opened.closes.len();
        let socket = Socket { id, user, tags: Vec::new(), attachment: Default::default(), gone: false, client };
        let seat = if taken < most { opened.lent().sockets.insert(socket) } else { None };
        seat.ok_or_else(|| {
            self.shared.metrics.refusals.count(Refused::SocketsPerRoom);
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
        let mut due = opened.lent().timers.iter().filter(|timer| timer.at <= now).cloned().collect::<Vec<_>>();
        due.sort_by_key(|timer| timer.at);
        for timer in due {
            // The turn of an earlier timer may have cancelled it or set it again.
            if self.opened().lent().timers.get(&timer.name) == Some(&timer) {
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
        let durable = self.mailbox.outbox.durable();
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
        let Opened { posting, lines, .. } = self.opened();
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

    /// Runs one event: wake, run the guest, add its writes to the next commit, and hold its outputs until that is
    /// durable.
    async fn turn(&mut self, event: Event, cause: Cause) -> Result<(), Broken> {
        let name = event.name();
        // Kept for the error that the sender gets if the turn fails.
        let said = match &event {
            Event::Message(_, Message::Text(text)) if text.len() <= LOOKED_INTO_BYTES => Some(text.clone()),
            _ => None,
        };
        let asking = match &event {
            Event::Request(request) => request.user.as_ref().map(|user| user.id.clone()),
            _ => None,
        };
        let outcome = match self.run_guest(event).await? {
            Ok(turn) => self.keep(turn, cause),
            Err(failure) => {
                self.shared.metrics.failed(&failure);
                Err(Box::new((Lost::Guest(failure), cause)))
            }
        };
        if let Err(failed) = outcome {
            let (lost, cause) = *failed;
            let opened = self.opened();
            if opened.lines.take() {
                let key = match &cause {
                    Cause::Connect { socket, .. } | Cause::Message(socket) | Cause::Close(socket, _) => Some(*socket),
                    Cause::Timer(_) | Cause::Request { .. } => None,
                };
                let timer = match &cause {
                    Cause::Timer(timer) => Some(timer.name.as_str()),
                    _ => None,
                };
                let client = key.and_then(|key| opened.lent.as_ref()?.sockets.get(key));
                let socket = client.map(|client| client.id);
                let user = client.map(|client| client.user.id.as_str()).or(asking.as_deref());
                tracing::error!(event = name, socket, user, timer, "the turn failed and was undone: {lost}");
            }
            opened.lines.report_dropped();
            self.forget(cause, said.as_deref(), &lost);
        }
        if self.batch.is_empty() {
            self.release();
        }
        Ok(())
    }

    /// Runs the guest. If that fails, the room is as it was before, without its instance.
    async fn run_guest(&mut self, event: Event) -> Result<Result<Turn, TurnFailure>, Broken> {
        let now = self.shared.timeline.now();
        if now < self.opened().now {
            // The system clock was set back by more than the time for which the clock of rooms stands still. An
            // instance never sees time go back, so it is dropped.
            self.instance = None;
        }
        self.opened().now = now;
        let (instance, permit) = match self.instance.take() {
            Some(awake) => awake,
            None => match self.wake().await? {
                Ok(awake) => awake,
                Err(failure) => return Ok(Err(failure)),
            },
        };
        self.mailbox.unused();
        let opened = self.opened();
        let mut moment = Moment { now: opened.now, seed: [0; 32] };
        rand::rng().fill_bytes(&mut moment.seed);
        let commits_before = self.last_commit();
        let reach = self.reach();
        let opened = self.opened();
        let mut lent = opened.lent.take().expect("lent only while a turn runs");
        lent.outside = reach;
        lent.commits_before = commits_before;
        lent.posts_waiting = opened.posting.waiting();
        let lane = self.shared.lane.clone();
        let mut submitted = Ok(());
        // Earlier turns do not wait for a long turn.
        let ran = lane.drive(instance.run(lent, event, moment), || submitted = self.submit()).await;
        let mut lent = ran.lent;
        // Gives back resources of the turn, such as its permit to wait.
        lent.outside = None;
        self.opened().lent = Some(lent);
        self.instance = ran.instance.map(|instance| (instance, permit));
        if self.instance.is_some() {
            self.mailbox.used();
        }
        submitted.map(|()| ran.turn)
    }

    /// Makes an instance. If all are in use, the longest idle rooms hibernate first.
    async fn wake(&mut self) -> Result<Result<(Box<Instance>, OwnedSemaphorePermit), TurnFailure>, Broken> {
        let permit = match self.shared.instances.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.submit()?;
                self.shared.make_space();
                let _waits = self.shared.queue.enter();
                self.shared.instances.clone().acquire_owned().await.expect("the semaphore is never closed")
            }
        };
        self.shared.metrics.wakes.inc();
        let kind = self.life().namespace.kind.clone();
        let lines = self.opened().lines.clone();
        let lane = self.shared.lane.clone();
        let mut submitted = Ok(());
        // Code that runs long when it is instantiated counts as a long turn.
        let made = Box::pin(async move { kind.instantiate(&lines).await });
        let made = lane.drive(made, || submitted = self.submit()).await;
        submitted.map(|()| made.map(|instance| (instance, permit)))
    }

    /// Keeps a successful turn: its writes go into the next commit, and its outputs wait for that.
    fn keep(&mut self, mut turn: Turn, cause: Cause) -> Result<(), Box<(Lost, Cause)>> {
        if let Cause::Timer(timer) = &cause {
            // The timer is done, unless the turn has set it again.
            turn.timers.entry(timer.name.clone()).or_insert(None);
        }
        let mut changes = Changes {
            writes: std::mem::take(&mut turn.writes),
            timers: std::mem::take(&mut turn.timers),
            ..Changes::default()
        };
        if !turn.posts.is_empty() {
            let opened = self.opened();
            let (commit, now) = (opened.log.number() + 1, opened.clock());
            changes.posts = self.batch.number(commit, std::mem::take(&mut turn.posts), now);
        }
        let posts = !changes.posts.is_empty();
        if let (Cause::Request { post: Some(post), .. }, Answer::Response(response)) = (&cause, &turn.answer)
            && response.status < 500
        {
            changes.taken.insert(post.sender.clone(), post.number);
        }
        if !changes.is_empty()
            && let Err(error) = self.write(changes)
        {
            turn.undo(&mut self.opened().lent().sockets);
            self.instance = None;
            self.mailbox.unused();
            self.shared.metrics.found_no_space(&error);
            return Err(Box::new((Lost::Space(error), cause)));
        }
        self.answered_at_length =
            matches!(&turn.answer, Answer::Response(answer) if answer.body.len() > LONG_ANSWER_BYTES);
        self.posts_wait |= posts;
        self.shared.metrics.turns.inc();
        let reply = self.settle(cause, turn.answer);
        self.hold(turn.outputs, reply);
        Ok(())
    }

    /// Adds the writes of a turn to the next commit. Later turns see them at once.
    ///
    /// Fails: if the disk or the room has no space; then nothing is written.
    fn write(&mut self, changes: Changes) -> Result<(), CommitError> {
        let opened = self.opened();
        opened.log.takes(&changes.writes, &*opened.ledger)?;
        let commit = opened.log.number() + 1;
        opened.ledger.add(commit, &changes.writes);
        opened.posting.apply(&changes);
        self.set_timers(changes.timers.iter().map(|(name, timer)| (name.clone(), timer.clone())));
        self.batch.add(commit, changes);
        Ok(())
    }

    /// Hands the batch to the disk, without waiting for it.
    fn submit(&mut self) -> Result<(), Broken> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let mailbox = self.mailbox.clone();
        let opened = self.opened();
        let number = opened.log.number() + 1;
        Ok(opened.log.commit(number, batch.changes, mailbox)?)
    }

    /// The number of the commit that makes all turns up to now durable.
    fn last_commit(&mut self) -> u64 {
        let batched = u64::from(!self.batch.is_empty());
        self.opened().log.number() + batched
    }

    /// Undoes a turn. The cause is told; the room goes on.
    fn forget(&mut self, cause: Cause, said: Option<&str>, lost: &Lost) {
        match cause {
            Cause::Connect { socket, answer } => {
                self.opened().lent().sockets.remove(socket);
                self.hold(Vec::new(), Reply::Connect(Err(lost.no_answer().into()), answer));
            }
            Cause::Message(socket) => {
                self.taken(socket);
                let no_answer = lost.no_answer();
                let error = error_frame(no_answer.code(), &format!("{no_answer}; nothing was done"), said);
                let said = Said::new(Message::Text(error));
                self.hold(vec![Output::Say(said, Audience::These(vec![socket]))], Reply::None);
            }
            // A close is not repeated, so it waits until the host has what was missing.
            Cause::Close(socket, close) if lost.may_pass() => {
                let opened = self.opened();
                opened.closes.push_front((socket, close));
                opened.closes_at = Some(opened.clock() + policy::host_backoff(rand::random()).as_millis() as u64);
                self.arm();
            }
            Cause::Close(socket, _) => {
                self.opened().lent().sockets.remove(socket);
            }
            Cause::Request { answer, .. } => self.hold(Vec::new(), Reply::Request(Err(lost.no_answer()), answer)),
            Cause::Timer(timer) if lost.may_pass() => {
                // This does not count as an attempt: only the host can provide what was missing.
                let at = self.opened().clock() + policy::host_backoff(rand::random()).as_millis() as u64;
                self.set_timers([(timer.name.clone(), Some(Timer { at, ..timer }))]);
            }
            Cause::Timer(timer) => self.postpone(timer),
        }
    }

    /// Converts the answer of a successful turn into a reply for its cause.
    fn settle(&mut self, cause: Cause, answer: Answer) -> Reply {
        match (cause, answer) {
            (Cause::Connect { socket, answer }, Answer::Refuse(status, reason)) => {
                self.opened().lent().sockets.remove(socket);
                Reply::Connect(Err(ConnectError::Refused(status, reason)), answer)
            }
            (Cause::Connect { socket, answer }, _) => {
                let socket_data = self.opened().lent().sockets.get(socket).expect("seated before the turn");
                let seat = Seat {
                    client: socket_data.client.clone(),
                    shared: self.shared.clone(),
                    mailbox: self.mailbox.clone(),
                    socket,
                    told: false,
                };
                Reply::Connect(Ok(seat), answer)
            }
            (Cause::Request { answer, .. }, Answer::Response(response)) => Reply::Request(Ok(response), answer),
            (Cause::Request { answer, .. }, _) => Reply::Request(Err(NoAnswer::Failed), answer),
            (Cause::Message(socket), _) => {
                self.taken(socket);
                Reply::None
            }
            (Cause::Close(socket, _), _) => {
                self.opened().lent().sockets.remove(socket);
                Reply::None
            }
            (Cause::Timer(_), _) => Reply::None,
        }
    }

    /// Lets the client of a message send one more.
    fn taken(&mut self, socket: SocketKey) {
        if let Some(socket) = self.opened().lent().sockets.get(socket) {
            socket.client.taken();
        }
    }

    /// Schedules the retry of a failed timer, or gives it up.
    fn postpone(&mut self, timer: Timer) {
        let failures = timer.attempt + 1;
        let again = policy::timer_backoff(failures, rand::random());
        if again.is_none() && self.opened().lines.take() {
            tracing::error!(timer = timer.name, failures, "the timer failed too often and is given up");
        }
        let now = self.opened().clock();
        let name = timer.name.clone();
        let next = again.map(|wait| Timer { at: now + wait.as_millis() as u64, attempt: failures, ..timer });
        match self.write(Changes { timers: BTreeMap::from([(name.clone(), next.clone())]), ..Changes::default() }) {
            Ok(()) => self.hold(Vec::new(), Reply::None),
            // In memory the retry waits as well; only a restart would lose the count.
            Err(_) => self.set_timers([(name, next)]),
        }
    }

    fn set_timers(&mut self, timers: impl IntoIterator<Item = (String, Option<Timer>)>) {
        let opened = self.opened();
        for (name, timer) in timers {
            opened.lent().timers.apply(&name, timer);
        }
        self.arm();
    }

    /// Sets the time at which the timer wheel wakes this room: when its first timer or post is due. If that time
    /// becomes later, the old entry stays, because one needless wake is cheaper than tracking it.
    fn arm(&mut self) {
        let has_posts = self.opened().posting.waiting() > 0;
        let durable = if has_posts { self.mailbox.outbox.durable() } else { 0 };
        let opened = self.opened();
        let timer = opened.lent().timers.earliest();
        let post = opened.posting.next_at(durable);
        let Some(at) = timer.into_iter().chain(post).chain(opened.closes_at).min() else { return };
        let at = opened.steady(at);
        if opened.wakes_at.is_none_or(|set| at < set) {
            let before = opened.wakes_at.replace(at);
            let life = self.life();
            let address = life.address.clone();
            self.shared.wheel.set(&address, before, at);
        }
    }

    fn hold(&mut self, outputs: Vec<Output>, reply: Reply) {
        let commit = self.last_commit();
        let sockets = &mut self.opened().lent().sockets;
        let words = outputs.into_iter().filter_map(|output| words(output, sockets)).collect::<Vec<_>>();
        if !words.is_empty() || !matches!(reply, Reply::None) || commit > 0 {
            self.mailbox.outbox.hold(commit, Held { words, reply });
        }
    }

    /// Commits are durable: releases the outputs that waited for them.
    fn show(&mut self, receipt: &Receipt) {
        self.mailbox.outbox.show(receipt);
        self.opened().ledger.settle(receipt);
        self.release();
    }

    fn release(&mut self) {
        self.mailbox.outbox.release(&self.mailbox, &self.shared.runtime);
    }

    /// The outbound interface, for a kind of room that imports one.
    fn reach(&mut self) -> Option<Arc<dyn Outside>> {
        let life = self.life.as_ref().expect("a running room has its life");
        let connected = life.namespace.kind.is_connected();
        connected.then(|| {
            Reach::new(life.address.clone(), life.namespace.clone(), &self.shared, &self.mailbox) as Arc<dyn Outside>
        })
    }

    fn life(&mut self) -> &mut Life {
        self.life.as_mut().expect("a running room has its life")
    }

    fn opened(&mut self) -> &mut Opened {
        self.life().opened.as_mut().expect("opened before its first event")
    }
}

/// Settles the receivers now: those who are in the room at the end of the turn.
fn words(output: Output, sockets: &mut Sockets) -> Option<Words> {
    Some(match output {
        Output::Say(said, Audience::Everyone(except)) => Words::ToEveryone(said, sockets.everyone(), except),
        Output::Say(said, Audience::These(keys)) => {
            let here = keys.iter().filter_map(|key| sockets.get(*key)).filter(|socket| !socket.gone);
            Words::To(said, here.map(|socket| socket.client.clone()).collect())
        }
        Output::Close { socket, code, reason } => Words::Close(sockets.get(socket)?.client.clone(), code, reason),
        Output::AutoResponse(auto_response) => Words::AutoResponse(auto_response),
    })
}

impl Drop for Room {
    fn drop(&mut self) {
        // A room that sleeps has given its state away. Otherwise it is broken, or its task was cut off.
        if let Some(life) = self.life.take() {
            let address = life.address.clone();
            let lent = life.opened.as_ref().and_then(|opened| opened.lent.as_ref());
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
