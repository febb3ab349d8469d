//! Runs erasures, one after the other: all rooms once, then those that failed a few times more, then what the host keeps
//! itself. It keeps its place after each page of rooms.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;

use super::PersonalData;
use super::record::{Erasure, FailedRoom, State};
use super::walk::{Walk, namespaces};
use crate::clock;
use crate::limits::{ERASE_AGAIN_AFTER_S, PARTS_OF_A_ROOM, USER_DATA_PAUSE, USER_DATA_ROOMS_AT_ONCE};
use crate::model::{Address, DataOf};
use crate::room::{RequestError, UserDataError};

/// Why an erasure does not go on now. It stays as it is on disk.
enum Stopped {
    /// The host ends, or the erasure was cancelled.
    Ended,
    /// Its list or its rooms cannot be read or written.
    Failed(String),
}

/// The result of one room.
enum Erased {
    Items(u64),
    Failed(FailedRoom),
    /// The host ends.
    Stopped,
}

impl PersonalData {
    /// Runs the erasures that have not ended, unless a task does it already.
    pub(super) fn run_erasures(&self) {
        if self.next_erasure().is_none() || self.0.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            while let Some(erasure) = this.next_erasure().filter(|_| !this.has_stopped()) {
                match this.run_erasure(erasure).await {
                    Ok(()) | Err(Stopped::Ended) => {}
                    Err(Stopped::Failed(error)) => {
                        tracing::error!(%error, "an erasure of a user cannot go on; it is tried again");
                        clock::sleep(Duration::from_secs(ERASE_AGAIN_AFTER_S[ERASE_AGAIN_AFTER_S.len() - 1])).await;
                    }
                }
            }
            this.0.running.store(false, Ordering::Release);
            // One may have been added in between.
            if !this.has_stopped() {
                this.run_erasures();
            }
        });
    }

    fn next_erasure(&self) -> Option<Erasure> {
        let journal = self.0.journal.lock();
        journal.erasures.iter().find(|erasure| erasure.state == State::Running).cloned()
    }

    async fn run_erasure(&self, mut erasure: Erasure) -> Result<(), Stopped> {
        let user: Arc<str> = erasure.user.clone().unwrap_or_default().into();
        let rooms = self.0.rooms.clone();
        let found = tokio::task::spawn_blocking(move || namespaces(&rooms)).await;
        let found = found.expect("reading reports its errors and does not panic");
        let (declared, undeclared) = found.map_err(|error| Stopped::Failed(error.to_string()))?;
        erasure.undeclared = undeclared;
        if erasure.namespaces != declared {
            // It begins, or the configuration has changed since.
            (erasure.place, erasure.rooms, erasure.items) = (None, 0, 0);
            (erasure.failed, erasure.more_failed) = (Vec::new(), 0);
            erasure.namespaces = declared;
        }
        tracing::info!(erasure = erasure.id, rooms = erasure.rooms, "a user is being erased");
        if erasure.rooms == 0 || erasure.place.is_some() {
            self.visit_all(&mut erasure, &user).await?;
        }
        for wait in ERASE_AGAIN_AFTER_S {
            if erasure.failed.is_empty() {
                break;
            }
            self.wait(&erasure, Duration::from_secs(wait)).await?;
            let again = std::mem::take(&mut erasure.failed);
            let again = again.iter().filter_map(|failed| failed.room.split_once('/'));
            let again = again.filter_map(|(namespace, name)| Address::new(namespace, name).ok()).collect();
            self.visit(&mut erasure, &user, again, false).await?;
            self.keep(&mut erasure).await?;
        }
        let (rooms, of) = (self.0.rooms.clone(), user.clone());
        let forgotten = tokio::task::spawn_blocking(move || rooms.forget_usage_of(&of)).await;
        let forgotten = forgotten.expect("writing reports its errors and does not panic");
        forgotten.map_err(|error| Stopped::Failed(error.to_string()))?;
        let is_whole = erasure.failed.is_empty() && erasure.more_failed == 0;
        erasure.end(if is_whole { State::Finished } else { State::Incomplete }, clock::unix_millis());
        self.keep(&mut erasure).await?;
        let (rooms, items, failed) = (erasure.rooms, erasure.items, erasure.failed.len() as u64 + erasure.more_failed);
        if is_whole {
            tracing::info!(erasure = erasure.id, rooms, items, "a user was erased");
        } else {
            tracing::error!(erasure = erasure.id, rooms, items, failed, "a user was not erased in all rooms");
        }
        Ok(())
    }

    /// Visits all rooms behind the place of the erasure.
    async fn visit_all(&self, erasure: &mut Erasure, user: &Arc<str>) -> Result<(), Stopped> {
        let mut walk = Walk::new(self.0.rooms.clone(), erasure.namespaces.clone(), erasure.place.take());
        while let Some((rooms, place)) = walk.next().await.map_err(|error| Stopped::Failed(error.to_string()))? {
            if !self.may_go_on().await {
                return Err(Stopped::Ended);
            }
            self.visit(erasure, user, rooms, true).await?;
            erasure.place = place;
            self.keep(erasure).await?;
        }
        Ok(())
    }

    /// Visits some rooms, a few at once. After a cancellation no further room is visited, and the record counts those
    /// that were.
    async fn visit(
        &self,
        erasure: &mut Erasure,
        user: &Arc<str>,
        rooms: Vec<Address>,
        is_first: bool,
    ) -> Result<(), Stopped> {
        let mut rooms = rooms.into_iter();
        let mut visits = JoinSet::new();
        loop {
            let goes_on = self.is_running(&erasure.id);
            while goes_on
                && visits.len() < USER_DATA_ROOMS_AT_ONCE
                && let Some(room) = rooms.next()
            {
                let (this, user, id) = (self.clone(), user.clone(), erasure.id.clone());
                visits.spawn(async move { this.erase_in(&room, user, &id).await });
            }
            let Some(visited) = visits.join_next().await else {
                if goes_on {
                    return Ok(());
                }
                self.count_cancelled(erasure).await;
                return Err(Stopped::Ended);
            };
            erasure.rooms += u64::from(is_first);
            match visited.expect("a visit does not panic and is not aborted") {
                Erased::Items(items) => erasure.items += items,
                Erased::Failed(failed) => erasure.add_failed(failed),
                Erased::Stopped => return Err(Stopped::Ended),
            }
        }
    }

    fn is_running(&self, id: &str) -> bool {
        self.0.journal.lock().get(id).is_some_and(|erasure| erasure.state == State::Running)
    }

    /// Adds what was erased before it was cancelled to the record.
    async fn count_cancelled(&self, erasure: &Erasure) {
        let (this, counted) = (self.clone(), erasure.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut journal = this.0.journal.lock();
            let Some(kept) = journal.get(&counted.id) else { return Ok(()) };
            (kept.rooms, kept.items) = (counted.rooms, counted.items);
            journal.write()
        });
        let (id, rooms, items) = (&erasure.id, erasure.rooms, erasure.items);
        match written.await.expect("writing a file does not panic") {
            Ok(()) => tracing::info!(erasure = id, rooms, items, "the erasure of a user was cancelled"),
            Err(error) => tracing::error!(erasure = id, rooms, items, %error, "a cancelled erasure is not counted"),
        }
    }

    /// Erases a user in one room, part by part, and rests as long as that took.
    async fn erase_in(&self, room: &Address, user: Arc<str>, id: &str) -> Erased {
        let (mut items, mut after) = (0, None);
        for _ in 0..PARTS_OF_A_ROOM {
            if after.is_some() && !self.is_running(id) {
                return Erased::Items(items);
            }
            let began = clock::monotonic();
            let part = self.0.rooms.erase_user(room, DataOf { user: user.clone(), after }).await;
            let erased = match part {
                Ok(erased) => erased,
                Err(UserDataError::NoAnswer(RequestError::Draining)) => return Erased::Stopped,
                Err(_) if self.has_stopped() => return Erased::Stopped,
                Err(error) => {
                    return Erased::Failed(FailedRoom { room: room.to_string(), error: error.to_string() });
                }
            };
            items += u64::from(erased.items);
            after = erased.next;
            clock::sleep(clock::since(began).min(USER_DATA_PAUSE)).await;
            if after.is_none() {
                return Erased::Items(items);
            }
        }
        let error = format!("it has more than {PARTS_OF_A_ROOM} parts");
        Erased::Failed(FailedRoom { room: room.to_string(), error })
    }

    /// Waits, unless the host ends or the erasure is cancelled.
    async fn wait(&self, erasure: &Erasure, wait: Duration) -> Result<(), Stopped> {
        let until = clock::monotonic() + wait;
        while clock::monotonic() < until {
            if self.has_stopped() || !self.is_running(&erasure.id) {
                return Err(Stopped::Ended);
            }
            clock::sleep(USER_DATA_PAUSE.min(wait)).await;
        }
        Ok(())
    }

    /// Keeps how far an erasure is, unless it was cancelled meanwhile.
    async fn keep(&self, erasure: &mut Erasure) -> Result<(), Stopped> {
        let (this, kept) = (self.clone(), erasure.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut journal = this.0.journal.lock();
            let old = journal.erasures.clone();
            match journal.get(&kept.id) {
                Some(before) if before.state == State::Running => *before = kept.clone(),
                _ => return Err(Stopped::Ended),
            }
            if let (State::Finished, Some(user)) = (kept.state, &kept.user) {
                // One that had to be repeated has been, with this one.
                let repeated = journal.erasures.iter_mut();
                let repeated = repeated.filter(|other| other.state == State::Repeat && other.mark.is_of(user));
                repeated.for_each(|other| other.end(State::Finished, clock::unix_millis()));
            }
            journal.write().map_err(|error| {
                journal.erasures = old;
                Stopped::Failed(format!("erasures.json cannot be written: {error}"))
            })
        });
        written.await.expect("writing a file does not panic")
    }
}
