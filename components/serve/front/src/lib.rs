//! The HTTP front of the rooms under `wasmtime serve`. Each request runs in its own instance.
//!
//! ```text
//! handler.rs   from a request to its response   event_stream.rs  a reader, from its connect to its close
//! auth.rs      the identity and the origin      events.rs        messages as events
//! rooms.rs     a session with a room: overdue events, then the request
//! response.rs  responses and errors             http.rs          the calls of wasi:http
//! bindings.rs  generated code
//! ```
//!
//! The host's `edge/` does more. This front is for development: it trusts every identity, so it answers only requests
//! to names of this machine.

pub mod auth;
pub mod events;
pub mod response;

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
mod event_stream;
#[cfg(target_arch = "wasm32")]
mod handler;
#[cfg(target_arch = "wasm32")]
mod http;
#[cfg(target_arch = "wasm32")]
mod rooms;
