//! Storage, timers and sockets in files, for rooms under `wasmtime serve`.
//!
//! Each request runs in its own instance, and many run at once, so all lasting state is in files.
//!
//! ```text
//! names.rs   the folder of a room                visit.rs   the turns of one instance that owns the room
//! log.rs     the bytes of the records            ear.rs     the messages to a reader, read from the end of the log
//! state.rs   the state that the records give     exports/   the contract, implemented with these
//! home.rs    the folder: its owner, and its commits
//! ```
//!
//! A room's folder has one log. A turn is one record in it: its writes, its timers, the readers that came and left, and
//! its messages with their receivers. So one sync makes a turn durable, and readers only follow the log.

pub mod ear;
pub mod home;
pub mod log;
pub mod names;
pub mod state;
pub mod visit;

#[cfg(target_arch = "wasm32")]
mod exports;
