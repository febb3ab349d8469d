//! The decisions of one host about access: what the policy says, counted and logged.
//!
//! `http` asks before a request or a connect reaches its room. `sockets` keeps a [`SocketAccess`] for each WebSocket,
//! asks it for each message, and renews it with each new token. Neither knows how a decision is made.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use serde_json::json;

use super::journal::AccessJournal;
use super::policy::{Access, Denied, Reason};
use crate::config::Config;
use crate::edge::identity::verified::Verified;
use crate::model::{Address, Claims, Permission, Permissions, UserAccess};
use crate::revocations::Revocations;

/// Who may do what in the rooms of a host.
pub(in crate::edge) struct AccessControl {
    policy: Access,
    revocations: Arc<Revocations>,
    journal: AccessJournal,
}

/// What the user of an open WebSocket may do in its room.
pub(in crate::edge) struct SocketAccess {
    control: Arc<AccessControl>,
    room: Address,
    permissions: Permissions,
    /// As the room knows them.
    claims: Claims,
}

/// The effect of a new token on an open socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum Renewed {
    /// The user may do what was allowed before, and has the same claims.
    Same,
    /// The user may do what was allowed before, and has other claims.
    OtherClaims,
    /// The user may stay, with other permissions.
    Changed,
    /// The user may not read any more.
    MayNotRead,
    /// The user may read, but not stay on the list of those who are present.
    MayNotBeListed,
}

impl AccessControl {
    pub(in crate::edge) fn new(config: &Config, revocations: Arc<Revocations>) -> Arc<Self> {
        Arc::new(AccessControl { policy: Access::new(config), revocations, journal: AccessJournal::new() })
    }

    /// Registers the metric of the decisions.
    pub(in crate::edge) fn register(&self, registry: &mut Registry) {
        self.journal.register(registry);
    }

    /// The policy behind the decisions.
    pub(in crate::edge) fn policy(&self) -> &Access {
        &self.policy
    }

    /// Decides whether a user may do something in a room; `user` is absent without an identity. Returns all the
    /// permissions of the user there.
    pub(in crate::edge) fn check(
        &self,
        room: &Address,
        user: Option<&Verified>,
        needed: Permission,
    ) -> Result<Permissions, Denied> {
        let is_out = !self.revocations.is_empty()
            && user.is_some_and(|user| user.is_sent_out(&self.revocations, &self.policy.spelled(room)));
        let decided = match is_out {
            true => Err(Denied { missing: needed, reason: Reason::SentOut }),
            false => self.policy.decide(room, user.map(|user| &user.grants), needed),
        };
        match decided {
            Ok((permissions, reason)) => {
                self.journal.allowed(reason);
                Ok(permissions)
            }
            Err(denied) => {
                let service = user.filter(|user| user.is_service()).map(|service| service.user.id.as_str());
                let user = user.map(|user| user.room_user().id.as_str());
                self.journal.denied(user, service, &self.policy.spelled(room), denied);
                Err(denied)
            }
        }
    }

    /// All permissions of a user in a room; `user` is absent without an identity. It decides nothing, so it is neither
    /// counted nor logged.
    pub(in crate::edge) fn permissions_in(&self, room: &Address, user: Option<&Verified>) -> Permissions {
        let is_out = user.is_some_and(|user| user.is_sent_out(&self.revocations, &self.policy.spelled(room)));
        if is_out { Permissions::NONE } else { self.policy.permissions_in(room, user.map(|user| &user.grants)) }
    }
}

impl SocketAccess {
    /// The access of a socket that was let in with these permissions and claims.
    pub(in crate::edge) fn new(
        control: Arc<AccessControl>,
        room: Address,
        permissions: Permissions,
        claims: Claims,
    ) -> Self {
        SocketAccess { control, room, permissions, claims }
    }

    /// The claims and permissions, for the room.
    pub(in crate::edge) fn of_user(&self) -> UserAccess {
        UserAccess::new(self.claims.clone(), self.permissions)
    }

    /// The room as revocations name it.
    pub(in crate::edge) fn room(&self) -> String {
        self.control.policy.spelled(&self.room)
    }

    /// The frame that tells the client its permissions; absent where clients do not expect it.
    pub(in crate::edge) fn frame(&self) -> Option<String> {
        let names = self.permissions.iter().map(Permission::name).collect::<Vec<_>>();
        let tells_clients = self.control.policy.tells_clients(self.room.namespace());
        tells_clients.then(|| json!({ "type": "permissions", "permissions": names }).to_string())
    }

    /// Decides whether the user may send one more message. This runs for each message, so that it only counts and logs
    /// refusals. `service` acts for the user, if it is one.
    pub(in crate::edge) fn check_message(&self, user: &str, service: Option<&str>) -> Result<(), Permission> {
        let missing = self.control.policy.to_send(self.room.namespace());
        if self.permissions.has(missing) {
            return Ok(());
        }
        let denied = Denied { missing, reason: Reason::NotInGrant };
        self.control.journal.denied(Some(user), service, &self.control.policy.spelled(&self.room), denied);
        Err(missing)
    }

    /// The user has shown a new token, and what it says holds from now on.
    pub(in crate::edge) fn renew(&mut self, user: &Verified) -> Renewed {
        let claims_before = std::mem::replace(&mut self.claims, user.claims.clone());
        let Ok(permissions) = self.control.check(&self.room, Some(user), Permission::Read) else {
            self.permissions = Permissions::NONE;
            return Renewed::MayNotRead;
        };
        let before = std::mem::replace(&mut self.permissions, permissions);
        let is_list = self.control.policy.to_send(self.room.namespace()) == Permission::Presence;
        if is_list && before.has(Permission::Presence) && !permissions.has(Permission::Presence) {
            return Renewed::MayNotBeListed;
        }
        match (before == permissions, claims_before == self.claims) {
            (true, true) => Renewed::Same,
            (true, false) => Renewed::OtherClaims,
            (false, _) => Renewed::Changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::edge::access::grants::Grants;
    use crate::model::User;

    fn ana(grants: &str) -> Verified {
        Verified::new(User::new("ana", "ana")).with_grants(Grants::from_texts([grants]).unwrap())
    }

    fn control(config: &Config) -> Arc<AccessControl> {
        AccessControl::new(config, Arc::new(Revocations::in_memory(Duration::ZERO)))
    }

    fn socket(namespace: &str, grants: &str) -> SocketAccess {
        let control = control(&Config::parse("[identity]\nauth = \"jwt\"").unwrap());
        let room = Address::new(namespace, "lobby").unwrap();
        let permissions = control.check(&room, Some(&ana(grants)), Permission::Read).unwrap();
        SocketAccess::new(control, room, permissions, Claims::default())
    }

    #[test]
    fn a_new_token_changes_what_an_open_socket_may_do_at_once() {
        let mut access = socket("ROOMS", "rooms/*=read,write");
        assert_eq!(access.check_message("ana", None), Ok(()));
        for (grant, renewed, may_send) in [
            ("rooms/lobby=read,write", Renewed::Same, Ok(())),
            ("rooms/lobby=read", Renewed::Changed, Err(Permission::Write)),
            ("rooms/lobby=read,write,admin", Renewed::Changed, Ok(())),
            ("rooms/lobby=write", Renewed::MayNotRead, Err(Permission::Write)),
            ("rooms/other=read,write", Renewed::MayNotRead, Err(Permission::Write)),
        ] {
            assert_eq!(access.renew(&ana(grant)), renewed, "{grant}");
            assert_eq!(access.check_message("ana", None), may_send, "{grant}");
        }
    }

    #[test]
    fn a_user_who_may_not_be_listed_any_more_cannot_stay_on_the_list() {
        let mut access = socket("PRESENCE", "presence/lobby=read,presence");
        assert_eq!(access.check_message("ana", None), Ok(()));
        assert_eq!(access.renew(&ana("presence/lobby=read,write")), Renewed::MayNotBeListed);
        assert_eq!(access.check_message("ana", None), Err(Permission::Presence));
        assert_eq!(access.renew(&ana("presence/lobby=read,presence")), Renewed::Changed);
    }

    #[test]
    fn clients_of_the_shipped_rooms_are_told_their_permissions_where_rooms_ask_for_grants() {
        let told = socket("ROOMS", "rooms/*=read,moderate").frame();
        assert_eq!(told.as_deref(), Some(r#"{"permissions":["read","moderate"],"type":"permissions"}"#));
        let own = "identity.auth = \"jwt\"\n[namespaces.ROOMS]\ncomponent = \"mine.wasm\"";
        for config in [Config::default(), Config::parse(own).unwrap()] {
            let room = Address::new("ROOMS", "lobby").unwrap();
            assert_eq!(SocketAccess::new(control(&config), room, Permissions::OPEN, Claims::default()).frame(), None);
        }
    }
}
