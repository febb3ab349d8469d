//! The store of all rooms: open, read, commit, recover. Only this module opens the data files of rooms. It knows
//! nothing of the life of a room, of sockets or of wasm.
//!
//! `room` opens a [`RoomLog`] for each room that wakes, and hands it the writes of its turns. The commits of all
//! waiting rooms share one sync. A [`Receipt`] is the evidence that a commit and all earlier commits of that room are
//! durable; only this module can make one.
//!
//! The commits of a room are numbered without gaps, and each commit names the number that it expects. This
//! fences off an outdated owner.
//!
//! The `truth` says who owns a room and what is committed, and takes commits; `embedded` is the one on a storage engine
//! of this process. The log of an open room reads from the engine of this process (`local`), all else asks the truth.

pub mod backup;
mod commit;
mod copy;
mod deletion;
mod embedded;
mod engine;
mod error;
mod fjall;
mod incarnation;
mod inner;
mod local;
mod look;
mod membership;
mod memory;
mod metrics;
mod open;
mod options;
mod owner;
pub mod postgres;
mod records;
mod room_log;
mod snapshot;
#[cfg(test)]
pub(crate) mod test_truth;
pub mod transfer;
mod truth;
mod usage;

use std::collections::BTreeSet;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::clock::{self, UnixMillis};
use crate::histogram::Counts;
use crate::model::{Address, PostNumber, Posts, StorageFailed, TenureId, Timers, UsagePage, UsageQuery};

pub use commit::{CommitListener, Receipt};
pub use copy::Copied;
pub use engine::{Record, StorageEngine, StorageReader};
pub use error::{CommitError, DiskError, NotOpened, OpenError};
pub use fjall::FjallEngine;
pub use fjall::directory::make_private;
pub use look::{EntriesPage, EntriesQuery, StoredRecord, StoredRoom, StoredRooms};
pub use membership::{Hint, Membership, Reading, Step};
pub use memory::MemoryEngine;
pub use options::StoreOptions;
pub use room_log::{Prover, Reserved, RoomLog, RoomReader};
pub use snapshot::Snapshot;
pub use truth::TenureListener;
pub use usage::{KEPT_HOURS, NotWritten, UsageWriter};

use error::unreadable;
use inner::Inner;
use owner::{OwnedAddress, Owner};
use postgres::Tables;
use truth::{Opened, Opening};

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
    /// The tenure of the node that has handed it over to this one, if it is now in the tenure behind that.
    pub continues: Option<TenureId>,
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

    /// Opens the log of a room and becomes its only owner. The embedded store needs no wait for it. `listener` is told if
    /// another owner gets the room while nothing of it is being committed; it is needed only if the store
    /// [wants proofs](Self::wants_proofs).
    ///
    /// Fails: if the room has an owner, or commits on their way; if it cannot be read; and after a failed commit,
    /// because reads could then return data that never became durable.
    pub async fn open_room(
        &self,
        address: &Address,
        listener: Option<Arc<dyn TenureListener>>,
    ) -> Result<Stored, NotOpened> {
        let owned = OwnedAddress::of(address, &self.0.owned)?;
        let Opened { record, is_stored, timers, posts, tenure, continues } = match self.0.truth.open(address, listener)
        {
            Opening::Done(opened) => opened?,
            Opening::Waits(opening) => opening.await?,
        };
        let owner = Arc::new(Owner::new(owned, record.id, tenure));
        let continues = continues.map(owner::name_of);
        Ok(Stored { log: RoomLog::new(self.0.clone(), owner, record, is_stored), timers, posts, continues })
    }

    /// Whether outputs of turns that wrote nothing must wait for a proof, because another node may own the room.
    pub fn wants_proofs(&self) -> bool {
        self.0.truth.wants_proofs()
    }

    /// Whether rooms are in a database, which has backups of its own.
    pub fn is_in_database(&self) -> bool {
        self.0.truth.wants_proofs()
    }

    /// The cluster of which this process is a node; absent if it shares its rooms with none.
    pub fn membership(&self) -> Option<Membership> {
        self.0.truth.membership()
    }

    /// The tables that it shares with other servers; absent if it shares none.
    pub fn tables(&self) -> Option<Tables> {
        self.0.truth.tables()
    }

    /// Every room with a timer or a post, and when the first is due. A room with both may appear twice.
    pub fn rooms_to_wake(&self) -> Result<Vec<(Address, UnixMillis)>, StorageFailed> {
        self.0.truth.due()
    }

    /// The names of rooms with committed data, in order, beginning after `after`.
    pub fn names(&self, namespace: &str, after: Option<&str>, limit: usize) -> Result<BTreeSet<String>, StorageFailed> {
        let read = |reader: &dyn StorageReader| records::names(reader, namespace, after, limit);
        self.0.read_all(|reader| read(reader).map_err(|error| unreadable("the names", &namespace, &error)))
    }

    /// The writer of usage. There may be only one.
    pub fn usage_writer(&self) -> UsageWriter {
        UsageWriter::new(self.clone())
    }

    /// The usage of rooms, namespaces or users, as far as it was reported. Reads from the disk.
    pub fn usage(&self, query: &UsageQuery) -> Result<UsagePage, StorageFailed> {
        let read = |reader: &dyn StorageReader| usage::page(reader, query, clock::unix_millis(), self.epoch());
        self.0.read_all(|reader| read(reader).map_err(|error| unreadable("the usage", &query.by.name(), &error)))
    }

    /// Registers the metrics of the store.
    pub fn register(&self, registry: &mut Registry) {
        self.0.truth.register(registry);
    }

    /// How long commits of rooms took until now.
    pub(crate) fn commit_times(&self) -> Counts {
        self.0.truth.commit_times()
    }

    /// Bytes that the store takes on the disk; absent if its engine does not know. It blocks on the disk.
    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        self.0.local.read(|engine| Ok(engine.disk_bytes())).ok().flatten()
    }

    /// Whether so many bytes are on their way to the disk that rooms should wait.
    pub fn is_behind(&self) -> bool {
        self.0.truth.is_behind()
    }

    /// Waits until the store is no longer [behind](Self::is_behind).
    pub async fn caught_up(&self) {
        self.0.truth.caught_up().await;
    }

    /// Waits until the commit thread has answered, which it does between two syncs. It does not end while a sync hangs.
    ///
    /// Fails: after a failed commit, and if the store is closed.
    pub async fn commit_thread_answers(&self) -> Result<(), CommitError> {
        self.0.truth.answers().await
    }

    /// The reason why nothing can be written now, if there is one.
    pub fn refuses(&self) -> Option<CommitError> {
        self.0.truth.refuses()
    }

    /// Commits what waits and closes the files, even if clones of the store still exist. Later reads and commits fail.
    pub fn close(&self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests;
