//! The other end of a request: its connection, and the client behind a trusted proxy.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::Request;

use crate::edge::admission::budget::{Requester, RequesterId};
use crate::edge::admission::connection_limits::{ConnectionLimits, ConnectionPermit, network};
use crate::edge::headers::ONLY_FROM_PROXIES;
use crate::edge::identity::verified::Verified;

/// The other end of a request.
pub(super) struct Peer {
    /// Absent in a mounted host.
    pub(super) connection: Option<Arc<ConnectionPermit>>,
    /// The client's address, if a proxy names it.
    pub(super) client: Option<IpAddr>,
}

impl Peer {
    /// Finds the other end. Headers that only a proxy may set are removed from the requests of other clients.
    pub(super) fn of(limits: &ConnectionLimits, request: &mut Request<()>) -> Self {
        let connection = request.extensions().get::<Arc<ConnectionPermit>>().cloned();
        let client = match &connection {
            Some(connection) if connection.is_proxy() => limits.client_of(connection, request.headers()),
            Some(_) => {
                ONLY_FROM_PROXIES.iter().for_each(|name| drop(request.headers_mut().remove(*name)));
                None
            }
            // A server that mounts the host has its own rules for proxies.
            None => None,
        };
        Peer { connection, client }
    }

    /// Whether a trusted proxy has sent the request.
    pub(super) fn is_proxy(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.is_proxy())
    }

    /// The holders of the shares that a request counts against.
    pub(super) fn requester(&self, verified: Option<&Verified>) -> Requester {
        let connection = self.connection.as_deref();
        let address = self.client.map(network).or_else(|| connection.and_then(ConnectionPermit::address));
        let who = match (verified, address) {
            (Some(verified), _) => RequesterId::Subject(verified.subject()),
            (None, Some(address)) => RequesterId::Address(address),
            (None, None) => RequesterId::Unknown,
        };
        Requester { who, address, connection: connection.map(ConnectionPermit::number) }
    }
}
