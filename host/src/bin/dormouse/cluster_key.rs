//! `dormouse cluster-key`: prints the key that all nodes of a cluster share.

use dormouse::cluster::link::ClusterKey;

use crate::print;

/// Prints a new key.
pub(crate) fn run() -> anyhow::Result<()> {
    print::line(ClusterKey::generate()?.to_pem().trim_end())
}
