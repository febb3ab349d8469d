//! The schema `dormouse`: its creation and its migrations, and the numbers that the database gives out.

use super::connect::Connection;
use super::failure::describe;
use super::neighbours::{NEWER, refuses_migration};
use super::round::RowId;
use crate::cluster::ownership::NodeId;
use crate::random;
use crate::store::incarnation::Incarnation;
use crate::store::records;

/// Each step makes the next version. Steps never change once they are released.
const STEPS: [&str; 4] = [
    include_str!("sql/schema_1.sql"),
    include_str!("sql/schema_2.sql"),
    include_str!("sql/schema_3.sql"),
    include_str!("sql/schema_4.sql"),
];

/// The version that this program knows.
pub(super) const VERSION: usize = STEPS.len();

/// Held while the schema is made or migrated: the first eight letters of the name.
const LOCK: i64 = i64::from_be_bytes(*b"dormouse");

/// The schema of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// Its version.
    pub version: usize,
    /// The name of this store, a UUID. A copy of the database has the same.
    pub store: String,
    /// It was just made.
    pub is_new: bool,
}

/// The reason why the schema cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A newer program has migrated it.
    #[error(
        "the database has version {found} of the schema `dormouse`, and this program serves versions up to {serves}; \
         install the newer Dormouse that has migrated it"
    )]
    Newer {
        /// The version of the database.
        found: usize,
        /// The newest version that this program serves: the next one after its own.
        serves: usize,
    },
    /// A node lives that could not serve the schema that this program needs.
    #[error("{0}")]
    Neighbour(String),
    /// There is a schema of this name that Dormouse did not make.
    #[error("the database has a schema `dormouse` of something else; use another database")]
    Foreign,
    /// The database refused it or did not answer.
    #[error("the schema `dormouse` cannot be {what}: {problem}")]
    Failed {
        /// `made`, `read` …
        what: &'static str,
        /// The reason.
        problem: String,
    },
}

fn failed(what: &'static str) -> impl Fn(tokio_postgres::Error) -> SchemaError {
    move |error| SchemaError::Failed { what, problem: describe(&error) }
}

/// Makes the schema, or migrates it to the version of this program; one that is a version newer is served as it is.
/// Several nodes may do so at the same moment: one
/// does it, and the others wait. A new store gets its secret and its incarnation.
pub async fn prepare(connection: &mut Connection) -> Result<Schema, SchemaError> {
    let transaction = connection.client_mut().transaction().await.map_err(failed("locked"))?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(failed("locked"))?;
    let query = "SELECT to_regnamespace('dormouse') IS NOT NULL, to_regclass('dormouse.meta') IS NOT NULL";
    let row = transaction.query_one(query, &[]).await.map_err(failed("read"))?;
    let found = match (row.get(0), row.get(1)) {
        // An administrator may have made an empty schema for the user.
        (true, false) => {
            let query = "SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'dormouse'::regnamespace)";
            let is_used = transaction.query_one(query, &[]).await.map_err(failed("read"))?.get::<_, bool>(0);
            if is_used {
                return Err(SchemaError::Foreign);
            }
            0
        }
        (false, _) => {
            transaction.batch_execute("CREATE SCHEMA dormouse").await.map_err(failed("made"))?;
            0
        }
        (true, true) => {
            let row = transaction.query_one("SELECT version FROM dormouse.meta", &[]).await.map_err(failed("read"))?;
            usize::try_from(row.get::<_, i32>(0)).unwrap_or(0)
        }
    };
    if found > VERSION + NEWER {
        return Err(SchemaError::Newer { found, serves: VERSION + NEWER });
    }
    if found < VERSION
        && let Some(reason) = refuses_migration(&transaction, VERSION).await.map_err(failed("read"))?
    {
        return Err(SchemaError::Neighbour(reason));
    }
    for step in STEPS.iter().skip(found) {
        transaction.batch_execute(step).await.map_err(failed("migrated"))?;
    }
    // One that is newer stays as it is.
    let reached = found.max(VERSION);
    let version = i32::try_from(reached).expect("there are few steps");
    let write = "INSERT INTO dormouse.meta (version) VALUES ($1) ON CONFLICT (one) DO UPDATE SET version = $1 \
                 RETURNING store::text";
    let store = transaction.query_one(write, &[&version]).await.map_err(failed("migrated"))?.get(0);
    if found == 0 {
        let incarnation = Incarnation(random::number());
        for (key, value) in [records::secret_record(&random::bytes()), records::incarnation_record(incarnation, &[])] {
            let write = "INSERT INTO dormouse.records (key, value) VALUES ($1, $2)";
            let value = value.unwrap_or_default();
            transaction.execute(write, &[&&key[..], &&value[..]]).await.map_err(failed("made"))?;
        }
    }
    transaction.commit().await.map_err(failed("migrated"))?;
    Ok(Schema { version: reached, store, is_new: found == 0 })
}

/// An id for this run of a node. No other run gets the same.
pub async fn new_node(connection: &Connection) -> Result<NodeId, SchemaError> {
    next(connection, "SELECT nextval('dormouse.node_ids')").await.map(NodeId)
}

/// An id for a room that is imported. Its records are written with it before its own.
pub async fn new_room(connection: &Connection) -> Result<RowId, SchemaError> {
    next(connection, "SELECT nextval(pg_get_serial_sequence('dormouse.rooms', 'id'))").await.map(RowId)
}

async fn next(connection: &Connection, query: &str) -> Result<u64, SchemaError> {
    let row = connection.client().query_one(query, &[]).await.map_err(failed("read"))?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}
