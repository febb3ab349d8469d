//! Ranges of keys of the store as conditions on the columns of tables. It knows no connection; `reader` asks it.
//!
//! A condition may let a few more keys through than the range has, because a bound may be any bytes, and a column has a
//! type. The reader compares each key with the range itself.

use std::ops::Bound;

use bytes::Bytes;
use tokio_postgres::Row;

use super::columns::Parameter;
use crate::model::NAME_BYTES;
use crate::store::records::{DELETED, ENTRY, NAME, POST, ROOM, TAKEN, TIMER, id_key};

/// A range of keys.
pub(super) type Range = (Bound<Bytes>, Bound<Bytes>);

/// A page ends when its values together have this many bytes; it has one row at least.
const PAGE_BYTES: usize = 1 << 20;

/// The greatest character. No name has so many of it as [`text_high`] appends.
const GREATEST: char = '\u{10ffff}';

/// The tables, by the kinds of keys that they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Table {
    Store,
    Rooms,
    Entries,
    Timers,
    Names,
    Posts,
    Taken,
    Deleted,
}

/// The value of a key column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Column {
    Number(i64),
    Bytes(Vec<u8>),
    Text(String),
}

/// The part of a range that is in one table: both bounds are included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Portion {
    pub(super) table: Table,
    pub(super) low: Vec<Column>,
    /// Absent if there is no higher key in the table.
    pub(super) high: Option<Vec<Column>>,
}

/// The tables in the order of their keys, each with its first and its last kind.
const TABLES: [(Table, u8, u8); 9] = [
    (Table::Store, 0, 0),
    (Table::Rooms, ROOM, ROOM),
    (Table::Entries, ENTRY, ENTRY),
    (Table::Timers, TIMER, TIMER),
    (Table::Names, NAME, NAME),
    (Table::Posts, POST, POST),
    (Table::Taken, TAKEN, TAKEN),
    (Table::Deleted, DELETED, DELETED),
    (Table::Store, DELETED + 1, u8::MAX),
];

/// The portions of a range, in the order of the keys.
pub(super) fn portions(range: &Range) -> Vec<Portion> {
    let (low, high) = (key_of(&range.0).unwrap_or_default(), key_of(&range.1));
    TABLES.into_iter().filter_map(|(table, first, last)| portion(table, first, last, low, high)).collect()
}

fn key_of(bound: &Bound<Bytes>) -> Option<&[u8]> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    }
}

fn portion(table: Table, first: u8, last: u8, low: &[u8], high: Option<&[u8]>) -> Option<Portion> {
    // A bound in another table is like the end of this one.
    let low = match low.split_first() {
        Some((kind, _)) if *kind > last => return None,
        Some((kind, rest)) if *kind >= first => Some((*kind, rest)),
        _ => None,
    };
    let high = match high.map(<[u8]>::split_first) {
        Some(None) => return None,
        Some(Some((kind, _))) if *kind < first => return None,
        Some(Some((kind, rest))) if *kind <= last => Some((*kind, rest)),
        _ => None,
    };
    let whole = |(kind, rest): (u8, &[u8])| [&[kind], rest].concat();
    let (low, high) = match table {
        Table::Store => {
            let low = vec![Column::Bytes(low.map_or(vec![first], whole))];
            let end = (last < u8::MAX).then(|| vec![last + 1]);
            (low, high.map(whole).or(end).map(|high| vec![Column::Bytes(high)]))
        }
        Table::Rooms => {
            let low = low.map_or((String::new(), String::new()), |(_, rest)| address_low(rest));
            let high = high.map_or_else(|| address_high(&[u8::MAX]), |(_, rest)| address_high(rest));
            (vec![Column::Text(low.0), Column::Text(low.1)], Some(vec![Column::Text(high.0), Column::Text(high.1)]))
        }
        Table::Entries | Table::Timers | Table::Taken | Table::Names | Table::Deleted | Table::Posts => {
            let (low, low_rest) = low.map_or((0, &[][..]), |(_, rest)| id_and_rest(rest));
            let low = i64::try_from(low).ok()?;
            let (high, high_rest) = high.map_or((u64::MAX, &[][..]), |(_, rest)| id_and_rest(rest));
            // No room has an id beyond.
            let (high, high_rest) = i64::try_from(high).map_or((i64::MAX, &[][..]), |high| (high, high_rest));
            let columns = |id: i64, rest: &[u8]| match table {
                Table::Names | Table::Deleted => vec![Column::Number(id)],
                Table::Posts => {
                    let number = i64::try_from(id_and_rest(rest).0).unwrap_or(i64::MAX);
                    vec![Column::Number(id), Column::Number(number)]
                }
                _ => vec![Column::Number(id), Column::Bytes(rest.to_vec())],
            };
            (columns(low, low_rest), Some(columns(high, high_rest)))
        }
    };
    Some(Portion { table, low, high })
}

/// The number in the first eight bytes, and what follows. Missing bytes are zero: the shorter key is lower than all that
/// begin with it, and so is this one.
fn id_and_rest(bytes: &[u8]) -> (u64, &[u8]) {
    let length = bytes.len().min(8);
    let mut id = [0; 8];
    id[..length].copy_from_slice(&bytes[..length]);
    (u64::from_be_bytes(id), &bytes[length..])
}

/// A namespace and a name that are not above the bound.
fn address_low(bound: &[u8]) -> (String, String) {
    let (namespace, name) = split_at_zero(bound);
    match (std::str::from_utf8(namespace), name) {
        (Ok(namespace), Some(name)) => (namespace.to_owned(), valid_start(name).to_owned()),
        _ => (valid_start(namespace).to_owned(), String::new()),
    }
}

/// A namespace and a name that are not below the bound.
fn address_high(bound: &[u8]) -> (String, String) {
    let (namespace, name) = split_at_zero(bound);
    match (std::str::from_utf8(namespace), name) {
        (Ok(namespace), Some(name)) => (namespace.to_owned(), text_high(name)),
        _ => (text_high(namespace), String::new()),
    }
}

fn split_at_zero(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(zero) => (&bytes[..zero], Some(&bytes[zero + 1..])),
        None => (bytes, None),
    }
}

/// The longest start that text can hold: UTF-8 without a zero byte.
fn valid_start(bytes: &[u8]) -> &str {
    let bytes = split_at_zero(bytes).0;
    std::str::from_utf8(bytes)
        .unwrap_or_else(|error| std::str::from_utf8(&bytes[..error.valid_up_to()]).expect("it is valid up to there"))
}

/// A text that is not below the bound.
fn text_high(bound: &[u8]) -> String {
    let valid = valid_start(bound);
    let is_whole = valid.len() == bound.len();
    let behind = if is_whole { 0 } else { NAME_BYTES / GREATEST.len_utf8() + 1 };
    valid.chars().chain(std::iter::repeat_n(GREATEST, behind)).collect()
}

impl Table {
    fn columns(self) -> &'static [&'static str] {
        match self {
            Table::Store => &["key"],
            Table::Rooms => &["namespace", "name"],
            Table::Entries => &["room", "key"],
            Table::Timers => &["room", "name"],
            Table::Names | Table::Deleted => &["room"],
            Table::Posts => &["room", "number"],
            Table::Taken => &["room", "sender"],
        }
    }

    /// The rows with their values as the store has them. Rooms without a commit are in no list.
    fn source(self) -> &'static str {
        match self {
            Table::Store => "SELECT key, value FROM dormouse.records",
            Table::Rooms => {
                "SELECT namespace, name, int8send(id) || int8send(epoch) || int8send(number) || int8send(bytes) \
                 || CASE WHEN generation = 0 AND data_version = 0 THEN ''::bytea ELSE int8send(generation) END \
                 || CASE WHEN data_version = 0 THEN ''::bytea ELSE int4send(data_version::int) END AS value \
                 FROM dormouse.rooms WHERE stored"
            }
            Table::Entries => "SELECT room, key, value FROM dormouse.entries",
            Table::Timers => {
                "SELECT room, name, int8send(at) || int4send(attempt) || payload AS value FROM dormouse.timers"
            }
            Table::Names => {
                "SELECT room, convert_to(namespace, 'UTF8') || '\\x00'::bytea || convert_to(name, 'UTF8') AS value FROM \
                 (SELECT id AS room, namespace, name, stored FROM dormouse.rooms UNION ALL \
                 SELECT room, namespace, name, true FROM dormouse.deleted) AS named WHERE stored"
            }
            Table::Posts => {
                "SELECT room, number, int8send(at) || int4send(attempt) || int4send(length(head)) || head || body \
                 AS value FROM dormouse.posts"
            }
            Table::Taken => "SELECT room, sender, int8send(number) AS value FROM dormouse.taken",
            Table::Deleted => "SELECT room, ''::bytea AS value FROM dormouse.deleted",
        }
    }

    /// The query of a page. Its parameters are the near bound, the far bound unless it is absent, and the most rows.
    pub(super) fn page(self, reverse: bool, is_near_excluded: bool, has_far: bool) -> String {
        let columns = self.columns();
        let list = columns.join(", ");
        let order = columns.iter().map(|column| format!("{column}{}", if reverse { " DESC" } else { "" }));
        let order = order.collect::<Vec<_>>().join(", ");
        let placeholders = |from: usize| {
            let numbers = (from..from + columns.len()).map(|number| format!("${number}"));
            numbers.collect::<Vec<_>>().join(", ")
        };
        let near = match (reverse, is_near_excluded) {
            (false, false) => ">=",
            (false, true) => ">",
            (true, false) => "<=",
            (true, true) => "<",
        };
        let mut condition = format!("({list}) {near} ({})", placeholders(1));
        if has_far {
            let far = if reverse { ">=" } else { "<=" };
            condition += &format!(" AND ({list}) {far} ({})", placeholders(1 + columns.len()));
        }
        let limit = 1 + columns.len() * (1 + usize::from(has_far));
        let source = self.source();
        // The values before a row are counted, so that a page of large values ends early.
        format!(
            "SELECT {list}, value FROM (SELECT {list}, value, sum(length(value)) OVER (ORDER BY {order}) \
             - length(value) AS before FROM ({source}) AS t WHERE {condition} ORDER BY {order} LIMIT ${limit}::bigint\
             ) AS page WHERE before < {PAGE_BYTES} ORDER BY {order}"
        )
    }

    /// The key columns of a row, and its key in the store.
    pub(super) fn key_of(self, row: &Row) -> (Vec<Column>, Bytes) {
        let (id, number) = (|| row.get::<_, i64>(0), || row.get::<_, i64>(1));
        let bytes = |index: usize| row.get::<_, Vec<u8>>(index);
        let with_rest = |kind| {
            let (id, rest) = (id(), bytes(1));
            let key = id_key(kind, id.cast_unsigned(), &rest);
            (vec![Column::Number(id), Column::Bytes(rest)], key)
        };
        let alone = |kind| (vec![Column::Number(id())], id_key(kind, id().cast_unsigned(), b""));
        match self {
            Table::Store => (vec![Column::Bytes(bytes(0))], bytes(0).into()),
            Table::Rooms => {
                let (namespace, name) = (row.get::<_, String>(0), row.get::<_, String>(1));
                let key = [&[ROOM], namespace.as_bytes(), &[0], name.as_bytes()].concat();
                (vec![Column::Text(namespace), Column::Text(name)], key.into())
            }
            Table::Entries => with_rest(ENTRY),
            Table::Timers => with_rest(TIMER),
            Table::Taken => with_rest(TAKEN),
            Table::Names => alone(NAME),
            Table::Deleted => alone(DELETED),
            Table::Posts => {
                let key = id_key(POST, id().cast_unsigned(), &number().to_be_bytes());
                (vec![Column::Number(id()), Column::Number(number())], key)
            }
        }
    }

    /// The value of a row.
    pub(super) fn value_of(self, row: &Row) -> Bytes {
        Bytes::copy_from_slice(row.get::<_, &[u8]>(self.columns().len()))
    }
}

/// Whether a page of so many rows, with values of so many bytes, is the last one.
pub(super) fn is_last(rows: usize, bytes: usize, limit: i64) -> bool {
    i64::try_from(rows).is_ok_and(|rows| rows < limit) && bytes < PAGE_BYTES
}

impl Column {
    pub(super) fn parameter(&self) -> Parameter<'_> {
        match self {
            Column::Number(number) => number,
            Column::Bytes(bytes) => bytes,
            Column::Text(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(low: &'static [u8], high: &'static [u8]) -> Range {
        (Bound::Included(Bytes::from_static(low)), Bound::Excluded(Bytes::from_static(high)))
    }

    fn room(low: &[u8], high: &[u8]) -> [(String, String); 2] {
        [address_low(low), address_high(high)]
    }

    #[test]
    fn a_range_is_cut_into_tables() {
        let tables = |range| portions(&range).into_iter().map(|portion| portion.table).collect::<Vec<_>>();
        assert_eq!(tables((Bound::Unbounded, Bound::Unbounded)).len(), 9);
        assert_eq!(tables(range(b"\x02", b"\x04")), [Table::Entries, Table::Timers, Table::Names]);
        assert_eq!(tables(range(b"\x08\x01", b"\xff")), [Table::Store]);
        assert_eq!(tables(range(b"", b"")), []);
        assert_eq!(tables(range(b"\x02\xff", b"\x02\xff\x01")), [], "no room has such an id");
    }

    #[test]
    fn a_bound_that_is_no_address_becomes_the_next_text() {
        let texts = |[low, high]: [(String, String); 2]| {
            let name = high.1.trim_end_matches(GREATEST).to_owned();
            (low.0, low.1, high.0.trim_end_matches(GREATEST).to_owned(), name, high.1.len() > 512)
        };
        let of = |texts: (&str, &str, &str, &str), is_behind| {
            (texts.0.to_owned(), texts.1.to_owned(), texts.2.to_owned(), texts.3.to_owned(), is_behind)
        };
        assert_eq!(texts(room(b"A\0x", b"A\0y")), of(("A", "x", "A", "y"), false));
        assert_eq!(texts(room(b"A\0x", b"A\0x\xff")), of(("A", "x", "A", "x"), true));
        assert_eq!(texts(room(b"A\x01", b"A\0\xc3")), of(("A\x01", "", "A", ""), true));
    }
}
