//! Which nodes live, and which should own a room: simulated nodes that pause, end and are cut off, and a reader of each.

use dormouse::cluster::members::{BEAT_MS, Life, Members, Row};
use dormouse::cluster::ownership::NodeId;
use dormouse::cluster::place::{BUCKETS, Bucket};
use dormouse::model::Address;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

fn row(node: u64, beat: u64) -> Row {
    Row { node: NodeId(node), address: format!("10.0.0.{node}:8790"), beat, is_leaving: false }
}

/// A reader, node 1, that has read twice. Node 2 has the beat 1.
fn reader() -> (Members, u64) {
    let mut members = Members::new(NodeId(1));
    members.read(0, vec![row(1, 0), row(2, 0)]);
    members.read(BEAT_MS, vec![row(1, 1), row(2, 1)]);
    (members, BEAT_MS)
}

/// Reads so often, with node 2 standing still.
fn still(members: &mut Members, now: &mut u64, readings: usize) {
    for _ in 0..readings {
        *now += BEAT_MS;
        members.read(*now, vec![row(1, *now), row(2, 1)]);
    }
}

#[test]
fn a_node_that_stands_still_over_six_readings_is_dead_until_it_moves() {
    let (mut members, mut now) = reader();
    still(&mut members, &mut now, 5);
    assert_eq!(members.life(NodeId(2)), Life::Lives);
    still(&mut members, &mut now, 1);
    assert_eq!((members.life(NodeId(2)), members.dead()), (Life::Dead, [NodeId(2)].into()));
    assert_eq!(members.living().map(|row| row.node.0).collect::<Vec<_>>(), [1]);
    assert!(members.read(now + BEAT_MS, vec![row(1, 0), row(2, 2)]), "it is news");
    assert_eq!((members.life(NodeId(2)), members.dead()), (Life::Lives, [].into()));
    assert!(!members.read(now + 2 * BEAT_MS, vec![row(1, 1), row(2, 3)]), "a beat is no news");
}

#[test]
fn a_reader_that_was_paused_counts_anew() {
    let (mut members, mut now) = reader();
    still(&mut members, &mut now, 5);
    now += 700;
    still(&mut members, &mut now, 6);
    assert_eq!(members.life(NodeId(2)), Life::Lives, "the first of the six came late");
    still(&mut members, &mut now, 1);
    assert_eq!(members.life(NodeId(2)), Life::Dead);
}

#[test]
fn a_node_whose_address_refuses_is_dead_after_two_readings() {
    let (mut members, mut now) = reader();
    members.refused(NodeId(2));
    still(&mut members, &mut now, 1);
    assert_eq!(members.life(NodeId(2)), Life::Lives);
    still(&mut members, &mut now, 1);
    assert_eq!(members.life(NodeId(2)), Life::Dead);
    // A wrong address alone condemns nobody.
    members.read(now + BEAT_MS, vec![row(1, 0), row(2, 7)]);
    members.refused(NodeId(2));
    members.read(now + 2 * BEAT_MS, vec![row(1, 0), row(2, 8)]);
    assert_eq!(members.life(NodeId(2)), Life::Lives);
}

#[test]
fn a_node_whose_address_another_process_has_is_dead_at_once() {
    let (mut members, _) = reader();
    members.replaced(NodeId(2));
    assert_eq!(members.life(NodeId(2)), Life::Dead);
}

#[test]
fn a_node_without_a_row_is_dead_only_if_it_had_time_to_appear() {
    let (mut members, mut now) = reader();
    assert_eq!(members.life(NodeId(7)), Life::Unknown);
    still(&mut members, &mut now, 1);
    assert_eq!(members.life(NodeId(7)), Life::Unknown, "that reading may have begun before");
    still(&mut members, &mut now, 1);
    assert_eq!(members.life(NodeId(7)), Life::Dead);
    assert_eq!(members.life(NodeId(8)), Life::Unknown);
    members.read(now + BEAT_MS, vec![row(1, 0), row(2, 2), row(8, 0)]);
    assert_eq!(members.life(NodeId(8)), Life::Lives);
    // A row that disappears is that of a node that has left.
    members.read(now + 2 * BEAT_MS, vec![row(1, 0), row(8, 1)]);
    assert_eq!(members.life(NodeId(2)), Life::Dead);
}

#[test]
fn the_row_of_a_dead_node_is_removed_after_a_minute() {
    let (mut members, mut now) = reader();
    still(&mut members, &mut now, 6);
    let dead_at = now;
    assert_eq!(members.removable(dead_at + 59_999), []);
    assert_eq!(members.removable(dead_at + 60_000), [(NodeId(2), 1)]);
}

/// A simulated node.
struct Node {
    members: Members,
    beat: u64,
    /// When it acts next, and from when on it acts again after a pause.
    next: u64,
    has_ended: bool,
    /// When its beat was raised last.
    beaten_at: u64,
    /// The times of its last readings.
    readings: Vec<u64>,
}

/// Nodes with pauses, ends, and times in which the database does not answer. A dead node must have stood still over six
/// readings in a row; one that has ended must be found.
#[test]
fn no_node_is_condemned_by_a_reader_that_slept_and_each_end_is_found() {
    for seed in 0..2_000 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let count = rng.random_range(2..6);
        let new = |id| Node {
            members: Members::new(NodeId(id)),
            beat: 0,
            next: 0,
            has_ended: false,
            beaten_at: 0,
            readings: Vec::new(),
        };
        let mut nodes = (0..count).map(new).collect::<Vec<_>>();
        let mut away_until = 0;
        let calm_from = 20_000;
        for now in (0..30_000).step_by(10) {
            if now < calm_from && rng.random_ratio(1, 500) {
                away_until = now + rng.random_range(10..4_000);
            }
            for id in 0..nodes.len() {
                if now < calm_from && rng.random_ratio(1, 800) {
                    nodes[id].next = nodes[id].next.max(now + rng.random_range(10..6_000));
                }
                if now < calm_from && id > 0 && rng.random_ratio(1, 4_000) {
                    nodes[id].has_ended = true;
                }
                if nodes[id].has_ended || nodes[id].next > now {
                    continue;
                }
                if now < away_until.min(calm_from) {
                    nodes[id].next = now + 50;
                    continue;
                }
                let node = &mut nodes[id];
                (node.beat, node.beaten_at, node.next) = (node.beat + 1, now, now + BEAT_MS + rng.random_range(0..60));
                node.readings.push(now);
                let rows = nodes.iter().enumerate().map(|(id, node)| row(id as u64, node.beat)).collect();
                let before = nodes[id].members.dead();
                nodes[id].members.read(now, rows);
                for dead in nodes[id].members.dead().difference(&before) {
                    let since = nodes[dead.0 as usize].beaten_at;
                    let seen = nodes[id].readings.iter().copied().filter(|at| *at > since).collect::<Vec<_>>();
                    let steady = seen.iter().rev().take(6).collect::<Vec<_>>();
                    let is_steady = steady.len() == 6 && steady.windows(2).all(|two| two[0] - two[1] <= 600);
                    assert!(is_steady, "seed {seed}: {dead:?} at {now} by {id}; its last beat was at {since}");
                }
            }
        }
        for (id, node) in nodes.iter().enumerate().filter(|(_, node)| !node.has_ended) {
            let ended = (0..nodes.len()).filter(|other| nodes[*other].has_ended).map(|other| NodeId(other as u64));
            assert_eq!(node.members.dead(), ended.collect(), "seed {seed}: as node {id} sees it");
        }
    }
}

/// The place of each bucket among nodes with these numbers.
fn places(nodes: &[u64]) -> Vec<u64> {
    let addresses = nodes.iter().map(|node| (NodeId(*node), format!("10.0.0.{node}:8790"))).collect::<Vec<_>>();
    let place = |bucket| {
        let nodes = addresses.iter().map(|(node, address)| (*node, address.as_str()));
        Bucket(bucket).place(nodes).unwrap().0
    };
    (0..BUCKETS).map(place).collect()
}

#[test]
fn a_node_that_joins_takes_its_share_and_one_that_leaves_gives_only_its_own() {
    for count in 1..20_u64 {
        let nodes = (1..=count).collect::<Vec<_>>();
        let before = places(&nodes);
        let after = places(&[&nodes[..], &[count + 1]].concat());
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).collect::<Vec<_>>();
        assert!(moved.iter().all(|(_, after)| **after == count + 1), "only to the new one");
        let share = usize::from(BUCKETS) / (count as usize + 1);
        assert!(moved.len() < share + 52 && moved.len() + 52 > share, "{} of {share}", moved.len());
        // The other way round it is one that leaves.
        let back = after.iter().zip(&before).filter(|(after, _)| **after != count + 1);
        assert!(back.into_iter().all(|(after, before)| after == before));
    }
}

#[test]
fn a_node_that_starts_again_has_its_rooms_again_and_the_order_of_nodes_does_not_matter() {
    let nodes = [(NodeId(1), "a:1"), (NodeId(2), "b:1"), (NodeId(3), "c:1")];
    for bucket in (0..BUCKETS).map(Bucket) {
        let place = bucket.place(nodes).unwrap();
        assert_eq!(bucket.place([nodes[2], nodes[0], nodes[1]]), Some(place));
        let started_again = nodes.map(|(node, address)| (if node == place { NodeId(9) } else { node }, address));
        assert_eq!(bucket.place(started_again), Some(NodeId(9)));
    }
    assert_eq!(Bucket(0).place([]), None);
}

#[test]
fn the_bucket_of_a_room_never_changes() {
    let bucket = |name| Bucket::of(&Address::new("ROOMS", name).unwrap()).0;
    assert_eq!(["lobby", "team-7", "x"].map(bucket), [508, 370, 628], "nodes of two releases must agree");
}
