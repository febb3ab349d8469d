//! The user behind an event: the claims and permissions of the user whom this turn is about.
//!
//! The user is the one who connects, sends a message or a request, or has left. A [`Socket`] tells its own: of the
//! sender, or of anybody else in the room. A request has no socket, so ask [`may`] and [`claims`]. No client, no router
//! and no other room can set either: the host takes them from the verified token.
//!
//! ```no_run
//! use dormouse_room::{Message, Permission, Request, Response, Result, Room, Socket, access};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Claims {
//!     #[serde(default)]
//!     role: Option<String>,
//! }
//!
//! struct Stage;
//! dormouse_room::export!(Stage);
//!
//! impl Room for Stage {
//!     fn wake() -> Result<Self> {
//!         Ok(Stage)
//!     }
//!
//!     fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
//!         let is_host = sender.claims::<Claims>()?.role.as_deref() == Some("host");
//!         if is_host || sender.may(Permission::Moderate) {
//!             dormouse_room::sockets::everyone().broadcast(&message)?;
//!         }
//!         Ok(())
//!     }
//!
//!     fn request(&mut self, _: Request) -> Result<Response> {
//!         if !access::may(Permission::Admin) {
//!             return Ok(Response::problem(403, "this needs the permission `admin`"));
//!         }
//!         Ok(Response::json_text("{}"))
//!     }
//! }
//! ```

use serde::de::DeserializeOwned;

use crate::bindings::room::dormouse::room::access as wit;
use crate::bindings::router::dormouse::room::grants;
use crate::{Error, Result, Socket};

/// A set of permissions.
pub use wit::PermissionSet as Permissions;

/// Something that a user may do in this room. No permission includes another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Enter the room and receive its messages. The host checks it.
    Read,
    /// Send messages and requests. The host checks it.
    Write,
    /// Be on the list of those who are present.
    Presence,
    /// Moderate other users. The room decides what that means.
    Moderate,
    /// Administer the room. The room decides what that means.
    Admin,
}

/// Whether the user of this turn may do this in this room. False in a timer's turn.
///
/// In a namespace with `access = "open"`, and for a request of another room, these are read, write and presence; in the
/// former a grant adds to them.
pub fn may(permission: Permission) -> bool {
    permissions().has(permission)
}

/// The permissions of the user of this turn. Empty in a timer's turn, and in a router.
pub fn permissions() -> Permissions {
    wit::permissions()
}

/// The claims of the user of this turn, as your type; in a router those of the request's user. Without a token they are
/// an empty object, and also if they are too long and the operator has chosen none; so give your fields defaults.
///
/// Fails: if the claims do not fit the type.
pub fn claims<T: DeserializeOwned>() -> Result<T> {
    read(&wit::claims_json())
}

/// Only in a router: whether the user of the request may do this in a room, by the token's grants. False where the
/// operator's server decides about access: the host asks it only about the room that the router chooses.
pub fn may_in(namespace: &str, name: &str, permission: Permission) -> bool {
    grants::permissions_in(namespace, name).has(permission)
}

impl Socket {
    /// Whether the client's user may do this in this room, as of the last event that the room saw. A client may renew
    /// its token: the messages that it sent before run with the old permissions.
    ///
    /// In a namespace with `access = "open"` these are read, write and presence, and what a grant adds.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions().has(permission)
    }

    /// The claims of the client's token, as your type, as of the last event that the room saw. Without a token they are
    /// an empty object, and also if they are too long and the operator has chosen none; so give your fields defaults.
    ///
    /// Fails: if the claims do not fit the type.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T> {
        read(&self.claims_json())
    }
}

impl Permissions {
    /// Whether a permission is in the set.
    pub fn has(self, permission: Permission) -> bool {
        self.contains(permission.into())
    }
}

impl Permission {
    /// All permissions.
    pub const ALL: [Permission; 5] =
        [Permission::Read, Permission::Write, Permission::Presence, Permission::Moderate, Permission::Admin];

    /// Its name in a token.
    pub fn name(self) -> &'static str {
        match self {
            Permission::Read => "read",
            Permission::Write => "write",
            Permission::Presence => "presence",
            Permission::Moderate => "moderate",
            Permission::Admin => "admin",
        }
    }
}

impl From<Permission> for Permissions {
    fn from(permission: Permission) -> Self {
        match permission {
            Permission::Read => Permissions::READ,
            Permission::Write => Permissions::WRITE,
            Permission::Presence => Permissions::PRESENCE,
            Permission::Moderate => Permissions::MODERATE,
            Permission::Admin => Permissions::ADMIN,
        }
    }
}

/// The error does not quote a claim: it goes to the log.
fn read<T: DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| {
        Error::new(format!("the claims of the token do not fit the room's type, at column {}", error.column()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_that_do_not_fit_are_an_error_without_their_text() {
        #[derive(Debug, serde::Deserialize)]
        struct Claims {
            #[serde(default)]
            role: String,
        }
        assert_eq!(read::<Claims>(r#"{"role":"host","plan":7}"#).unwrap().role, "host");
        assert_eq!(read::<Claims>("{}").unwrap().role, "");
        let error = read::<Claims>(r#"{"role":4711}"#).unwrap_err().to_string();
        assert!(error.contains("column 12") && !error.contains("4711"), "{error}");
    }

    #[test]
    fn a_set_has_just_its_permissions() {
        let set = Permissions::READ | Permissions::ADMIN;
        let has = Permission::ALL.into_iter().filter(|permission| set.has(*permission)).collect::<Vec<_>>();
        assert_eq!(has, [Permission::Read, Permission::Admin]);
    }
}
