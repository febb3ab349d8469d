//! Hibernates idle rooms while the process uses more memory than it should.

use std::sync::Weak;

use super::mailbox::Idle;
use super::shared::Shared;
use crate::clock;
use crate::pressure::{self, Change};

/// Under memory pressure, hibernates rooms that are idle.
pub(super) async fn watch_memory(shared: Weak<Shared>) {
    loop {
        clock::sleep(pressure::MEASURE_EVERY).await;
        let Some(shared) = shared.upgrade() else { return };
        let (has_bytes, max_bytes) = (shared.pressure.has_bytes(), shared.pressure.max_bytes());
        match shared.pressure.measure() {
            Change::None => continue,
            Change::Ended => tracing::info!(has_bytes, max_bytes, "memory is below its limit again"),
            Change::Began => {
                tracing::error!(
                    max_bytes,
                    "memory is above its limit: new sockets and requests are asked to come back later"
                );
                shared.registry.idle(|idle| idle == Idle::Nothing).iter().for_each(|mailbox| mailbox.hibernate());
            }
            Change::Continues => {
                shared.registry.idle(|idle| idle == Idle::Nothing).iter().for_each(|mailbox| mailbox.hibernate())
            }
        }
    }
}
