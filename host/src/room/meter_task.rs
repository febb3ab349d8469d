//! The task that writes reports of usage to the store, and the way to what is stored.

use std::sync::{Arc, Weak};

use super::shared::Shared;
use crate::clock;
use crate::limits::USAGE_WRITE_EVERY;
use crate::model::{StorageFailed, UsagePage, UsageQuery};

impl Shared {
    /// The usage, with all reports up to now. Reads from the disk.
    pub(super) async fn usage(self: &Arc<Self>, query: UsageQuery) -> Result<UsagePage, StorageFailed> {
        let shared = self.clone();
        let read = move || {
            shared.meter.write(&shared.store);
            shared.store.usage(&query)
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.unwrap_or_else(|error| Err(StorageFailed(format!("the usage cannot be read: {error}"))))
    }
}

/// Writes reports again and again, until the host is dropped.
pub(super) async fn run(shared: Weak<Shared>) {
    loop {
        clock::sleep(USAGE_WRITE_EVERY).await;
        let Some(alive) = shared.upgrade() else { return };
        let written = tokio::task::spawn_blocking(move || alive.meter.write(&alive.store)).await;
        if let Err(error) = written {
            tracing::error!(%error, "the usage was not written");
        }
    }
}
