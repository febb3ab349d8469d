//! The options of a store. `config` has the settings of the operator that they come from, with their reasons.

use std::time::Duration;

/// The options of a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Below this many free bytes on the data disk, turns that write are refused.
    pub min_free_bytes: u64,
    /// Above this many bytes on their way to the disk, rooms wait before their next turn.
    pub queue_bytes: usize,
    /// A sync that takes longer is reported in the log, repeatedly.
    pub slow_sync: Duration,
    /// Memory for a cache of data read from disk.
    pub cache_bytes: u64,
    /// The storage limit of a room, in bytes of keys and values.
    pub room_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            min_free_bytes: 64 << 20,
            queue_bytes: 64 << 20,
            slow_sync: Duration::from_secs(10),
            cache_bytes: 64 << 20,
            room_bytes: 1 << 30,
        }
    }
}
