//! From a data directory into a database.
//!
//! The database is marked before the first record is written, and its mark is removed last. Before that the directory
//! gets its own mark. So at each moment at most one of the two can be served.

use std::path::Path;

use super::compare::{Compared, compare};
use super::database::Database;
use super::places::{self, Mark};
use super::{BATCH_BYTES, BATCH_RECORDS, MoveError, Moved, Step, ranges};
use crate::store::error::DiskError;
use crate::store::postgres::Target;
use crate::store::records::{self, NAME, ROOM};
use crate::store::{Store, StoreOptions};

/// Moves the rooms in `data` into a database that has none, or goes on with that. `progress` gets the step, and the
/// records until now. It blocks.
///
/// The secret of the keys of posts, the incarnation, the count of deleted rooms and the usage move too: clients resume as
/// after a restart. Revocations, erasures, deploys and the audit log stay in `data`.
pub fn move_into(
    data: &Path,
    options: StoreOptions,
    target: &Target,
    progress: &mut dyn FnMut(Step, &Moved),
) -> Result<Moved, MoveError> {
    if !data.join("store").is_dir() {
        return Err(MoveError::NoStore(data.to_owned()));
    }
    let store = Store::open_moved(data, options)?;
    remove_deleted(&store)?;
    let mut database = Database::open(target)?;
    let mark = Mark::Into(store.0.incarnation.0);
    match database.mark()? {
        Some(found) if found == mark => {}
        Some(Mark::Away) => database.empty()?,
        Some(Mark::Into(_)) => return Err(MoveError::NotEmpty(data.to_owned())),
        None if database.has_rooms()? => return Err(MoveError::NotEmpty(data.to_owned())),
        None => {}
    }
    database.set_mark(Some(&mark))?;
    let moved = copy(&store, &mut database, Step::Copy, progress)?;
    let checked = copy(&store, &mut database, Step::Check, progress)?;
    if checked.written > 0 {
        return Err(MoveError::Differs(checked.written));
    }
    let snapshot = store.snapshot()?;
    let (last_room, deletions) = (records::last_room(snapshot.reader())?, records::deletions(snapshot.reader())?);
    database.write(vec![
        records::secret_record(&store.0.secret),
        records::incarnation_record(store.0.incarnation, &[]),
        records::deletions_record(deletions),
    ])?;
    database.raise_numbers(store.epoch(), last_room)?;
    store.close();
    places::set_moved(data, &database.store).map_err(|error| DiskError(error.to_string()))?;
    database.set_mark(None)?;
    Ok(moved)
}

/// Removes the records of deleted rooms, which a database does not need.
fn remove_deleted(store: &Store) -> Result<(), MoveError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| DiskError(error.to_string()))?;
    while runtime.block_on(store.clean_deleted())? {}
    Ok(())
}

/// Compares all records, and writes those that differ if it copies.
fn copy(
    store: &Store,
    database: &mut Database,
    step: Step,
    progress: &mut dyn FnMut(Step, &Moved),
) -> Result<Moved, MoveError> {
    let (snapshot, found) = (store.snapshot()?, database.reader.snapshot()?);
    let mut moved = Moved::default();
    // The row of a room has its address.
    for (kind, range) in ranges().into_iter().filter(|(kind, _)| *kind != NAME) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        compare::<MoveError>(snapshot.reader(), &*found, &range, &mut |compared| {
            match compared {
                Compared::Same { bytes } => count(&mut moved, kind, bytes),
                Compared::Differs((key, value)) => {
                    moved.written += 1;
                    if let Some(value) = &value {
                        count(&mut moved, kind, key.len() + value.len());
                        bytes += key.len() + value.len();
                    }
                    if step == Step::Copy {
                        batch.push((key, value));
                    }
                }
            }
            if bytes >= BATCH_BYTES || batch.len() >= BATCH_RECORDS {
                bytes = 0;
                write(database, &*found, std::mem::take(&mut batch))?;
                progress(step, &moved);
            } else if moved.records.is_multiple_of(BATCH_RECORDS as u64) {
                progress(step, &moved);
            }
            Ok(())
        })?;
        write(database, &*found, batch)?;
    }
    Ok(moved)
}

fn count(moved: &mut Moved, kind: u8, bytes: usize) {
    moved.rooms += u64::from(kind == ROOM);
    moved.records += 1;
    moved.bytes += bytes as u64;
}

/// Writes records. A room that was deleted since a move that broke off has only its row left.
fn write(
    database: &mut Database,
    found: &dyn crate::store::engine::StorageReader,
    batch: Vec<crate::store::engine::Record>,
) -> Result<(), MoveError> {
    let (rooms_gone, batch) =
        batch.into_iter().partition::<Vec<_>, _>(|(key, value)| key.first() == Some(&ROOM) && value.is_none());
    for (key, _) in rooms_gone {
        if let Some(value) = found.get(&key)? {
            database.remove_room(records::room_columns(&key, value)?.id)?;
        }
    }
    if batch.is_empty() { Ok(()) } else { database.write(batch) }
}
