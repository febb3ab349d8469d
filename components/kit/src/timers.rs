//! Named timers that wake the room, durable with the turn that set them.

use std::time::Duration;

use crate::bindings::room::dormouse::room::timers as wit;
use crate::{Error, Result};

pub use wit::{Due, Timer, TimerError, cancel, get, list};

/// Sets a timer that fires after this duration. It replaces a timer of the same name.
pub fn set_after(name: &str, after: Duration, payload: impl AsRef<[u8]>) -> Result<()> {
    let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    set(name, Due::After(after), payload.as_ref())
}

/// Sets a timer that fires at a Unix time in milliseconds; at once, if that time has passed. It replaces a timer of the
/// same name.
pub fn set_at(name: &str, at: u64, payload: impl AsRef<[u8]>) -> Result<()> {
    set(name, Due::At(at), payload.as_ref())
}

fn set(name: &str, due: Due, payload: &[u8]) -> Result<()> {
    wit::set(name, due, payload).map_err(|error| {
        let shown = &name[..name.floor_char_boundary(64)];
        Error::new(match error {
            TimerError::BadName => {
                format!("the timer's name {shown:?} has {} B, and a name has 1 to 256 B", name.len())
            }
            TimerError::PayloadTooLarge => format!(
                "the payload of the timer {shown:?} has {} B, and a payload has 16384 B at most: keep it in storage",
                payload.len()
            ),
            TimerError::TooMany => format!("the timer {shown:?} is one too many: a room has 1000 at most"),
        })
    })
}
