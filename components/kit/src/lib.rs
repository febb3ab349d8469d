//! Write a Dormouse room.
//!
//! Implement [`Room`] for a type and pass it to [`export!`]. Each method is one event and one turn: its writes, timers
//! and messages take effect together when it returns `Ok`, or not at all. `self` is a cache: [`Room::wake`] makes it
//! again after every hibernation, so keep in [`storage`] or in a socket's attachment what must last.
//!
//! ```no_run
//! use dormouse_room::{Message, Result, Room, Socket, sockets};
//!
//! struct Echo;
//! dormouse_room::export!(Echo);
//!
//! impl Room for Echo {
//!     fn wake() -> Result<Self> {
//!         Ok(Echo)
//!     }
//!
//!     fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
//!         sockets::everyone().except(sender).broadcast(&message)
//!     }
//! }
//! ```
//!
//! A room that keeps something about users declares how it is exported and erased: [`PersonalData`]. A room that changes
//! the form of its data declares a version of it, and how older data is migrated: [`Migration`].
//!
//! For a router, which maps requests to rooms, implement [`Router`] and pass the type to [`export_router!`].

mod bindings;
mod http;
mod room;
mod router;
mod settings;
mod turn;

pub mod access;
pub mod context;
pub mod json;
pub mod migration;
pub mod outbox;
pub mod personal_data;
pub mod rooms;
pub mod sockets;
#[cfg(feature = "sql")]
pub mod sql;
pub mod storage;
pub mod timers;
pub mod upgrade;
#[cfg(feature = "web")]
pub mod web;

pub use access::{Permission, Permissions};
pub use bindings::room::dormouse::room::types::{Message, Request, Response, User};
pub use http::{Query, percent_decode};
pub use migration::Migration;
pub use personal_data::PersonalData;
pub use room::{Close, Error, Refusal, Result, Room};
pub use router::{Decision, Destination, Router};
pub use sockets::Socket;
pub use timers::Timer;

/// Used by the code that the export macros generate; not part of the API.
#[doc(hidden)]
pub mod export {
    pub use crate::bindings::{migration, personal_data, room, router};
    pub use crate::migration::migration_is_used;
    pub use crate::personal_data::personal_data_is_used;
    pub use crate::room::{Exported, room_is_used};
    pub use crate::router::router_is_used;
}
