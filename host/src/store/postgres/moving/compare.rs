//! Compares two readers in the order of their keys. It knows no database and no directory.

use std::collections::VecDeque;
use std::ops::Bound;

use bytes::Bytes;

use crate::store::engine::{Record, StorageReader};
use crate::store::error::DiskError;
use crate::store::records::{self, Parsed};

/// Records that are read at once.
const PAGE_RECORDS: usize = 4_096;
const PAGE_BYTES: usize = 1 << 20;

/// A range of keys.
pub(super) type Range = (Bound<Bytes>, Bound<Bytes>);

/// One record that was compared: it is the same at both sides, or it has to be written.
pub(super) enum Compared {
    Same { bytes: usize },
    Differs(Record),
}

/// Passes all records of a range in `from`, and those that only `to` has, to `take`, each with what has to be written to
/// make the sides equal.
pub(super) fn compare<E: From<DiskError>>(
    from: &dyn StorageReader,
    to: &dyn StorageReader,
    range: &Range,
    take: &mut dyn FnMut(Compared) -> Result<(), E>,
) -> Result<(), E> {
    let (mut from, mut to) = (Cursor::new(from, range), Cursor::new(to, range));
    loop {
        let order = match (from.peek()?, to.peek()?) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(one), Some(other)) => one.cmp(&other),
        };
        let one = if order.is_le() { from.next() } else { None };
        let other = if order.is_ge() { to.next() } else { None };
        take(match (one, other) {
            (Some((key, value)), Some((_, found))) if is_same(&key, &value, &found)? => {
                Compared::Same { bytes: key.len() + value.len() }
            }
            (Some((key, value)), _) => Compared::Differs((key, Some(value))),
            (None, Some((key, _))) => Compared::Differs((key, None)),
            (None, None) => return Ok(()),
        })?;
    }
}

/// Whether two values of a key mean the same. The record of a room also says in which start it was last written, and a
/// column of a database has no times after the year 292 million.
fn is_same(key: &Bytes, one: &Bytes, other: &Bytes) -> Result<bool, DiskError> {
    if one == other {
        return Ok(true);
    }
    Ok(match records::parse_key(key)? {
        Parsed::Room(_) => {
            let without_start = |value: &Bytes| {
                let mut record = records::room_columns(key, value.clone())?;
                record.epoch = 0;
                Ok::<_, DiskError>(record)
            };
            without_start(one)? == without_start(other)?
        }
        Parsed::Timer { .. } | Parsed::Post { .. } => in_column(one) == in_column(other),
        _ => false,
    })
}

/// The value, with its time as a column can have it.
fn in_column(value: &Bytes) -> (u64, Bytes) {
    let at = value.first_chunk().map_or(0, |at| u64::from_be_bytes(*at)).min(i64::MAX.unsigned_abs());
    (at, value.slice(value.len().min(8)..))
}

/// Reads a range page by page.
struct Cursor<'a> {
    reader: &'a dyn StorageReader,
    start: Bound<Bytes>,
    end: Bound<Bytes>,
    page: VecDeque<(Bytes, Bytes)>,
    is_at_end: bool,
}

impl<'a> Cursor<'a> {
    fn new(reader: &'a dyn StorageReader, (start, end): &Range) -> Self {
        Cursor { reader, start: start.clone(), end: end.clone(), page: VecDeque::new(), is_at_end: false }
    }

    fn peek(&mut self) -> Result<Option<Bytes>, DiskError> {
        if self.page.is_empty() && !self.is_at_end {
            let (mut page, mut bytes, mut is_full) = (VecDeque::new(), 0, false);
            self.reader.scan((self.start.clone(), self.end.clone()), false, &mut |key, value| {
                bytes += key.len() + value.len();
                page.push_back((key, value));
                is_full = page.len() >= PAGE_RECORDS || bytes >= PAGE_BYTES;
                !is_full
            })?;
            self.is_at_end = !is_full;
            if let Some((last, _)) = page.back() {
                self.start = Bound::Excluded(last.clone());
            }
            self.page = page;
        }
        Ok(self.page.front().map(|(key, _)| key.clone()))
    }

    fn next(&mut self) -> Option<(Bytes, Bytes)> {
        self.page.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::engine::StorageEngine;
    use crate::store::memory::MemoryEngine;

    fn engine(entries: &[(&'static str, &'static str)]) -> MemoryEngine {
        let engine = MemoryEngine::default();
        let record = |(key, value): &(&'static str, &'static str)| {
            records::entry(1, key.as_bytes(), Some(Bytes::from_static(value.as_bytes())))
        };
        engine.write(entries.iter().map(record).collect()).unwrap();
        engine
    }

    #[test]
    fn what_differs_is_written_and_then_nothing_differs() {
        let from = engine(&[("a", "1"), ("b", "1"), ("d", "1")]);
        let to = engine(&[("b", "2"), ("c", "1"), ("d", "1")]);
        let all = (Bound::Unbounded, Bound::Unbounded);
        let differences = || {
            let mut differences = Vec::new();
            let mut take = |compared| {
                if let Compared::Differs(record) = compared {
                    differences.push(record);
                }
                Ok::<_, DiskError>(())
            };
            compare(&from, &to, &all, &mut take).unwrap();
            differences
        };
        let found = differences();
        let keys = found.iter().map(|(key, value)| (key[9], value.is_some())).collect::<Vec<_>>();
        assert_eq!(keys, [(b'a', true), (b'b', true), (b'c', false)]);
        to.write(found).unwrap();
        assert_eq!(differences(), []);
    }
}
