//! The store of all rooms: open, read, commit, recover. Only this module opens the data files of rooms. It knows
//! nothing of the life of a room, of sockets or of wasm.
//!
//! `room` opens a [`RoomLog`] for each room that wakes, and hands it the writes of its turns. The commits of all
//! waiting rooms share one sync (`group`). A [`Receipt`] is the proof that a commit and all earlier commits of that
//! room are durable; only this module can make one.
//!
//! The commits of a room are numbered 1, 2, 3 … without gaps, and each commit names the number that it expects. This
//! fences off an outdated owner.

mod disk_monitor;
mod engine;
mod error;
mod fjall;
mod group;
mod incarnation;
mod mark;
mod memory;
mod metrics;
mod owner;
mod records;
mod room_log;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use rand::Rng;
use sha2::{Digest, Sha256};

use crate::clock::UnixMillis;
use crate::lock::{Lock, ReadWriteLock};
use crate::model::{Address, Post, PostNumber, Posts, StorageFailed, Timer, Timers, Writes};

pub use engine::{Record, StorageEngine};
pub use error::{CommitError, DiskError, OpenError};
pub use fjall::FjallEngine;
pub use fjall::directory::make_private;
pub use group::{CommitListener, Receipt};
pub use memory::MemoryEngine;
pub use room_log::{RoomLog, RoomReader};

use group::Group;
use incarnation::{Incarnation, Witness};
use owner::Owner;
use records::RoomRecord;

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

/// The storage of all rooms. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    /// Absent after the store was closed. So a clone that still exists does not keep the files open.
    disk: ReadWriteLock<Option<Arc<dyn StorageEngine>>>,
    group: Group,
    options: StoreOptions,
    epoch: u64,
    incarnation: Incarnation,
    secret: [u8; 32],
    next_room: AtomicU64,
    /// Rooms with an owner, or with commits on their way to the disk.
    owned: Arc<Lock<HashSet<Address>>>,
}

/// The changes of one commit.
#[derive(Debug, Default)]
pub struct Changes {
    /// Entries of the storage of the room.
    pub writes: Writes,
    /// Timers that were set and removed.
    pub timers: BTreeMap<String, Option<Timer>>,
    /// Posts that were added, retried and removed.
    pub posts: BTreeMap<PostNumber, Option<Post>>,
    /// The highest post that was accepted from each other room.
    pub taken: BTreeMap<Address, PostNumber>,
}

impl Changes {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.timers.is_empty() && self.posts.is_empty() && self.taken.is_empty()
    }
}

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
    /// Opens the directory, or makes it. It replays all commits, and fails if an acknowledged commit is missing.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let wrap = |source| OpenError::Disk { path: path.to_owned(), source };
        let failed = |error: std::io::Error| wrap(DiskError(error.to_string()));
        let damaged = |problem| OpenError::Damaged { path: path.to_owned(), problem };
        make_private(path).map_err(failed)?;
        let mark = mark::Mark::open(path).map_err(wrap)?;
        let durable = mark.read();
        let behind = |found, problem| OpenError::Behind { path: path.to_owned(), durable, found, problem };
        let files = path.join("store");
        fjall::examine::examine(&files, durable).map_err(|refused| match refused {
            fjall::examine::OpenProblem::InUse => OpenError::InUse(path.to_owned()),
            fjall::examine::OpenProblem::Damaged(problem) => damaged(problem),
            fjall::examine::OpenProblem::Behind(found, problem) => behind(found, problem),
            fjall::examine::OpenProblem::Disk(error) => failed(error),
        })?;
        // Damage outside of the examined files shows when those are read.
        let unreadable = |error: OpenError| match fjall::examine::damaged_tables(&files).unwrap_or_default().first() {
            Some(table) => damaged(format!("the file {} is corrupt", table.display())),
            None => error,
        };
        let disk = FjallEngine::open(path, options.cache_bytes).map_err(|error| match error {
            fjall::OpenFailed::InUse => OpenError::InUse(path.to_owned()),
            fjall::OpenFailed::Damaged(problem) => unreadable(damaged(problem)),
            fjall::OpenFailed::Disk(source) => unreadable(wrap(source)),
        })?;
        fjall::directory::sync(path).map_err(failed)?;
        let disk: Arc<dyn StorageEngine> = Arc::new(disk);
        let found = records::last_group(&*disk).map_err(|error| unreadable(wrap(error)))?;
        if found < durable {
            return Err(behind(found, "a file was cut or replaced".into()));
        }
        Self::start(disk, Some(mark), Some(path), options).map_err(|error| unreadable(wrap(error)))
    }

    /// A store in memory, for tests and experiments. It has the same contract, but nothing survives the process.
    pub fn in_memory() -> Self {
        Self::on_engine(Arc::new(MemoryEngine::default()), StoreOptions::default()).expect("memory does not fail")
    }

    /// A store on another engine.
    pub fn on_engine(disk: Arc<dyn StorageEngine>, options: StoreOptions) -> Result<Self, DiskError> {
        Self::start(disk, None, None, options)
    }

    fn start(
        disk: Arc<dyn StorageEngine>,
        mark: Option<mark::Mark>,
        path: Option<&Path>,
        options: StoreOptions,
    ) -> Result<Self, DiskError> {
        let epoch = records::epoch(&*disk)? + 1;
        let next_room = AtomicU64::new(records::last_room(&*disk)? + 1);
        let last_group = records::last_group(&*disk)?;
        let known = records::incarnation(&*disk)?;
        let secret = records::secret(&*disk)?;
        // Everything is read before anything is changed. A custom engine has no directory, so it is never taken for a copy.
        let mut witness = path.map(|path| Witness::open(path, known.clone()));
        let known = known.map(|(incarnation, _)| incarnation);
        let incarnation = match &witness {
            Some(witness) => witness.incarnation(),
            None => known.unwrap_or_else(Incarnation::random),
        };
        let incarnation_record = match &mut witness {
            Some(witness) => witness.prepare()?,
            None => records::incarnation_record(incarnation, &[]),
        };
        let mut batch = vec![records::epoch_record(epoch), incarnation_record];
        let secret = secret.unwrap_or_else(|| {
            let mut secret = [0; 32];
            rand::rng().fill_bytes(&mut secret);
            batch.push(records::secret_record(&secret));
            secret
        });
        // One batch, because a batch may be written only after the previous one was synced.
        disk.write(batch)?;
        disk.sync()?;
        if let Some(witness) = &mut witness {
            witness.replace();
        }
        let group = Group::start(disk.clone(), mark, witness, last_group, options.queue_bytes);
        disk_monitor::start(&disk, options.clone(), &group);
        Ok(Store(Arc::new(Inner {
            disk: ReadWriteLock::new(Some(disk)),
            group,
            options,
            epoch,
            incarnation,
            secret,
            next_room,
            owned: Arc::default(),
        })))
    }

    /// The number of this start of the store: 1, 2, 3 …
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// The idempotency key of a post: the same for each try, also after a restart. It cannot be guessed without the
    /// secret of the store, so no one can use up a key before its post arrives.
    pub fn post_key(&self, sender: &Address, number: PostNumber) -> String {
        let post = Sha256::digest(format!("{sender}/{}", number.0));
        // The secret is followed by a hash of fixed length, so that no key is the prefix of the computation of another
        // one.
        let key = Sha256::new().chain_update(self.0.secret).chain_update(post).finalize();
        key.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
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
            store: self.clone(),
            owner: Arc::new(owner),
            named: record.is_some(),
            record: record.unwrap_or_else(|| RoomRecord {
                id: self.0.next_room.fetch_add(1, Ordering::Relaxed),
                epoch: self.0.epoch,
                number: 0,
                bytes: 0,
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

    /// Registers the metrics of the store.
    pub fn register(&self, registry: &mut Registry) {
        self.0.group.shared().metrics.register(registry);
    }

    /// Whether so many bytes are on their way to the disk that rooms should wait.
    pub fn is_behind(&self) -> bool {
        self.0.group.is_behind()
    }

    /// Waits until the store is no longer [behind](Self::is_behind).
    pub async fn caught_up(&self) {
        self.0.group.caught_up().await;
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
        self.0.group.close();
        let disk = self.0.disk.write().take();
        drop(disk);
    }
}

impl Inner {
    fn read<T>(&self, read: impl FnOnce(&dyn StorageEngine) -> Result<T, StorageFailed>) -> Result<T, StorageFailed> {
        match &*self.disk.read() {
            Some(disk) => read(&**disk),
            None => Err(StorageFailed("the store is closed".into())),
        }
    }
}

/// An error for a record that cannot be read: it names the record and the room, and what to do.
fn unreadable(what: &str, of: &dyn fmt::Display, error: &DiskError) -> StorageFailed {
    StorageFailed(format!(
        "{what} of {of} cannot be read: {error}; check the disk, and restore the data directory from a backup if \
         it is damaged"
    ))
}

impl From<DiskError> for StorageFailed {
    fn from(error: DiskError) -> Self {
        StorageFailed(error.0)
    }
}

#[cfg(test)]
mod tests;
