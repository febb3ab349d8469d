//! The state of an open store. The store and the log of each room share it.

use std::path::PathBuf;
use std::sync::Arc;

use super::engine::StorageReader;
use super::incarnation::Incarnation;
use super::local::LocalEngine;
use super::options::StoreOptions;
use super::owner::Owned;
use super::records;
use super::truth::Truth;
use crate::model::{Address, StorageFailed};

pub(super) struct Inner {
    /// Has everything of the rooms that are open. The log of a room reads from it.
    pub(super) local: Arc<LocalEngine>,
    /// Opens rooms, takes commits, and is asked about rooms that are not open.
    pub(super) truth: Arc<dyn Truth>,
    /// The data directory; absent with an engine of its own.
    pub(super) directory: Option<PathBuf>,
    pub(super) options: StoreOptions,
    pub(super) epoch: u64,
    pub(super) incarnation: Incarnation,
    pub(super) secret: [u8; 32],
    pub(super) owned: Owned,
}

impl Inner {
    /// Reads what is committed of all rooms, or of a room that may not be open here. It blocks.
    pub(super) fn read_all<T>(
        &self,
        read: impl FnOnce(&dyn StorageReader) -> Result<T, StorageFailed>,
    ) -> Result<T, StorageFailed> {
        let (mut read, mut result) = (Some(read), None);
        self.truth.read(&mut |reader| result = read.take().map(|read| read(reader)))?;
        result.expect("a truth calls back once unless it fails")
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
        self.truth.close();
        self.local.close();
    }
}
