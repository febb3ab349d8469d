//! Named timers that wake the room, durable with the turn that set them.

use std::time::Duration;

use crate::Result;
use crate::bindings::room::dormouse::room::timers as wit;

pub use wit::{Due, Timer, TimerError, cancel, get, list};

/// Set a timer to fire after a while, replacing the one of that name.
pub fn set_after(name: &str, after: Duration, payload: impl AsRef<[u8]>) -> Result<()> {
    let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    Ok(wit::set(name, Due::After(after), payload.as_ref())?)
}

/// Set a timer to fire at a Unix time in milliseconds, replacing the one of that name. A time that has passed fires at
/// once.
pub fn set_at(name: &str, at: u64, payload: impl AsRef<[u8]>) -> Result<()> {
    Ok(wit::set(name, Due::At(at), payload.as_ref())?)
}
