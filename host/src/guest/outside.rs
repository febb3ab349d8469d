//! What a connected room reaches beyond itself, as its host calls see it. `room` does what is behind it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::limits::ANSWERS_BYTES;
use super::lines::Lines;
use crate::clock;
use crate::config::Limits;
use crate::model::{Destination, Request, Response, StorageFailed};
use crate::outbound::FetchError;

/// Something that is waited for. It fails where the room's own storage has: then the turn must not go on.
pub type Waited<T> = Pin<Box<dyn Future<Output = Result<T, StorageFailed>> + Send>>;

/// The way out of a room. Whatever leaves waits until commit `after` is durable, and ends at `until`.
pub trait Outside: Send + Sync {
    /// Ask another room.
    fn call(
        &self,
        after: u64,
        until: Instant,
        namespace: &str,
        name: &str,
        request: Request,
    ) -> Waited<Result<Response, CallError>>;

    /// Ask a server, by its origin.
    fn fetch(
        &self,
        after: u64,
        until: Instant,
        origin: String,
        request: Request,
    ) -> Waited<Result<Response, FetchError>>;

    /// Whether the turn may wait: whoever waits keeps an instance from others. Once it may, it may until the turn is over.
    fn may_wait(&self) -> bool {
        true
    }

    /// Whether the turn may wait for another room, which needs an instance too.
    fn may_wait_for_rooms(&self) -> bool {
        self.may_wait()
    }

    /// Whether something may be posted there.
    fn destination(&self, destination: Destination) -> Result<Destination, PostError>;
}

/// Why there is no answer of another room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallError {
    /// The operator does not allow it.
    Denied,
    /// No room can have this name.
    NoSuchRoom,
    /// The other room waits for this one.
    Deadlock,
    /// The body is too large.
    TooLarge,
    /// The turn has made all the calls it may.
    TooMany,
    /// The other room's turn failed.
    Failed,
    /// There is no space for it now.
    Overloaded,
    /// No answer in time.
    Timeout,
}

/// Why nothing was posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostError {
    /// The operator does not allow it.
    Denied,
    /// No room can have this name, or it is no origin.
    BadDestination,
    /// The request is too large.
    TooLarge,
    /// Too many wait.
    TooMany,
}

/// What a turn has used of its calls.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Calls {
    made: u32,
    /// When the first one began.
    began: Option<Instant>,
}

/// What the current turn reaches, and what it has used of it.
pub(super) struct Reach {
    /// Absent where the room has no way out.
    pub(super) outside: Option<Arc<dyn Outside>>,
    /// The commit that must be durable before anything leaves.
    pub(super) after: u64,
    pub(super) calls: Calls,
    /// Space for answers that the guest has not taken, in bytes.
    pub(super) answers: Arc<Semaphore>,
    pub(super) limits: Arc<Limits>,
    pub(super) lines: Arc<Lines>,
}

impl Reach {
    pub(super) fn nowhere(limits: Arc<Limits>, lines: Arc<Lines>) -> Self {
        let answers = Arc::new(Semaphore::new(ANSWERS_BYTES));
        Reach { outside: None, after: 0, calls: Calls::default(), answers, limits, lines }
    }
}

/// The turn may make no more calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoMoreCalls;

impl Calls {
    /// One more call: until when it may take.
    pub(super) fn take(&mut self, limits: &Limits) -> Result<Instant, NoMoreCalls> {
        if self.made >= limits.turn_calls {
            return Err(NoMoreCalls);
        }
        self.made += 1;
        let began = *self.began.get_or_insert_with(clock::monotonic);
        // A few days at most: `Instant` has an end.
        Ok(began + limits.turn_calls_within.min(Duration::from_secs(1 << 18)))
    }
}
