//! Other rooms of this host, asked during a turn. Only where the operator allows it, with `calls` of the namespace.
//!
//! What the other room did stays done, whatever becomes of this turn. What must be done exactly once goes through
//! [`outbox`](crate::outbox).
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

/// The room of a name. Nothing is asked of it yet.
pub fn get<'a>(namespace: &'a str, name: &'a str) -> OtherRoom<'a> {
    OtherRoom { namespace, name }
}

impl OtherRoom<'_> {
    /// Ask it, and wait for its answer: any status, as the room gave it. This room's other events wait meanwhile.
    ///
    /// Fails: [`CallError`] says who must act.
    pub fn call(&self, request: Request) -> Result<Response, CallError> {
        wit::call(self.namespace, self.name, &request)
    }
}

/// The room that sent a request, as `NAMESPACE/NAME`; absent where a client did.
pub fn caller(request: &Request) -> Option<&str> {
    request.header("dormouse-caller")
}
