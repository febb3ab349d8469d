//! The data directory. It makes the directory, syncs it, because a new file survives a power loss only then, and takes
//! all access from other users. It does not know the content of the files; the store and the cache of compiled code
//! call it.
#![expect(clippy::disallowed_methods, reason = "it opens the data directory")]

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// The files of the server in its data directory. Other files may be there too; they are left alone.
const OUR_FILES: [&str; 15] = [
    "moved",
    "move.unfinished",
    "store",
    "cache",
    "mark",
    "incarnation",
    "incarnation.next",
    "revocations.json",
    "revocations.json.unfinished",
    "erasures.json",
    "erasures.json.unfinished",
    "audit.log",
    "audit.log.1",
    "deployed",
    UNFINISHED_RESTORE,
];
/// Files and directories that a backup has beside the records. A new one of the server is added here, or below if a
/// restored server does not need it. Other files, such as those of keys and tokens, are never copied.
pub(in crate::store) const BACKED_UP: [&str; 5] =
    ["revocations.json", "erasures.json", "audit.log.1", "audit.log", "deployed"];
/// The file that exists while a restore writes into the directory. No store is opened beside it.
pub(in crate::store) const UNFINISHED_RESTORE: &str = "restore.unfinished";
/// The server owns this directory too. `code_cache_dir` makes it private, and removes code that other users could have
/// written, so its permissions must stay unchanged until then.
const COMPILED: &str = "compiled";
/// The permissions of users other than the owner.
const OTHERS: u32 = 0o077;

/// Makes the directory if it is missing, and takes all permissions on its files from other users. Links are not
/// followed.
///
/// Fails: if it cannot be made or read, or belongs to another user.
pub fn make_private(path: &Path) -> io::Result<()> {
    make(path)?;
    let restricted = restrict_all(path)?;
    if restricted > 0 {
        let path = path.display();
        tracing::warn!(%path, restricted, "other users could read the data; now what is Dormouse's there is closed to them");
    }
    Ok(())
}

/// Returns how many files and directories other users could access.
fn restrict_all(path: &Path) -> io::Result<usize> {
    let mut changed = 0;
    let mut is_all_ours = true;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if OUR_FILES.iter().any(|ours| entry.file_name() == *ours) {
            changed += restrict(&entry.path())?;
        } else if entry.file_name() != COMPILED {
            is_all_ours = false;
        }
    }
    // A directory with other files may be meant for other users too.
    if is_all_ours {
        changed += restrict_one(path)?;
    }
    Ok(changed)
}

fn restrict(path: &Path) -> io::Result<usize> {
    let found = fs::symlink_metadata(path)?;
    if found.is_symlink() {
        return Ok(0);
    }
    let mut changed = restrict_one(path)?;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            changed += restrict(&entry?.path())?;
        }
    }
    Ok(changed)
}

fn restrict_one(path: &Path) -> io::Result<usize> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(0);
    }
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 & !OTHERS))?;
    Ok(1)
}

/// Whether a restore has begun to write into the directory and did not end.
pub(in crate::store) fn has_unfinished_restore(path: &Path) -> bool {
    fs::symlink_metadata(path.join(UNFINISHED_RESTORE)).is_ok()
}

/// Whether the directory is missing or empty.
pub(in crate::store) fn is_empty(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Makes the directory and its parents if they are missing.
pub(in crate::store) fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    make(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync(parent)
}

/// Syncs a directory, so that new files in it survive a power loss.
pub(in crate::store) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn readable_data_is_made_private_and_other_files_stay() {
        let directory = TempDir::new().unwrap();
        let data = directory.path().join("data");
        make_private(&data).unwrap();
        assert_eq!(mode(&data), 0o700, "it was made");
        fs::create_dir_all(data.join("store/rooms")).unwrap();
        fs::write(data.join("store/rooms/1.jnl"), "x").unwrap();
        fs::write(data.join("mark"), "x").unwrap();
        let outside = directory.path().join("outside");
        fs::write(&outside, "x").unwrap();
        std::os::unix::fs::symlink(&outside, data.join("store/link")).unwrap();
        for (path, open) in
            [("", 0o755), ("store", 0o755), ("store/rooms", 0o777), ("store/rooms/1.jnl", 0o644), ("mark", 0o640)]
        {
            fs::set_permissions(data.join(path), Permissions::from_mode(open)).unwrap();
        }
        fs::set_permissions(&outside, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(restrict_all(&data).unwrap(), 5);
        let modes = ["", "store", "store/rooms", "store/rooms/1.jnl", "mark"].map(|path| mode(&data.join(path)));
        assert_eq!(modes, [0o700, 0o700, 0o700, 0o600, 0o600]);
        assert_eq!(mode(&outside), 0o644, "a link is not followed");
        assert_eq!(restrict_all(&data).unwrap(), 0);
    }

    #[test]
    fn each_file_of_the_server_is_in_a_backup_or_not_needed() {
        // The records are read from the store. The others tell a copy from the original, or are unfinished.
        let not_needed = ["store", "moved", "cache", "mark", "incarnation", "incarnation.next", UNFINISHED_RESTORE];
        for file in OUR_FILES.iter().filter(|file| !file.ends_with(".unfinished")) {
            assert!(BACKED_UP.contains(file) != not_needed.contains(file), "{file}");
        }
    }

    #[test]
    fn a_shared_directory_stays_open_and_our_files_are_private() {
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        for file in ["mark", "page.html"] {
            fs::write(directory.path().join(file), "x").unwrap();
            fs::set_permissions(directory.path().join(file), Permissions::from_mode(0o644)).unwrap();
        }
        assert_eq!(restrict_all(directory.path()).unwrap(), 1);
        let modes = ["", "mark", "page.html"].map(|path| mode(&directory.path().join(path)));
        assert_eq!(modes, [0o755, 0o600, 0o644]);
    }
}
