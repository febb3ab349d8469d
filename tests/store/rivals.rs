//! Eight nodes that all believe that the others are dead, with connections that are cut in the middle of a statement,
//! and statements that run after their connection is gone. The fence keeps the rooms in order, and without it the judge
//! finds what is lost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dormouse::cluster::ownership::{Answer, Commit, NodeId, RoomId, Rows, Statement};
use dormouse::store::Record;
use dormouse::store::postgres::{Contents, sql};
use tokio_postgres::{Client, Statement as Prepared};

use crate::harness::{Database, Server, until};
use crate::judge::{Confirmed, Verdict, judge, message};
use crate::node::{Node, confirmed};

const ROOMS: u64 = 16;
const RIVALS: usize = 8;
/// Long enough for some hundred claims.
const RACE: Duration = Duration::from_secs(8);

/// The statement of commits that does not look at the fence.
struct Unfenced {
    client: Client,
    statement: Prepared,
}

impl Unfenced {
    async fn new(database: &Database) -> Self {
        let sql = sql::ROUND_ENTRIES;
        let fence = " AND r.epoch = i.epoch AND r.token = i.token AND r.number = i.base";
        assert!(sql.contains(fence));
        let client = database.admin().await;
        let statement = client.prepare(&sql.replacen(fence, "", 1)).await.unwrap();
        Unfenced { client, statement }
    }

    /// The rooms that were confirmed.
    async fn commit(&self, commits: &[(RoomId, i64, Commit, Vec<Record>)]) -> Vec<RoomId> {
        let ids = commits.iter().map(|(_, row, ..)| *row).collect::<Vec<_>>();
        let of = |value: fn(&Commit) -> u64| {
            commits.iter().map(move |(_, _, commit, _)| value(commit).cast_signed()).collect::<Vec<_>>()
        };
        let (epochs, tokens) = (of(|commit| commit.fence.epoch), of(|commit| commit.fence.token));
        let (bases, numbers) = (of(|commit| commit.base), of(|commit| commit.number));
        let bytes = vec![None::<i64>; ids.len()];
        let entries = commits.iter().flat_map(|(_, row, _, records)| records.iter().map(move |record| (*row, record)));
        let (mut rows, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (row, (key, value)) in entries {
            rows.push(row);
            keys.push(&key[9..]);
            values.push(&value.as_ref().unwrap()[..]);
        }
        let (none, nothing) = (Vec::<i64>::new(), Vec::<&[u8]>::new());
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 16] = [
            &rows, &keys, &values, &none, &nothing, &ids, &epochs, &tokens, &bases, &numbers, &bytes, &bytes, &none,
            &none, &none, &none,
        ];
        let rows = match self.client.query(&self.statement, &parameters).await {
            Ok(rows) => rows,
            Err(_) => return Vec::new(),
        };
        rows.iter().map(|row| commits.iter().find(|(_, id, ..)| *id == row.get::<_, i64>(0)).unwrap().0).collect()
    }
}

#[derive(Default)]
struct Race {
    confirmed: Vec<Confirmed>,
    claims: usize,
    refused: usize,
    cut: usize,
    cut_and_stored: usize,
}

/// One node: it claims a few rooms from whoever has them, commits in them for a while, and begins anew.
async fn rival(database: &Database, me: NodeId, dead: &[NodeId], unfenced: Option<Unfenced>, end: Instant) -> Race {
    let mut race = Race::default();
    let mut node = Node::new(&database.target, me).await;
    let mut try_number = 0;
    while Instant::now() < end {
        let mut rooms = (0..4).map(|_| RoomId(rand::random_range(1..=ROOMS))).collect::<Vec<_>>();
        rooms.sort_unstable();
        rooms.dedup();
        node.owned.clear();
        match node.claim(&rooms, dead).await.answer {
            Answer::Done { .. } => race.claims += 1,
            Answer::Error { retry: true } => continue,
            answer => panic!("{answer:?}"),
        }
        for _ in 0..rand::random_range(1..12) {
            if rand::random_bool(0.3) {
                tokio::time::sleep(Duration::from_millis(rand::random_range(0..40))).await;
            }
            let rooms = node.owned.keys().copied().collect::<Vec<_>>();
            if rooms.is_empty() {
                break;
            }
            let mut commits = Vec::new();
            for room in &rooms {
                try_number += 1;
                let commit = node.next(*room);
                let text = format!("{}:{}:{try_number}", commit.fence.epoch, me.0);
                commits.push((*room, text.clone(), message(commit.number, &text)));
            }
            let rounds = commits.iter().map(|(room, _, records)| (*room, records.clone())).collect::<Vec<_>>();
            let stored = match &unfenced {
                Some(unfenced) => {
                    let rows = rounds.iter().map(|(room, records)| {
                        (*room, node.owned[room].row.0.cast_signed(), node.next(*room), records.clone())
                    });
                    unfenced.commit(&rows.collect::<Vec<_>>()).await
                }
                // The connection is lost somewhere in the middle: the outcome is unknown.
                None if rand::random_bool(0.05) => {
                    let limit = Duration::from_micros(rand::random_range(0..4_000));
                    match tokio::time::timeout(limit, node.round(&rounds, &[])).await {
                        Ok(executed) => confirmed(&executed),
                        Err(_) => {
                            race.cut += 1;
                            node.reconnect().await;
                            let (stored, rest) = resolved(&mut node, &rooms).await;
                            race.cut_and_stored += stored.len();
                            node.owned.retain(|room, _| stored.contains(room) || rest.contains(room));
                            record(&mut race, &mut node, &commits, &stored);
                            continue;
                        }
                    }
                }
                None => {
                    let executed = node.round(&rounds, &[]).await;
                    match executed.answer {
                        Answer::Error { retry: true } => continue,
                        Answer::Done { warned: false, .. } => confirmed(&executed),
                        _ => panic!("{executed:?}"),
                    }
                }
            };
            race.refused += rooms.len() - stored.len();
            record(&mut race, &mut node, &commits, &stored);
            node.owned.retain(|room, _| stored.contains(room));
        }
    }
    race
}

fn record(race: &mut Race, node: &mut Node, commits: &[(RoomId, String, Vec<Record>)], stored: &[RoomId]) {
    for (room, text, _) in commits.iter().filter(|(room, ..)| stored.contains(room)) {
        let owned = node.owned.get_mut(room).unwrap();
        owned.number += 1;
        race.confirmed.push(Confirmed { room: *room, number: owned.number, text: text.clone() });
    }
}

/// Rooms whose last commit had happened, and rooms whose last commit had not. The rest has another owner.
async fn resolved(node: &mut Node, rooms: &[RoomId]) -> (Vec<RoomId>, Vec<RoomId>) {
    loop {
        let executed = node.resolve(rooms).await;
        let Answer::Done { rows: Rows::Resolved(resolved), warned: false } = executed.answer else {
            assert_eq!(executed.answer, Answer::Error { retry: true });
            continue;
        };
        let (mut stored, mut not) = (Vec::new(), Vec::new());
        for found in resolved {
            let owned = node.owned.get_mut(&found.room).unwrap();
            owned.fence.epoch = found.epoch;
            assert!(found.number == owned.number || found.number == owned.number + 1);
            if found.number == owned.number { not.push(found.room) } else { stored.push(found.room) }
        }
        return (stored, not);
    }
}

async fn race(is_fenced: bool) -> (Race, Verdict) {
    let database = std::sync::Arc::new(Server::shared().new_database().await);
    let mut nodes = Vec::new();
    for _ in 0..RIVALS {
        nodes.push(database.new_node().await);
    }
    let end = Instant::now() + RACE;
    let mut tasks = Vec::new();
    for me in nodes.clone() {
        let (database, nodes) = (database.clone(), nodes.clone());
        tasks.push(tokio::spawn(async move {
            let unfenced = if is_fenced { None } else { Some(Unfenced::new(&database).await) };
            rival(&database, me, &nodes, unfenced, end).await
        }));
    }
    let mut total = Race::default();
    for task in tasks {
        let race = task.await.unwrap();
        total.confirmed.extend(race.confirmed);
        total.claims += race.claims;
        total.refused += race.refused;
        total.cut += race.cut;
        total.cut_and_stored += race.cut_and_stored;
    }
    let rooms = (1..=ROOMS).map(RoomId).collect::<Vec<_>>();
    let verdict = judge(&database.admin().await, &rooms, &total.confirmed).await;
    println!(
        "{} claims, {} commits confirmed, {} refused, {} rounds cut with {} commits stored; {verdict:?}",
        total.claims,
        total.confirmed.len(),
        total.refused,
        total.cut,
        total.cut_and_stored
    );
    (total, verdict)
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_rivals_lose_and_double_nothing() {
    let (race, verdict) = race(true).await;
    assert_eq!(verdict, Verdict::default());
    assert!(race.claims > 20 && race.confirmed.len() > 100 && race.refused > 20, "they must meet");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_fence_the_judge_finds_what_rivals_lose() {
    let (_, verdict) = race(false).await;
    assert!(verdict.lost > 0 && verdict.twice > 0, "{verdict:?}");
}

/// A commit waits for a row when its connection ends, and a claim comes. Whichever is first, the claim knows the outcome,
/// and nothing changes after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_outlives_its_connection_changes_nothing_behind_a_claim() {
    let database = Server::shared().new_database().await;
    let admin = database.admin().await;
    // A transaction sees the activity of its beginning.
    let watcher = database.admin().await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() \
                   AND application_name = 'dormouse lane'";
    let waits = async || watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0);
    let room = RoomId(1);
    let me = database.new_node().await;
    let (mut ran, mut fenced, mut texts) = (0, 0, 0);
    for round in 0..15 {
        let mut node = Node::new(&database.target, me).await;
        let mut next = Node::new(&database.target, me).await;
        node.own(room).await;
        let base = node.owned[&room].number;
        texts += 1;
        let text = format!("{}:{texts}", node.owned[&room].fence.epoch);
        let statement = Statement::Round { commits: vec![node.next(room)], proofs: vec![] };
        let contents: Contents = node.contents(HashMap::from([(room, message(base + 1, &text))]));
        admin.batch_execute("BEGIN; SELECT FROM dormouse.rooms FOR UPDATE").await.unwrap();
        {
            let mut claim = std::pin::pin!(next.own(room));
            // Polls the claim until so many statements wait.
            let is_claim_first = round % 3 == 2;
            if is_claim_first {
                until("the claim waits", async || {
                    assert!(tokio::time::timeout(Duration::from_millis(5), &mut claim).await.is_err());
                    waits().await == 1
                })
                .await;
            }
            {
                let mut zombie = std::pin::pin!(node.lane.execute(&statement, &contents));
                until("the commit waits", async || {
                    assert!(tokio::time::timeout(Duration::from_millis(5), &mut zombie).await.is_err());
                    waits().await == 1 + i64::from(is_claim_first)
                })
                .await;
            }
            assert_eq!(node.lane.host(), None, "a lane whose statement was dropped is not used again");
            assert_eq!(waits().await, 1 + i64::from(is_claim_first), "the statement goes on without its connection");
            if round % 3 == 1 {
                until("the claim waits", async || {
                    assert!(tokio::time::timeout(Duration::from_millis(5), &mut claim).await.is_err());
                    waits().await == 2
                })
                .await;
            }
            admin.batch_execute("COMMIT").await.unwrap();
            claim.await;
        }
        let claimed = next.owned[&room].number;
        assert!(claimed == base || claimed == base + 1);
        if claimed == base {
            fenced += 1
        } else {
            ran += 1
        }
        until("no statement waits", async || waits().await == 0).await;
        texts += 1;
        let text = format!("{}:{texts}", next.owned[&room].fence.epoch);
        assert!(next.commit(room, message(claimed + 1, &text)).await, "the number of the claim still holds");
    }
    println!("{ran} statements ran before the claim, {fenced} were fenced off");
    assert!(ran > 0 && fenced > 0);
    assert_eq!(judge(&admin, &[room], &[]).await, Verdict::default());
}
