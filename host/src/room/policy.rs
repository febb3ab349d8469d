//! Decisions of a room about failures and idleness, as pure functions over plain values: no clock, no lock, no await.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::limits::{HOST_BACKOFF_S, MAX_POST_BACKOFF_S, POST_TRIES, POSTS_AT_ONCE_OF_A_ROOM, TIMER_BACKOFF_S};
use crate::model::{Destination, Post, PostNumber, Posts, Timer, Timers};

/// The wait before a timer runs again after its `failures`th failure in a row; absent if it is given up. `jitter`, from
/// 0 to 1, adds up to a quarter, so that rooms that failed together do not retry together.
pub(super) fn timer_backoff(failures: u32, jitter: f64) -> Option<Duration> {
    let index = usize::try_from(failures.checked_sub(1)?).ok()?;
    let backoff = Duration::from_secs(*TIMER_BACKOFF_S.get(index)?);
    Some(backoff + backoff.mul_f64(jitter.clamp(0.0, 1.0) / 4.0))
}

/// The wait before a post is tried again after `tries` tries; absent if it is given up. `jitter` as with timers.
pub(super) fn post_backoff(tries: u32, jitter: f64) -> Option<Duration> {
    if tries >= POST_TRIES {
        return None;
    }
    let doubled = 1_u64.checked_shl(tries).unwrap_or(u64::MAX);
    let backoff = Duration::from_secs(doubled.min(MAX_POST_BACKOFF_S));
    Some(backoff + backoff.mul_f64(jitter.clamp(0.0, 1.0) / 4.0))
}

/// Limits the retry times of stored posts. They may have been stored while the clock was ahead; no post waits longer
/// than the longest backoff.
pub(super) fn posts_in_time(mut posts: Posts, now: UnixMillis) -> Posts {
    posts.clamp(now + 1_000 * (MAX_POST_BACKOFF_S + MAX_POST_BACKOFF_S / 4));
    posts
}

/// Limits the retry times of stored timers that have failed to the longest backoff. The due times of other timers are
/// set by the room, so they stay.
pub(super) fn timers_in_time(timers: Timers, now: UnixMillis) -> Timers {
    let longest = TIMER_BACKOFF_S.into_iter().max().unwrap_or(0);
    let latest = now + 1_000 * (longest + longest / 4);
    let in_time =
        |timer: &Timer| Timer { at: if timer.attempt > 0 { timer.at.min(latest) } else { timer.at }, ..timer.clone() };
    timers.iter().map(in_time).collect()
}

/// The wait before a retry when the host lacked something, such as disk space. `jitter` as with timers.
pub(super) fn host_backoff(jitter: f64) -> Duration {
    let backoff = Duration::from_secs(HOST_BACKOFF_S);
    backoff + backoff.mul_f64(jitter.clamp(0.0, 1.0) / 4.0)
}

/// How many idle rooms hibernate when there is no space for another instance: a twentieth, so that this is rarely
/// needed, and at least one.
pub(super) fn rooms_to_hibernate(idle: usize) -> usize {
    idle.div_ceil(20)
}

/// When a room must look at its posts again: when the first post that can be carried is due. Posts that are being
/// carried, are not durable yet, or have no free slot do not count: the room looks at them when that changes. Waking
/// for them earlier would repeat without effect.
pub(super) fn next_post(posts: &Posts, carried: &BTreeSet<PostNumber>, durable: u64) -> Option<UnixMillis> {
    let by_kind = carried_by_kind(posts, carried);
    let has_place = |post: &Post| by_kind[kind(&post.destination)] < POSTS_AT_ONCE_OF_A_ROOM;
    let can_be = |number: &PostNumber| number.commit() <= durable && !carried.contains(number);
    posts.next().filter(|(number, post)| can_be(number) && has_place(post)).map(|(_, post)| post.at).min()
}

/// Posts to rooms and posts to servers have separate slots, so that slow servers do not delay posts to rooms.
pub(super) fn kind(destination: &Destination) -> usize {
    usize::from(matches!(destination, Destination::Origin(_)))
}

/// How many posts of each kind are being carried.
pub(super) fn carried_by_kind(posts: &Posts, carried: &BTreeSet<PostNumber>) -> [usize; 2] {
    let mut by_kind = [0; 2];
    for post in carried.iter().filter_map(|number| posts.get(*number)) {
        by_kind[kind(&post.destination)] += 1;
    }
    by_kind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, Request};

    #[test]
    fn a_room_wakes_only_for_posts_that_can_be_delivered() {
        let numbers = [PostNumber::new(1, 0), PostNumber::new(1, 1), PostNumber::new(2, 0)];
        let post = |nth: usize| Post {
            destination: Destination::Origin(nth.to_string()),
            request: Request::default(),
            at: 10 * nth as u64,
            attempt: 0,
            key: None,
        };
        let posts = numbers.into_iter().enumerate().map(|(nth, number)| (number, post(nth))).collect::<Posts>();
        let none = BTreeSet::new();
        assert_eq!(next_post(&posts, &none, 2), Some(0));
        assert_eq!(next_post(&posts, &none, 0), None, "none is durable");
        assert_eq!(next_post(&posts, &BTreeSet::from([numbers[0]]), 1), Some(10), "the first is carried");
        assert_eq!(next_post(&posts, &BTreeSet::from([numbers[0], numbers[1]]), 1), None, "the last is not durable");
        let mut posts = posts;
        let full: BTreeSet<_> = (0..POSTS_AT_ONCE_OF_A_ROOM as u16).map(|place| PostNumber::new(9, place)).collect();
        (100..).zip(&full).for_each(|(nth, number)| posts.apply(*number, Some(post(nth))));
        assert_eq!(next_post(&posts, &full, 2), None, "as many are carried as may be");
        let to_room = Destination::Room(Address::new("ROOMS", "a").unwrap());
        posts.apply(PostNumber::new(2, 1), Some(Post { destination: to_room, ..post(7) }));
        assert_eq!(next_post(&posts, &full, 2), Some(70), "one to a room can be");
        assert_eq!(next_post(&Posts::default(), &none, 2), None);
    }

    #[test]
    fn a_failed_timer_backs_off_twofold_and_is_dropped_after_six() {
        let waits = (1..=7).map(|failures| timer_backoff(failures, 0.0).map(|wait| wait.as_secs()));
        assert_eq!(waits.collect::<Vec<_>>(), [Some(2), Some(4), Some(8), Some(16), Some(32), Some(64), None]);
    }

    #[test]
    fn a_post_is_retried_with_backoff_and_dropped_in_the_end() {
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
