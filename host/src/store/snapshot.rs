//! A snapshot of a store: all records as they were at one moment, while commits go on. It holds no lock of the store,
//! so neither commits nor the end of the store wait for it.

use std::ops::Bound;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Store;
use super::engine::StorageReader;
use super::error::DiskError;
use super::inner::Inner;
use crate::model::StorageFailed;

/// The entries that are read at once have about this many bytes, as a chunk of a backup does.
const PAGE_BYTES: usize = 1 << 20;
/// The most of them: an entry in memory takes 64 bytes beside its own.
const PAGE_ENTRIES: usize = 16 << 10;

/// All records of a store at one moment. Every commit that was acknowledged before is in it, and each commit is in it
/// as a whole or not at all. Replaced values stay on the disk as long as the snapshot exists.
pub struct Snapshot {
    reader: Box<dyn StorageReader>,
    directory: Option<PathBuf>,
    secret: [u8; 32],
}

impl Store {
    /// Takes a snapshot of all rooms. It takes microseconds with the default engine.
    ///
    /// Fails: if the engine has no snapshots, and after a failed commit, because a snapshot could then have data that
    /// never became durable.
    pub fn snapshot(&self) -> Result<Snapshot, StorageFailed> {
        Snapshot::of(&self.0)
    }
}

impl Snapshot {
    fn of(store: &Inner) -> Result<Self, StorageFailed> {
        let reader = store.truth.snapshot()?;
        Ok(Snapshot { reader, directory: store.directory.clone(), secret: store.secret })
    }

    pub(super) fn reader(&self) -> &dyn StorageReader {
        &*self.reader
    }

    /// Passes the entries of a range to `take`, in portions of about [`PAGE_BYTES`], until that fails. Between two
    /// portions nothing but the snapshot is held, so `take` may wait for a slow receiver.
    pub(super) fn pages<E: From<DiskError>>(
        &self,
        (mut start, end): (Bound<Bytes>, Bound<Bytes>),
        take: &mut dyn FnMut(Vec<(Bytes, Bytes)>) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let (mut page, mut bytes) = (Vec::new(), 0);
            self.reader.scan((start, end.clone()), false, &mut |key, value| {
                bytes += key.len() + value.len();
                page.push((key, value));
                bytes < PAGE_BYTES && page.len() < PAGE_ENTRIES
            })?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            start = Bound::Excluded(last.clone());
            take(page)?;
        }
    }

    /// The data directory; absent for a store on an engine of its own.
    pub(super) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// The secret from which the idempotency keys of posts follow.
    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}
