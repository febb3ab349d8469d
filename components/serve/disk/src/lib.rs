//! What rooms stand on where `wasmtime serve` runs them: storage, timers and sockets in files.
//!
//! Every request has an instance of its own, and many run at once, so nothing that lasts is in memory.
//!
//! ```text
//! names.rs   which folder is a room's            visit.rs   the turns of one instance that has the room to itself
//! log.rs     records, as bytes                   ear.rs     what a reader hears: the end of the log, again and again
//! state.rs   what the records amount to          exports/   the contract, on top of these
//! home.rs    the folder: one owner at a time, and commits that land or do not
//! ```
//!
//! A room's folder has one log. A turn is one record in it: what it wrote, which timers it set, who came and went, and
//! what it said to whom. So all of it is durable with one sync, and readers have only to follow the log.

pub mod ear;
pub mod home;
pub mod log;
pub mod names;
pub mod state;
pub mod visit;

#[cfg(target_arch = "wasm32")]
mod exports;
