//! A connection below its requests: TLS, the rate of HTTP/2 frames, and the time that a client has to send and to read.
//! `accept` passes each connection through these.

pub(in crate::edge) mod activity;
pub(in crate::edge) mod http2;
pub(in crate::edge) mod reset;
pub(in crate::edge) mod tls;
pub(in crate::edge) mod write_timeout;
