//! The numbers of one room that an operator sorts by: sockets, CPU, memory, messages. The task of the room writes them,
//! and any thread may read them at any time, without a lock and without waking the room. They may be from different
//! moments.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::lock::Lock;

/// Rates are means over the last one to two of these.
const RATE_PERIOD_MS: u64 = 5_000;
/// How many failed turns of a room are kept: enough to see whether they are alike.
const FAILURES: usize = 8;
/// The longest text of a kept failure, in bytes: a trap with the beginning of its trace.
const FAILURE_BYTES: usize = 512;

/// The live numbers of a room.
#[derive(Debug, Default)]
pub(super) struct Activity {
    events: AtomicU64,
    messages: AtomicU64,
    cpu_nanos: AtomicU64,
    /// When its last turn began.
    last_event: AtomicU64,
    /// 0 while no turn runs.
    turn_began: AtomicU64,
    /// When its instance was made or dropped; 0 if it never had one.
    changed: AtomicU64,
    /// Of its instance; 0 without one.
    memory_bytes: AtomicU64,
    storage_bytes: AtomicU64,
    sockets: AtomicU32,
    timers: AtomicU32,
    /// When the first of them is due; 0 without timers.
    timer_at: AtomicU64,
    posts: AtomicU32,
    failed: AtomicU32,
    /// The sums at two moments, the older first, from which rates are computed.
    older: Mark,
    newer: Mark,
    #[expect(clippy::box_collection, reason = "most rooms have none, and a pointer is small")]
    failures: Lock<Option<Box<VecDeque<Failure>>>>,
}

/// The sums at one moment; 0 before the first.
#[derive(Debug, Default)]
struct Mark {
    at: AtomicU64,
    messages: AtomicU64,
    events: AtomicU64,
    cpu_nanos: AtomicU64,
}

/// A turn that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: UnixMillis,
    /// The kind of its event, such as `message`.
    pub event: &'static str,
    /// The id of the user whom the event is about, if there is one.
    pub user: Option<String>,
    /// The error, at most 512 bytes.
    pub error: String,
}

/// The numbers of a room at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Numbers {
    /// It has an instance.
    pub awake: bool,
    /// When the instance was made or dropped; absent if it never had one since it is in memory.
    pub since: Option<UnixMillis>,
    /// When its last event began; absent before the first since it is in memory.
    pub last_event: Option<UnixMillis>,
    /// When the turn began that runs now; absent between turns.
    pub turn_began: Option<UnixMillis>,
    /// Events since it is in memory.
    pub events: u64,
    /// Events a second, over the last seconds.
    pub events_per_second: f64,
    /// Messages of clients since it is in memory.
    pub messages: u64,
    /// Messages of clients a second, over the last seconds.
    pub messages_per_second: f64,
    /// CPU since it is in memory.
    pub cpu: Duration,
    /// The part of one core that it used, over the last seconds: 1 is a whole core.
    pub cpu_share: f64,
    /// Bytes of memory of its instance.
    pub memory_bytes: u64,
    /// Counted bytes of its storage.
    pub storage_bytes: u64,
    /// Connected clients.
    pub sockets: u32,
    /// Timers that are set.
    pub timers: u32,
    /// When the first of them is due.
    pub timer_at: Option<UnixMillis>,
    /// Posts that are not accepted yet.
    pub posts: u32,
    /// Failed turns since it is in memory.
    pub failures: u32,
}

/// The counts of a room that change with its turns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) sockets: usize,
    pub(super) timers: usize,
    pub(super) timer_at: Option<UnixMillis>,
    pub(super) posts: usize,
    pub(super) storage_bytes: u64,
}

/// Only the task of the room writes, so a load and a store suffice.
fn add(sum: &AtomicU64, more: u64) {
    sum.store(sum.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Activity {
    /// A turn begins.
    pub(super) fn begin_turn(&self, now: UnixMillis, is_message: bool) {
        self.last_event.store(now, Ordering::Relaxed);
        self.turn_began.store(now, Ordering::Relaxed);
        // Before this event is counted, so that a room with one event has a rate.
        if now.abs_diff(self.newer.at.load(Ordering::Relaxed)) >= RATE_PERIOD_MS {
            self.older.copy(&self.newer);
            self.newer.at.store(now, Ordering::Relaxed);
            self.newer.events.store(self.events.load(Ordering::Relaxed), Ordering::Relaxed);
            self.newer.messages.store(self.messages.load(Ordering::Relaxed), Ordering::Relaxed);
            self.newer.cpu_nanos.store(self.cpu_nanos.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        add(&self.events, 1);
        add(&self.messages, u64::from(is_message));
    }

    /// The turn is over. `memory_bytes` is 0 if the instance was dropped.
    pub(super) fn end_turn(&self, now: UnixMillis, cpu: Duration, memory_bytes: usize) {
        self.turn_began.store(0, Ordering::Relaxed);
        add(&self.cpu_nanos, u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX));
        self.set_memory(now, memory_bytes as u64);
    }

    /// The instance was dropped.
    pub(super) fn asleep(&self, now: UnixMillis) {
        self.set_memory(now, 0);
    }

    fn set_memory(&self, now: UnixMillis, bytes: u64) {
        let before = self.memory_bytes.load(Ordering::Relaxed);
        if (before == 0) != (bytes == 0) {
            self.changed.store(now, Ordering::Relaxed);
        }
        self.memory_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The current counts.
    pub(super) fn set_counts(&self, counts: &Counts) {
        self.sockets.store(narrow(counts.sockets), Ordering::Relaxed);
        self.timers.store(narrow(counts.timers), Ordering::Relaxed);
        self.timer_at.store(counts.timer_at.unwrap_or(0), Ordering::Relaxed);
        self.posts.store(narrow(counts.posts), Ordering::Relaxed);
        self.storage_bytes.store(counts.storage_bytes, Ordering::Relaxed);
    }

    /// A turn has failed.
    pub(super) fn failed(&self, mut failure: Failure) {
        self.failed.store(self.failed.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
        let end = failure.error.floor_char_boundary(FAILURE_BYTES);
        failure.error.truncate(end);
        let mut failures = self.failures.lock();
        let failures = failures.get_or_insert_default();
        if failures.len() == FAILURES {
            failures.pop_front();
        }
        failures.push_back(failure);
    }

    /// The last failed turns, the oldest first.
    pub(super) fn failures(&self) -> Vec<Failure> {
        self.failures.lock().iter().flat_map(|failures| failures.iter().cloned()).collect()
    }

    /// All numbers.
    pub(super) fn numbers(&self, now: UnixMillis) -> Numbers {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let time = |number: &AtomicU64| Some(read(number)).filter(|time| *time > 0);
        let (events, messages, cpu_nanos) = (read(&self.events), read(&self.messages), read(&self.cpu_nanos));
        let memory_bytes = read(&self.memory_bytes);
        let turn_began = time(&self.turn_began);
        let rates = self.rates(now, [events, messages, cpu_nanos]);
        Numbers {
            awake: memory_bytes > 0 || turn_began.is_some(),
            since: time(&self.changed),
            last_event: time(&self.last_event),
            turn_began,
            events,
            events_per_second: rates[0],
            messages,
            messages_per_second: rates[1],
            cpu: Duration::from_nanos(cpu_nanos),
            cpu_share: rates[2] / 1e9,
            memory_bytes,
            storage_bytes: read(&self.storage_bytes),
            sockets: self.sockets.load(Ordering::Relaxed),
            timers: self.timers.load(Ordering::Relaxed),
            timer_at: time(&self.timer_at),
            posts: self.posts.load(Ordering::Relaxed),
            failures: self.failed.load(Ordering::Relaxed),
        }
    }

    /// The sums a second, since the older mark. In a room without events they approach 0.
    fn rates(&self, now: UnixMillis, sums: [u64; 3]) -> [f64; 3] {
        let mark = if self.older.at.load(Ordering::Relaxed) > 0 { &self.older } else { &self.newer };
        let seconds = now.saturating_sub(mark.at.load(Ordering::Relaxed)).max(1_000) as f64 / 1e3;
        let before = [&mark.events, &mark.messages, &mark.cpu_nanos].map(|sum| sum.load(Ordering::Relaxed));
        std::array::from_fn(|which| sums[which].saturating_sub(before[which]) as f64 / seconds)
    }
}

impl Mark {
    fn copy(&self, other: &Mark) {
        let pairs = [
            (&self.at, &other.at),
            (&self.messages, &other.messages),
            (&self.events, &other.events),
            (&self.cpu_nanos, &other.cpu_nanos),
        ];
        pairs.iter().for_each(|(to, from)| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_cover_the_last_seconds_and_fall_without_events() {
        let activity = Activity::default();
        for event in 0..200 {
            activity.begin_turn(1_000_000 + event * 100, event % 2 == 0);
            activity.end_turn(1_000_000 + event * 100, Duration::from_millis(10), 1);
        }
        let now = 1_000_000 + 200 * 100;
        let busy = activity.numbers(now);
        assert!((9.0..=11.0).contains(&busy.events_per_second), "{busy:?}");
        assert!((4.5..=5.5).contains(&busy.messages_per_second), "{busy:?}");
        assert!((0.09..=0.11).contains(&busy.cpu_share), "{busy:?}");
        assert_eq!((busy.events, busy.messages, busy.cpu), (200, 100, Duration::from_secs(2)));
        let later = activity.numbers(now + 100_000);
        assert!(later.events_per_second < 1.0, "{later:?}");
    }

    #[test]
    fn a_room_is_awake_from_its_first_turn_until_its_instance_is_dropped() {
        let activity = Activity::default();
        assert_eq!(activity.numbers(0), Numbers::default());
        activity.begin_turn(5, true);
        assert!(activity.numbers(6).awake && activity.numbers(6).turn_began == Some(5));
        activity.end_turn(7, Duration::ZERO, 64);
        activity.begin_turn(8, true);
        activity.end_turn(9, Duration::ZERO, 128);
        let awake = activity.numbers(10);
        assert_eq!((awake.awake, awake.since, awake.memory_bytes), (true, Some(7), 128));
        activity.asleep(11);
        activity.asleep(12);
        assert_eq!((activity.numbers(13).awake, activity.numbers(13).since), (false, Some(11)));
    }

    #[test]
    fn only_the_last_failures_are_kept() {
        let activity = Activity::default();
        for at in 0..20 {
            activity.failed(Failure { at, event: "message", user: None, error: "é".repeat(500) });
        }
        let kept = activity.failures();
        assert_eq!(kept.iter().map(|failure| failure.at).collect::<Vec<_>>(), Vec::from_iter(12..20));
        assert!(kept[0].error.len() <= FAILURE_BYTES);
        assert_eq!(activity.numbers(0).failures, 20);
    }
}
