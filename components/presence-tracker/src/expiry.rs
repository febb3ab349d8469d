//! Removes users who left without a close event.
//!
//! A user with a socket is present: the host pings every socket, and closes a socket that does not answer. So a hidden
//! page, whose timers a browser slows down, stays present as long as its connection. A user listed without a socket was
//! present before the host restarted, and gets some time to come back.
//!
//! One timer checks all users. It is set while any user is listed, and it survives restarts.

use dormouse_room::{Result, context, sockets, timers};

use crate::frames::Frame;
use crate::roster::{self, Entry};
use crate::saved_status;

/// The name of the timer. Stored timers have this name, so it does not change.
pub(crate) const TIMER: &str = "silence";

/// How often the list is checked, in milliseconds.
const CHECK_INTERVAL_MS: u64 = 60_000;

/// How long a user may be without a socket, in milliseconds. A hidden page may try to reconnect only once a minute, so
/// this is a minute and a half.
const GRACE_PERIOD_MS: u64 = 90_000;

/// Users removed in one turn. Each sends a frame to every socket, and too many would overflow the queues of sockets and
/// close them.
const REMOVED_AT_ONCE: usize = 500;

/// Users marked as missing in one turn: each mark is a write, and a turn's writes are limited.
const MARKED_AT_ONCE: usize = 1_000;

/// Users checked for each millisecond of pause, so that checks take a bounded share of time however long the list:
/// after a check of 30,000 users the next comes 3 s later at the earliest.
const CHECKED_PER_MS: u64 = 10;

/// Sets the timer, if it is not set, after a user was listed.
pub(crate) fn schedule_check() -> Result<()> {
    match timers::get(TIMER) {
        Some(_) => Ok(()),
        None => timers::set_at(TIMER, context::now() + CHECK_INTERVAL_MS, []),
    }
}

/// Makes the timer due now if it was set while the clock was ahead: it would not fire for hours.
pub(crate) fn reset_future_timer() -> Result<()> {
    let now = context::now();
    match timers::get(TIMER) {
        Some(timer) if timer.at > now + CHECK_INTERVAL_MS => timers::set_at(TIMER, now, []),
        _ => Ok(()),
    }
}

/// Handles the timer: removes users who did not come back, and sets it again.
pub(crate) fn check() -> Result<()> {
    let now = context::now();
    let (mut removed, mut marked, mut checked) = (0, 0, 0);
    let mut next = now + CHECK_INTERVAL_MS;
    for user in roster::all() {
        let (user_id, entry) = user?;
        checked += 1;
        if roster::connections(&user_id) > 0 {
            continue;
        }
        match next_step(&entry, now) {
            NextStep::Mark if marked < MARKED_AT_ONCE => {
                marked += 1;
                roster::put(&user_id, &Entry { missing_since: Some(now), ..entry })?;
            }
            NextStep::Remove if removed < REMOVED_AT_ONCE => {
                removed += 1;
                roster::remove(&user_id);
                saved_status::put(&user_id, entry.status)?;
                sockets::everyone().broadcast_json(&Frame::PresenceRemove { user_id: &user_id })?;
            }
            NextStep::Mark | NextStep::Remove => next = now,
            NextStep::WaitUntil(at) => next = next.min(at),
        }
    }
    if checked == removed {
        return Ok(()); // The list is empty now.
    }
    timers::set_at(TIMER, next.max(now + checked as u64 / CHECKED_PER_MS), [])
}

/// The next step for a user without a socket.
#[derive(Debug, PartialEq, Eq)]
enum NextStep {
    /// Mark the user as missing.
    Mark,
    /// Wait until this time.
    WaitUntil(u64),
    /// Remove the user, who did not come back.
    Remove,
}

fn next_step(entry: &Entry, now: u64) -> NextStep {
    match entry.missing_since {
        None => NextStep::Mark,
        Some(since) if now.saturating_sub(since) >= GRACE_PERIOD_MS => NextStep::Remove,
        Some(since) => NextStep::WaitUntil(since + GRACE_PERIOD_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;

    const NOW: u64 = 1_800_000_000_000;

    fn missing(since: Option<u64>) -> NextStep {
        next_step(&Entry { name: "Ana".into(), status: Status::Away, last_seen: 5, missing_since: since }, NOW)
    }

    #[test]
    fn a_missing_user_is_removed_after_ninety_seconds() {
        assert_eq!(missing(None), NextStep::Mark);
        assert_eq!(missing(Some(NOW)), NextStep::WaitUntil(NOW + 90_000));
        assert_eq!(missing(Some(NOW - 89_999)), NextStep::WaitUntil(NOW + 1));
        assert_eq!(missing(Some(NOW - 90_000)), NextStep::Remove);
    }
}
