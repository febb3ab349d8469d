//! The pages of the database: which content SQLite sees, and when it reaches the room's storage.
//!
//! There are three layers. The storage has what earlier turns have committed. `turn` has the pages that statements of
//! this turn have committed in the sense of SQLite. `pending` has those of the statement, or of the transaction, that is
//! being written: SQLite's sync makes them part of the turn, and SQLite's unlock drops them, because SQLite has then
//! rolled back. So nothing of a statement that failed is left, whatever failed.
//!
//! It knows neither SQLite nor the contract; `vfs.rs` and `database.rs` call it.

use std::collections::BTreeMap;

use crate::limits::{DELETED_AT_ONCE, DELETED_DATABASES, DELETED_LATER, PAGE_BYTES, REMOVED_KEYS, TURN_PAGES};

/// The storage of the room, with the turn's time and its random numbers.
pub trait Storage {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;

    /// Sets values, all or none.
    ///
    /// Fails: if the turn writes more than the host takes.
    fn put_many(&self, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), TooLarge>;

    /// Removes keys from `start` up to but not including `end`, lowest first, and returns how many.
    fn delete_range(&self, start: &[u8], end: &[u8], limit: u32) -> u32;

    /// Unix time in milliseconds; the same during a turn.
    fn now(&self) -> u64;

    /// A random number of the turn.
    fn random(&self) -> u64;
}

/// The turn has written more than the host takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// The start of all keys. No text begins with this byte, so no key of a room that uses texts meets them.
const PREFIX: &[u8] = b"\xffsql";

/// Behind all keys that begin with the prefix.
const AFTER: &[u8] = b"\xffsqm";

/// The version of the form in which databases are stored: the first byte of `Header`.
const VERSION: u8 = 1;

/// The bytes of the first page that SQLite reads alone, before each transaction.
const FIRST_BYTES: usize = 100;

type Page = Box<[u8]>;

/// The record of the database beside its pages, under the key `PREFIX`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Header {
    /// Part of the keys of pages. A deleted database may leave pages behind, so the next one has another number.
    generation: u32,
    pages: u32,
    /// Deleted databases: their generations, and how many pages each still has.
    deleted: Vec<(u32, u32)>,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Header> {
        let (version, rest) = bytes.split_first()?;
        let numbers = rest.chunks(4).map(|number| number.try_into().map(u32::from_be_bytes));
        let numbers = numbers.collect::<Result<Vec<_>, _>>().ok()?;
        let [generation, pages, deleted @ ..] = numbers.as_slice() else { return None };
        let deleted = deleted.chunks(2).map(|pair| Some((*pair.first()?, *pair.get(1)?)));
        let header = Header { generation: *generation, pages: *pages, deleted: deleted.collect::<Option<_>>()? };
        (*version == VERSION).then_some(header)
    }

    fn write(&self) -> Vec<u8> {
        let deleted = self.deleted.iter().flat_map(|(generation, pages)| [*generation, *pages]);
        let numbers = [self.generation, self.pages].into_iter().chain(deleted);
        std::iter::once(VERSION).chain(numbers.flat_map(u32::to_be_bytes)).collect()
    }
}

fn key(generation: u32, page: u32) -> Vec<u8> {
    [PREFIX, &[VERSION], &generation.to_be_bytes(), &page.to_be_bytes()].concat()
}

/// Why pages cannot be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The turn has changed as many pages as it may.
    Full,
    /// SQLite asks for parts of pages that are none of its own, or the stored bytes are no page.
    Invalid,
}

/// How much of what SQLite wanted was there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    All,
    /// The database ends before; the rest is zeros.
    Part,
}

pub(crate) struct Pages {
    storage: &'static dyn Storage,
    stored: Header,
    turn: BTreeMap<u32, Page>,
    pending: BTreeMap<u32, Page>,
    /// The pages in `pending` that are not in `turn`.
    added: usize,
    /// The size in pages, as the turn has it, and with what is pending.
    turn_count: u32,
    count: u32,
    /// A page did not fit. Until SQLite has rolled back, what it writes is dropped.
    is_full: bool,
    /// The same, until somebody asks.
    was_full: bool,
    /// The start of the first page, unless something is pending.
    first: Option<[u8; FIRST_BYTES]>,
    /// Whether statements have committed pages since the last `store` or `expect_reading`.
    has_changed: bool,
}

impl Pages {
    /// Opens the database of a room, which may be empty.
    ///
    /// Fails: with the text for the author, if the stored form is of another version.
    pub(crate) fn open(storage: &'static dyn Storage) -> Result<Pages, String> {
        let stored = match storage.get(PREFIX) {
            None => Header::default(),
            Some(bytes) => Header::read(&bytes).ok_or(
                "the SQL data of this room is of a newer version of Dormouse; build the room with that version",
            )?,
        };
        let count = stored.pages;
        Ok(Pages {
            storage,
            stored,
            turn: BTreeMap::new(),
            pending: BTreeMap::new(),
            added: 0,
            turn_count: count,
            count,
            is_full: false,
            was_full: false,
            first: None,
            has_changed: false,
        })
    }

    /// The size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.count) * PAGE_BYTES as u64
    }

    /// Whether a page did not fit since the last call.
    pub(crate) fn take_was_full(&mut self) -> bool {
        std::mem::take(&mut self.was_full)
    }

    pub(crate) fn storage(&self) -> &'static dyn Storage {
        self.storage
    }

    /// Reads a page, or a part of one.
    pub(crate) fn read(&mut self, offset: u64, out: &mut [u8]) -> Result<Found, Problem> {
        let (page, from) = place(offset)?;
        let to = from + out.len();
        if to > PAGE_BYTES {
            return Err(Problem::Invalid);
        }
        if page >= self.count {
            out.fill(0);
            return Ok(Found::Part);
        }
        if page == 0
            && let Some(bytes) = self.first.as_ref().and_then(|first| first.get(from..to))
        {
            out.copy_from_slice(bytes);
            return Ok(Found::All);
        }
        if let Some(written) = self.pending.get(&page).or_else(|| self.turn.get(&page)) {
            out.copy_from_slice(&written[from..to]);
        } else {
            match self.storage.get(&key(self.stored.generation, page)) {
                Some(stored) if stored.len() == PAGE_BYTES => out.copy_from_slice(&stored[from..to]),
                // SQLite does not write pages that have no content, such as free ones.
                None => out.fill(0),
                Some(_) => return Err(Problem::Invalid),
            }
        }
        if page == 0 && from == 0 && to >= FIRST_BYTES && self.pending.is_empty() {
            self.first = out[..FIRST_BYTES].try_into().ok();
        }
        Ok(Found::All)
    }

    /// Writes a page, which is pending then.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Problem> {
        let (page, from) = place(offset)?;
        if from != 0 || bytes.len() != PAGE_BYTES {
            return Err(Problem::Invalid);
        }
        // SQLite is rolling back to what the turn has already.
        if self.is_full {
            return Ok(());
        }
        self.first = None;
        if !self.pending.contains_key(&page) && !self.turn.contains_key(&page) {
            if self.turn.len() + self.added >= TURN_PAGES {
                self.pending.clear();
                (self.is_full, self.was_full) = (true, true);
                return Err(Problem::Full);
            }
            self.added += 1;
        }
        self.pending.insert(page, bytes.into());
        self.count = self.count.max(page + 1);
        Ok(())
    }

    /// Cuts the database to this many bytes.
    pub(crate) fn truncate(&mut self, bytes: u64) -> Result<(), Problem> {
        let (count, rest) = place(bytes)?;
        if rest != 0 {
            return Err(Problem::Invalid);
        }
        if !self.is_full {
            self.pending.split_off(&count);
            self.added = self.pending.keys().filter(|page| !self.turn.contains_key(page)).count();
            self.count = count;
        }
        Ok(())
    }

    /// Makes what is pending part of the turn.
    pub(crate) fn sync(&mut self) {
        if self.is_full {
            return;
        }
        self.has_changed |= !self.pending.is_empty();
        self.turn.append(&mut self.pending);
        self.turn.split_off(&self.count);
        self.added = 0;
        self.turn_count = self.count;
        self.first = None;
    }

    /// SQLite has ended its transaction. What it has not synced, it has rolled back.
    pub(crate) fn unlock(&mut self) {
        self.pending.clear();
        self.added = 0;
        self.is_full = false;
        self.count = self.turn_count;
    }

    /// From here on the turn may only read. Pages that have changed before stay for the next turn that may write.
    pub(crate) fn expect_reading(&mut self) {
        self.has_changed = false;
    }

    /// Whether statements have committed pages since the last `store` or `expect_reading`.
    pub(crate) fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// Hands the pages of the turn to the storage.
    pub(crate) fn store(&mut self) -> Result<(), TooLarge> {
        self.has_changed = false;
        if self.turn.is_empty() && self.turn_count == self.stored.pages {
            return Ok(());
        }
        let before = self.stored.clone();
        for page in (self.turn_count..before.pages).step_by(REMOVED_KEYS as usize) {
            let end = before.pages.min(page + REMOVED_KEYS);
            self.storage.delete_range(&key(before.generation, page), &key(before.generation, end), REMOVED_KEYS);
        }
        self.stored.pages = self.turn_count;
        self.remove_deleted(DELETED_LATER);
        let generation = self.stored.generation;
        let pages = std::mem::take(&mut self.turn).into_iter();
        let mut entries = pages.map(|(page, bytes)| (key(generation, page), bytes.into_vec())).collect::<Vec<_>>();
        if self.stored != before {
            entries.push((PREFIX.to_vec(), self.stored.write()));
        }
        self.storage.put_many(entries)
    }

    /// Deletes the database. Pages that are too many for one turn are removed in later ones.
    ///
    /// Fails: if too many databases were deleted in too few turns.
    pub(crate) fn delete(&mut self) -> Result<(), String> {
        let pages = std::mem::take(&mut self.stored.pages);
        if pages > 0 {
            if self.stored.deleted.len() == DELETED_DATABASES {
                return Err(format!(
                    "{DELETED_DATABASES} databases of this room are still being deleted; try it later"
                ));
            }
            self.stored.deleted.push((self.stored.generation, pages));
        }
        let was_stored = pages > 0 || !self.stored.deleted.is_empty();
        self.remove_deleted(DELETED_AT_ONCE);
        if self.stored.deleted.is_empty() {
            self.stored.generation = 0;
        } else {
            self.stored.generation = self.stored.generation.wrapping_add(1);
        }
        (self.turn_count, self.first) = (0, None);
        self.turn.clear();
        self.unlock();
        if !was_stored {
            return Ok(());
        }
        if self.stored == Header::default() {
            self.storage.delete_range(PREFIX, &[PREFIX, &[0]].concat(), 1);
            return Ok(());
        }
        let header = vec![(PREFIX.to_vec(), self.stored.write())];
        self.storage.put_many(header).map_err(|TooLarge| "the turn has written too much".to_owned())
    }

    /// Removes pages of deleted databases, from their ends.
    fn remove_deleted(&mut self, limit: u32) {
        let mut left = limit;
        while let Some((generation, pages)) = self.stored.deleted.last_mut() {
            let from = pages.saturating_sub(REMOVED_KEYS.min(left));
            self.storage.delete_range(&key(*generation, from), &key(*generation, *pages), REMOVED_KEYS);
            left -= *pages - from;
            *pages = from;
            if from == 0 {
                self.stored.deleted.pop();
            }
            if left == 0 {
                return;
            }
        }
    }
}

/// Removes everything that SQL has stored in a room, for a component without SQL.
pub fn delete_stored(storage: &dyn Storage) {
    while storage.delete_range(PREFIX, AFTER, REMOVED_KEYS) == REMOVED_KEYS {}
}

/// The page of an offset, and the place in it.
fn place(offset: u64) -> Result<(u32, usize), Problem> {
    let page = u32::try_from(offset / PAGE_BYTES as u64).map_err(|_| Problem::Invalid)?;
    Ok((page, (offset % PAGE_BYTES as u64) as usize))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A storage in memory that takes this many bytes a turn.
    struct Memory {
        entries: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
        limit: usize,
    }

    impl Storage for Memory {
        fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
            self.entries.borrow().get(key).cloned()
        }

        fn put_many(&self, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), TooLarge> {
            if entries.iter().map(|(key, value)| 64 + key.len() + value.len()).sum::<usize>() > self.limit {
                return Err(TooLarge);
            }
            self.entries.borrow_mut().extend(entries);
            Ok(())
        }

        fn delete_range(&self, start: &[u8], end: &[u8], limit: u32) -> u32 {
            let mut entries = self.entries.borrow_mut();
            let keys = entries.range(start.to_vec()..end.to_vec()).map(|(key, _)| key.clone());
            let keys = keys.take(limit as usize).collect::<Vec<_>>();
            for key in &keys {
                entries.remove(key);
            }
            keys.len() as u32
        }

        fn now(&self) -> u64 {
            0
        }

        fn random(&self) -> u64 {
            0
        }
    }

    fn memory() -> &'static Memory {
        Box::leak(Box::new(Memory { entries: RefCell::default(), limit: 16 << 20 }))
    }

    fn page(content: u8) -> Vec<u8> {
        vec![content; PAGE_BYTES]
    }

    fn offset(page: usize) -> u64 {
        (page * PAGE_BYTES) as u64
    }

    /// The first byte of a page.
    fn first_byte(pages: &mut Pages, number: usize) -> u8 {
        let mut out = page(99);
        pages.read(offset(number), &mut out).unwrap();
        out[0]
    }

    /// Writes pages as a transaction that SQLite commits.
    fn commit(pages: &mut Pages, numbers: impl IntoIterator<Item = usize>, content: u8) {
        for number in numbers {
            pages.write(offset(number), &page(content)).unwrap();
        }
        pages.sync();
        pages.unlock();
    }

    #[test]
    fn pages_are_stored_once_at_the_end_of_the_turn() {
        let memory = memory();
        let mut pages = Pages::open(memory).unwrap();
        commit(&mut pages, 0..3, 1);
        commit(&mut pages, 1..2, 2);
        assert!(memory.entries.borrow().is_empty());
        pages.store().unwrap();
        assert_eq!(memory.entries.borrow().len(), 4);
        let mut pages = Pages::open(memory).unwrap();
        assert_eq!((pages.bytes(), pages.has_changed(), pages.storage().now()), (offset(3), false, 0));
        assert_eq!([0, 1, 2, 3].map(|number| first_byte(&mut pages, number)), [1, 2, 1, 0]);
        commit(&mut pages, 2..3, 7);
        pages.store().unwrap();
        assert_eq!(first_byte(&mut Pages::open(memory).unwrap(), 2), 7);
    }

    #[test]
    fn what_is_not_synced_before_the_unlock_is_gone() {
        let mut pages = Pages::open(memory()).unwrap();
        commit(&mut pages, 0..2, 1);
        pages.write(offset(1), &page(2)).unwrap();
        pages.write(offset(5), &page(2)).unwrap();
        assert_eq!((pages.bytes(), first_byte(&mut pages, 1)), (offset(6), 2));
        pages.unlock();
        assert_eq!((pages.bytes(), first_byte(&mut pages, 1)), (offset(2), 1));
        let mut start = [9; 16];
        commit(&mut pages, 0..1, 4);
        pages.read(24, &mut start).unwrap();
        pages.write(offset(0), &page(5)).unwrap();
        pages.unlock();
        pages.read(24, &mut start).unwrap();
        assert_eq!(start, [4; 16]);
    }

    #[test]
    fn pages_of_before_a_turn_that_may_only_read_are_stored_later() {
        let memory = memory();
        let mut pages = Pages::open(memory).unwrap();
        commit(&mut pages, 0..2, 1);
        pages.expect_reading();
        assert!(!pages.has_changed() && memory.entries.borrow().is_empty());
        commit(&mut pages, 0..1, 2);
        assert!(pages.has_changed());
        pages.store().unwrap();
        assert_eq!((pages.has_changed(), memory.entries.borrow().len()), (false, 3));
    }

    #[test]
    fn too_many_changed_pages_lose_only_the_last_statement() {
        let memory = memory();
        let mut pages = Pages::open(memory).unwrap();
        commit(&mut pages, 0..TURN_PAGES - 1, 1);
        pages.write(offset(0), &page(2)).unwrap();
        pages.write(offset(TURN_PAGES), &page(2)).unwrap();
        assert_eq!(pages.write(offset(TURN_PAGES + 1), &page(2)), Err(Problem::Full));
        // SQLite rolls back: it writes the old pages, cuts the file, and syncs.
        pages.write(offset(TURN_PAGES + 2), &page(3)).unwrap();
        pages.truncate(offset(TURN_PAGES - 1)).unwrap();
        pages.sync();
        pages.unlock();
        assert!(pages.take_was_full() && !pages.take_was_full());
        assert_eq!((pages.bytes(), first_byte(&mut pages, 0)), (offset(TURN_PAGES - 1), 1));
        // Pages that the turn has changed already can be changed again.
        commit(&mut pages, 0..TURN_PAGES - 1, 4);
        pages.store().unwrap();
        assert_eq!(first_byte(&mut Pages::open(memory).unwrap(), TURN_PAGES - 2), 4);
    }

    #[test]
    fn a_full_turn_of_pages_fits_into_the_writes_of_a_turn() {
        let memory = memory();
        let mut pages = Pages::open(memory).unwrap();
        commit(&mut pages, 0..TURN_PAGES, 1);
        assert_eq!(pages.store(), Ok(()));
        let small = Box::leak(Box::new(Memory { entries: RefCell::default(), limit: 10_000 }));
        let mut pages = Pages::open(small).unwrap();
        commit(&mut pages, 0..3, 1);
        assert_eq!(pages.store(), Err(TooLarge));
        assert!(small.entries.borrow().is_empty());
    }

    #[test]
    fn a_database_that_shrinks_removes_its_pages() {
        let memory = memory();
        let mut pages = Pages::open(memory).unwrap();
        commit(&mut pages, 0..2500, 1);
        pages.store().unwrap();
        pages.truncate(offset(2)).unwrap();
        pages.sync();
        pages.unlock();
        pages.store().unwrap();
        assert_eq!(memory.entries.borrow().len(), 3);
    }

    #[test]
    fn a_deleted_database_leaves_nothing_and_a_new_one_begins() {
        let memory = memory();
        let mut pages = Pages::open(memory).unwrap();
        pages.delete().unwrap();
        commit(&mut pages, 0..2500, 1);
        pages.store().unwrap();
        commit(&mut pages, 0..1, 2);
        pages.delete().unwrap();
        assert!(memory.entries.borrow().is_empty());
        assert_eq!((pages.bytes(), first_byte(&mut pages, 0)), (0, 0));
        commit(&mut pages, 0..1, 3);
        pages.store().unwrap();
        assert_eq!(first_byte(&mut Pages::open(memory).unwrap(), 0), 3);
        delete_stored(memory);
        assert!(memory.entries.borrow().is_empty());
    }

    #[test]
    fn a_database_above_the_limit_is_deleted_in_several_turns() {
        let memory = memory();
        let pages_before = DELETED_AT_ONCE + 2 * DELETED_LATER;
        for page in [0, 5, DELETED_LATER, pages_before - 1] {
            memory.entries.borrow_mut().insert(key(0, page), vec![1; PAGE_BYTES]);
        }
        let header = Header { generation: 0, pages: pages_before, deleted: vec![] };
        memory.entries.borrow_mut().insert(PREFIX.to_vec(), header.write());
        let mut pages = Pages::open(memory).unwrap();
        pages.delete().unwrap();
        assert_eq!(pages.bytes(), 0);
        let left = |memory: &Memory| memory.entries.borrow().keys().filter(|at| **at < key(1, 0)).count() - 1;
        assert_eq!(left(memory), 3);
        for expected in [2, 0] {
            let mut pages = Pages::open(memory).unwrap();
            commit(&mut pages, 0..1, 3);
            pages.store().unwrap();
            assert_eq!(left(memory), expected);
        }
        let mut pages = Pages::open(memory).unwrap();
        assert_eq!(first_byte(&mut pages, 0), 3);
        assert!(pages.stored.deleted.is_empty());
        pages.delete().unwrap();
        assert!(memory.entries.borrow().is_empty());
    }

    #[test]
    fn a_stored_form_that_is_unknown_is_refused() {
        for bytes in [&[][..], &[2, 0, 0, 0, 0, 0, 0, 0, 0], &[1, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]] {
            let memory = memory();
            memory.entries.borrow_mut().insert(PREFIX.to_vec(), bytes.to_vec());
            assert!(Pages::open(memory).err().unwrap().contains("version"));
        }
        let memory = memory();
        let mut pages = Pages::open(memory).unwrap();
        commit(&mut pages, 0..1, 1);
        pages.store().unwrap();
        memory.entries.borrow_mut().insert(key(0, 0), vec![1]);
        assert_eq!(Pages::open(memory).unwrap().read(0, &mut page(0)), Err(Problem::Invalid));
    }
}
