//! Refuses addresses that no two listeners can have, and an open door for the operator.

use std::net::{IpAddr, SocketAddr};

use super::identity::check_hosts;
use crate::config::address::is_loopback;
use crate::config::{Admin, ConfigError};

impl Admin {
    pub(super) fn check(&self, public: SocketAddr) -> Result<(), ConfigError> {
        if collide(self.listen, public) {
            let problem = format!(
                "{} takes the port of `listen`, {public}; write another port, such as 127.0.0.1:{}",
                self.listen,
                public.port().checked_add(1).unwrap_or(8788)
            );
            return Err(ConfigError::invalid("admin.listen", problem));
        }
        check_hosts("admin.hosts", &self.hosts)?;
        if is_loopback(self.listen.ip()) || self.token_file.is_some() {
            return Ok(());
        }
        let problem = format!(
            "{} can be reached from other machines, so clients there must show a token: name a file with one, such as \
             `openssl rand -hex 32` prints, or listen on 127.0.0.1",
            self.listen
        );
        Err(ConfigError::invalid("admin.token_file", problem))
    }
}

/// Whether no two listeners can have these addresses. A listener on `[::]` takes the port of IPv4 as well.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() != 0 && one.port() == other.port() && (ip == other_ip || covers(ip, other_ip) || covers(other_ip, ip))
}
