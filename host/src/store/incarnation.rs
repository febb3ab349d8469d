//! The incarnation of a store, and the evidence that its files are the same ones as at the last start. These are plain
//! values and checks; `witness` makes the files, and `records` stores the values.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::random;

/// The name of the file in the data directory.
pub(super) const FILE: &str = "incarnation";

/// A random number for one history of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incarnation(pub(super) u64);

impl Incarnation {
    pub(super) fn random() -> Self {
        Incarnation(random::number())
    }

    /// The incarnation of one room, given by its unique bytes: it reveals nothing about those of others.
    pub(super) fn of_room(self, address: &[u8]) -> u64 {
        let digest = Sha256::new_with_prefix(self.0.to_be_bytes()).chain_update(address).finalize();
        u64::from_be_bytes(*digest.first_chunk().expect("a digest is longer"))
    }
}

/// Facts about the files of the store, to recognise them at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Evidence {
    /// The random value in the file.
    pub(super) nonce: u64,
    /// The inode of the file.
    pub(super) inode: u64,
    /// The inode of the file `mark`.
    pub(super) mark_inode: u64,
    pub(super) times: Times,
}

/// Times of the files that no program can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// The birth times of `incarnation` and `mark`, in nanoseconds since 1970.
    Born { file: u64, mark: u64 },
    /// The change time of `incarnation`, if the file system has no birth times.
    Changed { seconds: i64, nanoseconds: i64 },
}

impl Evidence {
    /// Whether the current files match.
    #[expect(clippy::disallowed_methods, reason = "it reads the files that it compares")]
    pub(super) fn holds(self, directory: &Path) -> bool {
        let read = || {
            let bytes = fs::read(directory.join(FILE))?;
            let nonce = u64::from_be_bytes(bytes.try_into().map_err(|_| io::ErrorKind::InvalidData)?);
            let file = fs::metadata(directory.join(FILE))?;
            let mark = fs::metadata(directory.join("mark"))?;
            let times = match self.times {
                Times::Born { .. } => born(&file, &mark),
                // The kind that was noted decides, even if the file system has birth times by now.
                Times::Changed { .. } => Some(changed(&file)),
            };
            io::Result::Ok(times.is_some_and(|times| Evidence::of(nonce, &file, &mark, times) == self))
        };
        read().unwrap_or(false)
    }

    pub(super) fn of(nonce: u64, file: &Metadata, mark: &Metadata, times: Times) -> Self {
        Evidence { nonce, inode: file.ino(), mark_inode: mark.ino(), times }
    }
}

pub(super) fn born(file: &Metadata, mark: &Metadata) -> Option<Times> {
    Some(Times::Born { file: birth(file)?, mark: birth(mark)? })
}

/// The birth time of a file; absent if the file system has none.
fn birth(file: &Metadata) -> Option<u64> {
    let since_1970 = file.created().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since_1970.as_nanos()).ok().filter(|birth| *birth > 0)
}

pub(super) fn changed(file: &Metadata) -> Times {
    Times::Changed { seconds: file.ctime(), nanoseconds: file.ctime_nsec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_of_one_store_have_different_incarnations_that_stay() {
        let (one, other) = (Incarnation(7), Incarnation(8));
        let (lobby, garden) = (&b"ROOMS\0lobby"[..], &b"ROOMS\0garden"[..]);
        assert_eq!(one.of_room(lobby), one.of_room(lobby));
        assert_ne!(one.of_room(lobby), one.of_room(garden));
        assert_ne!(one.of_room(lobby), other.of_room(lobby));
    }
}
