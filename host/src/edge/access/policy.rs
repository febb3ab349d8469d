//! The policy of who may do what in which room: pure functions over a room's address and a user's grants.
//!
//! It knows the access of each namespace, and neither a clock nor a connection. `http` and `sockets`
//! ask it through `control`, and `dormouse check` directly.

use std::collections::BTreeMap;

use super::grants::{Deciding, Grants};
use crate::config::{AccessMode, Config};
use crate::model::{Address, Permission, Permissions};
use crate::routes::spelling;

/// The access to the rooms of a host.
#[derive(Debug)]
pub struct Access {
    namespaces: BTreeMap<String, NamespaceAccess>,
    /// The claim of a token that holds its grants.
    grants_claim: Box<str>,
}

/// The access to the rooms of one namespace.
#[derive(Debug)]
struct NamespaceAccess {
    mode: AccessMode,
    /// Its name as a path spells it, and as patterns are compared with it.
    spelled: String,
    /// The permission that sending takes.
    to_send: Permission,
    /// The host tells clients their permissions.
    tells_clients: bool,
}

/// The permissions of a user in a room, and their reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The access of the namespace.
    pub mode: AccessMode,
    /// The grant that decides, if one matches.
    pub deciding: Option<Deciding<'a>>,
    /// The permissions.
    pub permissions: Permissions,
}

/// A decision, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The namespace is open.
    Open,
    /// A grant gives the permission.
    Granted,
    /// The request has no identity.
    NoIdentity,
    /// The user's token does not have the claim with the grants.
    NoClaim,
    /// No grant of the user matches the room.
    NoGrant,
    /// The grant that decides in the room does not give the permission.
    NotInGrant,
    /// The operator has sent the user out of the room.
    SentOut,
    /// The operator's server gives the permission.
    Authorized,
    /// The operator's server does not give the permission.
    NotAuthorized,
    /// The operator's server gave no decision.
    AuthorizerFailed,
}

/// A decision against a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// The permission that is missing.
    pub missing: Permission,
    /// The reason.
    pub reason: Reason,
}

impl Access {
    /// The policy of a configuration.
    pub fn new(config: &Config) -> Self {
        let of_namespace = |name: &String| {
            let (mode, namespace) = (config.access(name), &config.namespaces[name]);
            NamespaceAccess {
                mode,
                spelled: spelling(name),
                to_send: namespace.to_send(),
                tells_clients: namespace.ignores_unknown_frames(),
            }
        };
        Access {
            namespaces: config.namespaces.keys().map(|name| (name.clone(), of_namespace(name))).collect(),
            grants_claim: config.identity.grants_claim.as_str().into(),
        }
    }

    /// The claim of a token that holds its grants.
    pub(in crate::edge) fn grants_claim(&self) -> &str {
        &self.grants_claim
    }

    /// Whether the rooms of a namespace ask for grants. A namespace that does not exist has no rooms to protect.
    pub fn is_granted(&self, namespace: &str) -> bool {
        self.namespaces.get(namespace).is_some_and(|namespace| namespace.mode == AccessMode::Granted)
    }

    /// Whether the host tells the clients of a namespace their permissions. A room of your own may do so itself.
    pub(super) fn tells_clients(&self, namespace: &str) -> bool {
        self.namespaces.get(namespace).is_some_and(|namespace| namespace.tells_clients)
    }

    /// The permission that a message to a room, or a request with a method other than GET and HEAD, takes.
    pub fn to_send(&self, namespace: &str) -> Permission {
        self.namespaces.get(namespace).map_or(Permission::Write, |namespace| namespace.to_send)
    }

    /// The permission that a request to a room takes.
    pub fn for_method(&self, namespace: &str, method: &str) -> Permission {
        if matches!(method, "GET" | "HEAD") { Permission::Read } else { self.to_send(namespace) }
    }

    /// A room's address as tokens, logs and answers write it, such as `rooms/lobby`.
    pub fn spelled(&self, room: &Address) -> String {
        format!("{}/{}", self.spelling(room), room.name())
    }

    /// The room of such an address; absent if no namespace is spelled so, or no room can have the name.
    pub fn find(&self, spelled: &str) -> Option<Address> {
        let (namespace, name) = spelled.split_once('/')?;
        let namespace = spelling(namespace);
        let found = self.namespaces.iter().find(|(_, known)| known.spelled == namespace)?;
        Address::new(found.0, name).ok()
    }

    /// The permissions of a user with these grants in a room.
    ///
    /// An open namespace gives everybody read, write and presence, and a grant adds to them. Otherwise the grant that
    /// decides gives all there is.
    pub fn standing<'a>(&self, room: &Address, grants: &'a Grants) -> Standing<'a> {
        let deciding = grants.deciding(&self.spelling(room), room.name());
        let granted = deciding.as_ref().map_or(Permissions::NONE, |deciding| deciding.permissions);
        let (mode, permissions) = match self.is_granted(room.namespace()) {
            true => (AccessMode::Granted, granted),
            false => (AccessMode::Open, granted.or(Permissions::OPEN)),
        };
        Standing { mode, deciding, permissions }
    }

    /// Decides whether a user may do something in a room; `grants` is absent without an identity. Returns all the
    /// permissions of the user there, and why the one that is needed is among them.
    pub fn decide(
        &self,
        room: &Address,
        grants: Option<&Grants>,
        needed: Permission,
    ) -> Result<(Permissions, Reason), Denied> {
        let Some(grants) = grants else {
            return match self.is_granted(room.namespace()) {
                true => Err(Denied { missing: needed, reason: Reason::NoIdentity }),
                false => Ok((Permissions::OPEN, Reason::Open)),
            };
        };
        let standing = self.standing(room, grants);
        let reason = match (standing.mode, &standing.deciding) {
            (AccessMode::Open, _) => Reason::Open,
            (AccessMode::Granted, Some(_)) if standing.permissions.has(needed) => Reason::Granted,
            (AccessMode::Granted, Some(_)) => return Err(Denied { missing: needed, reason: Reason::NotInGrant }),
            (AccessMode::Granted, None) if grants.has_no_claim() => {
                return Err(Denied { missing: needed, reason: Reason::NoClaim });
            }
            (AccessMode::Granted, None) => return Err(Denied { missing: needed, reason: Reason::NoGrant }),
        };
        Ok((standing.permissions, reason))
    }

    /// All permissions of a user in a room; `grants` is absent without an identity. None in a namespace that does not
    /// exist.
    pub fn permissions_in(&self, room: &Address, grants: Option<&Grants>) -> Permissions {
        match grants {
            _ if !self.namespaces.contains_key(room.namespace()) => Permissions::NONE,
            Some(grants) => self.standing(room, grants).permissions,
            None if self.is_granted(room.namespace()) => Permissions::NONE,
            None => Permissions::OPEN,
        }
    }

    /// The namespace of a room as paths spell it.
    pub(super) fn spelled_namespace(&self, room: &Address) -> String {
        self.spelling(room)
    }

    fn spelling(&self, room: &Address) -> String {
        self.namespaces
            .get(room.namespace())
            .map_or_else(|| spelling(room.namespace()), |namespace| namespace.spelled.clone())
    }
}

/// Decides by the permissions that the operator's server gave.
pub(super) fn decide_answered(permissions: Permissions, needed: Permission) -> Result<(Permissions, Reason), Denied> {
    match permissions.has(needed) {
        true => Ok((permissions, Reason::Authorized)),
        false => Err(Denied { missing: needed, reason: Reason::NotAuthorized }),
    }
}

impl Reason {
    /// Its name in the metrics and in the log.
    pub(in crate::edge) fn name(self) -> &'static str {
        match self {
            Reason::Open => "open",
            Reason::Granted => "granted",
            Reason::NoIdentity => "no_identity",
            Reason::NoClaim => "no_claim",
            Reason::NoGrant => "no_grant",
            Reason::NotInGrant => "not_in_grant",
            Reason::SentOut => "sent_out",
            Reason::Authorized => "authorized",
            Reason::NotAuthorized => "not_authorized",
            Reason::AuthorizerFailed => "authorizer_failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ROOMS` and `PRESENCE` ask for grants, `POLLS` is open.
    fn access() -> Access {
        let text = "[identity]\nauth = \"jwt\"\n[namespaces.ROOMS]\ncomponent = \"builtin:chat-room\"\n\
                    [namespaces.PRESENCE]\ncomponent = \"builtin:presence-tracker\"\n\
                    [namespaces.BIG_POLLS]\ncomponent = \"poll.wasm\"\naccess = \"open\"\n";
        Access::new(&Config::parse(text).unwrap())
    }

    fn decided(namespace: &str, grants: Option<&[&str]>, needed: Permission) -> Result<(String, Reason), Denied> {
        let grants = grants.map(|texts| Grants::from_texts(texts.iter().copied()).unwrap());
        let room = Address::new(namespace, "lobby").unwrap();
        let decided = access().decide(&room, grants.as_ref(), needed);
        decided.map(|(permissions, reason)| (permissions.to_string(), reason))
    }

    #[test]
    fn a_granted_namespace_gives_what_the_deciding_grant_gives() {
        use Permission::{Read, Write};
        use Reason::{Granted, NoGrant, NoIdentity, NotInGrant};
        let denied = |missing, reason| Err(Denied { missing, reason });
        for (grants, needed, decision) in [
            (Some(&["rooms/lobby=read,moderate"][..]), Read, Ok(("read, moderate".into(), Granted))),
            (Some(&["rooms/lobby=read"]), Write, denied(Write, NotInGrant)),
            (Some(&["rooms/lobby="]), Read, denied(Read, NotInGrant)),
            (Some(&["rooms/*=read,write", "rooms/lobby=write"]), Read, denied(Read, NotInGrant)),
            (Some(&["rooms/other=read", "presence/**=read"]), Read, denied(Read, NoGrant)),
            (Some(&[]), Read, denied(Read, NoGrant)),
            (None, Read, denied(Read, NoIdentity)),
        ] {
            assert_eq!(decided("ROOMS", grants, needed), decision, "{grants:?} {needed}");
        }
    }

    #[test]
    fn a_token_without_the_claim_of_grants_is_told_apart() {
        for (claims, reason) in [("{}", Reason::NoClaim), (r#"{"rooms":{}}"#, Reason::NoGrant)] {
            let grants = Grants::of_claims(claims.as_bytes(), "rooms").unwrap();
            let room = |namespace| Address::new(namespace, "lobby").unwrap();
            let decided = access().decide(&room("ROOMS"), Some(&grants), Permission::Read);
            assert_eq!(decided, Err(Denied { missing: Permission::Read, reason }), "{claims}");
            let open = access().decide(&room("BIG_POLLS"), Some(&grants), Permission::Read);
            assert_eq!(open, Ok((Permissions::OPEN, Reason::Open)), "{claims}");
        }
    }

    #[test]
    fn an_open_namespace_gives_everybody_read_write_and_presence() {
        let open = "read, write, presence".to_owned();
        for (grants, permissions) in [
            (None, open.clone()),
            (Some(&[][..]), open.clone()),
            (Some(&["big-polls/lobby="]), open.clone()),
            (Some(&["BIG_POLLS/*=moderate"]), format!("{open}, moderate")),
        ] {
            let decision = decided("BIG_POLLS", grants, Permission::Write);
            assert_eq!(decision, Ok((permissions, Reason::Open)), "{grants:?}");
        }
    }

    #[test]
    fn sending_takes_write_and_in_the_presence_tracker_presence() {
        let access = access();
        for (namespace, method, permission) in [
            ("ROOMS", "GET", Permission::Read),
            ("ROOMS", "HEAD", Permission::Read),
            ("ROOMS", "POST", Permission::Write),
            ("ROOMS", "DELETE", Permission::Write),
            ("ROOMS", "get", Permission::Write),
            ("ROOMS", "", Permission::Write),
            ("PRESENCE", "GET", Permission::Read),
            ("PRESENCE", "POST", Permission::Presence),
        ] {
            assert_eq!(access.for_method(namespace, method), permission, "{namespace} {method}");
        }
    }
}
