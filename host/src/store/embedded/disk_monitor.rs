//! Monitors the data disk from a separate thread: free space, and syncs that hang. It reports to the log and tells
//! `group` whether there is space.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::group::{Group, Shared};
use crate::store::engine::StorageEngine;
use crate::store::options::StoreOptions;

/// How often the disk is checked. In this time a disk writes less than the default of `min_free_bytes` allows for,
/// unless other programs fill it.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Starts the monitor; it ends with the group.
pub(super) fn start(disk: &Arc<dyn StorageEngine>, options: StoreOptions, group: &Group) {
    check_space(&**disk, &options, group.shared());
    // The monitor must not keep the files of a closed store open.
    let (disk, shared) = (Arc::downgrade(disk), Arc::downgrade(group.shared()));
    let monitor = thread::Builder::new().name("dormouse-watch".into()).spawn(move || monitor(&disk, &options, &shared));
    if let Err(error) = monitor {
        tracing::warn!(%error, "no thread to watch the disk: a full disk will be noticed only by a failing write");
    }
}

fn monitor(disk: &Weak<dyn StorageEngine>, options: &StoreOptions, shared: &Weak<Shared>) {
    let mut reported = Duration::ZERO;
    loop {
        thread::sleep(CHECK_EVERY);
        let Some(shared) = shared.upgrade() else { return };
        if let Some(disk) = disk.upgrade() {
            check_space(&*disk, options, &shared);
        }
        match shared.running() {
            Some(running) if running >= reported + options.slow_sync => {
                reported = running;
                tracing::error!(
                    seconds = running.as_secs(),
                    "the data disk has not finished a sync; rooms wait for it. Check the disk"
                );
            }
            Some(_) => {}
            None => reported = Duration::ZERO,
        }
    }
}

fn check_space(disk: &dyn StorageEngine, options: &StoreOptions, shared: &Shared) {
    let free = match disk.free_bytes() {
        Some(Ok(free)) => free,
        Some(Err(error)) => {
            tracing::warn!(%error, "the free space of the data disk cannot be read");
            return;
        }
        None => return,
    };
    let no_space = free < options.min_free_bytes;
    match (shared.set_no_space(no_space), no_space) {
        (false, true) => tracing::error!(
            free_bytes = free,
            min_free_bytes = options.min_free_bytes,
            "the data disk is nearly full: turns that write are refused until there is space; free some"
        ),
        (true, false) => tracing::info!(free_bytes = free, "the data disk has space again"),
        _ => {}
    }
}
