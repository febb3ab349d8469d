//! All settings of an operator. Units are in the names. Values are checked once, at start. Limits that nobody can set are
//! in [`limits`](crate::limits).
//!
//! It opens no file but the configuration itself, and knows no component: `host` checks the settings that components
//! declare.

mod check;
mod file_problem;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use crate::limits::MESSAGE_BYTES;

pub use check::full_path;
pub use file_problem::FileProblem;
pub(crate) use file_problem::pem_problem;

/// How Dormouse runs: the content of `dormouse.toml`, with defaults for the rest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The address to listen on. A file may give a name, such as `localhost:8787`.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// The data directory. A relative path is relative to the configuration file.
    pub data: PathBuf,
    /// The prefix of every route: `/`, or a path without a slash at its end.
    pub base_path: String,
    /// A room hibernates after this time without events.
    #[serde(with = "duration")]
    pub hibernate_after: Duration,
    /// The certificate for TLS; without one, connections are plain HTTP.
    pub tls: Option<Tls>,
    /// Whether plain connections may speak HTTP/2, as some proxies do.
    pub h2c: bool,
    /// Networks of proxies, or their addresses, whose `X-Forwarded-For` and `Forwarded` are trusted. A proxy that sends
    /// neither counts as one address, with all its clients.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// How users are identified.
    pub identity: Identity,
    /// The kinds of rooms, by namespace.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Headers that the answers of rooms and of the router may have beside [the built-in list](crate::limits::FROM_ROOMS).
    pub response_headers: Vec<String>,
    /// The component that maps requests to rooms: a file, or `builtin:router`.
    pub router: String,
    /// Whether `/` serves the demo page.
    pub page: bool,
    /// A listener for the operator; absent, there is none.
    pub admin: Option<Admin>,
    /// Certificate authorities in PEM that rooms' requests to servers trust beside those of browsers.
    pub outbound_ca: Option<PathBuf>,
    /// The limits.
    pub limits: Limits,
}

/// The files for TLS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// A file with the certificate in PEM, followed by its intermediate certificates.
    pub cert: PathBuf,
    /// A file with its private key in PEM.
    pub key: PathBuf,
}

/// How users are identified, and which pages may act for them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// The kind of tokens.
    pub auth: Auth,
    /// Keys that tokens may be signed with; only with `auth = "jwt"`.
    pub keys: Vec<Key>,
    /// A file with more keys, as RFC 7517 defines it. It is read again when it changes.
    pub jwks: Option<PathBuf>,
    /// The value that a token's `aud` must contain, if set.
    pub audience: Option<String>,
    /// The value that a token's `iss` must have, if set.
    pub issuer: Option<String>,
    /// The cookie that may carry the token.
    pub cookie: String,
    /// Origins whose pages may use cookies, open sockets and read answers, such as `https://example.org`; the server's
    /// own is always allowed.
    pub allowed_origins: Vec<String>,
    /// Host names, without a port, that browsers may call the server by, such as `rooms.example`. If none is given,
    /// `auth = "jwt"` allows all. With `auth = "dev"` the names of this machine (`localhost`, `127.0.0.1`, `[::1]`) are
    /// always allowed, and others only if they are given: a page could otherwise reach the server under its own name
    /// (DNS rebinding).
    pub hosts: Vec<String>,
    /// How far clocks may differ when a token's `exp`, `nbf` and `iat` are checked.
    #[serde(with = "duration")]
    pub leeway: Duration,
}

/// A listener for the operator: health, metrics and revocations.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// The address to listen on. A file may give a name, such as `localhost:8788`.
    #[serde(default = "admin_address", deserialize_with = "address")]
    pub listen: SocketAddr,
    /// A file with the token, of at least 32 characters. All paths but `/healthz` then require it. It must be set if
    /// the address is not a loopback address.
    pub token_file: Option<PathBuf>,
}

fn admin_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8788))
}

/// The kind of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// `USERID:USERNAME`, accepted without proof. Only on a loopback address, and without rate limits.
    Dev,
    /// Signed JSON Web Tokens.
    Jwt,
}

/// A key that tokens may be signed with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The one algorithm that it is used with: `HS256`, `RS256`, `ES256` or `EdDSA`.
    pub algorithm: String,
    /// The `kid` of the tokens that it is for; all tokens if absent.
    pub id: Option<String>,
    /// A file with the secret for HS256 (at least 32 bytes), or with a public key in PEM for the others.
    pub file: PathBuf,
    /// How the secret for HS256 is encoded in its file.
    #[serde(default)]
    pub encoding: Encoding,
    /// A file with the private key in PEM, for `dormouse token`; not used by the server.
    pub private_file: Option<PathBuf>,
}

/// How a secret is encoded in its file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As its bytes; one final line end does not count.
    #[default]
    Raw,
    /// In base64, with or without padding, in the standard alphabet or in the one for URLs.
    Base64,
}

/// One kind of room.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    /// A component file, or `builtin:chat-room` or `builtin:presence-tracker`.
    pub component: String,
    /// Settings for its rooms.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// The longest message that its rooms accept, in bytes.
    #[serde(default = "message_bytes")]
    pub message_in_bytes: usize,
    /// The longest message that its rooms may send, in bytes.
    #[serde(default = "message_bytes")]
    pub message_out_bytes: usize,
    /// Namespaces that its rooms may call and post to; its own only if it is named.
    #[serde(default)]
    pub calls: BTreeSet<String>,
    /// Servers that its rooms may reach, at public addresses: origins such as `https://api.example`, or
    /// `https://*.example` for all subdomains.
    #[serde(default)]
    pub outbound: Vec<String>,
    /// The same, at private and loopback addresses too.
    #[serde(default)]
    pub outbound_private: Vec<String>,
    /// Headers that its rooms' answers may have beside those that all rooms may send.
    #[serde(default)]
    pub response_headers: Vec<String>,
}

impl Namespace {
    /// Rooms of a component, without settings and with the largest messages.
    pub fn of(component: &str) -> Self {
        Namespace {
            component: component.into(),
            config: BTreeMap::new(),
            message_in_bytes: MESSAGE_BYTES,
            message_out_bytes: MESSAGE_BYTES,
            calls: BTreeSet::new(),
            outbound: Vec::new(),
            outbound_private: Vec::new(),
            response_headers: Vec::new(),
        }
    }
}

fn message_bytes() -> usize {
    MESSAGE_BYTES
}

/// All limits that an operator can set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The most rooms with an instance at the same time; the least recently used hibernate first (LRU). Each takes an
    /// address range of `memory_bytes`, and about 45 KB of memory once it has run.
    pub awake_rooms: u32,
    /// Of these, how many instances keep their memory mapped when they are dropped, about 90 KB each, so that the next
    /// wake is 20 µs faster.
    pub warm_rooms: u32,
    /// The memory of one instance, in bytes; at most 1 GiB.
    pub memory_bytes: usize,
    /// The elements of one instance's tables: functions that it may call by reference.
    pub table_elements: usize,
    /// CPU time of a turn after which it is logged.
    #[serde(with = "duration")]
    pub turn_cpu_slow: Duration,
    /// CPU time of a turn after which it traps.
    #[serde(with = "duration")]
    pub turn_cpu: Duration,
    /// The most output of a turn, in bytes.
    pub turn_output_bytes: usize,
    /// The most log lines of a turn.
    pub turn_log_lines: u32,
    /// Log lines a second of a room, including those about its failures, and ten times as many in a burst; 0 for no
    /// limit.
    pub log_lines_per_second: u32,
    /// The most calls to other rooms and requests to servers in one turn.
    pub turn_calls: u32,
    /// The time for all of them together, counted from the start of the first: the room waits no longer than that.
    #[serde(with = "duration")]
    pub turn_calls_timeout: Duration,
    /// Turns of a room that may wait for the disk before its next turn has to wait.
    pub uncommitted_turns: usize,
    /// The most rooms in memory, awake or asleep. Above it, no further room can be entered. 0 for no limit.
    pub rooms: usize,
    /// The most that a room may store, in bytes of its keys and values. 0 for no limit.
    pub room_bytes: u64,
    /// Memory of the process, in bytes. Above it, new sockets and requests get 503, idle rooms hibernate, and queues
    /// are a sixteenth as long. 0 for four fifths of the memory of the machine or its control group.
    pub memory_total_bytes: u64,
    /// The most sockets of a room.
    pub sockets_per_room: usize,
    /// Bytes that may wait for a socket before it is closed with 1013.
    pub socket_queue_bytes: usize,
    /// Messages of one socket that may wait for their turns before it is read no further (backpressure).
    pub events_per_socket: usize,
    /// Events of one room that may wait. Above it, sockets are read no further and requests get 503.
    pub events_per_room: usize,
    /// Messages a second of one socket, and ten times as many in a burst. A ping counts, and so does each fragment of a
    /// message. 0 for no limit; with `auth = "dev"` there is none.
    pub messages_per_second: u32,
    /// Messages a second of one user over all sockets and requests, and ten times as many in a burst. Each request
    /// counts as one message, and each new socket as four. 0 for no limit; with `auth = "dev"` there is none.
    pub messages_per_second_per_user: u32,
    /// The most sockets of one user. 0 for no limit; with `auth = "dev"` there is none.
    pub sockets_per_user: usize,
    /// The most rooms that one user has sockets in at the same time. 0 for no limit; with `auth = "dev"` there is none.
    pub rooms_per_user: usize,
    /// A silent socket gets a ping this often.
    #[serde(with = "duration")]
    pub ping_every: Duration,
    /// A socket that stays silent for this long after a ping is closed with 4408.
    #[serde(with = "duration")]
    pub pong_timeout: Duration,
    /// A closing handshake may take this long before the connection is cut.
    #[serde(with = "duration")]
    pub close_timeout: Duration,
    /// The most connections in all.
    pub connections: usize,
    /// The most connections from one address, or from one /64 of IPv6. 0 for no limit; with `auth = "dev"` there is
    /// none.
    pub connections_per_address: usize,
    /// New connections a second of one address, and ten times as many in a burst. A connection pays for its first
    /// request and its first socket; each further socket costs as much as a connect, and each further request a tenth.
    /// 0 for no limit; with `auth = "dev"` there is none.
    pub connects_per_second_per_address: u32,
    /// The most HTTP requests at the same time. Each counts until its answer is sent.
    pub requests: u32,
    /// Of these, requests of one user. 0 for no limit; with `auth = "dev"` there is none.
    pub requests_per_user: u32,
    /// Of these, requests from one address, or from one /64 of IPv6. 0 for no limit; with `auth = "dev"` there is none.
    pub requests_per_address: u32,
    /// Of these, requests to one room. 0 for no limit.
    pub requests_per_room: u32,
    /// Of these, requests to the rooms of one namespace. 0 for no limit.
    pub requests_per_namespace: u32,
    /// The most requests without an identity at the same time; they do not count as `requests`. One address may have a
    /// quarter of them.
    pub anonymous_requests: u32,
    /// The most bytes of request bodies that are being read or answered.
    pub request_bytes: usize,
    /// Of these, bytes of one user. 0 for no limit; with `auth = "dev"` there is none.
    pub request_bytes_per_user: usize,
    /// The most bytes of answers that clients have not read yet.
    pub answer_bytes: usize,
    /// Of these, bytes of one user; a single answer may have any length. 0 for no limit; with `auth = "dev"` there is
    /// none.
    pub answer_bytes_per_user: usize,
    /// Of these, bytes on one connection; a single answer may have any length. 0 for no limit.
    pub answer_bytes_per_connection: usize,
    /// The head of a request must arrive within this time.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// An HTTP/1.1 connection may be idle this long between two requests. A proxy in front must close its idle
    /// connections earlier, or it sends requests into closed ones.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// The body of a request must arrive within this time.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// A client must read what was sent to it within this time, or the connection is cut; of an answer, each piece of
    /// 16 KiB.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// A room must answer within this time, or the client gets a 503.
    #[serde(with = "duration")]
    pub answer_timeout: Duration,
    /// The longest body of a request, in bytes; at most 1 MiB.
    pub body_bytes: usize,
    /// The most unused tickets at the same time.
    pub tickets: usize,
    /// Of these, tickets of one user. 0 for no limit; with `auth = "dev"` there is none.
    pub tickets_per_user: usize,
    /// A shutdown may take this long.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
    /// With fewer free bytes on the data disk, turns may not write.
    pub min_free_bytes: u64,
    /// Bytes of commits on their way to the disk above which rooms wait.
    pub commit_queue_bytes: usize,
    /// A disk sync that takes longer is reported.
    #[serde(with = "duration")]
    pub slow_sync: Duration,
    /// Memory for the cache of disk reads, in bytes.
    pub store_cache_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        // The longest message that their protocol allows a client is a chat line of 12 KB; their own messages can be a
        // history of hundreds of those.
        let builtin = |component| Namespace { message_in_bytes: 64 << 10, ..Namespace::of(component) };
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8787)),
            data: "./dormouse-data".into(),
            base_path: "/api/realtime".into(),
            hibernate_after: Duration::from_secs(10),
            tls: None,
            h2c: false,
            trusted_proxies: Vec::new(),
            identity: Identity::default(),
            namespaces: BTreeMap::from([
                ("ROOMS".into(), builtin("builtin:chat-room")),
                ("PRESENCE".into(), builtin("builtin:presence-tracker")),
            ]),
            response_headers: Vec::new(),
            router: "builtin:router".into(),
            page: true,
            admin: None,
            outbound_ca: None,
            limits: Limits::default(),
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Identity {
            auth: Auth::Dev,
            keys: Vec::new(),
            jwks: None,
            audience: None,
            issuer: None,
            cookie: "dormouse_token".into(),
            allowed_origins: Vec::new(),
            hosts: Vec::new(),
            leeway: Duration::from_secs(30),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            // A live instance takes four of the kernel's 65,530 memory maps: 10,000 of them leave enough for the rest.
            awake_rooms: 10_000,
            warm_rooms: 128,
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            turn_cpu_slow: Duration::from_millis(50),
            turn_cpu: Duration::from_secs(1),
            turn_output_bytes: 16 << 20,
            turn_log_lines: 100,
            // At most 4 KiB each, so 35 GB a day if a room does nothing else.
            log_lines_per_second: 100,
            turn_calls: 32,
            turn_calls_timeout: Duration::from_secs(10),
            uncommitted_turns: 1_024,
            // They take 1 to 4 KB each.
            rooms: 1_000_000,
            room_bytes: 1 << 30,
            memory_total_bytes: 0,
            sockets_per_room: 32_768,
            socket_queue_bytes: 1 << 20,
            events_per_socket: 64,
            events_per_room: 4_096,
            messages_per_second: 50,
            messages_per_second_per_user: 100,
            // Enough for every tab of every device of a busy person.
            sockets_per_user: 200,
            rooms_per_user: 100,
            ping_every: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            connections: 100_000,
            // Enough for a company behind one address, but not for a machine that wants all places.
            connections_per_address: 4_096,
            connects_per_second_per_address: 100,
            requests: 1_024,
            // It takes eight users to fill all places, since one may have an eighth.
            requests_per_user: 128,
            // Enough for a company behind one address.
            requests_per_address: 256,
            // A room that waits for a slow server leaves half of the places to the others.
            requests_per_room: 512,
            requests_per_namespace: 768,
            // A router answers each of them in well under a millisecond.
            anonymous_requests: 256,
            // 64 of the longest bodies; one user may have eight.
            request_bytes: 64 << 20,
            request_bytes_per_user: 8 << 20,
            // 16 of the longest answers; one user may have two, and one connection one.
            answer_bytes: 256 << 20,
            answer_bytes_per_user: 32 << 20,
            answer_bytes_per_connection: 16 << 20,
            header_timeout: Duration::from_secs(10),
            // More than the 60 s of nginx, AWS's load balancers and many others.
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(30),
            body_bytes: 1 << 20,
            tickets: 100_000,
            // A ticket is used at once and expires after 30 s: so many tabs can connect at the same moment.
            tickets_per_user: 32,
            drain_timeout: Duration::from_secs(8),
            min_free_bytes: 64 << 20,
            commit_queue_bytes: 64 << 20,
            slow_sync: Duration::from_secs(10),
            store_cache_bytes: 64 << 20,
        }
    }
}

/// Why a configuration cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error.
        source: FileProblem,
    },
    /// It is not TOML, has an unknown key, or a value of the wrong type.
    #[error("{path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The problem, its place, and the key that may have been meant.
        message: String,
    },
    /// A value cannot be used.
    #[error("{key}: {problem}")]
    Invalid {
        /// The key, with dots.
        key: String,
        /// The problem, and how to solve it.
        problem: String,
    },
}

impl ConfigError {
    pub(crate) fn invalid(key: impl Into<String>, problem: impl Into<String>) -> Self {
        ConfigError::Invalid { key: key.into(), problem: problem.into() }
    }
}

impl Config {
    /// Reads a configuration file. Relative paths in it are relative to the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.into(), source: error.into() })?;
        let text = with_numbers_for_names(text);
        let mut config = Self::parse(&text).map_err(|message| ConfigError::Parse { path: path.into(), message })?;
        config.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Reads a configuration from text. Addresses are numbers or `localhost`: no name is looked up. The error names the
    /// problem and the nearest known key.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let message = error.to_string();
            match nearest_key(&message) {
                Some(key) => format!("{}; did you mean `{key}`?", message.trim_end()),
                None => message.trim_end().to_owned(),
            }
        })
    }

    fn resolve(&mut self, directory: &Path) {
        // An empty path would become the directory itself; it stays, to be refused.
        if !self.data.as_os_str().is_empty() {
            self.data = directory.join(&self.data);
        }
        let components = self.namespaces.values_mut().map(|namespace| &mut namespace.component);
        for component in components.chain([&mut self.router]) {
            if !component.is_empty() && !component.starts_with("builtin:") {
                *component = directory.join(&*component).to_string_lossy().into_owned();
            }
        }
        self.outbound_ca = self.outbound_ca.take().map(|file| directory.join(file));
        if let Some(tls) = &mut self.tls {
            tls.cert = directory.join(&tls.cert);
            tls.key = directory.join(&tls.key);
        }
        self.identity.jwks = self.identity.jwks.take().map(|file| directory.join(file));
        if let Some(admin) = &mut self.admin {
            admin.token_file = admin.token_file.take().map(|file| directory.join(file));
        }
        for key in &mut self.identity.keys {
            key.file = directory.join(&key.file);
            key.private_file = key.private_file.take().map(|file| directory.join(file));
        }
    }
}

impl Identity {
    /// Whether tokens are accepted without proof.
    pub(crate) fn is_dev(&self) -> bool {
        self.auth == Auth::Dev
    }
}

impl Limits {
    /// The same limits, with those that are 0 for "no limit" set to the highest number: rooms and the store compare
    /// with them.
    pub(crate) fn with_zeros_off(mut self) -> Self {
        if self.rooms == 0 {
            self.rooms = usize::MAX;
        }
        if self.room_bytes == 0 {
            self.room_bytes = u64::MAX;
        }
        self
    }
}

/// Parses an address to listen on, such as `127.0.0.1:8787`, or a name and a port, which is looked up. An IPv4 address
/// is preferred, since the default is one.
pub fn resolve_address(text: &str) -> Result<SocketAddr, String> {
    read_address(text)?.map_or_else(
        || {
            let found = text.to_socket_addrs().map_err(|error| format!("`{text}` cannot be looked up: {error}"))?;
            let found = found.collect::<Vec<_>>();
            let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
            first.copied().ok_or_else(|| format!("`{text}` has no address"))
        },
        Ok,
    )
}

/// Parses an address without a look-up; absent for a name other than `localhost`.
fn read_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if let Ok(address) = text.parse() {
        return Ok(Some(address));
    }
    let no_address = |problem: &str| {
        format!(
            "`{text}` is not an address to listen on: {problem}; write 127.0.0.1:8787 or localhost:8787, for example"
        )
    };
    let (name, port) = text.rsplit_once(':').ok_or_else(|| no_address("it has no port"))?;
    let port = port.parse::<u16>().map_err(|_| no_address("its port is not a number up to 65535"))?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    // A name that ends in a number is most likely a mistyped address.
    let last_is_number = name.trim_end_matches('.').rsplit('.').next().is_some_and(|part| part.parse::<u64>().is_ok());
    if name.is_empty() || !is_name || last_is_number {
        return Err(no_address("its host is not valid"));
    }
    let is_this_machine = name.eq_ignore_ascii_case("localhost");
    Ok(is_this_machine.then(|| SocketAddr::from(([127, 0, 0, 1], port))))
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let address = read_address(&text).map_err(serde::de::Error::custom)?;
    address.ok_or_else(|| serde::de::Error::custom(format!("`{text}` cannot be looked up, or has no address")))
}

/// The text of a file, with addresses in the place of names to listen on. Names that cannot be looked up stay, and
/// [`Config::parse`] reports them.
fn with_numbers_for_names(text: String) -> String {
    let Ok(mut file) = text.parse::<toml::Table>() else { return text };
    let mut names = 0;
    let mut look_up = |value: Option<&mut toml::Value>| {
        if let Some(toml::Value::String(name)) = value
            && matches!(read_address(name), Ok(None))
            && let Ok(address) = resolve_address(name)
        {
            *name = address.to_string();
            names += 1;
        }
    };
    look_up(file.get_mut("listen"));
    look_up(file.get_mut("admin").and_then(|admin| admin.get_mut("listen")));
    // The original text has the line numbers for errors.
    if names > 0 { file.to_string() } else { text }
}

/// Settings that had another name before 0.1.0, and their names now.
const RENAMED: [(&str, &str); 9] = [
    ("header_within", "header_timeout"),
    ("idle_within", "idle_timeout"),
    ("body_within", "body_timeout"),
    ("sent_within", "write_timeout"),
    ("answer_within", "answer_timeout"),
    ("pong_within", "pong_timeout"),
    ("close_within", "close_timeout"),
    ("drain_within", "drain_timeout"),
    ("turn_calls_within", "turn_calls_timeout"),
];

/// The new name of the unknown key in serde's error, or else the known key that is nearest to it.
fn nearest_key(message: &str) -> Option<String> {
    let (_, complaint) = message.split_once("unknown field `")?;
    let (unknown, known) = complaint.split_once('`')?;
    if let Some((_, new)) = RENAMED.iter().find(|(old, _)| *old == unknown) {
        return Some((*new).to_owned());
    }
    nearest(unknown, known.split('`').skip(1).step_by(2)).map(str::to_owned)
}

fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.max_by(|a, b| strsim::jaro_winkler(a, unknown).total_cmp(&strsim::jaro_winkler(b, unknown)))
}

/// Parses a duration such as `10s`, `250ms` or `1m 30s`.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    const EXAMPLE: &str = "write one such as \"10s\", \"250ms\" or \"1m 30s\"";
    let trimmed = text.trim();
    match trimmed {
        "" => Err(format!("a duration must not be empty; {EXAMPLE}")),
        _ if trimmed.starts_with('-') => Err(format!("`{text}` is negative, and a duration cannot be; {EXAMPLE}")),
        // humantime takes a 0 alone.
        _ if trimmed != "0" && trimmed.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("`{text}` has no unit; write \"{trimmed}s\" or \"{trimmed}ms\""))
        }
        _ => humantime::parse_duration(trimmed)
            .map_err(|error| format!("`{text}` is not a duration: {error}; {EXAMPLE}")),
    }
}

/// Parses networks such as `10.0.0.0/8`, and single addresses.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| network(text).map_err(serde::de::Error::custom)).collect()
}

fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network = text.parse::<IpNet>().map_err(|_| {
        format!("`{text}` is neither an address nor a network; write one such as `10.0.0.5` or `10.0.0.0/8`")
    })?;
    if network.trunc() == network {
        return Ok(network);
    }
    let (whole, address) = (network.trunc(), network.addr());
    Err(format!("`{text}` is an address in the network {whole}; write `{whole}` for all of it, or `{address}` alone"))
}

/// Parses durations such as `10s`, `250ms` or `1m 30s`.
mod duration {
    use std::fmt;
    use std::time::Duration;

    use serde::Deserializer;
    use serde::de::{Error, Visitor};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(InText)
    }

    struct InText;

    impl Visitor<'_> for InText {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration with its unit, such as \"10s\" or \"250ms\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            super::read_duration(text).map_err(E::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_nearest_known_one() {
        let error = Config::parse("hibernate_aftr = \"1s\"").unwrap_err();
        assert!(error.contains("did you mean `hibernate_after`?"), "{error}");
        let error = Config::parse("[limits]\nawake_room = 1").unwrap_err();
        assert!(error.contains("did you mean `awake_rooms`?"), "{error}");
        for (old, new) in RENAMED {
            let error = Config::parse(&format!("[limits]\n{old} = \"1s\"")).unwrap_err();
            assert!(error.contains(&format!("did you mean `{new}`?")), "{error}");
            assert!(Config::parse(&format!("[limits]\n{new} = \"1s\"")).is_ok(), "{new}");
        }
    }

    #[test]
    fn an_address_to_listen_on_may_be_a_name() {
        let listens = |text: &str| Config::parse(text).map(|config| config.listen.to_string());
        assert_eq!(listens("listen = \"localhost:80\""), Ok("127.0.0.1:80".into()));
        assert_eq!(listens("listen = \"[::1]:80\""), Ok("[::1]:80".into()));
        assert_eq!(resolve_address("LOCALHOST:0").map(|address| address.to_string()), Ok("127.0.0.1:0".into()));
        let admin = Config::parse("[admin]\nlisten = \"localhost:81\"").unwrap().admin.unwrap();
        assert_eq!(admin.listen.to_string(), "127.0.0.1:81");
        for (bad, says) in [
            ("", "no port"),
            ("localhost", "no port"),
            ("localhost:", "not a number"),
            ("localhost:65536", "not a number"),
            ("localhost:http", "not a number"),
            (":80", "its host is not valid"),
            ("local host:80", "its host is not valid"),
            ("http://localhost:80", "its host is not valid"),
            ("127.0.0.256:80", "its host is not valid"),
            ("::1:80", "its host is not valid"),
        ] {
            for problem in [resolve_address(bad).unwrap_err(), listens(&format!("listen = \"{bad}\"")).unwrap_err()] {
                assert!(problem.contains(says), "{bad}: {problem}");
            }
        }
        assert!(listens("listen = \"name.invalid:80\"").unwrap_err().contains("cannot be looked up"));
    }

    #[test]
    fn dev_auth_refuses_any_address_but_loopback() {
        let dev = |listen: &str| Config { listen: listen.parse().unwrap(), ..Config::default() }.check();
        assert!(dev("127.0.0.1:0").is_ok());
        assert!(dev("[::1]:80").is_ok());
        for other in ["0.0.0.0:80", "[::]:80", "192.168.1.4:80"] {
            assert!(dev(other).unwrap_err().to_string().contains("loopback"), "{other}");
        }
    }

    #[test]
    fn unusable_values_are_refused_with_their_key() {
        let refused = |text: &str| Config::parse(text).unwrap().check().unwrap_err().to_string();
        assert!(refused("base_path = \"/api/\"").starts_with("base_path:"));
        assert!(refused("[limits]\nawake_rooms = 0").starts_with("limits.awake_rooms:"));
        assert!(refused("[limits]\nwrite_timeout = \"0s\"").starts_with("limits.write_timeout:"));
        assert!(refused("[limits]\nmemory_bytes = 100").starts_with("limits.memory_bytes:"));
        for limit in
            ["turn_output_bytes", "socket_queue_bytes", "table_elements", "body_bytes", "tickets", "turn_calls"]
        {
            assert!(refused(&format!("[limits]\n{limit} = 0")).starts_with(&format!("limits.{limit}: must not be 0")));
        }
        for time in ["pong_timeout", "header_timeout", "body_timeout", "answer_timeout", "turn_calls_timeout"] {
            assert!(
                refused(&format!("[limits]\n{time} = \"0s\"")).starts_with(&format!("limits.{time}: must not be 0"))
            );
        }
        let namespace = "[namespaces.A]\ncomponent = \"x.wasm\"\nmessage_out_bytes = 0";
        assert!(refused(namespace).starts_with("namespaces.A.message_out_bytes: must not be 0"));
        assert!(refused("[identity]\nauth = \"jwt\"").starts_with("identity.keys:"));
        for bad in ["*", "null", "https://app.example/", "app.example", "https://*.example", "https://a.example:99999"]
        {
            let problem = refused(&format!("[identity]\nallowed_origins = [\"https://good.example\", \"{bad}\"]"));
            assert!(problem.starts_with("identity.allowed_origins: no browser sends `"), "{problem}");
            assert!(problem.contains(&format!("`{bad}`")), "{problem}");
        }
        let headers = |list: &str| refused(&format!("response_headers = [{list}]"));
        assert!(headers("\"x-ok\", \"Set-Cookie\"").contains("`Set-Cookie` is the host's to set"));
        assert!(headers("\"access-control-allow-origin\"").contains("the host's to set"));
        assert!(headers("\"a b\"").contains("not a header name"));
        let of_namespace = "[namespaces.A]\ncomponent = \"x\"\nresponse_headers = [\"connection\"]";
        assert!(refused(of_namespace).starts_with("namespaces.A.response_headers:"));
        let pem = "[identity]\nauth = \"jwt\"\nkeys = [{ algorithm = \"RS256\", file = \"x\", encoding = \"base64\" }]";
        assert!(refused(pem).starts_with("identity.keys: a key for RS256 is in PEM"));
        assert!(refused("[identity]\nhosts = [\"https://rooms.example\"]").starts_with("identity.hosts:"));
        assert!(refused("[identity]\nhosts = [\"rooms.example:443\"]").starts_with("identity.hosts:"));
        assert!(refused("[admin]\nlisten = \"0.0.0.0:8788\"").starts_with("admin.token_file:"));
        assert!(refused("[namespaces.\"a b\"]\ncomponent = \"x.wasm\"").starts_with("namespaces.a b:"));
    }
}

#[cfg(test)]
mod declared {
    use super::*;
    use crate::model::{Declared, Setting, SettingKind};

    fn check(key: &str, value: &str, message_out_bytes: usize) -> Result<(), String> {
        let keep = Setting { name: "keep_messages".into(), kind: SettingKind::Number { from: 1, to: 1_000 } };
        let title = Setting { name: "title".into(), kind: SettingKind::Text };
        let declared = Declared { settings: vec![keep, title], message_out_bytes: 4_096, ..Declared::default() };
        let config = [(key.to_owned(), value.to_owned())].into();
        let namespace = Namespace { config, message_out_bytes, ..Namespace::of("builtin:chat-room") };
        namespace.check_declared("ROOMS", &declared, &Limits::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_declared_by_a_component_are_checked_by_name() {
        assert_eq!(check("keep_messages", "10", 4_096), Ok(()));
        assert_eq!(check("title", "lots", MESSAGE_BYTES), Ok(()));
        let refused = |key, value, bytes| check(key, value, bytes).unwrap_err();
        let wrong = refused("keep_messages", "lots", 4_096);
        assert_eq!(wrong, "namespaces.ROOMS.config.keep_messages: \"lots\" is not a number from 1 to 1000");
        assert!(refused("keep_messages", "0", 4_096).contains("from 1 to 1000"));
        let misspelt = refused("keep_mesages", "10", 4_096);
        assert!(misspelt.starts_with("namespaces.ROOMS.config.keep_mesages:"), "{misspelt}");
        assert!(misspelt.ends_with("did you mean `keep_messages`?"), "{misspelt}");
        let little = refused("title", "x", 4_095);
        assert!(little.starts_with("namespaces.ROOMS.message_out_bytes:") && little.contains("4096"), "{little}");
    }
}

#[cfg(test)]
mod fuzz {
    use dormouse_fuzz::{fuzz, spoiled};

    use super::*;

    #[test]
    fn any_file_content_gives_a_configuration_or_an_error() {
        const EXAMPLES: [&[u8]; 4] = [
            b"listen = \"127.0.0.1:8787\"\nbase_path = \"/api/realtime\"\nhibernate_after = \"10s\"\npage = true\n",
            b"[identity]\nauth = \"jwt\"\nleeway = \"30s\"\nkeys = [{ algorithm = \"HS256\", file = \"jwt.secret\" }]\n",
            b"[namespaces.ROOMS]\ncomponent = \"a.wasm\"\ncalls = [\"ROOMS\"]\noutbound = [\"https://*.example:1\"]\nconfig.x = \"y\"\n",
            b"[limits]\nawake_rooms = 10_000\nmemory_bytes = 67_108_864\nturn_cpu = \"1m 30s\"\nping_every = \"25s\"\n",
        ];
        fuzz(spoiled(&EXAMPLES), |bytes| {
            let Ok(text) = String::from_utf8(bytes) else { return };
            match Config::parse(&text) {
                Ok(config) => drop(config.check()),
                Err(error) => assert!(!error.is_empty()),
            }
        });
    }
}
