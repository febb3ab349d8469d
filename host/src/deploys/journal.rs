//! The versions that were deployed, on disk: `deployed/HASH.wasm` for each, and the journal `deployed/deploys.json`,
//! which says what runs after a restart. It does not know what a component does.
//!
//! The journal is replaced as a whole, after the files that it names are on disk. So after a crash it is the old or the
//! new one, and each of its versions is there.
#![expect(clippy::disallowed_methods, reason = "it owns the files of deployed components")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::guest::component_hash;
use crate::limits::DEPLOYED_VERSIONS;
use crate::rollout::Selection;

/// The directory in the data directory.
const DIRECTORY: &str = "deployed";
/// The name of the journal.
const FILE: &str = "deploys.json";
/// The suffix of a file that is being written.
const UNFINISHED: &str = "unfinished";
/// The version of the journal's format.
const VERSION: u32 = 1;

/// The versions that were deployed, and the files of their components.
pub struct Journal {
    /// Absent if nothing is kept on disk.
    directory: Option<PathBuf>,
    records: BTreeMap<String, Record>,
    /// The components by hash, if nothing is kept on disk.
    in_memory: BTreeMap<String, Arc<[u8]>>,
}

/// The deployed versions of one namespace, or of the router.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The hash of the version that runs. Absent: the component that the configuration names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// The deploy that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    /// The versions that can run again, oldest first. The last one is the current one.
    #[serde(default)]
    pub versions: Vec<Kept>,
    /// Why the last deploy stopped; absent if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
}

/// A version whose component is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The hash of its component.
    pub hash: String,
    /// When it last began to run.
    pub since: UnixMillis,
    /// The name of its compiled code in the cache, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiled: Option<String>,
}

/// A deploy that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The version.
    #[serde(flatten)]
    pub version: Kept,
    /// The rooms that it is for.
    pub selection: Selection,
    /// The time in milliseconds without a failure after which it settles, if it is for all rooms.
    pub settle_after_ms: u64,
}

/// A failure that stopped a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The hash of the version that failed.
    pub hash: String,
    /// When it failed.
    pub at: UnixMillis,
    /// The address of the room, or `router`.
    pub place: String,
    /// The event.
    pub event: String,
    /// The reason.
    pub reason: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    deploys: BTreeMap<String, Record>,
}

/// A deployed component or the journal cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum BadDeploys {
    /// The journal cannot be read.
    #[error(
        "{path}, which says what was deployed, cannot be read: {problem}; put back a copy, or remove it to run the \
         components of the configuration"
    )]
    Journal {
        /// Its file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// The file of a deployed component is missing or damaged.
    #[error(
        "{target}: the deployed component {path} {problem}; put back the file, whose SHA-256 is its name, or remove \
         {journal} to run the components of the configuration"
    )]
    Component {
        /// The namespace, or `router`.
        target: String,
        /// Its file.
        path: PathBuf,
        /// The problem.
        problem: String,
        /// The file of the journal.
        journal: PathBuf,
    },
}

impl Candidate {
    /// When it settles without a failure; absent as long as it is not for all rooms.
    pub fn settle_after(&self) -> Option<Duration> {
        self.selection.is_all().then(|| Duration::from_millis(self.settle_after_ms))
    }
}

impl Record {
    /// The candidate becomes the version that runs. `configured` is the hash of the component of the configuration:
    /// when that runs, a restart follows the configuration again.
    pub(super) fn settle(&mut self, configured: Option<&str>) {
        if let Some(candidate) = self.candidate.take() {
            self.run(candidate.version, configured);
        }
    }

    /// This version runs from now on.
    pub(super) fn run(&mut self, version: Kept, configured: Option<&str>) {
        self.current = (configured != Some(&version.hash)).then(|| version.hash.clone());
        self.versions.retain(|kept| kept.hash != version.hash);
        self.versions.push(version);
        let surplus = self.versions.len().saturating_sub(DEPLOYED_VERSIONS);
        self.versions.drain(..surplus);
        self.last_failure = None;
    }

    /// All versions whose components are needed.
    fn needed(&self) -> impl Iterator<Item = &Kept> {
        self.versions.iter().chain(self.candidate.iter().map(|candidate| &candidate.version))
    }
}

impl Journal {
    /// A journal that is lost with the process.
    pub fn in_memory() -> Self {
        Journal { directory: None, records: BTreeMap::new(), in_memory: BTreeMap::new() }
    }

    /// Reads the journal of a data directory. It is empty if nothing was deployed.
    pub fn open(data: &Path) -> Result<Self, BadDeploys> {
        let directory = data.join(DIRECTORY);
        let path = directory.join(FILE);
        let bad = |problem: String| BadDeploys::Journal { path: path.clone(), problem };
        let records = match fs::read(&path) {
            Ok(json) => {
                let written = serde_json::from_slice::<Written>(&json).map_err(|error| bad(error.to_string()))?;
                if written.version != VERSION {
                    return Err(bad(format!("its format has the version {} and not {VERSION}", written.version)));
                }
                written.deploys
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(bad(error.to_string())),
        };
        let hashes = records.values().flat_map(|record| record.needed().map(|kept| &kept.hash).chain(&record.current));
        // A name of a file is made of it.
        if let Some(wrong) = hashes.into_iter().find(|hash| !is_hash(hash)) {
            return Err(bad(format!("`{wrong}` is not a hash")));
        }
        Ok(Journal { directory: Some(directory), records, in_memory: BTreeMap::new() })
    }

    /// The records, by namespace; that of the router is `router`.
    pub fn records(&self) -> &BTreeMap<String, Record> {
        &self.records
    }

    /// The record of a namespace or the router.
    pub fn record(&self, target: &str) -> Record {
        self.records.get(target).cloned().unwrap_or_default()
    }

    /// The component of a deployed version. `target` is for the error.
    pub fn component(&self, target: &str, hash: &str) -> Result<Vec<u8>, BadDeploys> {
        let path = self.path(hash);
        let journal = self.directory.clone().unwrap_or_default().join(FILE);
        let bad = |problem: String| BadDeploys::Component {
            target: target.into(),
            path: path.clone(),
            problem,
            journal: journal.clone(),
        };
        if let Some(wasm) = self.in_memory.get(hash) {
            return Ok(wasm.to_vec());
        }
        let wasm = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => bad("is missing".into()),
            _ => bad(format!("cannot be read: {error}")),
        })?;
        let found = component_hash(&wasm);
        if found != hash {
            return Err(bad(format!("is damaged: its SHA-256 is {found}")));
        }
        Ok(wasm)
    }

    /// Keeps the component of a version, before a record names it. Blocks while the disk works.
    pub(super) fn keep(&mut self, hash: &str, wasm: &[u8]) -> io::Result<()> {
        let Some(directory) = &self.directory else {
            self.in_memory.insert(hash.into(), wasm.into());
            return Ok(());
        };
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let path = self.path(hash);
        // A file that is there may be damaged.
        if fs::read(&path).is_ok_and(|found| component_hash(&found) == hash) {
            return Ok(());
        }
        write(directory, &path, wasm)
    }

    /// Replaces the record of a namespace or the router. It is on disk when this returns. Removes the components that
    /// are no longer needed, and returns the names of their compiled code. Blocks while the disk works.
    ///
    /// Fails: if it cannot be written; then the record stays as it was.
    pub(super) fn set(&mut self, target: &str, record: Record) -> io::Result<Vec<String>> {
        let before = self.records.insert(target.into(), record);
        if let Err(error) = self.write() {
            match before {
                Some(before) => self.records.insert(target.into(), before),
                None => self.records.remove(target),
            };
            return Err(error);
        }
        let compiled = |record: &Record| record.needed().filter_map(|kept| kept.compiled.clone()).collect::<Vec<_>>();
        let needed = self.records.values().flat_map(compiled).collect::<BTreeSet<_>>();
        self.tidy();
        let old = before.as_ref().map(compiled).unwrap_or_default();
        Ok(old.into_iter().filter(|name| !needed.contains(name)).collect())
    }

    fn write(&self) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let written = Written { version: VERSION, deploys: self.records.clone() };
        let json = serde_json::to_vec_pretty(&written).expect("texts and numbers become JSON");
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        write(directory, &directory.join(FILE), &json)
    }

    /// Removes components that no record names, and files that were not completely written.
    fn tidy(&mut self) {
        let needed = self.records.values().flat_map(Record::needed).map(|kept| kept.hash.as_str());
        let needed = needed.collect::<BTreeSet<_>>();
        self.in_memory.retain(|hash, _| needed.contains(hash.as_str()));
        let Some(directory) = &self.directory else { return };
        let Ok(files) = fs::read_dir(directory) else { return };
        for file in files.flatten() {
            let name = file.file_name().into_string().unwrap_or_default();
            let is_unneeded = name.strip_suffix(".wasm").is_some_and(|hash| is_hash(hash) && !needed.contains(hash));
            if is_unneeded || name.ends_with(&format!(".{UNFINISHED}")) {
                // The next deploy tries again.
                let _ = fs::remove_file(file.path());
            }
        }
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.directory.clone().unwrap_or_default().join(format!("{hash}.wasm"))
    }
}

/// Writes a file beside its place, syncs it, puts it there, and syncs the directory.
fn write(directory: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension(UNFINISHED);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(directory)?.sync_all()?;
    // The directory itself may be new.
    directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn kept(wasm: &[u8]) -> Kept {
        Kept { hash: component_hash(wasm), since: 1, compiled: Some(format!("compiled {}", wasm.len())) }
    }

    fn files(data: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(data.path().join(DIRECTORY)).unwrap();
        let mut names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
        names.sort();
        names
    }

    #[test]
    fn the_last_versions_are_kept_and_older_ones_removed() {
        let data = TempDir::new().unwrap();
        let mut journal = Journal::open(data.path()).unwrap();
        assert!(journal.records().is_empty() && !data.path().join(DIRECTORY).exists(), "reading changes nothing");
        let wasms = (1..=DEPLOYED_VERSIONS + 2).map(|number| vec![0; number]).collect::<Vec<_>>();
        let mut removed = Vec::new();
        for wasm in &wasms {
            journal.keep(&component_hash(wasm), wasm).unwrap();
            let mut record = journal.record("ROOMS");
            record.run(kept(wasm), None);
            removed.extend(journal.set("ROOMS", record).unwrap());
        }
        assert_eq!(removed, ["compiled 1", "compiled 2"]);
        assert_eq!(files(&data).len(), DEPLOYED_VERSIONS + 1);
        let journal = Journal::open(data.path()).unwrap();
        let record = journal.record("ROOMS");
        assert_eq!(record.current, Some(component_hash(&wasms[DEPLOYED_VERSIONS + 1])));
        for version in &record.versions {
            assert_eq!(component_hash(&journal.component("ROOMS", &version.hash).unwrap()), version.hash);
        }
        let gone = journal.component("ROOMS", &component_hash(&wasms[0])).unwrap_err().to_string();
        assert!(gone.contains("ROOMS") && gone.contains("is missing"), "{gone}");
    }

    #[test]
    fn a_damaged_component_or_journal_is_refused_with_advice() {
        let data = TempDir::new().unwrap();
        let mut journal = Journal::open(data.path()).unwrap();
        let hash = component_hash(b"wasm");
        journal.keep(&hash, b"wasm").unwrap();
        let mut record = Record::default();
        record.run(kept(b"wasm"), None);
        journal.set("ROOMS", record).unwrap();
        let path = data.path().join(DIRECTORY).join(format!("{hash}.wasm"));
        fs::write(&path, b"wasn").unwrap();
        let damaged = journal.component("ROOMS", &hash).unwrap_err().to_string();
        assert!(damaged.contains("is damaged") && damaged.contains("deploys.json"), "{damaged}");
        journal.keep(&hash, b"wasm").unwrap();
        assert_eq!(journal.component("ROOMS", &hash).unwrap(), b"wasm", "a deploy of the same component repairs it");
        let file = data.path().join(DIRECTORY).join(FILE);
        let good = fs::read_to_string(&file).unwrap();
        for bad in ["", "{}", &good.replace("\"version\": 1", "\"version\": 2"), &good.replace(&hash, "../../x")] {
            fs::write(&file, bad).unwrap();
            let refused = Journal::open(data.path()).err().unwrap().to_string();
            assert!(refused.contains("cannot be read") && refused.contains("remove it"), "{refused}");
        }
    }

    #[test]
    fn the_component_of_the_configuration_is_followed_once_it_runs() {
        let mut record = Record::default();
        record.run(kept(b"configured"), Some(&component_hash(b"configured")));
        assert_eq!(record.current, None);
        record.run(kept(b"other"), Some(&component_hash(b"configured")));
        assert_eq!(record.current, Some(component_hash(b"other")));
        record.run(kept(b"configured"), Some(&component_hash(b"configured")));
        assert_eq!((record.current, record.versions.len()), (None, 2));
    }
}
