//! The user of a client or a request, with the claims and permissions that a token would give.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::types::User;

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

/// A user with claims and permissions. By default the user has no claims, and the permissions of everybody in an open
/// namespace: read, write and presence.
///
/// The host checks read and write before a room is asked; a test does not.
#[derive(Debug, Clone)]
pub struct TestUser {
    pub(crate) user: User,
    permissions: Vec<&'static str>,
    claims: Map<String, Value>,
    grants: BTreeMap<String, Vec<&'static str>>,
}

impl Permission {
    fn name(self) -> &'static str {
        match self {
            Permission::Read => "read",
            Permission::Write => "write",
            Permission::Presence => "presence",
            Permission::Moderate => "moderate",
            Permission::Admin => "admin",
        }
    }
}

impl TestUser {
    /// The user `id-NAME` with this name.
    pub fn new(name: &str) -> Self {
        TestUser::from(User::new(format!("id-{name}"), name))
    }

    /// Adds permissions.
    #[must_use]
    pub fn may(mut self, permissions: impl IntoIterator<Item = Permission>) -> Self {
        self.permissions.extend(permissions.into_iter().map(Permission::name));
        self
    }

    /// Replaces the permissions, also those of an open namespace.
    #[must_use]
    pub fn may_only(mut self, permissions: impl IntoIterator<Item = Permission>) -> Self {
        self.permissions = permissions.into_iter().map(Permission::name).collect();
        self
    }

    /// Adds a claim of the token.
    #[must_use]
    pub fn with_claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// For a router: the permissions in another room, such as `ROOMS/lobby`. Without this the user has none there.
    #[must_use]
    pub fn may_in(mut self, room: &str, permissions: impl IntoIterator<Item = Permission>) -> Self {
        self.grants.insert(room.into(), permissions.into_iter().map(Permission::name).collect());
        self
    }

    /// The access, as the test driver reads it.
    pub(crate) fn access(&self) -> Value {
        json!({ "permissions": self.permissions, "claims": self.claims })
    }

    pub(crate) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    pub(crate) fn grants(&self) -> Value {
        json!(self.grants)
    }

    /// Permissions by their names, for [`TestRoom::connect_with`](crate::TestRoom::connect_with).
    pub(crate) fn with_names(name: &str, permissions: &[&str]) -> Self {
        let all = [Permission::Read, Permission::Write, Permission::Presence, Permission::Moderate, Permission::Admin];
        let find = |wanted: &&str| match all.iter().find(|permission| permission.name() == *wanted) {
            Some(permission) => *permission,
            None => panic!("{wanted:?} is not a permission; there are read, write, presence, moderate and admin"),
        };
        TestUser::new(name).may_only(permissions.iter().map(find))
    }
}

impl From<User> for TestUser {
    fn from(user: User) -> Self {
        let permissions = vec!["read", "write", "presence"];
        TestUser { user, permissions, claims: Map::new(), grants: BTreeMap::new() }
    }
}

impl From<&str> for TestUser {
    fn from(name: &str) -> Self {
        TestUser::new(name)
    }
}
