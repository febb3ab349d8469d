//! When a user counts as gone though no `close` said so.
//!
//! A user with a socket is here: the host asks every socket for a sign of life, and closes one that gives none. So a page
//! that is hidden, whose timers a browser slows down, stays as long as its connection does. A user who is listed without
//! a socket was here before the host restarted, and gets some time to come back.
//!
//! One timer watches over everybody. It is set while anybody is listed, and it survives restarts.

use dormouse_room::{Result, context, sockets, timers};

use crate::frames::Frame;
use crate::remembered;
use crate::roster::{self, Entry};

/// The one timer.
pub(crate) const TIMER: &str = "silence";

/// How often the list is looked through, in milliseconds.
const LOOK_EVERY_MS: u64 = 60_000;

/// How long a user may be without a socket, in milliseconds. A hidden page may try to come back only once a minute, so
/// this is half as long again.
const PATIENCE_MS: u64 = 90_000;

/// Users removed in one turn. Each is a frame for every socket, and more of them than a socket may have waiting would
/// close it.
const REMOVED_AT_ONCE: usize = 500;

/// Users who are noted as missing in one turn: each is a write, and a turn's writes are limited.
const NOTED_AT_ONCE: usize = 1_000;

/// Users looked at for each millisecond of rest, so that looking takes a bounded share of time however long the list:
/// after a look at 30,000 the next is 3 s later at the earliest.
const LOOKED_AT_PER_MS: u64 = 10;

/// Have the timer set, now that somebody is listed.
pub(crate) fn watch() -> Result<()> {
    match timers::get(TIMER) {
        Some(_) => Ok(()),
        None => timers::set_at(TIMER, context::now() + LOOK_EVERY_MS, []),
    }
}

/// Look at once where the timer was set while the clock was ahead: it would not be due for hours.
pub(crate) fn mend() -> Result<()> {
    let now = context::now();
    match timers::get(TIMER) {
        Some(timer) if timer.at > now + LOOK_EVERY_MS => timers::set_at(TIMER, now, []),
        _ => Ok(()),
    }
}

/// The timer is due: remove those who did not come back, and set it again.
pub(crate) fn look() -> Result<()> {
    let now = context::now();
    let (mut removed, mut noted, mut looked_at) = (0, 0, 0);
    let mut next = now + LOOK_EVERY_MS;
    for user in roster::all() {
        let (user_id, entry) = user?;
        looked_at += 1;
        if roster::connections(&user_id) > 0 {
            continue;
        }
        match due(&entry, now) {
            Due::Note if noted < NOTED_AT_ONCE => {
                noted += 1;
                roster::put(&user_id, &Entry { missing_since: Some(now), ..entry })?;
            }
            Due::Remove if removed < REMOVED_AT_ONCE => {
                removed += 1;
                roster::remove(&user_id);
                remembered::put(&user_id, entry.status)?;
                sockets::everyone().broadcast_json(&Frame::PresenceRemove { user_id: &user_id })?;
            }
            Due::Note | Due::Remove => next = now,
            Due::At(at) => next = next.min(at),
        }
    }
    if looked_at == removed {
        return Ok(()); // Nobody is listed any more.
    }
    timers::set_at(TIMER, next.max(now + looked_at as u64 / LOOKED_AT_PER_MS), [])
}

/// What is to be done about a user without a socket.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// Write down that the user is missing.
    Note,
    /// Nothing before this time.
    At(u64),
    /// The user did not come back.
    Remove,
}

fn due(entry: &Entry, now: u64) -> Due {
    match entry.missing_since {
        None => Due::Note,
        Some(since) if now.saturating_sub(since) >= PATIENCE_MS => Due::Remove,
        Some(since) => Due::At(since + PATIENCE_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;

    const NOW: u64 = 1_800_000_000_000;

    fn missing(since: Option<u64>) -> Due {
        due(&Entry { name: "Ana".into(), status: Status::Away, last_seen: 5, missing_since: since }, NOW)
    }

    #[test]
    fn a_missing_user_is_noted_and_removed_ninety_seconds_later() {
        assert_eq!(missing(None), Due::Note);
        assert_eq!(missing(Some(NOW)), Due::At(NOW + 90_000));
        assert_eq!(missing(Some(NOW - 89_999)), Due::At(NOW + 1));
        assert_eq!(missing(Some(NOW - 90_000)), Due::Remove);
    }
}
