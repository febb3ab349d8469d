//! The task that removes the records of deleted rooms, one batch after the other. After a start it goes on where the
//! last process ended.

use std::sync::Weak;
use std::time::Duration;

use super::shared::Shared;
use crate::clock;

/// The task looks for deleted rooms at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long the task waits after a failure, such as a disk that cannot be read.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Runs until the host is dropped.
pub(super) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(alive) = shared.upgrade() else { return };
        let (store, one_deleted) = (alive.store.clone(), alive.one_deleted.clone());
        drop(alive);
        match store.clean_deleted().await {
            Ok(true) => {}
            Ok(false) => {
                drop(store);
                // It ends now and then, so that this task ends when the host is dropped.
                let _ = clock::timeout(LOOK_EVERY, one_deleted.notified()).await;
            }
            Err(error) => {
                tracing::debug!(%error, "the records of a deleted room are removed later");
                drop(store);
                clock::sleep(RETRY_AFTER).await;
            }
        }
    }
}
