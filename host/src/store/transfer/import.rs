//! Stores a checked import in a room without data. A small room is one commit. A larger one takes several: until the
//! last, which makes the record of the room, its records belong to an id that no room has, and a record marks that id.
//! The next start removes what such an id has. So a crash leaves the whole room or nothing of it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::check::CheckedImport;
use super::line::Line;
use super::{ImportError, NUMBERS_AHEAD};
use crate::model::{Address, PostNumber, Timer};
use crate::random;
use crate::store::commit::{CommitListener, Receipt};
use crate::store::engine::{Record, StorageEngine};
use crate::store::error::{CommitError, DiskError};
use crate::store::records::{self, RoomRecord};
use crate::store::room_log::RoomLog;

/// The records of one commit have about this many bytes: half of the writes that a turn may make, so that commits of
/// other rooms wait no longer behind it than behind a large turn.
const COMMIT_BYTES: usize = 8 << 20;
/// Records of an unfinished import that are removed at once.
const REMOVED_AT_ONCE: usize = 10_000;

/// An imported room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Its entries.
    pub entries: u64,
    /// Its timers.
    pub timers: u64,
    /// Its posts that are not accepted yet.
    pub posts: u64,
    /// Bytes of its keys and values.
    pub bytes: u64,
}

impl RoomLog {
    /// Fills a room that has no data. When this returns, it is durable. Open the room again afterwards: its timers and
    /// posts are new. It blocks.
    ///
    /// Fails: if the room has data. After any error it has none.
    pub fn import(&mut self, import: CheckedImport) -> Result<Imported, ImportError> {
        if self.named {
            return Err(ImportError::Exists);
        }
        let header = import.header.clone();
        let mut writer = Writer { log: self, records: Vec::new(), bytes: 0, commits: 0 };
        let id = writer.log.record.id;
        let written = import.lines(&mut |line| writer.add(record(id, line)?)).and_then(|()| {
            let number = header.commit.max(writer.log.record.number) + NUMBERS_AHEAD;
            // The numbers that clients know may stand for other messages now.
            let generation = random::number().max(1);
            let (bytes, data_version) = (header.bytes, header.data_version);
            writer.finish(RoomRecord { number, bytes, generation, data_version, ..writer.log.record })
        });
        if let Err(error) = written {
            writer.undo();
            return Err(error);
        }
        Ok(Imported { entries: header.entries, timers: header.timers, posts: header.posts, bytes: header.bytes })
    }
}

/// The record of a checked line.
fn record(id: u64, line: Line) -> Result<Record, ImportError> {
    let changed = || ImportError::Failed("its file changed after it was checked".into());
    let number = |number: String| number.parse().map(PostNumber).map_err(|_| changed());
    Ok(match line {
        Line::Room(_) | Line::End { .. } => return Err(changed()),
        Line::Entry { key, value } => records::entry(id, &key.0, Some(value.0)),
        Line::Timer { name, at, attempt, payload } => {
            let timer = Timer { name, at, attempt, payload: payload.0 };
            records::timer(id, &timer.name, Some(&timer))
        }
        Line::Post { number: it, at, attempt, request, body } => {
            let post = request.into_post(body.0.into(), at, attempt).ok_or_else(changed)?;
            records::post(id, number(it)?, Some(post))
        }
        Line::Accepted { namespace, name, number: it } => {
            let sender = Address::new(&namespace, &name).map_err(|_| changed())?;
            records::taken(id, &sender, number(it)?)
        }
    })
}

struct Writer<'a> {
    log: &'a mut RoomLog,
    records: Vec<Record>,
    bytes: usize,
    /// Commits that are durable.
    commits: u64,
}

impl Writer<'_> {
    fn add(&mut self, record: Record) -> Result<(), ImportError> {
        self.bytes += record.0.len() + record.1.as_ref().map_or(0, bytes::Bytes::len);
        self.records.push(record);
        if self.bytes < COMMIT_BYTES {
            return Ok(());
        }
        if self.commits == 0 {
            self.records.push(records::import_record(self.log.record.id, Some(self.log.owner.address())));
        }
        self.check_space()?;
        // The number of the room stays until its record is written.
        self.commit(self.log.record.number)
    }

    /// The last commit: from then on the room exists.
    fn finish(&mut self, record: RoomRecord) -> Result<(), ImportError> {
        let record = RoomRecord { epoch: self.log.store.epoch, ..record };
        let address = self.log.owner.address();
        self.records.extend([record.to_record(address), record.name_record(address)]);
        if self.commits > 0 {
            self.records.push(records::import_record(record.id, None));
        }
        self.check_space()?;
        self.commit(record.number)?;
        self.log.record = record;
        self.log.named = true;
        Ok(())
    }

    /// Removes what was stored. If that fails, the next start does it.
    fn undo(&mut self) {
        self.records.clear();
        while self.commits > 0 {
            let id = self.log.record.id;
            let keys = self.log.store.read_all(|reader| Ok(records::some_keys(reader, id, REMOVED_AT_ONCE)?));
            let Ok(keys) = keys else { return };
            let is_last = keys.is_empty();
            self.records.extend(keys.into_iter().map(|key| (key, None)));
            if is_last {
                self.records.push(records::import_record(id, None));
            }
            if is_last | self.commit(self.log.record.number).is_err() {
                return;
            }
        }
    }

    fn check_space(&self) -> Result<(), ImportError> {
        let bytes = 2 * COMMIT_BYTES as u64;
        if self.log.store.truth.has_space_for(bytes) { Ok(()) } else { Err(ImportError::NoSpace) }
    }

    /// Commits the collected records and waits until they are durable. The room has this number then.
    fn commit(&mut self, number: u64) -> Result<(), ImportError> {
        let (listener, outcome) = Listener::new();
        self.bytes = 0;
        let records = std::mem::take(&mut self.records);
        let failed = |error: CommitError| ImportError::Failed(error.to_string());
        self.log.submit(records, number, listener, false).map_err(failed)?;
        match outcome.recv() {
            Ok(Ok(())) => {
                self.commits += 1;
                Ok(())
            }
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(ImportError::Failed("the store was closed".into())),
        }
    }
}

/// Passes the outcome of one commit to the thread that waits for it.
struct Listener(SyncSender<Result<(), CommitError>>);

impl Listener {
    fn new() -> (Arc<Self>, Receiver<Result<(), CommitError>>) {
        let (send, receive) = sync_channel(1);
        (Arc::new(Listener(send)), receive)
    }
}

impl CommitListener for Listener {
    fn committed(&self, _: Receipt, _: bool) {
        let _ = self.0.try_send(Ok(()));
    }

    fn failed(&self, error: &CommitError) {
        let _ = self.0.try_send(Err(error.clone()));
    }
}

/// Removes the records of imports that did not end. The store calls it before it opens any room.
pub(in crate::store) fn remove_unfinished(disk: &dyn StorageEngine) -> Result<(), DiskError> {
    for id in records::unfinished_imports(disk)? {
        tracing::warn!("the import of a room did not end; nothing of it is kept, so import the room again");
        loop {
            let keys = records::some_keys(disk, id, REMOVED_AT_ONCE)?;
            let is_last = keys.is_empty();
            let mut batch = keys.into_iter().map(|key| (key, None)).collect::<Vec<_>>();
            if is_last {
                batch.push(records::import_record(id, None));
            }
            disk.write(batch)?;
            disk.sync()?;
            if is_last {
                break;
            }
        }
    }
    Ok(())
}
