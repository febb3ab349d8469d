//! Why a room is awake, as an operator asks: a pure function over what is known of it.

use std::time::Duration;

use crate::clock::UnixMillis;

/// The facts about a room that decide whether it sleeps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    pub(super) now: UnixMillis,
    pub(super) awake: bool,
    pub(super) turn_began: Option<UnixMillis>,
    pub(super) last_event: Option<UnixMillis>,
    pub(super) hibernate_after: Duration,
    pub(super) events_per_second: f64,
    /// Events that wait for their turns.
    pub(super) events_waiting: usize,
    /// Turns whose outputs wait for the disk.
    pub(super) outputs_waiting: usize,
    pub(super) timer_at: Option<UnixMillis>,
    pub(super) posts_waiting: usize,
    pub(super) post_at: Option<UnixMillis>,
}

/// One reason why a room is awake, or will soon be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AwakeBecause {
    /// A turn runs since this time.
    Turn {
        /// When it began.
        since: UnixMillis,
    },
    /// Events wait for their turns.
    EventsWaiting {
        /// How many.
        events: usize,
    },
    /// Outputs of turns wait until their commits are on disk.
    Disk {
        /// How many turns.
        turns: usize,
    },
    /// Events come more often than `hibernate_after`.
    Events {
        /// How many a second, over the last seconds.
        per_second: f64,
    },
    /// A timer is due before the room could sleep, or wakes it soon after.
    Timer {
        /// When the first is due.
        due_at: UnixMillis,
    },
    /// Posts wait until their destination accepts them.
    Posts {
        /// How many.
        waiting: usize,
        /// When the first of them is tried; absent while all that may be tried are on their way.
        due_at: Option<UnixMillis>,
    },
    /// It had an event not long ago, and sleeps at this time unless another one comes.
    RecentEvent {
        /// When it sleeps.
        sleeps_at: UnixMillis,
    },
}

/// Why a room is awake; empty for one that sleeps and stays asleep. The most important reason comes first.
pub(super) fn reasons(facts: &Facts) -> Vec<AwakeBecause> {
    let patience = u64::try_from(facts.hibernate_after.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut reasons = Vec::new();
    if let Some(since) = facts.turn_began {
        reasons.push(AwakeBecause::Turn { since });
    }
    if facts.events_waiting > 0 {
        reasons.push(AwakeBecause::EventsWaiting { events: facts.events_waiting });
    }
    if facts.outputs_waiting > 0 {
        reasons.push(AwakeBecause::Disk { turns: facts.outputs_waiting });
    }
    let soon = facts.now.saturating_add(patience);
    if let Some(due_at) = facts.timer_at.filter(|at| *at <= soon) {
        reasons.push(AwakeBecause::Timer { due_at });
    }
    if facts.posts_waiting > 0 && facts.post_at.is_none_or(|at| at <= soon) {
        reasons.push(AwakeBecause::Posts { waiting: facts.posts_waiting, due_at: facts.post_at });
    }
    // Two events in that time keep it awake.
    if facts.awake && facts.events_per_second * patience as f64 / 1e3 >= 2.0 {
        reasons.push(AwakeBecause::Events { per_second: facts.events_per_second });
    }
    if facts.awake && reasons.is_empty() {
        let sleeps_at = facts.last_event.unwrap_or(facts.now).saturating_add(patience);
        reasons.push(AwakeBecause::RecentEvent { sleeps_at });
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_found() {
        let asleep = Facts { now: 100_000, hibernate_after: Duration::from_secs(10), ..Facts::default() };
        let awake = Facts { awake: true, last_event: Some(99_000), ..asleep };
        assert_eq!(reasons(&asleep), []);
        assert_eq!(reasons(&awake), [AwakeBecause::RecentEvent { sleeps_at: 109_000 }]);
        let cases = [
            (Facts { turn_began: Some(99_500), ..awake }, AwakeBecause::Turn { since: 99_500 }),
            (Facts { events_waiting: 3, ..awake }, AwakeBecause::EventsWaiting { events: 3 }),
            (Facts { outputs_waiting: 2, ..awake }, AwakeBecause::Disk { turns: 2 }),
            (Facts { timer_at: Some(105_000), ..awake }, AwakeBecause::Timer { due_at: 105_000 }),
            (Facts { posts_waiting: 4, ..awake }, AwakeBecause::Posts { waiting: 4, due_at: None }),
            (Facts { events_per_second: 0.5, ..awake }, AwakeBecause::Events { per_second: 0.5 }),
        ];
        for (facts, reason) in cases {
            assert_eq!(reasons(&facts), [reason], "{facts:?}");
        }
        let later = Facts { timer_at: Some(200_000), posts_waiting: 1, post_at: Some(200_000), ..asleep };
        assert_eq!(reasons(&later), [], "what is due much later keeps nothing awake");
    }
}
