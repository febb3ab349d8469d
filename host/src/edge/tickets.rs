//! Single-use tickets: a way into a WebSocket for clients that cannot send a header, without a token in a URL.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand::Rng;

use super::identity::Verified;
use crate::clock::{self, UnixMillis};

/// How long a ticket is valid.
pub(super) const VALID_FOR: Duration = Duration::from_secs(30);

/// Tickets that were given out and not used.
pub(super) struct Tickets {
    inner: Mutex<Inner>,
    most: usize,
}

#[derive(Default)]
struct Inner {
    valid: HashMap<String, (Verified, Instant)>,
    /// In the order in which they expire.
    order: BTreeSet<(Instant, String)>,
}

impl Tickets {
    pub(super) fn new(most: usize) -> Self {
        Tickets { inner: Mutex::default(), most }
    }

    /// A ticket for somebody; absent where too many are valid already.
    pub(super) fn issue(&self, verified: Verified) -> Option<String> {
        let mut bytes = [0; 24];
        rand::rng().fill_bytes(&mut bytes);
        let ticket = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let now = clock::monotonic();
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        inner.forget_expired(now);
        if inner.valid.len() >= self.most {
            return None;
        }
        inner.order.insert((now + VALID_FOR, ticket.clone()));
        inner.valid.insert(ticket.clone(), (verified, now + VALID_FOR));
        Some(ticket)
    }

    /// Whom a ticket stands for. It is worth nothing afterwards, and nothing once the token has expired that it is for.
    pub(super) fn take(&self, ticket: &str) -> Option<Verified> {
        self.take_at(ticket, clock::monotonic(), clock::unix_millis())
    }

    fn take_at(&self, ticket: &str, now: Instant, unix_now: UnixMillis) -> Option<Verified> {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        inner.forget_expired(now);
        let (verified, expires) = inner.valid.remove(ticket)?;
        inner.order.remove(&(expires, ticket.to_owned()));
        verified.expires_at.is_none_or(|at| at > unix_now).then_some(verified)
    }
}

impl Inner {
    fn forget_expired(&mut self, now: Instant) {
        while self.order.first().is_some_and(|(expires, _)| *expires <= now) {
            if let Some((_, ticket)) = self.order.pop_first() {
                self.valid.remove(&ticket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::User;

    fn ana() -> Verified {
        Verified::new(User { id: "1".into(), name: "ana".into() })
    }

    #[test]
    fn a_ticket_is_good_once() {
        let tickets = Tickets::new(10);
        let ticket = tickets.issue(ana()).unwrap();
        assert_eq!(tickets.take(&ticket), Some(ana()));
        assert_eq!(tickets.take(&ticket), None);
    }

    #[test]
    fn a_ticket_ends_with_its_token_or_after_half_a_minute() {
        let tickets = Tickets::new(10);
        let until = |at| tickets.issue(Verified { expires_at: Some(at), ..ana() }).unwrap();
        let now = clock::monotonic();
        assert!(tickets.take_at(&until(1_001), now, 1_000).is_some());
        assert_eq!(tickets.take_at(&until(1_000), now, 1_000), None);
        let ticket = until(u64::MAX);
        assert_eq!(tickets.take_at(&ticket, clock::monotonic() + VALID_FOR, 1_000), None);
    }

    #[test]
    fn there_is_a_bound_on_valid_tickets() {
        let tickets = Tickets::new(2);
        let (first, second) = (tickets.issue(ana()).unwrap(), tickets.issue(ana()).unwrap());
        assert_eq!(tickets.issue(ana()), None);
        // One that was used makes space for another.
        tickets.take(&first).unwrap();
        assert!(tickets.issue(ana()).is_some());
        assert_eq!(tickets.issue(ana()), None);
        assert!(tickets.take(&second).is_some());
    }
}
