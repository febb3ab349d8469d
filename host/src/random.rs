//! Randomness. All code of the host that needs it asks here, except guests: their random numbers come from the seed of
//! the turn, so that a turn can be repeated.
#![expect(clippy::disallowed_methods, reason = "all randomness of the host is made here")]

use std::ops::RangeInclusive;

use rand::{Rng, RngExt};

/// Random bytes for secrets, tickets, and the seed of a turn: from a generator that is cryptographically secure.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// A random number that is unique for all practical purposes.
pub(crate) fn number() -> u64 {
    rand::random()
}

/// From 0 to 1, to spread retries that would come at the same moment.
pub(crate) fn jitter() -> f64 {
    rand::random()
}

/// A number of seconds, to spread clients that would come back at the same moment.
pub(crate) fn seconds(range: RangeInclusive<u32>) -> u32 {
    rand::rng().random_range(range)
}
