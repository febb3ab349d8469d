//! Every limit and timeout, and what an operator can set: unit in the name, reason in the doc, checked once at start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use crate::model::{Address, Declared};
use crate::outbound::Allowed;
use crate::web_origin;

/// The longest key of a room's storage, in bytes: what Durable Objects allow.
pub const KEY_BYTES: usize = 2_048;
/// The largest value of a room's storage, in bytes.
pub const VALUE_BYTES: usize = 2 << 20;
/// What one turn may write, in bytes: it is held in memory until it is durable.
pub const TURN_WRITE_BYTES: usize = 16 << 20;
/// Entries or keys that one storage call gives at most.
pub const LIST_ENTRIES: usize = 1_000;
/// Bytes that one storage call gives at most.
pub const LIST_BYTES: usize = 16 << 20;
/// Tags a socket can have.
pub const TAGS: usize = 10;
/// The longest tag, in bytes.
pub const TAG_BYTES: usize = 256;
/// The largest attachment of a socket, in bytes: it stays in memory while the room sleeps.
pub const ATTACHMENT_BYTES: usize = 16_384;
/// The longest auto-response, and the longest text it answers, in bytes.
pub const AUTO_RESPONSE_BYTES: usize = 2_048;
/// The longest reason for a close, in bytes: RFC 6455's control frame of 125 without the code.
pub const CLOSE_REASON_BYTES: usize = 123;
/// Timers a room can have.
pub const TIMERS: usize = 1_000;
/// The longest name of a timer, in bytes.
pub const TIMER_NAME_BYTES: usize = 256;
/// The largest payload of a timer, in bytes.
pub const TIMER_PAYLOAD_BYTES: usize = 16_384;
/// The largest body of a room's HTTP answer, in bytes.
pub const RESPONSE_BYTES: usize = 16 << 20;
/// Headers of a room's HTTP answer.
pub const RESPONSE_HEADERS: usize = 64;
/// Headers of a component's HTTP answer that reach its client. The operator may add others with `response_headers`.
///
/// They say what the body is, how long it may be kept, and where to go on. Headers that speak about the whole origin, such
/// as `clear-site-data`, or to a proxy, such as `x-accel-redirect`, are not among them.
pub const FROM_ROOMS: [&str; 14] = [
    "accept-ranges",
    "allow",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-range",
    "content-type",
    "etag",
    "expires",
    "last-modified",
    "location",
    "retry-after",
    "vary",
];
/// Headers of an answer that the operator cannot add to these: they frame the answer, or the host sets them to keep what a
/// room says from acting for the whole origin.
pub const NEVER_FROM_ROOMS: [&str; 14] = [
    "connection",
    "content-length",
    "content-security-policy",
    "date",
    "dormouse-caller",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-content-type-options",
];
/// The longest message a room can be allowed to send or get, in bytes.
pub const MESSAGE_BYTES: usize = 1 << 20;
/// The largest body of a request that a room makes to another room or to a server, in bytes.
pub const CALL_BYTES: usize = 1 << 20;
/// The largest request that a room can post, in bytes: it is kept until it is taken.
pub const POST_BYTES: usize = 256 << 10;
/// Posts of a room that can wait to be taken.
pub const POSTS: usize = 1_000;
/// How often a post is tried before it is given up: for 16 hours.
pub const POST_TRIES: u32 = 100;
/// The longest wait between two tries of a post, in seconds. Before that it doubles from 2 s on.
pub const POST_BACKOFF_MOST_S: u64 = 600;
/// Posts of one room to rooms that are carried at the same time, each to another room; and as many to servers.
pub const POSTS_AT_ONCE_OF_A_ROOM: usize = 16;
/// Posts of all rooms to rooms that are carried at the same time, and as many to servers: each holds a task and an answer.
/// Namespaces have equal shares of them; the others wait in line.
pub const POSTS_AT_ONCE: usize = 1_024;
/// The longest body of a request that comes without an identity, in bytes: enough for a form or a login, and so small that
/// all `anonymous_requests` together hold 4 MiB.
pub const ANONYMOUS_BODY_BYTES: usize = 16 << 10;
/// One address may have this part of `anonymous_requests`: a quarter.
pub const ANONYMOUS_REQUESTS_AN_ADDRESS: u32 = 4;
/// A join costs a user as much as this many messages: a commit, a history and a frame to each member, and the same again
/// when the socket goes. A user with `sockets_per_user` sockets can still open all of them at once.
pub const JOIN_COST: u32 = 4;
/// A request on a connection that is there costs its address this part of a connect.
pub const REQUEST_COST: f64 = 0.1;
/// Lines of the process's log that wait to be written.
pub const LOG_LINES: usize = 16_384;
/// The same in bytes: some 2,000 of the longest lines that a room may log.
pub const LOG_BYTES: usize = 8 << 20;
/// How long whoever logs waits for space among them. After that, lines are lost until one is written.
pub const LOG_WAIT: Duration = Duration::from_millis(100);
/// Of these, how many of one namespace go to one room at the same time: as many turns share a commit.
pub const POSTS_AT_ONCE_TO_A_ROOM: usize = 32;
/// Likewise to one server: as many connections as a server may be expected to take from one client.
pub const POSTS_AT_ONCE_TO_A_SERVER: usize = 64;
/// The part of `awake_rooms` that may wait for other rooms and servers at the same time: one in this many. A room that waits
/// keeps its instance, so the others are for those that it waits for, and for all who wait for nobody.
pub const WAITING_ROOMS_PART: u32 = 2;
/// A host whose rooms wait longer than this for an instance says so in its health.
pub const INSTANCE_WITHIN: Duration = Duration::from_secs(5);
/// The largest component, in bytes: one of JavaScript has some 13 MB. What is larger takes minutes to compile.
pub const COMPONENT_BYTES: usize = 64 << 20;
/// Compiled components that are kept for the next start, in bytes: a component of JavaScript takes some 10 MB.
pub const COMPILED_BYTES: u64 = 256 << 20;
/// How long a compiled component is kept that no start has used.
pub const COMPILED_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Users and tokens that can be revoked at the same time. The file of all of them is written with each.
pub const REVOCATIONS: usize = 100_000;
/// The longest name of a user or a token that is revoked, in bytes: no token has a longer one.
pub const REVOCATION_BYTES: usize = 256;
/// Connections to the admin listener of those who have not shown its token, and as many of those who have. An operator and
/// a few programs need few.
pub const ADMIN_CONNECTIONS: usize = 32;
/// Answers a second, without the admin listener's token, that one address gets for long, and ten times as many at once: a
/// load balancer that asks for `/healthz` needs fewer.
pub const ADMIN_REFUSALS_PER_SECOND: u32 = 10;
/// The body of a request that the admin listener refuses is read for so long, so that its client sees the answer.
pub const ADMIN_DISCARD_WITHIN: Duration = Duration::from_secs(1);
/// Addresses whose pace at the admin listener is remembered.
pub const ADMIN_ADDRESSES: usize = 1_024;
/// Those who are turned away by the admin listener are reported in the log this often.
pub const ADMIN_LOG_EVERY: Duration = Duration::from_secs(60);
/// Waits before a failed timer is tried again, in seconds; after the last it is given up.
pub const TIMER_BACKOFF_S: [u64; 6] = [2, 4, 8, 16, 32, 64];

/// The wait before a timer, a close or a post is tried again that failed for want of what the host must give, such as space
/// on the disk, in seconds. Such a try is not counted; while the disk is full, none is made.
pub const HOST_BACKOFF_S: u64 = 5;

/// How Dormouse runs: what `dormouse.toml` says, and what is not said there.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it listens. A file may give a name, such as `localhost:8787`.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// The directory of its data. Where it is relative, it is beside the configuration file.
    pub data: PathBuf,
    /// Every route begins with it: `/`, or a path without a slash at its end.
    pub base_path: String,
    /// A room without events is hibernated after this time.
    #[serde(with = "duration")]
    pub hibernate_after: Duration,
    /// The certificate that clients are offered; without one, connections are plain HTTP.
    pub tls: Option<Tls>,
    /// Whether plain connections may speak HTTP/2, as some proxies do.
    pub h2c: bool,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Who may do what.
    pub identity: Identity,
    /// What binds names to kinds of rooms.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Headers that the answers of rooms and of the router may have beside [those that are known](FROM_ROOMS).
    pub response_headers: Vec<String>,
    /// The component that maps requests to rooms: a file, or `builtin:router`.
    pub router: String,
    /// Whether `/` serves the demo page.
    pub page: bool,
    /// A listener for whoever runs the server; absent, there is none.
    pub admin: Option<Admin>,
    /// Certificate authorities in PEM that rooms' requests to servers trust beside those that browsers trust.
    pub outbound_ca: Option<PathBuf>,
    /// What everything may use.
    pub limits: Limits,
}

/// What is needed to be spoken to over TLS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// A file with the certificate in PEM, and behind it those that lead to an authority.
    pub cert: PathBuf,
    /// A file with its private key in PEM.
    pub key: PathBuf,
}

/// Who somebody is, and from which pages they may come.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// How tokens are made.
    pub auth: Auth,
    /// Keys that tokens may be signed with; only with `auth = "jwt"`.
    pub keys: Vec<Key>,
    /// A file with more of them, as RFC 7517 has it. It is read again when it changes.
    pub jwks: Option<PathBuf>,
    /// What a token's `aud` must hold, where something is said here.
    pub audience: Option<String>,
    /// What a token's `iss` must be, where something is said here.
    pub issuer: Option<String>,
    /// The cookie that may carry the token.
    pub cookie: String,
    /// Origins whose pages may use cookies, open sockets and read answers, such as `https://example.org`; the server's
    /// own is always one.
    pub allowed_origins: Vec<String>,
    /// Names by which browsers may call the server, without a port, such as `rooms.example`. Where none is given: all,
    /// with `auth = "jwt"`. With `auth = "dev"` those of this machine (`localhost`, `127.0.0.1`, `[::1]`) are always among
    /// them, and others only when they are given: a name that leads here by a trick is a way around origins.
    pub hosts: Vec<String>,
    /// How far clocks may differ, when a token's `exp`, `nbf` and `iat` are judged.
    #[serde(with = "duration")]
    pub leeway: Duration,
}

/// A listener for whoever runs the server: who is out, and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where it listens. A file may give a name, such as `localhost:8788`.
    #[serde(default = "admin_address", deserialize_with = "address")]
    pub listen: SocketAddr,
    /// A file with the token, of at least 32 characters, that all but `/healthz` then asks for. Off a loopback address it
    /// must be there.
    pub token_file: Option<PathBuf>,
}

fn admin_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8788))
}

/// How tokens are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// `USERID:USERNAME`, believed as it is. Only on a loopback address, and without rate limits.
    Dev,
    /// Signed JSON Web Tokens.
    Jwt,
}

/// A key that tokens may be signed with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The one algorithm it is used with: `HS256`, `RS256`, `ES256` or `EdDSA`.
    pub algorithm: String,
    /// Which tokens it is for, by their `kid`; all of them where nothing is said.
    pub id: Option<String>,
    /// A file: the secret's bytes for HS256 (at least 32), a public key in PEM for the others.
    pub file: PathBuf,
    /// How the secret for HS256 is written in its file.
    #[serde(default)]
    pub encoding: Encoding,
    /// A file with the private key in PEM, for `dormouse token`; not used by the server.
    pub private_file: Option<PathBuf>,
}

/// How a secret is written in its file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As its bytes; one line end behind them does not count.
    #[default]
    Raw,
    /// In base64, with or without padding, in the standard alphabet or in the one for URLs.
    Base64,
}

/// Binds names to a kind of room.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    /// A component file, or `builtin:chat-room` or `builtin:presence-tracker`.
    pub component: String,
    /// Values handed to its rooms.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// The longest message that its rooms take, in bytes.
    #[serde(default = "message_bytes")]
    pub message_in_bytes: usize,
    /// The longest message that its rooms may send, in bytes.
    #[serde(default = "message_bytes")]
    pub message_out_bytes: usize,
    /// Namespaces that its rooms may call and post to, themselves included only where named.
    #[serde(default)]
    pub calls: BTreeSet<String>,
    /// Servers that its rooms may reach, at public addresses: origins such as `https://api.example`, or
    /// `https://*.example` for all below.
    #[serde(default)]
    pub outbound: Vec<String>,
    /// The same, at private and loopback addresses too.
    #[serde(default)]
    pub outbound_private: Vec<String>,
    /// Headers that its rooms' answers may have beside those that all may.
    #[serde(default)]
    pub response_headers: Vec<String>,
}

impl Namespace {
    /// Rooms of a component, with no configuration values and the largest messages.
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

impl Namespace {
    /// Check the values in `config` against what the component declares. `name` is the namespace's.
    pub(crate) fn check_declared(&self, name: &str, declared: &Declared) -> Result<(), ConfigError> {
        for (key, value) in &self.config {
            let invalid = |problem| ConfigError::invalid(format!("namespaces.{name}.config.{key}"), problem);
            match declared.settings.iter().find(|setting| setting.name == *key) {
                Some(setting) => setting.kind.check(value).map_err(invalid)?,
                None => return Err(invalid(self.unknown_setting(key, declared))),
            }
        }
        if self.message_out_bytes < declared.message_out_bytes {
            let (component, least) = (&self.component, declared.message_out_bytes);
            let problem = format!("{} is too little for {component}, which needs {least}", self.message_out_bytes);
            return Err(ConfigError::invalid(format!("namespaces.{name}.message_out_bytes"), problem));
        }
        Ok(())
    }

    fn unknown_setting(&self, key: &str, declared: &Declared) -> String {
        let names = declared.settings.iter().map(|setting| setting.name.as_str());
        match nearest(key, names) {
            Some(nearest) => format!("{} has no such setting; did you mean `{nearest}`?", self.component),
            None => format!("{} has no settings", self.component),
        }
    }
}

/// What everything may use.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Rooms that have an instance at the same time; the least recently used hibernate first. Each takes an address
    /// range of `memory_bytes`, and about 45 KB of memory once it has run.
    pub awake_rooms: u32,
    /// Of these, how many instances may keep their memory mapped for the next one when they are dropped, some 90 KB each.
    /// A room that finds no such place wakes 20 µs later.
    pub warm_rooms: u32,
    /// Memory of one instance, in bytes; at most 1 GiB.
    pub memory_bytes: usize,
    /// Elements of one instance's tables: functions it may call by reference.
    pub table_elements: usize,
    /// CPU a turn may use before it is logged.
    #[serde(with = "duration")]
    pub turn_cpu_slow: Duration,
    /// CPU a turn may use before it traps.
    #[serde(with = "duration")]
    pub turn_cpu: Duration,
    /// What a turn may say, in bytes.
    pub turn_output_bytes: usize,
    /// Lines a turn may log.
    pub turn_log_lines: u32,
    /// Lines a second that a room may log, those about its failures among them, and ten times as many at once; 0 for no
    /// limit.
    pub log_lines_per_second: u32,
    /// Calls to other rooms and requests to servers that a turn may make.
    pub turn_calls: u32,
    /// All of them together may take this long, from the first one's begin: so long does the room wait at most.
    #[serde(with = "duration")]
    pub turn_calls_within: Duration,
    /// Turns of a room that may wait for the disk before its next one does.
    pub uncommitted_turns: usize,
    /// Rooms in memory, awake or asleep. Above it nobody gets into one more. 0 for no limit.
    pub rooms: usize,
    /// What a room may keep, in bytes of its keys and values. 0 for no limit.
    pub room_bytes: u64,
    /// Memory of the process, in bytes, above which new sockets and requests are answered with 503, idle rooms hibernate,
    /// and queues are a sixteenth as long. 0 for four fifths of what the machine, or its control group, has.
    pub memory_total_bytes: u64,
    /// Sockets of a room.
    pub sockets_per_room: usize,
    /// Bytes that may wait for a socket before it is closed with 1013.
    pub socket_queue_bytes: usize,
    /// Messages of one socket that may wait for their turns before it is read no further.
    pub events_per_socket: usize,
    /// Events of one room that may wait: above it, sockets are read no further and requests are answered with 503.
    pub events_per_room: usize,
    /// Messages a second that one socket may send for long, and ten times as many at once. 0 for no limit; there is
    /// none with `auth = "dev"`.
    pub messages_per_second: u32,
    /// Messages a second that one user may send for long over all sockets and requests, and ten times as many at once.
    /// Each request is one message, and each new socket is four. 0 for no limit; there is none with `auth = "dev"`.
    pub messages_per_second_per_user: u32,
    /// Sockets of one user. 0 for no limit; there is none with `auth = "dev"`.
    pub sockets_per_user: usize,
    /// Rooms that one user has sockets in at the same time. 0 for no limit; there is none with `auth = "dev"`.
    pub rooms_per_user: usize,
    /// A socket is asked for a sign of life this often.
    #[serde(with = "duration")]
    pub ping_every: Duration,
    /// A socket that gives no sign of life for this long after it was asked is closed with 4408.
    #[serde(with = "duration")]
    pub pong_within: Duration,
    /// A goodbye may take this long before the connection is cut.
    #[serde(with = "duration")]
    pub close_within: Duration,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address, or from one /64 of IPv6. 0 for no limit; there is none with `auth = "dev"`.
    pub connections_per_address: usize,
    /// How many of them may come a second for long, and ten times as many at once. A connection pays for its first request
    /// and its first socket; each further socket costs as much as a connect, and each further request a tenth. 0 for no
    /// limit; there is none with `auth = "dev"`.
    pub connects_per_second_per_address: u32,
    /// HTTP requests that are answered at the same time. Each counts until its answer is sent.
    pub requests: u32,
    /// Of these, requests of one user. 0 for no limit; there is none with `auth = "dev"`.
    pub requests_per_user: u32,
    /// Of these, requests from one address, or from one /64 of IPv6. 0 for no limit; there is none with `auth = "dev"`.
    pub requests_per_address: u32,
    /// Of these, requests that one room answers. 0 for no limit.
    pub requests_per_room: u32,
    /// Of these, requests that the rooms of one namespace answer. 0 for no limit.
    pub requests_per_namespace: u32,
    /// Requests without an identity that are answered at the same time; they are not among `requests`. One address has a
    /// quarter of them.
    pub anonymous_requests: u32,
    /// Bytes of the bodies of requests that are being read or answered.
    pub request_bytes: usize,
    /// Of these, bytes of one user. 0 for no limit; there is none with `auth = "dev"`.
    pub request_bytes_per_user: usize,
    /// Bytes of answers that clients have not taken yet.
    pub answer_bytes: usize,
    /// Of these, bytes of one user; a single answer may have any length. 0 for no limit; there is none with `auth = "dev"`.
    pub answer_bytes_per_user: usize,
    /// Of these, bytes on one connection; a single answer may have any length. 0 for no limit.
    pub answer_bytes_per_connection: usize,
    /// The head of a request must arrive within this time.
    #[serde(with = "duration")]
    pub header_within: Duration,
    /// A connection of HTTP/1.1 may wait this long for its next request. A proxy in front must give its idle connections up
    /// earlier than that, or it sends requests into closed ones.
    #[serde(with = "duration")]
    pub idle_within: Duration,
    /// The body of a request must arrive within this time.
    #[serde(with = "duration")]
    pub body_within: Duration,
    /// What was sent to a client must be taken within this time, or the connection is cut; of an answer, each piece of
    /// 16 KiB.
    #[serde(with = "duration")]
    pub sent_within: Duration,
    /// A room must answer within this time, or the client gets a 503.
    #[serde(with = "duration")]
    pub answer_within: Duration,
    /// The body of a request, in bytes; at most 1 MiB.
    pub body_bytes: usize,
    /// Tickets that are valid at the same time.
    pub tickets: usize,
    /// Of these, how many one user may have that are not used yet. 0 for no limit; there is none with `auth = "dev"`.
    pub tickets_per_user: usize,
    /// Shutting down may take this long.
    #[serde(with = "duration")]
    pub drain_within: Duration,
    /// Below this many free bytes on the data disk no turn may write.
    pub min_free_bytes: u64,
    /// Bytes of commits on their way to the disk, above which rooms wait.
    pub commit_queue_bytes: usize,
    /// A sync that takes longer is reported.
    #[serde(with = "duration")]
    pub slow_sync: Duration,
    /// Memory for what was read from the disk, in bytes.
    pub store_cache_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        // The longest thing their protocol lets a client say is a chat line of 12 KB; what they say themselves can be a
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
            // A live instance takes four of the kernel's 65,530 memory maps: 10,000 leave room for everything else.
            awake_rooms: 10_000,
            warm_rooms: 128,
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            turn_cpu_slow: Duration::from_millis(50),
            turn_cpu: Duration::from_secs(1),
            turn_output_bytes: 16 << 20,
            turn_log_lines: 100,
            // 4 KiB each at most, so 35 GB a day if a room does nothing else.
            log_lines_per_second: 100,
            turn_calls: 32,
            turn_calls_within: Duration::from_secs(10),
            uncommitted_turns: 1_024,
            // At 1 to 4 KB each.
            rooms: 1_000_000,
            room_bytes: 1 << 30,
            memory_total_bytes: 0,
            sockets_per_room: 32_768,
            socket_queue_bytes: 1 << 20,
            events_per_socket: 64,
            events_per_room: 4_096,
            messages_per_second: 50,
            messages_per_second_per_user: 100,
            // Every tab of every device of a busy person, and no more.
            sockets_per_user: 200,
            rooms_per_user: 100,
            ping_every: Duration::from_secs(25),
            pong_within: Duration::from_secs(10),
            close_within: Duration::from_secs(5),
            connections: 100_000,
            // A company behind one address fits; a machine that wants all places does not.
            connections_per_address: 4_096,
            connects_per_second_per_address: 100,
            requests: 1_024,
            // Eight users together could take all places, and no single one more than an eighth.
            requests_per_user: 128,
            // A company behind one address fits.
            requests_per_address: 256,
            // A room that waits for a slow server leaves half of all places to the others.
            requests_per_room: 512,
            requests_per_namespace: 768,
            // A router turns each of them away in well under a millisecond.
            anonymous_requests: 256,
            // Sixty-four of the longest bodies; one user has eight.
            request_bytes: 64 << 20,
            request_bytes_per_user: 8 << 20,
            // Sixteen of the longest answers; one user has two, and one connection one.
            answer_bytes: 256 << 20,
            answer_bytes_per_user: 32 << 20,
            answer_bytes_per_connection: 16 << 20,
            header_within: Duration::from_secs(10),
            // Above the 60 s of nginx, AWS's load balancers and many others.
            idle_within: Duration::from_secs(75),
            body_within: Duration::from_secs(30),
            sent_within: Duration::from_secs(60),
            answer_within: Duration::from_secs(30),
            body_bytes: 1 << 20,
            tickets: 100_000,
            // A ticket is used at once and expires after 30 s: so many tabs may connect at the same moment.
            tickets_per_user: 32,
            drain_within: Duration::from_secs(8),
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
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no TOML, has a key that means nothing, or a value of the wrong kind.
    #[error("{path}: {message}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong, where, and what may have been meant.
        message: String,
    },
    /// A value does not work.
    #[error("{key}: {problem}")]
    Invalid {
        /// Its key, with dots.
        key: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

impl ConfigError {
    pub(crate) fn invalid(key: impl Into<String>, problem: impl Into<String>) -> Self {
        ConfigError::Invalid { key: key.into(), problem: problem.into() }
    }
}

impl Config {
    /// Read a configuration file. Files it names, and the directory of the data, are looked for beside it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let text = with_numbers_for_names(text);
        let mut config = Self::parse(&text).map_err(|message| ConfigError::Parse { path: path.into(), message })?;
        config.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Read a configuration from text. Addresses are numbers, or `localhost`: no name is looked up. The error says what is wrong, and names the nearest known key.
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
        self.data = directory.join(&self.data);
        let components = self.namespaces.values_mut().map(|namespace| &mut namespace.component);
        for component in components.chain([&mut self.router]) {
            if !component.starts_with("builtin:") {
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

    /// Check what can be checked without opening anything.
    pub fn check(&self) -> Result<(), ConfigError> {
        let path = &self.base_path;
        if !path.starts_with('/') || (path.len() > 1 && path.ends_with('/')) || path.contains(['?', '#', '%']) {
            return Err(ConfigError::invalid(
                "base_path",
                "must be `/`, or begin with a slash and not end with one, such as `/api/realtime`",
            ));
        }
        if self.namespaces.is_empty() {
            return Err(ConfigError::invalid("namespaces", "at least one is needed"));
        }
        for (name, namespace) in &self.namespaces {
            Address::check_namespace(name)
                .map_err(|error| ConfigError::invalid(format!("namespaces.{name}"), error.to_string()))?;
            if let Some(unknown) = namespace.calls.iter().find(|called| !self.namespaces.contains_key(*called)) {
                let problem = format!("there is no namespace `{unknown}`; name one that is configured");
                return Err(ConfigError::invalid(format!("namespaces.{name}.calls"), problem));
            }
            Allowed::new(&namespace.outbound, &namespace.outbound_private)
                .map_err(|error| ConfigError::invalid(format!("namespaces.{name}.outbound"), error.to_string()))?;
            check_response_headers(&format!("namespaces.{name}.response_headers"), &namespace.response_headers)?;
            at_most(&format!("namespaces.{name}.message_in_bytes"), namespace.message_in_bytes, MESSAGE_BYTES)?;
            at_most(&format!("namespaces.{name}.message_out_bytes"), namespace.message_out_bytes, MESSAGE_BYTES)?;
            not_zero(&format!("namespaces.{name}.message_in_bytes"), namespace.message_in_bytes)?;
            not_zero(&format!("namespaces.{name}.message_out_bytes"), namespace.message_out_bytes)?;
        }
        check_response_headers("response_headers", &self.response_headers)?;
        self.limits.check()?;
        if let Some(admin) = &self.admin {
            admin.check()?;
        }
        self.identity.check(self.listen)
    }
}

impl Admin {
    fn check(&self) -> Result<(), ConfigError> {
        if self.listen.ip().is_loopback() || self.token_file.is_some() {
            return Ok(());
        }
        let problem = format!(
            "{} can be reached from elsewhere, so whoever asks there must show a token: name a file with one, such as \
             `openssl rand -hex 32` prints, or listen on 127.0.0.1",
            self.listen
        );
        Err(ConfigError::invalid("admin.token_file", problem))
    }
}

impl Identity {
    /// Whether everybody is believed.
    pub(crate) fn is_dev(&self) -> bool {
        self.auth == Auth::Dev
    }

    fn check(&self, listen: SocketAddr) -> Result<(), ConfigError> {
        match self.auth {
            Auth::Dev if !listen.ip().is_loopback() => Err(ConfigError::invalid(
                "identity.auth",
                format!(
                    "\"dev\" believes everybody, so it works on a loopback address only, and {listen} is none; \
                     use --auth jwt, or --listen 127.0.0.1:{}",
                    listen.port()
                ),
            )),
            Auth::Jwt if self.keys.is_empty() && self.jwks.is_none() => Err(ConfigError::invalid(
                "identity.keys",
                "auth = \"jwt\" needs at least one key or a file of keys, `jwks`, such as\n\n[[identity.keys]]\n\
                 algorithm = \"HS256\"\nfile = \"jwt.secret\"",
            )),
            _ => self.check_keys().and_then(|()| self.check_origins()).and_then(|()| self.check_hosts()),
        }
    }

    fn check_keys(&self) -> Result<(), ConfigError> {
        match self.keys.iter().find(|key| key.encoding == Encoding::Base64 && key.algorithm != "HS256") {
            Some(key) => Err(ConfigError::invalid(
                "identity.keys",
                format!("a key for {} is in PEM; `encoding` is for the secrets of HS256", key.algorithm),
            )),
            None => Ok(()),
        }
    }

    fn check_origins(&self) -> Result<(), ConfigError> {
        for origin in &self.allowed_origins {
            web_origin::normal(origin).map_err(|problem| {
                let problem = format!(
                    "no browser sends `{origin}`: {problem}; write scheme and host, and the port where it is not the \
                     usual one, such as `https://example.org`"
                );
                ConfigError::invalid("identity.allowed_origins", problem)
            })?;
        }
        Ok(())
    }

    fn check_hosts(&self) -> Result<(), ConfigError> {
        for host in &self.hosts {
            if web_origin::normal_host(host).is_none() {
                let problem =
                    format!("`{host}` is no name of a host; write it without scheme and port, such as `rooms.example`");
                return Err(ConfigError::invalid("identity.hosts", problem));
            }
        }
        Ok(())
    }
}

impl Limits {
    /// The same limits, in which those that are 0 for "no limit" are the highest numbers there are: rooms and the store
    /// compare with them.
    pub(crate) fn with_zeros_off(mut self) -> Self {
        if self.rooms == 0 {
            self.rooms = usize::MAX;
        }
        if self.room_bytes == 0 {
            self.room_bytes = u64::MAX;
        }
        self
    }

    fn check(&self) -> Result<(), ConfigError> {
        at_most("limits.memory_bytes", self.memory_bytes, 1 << 30)?;
        if !self.memory_bytes.is_multiple_of(64 << 10) || self.memory_bytes == 0 {
            return Err(ConfigError::invalid("limits.memory_bytes", "must be a multiple of 65,536, wasm's page"));
        }
        at_most("limits.body_bytes", self.body_bytes, 1 << 20)?;
        let at_least_one = [
            ("limits.awake_rooms", self.awake_rooms as usize),
            ("limits.requests", self.requests as usize),
            ("limits.uncommitted_turns", self.uncommitted_turns),
            ("limits.events_per_socket", self.events_per_socket),
            ("limits.events_per_room", self.events_per_room),
            ("limits.connections", self.connections),
            ("limits.sockets_per_room", self.sockets_per_room),
            ("limits.turn_cpu", self.turn_cpu.as_millis() as usize),
            ("limits.ping_every", self.ping_every.as_millis() as usize),
            ("limits.sent_within", self.sent_within.as_millis() as usize),
            ("limits.table_elements", self.table_elements),
            ("limits.turn_output_bytes", self.turn_output_bytes),
            ("limits.turn_log_lines", self.turn_log_lines as usize),
            ("limits.turn_calls", self.turn_calls as usize),
            ("limits.turn_calls_within", self.turn_calls_within.as_millis() as usize),
            ("limits.socket_queue_bytes", self.socket_queue_bytes),
            ("limits.pong_within", self.pong_within.as_millis() as usize),
            ("limits.header_within", self.header_within.as_millis() as usize),
            ("limits.body_within", self.body_within.as_millis() as usize),
            ("limits.answer_within", self.answer_within.as_millis() as usize),
            ("limits.body_bytes", self.body_bytes),
            ("limits.tickets", self.tickets),
            ("limits.commit_queue_bytes", self.commit_queue_bytes),
            ("limits.idle_within", self.idle_within.as_millis() as usize),
            ("limits.anonymous_requests", self.anonymous_requests as usize),
            ("limits.request_bytes", self.request_bytes),
            ("limits.answer_bytes", self.answer_bytes),
        ];
        for (key, value) in at_least_one {
            not_zero(key, value)?;
        }
        Ok(())
    }
}

/// 0 means "no limit" where a limit can be off. Where it cannot, 0 would stop everything, and is refused.
fn not_zero(key: &str, value: usize) -> Result<(), ConfigError> {
    let problem = "must not be 0, which would refuse everything; leave it out for the default";
    if value == 0 { Err(ConfigError::invalid(key, problem)) } else { Ok(()) }
}

/// The operator may let rooms send more headers, but none that frame the answer or keep a room within its bounds.
fn check_response_headers(key: &str, names: &[String]) -> Result<(), ConfigError> {
    for name in names {
        let lower = name.to_ascii_lowercase();
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        if !is_name {
            return Err(ConfigError::invalid(
                key,
                format!("`{name}` is no name of a header; write one such as `link`"),
            ));
        }
        if NEVER_FROM_ROOMS.contains(&lower.as_str()) || lower.starts_with("access-control-") {
            let problem = format!("`{name}` is the host's to set, and no room may send it; remove it from the list");
            return Err(ConfigError::invalid(key, problem));
        }
    }
    at_most(key, names.len(), RESPONSE_HEADERS)
}

fn at_most(key: &str, value: usize, most: usize) -> Result<(), ConfigError> {
    if value > most { Err(ConfigError::invalid(key, format!("{value} is more than {most}"))) } else { Ok(()) }
}

/// An address to listen on, such as `127.0.0.1:8787`, or a name and a port, which is looked up. An address of IPv4 is
/// preferred, since the default is one.
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

/// An address as far as it needs no look-up; absent for a name other than `localhost`.
fn read_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if let Ok(address) = text.parse() {
        return Ok(Some(address));
    }
    let no_address = |problem: &str| {
        format!("`{text}` is no address to listen on: {problem}; write one such as 127.0.0.1:8787 or localhost:8787")
    };
    let (name, port) = text.rsplit_once(':').ok_or_else(|| no_address("it has no port"))?;
    let port = port.parse::<u16>().map_err(|_| no_address("its port is no number up to 65535"))?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    // A name whose last part is a number would be a mistyped address.
    let last_is_number = name.trim_end_matches('.').rsplit('.').next().is_some_and(|part| part.parse::<u64>().is_ok());
    if name.is_empty() || !is_name || last_is_number {
        return Err(no_address("its host is none"));
    }
    let is_this_machine = name.eq_ignore_ascii_case("localhost");
    Ok(is_this_machine.then(|| SocketAddr::from(([127, 0, 0, 1], port))))
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let address = read_address(&text).map_err(serde::de::Error::custom)?;
    address.ok_or_else(|| serde::de::Error::custom(format!("`{text}` cannot be looked up, or has no address")))
}

/// The text of a file, with the addresses of those names that it wants to listen on. What cannot be looked up stays, for
/// [`Config::parse`] to complain of.
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
    // The text as it is written has lines to complain of.
    if names > 0 { file.to_string() } else { text }
}

/// The known key that comes nearest to the unknown one that serde complains about.
fn nearest_key(message: &str) -> Option<String> {
    let (_, complaint) = message.split_once("unknown field `")?;
    let (unknown, known) = complaint.split_once('`')?;
    nearest(unknown, known.split('`').skip(1).step_by(2)).map(str::to_owned)
}

fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.max_by(|a, b| strsim::jaro_winkler(a, unknown).total_cmp(&strsim::jaro_winkler(b, unknown)))
}

/// Durations as people write them: `10s`, `250ms`, `1m 30s`.
mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(serde::de::Error::custom)
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
            ("localhost:", "no number"),
            ("localhost:65536", "no number"),
            ("localhost:http", "no number"),
            (":80", "its host is none"),
            ("local host:80", "its host is none"),
            ("http://localhost:80", "its host is none"),
            ("127.0.0.256:80", "its host is none"),
            ("::1:80", "its host is none"),
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
    fn values_that_cannot_work_are_refused_with_their_key() {
        let refused = |text: &str| Config::parse(text).unwrap().check().unwrap_err().to_string();
        assert!(refused("base_path = \"/api/\"").starts_with("base_path:"));
        assert!(refused("[limits]\nawake_rooms = 0").starts_with("limits.awake_rooms:"));
        assert!(refused("[limits]\nsent_within = \"0s\"").starts_with("limits.sent_within:"));
        assert!(refused("[limits]\nmemory_bytes = 100").starts_with("limits.memory_bytes:"));
        for limit in
            ["turn_output_bytes", "socket_queue_bytes", "table_elements", "body_bytes", "tickets", "turn_calls"]
        {
            assert!(refused(&format!("[limits]\n{limit} = 0")).starts_with(&format!("limits.{limit}: must not be 0")));
        }
        for time in ["pong_within", "header_within", "body_within", "answer_within", "turn_calls_within"] {
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
        assert!(headers("\"a b\"").contains("no name of a header"));
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
    use crate::model::{Setting, SettingKind};

    fn check(key: &str, value: &str, message_out_bytes: usize) -> Result<(), String> {
        let keep = Setting { name: "keep_messages".into(), kind: SettingKind::Number { from: 1, to: 1_000 } };
        let title = Setting { name: "title".into(), kind: SettingKind::Text };
        let declared = Declared { settings: vec![keep, title], message_out_bytes: 4_096, ..Declared::default() };
        let config = [(key.to_owned(), value.to_owned())].into();
        let namespace = Namespace { config, message_out_bytes, ..Namespace::of("builtin:chat-room") };
        namespace.check_declared("ROOMS", &declared).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_component_declares_is_checked_by_name() {
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
    fn whatever_a_file_says_is_a_configuration_or_an_error() {
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
