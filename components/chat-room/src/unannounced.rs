//! Sockets of users without the permission `presence`: they come and go without a word to the others.
//!
//! The permissions at the time of the connect count, and a new token changes nothing until the next one: the others
//! then see a user leave who was announced, and nobody leave who was not. The mark is a tag, so it survives
//! hibernation.

use dormouse_room::sockets;
use dormouse_room::{Error, Result, Socket, User};

const TAG: &str = "unannounced";

/// Marks a socket.
pub(crate) fn mark(socket: &Socket) -> Result<()> {
    let marked = socket.set_tags(&[TAG.to_owned()]);
    marked.map_err(|error| Error::new(format!("the tags of a socket cannot be set: {error:?}")))
}

pub(crate) fn is_marked(socket: &Socket) -> bool {
    socket.tags().iter().any(|tag| tag == TAG)
}

/// The number of a user's sockets without a mark.
pub(crate) fn count_of_others(user: &User) -> u32 {
    let of_user = || sockets::everyone().of_user(&user.id);
    match of_user().count() {
        0 => 0,
        all => all - of_user().tagged(TAG).count(),
    }
}
