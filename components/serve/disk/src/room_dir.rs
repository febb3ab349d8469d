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

use crate::log::{self, Next};
use crate::state::{Change, State};

/// After this time others try to take a room from its owner. A visit takes milliseconds; the rest is for slow disks.
pub const LEASE: Duration = Duration::from_secs(8);

/// How long an instance waits for a room: longer than a lease, so that a killed owner delays a request but fails none.
pub const PATIENCE: Duration = Duration::from_secs(18);

/// The shortest and the longest time between two tries to own a room.
const TRY_AGAIN_MS: (u64, u64) = (1, 20);

/// How often a folder is listed again if files disappear during the listing.
const LIST_AGAIN: usize = 100;

/// A log is rewritten if it exceeds twice the size of its first record by this much.
const GARBAGE_BYTES: u64 = 256 * 1024;

/// Why an instance does not own a room, or no longer owns it.
#[derive(Debug)]
pub enum Trouble {
    /// Another instance owns it.
    Busy,
    /// A file cannot be read or written.
    Disk(PathBuf, io::Error),
    /// A file holds bytes that no owner wrote.
    Damaged(PathBuf),
}

/// The result of an operation on files.
pub type Result<T> = std::result::Result<T, Trouble>;

/// The room's folder.
#[derive(Debug, Clone)]
pub struct Home {
    folder: PathBuf,
}

/// The place of a record in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The term of the log.
    pub term: u64,
    /// The offset in bytes.
    pub offset: u64,
    /// The number of the previous record.
    pub number: u64,
}

impl Home {
    /// Opens a room's folder. Creates it if it does not exist.
    pub fn open(folder: PathBuf, owner: u64) -> Result<Self> {
        let home = Home { folder };
        if !exists(&home.folder)? {
            home.create(owner)?;
        }
        Ok(home)
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
        for name in names(&self.folder)? {
            let Some((kind, term)) = name.split_once('.') else { continue };
            let term = term.parse::<u64>().ok();
            match kind {
                "log" => log = log.max(term),
                "lock" => lock = lock.max(term),
                _ => {}
            }
        }
        Ok((log.ok_or_else(|| Trouble::Damaged(self.folder.clone()))?, lock))
    }

    /// The random number that was created with the folder; 0 if the folder has none, as in older versions.
    pub fn incarnation(&self) -> Result<u64> {
        let path = self.folder.join("incarnation");
        match fs::read(&path) {
            Ok(bytes) => bytes.try_into().map(u64::from_be_bytes).map_err(|_| Trouble::Damaged(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(Trouble::Disk(path, error)),
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
        at(parent, fs::create_dir_all(parent))?;
        let new = parent.join(format!("new.{owner:016x}"));
        at(&new, fs::create_dir_all(new.join("readers")))?;
        write_durably(&new.join("incarnation"), &owner.to_be_bytes())?;
        write_durably(&new.join("log.1"), &log::record(0, &[]))?;
        sync_folder(&new)?;
        match fs::rename(&new, &self.folder) {
            Ok(()) => sync_folder(parent),
            // Another instance was first.
            Err(error) => match at(&new, fs::remove_dir_all(&new)) {
                Ok(()) if exists(&self.folder)? => Ok(()),
                _ => Err(Trouble::Disk(self.folder.clone(), error)),
            },
        }
    }
}

/// The ownership of a room.
#[derive(Debug)]
pub struct Owned {
    home: Home,
    term: u64,
    /// The content of our locks.
    owner: u64,
    log: File,
    end: Place,
    /// The log may be incomplete because a write failed. Then the lock stays, so that the next owner starts a new log.
    broken: bool,
}

impl Owned {
    /// Waits for the room, owns it, and reads its state.
    pub fn get(home: &Home, owner: u64) -> Result<(Self, State)> {
        let started = SystemTime::now();
        let mut pause = Pause(owner);
        loop {
            if let Some(term) = take(home, owner)? {
                return Self::read(home.clone(), term, owner);
            }
            if started.elapsed().unwrap_or_default() > PATIENCE {
                return Err(Trouble::Busy);
            }
            pause.make();
        }
    }

    fn read(home: Home, term: u64, owner: u64) -> Result<(Self, State)> {
        let of_log = home.terms()?.0;
        let path = home.log(of_log);
        let log = at(&path, OpenOptions::new().read(true).write(true).open(&path))?;
        let end = Place { term: of_log, offset: 0, number: 0 };
        let mut owned = Owned { home, term, owner, log, end, broken: false };
        let found = owned.read_log(&path)?;
        owned.end = found.end;
        let garbage = found.end.offset.saturating_sub(2 * found.begun_bytes);
        if of_log < term {
            owned.begin_anew(&found.state)?;
        } else if !found.is_whole || garbage > GARBAGE_BYTES {
            owned.next_term()?;
            owned.begin_anew(&found.state)?;
        }
        Ok((owned, found.state))
    }

    /// Reads the state from the log again.
    pub fn read_again(&mut self) -> Result<State> {
        Ok(self.read_log(&self.home.log(self.term))?.state)
    }

    fn read_log(&mut self, path: &Path) -> Result<Found> {
        let mut bytes = Vec::new();
        at(path, self.log.seek(SeekFrom::Start(0)).and_then(|_| self.log.read_to_end(&mut bytes)))?;
        let damaged = || Trouble::Damaged(path.to_owned());
        let (first, begun_bytes) = log::number_and_length(&bytes).ok_or_else(damaged)?;
        let (mut state, mut offset, mut number) = (State::default(), 0, first);
        let is_whole = loop {
            match log::next(&bytes, offset, number) {
                Next::Record(changes, next) => {
                    changes.into_iter().for_each(|change| state.apply(change));
                    (offset, number) = (next, number + 1);
                }
                Next::End => break true,
                // Only later records can be torn: the first one is synced before the log gets its name.
                Next::Torn if offset > 0 => break false,
                Next::Torn | Next::Damaged => return Err(damaged()),
            }
        };
        let end = Place { term: self.end.term, offset: offset as u64, number: number - 1 };
        Ok(Found { state, end, begun_bytes: begun_bytes as u64, is_whole })
    }

    /// The place of the next record.
    pub fn end(&self) -> Place {
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
        at(&self.home.log(self.term), written)?;
        if !self.is_still_ours()? {
            return Err(Trouble::Busy);
        }
        self.broken = false;
        self.end.offset += bytes.len() as u64;
        self.end.number += turns.len() as u64;
        Ok(())
    }

    /// Takes the lock of the next term, in addition to our own.
    fn next_term(&mut self) -> Result<()> {
        match create_lock(&self.home.lock(self.term + 1), self.owner)? {
            true => self.term += 1,
            false => return Err(Trouble::Busy),
        }
        Ok(())
    }

    /// Starts the log of our term with the current state, and removes the older files.
    fn begin_anew(&mut self, state: &State) -> Result<()> {
        self.broken = true;
        let draft = self.home.folder.join(format!("draft.{:016x}", self.owner));
        let bytes = log::record(self.end.number, &state.as_changes());
        write_durably(&draft, &bytes)?;
        let path = self.home.log(self.term);
        at(&path, fs::rename(&draft, &path))?;
        sync_folder(&self.home.folder)?;
        if !self.is_still_ours()? {
            return Err(Trouble::Busy);
        }
        self.log = at(&path, OpenOptions::new().read(true).write(true).open(&path))?;
        self.end = Place { term: self.term, offset: bytes.len() as u64, number: self.end.number };
        self.broken = false;
        // Logs first: if an old lock is gone, its log is gone too.
        for kind in ["draft", "log", "lock"] {
            self.remove_older(kind)?;
        }
        Ok(())
    }

    fn remove_older(&self, kind: &str) -> Result<()> {
        for name in names(&self.home.folder)? {
            let Some((found, term)) = name.split_once('.') else { continue };
            let is_older = kind == "draft" || term.parse::<u64>().is_ok_and(|term| term < self.term);
            if found == kind && is_older {
                remove(&self.home.folder.join(name))?;
            }
        }
        Ok(())
    }

    /// Whether no other instance has read the room since we own it. See the head of this file.
    fn is_still_ours(&self) -> Result<bool> {
        let lock = self.home.lock(self.term);
        if exists(&self.home.lock(self.term + 1))? {
            return Ok(false);
        }
        match fs::read(&lock) {
            Ok(says) => Ok(says == lock_text(self.owner)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Trouble::Disk(lock, error)),
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if !self.broken && self.is_still_ours().unwrap_or(false) {
            // If the lock cannot be removed, the next owner takes over when its lease ends.
            let _ = fs::remove_file(self.home.lock(self.term));
        }
    }
}

/// The content of a log.
struct Found {
    state: State,
    end: Place,
    /// The length of its first record, which holds the state at its start.
    begun_bytes: u64,
    is_whole: bool,
}

/// Tries once to own the room. Returns the term in which we own it.
fn take(home: &Home, owner: u64) -> Result<Option<u64>> {
    match home.terms()? {
        // A lock below the log is left over from an owner that died before it removed the lock.
        (log, Some(lock)) if lock >= log => take_over(home, owner, lock),
        (log, _) => take_free(home, owner, log),
    }
}

/// Takes a room that had no owner in this term when it was checked.
fn take_free(home: &Home, owner: u64, term: u64) -> Result<Option<u64>> {
    if !create_lock(&home.lock(term), owner)? {
        return Ok(None);
    }
    // Another instance may have started a new log since then.
    let is_ours = home.is_current(term)?;
    if !is_ours {
        remove(&home.lock(term))?;
    }
    Ok(is_ours.then_some(term))
}

/// Takes a room from the owner that it had in this term when it was checked, if the lease has ended.
fn take_over(home: &Home, owner: u64, term: u64) -> Result<Option<u64>> {
    if !is_older_than(&home.lock(term), LEASE)? || !create_lock(&home.lock(term + 1), owner)? {
        return Ok(None);
    }
    // Another instance may have taken it over before, and finished.
    let (log, lock) = home.terms()?;
    let is_ours = log <= term && lock == Some(term + 1);
    if !is_ours {
        remove(&home.lock(term + 1))?;
    }
    Ok(is_ours.then_some(term + 1))
}

fn create_lock(path: &Path, owner: u64) -> Result<bool> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => at(path, file.write_all(&lock_text(owner))).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Trouble::Disk(path.to_owned(), error)),
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
        Err(error) => Err(Trouble::Disk(path.to_owned(), error)),
    }
}

/// Removes a file, which need not exist.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Trouble::Disk(path.to_owned(), error)),
        _ => Ok(()),
    }
}

fn exists(path: &Path) -> Result<bool> {
    at(path, fs::exists(path))
}

/// The names in a folder. WASI reads each file's metadata during a listing, and fails if a file disappears meanwhile,
/// as locks often do: then the listing is repeated.
fn names(folder: &Path) -> Result<Vec<String>> {
    let list = || -> io::Result<Vec<String>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    let mut listed = list();
    for _ in 0..LIST_AGAIN {
        match &listed {
            Err(error) if error.kind() == ErrorKind::NotFound => listed = list(),
            _ => break,
        }
    }
    at(folder, listed)
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    at(path, write())
}

/// Syncs a folder: new names are durable only after this.
fn sync_folder(path: &Path) -> Result<()> {
    at(path, File::open(path).and_then(|folder| folder.sync_all()))
}

/// Adds the path to an I/O error.
pub fn at<T>(path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|error| Trouble::Disk(path.to_owned(), error))
}

/// Pauses of random lengths, so that waiting instances do not try at the same time.
struct Pause(u64);

impl Pause {
    fn make(&mut self) {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (shortest, longest) = TRY_AGAIN_MS;
        thread::sleep(Duration::from_millis(shortest + (self.0 >> 33) % (longest - shortest)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: u8) -> Vec<Vec<Change>> {
        vec![vec![Change::Put(vec![key], vec![key])]]
    }

    fn home(folder: &tempfile::TempDir) -> Home {
        Home::open(folder.path().join("=ns/=room"), 1).unwrap()
    }

    fn keys(state: &State) -> Vec<u8> {
        state.entries.keys().map(|key| key[0]).collect()
    }

    /// Makes the owner's lock as old as if its lease had ended.
    fn lease_ends(home: &Home) {
        let lock = home.lock(home.terms().unwrap().1.expect("the room has an owner"));
        let file = File::options().write(true).open(lock).unwrap();
        file.set_modified(SystemTime::now() - 2 * LEASE).unwrap();
    }

    #[test]
    fn commits_are_visible_to_the_next_owner() {
        let folder = tempfile::tempdir().unwrap();
        for owner in 1..5 {
            let (mut owned, state) = Owned::get(&home(&folder), owner).unwrap();
            assert_eq!(keys(&state), (1..owner as u8).collect::<Vec<_>>());
            owned.commit(&put(owner as u8)).unwrap();
        }
    }

    #[test]
    fn a_room_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        let (owned, _) = Owned::get(&home, 1).unwrap();
        assert_eq!(take(&home, 2).unwrap(), None);
        drop(owned);
        assert_eq!(take(&home, 2).unwrap(), Some(1));
    }

    #[test]
    fn concurrent_owners_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        let race = &|thread: u64| {
            let mut done = Vec::new();
            for turn in 0..10 {
                let (mut owned, state) = Owned::get(&home, thread * 100 + turn + 1).unwrap();
                let next = state.entries.len() as u32;
                match owned.commit(&[vec![Change::Put(next.to_be_bytes().into(), Vec::new())]]) {
                    Ok(()) => done.push(next),
                    // The disk was so slow that another owner took the room: the write may or may not be there.
                    Err(Trouble::Busy) => {}
                    Err(trouble) => panic!("{trouble:?}"),
                }
            }
            done
        };
        let done = thread::scope(|scope| {
            let threads = (0..8).map(|thread| scope.spawn(move || race(thread))).collect::<Vec<_>>();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let (_, state) = Owned::get(&home, 1).unwrap();
        assert!(done.len() > 40, "{done:?}");
        assert!(done.iter().all(|key| state.entries.contains_key(&key.to_be_bytes()[..])));
        assert_eq!(
            done.iter().collect::<std::collections::BTreeSet<_>>().len(),
            done.len(),
            "no number was given twice"
        );
    }

    #[test]
    fn a_dead_owners_room_is_taken_over_once_after_its_lease() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        let (mut dead, _) = Owned::get(&home, 1).unwrap();
        dead.commit(&put(1)).unwrap();
        std::mem::forget(dead);
        assert_eq!(take(&home, 2).unwrap(), None);
        lease_ends(&home);
        let (owned, state) = Owned::get(&home, 2).unwrap();
        assert_eq!((keys(&state), owned.term), (vec![1], 2));
        assert_eq!(take(&home, 3).unwrap(), None);
        drop(owned);
        assert_eq!(keys(&Owned::get(&home, 3).unwrap().1), [1]);
    }

    #[test]
    fn a_commit_after_a_takeover_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        let (mut slow, _) = Owned::get(&home, 1).unwrap();
        slow.commit(&put(1)).unwrap();
        lease_ends(&home);
        let (mut other, state) = Owned::get(&home, 2).unwrap();
        assert_eq!(keys(&state), [1]);
        other.commit(&put(2)).unwrap();
        assert!(matches!(slow.commit(&put(9)), Err(Trouble::Busy)));
        other.commit(&put(3)).unwrap();
        drop(slow);
        assert_eq!(take(&home, 3).unwrap(), None, "an owner that lost the room does not release it");
        drop(other);
        assert_eq!(keys(&Owned::get(&home, 3).unwrap().1), [1, 2, 3]);
    }

    #[test]
    fn a_complete_commit_before_a_takeover_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        let (mut slow, _) = Owned::get(&home, 1).unwrap();
        lease_ends(&home);
        slow.commit(&put(1)).unwrap();
        assert_eq!(keys(&Owned::get(&home, 2).unwrap().1), [1]);
    }

    #[test]
    fn an_interrupted_takeover_can_be_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        let (mut dead, _) = Owned::get(&home, 1).unwrap();
        dead.commit(&put(1)).unwrap();
        std::mem::forget(dead);
        lease_ends(&home);
        assert_eq!(take(&home, 2).unwrap(), Some(2));
        lease_ends(&home);
        let (owned, state) = Owned::get(&home, 3).unwrap();
        assert_eq!((keys(&state), owned.term), (vec![1], 3));
        drop(owned);
        assert_eq!(home.terms().unwrap(), (3, None));
    }

    #[test]
    fn a_stale_log_does_not_give_ownership() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        std::mem::forget(Owned::get(&home, 1).unwrap());
        lease_ends(&home);
        drop(Owned::get(&home, 2).unwrap());
        assert_eq!(home.terms().unwrap(), (2, None));
        assert_eq!(take_free(&home, 3, 1).unwrap(), None);
        assert_eq!(home.terms().unwrap(), (2, None));
        // A lock that was left over, or is being removed, with a lease that ended.
        create_lock(&home.lock(1), 1).unwrap();
        lease_ends(&home);
        assert_eq!(take_over(&home, 3, 1).unwrap(), None);
        assert_eq!(take(&home, 3).unwrap(), Some(2));
    }

    #[test]
    fn a_torn_record_is_dropped_and_damage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        let (mut owned, _) = Owned::get(&home, 1).unwrap();
        owned.commit(&put(1)).unwrap();
        owned.commit(&put(2)).unwrap();
        drop(owned);
        let log = fs::read(home.log(1)).unwrap();

        fs::write(home.log(1), &log[..log.len() - 1]).unwrap();
        let (mut owned, state) = Owned::get(&home, 2).unwrap();
        assert_eq!(keys(&state), [1]);
        owned.commit(&put(3)).unwrap();
        drop(owned);
        assert_eq!(keys(&Owned::get(&home, 3).unwrap().1), [1, 3]);

        let path = home.log(home.terms().unwrap().0);
        let mut log = fs::read(&path).unwrap();
        log[30] ^= 1;
        fs::write(&path, log).unwrap();
        assert!(matches!(Owned::get(&home, 4), Err(Trouble::Damaged(_))));
    }

    #[test]
    fn a_log_is_compacted() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        for turn in 0..40 {
            let (mut owned, _) = Owned::get(&home, turn + 1).unwrap();
            owned.commit(&[vec![Change::Put(vec![1], vec![turn as u8; 50_000])]]).unwrap();
        }
        let (owned, state) = Owned::get(&home, 99).unwrap();
        assert_eq!((state.entries[&vec![1]].clone(), owned.end.number), (vec![39; 50_000], 40));
        assert!(fs::metadata(home.log(owned.term)).unwrap().len() < 500_000);
        let names = fs::read_dir(&home.folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names = names.collect::<Vec<_>>();
        names.sort();
        let (lock, log) = (format!("lock.{}", owned.term), format!("log.{}", owned.term));
        assert_eq!(names, ["incarnation", &lock, &log, "readers"]);
    }
}
