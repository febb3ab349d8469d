//! WebSockets and event streams: from the upgrade of a request to the close frame, and which sockets are open.

pub(in crate::edge) mod close;
pub(in crate::edge) mod event_stream;
pub(in crate::edge) mod frames;
pub(in crate::edge) mod outgoing;
pub(in crate::edge) mod rate;
pub(in crate::edge) mod registry;
pub(in crate::edge) mod renewal;
pub(in crate::edge) mod stream;
pub(in crate::edge) mod upgrade;
pub(in crate::edge) mod websocket;
