//! The reader shows the tables as the storage engine would show the same records.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use dormouse::cluster::ownership::RoomId;
use dormouse::store::postgres::{PostgresReader, RowId};
use dormouse::store::{MemoryEngine, Record, StorageEngine, StorageReader};
use dormouse_fuzz::fuzz;
use dormouse_fuzz::proptest::collection::vec;
use dormouse_fuzz::proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::harness::{Database, Server};
use crate::node::{Node, confirmed, entry, key};

type Range = (Bound<Bytes>, Bound<Bytes>);

/// Few ids and few bytes, so that ranges meet keys.
fn small_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0_u8), Just(1), Just(b'a'), Just(b'b'), Just(0xc3), Just(0xa9), Just(0xff)], 0..4)
}

fn id() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..4, Just(255), Just(256), Just(1 << 40)]
}

fn name() -> impl Strategy<Value = String> {
    "[ab\u{e9}\u{10ffff}]{1,3}"
}

/// A record that the tables can hold.
fn record() -> impl Strategy<Value = (Bytes, Bytes)> {
    let number = any::<u32>();
    prop_oneof![
        (small_bytes(), small_bytes()).prop_map(|(rest, value)| ([b"\0", &rest[..]].concat(), value)),
        (8_u8.., small_bytes(), small_bytes()).prop_map(|(kind, rest, value)| ([&[kind], &rest[..]].concat(), value)),
        (id(), small_bytes(), small_bytes()).prop_map(|(id, rest, value)| (key(2, id, &rest).into(), value)),
        (id(), small_bytes(), number, small_bytes()).prop_map(|(id, rest, number, value)| {
            let value = [&u64::from(number).to_be_bytes()[..], &(number >> 1).to_be_bytes(), &value].concat();
            (key(3, id, &rest).into(), value)
        }),
        (id(), id(), number, small_bytes()).prop_map(|(id, post, number, body)| {
            let value = [&u64::from(number).to_be_bytes()[..], &[0, 0, 0, 1], &[0, 0, 0, 2], b"{}", &body].concat();
            (key(5, id, &post.to_be_bytes()).into(), value)
        }),
        (id(), small_bytes(), number)
            .prop_map(|(id, rest, number)| { (key(6, id, &rest).into(), u64::from(number).to_be_bytes().to_vec()) }),
    ]
    .prop_map(|(key, value)| (key.into(), value.into()))
}

/// A room with the records that name it; ids and names are unique.
fn rooms() -> impl Strategy<Value = Vec<(u64, String, String, u8)>> {
    vec((id(), "[AB]{1,2}", name(), 0_u8..3), 0..6).prop_map(|rooms| {
        let by_id = rooms.into_iter().map(|room| (room.0, room)).collect::<BTreeMap<_, _>>();
        let by_name = by_id.into_values().map(|room| ((room.1.clone(), room.2.clone()), room));
        by_name.collect::<BTreeMap<_, _>>().into_values().collect()
    })
}

fn room_records((id, namespace, name, generation): &(u64, String, String, u8)) -> [(Bytes, Bytes); 2] {
    let address = [namespace.as_bytes(), b"\0", name.as_bytes()].concat();
    // The epoch is 0: no node has claimed it.
    let mut value = [*id, 0, 7, 9].map(u64::to_be_bytes).concat();
    if *generation > 0 {
        value.extend(u64::from(*generation).to_be_bytes());
    }
    [([b"\x01", &address[..]].concat().into(), value.into()), (key(4, *id, b""), address.into())]
}

/// Any bytes, often near a key.
fn bound() -> impl Strategy<Value = Bound<Bytes>> {
    let near = (0_u8..10, id(), small_bytes(), 0..13_usize).prop_map(|(kind, id, rest, length)| {
        let mut bytes = key(kind, id, &rest).to_vec();
        bytes.truncate(length);
        bytes
    });
    let address = ("[AB]{0,2}", small_bytes(), name(), small_bytes()).prop_map(|(namespace, end, name, more)| {
        [b"\x01", namespace.as_bytes(), &end, b"\0", name.as_bytes(), &more].concat()
    });
    let record = record().prop_map(|(key, _)| key.to_vec());
    let bytes = prop_oneof![near, address, record, small_bytes()];
    (bytes, 0_u8..5).prop_map(|(bytes, form)| match form {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(bytes.into()),
        _ => Bound::Excluded(bytes.into()),
    })
}

fn scanned(reader: &dyn StorageReader, range: &Range, reverse: bool, most: usize) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    let scan = reader.scan(range.clone(), reverse, &mut |key, value| {
        found.push((key, value));
        found.len() < most
    });
    scan.unwrap();
    found
}

/// Removes everything but what a new store has.
async fn empty(database: &Database) {
    let empty = "TRUNCATE dormouse.rooms, dormouse.entries, dormouse.timers, dormouse.posts, dormouse.taken, \
                 dormouse.deleted, dormouse.records";
    database.admin().await.batch_execute(empty).await.unwrap();
}

#[test]
fn a_reader_shows_the_same_records_as_an_engine_in_memory() {
    let runtime = Runtime::new().unwrap();
    let (database, mut lane) = runtime.block_on(async {
        let database = Server::shared().new_database().await;
        let lane = database.lane(database.new_node().await).await;
        (database, lane)
    });
    let reader = PostgresReader::connect(&database.target).unwrap();
    let lane = std::cell::RefCell::new(&mut lane);
    let questions = vec((bound(), bound(), any::<bool>(), 1..20_usize), 1..8);
    fuzz((vec(record(), 0..20), rooms(), questions), |(records, rooms, questions)| {
        let records = records.into_iter().chain(rooms.iter().flat_map(room_records));
        let batch = records.map(|(key, value)| (key, Some(value))).collect::<Vec<Record>>();
        runtime.block_on(empty(&database));
        let written = runtime.block_on(lane.borrow_mut().write(&batch));
        written.unwrap();
        let memory = MemoryEngine::default();
        memory.write(batch.clone()).unwrap();
        for (start, end, reverse, most) in questions {
            let range = (start, end);
            // A map panics if a range is upside down.
            let is_range = match (&range.0, &range.1) {
                (Bound::Excluded(start), Bound::Excluded(end)) => start < end,
                (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
                    start <= end
                }
                _ => true,
            };
            let expected = if is_range { scanned(&memory, &range, reverse, most) } else { Vec::new() };
            assert_eq!(scanned(&reader, &range, reverse, most), expected, "{range:?} {reverse}");
        }
        for (key, value) in &batch {
            assert_eq!(reader.get(key).unwrap(), memory.get(key).unwrap(), "{key:?} {value:?}");
            let longer = [&key[..], &[0]].concat();
            assert_eq!(reader.get(&longer).unwrap(), memory.get(&longer).unwrap());
        }
        // Everything is removed as it was written, except rooms, which only a commit deletes.
        let removed = batch.iter().filter(|(key, _)| !matches!(key[0], 1 | 4)).map(|(key, _)| (key.clone(), None));
        runtime.block_on(lane.borrow_mut().write(&removed.collect::<Vec<_>>())).unwrap();
        let all = (Bound::Unbounded, Bound::Unbounded);
        assert_eq!(scanned(&reader, &all, false, usize::MAX).len(), 2 * rooms.len());
    });
}

async fn written(database: &Database, values: usize, value: &[u8]) -> (Node, RowId) {
    let mut node = Node::new(&database.target, database.new_node().await).await;
    let row = node.own(RoomId(1)).await.row;
    for portion in (0..values).collect::<Vec<_>>().chunks(2_000) {
        let entries = portion.iter().map(|number| entry(&number.to_be_bytes(), Some(value))).collect();
        assert!(node.commit(RoomId(1), entries).await);
    }
    (node, row)
}

fn entries_of(row: RowId) -> Range {
    (Bound::Included(key(2, row.0, b"")), Bound::Excluded(key(2, row.0 + 1, b"")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_of_many_pages_has_each_record_once_and_may_come_from_any_thread() {
    let database = Server::shared().new_database().await;
    let (_node, row) = written(&database, 10_000, b"v").await;
    let reader = PostgresReader::connect(&database.target).unwrap();
    let forward = scanned(&reader, &entries_of(row), false, usize::MAX);
    assert_eq!(forward.len(), 10_000);
    assert!(forward.is_sorted() && forward.windows(2).all(|pair| pair[0].0 != pair[1].0));
    let mut backward = scanned(&reader, &entries_of(row), true, usize::MAX);
    backward.reverse();
    assert!(backward == forward);
    // A visitor may read something else.
    let mut found = 0;
    reader
        .scan(entries_of(row), false, &mut |key, value| {
            found += usize::from(reader.get(&key).unwrap() == Some(value));
            found < 70
        })
        .unwrap();
    assert_eq!(found, 70);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_values_end_a_page_early_and_are_all_there() {
    let database = Server::shared().new_database().await;
    let (_node, row) = written(&database, 9, &vec![7; 3 << 20]).await;
    let reader = PostgresReader::connect(&database.target).unwrap();
    for reverse in [false, true] {
        let found = scanned(&reader, &entries_of(row), reverse, usize::MAX);
        assert_eq!(found.iter().map(|(_, value)| value.len()).sum::<usize>(), 9 * (3 << 20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_shows_one_moment_and_a_reader_connects_again() {
    let database = Server::shared().new_database().await;
    let (mut node, row) = written(&database, 100, b"before").await;
    let reader = PostgresReader::connect(&database.target).unwrap();
    let snapshot = reader.snapshot().unwrap();
    assert!(
        node.commit(RoomId(1), vec![entry(&0_usize.to_be_bytes(), Some(b"after")), entry(b"z", Some(b"new"))]).await
    );
    let of = |reader: &dyn StorageReader| scanned(reader, &entries_of(row), false, usize::MAX);
    assert!(of(&*snapshot).len() == 100 && of(&*snapshot).iter().all(|(_, value)| value == "before"));
    assert_eq!(of(&reader).len(), 101);
    let admin = database.admin().await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dormouse reader' \
               AND datname = current_database()";
    assert_eq!(admin.query(end, &[]).await.unwrap().len(), 2);
    assert_eq!(of(&reader).len(), 101);
    assert!(snapshot.get(b"x").is_err(), "another connection would show another moment");
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_without_a_commit_are_in_no_list_and_deleted_ones_keep_their_names_until_they_are_empty() {
    let database = Server::shared().new_database().await;
    let (mut node, row) = written(&database, 1, b"v").await;
    node.own(RoomId(2)).await;
    let reader = PostgresReader::connect(&database.target).unwrap();
    let kind = |kind: u8| (Bound::Included(Bytes::from(vec![kind])), Bound::Excluded(Bytes::from(vec![kind + 1])));
    let keys = |of: u8| scanned(&reader, &kind(of), false, 9).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(1), [Bytes::from_static(b"\x01ROOMS\0room-1")]);
    assert_eq!(keys(4), [key(4, row.0, b"")]);
    let record = reader.get(b"\x01ROOMS\0room-1").unwrap().unwrap();
    assert_eq!(record[..], [row.0, 1, 1, 0].map(u64::to_be_bytes).concat());
    let delete = vec![(Bytes::from_static(b"\x01ROOMS\0room-1"), None)];
    assert_eq!(confirmed(&node.round(&[(RoomId(1), delete)], &[]).await), [RoomId(1)]);
    assert_eq!((keys(1), keys(4), keys(7)), (vec![], vec![key(4, row.0, b"")], vec![key(7, row.0, b"")]));
    assert_eq!(reader.get(b"\0deletions").unwrap().unwrap()[..], [1_u64, 2].map(u64::to_be_bytes).concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_by_another_room_is_refused_as_a_whole() {
    let database = Server::shared().new_database().await;
    let (mut node, row) = written(&database, 1, b"v").await;
    let record = [row.0 + 1, 0, 7, 9].map(u64::to_be_bytes).concat();
    let batch = [
        (Bytes::from_static(b"\x01ROOMS\0room-1"), Some(Bytes::from(record))),
        (key(2, row.0 + 1, b"k"), Some(Bytes::from_static(b"v"))),
    ];
    assert!(node.lane.write(&batch).await.is_err());
    let reader = PostgresReader::connect(&database.target).unwrap();
    assert_eq!(reader.get(&batch[1].0).unwrap(), None);
    assert!(node.commit(RoomId(1), vec![]).await, "the lane goes on");
}
