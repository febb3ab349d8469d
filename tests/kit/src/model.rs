//! The plain data of tests: users, messages, requests, timers, and why something failed.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The longest name a room can have, in bytes.
const NAME_BYTES: usize = 512;
/// The longest name a namespace can have, in bytes.
const NAMESPACE_BYTES: usize = 64;

/// A user, as the host verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Stable and unique.
    pub id: String,
    /// For people to read.
    pub name: String,
}

impl User {
    /// A user with a stable id and a name for people to read.
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        User { id: id.into(), name: name.into() }
    }
}

/// One WebSocket message, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Message {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes, of either kind.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }
}

/// How a client left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The WebSocket close code; 1006 where the connection just ended.
    pub code: u16,
    /// The reason that the client gave.
    pub reason: String,
    /// Both sides said goodbye.
    pub clean: bool,
}

impl Close {
    /// The connection ended without a goodbye.
    pub fn lost() -> Self {
        Close { code: 1006, reason: String::new(), clean: false }
    }
}

/// One request, whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Upper case.
    pub method: String,
    /// Starts with `/`.
    pub path: String,
    /// The part behind `?`.
    pub query: Option<String>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The user who asks, where the host could verify it.
    pub user: Option<User>,
}

impl Request {
    /// `GET` of a path, such as `/messages?limit=5`.
    pub fn get(path: &str) -> Self {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
        Request { method: "GET".into(), path: path.into(), query, ..Request::default() }
    }

    /// `POST` of a JSON value to a path.
    pub fn post_json(path: &str, value: &Value) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        Request { method: "POST".into(), headers, body: value.to_string().into_bytes(), ..Request::get(path) }
    }

    /// The same, asked by a user.
    pub fn by(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }
}

/// One response, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body, from JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

/// One named timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// Unique within its room.
    pub name: String,
    /// When it is due, in Unix milliseconds.
    pub at: u64,
    /// The room's own notes.
    pub payload: Bytes,
    /// How often this firing has failed.
    pub attempt: u32,
}

/// The address of a room: the name of its namespace, and its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    namespace: String,
    name: String,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError(String);

impl Address {
    /// The address of the room `name` in `namespace`.
    ///
    /// Fails: where the namespace is not 1 to 64 ASCII letters, digits, `-` and `_`, or the name is not 1 to 512 bytes
    /// without control characters.
    pub fn new(namespace: &str, name: &str) -> Result<Self, AddressError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if namespace.is_empty() || namespace.len() > NAMESPACE_BYTES || !namespace.bytes().all(plain) {
            let rule = format!("a namespace is 1 to {NAMESPACE_BYTES} ASCII letters, digits, `-` and `_`");
            return Err(AddressError(rule));
        }
        if name.is_empty() || name.len() > NAME_BYTES || name.chars().any(char::is_control) {
            let rule = format!("a room's name is 1 to {NAME_BYTES} bytes long and has no control characters");
            return Err(AddressError(rule));
        }
        Ok(Address { namespace: namespace.into(), name: name.into() })
    }

    /// The namespace's name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The room's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AddressError {}

/// Where a post goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// To a room.
    Room(Address),
    /// To a server, by scheme and authority.
    Origin(String),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Room(address) => address.fmt(f),
            Destination::Origin(origin) => f.write_str(origin),
        }
    }
}

/// Where a router sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The router's own answer.
    Respond(Response),
    /// To the room `name` of `namespace`, as an HTTP request.
    Request {
        /// As the configuration names it.
        namespace: String,
        /// The room.
        name: String,
        /// As the room shall see it.
        request: Request,
    },
    /// To the room, as a WebSocket.
    Connect {
        /// As the configuration names it.
        namespace: String,
        /// The room.
        name: String,
        /// As the room shall see it.
        request: Request,
    },
}

/// Why there is no answer of another room. The test plays it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallError {
    /// The operator does not allow it.
    Denied,
    /// No room can have this name.
    NoSuchRoom,
    /// The other room waits for this one.
    Deadlock,
    /// The body is too large.
    TooLarge,
    /// The turn has made all the calls it may.
    TooMany,
    /// The other room's turn failed.
    Failed,
    /// There is no space for it now.
    Overloaded,
    /// No answer in time.
    Timeout,
}

/// Why there is no answer of a server. The test plays it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchError {
    /// The operator does not allow this origin.
    Denied(String),
    /// Nothing but private addresses stand behind the name.
    Private(String),
    /// The request cannot be sent.
    Bad(String),
    /// The name has no address.
    Unknown(String),
    /// The connection is refused.
    Unreachable(String),
    /// The server did not prove who it is, or does not speak TLS.
    Tls(String),
    /// The answer broke off.
    Body(String),
    /// The answer is above the limit.
    TooLarge,
    /// No answer in time.
    Timeout,
}

/// Why a turn never happened. It reads as in the operator's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnFailure {
    /// Its kind.
    pub kind: FailureKind,
    pub(crate) message: String,
    pub(crate) cpu: Duration,
}

/// The ways in which a turn fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The room returned an error.
    Guest,
    /// It computed for too long.
    Cpu,
    /// It asked for more memory than an instance may have.
    Memory,
    /// It asked for more elements of its tables than an instance may have.
    Tables,
    /// It panicked, or did what a component may not do; or its commit was lost.
    Trap,
    /// No instance could be made.
    Instantiate,
}

impl fmt::Display for TurnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TurnFailure {}
