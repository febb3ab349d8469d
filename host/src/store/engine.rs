//! The interface of a storage engine: ordered keys, atomic batches, a sync, and snapshots. Only `store` calls it.

use std::ops::Bound;

use bytes::Bytes;

use super::error::DiskError;

/// A key and its new value; an absent value removes the key.
pub type Record = (Bytes, Option<Bytes>);

/// Ordered keys to read: those of an engine as it is now, or those of a snapshot. Calls block.
pub trait StorageReader: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError>;

    /// Passes the entries of a range to `visit`, in order or backwards, until that returns false.
    fn scan(
        &self,
        range: (Bound<Bytes>, Bound<Bytes>),
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), DiskError>;
}

/// A storage engine. Batches are atomic and ordered: after a crash, a batch is there completely or not at all, and
/// never without the batches before it. Calls block. Only one process may use its files.
pub trait StorageEngine: StorageReader {
    /// Applies a batch. Reads see it when this returns; it is durable after the next [`sync`](Self::sync). After an
    /// error nothing more is written to this disk.
    fn write(&self, batch: Vec<Record>) -> Result<(), DiskError>;

    /// Makes all earlier batches survive a power loss. After an error nothing more is written to this disk.
    fn sync(&self) -> Result<(), DiskError>;

    /// Free bytes on its disk, read every second; absent if there is no such bound.
    fn free_bytes(&self) -> Option<std::io::Result<u64>> {
        None
    }

    /// Bytes that its files take, for the operator; absent if it does not know.
    fn disk_bytes(&self) -> Option<u64> {
        None
    }

    /// The entries as they are now: all of each batch, or nothing of it. Later batches do not change the snapshot, and
    /// do not wait for it. It may keep replaced values on the disk as long as it exists.
    ///
    /// Fails: if the engine has no snapshots. Then there are no backups and no exports.
    fn snapshot(&self) -> Result<Box<dyn StorageReader>, DiskError> {
        Err(DiskError("this storage engine has no snapshots".into()))
    }
}
