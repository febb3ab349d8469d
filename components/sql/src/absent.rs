//! The functions of `database.rs` for a native build, in which no room runs.

use crate::pages::Storage;
use crate::value::{Error, Value, ValueRef};

const ABSENT: &str = "SQL is only there in a component; test the room with `TestRoom`";

/// The rows of a statement.
pub struct Cursor(());

impl Cursor {
    /// The names of the columns. They may be equal.
    pub fn columns(&self) -> &[String] {
        unreachable!("{ABSENT}")
    }

    /// Whether there is no row left.
    pub fn is_done(&self) -> bool {
        unreachable!("{ABSENT}")
    }

    /// The values of the next row.
    pub fn next_row(&mut self) -> Result<Option<Vec<Value>>, Error> {
        unreachable!("{ABSENT}")
    }

    /// Drops the rows that are left.
    pub fn close(&mut self) {}

    /// The rows that were visited so far.
    pub fn rows_read(&self) -> u64 {
        unreachable!("{ABSENT}")
    }

    /// The rows that were written so far.
    pub fn rows_written(&self) -> u64 {
        unreachable!("{ABSENT}")
    }
}

/// An open transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Savepoint(
    /// Its number, from 1 on.
    pub u64,
);

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// As it was asked.
    Done,
    /// Its turn has committed it.
    Before,
    /// An error has rolled it back.
    Lost(String),
    /// A later transaction is open.
    NotInnermost,
}

/// Prepares SQLite.
pub fn set_up() {}

/// Runs the statements of a text.
pub fn execute(_: &'static dyn Storage, _: &str, _: &[ValueRef<'_>]) -> Result<Cursor, Error> {
    unreachable!("{ABSENT}")
}

/// Begins a transaction.
pub fn begin(_: &'static dyn Storage) -> Result<Savepoint, Error> {
    unreachable!("{ABSENT}")
}

/// Keeps what a transaction has done.
pub fn commit(_: Savepoint) -> Result<Ended, Error> {
    unreachable!("{ABSENT}")
}

/// Undoes what a transaction has done.
pub fn roll_back(_: Savepoint) -> Result<Ended, Error> {
    unreachable!("{ABSENT}")
}

/// The bytes of the database.
pub fn database_size(_: &'static dyn Storage) -> Result<u64, Error> {
    unreachable!("{ABSENT}")
}

/// Deletes the database.
pub fn delete_all(_: &'static dyn Storage) -> Result<(), Error> {
    unreachable!("{ABSENT}")
}

/// The turn ends well.
pub fn end_turn() -> Result<Option<&'static str>, Error> {
    Ok(None)
}

/// `wake` has ended.
pub fn end_wake() {}

/// A turn that may only read ends well.
pub fn end_reading() -> Result<Option<&'static str>, Error> {
    Ok(None)
}

/// The turn fails.
pub fn forget() {}
