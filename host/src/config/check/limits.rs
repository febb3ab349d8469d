//! Refuses limits with which nothing would work, or which do not fit each other.

use std::time::Duration;

use super::{MOST_BYTES, MOST_THINGS, SHORTEST, bytes, duration_at_least, number};
use crate::config::{ConfigError, Limits};

/// Memory of a process without rooms, in bytes, besides the cache of the store. A debug and a release build had 39 MB
/// right after a first start, which compiles the components, and 15 MB after a second.
const IDLE_BYTES: u64 = 48 << 20;

/// Memory for a first room with its clients, in bytes. With less, each connect would begin a shortage.
const FIRST_ROOM_BYTES: u64 = 8 << 20;

/// The shortest longest body, in bytes: a short message with its `clientId` fits into it.
const LEAST_BODY_BYTES: u64 = 256;

/// The least CPU time of a turn: the time is measured this often.
const LEAST_CPU: Duration = Duration::from_millis(5);

/// The shortest wait for a client, a room, another server or the disk: a round trip or a sync may take that long.
const LEAST_WAIT: Duration = Duration::from_millis(100);

/// The least that a turn may send, that may wait for a socket, and that a room may store, in bytes. An error frame, and
/// the state of the smallest room, fit into it.
const LEAST_BYTES: u64 = 1_024;

impl Limits {
    /// Every limit is named here, so that none that is added is forgotten.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Limits {
            awake_rooms,
            warm_rooms,
            memory_bytes,
            table_elements,
            turn_cpu_slow,
            turn_cpu,
            turn_output_bytes,
            turn_log_lines,
            log_lines_per_second,
            turn_calls,
            turn_calls_timeout,
            uncommitted_turns,
            rooms,
            room_bytes,
            memory_total_bytes,
            sockets_per_room,
            socket_queue_bytes,
            events_per_socket,
            events_per_room,
            messages_per_second,
            messages_per_second_per_user,
            sockets_per_user,
            rooms_per_user,
            service_messages_per_second,
            service_sockets,
            service_requests,
            service_request_bytes,
            service_answer_bytes,
            ping_every,
            pong_timeout,
            close_timeout,
            connections,
            connections_per_address,
            connects_per_second_per_address,
            requests,
            requests_per_user,
            requests_per_address,
            requests_per_room,
            requests_per_namespace,
            anonymous_requests,
            request_bytes,
            request_bytes_per_user,
            answer_bytes,
            answer_bytes_per_user,
            answer_bytes_per_connection,
            header_timeout,
            idle_timeout,
            body_timeout,
            write_timeout,
            answer_timeout,
            body_bytes,
            tickets,
            tickets_per_user,
            drain_delay,
            drain_timeout,
            // `check_data` compares it with the size of the disk.
            min_free_bytes: _,
            commit_queue_bytes,
            slow_sync,
            store_cache_bytes,
        } = self;
        // 0 would refuse everything.
        for (key, value) in [
            ("limits.awake_rooms", u64::from(*awake_rooms)),
            ("limits.warm_rooms", u64::from(*warm_rooms)),
            ("limits.table_elements", *table_elements as u64),
            ("limits.turn_log_lines", u64::from(*turn_log_lines)),
            ("limits.turn_calls", u64::from(*turn_calls)),
            ("limits.uncommitted_turns", *uncommitted_turns as u64),
            ("limits.sockets_per_room", *sockets_per_room as u64),
            ("limits.events_per_socket", *events_per_socket as u64),
            ("limits.events_per_room", *events_per_room as u64),
            ("limits.connections", *connections as u64),
            ("limits.requests", u64::from(*requests)),
            ("limits.anonymous_requests", u64::from(*anonymous_requests)),
            ("limits.tickets", *tickets as u64),
        ] {
            number(key, value, 1, MOST_THINGS)?;
        }
        // 0 means "no limit".
        for (key, value) in [
            ("limits.log_lines_per_second", u64::from(*log_lines_per_second)),
            ("limits.rooms", *rooms as u64),
            ("limits.messages_per_second", u64::from(*messages_per_second)),
            ("limits.messages_per_second_per_user", u64::from(*messages_per_second_per_user)),
            ("limits.sockets_per_user", *sockets_per_user as u64),
            ("limits.rooms_per_user", *rooms_per_user as u64),
            ("limits.service_messages_per_second", u64::from(*service_messages_per_second)),
            ("limits.service_sockets", *service_sockets as u64),
            ("limits.service_requests", u64::from(*service_requests)),
            ("limits.connections_per_address", *connections_per_address as u64),
            ("limits.connects_per_second_per_address", u64::from(*connects_per_second_per_address)),
            ("limits.requests_per_user", u64::from(*requests_per_user)),
            ("limits.requests_per_address", u64::from(*requests_per_address)),
            ("limits.requests_per_room", u64::from(*requests_per_room)),
            ("limits.requests_per_namespace", u64::from(*requests_per_namespace)),
            ("limits.tickets_per_user", *tickets_per_user as u64),
        ] {
            number(key, value, 0, MOST_THINGS)?;
        }
        let page = 64 << 10;
        if !memory_bytes.is_multiple_of(page) || !(page..=1 << 30).contains(memory_bytes) {
            let near = memory_bytes.next_multiple_of(page).clamp(page, 1 << 30);
            let problem = format!(
                "{memory_bytes} must be a multiple of 65536, wasm's page, and at most {}; write {near} or the like",
                1 << 30
            );
            return Err(ConfigError::invalid("limits.memory_bytes", problem));
        }
        for (key, value, least, most) in [
            ("limits.turn_output_bytes", *turn_output_bytes as u64, LEAST_BYTES, MOST_BYTES),
            ("limits.socket_queue_bytes", *socket_queue_bytes as u64, LEAST_BYTES, MOST_BYTES),
            ("limits.request_bytes", *request_bytes as u64, 1, MOST_BYTES),
            ("limits.answer_bytes", *answer_bytes as u64, 1, MOST_BYTES),
            ("limits.body_bytes", *body_bytes as u64, LEAST_BODY_BYTES, 1 << 20),
            ("limits.commit_queue_bytes", *commit_queue_bytes as u64, 1, MOST_BYTES),
            ("limits.store_cache_bytes", *store_cache_bytes, 1, MOST_BYTES),
        ] {
            bytes(key, value, least, most)?;
        }
        for (key, value, least) in [
            ("limits.room_bytes", *room_bytes, LEAST_BYTES),
            ("limits.memory_total_bytes", *memory_total_bytes, 1),
            ("limits.request_bytes_per_user", *request_bytes_per_user as u64, 1),
            ("limits.service_request_bytes", *service_request_bytes as u64, 1),
            ("limits.service_answer_bytes", *service_answer_bytes as u64, 1),
            ("limits.answer_bytes_per_user", *answer_bytes_per_user as u64, 1),
            ("limits.answer_bytes_per_connection", *answer_bytes_per_connection as u64, 1),
        ] {
            if value != 0 {
                bytes(key, value, least, MOST_BYTES)?;
            }
        }
        for (key, value, least) in [
            ("limits.turn_cpu_slow", turn_cpu_slow, SHORTEST),
            ("limits.turn_cpu", turn_cpu, LEAST_CPU),
            ("limits.turn_calls_timeout", turn_calls_timeout, LEAST_WAIT),
            ("limits.ping_every", ping_every, LEAST_WAIT),
            ("limits.pong_timeout", pong_timeout, LEAST_WAIT),
            ("limits.close_timeout", close_timeout, LEAST_WAIT),
            ("limits.header_timeout", header_timeout, LEAST_WAIT),
            ("limits.idle_timeout", idle_timeout, LEAST_WAIT),
            ("limits.body_timeout", body_timeout, LEAST_WAIT),
            ("limits.write_timeout", write_timeout, LEAST_WAIT),
            ("limits.answer_timeout", answer_timeout, LEAST_WAIT),
            ("limits.drain_timeout", drain_timeout, LEAST_WAIT),
            ("limits.slow_sync", slow_sync, SHORTEST),
        ] {
            duration_at_least(key, *value, least)?;
        }
        if *drain_delay != Duration::ZERO {
            duration_at_least("limits.drain_delay", *drain_delay, SHORTEST)?;
        }
        self.check_memory()?;
        self.check_bodies()?;
        self.check_shares()
    }

    /// Below this much memory of the process, every request is refused: an idle process has it already, or has it as
    /// soon as the cache of the store is full.
    pub(super) fn least_memory(&self) -> u64 {
        IDLE_BYTES.saturating_add(self.store_cache_bytes).saturating_add(FIRST_ROOM_BYTES)
    }

    fn check_memory(&self) -> Result<(), ConfigError> {
        let (has, least) = (self.memory_total_bytes, self.least_memory());
        if has == 0 || has >= least {
            return Ok(());
        }
        let problem = format!(
            "{has} is less than the process needs to serve anything: {IDLE_BYTES} when it is idle, {} for \
             limits.store_cache_bytes, and {FIRST_ROOM_BYTES} for a first room; write at least {least}, or lower \
             limits.store_cache_bytes",
            self.store_cache_bytes
        );
        Err(ConfigError::invalid("limits.memory_total_bytes", problem))
    }

    /// The longest body that is allowed must also fit.
    fn check_bodies(&self) -> Result<(), ConfigError> {
        let all = [
            ("limits.request_bytes", self.request_bytes),
            ("limits.request_bytes_per_user", self.request_bytes_per_user),
            ("limits.service_request_bytes", self.service_request_bytes),
        ];
        if let Some((key, value)) = all.into_iter().find(|(_, value)| (1..self.body_bytes).contains(value)) {
            let body_bytes = self.body_bytes;
            let problem = format!(
                "{value} is less than limits.body_bytes, {body_bytes}, so a body of that length could never be read; \
                 write at least {body_bytes}, or lower limits.body_bytes"
            );
            return Err(ConfigError::invalid(key, problem));
        }
        Ok(())
    }
}
