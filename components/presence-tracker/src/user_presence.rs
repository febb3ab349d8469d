//! One user as clients see it, in frames and in the list.

use serde::Serialize;

use crate::roster::Entry;
use crate::status::Status;

/// One user, in the form of the protocol.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserPresence<'a> {
    user_id: &'a str,
    user_name: &'a str,
    status: Status,
    last_seen: u64,
    connections: u32,
}

impl<'a> UserPresence<'a> {
    pub(crate) fn new(user_id: &'a str, entry: &'a Entry, connections: u32) -> Self {
        UserPresence { user_id, user_name: &entry.name, status: entry.status, last_seen: entry.last_seen, connections }
    }
}
