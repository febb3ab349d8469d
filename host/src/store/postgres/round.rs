//! Commits and proofs as rows of parameters: which statement carries which rooms. It knows no connection; `lane` runs
//! the parts.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::columns::{Content, Parameter, saturated};
use crate::cluster::ownership::{Commit, Proof, RoomId};
use crate::model::Address;
use crate::store::Record;
use crate::store::records::{self, DELETIONS_KEY, Parsed};

/// The most bytes of keys and values in one statement, so that neither side needs much memory for it. A single record
/// may be larger.
const STATEMENT_BYTES: usize = 4 << 20;

/// The id of a room's row. The keys of its records have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub u64);

/// The facts about the rooms of a statement that the rules of ownership do not know. Parts that are not used stay
/// empty.
#[derive(Debug, Default)]
pub struct Contents {
    /// For a claim: the address of each room.
    pub addresses: HashMap<RoomId, Address>,
    /// For each other statement: the row of each room, as its claim has answered.
    pub rows: HashMap<RoomId, RowId>,
    /// For a round: the records that each commit writes, in their order; later ones replace earlier ones with the same
    /// key. The id in their keys is ignored, the row's id is used.
    ///
    /// The record of the room itself gives its byte count. If its value is absent, the room is deleted: its row goes,
    /// and its other records wait in the table `deleted` for their removal. The record of deletions is ignored, since
    /// the statement counts them.
    pub records: HashMap<RoomId, Vec<Record>>,
}

/// One statement of a round. A round has more than one only if it is large.
#[derive(Debug, Default)]
pub(super) struct Part {
    rooms: Fenced,
    /// The byte counts of the rooms; absent if a count stays as it is.
    room_bytes: Vec<Option<i64>>,
    /// The versions of their data, in the same way.
    data_versions: Vec<Option<i64>>,
    content: Content,
    proofs: (Vec<i64>, Vec<i64>, Vec<i64>, Vec<i64>),
    /// Rooms to delete.
    gone: Fenced,
    bytes: usize,
}

/// Rooms with the fence and the number that their rows must have, and the number that they get.
#[derive(Debug, Default)]
struct Fenced {
    room: Vec<i64>,
    epoch: Vec<i64>,
    token: Vec<i64>,
    base: Vec<i64>,
    number: Vec<i64>,
}

impl Fenced {
    fn push(&mut self, row: i64, commit: &Commit, base: u64) {
        self.room.push(row);
        self.epoch.push(saturated(commit.fence.epoch));
        self.token.push(commit.fence.token.cast_signed());
        self.base.push(saturated(base));
        self.number.push(saturated(commit.number));
    }

    fn parameters(&self) -> [Parameter<'_>; 5] {
        [&self.room, &self.epoch, &self.token, &self.base, &self.number]
    }
}

/// A room without a row, or a record that is none.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unfit(pub(super) String);

/// The statements of a round. All of them are one transaction. A commit that is spread over several has its fence in
/// each; the later ones expect the number that the first one has set.
pub(super) fn parts(commits: &[Commit], proofs: &[Proof], contents: &Contents) -> Result<Vec<Part>, Unfit> {
    let mut sorted = Vec::with_capacity(commits.len());
    for commit in commits {
        sorted.push((row(contents, commit.room)?, commit));
    }
    // Rows are locked in this order, so that two rounds cannot wait for each other.
    sorted.sort_by_key(|(row, _)| *row);
    let mut parts = Vec::new();
    let mut part = Part::default();
    for (row, commit) in sorted {
        let written = Written::of(contents.records.get(&commit.room).map_or(&[], Vec::as_slice))?;
        if written.is_deleted {
            part.gone.push(row, commit, commit.base);
            continue;
        }
        part.commit(row, commit, commit.base, &written);
        for (key, (parsed, value)) in &written.records {
            let size = key.len() + value.as_ref().map_or(0, Bytes::len);
            if part.bytes > 0 && part.bytes + size > STATEMENT_BYTES {
                parts.push(std::mem::take(&mut part));
                part.commit(row, commit, commit.number, &written);
            }
            part.bytes += size;
            part.content.add(row, parsed.clone(), key, value.clone()).map_err(|error| Unfit(error.0))?;
        }
    }
    for proof in proofs {
        part.proofs.0.push(row(contents, proof.room)?);
        part.proofs.1.push(saturated(proof.fence.epoch));
        part.proofs.2.push(proof.fence.token.cast_signed());
        part.proofs.3.push(saturated(proof.number));
    }
    parts.push(part);
    Ok(parts)
}

/// The row of a room, as a parameter.
pub(super) fn row(contents: &Contents, room: RoomId) -> Result<i64, Unfit> {
    let row = contents.rows.get(&room).ok_or_else(|| Unfit(format!("{room:?} has no row")))?;
    Ok(saturated(row.0))
}

impl Part {
    fn commit(&mut self, row: i64, commit: &Commit, base: u64, written: &Written) {
        self.rooms.push(row, commit, base);
        self.room_bytes.push(written.bytes.map(saturated));
        self.data_versions.push(written.data_version.map(i64::from));
    }

    /// Whether the statement for entries is enough, which most rounds are.
    pub(super) fn has_entries_only(&self) -> bool {
        !self.content.has_others() && self.gone.room.is_empty()
    }

    /// The rooms that the statement should answer, each once.
    pub(super) fn rooms(&self) -> impl Iterator<Item = i64> {
        self.rooms.room.iter().chain(&self.gone.room).chain(&self.proofs.0).copied()
    }

    /// The parameters of `sql/round_entries.sql`, or else of `sql/round_all.sql`.
    pub(super) fn parameters(&self) -> Vec<Parameter<'_>> {
        let proofs = &self.proofs;
        let mut parameters = Vec::new();
        if self.has_entries_only() {
            parameters.extend(self.content.entries());
        } else {
            parameters.extend(self.content.parameters());
        }
        parameters.extend(self.rooms.parameters());
        parameters.extend([&self.room_bytes as Parameter<'_>, &self.data_versions]);
        parameters.extend([&proofs.0, &proofs.1, &proofs.2, &proofs.3].map(|column| column as Parameter<'_>));
        if !self.has_entries_only() {
            parameters.extend(self.gone.parameters());
        }
        parameters
    }
}

/// The records of one commit, the last one of each key.
#[derive(Default)]
struct Written {
    records: BTreeMap<Bytes, (Parsed, Option<Bytes>)>,
    bytes: Option<u64>,
    data_version: Option<u32>,
    is_deleted: bool,
}

impl Written {
    fn of(records: &[Record]) -> Result<Self, Unfit> {
        let mut written = Written::default();
        for (key, value) in records {
            match (records::parse_key(key).map_err(|error| Unfit(error.0))?, value) {
                (Parsed::Room(_), None) => written.is_deleted = true,
                (Parsed::Room(_), Some(value)) => {
                    let record = records::room_columns(key, value.clone()).map_err(|error| Unfit(error.0))?;
                    written.bytes = Some(record.bytes);
                    written.data_version = Some(record.data_version);
                }
                (Parsed::Name { .. } | Parsed::Deleted { .. }, _) => {}
                (Parsed::Store, _) if key == DELETIONS_KEY => {}
                (parsed, value) => drop(written.records.insert(key.clone(), (parsed, value.clone()))),
            }
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ownership::Fence;

    fn commit(room: u64) -> Commit {
        Commit { room: RoomId(room), fence: Fence { epoch: 1, token: u64::MAX }, base: 4, number: 6 }
    }

    fn contents(records: Vec<Record>) -> Contents {
        Contents {
            rows: HashMap::from([(RoomId(1), RowId(20)), (RoomId(2), RowId(10))]),
            records: HashMap::from([(RoomId(1), records)]),
            ..Contents::default()
        }
    }

    #[test]
    fn rooms_are_sorted_by_row_and_the_last_value_of_a_key_counts() {
        let entry = |value: &'static str| records::entry(99, b"k", Some(Bytes::from_static(value.as_bytes())));
        let parts = parts(&[commit(1), commit(2)], &[], &contents(vec![entry("one"), entry("two")])).unwrap();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].rooms.room, [10, 20]);
        assert_eq!(parts[0].rooms.token, [-1, -1]);
        assert_eq!(parts[0].bytes, 10 + 3);
        assert!(parts[0].has_entries_only());
        assert_eq!(parts[0].parameters().len(), 16);
    }

    #[test]
    fn a_large_commit_is_spread_over_statements_that_each_name_its_fence() {
        let large = Bytes::from(vec![7; STATEMENT_BYTES / 2]);
        let entry = |key: u8| records::entry(99, &[key], Some(large.clone()));
        let parts = parts(&[commit(2), commit(1)], &[], &contents((0..5).map(entry).collect())).unwrap();
        assert_eq!(parts.iter().map(|part| part.rooms.room.clone()).collect::<Vec<_>>()[..2], [vec![10, 20], vec![20]]);
        assert!(parts.iter().all(|part| part.bytes <= STATEMENT_BYTES));
        assert!(parts[1..].iter().all(|part| part.rooms.base == [6] && part.rooms.number == [6]));
        assert_eq!(parts.iter().map(|part| part.bytes).sum::<usize>(), 5 * (large.len() + 10));
    }

    #[test]
    fn a_room_without_a_row_is_refused() {
        assert!(parts(&[commit(3)], &[], &contents(Vec::new())).is_err());
    }
}
