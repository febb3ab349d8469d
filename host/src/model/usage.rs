//! How much of the host rooms and users use: counters that only grow, and levels that last. `room` counts, `store`
//! keeps hours of it, and the admin listener shows them.

use bytes::Bytes;

use super::Address;
use crate::clock::UnixMillis;

/// The milliseconds of one bucket.
pub const HOUR_MS: u64 = 3_600_000;

/// A number of hours since 1970, in UTC: the name of a bucket.
pub type Hour = u32;

/// The hour of a time.
pub fn hour_of(at: UnixMillis) -> Hour {
    u32::try_from(at / HOUR_MS).unwrap_or(Hour::MAX)
}

/// Amounts of use. For a user, only what happened for that user counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Events that the room ran: connects, messages, closes, timers and requests. A failed turn counts; exports and
    /// erasures of users do not, nor do their turns and CPU.
    pub events: u64,
    /// Turns that succeeded.
    pub turns: u64,
    /// CPU time of turns, in nanoseconds. The first 10 ms of a turn count as they pass on the clock.
    pub cpu_ns: u64,
    /// Time with an instance, in milliseconds. Always 0 for a user.
    pub awake_ms: u64,
    /// Time with sockets and without an instance, in milliseconds. Always 0 for a user.
    pub asleep_ms: u64,
    /// Time of sockets, in milliseconds: two sockets count twice. Always 0 for a room.
    pub connected_ms: u64,
    /// Bytes of messages and of bodies of requests that the room received.
    pub bytes_in: u64,
    /// Bytes of messages for each receiver, and of bodies of responses.
    pub bytes_out: u64,
    /// Messages, once for each socket that was to receive it.
    pub deliveries: u64,
    /// Bytes of storage, multiplied by the seconds for which they were stored. Always 0 for a user.
    pub byte_seconds: u64,
    /// Turns of timers.
    pub timers: u64,
    /// Calls and posts to other rooms and servers.
    pub calls: u64,
}

impl Usage {
    /// The number of amounts.
    pub const AMOUNTS: usize = 12;

    /// All amounts, in the order of the fields.
    pub fn amounts(&self) -> [u64; Self::AMOUNTS] {
        let mut copy = *self;
        copy.amounts_mut().map(|amount| *amount)
    }

    /// The reverse of [`amounts`](Self::amounts).
    pub fn from_amounts(amounts: [u64; Self::AMOUNTS]) -> Self {
        let mut usage = Usage::default();
        usage.amounts_mut().into_iter().zip(amounts).for_each(|(place, amount)| *place = amount);
        usage
    }

    /// The only list of the fields: a new field is added here, at the end.
    fn amounts_mut(&mut self) -> [&mut u64; Self::AMOUNTS] {
        [
            &mut self.events,
            &mut self.turns,
            &mut self.cpu_ns,
            &mut self.awake_ms,
            &mut self.asleep_ms,
            &mut self.connected_ms,
            &mut self.bytes_in,
            &mut self.bytes_out,
            &mut self.deliveries,
            &mut self.byte_seconds,
            &mut self.timers,
            &mut self.calls,
        ]
    }

    /// Adds other amounts.
    pub fn add(&mut self, other: &Usage) {
        let mut sums = self.amounts();
        sums.iter_mut().zip(other.amounts()).for_each(|(sum, more)| *sum = sum.saturating_add(more));
        *self = Usage::from_amounts(sums);
    }

    /// Whether nothing was used.
    pub fn is_nothing(&self) -> bool {
        self.amounts().iter().all(|amount| *amount == 0)
    }
}

/// Steps of a level, such as the number of open sockets: the level is known only where it is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LevelChange {
    /// The sum of the steps.
    pub steps: i64,
    /// The sum of each step multiplied by its time on the steady clock, in milliseconds.
    moments: i64,
}

impl LevelChange {
    /// The level has changed by `step`, at a time of the steady clock in milliseconds.
    pub fn step(&mut self, step: i64, at: u64) {
        self.steps += step;
        self.moments = self.moments.saturating_add(step.saturating_mul(at.cast_signed()));
    }

    /// Adds the steps of others.
    pub fn add(&mut self, other: LevelChange) {
        self.steps += other.steps;
        self.moments = self.moments.saturating_add(other.moments);
    }

    /// The steps, each multiplied by the milliseconds that have passed since.
    pub fn area(&self, now: u64) -> i64 {
        self.steps.saturating_mul(now.cast_signed()).saturating_sub(self.moments)
    }

    /// Whether the level never changed.
    pub fn is_nothing(&self) -> bool {
        *self == LevelChange::default()
    }
}

/// The usage of a room since its last report.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoomReport {
    /// The amounts.
    pub usage: Usage,
    /// The bytes of its storage now.
    pub bytes: u64,
    /// Steps between 1, asleep with sockets, and 0.
    pub asleep: LevelChange,
}

/// The usage of a user since the last report.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserReport {
    /// The amounts.
    pub usage: Usage,
    /// Steps of the number of sockets.
    pub sockets: LevelChange,
}

/// The subjects of a table of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UsageBy {
    /// Each room.
    Room,
    /// Each namespace.
    Namespace,
    /// Each user.
    User,
}

impl UsageBy {
    /// Its name in queries and answers.
    pub fn name(self) -> &'static str {
        match self {
            UsageBy::Room => "room",
            UsageBy::Namespace => "namespace",
            UsageBy::User => "user",
        }
    }

    /// The subjects with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [UsageBy::Room, UsageBy::Namespace, UsageBy::User].into_iter().find(|by| by.name() == name)
    }
}

/// A page of a table of use.
#[derive(Debug, Clone)]
pub struct UsageQuery {
    /// One row for each of these.
    pub by: UsageBy,
    /// The first hour.
    pub from: Hour,
    /// The hour after the last one.
    pub until: Hour,
    /// Only rooms of this namespace.
    pub namespace: Option<String>,
    /// Only names with this beginning. For rooms it is that of the name in its namespace, which must be given.
    pub prefix: String,
    /// Begin after this subject, as [`UsageSubject::key`] gives it.
    pub after: Option<Bytes>,
    /// The most rows.
    pub limit: usize,
}

/// The subject of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum UsageSubject {
    /// A room.
    Room(Address),
    /// The rooms of a namespace that came when the hour had its most rooms.
    OtherRooms(String),
    /// A namespace.
    Namespace(String),
    /// A user, by id.
    User(String),
    /// The users that came when the hour had its most users.
    OtherUsers,
}

impl UsageSubject {
    /// Its bytes in the keys of the store. The order of rows is theirs.
    pub fn key(&self) -> Bytes {
        match self {
            UsageSubject::Room(address) => {
                [address.namespace().as_bytes(), &[0], address.name().as_bytes()].concat().into()
            }
            UsageSubject::OtherRooms(namespace) => [namespace.as_bytes(), &[0]].concat().into(),
            UsageSubject::Namespace(name) | UsageSubject::User(name) => Bytes::copy_from_slice(name.as_bytes()),
            UsageSubject::OtherUsers => Bytes::new(),
        }
    }

    /// The reverse of [`key`](Self::key); absent if the bytes are none.
    pub fn from_key(by: UsageBy, key: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(key).ok()?;
        Some(match by {
            UsageBy::Room => match text.split_once('\0')? {
                (namespace, "") => UsageSubject::OtherRooms(namespace.into()),
                (namespace, name) => UsageSubject::Room(Address::new(namespace, name).ok()?),
            },
            UsageBy::Namespace => UsageSubject::Namespace(text.into()),
            UsageBy::User if text.is_empty() => UsageSubject::OtherUsers,
            UsageBy::User => UsageSubject::User(text.into()),
        })
    }
}

/// A page of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsagePage {
    /// In the order of their keys.
    pub rows: Vec<(UsageSubject, Usage)>,
    /// The key of the last subject of this page, if more may follow.
    pub next: Option<Bytes>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_counts_from_the_moment_of_each_step() {
        let mut change = LevelChange::default();
        change.step(1, 100);
        change.step(1, 150);
        change.step(-1, 180);
        assert_eq!((change.steps, change.area(200)), (1, 100 + 50 - 20));
        let mut both = LevelChange::default();
        both.add(change);
        both.step(-1, 200);
        assert_eq!((both.steps, both.area(500), both.is_nothing()), (0, 130, false));
    }

    #[test]
    fn each_subject_is_read_back_from_its_key() {
        let room = UsageSubject::Room(Address::new("ROOMS", "a/b é").unwrap());
        let others = UsageSubject::OtherRooms("ROOMS".into());
        assert!(others.key() < room.key());
        for (by, subject) in [
            (UsageBy::Room, room),
            (UsageBy::Room, others),
            (UsageBy::Namespace, UsageSubject::Namespace("ROOMS".into())),
            (UsageBy::User, UsageSubject::User("=1+1\"\n".into())),
            (UsageBy::User, UsageSubject::OtherUsers),
        ] {
            assert_eq!(UsageSubject::from_key(by, &subject.key()), Some(subject));
        }
        assert_eq!(UsageSubject::from_key(UsageBy::Room, b"ROOMS"), None);
    }
}
