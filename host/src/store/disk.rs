//! What the store needs of an engine: ordered keys, atomic batches, and a sync.

use std::ops::Bound;

use bytes::Bytes;

use super::DiskError;

/// A key and its new value; an absent value removes the key.
pub type Record = (Bytes, Option<Bytes>);

/// An engine. Its batches are atomic and in order: after a crash a batch is there whole or not at all, and never
/// without those before it.
pub trait Disk: Send + Sync {
    /// Apply a batch. Visible to reads when it returns; durable after the next [`sync`](Self::sync). An error ends all
    /// writing to this disk.
    fn write(&self, batch: Vec<Record>) -> Result<(), DiskError>;

    /// Make all batches before it survive a power loss. An error ends all writing to this disk.
    fn sync(&self) -> Result<(), DiskError>;

    /// Free bytes where it keeps its data, to be looked at every second; absent where there is no such bound.
    fn free_bytes(&self) -> Option<std::io::Result<u64>> {
        None
    }

    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError>;

    /// Show the entries of a range, in order or backwards, until `visit` answers false.
    fn scan(
        &self,
        range: (Bound<Bytes>, Bound<Bytes>),
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), DiskError>;
}
