//! The layout of the keys and values of the store. The first byte of each key is its kind. Numbers are big-endian, so
//! that keys sort like their numbers. Only `store` calls this.
//!
//! | key | value |
//! |---|---|
//! | 0 `epoch` | how often the store was opened |
//! | 0 `group` | number of the last group commit |
//! | 0 `incarnation` | the incarnation of the store, and up to two pieces of evidence; one holds unless the store is a copy |
//! | 0 `secret` | 32 random bytes from which the keys of posts are derived |
//! | 0 `deletions` | how many rooms were deleted, and the highest number of a commit among them |
//! | 0 `import` id | the address of the room that is imported as this id; the records of the id belong to no room yet |
//! | 1 namespace 0 name | id of the room, epoch and number of its last commit, counted bytes of its storage, its generation and the version of its data unless both are 0 |
//! | 2 id key | one entry of the storage of the room |
//! | 3 id name | one timer: due, attempt, payload |
//! | 4 id | namespace 0 name |
//! | 5 id number | one post: due, attempt, length of its head, head as JSON, body |
//! | 6 id namespace 0 name | number of the last post of that room that this room accepted |
//! | 7 id | nothing: the room with this id was deleted, and its other records are being removed |
//! | 8 … | what rooms and users used, in `usage` |

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::engine::{Record, StorageReader};
use super::error::DiskError;
use super::incarnation::{Evidence, Incarnation, Times};
use crate::clock::UnixMillis;
use crate::model::{Address, Destination, Post, PostNumber, Posts, Range, Request, Timer, User, UserAccess};

/// The version of this layout, which a backup names. It is raised with a change that older versions cannot read.
pub(super) const LAYOUT: u32 = 1;

const EPOCH_KEY: &[u8] = b"\0epoch";
const SECRET_KEY: &[u8] = b"\0secret";
/// The key of the number of the last group commit.
pub(super) const GROUP_KEY: &[u8] = b"\0group";

/// The key of the name of the store of which a cache has copies.
pub(super) const CACHE_KEY: &[u8] = b"\0cache";

const INCARNATION_KEY: &[u8] = b"\0incarnation";
/// The key of the count of deleted rooms.
pub(super) const DELETIONS_KEY: &[u8] = b"\0deletions";
/// The start of the keys of imports that have not ended.
const IMPORT_KEY: &[u8] = b"\0import\0";

pub(super) const ROOM: u8 = 1;
pub(super) const ENTRY: u8 = 2;
pub(super) const TIMER: u8 = 3;
pub(super) const NAME: u8 = 4;
pub(super) const POST: u8 = 5;
pub(super) const TAKEN: u8 = 6;
pub(super) const DELETED: u8 = 7;

/// The kinds of records of a room that are removed after its deletion, beside its name.
const REMOVED: [u8; 4] = [ENTRY, TIMER, POST, TAKEN];

/// The record of a room, beside its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoomRecord {
    /// Stands for the address in the keys of its other records.
    pub(super) id: u64,
    /// The start of the store that made the last commit.
    pub(super) epoch: u64,
    /// The number of the last commit.
    pub(super) number: u64,
    /// Bytes of its keys and values. Overwritten and removed data stays counted until the next exact count.
    pub(super) bytes: u64,
    /// How many rooms had been deleted before this one was made; random for an imported room. It distinguishes a room
    /// from earlier ones with the same address.
    pub(super) generation: u64,
    /// The version of its data, as the component says that wrote it. 0 if that says nothing.
    pub(super) data_version: u32,
}

/// Counts over all deleted rooms.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deletions {
    /// How many rooms were deleted.
    pub(super) count: u64,
    /// The highest number of a commit of a deleted room. A new room begins behind it: other rooms remember the numbers
    /// of posts by address, and would take lower ones for repeats.
    pub(super) highest: u64,
}

impl RoomRecord {
    pub(super) fn to_record(self, address: &Address) -> Record {
        let mut value = BytesMut::with_capacity(44);
        value.put_u64(self.id);
        value.put_u64(self.epoch);
        value.put_u64(self.number);
        value.put_u64(self.bytes);
        // Absent in a store without deletions and without versions of data, which older versions can read.
        if self.generation > 0 || self.data_version > 0 {
            value.put_u64(self.generation);
        }
        if self.data_version > 0 {
            value.put_u32(self.data_version);
        }
        (room_key(address), Some(value.freeze()))
    }

    /// Maps the id back to the address.
    pub(super) fn name_record(self, address: &Address) -> Record {
        (id_key(NAME, self.id, b""), Some(address_bytes(address)))
    }
}

/// A key taken apart, for a store that keeps its records in the columns of tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A record of the store itself: kind 0 and kinds from 8.
    Store,
    Room(Address),
    Entry {
        id: u64,
        key: Bytes,
    },
    Timer {
        id: u64,
        name: Bytes,
    },
    Name {
        id: u64,
    },
    Post {
        id: u64,
        number: u64,
    },
    Taken {
        id: u64,
        sender: Bytes,
    },
    Deleted {
        id: u64,
    },
}

/// Takes a key apart.
pub(super) fn parse_key(key: &Bytes) -> Result<Parsed, DiskError> {
    let kind = *key.first().ok_or_else(|| damaged(key))?;
    if kind == ROOM {
        return read_address(&key[1..]).map(Parsed::Room).ok_or_else(|| damaged(key));
    }
    if !(ENTRY..=DELETED).contains(&kind) {
        return Ok(Parsed::Store);
    }
    let (id, rest) = (id_of(key)?, behind_id(key));
    match kind {
        ENTRY => Ok(Parsed::Entry { id, key: rest }),
        TIMER => Ok(Parsed::Timer { id, name: rest }),
        TAKEN => Ok(Parsed::Taken { id, sender: rest }),
        POST => {
            let number = rest.as_ref().try_into().map_err(|_| damaged(key))?;
            Ok(Parsed::Post { id, number: u64::from_be_bytes(number) })
        }
        NAME if rest.is_empty() => Ok(Parsed::Name { id }),
        DELETED if rest.is_empty() => Ok(Parsed::Deleted { id }),
        _ => Err(damaged(key)),
    }
}

/// The due time, the attempt and the payload in the value of a timer.
pub(super) fn timer_columns(key: &[u8], mut value: Bytes) -> Result<(UnixMillis, u32, Bytes), DiskError> {
    let (Ok(at), Ok(attempt)) = (value.try_get_u64(), value.try_get_u32()) else { return Err(damaged(key)) };
    Ok((at, attempt, value))
}

/// The due time, the attempt, the head and the body in the value of a post.
pub(super) fn post_columns(key: &[u8], mut value: Bytes) -> Result<(UnixMillis, u32, Bytes, Bytes), DiskError> {
    let (Ok(at), Ok(attempt), Ok(length)) = (value.try_get_u64(), value.try_get_u32(), value.try_get_u32()) else {
        return Err(damaged(key));
    };
    let length = length as usize;
    if value.len() < length {
        return Err(damaged(key));
    }
    let head = value.split_to(length);
    Ok((at, attempt, head, value))
}

/// The number in the value of an accepted post.
pub(super) fn taken_column(key: &[u8], value: &[u8]) -> Result<u64, DiskError> {
    value.try_into().map(u64::from_be_bytes).map_err(|_| damaged(key))
}

/// The value of a room's record.
pub(super) fn room_columns(key: &[u8], value: Bytes) -> Result<RoomRecord, DiskError> {
    read_room(value).ok_or_else(|| damaged(key))
}

/// The record that removes that of a room.
pub(super) fn no_room(address: &Address) -> Record {
    (room_key(address), None)
}

/// The record that removes the one that leads from an id to the room.
pub(super) fn no_name(id: u64) -> Record {
    (id_key(NAME, id, b""), None)
}

/// The part that a record has in the content of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the room's own record; absent if the room is deleted.
    Own(Option<RoomRecord>),
    /// It only leads to the room, or says that the room was deleted.
    Beside,
    /// It is a part of the content.
    Content,
}

/// The part that a record of a commit has in the content of its room.
pub(super) fn place_of((key, value): &Record) -> Result<Place, DiskError> {
    Ok(match key.first() {
        Some(&ROOM) => Place::Own(value.clone().map(|value| room_columns(key, value)).transpose()?),
        Some(&(NAME | DELETED)) => Place::Beside,
        _ => Place::Content,
    })
}

/// The kinds of records that a restore tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Group,
    Secret,
    Incarnation,
    Post,
    Other,
}

/// The kind of the record with this key.
pub(super) fn kind_of(key: &[u8]) -> Kind {
    match key {
        GROUP_KEY => Kind::Group,
        SECRET_KEY => Kind::Secret,
        INCARNATION_KEY => Kind::Incarnation,
        [POST, ..] => Kind::Post,
        _ => Kind::Other,
    }
}

/// The number in the record of the last group commit.
pub(super) fn group_of(value: &[u8]) -> Result<u64, DiskError> {
    value.try_into().map(u64::from_be_bytes).map_err(|_| damaged(GROUP_KEY))
}

pub(super) fn epoch(disk: &dyn StorageReader) -> Result<u64, DiskError> {
    read_number(disk, EPOCH_KEY)
}

pub(super) fn epoch_record(epoch: u64) -> Record {
    (Bytes::from_static(EPOCH_KEY), Some(number(epoch)))
}

pub(super) fn last_group(disk: &dyn StorageReader) -> Result<u64, DiskError> {
    read_number(disk, GROUP_KEY)
}

pub(super) fn group_record(group: u64) -> Record {
    (Bytes::from_static(GROUP_KEY), Some(number(group)))
}

/// The bytes of one piece of evidence: its kind and five numbers.
const EVIDENCE_BYTES: usize = 1 + 5 * 8;
const BORN: u8 = 1;
const CHANGED: u8 = 2;

/// The length of the value in older versions: one piece of evidence without its kind, which was `CHANGED`.
const OLDER_BYTES: usize = 6 * 8;

/// The incarnation of the store, and the evidence of which one piece must hold; absent in a new store.
pub(super) fn incarnation(disk: &dyn StorageReader) -> Result<Option<(Incarnation, Vec<Evidence>)>, DiskError> {
    let Some(mut value) = disk.get(INCARNATION_KEY)? else { return Ok(None) };
    if value.len() == OLDER_BYTES {
        let incarnation = Incarnation(value.get_u64());
        let (nonce, inode) = (value.get_u64(), value.get_u64());
        let times = Times::Changed { seconds: value.get_i64(), nanoseconds: value.get_i64() };
        return Ok(Some((incarnation, vec![Evidence { nonce, inode, mark_inode: value.get_u64(), times }])));
    }
    if value.len() % EVIDENCE_BYTES != 8 {
        return Err(damaged(INCARNATION_KEY));
    }
    let incarnation = Incarnation(value.get_u64());
    let mut evidence = Vec::new();
    while value.has_remaining() {
        let kind = value.get_u8();
        let (nonce, inode, mark_inode) = (value.get_u64(), value.get_u64(), value.get_u64());
        let times = match kind {
            BORN => Times::Born { file: value.get_u64(), mark: value.get_u64() },
            CHANGED => Times::Changed { seconds: value.get_i64(), nanoseconds: value.get_i64() },
            _ => return Err(damaged(INCARNATION_KEY)),
        };
        evidence.push(Evidence { nonce, inode, mark_inode, times });
    }
    Ok(Some((incarnation, evidence)))
}

pub(super) fn incarnation_record(incarnation: Incarnation, evidence: &[Evidence]) -> Record {
    let mut value = BytesMut::with_capacity(8 + evidence.len() * EVIDENCE_BYTES);
    value.put_u64(incarnation.0);
    for Evidence { nonce, inode, mark_inode, times } in evidence {
        value.put_u8(match times {
            Times::Born { .. } => BORN,
            Times::Changed { .. } => CHANGED,
        });
        [nonce, inode, mark_inode].iter().for_each(|number| value.put_u64(**number));
        match times {
            Times::Born { file, mark } => [file, mark].iter().for_each(|time| value.put_u64(**time)),
            Times::Changed { seconds, nanoseconds } => {
                [seconds, nanoseconds].iter().for_each(|time| value.put_i64(**time));
            }
        }
    }
    (Bytes::from_static(INCARNATION_KEY), Some(value.freeze()))
}

/// The secret of the store; absent in a new store, and in a store of a version without secrets.
pub(super) fn secret(disk: &dyn StorageReader) -> Result<Option<[u8; 32]>, DiskError> {
    let Some(value) = disk.get(SECRET_KEY)? else { return Ok(None) };
    value.as_ref().try_into().map(Some).map_err(|_| damaged(SECRET_KEY))
}

pub(super) fn secret_record(secret: &[u8; 32]) -> Record {
    (Bytes::from_static(SECRET_KEY), Some(Bytes::copy_from_slice(secret)))
}

/// The highest id of a room; 0 without rooms.
pub(super) fn last_room(disk: &dyn StorageReader) -> Result<u64, DiskError> {
    let mut last = Ok(0);
    disk.scan(kind(NAME), true, &mut |key, _| {
        last = id_of(&key);
        false
    })?;
    last
}

pub(super) fn room(disk: &dyn StorageReader, address: &Address) -> Result<Option<RoomRecord>, DiskError> {
    let key = room_key(address);
    disk.get(&key)?.map(|value| read_room(value).ok_or_else(|| damaged(&key))).transpose()
}

fn read_room(mut value: Bytes) -> Option<RoomRecord> {
    // Older records have no byte count.
    if ![24, 32, 40, 44].contains(&value.len()) {
        return None;
    }
    let (id, epoch, number) = (value.get_u64(), value.get_u64(), value.get_u64());
    let (bytes, generation) = (value.try_get_u64().unwrap_or(0), value.try_get_u64().unwrap_or(0));
    let data_version = value.try_get_u32().unwrap_or(0);
    Some(RoomRecord { id, epoch, number, bytes, generation, data_version })
}

/// Passes the rooms of a namespace whose names begin with `prefix` to `visit`, ordered by name, beginning after
/// `after`, until it returns false.
pub(super) fn rooms(
    disk: &dyn StorageReader,
    namespace: &str,
    prefix: &str,
    after: Option<&str>,
    visit: &mut dyn FnMut(String, RoomRecord) -> bool,
) -> Result<(), DiskError> {
    // Behind all names with this prefix.
    if after.is_some_and(|after| after > prefix && !after.starts_with(prefix)) {
        return Ok(());
    }
    let key = |name: &str| Bytes::from([&[ROOM], namespace.as_bytes(), &[0], name.as_bytes()].concat());
    let first = Bound::Included(key(prefix));
    let start = after.filter(|after| *after >= prefix).map_or(first, |after| Bound::Excluded(key(after)));
    let begin = key("").len();
    let mut damage = None;
    // The name of a room is valid UTF-8, which has no byte 0xff, so all names with the prefix are before this one.
    let end = Bytes::from([&key(prefix)[..], &[0xff]].concat());
    disk.scan((start, Bound::Excluded(end)), false, &mut |key, value| match (
        String::from_utf8(key.slice(begin..).into()),
        read_room(value),
    ) {
        (Ok(name), Some(record)) => visit(name, record),
        _ => {
            damage = Some(damaged(&key));
            false
        }
    })?;
    damage.map_or(Ok(()), Err)
}

/// The namespaces that have rooms, in order. It reads one record of each.
pub(super) fn namespaces(disk: &dyn StorageReader) -> Result<Vec<String>, DiskError> {
    let mut namespaces = Vec::<String>::new();
    let mut start = Bound::Included(Bytes::from_static(&[ROOM]));
    loop {
        let mut found = None;
        disk.scan((start, Bound::Excluded(Bytes::from_static(&[ROOM + 1]))), false, &mut |key, _| {
            found = Some(key);
            false
        })?;
        let Some(key) = found else { return Ok(namespaces) };
        let end = key.iter().skip(1).position(|byte| *byte == 0).ok_or_else(|| damaged(&key))?;
        let namespace = String::from_utf8(key.slice(1..=end).into()).map_err(|_| damaged(&key))?;
        // Behind all names of this namespace, which end with a byte 0 before the name.
        start = Bound::Included([&[ROOM], namespace.as_bytes(), &[1]].concat().into());
        namespaces.push(namespace);
    }
}

pub(super) fn deletions(disk: &dyn StorageReader) -> Result<Deletions, DiskError> {
    let Some(mut value) = disk.get(DELETIONS_KEY)? else { return Ok(Deletions::default()) };
    if value.len() != 16 {
        return Err(damaged(DELETIONS_KEY));
    }
    Ok(Deletions { count: value.get_u64(), highest: value.get_u64() })
}

pub(super) fn deletions_record(deletions: Deletions) -> Record {
    let value = [deletions.count.to_be_bytes(), deletions.highest.to_be_bytes()].concat();
    (Bytes::from_static(DELETIONS_KEY), Some(value.into()))
}

/// The records that delete a room: its address means another room from now on, and its id means a deleted one.
pub(super) fn deleted(id: u64, address: &Address) -> [Record; 2] {
    [(room_key(address), None), (id_key(DELETED, id, b""), Some(Bytes::new()))]
}

/// The id of a deleted room that still has records.
pub(super) fn first_deleted(disk: &dyn StorageReader) -> Result<Option<u64>, DiskError> {
    let mut first = None;
    disk.scan(kind(DELETED), false, &mut |key, _| {
        first = Some(id_of(&key));
        false
    })?;
    first.transpose()
}

/// Removals of records of a deleted room: about `max_records`, for which about `max_bytes` are read. The last ones are
/// those that say that it was deleted.
pub(super) fn removals(
    disk: &dyn StorageReader,
    id: u64,
    max_records: usize,
    max_bytes: usize,
) -> Result<Vec<Record>, DiskError> {
    let (mut removals, mut bytes) = (Vec::new(), 0);
    for kind in REMOVED {
        let range = (Bound::Included(id_key(kind, id, b"")), Bound::Excluded(behind(kind, id)));
        let mut is_full = false;
        disk.scan(range, false, &mut |key, value| {
            bytes += key.len() + value.len();
            removals.push((key, None));
            is_full = removals.len() >= max_records || bytes >= max_bytes;
            !is_full
        })?;
        if is_full {
            return Ok(removals);
        }
    }
    // Its name stays until now: as long as it has records, no other room gets its id.
    removals.extend([NAME, DELETED].map(|kind| (id_key(kind, id, b""), None)));
    Ok(removals)
}

/// The names of the rooms of a namespace, beginning after `after`.
pub(super) fn names(
    disk: &dyn StorageReader,
    namespace: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<BTreeSet<String>, DiskError> {
    let key = |name: &str, end: u8| Bytes::from([&[ROOM], namespace.as_bytes(), &[end], name.as_bytes()].concat());
    let start = after.map_or(Bound::Included(key("", 0)), |name| Bound::Excluded(key(name, 0)));
    let prefix = key("", 0).len();
    let mut names = BTreeSet::new();
    if limit == 0 {
        return Ok(names);
    }
    let mut damage = None;
    disk.scan((start, Bound::Excluded(key("", 1))), false, &mut |key, _| {
        match String::from_utf8(key.slice(prefix..).into()) {
            Ok(name) => names.insert(name),
            Err(_) => damage.replace(damaged(&key)).is_none(),
        };
        names.len() < limit && damage.is_none()
    })?;
    damage.map_or(Ok(names), Err)
}

pub(super) fn entry_key(id: u64, key: &[u8]) -> Bytes {
    id_key(ENTRY, id, key)
}

pub(super) fn entry(id: u64, key: &[u8], value: Option<Bytes>) -> Record {
    (entry_key(id, key), value)
}

pub(super) fn scan_entries(
    disk: &dyn StorageReader,
    id: u64,
    range: &Range,
    visit: &mut dyn FnMut(&Bytes, &Bytes) -> bool,
) -> Result<(), DiskError> {
    let bound = |bound: &Bound<Bytes>, open: Bound<Bytes>| match bound {
        Bound::Included(key) => Bound::Included(entry_key(id, key)),
        Bound::Excluded(key) => Bound::Excluded(entry_key(id, key)),
        Bound::Unbounded => open,
    };
    let start = bound(&range.start, Bound::Included(entry_key(id, b"")));
    let end = bound(&range.end, Bound::Excluded(behind(ENTRY, id)));
    let prefix = entry_key(id, b"").len();
    disk.scan((start, end), range.reverse, &mut |key, value| visit(&key.slice(prefix..), &value))
}

pub(super) fn timer(id: u64, name: &str, timer: Option<&Timer>) -> Record {
    let value = timer.map(|timer| {
        let mut value = BytesMut::with_capacity(12 + timer.payload.len());
        value.put_u64(timer.at);
        value.put_u32(timer.attempt);
        value.put_slice(&timer.payload);
        value.freeze()
    });
    (id_key(TIMER, id, name.as_bytes()), value)
}

pub(super) fn timers(disk: &dyn StorageReader, id: u64) -> Result<impl Iterator<Item = Timer>, DiskError> {
    let mut timers = Vec::new();
    let range = (Bound::Included(id_key(TIMER, id, b"")), Bound::Excluded(behind(TIMER, id)));
    disk.scan(range, false, &mut |key, value| {
        timers.push(read_timer(&key, value).map(|(_, timer)| timer));
        true
    })?;
    Ok(timers.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter())
}

/// The part of a stored post before its body.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PostHead {
    /// The namespace and name of a room, or else the origin of a server.
    room: Option<(String, String)>,
    origin: Option<String>,
    method: String,
    path: String,
    query: Option<String>,
    headers: Vec<(String, String)>,
    user: Option<(String, String)>,
    /// The idempotency key, if another store gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl PostHead {
    /// Takes a post apart: its head and its body.
    pub(super) fn of(destination: Destination, request: Request, key: Option<String>) -> (Self, Vec<u8>) {
        let (room, origin) = match destination {
            Destination::Room(address) => (Some((address.namespace().to_owned(), address.name().to_owned())), None),
            Destination::Origin(origin) => (None, Some(origin)),
        };
        let Request { method, path, query, headers, body, user, .. } = request;
        let user = user.map(|user| (user.id, user.name));
        (PostHead { room, origin, method, path, query, headers, user, key }, body)
    }

    /// The bytes of its texts.
    pub(super) fn bytes(&self) -> usize {
        let pair = |(one, other): &(String, String)| one.len() + other.len();
        let pairs = self.room.iter().chain(&self.headers).chain(&self.user).map(pair).sum::<usize>();
        let texts = [&self.origin, &self.query, &self.key].into_iter().flatten().chain([&self.method, &self.path]);
        pairs + texts.map(String::len).sum::<usize>()
    }

    /// The post with this head; absent if its destination cannot be one.
    pub(super) fn into_post(self, body: Vec<u8>, at: UnixMillis, attempt: u32) -> Option<Post> {
        let destination = match (self.room, self.origin) {
            (Some((namespace, name)), None) => Destination::Room(Address::new(&namespace, &name).ok()?),
            (None, Some(origin)) => Destination::Origin(origin),
            _ => return None,
        };
        let request = Request {
            method: self.method,
            path: self.path,
            query: self.query,
            headers: self.headers,
            body,
            user: self.user.map(|(id, name)| User { id, name }),
            access: UserAccess::default(),
        };
        Some(Post { destination, request, at, attempt, key: self.key })
    }
}

pub(super) fn post(id: u64, number: PostNumber, post: Option<Post>) -> Record {
    let value = post.map(|Post { destination, request, at, attempt, key }| {
        let (head, body) = PostHead::of(destination, request, key);
        let head = serde_json::to_vec(&head).expect("text is JSON");
        let mut value = BytesMut::with_capacity(16 + head.len() + body.len());
        value.put_u64(at);
        value.put_u32(attempt);
        value.put_u32(u32::try_from(head.len()).expect("a post is limited to less"));
        value.put_slice(&head);
        value.put_slice(&body);
        value.freeze()
    });
    (id_key(POST, id, &number.0.to_be_bytes()), value)
}

/// The record of a post with its idempotency key in it, as it was in the store that `secret` is of. The key of a later
/// post with the same number is another one, since a restored store has another secret.
pub(super) fn with_post_key(
    disk: &dyn StorageReader,
    key: &Bytes,
    value: Bytes,
    secret: &[u8; 32],
) -> Result<Record, DiskError> {
    let (number, found) = read_post(key, value).ok_or_else(|| damaged(key))?;
    let id = id_of(key)?;
    let sender = address_of(disk, id)?.ok_or_else(|| damaged(key))?;
    let post_key = found.key.clone().unwrap_or_else(|| post_key(secret, &sender, number));
    Ok(post(id, number, Some(Post { key: Some(post_key), ..found })))
}

/// The idempotency key of a post: the same for each try, also after a restart. It cannot be guessed without the secret
/// of the store, so no one can use up a key before its post arrives.
pub(super) fn post_key(secret: &[u8; 32], sender: &Address, number: PostNumber) -> String {
    let post = Sha256::digest(format!("{sender}/{}", number.0));
    // The secret is followed by a hash of fixed length, so that no key is the prefix of the computation of another
    // one.
    let key = Sha256::new().chain_update(secret).chain_update(post).finalize();
    key.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn posts(disk: &dyn StorageReader, id: u64) -> Result<Posts, DiskError> {
    let mut posts = Vec::new();
    let range = (Bound::Included(id_key(POST, id, b"")), Bound::Excluded(behind(POST, id)));
    disk.scan(range, false, &mut |key, value| {
        posts.push(read_post(&key, value).ok_or_else(|| damaged(&key)));
        true
    })?;
    posts.into_iter().collect()
}

pub(super) fn read_post(key: &Bytes, mut value: Bytes) -> Option<(PostNumber, Post)> {
    let number = PostNumber(u64::from_be_bytes(key.get(9..)?.try_into().ok()?));
    let (at, attempt) = (value.try_get_u64().ok()?, value.try_get_u32().ok()?);
    let length = value.try_get_u32().ok()? as usize;
    let head = serde_json::from_slice::<PostHead>(value.get(..length)?).ok()?;
    Some((number, head.into_post(value.slice(length..).into(), at, attempt)?))
}

pub(super) fn taken(id: u64, sender: &Address, taken: PostNumber) -> Record {
    (accepted_key(id, sender), Some(number(taken.0)))
}

pub(super) fn last_accepted(
    disk: &dyn StorageReader,
    id: u64,
    sender: &Address,
) -> Result<Option<PostNumber>, DiskError> {
    let key = accepted_key(id, sender);
    let Some(value) = disk.get(&key)? else { return Ok(None) };
    let number = value.as_ref().try_into().map_err(|_| damaged(&key))?;
    Ok(Some(PostNumber(u64::from_be_bytes(number))))
}

fn accepted_key(id: u64, sender: &Address) -> Bytes {
    id_key(TAKEN, id, &address_bytes(sender))
}

/// Every room with a timer or a post, and when the first is due; a room with both appears twice.
pub(super) fn rooms_to_wake(disk: &dyn StorageReader) -> Result<Vec<(Address, UnixMillis)>, DiskError> {
    let mut found = Vec::<Result<(u64, UnixMillis), DiskError>>::new();
    for waking in [TIMER, POST] {
        // Both kinds of records begin with the due time.
        disk.scan(kind(waking), false, &mut |key, mut value| {
            let read = id_of(&key).and_then(|id| Ok((id, value.try_get_u64().map_err(|_| damaged(&key))?)));
            match (read, found.last_mut()) {
                (Ok((id, at)), Some(Ok((last, first)))) if *last == id => *first = at.min(*first),
                (read, _) => found.push(read),
            }
            true
        })?;
    }
    let rooms = found.into_iter().filter_map(|found| {
        let read = |(id, at): (u64, UnixMillis)| {
            if disk.get(&id_key(DELETED, id, b""))?.is_some() {
                return Ok(None);
            }
            let address = address_of(disk, id)?.ok_or_else(|| damaged(&id_key(NAME, id, b"")))?;
            Ok(Some((address, at)))
        };
        found.and_then(read).transpose()
    });
    rooms.collect()
}

pub(super) fn read_timer(key: &Bytes, mut value: Bytes) -> Result<(u64, Timer), DiskError> {
    let name = key.get(9..).and_then(|name| String::from_utf8(name.to_vec()).ok());
    let (Some(name), true) = (name, value.len() >= 12) else { return Err(damaged(key)) };
    let (at, attempt) = (value.get_u64(), value.get_u32());
    Ok((id_of(key)?, Timer { name, at, attempt, payload: value }))
}

fn read_number(disk: &dyn StorageReader, key: &[u8]) -> Result<u64, DiskError> {
    match disk.get(key)? {
        None => Ok(0),
        Some(value) => Ok(u64::from_be_bytes(value.as_ref().try_into().map_err(|_| damaged(key))?)),
    }
}

/// The address of the room with this id.
pub(super) fn address_of(disk: &dyn StorageReader, id: u64) -> Result<Option<Address>, DiskError> {
    let key = id_key(NAME, id, b"");
    let Some(name) = disk.get(&key)? else { return Ok(None) };
    read_address(&name).map(Some).ok_or_else(|| damaged(&key))
}

fn read_address(bytes: &[u8]) -> Option<Address> {
    let (namespace, name) = std::str::from_utf8(bytes).ok()?.split_once('\0')?;
    Address::new(namespace, name).ok()
}

fn id_of(key: &Bytes) -> Result<u64, DiskError> {
    let id = key.get(1..9).ok_or_else(|| damaged(key))?;
    Ok(u64::from_be_bytes(id.try_into().expect("the slice has 8 bytes")))
}

fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn room_key(address: &Address) -> Bytes {
    let mut key = BytesMut::with_capacity(2 + address.namespace().len() + address.name().len());
    key.put_u8(ROOM);
    key.put_slice(&address_bytes(address));
    key.freeze()
}

/// The record that says that the records with this id are those of an import on its way, or that it has ended.
pub(super) fn import_record(id: u64, address: Option<&Address>) -> Record {
    ([IMPORT_KEY, &id.to_be_bytes()].concat().into(), address.map(address_bytes))
}

/// The ids of imports that did not end.
pub(super) fn unfinished_imports(disk: &dyn StorageReader) -> Result<Vec<u64>, DiskError> {
    let mut ids = Vec::new();
    let end = [IMPORT_KEY, &[0xff; 9]].concat().into();
    disk.scan((Bound::Included(Bytes::from_static(IMPORT_KEY)), Bound::Excluded(end)), false, &mut |key, _| {
        let id = key.get(IMPORT_KEY.len()..).and_then(|id| id.try_into().ok()).map(u64::from_be_bytes);
        ids.push(id.ok_or_else(|| damaged(&key)));
        true
    })?;
    ids.into_iter().collect()
}

/// The keys of some records of an id whose import did not end; empty if there is none.
pub(super) fn some_keys(disk: &dyn StorageReader, id: u64, limit: usize) -> Result<Vec<Bytes>, DiskError> {
    let mut keys = Vec::new();
    for kind in [ENTRY, TIMER, POST, TAKEN] {
        let range = range_of(kind, id);
        disk.scan(range, false, &mut |key, _| {
            keys.push(key);
            keys.len() < limit
        })?;
        if keys.len() >= limit {
            break;
        }
    }
    Ok(keys)
}

/// The parts of a room beside its own record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Entries,
    Timers,
    Posts,
    Accepted,
}

/// The keys of one part of a room.
pub(super) fn part(part: Part, id: u64) -> (Bound<Bytes>, Bound<Bytes>) {
    let kind = match part {
        Part::Entries => ENTRY,
        Part::Timers => TIMER,
        Part::Posts => POST,
        Part::Accepted => TAKEN,
    };
    range_of(kind, id)
}

/// The part of a key behind the id of its room.
pub(super) fn behind_id(key: &Bytes) -> Bytes {
    key.slice(9.min(key.len())..)
}

/// The sender and the number in a record of accepted posts.
pub(super) fn read_accepted(key: &Bytes, value: &[u8]) -> Result<(Address, PostNumber), DiskError> {
    let sender = read_address(&behind_id(key));
    let number = value.try_into().map(u64::from_be_bytes);
    match (sender, number) {
        (Some(sender), Ok(number)) => Ok((sender, PostNumber(number))),
        _ => Err(damaged(key)),
    }
}

fn range_of(kind: u8, id: u64) -> (Bound<Bytes>, Bound<Bytes>) {
    (Bound::Included(id_key(kind, id, b"")), Bound::Excluded(behind(kind, id)))
}

/// Neither part can contain a zero byte, so it separates them.
pub(super) fn address_bytes(address: &Address) -> Bytes {
    [address.namespace().as_bytes(), &[0], address.name().as_bytes()].concat().into()
}

pub(super) fn id_key(kind: u8, id: u64, key: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(9 + key.len());
    bytes.put_u8(kind);
    bytes.put_u64(id);
    bytes.put_slice(key);
    bytes.freeze()
}

/// The first key after all keys of one kind of a room.
fn behind(kind: u8, id: u64) -> Bytes {
    id.checked_add(1).map_or(Bytes::copy_from_slice(&[kind + 1]), |next| id_key(kind, next, b""))
}

fn kind(kind: u8) -> (Bound<Bytes>, Bound<Bytes>) {
    (Bound::Included(vec![kind].into()), Bound::Excluded(vec![kind + 1].into()))
}

pub(super) fn damaged(key: &[u8]) -> DiskError {
    DiskError(format!("the record {} is damaged", key.escape_ascii()))
}

#[cfg(test)]
mod fuzz {
    use dormouse_fuzz::proptest::collection::vec;
    use dormouse_fuzz::proptest::option;
    use dormouse_fuzz::proptest::prelude::*;
    use dormouse_fuzz::{fuzz, mutated};

    use super::*;
    use crate::store::{MemoryEngine, StorageEngine};

    fn address() -> impl Strategy<Value = Address> {
        let name = "[a-z \u{e9}\u{1f600}%/.]{1,100}";
        ("[A-Z_]{1,20}", name).prop_filter_map("a name", |(namespace, name)| Address::new(&namespace, &name).ok())
    }

    fn text() -> impl Strategy<Value = String> {
        vec(any::<char>(), 0..20).prop_map(String::from_iter)
    }

    fn timer_of_a_room() -> impl Strategy<Value = Timer> {
        (text(), any::<u64>(), any::<u32>(), vec(any::<u8>(), 0..50)).prop_map(|(name, at, attempt, payload)| Timer {
            name,
            at,
            attempt,
            payload: payload.into(),
        })
    }

    fn post_of_a_room() -> impl Strategy<Value = Post> {
        let destination = prop_oneof![address().prop_map(Destination::Room), text().prop_map(Destination::Origin)];
        let user = option::of((text(), text()).prop_map(|(id, name)| User { id, name }));
        let head = (text(), text(), option::of(text()), vec((text(), text()), 0..4), user);
        let tries = (any::<u64>(), any::<u32>(), option::of(text()));
        (destination, head, vec(any::<u8>(), 0..50), tries).prop_map(
            |(destination, (method, path, query, headers, user), body, (at, attempt, key))| {
                let access = UserAccess::default();
                let request = Request { method, path, query, headers, body, user, access };
                Post { destination, request, at, attempt, key }
            },
        )
    }

    /// One piece of each kind.
    fn evidence() -> [Evidence; 2] {
        let born = Times::Born { file: 4, mark: 5 };
        let changed = Times::Changed { seconds: -6, nanoseconds: 7 };
        [born, changed].map(|times| Evidence { nonce: 1, inode: 2, mark_inode: 3, times })
    }

    #[test]
    fn incarnations_of_all_versions_are_read_back() {
        let read = |record: Record| {
            let disk = MemoryEngine::default();
            disk.write(vec![record]).unwrap();
            incarnation(&disk).ok().flatten()
        };
        for count in 0..=2 {
            let evidence = &evidence()[..count];
            assert_eq!(read(incarnation_record(Incarnation(9), evidence)), Some((Incarnation(9), evidence.to_vec())));
        }
        let older = [9, 1, 2, (-6_i64).cast_unsigned(), 7, 3].map(u64::to_be_bytes).concat();
        let key = Bytes::from_static(INCARNATION_KEY);
        assert_eq!(read((key.clone(), Some(older.into()))), Some((Incarnation(9), vec![evidence()[1]])));
        assert_eq!(read((key, Some(Bytes::from_static(&[0; 47])))), None);
    }

    #[test]
    fn records_are_read_back_as_written() {
        let numbers = any::<(u64, u64, u64)>();
        let written = (vec(timer_of_a_room(), 0..4), vec((any::<u64>(), post_of_a_room()), 0..4), numbers);
        fuzz(
            (any::<u64>(), address(), address(), written),
            |(id, room_at, sender, (its_timers, its_posts, numbers))| {
                let disk = MemoryEngine::default();
                let (generation, data_version) = (numbers.0 % 3, (numbers.1 % 3) as u32);
                let (epoch, number, bytes) = numbers;
                let record = RoomRecord { id, epoch, number, bytes, generation, data_version };
                let mut records = vec![record.to_record(&room_at), record.name_record(&room_at)];
                let its_timers = its_timers.into_iter().map(|timer| (timer.name.clone(), timer));
                let its_timers =
                    its_timers.collect::<std::collections::BTreeMap<_, _>>().into_values().collect::<Vec<_>>();
                records.extend(its_timers.iter().map(|it| timer(id, &it.name, Some(it))));
                let its_posts = its_posts.into_iter().map(|(number, post)| (PostNumber(number), post));
                let its_posts = its_posts.collect::<std::collections::BTreeMap<_, _>>();
                records.extend(its_posts.iter().map(|(number, it)| post(id, *number, Some(it.clone()))));
                records.push(taken(id, &sender, PostNumber(numbers.1)));
                disk.write(records).unwrap();

                assert_eq!(room(&disk, &room_at).unwrap(), Some(record));
                assert_eq!(last_room(&disk).unwrap(), id);
                assert_eq!(timers(&disk, id).unwrap().collect::<Vec<_>>(), its_timers);
                let found = posts(&disk, id).unwrap();
                assert_eq!(found.len(), its_posts.len());
                assert!(its_posts.iter().all(|(number, it)| found.get(*number) == Some(it)));
                assert_eq!(last_accepted(&disk, id, &sender).unwrap(), Some(PostNumber(numbers.1)));
                assert_eq!(Vec::from_iter(names(&disk, room_at.namespace(), None, 9).unwrap()), [room_at.name()]);
                let mut listed = Vec::new();
                let mut list = |name, record| {
                    listed.push((name, record));
                    true
                };
                rooms(&disk, room_at.namespace(), room_at.name(), None, &mut list).unwrap();
                assert_eq!(listed, [(room_at.name().to_owned(), record)]);
                let due =
                    its_timers.iter().map(|it| it.at).min().into_iter().chain(its_posts.values().map(|it| it.at).min());
                let woken = rooms_to_wake(&disk).unwrap();
                assert!(woken.iter().all(|(address, _)| *address == room_at));
                assert_eq!(woken.iter().map(|(_, at)| *at).min(), due.min());
            },
        );
    }

    /// A disk may hold anything. Reading returns the data, or an error that it is damaged.
    #[test]
    fn a_damaged_record_is_an_error_and_no_panic() {
        let address = Address::new("ROOMS", "lobby").unwrap();
        let record = RoomRecord { id: 1, epoch: 1, number: 1, bytes: 1, generation: 1, data_version: 1 };
        let examples = || {
            let request =
                Request { headers: vec![("a".into(), "b".into())], body: b"body".to_vec(), ..Request::default() };
            let to = Destination::Room(address.clone());
            let it = Post { destination: to, request, at: 7, attempt: 1, key: None };
            let timed = Timer { name: "t".into(), at: 1, attempt: 0, payload: b"note".to_vec().into() };
            [
                record.to_record(&address),
                RoomRecord { generation: 0, data_version: 0, ..record }.name_record(&address),
                deletions_record(Deletions { count: 1, highest: 1 }),
                (id_key(DELETED, 1, b""), Some(Bytes::new())),
                timer(1, "t", Some(&timed)),
                post(1, PostNumber(3), Some(it)),
                taken(1, &address, PostNumber(3)),
                epoch_record(1),
                group_record(1),
                incarnation_record(Incarnation(1), &evidence()),
                secret_record(&[7; 32]),
            ]
        };
        let keys = examples().map(|(key, _)| key);
        let values = examples().map(|(_, value)| value.unwrap());
        let keys = mutated(&keys.each_ref().map(|key| &key[..]));
        let values = mutated(&values.each_ref().map(|value| &value[..]));
        fuzz(vec((keys, values), 1..8), |records| {
            let disk = MemoryEngine::default();
            for (key, value) in &records {
                let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
                let columns = (timer_columns(&key, value.clone()), post_columns(&key, value.clone()));
                let _ = (parse_key(&key), columns, taken_column(&key, &value), room_columns(&key, value));
            }
            disk.write(records.into_iter().map(|(key, value)| (key.into(), Some(value.into()))).collect()).unwrap();
            let _ = (
                epoch(&disk),
                secret(&disk),
                incarnation(&disk),
                last_group(&disk),
                last_room(&disk),
                room(&disk, &address),
                deletions(&disk),
                first_deleted(&disk),
                removals(&disk, 1, 2, 100),
                rooms(&disk, "ROOMS", "", None, &mut |_, _| true),
            );
            let _ = (names(&disk, "ROOMS", None, 100), rooms_to_wake(&disk), last_accepted(&disk, 1, &address));
            for id in [0, 1, u64::MAX] {
                let everything = Range { start: Bound::Unbounded, end: Bound::Unbounded, reverse: false };
                let _ = (timers(&disk, id).map(Iterator::count), posts(&disk, id));
                let _ = scan_entries(&disk, id, &everything, &mut |_, _| true);
            }
        });
    }
}
