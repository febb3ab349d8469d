//! `dormouse cluster-key` prints the key that all nodes of a cluster share; and the options that make a server a node.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use dormouse::cluster::link::ClusterKey;
use dormouse::config::{Config, resolve_address};

use crate::print;

/// The options of a node.
#[derive(Args)]
pub(crate) struct Cluster {
    /// Share the rooms of the database with other servers, which reach this one at this address; port 0 chooses a free
    /// one
    #[arg(long, value_name = "ADDR", env = "DORMOUSE_NODE_ADDRESS", value_parser = resolve_address)]
    node_address: Option<SocketAddr>,
    /// The file with the key that all these servers share: `dormouse cluster-key` prints one
    #[arg(long, value_name = "FILE", env = "DORMOUSE_CLUSTER_KEY")]
    cluster_key: Option<PathBuf>,
}

impl Cluster {
    /// Puts the options into a configuration.
    pub(crate) fn set(&self, config: &mut Config) -> anyhow::Result<()> {
        match (&mut config.cluster, self.node_address, &self.cluster_key) {
            (_, None, None) => {}
            (Some(cluster), address, key) => {
                cluster.address = address.unwrap_or(cluster.address);
                cluster.key = key.clone().unwrap_or_else(|| cluster.key.clone());
            }
            (none, Some(address), Some(key)) => {
                *none = Some(dormouse::config::Cluster { address, listen: None, key: key.clone(), certificates: None });
            }
            (None, Some(_), None) => {
                bail!("a node needs the key of its cluster: pass --cluster-key or set DORMOUSE_CLUSTER_KEY as well")
            }
            (None, None, Some(_)) => {
                bail!(
                    "a node needs an address for the others: pass --node-address or set DORMOUSE_NODE_ADDRESS as well"
                )
            }
        }
        Ok(())
    }
}

/// Prints a new key.
pub(crate) fn run() -> anyhow::Result<()> {
    print::line(ClusterKey::generate()?.to_pem().trim_end())
}

/// Reads the key of a configuration, and prints the address of the node. The key was compared with the database before.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let Some(cluster) = &config.cluster else { return Ok(()) };
    dormouse::credentials(cluster)?.tls()?;
    let address = cluster.address;
    let (what, file) = match &cluster.certificates {
        None => ("cluster key", &cluster.key),
        Some(files) => ("certificate", &files.cert),
    };
    print::line(format_args!(
        "node {address}: the {what} {} is good, and no node that lives has another one",
        file.display()
    ))
}
