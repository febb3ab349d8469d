//! Makes a backup from a snapshot of a running store. It holds no lock, and one chunk at a time in memory. The admin
//! listener calls it and sends the bytes.
#![expect(clippy::disallowed_methods, reason = "it reads the files of the data directory that belong to a backup")]

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::BackupError;
use super::format::{CHUNK_BYTES, Encoder, Head, Totals, is_plain};
use crate::clock;
use crate::store::fjall::directory::BACKED_UP;
use crate::store::records;
use crate::store::snapshot::Snapshot;

/// Makes a backup of a store: passes its bytes to `send`, in portions of about 1 MiB, until that returns false. It
/// blocks, and `send` may block too.
///
/// Fails: with [`BackupError::Stopped`] if `send` returned false. If the disk cannot be read, the backup says so itself,
/// so that its receiver knows the reason.
pub fn back_up(snapshot: &Snapshot, send: &mut dyn FnMut(Bytes) -> bool) -> Result<Totals, BackupError> {
    let group = records::last_group(snapshot.reader()).map_err(|error| BackupError::Unreadable(error.to_string()))?;
    let head = Head {
        created: clock::unix_millis(),
        dormouse: env!("CARGO_PKG_VERSION").into(),
        layout: records::LAYOUT,
        group,
    };
    let (mut encoder, start) = Encoder::new(&head);
    let mut send = |bytes| if send(bytes) { Ok(()) } else { Err(BackupError::Stopped) };
    send(start)?;
    let copied = files(&mut encoder, snapshot.directory(), &mut send)
        .and_then(|()| all_records(&mut encoder, snapshot, &mut send));
    match copied {
        Ok(()) => {
            let (end, totals) = encoder.end();
            send(end)?;
            Ok(totals)
        }
        Err(BackupError::Stopped) => Err(BackupError::Stopped),
        Err(error) => {
            send(encoder.broken(&error.to_string()))?;
            Err(error)
        }
    }
}

fn all_records(
    encoder: &mut Encoder,
    snapshot: &Snapshot,
    send: &mut dyn FnMut(Bytes) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    snapshot.pages::<BackupError>((Bound::Unbounded, Bound::Unbounded), &mut |page| {
        for (key, value) in page {
            encoder.record(&key, &value)?.map_or(Ok(()), &mut *send)?;
        }
        Ok(())
    })?;
    encoder.flush().map_or(Ok(()), send)
}

/// The files beside the records. Those that are missing do not exist yet.
fn files(
    encoder: &mut Encoder,
    directory: Option<&Path>,
    send: &mut dyn FnMut(Bytes) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let Some(directory) = directory else { return Ok(()) };
    for name in BACKED_UP {
        let path = directory.join(name);
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(BackupError::at(&path)(error)),
        };
        if found.is_dir() {
            for (name, opened) in at_one_moment(name, &path)? {
                file(encoder, &name, &path, opened, send)?;
            }
        } else if found.is_file()
            && let Some(opened) = open(&path)?
        {
            file(encoder, name, &path, opened, send)?;
        }
    }
    Ok(())
}

/// Opens a file; absent if it was removed meanwhile.
fn open(path: &Path) -> Result<Option<File>, BackupError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BackupError::at(path)(error)),
    }
}

/// A directory is opened so often before the backup gives up. Its files change only with a deploy.
const TRIES: usize = 100;

/// The files of a directory as they are at one moment: the journal of deploys names components that are other files.
/// Files there are replaced and removed as a whole, so all of them are opened, and opened again if one of them is
/// another one after that. An open file stays as it is.
fn at_one_moment(name: &str, directory: &Path) -> Result<Vec<(String, File)>, BackupError> {
    for _ in 0..TRIES {
        let mut opened = Vec::new();
        let mut seen = Vec::new();
        for (name, path) in inside(name, directory)? {
            if let Some(file) = open(&path)? {
                seen.push((name.clone(), identity(&file.metadata().map_err(BackupError::at(&path))?)));
                opened.push((name, file));
            }
        }
        let mut now = Vec::new();
        for (name, path) in inside(name, directory)? {
            match fs::symlink_metadata(&path) {
                Ok(found) => now.push((name, identity(&found))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(BackupError::at(&path)(error)),
            }
        }
        if now == seen {
            return Ok(opened);
        }
    }
    let path = directory.display();
    Err(BackupError::Unreadable(format!("the files in {path} change all the time; make the backup again")))
}

/// Tells a file from a later one with the same name.
fn identity(file: &Metadata) -> (u64, u64, i64, i64) {
    (file.dev(), file.ino(), file.ctime(), file.ctime_nsec())
}

/// The files in a directory, by name. Unfinished ones are left out.
fn inside(name: &str, directory: &Path) -> Result<Vec<(String, PathBuf)>, BackupError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(BackupError::at(directory))? {
        let entry = entry.map_err(BackupError::at(directory))?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let file = entry.file_name().into_string().ok();
        let name = file.filter(|file| is_file && !file.ends_with(".unfinished")).map(|file| format!("{name}/{file}"));
        files.extend(name.filter(|name| is_plain(name)).map(|name| (name, entry.path())));
    }
    files.sort();
    Ok(files)
}

/// One open file: one that was replaced meanwhile stays whole, and one that grows is copied up to its length at this
/// moment.
fn file(
    encoder: &mut Encoder,
    name: &str,
    path: &Path,
    file: File,
    send: &mut dyn FnMut(Bytes) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let length = file.metadata().map_err(BackupError::at(path))?.len();
    let mut rest = file.take(length);
    loop {
        let mut part = Vec::with_capacity(CHUNK_BYTES);
        rest.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut part).map_err(BackupError::at(path))?;
        let is_last = part.len() < CHUNK_BYTES;
        send(encoder.file(name, &part))?;
        if is_last {
            return Ok(());
        }
    }
}
