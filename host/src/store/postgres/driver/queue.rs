//! The requests of rooms to the thread of the driver. It knows how many turns are on their way and how many bytes they
//! have, and nothing of what happens to them. Rooms fill it from any thread.
//!
//! It refuses nothing while it is open: a room asks whether it [is behind](Queue::is_behind) before each turn, and then
//! waits. So it has at most [`DATABASE_TURNS`] turns and those that rooms had begun. A room that opens or closes has
//! one request for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Notify, oneshot};

use crate::cluster::ownership::Tenure;
use crate::limits::DATABASE_TURNS;
use crate::lock::Lock;
use crate::model::Address;
use crate::store::commit::{Commit, Proof};
use crate::store::error::{CommitError, NotOpened};
use crate::store::membership::Hint;
use crate::store::records::RoomRecord;
use crate::store::truth::TenureListener;

/// A room that is open, and whose content is in the cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    /// The id of its row, and its last commit.
    pub(super) record: RoomRecord,
    /// False if nothing is stored of it.
    pub(super) is_stored: bool,
    pub(super) tenure: Tenure,
    /// The tenure that it continues, with its sockets.
    pub(super) continues: Option<Tenure>,
}

/// A log that wants a room.
pub(super) struct Open {
    pub(super) answer: oneshot::Sender<Result<Ready, NotOpened>>,
    pub(super) listener: Option<Arc<dyn TenureListener>>,
}

pub(super) enum Request {
    Open(Address, Open),
    Commit(Commit),
    Prove(Proof),
    /// The log of the room was closed.
    LetGo(Address),
    /// The room runs no more turns in this tenure.
    Paused(Address, Option<Tenure>),
    /// Something that a link has found out about a node.
    Hint(Hint),
}

/// The queue.
pub(super) struct Queue {
    waiting: Lock<Waiting>,
    filled: Notify,
    /// Commits and proofs that were submitted and are not confirmed yet.
    turns: AtomicUsize,
    /// Their bytes.
    bytes: AtomicUsize,
    max_bytes: usize,
    emptied: Notify,
    /// The thread of the driver shall answer.
    is_asked: AtomicBool,
    answered: Notify,
}

#[derive(Default)]
struct Waiting {
    requests: Vec<Request>,
    failed: Option<CommitError>,
    is_closed: bool,
}

impl Waiting {
    fn check_open(&self) -> Result<(), CommitError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.is_closed => Err(CommitError::Failed("the store is closed".into())),
            None => Ok(()),
        }
    }
}

impl Queue {
    pub(super) fn new(max_bytes: usize) -> Self {
        Queue {
            waiting: Lock::default(),
            filled: Notify::new(),
            turns: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            max_bytes,
            emptied: Notify::new(),
            is_asked: AtomicBool::new(false),
            answered: Notify::new(),
        }
    }

    pub(super) fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let bytes = commit.bytes();
        self.push_turn(Request::Commit(commit), bytes)
    }

    pub(super) fn prove(&self, proof: Proof) -> Result<(), CommitError> {
        self.push_turn(Request::Prove(proof), 0)
    }

    fn push_turn(&self, request: Request, bytes: usize) -> Result<(), CommitError> {
        // Counted first: the thread may be done with it before this returns.
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let pushed = self.push(request);
        if pushed.is_err() {
            self.done(1, bytes);
        }
        pushed
    }

    pub(super) fn push(&self, request: Request) -> Result<(), CommitError> {
        let mut waiting = self.waiting.lock();
        waiting.check_open()?;
        waiting.requests.push(request);
        // The thread takes all of them before it waits again.
        if waiting.requests.len() == 1 {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for requests. Empty if the driver is only asked whether it works, or shall end.
    pub(super) async fn take(&self) -> Vec<Request> {
        loop {
            let filled = self.filled.notified();
            if self.is_asked.swap(false, Ordering::AcqRel) {
                self.answered.notify_waiters();
            }
            {
                let mut waiting = self.waiting.lock();
                if !waiting.requests.is_empty() || waiting.is_closed {
                    return std::mem::take(&mut waiting.requests);
                }
            }
            filled.await;
        }
    }

    /// So many turns, with so many bytes, were confirmed, or will never be.
    pub(super) fn done(&self, turns: usize, bytes: usize) {
        // After the end nothing is counted any more.
        let less = |count: &AtomicUsize, by| {
            let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(by)));
        };
        less(&self.turns, turns);
        less(&self.bytes, bytes);
        self.emptied.notify_waiters();
    }

    pub(super) fn is_behind(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.max_bytes || self.turns.load(Ordering::Relaxed) > DATABASE_TURNS
    }

    pub(super) async fn caught_up(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if !self.is_behind() {
                return;
            }
            emptied.await;
        }
    }

    /// Waits until the thread of the driver has answered.
    ///
    /// Fails: if it has ended.
    pub(super) async fn answers(&self) -> Result<(), CommitError> {
        let answered = self.answered.notified();
        tokio::pin!(answered);
        answered.as_mut().enable();
        self.waiting.lock().check_open()?;
        self.is_asked.store(true, Ordering::Release);
        self.filled.notify_one();
        answered.await;
        self.waiting.lock().check_open()
    }

    pub(super) fn failed(&self) -> Option<CommitError> {
        self.waiting.lock().failed.clone()
    }

    /// Nothing is accepted any more; what waits is still taken.
    pub(super) fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.filled.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().is_closed
    }

    /// The driver ends: nothing more is accepted, and those that wait go on. Returns the requests that were not taken.
    pub(super) fn fail(&self, error: CommitError) -> Vec<Request> {
        let requests = {
            let mut waiting = self.waiting.lock();
            waiting.failed = Some(error);
            std::mem::take(&mut waiting.requests)
        };
        // Nothing is on its way, so no room may wait for the queue to shrink.
        self.turns.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.emptied.notify_waiters();
        self.answered.notify_waiters();
        requests
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::commit::Awaited;

    #[tokio::test]
    async fn rooms_wait_while_too_many_turns_without_bytes_are_on_their_way() {
        let queue = Arc::new(Queue::new(1));
        for _ in 0..=DATABASE_TURNS {
            assert!(!queue.is_behind());
            queue.commit(Commit::of_store(Vec::new(), Awaited::new().0)).unwrap();
        }
        assert!(queue.is_behind());
        let waits = tokio::spawn({
            let queue = queue.clone();
            async move { queue.caught_up().await }
        });
        queue.done(1, 0);
        waits.await.unwrap();
        assert!(!queue.is_behind());
        assert_eq!(queue.take().await.len(), DATABASE_TURNS + 1);
    }
}
