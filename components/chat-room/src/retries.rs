//! What was sent before: a message that is sent again under the same name, by the same user, within ten minutes is
//! stored once.
//!
//! A record keeps the whole message, so that a retry is answered even if the history has let go of it. The key of a record
//! begins with the ten minutes in which it was made, its *generation*: looking one up takes two reads, and the
//! expired ones are the first keys, with no index beside them. They go a few at a time as new ones come; a room
//! where nobody names messages any more keeps the records of its last ten minutes.

use dormouse_room::{Result, User, storage};
use serde::Deserialize;

/// How long a retry is known, in milliseconds.
const WINDOW_MS: u64 = 10 * 60 * 1000;

/// Expired records that one new record removes: more than one, so that they get fewer; few, so that no turn is long.
const REMOVED_AT_ONCE: u32 = 4;

const PREFIX: u8 = b'r';

/// A sender's own name for a message. The two kinds never meet: a `clientId` is no `Idempotency-Key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named<'a> {
    ClientId(&'a str),
    IdempotencyKey(&'a str),
}

impl<'a> Named<'a> {
    pub(crate) fn client_id(self) -> Option<&'a str> {
        match self {
            Named::ClientId(id) => Some(id),
            Named::IdempotencyKey(_) => None,
        }
    }
}

pub(crate) struct Retries {
    /// No record with a lower key is left. Spares most turns the search for expired ones, and the others a walk over
    /// those just removed.
    removed_before: Vec<u8>,
}

impl Default for Retries {
    fn default() -> Self {
        Retries { removed_before: vec![PREFIX] }
    }
}

impl Retries {
    /// The message that was stored when `user` sent this first.
    pub(crate) fn find(&self, user: &User, named: Named, now: u64) -> Result<Option<Vec<u8>>> {
        for generation in [generation(now), generation_before(now)] {
            if let Some(message) = storage::get(key(generation, &user.id, named))
                && is_known(sent_at(&message)?, now)
            {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Keep `message` for when it is sent again.
    pub(crate) fn remember(&mut self, user: &User, named: Named, now: u64, message: &str) -> Result<()> {
        self.remove_expired(now);
        storage::put(key(generation(now), &user.id, named), message)
    }

    fn remove_expired(&mut self, now: u64) {
        let end = first_key(generation_before(now));
        if self.removed_before >= end {
            return;
        }
        let expired = storage::prefix([PREFIX]).from(&self.removed_before).before(&end).limit(REMOVED_AT_ONCE).list();
        for (key, _) in &expired {
            storage::delete(key);
        }
        self.removed_before = match expired.last() {
            Some((last, _)) if expired.len() == REMOVED_AT_ONCE as usize => last.clone(),
            _ => end,
        };
    }
}

fn generation(now: u64) -> u64 {
    now / WINDOW_MS
}

/// The oldest generation that may hold what is still known.
fn generation_before(now: u64) -> u64 {
    generation(now).saturating_sub(1)
}

fn is_known(sent_at: u64, now: u64) -> bool {
    now.saturating_sub(sent_at) < WINDOW_MS
}

fn sent_at(message: &[u8]) -> Result<u64> {
    #[derive(Deserialize)]
    struct Sent {
        timestamp: u64,
    }
    Ok(serde_json::from_slice::<Sent>(message)?.timestamp)
}

/// No record of this generation, or of a later one, has a lower key.
fn first_key(generation: u64) -> Vec<u8> {
    [&[PREFIX][..], &generation.to_be_bytes()].concat()
}

/// The user's length keeps `ab` + `c` and `a` + `bc` apart.
fn key(generation: u64, user_id: &str, named: Named) -> Vec<u8> {
    let (kind, name) = match named {
        Named::ClientId(id) => (b'c', id),
        Named::IdempotencyKey(key) => (b'k', key),
    };
    let user_length = (user_id.len() as u32).to_be_bytes();
    [&first_key(generation)[..], &[kind], &user_length, user_id.as_bytes(), name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: u64 = 1_800_000_123_456;

    #[test]
    fn a_retry_is_known_for_ten_minutes_and_no_longer() {
        assert!(is_known(SENT, SENT));
        assert!(is_known(SENT, SENT + WINDOW_MS - 1));
        assert!(!is_known(SENT, SENT + WINDOW_MS));
    }

    #[test]
    fn whatever_is_still_known_is_in_one_of_the_two_generations_looked_through() {
        for sent_at in (SENT..SENT + 2 * WINDOW_MS).step_by(59_999) {
            for now in (sent_at..sent_at + WINDOW_MS).step_by(59_999) {
                assert!([generation(now), generation_before(now)].contains(&generation(sent_at)), "{sent_at} {now}");
            }
        }
    }

    #[test]
    fn nothing_that_is_still_known_is_removed() {
        for sent_at in (SENT..SENT + 2 * WINDOW_MS).step_by(59_999) {
            let key = key(generation(sent_at), "ana", Named::ClientId("c1"));
            let goes = |now| key < first_key(generation_before(now));
            assert!(!goes(sent_at + WINDOW_MS - 1));
            assert!(goes(sent_at + 2 * WINDOW_MS));
        }
    }

    #[test]
    fn two_senders_or_two_kinds_of_name_never_share_a_record() {
        let keys = [
            key(1, "a", Named::ClientId("bc")),
            key(1, "ab", Named::ClientId("c")),
            key(1, "a", Named::IdempotencyKey("bc")),
            key(2, "a", Named::ClientId("bc")),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key));
        }
    }

    #[test]
    fn a_stored_message_says_when_it_was_sent() {
        assert_eq!(sent_at(br#"{"id":"i","content":"\"timestamp\":1","timestamp":5,"seq":7}"#).unwrap(), 5);
    }
}
