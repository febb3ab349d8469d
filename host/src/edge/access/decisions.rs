//! Counts the decisions about access, and logs the refusals. A client decides how often it is refused, so only so many
//! lines a second are written; the counter has all of them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::policy::{Denied, Reason};
use crate::clock;
use crate::lock::Lock;
use crate::model::Address;
use crate::token_bucket::TokenBucket;

/// Lines about refusals a second, and ten times as many in a burst.
const LINES_PER_SECOND: u32 = 1;

/// The decisions of one host about access.
pub(super) struct Decisions {
    decisions: Family<[(&'static str, &'static str); 2], Counter>,
    lines: Lock<TokenBucket>,
}

impl Decisions {
    pub(super) fn new() -> Self {
        let lines = TokenBucket::new(LINES_PER_SECOND, clock::monotonic());
        Decisions { decisions: Family::default(), lines: Lock::new(lines) }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "access",
            "Decisions whether a user may enter a room, send to it or stay in it, by reason",
            self.decisions.clone(),
        );
    }

    /// A user may do something.
    pub(super) fn allowed(&self, reason: Reason) {
        self.count("allowed", reason);
    }

    /// A user may not do something in a room; `user` is absent without an identity, `service` is the one that acts, if
    /// it is one, and `claim` is the one that holds the grants of tokens.
    pub(super) fn denied(
        &self,
        user: Option<&str>,
        service: Option<&str>,
        room: &Address,
        denied: Denied,
        claim: &str,
    ) {
        self.count("refused", denied.reason);
        if !self.lines.lock().take(clock::monotonic()) {
            return;
        }
        let (permission, reason) = (denied.missing.name(), denied.reason.name());
        match denied.reason {
            Reason::NoClaim => tracing::info!(
                user,
                service,
                %room,
                permission,
                reason,
                claim,
                "a user was refused whose token does not have the claim with the grants"
            ),
            Reason::AuthorizerFailed => tracing::info!(
                user,
                %room,
                permission,
                reason,
                "a user was refused for now, because the server of identity.authorize gave no decision"
            ),
            Reason::SentOut => {
                tracing::info!(
                    user,
                    service,
                    %room,
                    permission,
                    reason,
                    "a user was refused who was sent out of the room"
                );
            }
            _ => {
                tracing::info!(user, service, %room, permission, reason, "a user was refused for want of a permission")
            }
        }
    }

    fn count(&self, decision: &'static str, reason: Reason) {
        self.decisions.get_or_create(&[("decision", decision), ("reason", reason.name())]).inc();
    }
}
