//! Sockets of users without the permission `presence`: they hear who is present, and are not on the list.
//!
//! The mark is a tag, so it survives hibernation. The host passes a message on only if the user has the permission: a
//! message of a marked socket means that a new token gave it.

use dormouse_room::sockets::{self, Selection};
use dormouse_room::{Error, Result, Socket};

const TAG: &str = "unlisted";

/// Marks a socket.
pub(crate) fn mark(socket: &Socket) -> Result<()> {
    set_tags(socket, &[TAG.to_owned()])
}

/// Removes the mark of a socket whose user may be listed from now on.
pub(crate) fn unmark(socket: &Socket) -> Result<()> {
    if is_marked(socket) { set_tags(socket, &[]) } else { Ok(()) }
}

pub(crate) fn is_marked(socket: &Socket) -> bool {
    socket.tags().iter().any(|tag| tag == TAG)
}

/// The marked sockets of a user.
pub(crate) fn of_user(user_id: &str) -> Selection {
    sockets::everyone().of_user(user_id).tagged(TAG)
}

fn set_tags(socket: &Socket, tags: &[String]) -> Result<()> {
    socket.set_tags(tags).map_err(|error| Error::new(format!("the tags of a socket cannot be set: {error:?}")))
}
