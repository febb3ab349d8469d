//! A room's folder: it has one owner at a time, and only the owner's commits succeed.
//!
//! ```text
//! log.7        the log of term 7: the highest term counts
//! lock.7       an instance owns the room in term 7
//! incarnation  a random number, created with the folder
//! readers/     a file for each reader; its instance touches it every few seconds
//! ```
//!
//! The instance that creates `lock.N`, for the term N of the log, owns the room until it removes the lock. A killed
//! owner leaves its lock. When the lock is [`LEASE`] old, the instance that creates `lock.N+1` owns the room, and
//! starts a new log of term N+1 with the state of the old one. An old owner that was only slow then writes to an unused
//! log.
//!
//! It also detects this: after a write and a sync it checks that `lock.N+1` does not exist, and that `lock.N` is still
//! its own. If so, no other instance has read the room meanwhile, and the next owner reads the write. If not, the next
//! owner may or may not have read the write, so the commit fails. Correctness does not depend on clocks: the lease
//! decides only when an instance tries.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::log::{self, Parsed};
use crate::state::{Change, State};

/// After this time others try to take a room from its owner. A session takes milliseconds; the rest is for slow disks.
pub const LEASE: Duration = Duration::from_secs(8);

/// How long an instance waits for a room: longer than a lease, so that a killed owner delays a request but fails none.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(18);

/// The shortest and the longest time between two tries to own a room.
const RETRY_PAUSE_MS: (u64, u64) = (1, 20);

/// How often a folder is listed again if files disappear during the listing.
const MAX_LIST_RETRIES: usize = 100;

/// A log is rewritten if it exceeds twice the size of its first record by this much.
const GARBAGE_BYTES: u64 = 256 * 1024;

/// Why an instance does not own a room, or no longer owns it.
#[derive(Debug)]
pub enum Error {
    /// Another instance owns it.
    Busy,
    /// A file cannot be read or written.
    Disk(PathBuf, io::Error),
    /// A file holds bytes that no owner wrote.
    Damaged(PathBuf),
}

/// The result of an operation on files.
pub type Result<T> = std::result::Result<T, Error>;

/// The room's folder.
#[derive(Debug, Clone)]
pub struct RoomDir {
    folder: PathBuf,
}

/// The position of a record in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    /// The term of the log.
    pub term: u64,
    /// The offset in bytes.
    pub offset: u64,
    /// The number of the previous record.
    pub number: u64,
}

impl RoomDir {
    /// Opens a room's folder. Creates it if it does not exist.
    pub fn open(folder: PathBuf, owner: u64) -> Result<Self> {
        let dir = RoomDir { folder };
        if !exists(&dir.folder)? {
            dir.create(owner)?;
        }
        Ok(dir)
    }

    /// The path of a reader's lease.
    pub fn lease(&self, socket: u64) -> PathBuf {
        self.folder.join("readers").join(socket.to_string())
    }

    /// The path of the log of a term.
    pub fn log(&self, term: u64) -> PathBuf {
        self.folder.join(format!("log.{term}"))
    }

    fn lock(&self, term: u64) -> PathBuf {
        self.folder.join(format!("lock.{term}"))
    }

    /// The highest term that has a log, and the highest that has a lock.
    pub fn terms(&self) -> Result<(u64, Option<u64>)> {
        let (mut log, mut lock) = (None, None);
        for name in file_names(&self.folder)? {
            let Some((kind, term)) = name.split_once('.') else { continue };
            let term = term.parse::<u64>().ok();
            match kind {
                "log" => log = log.max(term),
                "lock" => lock = lock.max(term),
                _ => {}
            }
        }
        Ok((log.ok_or_else(|| Error::Damaged(self.folder.clone()))?, lock))
    }

    /// The random number that was created with the folder; 0 if the folder has none, as in older versions.
    pub fn incarnation(&self) -> Result<u64> {
        let path = self.folder.join("incarnation");
        match fs::read(&path) {
            Ok(bytes) => bytes.try_into().map(u64::from_be_bytes).map_err(|_| Error::Damaged(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(Error::Disk(path, error)),
        }
    }

    /// Whether no other owner has replaced the log of this term.
    pub fn is_current(&self, term: u64) -> Result<bool> {
        // In this order: a new owner keeps its lock until the old log is removed.
        Ok(!exists(&self.lock(term + 1))? && exists(&self.log(term))?)
    }

    /// Creates the folder with its log in one step, by a rename, so that a room always has a log.
    fn create(&self, owner: u64) -> Result<()> {
        let parent = self.folder.parent().expect("a room's folder is in the data folder");
        with_path(parent, fs::create_dir_all(parent))?;
        let new = parent.join(format!("new.{owner:016x}"));
        with_path(&new, fs::create_dir_all(new.join("readers")))?;
        write_durably(&new.join("incarnation"), &owner.to_be_bytes())?;
        write_durably(&new.join("log.1"), &log::record(0, &[]))?;
        sync_folder(&new)?;
        match fs::rename(&new, &self.folder) {
            Ok(()) => sync_folder(parent),
            // Another instance was first.
            Err(error) => match with_path(&new, fs::remove_dir_all(&new)) {
                Ok(()) if exists(&self.folder)? => Ok(()),
                _ => Err(Error::Disk(self.folder.clone(), error)),
            },
        }
    }
}

/// The ownership of a room.
#[derive(Debug)]
pub struct Ownership {
    dir: RoomDir,
    term: u64,
    /// The content of our locks.
    owner: u64,
    log: File,
    end: LogPosition,
    /// The log may be incomplete because a write failed. Then the lock stays, so that the next owner starts a new log.
    broken: bool,
}

impl Ownership {
    /// Waits for the room, owns it, and reads its state.
    pub fn acquire(dir: &RoomDir, owner: u64) -> Result<(Self, State)> {
        let started = SystemTime::now();
        let mut pause = Pause(owner);
        loop {
            if let Some(term) = try_acquire(dir, owner)? {
                return Self::read(dir.clone(), term, owner);
            }
            if started.elapsed().unwrap_or_default() > ACQUIRE_TIMEOUT {
                return Err(Error::Busy);
            }
            pause.wait();
        }
    }

    fn read(dir: RoomDir, term: u64, owner: u64) -> Result<(Self, State)> {
        let log_term = dir.terms()?.0;
        let path = dir.log(log_term);
        let log = with_path(&path, OpenOptions::new().read(true).write(true).open(&path))?;
        let end = LogPosition { term: log_term, offset: 0, number: 0 };
        let mut ownership = Ownership { dir, term, owner, log, end, broken: false };
        let found = ownership.read_log(&path)?;
        ownership.end = found.end;
        let garbage = found.end.offset.saturating_sub(2 * found.first_record_bytes);
        if log_term < term {
            ownership.start_log(&found.state)?;
        } else if !found.is_whole || garbage > GARBAGE_BYTES {
            ownership.next_term()?;
            ownership.start_log(&found.state)?;
        }
        Ok((ownership, found.state))
    }

    /// Reads the state from the log again.
    pub fn reload(&mut self) -> Result<State> {
        Ok(self.read_log(&self.dir.log(self.term))?.state)
    }

    fn read_log(&mut self, path: &Path) -> Result<LogContent> {
        let mut bytes = Vec::new();
        with_path(path, self.log.seek(SeekFrom::Start(0)).and_then(|_| self.log.read_to_end(&mut bytes)))?;
        let damaged = || Error::Damaged(path.to_owned());
        let (first, first_record_bytes) = log::first_record_header(&bytes).ok_or_else(damaged)?;
        let (mut state, mut offset, mut number) = (State::default(), 0, first);
        let is_whole = loop {
            match log::parse_record(&bytes, offset, number) {
                Parsed::Record(changes, next) => {
                    changes.into_iter().for_each(|change| state.apply(change));
                    (offset, number) = (next, number + 1);
                }
                Parsed::End => break true,
                // Only later records can be torn: the first one is synced before the log gets its name.
                Parsed::Torn if offset > 0 => break false,
                Parsed::Torn | Parsed::Damaged => return Err(damaged()),
            }
        };
        let end = LogPosition { term: self.end.term, offset: offset as u64, number: number - 1 };
        Ok(LogContent { state, end, first_record_bytes: first_record_bytes as u64, is_whole })
    }

    /// The position of the next record.
    pub fn end(&self) -> LogPosition {
        self.end
    }

    /// Appends records. When this returns they are durable, and the next owner reads them.
    pub fn commit(&mut self, turns: &[Vec<Change>]) -> Result<()> {
        if turns.is_empty() {
            return Ok(());
        }
        let numbered = (self.end.number + 1..).zip(turns);
        let bytes = numbered.flat_map(|(number, changes)| log::record(number, changes)).collect::<Vec<_>>();
        self.broken = true;
        let offset = SeekFrom::Start(self.end.offset);
        let written =
            self.log.seek(offset).and_then(|_| self.log.write_all(&bytes)).and_then(|()| self.log.sync_data());
        with_path(&self.dir.log(self.term), written)?;
        if !self.is_still_owner()? {
            return Err(Error::Busy);
        }
        self.broken = false;
        self.end.offset += bytes.len() as u64;
        self.end.number += turns.len() as u64;
        Ok(())
    }

    /// Takes the lock of the next term, in addition to our own.
    fn next_term(&mut self) -> Result<()> {
        match create_lock(&self.dir.lock(self.term + 1), self.owner)? {
            true => self.term += 1,
            false => return Err(Error::Busy),
        }
        Ok(())
    }

    /// Starts the log of our term with the current state, and removes the older files.
    fn start_log(&mut self, state: &State) -> Result<()> {
        self.broken = true;
        let draft = self.dir.folder.join(format!("draft.{:016x}", self.owner));
        let bytes = log::record(self.end.number, &state.as_changes());
        write_durably(&draft, &bytes)?;
        let path = self.dir.log(self.term);
        with_path(&path, fs::rename(&draft, &path))?;
        sync_folder(&self.dir.folder)?;
        if !self.is_still_owner()? {
            return Err(Error::Busy);
        }
        self.log = with_path(&path, OpenOptions::new().read(true).write(true).open(&path))?;
        self.end = LogPosition { term: self.term, offset: bytes.len() as u64, number: self.end.number };
        self.broken = false;
        // Logs first: if an old lock is gone, its log is gone too.
        for kind in ["draft", "log", "lock"] {
            self.remove_older(kind)?;
        }
        Ok(())
    }

    fn remove_older(&self, kind: &str) -> Result<()> {
        for name in file_names(&self.dir.folder)? {
            let Some((found, term)) = name.split_once('.') else { continue };
            let is_older = kind == "draft" || term.parse::<u64>().is_ok_and(|term| term < self.term);
            if found == kind && is_older {
                remove(&self.dir.folder.join(name))?;
            }
        }
        Ok(())
    }

    /// Whether no other instance has read the room since we own it. See the head of this file.
    fn is_still_owner(&self) -> Result<bool> {
        let lock = self.dir.lock(self.term);
        if exists(&self.dir.lock(self.term + 1))? {
            return Ok(false);
        }
        match fs::read(&lock) {
            Ok(content) => Ok(content == lock_text(self.owner)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::Disk(lock, error)),
        }
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        if !self.broken && self.is_still_owner().unwrap_or(false) {
            // If the lock cannot be removed, the next owner takes over when its lease ends.
            let _ = fs::remove_file(self.dir.lock(self.term));
        }
    }
}

/// The content of a log.
struct LogContent {
    state: State,
    end: LogPosition,
    /// The length of its first record, which holds the state at its start.
    first_record_bytes: u64,
    is_whole: bool,
}

/// Tries once to own the room. Returns the term in which we own it.
fn try_acquire(dir: &RoomDir, owner: u64) -> Result<Option<u64>> {
    match dir.terms()? {
        // A lock below the log is left over from an owner that died before it removed the lock.
        (log, Some(lock)) if lock >= log => take_over(dir, owner, lock),
        (log, _) => acquire_free(dir, owner, log),
    }
}

/// Takes a room that had no owner in this term when it was checked.
fn acquire_free(dir: &RoomDir, owner: u64, term: u64) -> Result<Option<u64>> {
    if !create_lock(&dir.lock(term), owner)? {
        return Ok(None);
    }
    // Another instance may have started a new log since then.
    let is_owner = dir.is_current(term)?;
    if !is_owner {
        remove(&dir.lock(term))?;
    }
    Ok(is_owner.then_some(term))
}

/// Takes a room from the owner that it had in this term when it was checked, if the lease has ended.
fn take_over(dir: &RoomDir, owner: u64, term: u64) -> Result<Option<u64>> {
    if !is_older_than(&dir.lock(term), LEASE)? || !create_lock(&dir.lock(term + 1), owner)? {
        return Ok(None);
    }
    // Another instance may have taken it over before, and finished.
    let (log, lock) = dir.terms()?;
    let is_owner = log <= term && lock == Some(term + 1);
    if !is_owner {
        remove(&dir.lock(term + 1))?;
    }
    Ok(is_owner.then_some(term + 1))
}

fn create_lock(path: &Path, owner: u64) -> Result<bool> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => with_path(path, file.write_all(&lock_text(owner))).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::Disk(path.to_owned(), error)),
    }
}

fn lock_text(owner: u64) -> [u8; 8] {
    owner.to_le_bytes()
}

/// Whether the last write to a file is older than `age`. False if the file does not exist: then it was removed on
/// purpose.
pub fn is_older_than(path: &Path, age: Duration) -> Result<bool> {
    match fs::metadata(path).and_then(|metadata| metadata.modified()) {
        Ok(modified) => Ok(modified.elapsed().is_ok_and(|elapsed| elapsed > age)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::Disk(path.to_owned(), error)),
    }
}

/// Removes a file, which need not exist.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::Disk(path.to_owned(), error)),
        _ => Ok(()),
    }
}

fn exists(path: &Path) -> Result<bool> {
    with_path(path, fs::exists(path))
}

/// The names in a folder. WASI reads each file's metadata during a listing, and fails if a file disappears meanwhile,
/// as locks often do: then the listing is repeated.
fn file_names(folder: &Path) -> Result<Vec<String>> {
    let list = || -> io::Result<Vec<String>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    let mut listed = list();
    for _ in 0..MAX_LIST_RETRIES {
        match &listed {
            Err(error) if error.kind() == ErrorKind::NotFound => listed = list(),
            _ => break,
        }
    }
    with_path(folder, listed)
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    with_path(path, write())
}

/// Syncs a folder: new names are durable only after this.
fn sync_folder(path: &Path) -> Result<()> {
    with_path(path, File::open(path).and_then(|folder| folder.sync_all()))
}

/// Adds the path to an I/O error.
pub fn with_path<T>(path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|error| Error::Disk(path.to_owned(), error))
}

/// Pauses of random lengths, so that waiting instances do not try at the same time.
struct Pause(u64);

impl Pause {
    fn wait(&mut self) {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (shortest, longest) = RETRY_PAUSE_MS;
        thread::sleep(Duration::from_millis(shortest + (self.0 >> 33) % (longest - shortest)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: u8) -> Vec<Vec<Change>> {
        vec![vec![Change::Put(vec![key], vec![key])]]
    }

    fn dir(folder: &tempfile::TempDir) -> RoomDir {
        RoomDir::open(folder.path().join("=ns/=room"), 1).unwrap()
    }

    fn keys(state: &State) -> Vec<u8> {
        state.entries.keys().map(|key| key[0]).collect()
    }

    /// Makes the owner's lock as old as if its lease had ended.
    fn expire_lease(dir: &RoomDir) {
        let lock = dir.lock(dir.terms().unwrap().1.expect("the room has an owner"));
        let file = File::options().write(true).open(lock).unwrap();
        file.set_modified(SystemTime::now() - 2 * LEASE).unwrap();
    }

    #[test]
    fn commits_are_visible_to_the_next_owner() {
        let folder = tempfile::tempdir().unwrap();
        for owner in 1..5 {
            let (mut ownership, state) = Ownership::acquire(&dir(&folder), owner).unwrap();
            assert_eq!(keys(&state), (1..owner as u8).collect::<Vec<_>>());
            ownership.commit(&put(owner as u8)).unwrap();
        }
    }

    #[test]
    fn a_room_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let dir = dir(&folder);
        let (ownership, _) = Ownership::acquire(&dir, 1).unwrap();
        assert_eq!(try_acquire(&dir, 2).unwrap(), None);
        drop(ownership);
        assert_eq!(try_acquire(&dir, 2).unwrap(), Some(1));
    }

    #[test]
    fn concurrent_owners_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = dir(&folder);
        let race = &|thread: u64| {
            let mut committed = Vec::new();
            for turn in 0..10 {
                let (mut ownership, state) = Ownership::acquire(&dir, thread * 100 + turn + 1).unwrap();
                let next = state.entries.len() as u32;
                match ownership.commit(&[vec![Change::Put(next.to_be_bytes().into(), Vec::new())]]) {
                    Ok(()) => committed.push(next),
                    // The disk was so slow that another owner took the room: the write may or may not be there.
                    Err(Error::Busy) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            committed
        };
        let committed = thread::scope(|scope| {
            let threads = (0..8).map(|thread| scope.spawn(move || race(thread))).collect::<Vec<_>>();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let (_, state) = Ownership::acquire(&dir, 1).unwrap();
        assert!(committed.len() > 40, "{committed:?}");
        assert!(committed.iter().all(|key| state.entries.contains_key(&key.to_be_bytes()[..])));
        assert_eq!(
            committed.iter().collect::<std::collections::BTreeSet<_>>().len(),
            committed.len(),
            "no number was given twice"
        );
    }

    #[test]
    fn a_dead_owners_room_is_taken_over_once_after_its_lease() {
        let folder = tempfile::tempdir().unwrap();
        let dir = dir(&folder);
        let (mut dead, _) = Ownership::acquire(&dir, 1).unwrap();
        dead.commit(&put(1)).unwrap();
        std::mem::forget(dead);
        assert_eq!(try_acquire(&dir, 2).unwrap(), None);
        expire_lease(&dir);
        let (ownership, state) = Ownership::acquire(&dir, 2).unwrap();
        assert_eq!((keys(&state), ownership.term), (vec![1], 2));
        assert_eq!(try_acquire(&dir, 3).unwrap(), None);
        drop(ownership);
        assert_eq!(keys(&Ownership::acquire(&dir, 3).unwrap().1), [1]);
    }

    #[test]
    fn a_commit_after_a_takeover_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let dir = dir(&folder);
        let (mut slow, _) = Ownership::acquire(&dir, 1).unwrap();
        slow.commit(&put(1)).unwrap();
        expire_lease(&dir);
        let (mut other, state) = Ownership::acquire(&dir, 2).unwrap();
        assert_eq!(keys(&state), [1]);
        other.commit(&put(2)).unwrap();
        assert!(matches!(slow.commit(&put(9)), Err(Error::Busy)));
        other.commit(&put(3)).unwrap();
        drop(slow);
        assert_eq!(try_acquire(&dir, 3).unwrap(), None, "an owner that lost the room does not release it");
        drop(other);
        assert_eq!(keys(&Ownership::acquire(&dir, 3).unwrap().1), [1, 2, 3]);
    }

    #[test]
    fn a_complete_commit_before_a_takeover_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let dir = dir(&folder);
        let (mut slow, _) = Ownership::acquire(&dir, 1).unwrap();
        expire_lease(&dir);
        slow.commit(&put(1)).unwrap();
        assert_eq!(keys(&Ownership::acquire(&dir, 2).unwrap().1), [1]);
    }

    #[test]
    fn an_interrupted_takeover_can_be_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let dir = dir(&folder);
        let (mut dead, _) = Ownership::acquire(&dir, 1).unwrap();
        dead.commit(&put(1)).unwrap();
        std::mem::forget(dead);
        expire_lease(&dir);
        assert_eq!(try_acquire(&dir, 2).unwrap(), Some(2));
        expire_lease(&dir);
        let (ownership, state) = Ownership::acquire(&dir, 3).unwrap();
        assert_eq!((keys(&state), ownership.term), (vec![1], 3));
        drop(ownership);
        assert_eq!(dir.terms().unwrap(), (3, None));
    }

    #[test]
    fn a_stale_log_does_not_give_ownership() {
        let folder = tempfile::tempdir().unwrap();
        let dir = dir(&folder);
        std::mem::forget(Ownership::acquire(&dir, 1).unwrap());
        expire_lease(&dir);
        drop(Ownership::acquire(&dir, 2).unwrap());
        assert_eq!(dir.terms().unwrap(), (2, None));
        assert_eq!(acquire_free(&dir, 3, 1).unwrap(), None);
        assert_eq!(dir.terms().unwrap(), (2, None));
        // A lock that was left over, or is being removed, with a lease that ended.
        create_lock(&dir.lock(1), 1).unwrap();
        expire_lease(&dir);
        assert_eq!(take_over(&dir, 3, 1).unwrap(), None);
        assert_eq!(try_acquire(&dir, 3).unwrap(), Some(2));
    }

    #[test]
    fn a_torn_record_is_dropped_and_damage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = dir(&folder);
        let (mut ownership, _) = Ownership::acquire(&dir, 1).unwrap();
        ownership.commit(&put(1)).unwrap();
        ownership.commit(&put(2)).unwrap();
        drop(ownership);
        let log = fs::read(dir.log(1)).unwrap();

        fs::write(dir.log(1), &log[..log.len() - 1]).unwrap();
        let (mut ownership, state) = Ownership::acquire(&dir, 2).unwrap();
        assert_eq!(keys(&state), [1]);
        ownership.commit(&put(3)).unwrap();
        drop(ownership);
        assert_eq!(keys(&Ownership::acquire(&dir, 3).unwrap().1), [1, 3]);

        let path = dir.log(dir.terms().unwrap().0);
        let mut log = fs::read(&path).unwrap();
        log[30] ^= 1;
        fs::write(&path, log).unwrap();
        assert!(matches!(Ownership::acquire(&dir, 4), Err(Error::Damaged(_))));
    }

    #[test]
    fn a_log_is_compacted() {
        let folder = tempfile::tempdir().unwrap();
        let dir = dir(&folder);
        for turn in 0..40 {
            let (mut ownership, _) = Ownership::acquire(&dir, turn + 1).unwrap();
            ownership.commit(&[vec![Change::Put(vec![1], vec![turn as u8; 50_000])]]).unwrap();
        }
        let (ownership, state) = Ownership::acquire(&dir, 99).unwrap();
        assert_eq!((state.entries[&vec![1]].clone(), ownership.end.number), (vec![39; 50_000], 40));
        assert!(fs::metadata(dir.log(ownership.term)).unwrap().len() < 500_000);
        let names = fs::read_dir(&dir.folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names = names.collect::<Vec<_>>();
        names.sort();
        let (lock, log) = (format!("lock.{}", ownership.term), format!("log.{}", ownership.term));
        assert_eq!(names, ["incarnation", &lock, &log, "readers"]);
    }
}
