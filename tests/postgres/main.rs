//! The real server with its rooms in a real PostgreSQL: what it promises there, and the tests of `tests/e2e` about
//! everything that is stored once more: durability, timers, posts, usage, exports and imports, data of users, deploys and
//! migrations, and limits.
//!
//! The tests need the server programs of PostgreSQL, and fail without them. Each data directory has a database.
#![expect(clippy::disallowed_methods, reason = "tests measure time, make files and choose at random")]

#[path = "../store/harness.rs"]
#[expect(dead_code, reason = "tests/store uses the rest")]
mod cluster;
mod databases;
#[path = "../e2e/harness.rs"]
#[expect(dead_code, reason = "tests/e2e uses the rest")]
mod harness;

#[path = "../e2e/checker.rs"]
mod checker;
#[path = "../e2e/seeds.rs"]
#[expect(dead_code, reason = "tests/e2e uses the rest")]
mod seeds;
#[path = "../component/wat_components.rs"]
mod wat_components;
#[path = "../e2e/workload.rs"]
#[expect(dead_code, reason = "tests/e2e uses the rest")]
mod workload;

mod beside;
mod command_line;
mod failover;
mod figures;
mod moving;
mod serving;

#[path = "../e2e/admin.rs"]
mod admin;
#[path = "../e2e/connection_limits.rs"]
mod connection_limits;
#[path = "../e2e/deploy.rs"]
mod deploy;
#[path = "../e2e/durability.rs"]
mod durability;
#[path = "../e2e/hibernation.rs"]
mod hibernation;
#[path = "../e2e/limits.rs"]
mod limits;
#[path = "../e2e/migration.rs"]
mod migration;
#[path = "../e2e/outbound.rs"]
mod outbound;
#[path = "../e2e/personal_data.rs"]
mod personal_data;
#[path = "../e2e/posts.rs"]
mod posts;
#[path = "../e2e/room_files.rs"]
mod room_files;
#[path = "../e2e/timers.rs"]
mod timers;
#[path = "../e2e/tokens.rs"]
mod tokens;
#[path = "../e2e/usage.rs"]
mod usage;

use databases::store_of;

/// Whether the servers keep their rooms in a database.
const HAS_DATABASE: bool = true;
