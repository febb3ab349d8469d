//! The answer to a client that asks to connect, in place of a socket.
//!
//! Unlike a [`Refusal`](crate::Refusal) it may have any status, headers and body, and it keeps the turn: what the room
//! wrote stays, and so does its memory.
//!
//! ```no_run
//! # use dormouse_room::{Refusal, Request, Response, Socket, upgrade};
//! # struct Door { knocks: u32 }
//! # impl Door {
//! fn connect(&mut self, _: &Request, _: &Socket) -> Result<(), Refusal> {
//!     self.knocks += 1;
//!     upgrade::answer(&Response::problem(403, "come back with a friend"))?;
//!     Ok(())
//! }
//! # }
//! ```

use crate::bindings::room::dormouse::room::upgrade as wit;
use crate::{Error, Response, Result};

/// Answers the client that asks to connect, and gives it no socket, if `connect` returns without an error.
///
/// Fails: in other events, and for an answer that the host would not send.
pub fn answer(response: &Response) -> Result<()> {
    wit::answer(response).map_err(|error| match error {
        wit::AnswerError::NoClient => Error::new("only `connect` can answer a client that asks to connect"),
        wit::AnswerError::BadAnswer => Error::new(format!(
            "an answer has a status of 200 to 599, at most 64 headers and 16 MiB of body; this one has {}, {} and {} B",
            response.status,
            response.headers.len(),
            response.body.len()
        )),
    })
}
