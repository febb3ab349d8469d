//! One room's log: its sequence of commits, and a reader of what is durable.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::commit::{Awaited, Commit, CommitListener, Proof, Receipt};
use super::engine::{Record, StorageEngine};
use super::error::{CommitError, unreadable};
use super::inner::Inner;
use super::owner::{self, Owner};
use super::records::{self, RoomRecord};
use crate::clock;
use crate::model::{Address, Changes, PostNumber, Range, Storage, StorageFailed, TenureId, Writes};

/// The commits of one room. There is one log for each room.
pub struct RoomLog {
    pub(super) store: Arc<Inner>,
    pub(super) owner: Arc<Owner>,
    pub(super) record: RoomRecord,
    /// The name of the room is on disk.
    pub(super) named: bool,
    /// The byte count in the record is exact, not only an upper bound.
    exact: bool,
    /// The position of the last submitted commit or proof; 0 before the first one.
    position: u64,
}

/// The count of the bytes of a room at one moment.
#[derive(Debug)]
pub struct Reserved {
    bytes: u64,
    exact: bool,
}

impl RoomLog {
    pub(super) fn new(store: Arc<Inner>, owner: Arc<Owner>, record: RoomRecord, named: bool) -> Self {
        RoomLog { store, owner, record, named, exact: false, position: 0 }
    }

    /// The number of the last submitted commit.
    pub fn number(&self) -> u64 {
        self.record.number
    }

    /// The position of the last submitted commit or proof since the room was opened. What a turn says may leave with
    /// the [`Receipt`] of this position.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether the room has no data on disk and none on its way there.
    pub fn is_new(&self) -> bool {
        !self.named
    }

    /// The version of the data of the room.
    pub fn data_version(&self) -> u32 {
        self.record.data_version
    }

    /// Gives the data of the room this version. The next commit makes it durable.
    pub fn set_data_version(&mut self, version: u32) {
        self.record.data_version = version;
    }

    /// A random number for this history of the storage of the room. It changes when the room is deleted, and when the
    /// store is restored or recreated.
    pub fn incarnation(&self) -> u64 {
        self.store.incarnation_of(self.owner.address(), self.record.generation)
    }

    /// Counted bytes of its storage.
    pub fn bytes(&self) -> u64 {
        self.record.bytes
    }

    /// The storage of the room on disk. It shows a submitted commit once that is applied.
    pub fn reader(&self) -> RoomReader {
        RoomReader { store: self.store.clone(), id: self.record.id, address: self.owner.address().clone() }
    }

    /// Reserves space for these writes, on the disk and within the limit of the room; then commit them. `current` is
    /// the storage of the room including writes on their way to the disk.
    ///
    /// Far from the limit, only the added bytes are counted and nothing is read, so overwritten and removed data stays
    /// counted. At the limit, everything is counted once. From then on the count is exact: replaced data is read and
    /// subtracted.
    pub fn reserve(&mut self, writes: &Writes, current: &dyn Storage) -> Result<(), CommitError> {
        let options = &self.store.options;
        if !self.store.truth.has_space() {
            return Err(CommitError::NoSpace { min_free_bytes: options.min_free_bytes });
        }
        let room_bytes = options.room_bytes;
        let size = |(key, value): (&Bytes, &Option<Bytes>)| value.as_ref().map_or(0, |value| key.len() + value.len());
        let added = writes.iter().map(size).sum::<usize>() as u64;
        if !self.exact {
            if added == 0 || self.record.bytes.saturating_add(added) <= room_bytes {
                self.record.bytes += added;
                return Ok(());
            }
            // If this fails, the next read reports it.
            if let Ok(bytes) = count(current) {
                self.record.bytes = bytes;
                self.exact = true;
            }
        }
        let before = self.record.bytes;
        let bytes = before.saturating_add(added).saturating_sub(replaced(writes, current));
        // Turns that do not add bytes are allowed, even if the limit was lowered below the present size.
        if bytes > room_bytes && bytes > before {
            return Err(CommitError::RoomFull { room_bytes });
        }
        self.record.bytes = bytes;
        // At half of the limit, exact counting stops; a full count when the limit is near again is then cheap in
        // comparison.
        self.exact = self.exact && bytes > room_bytes / 2;
        Ok(())
    }

    /// The bytes that are reserved up to now.
    pub fn reserved(&self) -> Reserved {
        Reserved { bytes: self.record.bytes, exact: self.exact }
    }

    /// Takes back what was reserved since then, and not committed.
    pub fn restore(&mut self, reserved: Reserved) {
        self.record.bytes = reserved.bytes;
        self.exact = reserved.exact;
    }

    /// Submits the next commit, which must have the number `expected`. It does not wait: `listener` is notified when it
    /// is durable. Check the space with [`reserve`](Self::reserve) before; a turn cannot be undone afterwards.
    ///
    /// Fails: if nothing was written; the number is still free.
    pub fn commit(
        &mut self,
        expected: u64,
        changes: Changes,
        listener: Arc<dyn CommitListener>,
    ) -> Result<(), CommitError> {
        if expected != self.record.number + 1 {
            return Err(CommitError::Fenced { address: self.owner.address().clone() });
        }
        let record = RoomRecord { number: expected, epoch: self.store.epoch, ..self.record };
        let Changes { writes, timers, posts, taken, migrated: _ } = changes;
        let mut records = Vec::with_capacity(writes.len() + timers.len() + posts.len() + taken.len() + 2);
        let address = self.owner.address();
        records.push(record.to_record(address));
        if !self.named {
            records.push(record.name_record(address));
        }
        records.extend(writes.into_iter().map(|(key, value)| records::entry(record.id, &key, value)));
        records.extend(timers.iter().map(|(name, timer)| records::timer(record.id, name, timer.as_ref())));
        records.extend(posts.into_iter().map(|(number, post)| records::post(record.id, number, post)));
        records.extend(taken.iter().map(|(sender, number)| records::taken(record.id, sender, *number)));
        self.submit(records, expected, listener, false)?;
        self.record = record;
        self.named = true;
        Ok(())
    }

    /// Submits a proof, like a commit that changes nothing: it is confirmed in its order, if this process still owns the
    /// room then.
    pub fn prove(&mut self, listener: Arc<dyn CommitListener>) -> Result<(), CommitError> {
        let receipt = Receipt::new(self.position + 1, self.record.number);
        let (owner, at) = (self.owner.clone(), clock::monotonic());
        self.store.truth.prove(Proof { receipt, listener, owner, at })?;
        self.position += 1;
        Ok(())
    }

    /// The tenure in which the room is open; absent if no other process can own rooms.
    pub fn tenure(&self) -> Option<TenureId> {
        self.owner.tenure.map(owner::name_of)
    }

    /// No more turns run, and all are confirmed: the room may go to another node. See
    /// [`TenureListener::pause`](super::TenureListener::pause).
    pub fn paused(&self) {
        self.store.truth.paused(&self.owner);
    }

    /// For the calls of a turn; absent if the store wants no proofs.
    pub fn prover(&self) -> Option<Prover> {
        let prover = || Prover {
            store: self.store.clone(),
            owner: self.owner.clone(),
            position: self.position,
            number: self.record.number,
        };
        self.store.truth.wants_proofs().then(prover)
    }

    /// Submits records as the next commit. The room has this number then.
    pub(super) fn submit(
        &mut self,
        records: Vec<Record>,
        number: u64,
        listener: Arc<dyn CommitListener>,
        deletes_room: bool,
    ) -> Result<(), CommitError> {
        let (base, receipt) = (self.record.number, Receipt::new(self.position + 1, number));
        let (owner, at) = (Some(self.owner.clone()), clock::monotonic());
        self.store.truth.commit(Commit { records, base, receipt, listener, owner, deletes_room, at })?;
        self.position += 1;
        Ok(())
    }
}

impl RoomLog {
    /// Submits the deletion of the room: its storage, timers and posts, with what it has accepted from other rooms. It
    /// takes one small commit, however large the room is: afterwards its address means a new, empty room with another
    /// incarnation. [`Store::clean_deleted`](super::Store::clean_deleted) removes its records later.
    ///
    /// It needs no free space. Returns the number of the commit; drop the log when that is durable.
    pub fn delete(&mut self, listener: Arc<dyn CommitListener>) -> Result<u64, CommitError> {
        let number = self.record.number + 1;
        let deleted = self.named.then(|| records::deleted(self.record.id, self.owner.address()));
        self.submit(deleted.into_iter().flatten().collect(), number, listener, true)?;
        self.record.number = number;
        self.named = false;
        Ok(number)
    }
}

impl Drop for RoomLog {
    fn drop(&mut self) {
        self.store.truth.let_go(&self.owner);
    }
}

/// Asks for proofs in the middle of a turn, on any thread. Such a proof takes no position of the room, so nothing else
/// waits for it, and it may come between any two statements of the room.
pub struct Prover {
    store: Arc<Inner>,
    owner: Arc<Owner>,
    position: u64,
    number: u64,
}

impl Prover {
    /// Asks now whether this process still owns the room. The future ends with the answer.
    pub fn prove(&self) -> impl Future<Output = Result<(), StorageFailed>> + Send + use<> {
        let (listener, outcome) = Awaited::new();
        let (receipt, owner) = (Receipt::new(self.position, self.number), self.owner.clone());
        let asked = self.store.truth.prove(Proof { receipt, listener, owner, at: clock::monotonic() });
        async move {
            asked.map_err(|error| StorageFailed(error.to_string()))?;
            match outcome.await {
                Ok(proven) => proven.map_err(|error| StorageFailed(error.to_string())),
                Err(_) => Err(StorageFailed("the store is closed".into())),
            }
        }
    }
}

/// The size of the storage of a room. It reads all of it.
fn count(current: &dyn Storage) -> Result<u64, StorageFailed> {
    let mut bytes = 0;
    let all = Range { start: Bound::Unbounded, end: Bound::Unbounded, reverse: false };
    current.scan(&all, &mut |key, value| {
        bytes += (key.len() + value.len()) as u64;
        true
    })?;
    Ok(bytes)
}

/// The bytes that these writes replace or remove.
fn replaced(writes: &Writes, current: &dyn Storage) -> u64 {
    let size = |key: &Bytes| current.get(key).ok().flatten().map_or(0, |value| key.len() + value.len());
    writes.keys().map(size).sum::<usize>() as u64
}

/// Reads the storage of a room on disk.
pub struct RoomReader {
    store: Arc<Inner>,
    id: u64,
    address: Address,
}

impl RoomReader {
    /// The last post of another room that this room accepted.
    pub fn last_accepted(&self, sender: &Address) -> Result<Option<PostNumber>, StorageFailed> {
        let record = || format!("the posts from {sender}");
        let read = |disk: &dyn StorageEngine| records::last_accepted(disk, self.id, sender);
        self.store.local.read(|disk| read(disk).map_err(|error| unreadable(&record(), &self.address, &error)))
    }
}

impl Storage for RoomReader {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageFailed> {
        let record = || format!("the entry `{}`", key.escape_ascii());
        let read = |disk: &dyn StorageEngine| disk.get(&records::entry_key(self.id, key));
        self.store.local.read(|disk| read(disk).map_err(|error| unreadable(&record(), &self.address, &error)))
    }

    fn scan(&self, range: &Range, visit: &mut dyn FnMut(&Bytes, &Bytes) -> bool) -> Result<(), StorageFailed> {
        let mut seen = 0;
        let mut count = |key: &Bytes, value: &Bytes| {
            seen += 1;
            visit(key, value)
        };
        let read = self.store.local.read(|disk| Ok(records::scan_entries(disk, self.id, range, &mut count)));
        read?.map_err(|error| {
            let from = if range.reverse { &range.end } else { &range.start };
            let record = match from {
                Bound::Included(from) | Bound::Excluded(from) => {
                    format!("entry number {} from `{}` on", seen + 1, from.escape_ascii())
                }
                Bound::Unbounded => format!("entry number {}", seen + 1),
            };
            unreadable(&record, &self.address, &error)
        })
    }
}
