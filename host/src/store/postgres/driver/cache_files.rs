//! The files of the cache in the data directory. They may be removed at any time while no server runs.
//!
//! A data directory with the rooms of an embedded store is refused: they would seem to be gone.
#![expect(clippy::disallowed_methods, reason = "it opens the directory of the cache")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::cache::Cache;
use crate::store::engine::{StorageEngine, StorageReader};
use crate::store::error::{DiskError, OpenError};
use crate::store::fjall::{FjallEngine, OpenFailed, directory};
use crate::store::postgres::places;
use crate::store::records;

/// The directory of the cache.
const DIRECTORY: &str = "cache";

/// Refuses a data directory with an embedded store whose rooms are not in the database.
pub(super) fn check(data: &Path) -> Result<(), OpenError> {
    if directory::has_unfinished_restore(data) {
        return Err(OpenError::Unfinished(data.to_owned()));
    }
    let has_embedded = fs::symlink_metadata(data.join("store")).is_ok() && !places::is_moved(data);
    if has_embedded { Err(OpenError::Embedded(data.to_owned())) } else { Ok(()) }
}

/// Whether no server has used the data directory. One whose rooms were moved into the database is not new.
pub(super) fn is_new(data: &Path) -> bool {
    let is_there = |name: &&str| fs::symlink_metadata(data.join(name)).is_ok();
    !places::is_moved(data) && !directory::BACKED_UP.iter().chain([&DIRECTORY]).any(is_there)
}

/// Opens the cache of this store, or makes an empty one. A cache of another store, or one that cannot be opened, is
/// removed.
pub(super) fn open(data: &Path, store: &str, cache_bytes: u64) -> Result<Cache, OpenError> {
    let wrap = |source| OpenError::Disk { path: data.to_owned(), source };
    let failed = |error: std::io::Error| wrap(DiskError(error.to_string()));
    directory::make_private(data).map_err(failed)?;
    let files = data.join(DIRECTORY);
    let found = match FjallEngine::open_cache(&files, cache_bytes) {
        Ok(engine) => is_of(&engine, store).map(|is_same| is_same.then_some(engine)),
        Err(OpenFailed::InUse) => return Err(OpenError::InUse(data.to_owned())),
        Err(OpenFailed::Damaged(problem)) => Err(DiskError(problem)),
        Err(OpenFailed::Disk(error)) => Err(error),
    };
    match found {
        Ok(Some(engine)) => return Ok(Cache(Arc::new(engine))),
        Ok(None) => tracing::warn!(path = %files.display(), "the cache is of another store; it is removed"),
        Err(problem) => tracing::warn!(path = %files.display(), %problem, "the cache cannot be opened; it is removed"),
    }
    fs::remove_dir_all(&files).map_err(failed)?;
    let engine = FjallEngine::open_cache(&files, cache_bytes).map_err(|error| match error {
        OpenFailed::InUse => OpenError::InUse(data.to_owned()),
        OpenFailed::Damaged(problem) => wrap(DiskError(problem)),
        OpenFailed::Disk(error) => wrap(error),
    })?;
    mark(&engine, store).map_err(wrap)?;
    Ok(Cache(Arc::new(engine)))
}

/// Whether the cache is of this store. An empty one becomes so.
fn is_of(engine: &FjallEngine, store: &str) -> Result<bool, DiskError> {
    match engine.get(records::CACHE_KEY)? {
        Some(found) => Ok(found == store.as_bytes()),
        None => mark(engine, store).map(|()| true),
    }
}

fn mark(engine: &FjallEngine, store: &str) -> Result<(), DiskError> {
    engine.write(vec![(Bytes::from_static(records::CACHE_KEY), Some(Bytes::copy_from_slice(store.as_bytes())))])
}
