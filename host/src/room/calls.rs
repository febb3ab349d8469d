//! Calls of a room during a turn: to other rooms, and to servers. Posts are in `posts`.
//!
//! A call leaves only after the earlier commits of the room are durable, like all its outputs. If another node may own
//! the room, it also waits for a proof of its own: the turn that makes it has no commit yet. It runs on its own task, so
//! that the threads for long turns never wait for the network. The guest calls it through [`Outbound`].

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use super::error::RequestError;
use super::mailbox::Mailbox;
use super::namespace::Namespace;
use super::shared::Shared;
use super::traced;
use crate::clock;
use crate::guest::{CallError, Outbound, PostError, Waited};
use crate::limit_hits::Limit;
use crate::lock::Lock;
use crate::model::{Address, CALLER, Destination, POST_KEY, Request, Response, StorageFailed};
use crate::outbound::FetchError;
use crate::store::Prover;
use crate::telemetry::Place;

/// The outbound interface of one room.
struct RoomCalls {
    address: Address,
    namespace: Arc<Namespace>,
    shared: Weak<Shared>,
    mailbox: Weak<Mailbox>,
    /// Absent if no other node can own the room.
    prover: Option<Prover>,
    /// The turn in its trace; absent if spans are off.
    place: Option<Place>,
    /// The permit to wait, once the turn has asked for it.
    wait_permit: Lock<Option<OwnedSemaphorePermit>>,
}

impl Shared {
    /// The outbound interface of a room.
    pub(super) fn outbound_of(
        self: &Arc<Self>,
        address: &Address,
        namespace: &Arc<Namespace>,
        mailbox: &Arc<Mailbox>,
        prover: Option<Prover>,
        place: Option<Place>,
    ) -> Arc<dyn Outbound> {
        Arc::new(RoomCalls {
            address: address.clone(),
            namespace: namespace.clone(),
            shared: Arc::downgrade(self),
            mailbox: Arc::downgrade(mailbox),
            prover,
            place,
            wait_permit: Lock::default(),
        })
    }
}

impl RoomCalls {
    /// The address of another room, if this room may call it.
    fn callee(&self, namespace: &str, name: &str) -> Result<Address, CallError> {
        if !self.namespace.calls.contains(namespace) {
            return Err(CallError::Denied);
        }
        Address::new(namespace, name).map_err(|_| CallError::NoSuchRoom)
    }

    /// Runs `call` on its own task once the statement at `position` is confirmed, and a proof of this moment, if one is
    /// needed; it ends at `until` at the latest.
    fn after<T: Send + 'static>(
        &self,
        position: u64,
        until: Instant,
        timed_out: T,
        call: impl AsyncFnOnceSend<T>,
    ) -> Waited<T> {
        let (Some(shared), Some(mailbox)) = (self.shared.upgrade(), self.mailbox.upgrade()) else {
            return Box::pin(async { Err(StorageFailed("the host is gone".into())) });
        };
        let durable = mailbox.output_gate.until_confirmed(position);
        let proof = self.prover.as_ref().map(Prover::prove);
        let runtime = shared.runtime.clone();
        let done = async move {
            durable.await.map_err(|_| StorageFailed("a commit before this call failed".into()))?;
            if let Some(proof) = proof {
                proof.await?;
            }
            let remaining = until.saturating_duration_since(clock::monotonic());
            Ok(clock::timeout(remaining, call.run(shared)).await.unwrap_or(timed_out))
        };
        let task = runtime.spawn(done.in_current_span());
        Box::pin(async { task.await.unwrap_or_else(|_| Err(StorageFailed("the host is shutting down".into()))) })
    }
}

/// An async function of the shared state whose future is `Send`.
trait AsyncFnOnceSend<T>: Send + 'static {
    fn run(self, shared: Arc<Shared>) -> impl Future<Output = T> + Send;
}

struct Call {
    from: Address,
    to: Address,
    request: Request,
    place: Option<Place>,
}

impl AsyncFnOnceSend<Result<Response, CallError>> for Call {
    async fn run(self, shared: Arc<Shared>) -> Result<Response, CallError> {
        let Some(_wait) = shared.wait_graph.begin(&self.from, &self.to) else { return Err(CallError::Deadlock) };
        let mut request = request_from_room(self.request, &self.from, None);
        let span = self.place.map(|place| traced::call(&place, &self.to, &mut request));
        let answered = shared.request(&self.to, request).await;
        traced::answered(span, answered.as_ref().map(|response| response.status).map_err(RequestError::word));
        answered.map_err(call_error)
    }
}

/// The error of a call to a room that gave no answer.
pub(super) fn call_error(error: RequestError) -> CallError {
    match error {
        RequestError::NoNamespace => CallError::NoSuchRoom,
        RequestError::Failed => CallError::Failed,
        RequestError::Overloaded
        | RequestError::NoMemory
        | RequestError::TooManyRooms
        | RequestError::Broken
        | RequestError::Moved(_)
        | RequestError::NoSpace
        | RequestError::Draining => CallError::Overloaded,
    }
}

struct Fetch {
    namespace: Arc<Namespace>,
    origin: String,
    request: Request,
    timeout: Duration,
    place: Option<Place>,
}

impl AsyncFnOnceSend<Result<Response, FetchError>> for Fetch {
    async fn run(mut self, shared: Arc<Shared>) -> Result<Response, FetchError> {
        let span = self.place.map(|place| traced::fetch(&place, &self.origin, &mut self.request));
        let fetched = shared.outbound.fetch(&self.namespace.outbound, &self.origin, self.request, self.timeout).await;
        traced::answered(span, fetched.as_ref().map(|response| response.status).map_err(FetchError::word));
        fetched
    }
}

impl Outbound for RoomCalls {
    fn call(
        &self,
        after: u64,
        until: Instant,
        namespace: &str,
        name: &str,
        request: Request,
    ) -> Waited<Result<Response, CallError>> {
        let to = match self.callee(namespace, name) {
            Ok(to) => to,
            Err(error) => return Box::pin(async move { Ok(Err(error)) }),
        };
        self.after(
            after,
            until,
            Err(CallError::Timeout),
            Call { from: self.address.clone(), to, request, place: self.place.clone() },
        )
    }

    fn fetch(
        &self,
        after: u64,
        until: Instant,
        origin: String,
        request: Request,
    ) -> Waited<Result<Response, FetchError>> {
        let timeout = until.saturating_duration_since(clock::monotonic());
        let request = without_host_headers(request);
        let fetch = Fetch { namespace: self.namespace.clone(), origin, request, timeout, place: self.place.clone() };
        self.after(after, until, Err(FetchError::Timeout), fetch)
    }

    fn may_wait(&self) -> bool {
        let mut wait_permit = self.wait_permit.lock();
        if wait_permit.is_none()
            && let Some(shared) = self.shared.upgrade()
        {
            *wait_permit = shared.waiting.clone().try_acquire_owned().ok();
            if wait_permit.is_none() {
                shared.limit_hits.count(Limit::AwakeRooms);
            }
        }
        wait_permit.is_some()
    }

    fn may_wait_for_rooms(&self) -> bool {
        // With only one instance, this room has it, and the other room would never get one.
        let is_alone = self.shared.upgrade().is_some_and(|shared| shared.limits.awake_rooms == 1);
        !is_alone && self.may_wait()
    }

    fn destination(&self, destination: Destination) -> Result<Destination, PostError> {
        match &destination {
            Destination::Room(address) => {
                self.callee(address.namespace(), address.name()).map_err(|_| PostError::Denied)?;
                let known =
                    self.shared.upgrade().is_some_and(|shared| shared.namespaces.contains_key(address.namespace()));
                if !known {
                    return Err(PostError::BadDestination);
                }
            }
            Destination::Origin(origin) if self.namespace.outbound.allows(origin) => {}
            Destination::Origin(_) => return Err(PostError::Denied),
        }
        Ok(destination)
    }
}

/// The request as the receiver sees it: a called room, or the destination of a post with the key `post`.
pub(super) fn request_from_room(request: Request, from: &Address, post: Option<String>) -> Request {
    let mut request = without_host_headers(request);
    request.headers.push((CALLER.into(), from.to_string()));
    request.headers.extend(post.map(|key| (POST_KEY.into(), key)));
    request
}

/// Removes the headers that only the host may set: the caller, and the key of a post.
fn without_host_headers(mut request: Request) -> Request {
    request.remove_header(CALLER);
    request.remove_header(POST_KEY);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> Address {
        Address::new("ROOMS", name).unwrap()
    }

    #[test]
    fn a_room_cannot_set_headers_of_the_host() {
        let spellings =
            ["Dormouse-Caller", "dormouse_caller", "idempotency-key", "Idempotency_Key", " IDEMPOTENCY-KEY"];
        let forged = spellings.map(|name| (name.to_owned(), "ADMIN/root".to_owned()));
        let request = Request { headers: forged.to_vec(), ..Request::get("/") };
        let caller = (CALLER.to_owned(), "ROOMS/a".to_owned());
        assert_eq!(request_from_room(request.clone(), &room("a"), None).headers, std::slice::from_ref(&caller));
        let seen = request_from_room(request.clone(), &room("a"), Some("key".into())).headers;
        assert_eq!(seen, [caller, (POST_KEY.into(), "key".into())]);
        assert_eq!(without_host_headers(request).headers, []);
    }
}
