//! Who is listed, one key each: `u` and the user's id. And how many sockets they have, which the host knows.

use std::iter;

use dormouse_room::{Result, sockets, storage};
use serde::{Deserialize, Serialize};

use crate::status::Status;

const PREFIX: u8 = b'u';

/// Entries read at once: as many as the host gives.
const PAGE: u32 = 1_000;

/// What is stored of a user. Their sockets are not counted here: a number in storage would outlive them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) status: Status,
    pub(crate) last_seen: u64,
}

pub(crate) fn get(user_id: &str) -> Result<Option<Entry>> {
    storage::get_json(key(user_id))
}

pub(crate) fn put(user_id: &str, entry: &Entry) -> Result<()> {
    storage::put_json(key(user_id), entry)
}

/// True where the user was listed.
pub(crate) fn remove(user_id: &str) -> bool {
    storage::delete(key(user_id))
}

/// How many sockets a user has, listed or not.
pub(crate) fn connections(user_id: &str) -> u32 {
    sockets::everyone().of_user(user_id).count()
}

/// Everybody who is listed, in the order of their ids. One who is removed meanwhile does no harm.
pub(crate) fn all() -> impl Iterator<Item = Result<(String, Entry)>> {
    let mut next = Some(vec![PREFIX]);
    let pages = iter::from_fn(move || {
        let page = storage::prefix([PREFIX]).from(next.take()?).limit(PAGE).list();
        // A full page stays far below the 16 MiB at which the host would end it early, so a shorter one is the last.
        if let Some((last, _)) = page.last().filter(|_| page.len() == PAGE as usize) {
            next = Some([last, &[0][..]].concat()); // the lowest key above `last`
        }
        Some(page)
    });
    pages.flatten().map(|(key, value)| Ok((String::from_utf8(key[1..].into())?, serde_json::from_slice(&value)?)))
}

fn key(user_id: &str) -> Vec<u8> {
    [&[PREFIX], user_id.as_bytes()].concat()
}
