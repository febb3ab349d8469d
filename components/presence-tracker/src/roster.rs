//! Stores the listed users, one key each: `u` and the user's id. The host counts the sockets of each user.

use std::iter;

use dormouse_room::{Result, context, sockets, storage};
use serde::{Deserialize, Serialize};

use crate::status::Status;
use crate::unlisted;

const PREFIX: u8 = b'u';

/// Entries read at once: the host's limit.
const PAGE_SIZE: u32 = 1_000;

/// The stored data of a user. It has no number of sockets: a stored number would outlive the sockets.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) status: Status,
    pub(crate) last_seen: u64,
    /// When the room first noticed that the user has no socket. Only users from before a restart of the host are listed
    /// without a socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) missing_since: Option<u64>,
}

impl Entry {
    /// Corrects an entry that was stored while the clock was ahead: no time in it is later than now. A `missing_since`
    /// in the future is dropped, and set again later.
    fn clamped_to(self, now: u64) -> Self {
        let missing_since = self.missing_since.filter(|since| *since <= now);
        Entry { last_seen: self.last_seen.min(now), missing_since, ..self }
    }
}

pub(crate) fn get(user_id: &str) -> Result<Option<Entry>> {
    let stored = storage::get_json::<Entry>(key(user_id))?;
    Ok(stored.map(|entry| entry.clamped_to(context::now())))
}

pub(crate) fn put(user_id: &str, entry: &Entry) -> Result<()> {
    storage::put_json(key(user_id), entry)
}

/// Removes a user. Returns whether the user was listed.
pub(crate) fn remove(user_id: &str) -> bool {
    storage::delete(key(user_id))
}

/// The number of a user's sockets, without those that only hear. The user need not be listed.
pub(crate) fn connections(user_id: &str) -> u32 {
    match sockets::everyone().of_user(user_id).count() {
        0 => 0,
        all => all - unlisted::of_user(user_id).count(),
    }
}

/// All listed users, sorted by id. Users may be removed during the iteration.
pub(crate) fn all() -> impl Iterator<Item = Result<(String, Entry)>> {
    after(None)
}

/// As [`all`], for users with an id above this one. A user with this id need not be listed.
pub(crate) fn after(user_id: Option<&str>) -> impl Iterator<Item = Result<(String, Entry)>> + use<> {
    let now = context::now();
    let mut next = Some(user_id.map_or_else(|| vec![PREFIX], |user_id| [&key(user_id)[..], &[0]].concat()));
    let pages = iter::from_fn(move || {
        let page = storage::prefix([PREFIX]).from(next.take()?).limit(PAGE_SIZE).list();
        // A full page stays far below the 16 MiB at which the host would end it early, so a shorter one is the last.
        if let Some((last, _)) = page.last().filter(|_| page.len() == PAGE_SIZE as usize) {
            next = Some([last, &[0][..]].concat()); // the lowest key above `last`
        }
        Some(page)
    });
    pages.flatten().map(move |(key, value)| {
        let entry = serde_json::from_slice::<Entry>(&value)?;
        Ok((String::from_utf8(key[1..].into())?, entry.clamped_to(now)))
    })
}

fn key(user_id: &str) -> Vec<u8> {
    [&[PREFIX], user_id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_times_in_the_future_are_clamped_to_now() {
        let stored =
            |last_seen, missing_since| Entry { name: "Ana".into(), status: Status::Away, last_seen, missing_since };
        let read = |entry: Entry| {
            let entry = entry.clamped_to(100);
            (entry.last_seen, entry.missing_since)
        };
        assert_eq!(read(stored(200, Some(150))), (100, None));
        assert_eq!(read(stored(50, Some(60))), (50, Some(60)));
        assert_eq!(read(stored(101, None)), (100, None));
    }

    #[test]
    fn an_entry_of_an_older_version_is_read() {
        let entry: Entry = serde_json::from_str(r#"{"name":"Ana","status":"busy","lastSeen":5}"#).unwrap();
        assert_eq!((entry.status, entry.last_seen, entry.missing_since), (Status::Busy, 5, None));
    }
}
