//! The data directory itself: a new file survives a power loss only when the directory it is in was synced as well. And
//! what is in it is for its user alone.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// What a server keeps in its data directory. Other files may stand beside it, and are none of our business.
const OURS: [&str; 5] = ["store", "mark", "incarnation", "revocations.json", "revocations.json.unfinished"];
/// Compiled code is ours as well, but no secret: `compiled` refuses it where others could have written it, and must find
/// it as it is.
const COMPILED: &str = "compiled";
/// What others than the owner may do.
const OTHERS: u32 = 0o077;

/// Make the directory where it is missing, and take from everybody but its user whatever they may do with what is kept
/// there. Links are not followed.
///
/// Fails: where it cannot be made or read, or belongs to somebody else.
pub fn make_private(path: &Path) -> io::Result<()> {
    make(path)?;
    let closed = close_all(path)?;
    if closed > 0 {
        let path = path.display();
        tracing::warn!(%path, closed, "other users could read the data; now its files are 0600 and its directories 0700");
    }
    Ok(())
}

/// How many files and directories were open to others.
fn close_all(path: &Path) -> io::Result<usize> {
    let mut changed = 0;
    let mut is_all_ours = true;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if OURS.iter().any(|ours| entry.file_name() == *ours) {
            changed += close(&entry.path())?;
        } else if entry.file_name() != COMPILED {
            is_all_ours = false;
        }
    }
    // A directory that has other things in it may be meant for others too.
    if is_all_ours {
        changed += close_one(path)?;
    }
    Ok(changed)
}

fn close(path: &Path) -> io::Result<usize> {
    let found = fs::symlink_metadata(path)?;
    if found.is_symlink() {
        return Ok(0);
    }
    let mut changed = close_one(path)?;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            changed += close(&entry?.path())?;
        }
    }
    Ok(changed)
}

fn close_one(path: &Path) -> io::Result<usize> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(0);
    }
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 & !OTHERS))?;
    Ok(1)
}

/// Make the directory, and those it is in, where they are missing.
pub(super) fn make(path: &Path) -> io::Result<()> {
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

/// Have what was made in a directory survive a power loss.
pub(super) fn sync(path: &Path) -> io::Result<()> {
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
    fn what_others_could_read_is_closed_and_nothing_else_is_touched() {
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
        assert_eq!(close_all(&data).unwrap(), 5);
        let modes = ["", "store", "store/rooms", "store/rooms/1.jnl", "mark"].map(|path| mode(&data.join(path)));
        assert_eq!(modes, [0o700, 0o700, 0o700, 0o600, 0o600]);
        assert_eq!(mode(&outside), 0o644, "a link is not followed");
        assert_eq!(close_all(&data).unwrap(), 0);
    }

    #[test]
    fn a_directory_that_holds_other_things_stays_open_and_what_we_keep_there_does_not() {
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        for file in ["mark", "page.html"] {
            fs::write(directory.path().join(file), "x").unwrap();
            fs::set_permissions(directory.path().join(file), Permissions::from_mode(0o644)).unwrap();
        }
        assert_eq!(close_all(directory.path()).unwrap(), 1);
        let modes = ["", "mark", "page.html"].map(|path| mode(&directory.path().join(path)));
        assert_eq!(modes, [0o755, 0o600, 0o644]);
    }
}
