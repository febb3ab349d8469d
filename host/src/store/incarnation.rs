//! Distinguishes a store that simply restarts from a store that was restored from a copy.
//!
//! After a restore, rooms use numbers again that clients have already seen for other messages. So each history of a
//! store has a random number, the incarnation, and a restored store gets a new one. A copy has the same bytes as the
//! original, but not the inode and the change time (ctime) of its files, which no program can set. At each start the
//! store writes a new random value into the file `incarnation`. Among its records it stores that value, the inode and
//! ctime of the file, and the inode of the file `mark`. At the next start all of them must match.
//!
//! A change of the ctime for another reason (such as `chown`, or a move to another disk) also gives a new incarnation.
//! Then clients load their histories again, and nothing else happens. A snapshot of a whole volume restores even the
//! ctime: after such a restore the operator must remove the file `incarnation`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::DiskError;
use super::records::address_bytes;
use crate::model::Address;

/// The name of the file in the data directory.
const FILE: &str = "incarnation";

/// A random number for one history of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incarnation(pub(super) u64);

/// Facts about the files of the store, to recognise them at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Evidence {
    /// The random value in the file.
    pub(super) nonce: u64,
    /// The inode of the file.
    pub(super) inode: u64,
    /// The ctime of the file: seconds and nanoseconds.
    pub(super) changed_s: i64,
    pub(super) changed_ns: i64,
    /// The inode of the file `mark`.
    pub(super) mark_inode: u64,
}

impl Incarnation {
    pub(super) fn random() -> Self {
        Incarnation(rand::random())
    }

    /// The incarnation of one room. It reveals nothing about the incarnations of other rooms.
    pub(super) fn of_room(self, address: &Address) -> u64 {
        let digest = Sha256::new_with_prefix(self.0.to_be_bytes()).chain_update(address_bytes(address)).finalize();
        u64::from_be_bytes(*digest.first_chunk().expect("a digest is longer"))
    }
}

impl Evidence {
    /// The current facts; absent if a file is missing or was not written by a store.
    pub(super) fn read(directory: &Path) -> Option<Self> {
        let path = directory.join(FILE);
        let nonce = u64::from_be_bytes(fs::read(&path).ok()?.try_into().ok()?);
        Self::of(directory, nonce).ok()
    }

    /// Writes the file again, for the check at the next start.
    pub(super) fn renew(directory: &Path) -> Result<Self, DiskError> {
        let nonce = rand::random::<u64>();
        let write = || {
            let path = directory.join(FILE);
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
            file.write_all(&nonce.to_be_bytes())?;
            file.sync_all()?;
            drop(file);
            Self::of(directory, nonce)
        };
        write().map_err(|error| DiskError(format!("the file `{FILE}`: {error}")))
    }

    fn of(directory: &Path, nonce: u64) -> io::Result<Self> {
        let (file, mark) = (fs::metadata(directory.join(FILE))?, fs::metadata(directory.join("mark"))?);
        Ok(Evidence {
            nonce,
            inode: file.ino(),
            changed_s: file.ctime(),
            changed_ns: file.ctime_nsec(),
            mark_inode: mark.ino(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_of_one_store_have_different_incarnations_that_stay() {
        let (one, other) = (Incarnation(7), Incarnation(8));
        let lobby = Address::new("ROOMS", "lobby").unwrap();
        let garden = Address::new("ROOMS", "garden").unwrap();
        assert_eq!(one.of_room(&lobby), one.of_room(&lobby));
        assert_ne!(one.of_room(&lobby), one.of_room(&garden));
        assert_ne!(one.of_room(&lobby), other.of_room(&lobby));
    }

    #[test]
    fn a_file_that_was_copied_or_written_over_is_another_and_one_that_was_left_alone_is_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(directory.path().join("mark"), [0; 16]).unwrap();
        assert_eq!(Evidence::read(directory.path()), None);
        let noted = Evidence::renew(directory.path()).unwrap();
        assert_eq!(Evidence::read(directory.path()), Some(noted));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes).unwrap();
        assert_ne!(Evidence::read(directory.path()), Some(noted), "the same bytes, written over in place");
        let noted = Evidence::renew(directory.path()).unwrap();
        let copy = directory.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        fs::rename(&copy, &path).unwrap();
        assert_ne!(Evidence::read(directory.path()), Some(noted), "a copy in its place");
    }
}
