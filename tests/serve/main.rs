//! The shipped rooms under `wasmtime serve`: a real wasmtime, real HTTP, real files.
//!
//! In reading order: routes, readers of events, durability, refusals.

mod harness;

mod durability;
mod readers;
mod refusals;
mod routes;
