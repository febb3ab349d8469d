//! Stores the status of users whose connection was lost, so that they come back with the status that they chose.
//!
//! A client sends its choice once and does not repeat it after a reconnect: another tab of the user may have chosen
//! another status meanwhile. So the room stores it. A user who left on purpose comes back online. Each user has one
//! key: `s` and the user's id.

use dormouse_room::{Close, Result, context, storage, timers};
use serde::{Deserialize, Serialize};

use crate::status::Status;

const PREFIX: u8 = b's';

/// The timer that removes old statuses. It is set while any status is stored. Stored timers have this name, so it does
/// not change.
pub(crate) const TIMER: &str = "remembered";

/// How long a status is kept, in milliseconds: one hour, longer than a restart or a lost network usually lasts.
const KEEP_MS: u64 = 60 * 60 * 1000;

/// Statuses that one turn reads and may remove: a turn's writes are limited.
const CHECKED_AT_ONCE: u32 = 1_000;

/// The close code of a client that leaves on purpose.
const CLOSE_NORMAL: u16 = 1000;

/// A stored status.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedStatus {
    status: Status,
    /// When the user left: Unix time in milliseconds.
    left: u64,
}

impl SavedStatus {
    /// When it expires. A time that was stored while the clock was ahead counts as now.
    fn expires_at(&self, now: u64) -> u64 {
        self.left.min(now) + KEEP_MS
    }
}

/// Whether the user closed the connection on purpose; otherwise a network, a server or a closed page ended it.
pub(crate) fn is_intentional(close: &Close) -> bool {
    close.clean && close.code == CLOSE_NORMAL
}

/// Stores a status, unless it is `Online`, the status of every new user.
pub(crate) fn put(user_id: &str, status: Status) -> Result<()> {
    if status == Status::Online {
        return Ok(());
    }
    let now = context::now();
    storage::put_json(key(user_id), &SavedStatus { status, left: now })?;
    match timers::get(TIMER) {
        Some(timer) if timer.at <= now + KEEP_MS => Ok(()),
        _ => timers::set_at(TIMER, now + KEEP_MS, []),
    }
}

/// Removes and returns the stored status of a user who comes back.
pub(crate) fn take(user_id: &str) -> Result<Option<Status>> {
    let Some(saved) = storage::get_json::<SavedStatus>(key(user_id))? else { return Ok(None) };
    storage::delete(key(user_id));
    let now = context::now();
    Ok((saved.expires_at(now) > now).then_some(saved.status))
}

/// The stored status of a user, also if it has expired.
pub(crate) fn get(user_id: &str) -> Result<Option<SavedStatus>> {
    storage::get_json(key(user_id))
}

/// Removes the stored status of a user. Returns whether there was one.
pub(crate) fn remove(user_id: &str) -> bool {
    storage::delete(key(user_id))
}

/// Handles the timer: removes expired statuses, and sets the timer again for the rest.
pub(crate) fn remove_expired() -> Result<()> {
    let now = context::now();
    let mut next = None::<u64>;
    let page = storage::prefix([PREFIX]).limit(CHECKED_AT_ONCE).list();
    let is_last_page = page.len() < CHECKED_AT_ONCE as usize;
    let mut kept = 0;
    for (key, value) in page {
        let expires_at = serde_json::from_slice::<SavedStatus>(&value)?.expires_at(now);
        if expires_at <= now {
            storage::delete(key);
        } else {
            kept += 1;
            next = Some(next.map_or(expires_at, |next| next.min(expires_at)));
        }
    }
    // If more are stored than one turn reads, the next turn reads the others: some of these are removed now.
    if !is_last_page && kept < CHECKED_AT_ONCE {
        next = Some(now);
    }
    next.map_or(Ok(()), |at| timers::set_at(TIMER, at, []))
}

fn key(user_id: &str) -> Vec<u8> {
    [&[PREFIX], user_id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_normal_close_is_intentional() {
        let close = |code, clean| Close { code, reason: String::new(), clean };
        assert!(is_intentional(&close(1000, true)));
        for (code, clean) in [(1000, false), (1001, true), (1006, false), (1011, true), (4408, true)] {
            assert!(!is_intentional(&close(code, clean)), "{code}");
        }
    }

    #[test]
    fn a_time_in_the_future_does_not_delay_the_expiry() {
        let expires_at = |left| SavedStatus { status: Status::Busy, left }.expires_at(100);
        assert_eq!((expires_at(40), expires_at(5_000_000)), (40 + KEEP_MS, 100 + KEEP_MS));
    }
}
