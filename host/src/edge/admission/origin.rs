//! The origins that requests may come from: an exact list and the server's own. It also knows the host names that the
//! server is called by.
//!
//! Origins are compared in normal form, as the URL standard defines it.
//!
//! It is pure and knows no credentials. `http` asks it for each request, and `admin` for the names of this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use hyper::header::{HOST, HeaderMap, ORIGIN};

use crate::config::{Auth, Identity};
use crate::web_origin;

/// The kind of page that a request came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::edge) enum Origin {
    /// Not from a page, or without an origin: browsers always send it for sockets and cross-site POSTs.
    None,
    /// From the server's own page.
    Same,
    /// From a page that the configuration allows; in dev auth also from any page of this machine.
    Allowed(String),
    /// From any other page.
    Foreign,
}

/// The allowed origins, and the server's own names.
#[derive(Debug, Clone)]
pub(in crate::edge) struct Origins {
    /// In normal form.
    allowed: Vec<String>,
    /// Names without ports, in normal form.
    hosts: Vec<String>,
    dev: bool,
    /// Every IP address is one of its names: no DNS resolves it.
    addresses: bool,
    /// Connections are encrypted here, so our own page has an `https` origin. If they are plain, a proxy in front may
    /// encrypt them, and our own page may have either scheme.
    tls: bool,
}

impl Origins {
    /// Makes them from a configuration that was checked. `tls` if connections are encrypted here.
    pub(in crate::edge) fn new(identity: &Identity, tls: bool) -> Self {
        let allowed = identity.allowed_origins.iter().filter_map(|origin| web_origin::normal(origin).ok()).collect();
        Origins { allowed, hosts: names(&identity.hosts), dev: identity.auth == Auth::Dev, addresses: false, tls }
    }

    /// Accepts only the names of this machine.
    pub(in crate::edge) fn of_this_machine() -> Self {
        Origins { allowed: Vec::new(), hosts: Vec::new(), dev: true, addresses: false, tls: false }
    }

    /// Accepts these names, those of this machine, and IP addresses.
    pub(in crate::edge) fn of_dashboard(hosts: &[String]) -> Self {
        Origins { hosts: names(hosts), addresses: true, ..Self::of_this_machine() }
    }

    /// Returns whether the request calls the server by one of its own names (protection from DNS rebinding).
    ///
    /// An attacker can let `evil.example` resolve to this machine for a moment. To the browser, the attacker's page
    /// then has the same origin as this server. If the server asks for tokens or cookies, that page has none. In dev
    /// auth the server accepts any name as a user, so only the host name reveals such a page.
    pub(in crate::edge) fn serve(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        // A browser always sends a host name.
        let Some(host) = called(uri, headers) else { return true };
        let host = without_final_dot(without_port(host)).to_ascii_lowercase();
        if self.hosts.is_empty() && !self.dev {
            return true;
        }
        (self.dev && is_loopback(&host))
            || (self.addresses && address_of(&host).is_some())
            || self.hosts.contains(&host)
    }

    /// The error for a host name that is not served, as protection from DNS rebinding.
    pub(in crate::edge) fn wrong_name(&self) -> &'static str {
        if self.dev {
            "the server is not known by this host name: use a name of this machine, such as localhost or 127.0.0.1, or \
             one that `identity.hosts` lists"
        } else {
            "the server is not known by this host name: use one that `identity.hosts` lists, or add this one there"
        }
    }

    /// Returns the kind of page that a request came from.
    pub(in crate::edge) fn of(&self, uri: &Uri, headers: &HeaderMap) -> Origin {
        let Some(origin) = headers.get(ORIGIN) else {
            // Requests of other origins without `Origin` have `Sec-Fetch-Site` in all current browsers.
            let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
            let elsewhere = matches!(site, Some(b"cross-site" | b"same-site"));
            return if elsewhere { Origin::Foreign } else { Origin::None };
        };
        // Browsers send ASCII, so anything else is foreign.
        let Some((sent, form)) = origin.to_str().ok().and_then(|sent| Some((sent, web_origin::normal(sent).ok()?)))
        else {
            return Origin::Foreign;
        };
        if self.is_own(&form, called(uri, headers)) {
            return Origin::Same;
        }
        let authority = form.split_once("://").map_or("", |(_, authority)| authority);
        if self.allowed.contains(&form) || (self.dev && is_loopback(without_port(authority))) {
            return Origin::Allowed(sent.to_owned());
        }
        Origin::Foreign
    }
}

impl Origins {
    /// Returns whether an origin in normal form matches the host name of the request. The name has no scheme, so it
    /// gets that of the origin, and the scheme's default port may be present or not.
    fn is_own(&self, origin: &str, called: Option<&str>) -> bool {
        let Some((scheme, _)) = origin.split_once("://") else { return false };
        let own = called.and_then(|host| web_origin::normal(&format!("{scheme}://{host}")).ok());
        (!self.tls || scheme == "https") && own.is_some_and(|own| own == origin)
    }
}

/// The host name that a request calls the server by. In HTTP/2 it is `:authority`.
fn called<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = headers.get(HOST);
    match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        // An unreadable name matches nothing.
        None => host.map(|host| host.to_str().unwrap_or_default()),
    }
}

/// Names in normal form.
fn names(hosts: &[String]) -> Vec<String> {
    let hosts = hosts.iter().filter_map(|host| web_origin::normal_host(host));
    hosts.map(|host| without_final_dot(&host).to_owned()).collect()
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => authority,
    }
}

/// The name without the final dot of a fully qualified name: `rooms.example.` and `rooms.example` are the same host.
fn without_final_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Returns whether a lower-case name is a loopback name: it always means this machine, whatever DNS says.
fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || address_of(host).is_some_and(|address| address.to_canonical().is_loopback())
}

/// The IP address that a name is, as it is written in a URL.
fn address_of(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    }
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
        Origins::new(&Identity { auth, allowed_origins, hosts, ..Identity::default() }, false)
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
            "https://app.example@evil.example",
            "https://dorm.example.evil",
            "https://dorm.example:8443",
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
    fn origins_are_compared_as_in_the_url_standard() {
        let identity = Identity {
            auth: Auth::Jwt,
            allowed_origins: [
                "https://App.Example",
                "https://two.example:443",
                "https://Bücher.example",
                "http://[0::1]:80",
            ]
            .map(str::to_owned)
            .to_vec(),
            hosts: vec!["Bücher.example".into()],
            ..Identity::default()
        };
        let from = |tls: bool, host: &str, origin: &str| {
            let headers = headers(&[("host", host), ("origin", origin)]);
            Origins::new(&identity, tls).of(&Uri::from_static("/rooms"), &headers)
        };
        for allowed in ["https://app.example", "https://two.example", "https://xn--bcher-kva.example", "http://[::1]"] {
            assert_eq!(from(false, "rooms.example", allowed), Origin::Allowed(allowed.into()), "{allowed}");
        }
        for (host, origin) in [
            ("rooms.example:443", "https://rooms.example"),
            ("rooms.example", "https://rooms.example:443"),
            ("ROOMS.example:80", "http://rooms.example"),
            ("rooms.example:8443", "https://Rooms.Example:8443"),
            ("[::1]:443", "https://[::1]"),
        ] {
            assert_eq!(from(false, host, origin), Origin::Same, "{host} {origin}");
        }
        for (host, origin) in [
            ("rooms.example:443", "http://rooms.example"),
            ("rooms.example:80", "https://rooms.example"),
            ("rooms.example:8443", "https://rooms.example"),
            ("rooms.example.", "https://rooms.example"),
            ("rooms.example@evil.example", "https://evil.example"),
            ("evil.example/rooms.example", "https://evil.example"),
            ("", "https://"),
        ] {
            assert_eq!(from(false, host, origin), Origin::Foreign, "{host} {origin}");
        }
        // Over our own TLS, our own page never has an `http` origin.
        assert_eq!(from(true, "rooms.example", "https://rooms.example"), Origin::Same);
        assert_eq!(from(true, "rooms.example", "http://rooms.example"), Origin::Foreign);
        let called = headers(&[("host", "xn--bcher-kva.example:443")]);
        assert!(Origins::new(&identity, false).serve(&Uri::from_static("/"), &called));
    }

    #[test]
    fn an_invalid_origin_is_foreign() {
        for invalid in ["null", "", "://", "https://"] {
            assert_eq!(origin(Auth::Jwt, &[("origin", invalid)]), Origin::Foreign, "{invalid}");
        }
    }

    #[test]
    fn loopback_pages_are_allowed_in_dev_auth() {
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
    fn a_cross_site_request_without_an_origin_is_foreign() {
        for (site, from) in [
            ("cross-site", Origin::Foreign),
            // A sibling domain: its pages are not on the list, so they are foreign.
            ("same-site", Origin::Foreign),
            ("same-origin", Origin::None),
            ("none", Origin::None),
        ] {
            assert_eq!(origin(Auth::Jwt, &[("sec-fetch-site", site)]), from, "{site}");
        }
    }

    #[test]
    fn dev_auth_accepts_only_names_that_dns_cannot_rebind() {
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
            "[::ffff:127.0.0.1]:8787",
            "[::ffff:7f00:1]",
            "localhost:",
            "localhost.:8787",
            "127.0.0.1.",
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
            "[::ffff:192.168.1.4]:80",
            "[::1]evil",
            "::1",
            "",
            "127.1",
            "2130706433",
            "localhost..",
            ".",
        ] {
            assert!(!serves(&[], strange), "{strange}");
        }
        assert!(serves(&["Dev.Example"], "dev.example:8787") && serves(&["dev.example"], "localhost"));
        assert!(!serves(&["dev.example"], "a.dev.example"));
    }

    #[test]
    fn the_dashboard_is_served_under_names_that_dns_cannot_rebind() {
        let names = Origins::of_dashboard(&["Admin.Example".into()]);
        let serves = |host: &str| names.serve(&Uri::from_static("/"), &headers(&[("host", host)]));
        for ours in ["localhost:8788", "127.0.0.1:8788", "192.168.1.4:8788", "[2001:db8::1]:8788", "admin.example"] {
            assert!(serves(ours), "{ours}");
        }
        for strange in ["evil.example:8788", "a.admin.example", "192.168.1.4.evil.example", "2001:db8::1", "[::1", ""] {
            assert!(!serves(strange), "{strange}");
        }
    }

    #[test]
    fn with_tokens_host_names_are_checked_only_if_configured() {
        let serves = |hosts: &[&str], host: &str| {
            origins(Auth::Jwt, hosts).serve(&Uri::from_static("/"), &headers(&[("host", host)]))
        };
        assert!(serves(&[], "anything.example"));
        for same in ["rooms.example:8443", "rooms.example.", "Rooms.Example.:443"] {
            assert!(serves(&["rooms.example"], same) && serves(&["rooms.example."], same), "{same}");
        }
        assert!(!serves(&["rooms.example"], "rooms.example..") && !serves(&["rooms.example"], "rooms..example"));
        assert!(!serves(&["rooms.example"], "evil.example") && !serves(&["rooms.example"], "localhost"));
    }

    #[test]
    fn the_request_target_overrides_the_host_header() {
        let uri = Uri::from_static("https://evil.example/rooms");
        assert!(!origins(Auth::Dev, &[]).serve(&uri, &headers(&[("host", "localhost")])));
        let from = |origin| origins(Auth::Jwt, &[]).of(&uri, &headers(&[("host", "dorm.example"), ("origin", origin)]));
        assert_eq!(from("https://dorm.example"), Origin::Foreign);
        assert_eq!(from("https://evil.example"), Origin::Same);
    }
}
