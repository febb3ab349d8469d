//! A real process, real sockets, a real disk: every promise, kept by the binary that users run.
//!
//! In reading order: how a client gets in, what it receives, what survives, what cannot do harm, how it ends.
#![expect(clippy::disallowed_methods, reason = "tests measure time, make files and choose at random")]

mod checker;
mod faulty_disk;
mod harness;
mod seeds;
#[path = "../component/wat_components.rs"]
mod wat_components;
mod workload;

mod access;
mod access_table;
mod admin;
mod authorizer;
mod backup;
mod bad_input;
mod bench;
mod blocking_calls;
mod claims;
mod clocks;
mod code_cache;
mod command_line;
mod connection_limits;
mod crashes;
mod damage;
mod dashboard;
mod deploy;
mod dev;
mod disk_failures;
mod durability;
mod durable_objects;
mod embedding;
mod full_disk;
mod fuzz;
mod half_close;
mod hibernation;
mod http2;
mod identity;
mod javascript;
mod joins;
mod keep_alive;
mod key_rotation;
mod limits;
mod logging;
mod machines;
mod makefile;
mod migration;
mod new_command;
mod operate;
mod ordering;
mod outbound;
mod panics;
mod personal_data;
mod posts;
mod power_loss;
mod restored_backups;
mod revocations;
mod room_files;
mod routes;
mod sandbox;
mod secrets;
mod server_sent_events;
mod services;
mod shares;
mod shutdown;
mod telemetry;
mod test_driver;
mod timers;
mod tls;
mod token_renewal;
mod tokens;
mod usage;

/// Whether the servers keep their rooms in a database.
const HAS_DATABASE: bool = false;

/// The address of the database for the servers of a directory. These tests have the embedded store; `tests/postgres` runs
/// some of them with a database.
fn store_of(_: &tempfile::TempDir) -> Option<String> {
    None
}
