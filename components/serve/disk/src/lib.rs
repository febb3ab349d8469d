//! Storage, timers and sockets in files, for rooms under `wasmtime serve`.
//!
//! Each request runs in its own instance, and many run at once, so all lasting state is in files.
//!
//! ```text
//! room_path.rs   the folder of a room          session.rs     the turns of one instance that owns the room
//! log.rs         the bytes of the records      log_reader.rs  the messages to a reader, read from the end of the log
//! state.rs       the state that they give      exports/       the contract, implemented with these
//! room_dir.rs    the folder: its owner, and its commits
//! ```
//!
//! A room's folder has one log. A turn is one record in it: its writes, its timers, the readers that came and left, and
//! its messages with their receivers. So one sync makes a turn durable, and readers only follow the log.

pub mod log;
pub mod log_reader;
pub mod room_dir;
pub mod room_path;
pub mod session;
pub mod state;

#[cfg(target_arch = "wasm32")]
mod exports;
