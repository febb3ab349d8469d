//! One guest at a time, through the real contract, without network, disk or waiting.
//!
//! In reading order: what the contract promises to every room, then the shipped components and the examples.

mod assembled;
mod contract;
mod determinism;
mod documents;
mod fuzz;
mod hostile;
mod keeping;
mod layers;
mod reaching;
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

/// An engine for components that are only loaded, and with fewer rooms at once than a server has.
fn engine() -> dormouse::guest::Engine {
    let limits = dormouse::config::Limits { awake_rooms: 8, requests: 8, ..Default::default() };
    dormouse::guest::Engine::new(limits.into()).expect("the engine starts with small limits")
}
