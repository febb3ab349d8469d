//! HTTP in front of the rooms, where `wasmtime serve` runs them: one request, one instance.
//!
//! ```text
//! answer.rs   from a request to its answer   rooms.rs     a visit to a room: what is overdue, then the event
//! asking.rs   who asks, and from where       reader.rs    a reader, from its connect to its close
//! events.rs   messages as events             http.rs      what is as it is because of wasi:http
//! problem.rs  errors                         bindings.rs  what is generated
//! ```
//!
//! The host does the same in `edge/`, and more: this is for development, believes everybody who they are, and so answers
//! only to names of this machine.

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
