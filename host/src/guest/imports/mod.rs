//! What a guest can reach, one file a WIT interface. None of it waits.

mod context;
mod sockets;
mod storage;
mod timers;

use super::bindings::room::dormouse::room::types;
use super::state::Host;

impl types::Host for Host {}
