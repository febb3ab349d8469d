//! The surroundings of a room under test: other rooms and servers, which the test kit plays.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;

use dormouse::guest::{CallError, Outbound, PostError, Waited};
use dormouse::model::{Address, Destination, Request, Response};
use dormouse::outbound::FetchError;

use super::channel::LineChannel;
use super::protocol::{self, Answer};

/// The surroundings of one room. Calls to kinds that the test kit does not play are denied.
pub(super) struct World {
    wire: Arc<LineChannel>,
    /// The room is still under test. Requests that a guest left behind may outlive their room.
    open: Arc<AtomicBool>,
    rooms: AtomicBool,
    servers: AtomicBool,
}

impl World {
    pub(super) fn new(wire: Arc<LineChannel>) -> Self {
        let open = Arc::new(AtomicBool::new(true));
        World { wire, open, rooms: AtomicBool::new(false), servers: AtomicBool::new(false) }
    }

    /// Ends the test of the room: it can ask nothing more.
    pub(super) fn close(&self) {
        self.wire.close(&self.open);
    }

    pub(super) fn play(&self, rooms: bool, servers: bool) {
        self.rooms.store(rooms, Ordering::Relaxed);
        self.servers.store(servers, Ordering::Relaxed);
    }

    /// Asks the test kit, and waits for its answer. The thread is blocked meanwhile, but not at the guest's cost: a
    /// guest that was polled twice is charged only for its thread's CPU.
    async fn ask(wire: Arc<LineChannel>, open: Arc<AtomicBool>, to: Destination, request: Request) -> Option<Answer> {
        let mut polled = false;
        poll_fn(|context| match std::mem::replace(&mut polled, true) {
            true => Poll::Ready(()),
            false => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
        wire.ask(&open, to.into(), protocol::Request::from(request))?.recv().ok()
    }
}

impl Outbound for World {
    fn call(
        &self,
        _: u64,
        _: Instant,
        namespace: &str,
        name: &str,
        request: Request,
    ) -> Waited<Result<Response, CallError>> {
        let address = match Address::new(namespace, name) {
            _ if !self.rooms.load(Ordering::Relaxed) => return Box::pin(async { Ok(Err(CallError::Denied)) }),
            Err(_) => return Box::pin(async { Ok(Err(CallError::NoSuchRoom)) }),
            Ok(address) => address,
        };
        let (wire, open) = (self.wire.clone(), self.open.clone());
        Box::pin(async move {
            let answer = Self::ask(wire, open, Destination::Room(address), request).await;
            Ok(answer.map_or(Err(CallError::Failed), Answer::of_room))
        })
    }

    fn fetch(&self, _: u64, _: Instant, origin: String, request: Request) -> Waited<Result<Response, FetchError>> {
        if !self.servers.load(Ordering::Relaxed) {
            return Box::pin(async { Ok(Err(FetchError::Denied(origin))) });
        }
        let (wire, open) = (self.wire.clone(), self.open.clone());
        Box::pin(async move {
            let answer = Self::ask(wire, open, Destination::Origin(origin.clone()), request).await;
            Ok(answer.map_or(Err(FetchError::Timeout), |answer| answer.of_server(&origin)))
        })
    }

    fn destination(&self, destination: Destination) -> Result<Destination, PostError> {
        match destination {
            Destination::Room(_) if !self.rooms.load(Ordering::Relaxed) => Err(PostError::Denied),
            Destination::Origin(_) if !self.servers.load(Ordering::Relaxed) => Err(PostError::Denied),
            allowed => Ok(allowed),
        }
    }
}
