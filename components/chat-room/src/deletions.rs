//! The log of deletions, for clients that resume: a client that was away must learn of a message that it shows and that
//! was deleted meanwhile.
//!
//! A client resumes after a `seq`, and a deletion has none: the numbers of messages have no gaps. So an entry is stored
//! under the newest `seq` at the time of the deletion. A client that has received a later message in order has received
//! the deletion before it. A client that is at this `seq`, or before it, is told of the deletion again, which does no
//! harm. The entry has no content, and the message itself is a tombstone in the history.

use std::borrow::Cow;

use dormouse_room::{Result, storage};
use serde::{Deserialize, Serialize};

use crate::paging::MAX_MISSED;

const PREFIX: u8 = b'd';

/// Deletions that are kept: as many as messages that a client may miss. A client that missed more starts over with a
/// history, where the tombstones are.
const KEPT: u32 = MAX_MISSED as u32;

/// A deleted message, as clients see it.
#[derive(Debug, Serialize)]
pub(crate) struct Deletion<'a> {
    pub(crate) id: &'a str,
    pub(crate) seq: u64,
    pub(crate) by: &'a str,
    pub(crate) at: u64,
}

/// Stores a deletion in a room whose newest message is `last`. `deletion` is JSON.
pub(crate) fn record(last: u64, seq: u64, deletion: &str) -> Result<()> {
    record_all(last, &[(seq, deletion.to_owned())])
}

/// Stores some deletions, each with the number of its message.
pub(crate) fn record_all(last: u64, deletions: &[(u64, String)]) -> Result<()> {
    // No client resumes from before this number.
    storage::delete_range(&first_key(0), &first_key(last.saturating_sub(MAX_MISSED)), KEPT);
    let kept = storage::prefix([PREFIX]).limit(KEPT).list();
    let surplus = (kept.len() + deletions.len()).saturating_sub(KEPT as usize);
    for (key, _) in kept.iter().take(surplus) {
        storage::delete(key);
    }
    let key = |seq: &u64| [&first_key(last)[..], &seq.to_be_bytes()].concat();
    deletions.iter().try_for_each(|(seq, deletion)| storage::put(key(seq), deletion))
}

/// The deletions that a client may have missed that has seen `since`, as JSON. `None` if it may have missed others as
/// well, which are not kept any more.
pub(crate) fn since(since: u64) -> Option<Vec<Vec<u8>>> {
    let missed = storage::prefix([PREFIX]).from(first_key(since)).limit(KEPT).list();
    // A full log has perhaps lost older entries. If all its entries are missed, so are perhaps the lost ones.
    (missed.len() < KEPT as usize).then(|| missed.into_iter().map(|(_, deletion)| deletion).collect())
}

/// Removes a moderator's name from the deletions.
pub(crate) fn erase_deleter(user_id: &str) -> Result<()> {
    #[derive(Deserialize)]
    struct Stored<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
        seq: u64,
        #[serde(borrow)]
        by: Cow<'a, str>,
        at: u64,
    }
    for (key, deletion) in storage::prefix([PREFIX]).limit(KEPT).list() {
        let Stored { id, seq, by, at } = serde_json::from_slice(&deletion)?;
        if by == user_id {
            storage::put_json(key, &Deletion { id: &id, seq, by: "", at })?;
        }
    }
    Ok(())
}

/// The lowest key that a deletion can have in a room whose newest message is `last`.
fn first_key(last: u64) -> [u8; 9] {
    let mut key = [PREFIX; 9];
    key[1..].copy_from_slice(&last.to_be_bytes());
    key
}
