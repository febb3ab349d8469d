//! The store as its callers see it: owners, commits, limits and failures.

use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;

use super::*;
use crate::model::{Changes, Range, Storage, Writes};

struct ChannelListener(Sender<Result<u64, CommitError>>);

impl CommitListener for ChannelListener {
    fn committed(&self, receipt: Receipt, _: bool) {
        self.0.send(Ok(receipt.number())).unwrap();
    }

    fn failed(&self, error: &CommitError) {
        self.0.send(Err(error.clone())).unwrap();
    }
}

fn channel_listener() -> (Arc<ChannelListener>, Receiver<Result<u64, CommitError>>) {
    let (listener, outcomes) = channel();
    (Arc::new(ChannelListener(listener)), outcomes)
}

fn lobby() -> Address {
    Address::new("ROOMS", "lobby").unwrap()
}

fn write(key: &str, value: &str) -> Changes {
    let writes = Writes::from([(key.to_owned().into(), Some(value.to_owned().into()))]);
    Changes { writes, ..Changes::default() }
}

#[test]
fn a_room_has_one_owner_until_its_last_commit_is_done() {
    let store = Store::in_memory();
    let mut log = store.room(&lobby()).unwrap().log;
    assert!(store.room(&lobby()).is_err(), "it has an owner");
    let (listener, outcomes) = channel_listener();
    log.commit(1, write("a", "1"), listener).unwrap();
    drop(log);
    assert_eq!(outcomes.recv().unwrap(), Ok(1));
    let log = store.room(&lobby()).unwrap().log;
    assert_eq!(log.number(), 1);
    assert_eq!(log.reader().get(b"a").unwrap().unwrap(), "1");
}

#[tokio::test]
async fn a_deleted_room_leaves_no_records_and_comes_back_as_another_one() {
    let disk = Arc::new(MemoryEngine::default());
    let open = || Store::on_engine(disk.clone(), StoreOptions::default()).unwrap();
    let store = open();
    let count = |disk: &MemoryEngine| {
        let mut records = 0;
        let all = (std::ops::Bound::Included(vec![1].into()), std::ops::Bound::Unbounded);
        disk.scan(all, false, &mut |_, _| {
            records += 1;
            true
        })
        .unwrap();
        records
    };
    let mut log = store.room(&lobby()).unwrap().log;
    let before = log.incarnation();
    let (listener, outcomes) = channel_listener();
    let timer = crate::model::Timer { name: "t".into(), at: 1, payload: Bytes::new(), attempt: 0 };
    let timers = [("t".to_owned(), Some(timer))].into();
    // More than one commit removes.
    let writes = (0..2_500).map(|number: u32| (number.to_be_bytes().to_vec().into(), Some(Bytes::from_static(b"x"))));
    log.commit(1, Changes { timers, writes: writes.collect(), ..Changes::default() }, listener.clone()).unwrap();
    assert_eq!(log.delete(listener).unwrap(), 2);
    assert_eq!([outcomes.recv().unwrap(), outcomes.recv().unwrap()], [Ok(1), Ok(2)]);
    drop(log);
    assert!(store.record(&lobby()).unwrap().is_none());
    // The process ends here, before the records are removed.
    drop(store);
    let store = open();
    assert_eq!(store.rooms_to_wake().unwrap(), [], "its timer wakes no room");
    let mut log = store.room(&lobby()).unwrap().log;
    assert_eq!((log.number(), log.reader().get(&[0; 4]).unwrap()), (2, None));
    assert_ne!(log.incarnation(), before);
    let (listener, outcomes) = channel_listener();
    log.commit(3, write("a", "1"), listener).unwrap();
    assert_eq!(outcomes.recv().unwrap(), Ok(3));
    assert!(count(&disk) > 2_500);
    while store.clean_deleted().await.unwrap() {}
    assert_eq!(count(&disk), 3, "the new room has an entry, a record and a name");
    assert_eq!(log.reader().get(b"a").unwrap().unwrap(), "1");
    assert_eq!(store.record(&lobby()).unwrap().unwrap().incarnation, log.incarnation());
}

#[test]
fn a_commit_that_is_not_the_next_one_is_refused() {
    let store = Store::in_memory();
    let mut log = store.room(&lobby()).unwrap().log;
    for wrong in [0, 2, 9] {
        let refused = log.commit(wrong, write("a", "1"), channel_listener().0);
        assert!(matches!(refused, Err(CommitError::Fenced { .. })), "{wrong}");
    }
}

#[test]
fn rooms_have_separate_storage() {
    let store = Store::in_memory();
    let other = Address::new("ROOMS", "lobby2").unwrap();
    let mut one = store.room(&lobby()).unwrap().log;
    let two = store.room(&other).unwrap().log;
    let (listener, outcomes) = channel_listener();
    one.commit(1, write("a", "1"), listener).unwrap();
    outcomes.recv().unwrap().unwrap();
    let all = Range { start: std::ops::Bound::Unbounded, end: std::ops::Bound::Unbounded, reverse: false };
    let count = |log: &RoomLog| {
        let mut count = 0;
        let mut visit = |_: &Bytes, _: &Bytes| {
            count += 1;
            true
        };
        log.reader().scan(&all, &mut visit).unwrap();
        count
    };
    assert_eq!((count(&one), count(&two)), (1, 0));
}

/// A room that panics when it is notified of its commit.
struct PanickingListener(ChannelListener);

impl CommitListener for PanickingListener {
    fn committed(&self, _: Receipt, _: bool) {
        panic!("a bug in the room");
    }

    fn failed(&self, error: &CommitError) {
        self.0.failed(error);
    }
}

#[test]
fn a_panic_in_a_commit_callback_ends_only_its_room() {
    let store = Store::in_memory();
    let (listener, failures) = channel();
    let (other_listener, others) = channel_listener();
    let mut one = store.room(&lobby()).unwrap().log;
    let mut other = store.room(&Address::new("ROOMS", "other").unwrap()).unwrap().log;
    for number in 1..=3 {
        one.commit(number, write("a", "1"), Arc::new(PanickingListener(ChannelListener(listener.clone())))).unwrap();
        assert_eq!(failures.recv().unwrap(), Err(CommitError::NotNotified));
        other.commit(number, write("a", "1"), other_listener.clone()).unwrap();
        assert_eq!(others.recv().unwrap(), Ok(number));
    }
    assert_eq!(store.refuses(), None);
    drop(one);
    assert_eq!(store.room(&lobby()).unwrap().log.number(), 3, "the commit without a receipt is durable");
}

#[test]
fn removals_and_replacements_free_space_at_once() {
    let options = StoreOptions { room_bytes: 100, ..StoreOptions::default() };
    let store = Store::on_engine(Arc::new(MemoryEngine::default()), options).unwrap();
    let mut log = store.room(&lobby()).unwrap().log;
    let (listener, outcomes) = channel_listener();
    let mut number = 0;
    let mut take = |key: &str, value: Option<usize>| {
        let value = value.map(|length| "x".repeat(length).into());
        let writes = Writes::from([(key.to_owned().into(), value)]);
        log.reserve(&writes, &log.reader())?;
        number += 1;
        log.commit(number, Changes { writes, ..Changes::default() }, listener.clone())?;
        outcomes.recv().unwrap()
    };
    let full = Err(CommitError::RoomFull { room_bytes: 100 });
    for _ in 0..3 {
        assert!(take("a", Some(49)).is_ok() && take("b", Some(49)).is_ok());
        assert_eq!(take("c", Some(1)), full);
        assert!(take("a", Some(47)).is_ok(), "it replaces a longer one");
        assert!(take("c", Some(1)).is_ok());
        assert_eq!(take("d", Some(0)), full);
        assert!(take("a", None).is_ok() && take("d", Some(40)).is_ok());
        assert!(["b", "c", "d"].iter().all(|key| take(key, None).is_ok()));
    }
}

#[tokio::test]
async fn a_failed_store_leaves_no_commit_waiting() {
    let options = StoreOptions { queue_bytes: 0, ..StoreOptions::default() };
    let store = Store::on_engine(Arc::<PanickingEngine>::default(), options).unwrap();
    let mut one = store.room(&lobby()).unwrap().log;
    let mut two = store.room(&Address::new("ROOMS", "other").unwrap()).unwrap().log;
    let (listener, outcomes) = channel_listener();
    let accepted = one.commit(1, write("a", "1"), listener.clone()).is_ok();
    // It is accepted or refused, depending on whether the failure of the first comes earlier.
    let also_accepted = two.commit(1, write("a", "1"), listener).is_ok();
    for _ in 0..u8::from(accepted) + u8::from(also_accepted) {
        assert!(outcomes.recv().unwrap().is_err());
    }
    store.caught_up().await;
}

/// An engine that panics at every batch but the first, which holds the records of the start.
#[derive(Default)]
struct PanickingEngine {
    started: std::sync::atomic::AtomicBool,
}

impl StorageEngine for PanickingEngine {
    fn write(&self, _: Vec<Record>) -> Result<(), DiskError> {
        if self.started.swap(true, Ordering::Relaxed) { panic!("a bug in the engine") } else { Ok(()) }
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn get(&self, _: &[u8]) -> Result<Option<Bytes>, DiskError> {
        Ok(None)
    }

    fn scan(
        &self,
        _: (std::ops::Bound<Bytes>, std::ops::Bound<Bytes>),
        _: bool,
        _: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), DiskError> {
        Ok(())
    }
}

#[test]
fn an_engine_that_panics_fails_its_commits_and_all_later_ones() {
    let store = Store::on_engine(Arc::<PanickingEngine>::default(), StoreOptions::default()).unwrap();
    let mut log = store.room(&lobby()).unwrap().log;
    let (listener, outcomes) = channel_listener();
    log.commit(1, write("a", "1"), listener.clone()).unwrap();
    assert!(matches!(outcomes.recv().unwrap(), Err(CommitError::Failed(_))));
    assert!(log.commit(2, write("a", "2"), listener).is_err());
    drop(log);
    assert!(store.room(&lobby()).is_err(), "what it would read may never have been durable");
}
