//! The number of the last durable group, in a file apart from the files of the engine.
//!
//! A corrupt byte in the middle of a journal makes an engine forget all later commits silently. This number reveals
//! that at the next start. It is written after each sync and synced once a second: exact after a crash of the process,
//! at most a second old after a power loss, and never higher than the true number. `group` writes it, and the store
//! reads it when it opens.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::clock;
use crate::store::error::DiskError;

/// How old the mark may be after a power loss. A sync for each group would double the syncs of the disk.
const SYNC_EVERY: Duration = Duration::from_secs(1);

pub(in crate::store) struct Mark {
    file: File,
    synced: Instant,
    failed: bool,
}

impl Mark {
    #[expect(clippy::disallowed_methods, reason = "it opens the file `mark`")]
    pub(in crate::store) fn open(directory: &Path) -> Result<Self, DiskError> {
        let mut options = OpenOptions::new();
        let open = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(directory.join("mark"));
        let file = open.map_err(|error| DiskError(format!("the file `mark`: {error}")))?;
        Ok(Mark { file, synced: clock::monotonic(), failed: false })
    }

    /// The number; 0 if none was written or it cannot be read.
    pub(in crate::store) fn read(&self) -> u64 {
        let mut bytes = [0; 16];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {
                let (number, check) = bytes.split_at(8);
                let number = u64::from_be_bytes(number.try_into().expect("split at 8"));
                let check = u64::from_be_bytes(check.try_into().expect("split at 8"));
                if check == !number {
                    return number;
                }
                tracing::warn!("the file `mark` is damaged: lost commits of the store would not be noticed");
                0
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => {
                tracing::warn!(%error, "the file `mark` cannot be read: lost commits of the store would not be noticed");
                0
            }
        }
    }

    pub(in crate::store) fn write(&mut self, group: u64) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&group.to_be_bytes());
        bytes[8..].copy_from_slice(&(!group).to_be_bytes());
        let written = self.file.write_all_at(&bytes, 0);
        self.report(written);
        if clock::since(self.synced) >= SYNC_EVERY {
            self.sync();
        }
    }

    pub(in crate::store) fn sync(&mut self) {
        self.synced = clock::monotonic();
        let synced = self.file.sync_data();
        self.report(synced);
    }

    /// The mark only helps to find damage. Commits are as durable without it.
    fn report(&mut self, done: io::Result<()>) {
        if let Err(error) = done
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::error!(%error, "the file `mark` cannot be written: damage to the store would not be noticed");
        }
    }
}
