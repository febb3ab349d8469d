//! The data of one user over all rooms: exports, and erasures that go on after a restart. Rooms declare how they do
//! both (`wit/personal-data.wit`); this decides which rooms are asked, how many at once, and when a room is asked again.
//!
//! Both have a low priority: a few rooms at once, a rest after each, and a wait while the process or the disk is
//! pressed. A room that slept sleeps again at once.
//!
//! An erasure is on disk before its first room is asked, and its place after each page of rooms. After a restart the
//! rooms of the last page are asked again, which does no harm. It knows no HTTP and no sockets; `host` starts it, and
//! the admin listener and embedders call it.

mod erase;
mod export;
mod journal;
mod record;
mod restored;
mod walk;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::clock;
use crate::limits::{ERASURES_WAITING, FORGET_IDS_EVERY, USER_BYTES};
use crate::lock::Lock;
use crate::model::StorageFailed;
use crate::room::Rooms;

pub use export::{ExportLine, Exporting};
pub use journal::BadErasures;
pub use record::{Erasure, FailedRoom, Place, State, Undeclared, UserMark};
pub use restored::{ErasureList, Repeats, repeat_erasures};

use journal::Journal;

/// Exports and erases the data of users. Cheap to clone.
#[derive(Clone)]
pub struct PersonalData(Arc<Inner>);

struct Inner {
    rooms: Rooms,
    journal: Lock<Journal>,
    /// A task runs the erasures.
    running: AtomicBool,
    /// The host has ended without a shutdown.
    stopped: AtomicBool,
}

/// Why an erasure or an export does not begin. Nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum PersonalDataError {
    /// No user has such an id.
    #[error("the id of a user has 1 to {USER_BYTES} bytes")]
    User,
    /// The list of erasures is full of such that have not ended.
    #[error("{ERASURES_WAITING} erasures wait already; try again when some have ended")]
    TooMany,
    /// It could not be written.
    #[error("nothing was done: the erasure cannot be kept on disk: {0}")]
    NotKept(#[from] io::Error),
    /// The rooms cannot be listed.
    #[error(transparent)]
    Storage(#[from] StorageFailed),
}

impl PersonalData {
    /// Reads the erasures of a data directory, and goes on with those that have not ended. Without a directory they end
    /// with the process. The ids of erased users are kept for `keep_ids`. Call it in a tokio runtime.
    pub(crate) fn start(rooms: Rooms, directory: Option<&Path>, keep_ids: Duration) -> Result<Self, BadErasures> {
        let mut journal = Journal::open(directory)?;
        journal.keep_ids_ms = u64::try_from(keep_ids.as_millis()).unwrap_or(u64::MAX);
        for erasure in journal.erasures.iter_mut().filter(|erasure| erasure.user.is_some()) {
            if erasure.state == State::Repeat {
                erasure.state = State::Running;
            }
        }
        let unknown = journal.erasures.iter().filter(|erasure| erasure.state == State::Repeat).count();
        if unknown > 0 {
            tracing::warn!(
                erasures = unknown,
                "the data was restored, and erasures must be repeated whose users are not known any more: `dormouse users \
                 erasures` lists them; erase each of these users again"
            );
        }
        let (running, stopped) = Default::default();
        let this = PersonalData(Arc::new(Inner { rooms, journal: Lock::new(journal), running, stopped }));
        let waiting = this.erasures().iter().filter(|erasure| erasure.state == State::Running).count();
        if waiting > 0 {
            tracing::info!(erasures = waiting, "erasures of users go on");
        }
        this.run_erasures();
        tokio::spawn(forget_ids(Arc::downgrade(&this.0)));
        Ok(this)
    }

    /// Begins to erase a user in all rooms. When this returns, that is on disk. An erasure of the user that has not
    /// ended is returned instead.
    ///
    /// The user may go on to write, and what comes behind the erasure stays: revoke the user first.
    pub async fn erase(&self, user: &str) -> Result<Erasure, PersonalDataError> {
        self.begin(Self::prepare(user)?).await
    }

    /// An erasure that is not known yet. It has its number, under which the operator's action is recorded.
    pub(crate) fn prepare(user: &str) -> Result<Erasure, PersonalDataError> {
        check(user)?;
        Ok(Erasure::new(user, clock::unix_millis()))
    }

    /// The erasure of a user that has not ended, or one that is not known yet.
    pub(crate) fn waiting_or_new(&self, user: &str) -> Result<Erasure, PersonalDataError> {
        let new = Self::prepare(user)?;
        let journal = self.0.journal.lock();
        let mut waiting = journal.erasures.iter().filter(|erasure| erasure.state == State::Running);
        Ok(waiting.find(|other| other.user == new.user).cloned().unwrap_or(new))
    }

    /// Begins an erasure, as [`erase`](Self::erase) does.
    pub(crate) async fn begin(&self, erasure: Erasure) -> Result<Erasure, PersonalDataError> {
        let this = self.clone();
        let added = tokio::task::spawn_blocking(move || this.add(erasure)).await;
        let added = added.expect("adding to a list does not panic")?;
        self.run_erasures();
        Ok(added)
    }

    /// Blocks on the disk.
    fn add(&self, erasure: Erasure) -> Result<Erasure, PersonalDataError> {
        let mut journal = self.0.journal.lock();
        let waiting = journal.erasures.iter().filter(|erasure| erasure.state == State::Running);
        if let Some(same) = waiting.clone().find(|other| other.user == erasure.user) {
            return Ok(same.clone());
        }
        if let Some(ended) = journal.erasures.iter().find(|other| other.id == erasure.id) {
            return Ok(ended.clone());
        }
        if waiting.count() >= ERASURES_WAITING {
            return Err(PersonalDataError::TooMany);
        }
        journal.erasures.push(erasure.clone());
        if let Err(error) = journal.write() {
            journal.erasures.retain(|other| other.id != erasure.id);
            return Err(error.into());
        }
        Ok(erasure)
    }

    /// All erasures that are kept, the oldest first.
    pub fn erasures(&self) -> Vec<Erasure> {
        self.0.journal.lock().erasures.clone()
    }

    /// One erasure.
    pub fn erasure(&self, id: &str) -> Option<Erasure> {
        self.0.journal.lock().get(id).cloned()
    }

    /// Ends an erasure, and forgets the id of its user. What was erased stays so. Absent if there is none; one that has
    /// finished stays as it is.
    pub async fn cancel(&self, id: &str) -> io::Result<Option<Erasure>> {
        let (this, id) = (self.clone(), id.to_owned());
        let cancelled = tokio::task::spawn_blocking(move || {
            let mut journal = this.0.journal.lock();
            let Some(erasure) = journal.get(&id) else { return Ok(None) };
            let before = erasure.clone();
            if !matches!(erasure.state, State::Finished | State::Cancelled) {
                erasure.end(State::Cancelled, clock::unix_millis());
                erasure.forget(clock::unix_millis(), 0);
            }
            let after = erasure.clone();
            if let Err(error) = journal.write() {
                journal.get(&id).expect("it is there").clone_from(&before);
                return Err(error);
            }
            Ok(Some(after))
        });
        cancelled.await.expect("changing a list does not panic")
    }

    /// Ends the task of the erasures. They go on at the next start.
    pub(crate) fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
    }

    fn has_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire) || self.0.rooms.is_draining()
    }

    /// Waits while the process or the disk is pressed. False if the host ends.
    async fn may_go_on(&self) -> bool {
        while !self.has_stopped() {
            if !self.0.rooms.is_pressed() {
                return true;
            }
            clock::sleep(crate::limits::USER_DATA_PAUSE).await;
        }
        false
    }
}

/// Forgets ids whose time is over, now and then until the host is dropped.
async fn forget_ids(inner: Weak<Inner>) {
    loop {
        let Some(alive) = inner.upgrade() else { return };
        let forgotten = tokio::task::spawn_blocking(move || {
            let mut journal = alive.journal.lock();
            if journal.forget_ids(clock::unix_millis()) { journal.write() } else { Ok(()) }
        });
        if let Ok(Err(error)) = forgotten.await {
            tracing::error!(%error, "ids of erased users are still on disk; it is tried again");
        }
        clock::sleep(FORGET_IDS_EVERY).await;
    }
}

fn check(user: &str) -> Result<(), PersonalDataError> {
    if (1..=USER_BYTES).contains(&user.len()) { Ok(()) } else { Err(PersonalDataError::User) }
}
