//! Moves the rooms of a stopped server: from its data directory into a database, and back.
//!
//! Both sides are read in the order of their keys and compared, and what differs is written. So a move that was broken
//! off goes on where it was, and a second comparison at the end checks each record. `places` has the marks at both sides
//! that say where the rooms are, so that never two servers go on with them. `into` and `back` have the steps.
//!
//! It knows no server and no rule of ownership. The command line calls it.

mod back;
mod compare;
mod database;
mod into;
pub(in crate::store) mod places;

use std::ops::Bound;
use std::path::PathBuf;

use bytes::Bytes;

use self::compare::Range;
use crate::model::StorageFailed;
use crate::store::error::{DiskError, OpenError};
use crate::store::records::{DELETED, ENTRY, NAME, POST, ROOM, TAKEN, TIMER};

pub use back::move_back;
pub use into::move_into;

/// Records are written in batches of about so many bytes, and of at most so many records.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_RECORDS: usize = 2_000;

/// The counts of a move.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Rooms.
    pub rooms: u64,
    /// Records, among them those of rooms.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Records that were written now. A move that goes on finds the others there.
    pub written: u64,
}

/// The two steps of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Records are written.
    Copy,
    /// All of them are compared.
    Check,
}

/// The reason why rooms were not moved. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// A side cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A side cannot be read or written.
    #[error("the move broke off: {0}; repair it, and run the same command again to go on")]
    Broken(String),
    /// The database has rooms of another store.
    #[error("the database has rooms already, and they are not those of {0}; use an empty database")]
    NotEmpty(PathBuf),
    /// The directory has files.
    #[error("{0} is not empty; name a new directory")]
    DirectoryNotEmpty(PathBuf),
    /// The directory has no store.
    #[error("{0} has no rooms; name the data directory of the stopped server")]
    NoStore(PathBuf),
    /// The rooms are somewhere else.
    #[error(
        "the database has no rooms that could be moved: they are in a data directory, or a move into it did not end"
    )]
    Away,
    /// Records differ after the copy.
    #[error("{0} records differ after they were copied; please report this, and go on with the rooms where they were")]
    Differs(u64),
}

impl From<DiskError> for MoveError {
    fn from(error: DiskError) -> Self {
        MoveError::Broken(error.0)
    }
}

impl From<StorageFailed> for MoveError {
    fn from(error: StorageFailed) -> Self {
        MoveError::Broken(error.0)
    }
}

/// The records of rooms and of usage, in the order in which they are moved. Rooms come last, so that a database that is
/// read meanwhile has no room without its content.
fn ranges() -> Vec<(u8, Range)> {
    let kind = |kind: u8| {
        let start = Bound::Included(Bytes::copy_from_slice(&[kind]));
        (kind, (start, Bound::Excluded(Bytes::copy_from_slice(&[kind + 1]))))
    };
    let usage = (DELETED + 1, (Bound::Included(Bytes::copy_from_slice(&[DELETED + 1])), Bound::Unbounded));
    let mut ranges = [ENTRY, TIMER, POST, TAKEN].map(kind).to_vec();
    ranges.extend([usage, kind(NAME), kind(ROOM)]);
    ranges
}
