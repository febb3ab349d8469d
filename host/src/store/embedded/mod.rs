//! The embedded truth: a storage engine that only this process writes. Nobody else can own its rooms, so an opened room
//! stays ours, proofs are not needed, and everything is answered at once but commits.
//!
//! `group` commits what waits of all rooms with one sync, `mark` keeps the number of the last durable group, `witness`
//! tells a restored copy from a restart, and `disk_monitor` watches the space of the disk. `open` starts it.

mod disk_monitor;
mod group;
pub(super) mod mark;
pub(super) mod witness;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::registry::Registry;

use self::group::Group;
use self::mark::Mark;
use self::witness::Witness;
use super::commit::{Commit, Proof};
use super::engine::{StorageEngine, StorageReader};
use super::error::{CommitError, DiskError, NotOpened, unreadable};
use super::local::LocalEngine;
use super::options::StoreOptions;
use super::records::{self, Deletions, RoomRecord};
use super::truth::{Opened, Opening, TenureListener, Truth, Waits};
use crate::clock::UnixMillis;
use crate::histogram::Counts;
use crate::lock::Lock;
use crate::model::{Address, StorageFailed};

/// The truth on the engine of this process.
pub(super) struct Embedded {
    engine: Arc<LocalEngine>,
    group: Group,
    min_free_bytes: u64,
    /// The number of this start of the store.
    epoch: u64,
    /// The id of the next room that has no data yet.
    next_room: AtomicU64,
    /// Held while a deletion is submitted, so that their records are written in order.
    deletions: Lock<Deletions>,
}

/// The records of the store on which its rooms go on.
pub(super) struct Found {
    pub(super) next_room: u64,
    pub(super) last_group: u64,
    pub(super) deletions: Deletions,
}

impl Found {
    pub(super) fn read(engine: &dyn StorageReader) -> Result<Self, DiskError> {
        Ok(Found {
            next_room: records::last_room(engine)? + 1,
            last_group: records::last_group(engine)?,
            deletions: records::deletions(engine)?,
        })
    }
}

impl Embedded {
    /// Starts the threads that commit and watch the disk. The records of this start are durable already.
    pub(super) fn start(
        engine: Arc<dyn StorageEngine>,
        local: Arc<LocalEngine>,
        files: Option<(Mark, Witness)>,
        found: &Found,
        epoch: u64,
        options: &StoreOptions,
    ) -> Self {
        let (mark, witness) = files.unzip();
        let group = Group::start(engine.clone(), mark, witness, found.last_group, options.queue_bytes);
        disk_monitor::start(&engine, options.clone(), &group);
        Embedded {
            engine: local,
            group,
            min_free_bytes: options.min_free_bytes,
            epoch,
            next_room: AtomicU64::new(found.next_room),
            deletions: Lock::new(found.deletions),
        }
    }

    /// Fails after a failed commit, because reads could then return data that never became durable.
    fn check_durable(&self) -> Result<(), StorageFailed> {
        self.group.failed().map_or(Ok(()), |failed| Err(StorageFailed(failed.to_string())))
    }

    fn open_now(&self, address: &Address) -> Result<Opened, StorageFailed> {
        self.check_durable()?;
        let (record, timers, posts) = self.engine.read(|engine| {
            let read = || {
                let record = records::room(engine, address)?;
                let (timers, posts) = match &record {
                    Some(record) => (records::timers(engine, record.id)?.collect(), records::posts(engine, record.id)?),
                    None => Default::default(),
                };
                Ok((record, timers, posts))
            };
            read().map_err(|error| unreadable("the records", address, &error))
        })?;
        let is_stored = record.is_some();
        let record = record.unwrap_or_else(|| {
            let deletions = *self.deletions.lock();
            RoomRecord {
                id: self.next_room.fetch_add(1, Ordering::Relaxed),
                epoch: self.epoch,
                number: deletions.highest,
                bytes: 0,
                generation: deletions.count,
                data_version: 0,
            }
        });
        Ok(Opened { record, is_stored, timers, posts, tenure: None, continues: None })
    }

    fn commit_deletion(&self, mut commit: Commit) -> Result<(), CommitError> {
        let mut deletions = self.deletions.lock();
        let highest = deletions.highest.max(commit.receipt.number());
        let next = Deletions { count: deletions.count + 1, highest };
        commit.records.insert(0, records::deletions_record(next));
        self.group.submit(commit)?;
        *deletions = next;
        Ok(())
    }
}

impl Truth for Embedded {
    fn open(&self, address: &Address, _: Option<Arc<dyn TenureListener>>) -> Opening {
        Opening::Done(self.open_now(address).map_err(NotOpened::from))
    }

    fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        if commit.deletes_room { self.commit_deletion(commit) } else { self.group.submit(commit) }
    }

    /// Nothing asks for it. It goes through the group, so that it is confirmed in its order.
    fn prove(&self, proof: Proof) -> Result<(), CommitError> {
        let Proof { receipt, listener, owner, at } = proof;
        let (records, base, owner) = (Vec::new(), receipt.number(), Some(owner));
        self.group.submit(Commit { records, base, receipt, listener, owner, deletes_room: false, at })
    }

    fn read(&self, read: &mut dyn FnMut(&dyn StorageReader)) -> Result<(), StorageFailed> {
        self.engine.read(|engine| {
            read(engine);
            Ok(())
        })
    }

    fn snapshot(&self) -> Result<Box<dyn StorageReader>, StorageFailed> {
        self.check_durable()?;
        self.engine.read(|engine| Ok(engine.snapshot()?))
    }

    fn due(&self) -> Result<Vec<(Address, UnixMillis)>, StorageFailed> {
        let failed = |error: DiskError| unreadable("the timers and posts", &"all rooms", &error);
        self.engine.read(|engine| records::rooms_to_wake(engine).map_err(failed))
    }

    fn refuses(&self) -> Option<CommitError> {
        if self.group.has_no_space() {
            return Some(CommitError::NoSpace { min_free_bytes: self.min_free_bytes });
        }
        self.group.failed()
    }

    fn has_space(&self) -> bool {
        !self.group.has_no_space()
    }

    /// The monitor of the disk may be some seconds late, and a turn writes little; something large needs an exact
    /// answer.
    fn has_space_for(&self, bytes: u64) -> bool {
        let free = self.engine.free_bytes();
        let fits = free.is_none_or(|free| free.map_or(true, |free| free >= self.min_free_bytes.saturating_add(bytes)));
        fits && self.has_space()
    }

    fn is_behind(&self) -> bool {
        self.group.is_behind()
    }

    fn caught_up(&self) -> Waits<'_, ()> {
        Box::pin(self.group.caught_up())
    }

    fn answers(&self) -> Waits<'_, Result<(), CommitError>> {
        Box::pin(self.group.answers())
    }

    fn register(&self, registry: &mut Registry) {
        self.group.shared().metrics.register(registry);
    }

    fn commit_times(&self) -> Counts {
        self.group.shared().metrics.commit_times()
    }

    fn close(&self) {
        self.group.close();
    }
}
