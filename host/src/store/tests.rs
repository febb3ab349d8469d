//! The store as its callers see it: owners, commits, limits and failures.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use futures_util::FutureExt;

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

/// Opens a room of a store that needs no wait for it.
fn open(store: &Store, address: &Address) -> Result<Stored, NotOpened> {
    store.open_room(address, None).now_or_never().expect("an embedded store opens rooms at once")
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
    let mut log = open(&store, &lobby()).unwrap().log;
    assert!(open(&store, &lobby()).is_err(), "it has an owner");
    let (listener, outcomes) = channel_listener();
    log.commit(1, write("a", "1"), listener).unwrap();
    drop(log);
    assert_eq!(outcomes.recv().unwrap(), Ok(1));
    let log = open(&store, &lobby()).unwrap().log;
    assert_eq!(log.number(), 1);
    assert_eq!(log.reader().get(b"a").unwrap().unwrap(), "1");
}

#[tokio::test]
async fn a_deleted_room_leaves_no_records_and_comes_back_as_another_one() {
    let disk = Arc::new(MemoryEngine::default());
    let start = || Store::on_engine(disk.clone(), StoreOptions::default()).unwrap();
    let store = start();
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
    let mut log = open(&store, &lobby()).unwrap().log;
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
    let store = start();
    assert_eq!(store.rooms_to_wake().unwrap(), [], "its timer wakes no room");
    let mut log = open(&store, &lobby()).unwrap().log;
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
    let mut log = open(&store, &lobby()).unwrap().log;
    for wrong in [0, 2, 9] {
        let refused = log.commit(wrong, write("a", "1"), channel_listener().0);
        assert!(matches!(refused, Err(CommitError::Fenced { .. })), "{wrong}");
    }
}

#[test]
fn rooms_have_separate_storage() {
    let store = Store::in_memory();
    let other = Address::new("ROOMS", "lobby2").unwrap();
    let mut one = open(&store, &lobby()).unwrap().log;
    let two = open(&store, &other).unwrap().log;
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
    let mut one = open(&store, &lobby()).unwrap().log;
    let mut other = open(&store, &Address::new("ROOMS", "other").unwrap()).unwrap().log;
    for number in 1..=3 {
        one.commit(number, write("a", "1"), Arc::new(PanickingListener(ChannelListener(listener.clone())))).unwrap();
        assert_eq!(failures.recv().unwrap(), Err(CommitError::NotNotified));
        other.commit(number, write("a", "1"), other_listener.clone()).unwrap();
        assert_eq!(others.recv().unwrap(), Ok(number));
    }
    assert_eq!(store.refuses(), None);
    drop(one);
    assert_eq!(open(&store, &lobby()).unwrap().log.number(), 3, "the commit without a receipt is durable");
}

#[test]
fn removals_and_replacements_free_space_at_once() {
    let options = StoreOptions { room_bytes: 100, ..StoreOptions::default() };
    let store = Store::on_engine(Arc::new(MemoryEngine::default()), options).unwrap();
    let mut log = open(&store, &lobby()).unwrap().log;
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
    let mut one = open(&store, &lobby()).unwrap().log;
    let mut two = open(&store, &Address::new("ROOMS", "other").unwrap()).unwrap().log;
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
}

impl StorageReader for PanickingEngine {
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
    let mut log = open(&store, &lobby()).unwrap().log;
    let (listener, outcomes) = channel_listener();
    log.commit(1, write("a", "1"), listener.clone()).unwrap();
    assert!(matches!(outcomes.recv().unwrap(), Err(CommitError::Failed(_))));
    assert!(log.commit(2, write("a", "2"), listener).is_err());
    drop(log);
    assert!(open(&store, &lobby()).is_err(), "what it would read may never have been durable");
}

/// A store in a directory, with a post and a timer in the lobby.
fn store_with_a_post(directory: &std::path::Path) -> (Store, crate::model::PostNumber) {
    use crate::model::{Destination, Post, PostNumber, Request, Timer};
    let store = Store::open(directory, StoreOptions::default()).unwrap();
    let number = PostNumber::new(1, 0);
    let destination = Destination::Origin("http://localhost".into());
    let post = Post { destination, request: Request::default(), at: 7, attempt: 0, key: None };
    let timer = Timer { name: "t".into(), at: 9, attempt: 0, payload: Bytes::from_static(b"p") };
    let changes = Changes {
        posts: [(number, Some(post))].into(),
        timers: [("t".to_owned(), Some(timer))].into(),
        ..write("a", "1")
    };
    let mut log = open(&store, &lobby()).unwrap().log;
    let (listener, outcomes) = channel_listener();
    log.commit(1, changes, listener).unwrap();
    outcomes.recv().unwrap().unwrap();
    (store, number)
}

/// Makes a backup of a store in a directory.
fn back_up_into(store: &Store, directory: &std::path::Path) {
    let mut backup = backup::NewBackup::create(directory).unwrap();
    let snapshot = store.snapshot().unwrap();
    backup::back_up(&snapshot, &mut |bytes| backup.push(&bytes).is_ok()).unwrap();
    backup.finish().unwrap();
}

#[test]
fn a_restored_store_keeps_the_keys_of_its_posts_and_gives_others_to_new_ones() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (store, number) = store_with_a_post(&path("data"));
    let key = store.post_key(&lobby(), number);
    back_up_into(&store, &path("backup"));
    backup::restore(&path("backup"), &path("restored"), &mut |_, _, _| {}).unwrap();
    let restored = Store::open(&path("restored"), StoreOptions::default()).unwrap();
    let Stored { log, timers, posts, .. } = open(&restored, &lobby()).unwrap();
    assert_eq!(posts.get(number).unwrap().key.as_ref(), Some(&key));
    assert_eq!(timers.iter().map(|timer| timer.at).collect::<Vec<_>>(), [9]);
    assert_eq!((log.number(), log.reader().get(b"a").unwrap()), (1, Some(Bytes::from_static(b"1"))));
    assert_ne!(restored.post_key(&lobby(), number), key, "a later post with the same number is another one");
    // A backup of the restored store has the same key.
    back_up_into(&restored, &path("again"));
    backup::restore(&path("again"), &path("twice"), &mut |_, _, _| {}).unwrap();
    let twice = Store::open(&path("twice"), StoreOptions::default()).unwrap();
    assert_eq!(open(&twice, &lobby()).unwrap().posts.get(number).unwrap().key.as_ref(), Some(&key));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it damages a file")]
fn damage_to_a_restored_store_is_noticed() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (store, _) = store_with_a_post(&path("data"));
    back_up_into(&store, &path("backup"));
    backup::restore(&path("backup"), &path("restored"), &mut |_, _, _| {}).unwrap();
    let journals = std::fs::read_dir(path("restored").join("store")).unwrap().map(|entry| entry.unwrap().path());
    let journal = journals.filter(|path| path.extension().is_some_and(|kind| kind == "jnl")).max().unwrap();
    let mut bytes = std::fs::read(&journal).unwrap();
    let place = bytes.windows(5).position(|bytes| bytes == b"lobby").unwrap();
    bytes[place] ^= 1;
    std::fs::write(journal, bytes).unwrap();
    assert!(Store::open(&path("restored"), StoreOptions::default()).is_err());
}

#[test]
fn a_snapshot_does_not_change_and_stops_no_commit() {
    let directory = tempfile::TempDir::new().unwrap();
    let (store, _) = store_with_a_post(directory.path());
    let snapshot = store.snapshot().unwrap();
    let group = records::last_group(snapshot.reader()).unwrap();
    let mut log = open(&store, &lobby()).unwrap().log;
    let (listener, outcomes) = channel_listener();
    for number in 2..100 {
        log.commit(number, write("a", &number.to_string()), listener.clone()).unwrap();
        outcomes.recv().unwrap().unwrap();
    }
    assert_eq!(records::room(snapshot.reader(), &lobby()).unwrap().unwrap().number, 1);
    assert_eq!(records::last_group(snapshot.reader()).unwrap(), group);
    let later = store.snapshot().unwrap();
    assert_eq!(records::room(later.reader(), &lobby()).unwrap().unwrap().number, 99);
    // Closing the store does not wait for snapshots.
    store.close();
    assert!(store.snapshot().is_err());
    assert_eq!(records::room(snapshot.reader(), &lobby()).unwrap().unwrap().number, 1);
}

/// A room with 20 entries of 1 MiB, as a file for an import.
fn exported_room_of_20_mib() -> Vec<u8> {
    use crate::store::transfer::{About, Export};
    let full = Store::in_memory();
    let mut log = open(&full, &lobby()).unwrap().log;
    let (listener, outcomes) = channel_listener();
    let value = "x".repeat(1 << 20);
    for number in 1..=20 {
        log.commit(number, write(&format!("k{number:02}"), &value), listener.clone()).unwrap();
        outcomes.recv().unwrap().unwrap();
    }
    let mut file = Vec::new();
    let export = Export::of(full.snapshot().unwrap(), &lobby(), About::default()).unwrap().unwrap();
    let mut keep = |portion: Bytes| {
        file.extend(portion);
        true
    };
    export.write(&mut keep).unwrap();
    file
}

#[test]
fn an_import_leaves_space_for_the_rooms_that_run() {
    use crate::store::transfer::{ImportError, ImportFile};
    let (file, mib) = (exported_room_of_20_mib(), 1 << 20);
    let options = StoreOptions { min_free_bytes: 64 * mib, ..StoreOptions::default() };
    // The file itself would fit, but not what the store writes of it.
    let engine = Arc::new(CutEngine { free_bytes: Some(94 * mib), ..CutEngine::default() });
    engine.writes_left.store(usize::MAX, Ordering::Relaxed);
    let store = Store::on_engine(engine, options).unwrap();
    let mut import = ImportFile::new(&store).unwrap();
    let refused = file.chunks(100_000).position(|part| matches!(import.push(part), Err(ImportError::NoSpace)));
    assert!(refused.is_some_and(|parts| parts < 120), "{refused:?}");
}

#[test]
fn an_import_that_is_cut_off_leaves_nothing() {
    use crate::store::transfer::ImportFile;
    let file = exported_room_of_20_mib();
    // The first write is that of the start. An import of 20 MiB takes three more.
    for writes in 1..=4 {
        let engine =
            Arc::new(CutEngine { writes_left: std::sync::atomic::AtomicUsize::new(writes), ..Default::default() });
        let store = Store::on_engine(engine.clone(), StoreOptions::default()).unwrap();
        let mut log = open(&store, &lobby()).unwrap().log;
        let mut import = ImportFile::new(&store).unwrap();
        file.chunks(100_000).for_each(|part| import.push(part).unwrap());
        let incarnation = log.incarnation();
        let imported = log.import(import.finish().unwrap());
        assert_eq!(imported.is_ok(), writes == 4, "after {writes} writes");
        assert_eq!(log.incarnation() != incarnation, writes == 4, "an imported room has a new one");
        drop((log, store));
        // As after a crash: the disk has the writes before.
        engine.writes_left.store(usize::MAX, Ordering::Relaxed);
        let again = Store::on_engine(engine.clone(), StoreOptions::default()).unwrap();
        assert_eq!(open(&again, &lobby()).unwrap().log.number() > 0, writes == 4);
        let (mut records, everything) = (0, (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded));
        engine
            .disk
            .scan(everything, false, &mut |key, _| {
                records += usize::from(key[0] != 0);
                true
            })
            .unwrap();
        assert_eq!(records, if writes == 4 { 22 } else { 0 }, "20 entries, the room and its name, or nothing");
        assert!(records::unfinished_imports(&engine.disk).unwrap().is_empty());
    }
}

/// An engine in memory that fails after some writes.
#[derive(Default)]
struct CutEngine {
    disk: MemoryEngine,
    writes_left: std::sync::atomic::AtomicUsize,
    free_bytes: Option<u64>,
}

impl StorageEngine for CutEngine {
    fn free_bytes(&self) -> Option<std::io::Result<u64>> {
        self.free_bytes.map(Ok)
    }

    fn write(&self, batch: Vec<Record>) -> Result<(), DiskError> {
        let left = self.writes_left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(DiskError("the power is out".into()));
        }
        self.writes_left.store(left - 1, Ordering::Relaxed);
        self.disk.write(batch)
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

impl StorageReader for CutEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        self.disk.get(key)
    }

    fn scan(
        &self,
        range: (std::ops::Bound<Bytes>, std::ops::Bound<Bytes>),
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), DiskError> {
        self.disk.scan(range, reverse, visit)
    }
}

#[tokio::test]
async fn commits_and_proofs_of_a_tenure_have_dense_positions() {
    let (store, truth) = test_truth::TestTruth::store();
    truth.confirm_all(true);
    let mut log = store.open_room(&lobby(), None).await.unwrap().log;
    let (receipts, received) = channel();
    let listener = Arc::new(ReceiptListener(receipts));
    log.commit(1, write("a", "1"), listener.clone()).unwrap();
    log.prove(listener.clone()).unwrap();
    log.prover().unwrap().prove().await.unwrap();
    log.commit(2, write("a", "2"), listener).unwrap();
    assert_eq!((log.position(), log.number()), (3, 2));
    assert_eq!(received.try_iter().collect::<Vec<_>>(), [(1, 1), (2, 1), (3, 2)]);
    drop(log);
    truth.until_let_go(&lobby()).await;
    let log = store.open_room(&lobby(), None).await.unwrap().log;
    assert_eq!((log.position(), log.number()), (0, 2), "another tenure");
}

struct ReceiptListener(Sender<(u64, u64)>);

impl CommitListener for ReceiptListener {
    fn committed(&self, receipt: Receipt, _: bool) {
        self.0.send((receipt.position(), receipt.number())).unwrap();
    }

    fn failed(&self, error: &CommitError) {
        panic!("{error}");
    }
}

#[tokio::test]
async fn a_room_of_another_node_is_not_opened_and_not_owned() {
    let (store, truth) = test_truth::TestTruth::store();
    truth.give_away(&lobby());
    for _ in 0..2 {
        let refused = store.open_room(&lobby(), None).await;
        assert!(matches!(refused, Err(NotOpened::Elsewhere { .. })));
    }
}

#[test]
fn an_embedded_store_confirms_a_proof_behind_the_commits_before_it() {
    let store = Store::in_memory();
    let mut log = open(&store, &lobby()).unwrap().log;
    assert!(!store.wants_proofs() && log.prover().is_none());
    let (receipts, received) = channel();
    let listener = Arc::new(ReceiptListener(receipts));
    log.commit(1, write("a", "1"), listener.clone()).unwrap();
    log.prove(listener).unwrap();
    assert_eq!([received.recv().unwrap(), received.recv().unwrap()], [(1, 1), (2, 1)]);
}
