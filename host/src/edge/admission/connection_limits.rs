//! Limits connections before anything is read of them: their number in all and for each address, and their rate for
//! each address.
//!
//! An address is the unit that an operator can block: one IPv4 address, or one IPv6 /64 network, which is what one
//! customer gets. Connections through a proxy that the operator trusts count for the address that the proxy names. If
//! the proxy names none, they count for the proxy's own address: the proxy may itself be the client.
//!
//! Each address has one token bucket. A connection pays for its first request and its first socket. Further ones on the
//! same connection, and those behind a proxy, pay for themselves. Nothing is paid back when a connection ends early.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use ipnet::IpNet;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::forwarded::{self, ForwardedClient};
use crate::clock;
use crate::config::Config;
use crate::limit_hits::Limit;
use crate::limits::REQUEST_COST;
use crate::token_bucket::TokenBucket;

/// The number of addresses that are remembered without a connection, until their buckets are full again. When there are
/// more, all of them are forgotten: this lets some go early but bounds the memory.
const ADDRESSES: usize = 65_536;
/// The log reports each limit at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Counts the open connections.
pub(in crate::edge) struct ConnectionLimits {
    total: Arc<Semaphore>,
    /// 0 for no limit.
    max_per_address: usize,
    /// 0 for no limit.
    connects_per_second: u32,
    proxies: Vec<IpNet>,
    connections: Gauge,
    /// The number of the next connection.
    next: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    connected: HashMap<IpAddr, AddressUsage>,
    /// The buckets of addresses without a connection that are not full again.
    disconnected: HashMap<IpAddr, TokenBucket>,
    reported: HashMap<TurnedAway, Instant>,
}

/// The connections of one address.
struct AddressUsage {
    connections: usize,
    bucket: TokenBucket,
}

/// A connection's place; dropping it returns the place.
pub(in crate::edge) struct ConnectionPermit {
    /// Unique among the connections of this process.
    number: u64,
    connections: Gauge,
    _permit: OwnedSemaphorePermit,
    /// The address of the other end.
    peer: IpAddr,
    /// Absent for a proxy: the clients behind it are counted separately.
    address_permit: Option<AddressPermit>,
    /// The connection has used its first request, and its first socket, which it paid for at its start.
    has_requested: AtomicBool,
    has_joined: AtomicBool,
}

/// One place of an address.
pub(in crate::edge) struct AddressPermit {
    limits: Arc<ConnectionLimits>,
    address: IpAddr,
}

/// Why a connection, request or socket is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::edge) enum TurnedAway {
    /// Too many connections in all.
    Everywhere,
    /// Too many connections of this address.
    Address,
    /// Too many connects, requests or joins per second from this address.
    TooFast,
}

impl From<TurnedAway> for Limit {
    fn from(turned_away: TurnedAway) -> Self {
        match turned_away {
            TurnedAway::Everywhere => Limit::Connections,
            TurnedAway::Address => Limit::ConnectionsPerAddress,
            TurnedAway::TooFast => Limit::ConnectsPerAddress,
        }
    }
}

impl ConnectionLimits {
    /// `connections` is the metric of open connections.
    pub(in crate::edge) fn new(config: &Config, connections: Gauge) -> Arc<Self> {
        let limits = &config.limits;
        let is_limited = !config.identity.is_dev();
        Arc::new(ConnectionLimits {
            total: Arc::new(Semaphore::new(limits.connections)),
            max_per_address: if is_limited { limits.connections_per_address } else { 0 },
            connects_per_second: if is_limited { limits.connects_per_second_per_address } else { 0 },
            proxies: config.trusted_proxies.clone(),
            connections,
            next: AtomicU64::new(0),
            inner: Mutex::default(),
        })
    }

    /// Takes a place for a new connection.
    pub(in crate::edge) fn acquire(self: &Arc<Self>, peer: IpAddr) -> Result<ConnectionPermit, TurnedAway> {
        let peer = peer.to_canonical();
        let Ok(permit) = self.total.clone().try_acquire_owned() else {
            self.report(peer, TurnedAway::Everywhere, clock::monotonic());
            return Err(TurnedAway::Everywhere);
        };
        let address_permit = if self.is_proxy(peer) { None } else { Some(self.acquire_for_address(peer)?) };
        self.connections.inc();
        Ok(ConnectionPermit {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            connections: self.connections.clone(),
            peer,
            address_permit,
            _permit: permit,
            has_requested: AtomicBool::new(false),
            has_joined: AtomicBool::new(false),
        })
    }

    /// Spends one request of a connection's address, or of the `client` behind it if it is a proxy. Returns the address
    /// that paid; the first request of a connection is paid with the connect.
    pub(in crate::edge) fn spend_request(
        &self,
        connection: &ConnectionPermit,
        client: Option<IpAddr>,
    ) -> Result<Option<IpAddr>, TurnedAway> {
        let address = match &connection.address_permit {
            Some(_) if !connection.has_requested.swap(true, Ordering::Relaxed) => None,
            Some(permit) => Some(permit.address),
            None => client.map(network),
        };
        address.map(|address| self.spend(address, REQUEST_COST).map(|()| address)).transpose()
    }

    /// Gives the cost of a request back to its address: it is from a service, which has its own limits.
    pub(in crate::edge) fn refund_request(&self, address: IpAddr) {
        let now = clock::monotonic();
        let mut inner = self.lock();
        if let Some(mut usage) = inner.take(address) {
            usage.bucket.fill(REQUEST_COST);
            inner.put_back(address, usage, now);
        }
    }

    /// Spends one socket of a connection's address. Clients behind a proxy are counted by `acquire_for_client`.
    pub(in crate::edge) fn spend_join(&self, connection: &ConnectionPermit) -> Result<(), TurnedAway> {
        match &connection.address_permit {
            Some(permit) if connection.has_joined.swap(true, Ordering::Relaxed) => self.spend(permit.address, 1.0),
            _ => Ok(()),
        }
    }

    /// The client of a request that came over a proxy's connection: the proxy itself where it names no client. Absent
    /// for a connection that is no proxy's.
    pub(in crate::edge) fn client_of(&self, connection: &ConnectionPermit, headers: &HeaderMap) -> Option<IpAddr> {
        if !connection.is_proxy() {
            return None;
        }
        match forwarded::client(headers, |address| self.is_proxy(address)) {
            ForwardedClient::Address(address) => Some(address),
            ForwardedClient::Unclear => Some(connection.peer),
        }
    }

    /// Takes a place for a socket of a [client](Self::client_of) behind a proxy.
    pub(in crate::edge) fn acquire_for_client(self: &Arc<Self>, client: IpAddr) -> Result<AddressPermit, TurnedAway> {
        self.acquire_for_address(client)
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxies.iter().any(|proxy| proxy.contains(&peer))
    }

    /// Spends tokens of an address's bucket; one token is one connect.
    fn spend(&self, address: IpAddr, connects: f64) -> Result<(), TurnedAway> {
        if self.connects_per_second == 0 {
            return Ok(());
        }
        let now = clock::monotonic();
        let mut inner = self.lock();
        let mut usage = inner.take(address).unwrap_or_else(|| self.fresh_usage(now));
        let enough = usage.bucket.take_many(connects, now);
        inner.put_back(address, usage, now);
        drop(inner);
        if enough {
            return Ok(());
        }
        self.report(address, TurnedAway::TooFast, now);
        Err(TurnedAway::TooFast)
    }

    fn fresh_usage(&self, now: Instant) -> AddressUsage {
        AddressUsage { connections: 0, bucket: TokenBucket::new(self.connects_per_second, now) }
    }

    fn acquire_for_address(self: &Arc<Self>, address: IpAddr) -> Result<AddressPermit, TurnedAway> {
        let address = network(address);
        let now = clock::monotonic();
        let mut inner = self.lock();
        let mut usage = inner.take(address).unwrap_or_else(|| self.fresh_usage(now));
        let acquired = if self.connects_per_second > 0 && !usage.bucket.take(now) {
            Err(TurnedAway::TooFast)
        } else if self.max_per_address > 0 && usage.connections >= self.max_per_address {
            Err(TurnedAway::Address)
        } else {
            usage.connections += 1;
            Ok(AddressPermit { limits: self.clone(), address })
        };
        inner.put_back(address, usage, now);
        drop(inner);
        if let Err(turned_away) = &acquired {
            self.report(address, *turned_away, now);
        }
        acquired
    }

    /// Logs that clients are turned away, and by which limit.
    fn report(&self, address: IpAddr, turned_away: TurnedAway, now: Instant) {
        if !self.lock().is_to_report(turned_away, now) {
            return;
        }
        match turned_away {
            TurnedAway::Everywhere => tracing::warn!(
                %address, limit = "connections", connections = self.connections.get(),
                "connections are turned away: the server has reached limits.connections; raise it"
            ),
            TurnedAway::Address | TurnedAway::TooFast => {
                let limit = match turned_away {
                    TurnedAway::Address => "connections_per_address",
                    _ => "connects_per_second_per_address",
                };
                // An IPv6 address is cut to its /64 here, and the proxy is one address of it.
                let is_of_proxy = |proxy: &IpNet| proxy.contains(&address) || network(proxy.addr()) == address;
                let advice = if self.proxies.iter().any(is_of_proxy) {
                    "this trusted proxy names no client; have it set X-Forwarded-For or Forwarded"
                } else {
                    "if this is a proxy of yours, name it in trusted_proxies"
                };
                tracing::warn!(%address, limit, "connections or requests are turned away; {advice}");
            }
        }
    }

    /// A panic elsewhere must not end the listener, so a poisoned lock is used on.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take(&mut self, address: IpAddr) -> Option<AddressUsage> {
        let unconnected = |bucket| AddressUsage { connections: 0, bucket };
        self.connected.remove(&address).or_else(|| self.disconnected.remove(&address).map(unconnected))
    }

    fn put_back(&mut self, address: IpAddr, usage: AddressUsage, now: Instant) {
        if usage.connections > 0 {
            self.connected.insert(address, usage);
        } else if !usage.bucket.is_full(now) {
            if self.disconnected.len() >= ADDRESSES {
                self.disconnected.retain(|_, bucket| !bucket.is_full(now));
            }
            if self.disconnected.len() >= ADDRESSES {
                self.disconnected.clear();
            }
            self.disconnected.insert(address, usage.bucket);
        }
    }

    /// Returns whether a limit is due for a report, and marks it as reported.
    fn is_to_report(&mut self, turned_away: TurnedAway, now: Instant) -> bool {
        let reported = self.reported.get(&turned_away);
        let is_due = reported.is_none_or(|reported| now.saturating_duration_since(*reported) >= REPORT_EVERY);
        if is_due {
            self.reported.insert(turned_away, now);
        }
        is_due
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut inner = self.limits.lock();
        if let Some(mut usage) = inner.take(self.address) {
            usage.connections = usage.connections.saturating_sub(1);
            inner.put_back(self.address, usage, clock::monotonic());
        }
    }
}

impl ConnectionPermit {
    /// Returns whether the other end is a trusted proxy.
    pub(in crate::edge) fn is_proxy(&self) -> bool {
        self.address_permit.is_none()
    }

    /// The address or network that it counts for; absent for a proxy.
    pub(in crate::edge) fn address(&self) -> Option<IpAddr> {
        self.address_permit.as_ref().map(|permit| permit.address)
    }

    /// The number of the connection, unique in this process.
    pub(in crate::edge) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.connections.dec();
    }
}

/// The unit that is counted as one address: a /64 for IPv6.
pub(in crate::edge) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Auth, Identity, Limits};

    fn limited(limits: Limits) -> Arc<ConnectionLimits> {
        let identity = Identity { auth: Auth::Jwt, ..Identity::default() };
        let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        ConnectionLimits::new(&Config { identity, limits, trusted_proxies, ..Config::default() }, Gauge::default())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn forwarded(lists: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append("x-forwarded-for", list.parse().unwrap());
        }
        headers
    }

    #[test]
    fn each_address_has_its_own_connection_limit() {
        let limits = limited(Limits { connections_per_address: 2, ..Limits::default() });
        let ana = address("192.0.2.1");
        let permits = [limits.acquire(ana), limits.acquire(ana)].map(Result::unwrap);
        assert_eq!(limits.acquire(ana).err(), Some(TurnedAway::Address));
        assert!(limits.acquire(address("192.0.2.2")).is_ok());
        drop(permits);
        assert!(limits.acquire(ana).is_ok());
    }

    #[test]
    fn an_ipv6_customer_network_counts_as_one_address() {
        let limits = limited(Limits { connections_per_address: 1, ..Limits::default() });
        let _permit = limits.acquire(address("2001:db8:1:2::3")).unwrap();
        assert_eq!(limits.acquire(address("2001:db8:1:2:ffff::1")).err(), Some(TurnedAway::Address));
        assert!(limits.acquire(address("2001:db8:1:3::3")).is_ok());
        let _permit = limits.acquire(address("192.0.2.1")).unwrap();
        assert_eq!(
            limits.acquire(address("::ffff:192.0.2.1")).err(),
            Some(TurnedAway::Address),
            "the same address in IPv6 form"
        );
    }

    #[test]
    fn connects_above_the_rate_are_refused_even_if_short() {
        let limits = limited(Limits { connects_per_second_per_address: 3, ..Limits::default() });
        let ana = address("192.0.2.1");
        assert_eq!((0..100).filter(|_| limits.acquire(ana).is_ok()).count(), 30);
        assert_eq!(limits.acquire(ana).err(), Some(TurnedAway::TooFast));
    }

    #[test]
    fn a_connection_pays_for_its_first_request_and_socket_only() {
        let limits = limited(Limits { connects_per_second_per_address: 1, ..Limits::default() });
        let connection = limits.acquire(address("192.0.2.1")).unwrap();
        assert_eq!((limits.spend_request(&connection, None), limits.spend_join(&connection)), (Ok(None), Ok(())));
        let joins = (0..20).filter(|_| limits.spend_join(&connection).is_ok()).count();
        assert_eq!(joins, 9, "ten seconds' worth, of which one was the connection");
        assert_eq!(limits.spend_request(&connection, None), Err(TurnedAway::TooFast));
        assert_eq!(limits.acquire(address("192.0.2.1")).err(), Some(TurnedAway::TooFast), "it is one bucket");
        let other = limits.acquire(address("192.0.2.2")).unwrap();
        assert!((0..50).all(|_| limits.spend_request(&other, None).is_ok()), "a request costs a tenth");
    }

    #[test]
    fn proxied_requests_are_charged_to_the_forwarded_address() {
        let limits = limited(Limits { connects_per_second_per_address: 1, ..Limits::default() });
        let proxy = limits.acquire(address("10.0.0.1")).unwrap();
        let (ana, bo) = (Some(address("192.0.2.1")), Some(address("192.0.2.2")));
        assert!((99..=101).contains(&(0..200).filter(|_| limits.spend_request(&proxy, ana).is_ok()).count()));
        assert_eq!(limits.spend_request(&proxy, bo), Ok(bo));
    }

    #[test]
    fn a_refunded_request_costs_its_address_nothing() {
        let limits = limited(Limits { connects_per_second_per_address: 1, ..Limits::default() });
        let connection = limits.acquire(address("192.0.2.1")).unwrap();
        let ana = Some(address("192.0.2.1"));
        assert_eq!(limits.spend_request(&connection, None), Ok(None), "the connect has paid for it");
        for _ in 0..1_000 {
            assert_eq!(limits.spend_request(&connection, None), Ok(ana));
            limits.refund_request(address("192.0.2.1"));
        }
        let spent = (0..200).filter(|_| limits.spend_request(&connection, None).is_ok()).count();
        assert!((89..=91).contains(&spent), "ten seconds' worth without the connect: {spent}");
    }

    #[test]
    fn each_limit_is_reported_separately() {
        let mut inner = Inner::default();
        let now = clock::monotonic();
        let mut is_to_report = |turned_away, at| inner.is_to_report(turned_away, at);
        assert!(is_to_report(TurnedAway::Address, now) && !is_to_report(TurnedAway::Address, now));
        assert!(is_to_report(TurnedAway::Everywhere, now), "one limit does not hide another");
        assert!(is_to_report(TurnedAway::Address, now + REPORT_EVERY));
    }

    #[test]
    fn the_total_of_connections_is_limited() {
        let limits = limited(Limits { connections: 2, ..Limits::default() });
        let _permits = [limits.acquire(address("192.0.2.1")), limits.acquire(address("10.0.0.1"))].map(Result::unwrap);
        assert_eq!(limits.acquire(address("192.0.2.3")).err(), Some(TurnedAway::Everywhere));
    }

    #[test]
    fn proxied_connections_count_for_the_forwarded_address() {
        let limits = limited(Limits { connections_per_address: 1, ..Limits::default() });
        let proxy = limits.acquire(address("10.0.0.1")).unwrap();
        let _other = limits.acquire(address("10.0.0.1")).expect("a proxy has as many connections as it likes");
        let client_of = |connection, lists: &[&str]| limits.client_of(connection, &forwarded(lists));
        let ana = client_of(&proxy, &["6.6.6.6, 192.0.2.1, 10.9.9.9"]);
        assert_eq!(ana, Some(address("192.0.2.1")), "our own proxies do not count, and earlier entries may be forged");
        assert_eq!(client_of(&proxy, &["6.6.6.6", "192.0.2.1"]), ana);
        assert_eq!(
            client_of(&proxy, &["6.6.6.6, no address"]),
            Some(address("10.0.0.1")),
            "it is the proxy's to answer for"
        );
        let own = Some(address("10.0.0.1"));
        assert_eq!(client_of(&proxy, &[]), own, "a proxy that names no client counts itself");
        assert_eq!(
            client_of(&proxy, &["10.0.0.7, 10.0.0.8"]),
            Some(address("10.0.0.7")),
            "a client inside a trusted network"
        );
        let _permit = limits.acquire_for_client(ana.unwrap()).unwrap();
        assert_eq!(limits.acquire_for_client(ana.unwrap()).err(), Some(TurnedAway::Address));
        let direct = limits.acquire(address("192.0.2.8")).unwrap();
        assert_eq!(client_of(&direct, &["192.0.2.9"]), None, "it is not a trusted proxy");
    }

    #[test]
    fn unused_addresses_are_dropped_above_a_bound() {
        let limits = limited(Limits::default());
        for number in 0..(ADDRESSES + 10) as u32 {
            drop(limits.acquire(IpAddr::V4((0xC000_0000 + number).into())).unwrap());
        }
        let inner = limits.lock();
        assert!(inner.connected.is_empty() && inner.disconnected.len() <= ADDRESSES, "{}", inner.disconnected.len());
    }
}
