//! One room as a text file: exported from a snapshot, and imported into a room that has no data. The file has one JSON
//! object in each line, so that people and programs can read it.
//!
//! `line` is the form of the lines. `export` writes them from a snapshot, `check` reads and checks all of them before
//! anything is stored, and `import` stores them. The admin listener exports; it receives an import, and the task of the
//! room stores it.

mod check;
mod export;
mod import;
mod line;

use crate::model::StorageFailed;
use crate::store::error::DiskError;

pub use check::{CheckedImport, ImportFile};
pub use export::{About, Export};
pub use import::Imported;
pub(in crate::store) use import::remove_unfinished;

/// The version of the format.
pub const VERSION: u32 = 1;

/// An imported room goes on with the number of its last commit and this many more. Rooms remember the last post of each
/// other room by such a number and ignore lower ones. The room may have gone on after it was exported, and its next
/// posts must be newer than all of those. No room makes so many commits, and a number has space for 32,000 imports.
const NUMBERS_AHEAD: u64 = 1 << 32;

/// The reason why a room could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The room has data, sockets or waiting events.
    #[error("the room exists already, or has sockets; delete it first, or choose another name")]
    Exists,
    /// A line cannot be used.
    #[error("line {line}: {problem}; nothing was imported")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// The problem.
        problem: String,
    },
    /// A newer version made the file.
    #[error("the file has the format {version}, and this version reads up to {VERSION}; use a newer Dormouse")]
    Newer {
        /// Its format.
        version: u32,
    },
    /// The file ends early.
    #[error("the file is incomplete: its last line, with the checksum, is missing; nothing was imported")]
    Incomplete,
    /// The room is larger than rooms may be.
    #[error("the room has more than {room_bytes} bytes of keys and values; raise `limits.room_bytes`")]
    TooLarge {
        /// The limit.
        room_bytes: u64,
    },
    /// The data disk is nearly full.
    #[error("the data disk is nearly full; free some space")]
    NoSpace,
    /// The disk failed.
    #[error("the room could not be stored: {0}")]
    Failed(String),
}

impl From<DiskError> for ImportError {
    fn from(error: DiskError) -> Self {
        ImportError::Failed(error.0)
    }
}

impl From<StorageFailed> for ImportError {
    fn from(error: StorageFailed) -> Self {
        ImportError::Failed(error.0)
    }
}
