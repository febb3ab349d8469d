//! The permissions of the user who connects or sends a request.
//!
//! The host writes them into a header that no client, no router and no other room can set.

use crate::Request;

/// The header with the names of the permissions. The host sets it in namespaces with `access = "granted"`.
const HEADER: &str = "dormouse-permissions";

/// Something that a user may do in this room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Enter the room and receive its messages. The host checks it.
    Read,
    /// Send messages and requests. The host checks it.
    Write,
    /// Be on the list of those who are present.
    Presence,
    /// Moderate other users.
    Moderate,
    /// Administer the room.
    Admin,
}

impl Permission {
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

impl Request {
    /// Whether its user may do this in the room. In a namespace with `access = "open"`, and for a request of another
    /// room, these are read, write and presence.
    ///
    /// It holds for this request. Keep what you need in the attachment of a socket: a client may later get a token that
    /// grants more or less. The host itself then checks read and write again.
    pub fn may(&self, permission: Permission) -> bool {
        match self.header(HEADER) {
            Some(names) => names.split(',').any(|name| name.trim() == permission.name()),
            None => matches!(permission, Permission::Read | Permission::Write | Permission::Presence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(permissions: Option<&str>) -> Request {
        let headers = permissions.map(|names| (HEADER.to_owned(), names.to_owned())).into_iter().collect();
        Request { headers, ..Request::get("/") }
    }

    #[test]
    fn a_user_may_do_what_the_header_of_the_host_names() {
        let some = request(Some("read, moderate"));
        assert!(some.may(Permission::Read) && some.may(Permission::Moderate));
        assert!(!some.may(Permission::Write) && !some.may(Permission::Admin));
        for permission in [Permission::Read, Permission::Write, Permission::Moderate] {
            assert!(!request(Some("")).may(permission), "{permission:?}");
        }
    }

    #[test]
    fn in_an_open_room_everybody_may_read_write_and_be_listed() {
        let open = request(None);
        for permission in [Permission::Read, Permission::Write, Permission::Presence] {
            assert!(open.may(permission), "{permission:?}");
        }
        assert!(!open.may(Permission::Moderate) && !open.may(Permission::Admin));
    }
}
