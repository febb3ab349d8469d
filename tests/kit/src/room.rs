//! One room under test: its events, its clock, its storage.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::client::{Ear, TestClient};
use crate::component::Source;
use crate::log;
use crate::model::{
    Address, CallError, Close, Destination, FetchError, Message, Request, Response, Timer, TurnFailure, User,
};
use crate::session::Session;
use crate::wire::{self, Fields, Read};

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
    session: Mutex<Session>,
    imports: Vec<String>,
    auto_response: Option<(String, String)>,
    now: u64,
    incarnation: u64,
    cpu: Duration,
}

/// What a room had stored at some time. It can be restored in that room alone.
#[derive(Debug, Clone)]
pub struct Backup(u64);

/// Fails the test, at the line of the test that called.
#[track_caller]
fn good<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    match result {
        Ok(good) => good,
        Err(error) => panic!("{error}"),
    }
}

impl TestRoom {
    /// A room `TEST/room` of this component, empty and asleep.
    #[track_caller]
    pub fn new(wasm: &'static [u8]) -> Self {
        Self::of(Source::Bytes(wasm))
    }

    /// As [`new`](Self::new), of the component in a file. Fails the test where there is none.
    #[track_caller]
    pub fn of_file(file: impl Into<PathBuf>) -> Self {
        Self::of(Source::File(file.into()))
    }

    /// As [`new`](Self::new), of the crate in a folder: `TestRoom::of_crate(env!("CARGO_MANIFEST_DIR"))` in a test of that
    /// crate. It is built with `cargo build --release --target wasm32-wasip2`, once however many tests there are, and
    /// fails the test with what the compiler says where it does not build.
    #[track_caller]
    pub fn of_crate(folder: impl Into<PathBuf>) -> Self {
        Self::of(Source::Crate(folder.into()))
    }

    #[track_caller]
    fn of(source: Source) -> Self {
        let (session, mut opened) = good(Session::open(source, "open", "the room under test"));
        TestRoom {
            session: Mutex::new(session),
            imports: good(opened.read("imports")),
            auto_response: None,
            now: good(opened.number("now")),
            incarnation: good(opened.number("incarnation")),
            cpu: Duration::ZERO,
        }
    }

    /// Give it a configuration value.
    #[track_caller]
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.command(&json!({ "do": "config", "key": key, "value": value }));
        self
    }

    /// Let it send no longer messages than this, in bytes, as an operator does with `message_out_bytes`.
    #[track_caller]
    pub fn message_out_bytes(mut self, bytes: usize) -> Self {
        self.command(&json!({ "do": "message_out_bytes", "bytes": bytes }));
        self
    }

    /// Drop its instance after every single event. A good room does not notice.
    #[track_caller]
    pub fn forgetful(mut self, forgetful: bool) -> Self {
        self.command(&json!({ "do": "forgetful", "forgetful": forgetful }));
        self
    }

    /// Play the other rooms that this one calls, and let it post to rooms. Without it, a call and a post are denied.
    #[track_caller]
    pub fn with_rooms(
        mut self,
        play: impl FnMut(&Address, Request) -> Result<Response, CallError> + Send + 'static,
    ) -> Self {
        good(self.session_mut().play_rooms(Box::new(play)));
        self
    }

    /// Play the servers that this room asks, and let it post to servers. Without it, they are denied.
    #[track_caller]
    pub fn with_servers(
        mut self,
        play: impl FnMut(&str, Request) -> Result<Response, FetchError> + Send + 'static,
    ) -> Self {
        good(self.session_mut().play_servers(Box::new(play)));
        self
    }

    /// The interfaces it imports: all that it can learn and do.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// What the room has posted since it was last asked: all of it is taken now.
    #[track_caller]
    pub fn posted(&mut self) -> Vec<(Destination, Request)> {
        let post = |mut post: Fields| Ok((post.destination()?, post.request()?));
        self.listed("posted", post)
    }

    /// A client of this name connects to `/ws`. Its user id is `id-NAME`. Fails the test where the room refuses.
    #[track_caller]
    pub fn join(&mut self, name: &str) -> TestClient {
        match self.connect(name, "") {
            Ok(client) => client,
            Err((status, reason)) => panic!("{name} was refused: {status} {reason}"),
        }
    }

    /// A client connects to `/ws` with a query. The room may refuse it, with a status and a reason.
    #[track_caller]
    pub fn connect(&mut self, name: &str, query: &str) -> Result<TestClient, (u16, String)> {
        self.connect_as(user(name), query)
    }

    /// As [`connect`](Self::connect), as a user with any id and name.
    #[track_caller]
    pub fn connect_as(&mut self, user: User, query: &str) -> Result<TestClient, (u16, String)> {
        match self.visit(user, query) {
            Ok(answer) => answer,
            Err(failure) => panic!("connecting failed: {failure}"),
        }
    }

    /// As [`connect`](Self::connect), and the turn may fail.
    #[track_caller]
    pub fn try_connect(&mut self, name: &str, query: &str) -> Result<Result<TestClient, (u16, String)>, TurnFailure> {
        self.visit(user(name), query)
    }

    #[track_caller]
    fn visit(&mut self, user: User, query: &str) -> Result<Result<TestClient, (u16, String)>, TurnFailure> {
        let query = Some(query).filter(|query| !query.is_empty());
        let ended = self.turn(&json!({ "do": "connect", "user": wire::user(&user), "query": query }));
        let session = self.session_mut();
        let mut done = match ended {
            Ok(done) => done,
            Err(failure) => {
                session.nobody_hears();
                return Err(failure);
            }
        };
        match done.take("refused") {
            Some(refused) => {
                session.nobody_hears();
                let mut refused = good(Fields::of(refused));
                Ok(Err((good(refused.number("status")), good(refused.text("reason")))))
            }
            None => {
                let (socket, ear) = (good(done.number("socket")), Arc::new(Ear::default()));
                session.hears(socket, ear.clone());
                Ok(Ok(TestClient { socket, ear, user }))
            }
        }
    }

    /// A client says a text. Fails the test where the turn fails.
    #[track_caller]
    pub fn say(&mut self, client: &TestClient, text: &str) {
        if let Err(failure) = self.try_say(client, Message::Text(text.into())) {
            panic!("{text:?}: {failure}");
        }
    }

    /// A client says something, and the turn may fail.
    #[track_caller]
    pub fn try_say(&mut self, client: &TestClient, message: Message) -> Result<(), TurnFailure> {
        let command = json!({ "do": "message", "socket": client.socket, "message": wire::message(&message) });
        self.turn(&command).map(drop)
    }

    /// A client leaves, with a goodbye.
    #[track_caller]
    pub fn leave(&mut self, client: &TestClient) {
        let close = Close { code: 1000, reason: String::new(), clean: true };
        if let Err(failure) = self.try_leave(client, close) {
            panic!("{} leaves: {failure}", client.user.name);
        }
    }

    /// A client leaves in some way, and the turn may fail.
    #[track_caller]
    pub fn try_leave(&mut self, client: &TestClient, close: Close) -> Result<(), TurnFailure> {
        let command = json!({ "do": "close", "socket": client.socket, "close": wire::close(&close) });
        self.turn(&command).map(drop)
    }

    /// Somebody asks over HTTP. Fails the test where the turn fails.
    #[track_caller]
    pub fn request(&mut self, request: Request) -> Response {
        match self.try_request(request) {
            Ok(response) => response,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Somebody asks over HTTP, and the turn may fail.
    #[track_caller]
    pub fn try_request(&mut self, request: Request) -> Result<Response, TurnFailure> {
        let mut done = self.turn(&json!({ "do": "request", "request": wire::request(&request) }))?;
        Ok(good(done.response("response")))
    }

    /// `GET` as somebody.
    #[track_caller]
    pub fn get(&mut self, name: &str, path: &str, query: &str) -> Response {
        self.request(request("GET", name, path, query, &[], b""))
    }

    /// `POST` as somebody.
    #[track_caller]
    pub fn post(&mut self, name: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        self.request(request("POST", name, path, "", headers, body.as_bytes()))
    }

    /// Let time pass. Timers that fall due meanwhile fire, each at its time. Fails the test where one of them fails.
    #[track_caller]
    pub fn advance(&mut self, by: Duration) {
        let Ok(ms) = u64::try_from(by.as_millis()) else { panic!("a test takes less than 500 million years") };
        match self.turn(&json!({ "do": "advance", "ms": ms })) {
            Ok(mut done) => self.now = good(done.number("now")),
            Err(failure) => panic!("{failure}"),
        }
    }

    /// A timer fires, and its turn may fail; then it is still set.
    #[track_caller]
    pub fn fire(&mut self, timer: &Timer) -> Result<(), TurnFailure> {
        self.turn(&json!({ "do": "fire", "timer": wire::timer(timer) })).map(drop)
    }

    /// Let the next turn fail once its code has run. The call that causes it fails, so make it one that may.
    #[track_caller]
    pub fn next_turn_meets(&mut self, fault: Fault) {
        let fault = match fault {
            Fault::OutOfCpu => "out_of_cpu",
            Fault::OutOfMemory => "out_of_memory",
            Fault::CommitFails => "commit_fails",
            Fault::Crash => "crash",
        };
        self.command(&json!({ "do": "fault", "fault": fault }));
    }

    /// Run the last event once more, as a host that crashed may do with a timer, and as clients do that try again.
    /// Fails the test where there was none, or where it was a connect: who connects twice is two clients.
    #[track_caller]
    pub fn replay(&mut self) -> Result<(), TurnFailure> {
        self.turn(&json!({ "do": "replay" })).map(drop)
    }

    /// CPU that the last turn used, making its instance included. It may use 1 s.
    pub fn cpu_of_last_turn(&self) -> Duration {
        self.cpu
    }

    /// What the room has logged and printed since it was last asked, and what other rooms of this test have: a line
    /// each. A test that fails shows it as well.
    pub fn log(&self) -> Vec<String> {
        log::take()
    }

    /// Drop the instance. Sockets, storage and timers stay.
    #[track_caller]
    pub fn hibernate(&mut self) {
        self.command(&json!({ "do": "hibernate" }));
    }

    /// The host restarts: all sockets are gone, and the room is not told. Storage and timers stay.
    #[track_caller]
    pub fn restart(&mut self) {
        self.command(&json!({ "do": "restart" }));
    }

    /// Take a backup of what is stored now.
    #[track_caller]
    pub fn backup(&self) -> Backup {
        let mut done = good(self.session().command(&json!({ "do": "backup" })));
        Backup(good(done.number("backup")))
    }

    /// The host restarts on a backup: what was stored since is gone, and the room's incarnation is another one.
    #[track_caller]
    pub fn restore(&mut self, backup: &Backup) {
        let mut done = self.command(&json!({ "do": "restore", "backup": backup.0 }));
        self.incarnation = good(done.number("incarnation"));
    }

    /// The number that tells the room's histories apart, as the room itself sees it.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Set the clock, in Unix milliseconds, as a host finds it after a restart: also back. No timer fires by that; those
    /// that are due fire when time [passes](Self::advance).
    #[track_caller]
    pub fn set_clock(&mut self, now: u64) {
        self.command(&json!({ "do": "clock", "now": now }));
        self.now = now;
    }

    /// The time, in Unix milliseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// All that is in storage.
    #[track_caller]
    pub fn storage(&self) -> BTreeMap<Bytes, Bytes> {
        let entry = |mut entry: Fields| Ok((entry.bytes("key")?.into(), entry.bytes("value")?.into()));
        self.listed("storage", entry).into_iter().collect()
    }

    /// Put something into storage behind the room's back, as an older version of its code might have left it. An instance
    /// that is awake may not notice.
    #[track_caller]
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.command(&json!({ "do": "put", "key": wire::bytes(&key), "value": wire::bytes(&value) }));
    }

    /// The timers that are set.
    #[track_caller]
    pub fn timers(&self) -> Vec<Timer> {
        self.listed("timers", Fields::timer)
    }

    /// How many clients are here.
    #[track_caller]
    pub fn sockets(&self) -> usize {
        self.open_sockets().len()
    }

    /// The clients that are here, oldest first.
    #[track_caller]
    pub fn open_sockets(&self) -> Vec<OpenSocket> {
        let socket = |mut socket: Fields| {
            Ok(OpenSocket {
                id: socket.number("id")?,
                user: socket.user()?,
                tags: socket.read("tags")?,
                attachment: socket.bytes("attachment")?.into(),
            })
        };
        self.listed("sockets", socket)
    }

    /// What the host answers to a text without the room, as the room told it.
    pub fn auto_response(&self, text: &str) -> Option<&str> {
        self.auto_response.as_ref().filter(|(request, _)| request == text).map(|(_, reply)| reply.as_str())
    }

    /// One event. Where it cannot be run at all, such as with a client that is not here, the test fails.
    #[track_caller]
    fn turn(&mut self, command: &Value) -> Result<Fields, TurnFailure> {
        let session = self.session_mut();
        let ended = session.turn(command);
        self.auto_response = self.session_mut().auto_response().cloned();
        match good(ended) {
            Ok(mut done) => {
                self.cpu = Duration::from_micros(done.number("cpu_us").unwrap_or_default());
                Ok(done)
            }
            Err(failure) => {
                self.cpu = failure.cpu;
                Err(failure)
            }
        }
    }

    #[track_caller]
    fn command(&mut self, command: &Value) -> Fields {
        let done = self.session_mut().command(command);
        self.auto_response = self.session_mut().auto_response().cloned();
        good(done)
    }

    #[track_caller]
    fn listed<T>(&self, what: &str, read: impl Fn(Fields) -> Read<T>) -> Vec<T> {
        let listed = good(self.session().list(what));
        good(listed.into_iter().map(read).collect::<Read<Vec<_>>>())
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session_mut(&mut self) -> &mut Session {
        self.session.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes are a component, as [`TestRoom::new`] takes them.
impl From<&'static [u8]> for TestRoom {
    #[track_caller]
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
