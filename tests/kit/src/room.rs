//! A room under test: its events, its clock, its storage.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::client::{Inbox, TestClient};
use crate::component::Source;
use crate::log;
use crate::protocol::{self, Fields, Read};
use crate::session::Session;
use crate::types::{
    Address, CallError, Close, Destination, FetchError, Message, Request, Response, Timer, TurnFailure, User,
};
use crate::user::TestUser;

/// A fault of a turn after the code of the room has run. In each case all its effects are undone, and the instance is
/// dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The turn has used too much CPU.
    OutOfCpu,
    /// The turn has needed too much memory.
    OutOfMemory,
    /// The disk fails during the commit. The room is broken, all its sockets are closed with 1011, and it wakes with
    /// the data of earlier commits. The room is not notified. A timer that was firing is still set and fires again.
    CommitFails,
    /// The host dies before the commit and restarts. All sockets are gone, and the room is not notified. A timer that
    /// was firing is still set and fires again.
    Crash,
}

/// A client as the room knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSocket {
    /// Its number: the first client of a test is 1.
    pub id: u64,
    /// Its user.
    pub user: User,
    /// The tags that the room has set.
    pub tags: Vec<String>,
    /// The attachment that the room has set.
    pub attachment: Bytes,
}

/// A room under test, with its clients, clock and storage.
pub struct TestRoom {
    session: Mutex<Session>,
    imports: Vec<String>,
    auto_response: Option<(String, String)>,
    now: u64,
    incarnation: u64,
    cpu: Duration,
}

/// The stored data of a room at some time. It can be restored only in the same room.
#[derive(Debug, Clone)]
pub struct Backup(u64);

/// Fails the test on an error, at the line of the caller.
#[track_caller]
fn or_fail<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

impl TestRoom {
    /// A room `TEST/room` of this component, empty and asleep.
    #[track_caller]
    pub fn new(wasm: &'static [u8]) -> Self {
        Self::of(Source::Bytes(wasm))
    }

    /// Like [`new`](Self::new), with the component in a file. Fails the test if there is none.
    #[track_caller]
    pub fn of_file(file: impl Into<PathBuf>) -> Self {
        Self::of(Source::File(file.into()))
    }

    /// Like [`new`](Self::new), with the crate in a folder. A test of that crate calls
    /// `TestRoom::of_crate(env!("CARGO_MANIFEST_DIR"))`. The crate is built once for all tests, with `cargo build
    /// --target wasm32-wasip2`: with the checks of a debug build, and little optimised. If that fails, the test fails
    /// with the errors of the compiler. For the component of a release build use [`of_file`](Self::of_file).
    #[track_caller]
    pub fn of_crate(folder: impl Into<PathBuf>) -> Self {
        Self::of(Source::Crate(folder.into()))
    }

    #[track_caller]
    fn of(source: Source) -> Self {
        let (session, mut opened) = or_fail(Session::open(source, "open", "the room under test"));
        TestRoom {
            session: Mutex::new(session),
            imports: or_fail(opened.read("imports")),
            auto_response: None,
            now: or_fail(opened.number("now")),
            incarnation: or_fail(opened.number("incarnation")),
            cpu: Duration::ZERO,
        }
    }

    /// Sets a configuration value.
    #[track_caller]
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.command(&json!({ "do": "config", "key": key, "value": value }));
        self
    }

    /// Limits the messages that it sends, in bytes, as an operator does with `message_out_bytes`.
    #[track_caller]
    pub fn message_out_bytes(mut self, bytes: usize) -> Self {
        self.command(&json!({ "do": "message_out_bytes", "bytes": bytes }));
        self
    }

    /// Drops its instance after every event. The behaviour of a correct room does not change.
    #[track_caller]
    pub fn hibernate_after_each_event(mut self, enabled: bool) -> Self {
        self.command(&json!({ "do": "forgetful", "forgetful": enabled }));
        self
    }

    /// Answers calls to other rooms with `respond`, and allows posts to rooms. Otherwise both are denied.
    #[track_caller]
    pub fn with_rooms(
        mut self,
        respond: impl FnMut(&Address, Request) -> Result<Response, CallError> + Send + 'static,
    ) -> Self {
        or_fail(self.session_mut().answer_for_rooms(Box::new(respond)));
        self
    }

    /// Answers requests to servers with `respond`, and allows posts to servers. Otherwise both are denied.
    #[track_caller]
    pub fn with_servers(
        mut self,
        respond: impl FnMut(&str, Request) -> Result<Response, FetchError> + Send + 'static,
    ) -> Self {
        or_fail(self.session_mut().answer_for_servers(Box::new(respond)));
        self
    }

    /// The interfaces that it imports: everything that it can read and do.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The posts of the room since the last call. They count as accepted now.
    #[track_caller]
    pub fn posted(&mut self) -> Vec<(Destination, Request)> {
        let post = |mut post: Fields| Ok((post.destination()?, post.request()?));
        self.listed("posted", post)
    }

    /// Connects a client to `/ws` as the user `id-NAME`. Fails the test if the room refuses.
    #[track_caller]
    pub fn join(&mut self, name: &str) -> TestClient {
        match self.connect(name, "") {
            Ok(client) => client,
            Err((status, reason)) => panic!("{name} was refused: {status} {reason}"),
        }
    }

    /// Like [`join`](Self::join), with any user, and with claims and permissions.
    #[track_caller]
    pub fn join_as(&mut self, user: impl Into<TestUser>) -> TestClient {
        let user = user.into();
        let name = user.user.name.clone();
        match self.connect_as(user, "") {
            Ok(client) => client,
            Err((status, reason)) => panic!("{name} was refused: {status} {reason}"),
        }
    }

    /// Connects a client to `/ws` with a query. The room may refuse with a status and a reason.
    #[track_caller]
    pub fn connect(&mut self, name: &str, query: &str) -> Result<TestClient, (u16, String)> {
        self.connect_as(name, query)
    }

    /// Like [`connect`](Self::connect), with any user, and with claims and permissions.
    #[track_caller]
    pub fn connect_as(&mut self, user: impl Into<TestUser>, query: &str) -> Result<TestClient, (u16, String)> {
        match self.connect_user(user.into(), query) {
            Ok(answer) => answer,
            Err(failure) => panic!("connecting failed: {failure}"),
        }
    }

    /// Connects a client with these permissions and no others, as in a namespace with `access = "granted"`. The host
    /// checks `read` and `write` itself, before a room is asked.
    #[track_caller]
    pub fn connect_with(&mut self, name: &str, permissions: &[&str]) -> Result<TestClient, (u16, String)> {
        self.connect_as(TestUser::with_names(name, permissions), "")
    }

    /// Like [`connect`](Self::connect), but the turn may fail.
    #[track_caller]
    pub fn try_connect(&mut self, name: &str, query: &str) -> Result<Result<TestClient, (u16, String)>, TurnFailure> {
        self.connect_user(name.into(), query)
    }

    #[track_caller]
    fn connect_user(&mut self, user: TestUser, query: &str) -> Result<Result<TestClient, (u16, String)>, TurnFailure> {
        let query = Some(query).filter(|query| !query.is_empty());
        let command = json!({
            "do": "connect", "user": protocol::user(&user.user), "query": query, "access": user.access(),
        });
        let result = self.turn(&command);
        let session = self.session_mut();
        let mut reply = match result {
            Ok(reply) => reply,
            Err(failure) => {
                session.drop_early_messages();
                return Err(failure);
            }
        };
        match reply.take("refused") {
            Some(refused) => {
                session.drop_early_messages();
                let mut refused = or_fail(Fields::of(refused));
                Ok(Err((or_fail(refused.number("status")), or_fail(refused.text("reason")))))
            }
            None => {
                let (socket, inbox) = (or_fail(reply.number("socket")), Arc::new(Inbox::default()));
                session.add_client(socket, inbox.clone());
                Ok(Ok(TestClient { socket, inbox, user: user.user }))
            }
        }
    }

    /// Shows a new token of the client's user: the room sees its claims and permissions from the next event on. No turn
    /// runs for it. Fails the test if `user` is another user.
    #[track_caller]
    pub fn renew(&mut self, client: &TestClient, user: impl Into<TestUser>) {
        let user = user.into();
        assert_eq!(user.user.id, client.user.id, "a new token must be of the same user");
        self.command(&json!({ "do": "renew", "socket": client.socket, "access": user.access() }));
    }

    /// Sends a text as a client. Fails the test if the turn fails.
    #[track_caller]
    pub fn send(&mut self, client: &TestClient, text: &str) {
        if let Err(failure) = self.try_send(client, Message::Text(text.into())) {
            panic!("{text:?}: {failure}");
        }
    }

    /// Sends a message as a client; the turn may fail.
    #[track_caller]
    pub fn try_send(&mut self, client: &TestClient, message: Message) -> Result<(), TurnFailure> {
        let command = json!({ "do": "message", "socket": client.socket, "message": protocol::message(&message) });
        self.turn(&command).map(drop)
    }

    /// Closes the connection of a client. Fails the test if the turn fails.
    #[track_caller]
    pub fn leave(&mut self, client: &TestClient) {
        let close = Close { code: 1000, reason: String::new(), clean: true };
        if let Err(failure) = self.try_leave(client, close) {
            panic!("{} leaves: {failure}", client.user.name);
        }
    }

    /// Closes the connection of a client in some way; the turn may fail.
    #[track_caller]
    pub fn try_leave(&mut self, client: &TestClient, close: Close) -> Result<(), TurnFailure> {
        let command = json!({ "do": "close", "socket": client.socket, "close": protocol::close(&close) });
        self.turn(&command).map(drop)
    }

    /// Sends an HTTP request. Fails the test if the turn fails.
    #[track_caller]
    pub fn request(&mut self, request: Request) -> Response {
        match self.try_request(request) {
            Ok(response) => response,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Sends an HTTP request as any user, with claims and permissions. Fails the test if the turn fails.
    #[track_caller]
    pub fn request_as(&mut self, user: impl Into<TestUser>, request: Request) -> Response {
        match self.try_request_as(user, request) {
            Ok(response) => response,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Sends an HTTP request; the turn may fail.
    #[track_caller]
    pub fn try_request(&mut self, request: Request) -> Result<Response, TurnFailure> {
        let mut reply = self.turn(&json!({ "do": "request", "request": protocol::request(&request) }))?;
        Ok(or_fail(reply.response("response")))
    }

    /// Like [`request_as`](Self::request_as), but the turn may fail.
    #[track_caller]
    pub fn try_request_as(&mut self, user: impl Into<TestUser>, request: Request) -> Result<Response, TurnFailure> {
        let user = user.into();
        let request = protocol::request(&request.by(user.user.clone()));
        let mut reply = self.turn(&json!({ "do": "request", "request": request, "access": user.access() }))?;
        Ok(or_fail(reply.response("response")))
    }

    /// Sends a `GET` request as the user with this name.
    #[track_caller]
    pub fn get(&mut self, name: &str, path: &str, query: &str) -> Response {
        self.request(request("GET", name, path, query, &[], b""))
    }

    /// Sends a `POST` request as the user with this name.
    #[track_caller]
    pub fn post(&mut self, name: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        self.request(request("POST", name, path, "", headers, body.as_bytes()))
    }

    /// Exports all that the room keeps about the user with this id, as an operator does, part by part. Fails the test
    /// if a turn fails, and if the component does not export `personal-data`.
    #[track_caller]
    pub fn export_user(&mut self, user: &str) -> Vec<Value> {
        let (mut items, mut after) = (Vec::new(), None);
        loop {
            match self.try_export_user(user, after.as_deref()) {
                Ok((some, next)) => {
                    items.extend(some);
                    after = next;
                }
                Err(failure) => panic!("{failure}"),
            }
            if after.is_none() {
                return items;
            }
        }
    }

    /// Exports one part, which begins at `after`. Returns its items, and where the next part begins.
    #[track_caller]
    pub fn try_export_user(
        &mut self,
        user: &str,
        after: Option<&str>,
    ) -> Result<(Vec<Value>, Option<String>), TurnFailure> {
        let mut part = self.turn(&json!({ "do": "export_user", "user": user, "after": after }))?;
        let items: Vec<String> = or_fail(part.read("items"));
        let items = items.iter().map(|item| serde_json::from_str(item)).collect::<Result<_, _>>();
        Ok((or_fail(items), part.take("next").map(|next| next.as_str().unwrap_or_default().to_owned())))
    }

    /// Erases all that the room keeps about the user with this id, as an operator does, part by part. Returns how many
    /// items that were. Fails the test if a turn fails, and if the component does not export `personal-data`.
    #[track_caller]
    pub fn erase_user(&mut self, user: &str) -> u32 {
        let (mut items, mut after) = (0, None);
        loop {
            match self.try_erase_user(user, after.as_deref()) {
                Ok((some, next)) => {
                    items += some;
                    after = next;
                }
                Err(failure) => panic!("{failure}"),
            }
            if after.is_none() {
                return items;
            }
        }
    }

    /// Erases one part, which begins at `after`. Returns how many items it had, and where the next part begins.
    #[track_caller]
    pub fn try_erase_user(&mut self, user: &str, after: Option<&str>) -> Result<(u32, Option<String>), TurnFailure> {
        let mut part = self.turn(&json!({ "do": "erase_user", "user": user, "after": after }))?;
        let items = or_fail(part.number("items"));
        Ok((items, part.take("next").map(|next| next.as_str().unwrap_or_default().to_owned())))
    }

    /// Migrates the stored data, as after a deploy to a room whose data has the version `from`. Write the old data with
    /// [`put`](Self::put) first. Returns the version of the component. Fails the test if the turn fails.
    ///
    /// A test never migrates by itself: data that is put into the storage counts as data of the present version.
    #[track_caller]
    pub fn migrate(&mut self, from: u32) -> u32 {
        match self.try_migrate(from) {
            Ok(version) => version,
            Err(failure) => panic!("from version {from}: {failure}"),
        }
    }

    /// Like [`migrate`](Self::migrate), but the turn may fail.
    #[track_caller]
    pub fn try_migrate(&mut self, from: u32) -> Result<u32, TurnFailure> {
        let mut done = self.turn(&json!({ "do": "migrate", "from": from }))?;
        Ok(or_fail(done.number("data_version")))
    }

    /// Advances the clock. Timers that become due fire, each at its time. Fails the test if one of them fails.
    #[track_caller]
    pub fn advance(&mut self, by: Duration) {
        let Ok(ms) = u64::try_from(by.as_millis()) else { panic!("a test takes less than 500 million years") };
        match self.turn(&json!({ "do": "advance", "ms": ms })) {
            Ok(mut reply) => self.now = or_fail(reply.number("now")),
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Fires a timer. If the turn fails, the timer stays set.
    #[track_caller]
    pub fn fire(&mut self, timer: &Timer) -> Result<(), TurnFailure> {
        self.turn(&json!({ "do": "fire", "timer": protocol::timer(timer) })).map(drop)
    }

    /// Makes the next turn fail after its code has run. The call for that turn returns the failure.
    #[track_caller]
    pub fn fail_next_turn(&mut self, fault: Fault) {
        let fault = match fault {
            Fault::OutOfCpu => "out_of_cpu",
            Fault::OutOfMemory => "out_of_memory",
            Fault::CommitFails => "commit_fails",
            Fault::Crash => "crash",
        };
        self.command(&json!({ "do": "fault", "fault": fault }));
    }

    /// Runs the last event again, as a host may do for a timer after a crash, and as clients do when they retry. Fails
    /// the test if there was no event, or if it was a connect, because a repeated connect is a new client.
    #[track_caller]
    pub fn replay(&mut self) -> Result<(), TurnFailure> {
        self.turn(&json!({ "do": "replay" })).map(drop)
    }

    /// CPU of the last turn, including the time to make its instance. The limit is 1 s. A component of
    /// [`of_crate`](Self::of_crate) is little optimised and takes more than that of a release build. Zero after
    /// `advance`, which may run many turns.
    pub fn cpu_of_last_turn(&self) -> Duration {
        self.cpu
    }

    /// Log lines and output of the rooms of this test since the last call. They are also shown if the test fails.
    pub fn log(&self) -> Vec<String> {
        log::take()
    }

    /// Drops the instance. Sockets, storage and timers stay.
    #[track_caller]
    pub fn hibernate(&mut self) {
        self.command(&json!({ "do": "hibernate" }));
    }

    /// Restarts the host: all sockets are gone, and the room is not notified. Storage and timers stay.
    #[track_caller]
    pub fn restart(&mut self) {
        self.command(&json!({ "do": "restart" }));
    }

    /// Makes a backup of the stored data.
    #[track_caller]
    pub fn backup(&self) -> Backup {
        let mut reply = or_fail(self.session().command(&json!({ "do": "backup" })));
        Backup(or_fail(reply.number("backup")))
    }

    /// Restarts the host with a backup: later data is gone, and the room has a new incarnation.
    #[track_caller]
    pub fn restore(&mut self, backup: &Backup) {
        let mut reply = self.command(&json!({ "do": "restore", "backup": backup.0 }));
        self.incarnation = or_fail(reply.number("incarnation"));
    }

    /// The incarnation of the room, which changes with each restore.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Sets the clock, in Unix milliseconds, as after a restart of the host; it may go back. No timer fires now. Due
    /// timers fire when time [advances](Self::advance).
    #[track_caller]
    pub fn set_clock(&mut self, now: u64) {
        self.command(&json!({ "do": "clock", "now": now }));
        self.now = now;
    }

    /// The current time, in Unix milliseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// All entries of the storage.
    #[track_caller]
    pub fn storage(&self) -> BTreeMap<Bytes, Bytes> {
        let entry = |mut entry: Fields| Ok((entry.bytes("key")?.into(), entry.bytes("value")?.into()));
        self.listed("storage", entry).into_iter().collect()
    }

    /// Changes the storage without the room, as an older version of its code might have left it. An awake instance may
    /// not notice the change.
    #[track_caller]
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.command(&json!({ "do": "put", "key": protocol::bytes(&key), "value": protocol::bytes(&value) }));
    }

    /// All timers.
    #[track_caller]
    pub fn timers(&self) -> Vec<Timer> {
        self.listed("timers", Fields::timer)
    }

    /// How many clients are connected.
    #[track_caller]
    pub fn sockets(&self) -> usize {
        self.open_sockets().len()
    }

    /// The connected clients, oldest first.
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

    /// The auto-response of the host to this text, if the room has set one.
    pub fn auto_response(&self, text: &str) -> Option<&str> {
        self.auto_response.as_ref().filter(|(request, _)| request == text).map(|(_, reply)| reply.as_str())
    }

    /// Runs one event. The test fails if the event is not possible, for example for a client that has left.
    #[track_caller]
    fn turn(&mut self, command: &Value) -> Result<Fields, TurnFailure> {
        let session = self.session_mut();
        let result = session.turn(command);
        self.auto_response = self.session_mut().auto_response().cloned();
        match or_fail(result) {
            Ok(mut reply) => {
                self.cpu = Duration::from_micros(reply.number("cpu_us").unwrap_or_default());
                Ok(reply)
            }
            Err(failure) => {
                self.cpu = failure.cpu;
                Err(failure)
            }
        }
    }

    #[track_caller]
    fn command(&mut self, command: &Value) -> Fields {
        let reply = self.session_mut().command(command);
        self.auto_response = self.session_mut().auto_response().cloned();
        or_fail(reply)
    }

    #[track_caller]
    fn listed<T>(&self, kind: &str, read: impl Fn(Fields) -> Read<T>) -> Vec<T> {
        let listed = or_fail(self.session().list(kind));
        or_fail(listed.into_iter().map(read).collect::<Read<Vec<_>>>())
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session_mut(&mut self) -> &mut Session {
        self.session.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a component, as for [`TestRoom::new`].
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
