//! The claims of a user's token that rooms get, and all that a room knows of a user's access.
//!
//! It knows no token: `edge/identity` chooses the claims, and `edge/access` decides the permissions.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Permissions;
use crate::limits::CLAIMS_BYTES;

/// The claims of a token that rooms get: a JSON object, as text. Cheap to clone; without a claim it takes no memory.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Claims(Option<Arc<str>>);

/// The claims are longer than [`CLAIMS_BYTES`].
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error("the claims for rooms are longer than {CLAIMS_BYTES} bytes of JSON")]
pub struct ClaimsTooLong;

/// A user's access in one room, as the room sees it. Cheap to clone. The default is that of a user without claims in an
/// open room, and takes no memory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UserAccess(Option<Arc<(Claims, Permissions)>>);

impl Claims {
    /// Claims from a JSON object.
    ///
    /// Limit: [`CLAIMS_BYTES`] as compact JSON.
    pub fn new(claims: &Map<String, Value>) -> Result<Self, ClaimsTooLong> {
        if claims.is_empty() {
            return Ok(Claims(None));
        }
        let text = serde_json::to_string(claims).expect("a JSON object can be written");
        if text.len() > CLAIMS_BYTES { Err(ClaimsTooLong) } else { Ok(Claims(Some(text.into()))) }
    }

    /// The claims as a JSON object; `{}` without a claim.
    pub fn as_json(&self) -> &str {
        self.0.as_deref().unwrap_or("{}")
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

impl UserAccess {
    /// The access of a user with these claims and permissions.
    pub fn new(claims: Claims, permissions: Permissions) -> Self {
        let is_default = claims.is_empty() && permissions == Permissions::OPEN;
        UserAccess((!is_default).then(|| Arc::new((claims, permissions))))
    }

    /// The claims of the user's token, as a JSON object.
    pub fn claims_json(&self) -> &str {
        self.0.as_ref().map_or("{}", |known| known.0.as_json())
    }

    /// The user's permissions in the room.
    pub fn permissions(&self) -> Permissions {
        self.0.as_ref().map_or(Permissions::OPEN, |known| known.1)
    }
}

impl fmt::Debug for UserAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserAccess({}, {})", self.claims_json(), self.permissions())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Result<Claims, ClaimsTooLong> {
        Claims::new(value.as_object().expect("an object"))
    }

    #[test]
    fn claims_are_a_json_object_within_their_limit() {
        assert_eq!(claims(json!({ "role": "host" })).unwrap().as_json(), r#"{"role":"host"}"#);
        let empty = claims(json!({})).unwrap();
        assert_eq!((empty.as_json(), empty.is_empty()), ("{}", true));
        let of = |bytes: usize| claims(json!({ "a": "x".repeat(bytes - r#"{"a":""}"#.len()) }));
        assert_eq!(of(CLAIMS_BYTES).unwrap().as_json().len(), CLAIMS_BYTES);
        assert_eq!(of(CLAIMS_BYTES + 1), Err(ClaimsTooLong));
    }

    #[test]
    fn a_user_without_claims_in_an_open_room_takes_no_memory() {
        let open = UserAccess::new(Claims::default(), Permissions::OPEN);
        assert!(open.0.is_none() && size_of::<UserAccess>() == 8);
        assert_eq!((open.claims_json(), open.permissions()), ("{}", Permissions::OPEN));
        let none = UserAccess::new(Claims::default(), Permissions::NONE);
        assert_eq!((none.claims_json(), none.permissions()), ("{}", Permissions::NONE));
        let host = UserAccess::new(claims(json!({ "role": "host" })).unwrap(), Permissions::OPEN);
        assert_eq!((host.claims_json(), host.permissions()), (r#"{"role":"host"}"#, Permissions::OPEN));
    }
}
