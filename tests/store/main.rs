//! Rooms in a real PostgreSQL: connections, the schema, the statements of ownership, what servers lose and what not.
//!
//! The tests need the server programs of PostgreSQL, and fail without them. They make data directories of their own,
//! and use no server that runs already.
#![expect(clippy::disallowed_methods, reason = "tests measure time, make files and choose at random")]

#[expect(dead_code, reason = "tests/postgres uses the rest")]
mod harness;
mod judge;
mod node;

mod checks;
mod connecting;
mod failover;
mod growth;
mod plans;
mod reading;
mod rivals;
mod schema;
mod statements;
mod waits;
