//! One room under test: its events, its clock, its storage.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dormouse::guest::{CallError, Instance, Lent, Lines, Moment, RoomKind, TurnFailure};
use dormouse::model::{
    Address, Answer, Audience, AutoResponse, Close, Destination, Event, Filter, Message, Output, Request, Response,
    Socket, SocketChange, SocketKey, Sockets, Timer, Timers, Turn, User,
};
use dormouse::outbound::FetchError;

use crate::client::{Ear, TestClient};
use crate::component::{Source, kind};
use crate::storage::Memory;
use crate::world::World;
use crate::{drive, log};

/// When tests begin: 2025-01-01, in Unix milliseconds.
const START: u64 = 1_735_689_600_000;

/// What happens to a turn after the room's code has run. However it ends, nothing that it wrote, set or said is kept, and
/// the instance is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It used up its CPU.
    OutOfCpu,
    /// It asked for more memory than there is.
    OutOfMemory,
    /// The disk failed at its commit: the room is broken, all its sockets are closed with 1011, and it wakes from what was
    /// committed before. The room is not told. A timer that was firing is still set, and fires again.
    CommitFails,
    /// The host died before the turn was committed, and has started again: all sockets are gone, and the room is not
    /// told. A timer that was firing is still set, and fires again.
    Crash,
}

/// One client as the room knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSocket {
    /// Its number: the first client of a test is 1.
    pub id: u64,
    /// Who is behind it.
    pub user: User,
    /// The labels that the room gave it.
    pub tags: Vec<String>,
    /// The room's notes on it.
    pub attachment: Bytes,
}

/// One room, with all that belongs to it.
pub struct TestRoom {
    kind: RoomKind,
    address: Address,
    incarnation: u64,
    config: BTreeMap<String, String>,
    message_out_bytes: usize,
    instance: Option<Box<Instance>>,
    forgetful: bool,
    fault: Option<Fault>,
    last_event: Option<Event>,
    sockets: Sockets,
    timers: Timers,
    storage: Arc<Memory>,
    auto_response: Option<AutoResponse>,
    now: u64,
    seed: u64,
    turns: u64,
    next_id: u64,
    world: Arc<World>,
    posted: Vec<(Destination, Request)>,
    /// Without a limit: a failing test shows them all.
    lines: Arc<Lines>,
}

/// What a room had stored at some time.
#[derive(Debug, Clone)]
pub struct Backup {
    storage: BTreeMap<Bytes, Bytes>,
    timers: Timers,
}

impl TestRoom {
    /// A room `TEST/room` of this component, empty and asleep.
    pub fn new(wasm: &'static [u8]) -> Self {
        Self::of(Source::Bytes(wasm))
    }

    /// As [`new`](Self::new), of the component in a file. Fails the test where there is none.
    pub fn of_file(file: impl Into<PathBuf>) -> Self {
        Self::of(Source::File(file.into()))
    }

    /// As [`new`](Self::new), of the crate in a folder: `TestRoom::of_crate(env!("CARGO_MANIFEST_DIR"))` in a test of that
    /// crate. It is built with `cargo build --release --target wasm32-wasip2`, once however many tests there are, and
    /// fails the test with what the compiler says where it does not build.
    pub fn of_crate(folder: impl Into<PathBuf>) -> Self {
        Self::of(Source::Crate(folder.into()))
    }

    fn of(source: Source) -> Self {
        log::listen();
        TestRoom {
            kind: kind(source).unwrap_or_else(|error| panic!("{error}")),
            address: Address::new("TEST", "room").expect("these are good names"),
            incarnation: 1,
            config: BTreeMap::new(),
            message_out_bytes: dormouse::config::MESSAGE_BYTES,
            instance: None,
            forgetful: false,
            fault: None,
            last_event: None,
            sockets: Sockets::default(),
            timers: Timers::default(),
            storage: Arc::default(),
            auto_response: None,
            now: START,
            seed: 1,
            turns: 0,
            next_id: 1,
            world: Arc::default(),
            posted: Vec::new(),
            lines: Arc::new(Lines::new(0)),
        }
    }

    /// Give it a configuration value.
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// Let it send no longer messages than this, in bytes, as an operator does with `message_out_bytes`.
    pub fn message_out_bytes(mut self, bytes: usize) -> Self {
        self.message_out_bytes = bytes;
        self
    }

    /// Drop its instance after every single event. A good room does not notice.
    pub fn forgetful(mut self, forgetful: bool) -> Self {
        self.forgetful = forgetful;
        self
    }

    /// Play the other rooms that this one calls, and let it post to rooms. Without it, a call and a post are denied.
    pub fn with_rooms(
        self,
        play: impl FnMut(&Address, Request) -> Result<Response, CallError> + Send + 'static,
    ) -> Self {
        self.world.play_rooms(play);
        self
    }

    /// Play the servers that this room asks, and let it post to servers. Without it, they are denied.
    pub fn with_servers(
        self,
        play: impl FnMut(&str, Request) -> Result<Response, FetchError> + Send + 'static,
    ) -> Self {
        self.world.play_servers(play);
        self
    }

    /// What the room has posted since it was last asked: all of it is taken now.
    pub fn posted(&mut self) -> Vec<(Destination, Request)> {
        std::mem::take(&mut self.posted)
    }

    /// A client of this name connects to `/ws`. Its user id is `id-NAME`. Fails the test where the room refuses.
    pub fn join(&mut self, name: &str) -> TestClient {
        self.connect(name, "").unwrap_or_else(|(status, reason)| panic!("{name} was refused: {status} {reason}"))
    }

    /// A client connects to `/ws` with a query. The room may refuse it, with a status and a reason.
    pub fn connect(&mut self, name: &str, query: &str) -> Result<TestClient, (u16, String)> {
        self.connect_as(user(name), query)
    }

    /// As [`connect`](Self::connect), as a user with any id and name.
    pub fn connect_as(&mut self, user: User, query: &str) -> Result<TestClient, (u16, String)> {
        self.visit(user, query).unwrap_or_else(|failure| panic!("connecting failed: {failure}"))
    }

    fn visit(&mut self, user: User, query: &str) -> Result<Result<TestClient, (u16, String)>, TurnFailure> {
        let ear = Arc::new(Ear::default());
        let socket = Socket {
            id: self.next_id,
            user: Arc::new(user.clone()),
            tags: Vec::new(),
            attachment: Bytes::new(),
            gone: false,
            client: ear.clone(),
        };
        self.next_id += 1;
        let key = self.sockets.insert(socket).expect("a test has fewer sockets than 4 billion");
        let request = Request {
            method: "GET".into(),
            path: "/ws".into(),
            query: (!query.is_empty()).then(|| query.into()),
            user: Some(user.clone()),
            ..Request::default()
        };
        match self.turn(Event::Connect(key, request)) {
            Ok(Answer::Refuse(status, reason)) => {
                self.sockets.remove(key);
                Ok(Err((status, reason)))
            }
            Ok(_) => Ok(Ok(TestClient { key, ear, user })),
            Err(failure) => {
                self.sockets.remove(key);
                Err(failure)
            }
        }
    }

    /// As [`connect`](Self::connect), and the turn may fail.
    pub fn try_connect(&mut self, name: &str, query: &str) -> Result<Result<TestClient, (u16, String)>, TurnFailure> {
        self.visit(user(name), query)
    }

    /// A client says a text. Fails the test where the turn fails.
    pub fn say(&mut self, client: &TestClient, text: &str) {
        self.try_say(client, Message::Text(text.into())).unwrap_or_else(|failure| panic!("{text:?}: {failure}"));
    }

    /// A client says something, and the turn may fail.
    pub fn try_say(&mut self, client: &TestClient, message: Message) -> Result<(), TurnFailure> {
        self.turn(Event::Message(client.key, message)).map(drop)
    }

    /// A client leaves, with a goodbye.
    pub fn leave(&mut self, client: &TestClient) {
        let close = Close { code: 1000, reason: String::new(), clean: true };
        self.try_leave(client, close).unwrap_or_else(|failure| panic!("leaving: {failure}"));
    }

    /// A client leaves in some way, and the turn may fail.
    pub fn try_leave(&mut self, client: &TestClient, close: Close) -> Result<(), TurnFailure> {
        self.sockets.mark_gone(client.key);
        let done = self.turn(Event::Close(client.key, close));
        self.sockets.remove(client.key);
        done.map(drop)
    }

    /// Somebody asks over HTTP. Fails the test where the turn fails.
    pub fn request(&mut self, request: Request) -> Response {
        self.try_request(request).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Somebody asks over HTTP, and the turn may fail.
    pub fn try_request(&mut self, request: Request) -> Result<Response, TurnFailure> {
        match self.turn(Event::Request(request))? {
            Answer::Response(response) => Ok(response),
            other => panic!("a request was answered with {other:?}"),
        }
    }

    /// `GET` as somebody.
    pub fn get(&mut self, name: &str, path: &str, query: &str) -> Response {
        self.request(request("GET", name, path, query, &[], b""))
    }

    /// `POST` as somebody.
    pub fn post(&mut self, name: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        self.request(request("POST", name, path, "", headers, body.as_bytes()))
    }

    /// Let time pass. Timers that fall due meanwhile fire, each at its time. Fails the test where one of them fails.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + u64::try_from(by.as_millis()).expect("a test takes less than an age");
        while let Some(timer) = self.timers.due(end).cloned() {
            self.now = self.now.max(timer.at);
            self.fire(&timer).unwrap_or_else(|failure| panic!("the timer {}: {failure}", timer.name));
        }
        self.now = end;
    }

    /// A timer fires, and its turn may fail; then it is still set.
    pub fn fire(&mut self, timer: &Timer) -> Result<(), TurnFailure> {
        self.turn(Event::Timer(timer.clone())).map(drop)
    }

    /// Let the next turn fail once its code has run. The call that causes it fails, so make it one that may.
    pub fn next_turn_meets(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    /// Run the last event once more, as a host that crashed may do with a timer, and as clients do that try again.
    /// Fails the test where there was none, or where it was a connect: who connects twice is two clients.
    pub fn replay(&mut self) -> Result<(), TurnFailure> {
        let event = self.last_event.clone().expect("there is no event to replay");
        assert!(!matches!(event, Event::Connect(..)), "a connect cannot be replayed; let somebody join again");
        self.turn(event).map(drop)
    }

    /// What the room has logged and printed since it was last asked, and what other rooms of this test have: a line
    /// each. A test that fails shows it as well.
    pub fn log(&self) -> Vec<String> {
        log::take()
    }

    /// Drop the instance. Sockets, storage and timers stay.
    pub fn hibernate(&mut self) {
        self.instance = None;
    }

    /// The host restarts: all sockets are gone, and the room is not told. Storage and timers stay.
    pub fn restart(&mut self) {
        self.hibernate();
        self.sockets = Sockets::default();
        self.auto_response = None;
    }

    /// Take a backup of what is stored now.
    pub fn backup(&self) -> Backup {
        Backup { storage: self.storage.entries(), timers: self.timers.clone() }
    }

    /// The host restarts on a backup: what was stored since is gone, and the room's incarnation is another one.
    pub fn restore(&mut self, backup: &Backup) {
        self.restart();
        self.storage = Arc::new(Memory::of(backup.storage.clone()));
        self.timers = backup.timers.clone();
        self.incarnation += 1;
    }

    /// What tells the room's histories apart, as the room itself sees it.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Set the clock, in Unix milliseconds, as a host finds it after a restart: also back. No timer fires by that; those
    /// that are due fire when time [passes](Self::advance).
    pub fn set_clock(&mut self, now: u64) {
        self.now = now;
        self.hibernate();
    }

    /// The time, in Unix milliseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// All that is in storage.
    pub fn storage(&self) -> BTreeMap<Bytes, Bytes> {
        self.storage.entries()
    }

    /// Put something into storage behind the room's back, as an older version of its code might have left it. An instance
    /// that is awake may not notice.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.storage.apply([(key.into(), Some(value.into()))].into());
    }

    /// The timers that are set.
    pub fn timers(&self) -> Vec<Timer> {
        self.timers.iter().cloned().collect()
    }

    /// How many clients are here.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// The clients that are here, oldest first.
    pub fn open_sockets(&self) -> Vec<OpenSocket> {
        let open = |socket: &Socket| OpenSocket {
            id: socket.id,
            user: User::clone(&socket.user),
            tags: socket.tags.clone(),
            attachment: socket.attachment.clone(),
        };
        let mut open = self.sockets.iter().map(|(_, socket)| open(socket)).collect::<Vec<_>>();
        open.sort_by_key(|socket| socket.id);
        open
    }

    /// What the host answers to a text without the room, as the room told it.
    pub fn auto_response(&self, text: &str) -> Option<&str> {
        self.auto_response.as_ref().filter(|auto| auto.request == text).map(|auto| auto.reply.as_str())
    }

    fn turn(&mut self, event: Event) -> Result<Answer, TurnFailure> {
        self.last_event = Some(event.clone());
        let instance = match self.instance.take() {
            Some(instance) => instance,
            None => drive(self.kind.instantiate(&self.lines))?,
        };
        self.turns += 1;
        self.seed += 1;
        let mut moment = Moment { now: self.now, seed: [0; 32] };
        moment.seed[..8].copy_from_slice(&self.seed.to_be_bytes());
        let lent = Lent {
            address: self.address.clone(),
            incarnation: self.incarnation,
            config: Arc::new(self.config.clone()),
            sockets: std::mem::take(&mut self.sockets),
            timers: std::mem::take(&mut self.timers),
            storage: self.storage.clone(),
            message_out_bytes: self.message_out_bytes,
            outside: Some(self.world.clone()),
            commits_before: 0,
            posts_waiting: self.posted.len(),
        };
        let fired = match &event {
            Event::Timer(timer) => Some(timer.name.clone()),
            _ => None,
        };
        let ran = drive(instance.run(Box::new(lent), event, moment));
        self.sockets = ran.lent.sockets;
        self.timers = ran.lent.timers;
        self.instance = ran.instance.filter(|_| !self.forgetful);
        let turn = ran.turn?;
        match self.fault.take() {
            Some(fault) => Err(self.lose(turn, fault)),
            None => Ok(self.apply(turn, fired)),
        }
    }

    /// A turn that ran, and yet never happened.
    fn lose(&mut self, turn: Turn, fault: Fault) -> TurnFailure {
        self.hibernate();
        for (key, before) in turn.sockets_before.into_iter().rev() {
            match before {
                SocketChange::Tags(tags) => self.sockets.set_tags(key, tags),
                SocketChange::Attachment(attachment) => self.sockets.set_attachment(key, attachment),
            }
        }
        let limits = crate::limits();
        match fault {
            Fault::OutOfCpu => TurnFailure::Cpu { limit: limits.turn_cpu },
            Fault::OutOfMemory => TurnFailure::Memory { limit_bytes: limits.memory_bytes },
            Fault::CommitFails => {
                for (_, socket) in self.sockets.iter() {
                    socket.client.close(1011, "the room failed; come back");
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

    /// What a turn did happens at once: there is no disk to wait for.
    fn apply(&mut self, mut turn: Turn, fired: Option<String>) -> Answer {
        if let Some(name) = fired {
            turn.timers.entry(name).or_insert(None);
        }
        self.storage.apply(turn.writes);
        self.posted.extend(turn.posts);
        for (name, timer) in turn.timers {
            self.timers.apply(&name, timer);
        }
        for output in turn.outputs {
            match output {
                Output::Say(said, audience) => {
                    for key in self.audience(audience) {
                        if let Some(socket) = self.sockets.get(key).filter(|socket| !socket.gone) {
                            socket.client.say(&said);
                        }
                    }
                }
                Output::Close { socket, code, reason } => {
                    if let Some(socket) = self.sockets.get(socket) {
                        socket.client.close(code, &reason);
                    }
                }
                Output::AutoResponse(auto_response) => self.auto_response = auto_response,
            }
        }
        turn.answer
    }

    fn audience(&mut self, audience: Audience) -> Vec<SocketKey> {
        match audience {
            Audience::Everyone(except) => self.sockets.select(&Filter { except, ..Filter::default() }),
            Audience::These(keys) => keys,
        }
    }
}

/// Bytes are a component, as [`TestRoom::new`] takes them.
impl From<&'static [u8]> for TestRoom {
    fn from(wasm: &'static [u8]) -> Self {
        TestRoom::new(wasm)
    }
}

fn user(name: &str) -> User {
    User { id: format!("id-{name}"), name: name.into() }
}

fn request(method: &str, name: &str, path: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
    Request {
        method: method.into(),
        path: path.into(),
        query: (!query.is_empty()).then(|| query.into()),
        headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        body: body.into(),
        user: Some(user(name)),
    }
}
