//! The statements of ownership, each on its own: what they change, and for whom.

use std::collections::HashMap;

use bytes::Bytes;
use dormouse::cluster::ownership::{Answer, Commit, Fence, NodeId, RoomId, Rows, Statement};
use dormouse::model::Address;
use dormouse::store::postgres::{Contents, Lane, Purpose};
use tokio_postgres::Client;

use crate::harness::{Database, Server, until};
use crate::node::{Node, confirmed, entry, key};

const A: RoomId = RoomId(1);
const B: RoomId = RoomId(2);

async fn nodes<const N: usize>(database: &Database) -> [Node; N] {
    let mut nodes = Vec::new();
    for _ in 0..N {
        nodes.push(Node::new(&database.target, database.new_node().await).await);
    }
    nodes.try_into().ok().unwrap()
}

async fn count(admin: &Client, table: &str) -> i64 {
    admin.query_one(&format!("SELECT count(*) FROM dormouse.{table}"), &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_with_a_living_owner_is_elsewhere_and_one_of_a_dead_owner_is_claimed() {
    let database = Server::shared().new_database().await;
    let [mut one, mut two] = nodes(&database).await;
    let first = one.claim(&[A, B], &[]).await;
    assert_eq!(confirmed(&first), [A, B]);
    let Answer::Done { rows: Rows::Claimed { claimed, .. }, .. } = &first.answer else { panic!() };
    assert!(claimed.iter().all(|room| room.fence.epoch == 1 && room.old_token == 0 && room.number == 0));
    let fence = one.owned[&A].fence;
    assert!(one.commit(A, vec![entry(b"k", Some(b"v"))]).await);

    let refused = two.claim(&[A, B, RoomId(3)], &[]).await;
    let Answer::Done { rows: Rows::Claimed { claimed, mut elsewhere }, .. } = refused.answer else { panic!() };
    elsewhere.sort_unstable();
    assert_eq!(elsewhere, [(A, one.me), (B, one.me)]);
    assert_eq!(claimed.iter().map(|room| room.room).collect::<Vec<_>>(), [RoomId(3)]);

    let taken = two.claim(&[A], &[one.me]).await;
    let Answer::Done { rows: Rows::Claimed { claimed, .. }, warned: false } = &taken.answer else { panic!() };
    assert_eq!((claimed[0].fence.epoch, claimed[0].old_token, claimed[0].number), (2, fence.token, 1));
    assert!(taken.claimed[0].is_stored);
    assert!(!one.commit(A, vec![entry(b"k", Some(b"stale"))]).await, "its fence is gone");
    assert_eq!(confirmed(&one.resolve(&[A]).await), []);
    assert_eq!(confirmed(&one.round(&[], &[A]).await), [], "no proof");
    assert_eq!(confirmed(&one.round(&[], &[B]).await), [B]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_the_same_node_raises_the_epoch_and_changes_the_token() {
    let database = Server::shared().new_database().await;
    let [mut one] = nodes(&database).await;
    one.own(A).await;
    let before = one.owned[&A].fence;
    one.own(A).await;
    let after = one.owned[&A].fence;
    assert_eq!(after.epoch, before.epoch + 1);
    assert_ne!(after.token, before.token);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_needs_the_epoch_the_token_and_the_number() {
    let database = Server::shared().new_database().await;
    let [mut one] = nodes(&database).await;
    one.own(A).await;
    assert!(one.commit(A, vec![entry(b"k", Some(b"v"))]).await);
    let right = one.next(A);
    let Fence { epoch, token } = right.fence;
    for wrong in [
        Commit { fence: Fence { epoch: epoch + 1, token }, ..right },
        Commit { fence: Fence { epoch, token: token ^ 1 }, ..right },
        Commit { base: right.base + 1, ..right },
        Commit { base: right.base - 1, ..right },
    ] {
        let contents = one.contents(HashMap::from([(A, vec![entry(b"k", Some(b"wrong"))])]));
        let statement = Statement::Round { commits: vec![wrong], proofs: vec![] };
        assert_eq!(confirmed(&one.lane.execute(&statement, &contents).await), [], "{wrong:?}");
    }
    let stored = &one.read(&[A]).await.read[&A];
    assert_eq!(stored[..], [(key(2, one.owned[&A].row.0, b"k"), Bytes::from_static(b"v"))]);
    assert!(one.commit(A, vec![]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_names_the_number_and_writes_to_the_log_even_if_all_commits_are_refused() {
    let database = Server::shared().new_database().await;
    let [mut one] = nodes(&database).await;
    one.claim(&[A, B], &[]).await;
    let admin = database.admin().await;
    let written = async || {
        // A transaction that writes nothing takes no id.
        let row = admin.query_one("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint", &[]).await.unwrap();
        row.get::<_, i64>(0)
    };
    let refused = Commit { base: 9, number: 10, ..one.next(B) };
    let contents = one.contents(HashMap::new());
    let proof = one.proof(A);
    // Other tests write to the same server, so the transaction id of this one is looked for in its own row.
    let before = written().await;
    let statement = Statement::Round { commits: vec![refused], proofs: vec![proof] };
    assert_eq!(confirmed(&one.lane.execute(&statement, &contents).await), [A]);
    assert!(written().await > before);
    let wrong = dormouse::cluster::ownership::Proof { number: 1, ..proof };
    let statement = Statement::Round { commits: vec![], proofs: vec![wrong] };
    assert_eq!(confirmed(&one.lane.execute(&statement, &contents).await), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolve_raises_the_epoch_and_names_the_token() {
    let database = Server::shared().new_database().await;
    let [mut one] = nodes(&database).await;
    one.own(A).await;
    assert!(one.commit(A, vec![]).await);
    let late = one.next(A);
    let resolved = one.resolve(&[A]).await;
    let Answer::Done { rows: Rows::Resolved(resolved), warned: false } = resolved.answer else { panic!() };
    assert_eq!((resolved[0].epoch, resolved[0].number), (2, 1));
    let contents = one.contents(HashMap::new());
    let statement = Statement::Round { commits: vec![late], proofs: vec![] };
    assert_eq!(confirmed(&one.lane.execute(&statement, &contents).await), [], "it is fenced off");
    // The owner is right, and the token is one of an earlier claim.
    let earlier = one.owned[&A].fence.token;
    one.own(A).await;
    let statement = Statement::Resolve { rooms: vec![(A, earlier)] };
    assert_eq!(confirmed(&one.lane.execute(&statement, &contents).await), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_store_nothing_leave_nothing() {
    let database = Server::shared().new_database().await;
    let [mut one, mut two] = nodes(&database).await;
    let admin = database.admin().await;
    one.claim(&[A, B], &[]).await;
    assert!(one.commit(B, vec![entry(b"k", Some(b"v"))]).await);
    let mut gone = confirmed(&one.let_go(&[A, B], None).await);
    gone.sort_unstable();
    assert_eq!(gone, [A, B]);
    assert_eq!(count(&admin, "rooms").await, 1);
    assert_eq!(confirmed(&one.let_go(&[B], None).await), [B], "the fence is the same until the next claim");
    two.own(A).await;
    assert_eq!(confirmed(&two.let_go(&[A], Some(one.me)).await), [A], "the next owner finds the row");
    assert_eq!(count(&admin, "rooms").await, 2);
    assert!(!one.own(A).await.is_stored);
    assert_eq!(confirmed(&two.let_go(&[A], None).await), [], "it is the room of another node");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_kinds_of_records_are_stored_and_read_with_their_fence() {
    let database = Server::shared().new_database().await;
    let [mut one] = nodes(&database).await;
    one.claim(&[A, B], &[]).await;
    let row = one.owned[&A].row.0;
    let timer = [&5_u64.to_be_bytes()[..], &2_u32.to_be_bytes(), b"payload"].concat();
    let post = [&6_u64.to_be_bytes()[..], &1_u32.to_be_bytes(), &4_u32.to_be_bytes(), b"headbody"].concat();
    let room = [row, 1, 1, 321].map(u64::to_be_bytes).concat();
    let records = |id: u64| {
        vec![
            (key(2, id, b"k"), Bytes::from_static(b"v")),
            (key(3, id, b"t\0\xff"), Bytes::from(timer.clone())),
            (key(5, id, &9_u64.to_be_bytes()), Bytes::from(post.clone())),
            (key(6, id, b"ROOMS\0other"), Bytes::copy_from_slice(&8_u64.to_be_bytes())),
        ]
    };
    let mut written = records(1234).into_iter().map(|(key, value)| (key, Some(value))).collect::<Vec<_>>();
    written.push((Bytes::from_static(b"\x01ROOMS\0room-1"), Some(room.into())));
    written.push((key(4, 1234, b""), Some(Bytes::from_static(b"ROOMS\0room-1"))));
    written.push((Bytes::from_static(b"\x08usage"), Some(Bytes::from_static(b"12"))));
    assert!(one.commit(A, written.clone()).await);
    let read = one.read(&[A, B]).await;
    let Answer::Done { rows: Rows::Read(mut fences), .. } = read.answer else { panic!() };
    fences.sort_unstable();
    assert_eq!(fences, [(A, one.owned[&A].fence), (B, one.owned[&B].fence)]);
    assert_eq!(read.read[&A], records(row));
    assert!(!read.read.contains_key(&B));
    let admin = database.admin().await;
    let stored =
        admin.query_one("SELECT value FROM dormouse.records WHERE key = '\\x087573616765'", &[]).await.unwrap();
    assert_eq!(stored.get::<_, &[u8]>(0), b"12");
    let bytes = admin.query_one("SELECT bytes FROM dormouse.rooms WHERE number = 1", &[]).await.unwrap();
    assert_eq!(bytes.get::<_, i64>(0), 321);

    let removed = written.into_iter().filter(|(key, _)| key[0] != 1).map(|(key, _)| (key, None)).collect();
    assert!(one.commit(A, removed).await);
    assert!(one.read(&[A]).await.read.is_empty());
    let bytes = admin.query_one("SELECT bytes FROM dormouse.rooms WHERE number = 2", &[]).await.unwrap();
    assert_eq!(bytes.get::<_, i64>(0), 321, "a commit without the record of its room keeps the count");
}

/// The record of a room, as the log of a room writes it: id, epoch, number, bytes, generation, version of the data.
fn own_record(bytes: u64, data_version: u32) -> dormouse::store::Record {
    let numbers = [77, 1, 1, bytes, 0].map(u64::to_be_bytes).concat();
    let value = [&numbers[..], &data_version.to_be_bytes()].concat();
    let key = [&[1][..], b"ROOMS\0room-1"].concat();
    (key.into(), Some(value.into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_stores_the_size_and_the_version_of_the_data_with_the_entries_and_a_claim_returns_them() {
    let database = Server::shared().new_database().await;
    let [mut one] = nodes(&database).await;
    one.own(A).await;
    assert!(one.commit(A, vec![own_record(40, 3), entry(b"k", Some(b"v"))]).await);
    let claimed = one.own(A).await;
    assert_eq!((claimed.bytes, claimed.data_version), (40, 3));
    // With a timer it is the longer statement.
    let timer = (key(3, 77, b"t"), Some(Bytes::from_static(&[0; 12])));
    assert!(one.commit(A, vec![own_record(50, 4), timer]).await);
    assert!(one.commit(A, vec![entry(b"k", None)]).await);
    let claimed = one.own(A).await;
    assert_eq!((claimed.bytes, claimed.data_version), (50, 4), "and it stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_room_is_another_one_with_higher_numbers() {
    let database = Server::shared().new_database().await;
    let [mut one, mut two] = nodes(&database).await;
    let admin = database.admin().await;
    one.claim(&[A, B], &[]).await;
    for _ in 0..3 {
        assert!(one.commit(A, vec![entry(b"k", Some(b"v"))]).await);
    }
    let address = Bytes::from_static(b"\x01ROOMS\0room-1");
    let old = one.owned[&A];
    // A commit of another room shares the round.
    let rounds = [(A, vec![(address, None), (key(7, 1, b""), Some(Bytes::new()))]), (B, vec![entry(b"k", Some(b"w"))])];
    let mut both = confirmed(&one.round(&rounds, &[]).await);
    both.sort_unstable();
    assert_eq!(both, [A, B]);
    assert_eq!(count(&admin, "deleted").await, 1);
    let deletions = admin.query_one("SELECT value FROM dormouse.records WHERE key = '\\x0064656c6574696f6e73'", &[]);
    assert_eq!(deletions.await.unwrap().get::<_, &[u8]>(0), [1_u64, 4].map(u64::to_be_bytes).concat());

    let new = two.own(A).await;
    assert_eq!((new.generation, new.is_stored, two.owned[&A].number), (1, false, 4));
    assert_ne!(new.row, old.row);
    assert!(!one.commit(A, vec![entry(b"k", Some(b"late"))]).await);
    assert!(two.commit(A, vec![entry(b"k", Some(b"new"))]).await);
    assert_eq!(two.read(&[A]).await.read[&A].len(), 1);
    // The rest of the old one is removed without a fence.
    let leftovers =
        vec![(key(2, old.row.0, b"k"), None), (key(4, old.row.0, b""), None), (key(7, old.row.0, b""), None)];
    two.lane.write(&leftovers).await.unwrap();
    assert_eq!((count(&admin, "deleted").await, count(&admin, "entries").await), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_many_megabytes_is_one_transaction() {
    let database = Server::shared().new_database().await;
    let [mut one] = nodes(&database).await;
    one.claim(&[A, B], &[]).await;
    let value = vec![7; 1 << 20];
    let large = (0..10_u8).map(|number| entry(&[number], Some(&value))).collect::<Vec<_>>();
    let rounds = [(A, large.clone()), (B, vec![entry(b"k", Some(b"v"))])];
    let mut both = confirmed(&one.round(&rounds, &[]).await);
    both.sort_unstable();
    assert_eq!(both, [A, B]);
    assert_eq!(one.read(&[A]).await.read[&A].len(), 10);
    // The same round again has the wrong base, in each of its statements.
    let again = one.round(&rounds, &[]).await;
    assert_eq!(confirmed(&again), []);
    let admin = database.admin().await;
    let query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    assert_eq!(admin.query_one(query, &[]).await.unwrap().get::<_, i64>(0), 0, "no transaction is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_and_binary_content_are_stored_as_they_are() {
    let database = Server::shared().new_database().await;
    let [mut one] = nodes(&database).await;
    let name = "'; DROP TABLE rooms; -- \u{202e}\u{1f600}\\x00 %_$1\"";
    let addresses = HashMap::from([(A, Address::new("ROOMS", name).unwrap())]);
    let contents = Contents { addresses, ..Contents::default() };
    let executed = one.lane.execute(&Statement::Claim { rooms: vec![A], dead: vec![] }, &contents).await;
    let Answer::Done { rows: Rows::Claimed { claimed, .. }, .. } = &executed.answer else { panic!("{executed:?}") };
    let row = executed.claimed[0].row;
    let all = (0..=255).collect::<Vec<u8>>();
    for bytes in [&b""[..], b"\0", b"\\x00", &all] {
        let number = one.owned.get(&A).map_or(0, |owned| owned.number);
        one.owned.insert(A, crate::node::Owned { row, fence: claimed[0].fence, number });
        assert!(
            one.commit(A, vec![entry(bytes, Some(bytes)), (key(3, 1, bytes), Some([&[0; 12], bytes].concat().into()))])
                .await
        );
    }
    let read = &one.read(&[A]).await.read[&A];
    assert_eq!(read.len(), 8);
    assert!(read.iter().any(|(key, value)| key[0] == 2 && key[9..] == all && *value == all));
    let admin = database.admin().await;
    let stored = admin.query_one("SELECT name FROM dormouse.rooms", &[]).await.unwrap();
    assert_eq!(stored.get::<_, &str>(0), name);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_shows_text_as_text_and_no_bytes_make_it_fail() {
    let database = Server::shared().new_database().await;
    let [mut one] = nodes(&database).await;
    one.own(A).await;
    let values =
        [(&b"text"[..], "h\u{e9}llo".as_bytes()), (b"zero", b"a\0b"), (b"broken", b"\xff\xfe"), (b"\xc3", b"v")];
    assert!(one.commit(A, values.iter().map(|(key, value)| entry(key, Some(value))).collect()).await);
    let admin = database.admin().await;
    let rows = admin.query("SELECT * FROM dormouse.room_entries ORDER BY key_bytes", &[]).await.unwrap();
    let shown = rows.iter().map(|row| (row.get::<_, Option<&str>>("key"), row.get::<_, Option<&str>>("value")));
    let expected =
        [(Some("broken"), None), (Some("text"), Some("h\u{e9}llo")), (Some("zero"), None), (None, Some("v"))];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
    assert_eq!(rows[0].get::<_, &[u8]>("value_bytes"), b"\xff\xfe");
    assert_eq!((rows[0].get::<_, &str>("namespace"), rows[0].get::<_, &str>("name")), ("ROOMS", "room-1"));
    assert!(admin.batch_execute("UPDATE dormouse.room_entries SET name = ''").await.is_err(), "it is to read");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_none_are_refused_and_the_lane_goes_on() {
    let database = Server::shared().new_database().await;
    let [mut one] = nodes(&database).await;
    one.own(A).await;
    for broken in [(key(3, 1, b"t"), Some(Bytes::from_static(b"short"))), (Bytes::from_static(b"\x05\0"), None)] {
        let executed = one.round(&[(A, vec![broken])], &[]).await;
        assert_eq!(executed.answer, Answer::Error { retry: false });
        assert!(executed.problem.is_some());
    }
    assert!(one.commit(A, vec![]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_locked_too_long_is_an_error_with_a_known_end() {
    let database = Server::shared().new_database().await;
    let [mut one] = nodes(&database).await;
    one.own(A).await;
    let admin = database.admin().await;
    admin.batch_execute("BEGIN; SELECT FROM dormouse.rooms FOR UPDATE").await.unwrap();
    let executed = one.round(&[(A, vec![])], &[]).await;
    assert_eq!(executed.answer, Answer::Error { retry: true }, "{executed:?}");
    admin.batch_execute("COMMIT").await.unwrap();
    assert!(one.commit(A, vec![]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_writes_any_more_loses_the_lane() {
    let server = Server::start(&[]);
    let database = server.new_database().await;
    let [mut one] = nodes(&database).await;
    one.own(A).await;
    let admin = database.admin().await;
    // It reaches connections that are open.
    admin.batch_execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    until("the server takes no writes", async || one.round(&[(A, vec![])], &[]).await.answer == Answer::Lost).await;
    assert_eq!(one.lane.host(), None);
    assert_eq!(one.round(&[], &[A]).await.answer, Answer::Lost, "it is not used again");
    let refused = Lane::connect(&database.target, Purpose::Lane, NodeId(9)).await.err().unwrap();
    assert!(refused.to_string().contains("takes no writes"), "{refused}");
}
