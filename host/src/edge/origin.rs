//! From which pages a request may come: an exact list, and the server's own.

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

/// Which origins are allowed.
#[derive(Debug, Clone)]
pub(super) struct Origins {
    allowed: Vec<String>,
    loopback: bool,
}

impl Origins {
    pub(super) fn new(identity: &Identity) -> Self {
        let allowed = identity.allowed_origins.iter().map(|origin| origin.trim_end_matches('/').to_owned()).collect();
        Origins { allowed, loopback: identity.auth == Auth::Dev }
    }

    pub(super) fn of(&self, headers: &HeaderMap) -> Origin {
        let Some(origin) = headers.get(ORIGIN) else {
            // A page of another site that asks without `Origin` tells so, in every browser of this decade.
            let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
            return if site == Some(b"cross-site") { Origin::Foreign } else { Origin::None };
        };
        let Ok(origin) = origin.to_str() else { return Origin::Foreign };
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        if authority.is_some_and(|authority| host.is_some_and(|host| host.eq_ignore_ascii_case(authority))) {
            return Origin::Same;
        }
        let listed = self.allowed.iter().any(|allowed| allowed == origin);
        if listed || (self.loopback && authority.is_some_and(is_loopback)) {
            return Origin::Allowed(origin.to_owned());
        }
        Origin::Foreign
    }
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(auth: Auth, headers: &[(&'static str, &str)]) -> Origin {
        let allowed_origins = vec!["https://app.example".into()];
        let origins = Origins::new(&Identity { auth, allowed_origins, ..Identity::default() });
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        origins.of(&headers.collect::<HeaderMap>())
    }

    #[test]
    fn only_exact_origins_are_allowed() {
        let from = |origin_header| origin(Auth::Jwt, &[("host", "dorm.example"), ("origin", origin_header)]);
        assert_eq!(from("https://dorm.example"), Origin::Same);
        assert_eq!(from("https://app.example"), Origin::Allowed("https://app.example".into()));
        for foreign in ["https://app.example.evil", "http://app.example", "https://evil", "null", "http://localhost:1"]
        {
            assert_eq!(from(foreign), Origin::Foreign, "{foreign}");
        }
    }

    #[test]
    fn pages_of_this_machine_are_allowed_while_developing() {
        let from = |origin_header| origin(Auth::Dev, &[("host", "127.0.0.1:8787"), ("origin", origin_header)]);
        assert!(matches!(from("http://localhost:5173"), Origin::Allowed(_)));
        assert_eq!(from("http://localhost.evil:5173"), Origin::Foreign);
    }

    #[test]
    fn a_cross_site_request_without_an_origin_is_foreign() {
        assert_eq!(origin(Auth::Jwt, &[("sec-fetch-site", "cross-site")]), Origin::Foreign);
        assert_eq!(origin(Auth::Jwt, &[("sec-fetch-site", "same-origin")]), Origin::None);
    }
}
