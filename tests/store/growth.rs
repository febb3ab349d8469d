//! A database that takes many commits does not grow: the rows of rooms are updated in place.

use std::time::Instant;

use dormouse::cluster::ownership::{Answer, RoomId};

use crate::harness::{Server, until};
use crate::node::{Node, confirmed, entry};

const ROOMS: u64 = 1_000;
/// Rooms of a round.
const ROUND: u64 = 200;
/// Messages that a room keeps.
const KEPT: u64 = 50;

/// `DORMOUSE_TEST_COMMITS=1000000` takes a minute.
fn commits() -> u64 {
    std::env::var("DORMOUSE_TEST_COMMITS").map_or(100_000, |commits| commits.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_update_the_rows_of_rooms_in_place() {
    let server = Server::start(&[]);
    let database = server.new_database().await;
    let mut node = Node::new(&database.target, database.new_node().await).await;
    let rooms = (1..=ROOMS).map(RoomId).collect::<Vec<_>>();
    assert_eq!(confirmed(&node.claim(&rooms, &[]).await).len(), rooms.len());
    let admin = database.admin().await;
    let started_at = Instant::now();
    let mut done = 0;
    while done < commits() {
        let start = rand::random_range(1..=ROOMS - ROUND + 1);
        let rounds = (start..start + ROUND).map(|room| {
            let next = node.next(RoomId(room)).number;
            let message = |number: u64| [b"m", &number.to_be_bytes()[..]].concat();
            let mut records = vec![entry(&message(next), Some(&[7; 200])), entry(b"last", Some(&next.to_be_bytes()))];
            if next > KEPT {
                records.push(entry(&message(next - KEPT), None));
            }
            (RoomId(room), records)
        });
        let executed = node.round(&rounds.collect::<Vec<_>>(), &[]).await;
        assert!(matches!(executed.answer, Answer::Done { warned: false, .. }), "{executed:?}");
        let stored = confirmed(&executed);
        assert_eq!(stored.len() as u64, ROUND);
        for room in stored {
            node.owned.get_mut(&room).unwrap().number += 1;
        }
        done += ROUND;
    }
    let seconds = started_at.elapsed().as_secs_f64();
    let query = "SELECT n_tup_upd, n_tup_hot_upd, pg_table_size(relid) FROM pg_stat_user_tables \
                 WHERE schemaname = 'dormouse' AND relname = 'rooms'";
    // The server counts some seconds later.
    let mut counted = (0, 0, 0);
    until("the server has counted the updates", async || {
        let row = admin.query_one(query, &[]).await.unwrap();
        counted = (row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2));
        counted.0 >= done.cast_signed()
    })
    .await;
    let (updates, hot, bytes) = counted;
    #[expect(clippy::cast_precision_loss, reason = "it is a ratio")]
    let ratio = hot as f64 / updates as f64;
    println!(
        "{done} commits in {seconds:.1} s, {:.2} % in place; the table of rooms has {} KB",
        ratio * 100.0,
        bytes >> 10
    );
    assert!(ratio > 0.97, "{hot} of {updates}");
    assert!(bytes < 4 << 20, "{bytes}");
    let stored = admin.query_one("SELECT sum(number)::bigint FROM dormouse.rooms", &[]).await.unwrap();
    assert_eq!(stored.get::<_, i64>(0), done.cast_signed());
}
