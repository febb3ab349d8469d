//! The counters of one running room. Its task adds to them, without a lock; they are reported to the meter twice a
//! minute and before the room sleeps.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::limits::USAGE_REPORT_EVERY;
use crate::model::{LevelChange, SocketUsage, Usage, UserReport};

/// Users whose counters a room keeps beside those of its sockets: with more, it reports early.
const USERS: usize = 1_000;

/// The usage of a room since its last report.
pub(super) struct RoomUsage {
    pub(super) amounts: Usage,
    /// When its instance was made, or last reported, on the steady clock in milliseconds. Absent without an instance.
    pub(super) awake_since: Option<u64>,
    pub(super) asleep: LevelChange,
    /// Users who sent requests, joined or left.
    pub(super) users: BTreeMap<String, UserReport>,
    reported_at: Instant,
}

impl RoomUsage {
    pub(super) fn new(now: Instant) -> Self {
        let (amounts, asleep, users) = Default::default();
        RoomUsage { amounts, awake_since: None, asleep, users, reported_at: now }
    }

    /// The counters of a user.
    pub(super) fn user(&mut self, id: &str) -> &mut UserReport {
        if !self.users.contains_key(id) {
            self.users.insert(id.to_owned(), UserReport::default());
        }
        self.users.get_mut(id).expect("inserted above")
    }

    /// Adds the counters of a socket to those of its user.
    pub(super) fn add_socket(&mut self, user: &str, socket: &SocketUsage) {
        self.user(user).usage.add(&Usage {
            events: socket.events.into(),
            turns: socket.turns.into(),
            calls: socket.calls.into(),
            cpu_ns: socket.cpu_ns,
            bytes_in: socket.bytes_in,
            bytes_out: socket.bytes_out.max(0).unsigned_abs(),
            deliveries: socket.deliveries.max(0).unsigned_abs(),
            ..Usage::default()
        });
    }

    /// Whether the counters should be reported.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due_in(now).is_zero() || self.users.len() >= USERS
    }

    /// The time until they should be.
    pub(super) fn due_in(&self, now: Instant) -> Duration {
        (self.reported_at + USAGE_REPORT_EVERY).saturating_duration_since(now)
    }

    /// Begins again.
    pub(super) fn reported(&mut self, now: Instant) {
        self.reported_at = now;
    }
}
