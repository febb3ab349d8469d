//! The permits that one socket needs: one of its user, and one of its address if a proxy names that.
//!
//! It knows no requests and no sockets; `http` takes the permits, and the socket keeps them until it ends.

use std::net::IpAddr;
use std::sync::Arc;

use super::connection_limits::{AddressPermit, ConnectionLimits, ConnectionPermit};
use super::users::{SocketPermit, UserUsage, Users};
use crate::clock;
use crate::edge::identity::verified::Subject;
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
