//! Refuses settings of `[identity]` with which nobody could log in, or anybody could.

use std::net::SocketAddr;
use std::time::Duration;

use super::headers::is_token;
use super::text;
use crate::config::address::is_loopback;
use crate::config::{Auth, ConfigError, Encoding, Identity};
use crate::web_origin;

/// The highest leeway. Clocks that differ by more are wrong, and an expired token would be accepted for that long.
const MOST_LEEWAY: Duration = Duration::from_secs(5 * 60);

/// Claims that have a meaning of their own, so that they cannot hold grants.
const TAKEN_CLAIMS: [&str; 10] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "name", "role", "act"];
/// The shortest time for a decision: shorter ones would refuse users because a machine was busy.
const LEAST_AUTHORIZE_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest time for a decision. Browsers and proxies give up at about that time.
const MOST_AUTHORIZE_TIMEOUT: Duration = Duration::from_secs(30);

impl Identity {
    pub(super) fn check(&self, listen: SocketAddr) -> Result<(), ConfigError> {
        self.check_leeway()?;
        self.check_cookie()?;
        for (key, value) in [("identity.audience", &self.audience), ("identity.issuer", &self.issuer)] {
            if value.as_deref() == Some("") {
                return Err(ConfigError::invalid(key, "must not be empty; leave it out to accept tokens with any"));
            }
        }
        if self.grants_claim.is_empty() {
            return Err(ConfigError::invalid("identity.grants_claim", "must not be empty; write one such as `rooms`"));
        }
        if TAKEN_CLAIMS.contains(&self.grants_claim.as_str()) {
            let problem = format!("`{}` has another meaning in a token; write one such as `rooms`", self.grants_claim);
            return Err(ConfigError::invalid("identity.grants_claim", problem));
        }
        self.check_authorize()?;
        match self.auth {
            Auth::Dev if !is_loopback(listen.ip()) => Err(ConfigError::invalid(
                "identity.auth",
                format!(
                    "\"dev\" accepts every name without proof, so it works only on a loopback address, and {listen} is \
                     not one; use --auth jwt, or --listen 127.0.0.1:{}",
                    listen.port()
                ),
            )),
            Auth::Jwt if self.keys.is_empty() && self.jwks.is_none() => Err(ConfigError::invalid(
                "identity.keys",
                "auth = \"jwt\" needs at least one key or a file of keys, `jwks`, such as\n\n[[identity.keys]]\n\
                 algorithm = \"HS256\"\nfile = \"jwt.secret\"",
            )),
            _ => self.check_keys().and_then(|()| self.check_origins()).and_then(|()| self.check_hosts()),
        }
    }

    fn check_authorize(&self) -> Result<(), ConfigError> {
        match (&self.authorize, &self.authorize_secret) {
            (Some(_), None) => Err(ConfigError::invalid(
                "identity.authorize_secret",
                "is missing: `authorize` needs a file with a secret of at least 32 bytes, which signs the questions; \
                 make one with: (umask 077; openssl rand -hex 32 > authorize.secret)",
            )),
            (None, Some(_)) => Err(ConfigError::invalid(
                "identity.authorize",
                "is missing, and `authorize_secret` is for it; write the address of your server, or leave both out",
            )),
            (Some(_), Some(_)) if self.authorize_timeout < LEAST_AUTHORIZE_TIMEOUT => Err(ConfigError::invalid(
                "identity.authorize_timeout",
                format!("{} is too short for an answer; write at least \"100ms\"", text(self.authorize_timeout)),
            )),
            (Some(_), Some(_)) if self.authorize_timeout > MOST_AUTHORIZE_TIMEOUT => Err(ConfigError::invalid(
                "identity.authorize_timeout",
                format!("{} would hold a request that long; write at most \"30s\"", text(self.authorize_timeout)),
            )),
            _ => Ok(()),
        }
    }

    fn check_leeway(&self) -> Result<(), ConfigError> {
        if self.leeway <= MOST_LEEWAY {
            return Ok(());
        }
        let (leeway, most) = (text(self.leeway), text(MOST_LEEWAY));
        let problem =
            format!("{leeway} would accept tokens for that long after they expired; write at most \"{most}\"");
        Err(ConfigError::invalid("identity.leeway", problem))
    }

    fn check_cookie(&self) -> Result<(), ConfigError> {
        if is_token(&self.cookie) {
            return Ok(());
        }
        let problem = format!(
            "no browser sends a cookie with the name {:?}: a name has letters, digits and some of -_.!#$%&'*+^`|~; \
             write one such as `dormouse_token`",
            self.cookie
        );
        Err(ConfigError::invalid("identity.cookie", problem))
    }

    fn check_keys(&self) -> Result<(), ConfigError> {
        match self.keys.iter().find(|key| key.encoding == Encoding::Base64 && key.algorithm != "HS256") {
            Some(key) => Err(ConfigError::invalid(
                "identity.keys",
                format!("a key for {} is in PEM; `encoding` is for the secrets of HS256", key.algorithm),
            )),
            None => Ok(()),
        }
    }

    fn check_origins(&self) -> Result<(), ConfigError> {
        for origin in &self.allowed_origins {
            web_origin::normal(origin).map_err(|problem| {
                let problem = format!(
                    "no browser sends {}: {problem}; write scheme and host, and the port unless it is the default, such \
                     as `https://example.org`",
                    web_origin::quoted(origin)
                );
                ConfigError::invalid("identity.allowed_origins", problem)
            })?;
        }
        Ok(())
    }

    fn check_hosts(&self) -> Result<(), ConfigError> {
        check_hosts("identity.hosts", &self.hosts)
    }
}

/// Refuses host names that no browser sends.
pub(super) fn check_hosts(setting: &str, hosts: &[String]) -> Result<(), ConfigError> {
    for host in hosts {
        if web_origin::normal_host(host).is_none() {
            let problem = format!(
                "{} is not a host name; write it without scheme and port, such as `rooms.example`",
                web_origin::quoted(host)
            );
            return Err(ConfigError::invalid(setting, problem));
        }
    }
    Ok(())
}
