//! Checks the files of fjall before fjall opens them, so that damage is refused before anything is changed.
//!
//! fjall alone is not strict enough. It treats the first unreadable bytes of a journal as the end that a crash left,
//! and cuts off the rest. It refuses a readable batch with a wrong checksum, although a power loss leaves such a batch
//! when its pages reach the disk in another order. The checksum of a batch does not cover its sequence number. The
//! files that list the tables are not checked, nor is the number of sections of a table.
//!
//! So this module reads the journals first. Valid data are complete batches with growing sequence numbers and
//! consecutive group numbers. The rest behind them is cut off if the mark says that it was never durable, and refused
//! otherwise. [`Store::open`](crate::store::Store::open) calls this; it changes nothing else.
#![expect(clippy::disallowed_methods, reason = "it reads the files of the engine")]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::Hasher;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use crate::store::records;

/// The end of each batch. The last byte is the version of the format; fjall refuses other versions itself.
const TRAILER: [u8; 4] = *b"FJL\x03";
/// The end of a table: a tag (4 bytes), two versions (1 byte each), a checksum (16 bytes), and the position and length
/// of its list of sections (8 bytes each).
const TABLE_END_BYTES: u64 = 4 + 2 + 16 + 8 + 8;
/// The tag of that list. The number of sections follows in four bytes.
const SECTIONS: [u8; 4] = *b"TOC!";
/// Bytes of a section in that list, without its name.
const SECTION_BYTES: u64 = 8 + 8 + 2;
/// fjall reserves the highest bit.
const SEQUENCE_NUMBERS: u64 = 1 << 63;

/// The reason why the files must not be opened.
#[derive(Debug)]
pub(in crate::store) enum OpenProblem {
    /// Another process has them open.
    InUse,
    /// A file is corrupt; the text names the file and the place.
    Damaged(String),
    /// Durable groups are missing. The number is that of the last group found.
    Behind(u64, String),
    /// The files cannot be read.
    Disk(io::Error),
}

impl From<io::Error> for OpenProblem {
    fn from(error: io::Error) -> Self {
        OpenProblem::Disk(error)
    }
}

/// Finds damage in the directory of fjall, and cuts off the rest of a commit that was never durable. `durable` is the
/// number of the last group known to be durable; 0 if it is not known.
pub(in crate::store) fn examine(store: &Path, durable: u64) -> Result<(), OpenProblem> {
    // While another process writes, its last batch would look torn.
    let Some(_lock) = lock(store)? else { return Ok(()) };
    if durable > 0 {
        examine_versions(&store.join("keyspaces"))?;
        examine_tables(&store.join("keyspaces"))?;
    }
    examine_journals(&journals(store)?, durable)
}

fn damaged(file: &Path) -> OpenProblem {
    OpenProblem::Damaged(format!("the file {} is corrupt", file.display()))
}

/// Checks the list of tables of each keyspace. The file `current` names the file with that list and holds its checksum.
/// Without this check, fjall would delete tables that are not listed, and keyspaces without `current`.
fn examine_versions(keyspaces: &Path) -> Result<(), OpenProblem> {
    for keyspace in fs::read_dir(keyspaces)? {
        let keyspace = keyspace?.path();
        let path = keyspace.join("current");
        let current = match fs::read(&path) {
            Ok(current) => current,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged(&path)),
            Err(error) => return Err(error.into()),
        };
        let (Some((number, rest)), 25) = (current.split_first_chunk(), current.len()) else {
            return Err(damaged(&path));
        };
        let (checksum, _) = rest.split_first_chunk().expect("the length was checked");
        let version = keyspace.join(format!("v{}", u64::from_le_bytes(*number)));
        match fs::read(&version) {
            Ok(bytes) if xxh3_128(&bytes) == u128::from_le_bytes(*checksum) => {}
            Ok(_) => {
                let (path, version) = (path.display(), version.display());
                return Err(OpenProblem::Damaged(format!("the file {path} or {version} is corrupt")));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged(&path)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Checks the number of sections of each table. fjall allocates memory for that number before it checks it, so a
/// corrupt one would end the process. fjall finds all other damage in tables itself.
fn examine_tables(keyspaces: &Path) -> Result<(), OpenProblem> {
    for keyspace in fs::read_dir(keyspaces)? {
        let tables = match fs::read_dir(keyspace?.path().join("tables")) {
            Ok(tables) => tables,
            // fjall reports the problem, if there is one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        for table in tables {
            let table = table?.path();
            if claims_too_many_sections(&mut File::open(&table)?)? {
                return Err(damaged(&table));
            }
        }
    }
    Ok(())
}

fn claims_too_many_sections(table: &mut File) -> io::Result<bool> {
    let length = table.metadata()?.len();
    let Some(end) = length.checked_sub(TABLE_END_BYTES) else { return Ok(false) };
    table.seek(SeekFrom::Start(end + TABLE_END_BYTES - 16))?;
    let mut at = [0; 8];
    table.read_exact(&mut at)?;
    let Some(space) = end.checked_sub(u64::from_le_bytes(at)).filter(|space| *space >= 8) else { return Ok(false) };
    table.seek(SeekFrom::Start(end - space))?;
    let (mut tag, mut sections) = ([0; 4], [0; 4]);
    table.read_exact(&mut tag)?;
    table.read_exact(&mut sections)?;
    Ok(tag == SECTIONS && u64::from(u32::from_le_bytes(sections)) > space / SECTION_BYTES)
}

/// Locks the files, until the result is dropped. Absent if nothing was ever written here, or fjall will report the
/// problem.
pub(in crate::store) fn lock(store: &Path) -> Result<Option<File>, OpenProblem> {
    match File::open(store.join("lock")) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Err(OpenProblem::InUse),
            Err(TryLockError::Error(error)) => Err(error.into()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The corrupt tables, for an error message. It reads all tables. fjall only checks each block when it is used, and
/// does not name the file.
pub(in crate::store) fn damaged_tables(store: &Path) -> io::Result<Vec<PathBuf>> {
    let mut damaged = Vec::new();
    for keyspace in fs::read_dir(store.join("keyspaces"))? {
        let keyspace = keyspace?.path();
        let current = fs::read(keyspace.join("current"))?;
        let number = current.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
        let version = fs::read(keyspace.join(format!("v{}", u64::from_le_bytes(*number))))?;
        for table in fs::read_dir(keyspace.join("tables"))? {
            let table = table?.path();
            let mut hash = Xxh3Default::new();
            io::copy(&mut File::open(&table)?, &mut Hashed(&mut hash))?;
            // The version file holds the checksum of each table.
            if !version.windows(16).any(|bytes| bytes == hash.digest128().to_le_bytes()) {
                damaged.push(table);
            }
        }
    }
    damaged.sort();
    Ok(damaged)
}

struct Hashed<'a>(&'a mut Xxh3Default);

impl io::Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The journals, oldest first. All but the last are complete.
fn journals(store: &Path) -> io::Result<Vec<PathBuf>> {
    let mut journals = Vec::new();
    for file in fs::read_dir(store)? {
        let path = file?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(number) = name.and_then(|name| name.strip_suffix(".jnl")).and_then(|name| name.parse::<u64>().ok())
        {
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

fn examine_journals(journals: &[PathBuf], durable: u64) -> Result<(), OpenProblem> {
    let mut last = LastNumbers::default();
    for (nth, path) in journals.iter().enumerate() {
        let mut journal = Journal::open(path)?;
        while journal.next_follows(&mut last)? {}
        let end = journal.valid_end;
        if journal.rest_is_empty()? {
            continue;
        }
        let problem = format!("the journal {} is corrupt after byte {end}", path.display());
        let complete = nth + 1 < journals.len();
        match last.group {
            Some(group) if group < durable => return Err(OpenProblem::Behind(group, problem)),
            None if durable > 0 => return Err(OpenProblem::Damaged(problem)),
            _ if complete => return Err(OpenProblem::Damaged(problem)),
            _ => {}
        }
        tracing::info!(journal = %path.display(), end, "cut off the incomplete rest of a commit that was never durable");
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(end)?;
        file.sync_all()?;
    }
    Ok(())
}

/// The numbers of the last valid batch.
#[derive(Default)]
struct LastNumbers {
    sequence: Option<u64>,
    group: Option<u64>,
}

struct Journal {
    file: BufReader<File>,
    length: u64,
    /// Bytes that were not read yet.
    remaining: u64,
    /// The end of the last valid batch.
    valid_end: u64,
    hash: Xxh3Default,
}

/// The next bytes are not a complete batch.
struct NoBatch;

impl Journal {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let file = BufReader::with_capacity(1 << 16, file);
        Ok(Journal { file, length, remaining: length, valid_end: 0, hash: Xxh3Default::new() })
    }

    /// Whether another complete batch follows, with numbers that continue the last one.
    fn next_follows(&mut self, last: &mut LastNumbers) -> io::Result<bool> {
        let Ok((sequence, group)) = self.batch()? else { return Ok(false) };
        let follows = sequence < SEQUENCE_NUMBERS
            && last.sequence.is_none_or(|before| sequence > before)
            && group.is_none_or(|group| last.group.is_none_or(|before| group == before + 1));
        if follows {
            *last = LastNumbers { sequence: Some(sequence), group: group.or(last.group) };
            self.valid_end = self.length - self.remaining;
        }
        Ok(follows)
    }

    /// Reads a batch: its sequence number, and its group number if it has one.
    fn batch(&mut self) -> io::Result<Result<(u64, Option<u64>), NoBatch>> {
        match self.read_batch() {
            Ok(batch) => Ok(Ok(batch)),
            Err(Some(error)) => Err(error),
            Err(None) => Ok(Err(NoBatch)),
        }
    }

    /// The error `None` means that no complete batch follows.
    fn read_batch(&mut self) -> Result<(u64, Option<u64>), Option<io::Error>> {
        self.hash.reset();
        let [1] = self.bytes()? else { return Err(None) };
        let items = u32::from_le_bytes(self.bytes()?);
        let sequence = u64::from_le_bytes(self.bytes()?);
        // The checksum covers the bytes from here to the tag of the end.
        self.hash.reset();
        let mut group = None;
        for _ in 0..items {
            match self.bytes()? {
                [2] => {
                    let [_, compression] = self.bytes()?;
                    let _keyspace: [u8; 8] = self.bytes()?;
                    let key_length = u16::from_le_bytes(self.bytes()?);
                    let _length: [u8; 4] = self.bytes()?;
                    let length = u32::from_le_bytes(self.bytes()?);
                    let is_group = self.is_next(records::GROUP_KEY, key_length)?;
                    if is_group && length == 8 && compression == 0 {
                        group = Some(u64::from_be_bytes(self.bytes()?));
                    } else {
                        self.skip(u64::from(length))?;
                    }
                }
                [4] => self.skip(8)?,
                _ => return Err(None),
            }
        }
        let checksum = self.hash.finish();
        let [3] = self.bytes()? else { return Err(None) };
        let ok = u64::from_le_bytes(self.bytes()?) == checksum && self.bytes()? == TRAILER;
        if ok { Ok((sequence, group)) } else { Err(None) }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Option<io::Error>> {
        let mut bytes = [0; N];
        self.take(N as u64)?;
        self.file.read_exact(&mut bytes).map_err(Some)?;
        self.hash.update(&bytes);
        Ok(bytes)
    }

    /// Reads a key, and returns whether it is this one.
    fn is_next(&mut self, key: &[u8], length: u16) -> Result<bool, Option<io::Error>> {
        if usize::from(length) != key.len() {
            self.skip(u64::from(length))?;
            return Ok(false);
        }
        let mut same = true;
        for expected in key {
            same &= self.bytes()? == [*expected];
        }
        Ok(same)
    }

    fn skip(&mut self, length: u64) -> Result<(), Option<io::Error>> {
        self.take(length)?;
        let mut remaining = length;
        while remaining > 0 {
            let bytes = self.file.fill_buf().map_err(Some)?;
            let some = bytes.len().min(usize::try_from(remaining).unwrap_or(usize::MAX));
            if some == 0 {
                return Err(None);
            }
            self.hash.update(&bytes[..some]);
            self.file.consume(some);
            remaining -= some as u64;
        }
        Ok(())
    }

    /// Reserves bytes to read. Fails beyond the end of the file, so that a corrupt length causes no long read.
    fn take(&mut self, length: u64) -> Result<(), Option<io::Error>> {
        self.remaining = self.remaining.checked_sub(length).ok_or(None)?;
        Ok(())
    }

    /// Whether nothing follows the last complete batch. Journals are allocated longer than needed.
    fn rest_is_empty(&mut self) -> io::Result<bool> {
        let mut at = self.valid_end;
        loop {
            // Holes in the file have no data.
            at = match rustix::fs::seek(self.file.get_ref(), rustix::fs::SeekFrom::Data(at)) {
                Ok(at) => at,
                Err(rustix::io::Errno::NXIO) => return Ok(true),
                Err(error) => return Err(error.into()),
            };
            self.file.seek(SeekFrom::Start(at))?;
            let bytes = self.file.fill_buf()?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
    }
}
