//! One guest at a time, through the real contract, without network, disk or waiting.
//!
//! In reading order: what the contract promises to every room, then the shipped components and the examples.

mod assembled;
mod contract;
mod determinism;
mod fuzz;
mod hostile;
mod keeping;
mod layers;
mod reaching;
mod readme;
mod sandbox;
mod supply;
mod versions;
mod wit;

mod authors;
mod chat;
mod examples;
mod javascript;
mod presence;
mod router;
