//! Brings web origins into normal form, as the URL standard defines it: scheme, ASCII host in lower case, and the port
//! unless it is the scheme's default. It knows neither requests nor configuration; `edge`, `outbound` and `config` call
//! it.

use url::{Host, ParseError, Url};

/// Why a text is not an origin. The operator must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OriginError {
    /// Its scheme is not one of the web.
    #[error("it does not begin with `https://` or `http://`")]
    Scheme,
    /// It contains more than an origin.
    #[error("an origin is a scheme, a host and a port, and nothing more")]
    More,
    /// Its host is not valid.
    #[error("its host is neither a name nor an address")]
    Host,
    /// Its port is not valid.
    #[error("its port is not a number from 1 to 65535")]
    Port,
}

/// The normal form of an origin, such as `https://xn--bcher-kva.example` for `https://Bücher.example:443`.
pub(crate) fn normal(text: &str) -> Result<String, OriginError> {
    let (scheme, authority) = text.split_once("://").ok_or(OriginError::Scheme)?;
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(OriginError::Scheme);
    }
    // All of these are allowed in a URL, and parsers skip some of them.
    if authority.contains(|odd: char| "/\\?#@*".contains(odd) || odd.is_whitespace() || odd.is_control()) {
        return Err(OriginError::More);
    }
    let url = Url::parse(&format!("{scheme}://{authority}/")).map_err(|error| match error {
        ParseError::InvalidPort => OriginError::Port,
        _ => OriginError::Host,
    })?;
    if authority.is_empty() {
        return Err(OriginError::Host);
    }
    // `https://app.example:` would parse as well, and no browser writes it so.
    if url.port() == Some(0) || authority.ends_with(':') {
        return Err(OriginError::Port);
    }
    Ok(url.origin().ascii_serialization())
}

/// The normal form of a host name or address: lower case, ASCII, IPv6 in brackets.
pub(crate) fn normal_host(host: &str) -> Option<String> {
    let odd = |odd: char| "/\\?#@*%".contains(odd) || odd.is_whitespace() || odd.is_control();
    if host.is_empty() || host.contains(odd) {
        return None;
    }
    Host::parse(host).ok().map(|host| host.to_string())
}

/// A text that should be an origin, as an error shows it. A part that no origin has may be a password or a key, so a
/// text with one is not shown.
pub(crate) fn quoted(text: &str) -> String {
    if text.contains(['@', '?', '#']) { "a text that may hold a secret".to_owned() } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_canonical_form() {
        for (text, form) in [
            ("https://app.example", "https://app.example"),
            ("HTTPS://App.Example:443", "https://app.example"),
            ("http://app.example:80", "http://app.example"),
            ("https://app.example:80", "https://app.example:80"),
            ("http://app.example:443", "http://app.example:443"),
            ("https://app.example:08443", "https://app.example:8443"),
            ("https://Bücher.example", "https://xn--bcher-kva.example"),
            ("https://XN--bcher-kva.example", "https://xn--bcher-kva.example"),
            ("https://[0:0::1]:443", "https://[::1]"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://127.1", "http://127.0.0.1"),
            ("https://app.example.", "https://app.example."),
            ("https://my_host", "https://my_host"),
        ] {
            assert_eq!(normal(text).as_deref(), Ok(form), "{text}");
        }
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused() {
        for bad in [
            "",
            "null",
            "*",
            "app.example",
            "//app.example",
            "ftp://app.example",
            "file://",
            "https://",
            "https:///",
            "https://app.example/",
            "https://app.example/chat",
            "https://app.example?x",
            "https://app.example#x",
            "https://*.example",
            "https://*",
            "https://user@app.example",
            "https://app.example:99999",
            "https://app.example:port",
            "https://app.example:0",
            "https://:443",
            "https://a b",
            " https://app.example",
            "https://app.example ",
            "https://app.example\n",
            "https://app.example\\evil",
            "https://exa<mple",
            "https://[::1",
            "https://::1",
            "https://256.256.256.256",
            "https://app.example,https://two.example",
        ] {
            assert!(normal(bad).is_err(), "{bad:?} became {:?}", normal(bad));
        }
    }

    #[test]
    fn a_host_has_one_canonical_form() {
        for (text, form) in [
            ("Rooms.Example", Some("rooms.example")),
            ("Bücher.example", Some("xn--bcher-kva.example")),
            ("[::0:1]", Some("[::1]")),
            ("127.1", Some("127.0.0.1")),
            ("rooms.example:443", None),
            ("https://rooms.example", None),
            ("*.example", None),
            ("", None),
            ("a b", None),
            ("::1", None),
        ] {
            assert_eq!(normal_host(text).as_deref(), form, "{text}");
        }
    }
}
