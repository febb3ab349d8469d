//! The data of one user: messages, records of retries, mutes, and the name of a moderator in deletions.
//!
//! An erased message keeps its number and its time, as a deleted one does; content, author and `clientId` are gone. One
//! call reads some messages and goes on in the next one, so that a long history takes many short turns. Each call says
//! where the next one begins: behind a message, or behind a record.

use dormouse_room::personal_data::{Erased, Exported};
use dormouse_room::{Error, Message, Result, context, sockets, storage};
use serde_json::{Value, json};

use crate::Chat;
use crate::chat_message::{Deleted, Stored};
use crate::deletions::{self, Deletion};
use crate::frames::{self, Frame, MuteNotice};
use crate::history::History;
use crate::idempotency::{self, IdempotencyRecords};
use crate::mutes::Mute;

/// The messages that one turn reads at least, unless it ends early: with the longest ones 15 MB.
const READ_A_TURN: usize = 1_024;

/// The messages that one turn erases at most. Each sends a frame to every socket, and too many would overflow the
/// queues of sockets and close them.
const ERASED_A_TURN: u32 = 100;

/// The bytes of items that one turn exports, beside the last item: half of the limit of the contract.
const EXPORTED_BYTES: usize = 2 << 20;

/// The records that one turn exports or erases: with the longest messages 3 MB.
const RECORDS_A_TURN: usize = 200;

/// Where a call begins.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Behind the message with this number.
    Messages(u64),
    /// Behind the record with this key; absent for the first record.
    Records(Option<Vec<u8>>),
}

impl Place {
    fn parse(after: Option<&str>) -> Result<Self> {
        let place = match after.map(|after| (after.get(..1), after.get(1..).unwrap_or_default())) {
            None => Some(Place::Messages(0)),
            Some((Some("m"), seq)) => seq.parse().ok().map(Place::Messages),
            Some((Some("r"), "")) => Some(Place::Records(None)),
            Some((Some("r"), key)) => {
                from_hex(key).filter(|key| idempotency::is_key(key)).map(Some).map(Place::Records)
            }
            Some(_) => None,
        };
        place.ok_or_else(|| Error::new("`after` is none of this room"))
    }

    fn text(&self) -> String {
        match self {
            Place::Messages(seq) => format!("m{seq}"),
            Place::Records(None) => "r".into(),
            Place::Records(Some(key)) => key.iter().fold("r".into(), |text, byte| format!("{text}{byte:02x}")),
        }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<_>>>()?;
    let bytes = digits.chunks(2).map(|pair| Some(((pair[0] << 4) | pair.get(1)?) as u8));
    bytes.collect()
}

/// Exports a part of what the room keeps about a user.
pub(crate) fn export(chat: &mut Chat, user: &str, after: Option<&str>) -> Result<Exported> {
    match Place::parse(after)? {
        Place::Messages(seq) => export_messages(user, seq),
        Place::Records(after) => export_records(chat, user, after.as_deref()),
    }
}

fn export_messages(user: &str, mut seq: u64) -> Result<Exported> {
    let (mut items, mut bytes, mut read) = (Vec::new(), 0, 0);
    loop {
        let (messages, more) = History::some_after(seq);
        for (number, json) in &messages {
            let stored = Stored::parse(json)?;
            if stored.user_id == user {
                items.push(json!({ "message": serde_json::from_slice::<Value>(json)? }));
                bytes += json.len();
            } else if let Some(Deleted { by, at }) = &stored.deleted
                && by == user
            {
                items.push(json!({ "deletedMessage": { "id": stored.id, "seq": number, "at": at } }));
            }
            seq = *number;
            if bytes >= EXPORTED_BYTES {
                return Exported::part(items, Place::Messages(seq).text());
            }
        }
        read += messages.len();
        if !more {
            return Exported::part(items, Place::Records(None).text());
        }
        if read >= READ_A_TURN {
            return Exported::part(items, Place::Messages(seq).text());
        }
    }
}

/// The messages that only a record has: the history has removed them.
fn export_records(chat: &mut Chat, user: &str, after: Option<&[u8]>) -> Result<Exported> {
    let records = IdempotencyRecords::of_user(user, after, RECORDS_A_TURN);
    let mut items = Vec::new();
    for (_, json) in &records {
        if !History::has(Stored::parse(json)?.seq) {
            items.push(json!({ "message": serde_json::from_slice::<Value>(json)? }));
        }
    }
    if let Some((last, _)) = records.last().filter(|_| records.len() == RECORDS_A_TURN) {
        return Exported::part(items, Place::Records(Some(last.clone())).text());
    }
    for mute in chat.mutes.stored()? {
        if mute.user == user {
            items.push(json!({ "mute": { "until": mute.until } }));
        }
        if mute.by == user {
            items.push(json!({ "mutedSomebody": { "until": mute.until } }));
        }
    }
    Exported::all(items)
}

/// Erases a part of what the room keeps about a user, and tells the clients.
pub(crate) fn erase(chat: &mut Chat, user: &str, after: Option<&str>) -> Result<Erased> {
    match Place::parse(after)? {
        Place::Messages(seq) => erase_messages(chat, user, seq),
        Place::Records(after) => erase_records(chat, user, after.as_deref()),
    }
}

fn erase_messages(chat: &mut Chat, user: &str, mut seq: u64) -> Result<Erased> {
    let (mut erased, mut read, mut deletions) = (0, 0, Vec::new());
    let next = 'read: loop {
        let (messages, more) = History::some_after(seq);
        for (number, json) in &messages {
            erased += u32::from(erase_message(chat, user, *number, json, &mut deletions)?);
            seq = *number;
            if erased == ERASED_A_TURN {
                break 'read Place::Messages(seq);
            }
        }
        read += messages.len();
        if !more {
            break Place::Records(None);
        }
        if read >= READ_A_TURN {
            break Place::Messages(seq);
        }
    };
    if !deletions.is_empty() {
        deletions::record_all(chat.history.last(), &deletions)?;
        for (_, deletion) in &deletions {
            sockets::everyone().broadcast(&Message::Text(frames::deleted(deletion)))?;
        }
    }
    Ok(Erased::part(erased, next.text()))
}

/// Erases a user from one message. Returns whether the user was in it. A message that had content is added to the
/// deletions.
fn erase_message(
    chat: &mut Chat,
    user: &str,
    seq: u64,
    json: &[u8],
    deletions: &mut Vec<(u64, String)>,
) -> Result<bool> {
    let stored = Stored::parse(json)?;
    let before = stored.deleted.as_ref();
    let before = before.map(|Deleted { by, at }| (if by == user { "" } else { &**by }, *at));
    if stored.user_id == user {
        let (by, at) = before.unwrap_or(("", context::now()));
        chat.history.replace(seq, stored.without_author(Deleted { by: by.into(), at })?.json())?;
        if before.is_none() {
            deletions.push((seq, serde_json::to_string(&Deletion { id: &stored.id, seq, by, at })?));
        }
        return Ok(true);
    }
    let was_deleter = stored.deleted.as_ref().is_some_and(|deleted| deleted.by == user);
    if was_deleter {
        let tombstone = stored.without_deleter()?;
        chat.history.replace(seq, tombstone.json())?;
        chat.records.erase(&stored.user_id, &stored.id, tombstone.json())?;
    }
    Ok(was_deleter)
}

fn erase_records(chat: &mut Chat, user: &str, after: Option<&[u8]>) -> Result<Erased> {
    let records = IdempotencyRecords::of_user(user, after, RECORDS_A_TURN);
    for (key, _) in &records {
        storage::delete(key);
    }
    if let Some((last, _)) = records.last().filter(|_| records.len() == RECORDS_A_TURN) {
        return Ok(Erased::part(0, Place::Records(Some(last.clone())).text()));
    }
    deletions::erase_deleter(user)?;
    let Some(mute) = chat.mutes.erase(user)? else { return Ok(Erased::all(0)) };
    let now = context::now();
    let ended = Mute { until: mute.until.min(now), by: String::new(), ..mute };
    sockets::everyone().broadcast_json(&Frame::Muted(MuteNotice::new(&ended, now)))?;
    Ok(Erased::all(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        for place in [
            Place::Messages(0),
            Place::Messages(u64::MAX),
            Place::Records(None),
            Place::Records(Some(b"r\0\x01\x02\x03\x04\x05\x06\xffcuser".to_vec())),
        ] {
            assert_eq!(Place::parse(Some(&place.text())).unwrap(), place);
        }
        assert_eq!(Place::parse(None).unwrap(), Place::Messages(0));
    }

    #[test]
    fn a_place_of_another_room_is_refused() {
        for text in ["", "m", "mx", "x1", "r1", "r6", "rzz", "r7200", "é", "m-1"] {
            assert!(Place::parse(Some(text)).is_err(), "{text}");
        }
    }
}
