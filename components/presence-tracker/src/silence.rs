//! When a user counts as gone though nobody closed a socket: a cable was pulled, or the host restarted.
//!
//! One timer watches over everybody. It is set for the moment at which the first of them may have been silent for too
//! long, and looks then; a heartbeat moves only `lastSeen`, so that staying costs no timer. While anybody is listed the
//! timer is set, and it survives restarts.

use std::cmp;

use dormouse_room::{Result, context, sockets, timers};

use crate::frames::Frame;
use crate::roster;

/// The one timer.
pub(crate) const TIMER: &str = "silence";

/// How long a user may be silent, in milliseconds: two of the usual heartbeats may get lost.
const PATIENCE_MS: u64 = 60_000;

/// Users removed in one turn. Each is a frame for every socket, and more of them than a socket may have waiting would
/// close it.
const REMOVED_AT_ONCE: usize = 500;

/// Users looked at for each millisecond of rest, so that looking takes a bounded share of time however long the list:
/// one look at 30,000 takes some 30 ms, and the next is 3 s later. A small room is exact.
const LOOKED_AT_PER_MS: u64 = 10;

/// Have the timer set, now that somebody is listed.
pub(crate) fn watch() -> Result<()> {
    let at = context::now() + PATIENCE_MS;
    match timers::get(TIMER) {
        Some(timer) if timer.at <= at => Ok(()),
        _ => timers::set_at(TIMER, at, []),
    }
}

/// The timer is due: remove who has been silent, and set it for the next who may be.
pub(crate) fn look() -> Result<()> {
    let now = context::now();
    let (mut removed, mut looked_at, mut earliest) = (0, 0, None);
    for user in roster::all() {
        let (user_id, entry) = user?;
        looked_at += 1;
        if removed < REMOVED_AT_ONCE && is_silent(entry.last_seen, now) {
            removed += 1;
            roster::remove(&user_id);
            sockets::everyone().broadcast_json(&Frame::PresenceRemove { user_id: &user_id })?;
        } else {
            earliest = Some(earliest.map_or(entry.last_seen, |earliest| cmp::min(earliest, entry.last_seen)));
        }
    }
    match earliest {
        Some(earliest) => timers::set_at(TIMER, next_look(earliest, looked_at, now), []),
        None => Ok(()),
    }
}

fn is_silent(last_seen: u64, now: u64) -> bool {
    now.saturating_sub(last_seen) >= PATIENCE_MS
}

/// When to look again, having looked at so many: once the one who was seen `earliest` may be silent, but not at once.
fn next_look(earliest: u64, looked_at: u64, now: u64) -> u64 {
    cmp::max(earliest + PATIENCE_MS, now + looked_at / LOOKED_AT_PER_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    #[test]
    fn a_user_is_silent_after_sixty_seconds_and_not_before() {
        assert!(!is_silent(NOW, NOW));
        assert!(!is_silent(NOW - 59_999, NOW));
        assert!(is_silent(NOW - 60_000, NOW));
    }

    #[test]
    fn a_clock_that_went_back_makes_nobody_silent() {
        assert!(!is_silent(NOW + 5, NOW));
    }

    #[test]
    fn the_next_look_is_when_the_first_may_be_silent() {
        let seen = NOW - 20_000;
        assert_eq!(next_look(seen, 9, NOW), NOW + 40_000);
        assert!(is_silent(seen, next_look(seen, 9, NOW)));
    }

    #[test]
    fn who_is_left_over_from_a_long_list_is_looked_at_after_a_rest() {
        let overdue = NOW - 60_001;
        assert_eq!(next_look(overdue, 30_000, NOW), NOW + 3_000);
        assert_eq!(next_look(overdue, 600, NOW), NOW + 60);
    }
}
