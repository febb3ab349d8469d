//! Idempotency of messages: a message that the same user sends again with the same key within ten minutes is stored
//! once.
//!
//! A record keeps the whole message, so that a retry is answered even after the history removed it. A deleted message
//! is replaced by its tombstone here as well: a retry is still recognised, and the content is gone. Its key begins with
//! its *generation*, the ten minutes in which it was made: a lookup takes two reads, and expired records are the first
//! keys, so they need no index. Each new record removes a few expired ones. A room that gets no more messages with a
//! key keeps the records of its last ten minutes.
//!
//! The clock may step back, by seconds or by hours. Then some records belong to future generations. A lookup reads
//! these too, and treats such a record as new. Each new record moves a few of them into the current generation, so that
//! they expire like all others.

use std::borrow::Cow;

use dormouse_room::json::ClientError;
use dormouse_room::{Result, User, storage};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::chat_message;

/// How long a record is valid, in milliseconds.
const WINDOW_MS: u64 = 10 * 60 * 1000;

/// Expired records that one new record removes, and future records that it moves: more than one, so that their number
/// falls; few, so that no turn is long.
const CLEANED_PER_RECORD: u32 = 4;

/// Future generations that a lookup reads, newest first. While the clock was ahead only the last two were kept, so this
/// is enough for a clock that was set back several times in a row.
const FUTURE_GENERATIONS: usize = 8;

/// Records of one user that are read at once to delete a message.
const READ_AT_ONCE: u32 = 128;

const PREFIX: u8 = b'r';

/// A sender's own key for a message. A `clientId` never matches an `Idempotency-Key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageKey<'a> {
    ClientId(&'a str),
    IdempotencyKey(&'a str),
}

impl MessageKey<'_> {
    /// The error for a sender who used this key before, for a message with other content.
    pub(crate) fn reused_error(self) -> ClientError {
        let message = match self {
            MessageKey::ClientId(_) => "this clientId was used for a message with other content",
            MessageKey::IdempotencyKey(_) => "this Idempotency-Key was used for a message with other content",
        };
        ClientError::new("key_reused", message)
    }
}

/// All keys that a sender gave to one message. Any of them identifies a retry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MessageKeys<'a> {
    pub(crate) client_id: Option<&'a str>,
    pub(crate) idempotency_key: Option<&'a str>,
}

impl<'a> MessageKeys<'a> {
    /// Each key, the header first: it decides if the two keys belong to different messages.
    pub(crate) fn iter(self) -> impl Iterator<Item = MessageKey<'a>> {
        let key = self.idempotency_key.map(MessageKey::IdempotencyKey);
        key.into_iter().chain(self.client_id.map(MessageKey::ClientId))
    }
}

pub(crate) struct IdempotencyRecords {
    /// All records with lower keys are removed. So most turns need not search for expired records, and a search skips
    /// the keys that were just removed.
    removed_before: Vec<u8>,
    /// The highest generation that has a record; `None` until it is looked up.
    newest_generation: Option<u64>,
}

impl Default for IdempotencyRecords {
    fn default() -> Self {
        IdempotencyRecords { removed_before: vec![PREFIX], newest_generation: None }
    }
}

impl IdempotencyRecords {
    /// The message that was stored when `user` first sent one with this key.
    pub(crate) fn find(&mut self, user: &User, message_key: MessageKey, now: u64) -> Result<Option<Vec<u8>>> {
        for generation in [generation(now), generation_before(now)] {
            if let Some(message) = find_in_generation(generation, user, message_key, now)? {
                return Ok(Some(message));
            }
        }
        let mut next = Some(self.newest_generation()).filter(|newest| *newest > generation(now));
        for _ in 0..FUTURE_GENERATIONS {
            let Some(future) = next else { break };
            if let Some(message) = find_in_generation(future, user, message_key, now)? {
                return Ok(Some(message));
            }
            next = newest_generation_before(future).filter(|lower| *lower > generation(now));
        }
        Ok(None)
    }

    /// Stores `message` for a key, to answer a retry.
    pub(crate) fn record(&mut self, user: &User, message_key: MessageKey, now: u64, message: &str) -> Result<()> {
        self.remove_expired(now);
        self.move_future_records(now)?;
        storage::put(key(generation(now), &user.id, message_key), message)?;
        self.newest_generation = Some(self.newest_generation().max(generation(now)));
        Ok(())
    }

    /// Puts the tombstone of a deleted message into each record of it. All generations are searched: a quiet room keeps
    /// expired records, and these have the content too.
    pub(crate) fn erase(&self, user_id: &str, id: &str, tombstone: &str) -> Result<()> {
        let mut next = newest_generation_before(u64::MAX);
        while let Some(generation) = next {
            for kind in [CLIENT_ID, IDEMPOTENCY_KEY] {
                let mut range = storage::prefix(key_start(generation, kind, user_id)).limit(READ_AT_ONCE);
                loop {
                    let entries = range.list();
                    for (key, _) in entries.iter().filter(|(_, message)| chat_message::has_id(message, id)) {
                        storage::put(key, tombstone)?;
                    }
                    let Some((last, _)) = entries.last() else { break };
                    range = range.from([&last[..], &[0]].concat());
                }
            }
            next = newest_generation_before(generation);
        }
        Ok(())
    }

    /// Some records of a user behind the key `after`, at most `limit`: their keys and messages. The newest generation
    /// comes first.
    pub(crate) fn of_user(user_id: &str, after: Option<&[u8]>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        let first = after.map(generation_of);
        let mut next = first.or_else(|| newest_generation_before(u64::MAX));
        while let Some(generation) = next {
            for kind in [CLIENT_ID, IDEMPOTENCY_KEY] {
                let start = key_start(generation, kind, user_id);
                let range = storage::prefix(&start);
                let range = match after.filter(|_| first == Some(generation)) {
                    Some(after) if after.starts_with(&start) => range.from([after, &[0]].concat()),
                    Some(after) if after > &start[..] => continue,
                    _ => range,
                };
                found.extend(range.limit((limit - found.len()) as u32).list());
                if found.len() == limit {
                    return found;
                }
            }
            next = newest_generation_before(generation);
        }
        found
    }

    fn newest_generation(&mut self) -> u64 {
        *self.newest_generation.get_or_insert_with(|| newest_generation_before(u64::MAX).unwrap_or(0))
    }

    /// Moves future records into the current generation. Records of the next one stay: it begins within ten minutes.
    fn move_future_records(&mut self, now: u64) -> Result<()> {
        if self.newest_generation() <= generation(now) + 1 {
            return Ok(());
        }
        let future = storage::prefix([PREFIX]).from(first_key(generation(now) + 2));
        for (key, message) in future.limit(CLEANED_PER_RECORD).list() {
            storage::delete(&key);
            storage::put([&first_key(generation(now))[..], &key[GENERATION_BYTES..]].concat(), message)?;
        }
        self.newest_generation = None;
        Ok(())
    }

    fn remove_expired(&mut self, now: u64) {
        let end = first_key(generation_before(now));
        if self.removed_before > end {
            // The clock stepped back, so new records get keys below this one again.
            self.removed_before = vec![PREFIX];
        }
        if self.removed_before == end {
            return;
        }
        let expired =
            storage::prefix([PREFIX]).from(&self.removed_before).before(&end).limit(CLEANED_PER_RECORD).list();
        for (key, _) in &expired {
            storage::delete(key);
        }
        self.removed_before = match expired.last() {
            Some((last, _)) if expired.len() == CLEANED_PER_RECORD as usize => last.clone(),
            _ => end,
        };
    }
}

/// Whether a stored message has this content. That of a deleted message is not known any more, so each retry counts.
pub(crate) fn has_content(message: &[u8], content: &str) -> Result<bool> {
    #[derive(Deserialize)]
    struct Stored<'a> {
        #[serde(borrow)]
        content: Cow<'a, str>,
        deleted: Option<IgnoredAny>,
    }
    let stored = serde_json::from_slice::<Stored>(message)?;
    Ok(stored.deleted.is_some() || stored.content == content)
}

fn find_in_generation(generation: u64, user: &User, message_key: MessageKey, now: u64) -> Result<Option<Vec<u8>>> {
    match storage::get(key(generation, &user.id, message_key)) {
        Some(message) if is_valid(sent_at(&message)?, now) => Ok(Some(message)),
        _ => Ok(None),
    }
}

/// The highest generation below this one that has a record.
fn newest_generation_before(generation: u64) -> Option<u64> {
    let newest = storage::prefix([PREFIX]).before(first_key(generation)).reverse().limit(1).list();
    newest.first().map(|(key, _)| generation_of(key))
}

fn generation(now: u64) -> u64 {
    now / WINDOW_MS
}

/// The oldest generation that may have valid records.
fn generation_before(now: u64) -> u64 {
    generation(now).saturating_sub(1)
}

/// Whether a record is still valid. A time in the future counts as valid: the clock was ahead then.
fn is_valid(sent_at: u64, now: u64) -> bool {
    now.saturating_sub(sent_at) < WINDOW_MS
}

fn sent_at(message: &[u8]) -> Result<u64> {
    #[derive(Deserialize)]
    struct Sent {
        timestamp: u64,
    }
    Ok(serde_json::from_slice::<Sent>(message)?.timestamp)
}

/// The lowest key that a record of this generation can have.
fn first_key(generation: u64) -> Vec<u8> {
    [&[PREFIX][..], &generation.to_be_bytes()].concat()
}

fn generation_of(key: &[u8]) -> u64 {
    let number = key[1..GENERATION_BYTES].try_into().expect("only `key` makes keys with this prefix");
    u64::from_be_bytes(number)
}

/// Whether these bytes can be the key of a record.
pub(crate) fn is_key(key: &[u8]) -> bool {
    key.len() > GENERATION_BYTES && key[0] == PREFIX
}

/// The length of a key's prefix and generation together.
const GENERATION_BYTES: usize = 9;

/// The kinds of keys, in the key of a record.
const CLIENT_ID: u8 = b'c';
const IDEMPOTENCY_KEY: u8 = b'k';

/// The storage key of a record.
fn key(generation: u64, user_id: &str, message_key: MessageKey) -> Vec<u8> {
    let (kind, text) = match message_key {
        MessageKey::ClientId(id) => (CLIENT_ID, id),
        MessageKey::IdempotencyKey(key) => (IDEMPOTENCY_KEY, key),
    };
    let mut key = key_start(generation, kind, user_id);
    key.extend_from_slice(text.as_bytes());
    key
}

/// The part of a key that all records of one user have in common. It holds the length of the user's id, so that `ab` +
/// `c` and `a` + `bc` differ.
fn key_start(generation: u64, kind: u8, user_id: &str) -> Vec<u8> {
    let user_length = (user_id.len() as u32).to_be_bytes();
    [&first_key(generation)[..], &[kind], &user_length, user_id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: u64 = 1_800_000_123_456;

    #[test]
    fn a_retry_is_recognised_for_ten_minutes() {
        assert!(is_valid(SENT, SENT));
        assert!(is_valid(SENT, SENT + WINDOW_MS - 1));
        assert!(!is_valid(SENT, SENT + WINDOW_MS));
        assert!(is_valid(SENT + 2 * WINDOW_MS, SENT), "the clock stepped back");
    }

    #[test]
    fn every_valid_key_is_in_one_of_two_generations() {
        for sent_at in (SENT..SENT + 2 * WINDOW_MS).step_by(59_999) {
            for now in (sent_at..sent_at + WINDOW_MS).step_by(59_999) {
                assert!([generation(now), generation_before(now)].contains(&generation(sent_at)), "{sent_at} {now}");
            }
        }
    }

    #[test]
    fn no_valid_key_is_removed() {
        for sent_at in (SENT..SENT + 2 * WINDOW_MS).step_by(59_999) {
            let key = key(generation(sent_at), "ana", MessageKey::ClientId("c1"));
            let is_removed = |now| key < first_key(generation_before(now));
            assert!(!is_removed(sent_at + WINDOW_MS - 1));
            assert!(is_removed(sent_at + 2 * WINDOW_MS));
        }
    }

    #[test]
    fn senders_and_kinds_of_key_never_share_a_record() {
        let keys = [
            key(1, "a", MessageKey::ClientId("bc")),
            key(1, "ab", MessageKey::ClientId("c")),
            key(1, "a", MessageKey::IdempotencyKey("bc")),
            key(2, "a", MessageKey::ClientId("bc")),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key));
        }
    }

    #[test]
    fn a_key_contains_its_generation() {
        for generation in [0, 1, 256, 3_000_000, u64::MAX] {
            assert_eq!(generation_of(&key(generation, "ana", MessageKey::ClientId("c1"))), generation);
        }
    }

    #[test]
    fn a_post_has_both_keys_and_the_header_comes_first() {
        let both = MessageKeys { client_id: Some("c1"), idempotency_key: Some("k1") };
        assert_eq!(both.iter().collect::<Vec<_>>(), [MessageKey::IdempotencyKey("k1"), MessageKey::ClientId("c1")]);
        assert_eq!(MessageKeys::default().iter().count(), 0);
    }

    #[test]
    fn a_stored_message_is_compared_by_its_content() {
        let stored = r#"{"id":"i","content":"a\n\"🐭","timestamp":5,"seq":7}"#.as_bytes();
        assert!(has_content(stored, "a\n\"🐭").unwrap());
        assert!(!has_content(stored, "a\n\"").unwrap());
        let tombstone = br#"{"id":"i","content":"","timestamp":5,"seq":7,"deleted":{"by":"mo","at":9}}"#;
        assert!(has_content(tombstone, "a\n\"").unwrap());
    }

    #[test]
    fn a_stored_message_has_its_time() {
        assert_eq!(sent_at(br#"{"id":"i","content":"\"timestamp\":1","timestamp":5,"seq":7}"#).unwrap(), 5);
    }
}
