//! From a database into a new data directory.
//!
//! The directory is marked as unfinished before the first record is written, and the database is marked before that mark
//! is removed. So at each moment at most one of the two can be served.

use std::path::Path;

use bytes::Bytes;

use super::compare::{Compared, compare};
use super::database::Database;
use super::places::{self, Mark};
use super::{BATCH_BYTES, MoveError, Moved, Step, ranges};
use crate::store::embedded::mark::Mark as GroupMark;
use crate::store::embedded::witness::Witness;
use crate::store::engine::{Record, StorageEngine, StorageReader};
use crate::store::error::{DiskError, OpenError};
use crate::store::fjall::{FjallEngine, OpenFailed, directory};
use crate::store::postgres::Target;
use crate::store::records::{self, ROOM};

/// The cache of the engine, in bytes.
const CACHE_BYTES: u64 = 16 << 20;

/// Moves the rooms of a database into a new data directory, or goes on with that. It blocks.
///
/// The secret of the keys of posts, the incarnation, the count of deleted rooms and the usage move too.
pub fn move_back(data: &Path, target: &Target, progress: &mut dyn FnMut(Step, &Moved)) -> Result<Moved, MoveError> {
    let failed = |error: std::io::Error| MoveError::from(DiskError(format!("{}: {error}", data.display())));
    if !places::is_unfinished(data) && !directory::is_empty(data).map_err(failed)? {
        return Err(MoveError::DirectoryNotEmpty(data.to_owned()));
    }
    let mut database = Database::open(target)?;
    match database.mark()? {
        None => {}
        // The last step of this move was broken off.
        Some(Mark::Away) if places::is_unfinished(data) => {}
        Some(_) => return Err(MoveError::Away),
    }
    directory::make(data).map_err(failed)?;
    places::set_unfinished(data, true).map_err(failed)?;
    let engine = FjallEngine::open(data, CACHE_BYTES).map_err(|error| match error {
        OpenFailed::InUse => OpenError::InUse(data.to_owned()),
        OpenFailed::Damaged(problem) => OpenError::Damaged { path: data.to_owned(), problem },
        OpenFailed::Disk(source) => OpenError::Disk { path: data.to_owned(), source },
    })?;
    let reader = database.reader.snapshot()?;
    let moved = copy(&*reader, &engine, Step::Copy, progress)?;
    let checked = copy(&*reader, &engine, Step::Check, progress)?;
    if checked.written > 0 {
        return Err(MoveError::Differs(checked.written));
    }
    finish(data, &engine, &*reader, database.last_start()?)?;
    drop((engine, reader));
    database.set_mark(Some(&Mark::Away))?;
    places::set_unfinished(data, false).map_err(failed)?;
    Ok(moved)
}

fn copy(
    from: &dyn StorageReader,
    to: &FjallEngine,
    step: Step,
    progress: &mut dyn FnMut(Step, &Moved),
) -> Result<Moved, MoveError> {
    let mut moved = Moved::default();
    for (kind, range) in ranges() {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        compare::<MoveError>(from, to, &range, &mut |compared| {
            let size = match compared {
                Compared::Same { bytes } => bytes,
                Compared::Differs((key, value)) => {
                    moved.written += 1;
                    let size = key.len() + value.as_ref().map_or(0, Bytes::len);
                    bytes += size;
                    if step == Step::Copy {
                        batch.push((key, value));
                    }
                    size
                }
            };
            moved.rooms += u64::from(kind == ROOM);
            moved.records += 1;
            moved.bytes += size as u64;
            if bytes >= BATCH_BYTES {
                bytes = 0;
                write(to, std::mem::take(&mut batch))?;
                progress(step, &moved);
            }
            Ok(())
        })?;
        write(to, batch)?;
        progress(step, &moved);
    }
    Ok(moved)
}

fn write(engine: &FjallEngine, batch: Vec<Record>) -> Result<(), DiskError> {
    if batch.is_empty() {
        return Ok(());
    }
    engine.write(batch)?;
    engine.sync()
}

/// Writes the records of the store itself. The number of the group is the last record of the journal, as after a
/// restore.
fn finish(data: &Path, engine: &FjallEngine, from: &dyn StorageReader, start: u64) -> Result<(), MoveError> {
    let missing = || DiskError("the database has lost records of the store".into());
    let secret = records::secret(from)?.ok_or_else(missing)?;
    let (incarnation, _) = records::incarnation(from)?.ok_or_else(missing)?;
    let deletions = records::deletions(from)?;
    let group = records::last_group(engine)? + 1;
    let mut mark = GroupMark::open(data)?;
    // The file that tells a copy from the original must be there before the records that name it.
    let mut witness = Witness::adopt(data, incarnation);
    let records = vec![
        witness.prepare()?,
        records::secret_record(&secret),
        records::deletions_record(deletions),
        records::epoch_record(start),
        records::group_record(group),
    ];
    write(engine, records)?;
    witness.replace();
    mark.write(group);
    mark.sync();
    directory::sync(data).map_err(|error| DiskError(error.to_string()))?;
    Ok(())
}
