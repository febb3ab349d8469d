//! The end of a turn: what functions of this crate have kept in memory until then reaches the host. Each exported event
//! passes its result through here.

#[cfg(feature = "sql")]
pub(crate) use crate::sql::{end_reading, end_turn as end, end_wake};

/// Ends the turn of an event.
#[cfg(not(feature = "sql"))]
pub(crate) fn end<T, E>(result: Result<T, E>) -> Result<T, E> {
    result
}

/// Ends the turn of an event that may only read.
#[cfg(not(feature = "sql"))]
pub(crate) fn end_reading<T, E>(result: Result<T, E>) -> Result<T, E> {
    result
}

/// Ends `wake`: an event follows in its turn.
#[cfg(not(feature = "sql"))]
pub(crate) fn end_wake() {}
