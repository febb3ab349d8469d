//! Limits that nobody can configure, each with its reason. Settings of an operator are in [`config`](crate::config);
//! `wit/` names the limits that a guest meets, and a test compares the numbers.

use std::time::Duration;

/// The longest key of a room's storage, in bytes: as much as Durable Objects allow.
pub const KEY_BYTES: usize = 2_048;

/// The largest value of a room's storage, in bytes: as large as in Durable Objects. A value is read and written as a
/// whole.
pub const VALUE_BYTES: usize = 2 << 20;

/// The most that one turn may write, in bytes: it is held in memory until it is durable. It takes four such turns to
/// fill the default of `commit_queue_bytes`.
pub const TURN_WRITE_BYTES: usize = 16 << 20;

/// Overhead of a record, from the memory of the turn to the disk. It counts as written bytes, so that millions of tiny
/// records cannot exhaust host memory.
pub const RECORD_BYTES: usize = 64;

/// The most entries or keys that one storage call returns: a call cannot be interrupted, so it must be short.
pub const LIST_ENTRIES: usize = 1_000;

/// The most bytes that one storage call returns: they are held in the host's memory, as the writes of a turn are.
pub const LIST_BYTES: usize = 16 << 20;

/// The most tags of a socket: as many as Durable Objects allow.
pub const TAGS: usize = 10;

/// The longest tag, in bytes: as in Durable Objects.
pub const TAG_BYTES: usize = 256;

/// The largest attachment of a socket, in bytes: as in Durable Objects. It stays in memory while the room sleeps.
pub const ATTACHMENT_BYTES: usize = 16_384;

/// The longest auto-response, and the longest text that it answers, in bytes: as in Durable Objects.
pub const AUTO_RESPONSE_BYTES: usize = 2_048;

/// The longest id of a message, in bytes: it has space for a number and an incarnation several times over, and a client
/// sends it back in a header.
pub const EVENT_ID_BYTES: usize = 128;

/// The longest reason of a close frame, in bytes: RFC 6455 allows control frames of 125 bytes, and the code takes 2.
pub const CLOSE_REASON_BYTES: usize = 123;

/// The most bytes that a room exports about a user in one turn: they are in memory until they are sent, for each room
/// that is exported at the same time.
pub const EXPORTED_BYTES: usize = 4 << 20;

/// The longest text with which a room says where the next part of an export or an erasure begins, in bytes: two of
/// the keys that a room usually has fit.
pub const NEXT_PART_BYTES: usize = 1 << 10;

/// The most timers of a room: they are in memory while the room is, and the first that is due is found by looking at
/// all of them, which takes microseconds for this many.
pub const TIMERS: usize = 1_000;

/// The most timers that one turn may set and cancel, even if they are cancelled again: they are held until its end. A
/// turn can replace all timers of its room several times.
pub const TIMERS_CHANGED: usize = 10 * TIMERS;

/// The longest name of a timer, in bytes: as long as a tag.
pub const TIMER_NAME_BYTES: usize = 256;

/// The largest payload of a timer, in bytes: as large as an attachment, so that all timers of a room have 16 MiB at
/// most.
pub const TIMER_PAYLOAD_BYTES: usize = 16_384;

/// The largest body of a room's HTTP answer, in bytes: it is held in memory until it is sent. It is as much as a turn
/// may send over sockets.
pub const RESPONSE_BYTES: usize = 16 << 20;

/// The most bytes of server answers in host memory for one instance. An answer that is on its way counts with the
/// longest size, so four fit. A request without space for its answer waits, as long as a call may take.
pub const ANSWERS_BYTES: usize = 4 * RESPONSE_BYTES;

/// Overhead of an output of a turn, in bytes, so that a flood of empty outputs ends too: about the memory that an
/// output takes beside its content.
pub const OUTPUT_BYTES: usize = 64;

/// The most bytes that a message counts beside its own: those of an output, and those of its event id.
pub const MESSAGE_OVERHEAD_BYTES: usize = OUTPUT_BYTES + EVENT_ID_BYTES;

/// The most headers of a room's HTTP answer: the host adds its own, and some clients refuse an answer with more than
/// 100.
pub const RESPONSE_HEADERS: usize = 64;

/// The most instances of routers that wait for their next request, if the operator lets instances serve several: as
/// many requests can be routed at once without a new instance, and they hold some megabytes.
pub const IDLE_ROUTERS: u32 = 32;

/// The most requests that the operator may let one instance of the router serve: what an instance leaves behind, such as
/// memory, must end at some time.
pub const ROUTER_REUSE: u32 = 100_000;

/// The most rooms of one statement to the database: their rows are sent and locked together.
pub const STATEMENT_ROOMS: usize = 1_000;

/// The most commits and proofs of all rooms that are on their way to a database. Then rooms wait, as they do at
/// `commit_queue_bytes`: a proof has no bytes, and takes some hundred of memory.
pub const DATABASE_TURNS: usize = 65_536;

/// How long a room may take to move to another node, in milliseconds, and then how long its edges may take to follow:
/// its sockets wait meanwhile. It is about ten times what a busy database takes for one statement.
pub const HAND_OVER_MS: u64 = 2_000;

/// How long an open room may say nothing before its owner proves again that it owns the room, in milliseconds. So long,
/// at most, do sockets listen to an owner that was replaced without its knowledge. One statement proves a thousand
/// rooms.
pub const ROOM_CHECK_MS: u64 = 5_000;

/// The most messages that wait for a socket whose room came from another node, until its edge follows. Then it is closed.
pub const HELD_FRAMES: usize = 1_024;

/// How often an edge follows the answer that a room is elsewhere, before its clients have to try again: the first node
/// may not know of a move, and the second may be handing the room over.
pub const ROOM_HOPS: usize = 2;

/// Headers of a component's HTTP answer that reach its client. The operator may add others with `response_headers`.
///
/// They describe the body, how long it may be cached, and where to go on. Headers that affect the whole origin, such as
/// `clear-site-data`, or a proxy, such as `x-accel-redirect`, are not among them.
pub const ALLOWED_RESPONSE_HEADERS: [&str; 14] = [
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

/// Headers that the operator cannot add: they frame the answer, or the host sets them so that a room's answer cannot
/// act for the whole origin.
pub const FORBIDDEN_RESPONSE_HEADERS: [&str; 14] = [
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

/// The longest message that a room may send or receive, in bytes: as many as may wait for a socket by default. A
/// namespace can lower it.
pub const MESSAGE_BYTES: usize = 1 << 20;

/// The largest body of a request from a room to another room or to a server, in bytes: as large as that of a client.
/// The caller and the callee hold it in memory.
pub const CALL_BYTES: usize = 1 << 20;

/// The largest request that a room can post, in bytes: it is stored until it is accepted, and it is in memory while the
/// room is. So it is a quarter of a call.
pub const POST_BYTES: usize = 256 << 10;

/// The most posts of a room that can wait for delivery: 250 MiB of the largest ones.
pub const POSTS: usize = 1_000;

/// How often a post is tried before it is dropped: the tries take 16 hours, so that a server may be repaired in the
/// morning.
pub const POST_TRIES: u32 = 100;

/// The longest wait between two tries of a post, in seconds. The wait doubles from 2 s up to this, so that a server
/// that works again gets its posts within ten minutes.
pub const MAX_POST_BACKOFF_S: u64 = 600;

/// Posts of one room to rooms that are delivered at the same time, each to another room; and as many to servers. It
/// takes 64 such rooms to fill [`POSTS_AT_ONCE`].
pub const POSTS_AT_ONCE_OF_A_ROOM: usize = 16;

/// Posts of all rooms to rooms that are delivered at the same time, and as many to servers: each holds a task and an
/// answer, as a request of a client does. Namespaces have equal shares of them; the others wait in line.
pub const POSTS_AT_ONCE: usize = 1_024;

/// The longest body of a request without an identity, in bytes: enough for a form or a login, and so small that all
/// `anonymous_requests` together hold 4 MiB.
pub const ANONYMOUS_BODY_BYTES: usize = 16 << 10;

/// The share of `anonymous_requests` that one address may have: a quarter, so that one address does not shut out the
/// others.
pub const ANONYMOUS_REQUESTS_AN_ADDRESS: u32 = 4;

/// The most patterns in the grants of one token. A token with more should use wildcards.
pub const GRANTS: usize = 100;

/// The most bytes of patterns and permissions in the grants of one token: unused tickets hold them in memory.
pub const GRANTS_BYTES: usize = 4 << 10;

/// A join costs a user as much as this many messages: a commit, a history, a frame to each member, and the same again
/// when the socket closes. A user with `sockets_per_user` sockets can still open all of them at once.
pub const JOIN_COST: u32 = 4;

/// A further request on an open connection costs its address this part of a connect, which has a handshake, a task and
/// buffers of its own.
pub const REQUEST_COST: f64 = 0.1;

/// Frames per second that the client of an HTTP/2 connection may send, and ten times as many in a burst, in addition to
/// those that answers earn. A browser sends about ten before its first request, and an idle client a PING now and then.
/// Above the limit the connection is ended.
pub const HTTP2_FRAMES_PER_SECOND: u32 = 100;

/// Further frames that the client may send for each HEADERS frame and each DATA frame of at least
/// [`HTTP2_SMALL_DATA_BYTES`] that it is sent. A request takes one or two frames, and clients acknowledge 16 KiB of
/// DATA in steps of 4 KiB or more, once for the stream and once for the connection.
pub const HTTP2_FRAMES_FOR_AN_ANSWER: u32 = 8;

/// A DATA frame with fewer bytes costs the client a frame, and earns it none. Flow control limits longer ones.
pub const HTTP2_SMALL_DATA_BYTES: usize = 256;

/// The longest id and the longest name of a user, in bytes: an id is the `sub` of a token, which OpenID Connect limits
/// to 255 characters. Both are in memory for each socket.
pub const USER_BYTES: usize = 256;
/// The longest text that names the user for whom a service acts, in bytes: an id and a name with every byte escaped as
/// `\u0061`, and the JSON around them.
pub const ACT_BYTES: usize = 2 * 6 * USER_BYTES + 64;

/// The longest line that a room may log, and the longest error of a room, in bytes: a stack trace fits.
pub const LOG_LINE_BYTES: usize = 4_096;

/// The most lines of the process's log that wait to be written: as many as fit into [`LOG_BYTES`] if they have 512 B.
pub const LOG_LINES: usize = 16_384;

/// The same in bytes: about 2,000 of the longest lines that a room may log.
pub const LOG_BYTES: usize = 8 << 20;

/// How long a thread that logs waits for space in the queue. After that, lines are lost until one is written. A reader
/// that pauses for a moment loses none, and a turn that logs is not stopped for longer.
pub const LOG_WAIT: Duration = Duration::from_millis(100);

/// Of `POSTS_AT_ONCE`, how many of one namespace go to one room at the same time: as many turns share a commit.
pub const POSTS_AT_ONCE_TO_A_ROOM: usize = 32;

/// The same for one server: as many connections as a server may be expected to accept from one client.
pub const POSTS_AT_ONCE_TO_A_SERVER: usize = 64;

/// One in this many of `awake_rooms` may wait for other rooms and servers at the same time. A waiting room keeps its
/// instance, so the others are for the rooms that it waits for, and for rooms that do not wait.
pub const WAITING_ROOMS_PART: u32 = 2;

/// A host reports itself as unhealthy when rooms wait longer than this for an instance: idle rooms give theirs back
/// within milliseconds, and by default no turn computes for so long.
pub const INSTANCE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many turns of a room with new code can be taken back, which is when their failure stops the deploy: by then each
/// kind of event of a busy room has usually run. Until then each turn costs a copy of its event.
pub const FIRST_TURNS: u32 = 16;

/// How long an operator's program may take to send a component: the largest one at 2 Mbit/s.
pub const COMPONENT_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The most versions of the code of a namespace that are kept, with the one that runs: a fault that is found days later
/// can be undone over a few deploys. The largest components take 320 MiB then.
pub const DEPLOYED_VERSIONS: usize = 5;

/// How long a deploy to all rooms is watched unless it says otherwise: until then a failure of a room's first turns ends
/// it. Rooms that are in use have had their usual events by then, and the old code is in memory for so long.
pub const SETTLE_AFTER: Duration = Duration::from_secs(10 * 60);

/// The longest time for which a deploy can be watched.
pub const MAX_SETTLE_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// New code is tried on copies of the storage of this many rooms before it is deployed: with a few milliseconds each, a
/// deploy is not slower for it.
pub const TRIAL_ROOMS: usize = 8;

/// The largest storage of a room on whose copy new code is tried, in bytes. A copy is in memory, one at a time.
pub const TRIAL_BYTES: u64 = 16 << 20;

/// The largest component, in bytes: a JavaScript component has about 12 MB, and a larger one takes minutes to compile.
pub const COMPONENT_BYTES: usize = 64 << 20;

/// The most bytes of compiled components that are kept for the next start: a JavaScript component takes
/// about 46 MB, a Rust component about 1 MB.
pub const COMPILED_BYTES: u64 = 256 << 20;

/// The most files of an operator's own page.
pub const ASSETS: usize = 10_000;

/// The most bytes of all of them, since they are kept in memory.
pub const ASSETS_BYTES: u64 = 64 << 20;

/// The most folders in each other of such a page.
pub const ASSETS_DEPTH: usize = 16;

/// The most bytes of compiled functions that `dormouse dev` keeps in memory. The engine of a room in JavaScript has about
/// 15 MB of them.
pub const FUNCTION_CACHE_BYTES: usize = 128 << 20;

/// How long a compiled component is kept after its last use: one that is started once a month stays.
pub const COMPILED_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The most users and tokens that can be revoked at the same time. Each revocation writes the file of all of them,
/// which then has some megabytes.
pub const REVOCATIONS: usize = 100_000;

/// The longest id of a revoked user or token, in bytes: no token has a longer one.
pub const REVOCATION_BYTES: usize = 256;

/// The most connections to the admin listener without its token, and as many with it. An operator and a few programs
/// need few.
pub const ADMIN_CONNECTIONS: usize = 32;

/// Answers a second that one address gets from the admin listener without its token, and ten times as many in a burst:
/// a load balancer that polls `/healthz` needs fewer.
pub const ADMIN_REFUSALS_PER_SECOND: u32 = 10;

/// How long the body of a request is read that the admin listener refuses, so that its client sees the answer: enough
/// for a body of a few kilobytes on a slow line.
pub const ADMIN_DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// The most addresses whose rate at the admin listener is remembered: together they take less than 100 KB.
pub const ADMIN_ADDRESSES: usize = 1_024;

/// The most sessions of the dashboard at the same time: with more, the one that was not used for the longest time ends.
/// A few operators have a few browsers each.
pub const ADMIN_SESSIONS: usize = 64;

/// How long a session of the dashboard lasts: a working day, so that the token is typed once a day.
pub const ADMIN_SESSION_TIME: Duration = Duration::from_secs(12 * 60 * 60);

/// A session of the dashboard ends when it was not used for this long. A page that is shown asks every few seconds, and
/// one in the background does not.
pub const ADMIN_SESSION_IDLE: Duration = Duration::from_secs(60 * 60);

/// How often an answer of the admin listener that goes on for long, such as a live tail, checks that its session has not
/// ended by its time. A session that is ended and a token that is replaced end it at once.
pub const ADMIN_CREDENTIAL_EVERY: Duration = Duration::from_secs(10);

/// How often the numbers of the host are sampled for the plots of the dashboard.
pub const HISTORY_EVERY: Duration = Duration::from_secs(5);

/// The samples that are kept: a quarter of an hour. Each takes 850 B.
pub const HISTORY_SAMPLES: usize = 180;

/// How long the admin listener waits for the next part of an upload, and until a client has read a part of a download.
/// A download holds a snapshot of the store, which keeps replaced values on the disk, so a client that stopped must not
/// hold it for long. A part has 1 MiB at most.
pub const ADMIN_STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// How long another node of a cluster may take to answer the operator, beyond the time of its rooms. It does so from
/// memory, so longer means that it cannot be reached.
pub const ADMIN_NODE_ANSWER: Duration = Duration::from_secs(5);

/// The longest answer of another node to the operator, in bytes: a page of storage has some megabytes at most.
pub const ADMIN_NODE_ANSWER_BYTES: usize = 64 << 20;

/// The most rooms that are exported at the same time. Each holds a snapshot and a thread, and reads the disk.
pub const ADMIN_EXPORTS: usize = 4;

/// The log reports refused clients of the admin listener at most this often, so that a scan of ports does not fill it.
pub const ADMIN_LOG_EVERY: Duration = Duration::from_secs(60);

/// The most sockets of a room that an operator is shown at once: with long names, a megabyte.
pub const LISTED_SOCKETS: usize = 1_000;

/// The most timers of a room that an operator is shown at once.
pub const LISTED_TIMERS: usize = 100;

/// The most posts of a room that an operator is shown at once.
pub const LISTED_POSTS: usize = 100;

/// The most entries of a room's storage that are counted for an operator: reading them takes some milliseconds.
pub const LISTED_ENTRIES: usize = 10_000;

/// The most names that are read from the disk for one page of rooms, of which a filter may leave few: some
/// milliseconds.
pub const ROOMS_READ_A_PAGE: usize = 10_000;

/// The most lines that wait for one reader of a live tail. A line has some hundred bytes, and a few kilobytes at most.
pub const TAIL_LINES: usize = 1_024;

/// The most spans that wait for the collector of traces: about 1 KB each. At 1,000 spans a second, a collector may pause
/// for four seconds; later ones are lost and counted.
pub const SPANS_WAITING: usize = 4_096;

/// The most spans of one request to the collector, as the SDKs of OpenTelemetry have it.
pub const SPANS_A_BATCH: usize = 512;

/// How long a span waits for others of its batch. People who look for a trace notice longer times.
pub const SPANS_WAIT: Duration = Duration::from_secs(1);

/// The longest text of a span's attribute, in bytes: as long as the longest name of a room. Longer texts are cut.
pub const SPAN_TEXT_BYTES: usize = 512;

/// The time for the collector to answer, as the SDKs of OpenTelemetry have it.
pub const COLLECTOR_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a batch is sent to a collector that cannot take it: after a pause of one second, then of two.
pub const COLLECTOR_TRIES: u32 = 3;

/// The longest pause that a collector may ask for: the queue is full long before.
pub const COLLECTOR_WAIT: Duration = Duration::from_secs(30);

/// How often the log has a line about spans that the collector did not take.
pub const COLLECTOR_LINES_EVERY: Duration = Duration::from_secs(60);

/// The longest answer of the collector, in bytes. It has a number and a short text.
pub const COLLECTOR_ANSWER_BYTES: usize = 64 << 10;

/// The most time that a shutdown spends on spans that wait, of `drain_timeout`: a collector answers in milliseconds.
pub const SPANS_FLUSH: Duration = Duration::from_secs(2);

/// The most readers of live tails. Each line of a room is compared with each of them.
pub const TAIL_READERS: usize = 16;

/// The waits before a failed timer is tried again, in seconds; after the last it is dropped. Durable Objects retry an
/// alarm six times as well, first after two seconds.
pub const TIMER_BACKOFF_S: [u64; 6] = [2, 4, 8, 16, 32, 64];

/// The wait before a timer, a close or a post is tried again if it failed because the host lacked something, such as
/// space on the disk, in seconds. Such a try is not counted, and none is made while the disk is full. The operator sees
/// within seconds that the repair worked.
pub const HOST_BACKOFF_S: u64 = 5;

/// The most bytes of a token's claims that rooms get, as compact JSON: each open socket and each unused ticket holds
/// them in memory.
pub const CLAIMS_BYTES: usize = 4 << 10;

/// The most answers of the operator's own server about access that are kept. With more users at once, answers that
/// nothing uses make room, and are asked for again.
pub const AUTHORIZER_ANSWERS: usize = 100_000;

/// The same in bytes of questions and answers. Without claims both take about 300 B, and so 100,000 fit; the longest
/// claims take fourteen times as much.
pub const AUTHORIZER_ANSWERS_BYTES: usize = 32 << 20;

/// The most questions that the operator's own server gets at once: as many as one process answers without a queue of
/// its own.
pub const AUTHORIZER_CALLS: usize = 64;

/// Of these, how many may be about one user: a quarter, so that a user who joins many rooms keeps nobody waiting.
pub const AUTHORIZER_CALLS_OF_A_USER: usize = 16;

/// The most different questions that wait for their answer. With `AUTHORIZER_CALLS` at once and 10 ms each, this many
/// take a second and a half.
pub const AUTHORIZER_QUESTIONS: usize = 10_000;

/// The longest answer of the operator's own server about access, in bytes. Five permissions need 100.
pub const AUTHORIZER_ANSWER_BYTES: usize = 16 << 10;

/// The longest time in seconds that such an answer counts. A change of mind takes effect after it at the latest.
pub const AUTHORIZER_ANSWER_SECONDS: u64 = 300;

/// The shortest time in seconds that such an answer counts for an open socket, however short it says. The socket asks
/// again in the last quarter, so at least 10 s pass between two answers, and 10,000 sockets ask 1,000 questions a
/// second at most.
pub const AUTHORIZER_SOCKET_SECONDS: u64 = 14;

/// The most rooms, and the most users, of one hour whose use is stored one by one; the rest of the hour is stored
/// together. A record takes about 80 B on the disk, so a full hour of both takes 8 MB, and 35 days of them 7 GB.
pub const USAGE_NAMES_AN_HOUR: usize = 50_000;

/// The most rows of a page of usage: a page reads at most so many records of each of its hours.
pub const USAGE_ROWS: usize = 1_000;

/// How long a room keeps its counters before it reports them.
pub const USAGE_REPORT_EVERY: Duration = Duration::from_secs(30);

/// How often reports are written to the disk. With [`USAGE_REPORT_EVERY`] and the time of the write, a process that is
/// killed loses the use of its last minute at most.
pub const USAGE_WRITE_EVERY: Duration = Duration::from_secs(15);

/// The rooms of a page when all rooms are asked for the data of a user: an erasure writes its place after each page, and
/// after a restart the rooms of one page are asked again.
pub const USER_DATA_PAGE: usize = 500;

/// The rooms that are asked at the same time for the data of one user: each takes an instance for some milliseconds, and
/// rooms that clients use must not feel it.
pub const USER_DATA_ROOMS_AT_ONCE: usize = 4;

/// The longest rest after a room was asked for the data of a user; it rests as long as the room took. It is also how
/// often is looked whether memory and disk are free again.
pub const USER_DATA_PAUSE: Duration = Duration::from_millis(100);

/// The most parts in which one room exports or erases a user: with 100 messages each, ten million.
pub const PARTS_OF_A_ROOM: usize = 100_000;

/// The waits before rooms are tried again that could not erase a user, in seconds: a full disk or a busy room is often
/// free again after them.
pub const ERASE_AGAIN_AFTER_S: [u64; 4] = [1, 4, 16, 64];

/// The rooms of one erasure that are kept by name because they failed, and are tried again. Further ones are counted.
pub const FAILED_ROOMS: usize = 1_000;

/// The erasures of users that are kept, running or ended: the file of all of them has some megabytes then. Above it the
/// oldest ended ones are forgotten.
pub const ERASURES: usize = 10_000;

/// The erasures of users that wait for their turn: they run one after the other.
pub const ERASURES_WAITING: usize = 100;

/// Lines of an export of a user that wait to be sent, each of at most [`EXPORTED_BYTES`].
pub const EXPORT_LINES: usize = 16;

/// The exports of users at the same time. Each asks all rooms.
pub const USER_EXPORTS: usize = 1;

/// The erasures of a list that does not say how many, and the most.
pub const LISTED_ERASURES: (usize, usize) = (100, ERASURES);

/// How often the ids of erased users are forgotten whose time is over.
pub const FORGET_IDS_EVERY: Duration = Duration::from_secs(60 * 60);
