//! Responses: the body type of all answers, and problem documents (RFC 9457).

pub(in crate::edge) mod body;
pub(in crate::edge) mod component;
pub(in crate::edge) mod file;
pub(in crate::edge) mod finish;
pub(in crate::edge) mod json;
pub(in crate::edge) mod problem;
pub(in crate::edge) mod refusals;
