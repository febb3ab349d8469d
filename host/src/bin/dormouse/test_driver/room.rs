//! One room under test, with its events, clock and storage. It plays the host, without a disk or a network.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use dormouse::clock;
use dormouse::config::Limits;
use dormouse::guest::{CompiledRoom, Instance, LogLimiter, Moment, TurnFailure, TurnResources};
use dormouse::limits::MESSAGE_BYTES;
use dormouse::model::{
    Address, Answer, Audience, Client, Close, DataOf, Destination, Event, Filter, Message, OutboundMessage, Output,
    Request, Socket, SocketKey, Sockets, Timer, Timers, Turn, User, UserAccess,
};
use serde_json::{Value, json};

use super::channel::LineChannel;
use super::protocol::{self, Bytes, Fault, Reply};
use super::storage::Memory;
use super::world::World;
use super::{CommandResult, drive};

/// The time at which tests start: 2025-01-01, in Unix milliseconds.
pub(super) const START: u64 = 1_735_689_600_000;

/// The first incarnation of a room's storage.
pub(super) const INCARNATION: u64 = 1;

/// The most backups of one room.
const BACKUPS: usize = 64;

/// The storage and timers of a room at some time.
struct Backup {
    storage: BTreeMap<bytes::Bytes, bytes::Bytes>,
    timers: Timers,
}

/// A turn that failed.
pub(super) struct Ended {
    failure: TurnFailure,
    cpu: Duration,
    /// The timer that fired, if the command moved the clock.
    timer: Option<String>,
}

impl From<TurnFailure> for Ended {
    fn from(failure: TurnFailure) -> Self {
        Ended { failure, cpu: Duration::ZERO, timer: None }
    }
}

impl Ended {
    pub(super) fn into_line(self) -> Reply {
        let (kind, message) = (protocol::kind(&self.failure), self.failure.to_string());
        Reply::Failed { kind, message, cpu_us: micros(self.cpu), timer: self.timer }
    }
}

/// One room, with everything that belongs to it.
pub(super) struct TestRoom {
    wire: Arc<LineChannel>,
    kind: CompiledRoom,
    address: Address,
    incarnation: u64,
    /// The backups, in the order in which they were made.
    backups: Vec<Backup>,
    config: BTreeMap<String, String>,
    message_out_bytes: usize,
    instance: Option<Box<Instance>>,
    forgetful: bool,
    fault: Option<Fault>,
    last_event: Option<Event>,
    sockets: Sockets,
    /// The keys of open sockets, by the numbers that the test kit uses.
    keys: HashMap<u64, SocketKey>,
    timers: Timers,
    storage: Arc<Memory>,
    now: u64,
    seed: u64,
    next_id: u64,
    world: Arc<World>,
    posted: Vec<(Destination, Request)>,
    /// Without a limit, so that a failing test shows all lines.
    lines: Arc<LogLimiter>,
    /// CPU of the last turn.
    cpu: Duration,
}

/// A client that the test kit plays. It receives nothing here: `TestRoom::apply` reports to the test kit.
struct TestClient;

impl Client for TestClient {
    fn enqueue(&self, _: &OutboundMessage) -> bool {
        false
    }

    fn flush(&self) {}

    fn close(&self, _: u16, _: &str) {}

    fn turn_done(&self) {}

    fn resume(&self) {}

    fn buffered(&self) -> usize {
        0
    }
}

impl TestRoom {
    /// Makes a room `TEST/room` of this component, empty and asleep.
    pub(super) fn new(kind: CompiledRoom, wire: Arc<LineChannel>) -> Self {
        TestRoom {
            world: Arc::new(World::new(wire.clone())),
            wire,
            kind,
            address: Address::new("TEST", "room").expect("these are good names"),
            incarnation: INCARNATION,
            backups: Vec::new(),
            config: BTreeMap::new(),
            message_out_bytes: MESSAGE_BYTES,
            instance: None,
            forgetful: false,
            fault: None,
            last_event: None,
            sockets: Sockets::default(),
            keys: HashMap::new(),
            timers: Timers::default(),
            storage: Arc::default(),
            now: START,
            seed: 1,
            next_id: 1,
            posted: Vec::new(),
            lines: Arc::new(LogLimiter::new(0)),
            cpu: Duration::ZERO,
        }
    }

    pub(super) fn config(&mut self, key: String, value: String) {
        self.config.insert(key, value);
    }

    pub(super) fn message_out_bytes(&mut self, bytes: usize) {
        self.message_out_bytes = bytes;
    }

    /// Sets the clock, as a host may find it after a restart, also backwards. No timer fires.
    pub(super) fn set_clock(&mut self, now: u64) {
        self.now = now;
        self.hibernate();
    }

    pub(super) fn forgetful(&mut self, forgetful: bool) {
        self.forgetful = forgetful;
    }

    pub(super) fn play(&mut self, rooms: bool, servers: bool) {
        self.world.play(rooms, servers);
    }

    pub(super) fn next_turn_meets(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.storage.apply([(key.into(), Some(value.into()))].into());
    }

    /// A client connects to `/ws`.
    pub(super) fn connect(&mut self, user: User, query: Option<String>, access: UserAccess) -> CommandResult {
        let id = self.next_id;
        self.next_id += 1;
        let socket = Socket {
            id,
            user: Arc::new(user.clone()),
            access: access.clone(),
            tags: Vec::new(),
            attachment: Vec::new().into(),
            since: 0,
            gone: false,
            client: Arc::new(TestClient),
        };
        let key = self.sockets.insert(socket).context("a room has had 4 billion sockets")?;
        self.keys.insert(id, key);
        let path = "/ws".into();
        let request = Request { method: "GET".into(), path, query, user: Some(user), access, ..Request::default() };
        let answer = self.turn(Event::Connect(key, request));
        if !matches!(answer, Ok(Answer::Accept)) {
            self.sockets.remove(key);
            self.keys.remove(&id);
        }
        Ok(answer.map(|answer| match answer {
            Answer::Refuse(status, reason) => self.done(json!({ "refused": { "status": status, "reason": reason } })),
            Answer::Response(response) => {
                let (status, reason) = (response.status, String::from_utf8_lossy(&response.body).into_owned());
                let refused = json!({ "status": status, "reason": reason });
                self.done(json!({ "refused": refused, "response": protocol::Response::from(response) }))
            }
            _ => self.done(json!({ "socket": id })),
        }))
    }

    /// A client shows a new token. The room is not called.
    pub(super) fn renew(&mut self, socket: u64, access: UserAccess) -> anyhow::Result<()> {
        let key = self.key(socket)?;
        self.sockets.set_access(key, access);
        Ok(())
    }

    /// A client sends a message.
    pub(super) fn message(&mut self, socket: u64, message: Message) -> CommandResult {
        let key = self.key(socket)?;
        Ok(self.plain(Event::Message(key, message)))
    }

    /// A client leaves.
    pub(super) fn close(&mut self, socket: u64, close: Close) -> CommandResult {
        let key = self.key(socket)?;
        self.sockets.mark_gone(key);
        let done = self.plain(Event::Close(key, close));
        self.sockets.remove(key);
        self.keys.remove(&socket);
        Ok(done)
    }

    fn key(&self, socket: u64) -> anyhow::Result<SocketKey> {
        let key = self.keys.get(&socket).copied();
        key.with_context(|| format!("socket {socket} is not in the room: its client left, or the host restarted"))
    }

    /// A client sends an HTTP request.
    pub(super) fn request(&mut self, request: Request) -> Result<Value, Ended> {
        let answer = self.turn(Event::Request(request))?;
        Ok(self.answered(answer))
    }

    /// An operator exports a part of the data of a user.
    pub(super) fn export_user(&mut self, of: DataOf) -> Result<Value, Ended> {
        self.plain(Event::ExportUser(of))
    }

    /// An operator erases a part of the data of a user.
    pub(super) fn erase_user(&mut self, of: DataOf) -> Result<Value, Ended> {
        self.plain(Event::EraseUser(of))
    }

    /// Migrates the data as if it had this version, with a new instance, as a host does after a deploy.
    pub(super) fn migrate(&mut self, from: u32) -> Result<Value, Ended> {
        self.hibernate();
        self.kind.check_data(Some(from))?;
        self.plain(Event::Migrate(Some(from)))
    }

    /// Moves the clock. Timers that become due fire, each at its time.
    pub(super) fn advance(&mut self, ms: u64) -> CommandResult {
        let end = self.now.checked_add(ms).context("a test takes less than 500 million years")?;
        while let Some(timer) = self.timers.due(end).cloned() {
            self.now = self.now.max(timer.at);
            if let Err(ended) = self.turn(Event::Timer(timer.clone())) {
                return Ok(Err(Ended { timer: Some(timer.name), ..ended }));
            }
        }
        self.now = end;
        Ok(Ok(json!({ "now": self.now })))
    }

    /// Fires a timer. If its turn fails, it stays set.
    pub(super) fn fire(&mut self, timer: Timer) -> Result<Value, Ended> {
        self.plain(Event::Timer(timer))
    }

    /// Runs the last event again.
    pub(super) fn replay(&mut self) -> CommandResult {
        let event = self.last_event.clone().context("there is no event to replay")?;
        if matches!(event, Event::Connect(..)) {
            bail!("a connect cannot be replayed; let a client join again");
        }
        Ok(self.plain(event))
    }

    /// Drops the instance. Sockets, storage and timers stay.
    pub(super) fn hibernate(&mut self) {
        self.instance = None;
    }

    /// Restarts the host: all sockets are gone, and the room is not notified. Storage and timers stay.
    pub(super) fn restart(&mut self) {
        self.hibernate();
        self.sockets = Sockets::default();
        self.keys.clear();
        self.wire.say(&Reply::AutoResponse(None));
    }

    /// Makes a backup of the storage and timers.
    pub(super) fn backup(&mut self) -> CommandResult {
        ensure!(self.backups.len() < BACKUPS, "a room has {BACKUPS} backups at most");
        self.backups.push(Backup { storage: self.storage.entries(), timers: self.timers.clone() });
        Ok(Ok(json!({ "backup": self.backups.len() })))
    }

    /// Restarts the host on a backup: later changes are gone, and the room has a new incarnation.
    pub(super) fn restore(&mut self, backup: usize) -> CommandResult {
        let found = backup.checked_sub(1).and_then(|at| self.backups.get(at));
        let Backup { storage, timers } = found.with_context(|| format!("this room has no backup {backup}"))?;
        (self.storage, self.timers) = (Arc::new(Memory::of(storage.clone())), timers.clone());
        self.restart();
        self.incarnation += 1;
        Ok(Ok(json!({ "incarnation": self.incarnation })))
    }

    pub(super) fn report_storage(&self) {
        for (key, value) in self.storage.entries() {
            self.wire.say(&Reply::Entry { key: Bytes(key.to_vec()), value: Bytes(value.to_vec()) });
        }
    }

    pub(super) fn report_timers(&self) {
        for timer in self.timers.iter() {
            self.wire.say(&Reply::Timer(timer.into()));
        }
    }

    /// Lists the open sockets, oldest first.
    pub(super) fn report_sockets(&self) {
        let mut open = self.sockets.iter().map(|(_, socket)| socket).collect::<Vec<_>>();
        open.sort_by_key(|socket| socket.id);
        for socket in open {
            self.wire.say(&Reply::Socket {
                id: socket.id,
                user: User::clone(&socket.user).into(),
                tags: socket.tags.clone(),
                attachment: Bytes(socket.attachment.to_vec()),
            });
        }
    }

    /// Lists the posts, and removes them.
    pub(super) fn report_posted(&mut self) {
        for (to, request) in std::mem::take(&mut self.posted) {
            self.wire.say(&Reply::Post { to: to.into(), request: request.into() });
        }
    }

    fn plain(&mut self, event: Event) -> Result<Value, Ended> {
        let answer = self.turn(event)?;
        Ok(self.answered(answer))
    }

    fn answered(&self, answer: Answer) -> Value {
        match answer {
            Answer::Response(response) => self.done(json!({ "response": protocol::Response::from(response) })),
            Answer::Exported(exported) => self.done(json!({ "items": exported.items, "next": exported.next })),
            Answer::Erased(erased) => self.done(json!({ "items": erased.items, "next": erased.next })),
            Answer::Migrated(version) => self.done(json!({ "data_version": version })),
            Answer::None | Answer::Accept | Answer::Refuse(..) => self.done(json!({})),
        }
    }

    fn done(&self, mut done: Value) -> Value {
        done["cpu_us"] = micros(self.cpu).into();
        done
    }

    fn turn(&mut self, event: Event) -> Result<Answer, Ended> {
        let before = clock::thread_cpu();
        self.cpu = Duration::ZERO;
        let ended = self.run(event);
        self.cpu = clock::thread_cpu().saturating_sub(before);
        ended.map_err(|failure| Ended { failure, cpu: self.cpu, timer: None })
    }

    fn run(&mut self, event: Event) -> Result<Answer, TurnFailure> {
        self.last_event = Some(event.clone());
        let instance = match self.instance.take() {
            Some(instance) => instance,
            None => drive(self.kind.instantiate(&self.lines))?,
        };
        self.seed += 1;
        let mut moment = Moment { now: self.now, seed: [0; 32] };
        moment.seed[..8].copy_from_slice(&self.seed.to_be_bytes());
        let lent = TurnResources {
            address: self.address.clone(),
            incarnation: self.incarnation,
            config: Arc::new(self.config.clone()),
            sockets: std::mem::take(&mut self.sockets),
            timers: std::mem::take(&mut self.timers),
            storage: self.storage.clone(),
            message_out_bytes: self.message_out_bytes,
            outbound: Some(self.world.clone()),
            confirmed_by: 0,
            posts_waiting: self.posted.len(),
            turn: 0,
            requested_by: None,
        };
        let fired = match &event {
            Event::Timer(timer) => Some(timer.name.clone()),
            _ => None,
        };
        let ran = drive(instance.run(Box::new(lent), event, moment));
        self.sockets = ran.resources.sockets;
        self.timers = ran.resources.timers;
        self.instance = ran.instance.filter(|_| !self.forgetful);
        let turn = ran.turn?;
        match self.fault.take() {
            Some(fault) => Err(self.lose(turn, fault)),
            None => Ok(self.apply(turn, fired)),
        }
    }

    /// Undoes a turn that ran but was not committed.
    fn lose(&mut self, turn: Turn, fault: Fault) -> TurnFailure {
        self.hibernate();
        turn.undo(&mut self.sockets);
        let limits = Limits::default();
        match fault {
            Fault::OutOfCpu => TurnFailure::Cpu { limit: limits.turn_cpu },
            Fault::OutOfMemory => TurnFailure::Memory { limit_bytes: limits.memory_bytes },
            Fault::CommitFails => {
                for (_, socket) in self.sockets.iter() {
                    let reason = "the room failed; come back".into();
                    self.wire.say(&Reply::Closed { socket: socket.id, code: 1011, reason });
                }
                self.never_committed("the disk failed at the commit, as the test wanted")
            }
            Fault::Crash => self.never_committed("the host died before the commit, as the test wanted"),
        }
    }

    fn never_committed(&mut self, cause: &str) -> TurnFailure {
        self.restart();
        TurnFailure::Trap { cause: cause.into(), output: String::new() }
    }

    /// Applies a turn at once, since there is no disk to wait for.
    fn apply(&mut self, mut turn: Turn, fired: Option<String>) -> Answer {
        if let Some(name) = fired {
            turn.changes.timers.entry(name).or_insert(None);
        }
        self.storage.apply(turn.changes.writes);
        self.posted.extend(turn.posts);
        for (name, timer) in turn.changes.timers {
            self.timers.apply(&name, timer);
        }
        for output in turn.outputs {
            match output {
                Output::Message(message, audience) => self.deliver(&message, audience),
                Output::Close { socket, code, reason } => {
                    if let Some(socket) = self.sockets.get(socket) {
                        self.wire.say(&Reply::Closed { socket: socket.id, code, reason });
                    }
                }
                Output::AutoResponse(auto) => self.wire.say(&Reply::AutoResponse(auto.as_ref().map(Into::into))),
            }
        }
        turn.answer
    }

    fn deliver(&mut self, message: &OutboundMessage, audience: Audience) {
        let keys = match audience {
            Audience::Everyone(except) => self.sockets.select(&Filter { except, ..Filter::default() }),
            Audience::These(keys) => keys,
        };
        let here = |key: &SocketKey| self.sockets.get(*key).filter(|socket| !socket.gone).map(|socket| socket.id);
        let to = keys.iter().filter_map(here).collect::<Vec<_>>();
        if let Some(content) = message.message()
            && !to.is_empty()
        {
            let event_id = message.event_id().map(|id| id.as_str().to_owned());
            self.wire.say(&Reply::Said { to, message: content.into(), event_id });
        }
    }
}

impl Drop for TestRoom {
    fn drop(&mut self) {
        self.world.close();
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
