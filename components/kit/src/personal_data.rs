//! The data of one user: how a room exports and erases it. An operator asks for it over all rooms, with `dormouse users
//! export` and `dormouse users erase`.
//!
//! Implement [`PersonalData`] for the type of your room, and name it in [`export_personal_data!`](crate::export_personal_data)
//! after [`export!`](crate::export).
//!
//! ```no_run
//! use dormouse_room::personal_data::{Erased, Exported};
//! use dormouse_room::{Message, PersonalData, Result, Room, Socket, storage};
//!
//! /// Keeps the last note of each user.
//! struct Notes;
//! dormouse_room::export!(Notes);
//! dormouse_room::export_personal_data!(Notes);
//!
//! impl Room for Notes {
//!     fn wake() -> Result<Self> {
//!         Ok(Notes)
//!     }
//!
//!     fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
//!         storage::put_json(&sender.user().id, &message.as_text().unwrap_or_default())
//!     }
//! }
//!
//! impl PersonalData for Notes {
//!     fn export_user(&mut self, user: &str, _: Option<&str>) -> Result<Exported> {
//!         Exported::all(storage::get_json::<String>(user)?)
//!     }
//!
//!     fn erase_user(&mut self, user: &str, _: Option<&str>) -> Result<Erased> {
//!         Ok(Erased::all(u32::from(storage::delete(user))))
//!     }
//! }
//! ```
//!
//! Each call is one turn. If a room keeps more about a user than a turn can read, it returns a part and says where the
//! next one begins, with [`Exported::part`] and [`Erased::part`].

use serde::Serialize;

use crate::bindings::personal_data::exports::dormouse::room::personal_data as wit;
use crate::room::{Exported as ExportedRoom, with_room};
use crate::{Result, Room, turn};

pub use wit::{Erased, Exported};

/// A room that declares how the data of a user is exported and erased. `user` is the id of a user, as in
/// [`User::id`](crate::User). `after` is the `next` of the call before; absent in the first one.
pub trait PersonalData: Room {
    /// Returns what the room keeps about a user. It may only read: a write, a message or a timer fails the turn.
    fn export_user(&mut self, user: &str, after: Option<&str>) -> Result<Exported>;

    /// Erases what the room keeps about a user, and says how many items that were. Called again for a user without
    /// data, it does nothing and returns 0.
    fn erase_user(&mut self, user: &str, after: Option<&str>) -> Result<Erased>;
}

impl Exported {
    /// All items, or the last of them.
    pub fn all<T: Serialize>(items: impl IntoIterator<Item = T>) -> Result<Self> {
        let items = items.into_iter().map(|item| serde_json::to_string(&item));
        Ok(Exported { items: items.collect::<Result<_, _>>()?, next: None })
    }

    /// Some items. The host calls again, with this `next` as `after`.
    pub fn part<T: Serialize>(items: impl IntoIterator<Item = T>, next: impl Into<String>) -> Result<Self> {
        Ok(Exported { next: Some(next.into()), ..Self::all(items)? })
    }
}

impl Erased {
    /// So many items were erased, and no more are left.
    pub fn all(items: u32) -> Self {
        Erased { items, next: None }
    }

    /// So many items were erased. The host calls again, with this `next` as `after`.
    pub fn part(items: u32, next: impl Into<String>) -> Self {
        Erased { items, next: Some(next.into()) }
    }
}

/// Exports how a room handles the data of a user: a type that implements [`PersonalData`], which
/// [`export!`](crate::export) names in the same module.
#[macro_export]
macro_rules! export_personal_data {
    ($room:ty) => {
        #[cfg(target_arch = "wasm32")]
        $crate::export::personal_data::export_personal_data!(ExportedRoom);
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::export::personal_data_is_used::<$room>();
    };
}

#[doc(hidden)]
pub const fn personal_data_is_used<T: PersonalData>() {}

impl<X: ExportedRoom> wit::Guest for X
where
    X::Room: PersonalData,
{
    fn export_user(user: String, after: Option<String>) -> Result<Exported, String> {
        turn::end_reading(with_room::<X, _>(|room| room.export_user(&user, after.as_deref()))).map_err(|error| error.0)
    }

    fn erase_user(user: String, after: Option<String>) -> Result<Erased, String> {
        turn::end(with_room::<X, _>(|room| room.erase_user(&user, after.as_deref()))).map_err(|error| error.0)
    }
}
