//! The directory of a backup: one file, which has its name only when it is complete and on the disk. The command line
//! calls it.
#![expect(clippy::disallowed_methods, reason = "it owns the file of a backup")]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::format::{CHUNK_BYTES, Decoder, Head, Piece, Totals};
use super::{BackupError, FILE};
use crate::store::fjall::directory;

/// The name of the file while it is written.
const UNFINISHED: &str = "dormouse.backup.unfinished";

/// A backup that is being received. If it is dropped before [`finish`](Self::finish), nothing of it stays.
pub struct NewBackup {
    directory: PathBuf,
    /// The directory was made for it.
    made: bool,
    /// Absent after the end.
    file: Option<File>,
    decoder: Decoder,
    written: u64,
}

impl NewBackup {
    /// Makes the directory if it is missing, and the file in it.
    ///
    /// Fails: if the directory has any file.
    pub fn create(directory: &Path) -> Result<Self, BackupError> {
        if !directory::is_empty(directory).map_err(BackupError::at(directory))? {
            return Err(BackupError::NotEmpty(directory.to_owned()));
        }
        let made = match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(BackupError::at(directory)(error)),
        };
        let path = directory.join(UNFINISHED);
        // It has the data of all rooms.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(BackupError::at(&path))?;
        Ok(NewBackup { directory: directory.to_owned(), made, file: Some(file), decoder: Decoder::new(), written: 0 })
    }

    /// Checks and writes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.decoder.push(bytes, &mut |_| Ok(()))?;
        let file = self.file.as_mut().expect("it is absent only after the end");
        file.write_all(bytes).map_err(BackupError::at(&self.directory.join(UNFINISHED)))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// The entries received so far, and their bytes.
    pub fn progress(&self) -> (Totals, u64) {
        (self.decoder.totals(), self.written)
    }

    /// Checks that nothing is missing. When this returns, the backup is on the disk under its name.
    pub fn finish(mut self) -> Result<Totals, BackupError> {
        let totals = std::mem::replace(&mut self.decoder, Decoder::new()).finish()?;
        let (unfinished, path) = (self.directory.join(UNFINISHED), self.directory.join(FILE));
        let file = self.file.as_ref().expect("it is absent only after the end");
        file.sync_all().map_err(BackupError::at(&unfinished))?;
        fs::rename(&unfinished, &path).map_err(BackupError::at(&path))?;
        self.file = None;
        // A rename, and a new directory, are on the disk only after the directory above is synced.
        let parent = self.directory.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        for directory in [&self.directory, parent] {
            directory::sync(directory).map_err(BackupError::at(directory))?;
        }
        Ok(totals)
    }
}

impl Drop for NewBackup {
    fn drop(&mut self) {
        if self.file.is_none() {
            return;
        }
        // If this fails too, the name still says that it is unfinished.
        let _ = fs::remove_file(self.directory.join(UNFINISHED));
        if self.made {
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

/// Checks the backup in a directory: every byte, all counts, and its end. Nothing is changed. `progress` gets the bytes
/// that were read, and all bytes.
pub fn check(directory: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(Head, Totals), BackupError> {
    let mut head = None;
    let totals = read(directory, progress, &mut |piece| {
        if let Piece::Head(found) = piece {
            head = Some(found);
        }
        Ok(())
    })?;
    head.map(|head| (head, totals)).ok_or(BackupError::Incomplete)
}

/// Reads the backup in a directory, and passes its checked parts to `take`.
pub(super) fn read(
    directory: &Path,
    progress: &mut dyn FnMut(u64, u64),
    take: &mut dyn FnMut(Piece) -> Result<(), BackupError>,
) -> Result<Totals, BackupError> {
    let path = directory.join(FILE);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(BackupError::NoBackup(directory.to_owned()));
        }
        Err(error) => return Err(BackupError::at(&path)(error)),
    };
    let length = file.metadata().map_err(BackupError::at(&path))?.len();
    let (mut decoder, mut buffer, mut read) = (Decoder::new(), vec![0; CHUNK_BYTES], 0);
    loop {
        let some = match file.read(&mut buffer) {
            Ok(0) => return decoder.finish(),
            Ok(some) => some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(BackupError::at(&path)(error)),
        };
        decoder.push(&buffer[..some], take)?;
        read += some as u64;
        progress(read, length);
    }
}
