//! The WIT contract as Rust, once for every room and router.
//!
//! It is generated: `cargo run --package dormouse-bindings` writes it, and a test there holds it to wit/. So an author's
//! first build does not have to build the generator.
#![expect(missing_docs, reason = "generated; the documentation is in wit/")]
#![expect(unsafe_code, reason = "generated; it crosses the boundary of the component")]
#![expect(unreachable_pub, clippy::allow_attributes, reason = "generated")]

#[rustfmt::skip]
pub mod room;
#[rustfmt::skip]
pub mod router;
