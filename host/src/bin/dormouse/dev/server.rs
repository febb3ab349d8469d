//! The host of a project that is being written. It starts with the first build, and takes each further one by a deploy.
//!
//! It knows nothing of sources: `mod.rs` passes it what was built.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use dormouse::config::{Auth, Config};
use dormouse::guest::{FunctionCache, component_hash};
use dormouse::{Host, StartError, clock, log, routes};

use super::builder::{Built, Target};
use super::project::shown;

/// The most rooms of a project that are awake at once. A host takes two of the 65,530 memory maps of a process for each, and
/// gives them back only when its last connection has ended, while the host of the next configuration runs already.
const AWAKE_ROOMS: u32 = 1_000;

/// The file with the deploys of a server, in its data directory. What ran last is built anew at the start.
const DEPLOYS: &str = "deployed/deploys.json";

pub(super) struct Server {
    listen: Option<SocketAddr>,
    auth: Option<Auth>,
    functions: FunctionCache,
    running: Option<Running>,
}

struct Running {
    host: Host,
    /// As it was built. A build with another one takes a new host.
    config: Config,
    /// The hash of what each target was last told to run.
    versions: BTreeMap<String, String>,
}

impl Server {
    pub(super) fn new(listen: Option<SocketAddr>, auth: Option<Auth>) -> Self {
        Server { listen, auth, functions: FunctionCache::default(), running: None }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Serves what was built: starts, deploys what has changed, or starts anew if the configuration has changed.
    ///
    /// Fails: if no edit can help.
    pub(super) async fn take(&mut self, built: Built) -> anyhow::Result<()> {
        match &mut self.running {
            Some(running) if running.config == built.config => {
                running.deploy(built).await;
                return Ok(());
            }
            Some(running) => {
                // The same port: clients come back to it.
                if self.listen.is_some_and(|listen| listen.port() == 0) {
                    self.listen = running.host.address();
                }
                log::line("dormouse: the configuration has changed, so the server starts anew");
                self.shutdown().await;
            }
            None => {}
        }
        self.start(built).await
    }

    async fn start(&mut self, Built { config, targets, since, folder }: Built) -> anyhow::Result<()> {
        let mut own = config.clone();
        own.listen = self.listen.unwrap_or(own.listen);
        own.identity.auth = self.auth.unwrap_or(own.identity.auth);
        own.limits.awake_rooms = own.limits.awake_rooms.min(AWAKE_ROOMS);
        match fs::remove_file(own.data.join(DEPLOYS)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context(format!("{} cannot be written", own.data.display()));
            }
            _ => {}
        }
        let shown_config = own.clone();
        let host = match Host::builder(own).function_cache(self.functions.clone()).start().await {
            Ok(host) => host,
            Err(error) => {
                let is_of_machine = matches!(
                    error,
                    StartError::Listen { .. }
                        | StartError::ListenAdmin { .. }
                        | StartError::Open(_)
                        | StartError::Limits(_)
                );
                let error = anyhow::Error::new(error);
                ensure!(!is_of_machine, error);
                log::line(&format!("dormouse: nothing is served: {error:#}"));
                return Ok(());
            }
        };
        announce(&host, &shown_config, &targets, &folder, clock::since(since).as_secs_f64());
        let versions = targets.iter().map(|(name, target)| (name.clone(), component_hash(&target.wasm))).collect();
        self.running = Some(Running { host, config, versions });
        Ok(())
    }

    pub(super) async fn shutdown(&mut self) {
        if let Some(running) = self.running.take() {
            running.host.shutdown().await;
        }
    }
}

impl Running {
    /// Deploys what differs from what runs.
    async fn deploy(&mut self, Built { targets, since, .. }: Built) {
        if let Err(error) = self.host.reload_assets() {
            log::line(&format!("dormouse: the page stays as it was: {error:#}"));
        }
        for (name, Target { wasm, source }) in targets {
            let hash = component_hash(&wasm);
            if self.versions.get(&name) == Some(&hash) {
                continue;
            }
            let line = match self.host.deploy(&name, &*wasm).await {
                Ok(deployed) => {
                    self.versions.insert(name.clone(), hash);
                    let took = clock::since(since).as_secs_f64();
                    let migrated = match deployed.migrated_rooms {
                        0 => String::new(),
                        rooms => format!("; the data of {rooms} rooms was tried and can be migrated"),
                    };
                    format!("dormouse: {name} is live with {source}, after {took:.2} s{migrated}")
                }
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    format!("dormouse: {source} is not live, the version before goes on running: {error:#}")
                }
            };
            log::line(&line);
        }
    }
}

/// Says where everything is.
fn announce(host: &Host, config: &Config, targets: &BTreeMap<String, Target>, folder: &Path, took: f64) {
    let address = host.address().expect("a host that was started listens");
    let is_dev = config.identity.auth == Auth::Dev;
    let user = if is_dev { "?token=1:ana" } else { "" };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let mut lines = vec![format!("dormouse: ready on {scheme}://{address} after {took:.1} s")];
    for (name, Target { source, .. }) in targets {
        lines.push(format!("  {name} is {source}"));
    }
    if config.has_demo_page() || config.assets.is_some() || config.router != Config::default().router {
        lines.push(format!(
            "  open {scheme}://{address}{}",
            if config.assets.is_some() || config.page { "/" } else { config.base_path.as_str() }
        ));
    }
    for route in routes::routes(config) {
        if let Some(path) = route.path {
            let (socket, path) = (scheme.replace("http", "ws"), path.replace("{name}", "any"));
            lines.push(format!("  rooms of {}: {socket}://{address}{path}/ws{user}", route.namespace));
        }
    }
    if is_dev {
        lines.push("  every name is accepted as a user, without proof: 1:ana is the user 1 with the name ana".into());
    }
    if let Some(admin) = host.admin_address() {
        lines.push(format!("  admin on http://{admin}"));
    }
    lines.push(format!("  rooms are kept in {}; remove it to begin anew", shown(&config.data, folder)));
    lines.push(format!("  an edit in {} is live at once; Ctrl-C ends this", folder.display()));
    log::line(&lines.join("\n"));
}
