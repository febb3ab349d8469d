//! The two statements that an owner hands to the truth for an open room, [`Commit`] and [`Proof`], and the [`Receipt`]
//! that answers them. It does not know how a truth confirms them. The log of a room makes them, and each truth takes
//! them; both tell the room with [`confirm`] and [`refuse`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::engine::Record;
use super::error::CommitError;
use super::owner::Owner;
use crate::clock;
use crate::lock::Lock;
use crate::panics::Panic;

/// Up to this many statements that are confirmed together count as few. On a quiet host the thread of the truth has
/// time, and waking another thread would cost more than the work itself. On a busy host it must return to the truth.
pub(super) const FEW_STATEMENTS: usize = 2;

/// The evidence that a statement of a room, and all its statements before, are confirmed: its commits are durable, and
/// this process still owned the room after they were made. Later receipts of one tenure are greater.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "outputs that wait for a statement leave only when the output gate gets its receipt"]
pub struct Receipt {
    position: u64,
    number: u64,
}

impl Receipt {
    /// Only the store makes receipts. They are handed out by [`confirm`].
    pub(super) fn new(position: u64, number: u64) -> Self {
        Receipt { position, number }
    }

    #[cfg(test)]
    pub(crate) fn at(position: u64, number: u64) -> Self {
        Receipt::new(position, number)
    }

    /// The position of the last confirmed statement. Commits and proofs take one position each, from 1 on, in each
    /// tenure; without proofs they are counted from the opening of the room.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The number of the last durable commit.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// A room that waits for a statement.
pub trait CommitListener: Send + Sync {
    /// The statement is confirmed. Called once for each one, in order, on a thread for which all rooms wait. `few` means
    /// that only a few statements were confirmed with it, so a little work may be done here; otherwise other threads
    /// must do it.
    fn committed(&self, receipt: Receipt, few: bool);

    /// The statement will never be confirmed, nor any later one; or, with [`CommitError::NotNotified`], `committed`
    /// panicked. After [`CommitError::Fenced`] another owner has the room.
    fn failed(&self, error: &CommitError);
}

/// Writes on their way to the truth: of one room, or of what all rooms used.
///
/// Invariant: the commits and proofs of an owner reach the truth in the order of their positions.
pub(super) struct Commit {
    /// The new values of keys, in the layout of `records`.
    pub(super) records: Vec<Record>,
    /// The number of the room's last commit before this one.
    pub(super) base: u64,
    /// For the listener. Its number is that of the room from this commit on.
    pub(super) receipt: Receipt,
    pub(super) listener: Arc<dyn CommitListener>,
    /// Held until the commit is done. Absent for a commit of the store itself, which belongs to no room.
    pub(super) owner: Option<Arc<Owner>>,
    /// It deletes the room: the truth also counts it, so that a later room with this address has another incarnation.
    pub(super) deletes_room: bool,
    /// When it was submitted.
    pub(super) at: Instant,
}

impl Commit {
    /// A commit of the store itself.
    pub(super) fn of_store(records: Vec<Record>, listener: Arc<dyn CommitListener>) -> Self {
        let (receipt, at) = (Receipt::new(0, 0), clock::monotonic());
        Commit { records, base: 0, receipt, listener, owner: None, deletes_room: false, at }
    }

    /// The bytes of its keys and values.
    pub(super) fn bytes(&self) -> usize {
        self.records.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.len())).sum()
    }
}

/// Asks whether this process still owns a room, for turns that wrote nothing and for calls in the middle of a turn.
pub(super) struct Proof {
    /// For the listener. That of a call takes no position of its own: it has the last one before the call, or an older
    /// one, so a truth must not compare it with the stored number.
    pub(super) receipt: Receipt,
    pub(super) listener: Arc<dyn CommitListener>,
    /// Held until the proof is done.
    pub(super) owner: Arc<Owner>,
    /// When it was asked for.
    pub(super) at: Instant,
}

/// Rooms that wait for their statements, each with its receipt.
pub(super) type Listeners = Vec<(Receipt, Arc<dyn CommitListener>)>;

/// Notifies rooms that their statements are confirmed. This runs code of rooms and connections on the thread of the
/// truth. If it panics for one room, that room is given up, and the others are not affected.
pub(super) fn confirm(listeners: Listeners) {
    let few = listeners.len() <= FEW_STATEMENTS;
    for (receipt, listener) in listeners {
        let notified = catch_unwind(AssertUnwindSafe(|| listener.committed(receipt, few)));
        if let Err(payload) = notified {
            let panic = Panic::from(payload);
            tracing::error!(%panic, "the host's own code panicked as it notified a room of its commit; the room is opened again");
            refuse(&*listener, &CommitError::NotNotified);
        }
    }
}

/// Notifies a room that its statement will never be confirmed.
pub(super) fn refuse(listener: &dyn CommitListener, error: &CommitError) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| listener.failed(error))) {
        tracing::error!(panic = %Panic::from(payload), "the host's own code panicked as it notified a room of a failure");
    }
}

/// A listener of one statement for a task that waits for it.
pub(super) struct Awaited(Lock<Option<oneshot::Sender<Result<(), CommitError>>>>);

impl Awaited {
    /// The listener, and its outcome. The outcome is an error of the channel if the statement was dropped.
    pub(super) fn new() -> (Arc<Self>, oneshot::Receiver<Result<(), CommitError>>) {
        let (done, is_done) = oneshot::channel();
        (Arc::new(Awaited(Lock::new(Some(done)))), is_done)
    }

    fn done(&self, result: Result<(), CommitError>) {
        if let Some(waiting) = self.0.lock().take() {
            // The waiter may have gone.
            let _ = waiting.send(result);
        }
    }
}

impl CommitListener for Awaited {
    fn committed(&self, _: Receipt, _: bool) {
        self.done(Ok(()));
    }

    fn failed(&self, error: &CommitError) {
        self.done(Err(error.clone()));
    }
}
