//! The permits that one socket needs: one of its user, and one of its address if a proxy names that.
//!
//! It knows no requests and no sockets; `http` takes the permits, and the socket keeps them until it ends.

use std::net::IpAddr;
use std::sync::Arc;

use super::connection_limits::{AddressPermit, ConnectionLimits, ConnectionPermit};
use super::users::{SocketPermit, UserUsage, Users};
use crate::clock;
use crate::edge::subject::Subject;
use crate::limit_hits::Limit;
use crate::limits::JOIN_COST;
use crate::model::Address;

/// The permits of one socket; dropping them returns the places.
pub(in crate::edge) struct SocketPermits {
    pub(in crate::edge) user: Arc<UserUsage>,
    _socket: SocketPermit,
    /// Present if the client came through a proxy.
    _address: Option<AddressPermit>,
}

impl SocketPermits {
    /// Takes the permits for one more socket of a user in a room, over `connection`, which is absent in a mounted host.
    /// `client` is the user's address, if a proxy names it. The cost is spent even if the socket is refused later.
    /// Sockets of a service cost its address nothing: it may have many from one.
    pub(in crate::edge) fn take(
        users: &Users,
        limits: &Arc<ConnectionLimits>,
        subject: &Subject,
        room: &Address,
        connection: Option<&ConnectionPermit>,
        client: Option<IpAddr>,
    ) -> Result<Self, Limit> {
        let user = users.usage_of(subject);
        let is_service = user.is_service();
        // The request itself already cost one message.
        if !user.spend_messages(JOIN_COST.saturating_sub(1), clock::monotonic()) {
            return Err(user.rate_limit());
        }
        if let Some(connection) = connection.filter(|_| !is_service) {
            limits.spend_join(connection)?;
        }
        let socket = user.acquire_socket(room)?;
        let client = client.filter(|_| !is_service);
        let address = client.map(|client| limits.acquire_for_client(client)).transpose()?;
        Ok(SocketPermits { user, _socket: socket, _address: address })
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::config::{Auth, Config, Identity, Limits};

    #[test]
    fn sockets_of_a_service_do_not_count_for_its_address() {
        let limits = Limits { connections_per_address: 1, connects_per_second_per_address: 1, ..Limits::default() };
        let identity = Identity { auth: Auth::Jwt, ..Identity::default() };
        let trusted_proxies = vec!["10.0.0.1/32".parse().unwrap()];
        let config = Config { limits, identity, trusted_proxies, ..Config::default() };
        let (users, limits) = (Users::new(&config), ConnectionLimits::new(&config, Gauge::default()));
        let proxy = limits.acquire([10, 0, 0, 1].into()).unwrap();
        let direct = limits.acquire([192, 0, 2, 1].into()).unwrap();
        let room = Address::new("ROOMS", "a").unwrap();
        let take = |subject: &Subject, connection, client: Option<IpAddr>| {
            SocketPermits::take(&users, &limits, subject, &room, Some(connection), client)
        };
        let behind_proxy = Some([192, 0, 2, 2].into());
        let (service, user) = (Subject::Service("a".into()), Subject::User("a".into()));
        let sockets =
            (0..20).map(|_| take(&service, &proxy, behind_proxy)).chain((0..20).map(|_| take(&service, &direct, None)));
        assert!(sockets.collect::<Result<Vec<_>, _>>().is_ok());
        let _first = take(&user, &proxy, behind_proxy).unwrap();
        assert_eq!(take(&user, &proxy, behind_proxy).err(), Some(Limit::ConnectionsPerAddress));
        let joins = (0..20).filter(|_| take(&user, &direct, None).is_ok()).count();
        assert_eq!(joins, 10, "the first with the connect, and the nine that are left of ten seconds' worth");
    }
}
