//! The data of one user: the entry on the list, and the status that is kept after a lost connection.
//!
//! A user with a socket is erased too, and leaves the list for all clients. The next status or heartbeat of such a user
//! lists the user again, so an operator ends the connections first.

use dormouse_room::personal_data::{Erased, Exported};
use dormouse_room::{Result, sockets};
use serde_json::json;

use crate::frames::Frame;
use crate::{roster, saved_status};

/// Exports what the room keeps about a user.
pub(crate) fn export(user: &str) -> Result<Exported> {
    let listed = roster::get(user)?.map(|entry| json!({ "presence": entry }));
    let saved = saved_status::get(user)?.map(|saved| json!({ "savedStatus": saved }));
    Exported::all(listed.into_iter().chain(saved))
}

/// Erases what the room keeps about a user, and tells the clients.
pub(crate) fn erase(user_id: &str) -> Result<Erased> {
    let (was_listed, was_saved) = (roster::remove(user_id), saved_status::remove(user_id));
    if was_listed {
        sockets::everyone().broadcast_json(&Frame::PresenceRemove { user_id })?;
    }
    Ok(Erased::all(u32::from(was_listed) + u32::from(was_saved)))
}
