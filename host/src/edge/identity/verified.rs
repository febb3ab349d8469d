//! A user whose identity is proved, and the reason why an identity is not.
//!
//! It knows no tokens: `verifier` and embedders make these from whatever proves an identity.

use crate::clock::UnixMillis;
use crate::edge::access::grants::Grants;
use crate::limits::USER_BYTES;
use crate::model::{Claims, User};
use crate::revocations::Revocations;

/// A user whose token was valid. A server that mounts the host and verifies users itself puts one into the request's
/// extensions; then no token is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The user.
    pub user: User,
    /// The token is refused from this time on, and sockets that it opened are closed.
    pub expires_at: Option<UnixMillis>,
    /// When the token was issued, if it says so. A token that does not say so is revoked with its user for as long as
    /// the revocation exists.
    pub issued_at: Option<UnixMillis>,
    /// The token's `jti`, to revoke it alone.
    pub token_id: Option<String>,
    /// What the user may do in which rooms, where they ask for grants.
    pub grants: Grants,
    /// The claims that rooms get.
    pub claims: Claims,
}

impl Verified {
    /// A user with a token that says nothing else, and grants nothing.
    pub fn new(user: User) -> Self {
        Verified {
            user,
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

    /// Checks the form of names, which rooms may rely on.
    pub(in crate::edge) fn check(self) -> Result<Self, Invalid> {
        for (what, text) in [("user id", &self.user.id), ("user name", &self.user.name)] {
            if text.is_empty() || text.len() > USER_BYTES || text.chars().any(char::is_control) {
                return Err(Invalid(format!("the {what} must be 1 to {USER_BYTES} bytes without control characters")));
            }
        }
        Ok(self)
    }

    /// Refuses a user or a token that was revoked.
    pub(in crate::edge) fn check_revoked(&self, revocations: &Revocations) -> Result<(), Invalid> {
        if revocations.hold(&self.user.id, self.issued_at, self.token_id.as_deref()) {
            return Err(Invalid("the token was revoked".into()));
        }
        Ok(())
    }
}

/// Why a token is not valid, in words for the client. It never quotes the token.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Invalid(pub String);
