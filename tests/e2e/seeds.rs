//! Random choices that can be made again: a test prints its seed, and takes it from the environment.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

/// A seed that a test prints, so that its run can be repeated: `DORMOUSE_TEST_SEED`, or any.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("DORMOUSE_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("DORMOUSE_TEST_SEED={seed}");
    seed
}

/// How many rounds to run: `DORMOUSE_TEST_ROUNDS`, or so many.
pub(crate) fn rounds(usually: u64) -> u64 {
    std::env::var("DORMOUSE_TEST_ROUNDS").map_or(usually, |rounds| rounds.parse().unwrap())
}

/// The random choices of one round.
pub(crate) fn random_choices(seed: u64, round: u64) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// Says how far a long run has come.
pub(crate) struct Progress(Instant);

impl Progress {
    pub(crate) fn new() -> Self {
        Progress(Instant::now())
    }

    /// Every ten seconds.
    pub(crate) fn print(&mut self, figures: &impl std::fmt::Debug) {
        if self.0.elapsed() > Duration::from_secs(10) {
            self.0 = Instant::now();
            println!("{figures:?}");
        }
    }
}
