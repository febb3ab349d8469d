//! Builds a running host from a configuration: it reads and compiles the components, opens the store and the listeners,
//! and starts rooms and edge. It knows in which order that happens, and nothing of requests and turns. The command line
//! and embedders call it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::clock;
use crate::cluster::link::{Certificates, ClusterKey, Credentials, Tls};
use crate::cluster::{self, AddressCheck, Node};
use crate::code_cache_dir::CompiledCode;
use crate::config::{self, Config, ConfigError};
use crate::deploys::{
    BUILTIN, BadDeploys, Configured, Deploy, DeployError, DeployStatus, Deployed, Deploys, Journal, ROUTER, Record,
    short,
};
use crate::edge::{
    AccessControl, Admin, AdminTokenError, Assets, AssetsError, Authorizer, Edge, KeyError, NotReady, Service,
    TlsError, UserSocket, UsersPage, Verifier, check_certificate,
};
use crate::file_problem::FileProblem;
use crate::guest::{
    CodeCache, CompiledRoom, CompiledRouter, Engine, FunctionCache, LoadError, LongTurns, component_hash,
};
use crate::host_limits::HostLimits;
use crate::limits::SPANS_FLUSH;
use crate::liveness::Liveness;
use crate::lock::Lock;
use crate::metrics::Metrics;
use crate::model::{Address, StorageFailed};
use crate::outbound::{Allowed, BadAuthorities, HttpClient};
use crate::personal_data::{BadErasures, PersonalData};
use crate::revocations::{BadRevocations, Entry, Revocations, RevokeError, Revoked};
use crate::rollout::Rollout;
use crate::room::{Namespace, Rooms};
use crate::routes;
use crate::store::postgres::{self, BeforeJoin, Secrets, Target};
use crate::store::{OpenError, Store, StoreOptions, make_private};
use crate::telemetry::{Exporter, Telemetry, TelemetryError};

/// Builds a host. A part that is not given is made as the configuration says.
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    config: Config,
    store: Option<Store>,
    verifier: Option<Verifier>,
    listener: Option<TcpListener>,
    admin_listener: Option<TcpListener>,
    components: BTreeMap<String, Vec<u8>>,
    functions: Option<FunctionCache>,
}

/// A running host. If it is dropped without [`shutdown`](Host::shutdown), it says goodbye to its clients and waits for
/// nothing: acknowledged messages are on disk, others may be lost.
pub struct Host {
    /// Absent if the host is mounted into another server.
    address: Option<SocketAddr>,
    rooms: Rooms,
    /// Absent without a cluster.
    node: Option<Arc<Node>>,
    edge: Arc<Edge>,
    metrics: Arc<Metrics>,
    /// Absent if the host has no listener, and after the task has ended.
    accepting: Option<JoinHandle<()>>,
    verifier: Verifier,
    /// Answers operators, here and at other nodes; absent without an admin listener and without a cluster.
    operator: Option<Arc<Admin>>,
    /// Absent if the configuration has no admin listener, and if the host is mounted.
    admin: Option<AdminListener>,
    drain_delay: Duration,
    drain_timeout: Duration,
    deploys: Deploys,
    personal_data: PersonalData,
}

/// The admin listener.
struct AdminListener {
    address: SocketAddr,
    admin: Arc<Admin>,
    accepting: JoinHandle<()>,
}

/// A part that could not be reloaded; it stays as it was. The operator must act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The keys of tokens.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// The token of the admin listener.
    #[error(transparent)]
    AdminToken(#[from] AdminTokenError),
    /// The files of the operator's page.
    #[error(transparent)]
    Assets(#[from] AssetsError),
}

/// The reason why a host did not start. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token of the admin listener cannot be used.
    #[error(transparent)]
    AdminToken(#[from] AdminTokenError),
    /// The files of the operator's page cannot be used.
    #[error(transparent)]
    Assets(#[from] AssetsError),
    /// The list of revocations cannot be read.
    #[error(transparent)]
    Revocations(#[from] BadRevocations),
    /// The list of erasures of users cannot be read.
    #[error(transparent)]
    Erasures(#[from] BadErasures),
    /// A component cannot be read.
    #[error("{key}: {path} cannot be read")]
    Component {
        /// The setting that names it.
        key: String,
        /// Its file.
        path: PathBuf,
        /// The error of the operating system.
        source: FileProblem,
    },
    /// The binary has no component of this name.
    #[error("{key}: there is no {name}; there are builtin:chat-room, builtin:presence-tracker and builtin:router")]
    Builtin {
        /// The setting that names it.
        key: String,
        /// The name.
        name: String,
    },
    /// A component cannot be used.
    #[error("{key}: the component cannot be used")]
    Load {
        /// The setting that names it.
        key: String,
        /// The problem.
        source: LoadError,
    },
    /// A deployed component cannot be used.
    #[error(transparent)]
    Deploys(#[from] BadDeploys),
    /// The limits leave too little for a component, or this machine too little for the limits.
    #[error(transparent)]
    Limits(LoadError),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageFailed),
    /// The certificate authorities for requests to servers cannot be used.
    #[error(transparent)]
    Authorities(#[from] BadAuthorities),
    /// Spans cannot be sent.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The operating system allows no more threads.
    #[error("no threads for long turns: {0}; raise the limit of processes")]
    Threads(std::io::Error),
    /// The address is in use, or is not an address of this machine.
    #[error("cannot listen on {address}; pass --listen to choose another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The key of the cluster cannot be used.
    #[error(transparent)]
    ClusterKey(#[from] cluster::link::KeyError),
    /// The same for the links of other nodes.
    #[error("cannot listen on {address} for other nodes; pass --node-address, or set `cluster.listen`")]
    ListenCluster {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The same for the admin listener.
    #[error("cannot listen on {address}; set `admin.listen` to another address")]
    ListenAdmin {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

impl StartError {
    /// `key` is the setting that names the component. A problem with a limit names that limit itself.
    fn load(key: String, problem: LoadError) -> Self {
        match problem {
            LoadError::Engine(_) | LoadError::Limit { .. } => StartError::Limits(problem),
            source => StartError::Load { key, source },
        }
    }
}

impl Builder {
    /// Keeps rooms in the given store instead of the directory `data`.
    pub fn store(mut self, store: Store) -> Self {
        self.store = Some(store);
        self
    }

    /// Verifies tokens with the given verifier instead of `identity.auth`.
    pub fn identity(mut self, verifier: Verifier) -> Self {
        self.verifier = Some(verifier);
        self
    }

    /// Serves on the given listener. Its address takes the place of `listen`, also where the configuration is checked.
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Serves the operator on the given listener. Its address takes the place of `admin.listen`; the start fails if the
    /// configuration has no admin listener.
    pub fn admin_listener(mut self, listener: TcpListener) -> Self {
        self.admin_listener = Some(listener);
        self
    }

    /// Adds a component, which namespaces and the router can name as `builtin:NAME`.
    pub fn component(mut self, name: &str, wasm: impl Into<Vec<u8>>) -> Self {
        self.components.insert(name.into(), wasm.into());
        self
    }

    /// Keeps compiled functions in memory, so that a deploy of code that changed little begins in a fraction of a second.
    /// For development: it takes memory, and a deploy takes all cores while it compiles.
    pub fn function_cache(mut self, functions: FunctionCache) -> Self {
        self.functions = Some(functions);
        self
    }

    /// Opens the store, compiles the components, listens and serves. Call it in a multi-threaded tokio runtime.
    pub async fn start(mut self) -> Result<Host, StartError> {
        self.take_addresses()?;
        self.config.check()?;
        self.config.admin.as_ref().map_or(Ok(()), Admin::check)?;
        let listen = self.config.listen;
        let on_listen = |source| StartError::Listen { address: listen, source };
        let listener = match self.listener.take() {
            Some(listener) => listener,
            None => bind(listen).map_err(on_listen)?,
        };
        let address = listener.local_addr().map_err(on_listen)?;
        let admin = self.config.admin.clone();
        let admin_listener = self.admin_listener.take();
        let admin_listener = admin.as_ref().map(|admin| listen_for_admin(admin.listen, admin_listener)).transpose()?;
        let mut host = self.open(true)?;
        host.address = Some(address);
        if let (Some(admin), Some((listener, address))) = (host.operator.clone(), admin_listener) {
            let accepting = tokio::spawn(admin.clone().serve(listener));
            host.admin = Some(AdminListener { address, admin, accepting });
        }
        host.accepting = Some(tokio::spawn(host.edge.clone().serve(listener)));
        Ok(host)
    }

    /// Puts the addresses of the given listeners into the configuration: what it refuses, such as dev auth on a public
    /// address, is refused for these too.
    fn take_addresses(&mut self) -> Result<(), StartError> {
        let address = self.config.listen;
        if let Some(listener) = &self.listener {
            self.config.listen = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
        }
        match (&self.admin_listener, &mut self.config.admin) {
            (Some(listener), Some(admin)) => {
                let address = admin.listen;
                admin.listen = listener.local_addr().map_err(|source| StartError::ListenAdmin { address, source })?;
            }
            (Some(_), None) => {
                let problem = "there is a socket for the admin listener, and no such section; add [admin]";
                return Err(ConfigError::invalid("admin", problem.to_owned()).into());
            }
            (None, _) => {}
        }
        Ok(())
    }

    /// Like [`start`](Self::start), but without a listener: your own server calls [`Host::service`]. Dev auth accepts
    /// every name, so such a server must listen on a loopback address only.
    pub async fn mount(self) -> Result<Host, StartError> {
        self.config.check()?;
        self.open(false)
    }

    /// `listens` says whether there will be listeners.
    fn open(mut self, listens: bool) -> Result<Host, StartError> {
        self.config.limits = self.config.limits.with_zeros_off();
        let verifier = match self.verifier {
            Some(verifier) => verifier,
            None => Verifier::new(&self.config)?,
        };
        if self.store.is_none() {
            self.config.check_data()?;
            // Before anything is logged about rooms that another server runs.
            Store::check_free(&self.config.data)?;
        }
        // Small files come first: a wrong one is reported before components are compiled.
        self.config.tls.as_ref().map_or(Ok(()), check_certificate)?;
        let assets = self.config.assets.as_deref().map(Assets::open).transpose()?;
        let outbound = HttpClient::new(self.config.outbound_ca.as_deref())?;
        let authorizer = Authorizer::new(&self.config, &outbound)?;
        let exporter = Exporter::new(&self.config, &outbound)?;
        for warning in routes::warnings(&self.config).into_iter().chain(self.config.warnings()) {
            tracing::warn!("{warning}");
        }
        let limits = HostLimits::new(Arc::new(self.config.limits.clone()));
        // A host with its own store may have no data directory.
        let own_store = self.store.is_some();
        let cache = if own_store { None } else { compiled_code(&self.config) };
        let journal = if own_store { Journal::in_memory() } else { Journal::open(&self.config.data)? };
        let loaded = components(&self.config, &self.components, cache, self.functions, &journal)?;
        for deployed in &loaded.deployed {
            tracing::warn!("{deployed}");
        }
        // The kernel accepts links from here on, and the store tells other nodes of the address.
        let links = self.config.cluster.as_mut().map(listen_for_nodes).transpose()?;
        let store = match self.store {
            Some(store) => store,
            None => {
                let settings = database(&self.config)?;
                let before_join = links.as_ref().map(|links| before_join(&self.config, links)).transpose()?;
                open_with(&self.config, settings.map(|settings| postgres::Settings { before_join, ..settings }))?
            }
        };
        let (membership, tables) = (store.membership(), store.tables());
        let leeway = self.config.identity.leeway;
        let revocations = match (tables.clone(), own_store) {
            (Some(tables), _) => {
                let directory = (!own_store).then_some(&*self.config.data);
                let shared = Revocations::shared(Arc::new(tables), membership.is_some(), directory, leeway);
                // Before the first client: one that was revoked while this server was away must not get in.
                tokio::task::block_in_place(|| Handle::current().block_on(shared))?
            }
            (None, true) => Revocations::in_memory(leeway),
            (None, false) => Revocations::open(&self.config.data, leeway)?,
        };
        let long_turns = LongTurns::start().map_err(StartError::Threads)?;
        let telemetry = exporter.map(Telemetry::start);
        let rooms = Rooms::start(store, loaded.namespaces, limits.clone(), long_turns.clone(), outbound, telemetry)?;
        let node = membership.zip(tables).zip(links).map(|((membership, tables), (listener, tls))| {
            Arc::new(Node::start(&rooms, membership, tables, listener, tls, &limits.limits))
        });
        let router = Arc::new(loaded.router);
        let deploys = Deploys::start(
            loaded.engine,
            self.config.clone(),
            rooms.clone(),
            router.clone(),
            loaded.configured,
            journal,
        );
        let access = AccessControl::new(&self.config, authorizer, Arc::new(revocations));
        let edge =
            Edge::new(&self.config, limits.clone(), rooms.clone(), router, verifier.clone(), access, long_turns)?;
        if let Some(assets) = assets {
            edge.set_assets(assets);
        }
        if let Some(node) = &node {
            edge.set_node(node);
            tokio::spawn(Edge::follow_revocations(Arc::downgrade(&edge)));
        }
        let metrics = Metrics::of(&rooms, &edge, &deploys, &limits, node.clone());
        let (drain_delay, drain_timeout) = (self.config.limits.drain_delay, self.config.limits.drain_timeout);
        let keep_erased_ids = self.config.keep_erased_ids;
        let data = (!own_store).then_some(self.config.data);
        let personal_data = PersonalData::start(rooms.clone(), data.as_deref(), keep_erased_ids)?;
        let operator = match (self.config.admin.clone().filter(|_| listens), &node) {
            (None, None) => None,
            (config, _) => {
                let (metrics, config) = (metrics.clone(), config.unwrap_or_else(unlistened));
                let (edge, deploys, users) = (edge.clone(), deploys.clone(), personal_data.clone());
                Some(Admin::new(&config, edge, deploys, users, data.as_deref(), move || metrics.to_text())?)
            }
        };
        if let (Some(node), Some(operator)) = (&node, &operator) {
            operator.serve_nodes(node);
        }
        let (address, accepting, admin) = (None, None, None);
        Ok(Host {
            address,
            rooms,
            node,
            edge,
            metrics,
            accepting,
            verifier,
            operator,
            admin,
            drain_delay,
            drain_timeout,
            deploys,
            personal_data,
        })
    }
}

impl Host {
    /// Begins to build a host.
    pub fn builder(config: Config) -> Builder {
        let (listener, admin_listener) = (None, None);
        let (components, functions) = (BTreeMap::new(), None);
        Builder { config, store: None, verifier: None, listener, admin_listener, components, functions }
    }

    /// The address on which it listens; absent if the host is [mounted](Builder::mount).
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The address at which other nodes of its cluster reach it, if it is in one.
    pub fn node_address(&self) -> Option<&str> {
        self.node.as_ref().map(|node| node.address())
    }

    /// The address of its admin listener, if it has one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|listener| listener.address)
    }

    /// Reloads the keys of tokens, the token of the admin listener, the certificate, and the files of `assets`. Sockets
    /// stay open until their tokens expire. A part that cannot be reloaded stays as it was, and its error is returned.
    /// Reads these files.
    pub fn reload(&self) -> Vec<ReloadError> {
        let keys = self.verifier.reload().map_err(ReloadError::Keys);
        let admin = self.admin.as_ref().map_or(Ok(()), |listener| listener.admin.reload());
        let certificate = self.edge.reload().map_err(ReloadError::Certificate);
        let (admin, assets) =
            (admin.map_err(ReloadError::AdminToken), self.reload_assets().map_err(ReloadError::Assets));
        [keys, admin, certificate, assets].into_iter().filter_map(Result::err).collect()
    }

    /// Reloads the files of `assets` alone. If one cannot be read, those before stay.
    pub fn reload_assets(&self) -> Result<(), AssetsError> {
        self.edge.reload_assets()
    }

    /// Refuses a user or a token from now on, closes its open sockets with 4403, and returns their number. When this
    /// returns, the revocation is on disk beside the store and survives restarts; with a [store of your
    /// own](Builder::store) it is only in memory.
    ///
    /// It does not close a local socket that your own code connected, because that code chose the user. Other nodes of a
    /// cluster do the same with their sockets, which are not counted; the log names those that may not know of it.
    pub async fn revoke(&self, revoked: Revoked) -> Result<usize, RevokeError> {
        self.edge.revoke_everywhere(revoked).await.map(|everywhere| everywhere.closed)
    }

    /// Removes a revocation. Returns false if there was none.
    pub async fn unrevoke(&self, revoked: Revoked) -> std::io::Result<bool> {
        self.edge.unrevoke_everywhere(revoked).await.map(|(was_there, _)| was_there)
    }

    /// All revocations.
    pub fn revocations(&self) -> Vec<Entry> {
        self.edge.revocations()
    }

    /// Users with sockets, ordered by id: those whose ids begin with `prefix`, after the page with `after` as its
    /// `next`. Local sockets of your own code are not counted.
    pub fn users(&self, prefix: &str, after: Option<&str>, limit: usize) -> UsersPage {
        self.edge.users(prefix, after, limit)
    }

    /// The sockets of a user, at most 1,000, and how many there are.
    pub fn sockets_of(&self, user: &str) -> (Vec<UserSocket>, usize) {
        self.edge.sockets_of(user)
    }

    /// Closes the sockets of a user with 4410, in one room or everywhere, and returns their number. The user may come
    /// back: to prevent that, [revoke](Self::revoke).
    pub fn disconnect(&self, user: &str, room: Option<&Address>) -> usize {
        self.edge.disconnect(user, room)
    }

    /// Replaces the code of a namespace, or of the router (`router`), without ending a socket: see docs/deploy.md. The
    /// component is checked before anything changes. When this returns, the deploy is on disk beside the store (with a
    /// [store of your own](Builder::store) it is only in memory), and each room takes the new code at its next event. If
    /// the first turns of a room fail with it, all rooms return to the old code, and [`deploys`](Self::deploys) has the
    /// reason.
    pub async fn deploy(&self, target: &str, wasm: impl Into<Vec<u8>>) -> Result<Deployed, DeployError> {
        self.deploys.deploy(Deploy::new(target, wasm)).await
    }

    /// Like [`deploy`](Self::deploy), with options, such as a deploy to some rooms.
    pub async fn deploy_with(&self, deploy: Deploy) -> Result<Deployed, DeployError> {
        self.deploys.deploy(deploy).await
    }

    /// Returns to the version before: of a deploy that is under way, or else the one that ran before.
    pub async fn roll_back(&self, target: &str) -> Result<Deployed, DeployError> {
        self.deploys.roll_back(target).await
    }

    /// The versions of all namespaces and of the router, and which rooms run them. Blocks while a deploy is written
    /// to the disk.
    pub fn deploys(&self) -> Vec<DeployStatus> {
        self.deploys.status()
    }

    /// Deploys the components of the configuration whose files have changed. Returns the result for each of them.
    pub async fn reload_components(&self) -> Vec<Result<Deployed, DeployError>> {
        self.deploys.reload(read_file).await
    }

    /// Exports and erases the data of one user over all rooms: see docs/personal-data.md.
    pub fn personal_data(&self) -> &PersonalData {
        &self.personal_data
    }

    /// The HTTP service, for a server of your own.
    pub fn service(&self) -> Service {
        self.edge.service()
    }

    /// Its rooms, for direct calls without a network.
    pub fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    /// Its metrics in the text format of OpenMetrics, which Prometheus reads.
    pub fn metrics(&self) -> String {
        self.metrics.to_text()
    }

    /// Whether the host accepts new clients; if not, the reason. `GET /readyz` answers the same.
    pub fn ready(&self) -> Result<(), NotReady> {
        self.edge.ready()
    }

    /// Checks that this process works, for a watchdog.
    pub fn liveness(&self) -> Liveness {
        Liveness::new(self.rooms.clone(), self.edge.clone())
    }

    /// Tells load balancers to send no more clients: `/readyz` answers 503 from now on, and this returns after
    /// `limits.drain_delay`. Everything else goes on. Call it before [`shutdown`](Self::shutdown); to cut the delay
    /// short, drop the future.
    pub async fn announce_shutdown(&self) {
        self.edge.announce_shutdown();
        if let Some(node) = &self.node {
            node.announce_leave();
        }
        clock::sleep(self.drain_delay).await;
    }

    /// Says goodbye to every client, lets every room finish within `limits.drain_timeout`, closes the store, which takes
    /// a sync of the disk, and sends the spans that wait, if time is left. Acknowledged messages are on disk in any case. It does not wait for
    /// `limits.drain_delay`: see [`announce_shutdown`](Self::announce_shutdown).
    pub async fn shutdown(mut self) {
        let began = clock::monotonic();
        // The other nodes' clients are asked to come back once those know where to send them.
        let leave = async {
            if let Some(node) = &self.node {
                node.leave().await;
            }
        };
        tokio::join!(self.edge.drain(self.drain_timeout), leave);
        // This task sees the drain too, so it ends by itself.
        if let Some(accepting) = self.accepting.take()
            && accepting.await.is_err()
        {
            tracing::error!("the task that accepts connections panicked");
        }
        if let Some(listener) = self.admin.take()
            && listener.accepting.await.is_err()
        {
            tracing::error!("the task that accepts connections to the admin listener panicked");
        }
        let left = || self.drain_timeout.saturating_sub(clock::since(began));
        self.edge.send_last_answers(left()).await;
        self.rooms.drain(left()).await;
        if let Some(node) = &self.node {
            node.close();
        }
        // Some of the answers came only now.
        self.edge.send_last_answers(left()).await;
        if let Some(telemetry) = self.rooms.telemetry() {
            telemetry.shutdown(left().min(SPANS_FLUSH)).await;
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.personal_data.stop();
        self.edge.say_goodbye();
    }
}

/// After a restart all clients reconnect at once. A client that finds the accept queue full retries only after a
/// second, so the queue is as long as the system allows.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    const BACKLOG: u32 = 65_535;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of the previous server may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Listens for links of other nodes, and reads the key of the cluster. A port that the kernel chose is put into the
/// configuration.
fn listen_for_nodes(cluster: &mut config::Cluster) -> Result<(TcpListener, Tls), StartError> {
    let tls = credentials(cluster)?.tls()?;
    let address = cluster.listen.unwrap_or(cluster.address);
    let failed = |source| StartError::ListenCluster { address, source };
    let listener = cluster::bind(address).map_err(failed)?;
    if cluster.listen.is_none() {
        cluster.address = listener.local_addr().map_err(failed)?;
    }
    Ok((listener, tls))
}

/// Checks that the address of this node leads to it, before others are told.
fn before_join(config: &Config, (listener, tls): &(TcpListener, Tls)) -> Result<BeforeJoin, StartError> {
    let address = config.cluster.as_ref().map_or(String::new(), |cluster| cluster.address.to_string());
    let failed = |source| StartError::ListenCluster { address: config.listen, source };
    let check = Arc::new(AddressCheck::new(listener, tls, address).map_err(failed)?);
    Ok(BeforeJoin(Arc::new(move |node, store| {
        let check = check.clone();
        Box::pin(async move { check.run(node, &store).await.map_err(|wrong| wrong.to_string()) })
    })))
}

/// The operator's side of a node without an admin listener: other nodes ask it over links, which need no token.
fn unlistened() -> config::Admin {
    config::Admin { listen: SocketAddr::from(([127, 0, 0, 1], 0)), token_file: None, hosts: Vec::new() }
}

/// Bound before the store is opened, as the main address is, unless there is a listener already.
fn listen_for_admin(
    address: SocketAddr,
    listener: Option<TcpListener>,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = listener.map_or_else(|| bind(address), Ok);
    let bound = bound.and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    bound.map_err(|source| StartError::ListenAdmin { address, source })
}

/// The compiled components of a configuration, and of the deploys to its namespaces.
pub struct Loaded {
    /// By the names of their namespaces.
    pub namespaces: BTreeMap<String, Namespace>,
    /// The router.
    pub router: Rollout<CompiledRouter>,
    /// For each namespace or router that runs a deployed component and not that of the configuration, a line that says
    /// so.
    pub deployed: Vec<String>,
    engine: Engine,
    configured: BTreeMap<String, Configured>,
}

/// A component to compile.
struct Job {
    /// The setting that names it.
    key: String,
    /// For messages.
    name: String,
    wasm: Arc<[u8]>,
}

/// Reads and compiles the components of a configuration, or those that were deployed in their place, in parallel on all
/// cores. `extra` components are offered beside the builtin ones; `cache` and `functions` may hold compiled code.
pub fn components(
    config: &Config,
    extra: &BTreeMap<String, Vec<u8>>,
    cache: Option<Arc<dyn CodeCache>>,
    functions: Option<FunctionCache>,
    journal: &Journal,
) -> Result<Loaded, StartError> {
    let mut engine = Engine::new(Arc::new(config.limits.clone())).map_err(StartError::Limits)?;
    if let Some(cache) = cache {
        engine = engine.with_cache(cache);
    }
    if let Some(functions) = functions {
        engine = engine.with_functions(functions);
    }
    let named = config.namespaces.iter().map(|(name, namespace)| (name.as_str(), namespace.component.as_str()));
    // No namespace has an empty name, so the router has it here.
    let targets = named.chain([("", config.router.as_str())]);
    let key = |target: &str| match target {
        "" => ROUTER.to_owned(),
        name => format!("namespaces.{name}.component"),
    };
    let mut files = BTreeMap::<&str, Configured>::new();
    let (mut configured, mut deployed, mut jobs) = (BTreeMap::new(), Vec::new(), BTreeMap::<String, Job>::new());
    let mut versions = BTreeMap::new();
    for (name, component) in targets {
        let target = if name.is_empty() { ROUTER } else { name };
        // A namespace with the name of the router cannot be deployed to.
        let is_deployable = name != ROUTER;
        let record = if is_deployable { journal.record(target) } else { Record::default() };
        let found = match files.get(component) {
            Some(found) => Ok(found.clone()),
            None => read(|| key(name), component, extra).map(|wasm| {
                let found = Configured { hash: component_hash(&wasm), wasm: wasm.into() };
                files.insert(component, found.clone());
                found
            }),
        };
        let (stable, found) = match (&record.current, found) {
            (None, Err(error)) => return Err(error),
            (None, Ok(found)) => (found.hash.clone(), Ok(found)),
            (Some(current), found) => (current.clone(), found.map_err(|error| error.to_string())),
        };
        deployed.extend(differs(target, component, &found, &record));
        let mut job = |hash: &str| -> Result<(), StartError> {
            if !jobs.contains_key(hash) {
                let (shown, wasm) = match &found {
                    Ok(found) if found.hash == hash => (component.to_owned(), found.wasm.clone()),
                    _ => {
                        let wasm = journal.component(target, hash)?;
                        let shown = format!("the version {}, deployed to {target}; see docs/deploy.md", short(hash));
                        (shown, wasm.into())
                    }
                };
                jobs.insert(hash.to_owned(), Job { key: key(name), name: shown, wasm });
            }
            Ok(())
        };
        job(&stable)?;
        let candidate = record.candidate.filter(|candidate| candidate.version.hash != stable);
        if let Some(candidate) = &candidate {
            job(&candidate.version.hash)?;
        }
        versions.insert(name, (stable, candidate));
        configured.extend(found.ok().filter(|_| is_deployable).map(|found| (target.to_owned(), found)));
    }

    let of_rooms = versions.iter().filter(|(name, _)| !name.is_empty());
    let of_rooms = of_rooms.flat_map(|(_, (stable, candidate))| {
        [Some(stable), candidate.as_ref().map(|candidate| &candidate.version.hash)].into_iter().flatten()
    });
    let remaining = Lock::new(of_rooms.collect::<BTreeSet<_>>().into_iter());
    let next = || remaining.lock().next();
    let compile = |hash: &String| {
        let Job { key, name, wasm } = &jobs[hash];
        let compiled = engine.room(name, wasm).map_err(|problem| StartError::load(key.clone(), problem))?;
        Ok::<_, StartError>((hash.clone(), compiled))
    };
    let router = |hash: &str| {
        let Job { name, wasm, .. } = &jobs[hash];
        let router = engine.router(name, wasm).map_err(|problem| StartError::load(ROUTER.into(), problem))?;
        if let Some(missing) = router.declared().namespaces.iter().find(|name| !config.namespaces.contains_key(*name)) {
            let problem = format!("{name} names the namespace {missing}; add [namespaces.{missing}]");
            return Err(ConfigError::invalid(ROUTER, problem).into());
        }
        Ok::<_, StartError>(
            router.with_namespaces(config.namespaces.keys().map(String::as_str)).with_reuse(config.router_reuse),
        )
    };
    let (stable_router, candidate_router) = &versions[""];
    let (routers, compiled) = thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let worker = || std::iter::from_fn(next).map(compile).collect::<Vec<_>>();
        let workers = (1..cores).map(|_| scope.spawn(worker)).collect::<Vec<_>>();
        let candidate = || candidate_router.as_ref().map(|candidate| router(&candidate.version.hash)).transpose();
        let routers = router(stable_router).and_then(|stable| Ok((stable, candidate()?)));
        let mut compiled = worker();
        for worker in workers {
            compiled.extend(worker.join().expect("compiling reports its errors and does not panic"));
        }
        (routers, compiled)
    });
    let compiled = compiled.into_iter().collect::<Result<BTreeMap<String, CompiledRoom>, _>>()?;

    let mut namespaces = BTreeMap::new();
    for (name, namespace) in &config.namespaces {
        let (stable, candidate) = &versions[name.as_str()];
        let component = |hash: &str| {
            let compiled = &compiled[hash];
            if let Some(declared) = compiled.declared() {
                namespace.of_component(&jobs[hash].name).check_declared(name, declared, &config.limits)?;
            }
            Ok::<_, ConfigError>(compiled.clone())
        };
        let code = Rollout::new(stable, component(stable)?);
        if let Some(candidate) = candidate {
            let hash = &candidate.version.hash;
            code.begin(hash, component(hash)?, candidate.selection.clone());
        }
        let bound = Namespace {
            code,
            component_name: namespace.component.clone(),
            hibernate_after: namespace.hibernate_after.unwrap_or(config.hibernate_after),
            config: Arc::new(namespace.config.clone()),
            message_in_bytes: namespace.message_in_bytes,
            message_out_bytes: namespace.message_out_bytes,
            to_send: namespace.to_send(),
            calls: namespace.calls.clone(),
            outbound: Allowed { public: namespace.outbound.clone(), private: namespace.outbound_private.clone() },
        };
        namespaces.insert(name.clone(), bound);
    }
    let (stable, candidate) = routers?;
    let router = Rollout::new(stable_router, stable);
    if let (Some(candidate), Some(compiled)) = (candidate_router, candidate) {
        router.begin(&candidate.version.hash, compiled, candidate.selection.clone());
    }
    let namespaces_gone =
        journal.records().keys().filter(|name| *name != ROUTER && !config.namespaces.contains_key(*name));
    deployed.extend(namespaces_gone.map(|name| format!("{name} was deployed to, and is not configured")));
    Ok(Loaded { namespaces, router, deployed, engine, configured })
}

/// Says that a target runs something other than the component of the configuration, or may do so.
fn differs(target: &str, component: &str, found: &Result<Configured, String>, record: &Record) -> Vec<String> {
    let configured = match found {
        Ok(found) => format!("{component} of the configuration, which has the version {}", short(&found.hash)),
        Err(problem) => format!("the component of the configuration ({problem})"),
    };
    let is_other = |hash: &&String| found.as_ref().map_or(true, |found| found.hash != **hash);
    let current = record.current.as_ref().filter(is_other).map(|hash| {
        format!(
            "{target} runs the version {} that was deployed, and not {configured}; `dormouse deploy {target} {component}` \
             returns to that",
            short(hash)
        )
    });
    let candidate = record.candidate.as_ref().map(|candidate| {
        let to = if candidate.selection.is_all() { "all" } else { "some" };
        let hash = short(&candidate.version.hash);
        format!("a deploy of the version {hash} to {to} rooms of {target} was under way, and goes on")
    });
    current.into_iter().chain(candidate).collect()
}

/// The content of a file that the configuration names.
#[expect(clippy::disallowed_methods, reason = "it reads the file of a component")]
fn read_file(path: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// The cache of compiled code, beside the store. Without it a start only takes longer.
fn compiled_code(config: &Config) -> Option<Arc<dyn CodeCache>> {
    let directory = config.data.join("compiled");
    // If the data directory cannot be made, the store reports it later.
    let opened = make_private(&config.data).and_then(|()| CompiledCode::open(&directory));
    match opened {
        Ok(code) => Some(Arc::new(code)),
        Err(error) => {
            let directory = directory.display();
            tracing::warn!(%directory, %error, "no compiled code is kept: each start compiles all components again");
            None
        }
    }
}

/// The bytes of a component. `key` gives the setting that names it.
#[expect(clippy::disallowed_methods, reason = "it reads the file of a component")]
fn read(key: impl Fn() -> String, component: &str, extra: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, StartError> {
    match component.strip_prefix(BUILTIN) {
        Some(name) => {
            let shipped = || dormouse_bundle::builtin(name).map(<[u8]>::to_vec);
            extra
                .get(name)
                .cloned()
                .or_else(shipped)
                .ok_or_else(|| StartError::Builtin { key: key(), name: component.into() })
        }
        None => std::fs::read(component).map_err(|error| {
            let (path, source) = (component.into(), error.into());
            StartError::Component { key: key(), path, source }
        }),
    }
}

/// Opens the store of a configuration: in a database, or else in the data directory.
pub fn open_store(config: &Config) -> Result<Store, StartError> {
    open_with(config, database(config)?)
}

fn open_with(config: &Config, settings: Option<postgres::Settings>) -> Result<Store, StartError> {
    let options = store_options(config);
    Ok(match settings {
        Some(settings) => Store::in_database(&config.data, options, &settings)?,
        None => Store::open(&config.data, options)?,
    })
}

/// Reads what makes a server a node of its cluster: the key, or own certificates.
pub fn credentials(node: &config::Cluster) -> Result<Credentials, cluster::link::KeyError> {
    match &node.certificates {
        Some(files) => Certificates::read(&files.ca, &files.cert, &files.key).map(Credentials::Certificates),
        None => ClusterKey::read(&node.key).map(|key| Credentials::Key(key.into())),
    }
}

/// The database of a configuration, if it names one. Passwords that are not in its address come from the environment.
pub fn database(config: &Config) -> Result<Option<postgres::Settings>, ConfigError> {
    let config::Store { url, lanes, patience, require_synchronous } = config.store.clone();
    let Some(url) = url else { return Ok(None) };
    let target = Target::parse(url.with_password(), &Secrets::of_environment());
    let target = target.map_err(|error| ConfigError::invalid("store.url", error.to_string()))?;
    let node_address = config.cluster.as_ref().map(|cluster| cluster.address.to_string());
    let unusable = |error: cluster::link::KeyError| ConfigError::invalid("cluster.key", error.to_string());
    let fingerprint = |cluster| credentials(cluster).and_then(|credentials| credentials.fingerprint());
    let cluster_key = config.cluster.as_ref().map(fingerprint).transpose().map_err(unusable)?;
    let links = (cluster::link::VERSIONS.oldest, cluster::link::VERSIONS.newest);
    let before_join = None;
    Ok(Some(postgres::Settings {
        target,
        lanes,
        patience,
        require_synchronous,
        node_address,
        cluster_key,
        links,
        before_join,
    }))
}

/// The options of the store, as the configuration sets them.
pub fn store_options(config: &Config) -> StoreOptions {
    StoreOptions {
        min_free_bytes: config.limits.min_free_bytes,
        queue_bytes: config.limits.commit_queue_bytes,
        slow_sync: config.limits.slow_sync,
        cache_bytes: config.limits.store_cache_bytes,
        room_bytes: config.limits.room_bytes,
    }
}
