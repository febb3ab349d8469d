//! The tables that all servers of a database share beside the rooms: revocations, the owners of rooms, and usage. It is
//! one connection, which is opened when it is first needed and again after it was lost.
//!
//! It knows no rule of ownership, and nothing of what a revocation or a record means. The host, the operator and the
//! writer of usage call it.
//!
//! - **Invariant: a write has succeeded only if no warning came with it,** as for commits: a warning may say that it is not
//!   on the standby.

mod owners;
mod revocations;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use super::connect::{Connection, Purpose, connect};
use super::failure::{Failure, describe, failure};
use super::target::Target;
use crate::clock;

pub use usage::{Exchange, Exchanged};

/// The time for a statement, with a new connection if there is none.
const TIME: Duration = Duration::from_secs(5);

/// The shared tables of a database. Cheap to clone.
#[derive(Clone)]
pub struct Tables(Arc<Inner>);

struct Inner {
    target: Target,
    /// Absent before the first statement, and after one without an answer.
    connection: Mutex<Option<Connection>>,
}

/// A shared table was not read or written. A write may have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the database does not answer: {0}")]
pub struct TablesError(String);

/// Why a statement did not succeed.
enum Problem {
    /// The connection is of no use any more. The statement may have run.
    Lost(String),
    Refused(String),
}

impl From<tokio_postgres::Error> for Problem {
    fn from(error: tokio_postgres::Error) -> Self {
        match failure(&error) {
            Failure::Unknown => Problem::Lost(describe(&error)),
            Failure::RolledBack { .. } => Problem::Refused(describe(&error)),
        }
    }
}

/// The connection, while statements run on it. If it is dropped in the middle of them, nobody uses it again.
struct Held<'a> {
    place: MutexGuard<'a, Option<Connection>>,
    connection: Connection,
    warnings: u64,
}

impl Tables {
    /// The tables of a database, which must have the schema. It does not connect yet.
    pub fn new(target: &Target) -> Self {
        Tables(Arc::new(Inner { target: target.clone(), connection: Mutex::new(None) }))
    }

    async fn take(&self) -> Result<Held<'_>, Problem> {
        let mut place = self.0.connection.lock().await;
        let connection = match place.take() {
            Some(connection) => connection,
            None => {
                let connected = connect(&self.0.target, Purpose::Tables).await;
                connected.map_err(|error| Problem::Lost(error.to_string()))?
            }
        };
        let warnings = connection.warnings();
        Ok(Held { place, connection, warnings })
    }
}

impl Held<'_> {
    /// Gives the connection back, unless it was lost. Returns the outcome of the statements.
    fn give_back<T>(self, ran: Result<T, Problem>) -> Result<T, Problem> {
        let Held { mut place, connection, warnings } = self;
        let has_warned = connection.warnings() != warnings;
        let ran = match ran {
            Ok(_) if has_warned => Err(Problem::Lost("it warned that a failover may lose what was written".into())),
            ran => ran,
        };
        if !matches!(ran, Err(Problem::Lost(_))) {
            *place = Some(connection);
        }
        ran
    }
}

/// Waits for statements, as long as they may take.
async fn in_time<T>(statements: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let ran = clock::timeout(TIME, statements).await;
    ran.unwrap_or_else(|_| Err(Problem::Lost(format!("no answer in {} s", TIME.as_secs()))))
}

impl Problem {
    fn into_error(self) -> TablesError {
        let (Problem::Lost(text) | Problem::Refused(text)) = self;
        TablesError(text)
    }
}
