//! Refuses settings of `[cluster]` with which no other node could be reached.

use crate::config::{Cluster, Config, ConfigError};

impl Cluster {
    pub(super) fn check(&self, config: &Config) -> Result<(), ConfigError> {
        let refused = |key: &str, problem: &str| Err(ConfigError::invalid(key, problem));
        if config.store.url.is_none() {
            let problem = "the nodes of a cluster share the rooms of a database; pass --store or set `store.url`";
            return refused("cluster", problem);
        }
        if self.address.ip().is_unspecified() {
            let problem = "other nodes cannot reach this address; write the one that they use, and set `cluster.listen` \
                           to listen on all";
            return refused("cluster.address", problem);
        }
        match (self.key.as_os_str().is_empty(), &self.certificates) {
            (true, None) => {
                return refused(
                    "cluster.key",
                    "must not be empty; name a file that `dormouse cluster-key` has printed",
                );
            }
            (false, Some(_)) => {
                let problem = "cannot be set beside `cluster.key`; keep one of the two";
                return refused("cluster.certificates", problem);
            }
            _ => {}
        }
        if self.listen.is_some() && self.address.port() == 0 {
            return refused("cluster.address", "must have a port if `cluster.listen` is set");
        }
        Ok(())
    }
}
