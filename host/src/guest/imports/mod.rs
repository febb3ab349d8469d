//! The imports of a guest, one file for each WIT interface. Only `rooms` and `web` wait, and only connected rooms have
//! them; a connected router has `rooms`.

mod access;
mod context;
mod outbox;
mod rooms;
mod sockets;
mod storage;
mod timers;
mod upgrade;
pub(super) mod web;

use super::bindings::room::dormouse::room::types;
use super::state::StoreData;

impl types::Host for StoreData {}
