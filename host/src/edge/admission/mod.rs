//! Admission control: limits of connections, users, requests and bytes, and checks of origins.

pub(in crate::edge) mod budget;
pub(in crate::edge) mod connection_limits;
pub(in crate::edge) mod forwarded;
pub(in crate::edge) mod origin;
pub(in crate::edge) mod shares;
pub(in crate::edge) mod socket_permits;
pub(in crate::edge) mod users;
