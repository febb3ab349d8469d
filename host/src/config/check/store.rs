//! Refuses settings of `[store]` with which no room could be stored.

use std::time::Duration;

use super::{duration_at_least, number};
use crate::config::{ConfigError, Store};

/// Each lane is a connection, and a statement costs the database the same however many commits it has. More lanes make
/// more and smaller statements.
const MOST_LANES: u64 = 8;

/// A database that fails over is away for some seconds.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(1);

impl Store {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(Err(problem)) = self.url.as_ref().map(|url| url.check()) {
            return Err(ConfigError::invalid("store.url", problem.to_string()));
        }
        number("store.lanes", self.lanes.into(), 1, MOST_LANES)?;
        duration_at_least("store.patience", self.patience, SHORTEST_PATIENCE)
    }
}
