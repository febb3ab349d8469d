//! Calls of a router to rooms, before it decides. A router has neither storage nor an address: its calls wait for no
//! commit, no room can wait for it, and the called room gets `router` as its caller.
//!
//! The edge lends them to the router, one set for each request.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tracing::Instrument;

use super::Rooms;
use super::calls::call_error;
use super::shared::Shared;
use crate::clock;
use crate::guest::{CallError, Outbound, PostError, Waited};
use crate::model::{Address, CALLER, Destination, Request, Response, StorageFailed};
use crate::outbound::FetchError;

/// The caller of a request that the router sends. A room is NAMESPACE/NAME, so no room has this name.
const ROUTER: &str = "router";

/// The calls of a router for one request.
pub struct RouterCalls {
    shared: Weak<Shared>,
    /// The namespaces that it may call.
    allowed: Arc<BTreeSet<String>>,
    /// The body of the request was not read. A call fails the routing then.
    is_trial: bool,
}

impl Rooms {
    /// The calls of the router for one complete request.
    pub fn router_calls(&self, allowed: &Arc<BTreeSet<String>>) -> Arc<RouterCalls> {
        self.calls_of_router(allowed, false)
    }

    /// The same for a request whose body was not read, so that no room may see it.
    pub fn no_router_calls(&self, allowed: &Arc<BTreeSet<String>>) -> Arc<RouterCalls> {
        self.calls_of_router(allowed, true)
    }

    fn calls_of_router(&self, allowed: &Arc<BTreeSet<String>>, is_trial: bool) -> Arc<RouterCalls> {
        Arc::new(RouterCalls { shared: Arc::downgrade(&self.0), allowed: allowed.clone(), is_trial })
    }
}

impl Outbound for RouterCalls {
    fn call(
        &self,
        _after: u64,
        until: Instant,
        namespace: &str,
        name: &str,
        request: Request,
    ) -> Waited<Result<Response, CallError>> {
        let denied = |error| -> Waited<_> { Box::pin(async move { Ok(Err(error)) }) };
        if self.is_trial {
            return Box::pin(async { Err(StorageFailed("the body of the request was not read yet".into())) });
        }
        if !self.allowed.contains(namespace) {
            return denied(CallError::Denied);
        }
        let Ok(address) = Address::new(namespace, name) else { return denied(CallError::NoSuchRoom) };
        let Some(shared) = self.shared.upgrade() else { return denied(CallError::Overloaded) };
        let runtime = shared.runtime.clone();
        let request = from_router(request);
        let call = async move {
            let remaining = until.saturating_duration_since(clock::monotonic());
            match clock::timeout(remaining, shared.request(&address, request)).await {
                Ok(answered) => answered.map_err(call_error),
                Err(_) => Err(CallError::Timeout),
            }
        };
        // On a task of its own, so that the threads for long turns do not wait.
        let task = runtime.spawn(call.in_current_span());
        Box::pin(async { task.await.map_err(|_| StorageFailed("the host is shutting down".into())) })
    }

    fn fetch(&self, _: u64, _: Instant, origin: String, _: Request) -> Waited<Result<Response, FetchError>> {
        Box::pin(async { Ok(Err(FetchError::Denied(origin))) })
    }

    fn destination(&self, _: Destination) -> Result<Destination, PostError> {
        Err(PostError::Denied)
    }
}

/// The request as the room sees it.
fn from_router(mut request: Request) -> Request {
    request.remove_header(CALLER);
    request.headers.push((CALLER.into(), ROUTER.into()));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_cannot_call_in_the_name_of_a_room() {
        let forged = [("Dormouse_Caller".to_owned(), "ADMIN/root".to_owned())];
        let request = from_router(Request { headers: forged.to_vec(), ..Request::get("/") });
        assert_eq!(request.headers, [(CALLER.to_owned(), "router".to_owned())]);
    }
}
