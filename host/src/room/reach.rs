//! What a room reaches beyond itself during a turn: other rooms, and servers elsewhere. What it posts is in `posting`.
//!
//! Whatever leaves a room waits for the commits before it, as everything else does that it says. A call waits here, in a
//! task of its own, so that no network is waited for on the threads for long turns.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use tracing::Instrument;

use super::mailbox::Mailbox;
use super::{Namespace, NoAnswer, Rooms, Shared};
use crate::clock;
use crate::guest::{CallError, Outside, PostError, Waited};
use crate::model::{Address, Destination, PostNumber, Request, Response, StorageFailed};
use crate::outbound::FetchError;

/// The header that tells a room which room calls it. No client can send it.
const CALLER: &str = "dormouse-caller";
/// The header that tells a server, and a room, which post it is: the same each time it is tried.
const POST_KEY: &str = "idempotency-key";

/// One room's way out.
pub(super) struct Reach {
    address: Address,
    namespace: Arc<Namespace>,
    shared: Weak<Shared>,
    mailbox: Weak<Mailbox>,
}

/// Which room waits for which. A room waits for one at a time, so a circle is found by walking.
#[derive(Default)]
pub(super) struct Waits(Mutex<HashMap<Address, Address>>);

/// One room's place in it, while it waits.
struct Wait<'a> {
    waits: &'a Waits,
    who: Address,
}

impl Waits {
    /// `who` begins to wait for `whom`; absent where that waits for `who`, itself or through others.
    fn begin(&self, who: &Address, whom: &Address) -> Option<Wait<'_>> {
        let mut waits = self.lock();
        let mut next = Some(whom);
        while let Some(room) = next {
            if room == who {
                return None;
            }
            next = waits.get(room);
        }
        waits.insert(who.clone(), whom.clone());
        Some(Wait { waits: self, who: who.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Address>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waits.lock().remove(&self.who);
    }
}

impl Reach {
    pub(super) fn new(
        address: Address,
        namespace: Arc<Namespace>,
        shared: &Arc<Shared>,
        mailbox: &Arc<Mailbox>,
    ) -> Arc<Self> {
        Arc::new(Reach { address, namespace, shared: Arc::downgrade(shared), mailbox: Arc::downgrade(mailbox) })
    }

    /// The address of a room that this one may reach.
    fn neighbour(&self, namespace: &str, name: &str) -> Result<Address, CallError> {
        if !self.namespace.calls.contains(namespace) {
            return Err(CallError::Denied);
        }
        Address::new(namespace, name).map_err(|_| CallError::NoSuchRoom)
    }

    /// Do something once `commit` is durable, on a task of the host's; it ends when `until` has come.
    fn after<T: Send + 'static>(
        &self,
        commit: u64,
        until: Instant,
        too_late: T,
        then: impl AsyncFnOnceSend<T>,
    ) -> Waited<T> {
        let (Some(shared), Some(mailbox)) = (self.shared.upgrade(), self.mailbox.upgrade()) else {
            return Box::pin(async { Err(StorageFailed("the host is gone".into())) });
        };
        let durable = mailbox.outbox.until_durable(commit);
        let runtime = shared.runtime.clone();
        let done = async move {
            durable.await.map_err(|_| StorageFailed("a commit before this call failed".into()))?;
            let left = until.saturating_duration_since(clock::monotonic());
            Ok(tokio::time::timeout(left, then.run(shared)).await.unwrap_or(too_late))
        };
        let task = runtime.spawn(done.in_current_span());
        Box::pin(async { task.await.unwrap_or_else(|_| Err(StorageFailed("the host is shutting down".into()))) })
    }
}

/// What is done with the host, whose future can be sent between threads.
trait AsyncFnOnceSend<T>: Send + 'static {
    fn run(self, shared: Arc<Shared>) -> impl Future<Output = T> + Send;
}

struct Call {
    from: Address,
    to: Address,
    request: Request,
}

impl AsyncFnOnceSend<Result<Response, CallError>> for Call {
    async fn run(self, shared: Arc<Shared>) -> Result<Response, CallError> {
        let Some(_wait) = shared.waits.begin(&self.from, &self.to) else { return Err(CallError::Deadlock) };
        let request = from_room(self.request, &self.from, None);
        Rooms(shared.clone()).request(&self.to, request).await.map_err(|no_answer| match no_answer {
            NoAnswer::NoNamespace => CallError::NoSuchRoom,
            NoAnswer::Failed => CallError::Failed,
            NoAnswer::Overloaded
            | NoAnswer::NoMemory
            | NoAnswer::TooManyRooms
            | NoAnswer::Broken
            | NoAnswer::Draining => CallError::Overloaded,
        })
    }
}

struct Fetch {
    namespace: Arc<Namespace>,
    origin: String,
    request: Request,
    within: Duration,
}

impl AsyncFnOnceSend<Result<Response, FetchError>> for Fetch {
    async fn run(self, shared: Arc<Shared>) -> Result<Response, FetchError> {
        shared.outbound.fetch(&self.namespace.outbound, &self.origin, self.request, self.within).await
    }
}

impl Outside for Reach {
    fn call(
        &self,
        after: u64,
        until: Instant,
        namespace: &str,
        name: &str,
        request: Request,
    ) -> Waited<Result<Response, CallError>> {
        let to = match self.neighbour(namespace, name) {
            Ok(to) => to,
            Err(error) => return Box::pin(async move { Ok(Err(error)) }),
        };
        self.after(after, until, Err(CallError::Timeout), Call { from: self.address.clone(), to, request })
    }

    fn fetch(
        &self,
        after: u64,
        until: Instant,
        origin: String,
        request: Request,
    ) -> Waited<Result<Response, FetchError>> {
        let within = until.saturating_duration_since(clock::monotonic());
        let fetch = Fetch { namespace: self.namespace.clone(), origin, request, within };
        self.after(after, until, Err(FetchError::Timeout), fetch)
    }

    fn destination(&self, destination: Destination) -> Result<Destination, PostError> {
        match &destination {
            Destination::Room(address) => {
                self.neighbour(address.namespace(), address.name()).map_err(|_| PostError::Denied)?;
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

/// A request as the called room, or a server, sees it.
pub(super) fn from_room(mut request: Request, from: &Address, post: Option<PostNumber>) -> Request {
    let ours = |name: &str| name == CALLER || (post.is_some() && name == POST_KEY);
    request.headers.retain(|(name, _)| !ours(&name.to_ascii_lowercase()));
    request.headers.push((CALLER.into(), from.to_string()));
    if let Some(number) = post {
        request.headers.push((POST_KEY.into(), format!("{from}/{}", number.0)));
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> Address {
        Address::new("ROOMS", name).unwrap()
    }

    #[test]
    fn nobody_waits_for_who_waits_for_them() {
        let waits = Waits::default();
        let (a, b, c) = (room("a"), room("b"), room("c"));
        assert!(waits.begin(&a, &a).is_none());
        let a_for_b = waits.begin(&a, &b).unwrap();
        let _b_for_c = waits.begin(&b, &c).unwrap();
        assert!(waits.begin(&c, &a).is_none(), "a circle of three");
        drop(a_for_b);
        assert!(waits.begin(&c, &a).is_some());
    }

    #[test]
    fn what_a_room_says_of_itself_is_the_hosts_to_say() {
        let headers = vec![("Dormouse-Caller".into(), "ADMIN/root".into()), ("idempotency-key".into(), "mine".into())];
        let request = Request { headers, ..Request::get("/") };
        let seen = from_room(request.clone(), &room("a"), None).headers;
        assert_eq!(seen, [("idempotency-key".into(), "mine".into()), (CALLER.into(), "ROOMS/a".into())]);
        let seen = from_room(request, &room("a"), Some(PostNumber::new(1, 2))).headers;
        assert_eq!(seen, [(CALLER.into(), "ROOMS/a".into()), (POST_KEY.into(), "ROOMS/a/65538".into())]);
    }
}
