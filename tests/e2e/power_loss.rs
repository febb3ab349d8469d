//! Rooms on a disk that fails again and again: everything that clients received is true of the rooms afterwards.
//!
//! Whole lives of a host pass in milliseconds here, in this process and on disks that are made of memory. `crashes.rs`
//! does the same to a real process, with real files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dormouse::HostLimits;
use dormouse::config::{self, Config, Limits};
use dormouse::deploys::Journal;
use dormouse::guest::LongTurns;
use dormouse::outbound::{Allowed, HttpClient};
use dormouse::rollout::Rollout;
use dormouse::room::{Namespace, Rooms};
use dormouse::store::{Store, StoreOptions};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use serde_json::json;

use crate::checker::Violation;
use crate::faulty_disk::{Fault, FaultDisk};
use crate::harness::{TEST_TIMEOUT, within};
use crate::seeds::{Progress, random_choices, rounds, seed};
use crate::workload::{ServerUnderTest, Workload};

/// Crashes before a host that stays.
const CRASHES: usize = 3;

/// Compiled code that all hosts of these tests share: compiling takes longer than a hundred hosts run.
struct CompiledComponents {
    namespaces: BTreeMap<String, Namespace>,
    long_turns: LongTurns,
    limits: Arc<Limits>,
}

fn compiled_components() -> &'static CompiledComponents {
    static COMPILED: OnceLock<CompiledComponents> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let limits = Limits { awake_rooms: 200, warm_rooms: 10, requests: 50, ..Limits::default() };
        let commands =
            config::Namespace { calls: ["CALLERS".to_owned()].into(), ..config::Namespace::of("builtin:caller") };
        let namespaces = BTreeMap::from([
            ("ROOMS".into(), config::Namespace::of("builtin:chat-room")),
            ("CALLERS".into(), commands),
        ]);
        let config = Config { namespaces, limits: limits.clone(), ..Config::default() };
        let extra = BTreeMap::from([("caller".to_owned(), dormouse_bundle::CALLER.to_vec())]);
        let loaded = dormouse::components(&config, &extra, None, None, &Journal::in_memory()).unwrap();
        CompiledComponents {
            namespaces: loaded.namespaces,
            long_turns: LongTurns::start().unwrap(),
            limits: Arc::new(limits),
        }
    })
}

/// Rooms on a disk; none, where it fails already while they start.
fn open(disk: Arc<FaultDisk>) -> Option<Rooms> {
    let components = compiled_components();
    let store = Store::on_engine(disk, StoreOptions::default()).ok()?;
    let namespace = |(name, of): (&String, &Namespace)| {
        let calls = if name == "CALLERS" { ["CALLERS".to_owned()].into() } else { BTreeSet::new() };
        let namespace = Namespace {
            code: Rollout::new("caller or chat room", of.code.stable().component.clone()),
            component_name: "builtin:chat-room".into(),
            // They fall asleep between two messages, too.
            hibernate_after: Duration::from_millis(3),
            config: of.config.clone(),
            message_in_bytes: of.message_in_bytes,
            message_out_bytes: of.message_out_bytes,
            to_send: of.to_send,
            calls,
            outbound: Allowed::default(),
        };
        (name.clone(), namespace)
    };
    let namespaces = components.namespaces.iter().map(namespace).collect();
    let (outbound, limits) = (HttpClient::new(None).unwrap(), HostLimits::new(components.limits.clone()));
    Rooms::start(store, namespaces, limits, components.long_turns.clone(), outbound, None).ok()
}

#[derive(Debug, Default)]
struct Stats {
    rounds: u64,
    faults: BTreeMap<String, u64>,
    messages: usize,
    commands: usize,
}

/// Lives that end as `fault` says, and then one that stays; what is wrong in the end.
async fn crash_repeatedly(
    rng: &mut StdRng,
    fault: impl Fn(&mut StdRng) -> Fault,
    patience: Duration,
    stats: &mut Stats,
) -> Vec<Violation> {
    let mut workload = Workload::new(2, 3, rng.next_u64());
    let mut contents = BTreeMap::new();
    for _ in 0..CRASHES {
        let disk = FaultDisk::new(contents, fault(rng), rng.random_range(1..40));
        if let Some(rooms) = open(disk.clone()) {
            workload.run(&rooms, rng.random_range(1..12)).await;
            rooms.drain(Duration::from_secs(5)).await;
        }
        if disk.struck() {
            *stats.faults.entry(disk.to_string()).or_default() += 1;
        }
        contents = disk.found();
    }
    let rooms = open(FaultDisk::new(contents, Fault::None, 0)).expect("this disk works");
    let found = workload.settle_and_check(&rooms, patience).await;
    rooms.drain(Duration::from_secs(5)).await;
    let (messages, commands) = workload.totals();
    stats.rounds += 1;
    stats.messages += messages;
    stats.commands += commands;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_messages_survive_every_disk_fault() {
    let (seed, rounds) = (seed(), rounds(10));
    let (mut stats, mut progress) = (Stats::default(), Progress::new());
    for round in 0..rounds {
        let found = crash_repeatedly(&mut random_choices(seed, round), Fault::any, TEST_TIMEOUT, &mut stats).await;
        assert_eq!(found, [], "in round {round} of the seed {seed}");
        progress.print(&stats);
    }
    println!("{stats:?}");
    let faults = stats.faults.values().sum::<u64>();
    assert!(stats.messages as u64 > 20 * rounds && faults >= rounds / 2, "too little happened: {stats:?}");
}

/// Whether a fault is seen for what it is, within some rounds. What is waited for is short, so that on a busy machine a
/// timer may look lost that is only late: that is not what is asked for.
async fn is_detected(fault: Fault, is_expected: fn(&Violation) -> bool) -> bool {
    let seed = seed();
    for round in 0..50 {
        let found = crash_repeatedly(
            &mut random_choices(seed, round),
            |_| fault,
            Duration::from_millis(300),
            &mut Stats::default(),
        )
        .await;
        if found.iter().any(is_expected) {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checker_detects_a_skipped_sync() {
    assert!(is_detected(Fault::Lie, |one| matches!(one, Violation::Lost(_) | Violation::HistoryTooShort(_))).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checker_detects_a_tail_lost_at_recovery() {
    assert!(
        is_detected(Fault::LoseTail, |one| matches!(one, Violation::Lost(_) | Violation::HistoryTooShort(_))).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checker_detects_lost_timers_and_lost_or_repeated_posts() {
    // The kinds of records, as `store/records.rs` has them.
    const TIMERS: Fault = Fault::LoseKind(3);
    const POSTS: Fault = Fault::LoseKind(5);
    const ACCEPTED_POSTS: Fault = Fault::LoseKind(6);
    assert!(is_detected(TIMERS, |one| matches!(one, Violation::Lost(what) if what.contains("timer"))).await);
    assert!(is_detected(POSTS, |one| matches!(one, Violation::Partial(_))).await);
    assert!(is_detected(ACCEPTED_POSTS, |one| matches!(one, Violation::Duplicated(_))).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_due_on_an_unreadable_disk_fires_later() {
    let disk = FaultDisk::new(BTreeMap::new(), Fault::None, 0);
    let rooms = open(disk.clone()).unwrap();
    let set = json!({ "do": "mark-later", "name": "rings", "after": 300 });
    assert_eq!(rooms.run_command("desk", &set).await.unwrap()["set"], true);
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
