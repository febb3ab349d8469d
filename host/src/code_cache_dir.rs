//! A directory that caches compiled components, so that the next start need not compile them again.
//!
//! It does not know the content: `guest` seals it and checks the seal. An error here costs only time and a log line.
//! The cached code is executed, so no other user may write to the directory.
#![expect(clippy::disallowed_methods, reason = "it owns the directory of compiled code")]

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::clock;
use crate::guest::CodeCache;
use crate::limits::{COMPILED_BYTES, COMPILED_FOR};

/// Suffix of a file that is still being written.
const UNFINISHED: &str = "unfinished";

/// A directory of compiled code, bounded in size and age.
#[derive(Debug)]
pub struct CompiledCode {
    directory: PathBuf,
    /// Makes file names unique, so that two concurrent writers do not write to the same file.
    written: AtomicU64,
}

impl CompiledCode {
    /// Opens the directory, or creates it; its parent must exist. Removes old files, files beyond the size limit, and
    /// files that other users could have written. Makes the others private.
    ///
    /// Fails: if it cannot be created or read, if another user owns it, or if other users may write to it.
    pub fn open(directory: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = fs::symlink_metadata(directory)?;
        let ours = found.uid() == rustix::process::geteuid().as_raw();
        if !found.is_dir() || !ours || found.mode() & 0o022 != 0 {
            let problem =
                "it must be a directory of this user that no other user may write to; remove it, and try again";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
        }
        close(directory)?;
        tidy(directory, COMPILED_FOR, COMPILED_BYTES)?;
        Ok(CompiledCode { directory: directory.into(), written: AtomicU64::new(0) })
    }

    fn write(&self, name: &str, sealed: &[u8]) -> io::Result<()> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.directory.join(format!("{}-{number}.{UNFINISHED}", std::process::id()));
        let open = || File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
        let written = open().and_then(|mut file| file.write_all(sealed));
        // Not synced: after a power loss a torn file does not match its seal.
        written.and_then(|()| fs::rename(&unfinished, self.directory.join(name))).inspect_err(|_| {
            let _ = fs::remove_file(&unfinished);
        })
    }
}

impl CodeCache for CompiledCode {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        let mut file = File::open(self.directory.join(name)).ok()?;
        // The modification time is the time of the last use. If setting it fails, only the order of removal suffers.
        let _ = file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(clock::unix_millis()));
        let mut sealed = Vec::new();
        file.read_to_end(&mut sealed).ok()?;
        Some(sealed)
    }

    fn put(&self, name: &str, sealed: &[u8]) {
        if let Err(error) = self.write(name, sealed) {
            let directory = self.directory.display();
            tracing::warn!(%directory, %error, "compiled code cannot be kept: the next start compiles it again");
        }
        // Each deploy adds code. If the directory cannot be read, the next start tries again.
        let _ = tidy(&self.directory, COMPILED_FOR, COMPILED_BYTES);
    }

    fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.directory.join(name));
    }
}

/// Takes all permissions on the directory and its code from other users. They cannot write to the directory, but they
/// could write to a file if its mode allowed it. The code in such a file may not be ours, so the file is removed.
///
/// A directory that also holds other files keeps its mode: it may be meant for other users.
fn close(directory: &Path) -> io::Result<()> {
    let (mut closed, mut removed, mut is_all_ours) = (0, 0, true);
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let found = match entry.metadata() {
            // Another process that uses the directory has removed or renamed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        if !is_ours(&entry) {
            is_all_ours = false;
        } else if found.is_file() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0 {
            // An error means that the file is gone: then it cannot be read.
            closed += usize::from(make_private(&entry.path(), 0o600).unwrap_or(false));
        } else {
            // If it cannot be removed, the directory is not used.
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    if is_all_ours {
        closed += usize::from(make_private(directory, 0o700)?);
    }
    if closed + removed > 0 {
        let path = directory.display();
        tracing::warn!(
            %path, closed, removed,
            "other users could read compiled code, or write it: now it is closed to them, and what they could have \
             written is removed"
        );
    }
    Ok(())
}

/// Whether the file has the name of compiled code (a hash), or of code that is not yet completely written.
fn is_ours(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    let is_hash = |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.to_str().is_some_and(|name| is_hash(name) || name.ends_with(&format!(".{UNFINISHED}")))
}

/// Takes all permissions from other users; returns whether they had any.
fn make_private(path: &Path, mode: u32) -> io::Result<bool> {
    let is_open = fs::metadata(path)?.mode() & 0o077 != 0;
    if is_open {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(is_open)
}

/// Removes code unused for `longest`, then the least recently used code until at most `most` bytes are left.
fn tidy(directory: &Path, longest: Duration, most: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(found) = entry.metadata() else { continue };
        if found.is_file() && is_ours(&entry) {
            files.push((clock::to_unix_millis(found.modified()?), found.len(), entry.path()));
        }
    }
    files.sort_unstable_by(|one, other| other.cmp(one));
    let oldest = clock::unix_millis().saturating_sub(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
    let mut kept = 0_u64;
    for (used, bytes, path) in files {
        kept = kept.saturating_add(bytes);
        if used < oldest || kept > most {
            // Another process may have removed it already. If it cannot be removed, the next start tries again.
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A name as the host gives them.
    fn hash(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    fn names(directory: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names = fs::read_dir(directory).unwrap().map(name).collect::<Vec<_>>();
        names.sort();
        names
    }

    /// A file that was last used this many seconds ago.
    fn file(directory: &Path, name: &str, bytes: usize, unused_s: u64) {
        let path = directory.join(name);
        fs::write(&path, vec![0; bytes]).unwrap();
        let used = SystemTime::UNIX_EPOCH + Duration::from_millis(clock::unix_millis() - unused_s * 1_000);
        File::options().write(true).open(&path).unwrap().set_modified(used).unwrap();
    }

    #[test]
    fn cached_code_is_found_again_and_private_to_its_owner() {
        let parent = TempDir::new().unwrap();
        let path = parent.path().join("compiled");
        CompiledCode::open(&path).unwrap().put(&hash('a'), b"code");
        let again = CompiledCode::open(&path).unwrap();
        assert_eq!(again.get(&hash('a')).as_deref(), Some(&b"code"[..]));
        assert_eq!(again.get(&hash('b')), None);
        assert_eq!(names(&path), [hash('a')]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_writable_by_others_is_not_trusted() {
        let parent = TempDir::new().unwrap();
        let path = parent.path().join("compiled");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(CompiledCode::open(&path).unwrap_err().to_string().contains("remove it"));
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(parent.path(), &link).unwrap();
        assert!(CompiledCode::open(&link).is_err(), "nor is a link to another one");
    }

    #[test]
    fn readable_code_is_made_private_and_writable_code_is_removed() {
        let parent = TempDir::new().unwrap();
        let path = parent.path().join("compiled");
        let code = CompiledCode::open(&path).unwrap();
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().mode() & 0o777;
        for (name, open) in [('a', 0o644), ('b', 0o666), ('c', 0o620), ('d', 0o600)] {
            code.put(&hash(name), b"code");
            assert_eq!(mode(&hash(name)), 0o600, "as it was made");
            fs::set_permissions(path.join(hash(name)), fs::Permissions::from_mode(open)).unwrap();
        }
        std::os::unix::fs::symlink(parent.path().join("elsewhere"), path.join(hash('e'))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        CompiledCode::open(&path).unwrap();
        assert_eq!(names(&path), [hash('a'), hash('d')]);
        assert_eq!((mode(""), mode(&hash('a')), mode(&hash('d'))), (0o700, 0o600, 0o600));
    }

    #[test]
    fn foreign_files_in_the_directory_stay_as_they_are() {
        let directory = TempDir::new().unwrap();
        file(directory.path(), "notes.txt", 1, 1_000);
        for (path, mode) in [("", 0o755), ("notes.txt", 0o664)] {
            fs::set_permissions(directory.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        close(directory.path()).unwrap();
        tidy(directory.path(), Duration::ZERO, 0).unwrap();
        let modes = ["", "notes.txt"].map(|path| fs::metadata(directory.path().join(path)).unwrap().mode() & 0o777);
        assert_eq!(modes, [0o755, 0o664]);
    }

    #[test]
    fn a_read_only_directory_caches_nothing_and_fails_nothing() {
        let parent = TempDir::new().unwrap();
        let path = parent.path().join("compiled");
        let code = CompiledCode::open(&path).unwrap();
        fs::remove_dir(&path).unwrap();
        code.put(&hash('a'), b"code");
        assert_eq!(code.get(&hash('a')), None);
    }

    #[test]
    fn the_oldest_code_is_evicted_and_unused_code_expires() {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        for (name, bytes, unused_s) in [('a', 40, 1), ('b', 40, 10), ('c', 40, 20), ('d', 1, 1_000)] {
            file(path, &hash(name), bytes, unused_s);
        }
        tidy(path, Duration::from_secs(100), 100).unwrap();
        assert_eq!(names(path), [hash('a'), hash('b')]);
        tidy(path, Duration::from_secs(5), 100).unwrap();
        assert_eq!(names(path), [hash('a')]);
    }
}
