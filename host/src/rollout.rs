//! Code that can be replaced while it runs: that of the rooms of a namespace, or that of the router.
//!
//! A rollout has a stable version, and during a deploy a candidate for some or all rooms. It knows which of the two a
//! room runs, and nothing of wasm, of events, or of files. Rooms ask [`Rollout::choose`] when
//! [`Rollout::generation`] has changed, and report a candidate that does not work with [`Rollout::fail`]. `deploys`
//! begins and ends deploys.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::lock::Lock;
use crate::model::NAME_BYTES;

/// All rooms, in hundredths of a percent.
const ALL: u32 = 10_000;

/// The code of all rooms of a namespace, or of the router.
pub struct Rollout<C> {
    /// Each change of the plan raises it. A room compares it with that of its own choice at each turn, which is all
    /// that a turn costs.
    generation: AtomicU32,
    plan: Lock<Plan<C>>,
    changed: watch::Sender<u32>,
}

struct Plan<C> {
    stable: Arc<Code<C>>,
    candidate: Option<(Arc<Code<C>>, Selection)>,
    /// Why the last candidate was dropped.
    failed: Option<Failed>,
    /// Versions that a room still runs, also older ones.
    versions: Vec<Weak<Version>>,
}

/// A version of the code, compiled.
pub struct Code<C> {
    /// The version.
    pub version: Arc<Version>,
    /// The compiled component.
    pub component: C,
}

/// A version of the code: its hash, how many rooms in memory run it, and of how many it has migrated the data.
#[derive(Debug)]
pub struct Version {
    hash: Arc<str>,
    rooms: AtomicUsize,
    migrations: AtomicUsize,
}

/// Counts a room for the version that it runs, until it is dropped.
#[derive(Debug)]
pub struct RunsVersion(Arc<Version>);

/// The rooms that take a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// The share of the rooms, in hundredths of a percent: 500 is 5 %. A hash of the name decides, so that it is the
    /// same rooms each time, and a larger share includes a smaller one.
    pub share: u32,
    /// Only rooms whose name has this pattern, in which `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rooms: Option<String>,
}

/// The code for one room.
pub struct Choice<C> {
    /// It is valid as long as the rollout has this generation.
    pub generation: u32,
    /// The code to run.
    pub code: Arc<Code<C>>,
    /// The code to return to if the other one does not work. Absent if no deploy is under way in this room.
    pub fallback: Option<Arc<Code<C>>>,
}

/// Why a candidate was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The hash of the candidate.
    pub hash: Arc<str>,
    /// Where it failed: the address of a room, or `router`.
    pub place: String,
    /// The event that it failed, such as `message`.
    pub event: &'static str,
    /// The failure.
    pub reason: String,
}

/// The versions of a rollout at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The hash of the stable version.
    pub stable: Arc<str>,
    /// The hash of the candidate and the rooms that it is for, during a deploy.
    pub candidate: Option<(Arc<str>, Selection)>,
    /// The rooms of each version, also of older ones: a room takes other code at its next event.
    pub rooms: Vec<RoomsOf>,
}

/// The rooms of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomsOf {
    /// The hash of the version.
    pub hash: Arc<str>,
    /// How many rooms in memory ran it last.
    pub rooms: usize,
    /// Of how many rooms it has migrated the data, since it was begun or the server was started.
    pub migrated: usize,
}

impl<C> Rollout<C> {
    /// A rollout of one version. `hash` is the hash of the component.
    pub fn new(hash: &str, component: C) -> Self {
        let version = Version::new(hash);
        let versions = vec![Arc::downgrade(&version)];
        let stable = Arc::new(Code { version, component });
        let plan = Plan { stable, candidate: None, failed: None, versions };
        Rollout { generation: AtomicU32::new(0), plan: Lock::new(plan), changed: watch::Sender::new(0) }
    }

    /// A number that each change of the code raises.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// The stable code.
    pub fn stable(&self) -> Arc<Code<C>> {
        self.plan.lock().stable.clone()
    }

    /// The code that most rooms run: during a deploy to all rooms the candidate.
    pub fn present(&self) -> Arc<Code<C>> {
        let plan = self.plan.lock();
        match &plan.candidate {
            Some((code, selection)) if selection.is_all() => code.clone(),
            _ => plan.stable.clone(),
        }
    }

    /// The code for the room of this name.
    pub fn choose(&self, name: &str) -> Choice<C> {
        let plan = self.plan.lock();
        // Changed only under the lock.
        let generation = self.generation.load(Ordering::Relaxed);
        match &plan.candidate {
            Some((code, selection)) if selection.has(name) => {
                Choice { generation, code: code.clone(), fallback: Some(plan.stable.clone()) }
            }
            _ => Choice { generation, code: plan.stable.clone(), fallback: None },
        }
    }

    /// Begins a deploy: the selected rooms take the candidate. It takes the place of an earlier candidate.
    pub fn begin(&self, hash: &str, component: C, selection: Selection) {
        self.change(|plan| {
            let version = plan.version(hash);
            plan.candidate = Some((Arc::new(Code { version, component }), selection));
        });
    }

    /// Changes the rooms that the candidate is for.
    pub fn select(&self, selection: Selection) {
        self.change(|plan| {
            if let Some((_, current)) = &mut plan.candidate {
                *current = selection;
            }
        });
    }

    /// Ends a deploy: the candidate becomes the stable version. Returns false if there is none.
    pub fn settle(&self) -> bool {
        let mut settled = false;
        self.change(|plan| {
            if let Some((code, _)) = plan.candidate.take() {
                plan.stable = code;
                settled = true;
            }
        });
        settled
    }

    /// Ends a deploy: all rooms return to the stable version.
    pub fn cancel(&self) {
        self.change(|plan| plan.candidate = None);
    }

    /// Replaces the stable version at once, without a way back. Ends a deploy.
    pub fn replace(&self, hash: &str, component: C) {
        self.change(|plan| {
            let version = plan.version(hash);
            plan.stable = Arc::new(Code { version, component });
            plan.candidate = None;
        });
    }

    /// The candidate does not work: all rooms return to the stable version. Returns false if this version is not the
    /// candidate any more.
    pub fn fail(&self, version: &Arc<Version>, failed: Failed) -> bool {
        let mut is_candidate = false;
        self.change(|plan| {
            is_candidate = plan.candidate.as_ref().is_some_and(|(code, _)| Arc::ptr_eq(&code.version, version));
            if is_candidate {
                plan.candidate = None;
                plan.failed = Some(failed);
            }
        });
        is_candidate
    }

    fn change(&self, change: impl FnOnce(&mut Plan<C>)) {
        let mut plan = self.plan.lock();
        change(&mut plan);
        plan.versions.retain(|version| version.strong_count() > 0);
        let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1);
        self.generation.store(generation, Ordering::Release);
        self.changed.send_replace(generation);
    }
}

/// The part of a rollout that does not depend on the kind of component.
pub trait Progress: Send + Sync {
    /// Sees each change of the code.
    fn changed(&self) -> watch::Receiver<u32>;

    /// The versions now.
    fn versions(&self) -> Versions;

    /// Why the last candidate was dropped. Each failure is returned once.
    fn take_failed(&self) -> Option<Failed>;

    /// Ends a deploy: the candidate becomes the stable version. Returns false if there is none.
    fn settle(&self) -> bool;

    /// Changes the rooms that the candidate is for.
    fn select(&self, selection: Selection);

    /// Ends a deploy: all rooms return to the stable version.
    fn cancel(&self);
}

impl<C: Send + Sync> Progress for Rollout<C> {
    fn changed(&self) -> watch::Receiver<u32> {
        self.changed.subscribe()
    }

    fn versions(&self) -> Versions {
        let plan = self.plan.lock();
        let rooms = plan.versions.iter().filter_map(Weak::upgrade);
        let rooms = rooms.map(|version| RoomsOf {
            hash: version.hash.clone(),
            rooms: version.rooms.load(Ordering::Relaxed),
            migrated: version.migrations.load(Ordering::Relaxed),
        });
        let candidate = plan.candidate.as_ref();
        Versions {
            stable: plan.stable.version.hash.clone(),
            candidate: candidate.map(|(code, selection)| (code.version.hash.clone(), selection.clone())),
            rooms: rooms.collect(),
        }
    }

    fn take_failed(&self) -> Option<Failed> {
        self.plan.lock().failed.take()
    }

    fn settle(&self) -> bool {
        Rollout::settle(self)
    }

    fn select(&self, selection: Selection) {
        Rollout::select(self, selection);
    }

    fn cancel(&self) {
        Rollout::cancel(self);
    }
}

impl<C> Plan<C> {
    /// The version with this hash. Rooms that run it already are counted together with those that take it now.
    fn version(&mut self, hash: &str) -> Arc<Version> {
        let known = self.versions.iter().filter_map(Weak::upgrade).find(|version| &*version.hash == hash);
        known.unwrap_or_else(|| {
            let version = Version::new(hash);
            self.versions.push(Arc::downgrade(&version));
            version
        })
    }
}

impl Version {
    fn new(hash: &str) -> Arc<Self> {
        Arc::new(Version { hash: hash.into(), rooms: AtomicUsize::new(0), migrations: AtomicUsize::new(0) })
    }

    /// The hash of the component.
    pub fn hash(&self) -> &Arc<str> {
        &self.hash
    }

    /// It has migrated the data of one more room.
    pub fn count_migration(&self) {
        self.migrations.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one more room that runs it.
    pub fn run(self: &Arc<Self>) -> RunsVersion {
        self.rooms.fetch_add(1, Ordering::Relaxed);
        RunsVersion(self.clone())
    }
}

impl RunsVersion {
    /// Whether it counts for this version.
    pub fn is(&self, version: &Arc<Version>) -> bool {
        Arc::ptr_eq(&self.0, version)
    }
}

impl Drop for RunsVersion {
    fn drop(&mut self) {
        self.0.rooms.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Selection {
    /// All rooms.
    pub fn all() -> Self {
        Selection { share: ALL, rooms: None }
    }

    /// Whether it is all rooms.
    pub fn is_all(&self) -> bool {
        self.share >= ALL && self.rooms.as_deref().is_none_or(|pattern| pattern == "*")
    }

    /// Whether it can select rooms.
    pub fn is_valid(&self) -> bool {
        (1..=ALL).contains(&self.share) && self.rooms.as_ref().is_none_or(|name| (1..=NAME_BYTES).contains(&name.len()))
    }

    /// Whether the room of this name is one of them.
    pub fn has(&self, name: &str) -> bool {
        self.rooms.as_deref().is_none_or(|pattern| matches(pattern, name)) && place(name) < self.share
    }
}

/// The place of a room among all rooms, from 0 to below [`ALL`]: always the same for the same name.
fn place(name: &str) -> u32 {
    let hash = Sha256::digest(name);
    let first = u64::from_be_bytes(*hash.first_chunk().expect("it has 32 bytes"));
    u32::try_from(first % u64::from(ALL)).expect("it is below ALL")
}

/// Whether a name has a pattern, in which `*` stands for any characters, also for none.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    // Each piece at its first place leaves the most for those behind it; the last one must be at the end.
    let mut pieces = rest.split('*').collect::<Vec<_>>();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match name.find(piece) {
            Some(at) => name = &name[at + piece.len()..],
            None => return false,
        }
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(hash: &str) -> Failed {
        Failed { hash: hash.into(), place: "ROOMS/a".into(), event: "message", reason: "it trapped".into() }
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, name) in [("*", ""), ("*", "a"), ("a*", "a"), ("a*c", "abc"), ("*b*", "abc"), ("a*b*b", "abb")] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("", "a"), ("a", "ab"), ("b*", "ab"), ("a*b", "a"), ("ab*bc", "abc"), ("*a*a*", "ab")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_canary_has_its_share_of_the_rooms_always_the_same() {
        let names = (0..10_000).map(|number| format!("room-{number}")).collect::<Vec<_>>();
        let of = |share| {
            let selection = Selection { share, rooms: None };
            names.iter().filter(|name| selection.has(name)).count()
        };
        assert!((400..600).contains(&of(500)), "{}", of(500));
        assert_eq!((of(0), of(ALL)), (0, names.len()));
        let (small, large) = (Selection { share: 500, rooms: None }, Selection { share: 1_000, rooms: None });
        assert!(names.iter().all(|name| large.has(name) || !small.has(name)), "a larger share includes a smaller one");
        // Compared with what an earlier process chose.
        let chosen = names.iter().filter(|name| Selection { share: 10, rooms: None }.has(name)).collect::<Vec<_>>();
        assert_eq!(chosen.len(), of(10));
        assert_eq!((place("lobby"), place("")), (626, 1_652));
    }

    #[test]
    fn only_selected_rooms_take_a_candidate_and_all_return_when_it_fails() {
        let rollout = Rollout::new("one", 1);
        let before = rollout.choose("a");
        assert!(before.fallback.is_none() && before.generation == rollout.generation());
        rollout.begin("two", 2, Selection { share: ALL, rooms: Some("a*".into()) });
        assert_ne!(before.generation, rollout.generation());
        let (a, b) = (rollout.choose("a"), rollout.choose("b"));
        assert_eq!((a.code.component, b.code.component), (2, 1));
        assert!(a.fallback.is_some_and(|code| code.component == 1) && b.fallback.is_none());
        let _runs = (a.code.version.run(), b.code.version.run(), b.code.version.run());
        a.code.version.count_migration();
        let rooms_of = |hash: &str, rooms, migrated| RoomsOf { hash: hash.into(), rooms, migrated };
        assert_eq!(rollout.versions().rooms, [rooms_of("one", 2, 0), rooms_of("two", 1, 1)]);
        assert!(rollout.fail(&a.code.version, failed("two")));
        assert!(!rollout.fail(&a.code.version, failed("two")), "only the first failure counts");
        assert_eq!(rollout.choose("a").code.component, 1);
        assert_eq!(rollout.take_failed(), Some(failed("two")));
        assert_eq!(rollout.versions().candidate, None);
    }

    #[test]
    fn a_settled_candidate_cannot_fail_any_more() {
        let rollout = Rollout::new("one", 1);
        rollout.begin("two", 2, Selection::all());
        let chosen = rollout.choose("a");
        rollout.settle();
        assert!(!rollout.fail(&chosen.code.version, failed("two")));
        let settled = rollout.choose("a");
        assert!(Arc::ptr_eq(&settled.code, &chosen.code), "its instance goes on");
        assert!(settled.fallback.is_none());
    }
}
