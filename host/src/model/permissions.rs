//! The permissions of a user in one room: their names, and a set of them.
//!
//! It knows no token and no pattern: `edge/access` decides which permissions a user has. The host enforces `read` and
//! `write`, and in rooms of the presence tracker `presence`. Rooms may ask for all of them.

use std::fmt;
use std::str::FromStr;

/// Something that a user may do in a room. No permission includes another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Enter the room, receive its messages, and send it GET and HEAD.
    Read,
    /// Send it messages, and requests with other methods.
    Write,
    /// Be on the list of those who are present.
    Presence,
    /// Moderate other users. The room decides what that means.
    Moderate,
    /// Administer the room. The room decides what that means.
    Admin,
}

/// No permission has this name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a permission; there are read, write, presence, moderate and admin")]
pub struct UnknownPermission(pub String);

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u8);

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

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(name: &str) -> Result<Self, UnknownPermission> {
        let found = Permission::ALL.into_iter().find(|permission| permission.name() == name);
        found.ok_or_else(|| UnknownPermission(name.chars().take(32).collect()))
    }
}

impl Permissions {
    /// No permission.
    pub const NONE: Permissions = Permissions(0);
    /// The permissions of every user in a room with `access = "open"`.
    pub const OPEN: Permissions =
        Permissions(Permission::Read.bit() | Permission::Write.bit() | Permission::Presence.bit());
    /// Every permission.
    pub const ALL: Permissions = Permissions((1 << Permission::ALL.len()) - 1);

    /// Whether a permission is in the set.
    pub fn has(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// The permissions that are in both sets.
    #[must_use]
    pub fn and(self, other: Permissions) -> Permissions {
        Permissions(self.0 & other.0)
    }

    /// The permissions that are in at least one of the sets.
    #[must_use]
    pub fn or(self, other: Permissions) -> Permissions {
        Permissions(self.0 | other.0)
    }

    /// Its permissions, in their order.
    pub fn iter(self) -> impl Iterator<Item = Permission> + Clone {
        Permission::ALL.into_iter().filter(move |permission| self.has(*permission))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Permissions(permissions.into_iter().fold(0, |set, permission| set | permission.bit()))
    }
}

/// The names, separated by commas; empty for no permission.
impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, permission) in self.iter().enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{permission}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_read_by_the_names_that_they_are_written_with() {
        for permission in Permission::ALL {
            assert_eq!(permission.name().parse(), Ok(permission));
        }
        for other in ["", "Read", "read ", "reed", "all", "*"] {
            assert_eq!(other.parse::<Permission>(), Err(UnknownPermission(other.into())), "{other}");
        }
        assert_eq!("x".repeat(100).parse::<Permission>(), Err(UnknownPermission("x".repeat(32))));
    }

    #[test]
    fn a_set_holds_just_its_members() {
        let some = Permissions::from_iter([Permission::Admin, Permission::Read, Permission::Read]);
        assert_eq!(some.iter().collect::<Vec<_>>(), [Permission::Read, Permission::Admin]);
        assert_eq!(some.to_string(), "read, admin");
        assert_eq!(some.and(Permissions::OPEN), Permissions::from_iter([Permission::Read]));
        assert_eq!(some.or(Permissions::OPEN).to_string(), "read, write, presence, admin");
        assert_eq!(Permissions::ALL.iter().count(), Permission::ALL.len());
        assert_eq!(Permissions::NONE.to_string(), "");
        assert!(Permission::ALL.iter().all(|permission| !Permissions::NONE.has(*permission)));
    }
}
