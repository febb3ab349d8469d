//! Removes the records of deleted rooms, in small batches beside the commits of other rooms.
//!
//! One small commit has deleted the room (`RoomLog::delete`): no address leads to these records any more, and a crash
//! leaves none of them behind, because the next start goes on. A task of the rooms calls this.

use super::commit::{Awaited, Commit};
use super::error::unreadable;
use super::{Store, records};
use crate::model::StorageFailed;

/// The most records that one commit removes. It takes about a millisecond, so that other rooms wait no longer.
const RECORDS: usize = 1_000;
/// About as many bytes are read for one commit: the engine reads the values together with the keys.
const BYTES: usize = 4 << 20;

impl Store {
    /// Removes some records of a deleted room. False if no deleted room has records any more.
    ///
    /// Fails: if the disk cannot be read or written. Nothing is lost: call it again, or restart.
    pub async fn clean_deleted(&self) -> Result<bool, StorageFailed> {
        let inner = self.0.clone();
        let read = tokio::task::spawn_blocking(move || {
            inner.read_all(|disk| {
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
        let (listener, is_done) = Awaited::new();
        let submitted = self.0.truth.commit(Commit::of_store(records, listener));
        submitted.map_err(|error| StorageFailed(error.to_string()))?;
        match is_done.await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => Err(StorageFailed(error.to_string())),
            Err(_) => Err(StorageFailed("the store is closed".into())),
        }
    }
}
