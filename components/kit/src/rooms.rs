//! Requests to other rooms of this host, answered during the turn. The operator must allow them, with `calls` of the
//! namespace.
//!
//! The effects in the other room stay, even if this turn fails. Use [`outbox`](crate::outbox) for requests that must
//! run exactly once.
//!
//! ```no_run
//! # use dormouse_room::{Request, Result, rooms};
//! # fn event() -> Result<()> {
//! let answer = rooms::get("SCORES", "today").call(Request::get("/best"))?;
//! let best: u32 = answer.read_json()?;
//! # Ok(())
//! # }
//! ```

use crate::bindings::room::dormouse::room::rooms as wit;
use crate::{Request, Response};

pub use wit::CallError;

/// Another room, by namespace and name.
#[derive(Debug, Clone, Copy)]
pub struct OtherRoom<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

/// The room with this name. Nothing is sent to it yet.
pub fn get<'a>(namespace: &'a str, name: &'a str) -> OtherRoom<'a> {
    OtherRoom { namespace, name }
}

impl OtherRoom<'_> {
    /// Sends a request and waits for the answer, whatever its status. This room's other events wait meanwhile.
    ///
    /// Fails: [`CallError`] says who must act.
    pub fn call(&self, request: Request) -> Result<Response, CallError> {
        wit::call(self.namespace, self.name, &request)
    }
}

/// The room that sent a request, as `NAMESPACE/NAME`; `router` if the router sent it before it decided; `None` if a client
/// sent it.
pub fn caller(request: &Request) -> Option<&str> {
    request.header("dormouse-caller")
}
