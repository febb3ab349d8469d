//! The primary dies under load, and the standby takes over. With a synchronous standby nothing that was confirmed is
//! lost. The same with an asynchronous one is the control: there the judge has to find the loss.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dormouse::cluster::ownership::{Answer, RoomId, Rows};
use dormouse::store::postgres::Target;

use crate::harness::{Database, Server};
use crate::judge::{Confirmed, Verdict, judge, message};
use crate::node::{Node, confirmed};

const NODES: u64 = 4;
const ROOMS_EACH: u64 = 25;

#[derive(Default)]
struct Told {
    confirmed: Vec<Confirmed>,
    /// Commits in doubt that had happened, and that had not.
    happened: usize,
    not_happened: usize,
    /// Rooms whose number went back behind a confirmed commit.
    went_back: usize,
    lost_answers: usize,
}

/// A node that commits in all of its rooms, again and again, and finds out what has become of commits without an answer.
async fn commit_until(
    target: Target,
    me: dormouse::cluster::ownership::NodeId,
    rooms: Vec<RoomId>,
    stop: Arc<AtomicBool>,
) -> Told {
    let mut told = Told::default();
    let mut node = Node::new(&target, me).await;
    assert_eq!(confirmed(&node.claim(&rooms, &[]).await).len(), rooms.len());
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let texts = rooms.iter().map(|room| (*room, format!("{}:{}:{number}", node.owned[room].fence.epoch, me.0)));
        let texts = texts.collect::<HashMap<_, _>>();
        let rounds =
            rooms.iter().map(|room| (*room, message(node.next(*room).number, &texts[room]))).collect::<Vec<_>>();
        let executed = node.round(&rounds, &[]).await;
        let mut confirm = |node: &mut Node, room: RoomId| {
            let owned = node.owned.get_mut(&room).unwrap();
            owned.number += 1;
            told.confirmed.push(Confirmed { room, number: owned.number, text: texts[&room].clone() });
        };
        let stored = confirmed(&executed);
        if !stored.is_empty() {
            assert_eq!(stored.len(), rooms.len(), "nobody else claims them");
            stored.into_iter().for_each(|room| confirm(&mut node, room));
            continue;
        }
        match executed.answer {
            Answer::Error { retry: true } => continue,
            // A database that has lost the last claims knows none of the fences.
            Answer::Done { warned: false, .. } => {}
            Answer::Done { warned: true, .. } | Answer::Lost => told.lost_answers += 1,
            Answer::Error { retry: false } => panic!("{executed:?}"),
        }
        let mut open = rooms.clone();
        while !open.is_empty() {
            node.reconnect().await;
            let Answer::Done { rows: Rows::Resolved(resolved), warned: false } = node.resolve(&open).await.answer
            else {
                continue;
            };
            if resolved.is_empty() {
                // The claim itself is lost: only with an asynchronous standby.
                let had = node.owned.clone();
                if confirmed(&node.claim(&open, &[]).await).len() != open.len() {
                    continue;
                }
                told.went_back += open.iter().filter(|room| node.owned[room].number < had[room].number).count();
                break;
            }
            for found in resolved {
                open.retain(|room| *room != found.room);
                let owned = node.owned.get_mut(&found.room).unwrap();
                owned.fence.epoch = found.epoch;
                if found.number == owned.number + 1 {
                    told.happened += 1;
                    confirm(&mut node, found.room);
                } else if found.number == owned.number {
                    told.not_happened += 1;
                } else {
                    told.went_back += 1;
                    owned.number = found.number;
                }
            }
        }
    }
    told
}

/// Runs nodes, and `fail` beside them. Returns what they were told, and the judgement of the server that is left.
async fn under_load(database: &Database, standby: &Server, fail: impl AsyncFnOnce()) -> (Told, Verdict) {
    let target = database.or_on(standby);
    let stop = Arc::new(AtomicBool::new(false));
    let (mut tasks, mut all) = (Vec::new(), Vec::new());
    for index in 0..NODES {
        let rooms = (0..ROOMS_EACH).map(|room| RoomId(index * ROOMS_EACH + room + 1)).collect::<Vec<_>>();
        all.extend(rooms.clone());
        tasks.push(tokio::spawn(commit_until(target.clone(), database.new_node().await, rooms, stop.clone())));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    fail().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop.store(true, Ordering::Relaxed);
    let mut total = Told::default();
    for task in tasks {
        let told = tokio::time::timeout(Duration::from_secs(60), task).await.expect("a node hangs").unwrap();
        total.confirmed.extend(told.confirmed);
        total.happened += told.happened;
        total.not_happened += told.not_happened;
        total.went_back += told.went_back;
        total.lost_answers += told.lost_answers;
    }
    let verdict = judge(&standby.admin(database.name()).await, &all, &total.confirmed).await;
    println!(
        "{} commits confirmed, {} rounds without an answer: {} commits of them had happened, {} had not; {} rooms went \
         back; {verdict:?}",
        total.confirmed.len(),
        total.lost_answers,
        total.happened,
        total.not_happened,
        total.went_back
    );
    (total, verdict)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_and_starts_again_has_what_it_confirmed() {
    let mut primary = Server::start(&[]);
    let database = primary.new_database().await;
    let room = RoomId(1);
    let mut node = Node::new(&database.target, database.new_node().await).await;
    node.own(room).await;
    assert!(node.commit(room, message(1, "one")).await);
    primary.kill();
    assert!(!node.commit(room, message(2, "two")).await);
    primary.start_again();
    node.reconnect().await;
    let claimed = node.claim(&[room], &[]).await;
    assert_eq!(confirmed(&claimed), [room]);
    assert_eq!(node.owned[&room].number, 1);
    assert!(node.commit(room, message(2, "two")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_with_a_synchronous_standby_loses_and_doubles_nothing() {
    let mut primary = Server::start(&[]);
    let standby = primary.standby().await;
    let database = primary.new_database().await;
    primary.wait_for_standby().await;
    let (told, verdict) = under_load(&database, &standby, async || {
        primary.kill();
        standby.promote().await;
    })
    .await;
    assert_eq!(verdict, Verdict::default());
    assert_eq!(told.went_back, 0);
    assert!(told.lost_answers > 0 && told.confirmed.len() > 1_000);
    let after = told.confirmed.iter().filter(|commit| !commit.text.starts_with("1:")).count();
    assert!(after > 100, "{after} commits after the failover");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_judge_finds_what_an_asynchronous_standby_loses() {
    let mut primary = Server::start(&[]);
    let standby = primary.standby().await;
    let database = primary.new_database().await;
    let (told, verdict) = under_load(&database, &standby, async || {
        primary.stop_sending().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        primary.kill();
        standby.promote().await;
    })
    .await;
    assert!(verdict.lost > 0, "{verdict:?}");
    assert!(told.went_back > 0, "the nodes notice it");
}
