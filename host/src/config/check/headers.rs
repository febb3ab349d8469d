//! Refuses headers that a room's answer must not have, and names that are no header.

use super::number;
use crate::config::{Config, ConfigError};
use crate::limits::{FORBIDDEN_RESPONSE_HEADERS, RESPONSE_HEADERS};

/// Headers that reach beyond their answer: to all pages of the origin, to later requests of the browser, or to the
/// proxy in front and its files. One room must not decide for those. Each stands beside its effect.
const BEYOND_THE_ANSWER: [(&str, &str); 27] = [
    ("accept-ch", "changes all later requests of the browser to this origin"),
    ("activate-storage-access", "gives frames of other origins their cookies"),
    ("alt-svc", "sends all later requests of the browser to another server"),
    ("clear-site-data", "deletes cookies and data of the whole origin"),
    ("critical-ch", "changes all later requests of the browser to this origin"),
    ("expect-ct", "applies to all connections to this host"),
    ("idp-signin-status", "changes whether the browser takes the user for logged in at this origin"),
    ("nel", "makes browsers report all requests to this origin elsewhere"),
    ("origin-agent-cluster", "applies to all pages of the origin"),
    ("public-key-pins", "applies to all connections to this host"),
    ("refresh", "sends the page to another address"),
    ("report-to", "makes browsers send reports about the whole origin elsewhere"),
    ("reporting-endpoints", "makes browsers send reports elsewhere"),
    ("secure-session-registration", "binds sessions of the whole origin to the browser"),
    ("service-worker-allowed", "lets a script answer requests for the whole origin"),
    ("set-cookie2", "sets cookies for the whole origin"),
    ("set-login", "changes whether the browser takes the user for logged in at this origin"),
    ("speculation-rules", "makes the browser load other pages of this origin"),
    ("strict-transport-security", "applies to all connections to this host"),
    ("surrogate-control", "is an instruction to the proxy in front"),
    ("use-as-dictionary", "applies to later answers of the whole origin"),
    ("www-authenticate", "makes the browser ask for a password in the name of this origin"),
    ("x-lighttpd-send-file", "makes the proxy in front send one of its files"),
    ("x-lighttpd-send-tempfile", "makes the proxy in front send one of its files"),
    ("x-reproxy-url", "makes the proxy in front send something else"),
    ("x-sendfile", "makes the proxy in front send one of its files"),
    ("x-sendfile2", "makes the proxy in front send one of its files"),
];

/// The beginnings of names of headers that proxies obey, whatever follows.
const TO_PROXIES: [&str; 6] = ["cdn-", "surrogate-", "x-accel-", "x-lighttpd-", "x-litespeed-", "x-reproxy-"];

impl Config {
    pub(super) fn check_response_headers(&self) -> Result<(), ConfigError> {
        check_response_headers("response_headers", &self.response_headers)
    }
}

/// The operator may let rooms send more headers, but none that frame the answer, and none that reach beyond it.
pub(super) fn check_response_headers(key: &str, names: &[String]) -> Result<(), ConfigError> {
    let invalid = |problem: String| Err(ConfigError::invalid(key, problem));
    for name in names {
        if !is_token(name) {
            return invalid(format!("`{name}` is not a header name; write one such as `link`"));
        }
        if name.contains('*') {
            return invalid(format!("`{name}` would be a pattern, and there are none; write each header by its name"));
        }
        let lower = name.to_ascii_lowercase();
        if FORBIDDEN_RESPONSE_HEADERS.contains(&lower.as_str()) || lower.starts_with("access-control-") {
            return invalid(format!("`{name}` is the host's to set, and no room may send it; remove it from the list"));
        }
        let beyond = BEYOND_THE_ANSWER.iter().find(|(name, _)| *name == lower).map(|(_, effect)| *effect);
        let to_proxy = TO_PROXIES.iter().any(|prefix| lower.starts_with(prefix));
        let to_proxy = to_proxy.then_some("is an instruction to the proxy in front");
        if let Some(effect) = beyond.or(to_proxy) {
            return invalid(format!(
                "`{name}` {effect}, so no room may send it; remove it from the list, and let the proxy in front set it \
                 where you want it"
            ));
        }
    }
    number(key, names.len() as u64, 0, RESPONSE_HEADERS as u64)
}

/// Whether a text is a token as RFC 9110 has it: a name of a header, and of a cookie (RFC 6265).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
