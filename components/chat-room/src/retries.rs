//! What was sent before: a message that is sent again under the same name, by the same user, within ten minutes is
//! stored once.
//!
//! A record keeps the whole message, so that a retry is answered even if the history has let go of it. The key of a record
//! begins with the ten minutes in which it was made, its *generation*: looking one up takes two reads, and the
//! expired ones are the first keys, with no index beside them. They go a few at a time as new ones come; a room
//! where nobody names messages any more keeps the records of its last ten minutes.
//!
//! The clock may step back, by seconds or by hours. Then there are records of generations that are yet to come. They are
//! looked through as well, and a record from the future counts as made just now. New records bring them into the present,
//! a few at a time, so that they expire as all others do.

use std::borrow::Cow;

use dormouse_room::{Result, User, storage};
use serde::Deserialize;

/// How long a retry is known, in milliseconds.
const WINDOW_MS: u64 = 10 * 60 * 1000;

/// Expired records that one new record removes, and records from the future that it brings into the present: more than
/// one, so that they get fewer; few, so that no turn is long.
const CLEANED_AT_ONCE: u32 = 4;

/// Generations from the future that are looked through for one record, newest first. While the clock was ahead only the
/// last two were kept, so this is enough for a clock that was set back several times in a row.
const FUTURE_GENERATIONS: usize = 8;

const PREFIX: u8 = b'r';

/// A sender's own name for a message. The two kinds never meet: a `clientId` is no `Idempotency-Key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named<'a> {
    ClientId(&'a str),
    IdempotencyKey(&'a str),
}

/// All names that a sender gave to one message. A retry under any of them is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Names<'a> {
    pub(crate) client_id: Option<&'a str>,
    pub(crate) idempotency_key: Option<&'a str>,
}

impl<'a> Names<'a> {
    /// Each name. The header comes first: where the two name different messages, it says which one is meant.
    pub(crate) fn each(self) -> impl Iterator<Item = Named<'a>> {
        let key = self.idempotency_key.map(Named::IdempotencyKey);
        key.into_iter().chain(self.client_id.map(Named::ClientId))
    }
}

pub(crate) struct Retries {
    /// No record with a lower key is left. Spares most turns the search for expired ones, and the others a walk over
    /// those just removed.
    removed_before: Vec<u8>,
    /// The highest generation that has a record, once it was looked for.
    newest: Option<u64>,
}

impl Default for Retries {
    fn default() -> Self {
        Retries { removed_before: vec![PREFIX], newest: None }
    }
}

impl Retries {
    /// The message that was stored when `user` sent this first.
    pub(crate) fn find(&mut self, user: &User, named: Named, now: u64) -> Result<Option<Vec<u8>>> {
        for generation in [generation(now), generation_before(now)] {
            if let Some(message) = find_in(generation, user, named, now)? {
                return Ok(Some(message));
            }
        }
        let mut next = Some(self.newest()).filter(|newest| *newest > generation(now));
        for _ in 0..FUTURE_GENERATIONS {
            let Some(future) = next else { break };
            if let Some(message) = find_in(future, user, named, now)? {
                return Ok(Some(message));
            }
            next = newest_before(future).filter(|lower| *lower > generation(now));
        }
        Ok(None)
    }

    /// Keep `message` for when it is sent again.
    pub(crate) fn remember(&mut self, user: &User, named: Named, now: u64, message: &str) -> Result<()> {
        self.remove_expired(now);
        self.bring_back(now)?;
        storage::put(key(generation(now), &user.id, named), message)?;
        self.newest = Some(self.newest().max(generation(now)));
        Ok(())
    }

    fn newest(&mut self) -> u64 {
        *self.newest.get_or_insert_with(|| newest_before(u64::MAX).unwrap_or(0))
    }

    /// Bring records from the future into the present. The next generation is left: it is here within ten minutes.
    fn bring_back(&mut self, now: u64) -> Result<()> {
        if self.newest() <= generation(now) + 1 {
            return Ok(());
        }
        let future = storage::prefix([PREFIX]).from(first_key(generation(now) + 2));
        for (key, message) in future.limit(CLEANED_AT_ONCE).list() {
            storage::delete(&key);
            storage::put([&first_key(generation(now))[..], &key[GENERATION_BYTES..]].concat(), message)?;
        }
        self.newest = None;
        Ok(())
    }

    fn remove_expired(&mut self, now: u64) {
        let end = first_key(generation_before(now));
        if self.removed_before > end {
            // The clock stepped back: records are stored below this key again.
            self.removed_before = vec![PREFIX];
        }
        if self.removed_before == end {
            return;
        }
        let expired = storage::prefix([PREFIX]).from(&self.removed_before).before(&end).limit(CLEANED_AT_ONCE).list();
        for (key, _) in &expired {
            storage::delete(key);
        }
        self.removed_before = match expired.last() {
            Some((last, _)) if expired.len() == CLEANED_AT_ONCE as usize => last.clone(),
            _ => end,
        };
    }
}

/// Whether a message that was stored says this.
pub(crate) fn says(message: &[u8], content: &str) -> Result<bool> {
    #[derive(Deserialize)]
    struct Stored<'a> {
        #[serde(borrow)]
        content: Cow<'a, str>,
    }
    Ok(serde_json::from_slice::<Stored>(message)?.content == content)
}

fn find_in(generation: u64, user: &User, named: Named, now: u64) -> Result<Option<Vec<u8>>> {
    match storage::get(key(generation, &user.id, named)) {
        Some(message) if is_known(sent_at(&message)?, now) => Ok(Some(message)),
        _ => Ok(None),
    }
}

/// The highest generation below this one that has a record.
fn newest_before(generation: u64) -> Option<u64> {
    let newest = storage::prefix([PREFIX]).before(first_key(generation)).reverse().limit(1).list();
    newest.first().map(|(key, _)| generation_of(key))
}

fn generation(now: u64) -> u64 {
    now / WINDOW_MS
}

/// The oldest generation that may hold what is still known.
fn generation_before(now: u64) -> u64 {
    generation(now).saturating_sub(1)
}

/// One that was sent in the future is known: the clock was ahead then.
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

fn generation_of(key: &[u8]) -> u64 {
    let number = key[1..GENERATION_BYTES].try_into().expect("only `key` makes keys with this prefix");
    u64::from_be_bytes(number)
}

/// The length of the beginning of a key: the prefix and the generation.
const GENERATION_BYTES: usize = 9;

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
        assert!(is_known(SENT + 2 * WINDOW_MS, SENT), "the clock stepped back");
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
    fn a_key_says_its_generation() {
        for generation in [0, 1, 256, 3_000_000, u64::MAX] {
            assert_eq!(generation_of(&key(generation, "ana", Named::ClientId("c1"))), generation);
        }
    }

    #[test]
    fn a_post_has_both_of_its_names_and_the_header_counts_first() {
        let both = Names { client_id: Some("c1"), idempotency_key: Some("k1") };
        assert_eq!(both.each().collect::<Vec<_>>(), [Named::IdempotencyKey("k1"), Named::ClientId("c1")]);
        assert_eq!(Names::default().each().count(), 0);
    }

    #[test]
    fn a_stored_message_is_compared_by_its_content() {
        let stored = r#"{"id":"i","content":"a\n\"🐭","timestamp":5,"seq":7}"#.as_bytes();
        assert!(says(stored, "a\n\"🐭").unwrap());
        assert!(!says(stored, "a\n\"").unwrap());
    }

    #[test]
    fn a_stored_message_says_when_it_was_sent() {
        assert_eq!(sent_at(br#"{"id":"i","content":"\"timestamp\":1","timestamp":5,"seq":7}"#).unwrap(), 5);
    }
}
