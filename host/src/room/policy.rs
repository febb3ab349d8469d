//! What a room does when things go wrong or nothing happens, as pure functions over plain values.

use std::time::Duration;

use crate::config::TIMER_BACKOFF_S;

/// How long after its `failures`th failure in a row a timer is tried again; absent when it is given up. `jitter`, from
/// 0 to 1, spreads rooms that failed together over a quarter more.
pub(super) fn timer_backoff(failures: u32, jitter: f64) -> Option<Duration> {
    let index = usize::try_from(failures.checked_sub(1)?).ok()?;
    let backoff = Duration::from_secs(*TIMER_BACKOFF_S.get(index)?);
    Some(backoff + backoff.mul_f64(jitter.clamp(0.0, 1.0) / 4.0))
}

/// How many of the idle rooms hibernate when there is no space for another instance: a twentieth, so that making space
/// stays rare, and at least one.
pub(super) fn rooms_to_hibernate(idle: usize) -> usize {
    idle.div_ceil(20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_timer_waits_twice_as_long_each_time_and_is_given_up_after_six() {
        let waits = (1..=7).map(|failures| timer_backoff(failures, 0.0).map(|wait| wait.as_secs()));
        assert_eq!(waits.collect::<Vec<_>>(), [Some(2), Some(4), Some(8), Some(16), Some(32), Some(64), None]);
    }

    #[test]
    fn jitter_adds_a_quarter_at_most() {
        assert_eq!(timer_backoff(2, 1.0), Some(Duration::from_secs(5)));
        assert_eq!(timer_backoff(2, 9.0), Some(Duration::from_secs(5)));
    }
}
