//! One guest at a time, through the real contract, without network, disk or waiting.
//!
//! In reading order: what the contract promises to every room, then the shipped components.

mod contract;
mod determinism;
mod sandbox;
mod wit;


