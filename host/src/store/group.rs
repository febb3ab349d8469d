//! Group commit: one batch and one sync carry the commits of all rooms that wait.
//!
//! A thread of its own takes all commits that have gathered while the disk worked on the last ones. The first failure
//! ends all writing: a disk that has lied once is not asked again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::Notify;

use super::disk::{Disk, Record};
use super::mark::Mark;
use super::metrics::Metrics;
use super::{CommitError, DiskError, Owner, records};
use crate::clock;
use crate::panics::Panic;

/// Commits of one sync that are few. On a quiet host the disk's thread has time to spare, and waking others would cost
/// more than what they are woken for; on a busy one it must go back to the disk.
const FEW: usize = 2;

/// The proof that a room's commit, and all before it, are durable.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "what waits behind a receipt is said only when the receipt is shown"]
pub struct Receipt(u64);

/// Rooms that wait for a commit, each with the commit's number.
type Waiters = Vec<(u64, Arc<dyn Waiting>)>;

impl Receipt {
    /// The number of the last durable commit.
    pub fn number(&self) -> u64 {
        self.0
    }
}

/// Who waits for a commit.
pub trait Waiting: Send + Sync {
    /// It is durable. Comes once a commit, in their order, on the thread that all commits wait for. `few`: no more than
    /// a few became durable with it, so a little work may be done at once; otherwise others must do it.
    fn committed(&self, receipt: Receipt, few: bool);

    /// It will never be, and neither will any later one.
    fn failed(&self, error: &CommitError);
}

/// One room's commit on its way.
pub(super) struct Commit {
    pub(super) records: Vec<Record>,
    pub(super) number: u64,
    pub(super) waiting: Arc<dyn Waiting>,
    /// Held until the commit is done.
    pub(super) owner: Arc<Owner>,
}

/// The queue to the disk.
pub(super) struct Group {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

pub(super) struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    /// Bytes that were handed in and are not durable yet.
    bytes: AtomicUsize,
    most_bytes: usize,
    emptied: Notify,
    no_space: AtomicBool,
    /// When the sync that runs now began.
    began: Mutex<Option<Instant>>,
    pub(super) metrics: Metrics,
}

#[derive(Default)]
struct Queue {
    commits: Vec<Commit>,
    failed: Option<CommitError>,
    closed: bool,
}

impl Group {
    pub(super) fn start(disk: Arc<dyn Disk>, mark: Option<Mark>, last_group: u64, most_bytes: usize) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            bytes: AtomicUsize::new(0),
            most_bytes,
            emptied: Notify::new(),
            no_space: AtomicBool::new(false),
            began: Mutex::new(None),
            metrics: Metrics::default(),
        });
        let worker = Worker { shared: shared.clone(), disk, mark, group: last_group };
        let thread = thread::Builder::new()
            .name("dormouse-commit".into())
            .spawn(move || worker.run())
            .expect("a process that cannot start its first threads cannot run at all");
        Group { shared, thread: Mutex::new(Some(thread)) }
    }

    pub(super) fn submit(&self, commit: Commit) -> Result<(), CommitError> {
        let mut queue = self.shared.lock();
        if let Some(error) = &queue.failed {
            return Err(error.clone());
        }
        if queue.closed {
            return Err(CommitError::Failed("the store is closed".into()));
        }
        self.shared.bytes.fetch_add(size(&commit), Ordering::Relaxed);
        queue.commits.push(commit);
        // The worker looks before it waits, so it needs no call unless it may be waiting: when the queue was empty.
        if queue.commits.len() == 1 {
            self.shared.filled.notify_one();
        }
        Ok(())
    }

    pub(super) fn is_behind(&self) -> bool {
        self.shared.bytes.load(Ordering::Relaxed) > self.shared.most_bytes
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
        self.shared.lock().failed.clone()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Commit what waits, and end the thread.
    pub(super) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
        let thread = self.thread.lock().expect("no holder of this lock panics").take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the commit thread panicked; what was acknowledged is on disk, what was not is lost");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder of this lock panics")
    }

    pub(super) fn set_no_space(&self, no_space: bool) -> bool {
        self.no_space.swap(no_space, Ordering::Relaxed)
    }

    /// How long the sync that runs now has run.
    pub(super) fn running(&self) -> Option<std::time::Duration> {
        self.began.lock().expect("no holder of this lock panics").map(|began| began.elapsed())
    }

    fn set_running(&self, running: bool) {
        *self.began.lock().expect("no holder of this lock panics") = running.then(clock::monotonic);
    }
}

struct Worker {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    mark: Option<Mark>,
    group: u64,
}

impl Worker {
    fn run(mut self) {
        while let Some(commits) = self.gather() {
            let bytes = commits.iter().map(size).sum();
            let (batch, waiting, owners) = self.batch(commits);
            self.shared.set_running(true);
            // A panic, the engine's or our own, is a failure like one that is said: rooms must not wait for it for ever.
            let done = catch_unwind(AssertUnwindSafe(|| self.make_durable(batch, waiting.len(), bytes)))
                .unwrap_or_else(|payload| Err(DiskError(format!("it panicked: {}", Panic::from(payload)))));
            self.shared.set_running(false);
            drop(owners);
            self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.emptied.notify_waiters();
            match done {
                Ok(()) => tell(waiting),
                Err(error) => {
                    self.fail(&CommitError::Failed(error.0), waiting);
                    break;
                }
            }
        }
        if let Some(mark) = &mut self.mark {
            mark.sync();
        }
    }

    /// Wait for commits; absent once the store is closed and nothing is left.
    fn gather(&self) -> Option<Vec<Commit>> {
        let mut queue = self.shared.lock();
        while queue.commits.is_empty() {
            if queue.closed {
                return None;
            }
            queue = self.shared.filled.wait(queue).expect("no holder of this lock panics");
        }
        Some(std::mem::take(&mut queue.commits))
    }

    /// One batch of all commits, who waits for them, and the owners of their rooms: until the batch is durable, nobody else
    /// may own these rooms.
    fn batch(&self, commits: Vec<Commit>) -> (Vec<Record>, Waiters, Vec<Arc<Owner>>) {
        let mut batch = Vec::with_capacity(1 + commits.iter().map(|commit| commit.records.len()).sum::<usize>());
        batch.push(records::group_record(self.group + 1));
        let mut waiting = Vec::with_capacity(commits.len());
        let mut owners = Vec::with_capacity(commits.len());
        for commit in commits {
            batch.extend(commit.records);
            waiting.push((commit.number, commit.waiting));
            owners.push(commit.owner);
        }
        (batch, waiting, owners)
    }

    fn make_durable(&mut self, batch: Vec<Record>, commits: usize, bytes: usize) -> Result<(), DiskError> {
        let began = clock::monotonic();
        self.disk.write(batch)?;
        self.disk.sync()?;
        self.shared.metrics.synced(commits, bytes, began.elapsed());
        self.group += 1;
        if let Some(mark) = &mut self.mark {
            mark.write(self.group);
        }
        Ok(())
    }

    /// Nothing is written any more: whoever waits or comes later is told. First the queue is shut, so that nobody who
    /// was told finds it open again.
    fn fail(&self, error: &CommitError, waiting: Waiters) {
        tracing::error!(%error, "a commit failed: no room can write until a restart");
        let left = {
            let mut queue = self.shared.lock();
            queue.failed = Some(error.clone());
            std::mem::take(&mut queue.commits)
        };
        // Nothing is on its way any more: nobody shall wait for the queue to become shorter.
        self.shared.bytes.store(0, Ordering::Relaxed);
        self.shared.emptied.notify_waiters();
        let waiting = waiting.iter().map(|(_, waiting)| waiting).chain(left.iter().map(|commit| &commit.waiting));
        waiting.for_each(|waiting| give_up(&**waiting, error));
    }
}

/// Tell who waits that their commits are durable. This runs code of rooms and connections, on the thread that all rooms
/// wait for: where it panics for one room, that room is given up, and the others hear as ever.
fn tell(waiting: Waiters) {
    let few = waiting.len() <= FEW;
    for (number, waiting) in waiting {
        let told = catch_unwind(AssertUnwindSafe(|| waiting.committed(Receipt(number), few)));
        if let Err(payload) = told {
            let panic = Panic::from(payload);
            tracing::error!(%panic, "the host's own code failed while a room was told of its commit; the room begins anew");
            give_up(&*waiting, &CommitError::Untold);
        }
    }
}

fn give_up(waiting: &dyn Waiting, error: &CommitError) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waiting.failed(error))) {
        tracing::error!(panic = %Panic::from(payload), "the host's own code failed while a room was told of a failure");
    }
}

fn size(commit: &Commit) -> usize {
    commit.records.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.len())).sum()
}
