//! The version of the data that a room stores, and how older data becomes data of this version. A room needs this when
//! it changes the form of its data, and not before.
//!
//! Implement [`Migration`] for the type of your room, and name it in [`export_migration!`](crate::export_migration) after
//! [`export!`](crate::export).
//!
//! ```no_run
//! use dormouse_room::{Message, Migration, Result, Room, Socket, storage};
//!
//! /// Counts messages. Version 0 kept the count as text, version 1 keeps it as JSON.
//! struct Counter;
//! dormouse_room::export!(Counter);
//! dormouse_room::export_migration!(Counter);
//!
//! impl Room for Counter {
//!     fn wake() -> Result<Self> {
//!         Ok(Counter)
//!     }
//!
//!     fn message(&mut self, _: &Socket, _: Message) -> Result<()> {
//!         let count: u64 = storage::get_json("count")?.unwrap_or(0);
//!         storage::put_json("count", &(count + 1))
//!     }
//! }
//!
//! impl Migration for Counter {
//!     fn data_version() -> u32 {
//!         1
//!     }
//!
//!     fn migrate(_from: u32) -> Result<()> {
//!         let Some(text) = storage::get("count") else { return Ok(()) };
//!         let count: u64 = String::from_utf8(text)?.parse()?;
//!         storage::put_json("count", &count)
//!     }
//! }
//! ```
//!
//! A migration is one turn. It runs once in each room, before [`Room::wake`] and before the first event with the new
//! code. A room that slept for long may be several versions behind: migrate step by step.
//!
//! ```no_run
//! # use dormouse_room::Result;
//! # fn names_to_json() -> Result<()> { Ok(()) }
//! # fn index_by_time() -> Result<()> { Ok(()) }
//! fn migrate(from: u32) -> Result<()> {
//!     if from < 1 {
//!         names_to_json()?;
//!     }
//!     if from < 2 {
//!         index_by_time()?;
//!     }
//!     Ok(())
//! }
//! ```

use crate::bindings::migration::exports::dormouse::room::migration as wit;
use crate::room::Exported as ExportedRoom;
use crate::{Error, Result, Room, turn};

/// A room that declares the version of its data. Data that was stored without this trait has version 0.
pub trait Migration: Room {
    /// The version of the data that this code reads and writes. It is a constant. Raise it by one with each change that
    /// the code before cannot read.
    fn data_version() -> u32;

    /// Makes data of the older version `from` data of the present one. It may use storage, timers, and the tags and
    /// attachments of sockets; calls and posts are denied. If it fails, nothing is changed, and the room goes on with
    /// the code before, if that is still there.
    fn migrate(from: u32) -> Result<()>;

    /// The data has the newer version `from`, because the operator has rolled back to this code. Returns `Ok` if this
    /// code can read that data, or has changed it back. Without this method every event fails, until newer code runs
    /// again, and nothing is changed.
    fn migrate_back(from: u32) -> Result<()> {
        let own = Self::data_version();
        Err(Error::new(format!("this code reads data up to version {own}, and not of version {from}")))
    }
}

/// Exports the version of a room's data: a type that implements [`Migration`], which [`export!`](crate::export) names in
/// the same module.
#[macro_export]
macro_rules! export_migration {
    ($room:ty) => {
        #[cfg(target_arch = "wasm32")]
        $crate::export::migration::export_migration!(ExportedRoom);
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::export::migration_is_used::<$room>();
    };
}

#[doc(hidden)]
pub const fn migration_is_used<T: Migration>() {}

impl<X: ExportedRoom> wit::Guest for X
where
    X::Room: Migration,
{
    fn data_version() -> u32 {
        X::Room::data_version()
    }

    fn migrate(from: u32) -> Result<(), String> {
        let is_older = from < X::Room::data_version();
        let migrated = if is_older { X::Room::migrate(from) } else { X::Room::migrate_back(from) };
        turn::end(migrated).map_err(|error| error.0)
    }
}
