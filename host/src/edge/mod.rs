//! The HTTP and WebSocket side of a host: it accepts connections, identifies users, routes requests and drains at
//! shutdown. It knows no wasm, and nothing of how a room works inside.
//!
//! A request passes the checks that are listed, in their order, at the head of `http/mod.rs`.
//!
//! A frame enters in `websocket` and becomes an event through the room's [`Seat`](crate::room::Seat). The room's output
//! comes back through `outgoing`, which writes it; `websocket` writes what the socket did not accept at once. All close
//! codes are in `close`.

mod accept;
mod access;
mod admin;
mod admission;
mod drain;
mod headers;
mod http;
mod identity;
mod listener;
mod metrics;
mod online;
mod readiness;
mod response;
mod revocation;
mod shared_tickets;
mod sockets;
mod subject;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::cluster::Node;
use crate::config::{Config, Limits};
use crate::guest::{CompiledRouter, LongTurns};
use crate::host_limits::HostLimits;
use crate::pressure::Pressure;
use crate::revocations::Revocations;
use crate::rollout::Rollout;
use crate::room::Rooms;

pub use access::authorizer::Authorizer;
pub use access::grants::{Deciding, Grants, GrantsError};
pub use access::pattern::{Pattern, PatternError};
pub use access::policy::{Access, Denied, Reason, Standing};
pub use admin::{Admin, AdminTokenError};
pub use http::assets::{Assets, AssetsError};
pub use http::service::Service;
pub use identity::keys::KeyError;
pub use identity::token::ClaimsFit;
pub use identity::verified::{Invalid, Role, Verified};
pub use identity::verifier::{MINTED_CLAIMS, Verifier, mint};
pub use listener::tls::{TlsError, check_certificate};
pub use online::UsersPage;
pub use readiness::NotReady;
pub use response::body::Body;
pub use sockets::frames::encode;
pub use sockets::registry::{OnlineUser, UserSocket};

pub(crate) use access::control::AccessControl;
use admission::budget::Budget;
use admission::connection_limits::ConnectionLimits;
use admission::origin::Origins;
use admission::users::Users;
use headers::ResponseHeaders;
use identity::tickets::Tickets;
use listener::tls::Certificate;
use metrics::Metrics;
use sockets::registry::SocketRegistry;

/// The HTTP side of one host.
pub struct Edge {
    rooms: Rooms,
    router: Arc<Rollout<CompiledRouter>>,
    /// The namespaces that the router may call.
    router_calls: Arc<BTreeSet<String>>,
    /// The router answers preflights.
    router_cors: bool,
    long_turns: LongTurns,
    verifier: Verifier,
    access: Arc<AccessControl>,
    origins: Origins,
    tickets: Tickets,
    cookie: String,
    response_headers: ResponseHeaders,
    base_path: String,
    page: bool,
    /// The operator's own page; absent without one.
    assets: OnceLock<Assets>,
    limits: Arc<Limits>,
    budget: Budget,
    connection_limits: Arc<ConnectionLimits>,
    users: Users,
    metrics: Arc<Metrics>,
    pressure: Arc<Pressure>,
    /// Absent where connections are plain.
    certificate: Option<Certificate>,
    h2c: bool,
    sockets: Arc<SocketRegistry>,
    revocations: Arc<Revocations>,
    /// A load balancer should send no more clients. Nothing else changes until `draining`.
    shutdown_announced: AtomicBool,
    draining: watch::Sender<bool>,
    /// The cluster; absent if this is the only server of its rooms.
    node: OnceLock<Arc<Node>>,
}

impl Edge {
    /// Makes the edge in front of `rooms`.
    pub(crate) fn new(
        config: &Config,
        host_limits: HostLimits,
        rooms: Rooms,
        router: Arc<Rollout<CompiledRouter>>,
        verifier: Verifier,
        access: Arc<AccessControl>,
        long_turns: LongTurns,
    ) -> Result<Arc<Self>, TlsError> {
        let HostLimits { limits, hits, pressure } = host_limits;
        let revocations = access.revocations().clone();
        let metrics = Arc::new(Metrics::new(hits));
        let draining = watch::Sender::new(false);
        let sockets = SocketRegistry::new(revocations.clone(), draining.subscribe(), metrics.sockets.clone());
        let edge = Edge {
            rooms,
            router,
            router_calls: Arc::new(config.router_calls.clone()),
            router_cors: config.router_cors,
            long_turns,
            verifier,
            access,
            origins: Origins::new(&config.identity, config.tls.is_some()),
            tickets: Tickets::new(config),
            cookie: config.identity.cookie.clone(),
            response_headers: ResponseHeaders::new(config),
            base_path: config.base_path.clone(),
            page: config.has_demo_page(),
            assets: OnceLock::new(),
            budget: Budget::new(config),
            connection_limits: ConnectionLimits::new(config, metrics.connections.clone()),
            users: Users::new(config),
            metrics,
            pressure,
            certificate: config.tls.as_ref().map(Certificate::load).transpose()?,
            h2c: config.h2c,
            limits,
            sockets,
            revocations,
            shutdown_announced: AtomicBool::new(false),
            draining,
            node: OnceLock::new(),
        };
        Ok(Arc::new(edge))
    }

    /// Serves these files beside the API. Only the first call matters.
    pub(crate) fn set_assets(&self, assets: Assets) {
        let _ = self.assets.set(assets);
    }

    /// Reads the files of the operator's page again. If that does not work, those before stay.
    pub fn reload_assets(&self) -> Result<(), AssetsError> {
        self.assets.get().map_or(Ok(()), Assets::reload)
    }

    /// Reads the certificate again. If it does not work, the one before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.certificate.as_ref().map_or(Ok(()), Certificate::reload)
    }

    /// Registers the edge's metrics.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
        self.access.register(registry);
    }
}
