//! Removes the records of deleted rooms, in small batches beside the commits of other rooms.
//!
//! One small commit has deleted the room (`RoomLog::delete`): no address leads to these records any more, and a crash
//! leaves none of them behind, because the next start goes on. A task of the rooms calls this.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::error::{CommitError, unreadable};
use super::group::{Commit, CommitListener, Receipt};
use super::{Store, records};
use crate::clock;
use crate::lock::Lock;
use crate::model::StorageFailed;

/// The most records that one commit removes. It takes about a millisecond, so that other rooms wait no longer.
const RECORDS: usize = 1_000;
/// About as many bytes are read for one commit: the engine reads the values together with the keys.
const BYTES: usize = 4 << 20;

/// Waits for one commit of the store itself.
struct Waiter(Lock<Option<oneshot::Sender<Result<(), CommitError>>>>);

impl Waiter {
    fn done(&self, result: Result<(), CommitError>) {
        if let Some(waiting) = self.0.lock().take() {
            // The waiter may have gone.
            let _ = waiting.send(result);
        }
    }
}

impl CommitListener for Waiter {
    fn committed(&self, _: Receipt, _: bool) {
        self.done(Ok(()));
    }

    fn failed(&self, error: &CommitError) {
        self.done(Err(error.clone()));
    }
}

impl Store {
    /// Removes some records of a deleted room. False if no deleted room has records any more.
    ///
    /// Fails: if the disk cannot be read or written. Nothing is lost: call it again, or restart.
    pub async fn clean_deleted(&self) -> Result<bool, StorageFailed> {
        let inner = self.0.clone();
        let read = tokio::task::spawn_blocking(move || {
            inner.read(|disk| {
                let read = || match records::first_deleted(disk)? {
                    Some(id) => records::removals(disk, id, RECORDS, BYTES).map(Some),
                    None => Ok(None),
                };
                read().map_err(|error| unreadable("the records", &"a deleted room", &error))
            })
        });
        let Some(records) = read.await.expect("reading reports its errors and does not panic")? else {
            return Ok(false);
        };
        let (done, is_done) = oneshot::channel();
        let listener = Arc::new(Waiter(Lock::new(Some(done))));
        let submitted =
            self.0.group.submit(Commit { records, number: 0, listener, owner: None, at: clock::monotonic() });
        submitted.map_err(|error| StorageFailed(error.to_string()))?;
        match is_done.await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => Err(StorageFailed(error.to_string())),
            Err(_) => Err(StorageFailed("the store is closed".into())),
        }
    }
}
