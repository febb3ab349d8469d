//! What a room does when things go wrong or nothing happens, as pure functions over plain values.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::config::{POST_BACKOFF_MOST_S, POST_TRIES, POSTS_AT_ONCE_OF_A_ROOM, TIMER_BACKOFF_S};
use crate::model::{PostNumber, Posts};

/// How long after its `failures`th failure in a row a timer is tried again; absent when it is given up. `jitter`, from
/// 0 to 1, spreads rooms that failed together over a quarter more.
pub(super) fn timer_backoff(failures: u32, jitter: f64) -> Option<Duration> {
    let index = usize::try_from(failures.checked_sub(1)?).ok()?;
    let backoff = Duration::from_secs(*TIMER_BACKOFF_S.get(index)?);
    Some(backoff + backoff.mul_f64(jitter.clamp(0.0, 1.0) / 4.0))
}

/// How long after its `tries`th try a post is tried again; absent when it is given up. `jitter` as with timers.
pub(super) fn post_backoff(tries: u32, jitter: f64) -> Option<Duration> {
    if tries >= POST_TRIES {
        return None;
    }
    let doubled = 1_u64.checked_shl(tries).unwrap_or(u64::MAX);
    let backoff = Duration::from_secs(doubled.min(POST_BACKOFF_MOST_S));
    Some(backoff + backoff.mul_f64(jitter.clamp(0.0, 1.0) / 4.0))
}

/// How many of the idle rooms hibernate when there is no space for another instance: a twentieth, so that making space
/// stays rare, and at least one.
pub(super) fn rooms_to_hibernate(idle: usize) -> usize {
    idle.div_ceil(20)
}

/// When a room must look at its posts by itself: for the first of those that can be carried. One that is carried, is not
/// durable yet, or has no place among those that are carried, is looked at when that changes; to be woken for it before
/// would be to be woken again and again.
pub(super) fn next_post(posts: &Posts, carried: &BTreeSet<PostNumber>, durable: u64) -> Option<UnixMillis> {
    if carried.len() >= POSTS_AT_ONCE_OF_A_ROOM {
        return None;
    }
    let can_be = |number: &PostNumber| number.commit() <= durable && !carried.contains(number);
    posts.next().filter(|(number, _)| can_be(number)).map(|(_, post)| post.at).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Destination, Post, Request};

    #[test]
    fn a_room_is_woken_for_posts_that_can_be_carried_and_for_no_others() {
        let numbers = [PostNumber::new(1, 0), PostNumber::new(1, 1), PostNumber::new(2, 0)];
        let post = |nth: usize| Post {
            destination: Destination::Origin(nth.to_string()),
            request: Request::default(),
            at: 10 * nth as u64,
            attempt: 0,
        };
        let posts = numbers.into_iter().enumerate().map(|(nth, number)| (number, post(nth))).collect::<Posts>();
        let none = BTreeSet::new();
        assert_eq!(next_post(&posts, &none, 2), Some(0));
        assert_eq!(next_post(&posts, &none, 0), None, "none is durable");
        assert_eq!(next_post(&posts, &BTreeSet::from([numbers[0]]), 1), Some(10), "the first is carried");
        assert_eq!(next_post(&posts, &BTreeSet::from([numbers[0], numbers[1]]), 1), None, "the last is not durable");
        let full = (0..POSTS_AT_ONCE_OF_A_ROOM as u16).map(|place| PostNumber::new(9, place)).collect();
        assert_eq!(next_post(&posts, &full, 2), None, "as many are carried as may be");
        assert_eq!(next_post(&Posts::default(), &none, 2), None);
    }

    #[test]
    fn a_failed_timer_waits_twice_as_long_each_time_and_is_given_up_after_six() {
        let waits = (1..=7).map(|failures| timer_backoff(failures, 0.0).map(|wait| wait.as_secs()));
        assert_eq!(waits.collect::<Vec<_>>(), [Some(2), Some(4), Some(8), Some(16), Some(32), Some(64), None]);
    }

    #[test]
    fn a_post_is_tried_less_and_less_often_and_given_up_in_the_end() {
        let waits = (1..=12).map(|tries| post_backoff(tries, 0.0).unwrap().as_secs()).collect::<Vec<_>>();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]);
        assert_eq!(post_backoff(99, 0.0), Some(Duration::from_secs(600)));
        assert_eq!(post_backoff(100, 0.0), None);
        assert_eq!(post_backoff(2, 1.0), Some(Duration::from_secs(5)));
    }

    #[test]
    fn jitter_adds_a_quarter_at_most() {
        assert_eq!(timer_backoff(2, 1.0), Some(Duration::from_secs(5)));
        assert_eq!(timer_backoff(2, 9.0), Some(Duration::from_secs(5)));
    }
}
