//! Errors of the store, sorted by who must act.

use std::fmt;
use std::path::PathBuf;

use crate::cluster::ownership::NodeId;
use crate::model::{Address, StorageFailed, TenureId};

/// The reason why the store could not be opened. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{0} is in use by another process; stop that one, or pass --data to choose another directory")]
    InUse(PathBuf),
    /// A restore into it did not end.
    #[error("{0} has a restore that did not end; remove the directory, and run `dormouse restore` again")]
    Unfinished(PathBuf),
    /// A move of rooms into it did not end.
    #[error("rooms were being moved into {0}, which did not end; run `dormouse move` again")]
    UnfinishedMove(PathBuf),
    /// Its rooms are in a database now.
    #[error(
        "the rooms of {0} were moved into a database; pass --store with its address, or move them back into a new \
         directory with `dormouse move --back`"
    )]
    Moved(PathBuf),
    /// The disk or the engine failed.
    #[error("{path} cannot be opened; check that it is a directory this user can write to, on a disk that works")]
    Disk {
        /// The data directory.
        path: PathBuf,
        /// The error of the engine or the operating system.
        source: DiskError,
    },
    /// A file is corrupt.
    #[error("{path} is damaged: {problem}. Restore the directory from a backup; nothing was changed")]
    Damaged {
        /// The data directory.
        path: PathBuf,
        /// The corrupt file.
        problem: String,
    },
    /// Acknowledged commits are missing.
    #[error(
        "{path} has lost commits: {durable} groups were durable, and only {found} are found. {problem}; \
         restore the directory from a backup, or remove its `mark` file to go on without the lost commits"
    )]
    Behind {
        /// The data directory.
        path: PathBuf,
        /// The number of the last group known to be durable.
        durable: u64,
        /// The number of the last group found.
        found: u64,
        /// The place where they are missing.
        problem: String,
    },
    /// The directory has rooms, and they shall be in a database.
    #[error(
        "{0} has rooms of its own, which would seem to be gone: carry them over with `dormouse move`, or pass --data to \
         choose another directory for the cache"
    )]
    Embedded(PathBuf),
    /// The database of the rooms cannot be used.
    #[error("the database of the rooms cannot be used: {0}")]
    Database(String),
    /// This server cannot be a node of its cluster.
    #[error("{0}")]
    NoNode(String),
    /// Another server serves the rooms of the database.
    #[error("another server has the rooms of this database ({0}); stop that one first")]
    NotAlone(String),
}

/// The engine or the operating system failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DiskError(pub String);

/// The reason why a commit was refused.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum CommitError {
    /// The data disk is nearly full. Nothing was written; writing goes on as soon as there is space.
    #[error("the data disk has less than {min_free_bytes} bytes free; free some space")]
    NoSpace {
        /// The limit.
        min_free_bytes: u64,
    },
    /// The storage of the room is full. Nothing was written; turns that add nothing still run.
    #[error(
        "the room's storage has reached its limit of {room_bytes} bytes; remove data in the room, or raise `limits.room_bytes`"
    )]
    RoomFull {
        /// The limit.
        room_bytes: u64,
    },
    /// A write or a sync failed. Nothing more is written until a restart.
    #[error("the data disk failed: {0}; repair it and restart")]
    Failed(String),
    /// The database refuses to store it. It is not stored, and the room is opened again.
    #[error("the database has refused a commit: {0}; please report this")]
    Refused(String),
    /// The database has not answered for too long. The commit may be stored or not.
    #[error("the database does not answer: {0}; repair it")]
    Unreachable(String),
    /// The commit is durable, but the host panicked while it notified the room. The room must be opened again.
    #[error("the commit is durable, and the host failed to tell the room; please report this")]
    NotNotified,
    /// Another owner has the room. Nothing of this owner was or will be committed after that.
    #[error("another owner has opened {address}")]
    Fenced {
        /// The room.
        address: Address,
    },
    /// Another node has the room, in order: everything of it was confirmed.
    #[error("{address} was handed over to node {to}")]
    HandedOver {
        /// The room.
        address: Address,
        /// The number of the node.
        to: u64,
        /// The tenure that has ended.
        tenure: TenureId,
    },
}

/// The reason why a room could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// Another node owns it.
    #[error("{address} runs on node {}", .node.0)]
    Elsewhere {
        /// The room.
        address: Address,
        /// Its owner.
        node: NodeId,
    },
    /// The database has not answered for too long.
    #[error("the database does not answer: {0}; repair it")]
    Unreachable(String),
    /// It has an owner in this process, or cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageFailed),
}

/// An error for a record that cannot be read: it names the record and the room, and what to do.
pub(super) fn unreadable(record: &str, of: &dyn fmt::Display, error: &DiskError) -> StorageFailed {
    StorageFailed(format!(
        "{record} of {of} cannot be read: {error}; check the disk, and restore the data directory from a backup if \
         it is damaged"
    ))
}

impl From<DiskError> for StorageFailed {
    fn from(error: DiskError) -> Self {
        StorageFailed(error.0)
    }
}
