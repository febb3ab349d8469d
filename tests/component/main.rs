//! One guest at a time, through the real contract, without network, disk or waiting.
//!
//! In reading order: what the contract promises to every room, then the shipped components and the examples.
#![expect(clippy::disallowed_methods, reason = "tests read documents and make files")]

mod access;
mod contract;
mod contract_limits;
mod contract_versions;
mod determinism;
mod documents;
mod fuzz;
mod hostile_components;
mod layers;
mod members;
mod outbound;
mod personal_data;
mod sandbox;
mod supply_chain;
mod typed_storage;
mod wat_components;

mod chat;
mod examples;
mod javascript;
mod javascript_builds;
mod javascript_rooms;
mod javascript_sql;
mod migration;
mod moderation;
mod presence;
mod router;
mod test_kit;

/// An engine for components that are only loaded, and with fewer rooms at once than a server has.
fn engine() -> dormouse::guest::Engine {
    let limits = dormouse::config::Limits { awake_rooms: 8, requests: 8, ..Default::default() };
    dormouse::guest::Engine::new(limits.into()).expect("the engine starts with small limits")
}
