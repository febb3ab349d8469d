//! The lines of the protocol: commands, answers and events, as docs/test-driver.md describes them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dormouse::guest::{CallError, Decision, TurnFailure};
use dormouse::model::{self, Claims, Permission, Permissions, UserAccess};
use dormouse::outbound::FetchError;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// The longest line in either direction, in bytes. The longest answer of a server, 16 MiB, fits as base64.
pub(super) const LINE_BYTES: usize = 32 << 20;

/// Raised when test kits must change to go on working.
const VERSION: u32 = 1;

/// A command of the test kit.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Command {
    Open {
        component: std::path::PathBuf,
        name: Option<String>,
    },
    OpenRouter {
        component: std::path::PathBuf,
        name: Option<String>,
    },
    Config {
        key: String,
        value: String,
    },
    Forgetful {
        forgetful: bool,
    },
    MessageOutBytes {
        bytes: usize,
    },
    Clock {
        now: u64,
    },
    Namespaces {
        names: Vec<String>,
    },
    Play {
        rooms: bool,
        servers: bool,
    },
    Connect {
        user: User,
        query: Option<String>,
        #[serde(default)]
        access: Access,
    },
    Renew {
        socket: u64,
        #[serde(default)]
        access: Access,
    },
    Message {
        socket: u64,
        message: Message,
    },
    Close {
        socket: u64,
        #[serde(default)]
        close: Close,
    },
    Request {
        request: Request,
        #[serde(default)]
        access: Access,
    },
    ExportUser {
        user: String,
        after: Option<String>,
    },
    EraseUser {
        user: String,
        after: Option<String>,
    },
    Migrate {
        from: u32,
    },
    Advance {
        ms: u64,
    },
    Fire {
        timer: Timer,
    },
    Fault {
        fault: Fault,
    },
    Replay,
    Hibernate,
    Restart,
    Backup,
    Restore {
        backup: usize,
    },
    Put {
        key: Bytes,
        value: Bytes,
    },
    Storage,
    Timers,
    Sockets,
    Posted,
    Route {
        request: Request,
        claims: Option<Map<String, Value>>,
        /// Permissions by room, such as `ROOMS/lobby`. None in other rooms.
        #[serde(default)]
        grants: BTreeMap<String, Vec<String>>,
    },
}

/// The claims and permissions of a user. By default the user has no claims, and the permissions of everybody in an open
/// namespace.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Access {
    permissions: Option<Vec<String>>,
    claims: Option<Map<String, Value>>,
}

impl Access {
    pub(super) fn read(self) -> anyhow::Result<UserAccess> {
        let permissions = self.permissions.as_deref().map_or(Ok(Permissions::OPEN), permissions)?;
        Ok(UserAccess::new(claims(self.claims)?, permissions))
    }
}

/// Permissions by their names.
pub(super) fn permissions(names: &[String]) -> anyhow::Result<Permissions> {
    Ok(names.iter().map(|name| name.parse::<Permission>()).collect::<Result<_, _>>()?)
}

pub(super) fn claims(claims: Option<Map<String, Value>>) -> anyhow::Result<Claims> {
    Ok(Claims::new(&claims.unwrap_or_default())?)
}

/// The answer of a room or server that the test kit plays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// The number of the question.
    pub(super) ask: u64,
    pub(super) response: Option<Response>,
    pub(super) error: Option<String>,
    /// Details of a server's error, for the log.
    pub(super) detail: Option<String>,
}

/// A fault that hits a turn after the room's code has run.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fault {
    OutOfCpu,
    OutOfMemory,
    CommitFails,
    Crash,
}

/// One line of output.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Hello {
        protocol: u32,
        version: &'static str,
        line_bytes: usize,
    },
    Log(String),
    Said {
        to: Vec<u64>,
        message: Message,
        #[serde(skip_serializing_if = "Option::is_none")]
        event_id: Option<String>,
    },
    Closed {
        socket: u64,
        code: u16,
        reason: String,
    },
    AutoResponse(Option<AutoResponse>),
    Entry {
        key: Bytes,
        value: Bytes,
    },
    Timer(Timer),
    Socket {
        id: u64,
        user: User,
        tags: Vec<String>,
        attachment: Bytes,
    },
    Post {
        to: Destination,
        request: Request,
    },
    Ask {
        ask: u64,
        to: Destination,
        request: Request,
    },
    Done(Value),
    Failed {
        kind: &'static str,
        message: String,
        cpu_us: u64,
        timer: Option<String>,
    },
    Error(String),
}

impl Reply {
    pub(super) fn hello() -> Self {
        Reply::Hello { protocol: VERSION, version: env!("CARGO_PKG_VERSION"), line_bytes: LINE_BYTES }
    }
}

/// Bytes: a string if they are UTF-8, or `{"base64": …}`.
#[derive(Debug, Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A control character takes six bytes in JSON, so bytes with many of them are shorter in base64.
        let controls = self.0.iter().filter(|byte| byte.is_ascii_control()).count();
        match std::str::from_utf8(&self.0) {
            Ok(text) if controls <= self.0.len() / 16 => serializer.serialize_str(text),
            _ => json!({ "base64": BASE64_STANDARD.encode(&self.0) }).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "bytes are a string, or {\"base64\": …}")]
        enum Either {
            Text(String),
            Coded { base64: String },
        }
        Ok(Bytes(match Either::deserialize(deserializer)? {
            Either::Text(text) => text.into_bytes(),
            Either::Coded { base64 } => BASE64_STANDARD.decode(base64).map_err(D::Error::custom)?,
        }))
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    Text(String),
    Binary(Bytes),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    id: String,
    name: String,
}

/// How a client leaves; the default is a lost connection.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Close {
    code: u16,
    reason: String,
    clean: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    #[serde(default)]
    method: String,
    #[serde(default)]
    path: String,
    query: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: Bytes,
    user: Option<User>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Response {
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: Bytes,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Timer {
    name: String,
    at: u64,
    #[serde(default)]
    payload: Bytes,
    #[serde(default)]
    attempt: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct AutoResponse {
    request: String,
    reply: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Destination {
    Room { namespace: String, name: String },
    Server(String),
}

/// The router's decision, as the answer to `route`.
pub(super) fn decision(decision: Decision) -> Value {
    let to = |how: &str, namespace: String, name: String, request: model::Request| json!({ how: { "namespace": namespace, "name": name, "request": Request::from(request) } });
    match decision {
        Decision::Respond(response) => json!({ "respond": Response::from(response) }),
        Decision::Request { namespace, name, request } => to("request", namespace, name, request),
        Decision::Connect { namespace, name, request } => to("connect", namespace, name, request),
    }
}

/// The name of a failure's kind.
pub(super) fn kind(failure: &TurnFailure) -> &'static str {
    match failure {
        TurnFailure::Guest(_) | TurnFailure::Wake(_) | TurnFailure::DataVersion { .. } => "guest",
        TurnFailure::Migration { cause, .. } => kind(cause),
        TurnFailure::Cpu { .. } => "cpu",
        TurnFailure::Memory { .. } => "memory",
        TurnFailure::Tables { .. } => "tables",
        TurnFailure::Trap { .. } => "trap",
        TurnFailure::Instantiate(_) => "instantiate",
        TurnFailure::Host(_) => "host",
    }
}

impl Answer {
    /// The answer of another room.
    pub(super) fn of_room(self) -> Result<model::Response, CallError> {
        match (self.response, self.error.as_deref()) {
            (Some(response), _) => Ok(response.into()),
            (None, Some("denied")) => Err(CallError::Denied),
            (None, Some("no_such_room")) => Err(CallError::NoSuchRoom),
            (None, Some("deadlock")) => Err(CallError::Deadlock),
            (None, Some("too_large")) => Err(CallError::TooLarge),
            (None, Some("too_many")) => Err(CallError::TooMany),
            (None, Some("overloaded")) => Err(CallError::Overloaded),
            (None, Some("timeout")) => Err(CallError::Timeout),
            (None, _) => Err(CallError::Failed),
        }
    }

    /// The answer of the server at an origin.
    pub(super) fn of_server(self, origin: &str) -> Result<model::Response, FetchError> {
        if let Some(response) = self.response {
            return Ok(response.into());
        }
        let detail = self.detail.unwrap_or_else(|| "as the test wanted".into());
        let io = || std::io::Error::other(detail.clone());
        Err(match self.error.as_deref().unwrap_or_default() {
            "denied" => FetchError::Denied(origin.into()),
            "private" => FetchError::Private(origin.into()),
            "bad" => FetchError::Bad("as the test wanted"),
            "unknown" => FetchError::Unknown(origin.into()),
            "unreachable" => FetchError::Unreachable(origin.into(), io()),
            "tls" => FetchError::Tls(origin.into(), io()),
            "too_large" => FetchError::TooLarge,
            "timeout" => FetchError::Timeout,
            _ => FetchError::Body(detail),
        })
    }
}

impl Default for Close {
    fn default() -> Self {
        let model::Close { code, reason, clean } = model::Close::lost();
        Close { code, reason, clean }
    }
}

impl From<Close> for model::Close {
    fn from(close: Close) -> Self {
        model::Close { code: close.code, reason: close.reason, clean: close.clean }
    }
}

impl From<Message> for model::Message {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => model::Message::Text(text),
            Message::Binary(bytes) => model::Message::Binary(bytes.0),
        }
    }
}

impl From<&model::Message> for Message {
    fn from(message: &model::Message) -> Self {
        match message {
            model::Message::Text(text) => Message::Text(text.clone()),
            model::Message::Binary(bytes) => Message::Binary(Bytes(bytes.clone())),
        }
    }
}

impl From<User> for model::User {
    fn from(user: User) -> Self {
        model::User { id: user.id, name: user.name }
    }
}

impl From<model::User> for User {
    fn from(user: model::User) -> Self {
        User { id: user.id, name: user.name }
    }
}

impl From<Request> for model::Request {
    fn from(request: Request) -> Self {
        let Request { method, path, query, headers, body, user } = request;
        let access = UserAccess::default();
        model::Request { method, path, query, headers, body: body.0, user: user.map(Into::into), access }
    }
}

impl From<model::Request> for Request {
    fn from(request: model::Request) -> Self {
        let model::Request { method, path, query, headers, body, user, access: _ } = request;
        Request { method, path, query, headers, body: Bytes(body), user: user.map(Into::into) }
    }
}

impl From<Response> for model::Response {
    fn from(response: Response) -> Self {
        model::Response { status: response.status, headers: response.headers, body: response.body.0 }
    }
}

impl From<model::Response> for Response {
    fn from(response: model::Response) -> Self {
        Response { status: response.status, headers: response.headers, body: Bytes(response.body) }
    }
}

impl From<Timer> for model::Timer {
    fn from(timer: Timer) -> Self {
        let Timer { name, at, payload, attempt } = timer;
        model::Timer { name, at, payload: payload.0.into(), attempt }
    }
}

impl From<&model::Timer> for Timer {
    fn from(timer: &model::Timer) -> Self {
        let payload = Bytes(timer.payload.to_vec());
        Timer { name: timer.name.clone(), at: timer.at, payload, attempt: timer.attempt }
    }
}

impl From<&model::AutoResponse> for AutoResponse {
    fn from(auto: &model::AutoResponse) -> Self {
        AutoResponse { request: auto.request.clone(), reply: auto.reply.clone() }
    }
}

impl From<model::Destination> for Destination {
    fn from(destination: model::Destination) -> Self {
        match destination {
            model::Destination::Room(address) => {
                Destination::Room { namespace: address.namespace().into(), name: address.name().into() }
            }
            model::Destination::Origin(origin) => Destination::Server(origin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_bytes_stay_readable_and_others_are_base64() {
        let json = |bytes: &[u8]| serde_json::to_string(&Bytes(bytes.to_vec())).unwrap();
        assert_eq!(json("caf\u{e9}".as_bytes()), "\"caf\u{e9}\"");
        assert_eq!(json(b""), "\"\"");
        for bytes in [&b"\xff\xfe"[..], &[0; 64]] {
            let coded = json(bytes);
            assert!(coded.starts_with("{\"base64\":") && coded.len() < 120, "{coded}");
            assert_eq!(serde_json::from_str::<Bytes>(&coded).unwrap().0, bytes);
        }
        let bad = serde_json::from_str::<Bytes>("7").unwrap_err().to_string();
        assert!(bad.contains("bytes are a string"), "{bad}");
    }

    #[test]
    fn an_unknown_command_gets_the_list_of_commands() {
        let bad = serde_json::from_str::<Command>(r#"{"do":"dance"}"#).unwrap_err().to_string();
        assert!(bad.contains("unknown variant `dance`") && bad.contains("`connect`"), "{bad}");
    }
}
