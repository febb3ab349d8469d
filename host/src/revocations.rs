//! The revoked users and tokens: a list in memory, and the same list in a file beside the store, or in a table that
//! several servers share.
//!
//! It knows neither the form of tokens nor connections; `edge` asks it for each identity. The file is replaced as a
//! whole, so after a crash it is the old or the new list. If it cannot be read the host does not start, because a
//! revoked user would get in again.
//!
//! A [`Table`] numbers its changes, and this reads those that it does not know. While it could not do so for some time,
//! [`Revocations::are_current`] says so, and the edge lets nobody in.
#![expect(clippy::disallowed_methods, reason = "it owns the file of revocations")]

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock::{self, UnixMillis};
use crate::limits::{REVOCATION_BYTES, REVOCATIONS};
use crate::lock::{Lock, ReadWriteLock};

/// The file's name, in the data directory.
const FILE: &str = "revocations.json";
/// The file's name once its entries are in a table.
const MOVED: &str = "revocations.json.moved";
/// The file's name while it is written.
const UNFINISHED: &str = "revocations.json.unfinished";
/// The longest address of a room, in bytes. Every address that a room can have is shorter.
const ROOM_BYTES: usize = 1_024;
/// The version of the file's format.
const VERSION: u32 = 1;
/// A list that was not compared with its table for so long may miss revocations.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// The tokens that a revocation refuses.
///
/// An issuer's clock may be ahead of ours by at most the leeway; otherwise its tokens are refused anyway. So a token
/// from before a user's revocation can carry an issue time up to the leeway after it. No clock can distinguish it from
/// a token that was really issued then, so both are refused. A user who is let in again needs a token with a later
/// issue time. If the clocks are known to agree, a short leeway makes that time short.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Revoked {
    /// All tokens of a user that may have been issued up to now, and those without an issue time.
    User(RevokedUser),
    /// One token.
    Token(RevokedToken),
    /// A user in one room, with any token, until the revocation is removed.
    Member(RevokedMember),
}

/// A user, by the `sub` of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedUser {
    /// The id.
    pub user: String,
}

/// A token, by its `jti`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedToken {
    /// The `jti`.
    pub jti: String,
    /// When it expires, in Unix seconds: after that it is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
}

/// A user in one room.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedMember {
    /// The user's id.
    pub user: String,
    /// The room, such as `rooms/team-7`: the namespace as in a path, and the name as it is, not encoded.
    pub room: String,
}

impl Revoked {
    /// All tokens of a user that were issued up to now, and those without an issue time.
    pub fn user(id: impl Into<String>) -> Self {
        Revoked::User(RevokedUser { user: id.into() })
    }

    /// One token, for ever.
    pub fn token(id: impl Into<String>) -> Self {
        Revoked::Token(RevokedToken { jti: id.into(), exp: None })
    }

    /// A user in one room, such as `rooms/team-7`.
    pub fn member(user: impl Into<String>, room: impl Into<String>) -> Self {
        Revoked::Member(RevokedMember { user: user.into(), room: room.into() })
    }
}

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Entry {
    /// A user's tokens.
    User {
        /// The user's id.
        user: String,
        /// The last Unix second of refused issue times: the time of the revocation plus the leeway.
        before: u64,
    },
    /// One token.
    Token {
        /// The token's `jti`.
        jti: String,
        /// When it expires, in Unix seconds, if known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exp: Option<u64>,
    },
    /// A user in one room.
    Member {
        /// The user's id.
        user: String,
        /// The room.
        room: String,
    },
}

impl Entry {
    /// The revocation that it came from.
    pub fn revoked(&self) -> Revoked {
        match self {
            Entry::User { user, .. } => Revoked::user(user),
            Entry::Token { jti, exp } => Revoked::Token(RevokedToken { jti: jti.clone(), exp: *exp }),
            Entry::Member { user, room } => Revoked::member(user, room),
        }
    }
}

/// An answer that may take a while.
pub type Waits<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Keeps the list for several servers. Errors are texts for the operator; after one, a change may have happened.
pub trait Table: Send + Sync {
    /// Adds an entry. The longer one counts, if there is one already. Tokens that expired before this Unix second are
    /// forgotten.
    fn add(&self, entry: &Entry, expired_before: u64) -> Waits<Result<Kept, String>>;

    /// Removes a revocation. False if there is none.
    fn remove(&self, revoked: &Revoked) -> Waits<Result<bool, String>>;

    /// The changes behind the last one that is known, or the whole list.
    fn since(&self, known: Option<u64>) -> Waits<Result<Changes, String>>;
}

/// The result of adding to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is durable.
    Yes,
    /// There are too many.
    Full,
}

/// Changes of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The number of the last change.
    pub last: u64,
    /// These are all entries, and what else was known is gone.
    pub is_all: bool,
    /// New entries, and entries that have changed.
    pub added: Vec<Entry>,
    /// Removed ones.
    pub removed: Vec<Revoked>,
}

/// Why a revocation failed, or is weaker than requested.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// No token can have such a name.
    #[error("the id of a user or token must have 1 to {REVOCATION_BYTES} bytes, and a room 1 to {ROOM_BYTES}")]
    Name,
    /// There is no such room.
    #[error("there is no such room: {0}; a revocation names one room, and a `*` in its name is written `\\*`")]
    Room(String),
    /// The list is full.
    #[error(
        "there are {REVOCATIONS} revocations already; remove those that are not needed, and give each token its `exp`"
    )]
    Full,
    /// It is in force, but not on disk.
    #[error("it is in force now, but will not be after a restart: {0}")]
    NotKept(io::Error),
    /// It is in force at this server, and perhaps not in the table.
    #[error("it is in force at this server, and perhaps at no other and not after a restart: {0}; repeat it")]
    NotShared(String),
}

/// Why the list cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
pub struct BadRevocations {
    /// Absent for a table.
    path: Option<PathBuf>,
    problem: String,
}

/// The revocations in force.
pub struct Revocations {
    keeper: Keeper,
    leeway: Duration,
    list: ReadWriteLock<List>,
    /// The number of entries, so that a check costs nothing while there are none.
    len: AtomicUsize,
    /// Held while the file is written, so that a later list is never overwritten by an earlier one.
    writing: Lock<()>,
}

/// Where the list is kept.
enum Keeper {
    /// Nowhere.
    Memory,
    /// In a file of this directory.
    File(PathBuf),
    Table {
        table: Arc<dyn Table>,
        /// Other servers may change it.
        has_others: bool,
        known: Lock<Known>,
    },
}

/// What is known of a table.
#[derive(Default)]
struct Known {
    /// The last change; absent before the first reading.
    last: Option<u64>,
    /// When a reading that succeeded began.
    read_at: Option<Instant>,
}

#[derive(Default)]
struct List {
    /// The last refused second of issue time, by user.
    users: HashMap<String, u64>,
    /// The expiry of each token.
    tokens: HashMap<String, Option<u64>>,
    /// The rooms of each user who was sent out of some.
    members: HashMap<String, BTreeSet<String>>,
}

#[derive(Deserialize, Serialize)]
struct Content {
    version: u32,
    revocations: Vec<Entry>,
}

impl Revocations {
    /// Makes a list that is lost at a restart. Tokens are accepted for `leeway` after their expiry.
    pub fn in_memory(leeway: Duration) -> Self {
        Self::kept_in(Keeper::Memory, leeway)
    }

    /// Opens the list of a directory. It is empty if there is no file.
    pub fn open(directory: &Path, leeway: Duration) -> Result<Self, BadRevocations> {
        let entries = read_file(&directory.join(FILE))?.unwrap_or_default();
        let kept = Self::kept_in(Keeper::File(directory.into()), leeway);
        kept.list.write().extend(entries);
        kept.forget_expired(clock::unix_millis());
        Ok(kept)
    }

    /// Reads the list of a table, which other servers may change if it `has_others`. The file of the directory, which an
    /// earlier release has written, is added to it.
    pub async fn shared(
        table: Arc<dyn Table>,
        has_others: bool,
        directory: Option<&Path>,
        leeway: Duration,
    ) -> Result<Self, BadRevocations> {
        let path = directory.map(|directory| directory.join(FILE));
        let bad = |problem: String| BadRevocations { path: path.clone(), problem };
        let of_file = path.as_deref().map(read_file).transpose()?.flatten();
        let kept = Self::kept_in(Keeper::Table { table: table.clone(), has_others, known: Lock::default() }, leeway);
        for entry in of_file.iter().flatten() {
            let added = table.add(entry, kept.expired_before(clock::unix_millis())).await.map_err(bad)?;
            if added == Kept::Full {
                return Err(bad(RevokeError::Full.to_string()));
            }
        }
        kept.catch_up().await.map_err(BadRevocations::of_table)?;
        if let (Some(path), Some(entries)) = (&path, of_file) {
            tracing::info!(revocations = entries.len(), "the revocations of revocations.json are in the database now");
            // If it stays, the next start adds the same entries again.
            if let Err(error) = fs::rename(path, path.with_file_name(MOVED)) {
                tracing::warn!(%error, "revocations.json cannot be renamed; remove it");
            }
        }
        Ok(kept)
    }

    fn kept_in(keeper: Keeper, leeway: Duration) -> Self {
        let (list, len, writing) = Default::default();
        Revocations { keeper, leeway, list, len, writing }
    }

    /// Whether other servers may change the list.
    pub fn have_others(&self) -> bool {
        matches!(self.keeper, Keeper::Table { has_others: true, .. })
    }

    /// Whether the list has what was revoked up to some seconds ago. False if its table cannot be read, and if this
    /// process was paused.
    pub fn are_current(&self) -> bool {
        match &self.keeper {
            Keeper::Memory | Keeper::File(_) | Keeper::Table { has_others: false, .. } => true,
            Keeper::Table { known, .. } => known.lock().read_at.is_some_and(|at| clock::since(at) < STALE_AFTER),
        }
    }

    /// Reads what is new in the table. Returns whether there is something: then open sockets may have to be closed.
    ///
    /// Fails: if the table cannot be read.
    pub async fn catch_up(&self) -> Result<bool, String> {
        let Keeper::Table { table, known, .. } = &self.keeper else { return Ok(false) };
        let began = clock::monotonic();
        let last = known.lock().last;
        let changes = table.since(last).await?;
        let mut known = known.lock();
        known.read_at = known.read_at.max(Some(began));
        // Another reading may have come further meanwhile: this one brings nothing then.
        if !changes.is_all && known.last.is_some_and(|last| changes.last < last) {
            return Ok(false);
        }
        known.last = Some(changes.last);
        let is_new = !changes.added.is_empty();
        let mut list = self.list.write();
        if changes.is_all {
            *list = List::default();
        }
        for removed in &changes.removed {
            list.take(removed);
        }
        list.extend(changes.added);
        self.len.store(list.len(), Ordering::Release);
        Ok(is_new)
    }

    /// Returns whether a token is refused, by its user, its issue time and its name, as far as they are known.
    pub fn hold(&self, user: &str, issued_at: Option<UnixMillis>, token: Option<&str>) -> bool {
        if self.is_empty() {
            return false;
        }
        let list = self.list.read();
        let of_user = list.users.get(user).is_some_and(|before| issued_at.is_none_or(|at| at / 1_000 <= *before));
        of_user || token.is_some_and(|token| list.tokens.contains_key(token))
    }

    /// Returns whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    /// Returns whether a user was sent out of a room.
    pub fn hold_member(&self, user: &str, room: &str) -> bool {
        if self.is_empty() {
            return false;
        }
        self.list.read().members.get(user).is_some_and(|rooms| rooms.contains(room))
    }

    /// Adds a revocation. It is in force and kept when this returns. With a table it needs a tokio runtime; otherwise it
    /// blocks while the disk works.
    pub async fn add(self: &Arc<Self>, revoked: Revoked) -> Result<(), RevokeError> {
        let now = clock::unix_millis();
        let Keeper::Table { table, .. } = &self.keeper else {
            let this = self.clone();
            let added = tokio::task::spawn_blocking(move || this.add_at(revoked, now)).await;
            return added.expect("adding to a list does not panic");
        };
        if !revoked.may_be_kept() {
            return Err(RevokeError::Name);
        }
        let entry = self.entry_of(revoked.clone(), now);
        let added = table.add(&entry, self.expired_before(now)).await;
        match added {
            Ok(Kept::Yes) => {}
            Ok(Kept::Full) => return Err(RevokeError::Full),
            // It may be in the table or not.
            Err(problem) => {
                self.put(revoked, now)?;
                return Err(RevokeError::NotShared(problem));
            }
        }
        // It is in force here whatever the reading brings.
        self.put(revoked, now)?;
        self.catch_up().await.map(drop).map_err(RevokeError::NotShared)
    }

    /// Takes a revocation that another server has added to the table.
    pub async fn add_of_other(self: &Arc<Self>, revoked: Revoked) -> Result<(), RevokeError> {
        if !self.have_others() {
            return self.add(revoked).await;
        }
        match self.catch_up().await {
            Ok(_) => Ok(()),
            // The other one has told what is in the table.
            Err(_) => self.put(revoked, clock::unix_millis()),
        }
    }

    fn add_at(&self, revoked: Revoked, now: UnixMillis) -> Result<(), RevokeError> {
        let writing = self.writing.lock();
        self.put(revoked, now)?;
        let written = self.write();
        drop(writing);
        written.map_err(RevokeError::NotKept)
    }

    /// Puts a revocation on the list in memory.
    fn put(&self, revoked: Revoked, now: UnixMillis) -> Result<(), RevokeError> {
        if !revoked.may_be_kept() {
            return Err(RevokeError::Name);
        }
        self.forget_expired(now);
        let mut list = self.list.write();
        if list.len() >= REVOCATIONS && !list.has(&revoked) {
            return Err(RevokeError::Full);
        }
        match self.entry_of(revoked, now) {
            Entry::User { user, before } => {
                let known = list.users.entry(user).or_default();
                *known = (*known).max(before);
            }
            Entry::Token { jti, exp } => {
                // A token that is refused for ever, or for longer, stays so.
                let longest = |old: &mut Option<u64>| *old = old.zip(exp).map(|(old, new)| old.max(new));
                list.tokens.entry(jti).and_modify(longest).or_insert(exp);
            }
            Entry::Member { user, room } => {
                list.members.entry(user).or_default().insert(room);
            }
        }
        self.len.store(list.len(), Ordering::Release);
        Ok(())
    }

    /// The entry that a revocation makes now.
    fn entry_of(&self, revoked: Revoked, now: UnixMillis) -> Entry {
        match revoked {
            Revoked::User(RevokedUser { user }) => {
                Entry::User { user, before: now.saturating_add(self.leeway_ms()) / 1_000 }
            }
            Revoked::Token(RevokedToken { jti, exp }) => Entry::Token { jti, exp },
            Revoked::Member(RevokedMember { user, room }) => Entry::Member { user, room },
        }
    }

    /// Tokens that expired before this Unix second are refused by their expiry alone.
    fn expired_before(&self, now: UnixMillis) -> u64 {
        now.saturating_sub(self.leeway_ms()) / 1_000
    }

    /// Removes a revocation, so that its tokens are accepted from now on. False if it is not on the list. If it cannot be
    /// kept, the list stays as it was.
    pub async fn remove(self: &Arc<Self>, revoked: &Revoked) -> Result<bool, io::Error> {
        let Keeper::Table { table, .. } = &self.keeper else {
            let (this, revoked) = (self.clone(), revoked.clone());
            let removed = tokio::task::spawn_blocking(move || this.remove_from_file(&revoked)).await;
            return removed.expect("removing from a list does not panic");
        };
        let removed = table.remove(revoked).await.map_err(io::Error::other)?;
        self.catch_up().await.map_err(io::Error::other)?;
        Ok(removed)
    }

    /// Takes a removal that another server has made in the table. False if it was not on the list.
    pub async fn remove_of_other(self: &Arc<Self>, revoked: &Revoked) -> Result<bool, io::Error> {
        if self.have_others() {
            return self.catch_up().await.map_err(io::Error::other);
        }
        self.remove(revoked).await
    }

    fn remove_from_file(&self, revoked: &Revoked) -> Result<bool, io::Error> {
        let _writing = self.writing.lock();
        let removed = self.list.write().take(revoked);
        let Some(removed) = removed else { return Ok(false) };
        let written = self.write();
        let mut list = self.list.write();
        if written.is_err() {
            list.extend([removed]);
        }
        self.len.store(list.len(), Ordering::Release);
        written.map(|()| true)
    }

    /// All revocations: users first, each kind sorted by name.
    pub fn list(&self) -> Vec<Entry> {
        self.forget_expired(clock::unix_millis());
        self.list.read().entries()
    }

    /// Forgets expired tokens: they are refused anyway.
    fn forget_expired(&self, now: UnixMillis) {
        let leeway = self.leeway_ms();
        let is_over = |exp: u64| exp.saturating_mul(1_000).saturating_add(leeway) <= now;
        let mut list = self.list.write();
        list.tokens.retain(|_, exp| !exp.is_some_and(is_over));
        self.len.store(list.len(), Ordering::Release);
    }

    fn leeway_ms(&self) -> u64 {
        u64::try_from(self.leeway.as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes a new file to the disk and puts it in the place of the old one.
    fn write(&self) -> io::Result<()> {
        match &self.keeper {
            Keeper::File(directory) => self.copy_to(directory),
            Keeper::Memory | Keeper::Table { .. } => Ok(()),
        }
    }

    /// Writes the list as the file of a directory, where a server without a table finds it. Blocks while the disk works.
    pub fn copy_to(&self, directory: &Path) -> io::Result<()> {
        let kept = Content { version: VERSION, revocations: self.list.read().entries() };
        let json = serde_json::to_vec(&kept).expect("texts and numbers become JSON");
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let unfinished = directory.join(UNFINISHED);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(&unfinished, directory.join(FILE))?;
        // The rename is on disk only after its directory is synced.
        File::open(directory)?.sync_all()
    }
}

impl BadRevocations {
    fn of_table(problem: String) -> Self {
        BadRevocations { path: None, problem }
    }
}

impl fmt::Display for BadRevocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BadRevocations { path, problem } = self;
        match path {
            Some(path) => write!(
                f,
                "the revocations in {} cannot be read: {problem}; put back a copy, or remove the file to revoke nothing",
                path.display()
            ),
            None => write!(f, "the revocations in the database cannot be read: {problem}"),
        }
    }
}

/// The entries of a file; absent if there is none.
fn read_file(path: &Path) -> Result<Option<Vec<Entry>>, BadRevocations> {
    let bad = |problem: String| BadRevocations { path: Some(path.into()), problem };
    match fs::read(path) {
        Ok(json) => {
            let kept = serde_json::from_slice::<Content>(&json).map_err(|error| bad(error.to_string()))?;
            if kept.version != VERSION {
                return Err(bad(format!("their format has the version {} and not {VERSION}", kept.version)));
            }
            Ok(Some(kept.revocations))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(bad(error.to_string())),
    }
}

impl Revoked {
    /// The kind of a revocation, `user`, `jti` or `member`, and its id: for the log.
    pub(crate) fn parts(&self) -> (&'static str, Cow<'_, str>) {
        match self {
            Revoked::User(RevokedUser { user }) => ("user", user.into()),
            Revoked::Token(RevokedToken { jti, .. }) => ("jti", jti.into()),
            Revoked::Member(RevokedMember { user, room }) => ("member", format!("{user} in {room}").into()),
        }
    }

    /// Whether its names have a length that the list takes.
    fn may_be_kept(&self) -> bool {
        let is_id = |id: &str| (1..=REVOCATION_BYTES).contains(&id.len());
        match self {
            Revoked::User(RevokedUser { user }) => is_id(user),
            Revoked::Token(RevokedToken { jti, .. }) => is_id(jti),
            Revoked::Member(RevokedMember { user, room }) => is_id(user) && (1..=ROOM_BYTES).contains(&room.len()),
        }
    }
}

impl List {
    fn len(&self) -> usize {
        self.users.len() + self.tokens.len() + self.members.values().map(BTreeSet::len).sum::<usize>()
    }

    /// Removes the entry of a revocation, and returns it.
    fn take(&mut self, revoked: &Revoked) -> Option<Entry> {
        match revoked {
            Revoked::User(RevokedUser { user }) => {
                self.users.remove_entry(user).map(|(user, before)| Entry::User { user, before })
            }
            Revoked::Token(RevokedToken { jti, .. }) => {
                self.tokens.remove_entry(jti).map(|(jti, exp)| Entry::Token { jti, exp })
            }
            Revoked::Member(RevokedMember { user, room }) => self.remove_member(user, room),
        }
    }

    fn remove_member(&mut self, user: &str, room: &str) -> Option<Entry> {
        let rooms = self.members.get_mut(user)?;
        let room = rooms.take(room)?;
        if rooms.is_empty() {
            self.members.remove(user);
        }
        Some(Entry::Member { user: user.to_owned(), room })
    }

    fn has(&self, revoked: &Revoked) -> bool {
        match revoked {
            Revoked::User(RevokedUser { user }) => self.users.contains_key(user),
            Revoked::Token(RevokedToken { jti, .. }) => self.tokens.contains_key(jti),
            Revoked::Member(RevokedMember { user, room }) => {
                self.members.get(user).is_some_and(|rooms| rooms.contains(room))
            }
        }
    }

    fn extend(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            match entry {
                Entry::User { user, before } => drop(self.users.insert(user, before)),
                Entry::Token { jti, exp } => drop(self.tokens.insert(jti, exp)),
                Entry::Member { user, room } => drop(self.members.entry(user).or_default().insert(room)),
            }
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let mut users = self.users.iter().collect::<Vec<_>>();
        let mut tokens = self.tokens.iter().collect::<Vec<_>>();
        let mut members = self.members.iter().collect::<Vec<_>>();
        users.sort_unstable();
        tokens.sort_unstable();
        members.sort_unstable();
        let users = users.into_iter().map(|(user, before)| Entry::User { user: user.clone(), before: *before });
        let tokens = tokens.into_iter().map(|(jti, exp)| Entry::Token { jti: jti.clone(), exp: *exp });
        let members = members.into_iter().flat_map(|(user, rooms)| rooms.iter().map(move |room| (user, room)));
        let members = members.map(|(user, room)| Entry::Member { user: user.clone(), room: room.clone() });
        users.chain(tokens).chain(members).collect()
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const LEEWAY: Duration = Duration::from_secs(30);
    const NOW_S: u64 = 1_800_000_000;

    fn add(revocations: &Revocations, revoked: Revoked) -> Result<(), RevokeError> {
        revocations.add_at(revoked, clock::unix_millis())
    }

    fn token_until(jti: &str, exp: u64) -> Revoked {
        Revoked::Token(RevokedToken { jti: jti.into(), exp: Some(exp) })
    }

    #[test]
    fn a_revocation_covers_older_tokens_and_no_newer_ones() {
        let revocations = Revocations::in_memory(Duration::ZERO);
        revocations.add_at(Revoked::user("1"), NOW_S * 1_000 + 700).unwrap();
        let out = |at_s: u64| revocations.hold("1", Some(at_s * 1_000), None);
        assert!(out(NOW_S - 1) && out(NOW_S), "in the same second it may have been before");
        assert!(!out(NOW_S + 1));
        assert!(revocations.hold("1", None, None), "it does not say when it was issued");
        assert!(!revocations.hold("2", None, Some("1")));
        // The clock went back: earlier revocations stay in force.
        revocations.add_at(Revoked::user("1"), (NOW_S - 100) * 1_000).unwrap();
        assert!(out(NOW_S));
    }

    #[test]
    fn a_revocation_covers_tokens_within_the_leeway() {
        let revocations = Revocations::in_memory(LEEWAY);
        revocations.add_at(Revoked::user("1"), NOW_S * 1_000).unwrap();
        let out = |at_ms: u64| revocations.hold("1", Some(at_ms), None);
        let latest = (NOW_S + LEEWAY.as_secs()) * 1_000;
        assert!(out(NOW_S * 1_000 + 20_000) && out(latest), "it may have been issued before");
        assert!(!out(latest + 1_000), "no token that was accepted before can say so");
        let endless = Revocations::in_memory(Duration::MAX);
        endless.add_at(Revoked::user("1"), NOW_S * 1_000).unwrap();
        assert!(endless.hold("1", Some(latest), None));
    }

    #[test]
    fn a_token_is_revoked_by_its_id_alone() {
        let revocations = Revocations::in_memory(LEEWAY);
        add(&revocations, Revoked::token("a")).unwrap();
        assert!(revocations.hold("1", Some(u64::MAX), Some("a")));
        assert!(!revocations.hold("a", None, Some("b")) && !revocations.hold("a", None, None));
        assert!(revocations.remove_from_file(&Revoked::token("a")).unwrap());
        assert!(!revocations.hold("1", None, Some("a")));
        assert!(!revocations.remove_from_file(&Revoked::token("a")).unwrap());
    }

    #[test]
    fn a_revocation_for_one_room_ends_when_it_is_removed() {
        let directory = TempDir::new().unwrap();
        let revocations = Revocations::open(directory.path(), LEEWAY).unwrap();
        let team = Revoked::member("1", "rooms/team-7");
        for revoked in [team.clone(), Revoked::member("1", "rooms/b"), Revoked::member("2", "rooms/b"), team.clone()] {
            add(&revocations, revoked).unwrap();
        }
        let again = Revocations::open(directory.path(), LEEWAY).unwrap();
        assert_eq!(again.list(), revocations.list());
        assert_eq!((again.list().len(), again.list.read().len()), (3, 3));
        assert!(again.hold_member("1", "rooms/team-7") && again.hold_member("1", "rooms/b"));
        assert!(!again.hold_member("2", "rooms/team-7") && !again.hold_member("rooms/team-7", "1"));
        assert!(!again.hold("1", None, None), "everywhere else the user may stay");
        assert!(again.remove_from_file(&team).unwrap());
        assert!(!again.hold_member("1", "rooms/team-7") && again.hold_member("1", "rooms/b"));
        assert!(!again.remove_from_file(&team).unwrap());
        assert!(matches!(add(&again, Revoked::member("1", "")), Err(RevokeError::Name)));
    }

    #[test]
    fn revocations_are_dropped_after_expiry_and_leeway() {
        let revocations = Revocations::in_memory(LEEWAY);
        revocations.add_at(token_until("a", NOW_S), NOW_S * 1_000).unwrap();
        revocations.add_at(token_until("b", NOW_S + 1), NOW_S * 1_000).unwrap();
        revocations.forget_expired((NOW_S + 30) * 1_000 - 1);
        assert_eq!(revocations.list.read().len(), 2);
        revocations.forget_expired((NOW_S + 30) * 1_000);
        assert_eq!(revocations.list.read().entries(), [Entry::Token { jti: "b".into(), exp: Some(NOW_S + 1) }]);
        // The longer one counts, in either order.
        revocations.add_at(Revoked::token("b"), NOW_S * 1_000).unwrap();
        revocations.add_at(token_until("b", NOW_S + 2), NOW_S * 1_000).unwrap();
        assert_eq!(revocations.list.read().entries(), [Entry::Token { jti: "b".into(), exp: None }]);
    }

    #[test]
    fn a_full_list_refuses_only_new_entries() {
        let revocations = Revocations::in_memory(LEEWAY);
        let all = (0..REVOCATIONS).map(|number| Entry::User { user: number.to_string(), before: 1 });
        revocations.list.write().extend(all);
        assert!(matches!(add(&revocations, Revoked::user("new")), Err(RevokeError::Full)));
        add(&revocations, Revoked::user("7")).unwrap();
        revocations.remove_from_file(&Revoked::user("8")).unwrap();
        add(&revocations, Revoked::user("new")).unwrap();
        assert!(matches!(add(&revocations, Revoked::token("newer")), Err(RevokeError::Full)));
    }

    #[test]
    fn empty_and_oversized_ids_are_refused() {
        let revocations = Revocations::in_memory(LEEWAY);
        for name in [String::new(), "x".repeat(REVOCATION_BYTES + 1)] {
            assert!(matches!(add(&revocations, Revoked::user(&name)), Err(RevokeError::Name)));
            assert!(matches!(add(&revocations, Revoked::token(&name)), Err(RevokeError::Name)));
        }
    }

    #[test]
    fn the_list_survives_a_restart() {
        let directory = TempDir::new().unwrap();
        let data = directory.path().join("data");
        let first = Revocations::open(&data, LEEWAY).unwrap();
        add(&first, Revoked::user("1")).unwrap();
        add(&first, token_until("a", u64::MAX)).unwrap();
        add(&first, token_until("past", 1)).unwrap();
        add(&first, Revoked::user("2")).unwrap();
        first.remove_from_file(&Revoked::user("2")).unwrap();
        let second = Revocations::open(&data, LEEWAY).unwrap();
        assert_eq!(second.list(), first.list());
        assert!(second.hold("1", None, None) && second.hold("x", None, Some("a")));
        assert!(!second.hold("2", None, None) && !second.hold("x", None, Some("past")));
        assert!(!data.join(UNFINISHED).exists());
    }

    #[test]
    fn an_unfinished_file_is_ignored_and_a_damaged_one_is_refused() {
        let directory = TempDir::new().unwrap();
        add(&Revocations::open(directory.path(), LEEWAY).unwrap(), Revoked::user("1")).unwrap();
        fs::write(directory.path().join(UNFINISHED), "{\"versi").unwrap();
        assert!(Revocations::open(directory.path(), LEEWAY).unwrap().hold("1", None, None));
        for damaged in
            ["", "{\"version\":1,\"revocations\":[{\"user\":\"1\"", "{\"version\":2,\"revocations\":[]}", "[]"]
        {
            fs::write(directory.path().join(FILE), damaged).unwrap();
            let error = Revocations::open(directory.path(), LEEWAY).err().expect("it is damaged").to_string();
            assert!(error.contains("remove the file"), "{damaged}: {error}");
        }
    }

    #[test]
    fn unsaved_revocations_apply_and_failed_removals_do_not() {
        let directory = TempDir::new().unwrap();
        let revocations = Revocations::open(directory.path(), LEEWAY).unwrap();
        add(&revocations, Revoked::user("1")).unwrap();
        // A directory in the place of the file that is to be written.
        fs::create_dir(directory.path().join(UNFINISHED)).unwrap();
        assert!(matches!(add(&revocations, Revoked::user("2")), Err(RevokeError::NotKept(_))));
        assert!(revocations.hold("2", None, None));
        assert!(revocations.remove_from_file(&Revoked::user("1")).is_err());
        assert!(revocations.hold("1", None, None));
    }
}
