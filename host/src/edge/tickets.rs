//! Single-use tickets: a way into a WebSocket for clients that cannot send a header, without a token in a URL.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand::Rng;

use super::identity::Verified;
use crate::clock;

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
    order: VecDeque<(Instant, String)>,
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
        if inner.order.len() >= self.most {
            return None;
        }
        inner.order.push_back((now + VALID_FOR, ticket.clone()));
        inner.valid.insert(ticket.clone(), (verified, now + VALID_FOR));
        Some(ticket)
    }

    /// Whom a ticket stands for. It is worth nothing afterwards.
    pub(super) fn take(&self, ticket: &str) -> Option<Verified> {
        let now = clock::monotonic();
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        inner.forget_expired(now);
        inner.valid.remove(ticket).map(|(verified, _)| verified)
    }
}

impl Inner {
    fn forget_expired(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(expires, _)| *expires <= now) {
            if let Some((_, ticket)) = self.order.pop_front() {
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
        Verified { user: User { id: "1".into(), name: "ana".into() }, expires_at: None }
    }

    #[test]
    fn a_ticket_is_good_once() {
        let tickets = Tickets::new(10);
        let ticket = tickets.issue(ana()).unwrap();
        assert_eq!(tickets.take(&ticket), Some(ana()));
        assert_eq!(tickets.take(&ticket), None);
    }

    #[test]
    fn there_is_a_bound_on_valid_tickets() {
        let tickets = Tickets::new(2);
        assert!(tickets.issue(ana()).is_some() && tickets.issue(ana()).is_some());
        assert_eq!(tickets.issue(ana()), None);
    }
}
