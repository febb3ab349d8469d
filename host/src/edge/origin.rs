//! From which pages a request may come: an exact list, and the server's own. And by which names the server is called.

use std::net::Ipv4Addr;

use hyper::Uri;
use hyper::header::{HOST, HeaderMap, ORIGIN};

use crate::config::{Auth, Identity};

/// Where a request came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Not from a page, or from one that does not say: no browser opens a socket or a cross-site POST so.
    None,
    /// From the server's own page.
    Same,
    /// From a page that the configuration allows, or on this machine while developing.
    Allowed(String),
    /// From any other page.
    Foreign,
}

/// Which origins are allowed, and which names are ours.
#[derive(Debug, Clone)]
pub(super) struct Origins {
    allowed: Vec<String>,
    /// Names without ports, in lower case.
    hosts: Vec<String>,
    dev: bool,
}

impl Origins {
    pub(super) fn new(identity: &Identity) -> Self {
        let allowed = identity.allowed_origins.iter().map(|origin| origin.trim_end_matches('/').to_owned()).collect();
        let hosts = identity.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Origins { allowed, hosts, dev: identity.auth == Auth::Dev }
    }

    /// Only the names of this machine.
    pub(super) fn of_this_machine() -> Self {
        Origins { allowed: Vec::new(), hosts: Vec::new(), dev: true }
    }

    /// Whether a name that the server is called by is one of its own.
    ///
    /// A page of `evil.example`, which for a moment leads to this machine, is of the same origin as everything that a
    /// browser finds there. Where tokens or cookies of the real name are needed, it has none. A server that believes
    /// everybody has nothing but its name to know such a page by.
    pub(super) fn serve(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        // A browser always says whom it calls.
        let Some(host) = called(uri, headers) else { return true };
        let host = without_port(host).to_ascii_lowercase();
        if self.hosts.is_empty() && !self.dev {
            return true;
        }
        (self.dev && is_loopback(&host)) || self.hosts.contains(&host)
    }

    /// Where a request came from.
    pub(super) fn of(&self, uri: &Uri, headers: &HeaderMap) -> Origin {
        let Some(origin) = headers.get(ORIGIN) else {
            // A page of another origin that asks without `Origin` tells so, in every browser of this decade.
            let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
            let elsewhere = matches!(site, Some(b"cross-site" | b"same-site"));
            return if elsewhere { Origin::Foreign } else { Origin::None };
        };
        let Ok(origin) = origin.to_str() else { return Origin::Foreign };
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let host = called(uri, headers);
        if authority.is_some_and(|authority| host.is_some_and(|host| host.eq_ignore_ascii_case(authority))) {
            return Origin::Same;
        }
        let listed = self.allowed.iter().any(|allowed| allowed == origin);
        if listed || (self.dev && authority.is_some_and(|authority| is_loopback(without_port(authority)))) {
            return Origin::Allowed(origin.to_owned());
        }
        Origin::Foreign
    }
}

/// What a request calls the server. In HTTP/2 it is a part of the address.
fn called<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = headers.get(HOST);
    match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        // One that cannot be read is nobody's name.
        None => host.map(|host| host.to_str().unwrap_or_default()),
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => authority,
    }
}

/// Whether a name in lower case is one of this machine for itself: no other machine can be meant by it, whatever a
/// name server says.
fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host == "[::1]"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(headers: &[(&'static str, &str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn origins(auth: Auth, hosts: &[&str]) -> Origins {
        let allowed_origins = vec!["https://app.example".into()];
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Origins::new(&Identity { auth, allowed_origins, hosts, ..Identity::default() })
    }

    fn origin(auth: Auth, of: &[(&'static str, &str)]) -> Origin {
        origins(auth, &[]).of(&Uri::from_static("/rooms"), &headers(of))
    }

    #[test]
    fn only_exact_origins_are_allowed() {
        let from = |origin_header| origin(Auth::Jwt, &[("host", "dorm.example"), ("origin", origin_header)]);
        assert_eq!(from("https://dorm.example"), Origin::Same);
        assert_eq!(from("https://app.example"), Origin::Allowed("https://app.example".into()));
        for foreign in [
            "https://app.example.evil",
            "https://evil.app.example",
            "https://app.example:444",
            "https://app.example/",
            "https://APP.example",
            "https://app.example@evil.example",
            "https://dorm.example.evil",
            "https://dorm.example:8443",
            "https://dorm.example:443",
            "http://app.example",
            "https://evil",
            "null",
            "",
            "file://",
            "dorm.example",
            "http://localhost:1",
        ] {
            assert_eq!(from(foreign), Origin::Foreign, "{foreign}");
        }
    }

    #[test]
    fn without_a_name_to_be_the_same_as_no_origin_is_the_same() {
        for nobody in ["null", "", "://", "https://"] {
            assert_eq!(origin(Auth::Jwt, &[("origin", nobody)]), Origin::Foreign, "{nobody}");
        }
    }

    #[test]
    fn pages_of_this_machine_are_allowed_while_developing() {
        let from = |origin_header| origin(Auth::Dev, &[("host", "127.0.0.1:8787"), ("origin", origin_header)]);
        for ours in ["http://localhost:5173", "http://app.localhost", "http://127.0.0.2:1", "http://[::1]:5173"] {
            assert!(matches!(from(ours), Origin::Allowed(_)), "{ours}");
        }
        for foreign in
            ["http://localhost.evil:5173", "http://127.0.0.1.evil", "http://128.0.0.1", "http://[::2]", "null"]
        {
            assert_eq!(from(foreign), Origin::Foreign, "{foreign}");
        }
    }

    #[test]
    fn a_request_of_another_site_without_an_origin_is_foreign() {
        for (site, from) in [
            ("cross-site", Origin::Foreign),
            // A sibling: its pages are not on the list, so they are as strange as any.
            ("same-site", Origin::Foreign),
            ("same-origin", Origin::None),
            ("none", Origin::None),
        ] {
            assert_eq!(origin(Auth::Jwt, &[("sec-fetch-site", site)]), from, "{site}");
        }
    }

    #[test]
    fn a_server_that_believes_everybody_has_only_names_that_no_name_server_can_give_away() {
        let serves = |hosts: &[&str], host: &str| {
            origins(Auth::Dev, hosts).serve(&Uri::from_static("/"), &headers(&[("host", host)]))
        };
        for ours in [
            "localhost",
            "LOCALHOST:8787",
            "a.localhost:1",
            "127.0.0.1:8787",
            "127.1.2.3",
            "[::1]:80",
            "[::1]",
            "localhost:",
        ] {
            assert!(serves(&[], ours), "{ours}");
        }
        for strange in [
            "evil.example:8787",
            "evil.example",
            "localhost.evil.example",
            "xlocalhost",
            "127.0.0.1.evil.example",
            "0.0.0.0:8787",
            "192.168.1.4",
            "[::2]:80",
            "[::1]evil",
            "::1",
            "",
            "127.1",
            "2130706433",
        ] {
            assert!(!serves(&[], strange), "{strange}");
        }
        assert!(serves(&["Dev.Example"], "dev.example:8787") && serves(&["dev.example"], "localhost"));
        assert!(!serves(&["dev.example"], "a.dev.example"));
    }

    #[test]
    fn names_count_elsewhere_only_where_some_are_given() {
        let serves = |hosts: &[&str], host: &str| {
            origins(Auth::Jwt, hosts).serve(&Uri::from_static("/"), &headers(&[("host", host)]))
        };
        assert!(serves(&[], "anything.example"));
        assert!(serves(&["rooms.example"], "rooms.example:8443"));
        assert!(!serves(&["rooms.example"], "evil.example") && !serves(&["rooms.example"], "localhost"));
    }

    #[test]
    fn an_address_with_a_name_wins_over_the_header() {
        let uri = Uri::from_static("https://evil.example/rooms");
        assert!(!origins(Auth::Dev, &[]).serve(&uri, &headers(&[("host", "localhost")])));
        let from = |origin| origins(Auth::Jwt, &[]).of(&uri, &headers(&[("host", "dorm.example"), ("origin", origin)]));
        assert_eq!(from("https://dorm.example"), Origin::Foreign);
        assert_eq!(from("https://evil.example"), Origin::Same);
    }
}
