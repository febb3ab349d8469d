//! Group commit: one batch and one sync carry the waiting commits of all rooms.
//!
//! The commit thread takes all commits that arrived during the last sync. It does not know rooms: it notifies the
//! listener of each commit. The first failure ends all writing, because after a failed sync the state of the
//! disk is unknown.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::Notify;

use super::mark::Mark;
use super::witness::Witness;
use crate::clock;
use crate::lock::{Lock, NO_HOLDER_PANICS};
use crate::panics::Panic;
use crate::store::commit::{Commit, Listeners, confirm, refuse};
use crate::store::engine::{Record, StorageEngine};
use crate::store::error::{CommitError, DiskError};
use crate::store::metrics::Metrics;
use crate::store::owner::Owner;
use crate::store::records;

/// The queue to the commit thread.
pub(super) struct Group {
    shared: Arc<Shared>,
    thread: Lock<Option<JoinHandle<()>>>,
}

pub(super) struct Shared {
    queue: Lock<Queue>,
    filled: Condvar,
    /// Bytes that were submitted and are not durable yet.
    bytes: AtomicUsize,
    max_bytes: usize,
    emptied: Notify,
    no_space: AtomicBool,
    /// When the current sync began.
    began: Lock<Option<Instant>>,
    /// Notified when the commit thread has seen `Queue::asked`, or has ended.
    answered: Notify,
    pub(super) metrics: Metrics,
}

#[derive(Default)]
struct Queue {
    commits: Vec<Commit>,
    failed: Option<CommitError>,
    closed: bool,
    /// The commit thread shall answer.
    asked: bool,
}

impl Group {
    pub(super) fn start(
        disk: Arc<dyn StorageEngine>,
        mark: Option<Mark>,
        witness: Option<Witness>,
        last_group: u64,
        max_bytes: usize,
    ) -> Self {
        let shared = Arc::new(Shared {
            queue: Lock::default(),
            filled: Condvar::new(),
            bytes: AtomicUsize::new(0),
            max_bytes,
            emptied: Notify::new(),
            no_space: AtomicBool::new(false),
            began: Lock::new(None),
            answered: Notify::new(),
            metrics: Metrics::default(),
        });
        let worker = Worker { shared: shared.clone(), disk, mark, witness, group: last_group };
        let thread = thread::Builder::new()
            .name("dormouse-commit".into())
            .spawn(move || worker.run())
            .expect("a process that cannot start its first threads cannot run at all");
        Group { shared, thread: Lock::new(Some(thread)) }
    }

    pub(super) fn submit(&self, commit: Commit) -> Result<(), CommitError> {
        let mut queue = self.shared.queue.lock();
        queue.check_open()?;
        self.shared.bytes.fetch_add(commit.bytes(), Ordering::Relaxed);
        queue.commits.push(commit);
        // The worker checks the queue before it waits. It may be waiting only if the queue was empty.
        if queue.commits.len() == 1 {
            self.shared.filled.notify_one();
        }
        Ok(())
    }

    /// Waits until the commit thread has answered.
    ///
    /// Fails: if it has ended, because of a failure or because the store is closed.
    pub(super) async fn answers(&self) -> Result<(), CommitError> {
        let answered = self.shared.answered.notified();
        tokio::pin!(answered);
        answered.as_mut().enable();
        {
            let mut queue = self.shared.queue.lock();
            queue.check_open()?;
            queue.asked = true;
        }
        self.shared.filled.notify_one();
        answered.await;
        self.shared.queue.lock().check_open()
    }

    pub(super) fn is_behind(&self) -> bool {
        self.shared.bytes.load(Ordering::Relaxed) > self.shared.max_bytes
    }

    pub(super) async fn caught_up(&self) {
        loop {
            let emptied = self.shared.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if !self.is_behind() {
                return;
            }
            emptied.await;
        }
    }

    pub(super) fn has_no_space(&self) -> bool {
        self.shared.no_space.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self) -> Option<CommitError> {
        self.shared.queue.lock().failed.clone()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Commits what waits, and ends the thread.
    pub(super) fn close(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.filled.notify_one();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the commit thread panicked; acknowledged messages are on disk, others are lost");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    fn check_open(&self) -> Result<(), CommitError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.closed => Err(CommitError::Failed("the store is closed".into())),
            None => Ok(()),
        }
    }
}

impl Shared {
    pub(super) fn set_no_space(&self, no_space: bool) -> bool {
        self.no_space.swap(no_space, Ordering::Relaxed)
    }

    /// How long the current sync has been running.
    pub(super) fn running(&self) -> Option<std::time::Duration> {
        self.began.lock().map(clock::since)
    }

    fn set_running(&self, running: bool) {
        *self.began.lock() = running.then(clock::monotonic);
    }
}

struct Worker {
    shared: Arc<Shared>,
    disk: Arc<dyn StorageEngine>,
    mark: Option<Mark>,
    witness: Option<Witness>,
    group: u64,
}

impl Worker {
    fn run(mut self) {
        while let Some(commits) = self.gather() {
            let bytes = commits.iter().map(Commit::bytes).sum();
            let submitted = commits.iter().filter(|commit| commit.owner.is_some()).map(|commit| commit.at);
            let submitted = submitted.collect::<Vec<_>>();
            let (batch, listeners, owners) = self.batch(commits);
            let of_rooms = owners.len();
            self.shared.set_running(true);
            // A panic counts as a failed commit, in the engine or in this module. Otherwise rooms would wait for ever.
            let done = catch_unwind(AssertUnwindSafe(|| self.make_durable(batch, of_rooms, bytes)))
                .unwrap_or_else(|payload| Err(DiskError(format!("it panicked: {}", Panic::from(payload)))));
            self.shared.set_running(false);
            drop(owners);
            self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.emptied.notify_waiters();
            match done {
                Ok(()) => {
                    self.shared.metrics.committed(&submitted);
                    confirm(listeners);
                }
                Err(error) => {
                    self.fail(&CommitError::Failed(error.0), listeners);
                    break;
                }
            }
        }
        if let Some(mark) = &mut self.mark {
            mark.sync();
        }
        self.shared.answered.notify_waiters();
    }

    /// Waits for commits; absent once the store is closed and the queue is empty.
    fn gather(&self) -> Option<Vec<Commit>> {
        let mut queue = self.shared.queue.lock();
        loop {
            if std::mem::take(&mut queue.asked) {
                self.shared.answered.notify_waiters();
            }
            if !queue.commits.is_empty() {
                return Some(std::mem::take(&mut queue.commits));
            }
            if queue.closed {
                return None;
            }
            queue = self.shared.filled.wait(queue).expect(NO_HOLDER_PANICS);
        }
    }

    /// Merges all commits into one batch, with their listeners and the owners of their rooms. The owners are held until
    /// the batch is durable, so that nothing else can own these rooms.
    fn batch(&self, commits: Vec<Commit>) -> (Vec<Record>, Listeners, Vec<Arc<Owner>>) {
        let mut batch = Vec::with_capacity(1 + commits.iter().map(|commit| commit.records.len()).sum::<usize>());
        batch.push(records::group_record(self.group + 1));
        let mut listeners = Vec::with_capacity(commits.len());
        let mut owners = Vec::with_capacity(commits.len());
        for commit in commits {
            batch.extend(commit.records);
            listeners.push((commit.receipt, commit.listener));
            owners.extend(commit.owner);
        }
        (batch, listeners, owners)
    }

    fn make_durable(&mut self, mut batch: Vec<Record>, commits: usize, bytes: usize) -> Result<(), DiskError> {
        let due = self.witness.as_mut().filter(|witness| witness.is_due());
        batch.extend(due.and_then(Witness::try_prepare));
        let began = clock::monotonic();
        self.disk.write(batch)?;
        self.disk.sync()?;
        self.shared.metrics.synced(commits, bytes, clock::since(began));
        self.group += 1;
        if let Some(mark) = &mut self.mark {
            mark.write(self.group);
        }
        if let Some(witness) = &mut self.witness {
            witness.replace();
        }
        Ok(())
    }

    /// Ends all writing and notifies every room that waits. The queue is closed first, so that no notified room finds
    /// it open.
    fn fail(&self, error: &CommitError, listeners: Listeners) {
        tracing::error!(%error, "a commit failed: no room can write until a restart");
        let queued = {
            let mut queue = self.shared.queue.lock();
            queue.failed = Some(error.clone());
            std::mem::take(&mut queue.commits)
        };
        // Nothing is on its way to the disk, so no room may wait for the queue to shrink.
        self.shared.bytes.store(0, Ordering::Relaxed);
        self.shared.emptied.notify_waiters();
        let listeners =
            listeners.iter().map(|(_, listener)| listener).chain(queued.iter().map(|commit| &commit.listener));
        listeners.for_each(|listener| refuse(&**listener, error));
    }
}
