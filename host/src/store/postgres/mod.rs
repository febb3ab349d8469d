//! Rooms in PostgreSQL: the connections, the schema, the SQL of the statements of ownership, and a reader in the key
//! space of the store. Only this module names `tokio_postgres`.
//!
//! It knows no room that runs, no cache and no rule of ownership: a driver decides which statement runs when, and what
//! an answer means. `docs/cluster-model.md` says which properties the SQL must have.
//!
//! - **Invariant: an answer counts when the transaction has ended** (`ReadyForQuery`) and no warning came before.
//! - **Invariant: a row of `rooms` changes only by statements that name its fence, or that raise its epoch.**
//! - **Invariant: no error, log line or `Debug` has a password.**

mod bounds;
mod columns;
mod connect;
mod driver;
mod failure;
mod lane;
pub mod moving;
mod neighbours;
mod open;
mod passfile;
mod promises;
mod reader;
mod round;
mod schema;
pub mod sql;
mod tables;
mod target;
mod tls;

pub use connect::{ConnectError, Connection, HostFailure, Purpose, connect};
pub use driver::{BeforeJoin, MayJoin, Settings, compare_key};
pub use lane::{ClaimedRow, Executed, Lane, WriteError};
pub(super) use moving::places;
pub use promises::{Promises, Refused, Sentence, promises};
pub use reader::PostgresReader;
pub use round::{Contents, RowId};
pub use schema::{Schema, SchemaError, new_node, new_room, prepare};
pub use tables::{Exchange, Exchanged, Tables, TablesError};
pub use target::{Secrets, Target, TargetError};
