//! The erasures on disk: the file `erasures.json` in the data directory. It is replaced as a whole, so after a crash it
//! is the old or the new one. It knows no rooms.
#![expect(clippy::disallowed_methods, reason = "it owns the file of erasures")]

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::{Erasure, State};
use crate::clock::{self, UnixMillis};
use crate::limits::ERASURES;

/// The name of the file, in the data directory.
const FILE: &str = "erasures.json";
/// Its name while it is written.
const UNFINISHED: &str = "erasures.json.unfinished";
/// The version of its format.
const VERSION: u32 = 1;

/// Why the file cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
#[error(
    "the erasures of users in {path} cannot be read: {problem}; put back a copy, or remove the file to forget them"
)]
pub struct BadErasures {
    path: PathBuf,
    problem: String,
}

impl BadErasures {
    pub(super) fn new(path: &Path, problem: &str) -> Self {
        BadErasures { path: path.to_owned(), problem: problem.to_owned() }
    }
}

/// All erasures, the oldest first.
pub(super) struct Journal {
    /// Absent if nothing is kept on disk.
    directory: Option<PathBuf>,
    /// How long the ids of erased users are kept, in milliseconds.
    pub(super) keep_ids_ms: u64,
    pub(super) erasures: Vec<Erasure>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    erasures: Vec<Erasure>,
}

impl Journal {
    /// Reads the file of a data directory. It is empty if there is none. Without a directory nothing is kept.
    pub(super) fn open(directory: Option<&Path>) -> Result<Self, BadErasures> {
        let Some(directory) = directory else {
            return Ok(Journal { directory: None, keep_ids_ms: 0, erasures: Vec::new() });
        };
        let erasures = read(&directory.join(FILE))?.unwrap_or_default();
        Ok(Journal { directory: Some(directory.into()), keep_ids_ms: 0, erasures })
    }

    /// Forgets the ids of users that are kept no longer. Returns whether there were any.
    pub(super) fn forget_ids(&mut self, now: UnixMillis) -> bool {
        let known = |erasures: &[Erasure]| erasures.iter().filter(|erasure| erasure.user.is_some()).count();
        let before = known(&self.erasures);
        let keep_ms = self.keep_ids_ms;
        self.erasures.iter_mut().for_each(|erasure| erasure.forget(now, keep_ms));
        known(&self.erasures) < before
    }

    pub(super) fn get(&mut self, id: &str) -> Option<&mut Erasure> {
        self.erasures.iter_mut().find(|erasure| erasure.id == id)
    }

    /// Writes the file, without the oldest ended erasures if there are too many. It is on disk when this returns.
    /// Blocks.
    pub(super) fn write(&mut self) -> io::Result<()> {
        self.forget_ids(clock::unix_millis());
        let mut surplus = self.erasures.len().saturating_sub(ERASURES);
        self.erasures.retain(|erasure| {
            let goes = surplus > 0 && erasure.state != State::Running;
            surplus -= usize::from(goes);
            !goes
        });
        let Some(directory) = &self.directory else { return Ok(()) };
        let kept = Kept { version: VERSION, erasures: self.erasures.clone() };
        let json = serde_json::to_vec(&kept).expect("texts and numbers become JSON");
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let unfinished = directory.join(UNFINISHED);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(&unfinished, directory.join(FILE))?;
        File::open(directory)?.sync_all()
    }
}

/// Reads a list of erasures; absent if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<Erasure>>, BadErasures> {
    let bad = |problem: String| BadErasures { path: path.to_owned(), problem };
    let json = match fs::read(path) {
        Ok(json) => json,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(bad(error.to_string())),
    };
    let kept = serde_json::from_slice::<Kept>(&json).map_err(|error| bad(error.to_string()))?;
    if kept.version != VERSION {
        return Err(bad(format!("its format has the version {} and not {VERSION}", kept.version)));
    }
    let mut ids = HashSet::new();
    if let Some(twice) = kept.erasures.iter().find(|erasure| !ids.insert(&erasure.id)) {
        return Err(bad(format!("it has the erasure {} twice", twice.id)));
    }
    match kept.erasures.iter().find(|erasure| erasure.state == State::Running && erasure.user.is_none()) {
        Some(running) => Err(bad(format!("the erasure {} runs and names no user", running.id))),
        None => Ok(Some(kept.erasures)),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn erasures_are_read_back_and_the_oldest_ended_ones_go() {
        let data = TempDir::new().unwrap();
        let mut journal = Journal::open(Some(data.path())).unwrap();
        assert!(journal.erasures.is_empty());
        let mut running = Erasure::new("ana", 1);
        running.rooms = 7;
        journal.erasures.push(running.clone());
        for number in 0..ERASURES as u64 {
            let mut ended = Erasure::new("bo", number);
            ended.end(State::Finished, number);
            journal.erasures.push(ended);
        }
        journal.write().unwrap();
        let read = Journal::open(Some(data.path())).unwrap().erasures;
        assert_eq!((read.len(), &read[0], read[1].started), (ERASURES, &running, 1));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_refused_with_advice() {
        let data = TempDir::new().unwrap();
        let path = data.path().join(FILE);
        let mut journal = Journal::open(Some(data.path())).unwrap();
        journal.erasures.push(Erasure::new("ana", 1));
        journal.write().unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let record = &good[good.find('[').unwrap() + 1..good.rfind(']').unwrap()];
        let twice = good.replace(record, &format!("{record},{record}"));
        let newer = good.replace(r#""version":1"#, r#""version":2"#);
        for bad in ["", "{}", &newer, &good.replace(r#""user":"ana","#, ""), &twice] {
            fs::write(&path, bad).unwrap();
            let refused = Journal::open(Some(data.path())).err().unwrap().to_string();
            assert!(refused.contains("erasures.json") && refused.contains("put back a copy"), "{refused}");
        }
    }
}
