//! The shipped components, built for wasm32-wasip2, as bytes, so that the host's binary needs no other file.

/// The chat room of `client/PROTOCOL.md`.
pub const CHAT_ROOM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/chat_room.wasm"));

/// The presence tracker of `client/PROTOCOL.md`.
pub const PRESENCE_TRACKER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/presence_tracker.wasm"));

/// The router to both.
pub const ROUTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/router.wasm"));

/// All three as one component for `wasmtime serve`, with storage in files: `components/serve`.
#[cfg(feature = "serve")]
pub const SERVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/serve.wasm"));

/// A test room that misbehaves in every way that a test asks for.
#[cfg(feature = "test-guests")]
pub const UNRULY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/unruly.wasm"));

/// A test room of which tests make versions that misbehave.
#[cfg(feature = "test-guests")]
pub const VERSIONED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/versioned.wasm"));

/// A test room that calls and posts as it is told.
#[cfg(feature = "test-guests")]
pub const CALLER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/caller.wasm"));

/// A test room that tells the claims and permissions of its users.
#[cfg(feature = "test-guests")]
pub const BADGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/badge.wasm"));

/// A test router that tells the claims and permissions of its users.
#[cfg(feature = "test-guests")]
pub const GATEKEEPER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gatekeeper.wasm"));

/// A test room that stores values, numbers and lists as it is told.
#[cfg(feature = "test-guests")]
pub const KEEPER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/keeper.wasm"));

/// The room in the README.
#[cfg(feature = "test-guests")]
pub const COUNTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/counter.wasm"));

/// A test room that sends each message back to its sender.
#[cfg(feature = "test-guests")]
pub const ECHO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/echo.wasm"));

/// The example room for binary messages, attachments and tags.
#[cfg(feature = "test-guests")]
pub const CURSORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cursors.wasm"));

/// The example room for named timers.
#[cfg(feature = "test-guests")]
pub const GAME: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/game.wasm"));

/// The example room for storage and broadcasting.
#[cfg(feature = "test-guests")]
pub const POLL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/poll.wasm"));

/// The shipped component that `builtin:NAME` selects in a configuration.
pub fn builtin(name: &str) -> Option<&'static [u8]> {
    match name {
        "chat-room" => Some(CHAT_ROOM),
        "presence-tracker" => Some(PRESENCE_TRACKER),
        "router" => Some(ROUTER),
        _ => None,
    }
}
