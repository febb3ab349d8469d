//! The stored use of rooms, namespaces and users: amounts by hour, and levels that last. It knows the layout of these
//! records and how a level fills hours; `writer` adds to them, `reader` sums them up.
//!
//! A level is the bytes that a room stores, whether it is asleep with sockets, or how many sockets a user has. It is
//! stored once, with the time since when, and fills the hours when it is next touched or read. So a million sleeping
//! rooms cost nothing while they sleep, and a process that is killed loses no sleep of a room.
//!
//! All keys begin with the byte 8.
//!
//! | key | value |
//! |---|---|
//! | 8 `a` epoch | when this start of the store last wrote: its sleeping rooms and its sockets ended then |
//! | 8 `h` hour by subject | amounts of one hour |
//! | 8 `l` by subject | levels: epoch, since when, bytes, rooms asleep, sockets |
//! | 8 `o` by subject epoch | levels of one server, where several share the store: the same without bytes |
//!
//! Where several servers share the store, each has its own rooms asleep and its own sockets: they end with that server.
//! Amounts of an hour and bytes are of all of them, so a record is changed only if it is as the server has read it.
//!
//! `by` is one byte for rooms, namespaces or users. A room is its namespace, 0 and its name; the rest of a namespace
//! has an empty name, and the rest of the users an empty id. Values are numbers in LEB128; missing ones are 0.

mod reader;
mod writer;

use std::ops::Bound;

use bytes::{BufMut, Bytes, BytesMut};

use super::engine::StorageReader;
use super::error::DiskError;
use crate::clock::UnixMillis;
use crate::model::{HOUR_MS, Hour, Usage, UsageBy, hour_of};

pub(super) use reader::page;
pub use writer::{NotWritten, UsageWriter};

const KIND: u8 = 8;
const ALIVE: u8 = b'a';
const HOURS: u8 = b'h';
const LEVELS: u8 = b'l';
const OWN: u8 = b'o';

/// How long hours are kept: a month, and some days to send its bill.
pub const KEPT_HOURS: Hour = 35 * 24;

/// The bytes of a number in LEB128 at most.
const NUMBER_BYTES: usize = 10;

/// Levels that last, and since when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Levels {
    /// The start of the store that wrote them.
    epoch: u64,
    since: UnixMillis,
    /// Bytes of storage.
    bytes: u64,
    /// Rooms that are asleep with sockets.
    asleep: u64,
    sockets: u64,
}

impl Levels {
    /// Whether they need no record.
    fn are_zero(&self) -> bool {
        (self.bytes, self.asleep, self.sockets) == (0, 0, 0)
    }

    /// Fills the hours up to `until`. Sleep and sockets ended earlier by `asleep_short` and `sockets_short`, in
    /// milliseconds, and with the process that wrote them.
    fn fill(
        &self,
        until: UnixMillis,
        ended: Option<UnixMillis>,
        asleep_short: u64,
        sockets_short: u64,
        mut add: impl FnMut(Hour, Usage),
    ) {
        let alive = ended.map_or(until, |ended| ended.min(until));
        split(self.since, until, self.bytes, |hour, ms| {
            // A room of 1 GiB in one hour is far below the largest number; a million of them are too.
            let byte_seconds = u128::from(self.bytes) * u128::from(ms) / 1_000;
            add(hour, Usage { byte_seconds: u64::try_from(byte_seconds).unwrap_or(u64::MAX), ..Usage::default() });
        });
        split(self.since, alive.saturating_sub(asleep_short), self.asleep, |hour, ms| {
            add(hour, Usage { asleep_ms: self.asleep * ms, ..Usage::default() });
        });
        split(self.since, alive.saturating_sub(sockets_short), self.sockets, |hour, ms| {
            add(hour, Usage { connected_ms: self.sockets * ms, ..Usage::default() });
        });
    }
}

/// Splits a time into the milliseconds of its hours. Nothing is kept of hours that are too old.
fn split(from: UnixMillis, until: UnixMillis, level: u64, mut add: impl FnMut(Hour, u64)) {
    let mut at = from.max(until.saturating_sub(u64::from(KEPT_HOURS) * HOUR_MS));
    while level > 0 && at < until {
        let end = ((at / HOUR_MS + 1) * HOUR_MS).min(until);
        add(hour_of(at), end - at);
        at = end;
    }
}

fn by_byte(by: UsageBy) -> u8 {
    match by {
        UsageBy::Room => b'r',
        UsageBy::Namespace => b'n',
        UsageBy::User => b'u',
    }
}

fn by_of(byte: u8) -> Option<UsageBy> {
    [UsageBy::Room, UsageBy::Namespace, UsageBy::User].into_iter().find(|by| by_byte(*by) == byte)
}

fn alive_key(epoch: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(10);
    key.put_slice(&[KIND, ALIVE]);
    key.put_u64(epoch);
    key.freeze()
}

/// The beginning of all keys of one hour and kind of subject.
fn hour_prefix(hour: Hour, by: UsageBy) -> Bytes {
    let mut key = BytesMut::with_capacity(7);
    key.put_slice(&[KIND, HOURS]);
    key.put_u32(hour);
    key.put_u8(by_byte(by));
    key.freeze()
}

/// The beginning of all levels of one kind of subject.
fn level_prefix(by: UsageBy) -> Bytes {
    Bytes::copy_from_slice(&[KIND, LEVELS, by_byte(by)])
}

/// The beginning of all levels of servers, of one kind of subject.
fn own_prefix(by: UsageBy) -> Bytes {
    Bytes::copy_from_slice(&[KIND, OWN, by_byte(by)])
}

/// The key of the levels of one server. The subject has an end, so that no key of another subject is between them.
fn own_key(by: UsageBy, subject: &[u8], epoch: u64) -> Bytes {
    let mut key = BytesMut::from(&own_prefix(by)[..]);
    key.put_slice(&ended_subject(subject));
    key.put_u64(epoch);
    key.freeze()
}

/// A subject with an end: each zero byte gets another byte behind it, so two of them are the end. The order stays.
fn ended_subject(subject: &[u8]) -> Vec<u8> {
    [escaped(subject), vec![0, 0]].concat()
}

fn escaped(subject: &[u8]) -> Vec<u8> {
    let escaped =
        subject.iter().flat_map(|byte| if *byte == 0 { &[0, u8::MAX][..] } else { std::slice::from_ref(byte) });
    escaped.copied().collect()
}

/// The subject and the epoch of a key of [`own_key`], without its prefix.
fn read_own(rest: &[u8]) -> Option<(Bytes, u64)> {
    let (subject, epoch) = rest.split_last_chunk::<8>()?;
    let mut subject = subject.strip_suffix(&[0, 0])?.iter().copied();
    let mut plain = Vec::with_capacity(rest.len());
    while let Some(byte) = subject.next() {
        plain.push(byte);
        if byte == 0 && subject.next() != Some(u8::MAX) {
            return None;
        }
    }
    Some((plain.into(), u64::from_be_bytes(*epoch)))
}

fn with_subject(prefix: &[u8], subject: &[u8]) -> Bytes {
    [prefix, subject].concat().into()
}

/// The keys that begin with this, which does not end with the byte 255.
fn beginning_with(prefix: &[u8]) -> (Bound<Bytes>, Bound<Bytes>) {
    (Bound::Included(Bytes::copy_from_slice(prefix)), behind(prefix))
}

/// The end of the keys that begin with this.
fn behind(prefix: &[u8]) -> Bound<Bytes> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Bound::Excluded(end.into());
        }
    }
    Bound::Unbounded
}

fn numbers(numbers: &[u64]) -> Bytes {
    let mut value = BytesMut::with_capacity(numbers.len() * NUMBER_BYTES);
    for number in numbers {
        let mut rest = *number;
        while rest >= 0x80 {
            value.put_u8(0x80 | (rest & 0x7f) as u8);
            rest >>= 7;
        }
        value.put_u8(rest as u8);
    }
    value.freeze()
}

/// Reads numbers; missing ones are 0, and more than asked for are left to later versions.
fn read_numbers<const N: usize>(key: &[u8], value: &[u8]) -> Result<[u64; N], DiskError> {
    let damaged = || DiskError(format!("the record {} is damaged", key.escape_ascii()));
    let mut numbers = [0; N];
    let mut bytes = value.iter();
    for number in &mut numbers {
        let mut shift = 0;
        for byte in bytes.by_ref() {
            if shift >= u64::BITS {
                return Err(damaged());
            }
            *number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    if value.last().is_some_and(|last| last & 0x80 != 0) {
        return Err(damaged());
    }
    Ok(numbers)
}

fn usage_value(usage: &Usage) -> Bytes {
    numbers(&usage.amounts())
}

fn read_usage(key: &[u8], value: &[u8]) -> Result<Usage, DiskError> {
    Ok(Usage::from_amounts(read_numbers(key, value)?))
}

fn levels_value(levels: &Levels) -> Bytes {
    numbers(&[levels.epoch, levels.since, levels.bytes, levels.asleep, levels.sockets])
}

fn read_levels(key: &[u8], value: &[u8]) -> Result<Levels, DiskError> {
    let [epoch, since, bytes, asleep, sockets] = read_numbers(key, value)?;
    Ok(Levels { epoch, since, bytes, asleep, sockets })
}

/// When an earlier start of the store last wrote; absent for the present one, which goes on.
fn ended(disk: &dyn StorageReader, epoch: u64, levels: &Levels) -> Result<Option<UnixMillis>, DiskError> {
    if levels.epoch == epoch {
        return Ok(None);
    }
    let key = alive_key(levels.epoch);
    let value = disk.get(&key)?.unwrap_or_default();
    let [alive] = read_numbers(&key, &value)?;
    // Without a record of it nothing is known of the time after the level.
    Ok(Some(alive.max(levels.since)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_servers_keep_the_order_of_their_subjects() {
        let subjects: [&[u8]; 8] = [b"", b"\0", b"\0\0", b"R\0", b"R\0a", b"a", b"a\0", b"ab"];
        let keys = subjects.map(|subject| [1, u64::MAX].map(|epoch| own_key(UsageBy::User, subject, epoch)));
        assert!(keys.as_flattened().is_sorted(), "{keys:?}");
        for (subject, keys) in subjects.iter().zip(&keys) {
            let read = keys.each_ref().map(|key| read_own(&key[3..]).unwrap());
            assert_eq!(read, [1, u64::MAX].map(|epoch| (Bytes::copy_from_slice(subject), epoch)));
        }
    }

    #[test]
    fn numbers_are_read_back_and_missing_ones_are_zero() {
        let all = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        assert_eq!(read_numbers::<7>(b"k", &numbers(&all)).unwrap(), all);
        assert_eq!(read_numbers::<9>(b"k", &numbers(&all)).unwrap()[7..], [0, 0]);
        assert_eq!(read_numbers::<2>(b"k", &numbers(&all)).unwrap(), [0, 1]);
        assert!(read_numbers::<2>(b"k", &[1, 0x80]).is_err(), "it is cut");
        assert!(read_numbers::<1>(b"k", &[0xff; 12]).is_err(), "it is too long");
    }

    #[test]
    fn a_level_fills_each_hour_with_its_part() {
        let levels = Levels { epoch: 1, since: 2 * HOUR_MS - 1_000, bytes: 10, asleep: 1, sockets: 3 };
        let mut hours = std::collections::BTreeMap::<Hour, Usage>::new();
        let until = 3 * HOUR_MS + 2_000;
        levels.fill(until, Some(3 * HOUR_MS + 1_000), 500, 0, |hour, usage| hours.entry(hour).or_default().add(&usage));
        let found = hours.iter().map(|(hour, usage)| (*hour, usage.byte_seconds, usage.asleep_ms, usage.connected_ms));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [(1, 10, 1_000, 3_000), (2, 36_000, HOUR_MS, 3 * HOUR_MS), (3, 20, 500, 3_000)]
        );
    }

    #[test]
    fn a_level_of_years_fills_only_the_hours_that_are_kept() {
        let mut count = 0;
        split(0, 1_000_000 * HOUR_MS, 1, |_, _| count += 1);
        assert_eq!(count, KEPT_HOURS);
    }

    #[test]
    fn the_keys_behind_a_prefix_are_no_longer_it() {
        assert_eq!(behind(b"ab"), Bound::Excluded(Bytes::from_static(b"ac")));
        assert_eq!(behind(b"a\xff"), Bound::Excluded(Bytes::from_static(b"b")));
        assert_eq!(behind(b"\xff"), Bound::Unbounded);
    }
}
