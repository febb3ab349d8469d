//! The plain data types of tests: users, messages, requests, timers and errors.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The longest name of a room, in bytes.
const NAME_BYTES: usize = 512;
/// The longest name of a namespace, in bytes.
const NAMESPACE_BYTES: usize = 64;

/// A user, as the host verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Stable and unique.
    pub id: String,
    /// For display.
    pub name: String,
}

impl User {
    /// A user with a stable id and a name for display.
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        User { id: id.into(), name: name.into() }
    }
}

/// A complete WebSocket message.
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

    /// Its bytes, for both kinds.
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
    /// The WebSocket close code; 1006 if the connection ended without a close.
    pub code: u16,
    /// The reason that the client gave.
    pub reason: String,
    /// Both sides completed the close handshake.
    pub clean: bool,
}

impl Close {
    /// The connection ended without a close.
    pub fn lost() -> Self {
        Close { code: 1006, reason: String::new(), clean: false }
    }
}

/// A complete request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// In upper case.
    pub method: String,
    /// It begins with `/`.
    pub path: String,
    /// The text after `?`.
    pub query: Option<String>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The user, if the host could verify one.
    pub user: Option<User>,
}

impl Request {
    /// A `GET` request for a path, such as `/messages?limit=5`.
    pub fn get(path: &str) -> Self {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
        Request { method: "GET".into(), path: path.into(), query, ..Request::default() }
    }

    /// A `POST` request with a JSON value.
    pub fn post_json(path: &str, value: &Value) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        Request { method: "POST".into(), headers, body: value.to_string().into_bytes(), ..Request::get(path) }
    }

    /// The same request, sent by this user.
    pub fn by(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }
}

/// A complete response.
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
    /// Parses the body as JSON.
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
    /// Data that the room sets.
    pub payload: Bytes,
    /// How often it has failed since it became due.
    pub attempt: u32,
}

/// The address of a room: the name of its namespace and its own name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    namespace: String,
    name: String,
}

/// The reason why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError(String);

impl Address {
    /// The address of the room `name` in `namespace`.
    ///
    /// Fails: if the namespace is not 1 to 64 ASCII letters, digits, `-` and `_`, or if the name is not 1 to 512 bytes
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

    /// The name of the namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of the room.
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

/// The destination of a post.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// A room.
    Room(Address),
    /// A server, by scheme and authority.
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

/// The decision of a router for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The answer of the router itself.
    Respond(Response),
    /// To the room `name` of `namespace`, as an HTTP request.
    Request {
        /// As in the configuration.
        namespace: String,
        /// The name of the room.
        name: String,
        /// The request for the room.
        request: Request,
    },
    /// To the room, as a WebSocket.
    Connect {
        /// As in the configuration.
        namespace: String,
        /// The name of the room.
        name: String,
        /// The request for the room.
        request: Request,
    },
}

/// The reason why a call to another room failed. The test chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallError {
    /// The configuration does not allow it.
    Denied,
    /// The name is not valid for a room.
    NoSuchRoom,
    /// The other room waits for this one.
    Deadlock,
    /// The body is too large.
    TooLarge,
    /// The turn has made as many calls as it may.
    TooMany,
    /// The turn of the other room failed.
    Failed,
    /// The other room or the host has no space for it now.
    Overloaded,
    /// The answer did not come in time.
    Timeout,
}

/// The reason why a request to a server failed. The test chooses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchError {
    /// The configuration does not allow this origin.
    Denied(String),
    /// The name resolves only to private addresses.
    Private(String),
    /// The request cannot be sent.
    Bad(String),
    /// The name cannot be resolved.
    Unknown(String),
    /// The connection is refused.
    Unreachable(String),
    /// The TLS handshake failed.
    Tls(String),
    /// The answer ended early.
    Body(String),
    /// The answer exceeds the limit.
    TooLarge,
    /// The answer did not come in time.
    Timeout,
}

/// The reason why a turn failed, as in the log of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnFailure {
    /// Its kind.
    pub kind: FailureKind,
    pub(crate) message: String,
    pub(crate) cpu: Duration,
}

/// The kinds of failed turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The room returned an error.
    Guest,
    /// It used too much CPU.
    Cpu,
    /// It needed more memory than an instance may have.
    Memory,
    /// It needed more table elements than an instance may have.
    Tables,
    /// It panicked, or did something that the contract forbids; or its commit failed.
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
