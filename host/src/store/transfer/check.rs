//! Receives an exported room: keeps it in a file without a name, and checks every line and the checksum before anything
//! of it is stored. The admin listener passes its bytes, and the task of the room reads the checked lines.
#![expect(clippy::disallowed_methods, reason = "it makes the file without a name")]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::{Buf, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::export::hex;
use super::line::{Header, Line};
use super::{ImportError, NUMBERS_AHEAD, VERSION};
use crate::limits::{
    KEY_BYTES, POST_BYTES, POSTS, TIMER_NAME_BYTES, TIMER_PAYLOAD_BYTES, TIMERS, USER_BYTES, VALUE_BYTES,
};
use crate::model::{Address, PostNumber};
use crate::random;
use crate::store::Store;

/// The longest line, in bytes: a value of which each character is escaped, or a post with its headers.
const LINE_BYTES: usize = 3 * VALUE_BYTES + 64 * 1024;
/// The longest first line, and the longest last line, in bytes.
const SHORT_LINE_BYTES: usize = 16 << 10;

/// The file of an import: first it is filled, then it is checked as a whole.
pub struct ImportFile {
    file: File,
    check: Check,
    store: Store,
    /// Bytes in the file.
    written: u64,
    /// The space was checked up to so many bytes.
    space_checked: u64,
}

/// The space of the disk is checked each time that so many more bytes have arrived.
const SPACE_CHECKED_EVERY: u64 = 1 << 20;
/// Each byte of the file is written at most so many times after it was received: to the journal of the store, to its
/// tables, and once more when they are merged.
const COPIES: u64 = 3;

impl ImportFile {
    /// Makes an empty file. It has no name, so it is gone when the process is.
    pub fn new(store: &Store) -> Result<Self, ImportError> {
        let directory = store.0.directory.clone().unwrap_or_else(std::env::temp_dir);
        let path = directory.join(format!("import-{:016x}.unfinished", random::number()));
        let made = make(&path).map_err(|error| ImportError::Failed(format!("a file for it cannot be made: {error}")));
        Ok(ImportFile {
            file: made?,
            check: Check::new(store.0.options.room_bytes),
            store: store.clone(),
            written: 0,
            space_checked: 0,
        })
    }

    /// Checks and keeps the next bytes. Blocks while the disk works.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        self.written += bytes.len() as u64;
        // The import must not take the space of the rooms that run: what it needs in the end must fit already now.
        if self.written >= self.space_checked {
            if !self.store.0.truth.has_space_for(COPIES * self.written + SPACE_CHECKED_EVERY) {
                return Err(ImportError::NoSpace);
            }
            self.space_checked = self.written + SPACE_CHECKED_EVERY;
        }
        self.check.push(bytes)?;
        self.file.write_all(bytes).map_err(|error| ImportError::Failed(format!("it cannot be kept: {error}")))
    }

    /// Checks that nothing is missing.
    pub fn finish(mut self) -> Result<CheckedImport, ImportError> {
        let header = self.check.finish()?;
        let rewound = self.file.seek(SeekFrom::Start(0));
        rewound.map_err(|error| ImportError::Failed(format!("it cannot be read: {error}")))?;
        Ok(CheckedImport { file: self.file, header })
    }
}

fn make(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// A complete and checked import.
pub struct CheckedImport {
    file: File,
    pub(super) header: Header,
}

impl CheckedImport {
    /// The address in the file. The room may get another one.
    pub fn address(&self) -> (&str, &str) {
        (&self.header.namespace, &self.header.name)
    }

    /// The component that the room had, as its namespace named it; absent if the file does not say.
    pub fn component(&self) -> Option<&str> {
        self.header.component.as_deref()
    }

    /// Passes the lines between the first and the last to `take`.
    pub(super) fn lines(self, take: &mut dyn FnMut(Line) -> Result<(), ImportError>) -> Result<(), ImportError> {
        let mut file = BufReader::with_capacity(256 << 10, self.file);
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            line.clear();
            let read = file.read_until(b'\n', &mut line);
            if read.map_err(|error| ImportError::Failed(format!("it cannot be read: {error}")))? == 0 {
                return Ok(());
            }
            number += 1;
            let read = Line::read(line.trim_ascii_end());
            match read.map_err(|problem| ImportError::Line { line: number, problem })? {
                Line::Room(_) | Line::End { .. } => {}
                line => take(line)?,
            }
        }
    }
}

/// Checks the lines one after the other.
struct Check {
    room_bytes: u64,
    buffer: BytesMut,
    /// The buffer has no line feed before this place.
    searched: usize,
    hash: Sha256,
    lines: u64,
    header: Option<Header>,
    counts: Counts,
    /// The place of the last line in the order of lines: its part, and its key there.
    last: (u8, Bytes),
    ended: bool,
}

#[derive(Default, PartialEq, Eq)]
struct Counts {
    entries: u64,
    timers: u64,
    posts: u64,
    accepted: u64,
    bytes: u64,
}

impl Check {
    fn new(room_bytes: u64) -> Self {
        Check {
            room_bytes,
            buffer: BytesMut::new(),
            searched: 0,
            hash: Sha256::new(),
            lines: 0,
            header: None,
            counts: Counts::default(),
            last: (0, Bytes::new()),
            ended: false,
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        self.buffer.extend_from_slice(bytes);
        while let Some(length) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
            let line = self.buffer.split_to(self.searched + length).freeze();
            self.buffer.advance(1);
            self.searched = 0;
            self.line(&line).map_err(|problem| match problem {
                Problem::Text(problem) => ImportError::Line { line: self.lines + 1, problem },
                Problem::Other(error) => error,
            })?;
            self.hash.update(&line);
            self.hash.update(b"\n");
            self.lines += 1;
        }
        self.searched = self.buffer.len();
        let limit = if self.header.is_none() { SHORT_LINE_BYTES } else { LINE_BYTES };
        if self.buffer.len() > limit {
            return Err(ImportError::Line { line: self.lines + 1, problem: "it is too long".into() });
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Header, ImportError> {
        match self.header.take() {
            Some(header) if self.ended && self.buffer.is_empty() => Ok(header),
            _ => Err(ImportError::Incomplete),
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Problem> {
        if self.ended {
            return Err("something follows the last line".into());
        }
        let Some(header) = &self.header else {
            let header = first(line)?;
            if header.bytes > self.room_bytes {
                return Err(Problem::Other(ImportError::TooLarge { room_bytes: self.room_bytes }));
            }
            self.header = Some(header);
            return Ok(());
        };
        let last_commit = header.commit;
        let place = match Line::read(line)? {
            Line::Room(_) => return Err("the room was named before".into()),
            Line::Entry { key, value } => {
                if key.0.len() > KEY_BYTES || value.0.len() > VALUE_BYTES {
                    return Err(format!("a key has at most {KEY_BYTES} bytes, and a value {VALUE_BYTES}").into());
                }
                self.counts.entries += 1;
                self.counts.bytes += (key.0.len() + value.0.len()) as u64;
                if self.counts.bytes > header.bytes {
                    return Err("the room has more bytes than its first line says".into());
                }
                (1, key.0)
            }
            Line::Timer { name, payload, .. } => {
                if name.len() > TIMER_NAME_BYTES || payload.0.len() > TIMER_PAYLOAD_BYTES {
                    return Err(format!(
                        "the name of a timer has at most {TIMER_NAME_BYTES} bytes, and its payload {TIMER_PAYLOAD_BYTES}"
                    )
                    .into());
                }
                self.counts.timers += 1;
                (2, name.into())
            }
            Line::Post { number, at, attempt, request, body } => {
                // The body and the head are counted together when a room posts; the head grows in JSON.
                if body.0.len() > POST_BYTES || request.bytes() > 2 * POST_BYTES + 4 * USER_BYTES {
                    return Err(format!("a post has at most {POST_BYTES} bytes").into());
                }
                let number = post_number(&number)?;
                if PostNumber(number).commit() > last_commit {
                    return Err("the number of a post is higher than that of the last commit".into());
                }
                if request.into_post(body.0.into(), at, attempt).is_none() {
                    return Err("its destination is not a room and not a server".into());
                }
                self.counts.posts += 1;
                (3, Bytes::copy_from_slice(&number.to_be_bytes()))
            }
            Line::Accepted { namespace, name, number } => {
                post_number(&number)?;
                let sender = Address::new(&namespace, &name).map_err(|error| error.to_string())?;
                self.counts.accepted += 1;
                (4, crate::store::records::address_bytes(&sender))
            }
            Line::End { lines, sha256 } => return self.end(lines, &sha256),
        };
        if place <= self.last {
            return Err("it is not in the order of keys, or it is there twice".into());
        }
        if self.counts.timers > TIMERS as u64 || self.counts.posts > POSTS as u64 {
            return Err(format!("a room has at most {TIMERS} timers and {POSTS} posts").into());
        }
        self.last = place;
        Ok(())
    }

    fn end(&mut self, lines: u64, sha256: &str) -> Result<(), Problem> {
        let header = self.header.as_ref().expect("the first line was read before");
        let Header { entries, timers, posts, accepted, bytes, .. } = *header;
        if self.counts != (Counts { entries, timers, posts, accepted, bytes }) || lines != self.lines {
            return Err("lines are missing: the counts in the first and the last line do not match".into());
        }
        if sha256 != hex(&self.hash.clone().finalize()) {
            return Err("the checksum does not match: a line was changed".into());
        }
        self.ended = true;
        Ok(())
    }
}

/// Reads the first line.
fn first(line: &[u8]) -> Result<Header, Problem> {
    #[derive(serde::Deserialize)]
    struct Any {
        kind: String,
        version: u32,
    }
    let any = serde_json::from_slice::<Any>(line).ok().filter(|any| any.kind == "room");
    let any = any.ok_or("this is not an exported room")?;
    if any.version > VERSION {
        return Err(Problem::Other(ImportError::Newer { version: any.version }));
    }
    let Line::Room(header) = Line::read(line)? else { return Err("this is not an exported room".into()) };
    if header.version != VERSION || header.commit == 0 {
        return Err("this is not an exported room".into());
    }
    Address::new(&header.namespace, &header.name).map_err(|error| error.to_string())?;
    // A post number has 16 bits for its place in a commit, and the numbers of the store are unsigned.
    if header.commit.saturating_add(NUMBERS_AHEAD) >> 47 > 0 {
        return Err("the number of its last commit is too high: it was imported too often".into());
    }
    Ok(header)
}

fn post_number(number: &str) -> Result<u64, Problem> {
    number.parse().map_err(|_| Problem::from("the number of a post is wrong"))
}

/// The problem with a line.
enum Problem {
    Text(String),
    Other(ImportError),
}

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Problem::Text(problem)
    }
}

impl From<&str> for Problem {
    fn from(problem: &str) -> Self {
        Problem::Text(problem.into())
    }
}
