//! The store of all rooms: open, read, commit, recover. Only this module opens the data files of rooms. It knows
//! nothing of the life of a room, of sockets or of wasm.
//!
//! `room` opens a [`RoomLog`] for each room that wakes, and hands it the writes of its turns. The commits of all
//! waiting rooms share one sync (`group`). A [`Receipt`] is the proof that a commit and all earlier commits of that
//! room are durable; only this module can make one.
//!
//! The commits of a room are numbered without gaps, and each commit names the number that it expects. This
//! fences off an outdated owner.

pub mod backup;
mod copy;
mod deletion;
mod disk_monitor;
mod engine;
mod error;
mod fjall;
mod group;
mod incarnation;
mod inner;
mod look;
mod mark;
mod memory;
mod metrics;
mod open;
mod options;
mod owner;
mod records;
mod room_log;
mod snapshot;
pub mod transfer;
mod usage;
mod witness;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::registry::Registry;

use crate::clock::{self, UnixMillis};
use crate::histogram::Counts;
use crate::model::{Address, PostNumber, Posts, StorageFailed, Timers, UsagePage, UsageQuery};

pub use copy::Copied;
pub use engine::{Record, StorageEngine, StorageReader};
pub use error::{CommitError, DiskError, OpenError};
pub use fjall::FjallEngine;
pub use fjall::directory::make_private;
pub use group::{CommitListener, Receipt};
pub use look::{EntriesPage, EntriesQuery, StoredRecord, StoredRoom, StoredRooms};
pub use memory::MemoryEngine;
pub use options::StoreOptions;
pub use room_log::{Reserved, RoomLog, RoomReader};
pub use snapshot::Snapshot;
pub use usage::{KEPT_HOURS, NotWritten, UsageWriter};

use error::unreadable;
use inner::Inner;
use owner::Owner;
use records::RoomRecord;

/// The storage of all rooms. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

/// A room as it is on disk.
pub struct Stored {
    /// The only right to commit to it.
    pub log: RoomLog,
    /// Its timers.
    pub timers: Timers,
    /// Its posts that are not accepted yet.
    pub posts: Posts,
}

impl Store {
    /// The number of this start of the store: 1, 2, 3 …
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// The idempotency key of a post: the same for each try, also after a restart. It cannot be guessed without the
    /// secret of the store, so no one can use up a key before its post arrives.
    pub fn post_key(&self, sender: &Address, number: PostNumber) -> String {
        records::post_key(&self.0.secret, sender, number)
    }

    /// Opens the log of a room and becomes its only owner.
    ///
    /// Fails: if the room has an owner, or commits on their way; if the disk cannot be read; and after a failed commit,
    /// because reads could then return data that never became durable.
    pub fn room(&self, address: &Address) -> Result<Stored, StorageFailed> {
        if let Some(failed) = self.0.group.failed() {
            return Err(StorageFailed(failed.to_string()));
        }
        let owner = Owner::of(address, &self.0.owned)?;
        let (record, timers, posts) = self.0.read(|disk| {
            let read = || {
                let record = records::room(disk, address)?;
                let (timers, posts) = match &record {
                    Some(record) => (records::timers(disk, record.id)?.collect(), records::posts(disk, record.id)?),
                    None => Default::default(),
                };
                Ok((record, timers, posts))
            };
            read().map_err(|error| unreadable("the records", address, &error))
        })?;
        let log = RoomLog {
            store: self.0.clone(),
            owner: Arc::new(owner),
            named: record.is_some(),
            record: record.unwrap_or_else(|| {
                let deletions = *self.0.deletions.lock();
                RoomRecord {
                    id: self.0.next_room.fetch_add(1, Ordering::Relaxed),
                    epoch: self.0.epoch,
                    number: deletions.highest,
                    bytes: 0,
                    generation: deletions.count,
                    data_version: 0,
                }
            }),
            exact: false,
        };
        Ok(Stored { log, timers, posts })
    }

    /// Every room with a timer or a post, and when the first is due. A room with both appears twice.
    pub fn rooms_to_wake(&self) -> Result<Vec<(Address, UnixMillis)>, StorageFailed> {
        self.0.read(|disk| {
            records::rooms_to_wake(disk).map_err(|error| unreadable("the timers and posts", &"all rooms", &error))
        })
    }

    /// The names of rooms with committed data, in order, beginning after `after`.
    pub fn names(&self, namespace: &str, after: Option<&str>, limit: usize) -> Result<BTreeSet<String>, StorageFailed> {
        let read = |disk: &dyn StorageEngine| records::names(disk, namespace, after, limit);
        self.0.read(|disk| read(disk).map_err(|error| unreadable("the names", &namespace, &error)))
    }

    /// The writer of usage. There may be only one.
    pub fn usage_writer(&self) -> UsageWriter {
        UsageWriter::new(self.clone())
    }

    /// The usage of rooms, namespaces or users, as far as it was reported. Reads from the disk.
    pub fn usage(&self, query: &UsageQuery) -> Result<UsagePage, StorageFailed> {
        let read = |disk: &dyn StorageEngine| usage::page(disk, query, clock::unix_millis(), self.epoch());
        self.0.read(|disk| read(disk).map_err(|error| unreadable("the usage", &query.by.name(), &error)))
    }

    /// Registers the metrics of the store.
    pub fn register(&self, registry: &mut Registry) {
        self.0.group.shared().metrics.register(registry);
    }

    /// How long commits of rooms took until now.
    pub(crate) fn commit_times(&self) -> Counts {
        self.0.group.shared().metrics.commit_times()
    }

    /// Bytes that the store takes on the disk; absent if its engine does not know. It blocks on the disk.
    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        self.0.read(|disk| Ok::<_, StorageFailed>(disk.disk_bytes())).ok().flatten()
    }

    /// Whether so many bytes are on their way to the disk that rooms should wait.
    pub fn is_behind(&self) -> bool {
        self.0.group.is_behind()
    }

    /// Waits until the store is no longer [behind](Self::is_behind).
    pub async fn caught_up(&self) {
        self.0.group.caught_up().await;
    }

    /// Waits until the commit thread has answered, which it does between two syncs. It does not end while a sync hangs.
    ///
    /// Fails: after a failed commit, and if the store is closed.
    pub async fn commit_thread_answers(&self) -> Result<(), CommitError> {
        self.0.group.answers().await
    }

    /// The reason why nothing can be written now, if there is one.
    pub fn refuses(&self) -> Option<CommitError> {
        if self.0.group.has_no_space() {
            return Some(CommitError::NoSpace { min_free_bytes: self.0.options.min_free_bytes });
        }
        self.0.group.failed()
    }

    /// Commits what waits and closes the files, even if clones of the store still exist. Later reads and commits fail.
    pub fn close(&self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests;
