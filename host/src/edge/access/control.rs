//! The decisions of one host about access: what the policy or the operator's server says, counted and logged.
//!
//! `http` asks before a request or a connect reaches its room, and does not know how a decision is made.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::authorizer::{Answer, Authorizer, NoAnswer, Question};
use super::decisions::Decisions;
use super::policy::{self, Access, Denied, Reason};
use crate::config::Config;
use crate::edge::identity::verified::Verified;
use crate::model::{Address, Permission, Permissions};
use crate::revocations::Revocations;

/// The access to the rooms of a host.
pub(crate) struct AccessControl {
    policy: Access,
    /// Decides in place of the grants of users, where it is present.
    authorizer: Option<Arc<Authorizer>>,
    revocations: Arc<Revocations>,
    decisions: Decisions,
}

/// A user who may do something in a room.
#[derive(Debug)]
pub(in crate::edge) struct Admitted {
    /// All the permissions of the user there.
    pub(in crate::edge) permissions: Permissions,
    /// The answer that gave them; absent where grants decide.
    answer: Option<Answer>,
}

impl Admitted {
    /// A user whom grants admit.
    pub(super) fn by_grants(permissions: Permissions) -> Self {
        Admitted { permissions, answer: None }
    }

    /// The answer that gave the permissions, if one did.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answer
    }
}

impl AccessControl {
    pub(crate) fn new(
        config: &Config,
        authorizer: Option<Arc<Authorizer>>,
        revocations: Arc<Revocations>,
    ) -> Arc<Self> {
        let (policy, decisions) = (Access::new(config), Decisions::new());
        Arc::new(AccessControl { policy, authorizer, revocations, decisions })
    }

    /// Registers the metrics of the decisions.
    pub(in crate::edge) fn register(&self, registry: &mut Registry) {
        self.decisions.register(registry);
        if let Some(authorizer) = &self.authorizer {
            authorizer.register(registry);
        }
    }

    /// The users and tokens that were revoked.
    pub(in crate::edge) fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// The policy behind the decisions.
    pub(in crate::edge) fn policy(&self) -> &Access {
        &self.policy
    }

    /// Decides whether a user may do something in a room; `user` is absent without an identity. Where the operator's
    /// server decides, this waits for its answer, at most `identity.authorize_timeout`.
    pub(in crate::edge) async fn check(
        &self,
        room: &Address,
        user: Option<&Verified>,
        needed: Permission,
    ) -> Result<Admitted, Denied> {
        let (Some(user), Some(authorizer)) = (user, user.and_then(|user| self.authorizer_of(room, user))) else {
            let permissions = self.check_grants(room, user, needed)?;
            return Ok(Admitted::by_grants(permissions));
        };
        self.check_sent_out(room, user, needed)?;
        let question = Question::new(user.room_user(), user.claims.clone(), room.clone());
        let asked = authorizer.ask(question, self.policy.spelled_namespace(room), needed, None).await;
        // The user may have been sent out meanwhile.
        self.check_sent_out(room, user, needed)?;
        let answered = asked.map_err(|NoAnswer| Denied { missing: needed, reason: Reason::AuthorizerFailed });
        let decided = answered.and_then(|answer| Ok((policy::decide_answered(answer.permissions, needed)?, answer)));
        match decided {
            Ok(((permissions, reason), answer)) => {
                self.decisions.allowed(reason);
                Ok(Admitted { permissions, answer: Some(answer) })
            }
            Err(denied) => Err(self.deny(room, Some(user), denied)),
        }
    }

    /// The same where grants decide.
    pub(super) fn check_grants(
        &self,
        room: &Address,
        user: Option<&Verified>,
        needed: Permission,
    ) -> Result<Permissions, Denied> {
        user.map_or(Ok(()), |user| self.check_sent_out(room, user, needed))?;
        match self.policy.decide(room, user.map(|user| &user.grants), needed) {
            Ok((permissions, reason)) => {
                self.decisions.allowed(reason);
                Ok(permissions)
            }
            Err(denied) => Err(self.deny(room, user, denied)),
        }
    }

    /// All permissions of a user in a room, without a question to the operator's server: none where that one decides.
    /// `user` is absent without an identity. It decides nothing, so it is neither counted nor logged.
    pub(in crate::edge) fn permissions_in(&self, room: &Address, user: Option<&Verified>) -> Permissions {
        let is_out = user.is_some_and(|user| user.is_sent_out(&self.revocations, &self.policy.spelled(room)));
        let is_asked = user.is_some_and(|user| self.authorizer_of(room, user).is_some());
        let grants = user.map(|user| &user.grants);
        if is_out || is_asked { Permissions::NONE } else { self.policy.permissions_in(room, grants) }
    }

    /// The authorizer, where it decides: not in open rooms, and not about services.
    pub(super) fn authorizer_of(&self, room: &Address, user: &Verified) -> Option<&Arc<Authorizer>> {
        let decides = self.policy.is_granted(room.namespace()) && !user.is_service();
        self.authorizer.as_ref().filter(|_| decides)
    }

    fn check_sent_out(&self, room: &Address, user: &Verified, needed: Permission) -> Result<(), Denied> {
        let is_out = !self.revocations.is_empty() && user.is_sent_out(&self.revocations, &self.policy.spelled(room));
        let denied = Denied { missing: needed, reason: Reason::SentOut };
        if is_out { Err(self.deny(room, Some(user), denied)) } else { Ok(()) }
    }

    fn deny(&self, room: &Address, user: Option<&Verified>, denied: Denied) -> Denied {
        let service = user.filter(|user| user.is_service()).map(|service| service.user.id.as_str());
        let user = user.map(|user| user.room_user().id.as_str());
        self.count_denied(user, service, room, denied);
        denied
    }

    /// Counts that a user whose socket is open may stay.
    pub(super) fn count_allowed(&self, reason: Reason) {
        self.decisions.allowed(reason);
    }

    /// Counts and logs that a user may not do something in a room; `service` acts for the user, if it is one.
    pub(super) fn count_denied(&self, user: Option<&str>, service: Option<&str>, room: &Address, denied: Denied) {
        self.decisions.denied(user, service, room, denied, self.policy.grants_claim());
    }
}
