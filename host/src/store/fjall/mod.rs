//! The default engine: fjall, an LSM tree with a journal.
//!
//! All rooms share one keyspace, because idle keyspaces would pin old journals. Only `group` syncs the journal. After a
//! failed write or sync, fjall refuses all further writes on this handle; the store does the same, and nothing is
//! retried.

pub(in crate::store) mod directory;
pub(in crate::store) mod examine;

use std::error::Error as _;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ::fjall::{Database, Error, Iter, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};
use bytes::Bytes;

use super::engine::{Record, StorageEngine, StorageReader};
use super::error::DiskError;

/// An open directory of fjall.
pub struct FjallEngine {
    database: Database,
    rooms: Keyspace,
    path: PathBuf,
}

/// The reason why it could not be opened.
#[derive(Debug)]
pub enum OpenFailed {
    /// Another process holds its lock.
    InUse,
    /// Its files are corrupt.
    Damaged(String),
    /// Anything else.
    Disk(DiskError),
}

impl FjallEngine {
    /// Opens the directory, or makes it.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, OpenFailed> {
        Self::open_with(path, cache_bytes, true)
    }

    /// As [`open`](Self::open), for copies of what is stored elsewhere. Each batch reaches the operating system, so it
    /// survives the process, and not a power loss; a sync is not needed.
    pub(in crate::store) fn open_cache(path: &Path, cache_bytes: u64) -> Result<Self, OpenFailed> {
        Self::open_with(path, cache_bytes, false)
    }

    #[expect(clippy::disallowed_methods, reason = "the engine opens its directory")]
    fn open_with(path: &Path, cache_bytes: u64, is_synced: bool) -> Result<Self, OpenFailed> {
        let open = || -> Result<Self, Error> {
            // Two workers flush and compact in the background. More would take CPU from rooms.
            let database = Database::builder(path.join("store"))
                .cache_size(cache_bytes)
                .manual_journal_persist(is_synced)
                .worker_threads(2)
                .open()?;
            let rooms =
                database.keyspace("rooms", || KeyspaceCreateOptions::default().manual_journal_persist(is_synced))?;
            Ok(FjallEngine { database, rooms, path: path.to_owned() })
        };
        std::fs::create_dir_all(path).map_err(|error| OpenFailed::Disk(DiskError(error.to_string())))?;
        match catch_unwind(AssertUnwindSafe(open)) {
            Ok(Ok(disk)) => Ok(disk),
            Ok(Err(Error::Locked)) => Err(OpenFailed::InUse),
            Ok(Err(Error::Io(error))) => Err(OpenFailed::Disk(DiskError(error.to_string()))),
            // All other errors of opening mean that content does not match its checksum or its format.
            Ok(Err(other)) => Err(OpenFailed::Damaged(other.to_string())),
            // fjall panics on content that it considers impossible.
            Err(_) => Err(OpenFailed::Damaged("the engine panicked while it read the files".into())),
        }
    }
}

impl StorageEngine for FjallEngine {
    fn write(&self, batch: Vec<Record>) -> Result<(), DiskError> {
        let mut write = self.database.batch();
        for (key, value) in batch {
            match value {
                Some(value) => write.insert(&self.rooms, key, value),
                None => write.remove(&self.rooms, key),
            }
        }
        Ok(write.commit()?)
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    fn free_bytes(&self) -> Option<std::io::Result<u64>> {
        let stat = rustix::fs::statvfs(&self.path).map_err(Into::into);
        Some(stat.map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)))
    }

    fn disk_bytes(&self) -> Option<u64> {
        self.database.disk_space().ok()
    }

    fn snapshot(&self) -> Result<Box<dyn StorageReader>, DiskError> {
        Ok(Box::new(FjallSnapshot { snapshot: self.database.snapshot(), rooms: self.rooms.clone() }))
    }
}

impl StorageReader for FjallEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        Ok(self.rooms.get(key)?.map(Bytes::from))
    }

    fn scan(
        &self,
        range: (Bound<Bytes>, Bound<Bytes>),
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), DiskError> {
        pass(self.rooms.range(range), reverse, visit)
    }
}

/// The entries at one moment. fjall applies a batch to its tables before it publishes the number of the batch, and a
/// snapshot reads only published numbers: so it has all of a batch or nothing. It holds no lock.
struct FjallSnapshot {
    snapshot: Snapshot,
    rooms: Keyspace,
}

impl StorageReader for FjallSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        Ok(self.snapshot.get(&self.rooms, key)?.map(Bytes::from))
    }

    fn scan(
        &self,
        range: (Bound<Bytes>, Bound<Bytes>),
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), DiskError> {
        pass(self.snapshot.range(&self.rooms, range), reverse, visit)
    }
}

fn pass(mut entries: Iter, reverse: bool, visit: &mut dyn FnMut(Bytes, Bytes) -> bool) -> Result<(), DiskError> {
    while let Some(entry) = if reverse { entries.next_back() } else { entries.next() } {
        let (key, value) = entry.into_inner()?;
        if !visit(key.into(), value.into()) {
            break;
        }
    }
    Ok(())
}

impl From<Error> for DiskError {
    fn from(error: Error) -> Self {
        // The text of fjall is for its own developers. The operating system has a better one, if it is the cause.
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(error) = inner.downcast_ref::<std::io::Error>() {
                return DiskError(error.to_string());
            }
            cause = inner.source();
        }
        match error {
            Error::Poisoned => DiskError("an earlier write failed, and nothing more is written".into()),
            error => DiskError(error.to_string()),
        }
    }
}
