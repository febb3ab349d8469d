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
//! | [`room`] | the order of a life: mailbox, turn, outbox, hibernation, timers | TCP, files |
//! | [`guest`] | wasmtime: engine, instance, limits, the WIT interfaces | sockets' wires, files |
//! | [`store`] | the disk: read, commit, recovery | rooms' lives, wasm |
//! | [`outbound`] | requests to servers elsewhere, and which are allowed | rooms, wasm |
//! | [`model`] | the plain data they speak in | everything else |
//! | [`compiled`] | the directory of compiled code | what is in it |
//! | [`revocations`] | who is out, and the file of that | tokens' form, connections |
//! | [`log`] | stderr, and lines that cannot be written | what is logged |
//! | [`config`], [`clock`] | every limit; the only source of time | |
//!
//! Start reading at [`room`]. The promises, in the order in which we would defend them: nothing a guest does stops the
//! host; one instance per address; a turn happens as a whole or not at all; no output before its commit; a committed
//! write survives power loss; sockets survive hibernation; frames keep their order, and none is dropped silently.

// Both panic where nothing can be written.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod bucket;
pub mod clock;
pub mod compiled;
pub mod config;
pub mod edge;
pub mod guest;
pub mod log;
mod metrics;
pub mod model;
pub mod outbound;
mod panics;
pub mod pressure;
mod refused;
pub mod revocations;
pub mod room;
pub mod routes;
pub mod store;
mod web_origin;

mod host;

pub use host::{Builder, Host, ReloadError, StartError, components, store_options};
