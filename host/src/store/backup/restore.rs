//! Makes a data directory from a backup. The backup is checked as a whole before anything is written. While records are
//! written, a file marks the directory as unfinished, and no store is opened in it; it is removed last. So a restore
//! that is killed never looks like a store. The command line calls it.
#![expect(clippy::disallowed_methods, reason = "it makes a data directory")]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use bytes::Bytes;

use super::directory::{check, read};
use super::format::{Piece, Totals};
use super::{BackupError, Head};
use crate::store::embedded::mark::Mark;
use crate::store::engine::{Record, StorageEngine};
use crate::store::fjall::directory::{UNFINISHED_RESTORE, is_empty, make, sync};
use crate::store::fjall::{FjallEngine, OpenFailed};
use crate::store::records::{self, Kind};

/// Records are written in batches of about this many bytes, so that few are in memory.
const BATCH_BYTES: usize = 4 << 20;
/// The cache of the engine, in bytes. A restore reads little.
const CACHE_BYTES: u64 = 16 << 20;
/// The journal keeps about so many bytes that are in the tables already.
const JOURNAL_BYTES: u64 = 64 << 20;

/// Checks the backup in `backup`, and makes the data directory `data` from it. When this returns, it is on the disk.
/// `progress` gets whether it checks or writes, the bytes that were read, and all bytes.
///
/// The restored store gets a new incarnation at its first start, as after any restore. It also gets a new secret for
/// the idempotency keys of posts: the posts in the backup keep their keys, and a later post with the same number as one
/// that was sent after the backup has another key.
///
/// Fails: if the backup is damaged, incomplete or newer, and if `data` has any file. Then nothing was written. After
/// any other failure `data` is marked as unfinished, and must be removed.
pub fn restore(
    backup: &Path,
    data: &Path,
    progress: &mut dyn FnMut(Step, u64, u64),
) -> Result<(Head, Totals), BackupError> {
    if !is_empty(data).map_err(BackupError::at(data))? {
        return Err(BackupError::NotEmpty(data.to_owned()));
    }
    let mut size = 0;
    let checked = check(backup, &mut |read, all| {
        size = all;
        progress(Step::Check, read, all);
    })?;
    check_space(data, size)?;
    make(data).map_err(BackupError::at(data))?;
    write_all(backup, data, progress)
        .map_err(|error| match error {
            BackupError::File { path, source } => format!("{} cannot be written: {source}", path.display()),
            other => other.to_string(),
        })
        .map_err(|problem| BackupError::Unfinished { path: data.to_owned(), problem })
        .map(|totals| (checked.0, totals))
}

/// Checks that the disk has space for the records and for the journal of the store, which has the last of them twice.
fn check_space(data: &Path, size: u64) -> Result<(), BackupError> {
    let needed = size + size.min(JOURNAL_BYTES);
    // The directory may not exist yet, and some file systems do not know how much they have.
    let folder = data.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let Ok(stat) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed { Err(BackupError::NoSpace { path: data.to_owned(), free, needed }) } else { Ok(()) }
}

fn write_all(backup: &Path, data: &Path, progress: &mut dyn FnMut(Step, u64, u64)) -> Result<Totals, BackupError> {
    let unfinished = data.join(UNFINISHED_RESTORE);
    let marker = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
    marker.and_then(|file| file.sync_all()).map_err(BackupError::at(&unfinished))?;
    sync(data).map_err(BackupError::at(data))?;
    let mut writer = Writer::open(data)?;
    let totals = read(backup, &mut |read, all| progress(Step::Write, read, all), &mut |piece| writer.take(piece))?;
    writer.finish()?;
    fs::remove_file(&unfinished).map_err(BackupError::at(&unfinished))?;
    sync(data).map_err(BackupError::at(data))?;
    Ok(totals)
}

/// The two steps of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The backup is checked.
    Check,
    /// The data directory is written.
    Write,
}

struct Writer<'a> {
    data: &'a Path,
    disk: FjallEngine,
    batch: Vec<Record>,
    bytes: usize,
    /// The number of the last group commit, and its record.
    group: Option<(u64, Record)>,
    secret: Option<[u8; 32]>,
    /// The addresses of all rooms are in the engine.
    has_names: bool,
    /// The file whose parts follow each other.
    file: Option<File>,
}

impl<'a> Writer<'a> {
    fn open(data: &'a Path) -> Result<Self, BackupError> {
        let disk = FjallEngine::open(data, CACHE_BYTES).map_err(|error| {
            let problem = match error {
                OpenFailed::InUse => "it is in use".into(),
                OpenFailed::Damaged(problem) => problem,
                OpenFailed::Disk(error) => error.to_string(),
            };
            BackupError::Unreadable(format!("the store in {} cannot be made: {problem}", data.display()))
        })?;
        let (batch, bytes, group, secret, has_names, file) = Default::default();
        Ok(Writer { data, disk, batch, bytes, group, secret, has_names, file })
    }

    fn take(&mut self, piece: Piece) -> Result<(), BackupError> {
        match piece {
            Piece::Head(_) | Piece::End(_) => Ok(()),
            Piece::Records(found) => found.into_iter().try_for_each(|(key, value)| self.record(key, value)),
            Piece::File { name, is_first, bytes } => self.file(&name, is_first, &bytes),
        }
    }

    fn record(&mut self, key: Bytes, value: Bytes) -> Result<(), BackupError> {
        let record = match records::kind_of(&key) {
            // Written last: see `finish`.
            Kind::Group => {
                let group = records::group_of(&value)?;
                self.group = Some((group, (key, Some(value))));
                return Ok(());
            }
            // The start makes new ones.
            Kind::Secret => {
                self.secret = value.as_ref().try_into().ok();
                return Ok(());
            }
            Kind::Incarnation => return Ok(()),
            Kind::Post => {
                // The address of the sender is a record before all posts, and is read from the engine.
                if !std::mem::replace(&mut self.has_names, true) {
                    self.write()?;
                }
                match &self.secret {
                    Some(secret) => records::with_post_key(&self.disk, &key, value, secret)?,
                    None => (key, Some(value)),
                }
            }
            Kind::Other => (key, Some(value)),
        };
        self.bytes += record.0.len() + record.1.as_ref().map_or(0, Bytes::len);
        self.batch.push(record);
        if self.bytes >= BATCH_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), BackupError> {
        self.bytes = 0;
        if self.batch.is_empty() {
            return Ok(());
        }
        self.disk.write(std::mem::take(&mut self.batch))?;
        Ok(self.disk.sync()?)
    }

    fn file(&mut self, name: &str, is_first: bool, bytes: &[u8]) -> Result<(), BackupError> {
        let path = self.data.join(name);
        if is_first {
            self.end_file()?;
            if let Some((directory, _)) = name.split_once('/') {
                let directory = self.data.join(directory);
                match DirBuilder::new().mode(0o700).create(&directory) {
                    Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                        return Err(BackupError::at(&directory)(error));
                    }
                    _ => {}
                }
            }
            // A name that is there already would be one of the store.
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            self.file = Some(file.map_err(BackupError::at(&path))?);
        }
        let file = self.file.as_mut().expect("the first part of a file opens it");
        file.write_all(bytes).map_err(BackupError::at(&path))
    }

    fn end_file(&mut self) -> Result<(), BackupError> {
        self.file.take().map_or(Ok(()), |file| file.sync_all()).map_err(BackupError::at(self.data))
    }

    /// Writes the number of the last group, in the store and in the file `mark`. It is the last record of the journal:
    /// if a part before it is damaged later, the start misses the group and refuses.
    fn finish(mut self) -> Result<(), BackupError> {
        self.write()?;
        self.end_file()?;
        if let Some((group, record)) = self.group.take() {
            self.batch.push(record);
            self.write()?;
            let mut mark = Mark::open(self.data)?;
            mark.write(group);
            mark.sync();
        }
        drop(self.disk);
        // A file is on the disk only after its directory is.
        for entry in fs::read_dir(self.data).map_err(BackupError::at(self.data))? {
            let path = entry.map_err(BackupError::at(self.data))?.path();
            if path.is_dir() {
                sync(&path).map_err(BackupError::at(&path))?;
            }
        }
        sync(self.data).map_err(BackupError::at(self.data))
    }
}
