//! A transactional outbox: requests that are sent after this turn has committed, and only then. The operator must allow
//! them, with `calls` and `outbound` of the namespace.
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

/// A destination to which requests can be posted.
#[derive(Debug, Clone)]
pub struct Outbox(wit::Destination);

/// Another room. It runs each post exactly once.
pub fn to_room(namespace: &str, name: &str) -> Outbox {
    Outbox(wit::Destination::Room(wit::Room { namespace: namespace.into(), name: name.into() }))
}

/// A server, by scheme and authority such as `https://api.example`. It may get a post more than once, each time with
/// the same header `idempotency-key`.
pub fn to_server(origin: &str) -> Outbox {
    Outbox(wit::Destination::Origin(origin.into()))
}

impl Outbox {
    /// Posts a request: it is sent after this turn has committed, and tried again until it is accepted.
    ///
    /// Fails: [`PostError`] says who must act.
    pub fn post(&self, request: Request) -> Result<(), PostError> {
        wit::post(&self.0, &request)
    }
}
