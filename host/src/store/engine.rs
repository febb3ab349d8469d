//! The interface of a storage engine: ordered keys, atomic batches, and a sync. Only `store` calls it.

use std::ops::Bound;

use bytes::Bytes;

use super::error::DiskError;

/// A key and its new value; an absent value removes the key.
pub type Record = (Bytes, Option<Bytes>);

/// A storage engine. Batches are atomic and ordered: after a crash, a batch is there completely or not at all, and
/// never without the batches before it. Calls block. Only one process may use its files.
pub trait StorageEngine: Send + Sync {
    /// Applies a batch. Reads see it when this returns; it is durable after the next [`sync`](Self::sync). After an
    /// error nothing more is written to this disk.
    fn write(&self, batch: Vec<Record>) -> Result<(), DiskError>;

    /// Makes all earlier batches survive a power loss. After an error nothing more is written to this disk.
    fn sync(&self) -> Result<(), DiskError>;

    /// Free bytes on its disk, read every second; absent if there is no such bound.
    fn free_bytes(&self) -> Option<std::io::Result<u64>> {
        None
    }

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
