//! The format of a backup: how its bytes are made, and how they are checked while they are read. Plain values and
//! bytes; it knows no file, no engine and no network. `write` encodes, `directory` and `restore` decode.
//!
//! ```text
//! head    "dormouse-backup\n"  version (4)  length (4)  JSON of that length  checksum (8)
//! chunk   kind (1)  length (4)  content of that length  checksum (8)
//! ```
//!
//! Numbers are big-endian. Chunks follow each other, and the last one is the end. Its content is the number of records,
//! of rooms, of files and of bytes in values, each in 8 bytes, and the SHA-256 of everything before that chunk. So a
//! backup that broke off has no end, and is known to be incomplete.
//!
//! | kind | content |
//! |---|---|
//! | 1 | records, in the order of their keys: length of the key (4), length of the value (4), key, value |
//! | 2 | a part of a file: length of its name (2), name, the bytes that follow those of the part before |
//! | 3 | the end |
//! | 4 | the reason why the server broke off |
//!
//! The checksum of a chunk is an XXH3 hash of its kind, length and content, seeded with the number of the chunk, so that
//! a chunk in another place is found too.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::BackupError;
use crate::clock::UnixMillis;
use crate::store::records;

/// The newest format that this version reads, and the one that it writes.
pub(super) const VERSION: u32 = 1;
const MAGIC: &[u8; 16] = b"dormouse-backup\n";
/// The longest JSON of the head, in bytes: it has a few numbers.
const HEAD_BYTES: usize = 4 << 10;
/// A chunk is ended when it has this many bytes: little memory, and few checksums.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
/// The longest content of a chunk, in bytes: one that is nearly full, and the largest record. A value has 2 MiB at most
/// and a post less. A damaged length causes no larger buffer.
const MAX_CHUNK_BYTES: usize = 8 << 20;
/// The longest name of a file, in bytes.
const NAME_BYTES: usize = 512;

const RECORDS: u8 = 1;
const FILE: u8 = 2;
const END: u8 = 3;
const BROKEN: u8 = 4;

/// The kind of the records of rooms in the layout of keys.
const ROOM_KEY: u8 = 1;

/// The head of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Head {
    /// When it was begun.
    pub created: UnixMillis,
    /// The version of the program that made it.
    pub dormouse: String,
    /// The version of the layout of its records.
    pub layout: u32,
    /// The number of the last group commit in it.
    pub group: u64,
}

/// The content of a backup, or of the part of it that was read so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records of all kinds.
    pub records: u64,
    /// Rooms with stored data.
    pub rooms: u64,
    /// Files beside the records.
    pub files: u64,
    /// Bytes of keys, values and files.
    pub bytes: u64,
}

/// A checked part of a backup.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Head(Head),
    /// Records, in the order of their keys.
    Records(Vec<(Bytes, Bytes)>),
    /// A part of a file. `is_first` is true for its first part.
    File {
        name: String,
        is_first: bool,
        bytes: Bytes,
    },
    End(Totals),
}

/// Encodes one backup.
pub(super) struct Encoder {
    hash: Sha256,
    chunks: u64,
    totals: Totals,
    records: BytesMut,
    /// The name of the file whose parts follow each other.
    file: Option<String>,
}

impl Encoder {
    /// Returns the encoder, and the bytes of the head.
    pub(super) fn new(head: &Head) -> (Self, Bytes) {
        let json = serde_json::to_vec(head).expect("texts and numbers become JSON");
        let mut bytes = BytesMut::with_capacity(MAGIC.len() + 16 + json.len());
        bytes.put_slice(MAGIC);
        bytes.put_u32(VERSION);
        bytes.put_u32(u32::try_from(json.len()).expect("it is short"));
        bytes.put_slice(&json);
        bytes.put_u64(xxh3_64_with_seed(&bytes, 0));
        let bytes = bytes.freeze();
        let hash = Sha256::new_with_prefix(&bytes);
        let (chunks, totals, records, file) = Default::default();
        (Encoder { hash, chunks, totals, records, file }, bytes)
    }

    /// Adds a record. It returns the bytes of a chunk when one is full.
    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Bytes>, BackupError> {
        if key.len() + value.len() > MAX_CHUNK_BYTES - CHUNK_BYTES - 8 {
            let (key, bytes) = (key.escape_ascii(), value.len());
            return Err(BackupError::Unreadable(format!("the record {key} has {bytes} bytes: no record is so large")));
        }
        self.records.put_u32(u32::try_from(key.len()).expect("checked above"));
        self.records.put_u32(u32::try_from(value.len()).expect("checked above"));
        self.records.put_slice(key);
        self.records.put_slice(value);
        self.totals.records += 1;
        self.totals.rooms += u64::from(key.first() == Some(&ROOM_KEY));
        self.totals.bytes += (key.len() + value.len()) as u64;
        Ok((self.records.len() >= CHUNK_BYTES).then(|| self.end_records()))
    }

    /// The bytes of the last records, if some wait.
    pub(super) fn flush(&mut self) -> Option<Bytes> {
        (!self.records.is_empty()).then(|| self.end_records())
    }

    /// Adds the next part of a file. A file begins with its first part, which may be empty.
    pub(super) fn file(&mut self, name: &str, part: &[u8]) -> Bytes {
        if self.file.as_deref() != Some(name) {
            self.file = Some(name.to_owned());
            self.totals.files += 1;
        }
        self.totals.bytes += part.len() as u64;
        let mut content = BytesMut::with_capacity(2 + name.len() + part.len());
        content.put_u16(u16::try_from(name.len()).expect("names of files are short"));
        content.put_slice(name.as_bytes());
        content.put_slice(part);
        self.chunk(FILE, &content)
    }

    /// Ends the backup: its last bytes, and what it has.
    pub(super) fn end(mut self) -> (Bytes, Totals) {
        debug_assert!(self.records.is_empty(), "flushed before");
        let Totals { records, rooms, files, bytes } = self.totals;
        let mut content = BytesMut::with_capacity(64);
        [records, rooms, files, bytes].iter().for_each(|number| content.put_u64(*number));
        content.put_slice(&self.hash.clone().finalize());
        (self.chunk(END, &content), self.totals)
    }

    /// Ends the backup before its end, with the reason.
    pub(super) fn broken(mut self, reason: &str) -> Bytes {
        let end = reason.len().min(HEAD_BYTES);
        self.chunk(BROKEN, &reason.as_bytes()[..end])
    }

    fn end_records(&mut self) -> Bytes {
        let records = self.records.split().freeze();
        self.file = None;
        self.chunk(RECORDS, &records)
    }

    fn chunk(&mut self, kind: u8, content: &[u8]) -> Bytes {
        self.chunks += 1;
        let mut bytes = BytesMut::with_capacity(5 + content.len() + 8);
        bytes.put_u8(kind);
        bytes.put_u32(u32::try_from(content.len()).expect("the length is limited"));
        bytes.put_slice(content);
        bytes.put_u64(xxh3_64_with_seed(&bytes, self.chunks));
        self.hash.update(&bytes);
        bytes.freeze()
    }
}

/// Checks and decodes one backup. Bytes come in any portions.
pub(super) struct Decoder {
    hash: Sha256,
    chunks: u64,
    totals: Totals,
    buffer: BytesMut,
    /// The place of the buffer in the backup, for errors.
    at: u64,
    has_head: bool,
    ended: bool,
    last_key: Option<Bytes>,
    file: Option<String>,
}

impl Decoder {
    pub(super) fn new() -> Self {
        let (chunks, totals, buffer, at, has_head, ended, last_key, file) = Default::default();
        Decoder { hash: Sha256::new(), chunks, totals, buffer, at, has_head, ended, last_key, file }
    }

    /// Takes the next bytes, and passes what they complete to `take`.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        take: &mut dyn FnMut(Piece) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        self.buffer.extend_from_slice(bytes);
        while let Some(piece) = self.next()? {
            take(piece)?;
        }
        Ok(())
    }

    /// Everything that it has read so far.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Checks that nothing is missing.
    pub(super) fn finish(self) -> Result<Totals, BackupError> {
        if self.ended && self.buffer.is_empty() { Ok(self.totals) } else { Err(BackupError::Incomplete) }
    }

    fn next(&mut self) -> Result<Option<Piece>, BackupError> {
        if self.ended {
            return if self.buffer.is_empty() { Ok(None) } else { Err(self.damaged("something follows its end")) };
        }
        if !self.has_head {
            return self.head();
        }
        let Some(&[kind, length @ ..]) = self.buffer.first_chunk::<5>() else { return Ok(None) };
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_CHUNK_BYTES {
            return Err(self.damaged("a length is wrong"));
        }
        let all = 5 + length + 8;
        if self.buffer.len() < all {
            return Ok(None);
        }
        let chunk = self.buffer.split_to(all).freeze();
        self.chunks += 1;
        let (checked, mut checksum) = (chunk.slice(..5 + length), chunk.slice(5 + length..));
        if checksum.get_u64() != xxh3_64_with_seed(&checked, self.chunks) {
            return Err(self.damaged("a checksum does not match"));
        }
        let content = checked.slice(5..);
        let piece = match kind {
            RECORDS => self.records(content),
            FILE => self.file_part(content),
            END => self.end(content),
            BROKEN => return Err(BackupError::BrokenOff(String::from_utf8_lossy(&content).into_owned())),
            _ => None,
        };
        let piece = piece.ok_or_else(|| self.damaged("its content is wrong"))?;
        self.hash.update(&chunk);
        self.at += all as u64;
        Ok(Some(piece))
    }

    fn head(&mut self) -> Result<Option<Piece>, BackupError> {
        let known = self.buffer.len().min(MAGIC.len());
        if self.buffer[..known] != MAGIC[..known] {
            return Err(BackupError::NotABackup);
        }
        if self.buffer.len() < MAGIC.len() + 8 {
            return Ok(None);
        }
        let mut numbers = &self.buffer[MAGIC.len()..];
        let (version, length) = (numbers.get_u32(), numbers.get_u32() as usize);
        if version > VERSION {
            return Err(BackupError::Newer { version, supported: VERSION });
        }
        if version == 0 || length > HEAD_BYTES {
            return Err(self.damaged("its head is wrong"));
        }
        let checked = MAGIC.len() + 8 + length;
        if self.buffer.len() < checked + 8 {
            return Ok(None);
        }
        let head = self.buffer.split_to(checked + 8).freeze();
        let mut checksum = head.slice(checked..);
        if checksum.get_u64() != xxh3_64_with_seed(&head[..checked], 0) {
            return Err(self.damaged("the checksum of its head does not match"));
        }
        let Ok(found) = serde_json::from_slice::<Head>(&head[MAGIC.len() + 8..checked]) else {
            return Err(self.damaged("its head is wrong"));
        };
        if found.layout > records::LAYOUT {
            return Err(BackupError::Newer { version: found.layout, supported: records::LAYOUT });
        }
        self.hash.update(&head);
        self.at = head.len() as u64;
        self.has_head = true;
        Ok(Some(Piece::Head(found)))
    }

    fn records(&mut self, mut content: Bytes) -> Option<Piece> {
        let mut records = Vec::new();
        while content.has_remaining() {
            let (key, value) = (content.try_get_u32().ok()? as usize, content.try_get_u32().ok()? as usize);
            if content.len() < key.checked_add(value)? {
                return None;
            }
            let (key, value) = (content.split_to(key), content.split_to(value));
            if self.last_key.as_ref().is_some_and(|last| *last >= key) || key.is_empty() {
                return None;
            }
            self.totals.records += 1;
            self.totals.rooms += u64::from(key[0] == ROOM_KEY);
            self.totals.bytes += (key.len() + value.len()) as u64;
            self.last_key = Some(key.clone());
            records.push((key, value));
        }
        self.file = None;
        Some(Piece::Records(records))
    }

    fn file_part(&mut self, mut content: Bytes) -> Option<Piece> {
        let length = usize::from(content.try_get_u16().ok()?);
        if length > NAME_BYTES || content.len() < length {
            return None;
        }
        let name = String::from_utf8(content.split_to(length).into()).ok().filter(|name| is_plain(name))?;
        let is_first = self.file.as_ref() != Some(&name);
        if is_first {
            self.file = Some(name.clone());
            self.totals.files += 1;
        }
        self.totals.bytes += content.len() as u64;
        Some(Piece::File { name, is_first, bytes: content })
    }

    fn end(&mut self, mut content: Bytes) -> Option<Piece> {
        let mut number = || content.try_get_u64().ok();
        let counted = Totals { records: number()?, rooms: number()?, files: number()?, bytes: number()? };
        let is_right = counted == self.totals && content[..] == self.hash.clone().finalize()[..];
        self.ended = is_right;
        is_right.then_some(Piece::End(counted))
    }

    fn damaged(&self, problem: &'static str) -> BackupError {
        BackupError::Damaged { at: self.at, problem }
    }
}

/// Whether a name is a file of the data directory, or in a directory in it, and nowhere else.
pub(super) fn is_plain(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\0', '\\']);
    name.split('/').count() <= 2 && name.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head { created: 7, dormouse: "0.1.0".into(), layout: records::LAYOUT, group: 9 }
    }

    /// A backup with two files and a few chunks of records.
    fn example() -> Vec<u8> {
        let (mut encoder, mut bytes) = {
            let (encoder, head) = Encoder::new(&head());
            (encoder, head.to_vec())
        };
        bytes.extend(encoder.file("revocations.json", b"{}"));
        bytes.extend(encoder.file("audit.log", b"one\n"));
        bytes.extend(encoder.file("audit.log", b"two\n"));
        for number in 0..3_000_u32 {
            let key = [&[ROOM_KEY][..], &number.to_be_bytes()].concat();
            bytes.extend(encoder.record(&key, &[7; 1_000]).unwrap().unwrap_or_default());
        }
        bytes.extend(encoder.flush().unwrap());
        bytes.extend(encoder.end().0);
        bytes
    }

    fn decode(bytes: &[u8], portion: usize) -> Result<(Vec<Piece>, Totals), BackupError> {
        let (mut decoder, mut pieces) = (Decoder::new(), Vec::new());
        for portion in bytes.chunks(portion) {
            decoder.push(portion, &mut |piece| {
                pieces.push(piece);
                Ok(())
            })?;
        }
        Ok((pieces, decoder.finish()?))
    }

    #[test]
    fn a_backup_is_read_as_it_was_written_in_any_portions() {
        let bytes = example();
        let whole = decode(&bytes, bytes.len()).unwrap();
        for portion in [1_000, 65_537] {
            assert_eq!(decode(&bytes, portion).unwrap(), whole);
        }
        let (pieces, totals) = whole;
        assert_eq!((totals.records, totals.rooms, totals.files), (3_000, 3_000, 2));
        assert_eq!(pieces[0], Piece::Head(head()));
        let files = pieces.iter().filter_map(|piece| match piece {
            Piece::File { name, is_first, bytes } => Some((name.as_str(), *is_first, &bytes[..])),
            _ => None,
        });
        let expected: [(_, _, &[u8]); 3] =
            [("revocations.json", true, b"{}"), ("audit.log", true, b"one\n"), ("audit.log", false, b"two\n")];
        assert_eq!(files.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_flipped_byte_and_a_missing_end_are_found() {
        let bytes = example();
        // Every byte of the start and of the end, and some in between.
        let places = (0..200).chain((200..bytes.len() - 200).step_by(40_009)).chain(bytes.len() - 200..bytes.len());
        for at in places {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(decode(&flipped, 1 << 16).is_err(), "byte {at}");
            assert!(decode(&bytes[..at], 1 << 16).is_err(), "cut at {at}");
        }
        assert!(decode(&[&bytes[..], b"x"].concat(), 1 << 16).is_err(), "something follows");
    }

    #[test]
    fn chunks_in_another_order_and_keys_out_of_order_are_refused() {
        let (mut encoder, start) = Encoder::new(&head());
        let (one, other) = (encoder.file("a", b"1"), encoder.file("b", b"2"));
        let end = encoder.end().0;
        assert!(decode(&[&start[..], &one, &other, &end].concat(), 100).is_ok());
        assert!(decode(&[&start[..], &other, &one, &end].concat(), 100).is_err());
        let (mut encoder, start) = Encoder::new(&head());
        encoder.record(b"b", b"").unwrap();
        encoder.record(b"a", b"").unwrap();
        let records = encoder.flush().unwrap();
        assert!(decode(&[&start[..], &records, &encoder.end().0].concat(), 100).is_err());
    }

    #[test]
    fn a_newer_version_is_named_and_other_files_are_no_backup() {
        let mut bytes = example();
        bytes[19] = 2;
        assert!(matches!(decode(&bytes, 100), Err(BackupError::Newer { version: 2, supported: 1 })));
        assert!(matches!(decode(b"PK\x03\x04", 100), Err(BackupError::NotABackup)));
        assert!(matches!(decode(b"", 100), Err(BackupError::Incomplete)));
    }

    #[test]
    fn a_newer_layout_of_records_is_refused() {
        let newer = Head { layout: records::LAYOUT + 1, ..head() };
        let (encoder, start) = Encoder::new(&newer);
        let bytes = [&start[..], &encoder.end().0].concat();
        assert!(matches!(decode(&bytes, 100), Err(BackupError::Newer { .. })));
    }

    #[test]
    fn names_stay_inside_the_data_directory() {
        for name in ["revocations.json", "audit.log", "deploys/ab12"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", "/etc/passwd", "../x", "a/../b", "a/b/c", "./a", "a//b", "a\0"] {
            assert!(!is_plain(name), "{name:?}");
        }
    }
}
