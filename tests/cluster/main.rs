//! Several nodes: the links between them, and real servers that share the rooms of one PostgreSQL.
//!
//! The tests need the server programs of PostgreSQL, and fail without them.
#![expect(clippy::disallowed_methods, reason = "tests measure time, make files and choose at random")]

#[path = "../e2e/checker.rs"]
mod checker;
#[path = "../store/harness.rs"]
#[expect(dead_code, reason = "tests/store uses the rest")]
mod cluster;
#[path = "../postgres/databases.rs"]
#[expect(dead_code, reason = "tests/postgres uses the rest")]
mod databases;
#[path = "../e2e/harness.rs"]
#[expect(dead_code, reason = "tests/e2e uses the rest")]
mod harness;
#[path = "../e2e/seeds.rs"]
mod seeds;
#[path = "../e2e/workload.rs"]
#[expect(dead_code, reason = "tests/e2e uses the rest")]
mod workload;

mod cutting;
mod erasing;
mod faults;
mod figures;
mod handing_over;
mod impatient;
mod killing;
mod leaving;
mod linking;
mod metering;
mod network;
mod nodes;
mod operating;
mod pausing;
mod registers;
mod revoking;
mod starting;
mod talking;
mod tickets;
mod timers;

use databases::store_of;
