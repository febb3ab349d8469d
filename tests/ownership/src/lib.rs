//! The files of the host that have the rules of ownership, compiled once more. They need nothing else of the host, so
//! this package is built with optimisation in a few seconds, and the simulation runs many more seeds than it could with
//! the host's own build for tests. It has no code of its own.

#[path = "../../../host/src/limits.rs"]
pub mod limits;
#[path = "../../../host/src/cluster/ownership/mod.rs"]
pub mod ownership;
