//! Identity: verifies tokens and tickets against the configured keys. Knows no room and no socket.

pub(in crate::edge) mod act;
pub(in crate::edge) mod keys;
pub(in crate::edge) mod tickets;
pub(in crate::edge) mod token;
pub(in crate::edge) mod verified;
pub(in crate::edge) mod verifier;
