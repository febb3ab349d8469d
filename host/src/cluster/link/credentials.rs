//! The proof that a node is one of its cluster.

use super::certificates::Certificates;
use super::key::{ClusterKey, KeyError, Tls};

/// The key that all nodes share, or certificates of the operator's own authority.
#[derive(Debug)]
pub enum Credentials {
    /// The key of the cluster.
    Key(Box<ClusterKey>),
    /// Own certificates.
    Certificates(Certificates),
}

impl Credentials {
    /// A hash that tells the credentials of two clusters apart, and gives nothing away.
    pub fn fingerprint(&self) -> Result<[u8; 32], KeyError> {
        match self {
            Credentials::Key(key) => Ok(key.fingerprint()),
            Credentials::Certificates(certificates) => certificates.fingerprint(),
        }
    }

    /// Makes them usable for links.
    pub fn tls(&self) -> Result<Tls, KeyError> {
        match self {
            Credentials::Key(key) => key.tls(),
            Credentials::Certificates(certificates) => certificates.tls(),
        }
    }
}
