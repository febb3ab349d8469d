//! Several servers that share the rooms of one database: the settings below `[cluster]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use super::address::address;

/// This server as a node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The address at which the other nodes reach this one; port 0 chooses a free one. A file may give a name, such as
    /// `localhost:8790`.
    #[serde(deserialize_with = "address")]
    pub address: SocketAddr,
    /// The address to listen on for them, if it is another one, as behind a NAT.
    #[serde(default, deserialize_with = "some_address")]
    pub listen: Option<SocketAddr>,
    /// A file with the key of the cluster, which all nodes share. Empty with `certificates`.
    #[serde(default)]
    pub key: PathBuf,
    /// Certificates of the operator's own authority, in place of the key.
    #[serde(default)]
    pub certificates: Option<ClusterCertificates>,
}

/// Certificates of the operator's own authority, which nodes show each other. They are read at the start.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterCertificates {
    /// A file in PEM with the authorities that the certificates of all nodes come from.
    pub ca: PathBuf,
    /// A file in PEM with the certificate of this node, for the name `node.dormouse`, for clients and servers.
    pub cert: PathBuf,
    /// A file in PEM with its private key, which only the user of this process may read.
    pub key: PathBuf,
}

fn some_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    address(deserializer).map(Some)
}
