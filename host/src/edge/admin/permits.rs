//! The places of the admin listener: which client may hold a connection, and which one must make room for others.
//!
//! A connection is a stranger until one of its requests shows the token. Strangers have few places. When all are taken,
//! a newcomer gets the place of the oldest stranger of the address that has most of them. So a client without the token
//! cannot keep the operator out by holding connections, and no address can keep out another one. Connections that
//! showed the token have places of their own.
//!
//! The requests of strangers are rate-limited by address, so that guessing a token and filling the log are slow.

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
pub(super) struct Connections(Lock<Inner>);

#[derive(Default)]
struct Inner {
    open: HashMap<u64, Open>,
    /// The number of the next connection: older ones have lower numbers.
    next: u64,
    /// One token bucket for each address, for the refusals it may get. An address is forgotten when its bucket is full
    /// again.
    paces: HashMap<IpAddr, TokenBucket>,
    reported: Option<Instant>,
    unreported: u64,
}

struct Open {
    address: IpAddr,
    /// One of its requests showed the token.
    known: bool,
    /// Tells the connection to end.
    cut: Arc<Notify>,
}

/// One connection's place; dropping it returns the place.
pub(super) struct AdminPermit {
    connections: Arc<Connections>,
    number: u64,
    pub(super) address: IpAddr,
    cut: Arc<Notify>,
}

impl Connections {
    /// A place for a new connection. If strangers have all of their places, one of them must go.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> AdminPermit {
        let address = address.to_canonical();
        let cut = Arc::new(Notify::new());
        let mut inner = self.0.lock();
        let number = inner.next;
        inner.next += 1;
        let must_go = (inner.strangers().count() >= ADMIN_CONNECTIONS).then(|| inner.longest_stranger()).flatten();
        if let Some((number, address)) = must_go {
            if let Some(open) = inner.open.remove(&number) {
                open.cut.notify_one();
            }
            inner.report(address, clock::monotonic());
        }
        inner.open.insert(number, Open { address, known: false, cut: cut.clone() });
        AdminPermit { connections: self.clone(), number, address, cut }
    }

    /// Returns whether an address may get one more refusal with its reason.
    pub(super) fn may_be_refused(&self, address: IpAddr) -> bool {
        self.may_be_refused_at(address, clock::monotonic())
    }

    fn may_be_refused_at(&self, address: IpAddr, now: Instant) -> bool {
        let mut inner = self.0.lock();
        if inner.paces.len() >= ADMIN_ADDRESSES && !inner.paces.contains_key(&address) {
            inner.paces.retain(|_, bucket| !bucket.is_full(now));
            if inner.paces.len() >= ADMIN_ADDRESSES {
                inner.paces.clear();
            }
        }
        let bucket = inner.paces.entry(address).or_insert_with(|| TokenBucket::new(ADMIN_REFUSALS_PER_SECOND, now));
        let may = bucket.take(now);
        if !may {
            inner.report(address, now);
        }
        may
    }
}

impl Inner {
    fn strangers(&self) -> impl Iterator<Item = (&u64, &Open)> {
        self.open.iter().filter(|(_, open)| !open.known)
    }

    /// The oldest stranger of the address that has most of them.
    fn longest_stranger(&self) -> Option<(u64, IpAddr)> {
        let mut of_address = HashMap::<IpAddr, (usize, u64)>::new();
        for (number, open) in self.strangers() {
            let (count, oldest) = of_address.entry(open.address).or_insert((0, u64::MAX));
            *count += 1;
            *oldest = (*oldest).min(*number);
        }
        let longest = of_address.into_iter().max_by_key(|(_, (count, oldest))| (*count, u64::MAX - oldest));
        longest.map(|(address, (_, oldest))| (oldest, address))
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
    pub(super) async fn cut(&self) {
        self.cut.notified().await;
    }

    /// Marks the connection as known, since a request showed the token. False if too many known connections are open
    /// already.
    pub(super) fn is_known(&self) -> bool {
        let mut inner = self.connections.0.lock();
        let known = inner.open.values().filter(|open| open.known).count();
        match inner.open.get_mut(&self.number) {
            Some(open) if open.known => true,
            Some(open) if known < ADMIN_CONNECTIONS => {
                open.known = true;
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

    fn is_there(place: &AdminPermit) -> bool {
        place.connections.0.lock().open.contains_key(&place.number)
    }

    #[test]
    fn a_newcomer_evicts_the_oldest_of_the_busiest_address() {
        let connections = Arc::new(Connections::default());
        let lone = connections.enter(address(1));
        let many = (1..ADMIN_CONNECTIONS).map(|_| connections.enter(address(2))).collect::<Vec<_>>();
        let newcomer = connections.enter(address(3));
        assert!(is_there(&newcomer) && is_there(&lone), "an address with few is left alone");
        assert!(!is_there(&many[0]) && is_there(&many[1]));
    }

    #[test]
    fn authenticated_connections_are_not_evicted() {
        let connections = Arc::new(Connections::default());
        let known = (0..ADMIN_CONNECTIONS).map(|_| connections.enter(address(1))).collect::<Vec<_>>();
        assert!(known.iter().all(AdminPermit::is_known));
        let strangers = (0..3 * ADMIN_CONNECTIONS).map(|_| connections.enter(address(1))).collect::<Vec<_>>();
        assert!(known.iter().all(is_there));
        let last = strangers.last().unwrap();
        assert!(!last.is_known(), "there is a bound on those as well");
        drop(known);
        assert!(last.is_known());
    }

    #[test]
    fn each_address_has_its_own_rate_of_wrong_tokens() {
        let connections = Arc::new(Connections::default());
        let now = clock::monotonic();
        let refusals = (0..1_000).filter(|_| connections.may_be_refused_at(address(1), now)).count();
        assert_eq!(refusals, ADMIN_REFUSALS_PER_SECOND as usize * 10);
        assert!(connections.may_be_refused_at(address(2), now));
        assert!(connections.may_be_refused_at(address(1), now + Duration::from_secs(1)));
    }

    #[test]
    fn tracked_addresses_are_bounded() {
        let connections = Arc::new(Connections::default());
        for number in 0..3 * ADMIN_ADDRESSES as u32 {
            connections.may_be_refused(IpAddr::V4((0xC000_0000 + number).into()));
        }
        assert!(connections.0.lock().paces.len() <= ADMIN_ADDRESSES);
    }
}
