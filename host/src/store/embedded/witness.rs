//! Distinguishes a store that simply restarts from a store that was restored from a copy.
//!
//! After a restore, rooms use numbers again that clients have already seen for other messages. So each history of a
//! store has a random number, the incarnation, and a restored store gets a new one. A copy has the same bytes as the
//! original, but other inodes and birth times, which no program can set. `chmod`, `chown`, `touch` and a move within a
//! file system change neither.
//!
//! Among its records the store keeps the inode and the birth time of its files `incarnation` and `mark`. A copy that is
//! written over the files in place would keep both. So the file `incarnation` is replaced by a new file at each start,
//! and once a minute while rooms write; then the records in the copy name a file that no longer exists. The records
//! name a new file, beside the current one, before it takes its place. So one of the two is found wherever the process
//! or the power failed.
//!
//! Some file systems have no birth times. There the store keeps the change time (ctime) of the file, writes the file
//! only at the start, and takes `chmod` and `chown` for a restore. That is the safe side: clients load their histories
//! again, and nothing else happens.
//!
//! A snapshot of a whole volume restores all of this: after such a restore the operator must remove the file
//! `incarnation`.
#![expect(clippy::disallowed_methods, reason = "it makes the file `incarnation`")]

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::clock;
use crate::random;
use crate::store::engine::Record;
use crate::store::error::DiskError;
use crate::store::fjall::directory;
use crate::store::incarnation::{Evidence, FILE, Incarnation, Times, born, changed};
use crate::store::records::incarnation_record;

/// The name of the file that will replace it.
const NEXT_FILE: &str = "incarnation.next";

/// The interval at which the file is replaced while rooms write. A copy that was made while the server ran, and that is
/// written back in place within this time, is not recognised. A shorter interval would cost more: each new file takes
/// two syncs.
const REPLACE_EVERY: Duration = Duration::from_secs(60);

/// The file `incarnation`, together with the evidence of it in the records of the store.
pub(in crate::store) struct Witness {
    directory: PathBuf,
    incarnation: Incarnation,
    /// Matches the file that exists; absent before the first one.
    current: Option<Evidence>,
    /// Matches the file that will replace it.
    next: Option<Evidence>,
    replaced: Instant,
    failed: bool,
}

impl Witness {
    /// Checks the evidence `known` from the records of the store.
    pub(in crate::store) fn open(directory: &Path, known: Option<(Incarnation, Vec<Evidence>)>) -> Self {
        let was_known = known.is_some();
        let recognised = known.and_then(|(incarnation, evidence)| {
            let current = evidence.into_iter().find(|evidence| evidence.holds(directory))?;
            Some((incarnation, current))
        });
        if was_known && recognised.is_none() {
            tracing::warn!(
                "the data was restored from a copy, or moved to another disk: clients load the histories of rooms again, \
                 since numbers that they know may stand for other messages now"
            );
        }
        Witness {
            directory: directory.into(),
            incarnation: recognised.map_or_else(Incarnation::random, |(incarnation, _)| incarnation),
            current: recognised.map(|(_, current)| current),
            next: None,
            replaced: clock::monotonic(),
            failed: false,
        }
    }

    /// For a new directory that goes on with the history of another store.
    pub(in crate::store) fn adopt(directory: &Path, incarnation: Incarnation) -> Self {
        Witness { incarnation, ..Witness::open(directory, None) }
    }

    pub(in crate::store) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whether the file is old enough to be replaced.
    pub(in crate::store) fn is_due(&self) -> bool {
        self.is_replaceable() && clock::since(self.replaced) >= REPLACE_EVERY
    }

    /// A rename changes the ctime, so a file whose ctime was noted cannot take the place of another.
    fn is_replaceable(&self) -> bool {
        !matches!(self.current, Some(Evidence { times: Times::Changed { .. }, .. }))
    }

    /// Makes the next file. Invariant: the record that names it is durable before [`replace`](Self::replace) is called.
    pub(in crate::store) fn prepare(&mut self) -> Result<Record, DiskError> {
        self.replaced = clock::monotonic();
        let next = make_next(&self.directory).map_err(|error| DiskError(format!("the file `{FILE}`: {error}")))?;
        self.next = Some(next);
        let evidence = self.current.into_iter().chain(self.next).collect::<Vec<_>>();
        Ok(incarnation_record(self.incarnation, &evidence))
    }

    /// As [`prepare`](Self::prepare), while the store runs. A failure does not fail the commit; it only makes it
    /// possible that a copy is not recognised.
    pub(in crate::store) fn try_prepare(&mut self) -> Option<Record> {
        let prepared = self.prepare();
        self.report(prepared)
    }

    /// Replaces the file by the next one, if there is one.
    pub(in crate::store) fn replace(&mut self) {
        let Some(next) = self.next.take() else { return };
        let replaced = match next.times {
            Times::Born { .. } => fs::rename(self.directory.join(NEXT_FILE), self.directory.join(FILE)),
            // It was written in place.
            Times::Changed { .. } => Ok(()),
        };
        if replaced.is_ok() {
            self.current = Some(next);
        }
        let synced = replaced.and_then(|()| directory::sync(&self.directory));
        self.report(synced.map_err(|error| DiskError(format!("the file `{FILE}`: {error}"))));
    }

    fn report<T>(&mut self, done: Result<T, DiskError>) -> Option<T> {
        let error = match done {
            Ok(done) => return Some(done),
            Err(error) => error,
        };
        if !std::mem::replace(&mut self.failed, true) {
            tracing::warn!(%error, "the file cannot be replaced: a restore from a copy may not be recognised");
        }
        None
    }
}

/// Makes the next file; returns its evidence.
fn make_next(directory: &Path) -> io::Result<Evidence> {
    let mark = fs::metadata(directory.join("mark"))?;
    let path = directory.join(NEXT_FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let nonce = random::number();
    let file = write(&path, nonce)?;
    if let Some(times) = born(&file, &mark) {
        return Ok(Evidence::of(nonce, &file, &mark, times));
    }
    fs::remove_file(&path)?;
    let file = write(&directory.join(FILE), nonce)?;
    Ok(Evidence::of(nonce, &file, &mark, changed(&file)))
}

/// Writes the file; returns its metadata once it is on disk.
fn write(path: &Path, nonce: u64) -> io::Result<Metadata> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&nonce.to_be_bytes())?;
    file.sync_all()?;
    drop(file);
    fs::metadata(path)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    use tempfile::TempDir;

    use super::*;
    use crate::store::memory::MemoryEngine;
    use crate::store::{StorageEngine, records};

    /// A started store: its directory and its records.
    struct Started {
        directory: TempDir,
        disk: MemoryEngine,
        witness: Witness,
    }

    impl Started {
        fn first() -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("mark"), [0; 16]).unwrap();
            let witness = Witness::open(directory.path(), None);
            let mut started = Started { directory, disk: MemoryEngine::default(), witness };
            started.replace();
            started
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join(FILE)
        }

        fn note(&mut self) {
            let record = self.witness.prepare().unwrap();
            self.disk.write(vec![record]).unwrap();
        }

        fn replace(&mut self) {
            self.note();
            self.witness.replace();
        }

        fn known(&self) -> Option<(Incarnation, Vec<Evidence>)> {
            records::incarnation(&self.disk).unwrap()
        }

        /// Whether the next start goes on with the same incarnation.
        fn is_recognised(&self) -> bool {
            self.is_recognised_with(self.known())
        }

        /// As above, with records from an earlier time.
        fn is_recognised_with(&self, known: Option<(Incarnation, Vec<Evidence>)>) -> bool {
            let expected = known.as_ref().expect("noted").0;
            Witness::open(self.directory.path(), known).incarnation() == expected
        }
    }

    /// The bytes and the modification time of a file: a copy keeps nothing else.
    struct Copy(Vec<u8>, SystemTime);

    impl Copy {
        fn of(path: &Path) -> Self {
            Copy(fs::read(path).unwrap(), fs::metadata(path).unwrap().modified().unwrap())
        }

        /// As `cp -a` and `rsync --inplace` do.
        fn write_over(&self, path: &Path) {
            fs::write(path, &self.0).unwrap();
            File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(self.1)).unwrap();
        }

        /// As `rsync` and `tar` do.
        fn put_in_place_of(&self, path: &Path) {
            let unfinished = path.with_extension("unfinished");
            self.write_over(&unfinished);
            fs::rename(unfinished, path).unwrap();
        }
    }

    #[test]
    fn a_store_is_recognised_after_chmod_chown_touch_and_a_move() {
        let started = Started::first();
        let (path, moved) = (started.path(), started.directory.path().join("moved"));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::chown(&path, None, None).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        fs::rename(&path, &moved).unwrap();
        assert!(!started.is_recognised(), "it is not there");
        fs::rename(&moved, &path).unwrap();
        assert!(started.is_recognised());
    }

    #[test]
    fn a_copy_in_place_of_either_file_is_not_recognised() {
        for file in [FILE, "mark"] {
            let started = Started::first();
            let path = started.directory.path().join(file);
            Copy::of(&path).put_in_place_of(&path);
            assert!(!started.is_recognised(), "{file}");
        }
    }

    #[test]
    fn a_copy_that_is_written_over_the_files_is_not_recognised() {
        let mut started = Started::first();
        let (copy, known) = (Copy::of(&started.path()), started.known());
        copy.write_over(&started.path());
        assert!(started.is_recognised_with(known.clone()), "nothing has happened since it was made");
        started.replace();
        copy.write_over(&started.path());
        assert!(!started.is_recognised_with(known));
        assert!(!started.is_recognised(), "the records of one time with a file of another");
    }

    #[test]
    fn a_hard_linked_copy_of_the_file_is_not_recognised() {
        let mut started = Started::first();
        let (copy, known) = (started.directory.path().join("copy"), started.known());
        fs::hard_link(started.path(), &copy).unwrap();
        started.replace();
        started.replace();
        fs::rename(copy, started.path()).unwrap();
        assert!(!started.is_recognised());
        assert!(started.is_recognised_with(known), "records that are as old as the link: `mark` has to tell");
    }

    #[test]
    fn a_store_that_stops_while_the_file_is_replaced_is_recognised() {
        let mut started = Started::first();
        for _ in 0..3 {
            let known = started.known();
            started.witness.prepare().unwrap();
            assert!(started.is_recognised_with(known), "the next file is there, and not noted");
            started.note();
            assert!(started.is_recognised(), "it is noted");
            started.witness.replace();
            assert!(started.is_recognised(), "it has its name");
        }
    }

    #[test]
    fn without_birth_times_the_change_time_is_used() {
        let started = Started::first();
        let (file, mark) = (fs::metadata(started.path()).unwrap(), started.directory.path().join("mark"));
        let nonce = u64::from_be_bytes(fs::read(started.path()).unwrap().try_into().unwrap());
        let evidence = Evidence::of(nonce, &file, &fs::metadata(mark).unwrap(), changed(&file));
        assert!(evidence.holds(started.directory.path()));
        Copy::of(&started.path()).write_over(&started.path());
        assert!(!evidence.holds(started.directory.path()));
    }
}
