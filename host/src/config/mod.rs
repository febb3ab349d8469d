//! All settings of an operator. Units are in the names. Values are checked once, at start. Limits that nobody can set
//! are in [`limits`](crate::limits).
//!
//! It opens no file but the configuration itself, and knows no component: `host` checks the settings that components
//! declare.

mod address;
mod authorize;
mod check;
mod cluster;
mod duration;
mod error;
mod identity;
mod limits;
mod namespace;
mod nearest;
mod problem;
mod store;
mod telemetry;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use address::{address, networks, with_numbers_for_names};
use nearest::nearest_key;

pub use address::resolve_address;
pub use authorize::{AuthorizeUrl, BadAuthorizeUrl};
pub use check::full_path;
pub use cluster::{Cluster, ClusterCertificates};
pub use duration::read_duration;
pub use error::ConfigError;
pub use identity::{AccessMode, Auth, Encoding, Identity, Key};
pub use limits::Limits;
pub use namespace::Namespace;
pub use store::{BadStoreUrl, Store, StoreUrl};
pub use telemetry::{BadOtlpUrl, OtlpUrl, Telemetry, TrustParent};

pub use crate::file_problem::FileProblem;

/// How Dormouse runs: the content of `dormouse.toml`, with defaults for the rest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The address to listen on. A file may give a name, such as `localhost:8787`.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// The data directory. A relative path is relative to the configuration file.
    pub data: PathBuf,
    /// The database that keeps the rooms. Without its address they are in the data directory.
    pub store: Store,
    /// This server as a node of a cluster; absent, it is the only one of its rooms.
    pub cluster: Option<Cluster>,
    /// The prefix of every route: `/`, or a path without a slash at its end.
    pub base_path: String,
    /// A room hibernates after this time without events.
    #[serde(with = "duration")]
    pub hibernate_after: Duration,
    /// The certificate for TLS; without one, connections are plain HTTP.
    pub tls: Option<Tls>,
    /// Whether plain connections may speak HTTP/2, as some proxies do.
    pub h2c: bool,
    /// Networks of proxies, or their addresses, whose `X-Forwarded-For` and `Forwarded` are trusted. A proxy that sends
    /// neither counts as one address, with all its clients.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// How users are identified.
    pub identity: Identity,
    /// The kinds of rooms, by namespace.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Headers that the answers of rooms and of the router may have beside [the built-in
    /// list](crate::limits::ALLOWED_RESPONSE_HEADERS).
    pub response_headers: Vec<String>,
    /// The component that maps requests to rooms: a file, or `builtin:router`.
    pub router: String,
    /// Namespaces whose rooms the router may call before it decides.
    pub router_calls: BTreeSet<String>,
    /// How many requests one instance of the router serves, one at a time.
    pub router_reuse: u32,
    /// Whether the router answers preflights, and components may send the headers of CORS. The host adds those for the
    /// allowed origins only where a component has sent none.
    pub router_cors: bool,
    /// Whether `/` serves the demo page.
    pub page: bool,
    /// A folder with a page of your own, which is served at `/` in place of the demo page.
    pub assets: Option<PathBuf>,
    /// A listener for the operator; absent, there is none.
    pub admin: Option<Admin>,
    /// How long the list of erasures keeps the id of an erased user, so that the erasure is repeated by itself after a
    /// restore of an older backup; 0 to forget the id at once.
    #[serde(with = "duration")]
    pub keep_erased_ids: Duration,
    /// Certificate authorities in PEM that all requests to servers trust beside those of browsers.
    pub outbound_ca: Option<PathBuf>,
    /// Spans over OTLP; absent, there are none.
    pub telemetry: Option<Telemetry>,
    /// The limits.
    pub limits: Limits,
}

/// The files for TLS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// A file with the certificate in PEM, followed by its intermediate certificates.
    pub cert: PathBuf,
    /// A file with its private key in PEM.
    pub key: PathBuf,
}

/// A listener for the operator: health, metrics and revocations.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// The address to listen on. A file may give a name, such as `localhost:8788`.
    #[serde(default = "admin_address", deserialize_with = "address")]
    pub listen: SocketAddr,
    /// A file with the token, of at least 32 characters. All paths then require it, but for `/healthz`, `/readyz` and the
    /// files of the dashboard. It must be set if the address is not a loopback address.
    pub token_file: Option<PathBuf>,
    /// Names under which browsers may open the dashboard, without scheme and port, beside IP addresses and the names of
    /// this machine.
    #[serde(default)]
    pub hosts: Vec<String>,
}

fn admin_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8788))
}

impl Default for Config {
    fn default() -> Self {
        // The longest message that their protocol allows a client is a chat line of 12 KB; their own messages can be a
        // history of hundreds of those.
        let builtin = |component| Namespace { message_in_bytes: 64 << 10, ..Namespace::of(component) };
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8787)),
            data: "./dormouse-data".into(),
            store: Store::default(),
            cluster: None,
            base_path: "/api/realtime".into(),
            hibernate_after: Duration::from_secs(10),
            tls: None,
            h2c: false,
            trusted_proxies: Vec::new(),
            identity: Identity::default(),
            namespaces: BTreeMap::from([
                ("ROOMS".into(), builtin("builtin:chat-room")),
                ("PRESENCE".into(), builtin("builtin:presence-tracker")),
            ]),
            response_headers: Vec::new(),
            router: "builtin:router".into(),
            router_calls: BTreeSet::new(),
            router_reuse: 1,
            router_cors: false,
            page: true,
            assets: None,
            admin: None,
            keep_erased_ids: Duration::ZERO,
            outbound_ca: None,
            telemetry: None,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Reads a configuration file. Relative paths in it are relative to the file.
    #[expect(clippy::disallowed_methods, reason = "it reads the configuration")]
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.into(), source: error.into() })?;
        let text = with_numbers_for_names(text);
        let mut config = Self::parse(&text).map_err(|message| ConfigError::Parse { path: path.into(), message })?;
        config.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Reads a configuration from text. Addresses are numbers or `localhost`: no name is looked up. The error names the
    /// problem, its place and the nearest known key, and shows no value of which it is not known that it is no secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let message = problem::shown(&error.to_string());
            match nearest_key(error.message()) {
                Some(key) => format!("{message}; did you mean `{key}`?"),
                None => message,
            }
        })
    }

    /// Whether the demo page is served: an own page takes its place.
    pub fn has_demo_page(&self) -> bool {
        self.page && self.assets.is_none()
    }

    /// The access to the rooms of a namespace.
    pub fn access(&self, namespace: &str) -> AccessMode {
        let own = self.namespaces.get(namespace).and_then(|namespace| namespace.access);
        own.unwrap_or_else(|| self.identity.access())
    }

    /// The access of all namespaces in a few words, such as `granted` or `granted, but open: POLLS`.
    pub fn access_summary(&self) -> String {
        let usual = self.identity.access();
        let others = self.namespaces.keys().filter(|name| self.access(name) != usual).map(String::as_str);
        let others = others.collect::<Vec<_>>();
        let other = if usual == AccessMode::Open { AccessMode::Granted } else { AccessMode::Open };
        match &others[..] {
            [] => usual.name().to_owned(),
            all if all.len() == self.namespaces.len() => other.name().to_owned(),
            some => format!("{}, but {}: {}", usual.name(), other.name(), some.join(", ")),
        }
    }

    fn resolve(&mut self, directory: &Path) {
        // An empty path would become the directory itself; it stays, to be refused.
        if !self.data.as_os_str().is_empty() {
            self.data = directory.join(&self.data);
        }
        for source in self.namespaces.values_mut().filter_map(|namespace| namespace.source.as_mut()) {
            *source = directory.join(&*source).to_string_lossy().into_owned();
        }
        let components = self.namespaces.values_mut().map(|namespace| &mut namespace.component);
        for component in components.chain([&mut self.router]) {
            if !component.is_empty() && !component.starts_with("builtin:") {
                *component = directory.join(&*component).to_string_lossy().into_owned();
            }
        }
        if let Some(cluster) = &mut self.cluster
            && !cluster.key.as_os_str().is_empty()
        {
            cluster.key = directory.join(&cluster.key);
        }
        self.assets = self.assets.take().map(|folder| directory.join(folder));
        if let Some(files) = self.cluster.as_mut().and_then(|cluster| cluster.certificates.as_mut()) {
            for file in [&mut files.ca, &mut files.cert, &mut files.key] {
                *file = directory.join(&*file);
            }
        }
        self.outbound_ca = self.outbound_ca.take().map(|file| directory.join(file));
        if let Some(tls) = &mut self.tls {
            tls.cert = directory.join(&tls.cert);
            tls.key = directory.join(&tls.key);
        }
        self.identity.jwks = self.identity.jwks.take().map(|file| directory.join(file));
        self.identity.authorize_secret = self.identity.authorize_secret.take().map(|file| directory.join(file));
        if let Some(telemetry) = &mut self.telemetry {
            telemetry.headers_file = telemetry.headers_file.take().map(|file| directory.join(file));
        }
        if let Some(admin) = &mut self.admin {
            admin.token_file = admin.token_file.take().map(|file| directory.join(file));
        }
        for key in &mut self.identity.keys {
            key.file = directory.join(&key.file);
            key.private_file = key.private_file.take().map(|file| directory.join(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dev_auth_refuses_any_address_but_loopback() {
        let dev = |listen: &str| Config { listen: listen.parse().unwrap(), ..Config::default() }.check();
        assert!(dev("127.0.0.1:0").is_ok());
        assert!(dev("[::1]:80").is_ok() && dev("[::ffff:127.0.0.1]:80").is_ok());
        for other in ["0.0.0.0:80", "[::]:80", "192.168.1.4:80", "[::ffff:192.168.1.4]:80"] {
            assert!(dev(other).unwrap_err().to_string().contains("loopback"), "{other}");
        }
    }

    #[test]
    fn unusable_values_are_refused_with_their_key() {
        let refused = |text: &str| Config::parse(text).unwrap().check().unwrap_err().to_string();
        assert!(refused("base_path = \"/api/\"").starts_with("base_path:"));
        assert!(refused("[limits]\nawake_rooms = 0").starts_with("limits.awake_rooms:"));
        assert!(refused("[limits]\nwrite_timeout = \"0s\"").starts_with("limits.write_timeout:"));
        assert!(refused("[limits]\nmemory_bytes = 100").starts_with("limits.memory_bytes:"));
        for limit in
            ["turn_output_bytes", "socket_queue_bytes", "table_elements", "body_bytes", "tickets", "turn_calls"]
        {
            assert!(refused(&format!("[limits]\n{limit} = 0")).starts_with(&format!("limits.{limit}: must not be 0")));
        }
        for time in ["pong_timeout", "header_timeout", "body_timeout", "answer_timeout", "turn_calls_timeout"] {
            assert!(
                refused(&format!("[limits]\n{time} = \"0s\"")).starts_with(&format!("limits.{time}: must not be 0"))
            );
        }
        let namespace = "[namespaces.A]\ncomponent = \"x.wasm\"\nmessage_out_bytes = 0";
        assert!(refused(namespace).starts_with("namespaces.A.message_out_bytes: must not be 0"));
        assert!(refused("[identity]\nauth = \"jwt\"").starts_with("identity.keys:"));
        for bad in ["*", "null", "https://app.example/", "app.example", "https://*.example", "https://a.example:99999"]
        {
            let problem = refused(&format!("[identity]\nallowed_origins = [\"https://good.example\", \"{bad}\"]"));
            assert!(problem.starts_with("identity.allowed_origins: no browser sends `"), "{problem}");
            assert!(problem.contains(&format!("`{bad}`")), "{problem}");
        }
        let headers = |list: &str| refused(&format!("response_headers = [{list}]"));
        assert!(headers("\"x-ok\", \"Set-Cookie\"").contains("`Set-Cookie` is the host's to set"));
        assert!(headers("\"access-control-allow-origin\"").contains("the host's to set"));
        assert!(headers("\"a b\"").contains("not a header name"));
        let of_namespace = "[namespaces.A]\ncomponent = \"x\"\nresponse_headers = [\"connection\"]";
        assert!(refused(of_namespace).starts_with("namespaces.A.response_headers:"));
        let pem = "[identity]\nauth = \"jwt\"\nkeys = [{ algorithm = \"RS256\", file = \"x\", encoding = \"base64\" }]";
        assert!(refused(pem).starts_with("identity.keys: a key for RS256 is in PEM"));
        assert!(refused("[identity]\nhosts = [\"https://rooms.example\"]").starts_with("identity.hosts:"));
        assert!(refused("[identity]\nhosts = [\"rooms.example:443\"]").starts_with("identity.hosts:"));
        assert!(refused("[admin]\nlisten = \"0.0.0.0:8788\"").starts_with("admin.token_file:"));
        assert!(refused("[namespaces.\"a b\"]\ncomponent = \"x.wasm\"").starts_with("namespaces.a b:"));
    }
}

#[cfg(test)]
mod fuzz {
    use dormouse_fuzz::{fuzz, mutated};

    use super::*;

    #[test]
    fn any_file_content_gives_a_configuration_or_an_error() {
        const EXAMPLES: [&[u8]; 4] = [
            b"listen = \"127.0.0.1:8787\"\nbase_path = \"/api/realtime\"\nhibernate_after = \"10s\"\npage = true\n",
            b"[identity]\nauth = \"jwt\"\nleeway = \"30s\"\nkeys = [{ algorithm = \"HS256\", file = \"jwt.secret\" }]\n",
            b"[namespaces.ROOMS]\ncomponent = \"a.wasm\"\ncalls = [\"ROOMS\"]\noutbound = [\"https://*.example:1\"]\nconfig.x = \"y\"\n",
            b"[limits]\nawake_rooms = 10_000\nmemory_bytes = 67_108_864\nturn_cpu = \"1m 30s\"\nping_every = \"25s\"\n",
        ];
        fuzz(mutated(&EXAMPLES), |bytes| {
            let Ok(text) = String::from_utf8(bytes) else { return };
            match Config::parse(&text) {
                Ok(config) => drop(config.check()),
                Err(error) => assert!(!error.is_empty()),
            }
        });
    }
}
