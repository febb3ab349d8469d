//! Limits on the amount that each holder has at the same time: requests, or bytes.
//!
//! A part is returned when it is dropped, and a holder without a part is forgotten. So the table has no more entries
//! than there are holders now.
//!
//! It knows neither requests nor users: `budget` chooses the holders and the limits.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The amount of one thing that each holder has.
#[derive(Debug)]
pub(in crate::edge) struct Shares<K> {
    /// The limit for each holder. 0 for no limit.
    max: usize,
    amounts: Mutex<HashMap<K, usize>>,
}

/// A part that a holder has; dropping it returns it.
#[derive(Debug)]
pub(in crate::edge) struct Share<K: Eq + Hash> {
    /// Absent if there is no limit.
    of: Option<(Arc<Shares<K>>, K)>,
    amount: usize,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// Shares of at most `max` for each holder; 0 for no limit.
    pub(in crate::edge) fn of(max: usize) -> Arc<Self> {
        Arc::new(Shares { max, amounts: Mutex::default() })
    }

    /// Takes `amount` for a holder; absent if that exceeds the limit.
    pub(in crate::edge) fn take(self: &Arc<Self>, holder: &K, amount: usize) -> Option<Share<K>> {
        self.part(holder, amount, |held| amount <= self.max.saturating_sub(held))
    }

    /// As [`take`](Self::take), but a holder that has nothing yet may take any amount at once.
    pub(in crate::edge) fn take_one_at_least(self: &Arc<Self>, holder: &K, amount: usize) -> Option<Share<K>> {
        self.part(holder, amount, |held| held == 0 || amount <= self.max.saturating_sub(held))
    }

    /// Returns whether a holder can take nothing more.
    pub(in crate::edge) fn is_full(&self, holder: &K) -> bool {
        self.max > 0 && self.lock().get(holder).is_some_and(|held| *held >= self.max)
    }

    fn part(self: &Arc<Self>, holder: &K, amount: usize, fits: impl FnOnce(usize) -> bool) -> Option<Share<K>> {
        if self.max == 0 {
            return Some(Share { of: None, amount });
        }
        let mut all = self.lock();
        let held = all.get(holder).copied().unwrap_or(0);
        if !fits(held) {
            return None;
        }
        // A part of 0 gets no entry; it may grow later.
        if amount > 0 {
            all.insert(holder.clone(), held + amount);
        }
        Some(Share { of: Some((self.clone(), holder.clone())), amount })
    }
}

impl<K> Shares<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.amounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Share<K> {
    /// Adds `more` to the part. Returns false and changes nothing if that exceeds the limit.
    pub(in crate::edge) fn grow(&mut self, more: usize) -> bool {
        let Some((shares, holder)) = &self.of else { return true };
        let Some(mut added) = shares.take(holder, more) else { return false };
        self.amount += std::mem::take(&mut added.amount);
        true
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let Some((shares, holder)) = &self.of else { return };
        let mut all = shares.lock();
        if let Some(held) = all.get_mut(holder) {
            *held = held.saturating_sub(self.amount);
            if *held == 0 {
                all.remove(holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_holder_has_a_share_and_returns_it() {
        let shares = Shares::of(3);
        let first = shares.take(&"ana", 2).unwrap();
        assert!(shares.take(&"ana", 2).is_none());
        assert!(shares.take(&"bo", 3).is_some(), "others have theirs");
        let _second = shares.take(&"ana", 1).unwrap();
        assert!(shares.is_full(&"ana") && !shares.is_full(&"bo"));
        drop(first);
        assert!(shares.take(&"ana", 2).is_some());
    }

    #[test]
    fn a_part_grows_up_to_the_share() {
        let shares = Shares::of(10);
        let mut part = shares.take(&(), 0).unwrap();
        assert!(part.grow(6) && part.grow(4) && !part.grow(1));
        drop(part);
        assert!(shares.lock().is_empty(), "a holder of nothing is forgotten");
    }

    #[test]
    fn a_single_part_may_exceed_the_share() {
        let shares = Shares::of(10);
        let long = shares.take_one_at_least(&(), 50).unwrap();
        assert!(shares.take_one_at_least(&(), 1).is_none());
        drop(long);
        let _short = shares.take_one_at_least(&(), 1).unwrap();
        assert!(shares.take_one_at_least(&(), 50).is_none());
        assert!(shares.take_one_at_least(&(), 9).is_some());
    }

    #[test]
    fn a_limit_of_zero_limits_nothing() {
        let shares = Shares::of(0);
        let mut part = shares.take(&(), usize::MAX).unwrap();
        assert!(part.grow(usize::MAX) && !shares.is_full(&()));
        assert!(shares.lock().is_empty(), "and no holder is counted");
    }
}
