//! The shipped components, built for wasm32-wasip2, as bytes: the host needs no file beside its binary.

/// A chat room by `protocol.md`.
pub const CHAT_ROOM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/chat_room.wasm"));

/// A presence tracker by `protocol.md`.
pub const PRESENCE_TRACKER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/presence_tracker.wasm"));

/// The router of their routes.
pub const ROUTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/router.wasm"));

/// All of them as one component for `wasmtime serve`, with files below: `components/serve`.
#[cfg(feature = "serve")]
pub const SERVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/serve.wasm"));

/// A room that does every wrong thing it is asked for.
#[cfg(feature = "test-guests")]
pub const UNRULY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/unruly.wasm"));

/// A room that reaches for others as it is told.
#[cfg(feature = "test-guests")]
pub const CALLER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/caller.wasm"));

/// A room that keeps values, numbers and lists as it is told.
#[cfg(feature = "test-guests")]
pub const KEEPER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/keeper.wasm"));

/// The room that the README shows.
#[cfg(feature = "test-guests")]
pub const COUNTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/counter.wasm"));

/// A room that says back to each what it said.
#[cfg(feature = "test-guests")]
pub const ECHO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/echo.wasm"));

/// The example of binary messages, attachments and tags.
#[cfg(feature = "test-guests")]
pub const CURSORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cursors.wasm"));

/// The example of named timers and lists.
#[cfg(feature = "test-guests")]
pub const GAME: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/game.wasm"));

/// The example of storage and broadcasting.
#[cfg(feature = "test-guests")]
pub const POLL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/poll.wasm"));

/// The shipped component of a name, as `builtin:NAME` asks for it.
pub fn builtin(name: &str) -> Option<&'static [u8]> {
    match name {
        "chat-room" => Some(CHAT_ROOM),
        "presence-tracker" => Some(PRESENCE_TRACKER),
        "router" => Some(ROUTER),
        _ => None,
    }
}
