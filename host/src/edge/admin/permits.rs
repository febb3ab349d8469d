//! The permits of the admin listener: which client may hold a connection, and which one is evicted for another.
//!
//! A connection is anonymous until one of its requests shows the token. Anonymous connections have few places. When all
//! are taken, a new one gets the place of the oldest of the address that has most of them. So a client without the
//! token cannot keep the operator out by holding connections, and no address can keep out another one. Authenticated
//! connections have places of their own.
//!
//! The requests of anonymous connections are rate-limited by address, so that guessing a token and filling the log are
//! slow.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use crate::clock;
use crate::limits::{ADMIN_ADDRESSES, ADMIN_CONNECTIONS, ADMIN_LOG_EVERY, ADMIN_REFUSALS_PER_SECOND};
use crate::lock::Lock;
use crate::token_bucket::TokenBucket;

/// All connections to the admin listener.
#[derive(Default)]
pub(super) struct AdminConnections(Lock<Inner>);

#[derive(Default)]
struct Inner {
    open: HashMap<u64, Open>,
    /// The number of the next connection: older ones have lower numbers.
    next: u64,
    /// One token bucket for each address, for the refusals it may get. An address is forgotten when its bucket is full
    /// again.
    refusal_rates: HashMap<IpAddr, TokenBucket>,
    reported: Option<Instant>,
    unreported: u64,
}

struct Open {
    address: IpAddr,
    /// One of its requests showed the token.
    is_authenticated: bool,
    /// Tells the connection to end.
    eviction: Arc<Notify>,
}

/// One connection's place; dropping it returns the place.
pub(super) struct AdminPermit {
    connections: Arc<AdminConnections>,
    number: u64,
    pub(super) address: IpAddr,
    eviction: Arc<Notify>,
}

impl AdminConnections {
    /// Takes a place for a new connection. If anonymous ones have all of their places, one of them is evicted.
    pub(super) fn acquire(self: &Arc<Self>, address: IpAddr) -> AdminPermit {
        let address = address.to_canonical();
        let eviction = Arc::new(Notify::new());
        let mut inner = self.0.lock();
        let number = inner.next;
        inner.next += 1;
        let evicted = (inner.anonymous().count() >= ADMIN_CONNECTIONS).then(|| inner.eviction_candidate()).flatten();
        if let Some((number, address)) = evicted {
            if let Some(open) = inner.open.remove(&number) {
                open.eviction.notify_one();
            }
            inner.report(address, clock::monotonic());
        }
        inner.open.insert(number, Open { address, is_authenticated: false, eviction: eviction.clone() });
        AdminPermit { connections: self.clone(), number, address, eviction }
    }

    /// Returns whether an address may get one more refusal with its reason.
    pub(super) fn spend_refusal(&self, address: IpAddr) -> bool {
        self.spend_refusal_at(address, clock::monotonic())
    }

    fn spend_refusal_at(&self, address: IpAddr, now: Instant) -> bool {
        let mut inner = self.0.lock();
        if inner.refusal_rates.len() >= ADMIN_ADDRESSES && !inner.refusal_rates.contains_key(&address) {
            inner.refusal_rates.retain(|_, bucket| !bucket.is_full(now));
            if inner.refusal_rates.len() >= ADMIN_ADDRESSES {
                inner.refusal_rates.clear();
            }
        }
        let bucket =
            inner.refusal_rates.entry(address).or_insert_with(|| TokenBucket::new(ADMIN_REFUSALS_PER_SECOND, now));
        let may = bucket.take(now);
        if !may {
            inner.report(address, now);
        }
        may
    }
}

impl Inner {
    fn anonymous(&self) -> impl Iterator<Item = (&u64, &Open)> {
        self.open.iter().filter(|(_, open)| !open.is_authenticated)
    }

    /// The oldest anonymous connection of the address that has most of them.
    fn eviction_candidate(&self) -> Option<(u64, IpAddr)> {
        let mut of_address = HashMap::<IpAddr, (usize, u64)>::new();
        for (number, open) in self.anonymous() {
            let (count, oldest) = of_address.entry(open.address).or_insert((0, u64::MAX));
            *count += 1;
            *oldest = (*oldest).min(*number);
        }
        let oldest = of_address.into_iter().max_by_key(|(_, (count, oldest))| (*count, u64::MAX - oldest));
        oldest.map(|(address, (_, number))| (number, address))
    }

    /// Logs at most one line a minute.
    fn report(&mut self, address: IpAddr, now: Instant) {
        self.unreported += 1;
        if self.reported.is_some_and(|reported| now.saturating_duration_since(reported) < ADMIN_LOG_EVERY) {
            return;
        }
        self.reported = Some(now);
        let refused = std::mem::take(&mut self.unreported);
        tracing::warn!(%address, refused, "the admin listener turns away connections or requests without the token");
    }
}

impl AdminPermit {
    /// Waits until another connection gets this place.
    pub(super) async fn evicted(&self) {
        self.eviction.notified().await;
    }

    /// Marks the connection as authenticated, since a request showed the token. False if too many of them are open.
    pub(super) fn authenticate(&self) -> bool {
        let mut inner = self.connections.0.lock();
        let authenticated = inner.open.values().filter(|open| open.is_authenticated).count();
        match inner.open.get_mut(&self.number) {
            Some(open) if open.is_authenticated => true,
            Some(open) if authenticated < ADMIN_CONNECTIONS => {
                open.is_authenticated = true;
                true
            }
            // The place was given to another connection already, or all places are taken.
            _ => false,
        }
    }
}

impl Drop for AdminPermit {
    fn drop(&mut self) {
        self.connections.0.lock().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_open(permit: &AdminPermit) -> bool {
        permit.connections.0.lock().open.contains_key(&permit.number)
    }

    #[test]
    fn a_newcomer_evicts_the_oldest_of_the_busiest_address() {
        let connections = Arc::new(AdminConnections::default());
        let lone = connections.acquire(address(1));
        let many = (1..ADMIN_CONNECTIONS).map(|_| connections.acquire(address(2))).collect::<Vec<_>>();
        let newcomer = connections.acquire(address(3));
        assert!(is_open(&newcomer) && is_open(&lone), "an address with few is left alone");
        assert!(!is_open(&many[0]) && is_open(&many[1]));
    }

    #[test]
    fn authenticated_connections_are_not_evicted() {
        let connections = Arc::new(AdminConnections::default());
        let authenticated = (0..ADMIN_CONNECTIONS).map(|_| connections.acquire(address(1))).collect::<Vec<_>>();
        assert!(authenticated.iter().all(AdminPermit::authenticate));
        let anonymous = (0..3 * ADMIN_CONNECTIONS).map(|_| connections.acquire(address(1))).collect::<Vec<_>>();
        assert!(authenticated.iter().all(is_open));
        let last = anonymous.last().unwrap();
        assert!(!last.authenticate(), "there is a bound on those as well");
        drop(authenticated);
        assert!(last.authenticate());
    }

    #[test]
    fn each_address_has_its_own_rate_of_wrong_tokens() {
        let connections = Arc::new(AdminConnections::default());
        let now = clock::monotonic();
        let refusals = (0..1_000).filter(|_| connections.spend_refusal_at(address(1), now)).count();
        assert_eq!(refusals, ADMIN_REFUSALS_PER_SECOND as usize * 10);
        assert!(connections.spend_refusal_at(address(2), now));
        assert!(connections.spend_refusal_at(address(1), now + Duration::from_secs(1)));
    }

    #[test]
    fn tracked_addresses_are_bounded() {
        let connections = Arc::new(AdminConnections::default());
        for number in 0..3 * ADMIN_ADDRESSES as u32 {
            connections.spend_refusal(IpAddr::V4((0xC000_0000 + number).into()));
        }
        assert!(connections.0.lock().refusal_rates.len() <= ADMIN_ADDRESSES);
    }
}
