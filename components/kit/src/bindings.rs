//! The Rust bindings of the contract in wit/, shared by all rooms and routers.
//!
//! `cargo run --package dormouse-bindings` generates them, and a test of that package compares them with wit/. They are
//! in the source tree so that an author's first build need not build the generator.
#![expect(missing_docs, reason = "generated; the documentation is in wit/")]
#![expect(unsafe_code, reason = "generated; it crosses the component boundary")]
#![expect(unreachable_pub, clippy::allow_attributes, reason = "generated")]

#[rustfmt::skip]
pub mod migration;
#[rustfmt::skip]
pub mod personal_data;
#[rustfmt::skip]
pub mod room;
#[rustfmt::skip]
pub mod router;
