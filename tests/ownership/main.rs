//! The rules of ownership on several machines, in a simulation of nodes, links, clients and a database that break.
//!
//! `docs/cluster-model.md` says what is simulated, and how to read a failing seed. `DORMOUSE_TEST_SEED` is the first
//! seed, and `DORMOUSE_TEST_ROUNDS` the number of seeds.

mod broken;
mod client;
mod database;
mod judge;
mod node;
mod overtaken;
mod random;
mod rounds;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use broken::Broken;
use judge::{Promise, Violation};
use world::World;

/// Seeds in a run without an environment: as many as fit into about 20 s of two cores. `make model` runs a million.
const SEEDS: u64 = 20_000;

/// The seeds in which each broken rule must be found.
const BROKEN_SEEDS: u64 = 2_000;

/// The last lines of a trace that are printed: they reach back for some hundred milliseconds.
const TRACE_LINES: usize = 400;

fn run(seed: u64, broken: Broken) -> Result<(), Violation> {
    World::new(seed, broken, false).run()
}

/// Runs a seed once more and prints what has happened in it.
fn explain(seed: u64, violation: &Violation) {
    let mut world = World::new(seed, Broken::Nothing, true);
    let again = world.run();
    let trace = world.trace.unwrap_or_default();
    for line in &trace[trace.len().saturating_sub(TRACE_LINES)..] {
        println!("{line}");
    }
    println!("DORMOUSE_TEST_SEED={seed} DORMOUSE_TEST_ROUNDS=1");
    assert_eq!(again.as_ref(), Err(violation), "a seed always does the same");
}

#[test]
fn no_fault_of_nodes_links_or_database_breaks_a_promise() {
    let number = |name, usually| std::env::var(name).map_or(usually, |value: String| value.parse().expect("a number"));
    let (first, rounds) = (number("DORMOUSE_TEST_SEED", 0), number("DORMOUSE_TEST_ROUNDS", SEEDS));
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |count| count.get()) {
            scope.spawn(|| {
                while failed.load(Ordering::Relaxed) == u64::MAX {
                    let round = next.fetch_add(1, Ordering::Relaxed);
                    if round >= rounds {
                        break;
                    }
                    if round > 0 && round.is_multiple_of(50_000) {
                        println!("{round} seeds");
                    }
                    let result = std::panic::catch_unwind(|| run(first.wrapping_add(round), Broken::Nothing));
                    if !matches!(result, Ok(Ok(()))) {
                        failed.fetch_min(round, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    if failed != u64::MAX {
        let seed = first.wrapping_add(failed);
        let violation = run(seed, Broken::Nothing).expect_err("a seed always does the same");
        explain(seed, &violation);
        panic!("seed {seed}: {:?} is broken: {}", violation.promise, violation.details);
    }
}

/// Fails unless the simulation finds a mistake, and by one of these promises.
fn is_found(broken: Broken, by: &[Promise]) {
    let found = (0..BROKEN_SEEDS).find_map(|seed| {
        let violation = run(seed, broken).err()?;
        by.contains(&violation.promise).then_some((seed, violation))
    });
    let (seed, violation) = found.unwrap_or_else(|| panic!("{broken:?} breaks nothing in {BROKEN_SEEDS} seeds"));
    println!("{broken:?} is found by seed {seed}: {violation:?}");
}

/// The promises about what clients see and what is stored. That everything comes to rest is another matter.
const SAFETY: &[Promise] = &[
    Promise::NothingIsLost,
    Promise::NothingIsDoubled,
    Promise::NothingIsOutOfOrder,
    Promise::NoStaleAnswer,
    Promise::OneOwner,
];

#[test]
fn a_fence_without_epoch_is_found() {
    is_found(Broken::FenceWithoutEpoch, SAFETY);
}

#[test]
fn a_fence_without_number_is_found() {
    is_found(Broken::FenceWithoutNumber, SAFETY);
}

#[test]
fn a_claim_that_keeps_the_fence_is_found() {
    is_found(Broken::ClaimKeepsFence, SAFETY);
}

#[test]
fn resolving_by_a_read_is_found() {
    is_found(Broken::ResolveReads, SAFETY);
}

#[test]
fn a_missing_answer_taken_for_a_no_is_found() {
    is_found(Broken::LostMeansNo, &[Promise::RefusedIsNotStored]);
}

#[test]
fn a_warning_taken_for_a_yes_is_found() {
    is_found(Broken::WarningMeansYes, SAFETY);
}

#[test]
fn a_read_before_the_claim_is_found() {
    is_found(Broken::ReadBeforeClaim, SAFETY);
}

#[test]
fn a_cache_that_is_believed_by_its_number_is_found() {
    is_found(Broken::CacheByNumber, SAFETY);
}

#[test]
fn a_proof_by_a_plain_select_is_found() {
    is_found(Broken::PlainSelect, SAFETY);
}

#[test]
fn a_missing_proof_is_found() {
    is_found(Broken::NoProof, SAFETY);
}

#[test]
fn frames_of_older_tenures_are_found() {
    is_found(Broken::OldTenuresLetIn, SAFETY);
}

#[test]
fn a_hand_over_without_its_last_message_is_found() {
    is_found(Broken::NoHandedOver, SAFETY);
}

#[test]
fn a_next_owner_that_holds_no_frames_is_found() {
    is_found(Broken::NoHold, SAFETY);
}

#[test]
fn two_lanes_for_one_room_are_found() {
    is_found(Broken::TwoLanes, SAFETY);
}

#[test]
fn a_resolve_by_the_owner_alone_is_found() {
    is_found(Broken::ResolveByOwner, &[Promise::NothingIsLost, Promise::Progress]);
}

#[test]
fn a_read_that_is_not_compared_with_its_claim_is_found() {
    is_found(Broken::ReadAnywhere, SAFETY);
}

#[test]
fn idle_rooms_that_are_never_proved_are_found() {
    is_found(Broken::NoCheckOfIdleRooms, &[Promise::Progress]);
}
