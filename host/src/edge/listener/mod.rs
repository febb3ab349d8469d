//! The listener: accepts connections, speaks TLS, and ends connections whose clients do not read or send in time.

pub(in crate::edge) mod activity;
pub(in crate::edge) mod http2;
pub(in crate::edge) mod tls;
pub(in crate::edge) mod write_timeout;
