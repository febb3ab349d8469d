//! Requests that are made once, and only if, this turn has committed. Only where the operator allows it, with `calls` and
//! `outbound` of the namespace.
//!
//! ```no_run
//! # use dormouse_room::{Request, Result, outbox};
//! # fn event() -> Result<()> {
//! outbox::to_room("SCORES", "today").post(Request::post("/won").with_json(&"ana")?)?; // exactly once
//! outbox::to_server("https://hooks.example").post(Request::post("/won").with_json(&"ana")?)?; // at least once
//! # Ok(())
//! # }
//! ```

use crate::Request;
use crate::bindings::room::dormouse::room::outbox as wit;

pub use wit::{PostError, waiting};

/// Where posts go.
#[derive(Debug, Clone)]
pub struct Outbox(wit::Destination);

/// To another room, which takes each post exactly once.
pub fn to_room(namespace: &str, name: &str) -> Outbox {
    Outbox(wit::Destination::Room(wit::Room { namespace: namespace.into(), name: name.into() }))
}

/// To a server, by scheme and authority such as `https://api.example`. It may get a post more than once, each time with the
/// same header `idempotency-key`.
pub fn to_server(origin: &str) -> Outbox {
    Outbox(wit::Destination::Origin(origin.into()))
}

impl Outbox {
    /// Post a request: it leaves when this turn has committed, and is tried until it is taken.
    ///
    /// Fails: [`PostError`] says who must act.
    pub fn post(&self, request: Request) -> Result<(), PostError> {
        wit::post(&self.0, &request)
    }
}
