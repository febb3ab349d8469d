//! Backups of a whole store: a consistent copy while it runs, and the way back into a new data directory.
//!
//! A backup is one snapshot of the records, so it has all of each group commit or nothing of it, and the other files of
//! the data directory that matter. `write` makes one from a running store. `directory` keeps it in a directory of its
//! own, and checks one that is there. `restore` makes a data directory from it. `format` is the form of its bytes.
//!
//! The admin listener sends a backup, and the command line receives and restores it.

mod directory;
mod format;
mod restore;
mod write;

use std::io;
use std::path::{Path, PathBuf};

pub use directory::{NewBackup, check};
pub use format::{Head, Totals};
pub use restore::{Step, restore};
pub use write::back_up;

use super::error::DiskError;

/// The name of the file with the backup, in its directory.
pub const FILE: &str = "dormouse.backup";

/// The reason why a backup could not be made, read or restored. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The directory for a new backup has other files already.
    #[error("{0} is not empty, and nothing is overwritten; choose a new directory")]
    NotEmpty(PathBuf),
    /// There is no finished backup.
    #[error("{0} has no finished backup: the file `dormouse.backup` is missing")]
    NoBackup(PathBuf),
    /// The file is something else.
    #[error("this is not a backup of Dormouse")]
    NotABackup,
    /// A newer version made it.
    #[error("the backup has the format {version}, and this version reads up to {supported}; use a newer Dormouse")]
    Newer {
        /// Its format.
        version: u32,
        /// The newest known format.
        supported: u32,
    },
    /// Bytes of it were changed.
    #[error("the backup is damaged after byte {at}: {problem}; nothing of it is used")]
    Damaged {
        /// The end of the last good part.
        at: u64,
        /// The problem behind it.
        problem: &'static str,
    },
    /// Its end is missing.
    #[error("the backup is incomplete: it broke off before its end")]
    Incomplete,
    /// The server could not finish it.
    #[error("the server broke off the backup: {0}")]
    BrokenOff(String),
    /// The store cannot be read, or its records cannot be written.
    #[error("{0}")]
    Unreadable(String),
    /// The data directory of a restore has too little space.
    #[error(
        "the disk of {path} has {free} bytes free, and the restore needs {needed}; nothing was written. Free some space, \
         or restore to another disk"
    )]
    NoSpace {
        /// The data directory.
        path: PathBuf,
        /// Free bytes.
        free: u64,
        /// Needed bytes.
        needed: u64,
    },
    /// A restore failed in the middle.
    #[error(
        "{path} is unfinished: {problem}. Remove the directory, free some space if its disk is full, and restore again"
    )]
    Unfinished {
        /// The data directory.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// The receiver has gone.
    #[error("the receiver of the backup has gone")]
    Stopped,
    /// A file cannot be read or written.
    #[error("{path} cannot be read or written")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl From<DiskError> for BackupError {
    fn from(error: DiskError) -> Self {
        BackupError::Unreadable(format!("the data cannot be read or written: {error}; check the disk"))
    }
}

impl BackupError {
    /// Names the file in an error of the operating system.
    fn at(path: &Path) -> impl Fn(io::Error) -> BackupError + '_ {
        move |source| BackupError::File { path: path.to_owned(), source }
    }
}
