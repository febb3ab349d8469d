//! What a guest can reach, one file a WIT interface. None of it waits but `rooms` and `web`, which only connected rooms have.

mod context;
mod outbox;
mod rooms;
mod sockets;
mod storage;
mod timers;
pub(super) mod web;

use super::bindings::room::dormouse::room::types;
use super::state::Host;

impl types::Host for Host {}
