//! Users who may not send messages for a time. A mute ends by itself; its entry goes when the next mute is stored.

use std::collections::BTreeMap;

use dormouse_room::{Result, storage};
use serde::{Deserialize, Serialize};

const PREFIX: u8 = b'u';

/// The most mutes in a room. All are read at once and kept in memory, at about 100 B each, so that a message costs no
/// read. One moderator does not mute as many users by hand.
pub(crate) const MAX_MUTES: usize = 1_000;

/// The longest mute, in seconds: 30 days. A user who shall stay away longer gets a token without `write`.
pub(crate) const MAX_SECONDS: u64 = 30 * 24 * 60 * 60;

/// The mute of one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mute {
    pub(crate) user: String,
    /// Unix milliseconds.
    pub(crate) until: u64,
    pub(crate) by: String,
}

impl Mute {
    pub(crate) fn is_over(&self, now: u64) -> bool {
        self.until <= now
    }

    /// The time left, rounded up: after it the mute is over.
    pub(crate) fn seconds_left(&self, now: u64) -> u64 {
        self.until.saturating_sub(now).div_ceil(1_000)
    }
}

/// The mutes of the room, as far as they are read.
#[derive(Default)]
pub(crate) struct Mutes {
    by_user: Option<BTreeMap<String, Mute>>,
}

/// The room has as many mutes as it may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Mutes {
    /// The mute of a user, unless it is over.
    pub(crate) fn of(&mut self, user_id: &str, now: u64) -> Result<Option<&Mute>> {
        Ok(self.read()?.get(user_id).filter(|mute| !mute.is_over(now)))
    }

    /// All mutes that are not over, sorted by user.
    pub(crate) fn all(&mut self, now: u64) -> Result<impl Iterator<Item = &Mute>> {
        Ok(self.read()?.values().filter(move |mute| !mute.is_over(now)))
    }

    /// Stores a mute in the place of an earlier one of the same user. If it is over, it only ends that one.
    pub(crate) fn set(&mut self, mute: Mute, now: u64) -> Result<Result<(), TooMany>> {
        let mutes = self.read()?;
        for ended in removed(mutes, &mute, now) {
            storage::delete(key(&ended));
            mutes.remove(&ended);
        }
        if mute.is_over(now) {
            return Ok(Ok(()));
        }
        if mutes.len() >= MAX_MUTES {
            return Ok(Err(TooMany));
        }
        storage::put_json(key(&mute.user), &mute)?;
        mutes.insert(mute.user.clone(), mute);
        Ok(Ok(()))
    }

    /// Every stored mute, also if it is over.
    pub(crate) fn stored(&mut self) -> Result<impl Iterator<Item = &Mute>> {
        Ok(self.read()?.values())
    }

    /// Removes the mute of a user, and the user's name from the mutes of others. Returns the removed mute.
    pub(crate) fn erase(&mut self, user_id: &str) -> Result<Option<Mute>> {
        let mutes = self.read()?;
        let own = mutes.remove(user_id);
        if own.is_some() {
            storage::delete(key(user_id));
        }
        for mute in mutes.values_mut().filter(|mute| mute.by == user_id) {
            mute.by.clear();
            storage::put_json(key(&mute.user), mute)?;
        }
        Ok(own)
    }

    fn read(&mut self) -> Result<&mut BTreeMap<String, Mute>> {
        if self.by_user.is_none() {
            let stored: Vec<Mute> = storage::prefix([PREFIX]).limit(MAX_MUTES as u32).list_json()?;
            self.by_user = Some(stored.into_iter().map(|mute| (mute.user.clone(), mute)).collect());
        }
        Ok(self.by_user.get_or_insert_default())
    }
}

/// The users whose mutes go when `new` is stored: those that are over, and the earlier one of the same user.
fn removed(mutes: &BTreeMap<String, Mute>, new: &Mute, now: u64) -> Vec<String> {
    let goes = |mute: &&Mute| mute.is_over(now) || mute.user == new.user;
    mutes.values().filter(goes).map(|mute| mute.user.clone()).collect()
}

fn key(user_id: &str) -> Vec<u8> {
    [&[PREFIX], user_id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mute(user: &str, until: u64) -> Mute {
        Mute { user: user.into(), until, by: "mo".into() }
    }

    #[test]
    fn a_mute_is_over_at_its_time() {
        let mute = mute("ana", 61_000);
        assert!(!mute.is_over(60_999) && mute.is_over(61_000));
        assert_eq!([0, 1_000, 60_001, 61_000, 62_000].map(|now| mute.seconds_left(now)), [61, 60, 1, 0, 0]);
    }

    #[test]
    fn ended_mutes_and_the_earlier_one_of_the_user_make_room() {
        let mutes = [mute("ana", 5), mute("bo", 6), mute("cleo", 9)].map(|mute| (mute.user.clone(), mute)).into();
        assert_eq!(removed(&mutes, &mute("dan", 20), 6), ["ana", "bo"]);
        assert_eq!(removed(&mutes, &mute("cleo", 20), 5), ["ana", "cleo"]);
        assert!(removed(&mutes, &mute("dan", 20), 0).is_empty());
    }
}
