//! Opens a store with the embedded truth: it makes the directory, examines the files before the engine opens them,
//! compares the mark, and writes the records of this start. The order matters: nothing is changed before everything was
//! checked.

use std::path::Path;
use std::sync::Arc;

use super::Store;
use super::embedded::mark::Mark;
use super::embedded::witness::Witness;
use super::embedded::{Embedded, Found};
use super::engine::StorageEngine;
use super::error::{DiskError, OpenError};
use super::fjall::{self, FjallEngine, directory, examine};
use super::incarnation::Incarnation;
use super::inner::Inner;
use super::local::LocalEngine;
use super::memory::MemoryEngine;
use super::options::StoreOptions;
use super::postgres::places;
use super::records;
use super::transfer::remove_unfinished;
use crate::random;

impl Store {
    /// Opens the directory, or makes it. It replays all commits, and fails if an acknowledged commit is missing.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        if places::is_moved(path) {
            return Err(OpenError::Moved(path.to_owned()));
        }
        Self::open_moved(path, options)
    }

    /// As [`open`](Self::open), also if its rooms were moved into a database.
    pub(super) fn open_moved(path: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let wrap = |source| OpenError::Disk { path: path.to_owned(), source };
        let failed = |error: std::io::Error| wrap(DiskError(error.to_string()));
        let damaged = |problem| OpenError::Damaged { path: path.to_owned(), problem };
        directory::make_private(path).map_err(failed)?;
        if directory::has_unfinished_restore(path) {
            return Err(OpenError::Unfinished(path.to_owned()));
        }
        if places::is_unfinished(path) {
            return Err(OpenError::UnfinishedMove(path.to_owned()));
        }
        let mark = Mark::open(path).map_err(wrap)?;
        let durable = mark.read();
        let behind = |found, problem| OpenError::Behind { path: path.to_owned(), durable, found, problem };
        let files = path.join("store");
        examine::examine(&files, durable).map_err(|refused| match refused {
            examine::OpenProblem::InUse => OpenError::InUse(path.to_owned()),
            examine::OpenProblem::Damaged(problem) => damaged(problem),
            examine::OpenProblem::Behind(found, problem) => behind(found, problem),
            examine::OpenProblem::Disk(error) => failed(error),
        })?;
        // Damage outside of the examined files shows when those are read.
        let unreadable = |error: OpenError| match examine::damaged_tables(&files).unwrap_or_default().first() {
            Some(table) => damaged(format!("the file {} is corrupt", table.display())),
            None => error,
        };
        let disk = FjallEngine::open(path, options.cache_bytes).map_err(|error| match error {
            fjall::OpenFailed::InUse => OpenError::InUse(path.to_owned()),
            fjall::OpenFailed::Damaged(problem) => unreadable(damaged(problem)),
            fjall::OpenFailed::Disk(source) => unreadable(wrap(source)),
        })?;
        directory::sync(path).map_err(failed)?;
        let disk: Arc<dyn StorageEngine> = Arc::new(disk);
        let found = records::last_group(&*disk).map_err(|error| unreadable(wrap(error)))?;
        if found < durable {
            return Err(behind(found, "a file was cut or replaced".into()));
        }
        Self::start(disk, Some((mark, path)), options).map_err(|error| unreadable(wrap(error)))
    }

    /// Fails if another process has the directory open. It changes nothing.
    pub fn check_free(path: &Path) -> Result<(), OpenError> {
        match examine::lock(&path.join("store")) {
            Err(examine::OpenProblem::InUse) => Err(OpenError::InUse(path.to_owned())),
            // Other problems are reported when it is opened.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// A store in memory, for tests and experiments. It has the same contract, but nothing survives the process.
    pub fn in_memory() -> Self {
        Self::on_engine(Arc::new(MemoryEngine::default()), StoreOptions::default()).expect("memory does not fail")
    }

    /// A store on another engine.
    pub fn on_engine(disk: Arc<dyn StorageEngine>, options: StoreOptions) -> Result<Self, DiskError> {
        Self::start(disk, None, options)
    }

    fn start(
        disk: Arc<dyn StorageEngine>,
        directory: Option<(Mark, &Path)>,
        options: StoreOptions,
    ) -> Result<Self, DiskError> {
        // Before the ids of rooms are read: nothing of an unfinished import may be taken for part of a room.
        remove_unfinished(&*disk)?;
        let epoch = records::epoch(&*disk)? + 1;
        let found = Found::read(&*disk)?;
        let known = records::incarnation(&*disk)?;
        let secret = records::secret(&*disk)?;
        // Everything is read before anything is changed. A custom engine has no directory, so it is never taken for a
        // copy.
        let mut files = directory.map(|(mark, path)| (mark, Witness::open(path, known.clone()), path));
        let known = known.map(|(incarnation, _)| incarnation);
        let incarnation = match &files {
            Some((_, witness, _)) => witness.incarnation(),
            None => known.unwrap_or_else(Incarnation::random),
        };
        let incarnation_record = match &mut files {
            Some((_, witness, _)) => witness.prepare()?,
            None => records::incarnation_record(incarnation, &[]),
        };
        let mut batch = vec![records::epoch_record(epoch), incarnation_record];
        let secret = secret.unwrap_or_else(|| {
            let secret = random::bytes();
            batch.push(records::secret_record(&secret));
            secret
        });
        // One batch, because a batch may be written only after the previous one was synced.
        disk.write(batch)?;
        disk.sync()?;
        if let Some((_, witness, _)) = &mut files {
            witness.replace();
        }
        let directory = files.as_ref().map(|(_, _, path)| path.to_path_buf());
        let files = files.map(|(mark, witness, _)| (mark, witness));
        let local = LocalEngine::new(disk.clone());
        let truth = Arc::new(Embedded::start(disk, local.clone(), files, &found, epoch, &options));
        let owned = Arc::default();
        Ok(Store(Arc::new(Inner { local, truth, directory, options, epoch, incarnation, secret, owned })))
    }
}
