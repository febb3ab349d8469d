//! The outbound calls of a connected room, as the host functions see them. `room` implements [`Outbound`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::log_context::LogContext;
use super::log_limiter::LogLimiter;
use crate::clock;
use crate::config::Limits;
use crate::limits::ANSWERS_BYTES;
use crate::model::{Destination, Request, Response, StorageFailed};
use crate::outbound::FetchError;

/// A pending call. It fails if the storage of the room has failed; then the turn must not go on.
pub type Waited<T> = Pin<Box<dyn Future<Output = Result<T, StorageFailed>> + Send>>;

/// The outbound interface of a room. Everything waits until position `after` is confirmed, and ends at `until`.
pub trait Outbound: Send + Sync {
    /// Calls another room.
    fn call(
        &self,
        after: u64,
        until: Instant,
        namespace: &str,
        name: &str,
        request: Request,
    ) -> Waited<Result<Response, CallError>>;

    /// Sends a request to a server, given by its origin.
    fn fetch(
        &self,
        after: u64,
        until: Instant,
        origin: String,
        request: Request,
    ) -> Waited<Result<Response, FetchError>>;

    /// Whether the turn may wait. A waiting turn keeps its instance, so their number is limited; a permit lasts until
    /// the turn ends.
    fn may_wait(&self) -> bool {
        true
    }

    /// Whether the turn may wait for another room, which needs an instance too.
    fn may_wait_for_rooms(&self) -> bool {
        self.may_wait()
    }

    /// Whether the room may post to this destination.
    fn destination(&self, destination: Destination) -> Result<Destination, PostError>;
}

/// The reason why a call to another room failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallError {
    /// The configuration does not allow it.
    Denied,
    /// The name is not valid for a room.
    NoSuchRoom,
    /// The other room waits for this one.
    Deadlock,
    /// The body is too large.
    TooLarge,
    /// The turn has made as many calls as it may.
    TooMany,
    /// The turn of the other room failed.
    Failed,
    /// The other room or the host has no space for it now.
    Overloaded,
    /// The answer did not come in time.
    Timeout,
}

/// The reason why a post was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostError {
    /// The configuration does not allow it.
    Denied,
    /// The name is not valid for a room, or the text is not an origin.
    BadDestination,
    /// The request is too large.
    TooLarge,
    /// Too many posts wait.
    TooMany,
}

/// The calls that a turn has used.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CallsMade {
    pub(super) made: u32,
    /// When the first call began.
    began: Option<Instant>,
}

/// The outbound interface of the current turn, and how much of it the turn has used.
pub(super) struct CallBudget {
    /// Absent for a room without outbound imports.
    pub(super) outbound: Option<Arc<dyn Outbound>>,
    /// The position of the room that must be confirmed before anything leaves.
    pub(super) after: u64,
    pub(super) calls: CallsMade,
    /// Free space for answers that the guest has not read, in bytes.
    pub(super) answers: Arc<Semaphore>,
    pub(super) limits: Arc<Limits>,
    pub(super) log_limiter: Arc<LogLimiter>,
    /// The turn of the last request to a server.
    pub(super) log_context: LogContext,
}

impl CallBudget {
    pub(super) fn new(limits: Arc<Limits>, log_limiter: Arc<LogLimiter>) -> Self {
        let answers = Arc::new(Semaphore::new(ANSWERS_BYTES));
        let (calls, log_context) = (CallsMade::default(), LogContext::default());
        CallBudget { outbound: None, after: 0, calls, answers, limits, log_limiter, log_context }
    }
}

/// The turn may make no more calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoMoreCalls;

impl CallsMade {
    /// Counts one more call, and returns its deadline.
    pub(super) fn take(&mut self, limits: &Limits) -> Result<Instant, NoMoreCalls> {
        if self.made >= limits.turn_calls {
            return Err(NoMoreCalls);
        }
        self.made += 1;
        let began = *self.began.get_or_insert_with(clock::monotonic);
        // Limited to a few days, because `Instant` can overflow.
        Ok(began + limits.turn_calls_timeout.min(Duration::from_secs(1 << 18)))
    }
}
