//! Stores the messages of the room. Each has one key, `m` and its number in eight bytes, so keys and messages have the
//! same order.
//!
//! The newest `keep_messages` of them are kept. The last number is read from the keys: a separate counter could
//! contradict them.

use std::ops::Range;

use dormouse_room::{Result, context, storage};

use crate::chat_message;
use crate::paging::{self, Page, Start};

const PREFIX: u8 = b'm';

/// The default of `keep_messages`.
const DEFAULT_KEEP_MESSAGES: u64 = 10_000;

/// Old messages that one new message removes: more than one, so that a room reaches a lowered `keep_messages`; few, so
/// that no turn is long.
const REMOVED_AT_ONCE: u64 = 2;

/// Messages read at once: more than most pages have, so that a page takes one read, and few enough that reading too
/// many costs little.
const READ_AT_ONCE: u64 = 128;

/// The newest messages that are searched for an id alone: as many as a room keeps by default, and as many bytes as take
/// a third of the second that a turn may take. A request with the number of the message reads one key, in a history of
/// any length.
const SEARCHED_BY_ID: u64 = 10_000;
const SEARCHED_BYTES: usize = 24 << 20;

/// Access to the messages, with cached facts about them.
#[derive(Default)]
pub(crate) struct History {
    /// The newest number; 0 in an empty room.
    last: Option<u64>,
    /// All messages with lower numbers are removed.
    oldest: Option<u64>,
    keep: Option<u64>,
}

/// Stored messages, oldest first.
pub(crate) struct PageContent {
    pub(crate) messages: Vec<Vec<u8>>,
    /// More messages follow after the end of the page.
    pub(crate) has_more: bool,
}

/// The limit of the bytes of messages in one answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SizeLimit {
    /// At most this many bytes.
    AtMost(usize),
    /// At most this many bytes, but always one message, so that a client can read on page by page.
    AtLeastOne(usize),
}

impl SizeLimit {
    fn fits(self, bytes: usize, is_first: bool) -> bool {
        match self {
            SizeLimit::AtMost(max) => bytes <= max,
            SizeLimit::AtLeastOne(max) => bytes <= max || is_first,
        }
    }
}

impl History {
    /// The newest number; 0 in an empty room.
    pub(crate) fn last(&mut self) -> u64 {
        *self.last.get_or_insert_with(|| {
            let newest = storage::prefix([PREFIX]).reverse().limit(1).list();
            newest.first().map_or(0, |(key, _)| seq_of(key))
        })
    }

    /// The number of the next message.
    pub(crate) fn next_seq(&mut self) -> u64 {
        self.last() + 1
    }

    /// Stores the message with the number [`next_seq`](History::next_seq).
    pub(crate) fn append(&mut self, seq: u64, message: &str) -> Result<()> {
        storage::put(key(seq), message)?;
        self.last = Some(seq);
        self.trim(seq)
    }

    /// Finds a message by its id, and its number. `seq` is the number that the client says it has.
    pub(crate) fn find(&self, id: &str, seq: Option<u64>) -> Option<(u64, Vec<u8>)> {
        if let Some(seq) = seq {
            return storage::get(key(seq))
                .filter(|message| chat_message::has_id(message, id))
                .map(|found| (seq, found));
        }
        let (mut range, mut bytes) = (storage::prefix([PREFIX]).reverse().limit(READ_AT_ONCE as u32), 0);
        for _ in 0..SEARCHED_BY_ID.div_ceil(READ_AT_ONCE) {
            let entries = range.list();
            let before = entries.last()?.0.clone();
            bytes += entries.iter().map(|(_, message)| message.len()).sum::<usize>();
            if let Some((key, message)) = entries.into_iter().find(|(_, message)| chat_message::has_id(message, id)) {
                return Some((seq_of(&key), message));
            }
            if bytes > SEARCHED_BYTES {
                break;
            }
            range = range.before(before);
        }
        None
    }

    /// Some messages after `seq`, oldest first, and whether others follow.
    pub(crate) fn some_after(seq: u64) -> (Vec<(u64, Vec<u8>)>, bool) {
        let entries = storage::prefix([PREFIX]).from(key(seq.saturating_add(1))).limit(READ_AT_ONCE as u32).list();
        // The host ends a list early only far above the bytes of so many messages.
        let more = entries.len() as u64 == READ_AT_ONCE;
        (entries.into_iter().map(|(key, message)| (seq_of(&key), message)).collect(), more)
    }

    /// Whether a message with this number is stored.
    pub(crate) fn has(seq: u64) -> bool {
        storage::get(key(seq)).is_some()
    }

    /// Puts a tombstone into the place of a message.
    pub(crate) fn replace(&self, seq: u64, tombstone: &str) -> Result<()> {
        storage::put(key(seq), tombstone)
    }

    /// The messages after `seq`. `None` if a client that has seen `seq` must start over.
    pub(crate) fn since(&mut self, seq: u64, size_limit: SizeLimit) -> Option<Vec<Vec<u8>>> {
        let missed = paging::missed(seq, self.last())?;
        let found = self.page(Page { start: Start::After(seq), limit: missed }, size_limit).messages;
        // There are fewer if the oldest are already removed, or if they are too large for one frame.
        (found.len() as u64 == missed).then_some(found)
    }

    /// The messages of a page, as many as fit. The messages farthest from the start of the page are left out.
    pub(crate) fn page(&mut self, page: Page, size_limit: SizeLimit) -> PageContent {
        let all = storage::prefix([PREFIX]);
        let (mut range, newest_first) = match page.start {
            Start::Newest => (all.reverse(), true),
            Start::Before(seq) => (all.before(key(seq)).reverse(), true),
            // No message has the number `u64::MAX`, so leaving it out does no harm.
            Start::After(seq) => (all.from(key(seq.saturating_add(1))), false),
        };
        let (mut messages, mut bytes, mut has_more) = (Vec::new(), 0, false);
        'read: loop {
            // Read one more than the limit, to learn whether there are more.
            let wanted = (page.limit + 1 - messages.len() as u64).min(READ_AT_ONCE);
            let entries = range.clone().limit(wanted as u32).list();
            if page.start == Start::Newest && messages.is_empty() {
                self.last = Some(entries.first().map_or(0, |(key, _)| seq_of(key)));
            }
            let is_end = (entries.len() as u64) < wanted;
            let last_read = entries.last().map(|(key, _)| seq_of(key));
            for (_, message) in entries {
                bytes += message.len() + 1; // 1 for the comma
                if messages.len() as u64 == page.limit || !size_limit.fits(bytes, messages.is_empty()) {
                    has_more = true;
                    break 'read;
                }
                messages.push(message);
            }
            match last_read.filter(|_| !is_end) {
                Some(seq) if newest_first => range = range.before(key(seq)),
                Some(seq) => range = range.from(key(seq.saturating_add(1))),
                None => break,
            }
        }
        if newest_first {
            messages.reverse();
        }
        PageContent { messages, has_more }
    }

    fn trim(&mut self, last: u64) -> Result<()> {
        let keep = match self.keep {
            Some(keep) => keep,
            None => *self.keep.insert(context::config_number("keep_messages", DEFAULT_KEEP_MESSAGES)?.max(1)),
        };
        if last <= keep {
            return Ok(());
        }
        let surplus = surplus(self.oldest.unwrap_or_else(|| oldest_kept(last, keep)), last, keep);
        self.oldest = Some(surplus.end);
        for seq in surplus {
            storage::delete(key(seq));
        }
        Ok(())
    }
}

/// A number below which all messages are removed, in a room that has just stored the message `last`, above `keep`.
fn oldest_kept(last: u64, keep: u64) -> u64 {
    // The turn of the message before `last` removed everything below this number, unless `keep` was higher then.
    // Reading one key is cheaper than listing from the front, where the store may still walk over all removed keys.
    let expected = last - keep;
    if storage::get(key(expected - 1)).is_none() {
        return expected;
    }
    storage::prefix([PREFIX]).limit(1).list().first().map_or(expected, |(key, _)| seq_of(key))
}

/// The messages to remove now, so that `oldest..=last` shrinks to the newest `keep`.
fn surplus(oldest: u64, last: u64, keep: u64) -> Range<u64> {
    let first_kept = (last + 1).saturating_sub(keep);
    oldest..first_kept.clamp(oldest, oldest + REMOVED_AT_ONCE)
}

fn key(seq: u64) -> [u8; 9] {
    let mut key = [PREFIX; 9];
    key[1..].copy_from_slice(&seq.to_be_bytes());
    key
}

fn seq_of(key: &[u8]) -> u64 {
    let number = key[1..].try_into().expect("only `key` makes keys with this prefix");
    u64::from_be_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_keys_is_the_order_of_the_messages() {
        let numbers = [0, 1, 9, 10, 255, 256, 65_536, u64::MAX];
        assert!(numbers.map(key).is_sorted());
        assert_eq!(numbers.map(|seq| seq_of(&key(seq))), numbers);
    }

    #[test]
    fn a_full_room_removes_one_old_message_for_each_new_one() {
        assert_eq!(surplus(1, 101, 100), 1..2);
        assert_eq!(surplus(5, 105, 100), 5..6);
        assert_eq!(surplus(5, 104, 100), 5..5);
    }

    #[test]
    fn a_lowered_limit_removes_two_old_messages_for_each_new_one() {
        let (keep, mut oldest, mut last) = (100, 1, 1000);
        for _ in 0..900 {
            last += 1;
            let removed = surplus(oldest, last, keep);
            assert_eq!((removed.start, removed.end - removed.start), (oldest, 2));
            oldest = removed.end;
        }
        assert_eq!(last + 1 - oldest, keep);
        assert_eq!(surplus(oldest, last + 1, keep), oldest..oldest + 1);
    }

    #[test]
    fn the_newest_message_is_always_kept() {
        assert_eq!(surplus(1, 2, 1), 1..2);
        assert_eq!(surplus(2, 2, 1), 2..2);
    }
}
