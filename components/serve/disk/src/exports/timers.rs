//! The interface `timers`.

use super::room::timers::{Due, Guest, Timer, TimerError};
use super::{Disk, with_session};
use crate::state::{self, Change};

const NAME_BYTES: usize = 256;
const PAYLOAD_BYTES: usize = 16_384;
const MAX_TIMERS: usize = 1_000;

pub(super) fn to_wit(timer: &state::Timer) -> Timer {
    Timer { name: timer.name.clone(), at: timer.at, payload: timer.payload.clone(), attempt: timer.attempt }
}

impl Guest for Disk {
    fn set(name: String, due: Due, payload: Vec<u8>) -> Result<(), TimerError> {
        if !(1..=NAME_BYTES).contains(&name.len()) {
            return Err(TimerError::BadName);
        }
        if payload.len() > PAYLOAD_BYTES {
            return Err(TimerError::PayloadTooLarge);
        }
        with_session(|session| {
            let timers = &session.state().timers;
            if timers.len() >= MAX_TIMERS && !timers.contains_key(&name) {
                return Err(TimerError::TooMany);
            }
            let at = match due {
                Due::At(at) => at,
                Due::After(after) => session.turn().now.saturating_add(after),
            };
            session.change(Change::Set(state::Timer { name, at, payload, attempt: 0 }));
            Ok(())
        })
    }

    fn get(name: String) -> Option<Timer> {
        with_session(|session| session.state().timers.get(&name).map(to_wit))
    }

    fn cancel(name: String) -> bool {
        with_session(|session| {
            let was_set = session.state().timers.contains_key(&name);
            if was_set {
                session.change(Change::Cancel(name));
            }
            was_set
        })
    }

    fn list() -> Vec<Timer> {
        with_session(|session| session.state().timers.values().map(to_wit).collect())
    }
}
