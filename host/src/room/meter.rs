//! Collects what rooms and users have used until it is written to the store. Rooms report here and wait for nothing;
//! `meter_task` writes.

use std::collections::{BTreeMap, HashMap};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::clock;
use crate::limits::USER_BYTES;
use crate::lock::Lock;
use crate::model::{Address, RoomReport, UserReport};
use crate::store::{NotWritten, Store, UsageWriter};

/// The most rooms, and the most users, whose reports wait for the disk: they take about 30 MB each. More come only
/// while the disk is full.
const WAITING_REPORTS: usize = 100_000;

/// The reports of rooms on their way to the store.
pub(super) struct Meter {
    waiting: Lock<Waiting>,
    /// Held during a write, so that reports are stored in order.
    writer: Lock<UsageWriter>,
    written: Counter,
    lost: Counter,
}

#[derive(Default)]
struct Waiting {
    rooms: HashMap<Address, RoomReport>,
    users: HashMap<String, UserReport>,
}

impl Meter {
    pub(super) fn new(store: &Store) -> Self {
        Meter {
            waiting: Lock::default(),
            writer: Lock::new(store.usage_writer()),
            written: Counter::default(),
            lost: Counter::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("usage_reports", "Reports of usage that became durable", self.written.clone());
        registry.register("usage_reports_lost", "Reports of usage that could not be kept", self.lost.clone());
    }

    /// Takes the report of a room, and those of its users.
    pub(super) fn report(&self, address: &Address, report: RoomReport, users: BTreeMap<String, UserReport>) {
        let mut waiting = self.waiting.lock();
        let is_full = waiting.rooms.len() >= WAITING_REPORTS;
        match waiting.rooms.get_mut(address) {
            Some(earlier) => {
                earlier.usage.add(&report.usage);
                earlier.asleep.add(report.asleep);
                earlier.bytes = report.bytes;
            }
            None if is_full => {
                self.lost.inc();
            }
            None => {
                waiting.rooms.insert(address.clone(), report);
            }
        }
        for (mut id, report) in users {
            // Only code of an embedder can make such a user. The users without a row of their own take it.
            if id.len() > USER_BYTES {
                id.clear();
            }
            if waiting.users.len() >= WAITING_REPORTS && !waiting.users.contains_key(&id) {
                self.lost.inc();
                continue;
            }
            let user = waiting.users.entry(id).or_default();
            user.usage.add(&report.usage);
            user.sockets.add(report.sockets);
        }
    }

    /// Moves what is stored of a user to the users without a row of their own. Blocks until that is durable.
    ///
    /// Fails: while nothing can be written.
    pub(super) fn forget_user(&self, store: &Store, user: &str) -> Result<(), NotWritten> {
        self.write(store);
        self.writer.lock().forget_user(user, clock::unix_millis(), clock::steady_millis())
    }

    /// Writes all reports to the disk. Blocks until they are durable.
    pub(super) fn write(&self, store: &Store) {
        let mut writer = self.writer.lock();
        // They wait until there is space again.
        if store.refuses().is_some() {
            return;
        }
        let Waiting { rooms, users } = std::mem::take(&mut *self.waiting.lock());
        let reports = (rooms.len() + users.len()) as u64;
        let rooms = rooms.into_iter().collect();
        match writer.write(rooms, users.into_iter().collect(), clock::unix_millis(), clock::steady_millis()) {
            Ok(()) => {
                self.written.inc_by(reports);
            }
            Err(error) => {
                self.lost.inc_by(reports);
                tracing::warn!(%error, reports, "the usage of the last moments is lost");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LevelChange, Usage, UsageBy, UsageQuery, UsageSubject, hour_of};

    #[test]
    fn reports_of_a_room_add_up_until_they_are_written() {
        let store = Store::in_memory();
        let meter = Meter::new(&store);
        let address = Address::new("ROOMS", "lobby").unwrap();
        for bytes in [10, 7] {
            let usage = Usage { events: 2, ..Usage::default() };
            let user = UserReport { usage, ..UserReport::default() };
            let users = BTreeMap::from([("1".to_owned(), user), ("x".repeat(USER_BYTES + 1), user)]);
            meter.report(&address, RoomReport { usage, bytes, asleep: LevelChange::default() }, users);
        }
        meter.write(&store);
        assert_eq!((meter.written.get(), meter.lost.get()), (3, 0));
        let hour = hour_of(clock::unix_millis());
        let rows = |by| {
            let (namespace, prefix, after) = Default::default();
            let query = UsageQuery { by, from: hour - 1, until: hour + 2, namespace, prefix, after, limit: 10 };
            let rows = store.usage(&query).unwrap().rows.into_iter();
            rows.map(|(subject, usage)| (subject, usage.events)).collect::<Vec<_>>()
        };
        assert_eq!(rows(UsageBy::Room), [(UsageSubject::Room(address), 4)]);
        assert_eq!(rows(UsageBy::User), [(UsageSubject::OtherUsers, 4), (UsageSubject::User("1".into()), 4)]);
    }
}
