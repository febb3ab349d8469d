//! The shipped rooms under `wasmtime serve`: a real wasmtime, real HTTP, real files.
//!
//! In reading order: what everybody gets, what readers hear, what survives, what is refused.

mod harness;

mod durability;
mod readers;
mod refusals;
mod routes;
