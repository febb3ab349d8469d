//! Notices that a file of a project has changed, by looking at all of them a few times a second.
//!
//! That works on every file system, also on one that is shared into a container, and takes a twentieth of a core at most.
//! It knows no languages; `builder.rs` asks it.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The shortest time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The time between two looks, in times of a look: what looking may cost.
const PAUSE_PER_LOOK: u32 = 20;

/// The most files that are watched: some tens of milliseconds a look.
const MAX_FILES: usize = 10_000;

/// The most folders within each other.
const MAX_DEPTH: usize = 16;

/// Folders without sources: of packages, of compilers, and of data. Those whose name begins with a dot are left out too.
const WITHOUT_SOURCES: [&str; 4] = ["node_modules", "target", "dist", "dormouse-data"];

/// Endings of files that are made from sources, and of those that editors leave.
const NO_SOURCES: [&str; 4] = [".wasm", "~", ".swp", ".tmp"];

/// All files of a project at one moment. Two are equal if nothing has changed between them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    files: Vec<(PathBuf, Stamp)>,
    /// Some files are not watched, because there are too many.
    pub(super) is_incomplete: bool,
}

/// Differs when a file was written or replaced.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    bytes: u64,
    inode: u64,
}

/// How long to wait after a look that took so long.
pub(super) fn pause(look: Duration) -> Duration {
    LOOK_EVERY.max(look * PAUSE_PER_LOOK)
}

impl Look {
    /// Looks at all files in a folder, and at some others, which may be missing.
    pub(super) fn at(folder: &Path, others: &BTreeSet<PathBuf>) -> Look {
        let mut look = Look::default();
        look.add_folder(folder, 0);
        for file in others {
            if let Ok(found) = fs::metadata(file) {
                look.add(file.clone(), &found);
            }
        }
        look.files.sort_by(|(one, _), (other, _)| one.cmp(other));
        look
    }

    fn add_folder(&mut self, folder: &Path, depth: usize) {
        // A folder that cannot be read has no sources.
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // Links to folders are not followed: they may lead in a circle.
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() {
                if name.starts_with('.') || WITHOUT_SOURCES.contains(&&*name) {
                    continue;
                }
                if depth == MAX_DEPTH {
                    self.is_incomplete = true;
                } else {
                    self.add_folder(&entry.path(), depth + 1);
                }
            } else if !NO_SOURCES.iter().any(|ending| name.ends_with(ending)) {
                // The metadata of an entry is that of a link itself.
                match fs::metadata(entry.path()) {
                    Ok(found) if found.is_file() => self.add(entry.path(), &found),
                    _ => {}
                }
            }
        }
    }

    fn add(&mut self, file: PathBuf, found: &Metadata) {
        if self.files.len() == MAX_FILES {
            self.is_incomplete = true;
            return;
        }
        let modified = (found.mtime(), found.mtime_nsec());
        self.files.push((file, Stamp { modified, bytes: found.size(), inode: found.ino() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_a_new_and_a_removed_file_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let (source, linked) = (folder.path().join("src/room.ts"), outside.path().join("kit.js"));
        fs::create_dir_all(source.parent().unwrap()).unwrap();
        fs::write(&source, "1").unwrap();
        let others = BTreeSet::from([linked.clone()]);
        let look = || Look::at(folder.path(), &others);
        let mut before = look();
        assert_eq!(before, look());
        let mut changes = |change: &dyn Fn()| {
            change();
            let now = look();
            let has_changed = now != before;
            before = now;
            has_changed
        };
        assert!(changes(&|| fs::write(&source, "22").unwrap()));
        assert!(changes(&|| fs::write(folder.path().join("src/rules.ts"), "").unwrap()));
        assert!(changes(&|| fs::remove_file(folder.path().join("src/rules.ts")).unwrap()));
        assert!(changes(&|| fs::write(&linked, "").unwrap()));
        for without in ["node_modules/a.js", ".dormouse/data/a", "target/a.rs", "room.wasm", "src/room.ts~"] {
            let file = folder.path().join(without);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            assert!(!changes(&|| fs::write(&file, "x").unwrap()), "{without}");
        }
        assert!(!before.is_incomplete);
    }

    #[test]
    fn a_project_with_too_many_files_is_watched_in_part() {
        let folder = tempfile::tempdir().unwrap();
        let mut deep = folder.path().to_owned();
        for _ in 0..=MAX_DEPTH {
            deep.push("x");
        }
        fs::create_dir_all(&deep).unwrap();
        assert!(Look::at(folder.path(), &BTreeSet::new()).is_incomplete);
    }
}
