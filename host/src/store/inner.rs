//! The state of an open store. The store and the log of each room share it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::engine::StorageEngine;
use super::group::Group;
use super::incarnation::Incarnation;
use super::options::StoreOptions;
use super::records::{self, Deletions};
use crate::lock::{Lock, ReadWriteLock};
use crate::model::{Address, StorageFailed};

pub(super) struct Inner {
    /// Absent after the store was closed. So a clone that still exists does not keep the files open.
    pub(super) disk: ReadWriteLock<Option<Arc<dyn StorageEngine>>>,
    /// The data directory; absent with an engine of its own.
    pub(super) directory: Option<PathBuf>,
    pub(super) group: Group,
    pub(super) options: StoreOptions,
    pub(super) epoch: u64,
    pub(super) incarnation: Incarnation,
    pub(super) secret: [u8; 32],
    pub(super) next_room: AtomicU64,
    /// Rooms with an owner, or with commits on their way to the disk.
    pub(super) owned: Arc<Lock<HashSet<Address>>>,
    /// Held while a deletion is submitted, so that their records are written in order.
    pub(super) deletions: Lock<Deletions>,
}

impl Inner {
    /// Whether so many bytes fit on the disk above `min_free_bytes`. The monitor of the disk may be some seconds late,
    /// and a turn writes little; something large asks here before each part.
    pub(super) fn has_space_for(&self, bytes: u64) -> bool {
        let free = self.disk.read().as_ref().and_then(|disk| disk.free_bytes());
        let fits =
            free.is_none_or(|free| free.map_or(true, |free| free >= self.options.min_free_bytes.saturating_add(bytes)));
        fits && !self.group.has_no_space()
    }

    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&dyn StorageEngine) -> Result<T, StorageFailed>,
    ) -> Result<T, StorageFailed> {
        match &*self.disk.read() {
            Some(disk) => read(&**disk),
            None => Err(StorageFailed("the store is closed".into())),
        }
    }

    /// The incarnation of a room that was made after this many deletions.
    pub(super) fn incarnation_of(&self, address: &Address, generation: u64) -> u64 {
        let address = records::address_bytes(address);
        match generation {
            0 => self.incarnation.of_room(&address),
            // No name contains a zero byte, so this is the address of no room.
            generation => self.incarnation.of_room(&[&address[..], &[0], &generation.to_be_bytes()].concat()),
        }
    }

    /// Commits what waits and closes the files. Later reads and commits fail.
    pub(super) fn close(&self) {
        self.group.close();
        let disk = self.disk.write().take();
        drop(disk);
    }
}
