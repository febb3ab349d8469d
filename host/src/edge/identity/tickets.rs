//! Single-use tickets, for clients that cannot send a header with a WebSocket: no token appears in a URL.
//!
//! Unused tickets are limited in all and for each user, so that one user cannot take the tickets of all others. A
//! service may have as many as sockets, since each opens one. `http` limits how fast a user may ask for them, with the
//! user's ordinary rate limit.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::verified::Verified;
use crate::clock::{self, UnixMillis};
use crate::config::Config;
use crate::edge::subject::Subject;
use crate::limit_hits::Limit;
use crate::lock::Lock;
use crate::random;

/// How long a ticket is valid.
pub(in crate::edge) const VALID_FOR: Duration = Duration::from_secs(30);

/// Tickets that were issued and not used.
pub(in crate::edge) struct Tickets {
    inner: Lock<Inner>,
    max: usize,
    /// 0 for no limit.
    max_per_user: usize,
    /// 0 for no limit.
    max_per_service: usize,
}

#[derive(Default)]
struct Inner {
    valid: HashMap<String, (Verified, Instant)>,
    /// In the order in which they expire.
    order: BTreeSet<(Instant, String)>,
    /// The number of tickets of each user and service. One without any has no entry.
    of_subjects: HashMap<Subject, usize>,
}

impl Tickets {
    /// Reads the limits. With dev auth there is none for a user.
    pub(in crate::edge) fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let per_subject = |max: usize| if config.identity.is_dev() { 0 } else { max };
        Tickets {
            inner: Lock::default(),
            max: limits.tickets,
            max_per_user: per_subject(limits.tickets_per_user),
            max_per_service: per_subject(limits.service_sockets),
        }
    }

    /// Issues a ticket for a user, or returns the limit that is met.
    pub(in crate::edge) fn issue(&self, verified: Verified) -> Result<String, Limit> {
        let bytes = random::bytes::<24>();
        let ticket = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let now = clock::monotonic();
        let mut inner = self.inner.lock();
        inner.forget_expired(now);
        let subject = verified.subject();
        let (max, limit) = match subject {
            Subject::User(_) => (self.max_per_user, Limit::TicketsPerUser),
            Subject::Service(_) => (self.max_per_service, Limit::ServiceSockets),
        };
        if max > 0 && inner.of_subjects.get(&subject).is_some_and(|tickets| *tickets >= max) {
            return Err(limit);
        }
        if inner.valid.len() >= self.max {
            return Err(Limit::Tickets);
        }
        *inner.of_subjects.entry(subject).or_default() += 1;
        inner.order.insert((now + VALID_FOR, ticket.clone()));
        inner.valid.insert(ticket.clone(), (verified, now + VALID_FOR));
        Ok(ticket)
    }

    /// Uses a ticket up and returns its user; absent if the ticket or the token that it was issued for has expired.
    pub(in crate::edge) fn take(&self, ticket: &str) -> Option<Verified> {
        self.take_at(ticket, clock::monotonic(), clock::unix_millis())
    }

    fn take_at(&self, ticket: &str, now: Instant, unix_now: UnixMillis) -> Option<Verified> {
        let mut inner = self.inner.lock();
        inner.forget_expired(now);
        let (verified, expires) = inner.remove(ticket)?;
        inner.order.remove(&(expires, ticket.to_owned()));
        verified.expires_at.is_none_or(|at| at > unix_now).then_some(verified)
    }
}

impl Inner {
    fn forget_expired(&mut self, now: Instant) {
        while self.order.first().is_some_and(|(expires, _)| *expires <= now) {
            if let Some((_, ticket)) = self.order.pop_first() {
                self.remove(&ticket);
            }
        }
    }

    fn remove(&mut self, ticket: &str) -> Option<(Verified, Instant)> {
        let (verified, expires) = self.valid.remove(ticket)?;
        let subject = verified.subject();
        if let Some(count) = self.of_subjects.get_mut(&subject) {
            *count -= 1;
            if *count == 0 {
                self.of_subjects.remove(&subject);
            }
        }
        Some((verified, expires))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Auth, Identity, Limits};
    use crate::model::User;

    fn tickets(max: usize, max_per_user: usize) -> Tickets {
        let limits = Limits { tickets: max, tickets_per_user: max_per_user, service_sockets: 3, ..Limits::default() };
        let identity = Identity { auth: Auth::Jwt, ..Identity::default() };
        Tickets::new(&Config { identity, limits, ..Config::default() })
    }

    fn ana() -> Verified {
        Verified::new(User { id: "1".into(), name: "ana".into() })
    }

    #[test]
    fn a_ticket_can_be_used_once() {
        let tickets = tickets(10, 0);
        let ticket = tickets.issue(ana()).unwrap();
        assert_eq!(tickets.take(&ticket), Some(ana()));
        assert_eq!(tickets.take(&ticket), None);
    }

    #[test]
    fn a_ticket_expires_with_its_token_or_after_30_s() {
        let tickets = tickets(10, 0);
        let until = |at| tickets.issue(Verified { expires_at: Some(at), ..ana() }).unwrap();
        let now = clock::monotonic();
        assert!(tickets.take_at(&until(1_001), now, 1_000).is_some());
        assert_eq!(tickets.take_at(&until(1_000), now, 1_000), None);
        let ticket = until(u64::MAX);
        assert_eq!(tickets.take_at(&ticket, clock::monotonic() + VALID_FOR, 1_000), None);
    }

    #[test]
    fn valid_tickets_are_limited() {
        let tickets = tickets(2, 0);
        let (first, second) = (tickets.issue(ana()).unwrap(), tickets.issue(ana()).unwrap());
        assert_eq!(tickets.issue(ana()), Err(Limit::Tickets));
        // A used ticket frees its place.
        tickets.take(&first).unwrap();
        assert!(tickets.issue(ana()).is_ok());
        assert_eq!(tickets.issue(ana()), Err(Limit::Tickets));
        assert!(tickets.take(&second).is_some());
    }

    #[test]
    fn unused_tickets_of_each_user_are_limited() {
        let tickets = tickets(10, 2);
        let bo = || Verified::new(User { id: "2".into(), name: "bo".into() });
        let (first, _second) = (tickets.issue(ana()).unwrap(), tickets.issue(ana()).unwrap());
        assert_eq!(tickets.issue(ana()), Err(Limit::TicketsPerUser));
        assert!(tickets.issue(bo()).is_ok());
        // A used ticket frees its place, and so does one that expired.
        tickets.take(&first).unwrap();
        assert!(tickets.issue(ana()).is_ok());
        let mut inner = tickets.inner.lock();
        inner.forget_expired(clock::monotonic() + VALID_FOR);
        assert!(inner.of_subjects.is_empty(), "users without tickets are forgotten");
    }

    #[test]
    fn a_service_shares_no_tickets_with_a_user_of_its_id() {
        let tickets = tickets(10, 1);
        let service = || Verified::service(ana().user).acting_for(User::new("2", "bo"));
        let first = tickets.issue(service()).unwrap();
        assert!(tickets.issue(service()).is_ok() && tickets.issue(service()).is_ok());
        assert_eq!(tickets.issue(service()), Err(Limit::ServiceSockets));
        assert!(tickets.issue(ana()).is_ok());
        assert_eq!(tickets.issue(ana()), Err(Limit::TicketsPerUser));
        assert_eq!(tickets.take(&first), Some(service()), "a ticket of a service stays a service's");
    }
}
