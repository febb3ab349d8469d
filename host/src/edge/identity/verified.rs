//! A user or a service whose identity is proved, and the reason why an identity is not.
//!
//! A service is a back end. It has limits of its own, and may act for users: then the room sees the user, while grants,
//! limits and revocations are those of the service.
//!
//! It knows no tokens: `verifier` and embedders make these from any proof of an identity.

use crate::clock::{self, UnixMillis};
use crate::edge::access::grants::Grants;
use crate::edge::subject::Subject;
use crate::limits::USER_BYTES;
use crate::model::{Claims, User};
use crate::revocations::Revocations;

/// A user whose token was valid. A server that mounts the host and verifies users itself puts one into the request's
/// extensions; then no token is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The user, or the service itself: the `sub` and the `name` of the token. A room may see another user, for whom a
    /// service acts.
    pub user: User,
    /// Whether it is a service, and for whom that acts.
    pub role: Role,
    /// The token is refused from this time on, and sockets that it opened are closed.
    pub expires_at: Option<UnixMillis>,
    /// When the token was issued. A token without this time is revoked with its user for as long as the revocation
    /// exists.
    pub issued_at: Option<UnixMillis>,
    /// The token's `jti`, to revoke it alone.
    pub token_id: Option<String>,
    /// The permissions of the user, by pattern of rooms, where they ask for grants.
    pub grants: Grants,
    /// The claims that rooms get.
    pub claims: Claims,
}

/// The kind of an identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Role {
    /// A user.
    #[default]
    User,
    /// A back end.
    Service {
        /// The user that rooms see in its place. Absent if it acts for itself.
        acts_for: Option<User>,
    },
}

impl Verified {
    /// A user without an expiry, without grants and without claims.
    pub fn new(user: User) -> Self {
        Verified {
            user,
            role: Role::User,
            expires_at: None,
            issued_at: None,
            token_id: None,
            grants: Grants::default(),
            claims: Claims::default(),
        }
    }

    /// The same user, with these grants.
    #[must_use]
    pub fn with_grants(self, grants: Grants) -> Self {
        Verified { grants, ..self }
    }

    /// The same user, with these claims.
    #[must_use]
    pub fn with_claims(self, claims: Claims) -> Self {
        Verified { claims, ..self }
    }

    /// A service, which acts for itself.
    pub fn service(service: User) -> Self {
        Verified { role: Role::Service { acts_for: None }, ..Verified::new(service) }
    }

    /// The same service, acting for a user. A user acts for nobody and stays as it is.
    #[must_use]
    pub fn acting_for(mut self, user: User) -> Self {
        if let Role::Service { acts_for } = &mut self.role {
            *acts_for = Some(user);
        }
        self
    }

    /// The user for whom a service acts.
    pub(in crate::edge) fn acts_for(&self) -> Option<&User> {
        match &self.role {
            Role::Service { acts_for } => acts_for.as_ref(),
            Role::User => None,
        }
    }

    /// Whether it is a service.
    pub fn is_service(&self) -> bool {
        matches!(self.role, Role::Service { .. })
    }

    /// The user that rooms see.
    pub fn room_user(&self) -> &User {
        match &self.role {
            Role::Service { acts_for: Some(user) } => user,
            Role::Service { acts_for: None } | Role::User => &self.user,
        }
    }

    /// The identity whose limits count.
    pub(in crate::edge) fn subject(&self) -> Subject {
        let id = self.user.id.clone();
        if self.is_service() { Subject::Service(id) } else { Subject::User(id) }
    }

    /// Checks the form of names, which rooms may rely on.
    pub(in crate::edge) fn check(self) -> Result<Self, Invalid> {
        check_names(&self.user)?;
        check_names(self.room_user())?;
        Ok(self)
    }

    /// Returns whether the operator has sent the user out of a room. A service stays out for itself, and for a user who
    /// was sent out. The room is written as revocations name it, such as `rooms/team-7`.
    pub fn is_sent_out(&self, revocations: &Revocations, room: &str) -> bool {
        let is_out = |user: &User| revocations.hold_member(&user.id, room);
        is_out(&self.user) || is_out(self.room_user())
    }

    /// Refuses an identity that has expired or was revoked since it was verified.
    pub(in crate::edge) fn check_current(&self, revocations: &Revocations) -> Result<(), Invalid> {
        if self.expires_at.is_some_and(|at| at <= clock::unix_millis()) {
            return Err(Invalid("the token has expired".into()));
        }
        self.check_revoked(revocations)
    }

    /// Refuses a user or a token that was revoked.
    pub fn check_revoked(&self, revocations: &Revocations) -> Result<(), Invalid> {
        if revocations.hold(&self.user.id, self.issued_at, self.token_id.as_deref()) {
            return Err(Invalid("the token was revoked".into()));
        }
        Ok(())
    }
}

/// Checks the form of a user's id and name.
pub(in crate::edge) fn check_names(user: &User) -> Result<(), Invalid> {
    for (what, text) in [("user id", &user.id), ("user name", &user.name)] {
        if text.is_empty() || text.len() > USER_BYTES || text.chars().any(char::is_control) {
            return Err(Invalid(format!("the {what} must be 1 to {USER_BYTES} bytes without control characters")));
        }
    }
    Ok(())
}

/// Why a token is not valid, in words for the client. It never quotes the token.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Invalid(pub String);
