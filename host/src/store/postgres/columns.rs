//! Records of the store as columns of the tables, in the order of the parameters of the statements. It knows no fence.
//! `round` and `lane` fill it.

use bytes::{Bytes, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::store::DiskError;
use crate::store::records::{self, Parsed};

/// A parameter of a statement.
pub(super) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// How many parameters the content of rooms has: `$1` to `$28` of `sql/content.sql`.
pub(super) const PARAMETERS: usize = 28;

/// The entries, timers, posts and accepted posts of rooms, and records of the store, each to write or to remove. A key
/// may be in it only once.
#[derive(Debug, Default)]
pub(super) struct Content {
    entries: (Vec<i64>, Vec<Bytea>, Vec<Bytea>),
    no_entries: (Vec<i64>, Vec<Bytea>),
    timers: Timers,
    no_timers: (Vec<i64>, Vec<Bytea>),
    posts: Posts,
    no_posts: (Vec<i64>, Vec<i64>),
    taken: (Vec<i64>, Vec<Bytea>, Vec<i64>),
    no_taken: (Vec<i64>, Vec<Bytea>),
    records: (Vec<i64>, Vec<Bytea>, Vec<Option<Bytea>>),
    has_others: bool,
}

#[derive(Debug, Default)]
struct Timers {
    room: Vec<i64>,
    name: Vec<Bytea>,
    at: Vec<i64>,
    attempt: Vec<i32>,
    payload: Vec<Bytea>,
}

#[derive(Debug, Default)]
struct Posts {
    room: Vec<i64>,
    number: Vec<i64>,
    at: Vec<i64>,
    attempt: Vec<i32>,
    head: Vec<Bytea>,
    body: Vec<Bytea>,
}

impl Content {
    /// Adds a record of a room, or of the store. Records that are columns of the room's row are none of these.
    ///
    /// Fails: if the value is not one of this kind.
    pub(super) fn add(
        &mut self,
        room: i64,
        parsed: Parsed,
        key: &Bytes,
        value: Option<Bytes>,
    ) -> Result<(), DiskError> {
        self.has_others |= !matches!(parsed, Parsed::Entry { .. });
        match (parsed, value) {
            (Parsed::Entry { key, .. }, Some(value)) => {
                self.entries.0.push(room);
                self.entries.1.push(Bytea(key));
                self.entries.2.push(Bytea(value));
            }
            (Parsed::Entry { key, .. }, None) => {
                self.no_entries.0.push(room);
                self.no_entries.1.push(Bytea(key));
            }
            (Parsed::Timer { name, .. }, Some(value)) => {
                let (at, attempt, payload) = records::timer_columns(key, value)?;
                self.timers.room.push(room);
                self.timers.name.push(Bytea(name));
                self.timers.at.push(saturated(at));
                self.timers.attempt.push(attempt_column(attempt));
                self.timers.payload.push(Bytea(payload));
            }
            (Parsed::Timer { name, .. }, None) => {
                self.no_timers.0.push(room);
                self.no_timers.1.push(Bytea(name));
            }
            (Parsed::Post { number, .. }, Some(value)) => {
                let (at, attempt, head, body) = records::post_columns(key, value)?;
                self.posts.room.push(room);
                self.posts.number.push(saturated(number));
                self.posts.at.push(saturated(at));
                self.posts.attempt.push(attempt_column(attempt));
                self.posts.head.push(Bytea(head));
                self.posts.body.push(Bytea(body));
            }
            (Parsed::Post { number, .. }, None) => {
                self.no_posts.0.push(room);
                self.no_posts.1.push(saturated(number));
            }
            (Parsed::Taken { sender, .. }, Some(value)) => {
                let number = records::taken_column(key, &value)?;
                self.taken.0.push(room);
                self.taken.1.push(Bytea(sender));
                self.taken.2.push(saturated(number));
            }
            (Parsed::Taken { sender, .. }, None) => {
                self.no_taken.0.push(room);
                self.no_taken.1.push(Bytea(sender));
            }
            (Parsed::Store, value) => {
                self.records.0.push(room);
                self.records.1.push(Bytea(key.clone()));
                self.records.2.push(value.map(Bytea));
            }
            (Parsed::Room(_) | Parsed::Name { .. } | Parsed::Deleted { .. }, _) => {}
        }
        Ok(())
    }

    /// Whether it has anything but entries of rooms.
    pub(super) fn has_others(&self) -> bool {
        self.has_others
    }

    /// The parameters of entries only.
    pub(super) fn entries(&self) -> [Parameter<'_>; 5] {
        [&self.entries.0, &self.entries.1, &self.entries.2, &self.no_entries.0, &self.no_entries.1]
    }

    /// All parameters.
    pub(super) fn parameters(&self) -> [Parameter<'_>; PARAMETERS] {
        let [put_room, put_key, put_value, no_room, no_key] = self.entries();
        let (timers, posts) = (&self.timers, &self.posts);
        [
            put_room,
            put_key,
            put_value,
            no_room,
            no_key,
            &timers.room,
            &timers.name,
            &timers.at,
            &timers.attempt,
            &timers.payload,
            &self.no_timers.0,
            &self.no_timers.1,
            &posts.room,
            &posts.number,
            &posts.at,
            &posts.attempt,
            &posts.head,
            &posts.body,
            &self.no_posts.0,
            &self.no_posts.1,
            &self.taken.0,
            &self.taken.1,
            &self.taken.2,
            &self.no_taken.0,
            &self.no_taken.1,
            &self.records.0,
            &self.records.1,
            &self.records.2,
        ]
    }
}

/// Times, sizes and counts never reach the sign bit; a guest may name any due time, and the last one is far enough.
pub(super) fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn attempt_column(attempt: u32) -> i32 {
    i32::try_from(attempt).unwrap_or(i32::MAX)
}

/// Bytes as a parameter. Its `Debug` has no content, since that is a guest's.
pub(super) struct Bytea(Bytes);

impl ToSql for Bytea {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        (&*self.0).to_sql(kind, out)
    }

    fn accepts(kind: &Type) -> bool {
        <&[u8] as ToSql>::accepts(kind)
    }

    to_sql_checked!();
}

impl std::fmt::Debug for Bytea {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
