//! The moment of a turn: its time and the seed of its randomness. A replay of the same event in the same moment gives
//! the same turn.

use crate::clock::UnixMillis;

/// All outside input of a turn beside its event and data: the same values give the same turn.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moment {
    /// The time of the turn.
    pub now: UnixMillis,
    /// The seed of its random numbers.
    pub seed: [u8; 32],
}
