//! Adds reports of use to the stored hours, in commits of a bounded size that share the syncs of rooms. It also ends
//! the levels of a process that was killed, and removes old hours.
//!
//! The background task of `room` owns the one writer, and calls it on a thread that may block.
//!
//! Where several servers share the store, a commit changes its records only if they are as they were read, and is merged
//! anew if they are not. One of its records has a number that no other commit has, so one without an answer is known by it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::{
    ALIVE, HOURS, KEPT_HOURS, KIND, LEVELS, Levels, OWN, alive_key, beginning_with, by_of, ended, ended_subject,
    hour_prefix, level_prefix, levels_value, numbers, own_key, own_prefix, read_levels, read_own, read_usage,
    usage_value, with_subject,
};
use crate::clock::UnixMillis;
use crate::limits::USAGE_NAMES_AN_HOUR;
use crate::model::{
    Address, Hour, LevelChange, RoomReport, StorageFailed, Usage, UsageBy, UsageSubject, UserReport, hour_of,
};
use crate::store::Store;
use crate::store::commit::{Commit, CommitListener, Receipt};
use crate::store::engine::{Record, StorageReader};
use crate::store::error::{CommitError, DiskError, unreadable};
use crate::store::postgres::{Exchange, Exchanged, Tables};

/// The records of one commit at about most: rooms wait for the same sync, and it takes no longer for 200 KB more.
const RECORDS_A_COMMIT: usize = 2_000;
/// Levels that are examined at once after a start, and old hours that are removed at once.
const SWEPT_RECORDS: usize = 2_000;
/// Hours behind the kept ones of which something may still be stored: a day in which nothing was removed.
const SWEPT_HOURS: Hour = 24;
/// How often a commit is merged anew because other servers have changed its records. Each writes twice a minute.
const MERGES: usize = 64;
/// How often a commit is tried that had no answer.
const TRIES: usize = 3;

/// The reason why a report was not stored.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// The stored usage cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageFailed),
    /// Nothing can be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Other servers have changed the same records each time.
    #[error("other servers change the usage all the time")]
    Busy,
}

/// The beginning of all levels.
fn first_level() -> Bound<Bytes> {
    Bound::Included(Bytes::from_static(&[KIND, LEVELS]))
}

/// The servers that live, by the numbers of their starts.
fn living(store: &Store) -> BTreeSet<u64> {
    let others = store.membership().map(|membership| membership.living());
    let others = others.iter().flat_map(|living| living.iter().map(|row| row.node.0));
    others.chain([store.epoch()]).collect()
}

/// The only writer of usage.
pub struct UsageWriter {
    store: Store,
    /// How many subjects an hour has.
    counts: HashMap<(Hour, UsageBy), usize>,
    /// Levels above 0 of this process; while there are some, it must be known how long it lived.
    open: i64,
    /// Where the search for levels of killed processes goes on; absent once it is done.
    sweep: Option<Bound<Bytes>>,
    /// The servers that lived when the search began, with this one. A new search begins when one of them has ended.
    living: BTreeSet<u64>,
    /// Absent if no other server writes.
    tables: Option<Tables>,
    /// How many commits were tried.
    tried: u64,
}

/// The times of a report: for hours, and for steps of levels.
#[derive(Debug, Clone, Copy)]
struct Now {
    unix: UnixMillis,
    steady: u64,
}

impl UsageWriter {
    pub(in crate::store) fn new(store: Store) -> Self {
        let (living, tables) = (living(&store), store.tables());
        UsageWriter { store, counts: HashMap::new(), open: 0, sweep: Some(first_level()), living, tables, tried: 0 }
    }

    /// Adds reports, as of these times of the system clock and the steady clock. They are durable when this returns.
    /// Blocks.
    ///
    /// Fails: if the disk has no space, cannot be read or is broken. Reports that were not written are lost.
    pub fn write(
        &mut self,
        rooms: Vec<(Address, RoomReport)>,
        users: Vec<(String, UserReport)>,
        unix: UnixMillis,
        steady: u64,
    ) -> Result<(), NotWritten> {
        let now = Now { unix, steady };
        let (mut rooms, mut users) = (rooms.into_iter().peekable(), users.into_iter().peekable());
        self.counts.retain(|(hour, _), _| *hour >= hour_of(unix).saturating_sub(1));
        let is_something = rooms.peek().is_some() || users.peek().is_some();
        while rooms.peek().is_some() || users.peek().is_some() {
            // The commit may be merged several times.
            let (mut taken_rooms, mut taken_users) = (Vec::new(), Vec::new());
            self.commit(now, |merge| {
                let mut namespaces = BTreeMap::<Arc<str>, NamespaceReport>::new();
                let (mut next_room, mut next_user) = (0, 0);
                while let Some((address, report)) = next_of(&mut taken_rooms, &mut next_room, &mut rooms, merge) {
                    let stored = merge.room(address, report)?;
                    let namespace = namespaces.entry(address.namespace().into()).or_default();
                    namespace.usage.add(&report.usage);
                    namespace.bytes += stored;
                    namespace.asleep.add(report.asleep);
                }
                while let Some((user, report)) = next_of(&mut taken_users, &mut next_user, &mut users, merge) {
                    merge.user(user, report)?;
                }
                namespaces.iter().try_for_each(|(name, report)| merge.namespace(name, report))
            })?;
        }
        self.end_killed(now)?;
        self.remove_old(now)?;
        if self.open > 0 && !is_something {
            self.commit(now, |_| Ok(()))?;
        }
        Ok(())
    }

    /// Moves the stored use of a user to the users without a row of their own, hour by hour, so that the sums stay. It
    /// is durable when this returns. A user with open sockets has a row again once they end. Blocks.
    pub fn forget_user(&mut self, user: &str, unix: UnixMillis, steady: u64) -> Result<(), NotWritten> {
        if user.is_empty() {
            return Ok(());
        }
        let subject = UsageSubject::User(user.into()).key();
        self.commit(Now { unix, steady }, |merge| merge.forget_user(&subject))
    }

    /// Ends the levels of processes that were killed, some records at a time.
    fn end_killed(&mut self, now: Now) -> Result<(), NotWritten> {
        let living = living(&self.store);
        if !self.living.is_subset(&living) {
            self.sweep = Some(first_level());
        }
        if self.sweep == Some(first_level()) {
            self.living.clone_from(&living);
        }
        let Some(start) = self.sweep.clone() else { return Ok(()) };
        let (mut last, mut seen, mut killed) = (None, 0, Vec::new());
        self.read(|disk| {
            let (_, end) = beginning_with(&[KIND, OWN]);
            let mut failed = Ok(());
            disk.scan((start, end), false, &mut |key, value| {
                match read_levels(&key, &value) {
                    Ok(levels) if !living.contains(&levels.epoch) && levels.asleep + levels.sockets > 0 => {
                        killed.push(key.clone())
                    }
                    Ok(_) => {}
                    Err(error) => failed = Err(error),
                }
                seen += 1;
                last = Some(key);
                failed.is_ok() && seen < SWEPT_RECORDS
            })?;
            failed
        })?;
        for keys in killed.chunks(RECORDS_A_COMMIT) {
            self.commit(now, |merge| keys.iter().try_for_each(|key| merge.touch(key)))?;
        }
        if seen == SWEPT_RECORDS {
            self.sweep = last.map(Bound::Excluded);
            return Ok(());
        }
        self.sweep = None;
        // No level of an earlier process is left, so how long it lived is not needed any more.
        let mut over = Vec::new();
        self.read(|disk| {
            disk.scan(beginning_with(&[KIND, ALIVE]), false, &mut |key, _| {
                let epoch = key.split_last_chunk::<8>().map(|(_, epoch)| u64::from_be_bytes(*epoch));
                let is_over = |epoch: &u64| !living.contains(epoch) && !self.living.contains(epoch);
                if epoch.is_some_and(|epoch| is_over(&epoch)) {
                    over.push((key, None));
                }
                over.len() < SWEPT_RECORDS
            })
        })?;
        if over.is_empty() { Ok(()) } else { self.submit(over) }
    }

    fn remove_old(&mut self, now: Now) -> Result<(), NotWritten> {
        let oldest = hour_of(now.unix).saturating_sub(KEPT_HOURS);
        let (begin, _) = beginning_with(&[KIND, HOURS]);
        let mut end = vec![KIND, HOURS];
        end.extend(oldest.to_be_bytes());
        self.remove((begin, Bound::Excluded(end.into())))
    }

    /// Removes the first records of a range.
    fn remove(&mut self, range: (Bound<Bytes>, Bound<Bytes>)) -> Result<(), NotWritten> {
        let mut old = Vec::new();
        self.read(|disk| {
            disk.scan(range, false, &mut |key, _| {
                old.push((key, None));
                old.len() < SWEPT_RECORDS
            })
        })?;
        if old.is_empty() { Ok(()) } else { self.submit(old) }
    }

    /// Merges something into the stored records, and waits until that is durable. If another server has changed one of
    /// them meanwhile, `fill` is called again.
    fn commit(
        &mut self,
        now: Now,
        mut fill: impl FnMut(&mut Merge<'_>) -> Result<(), DiskError>,
    ) -> Result<(), NotWritten> {
        let mut lost = 0;
        for _ in 0..MERGES {
            let counts = self.counts.clone();
            let (records, opened) = self.merge(now, &mut fill)?;
            let is_done = match self.tables.clone() {
                None => {
                    let plain = records.into_iter().map(|record| (record.key, record.after)).collect();
                    self.submit(plain).map(|()| true)
                }
                Some(tables) => self.exchange(&tables, &records),
            };
            match is_done {
                Ok(true) => {
                    self.open += opened;
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) if self.tables.is_none() || lost + 1 >= TRIES => return Err(error),
                Err(_) => lost += 1,
            }
            self.counts = counts;
        }
        Err(NotWritten::Busy)
    }

    fn merge(
        &mut self,
        now: Now,
        fill: &mut impl FnMut(&mut Merge<'_>) -> Result<(), DiskError>,
    ) -> Result<(Vec<Exchange>, i64), NotWritten> {
        let (epoch, store, is_shared) = (self.store.epoch(), self.store.clone(), self.tables.is_some());
        self.tried += 1;
        let (counts, tried) = (&mut self.counts, self.tried);
        let merged = store.0.read_all(|disk| {
            let (hours, levels, before, removed) = Default::default();
            let mut merge = Merge { disk, now, epoch, is_shared, counts, opened: 0, hours, levels, before, removed };
            let filled = fill(&mut merge).and_then(|()| {
                let opened = merge.opened;
                Ok((merge.into_records(tried)?, opened))
            });
            filled.map_err(|error| unreadable("the usage", &"all rooms", &error))
        })?;
        Ok(merged)
    }

    /// Changes records that other servers may change. False if one of them has.
    fn exchange(&self, tables: &Tables, records: &[Exchange]) -> Result<bool, NotWritten> {
        if let Some(refuses) = self.store.refuses() {
            return Err(refuses.into());
        }
        let exchanged = Handle::current().block_on(tables.exchange(records));
        let error = match exchanged {
            Ok(Exchanged::Yes) => return Ok(true),
            Ok(Exchanged::Differs) => return Ok(false),
            Err(error) => error,
        };
        // Only this commit writes this value of the record that says how long this server lives.
        let alive = alive_key(self.store.epoch());
        let written = records.iter().find(|record| record.key == alive).and_then(|record| record.after.clone());
        if self.read(|disk| disk.get(&alive))? == written {
            return Ok(true);
        }
        Err(CommitError::Refused(error.to_string()).into())
    }

    fn submit(&self, records: Vec<Record>) -> Result<(), NotWritten> {
        if let Some(refuses) = self.store.refuses() {
            return Err(refuses.into());
        }
        let (sender, durable) = sync_channel(1);
        let listener = Arc::new(Waiting(sender));
        self.store.0.truth.commit(Commit::of_store(records, listener))?;
        let lost = |_: mpsc::RecvError| CommitError::Failed("the commit thread has ended".into());
        Ok(durable.recv().map_err(lost)??)
    }

    fn read<T>(&self, read: impl FnOnce(&dyn StorageReader) -> Result<T, DiskError>) -> Result<T, StorageFailed> {
        self.store.0.read_all(|disk| read(disk).map_err(|error| unreadable("the usage", &"all rooms", &error)))
    }
}

/// Waits for a commit.
struct Waiting(SyncSender<Result<(), CommitError>>);

impl CommitListener for Waiting {
    fn committed(&self, _: Receipt, _: bool) {
        // The writer may have gone.
        let _ = self.0.try_send(Ok(()));
    }

    fn failed(&self, error: &CommitError) {
        let _ = self.0.try_send(Err(error.clone()));
    }
}

/// The usage of the rooms of a namespace.
#[derive(Default)]
struct NamespaceReport {
    usage: Usage,
    /// The growth of their storage.
    bytes: i64,
    asleep: LevelChange,
}

/// The next of some reports: one that was taken before, or one more as long as the merge has space.
fn next_of<'a, T>(
    taken: &'a mut Vec<T>,
    next: &mut usize,
    more: &mut impl Iterator<Item = T>,
    merge: &Merge<'_>,
) -> Option<&'a T> {
    if *next == taken.len() {
        if merge.is_full() {
            return None;
        }
        taken.push(more.next()?);
    }
    *next += 1;
    taken.get(*next - 1)
}

/// Stored records with what was added to them.
struct Merge<'a> {
    disk: &'a dyn StorageReader,
    now: Now,
    epoch: u64,
    /// Other servers write too.
    is_shared: bool,
    counts: &'a mut HashMap<(Hour, UsageBy), usize>,
    /// Levels that are above 0 now and were not before.
    opened: i64,
    hours: BTreeMap<Bytes, Usage>,
    levels: BTreeMap<Bytes, Levels>,
    removed: BTreeSet<Bytes>,
    /// The records as they were read.
    before: BTreeMap<Bytes, Option<Bytes>>,
}

impl Merge<'_> {
    fn is_full(&self) -> bool {
        self.hours.len() + self.levels.len() >= RECORDS_A_COMMIT
    }

    fn get(&mut self, key: &Bytes) -> Result<Option<Bytes>, DiskError> {
        let value = self.disk.get(key)?;
        self.before.entry(key.clone()).or_insert_with(|| value.clone());
        Ok(value)
    }

    /// Adds what a room has used. Returns by how much its storage grew.
    fn room(&mut self, address: &Address, report: &RoomReport) -> Result<i64, DiskError> {
        let subject = UsageSubject::Room(address.clone()).key();
        let mut levels = self.settle(UsageBy::Room, &subject, report.asleep, LevelChange::default())?;
        let grown = report.bytes.cast_signed().saturating_sub(levels.bytes.cast_signed());
        levels.bytes = report.bytes;
        self.set_levels(UsageBy::Room, &subject, levels);
        self.add(UsageBy::Room, &subject, hour_of(self.now.unix), &report.usage)?;
        Ok(grown)
    }

    fn namespace(&mut self, name: &str, report: &NamespaceReport) -> Result<(), DiskError> {
        let subject = UsageSubject::Namespace(name.into()).key();
        let mut levels = self.settle(UsageBy::Namespace, &subject, report.asleep, LevelChange::default())?;
        levels.bytes = levels.bytes.saturating_add_signed(report.bytes);
        self.set_levels(UsageBy::Namespace, &subject, levels);
        self.add(UsageBy::Namespace, &subject, hour_of(self.now.unix), &report.usage)
    }

    fn user(&mut self, id: &str, report: &UserReport) -> Result<(), DiskError> {
        let subject = UsageSubject::User(id.into()).key();
        let levels = self.settle(UsageBy::User, &subject, LevelChange::default(), report.sockets)?;
        self.set_levels(UsageBy::User, &subject, levels);
        self.add(UsageBy::User, &subject, hour_of(self.now.unix), &report.usage)
    }

    /// Ends the levels of a record whose process was killed.
    fn touch(&mut self, key: &Bytes) -> Result<(), DiskError> {
        let (Some(kind), Some(by)) = (key.get(1).copied(), key.get(2).copied().and_then(by_of)) else { return Ok(()) };
        let none = LevelChange::default;
        let settled = match kind {
            OWN => {
                let Some((subject, _)) = read_own(&key[3..]) else { return Ok(()) };
                self.settle_record(key, by, &subject, none(), none())?
            }
            _ => self.settle_record(key, by, &key.slice(3..), none(), none())?,
        };
        self.levels.insert(key.clone(), settled);
        Ok(())
    }

    /// Moves the hours of a user to the users without a row of their own.
    fn forget_user(&mut self, subject: &Bytes) -> Result<(), DiskError> {
        self.touch(&with_subject(&level_prefix(UsageBy::User), subject))?;
        if self.is_shared {
            let of_user = [&own_prefix(UsageBy::User)[..], &ended_subject(subject)].concat();
            let mut keys = Vec::new();
            self.disk.scan(beginning_with(&of_user), false, &mut |key, _| {
                keys.push(key);
                true
            })?;
            for key in keys {
                // The levels of another server are its own: they fill hours again as long as its sockets are open.
                if key.ends_with(&self.epoch.to_be_bytes()) {
                    self.touch(&key)?;
                }
            }
        }
        let this_hour = hour_of(self.now.unix);
        // The sweep of old hours may be behind by some.
        for hour in this_hour.saturating_sub(KEPT_HOURS + SWEPT_HOURS)..=this_hour {
            let rest = hour_prefix(hour, UsageBy::User);
            let key = with_subject(&rest, subject);
            if !self.load(&key)? {
                continue;
            }
            let usage = self.hours.remove(&key).unwrap_or_default();
            self.load(&rest)?;
            self.hours.entry(rest).or_default().add(&usage);
            self.removed.insert(key);
        }
        Ok(())
    }

    /// Fills the hours up to now with the levels of a subject, and returns its levels from now on: those of all servers.
    fn settle(
        &mut self,
        by: UsageBy,
        subject: &Bytes,
        asleep: LevelChange,
        sockets: LevelChange,
    ) -> Result<Levels, DiskError> {
        let key = with_subject(&level_prefix(by), subject);
        if !self.is_shared {
            return self.settle_record(&key, by, subject, asleep, sockets);
        }
        if asleep != LevelChange::default() || sockets != LevelChange::default() {
            let own = own_key(by, subject, self.epoch);
            let settled = self.settle_record(&own, by, subject, asleep, sockets)?;
            self.levels.insert(own, settled);
        }
        self.settle_record(&key, by, subject, LevelChange::default(), LevelChange::default())
    }

    fn settle_record(
        &mut self,
        key: &Bytes,
        by: UsageBy,
        subject: &Bytes,
        asleep: LevelChange,
        sockets: LevelChange,
    ) -> Result<Levels, DiskError> {
        let before = match self.levels.get(key) {
            Some(levels) => *levels,
            None => match self.get(key)? {
                Some(value) => read_levels(key, &value)?,
                None => Levels { epoch: self.epoch, since: self.now.unix, ..Levels::default() },
            },
        };
        let is_level = before.asleep + before.sockets > 0;
        let ended = if is_level { ended(self.disk, self.epoch, &before)? } else { None };
        // A level that fell counts too long up to now, and one that rose counts too short.
        let (asleep_area, sockets_area) = (asleep.area(self.now.steady), sockets.area(self.now.steady));
        let short = |area: i64, level: u64| area.min(0).unsigned_abs() / level.max(1);
        let mut filled = Vec::new();
        let (asleep_short, sockets_short) = (short(asleep_area, before.asleep), short(sockets_area, before.sockets));
        before.fill(self.now.unix, ended, asleep_short, sockets_short, |hour, usage| filled.push((hour, usage)));
        let rose = |area: i64| area.max(0).unsigned_abs();
        let more = Usage { asleep_ms: rose(asleep_area), connected_ms: rose(sockets_area), ..Usage::default() };
        filled.push((hour_of(self.now.unix), more));
        for (hour, usage) in &filled {
            self.add(by, subject, *hour, usage)?;
        }
        let was = if ended.is_some() { (0, 0) } else { (before.asleep, before.sockets) };
        let after = Levels {
            epoch: self.epoch,
            // The clock of another server may be ahead: no time is counted twice.
            since: if self.is_shared { self.now.unix.max(before.since) } else { self.now.unix },
            bytes: before.bytes,
            asleep: was.0.saturating_add_signed(asleep.steps),
            sockets: was.1.saturating_add_signed(sockets.steps),
        };
        self.opened += i64::from(after.asleep + after.sockets > 0) - i64::from(was.0 + was.1 > 0);
        Ok(after)
    }

    fn set_levels(&mut self, by: UsageBy, subject: &Bytes, levels: Levels) {
        self.levels.insert(with_subject(&level_prefix(by), subject), levels);
    }

    /// Adds amounts to an hour of a subject. A full hour takes no more subjects: the rest share one record.
    fn add(&mut self, by: UsageBy, subject: &Bytes, hour: Hour, usage: &Usage) -> Result<(), DiskError> {
        if usage.is_nothing() {
            return Ok(());
        }
        let prefix = hour_prefix(hour, by);
        let key = with_subject(&prefix, subject);
        let key = if self.load(&key)? || self.count_one_more(hour, by)? {
            key
        } else {
            let rest = match by {
                UsageBy::Room => subject.iter().position(|byte| *byte == 0).map_or(0, |zero| zero + 1),
                UsageBy::Namespace | UsageBy::User => 0,
            };
            let key = with_subject(&prefix, &subject[..rest]);
            self.load(&key)?;
            key
        };
        self.hours.entry(key).or_default().add(usage);
        Ok(())
    }

    /// Reads a stored hour of a subject. Returns false if there is none.
    fn load(&mut self, key: &Bytes) -> Result<bool, DiskError> {
        if self.hours.contains_key(key) {
            return Ok(true);
        }
        let Some(value) = self.get(key)? else { return Ok(false) };
        self.hours.insert(key.clone(), read_usage(key, &value)?);
        Ok(true)
    }

    /// Whether an hour takes one more subject; then it is counted.
    fn count_one_more(&mut self, hour: Hour, by: UsageBy) -> Result<bool, DiskError> {
        if by == UsageBy::Namespace {
            // The configuration names them all.
            return Ok(true);
        }
        let count = match self.counts.get_mut(&(hour, by)) {
            Some(count) => count,
            None => {
                let mut count = 0;
                self.disk.scan(beginning_with(&hour_prefix(hour, by)), false, &mut |_, _| {
                    count += 1;
                    count < USAGE_NAMES_AN_HOUR
                })?;
                self.counts.entry((hour, by)).or_insert(count)
            }
        };
        let has_space = *count < USAGE_NAMES_AN_HOUR;
        *count += usize::from(has_space);
        Ok(has_space)
    }

    /// The records as they are now. `tried` is a number that no other commit of this process has.
    fn into_records(mut self, tried: u64) -> Result<Vec<Exchange>, DiskError> {
        let alive = alive_key(self.epoch);
        if self.is_shared {
            self.get(&alive)?;
        }
        let hours = self.hours.into_iter().map(|(key, usage)| (key, Some(usage_value(&usage))));
        let levels = self.levels.into_iter();
        let levels = levels.map(|(key, levels)| (key, (!levels.are_zero()).then(|| levels_value(&levels))));
        let removed = self.removed.into_iter().map(|key| (key, None));
        let lives = if self.is_shared { numbers(&[self.now.unix, tried]) } else { numbers(&[self.now.unix]) };
        let all = hours.chain(levels).chain(removed).chain([(alive, Some(lives))]);
        let mut before = self.before;
        Ok(all.map(|(key, after)| Exchange { before: before.remove(&key).flatten(), key, after }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KEPT_HOURS, page};
    use super::*;
    use crate::model::{HOUR_MS, UsageQuery};
    use crate::store::{MemoryEngine, StoreOptions};

    type Reports = (Vec<(Address, RoomReport)>, Vec<(String, UserReport)>);

    /// The middle of an hour.
    const BEGIN: UnixMillis = 500_000 * HOUR_MS + HOUR_MS / 2;
    const SECOND: u64 = 1_000;

    fn store(disk: &Arc<MemoryEngine>) -> Store {
        Store::on_engine(disk.clone(), StoreOptions::default()).unwrap()
    }

    fn address(name: &str) -> Address {
        Address::new("ROOMS", name).unwrap()
    }

    fn events(events: u64) -> Usage {
        Usage { events, ..Usage::default() }
    }

    /// All rows as of a time, with the first of the amounts that is not 0.
    fn rows(store: &Store, by: UsageBy, now: UnixMillis) -> Vec<(UsageSubject, Usage)> {
        let (namespace, prefix, after) = Default::default();
        let hour = hour_of(BEGIN);
        let query = UsageQuery { by, from: hour, until: hour + KEPT_HOURS, namespace, prefix, after, limit: 10 };
        store.0.read_all(|disk| Ok(page(disk, &query, now, store.epoch())?)).unwrap().rows
    }

    fn one(store: &Store, by: UsageBy, now: UnixMillis) -> Usage {
        let [(_, usage)] = rows(store, by, now)[..] else { panic!("{:?}", rows(store, by, now)) };
        usage
    }

    /// A room that fell asleep with a socket, 2 s before its report.
    fn asleep(bytes: u64, steady: u64) -> Reports {
        let mut change = LevelChange::default();
        change.step(1, steady - 2 * SECOND);
        let room = RoomReport { usage: events(1), bytes, asleep: change };
        (vec![(address("a"), room)], vec![("ana".into(), UserReport { usage: events(1), sockets: change })])
    }

    #[test]
    fn a_room_that_sleeps_for_days_is_counted_when_it_is_asked_for_or_wakes() {
        let store = store(&Arc::default());
        let mut writer = store.usage_writer();
        let (rooms, users) = asleep(10, 100 * SECOND);
        writer.write(rooms, users, BEGIN, 100 * SECOND).unwrap();
        let days = 48 * HOUR_MS;
        let check = |now: UnixMillis, asleep_ms: u64, connected_ms: u64, byte_seconds: u64| {
            for by in [UsageBy::Room, UsageBy::Namespace] {
                let usage = one(&store, by, now);
                assert_eq!((usage.asleep_ms, usage.byte_seconds), (asleep_ms, byte_seconds), "{by:?}");
            }
            assert_eq!(one(&store, UsageBy::User, now).connected_ms, connected_ms);
        };
        check(BEGIN, 2 * SECOND, 2 * SECOND, 0);
        check(BEGIN + days, days + 2 * SECOND, days + 2 * SECOND, 10 * days / 1_000);
        // It woke 5 s before the next report.
        let now = BEGIN + days;
        let mut woke = LevelChange::default();
        woke.step(-1, 100 * SECOND + days - 5 * SECOND);
        let report = RoomReport { usage: events(1), bytes: 4, asleep: woke };
        let user = UserReport { usage: Usage::default(), sockets: woke };
        writer.write(vec![(address("a"), report)], vec![("ana".into(), user)], now, 100 * SECOND + days).unwrap();
        let connected = days + 2 * SECOND - 5 * SECOND;
        check(now, connected, connected, 10 * days / 1_000);
        check(now + 10 * SECOND, connected, connected, 10 * days / 1_000 + 40);
        assert_eq!(one(&store, UsageBy::Room, now).events, 2);
    }

    #[test]
    fn the_levels_of_a_killed_process_end_with_its_last_write() {
        let disk = Arc::default();
        {
            let store = store(&disk);
            let mut writer = store.usage_writer();
            let (rooms, users) = asleep(10, 100 * SECOND);
            writer.write(rooms, users, BEGIN, 100 * SECOND).unwrap();
            writer.write(Vec::new(), Vec::new(), BEGIN + 10 * SECOND, 110 * SECOND).unwrap();
        }
        let store = store(&disk);
        let later = BEGIN + HOUR_MS;
        let check = || {
            let usage = one(&store, UsageBy::Room, later);
            assert_eq!((usage.asleep_ms, usage.byte_seconds), (12 * SECOND, 36_000));
            assert_eq!(one(&store, UsageBy::Namespace, later).asleep_ms, 12 * SECOND);
            assert_eq!(one(&store, UsageBy::User, later).connected_ms, 12 * SECOND);
        };
        check();
        store.usage_writer().write(Vec::new(), Vec::new(), later, 0).unwrap();
        check();
        let user = with_subject(&level_prefix(UsageBy::User), b"ana");
        assert_eq!(store.0.read_all(|disk| Ok(disk.get(&user)?)).unwrap(), None, "nothing is left to end");
    }

    #[test]
    fn a_full_hour_counts_further_rooms_and_users_together() {
        let store = store(&Arc::default());
        let mut writer = store.usage_writer();
        let user = UserReport { usage: events(1), ..UserReport::default() };
        let room = RoomReport { usage: events(1), ..RoomReport::default() };
        let names = || (0..USAGE_NAMES_AN_HOUR).map(|number| format!("x{number}"));
        let rooms = names().map(|name| (address(&name), room)).collect();
        writer.write(rooms, names().map(|name| (name, user)).collect(), BEGIN, 0).unwrap();
        // Another writer counts what is stored.
        let mut writer = store.usage_writer();
        let some = ["a", "b", "x7"];
        let rooms = some.map(|name| (address(name), room)).to_vec();
        writer.write(rooms, some.map(|name| (name.to_owned(), user)).to_vec(), BEGIN, 0).unwrap();
        let first = |by| rows(&store, by, BEGIN).into_iter().next().map(|(subject, usage)| (subject, usage.events));
        assert_eq!(first(UsageBy::Room), Some((UsageSubject::OtherRooms("ROOMS".into()), 2)));
        assert_eq!(first(UsageBy::User), Some((UsageSubject::OtherUsers, 2)));
        let all = one(&store, UsageBy::Namespace, BEGIN);
        assert_eq!(all.events, USAGE_NAMES_AN_HOUR as u64 + 3);
        // In the next hour each has its own row again.
        let next = BEGIN + HOUR_MS;
        writer.write(vec![(address("a"), room)], Vec::new(), next, 0).unwrap();
        let second = rows(&store, UsageBy::Room, next).into_iter().nth(1);
        assert_eq!(second.map(|(subject, usage)| (subject, usage.events)), Some((UsageSubject::Room(address("a")), 1)));
    }

    #[test]
    fn a_forgotten_user_counts_with_the_others() {
        let store = store(&Arc::default());
        let mut writer = store.usage_writer();
        let report = UserReport { usage: events(2), ..UserReport::default() };
        let (rooms, users) = asleep(10, 100 * SECOND);
        writer.write(rooms, users, BEGIN, 100 * SECOND).unwrap();
        let later = BEGIN + 2 * HOUR_MS;
        let mut left = LevelChange::default();
        left.step(-1, 100 * SECOND + 2 * HOUR_MS);
        let users = ["ana", "bo", "ana2"].map(|id| (id.to_owned(), report)).to_vec();
        writer.write(Vec::new(), users, later, 100 * SECOND + 2 * HOUR_MS).unwrap();
        let user = UserReport { usage: Usage::default(), sockets: left };
        writer.write(Vec::new(), vec![("ana".into(), user)], later, 100 * SECOND + 2 * HOUR_MS).unwrap();
        let before = rows(&store, UsageBy::User, later);
        for _ in 0..2 {
            writer.forget_user("ana", later, 100 * SECOND + 2 * HOUR_MS).unwrap();
            let after = rows(&store, UsageBy::User, later);
            let names = after.iter().map(|(subject, usage)| (subject.clone(), usage.events)).collect::<Vec<_>>();
            let user = |id: &str| UsageSubject::User(id.into());
            assert_eq!(names, [(UsageSubject::OtherUsers, 3), (user("ana2"), 2), (user("bo"), 2)]);
            let connected =
                |rows: &[(UsageSubject, Usage)]| rows.iter().map(|(_, usage)| usage.connected_ms).sum::<u64>();
            assert_eq!(connected(&after), connected(&before));
        }
    }

    #[test]
    fn hours_are_removed_after_35_days() {
        let store = store(&Arc::default());
        let mut writer = store.usage_writer();
        let write = |writer: &mut UsageWriter, at| {
            let report = RoomReport { usage: events(1), ..RoomReport::default() };
            writer.write(vec![(address("a"), report)], Vec::new(), at, 0).unwrap();
        };
        write(&mut writer, BEGIN);
        write(&mut writer, BEGIN + u64::from(KEPT_HOURS) * HOUR_MS);
        assert_eq!(one(&store, UsageBy::Room, BEGIN).events, 1);
        write(&mut writer, BEGIN + u64::from(KEPT_HOURS + 1) * HOUR_MS);
        assert_eq!(rows(&store, UsageBy::Room, BEGIN), []);
    }
}
