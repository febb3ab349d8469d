//! A database for each data directory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use tempfile::TempDir;

use crate::cluster::Server;

static DATABASES: LazyLock<Mutex<HashMap<PathBuf, Option<String>>>> = LazyLock::new(Mutex::default);

/// The address of the database for the servers of a directory. It is made when it is asked for first.
pub(crate) fn store_of(directory: &TempDir) -> Option<String> {
    let mut databases = DATABASES.lock().unwrap();
    databases.entry(directory.path().to_owned()).or_insert_with(|| Some(new_database())).clone()
}

/// Servers of this directory use that database.
pub(crate) fn use_store(directory: &Path, url: &str) {
    DATABASES.lock().unwrap().insert(directory.to_owned(), Some(url.to_owned()));
}

/// Servers of this directory have the embedded store.
pub(crate) fn use_no_store(directory: &Path) {
    DATABASES.lock().unwrap().insert(directory.to_owned(), None);
}

fn new_database() -> String {
    // The thread of the test may be one of a runtime, which cannot wait for another.
    let made = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Server::shared().empty_database()).url
    });
    made.join().expect("PostgreSQL runs")
}
