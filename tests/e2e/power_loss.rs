//! Rooms on a disk that fails again and again: everything that clients were told is true of the rooms afterwards.
//!
//! Whole lives of a host pass in milliseconds here, in this process and on disks that are made of memory. `crashes.rs`
//! does the same to a real process, with real files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dormouse::HostLimits;
use dormouse::config::{self, Config, Limits};
use dormouse::guest::LongTurns;
use dormouse::outbound::{Allowed, HttpClient};
use dormouse::room::{Namespace, Rooms};
use dormouse::store::{Store, StoreOptions};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use serde_json::json;

use crate::checker::Violation;
use crate::faulty_disk::{Fault, FaultDisk};
use crate::harness::{TEST_TIMEOUT, within};
use crate::seeds::{Progress, choices, rounds, seed};
use crate::workload::{Cast, World};

/// Crashes before a host that stays.
const CRASHES: usize = 3;

/// Compiled code that all hosts of these tests share: compiling takes longer than a hundred hosts run.
struct Kinds {
    namespaces: BTreeMap<String, Namespace>,
    lane: LongTurns,
    limits: Arc<Limits>,
}

fn kinds() -> &'static Kinds {
    static KINDS: OnceLock<Kinds> = OnceLock::new();
    KINDS.get_or_init(|| {
        let limits = Limits { awake_rooms: 200, warm_rooms: 10, requests: 50, ..Limits::default() };
        let errands =
            config::Namespace { calls: ["ERRANDS".to_owned()].into(), ..config::Namespace::of("builtin:caller") };
        let namespaces =
            BTreeMap::from([("ROOMS".into(), config::Namespace::of("builtin:chat-room")), ("ERRANDS".into(), errands)]);
        let config = Config { namespaces, limits: limits.clone(), ..Config::default() };
        let extra = BTreeMap::from([("caller".to_owned(), dormouse_bundle::CALLER.to_vec())]);
        let loaded = dormouse::components(&config, &extra, None).unwrap();
        Kinds { namespaces: loaded.namespaces, lane: LongTurns::start().unwrap(), limits: Arc::new(limits) }
    })
}

/// Rooms on a disk; none, where it fails already while they start.
fn open(disk: Arc<FaultDisk>) -> Option<Rooms> {
    let kinds = kinds();
    let store = Store::on_engine(disk, StoreOptions::default()).ok()?;
    let namespace = |(name, of): (&String, &Namespace)| {
        let calls = if name == "ERRANDS" { ["ERRANDS".to_owned()].into() } else { BTreeSet::new() };
        let namespace = Namespace {
            component: of.component.clone(),
            config: of.config.clone(),
            message_in_bytes: of.message_in_bytes,
            message_out_bytes: of.message_out_bytes,
            calls,
            outbound: Allowed::new(&[], &[]).unwrap(),
        };
        (name.clone(), namespace)
    };
    let namespaces = kinds.namespaces.iter().map(namespace).collect();
    let (outbound, limits) = (HttpClient::new(None).unwrap(), HostLimits::new(kinds.limits.clone()));
    // They fall asleep between two messages, too.
    let idle = Duration::from_millis(3);
    Rooms::start(store, namespaces, limits, idle, kinds.lane.clone(), outbound).ok()
}

#[derive(Debug, Default)]
struct Figures {
    rounds: u64,
    faults: BTreeMap<String, u64>,
    messages: usize,
    errands: usize,
}

/// Lives that end as `fault` says, and then one that stays; what is wrong in the end.
async fn lives(
    rng: &mut StdRng,
    fault: impl Fn(&mut StdRng) -> Fault,
    patience: Duration,
    figures: &mut Figures,
) -> Vec<Violation> {
    let mut cast = Cast::new(2, 3, rng.next_u64());
    let mut contents = BTreeMap::new();
    for _ in 0..CRASHES {
        let disk = FaultDisk::new(contents, fault(rng), rng.random_range(1..40));
        if let Some(rooms) = open(disk.clone()) {
            cast.live(&rooms, rng.random_range(1..12)).await;
            rooms.drain(Duration::from_secs(5)).await;
        }
        if disk.struck() {
            *figures.faults.entry(disk.to_string()).or_default() += 1;
        }
        contents = disk.found();
    }
    let rooms = open(FaultDisk::new(contents, Fault::None, 0)).expect("this disk works");
    let found = cast.settle(&rooms, patience).await;
    rooms.drain(Duration::from_secs(5)).await;
    let (messages, errands) = cast.told();
    figures.rounds += 1;
    figures.messages += messages;
    figures.errands += errands;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_messages_survive_every_disk_fault() {
    let (seed, rounds) = (seed(), rounds(10));
    let (mut figures, mut progress) = (Figures::default(), Progress::new());
    for round in 0..rounds {
        let found = lives(&mut choices(seed, round), Fault::any, TEST_TIMEOUT, &mut figures).await;
        assert_eq!(found, [], "in round {round} of the seed {seed}");
        progress.say(&figures);
    }
    println!("{figures:?}");
    let faults = figures.faults.values().sum::<u64>();
    assert!(figures.messages as u64 > 20 * rounds && faults >= rounds / 2, "too little happened: {figures:?}");
}

/// Whether a fault is seen for what it is, within some rounds. What is waited for is short, so that on a busy machine a
/// timer may look lost that is only late: that is not what is asked for.
async fn is_detected(fault: Fault, for_what_it_is: fn(&Violation) -> bool) -> bool {
    let seed = seed();
    for round in 0..50 {
        let found =
            lives(&mut choices(seed, round), |_| fault, Duration::from_millis(300), &mut Figures::default()).await;
        if found.iter().any(for_what_it_is) {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checker_detects_a_skipped_sync() {
    assert!(is_detected(Fault::Lie, |one| matches!(one, Violation::Lost(_) | Violation::Forgotten(_))).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checker_detects_a_tail_lost_at_recovery() {
    assert!(is_detected(Fault::LoseTail, |one| matches!(one, Violation::Lost(_) | Violation::Forgotten(_))).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checker_detects_lost_timers_and_lost_or_repeated_posts() {
    // The kinds of records, as `store/records.rs` has them.
    const TIMERS: Fault = Fault::LoseKind(3);
    const POSTS: Fault = Fault::LoseKind(5);
    const TAKEN: Fault = Fault::LoseKind(6);
    assert!(is_detected(TIMERS, |one| matches!(one, Violation::Lost(what) if what.contains("timer"))).await);
    assert!(is_detected(POSTS, |one| matches!(one, Violation::Torn(_))).await);
    assert!(is_detected(TAKEN, |one| matches!(one, Violation::Twice(_))).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_due_on_an_unreadable_disk_fires_later() {
    let disk = FaultDisk::new(BTreeMap::new(), Fault::None, 0);
    let rooms = open(disk.clone()).unwrap();
    let set = json!({ "do": "mark-later", "name": "rings", "after": 300 });
    assert_eq!(rooms.tell("desk", &set).await.unwrap()["set"], true);
    let until = async |condition: &dyn Fn() -> bool| {
        within(async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    };
    until(&|| rooms.running() == 0).await;
    disk.fail_reads(true);
    until(&|| disk.struck()).await;
    disk.fail_reads(false);
    // No client visits the room: its writes are read from the disk.
    until(&|| disk.found().keys().any(|key| key.ends_with(b"mark rings"))).await;
    rooms.drain(Duration::from_secs(5)).await;
}
