//! SQL for rooms: SQLite inside the component, with its pages under keys of the room's storage.
//!
//! A turn of the host is the transaction that makes everything durable, so SQLite writes no journal. Each statement is
//! atomic by itself; the pages that it changed are kept in memory until [`end_turn`] hands them to the storage, each page
//! once. A turn that fails hands over nothing, and its instance is dropped with all that SQLite has cached.
//!
//! The kit (`dormouse_room::sql`) and the JavaScript engine (`ctx.storage.sql`) are above this crate. It knows the
//! contract only through [`Storage`]. A component has one database.
//!
//! `pages.rs` decides which pages are visible and when they are stored, `vfs.rs` shows them to SQLite as a file,
//! `sqlite.rs` wraps the calls of SQLite, `database.rs` runs statements, and `rules.rs` says which are allowed.

pub mod limits;

// A native build has no SQLite, so only tests use these there.
#[cfg_attr(not(any(test, all(feature = "sqlite", target_arch = "wasm32"))), expect(dead_code, reason = "for `vfs.rs`"))]
mod pages;
#[cfg_attr(
    not(any(test, all(feature = "sqlite", target_arch = "wasm32"))),
    expect(dead_code, reason = "for `sqlite.rs`")
)]
mod rules;
mod value;

#[cfg(all(feature = "sqlite", target_arch = "wasm32"))]
mod database;
#[cfg(all(feature = "sqlite", target_arch = "wasm32"))]
mod sqlite;
#[cfg(all(feature = "sqlite", target_arch = "wasm32"))]
mod vfs;

// A native build, for unit tests of rooms, has the same functions. None of them is called there.
#[cfg(not(all(feature = "sqlite", target_arch = "wasm32")))]
#[path = "absent.rs"]
mod database;

pub use database::{
    Cursor, Ended, Savepoint, begin, commit, database_size, delete_all, end_reading, end_turn, end_wake, execute,
    forget, roll_back, set_up,
};
pub use pages::{Storage, TooLarge, delete_stored};
pub use value::{Error, Value, ValueRef};
