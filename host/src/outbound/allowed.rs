//! The origins that the operator allows rooms to reach.
//!
//! It parses and compares names, and knows no addresses: those are checked by `address`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;

use super::address::is_public;
use crate::web_origin;

/// The origins that rooms of one namespace may reach; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Only at public addresses.
    pub public: Vec<OriginPattern>,
    /// At private addresses too.
    pub private: Vec<OriginPattern>,
}

/// The addresses that an origin may be reached at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressScope {
    Public,
    Anywhere,
}

/// One allowed origin, such as `https://api.example`, or all subdomains, such as `https://*.example`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct OriginPattern {
    /// As it was written.
    text: String,
    tls: bool,
    host: Host,
    port: u16,
}

/// A text is not an origin. The operator must act.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{} is not an origin: write a scheme, a host, and a port unless it is the default, such as `https://api.example` or `https://*.example`",
    web_origin::quoted(.0)
)]
pub struct BadOrigin(String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    Is(String),
    /// Every name below this one, and not itself; begins with a dot.
    Below(String),
}

impl Allowed {
    /// Returns whether an origin's name is allowed. Its addresses are checked when it is reached.
    pub fn allows(&self, origin: &str) -> bool {
        self.reach(origin).is_some()
    }

    pub(super) fn reach(&self, origin: &str) -> Option<AddressScope> {
        let wanted = origin.parse::<OriginPattern>().ok()?;
        let any = |patterns: &[OriginPattern]| patterns.iter().any(|pattern| pattern.matches(&wanted));
        match (any(&self.private), any(&self.public)) {
            (true, _) => Some(AddressScope::Anywhere),
            (_, true) => Some(AddressScope::Public),
            _ => None,
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for OriginPattern {
    type Error = BadOrigin;

    fn try_from(text: String) -> Result<Self, BadOrigin> {
        text.parse()
    }
}

impl FromStr for OriginPattern {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        let bad = || BadOrigin(text.into());
        let (scheme, authority) = text.split_once("://").ok_or_else(bad)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(bad()),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        // A colon inside brackets belongs to an IPv6 address.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(bad)?)
            }
            _ => (authority, if tls { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let named = |name: &str| !name.is_empty() && !name.contains(['*', '/', '@', '?', '#', ' ', '[', ']']);
        // In normal form: origins of requests are parsed here as well.
        let normal = |name: &str| {
            let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
            let normal = web_origin::normal_host(&name).ok_or_else(bad)?;
            Ok(normal.trim_start_matches('[').trim_end_matches(']').to_owned())
        };
        let host = match host.strip_prefix('*') {
            Some("") => Host::Any,
            Some(below) if below.starts_with('.') && named(&below[1..]) => {
                Host::Below(format!(".{}", normal(&below[1..])?))
            }
            None if named(&host) => Host::Is(normal(&host)?),
            _ => return Err(bad()),
        };
        Ok(OriginPattern { text: text.into(), tls, host, port })
    }
}

impl OriginPattern {
    /// Returns whether it names an address, or this machine, that `outbound` can never reach. A name may stand for any.
    pub(crate) fn is_private(&self) -> bool {
        match &self.host {
            Host::Is(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| !is_public(address)),
            _ => false,
        }
    }

    fn matches(&self, wanted: &OriginPattern) -> bool {
        let Host::Is(name) = &wanted.host else { return false };
        let host = match &self.host {
            Host::Any => true,
            Host::Is(host) => host == name,
            Host::Below(below) => name.len() > below.len() && name.ends_with(below.as_str()),
        };
        host && self.tls == wanted.tls && self.port == wanted.port
    }
}

/// Formats an origin: with the port only if it is not the scheme's default.
pub(super) fn origin(tls: bool, host: &str, port: u16) -> String {
    let (scheme, usual) = if tls { ("https", 443) } else { ("http", 80) };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == usual { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(public: &str, private: &str, origin: &str) -> Option<AddressScope> {
        let list = |text: &str| text.split_whitespace().map(|origin| origin.parse().unwrap()).collect();
        Allowed { public: list(public), private: list(private) }.reach(origin)
    }

    #[test]
    fn only_listed_origins_are_allowed() {
        let listed = "https://api.example http://plain.example:8080";
        assert_eq!(reach(listed, "", "https://api.example"), Some(AddressScope::Public));
        assert_eq!(reach(listed, "", "https://API.example:443/"), Some(AddressScope::Public));
        assert_eq!(reach(listed, "", "http://plain.example:8080"), Some(AddressScope::Public));
        for other in [
            "http://api.example",
            "https://api.example:8443",
            "https://api.example.evil",
            "https://x.api.example",
            "https://user@api.example",
            "http://plain.example",
            "https://*",
            "nonsense",
        ] {
            assert_eq!(reach(listed, "", other), None, "{other}");
        }
        assert_eq!(reach("", "", "https://api.example"), None);
    }

    #[test]
    fn a_star_matches_every_subdomain() {
        let listed = "https://*.example";
        assert_eq!(reach(listed, "", "https://a.example"), Some(AddressScope::Public));
        assert_eq!(reach(listed, "", "https://a.b.example"), Some(AddressScope::Public));
        for other in ["https://example", "https://.example", "https://badexample", "https://a.example.evil"] {
            assert_eq!(reach(listed, "", other), None, "{other}");
        }
        assert_eq!(reach("https://*", "", "https://anything"), Some(AddressScope::Public));
        assert_eq!(reach("https://*", "", "http://anything"), None);
    }

    #[test]
    fn private_addresses_have_their_own_list() {
        assert_eq!(reach("https://*", "http://[::1]:9000", "http://[::1]:9000"), Some(AddressScope::Anywhere));
        assert_eq!(reach("http://intranet", "http://intranet", "http://intranet"), Some(AddressScope::Anywhere));
    }

    #[test]
    fn hosts_are_compared_in_canonical_form() {
        let listed = "https://Bücher.example https://*.Käse.example http://[0:0::1]:9000";
        assert_eq!(reach(listed, "", "https://xn--bcher-kva.example"), Some(AddressScope::Public));
        assert_eq!(reach(listed, "", "https://a.xn--kse-qla.example"), Some(AddressScope::Public));
        assert_eq!(reach(listed, "", "http://[::1]:9000"), Some(AddressScope::Public));
        assert_eq!(reach("http://127.0.0.1", "", "http://127.1"), Some(AddressScope::Public));
    }

    #[test]
    fn the_error_of_an_invalid_origin_shows_no_password() {
        let said = |text: &str| text.parse::<OriginPattern>().unwrap_err().to_string();
        assert!(said("api.example").starts_with("`api.example` is not an origin"));
        for secret in ["https://ana:hush@api.example", "ana:hush@api.example", "https://a?key=hush", "https://a#hush"] {
            assert!(!said(secret).contains("hush"), "{}", said(secret));
        }
    }

    #[test]
    fn an_invalid_origin_is_refused() {
        for bad in ["api.example", "ftp://a", "https://", "https://a/b", "https://a:port", "https://a*b", "https://a b"]
        {
            assert_eq!(bad.parse::<OriginPattern>(), Err(BadOrigin(bad.into())), "{bad}");
        }
    }
}
