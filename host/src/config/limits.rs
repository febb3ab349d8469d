//! All limits that an operator can set, their defaults, and the reasons for most.

use std::time::Duration;

use serde::Deserialize;

use super::duration;

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
    /// are a sixteenth as long. 0 for four fifths of the memory of the machine or its control group. It must hold an
    /// idle process, `store_cache_bytes` and a first room.
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
    /// Messages a second of one service over all sockets and requests, and ten times as many in a burst. It counts as
    /// for a user, and it is the limit of each of its sockets too. 0 for no limit; with `auth = "dev"` there is none,
    /// and the same holds for the other limits of a service. They take the place of those of a user.
    pub service_messages_per_second: u32,
    /// The most sockets of one service, and its most unused tickets. 0 for no limit.
    pub service_sockets: usize,
    /// The most HTTP requests of one service at the same time, of all `requests`. 0 for no limit.
    pub service_requests: u32,
    /// The most bytes in the bodies of one service's requests, of all `request_bytes`. 0 for no limit.
    pub service_request_bytes: usize,
    /// The most bytes of answers that one service has not read yet, of all `answer_bytes`; a single answer may have any
    /// length. 0 for no limit.
    pub service_answer_bytes: usize,
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
    /// For this long before a shutdown closes anything, `/readyz` answers 503 and all else goes on, so that a load
    /// balancer sends new clients elsewhere. 0 for no delay.
    #[serde(with = "duration")]
    pub drain_delay: Duration,
    /// A shutdown may take this long, and then as long as a sync of the disk. Supervisors must wait for it before they
    /// kill the process.
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

impl Default for Limits {
    fn default() -> Self {
        Limits {
            // A live instance takes four of the kernel's 65,530 memory maps: 10,000 of them leave enough for the rest.
            awake_rooms: 10_000,
            // Their 90 KB each are 12 MB: enough for the rooms that wake again and again.
            warm_rooms: 128,
            // Half of what Durable Objects get. 10,000 instances reserve 640 GB of the 128 TB of addresses of a
            // process.
            memory_bytes: 64 << 20,
            // Enough for a JavaScript engine, the largest program that the examples run.
            table_elements: 20_000,
            // Other events of the room wait so long, which people begin to notice.
            turn_cpu_slow: Duration::from_millis(50),
            // Twenty times that: a room that computes for longer does not answer its clients.
            turn_cpu: Duration::from_secs(1),
            // 16 of the longest messages; they are in memory until the commit is durable.
            turn_output_bytes: 16 << 20,
            // As many as the room may log in a second.
            turn_log_lines: 100,
            // At most 4 KiB each, so 35 GB a day if a room does nothing else.
            log_lines_per_second: 100,
            // A call takes a millisecond on a quiet host, and the clients of the room wait for all of them.
            turn_calls: 32,
            // A third of `answer_timeout`, so that the client of a room that calls still gets its answer.
            turn_calls_timeout: Duration::from_secs(10),
            // A room on a disk that syncs in 100 ms can still run 10,000 turns a second.
            uncommitted_turns: 1_024,
            // They take 1 to 4 KB each.
            rooms: 1_000_000,
            // A room at the limit is counted by reading all of it, which takes seconds.
            room_bytes: 1 << 30,
            memory_total_bytes: 0,
            // A broadcast to so many takes 0.2 s of CPU, 5 µs each.
            sockets_per_room: 32_768,
            // One of the longest messages; a client that is further behind gets a history faster than what it missed.
            socket_queue_bytes: 1 << 20,
            // More than a second of messages at the rate below; a broadcast of their turns still goes out in order.
            events_per_socket: 64,
            // 64 sockets with full queues of their own; with turns of 20 µs they wait 0.1 s.
            events_per_room: 4_096,
            // Cursors and drawings send up to 60 a second for some seconds, people who type far fewer.
            messages_per_second: 50,
            // Two sockets of a user at their full rate.
            messages_per_second_per_user: 100,
            // Enough for every tab of every device of a busy person.
            sockets_per_user: 200,
            // Two sockets in each room, as with a chat and its presence.
            rooms_per_user: 100,
            // A core runs about ten times as many turns a second, so a back end leaves nine tenths to users.
            service_messages_per_second: 2_000,
            // A hundredth of all connections.
            service_sockets: 1_000,
            // Twice as many as a user, and a quarter of all.
            service_requests: 256,
            // A quarter of all bytes, as of requests; 16 of the longest bodies.
            service_request_bytes: 16 << 20,
            service_answer_bytes: 64 << 20,
            // Below the 30 s after which some networks forget a silent connection.
            ping_every: Duration::from_secs(25),
            // Longer than any round trip; with the ping, a lost client is noticed after 35 s.
            pong_timeout: Duration::from_secs(10),
            // A closing handshake is one round trip; half of `pong_timeout` is enough.
            close_timeout: Duration::from_secs(5),
            // Idle ones take 3 KB each: 300 MB.
            connections: 100_000,
            // Enough for a company behind one address, but not for a machine that wants all places.
            connections_per_address: 4_096,
            // All clients of a company come back within a minute of a restart, with ten seconds' worth at once.
            connects_per_second_per_address: 100,
            // Each holds a task, and an instance of the router at its beginning.
            requests: 1_024,
            // It takes eight users to fill all places, since one may have an eighth.
            requests_per_user: 128,
            // Enough for a company behind one address.
            requests_per_address: 256,
            // A room that waits for a slow server leaves half of the places to the others.
            requests_per_room: 512,
            // The same for a namespace, which leaves a quarter.
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
            // A head is one or two packets; a client that needs longer holds a connection for nothing.
            header_timeout: Duration::from_secs(10),
            // More than the 60 s of nginx, AWS's load balancers and many others.
            idle_timeout: Duration::from_secs(75),
            // The longest body on a line of 300 kbit/s.
            body_timeout: Duration::from_secs(30),
            // A phone that loses its network for a moment keeps its connection.
            write_timeout: Duration::from_secs(60),
            // Below the 60 s after which nginx and many load balancers give up.
            answer_timeout: Duration::from_secs(30),
            // As long as the longest message.
            body_bytes: 1 << 20,
            // One for each connection.
            tickets: 100_000,
            // A ticket is used at once and expires after 30 s: so many tabs can connect at the same moment.
            tickets_per_user: 32,
            // A server without a load balancer has nothing to wait for.
            drain_delay: Duration::ZERO,
            // Below the 10 s after which `docker stop` kills.
            drain_timeout: Duration::from_secs(8),
            // All commits of the queue below fit, so that a full disk is met before a write and not by it.
            min_free_bytes: 64 << 20,
            // Four turns with the most that one may write; at 100 MB/s the disk needs less than a second for it.
            commit_queue_bytes: 64 << 20,
            // A healthy disk takes milliseconds, a busy network disk a second or two.
            slow_sync: Duration::from_secs(10),
            // The index blocks of some gigabytes of rooms.
            store_cache_bytes: 64 << 20,
        }
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
