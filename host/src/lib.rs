//! Dormouse: durable rooms. Small sandboxed programs, each with its own WebSockets, timers and storage, found by name.
//!
//! The binary is this library with a command line. To embed it:
//!
//! ```no_run
//! # async fn run() -> Result<(), dormouse::StartError> {
//! let host = dormouse::Host::builder(dormouse::config::Config::default()).start().await?;
//! println!("listening on {}", host.address().expect("it was started, not mounted"));
//! host.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # The map
//!
//! | module | knows | and not |
//! |---|---|---|
//! | [`edge`] | HTTP, WebSocket, identity, origins, close codes, drain | wasm, a room's inside |
//! | [`room`] | the life of a room: mailbox, turns, output gate, hibernation, timers | TCP, files |
//! | [`guest`] | wasmtime: engine, instances, limits, the WIT interfaces | the wire format of sockets, files |
//! | [`store`] | the disk: read, commit, recovery | the life of a room, wasm |
//! | [`cluster`] | which of several machines owns a room | SQL, connections, the life of a room |
//! | [`outbound`] | requests to other servers, and which of them are allowed | rooms, wasm |
//! | [`model`] | the plain data types that all modules share | everything else |
//! | [`rollout`] | which version of the code a room runs during a deploy | wasm, events, files |
//! | [`deploys`] | checking and replacing code; the files of deployed components | HTTP, sockets, turns |
//! | [`personal_data`] | exporting and erasing one user over all rooms; the file of erasures | HTTP, sockets, wasm |
//! | [`code_cache_dir`] | the directory of compiled code | the content of that code |
//! | [`revocations`] | revoked users and tokens, and the file that lists them | the format of tokens, connections |
//! | [`log_filter`] | which filters of the log can log something | what is logged |
//! | [`log`] | stderr, and log lines that it does not accept | the content of the log |
//! | [`telemetry`] | spans, their places in traces, the collector | the events of rooms, connections |
//! | [`config`], [`clock`] | settings and limits of operators; the clocks | |
//!
//! Start reading at [`room`]. The promises, the most important first: a guest cannot stop the host; each address has at
//! most one instance; a turn happens completely or not at all; no output leaves before its commit is durable; a
//! committed write survives a power loss; sockets survive hibernation; frames keep their order, and none is dropped
//! silently.

// These macros panic when nothing can be written to the stream.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod clock;
pub mod cluster;
pub mod code_cache_dir;
pub mod config;
pub mod deploys;
pub mod edge;
mod file_problem;
pub mod guest;
mod histogram;
mod history;
mod limit_hits;
pub mod limits;
mod liveness;
mod lock;
pub mod log;
pub mod log_filter;
mod metrics;
pub mod model;
mod named_counters;
pub mod outbound;
mod panics;
pub mod personal_data;
pub mod pressure;
mod random;
pub mod revocations;
pub mod rollout;
pub mod room;
pub mod routes;
pub mod store;
pub mod telemetry;
mod token_bucket;
mod web_origin;

mod host;
mod host_limits;

pub use host::{Builder, Host, ReloadError, StartError, components, credentials, database, open_store, store_options};
pub use host_limits::HostLimits;
pub use liveness::{Liveness, NotAlive};
