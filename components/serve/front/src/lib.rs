//! The HTTP front of the rooms under `wasmtime serve`. Each request runs in its own instance.
//!
//! ```text
//! answer.rs   from a request to its answer   rooms.rs     a visit to a room: overdue events, then the request
//! asking.rs   the identity and the origin    reader.rs    a reader, from its connect to its close
//! events.rs   messages as events             http.rs      the calls of wasi:http
//! problem.rs  errors                         bindings.rs  generated code
//! ```
//!
//! The host's `edge/` does more. This front is for development: it trusts every identity, so it answers only requests
//! to names of this machine.

pub mod asking;
pub mod events;
pub mod problem;

#[cfg(target_arch = "wasm32")]
mod answer;
#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
mod http;
#[cfg(target_arch = "wasm32")]
mod reader;
#[cfg(target_arch = "wasm32")]
mod rooms;
