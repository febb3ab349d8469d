//! The marks that say where the rooms of a store are, once they were moved. A server refuses to go on with rooms that are
//! somewhere else, or on their way.
#![expect(clippy::disallowed_methods, reason = "it reads and makes the files of the marks")]

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;

use crate::store::engine::{Record, StorageReader};
use crate::store::error::DiskError;
use crate::store::fjall::directory::sync;

/// The key of the mark in a database.
pub(in crate::store) const KEY: &[u8] = b"\0moved";

/// The file in a data directory whose rooms are in a database now.
const MOVED: &str = "moved";

/// The file in a data directory into which rooms are being moved.
const UNFINISHED: &str = "move.unfinished";

/// The mark of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Mark {
    /// Rooms of the store with this incarnation are being moved into it.
    Into(u64),
    /// Its rooms are in a data directory, or on their way there.
    Away,
}

/// The mark of a database; absent if its rooms are there.
pub(in crate::store) fn mark(reader: &dyn StorageReader) -> Result<Option<Mark>, DiskError> {
    Ok(reader.get(KEY)?.map(|value| Mark::of(&value)))
}

impl Mark {
    /// The mark with this value.
    pub(in crate::store) fn of(value: &[u8]) -> Self {
        value.try_into().map_or(Mark::Away, |incarnation| Mark::Into(u64::from_be_bytes(incarnation)))
    }
}

pub(super) fn record(mark: Option<&Mark>) -> Record {
    let value = mark.map(|mark| match mark {
        Mark::Into(incarnation) => Bytes::copy_from_slice(&incarnation.to_be_bytes()),
        Mark::Away => Bytes::new(),
    });
    (Bytes::from_static(KEY), value)
}

/// Whether the rooms of a data directory are in a database.
pub(in crate::store) fn is_moved(data: &Path) -> bool {
    fs::symlink_metadata(data.join(MOVED)).is_ok()
}

/// Says that the rooms of a data directory are in this database now.
pub(super) fn set_moved(data: &Path, store: &str) -> io::Result<()> {
    make(data, MOVED, store)
}

/// Whether a move into a data directory did not end.
pub(in crate::store) fn is_unfinished(data: &Path) -> bool {
    fs::symlink_metadata(data.join(UNFINISHED)).is_ok()
}

pub(super) fn set_unfinished(data: &Path, is_unfinished: bool) -> io::Result<()> {
    if is_unfinished {
        return make(data, UNFINISHED, "");
    }
    fs::remove_file(data.join(UNFINISHED))?;
    sync(data)
}

fn make(data: &Path, name: &str, content: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(data.join(name))?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    sync(data)
}
