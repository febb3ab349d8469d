//! The headers that pass between clients and components, and how a header's bytes are read.
//!
//! Requests lose the headers that do not concern a component. Answers keep only headers that are known to be harmless
//! (an allow-list): a header may command the browser for the whole origin, or a proxy that serves files, and new ones
//! appear every year.

use std::collections::{BTreeMap, BTreeSet};

use hyper::header::{
    ALLOW, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, HeaderMap, HeaderName, HeaderValue,
    LAST_MODIFIED, LOCATION, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
};

use crate::config::Config;
use crate::limits::ALLOWED_RESPONSE_HEADERS;
use crate::model::{ACT, CALLER, POST_KEY, header_text, is_header};

/// Request headers that no component sees: credentials, and those that the host itself has handled. The names that only
/// the host may set come on top of these.
const NOT_FOR_ROOMS: [&str; 9] = [
    "authorization",
    "connection",
    "cookie",
    "proxy-authorization",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "transfer-encoding",
];

/// Headers that a request may have once. Given two, a proxy, the host and a room could each use a different one.
/// hyper checks `content-length`; tokens are checked in `http`.
static ONCE: [HeaderName; 8] = [
    CONTENT_TYPE,
    ORIGIN,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION,
    HeaderName::from_static(ACT),
    HeaderName::from_static(POST_KEY),
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("sec-fetch-site"),
];

/// Headers of a component's answer that have one value. Given two, a browser and a proxy could use different ones.
static ONCE_IN_ANSWERS: [HeaderName; 8] =
    [CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, LAST_MODIFIED, LOCATION, RETRY_AFTER];

/// Headers in which a proxy names the client. From any other client they prove nothing, and a room could not know the
/// difference.
pub(super) const ONLY_FROM_PROXIES: [&str; 5] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// The headers that a component's answer may have.
pub(super) struct ResponseHeaders {
    /// Allowed for every component.
    everywhere: BTreeSet<String>,
    /// Allowed for the rooms of one namespace beside those.
    of_namespace: BTreeMap<String, BTreeSet<String>>,
    /// All of them and those of the host: the headers that a page of an allowed origin may read.
    exposed: HeaderValue,
    /// Components may send the headers of CORS.
    cors: bool,
}

/// Headers of the host's own answers that a page may need.
const OF_THE_HOST: [&str; 1] = ["www-authenticate"];

impl ResponseHeaders {
    /// The built-in names, and those that the operator adds.
    pub(super) fn new(config: &Config) -> Self {
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect::<BTreeSet<_>>();
        let mut everywhere = lower(&config.response_headers);
        everywhere.extend(ALLOWED_RESPONSE_HEADERS.iter().map(|name| (*name).to_owned()));
        let of_namespace = config.namespaces.iter();
        let of_namespace = of_namespace.map(|(name, namespace)| (name.clone(), lower(&namespace.response_headers)));
        let of_namespace = of_namespace.collect::<BTreeMap<_, _>>();
        let all = everywhere.iter().chain(of_namespace.values().flatten()).map(String::as_str).chain(OF_THE_HOST);
        let all = all.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
        let exposed = HeaderValue::try_from(all).expect("names of headers are text");
        ResponseHeaders { everywhere, of_namespace, exposed, cors: config.router_cors }
    }

    /// The value of `access-control-expose-headers`: without it, browsers hide all but a few headers from pages of
    /// other origins.
    pub(super) fn exposed(&self) -> HeaderValue {
        self.exposed.clone()
    }

    /// Returns whether a component may send a header; `namespace` is absent for the router.
    pub(super) fn may_send(&self, namespace: Option<&str>, name: &HeaderName) -> bool {
        let of_namespace = namespace.and_then(|namespace| self.of_namespace.get(namespace));
        (self.cors && name.as_str().starts_with("access-control-"))
            || self.everywhere.contains(name.as_str())
            || of_namespace.is_some_and(|names| names.contains(name.as_str()))
    }
}

/// The headers of a request that a component sees.
pub(super) fn for_rooms(headers: &HeaderMap) -> Vec<(String, String)> {
    let of_the_host = [ACT, CALLER];
    let is_ours =
        |name: &str| NOT_FOR_ROOMS.contains(&name) || of_the_host.iter().any(|header| is_header(name, header));
    let seen = headers.iter().filter(|(name, _)| !is_ours(name.as_str()));
    seen.map(|(name, value)| (name.as_str().to_owned(), header_text(value.as_bytes()).into_owned())).collect()
}

/// Adds a header of a component to its answer. Of a header that must be single the first is kept.
pub(super) fn add(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    if !(ONCE_IN_ANSWERS.contains(&name) && headers.contains_key(&name)) {
        headers.append(name, value);
    }
}

/// A header that must be single and is not.
pub(super) fn duplicate(headers: &HeaderMap) -> Option<&'static HeaderName> {
    repeated(headers, &ONCE)
}

/// The first of these headers that a request has more than once.
pub(super) fn repeated<'a>(headers: &HeaderMap, once: &'a [HeaderName]) -> Option<&'a HeaderName> {
    once.iter().find(|name| headers.get_all(*name).iter().nth(1).is_some())
}

/// Adds HEAD (where GET is allowed) and OPTIONS to the `allow` header of an answer. The host answers both itself, so a
/// component does not list them.
pub(super) fn complete_allow(headers: &mut HeaderMap) {
    let methods = items(headers, ALLOW).filter(|method| !method.is_empty());
    let mut methods = methods.map(String::from_utf8_lossy).map(String::from).collect::<Vec<_>>();
    if methods.is_empty() {
        return;
    }
    let has = |methods: &[String], method: &str| methods.iter().any(|known| known == method);
    if has(&methods, "GET") && !has(&methods, "HEAD") {
        let behind_get = methods.iter().position(|method| method == "GET").map_or(0, |at| at + 1);
        methods.insert(behind_get, "HEAD".to_owned());
    }
    if !has(&methods, "OPTIONS") {
        methods.push("OPTIONS".to_owned());
    }
    if let Ok(all) = HeaderValue::try_from(methods.join(", ")) {
        headers.insert(ALLOW, all);
    }
}

/// The items of a comma-separated list, over all headers of one name, without the spaces around them. Each item is read
/// separately, so that an unreadable one does not hide the others.
pub(super) fn items(headers: &HeaderMap, name: HeaderName) -> impl DoubleEndedIterator<Item = &[u8]> {
    let values = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Returns whether a word is in one of a header's comma-separated lists.
pub(super) fn has_item<'a>(mut values: impl Iterator<Item = &'a [u8]>, word: &str) -> bool {
    let is_word = |item: &[u8]| {
        let word_of_item = item.split(|byte| *byte == b';').next().unwrap_or_default();
        word_of_item.trim_ascii().eq_ignore_ascii_case(word.as_bytes())
    };
    values.any(|value| value.split(|byte| *byte == b',').any(is_word))
}

/// The values of all cookies with a name, as they were sent.
pub(super) fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let cookies = headers.get_all(hyper::header::COOKIE).into_iter().map(HeaderValue::as_bytes);
    let pairs = cookies.flat_map(|cookies| cookies.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    pairs.filter_map(move |pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        (pair[..at].trim_ascii_end() == name.as_bytes()).then(|| pair[at + 1..].trim_ascii_start())
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::{COOKIE, SEC_WEBSOCKET_PROTOCOL};

    use super::*;

    fn headers(name: HeaderName, values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn cookie(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
        cookies(headers, name).next().map(Into::into)
    }

    #[test]
    fn an_invalid_byte_hides_no_other_cookie() {
        for cookies in [
            &[&b"city=Malm\xf6; token=abc"[..]][..],
            &["city=Malmö; token=abc".as_bytes()],
            &[b"\xff", b"a=\xfe", b"token=abc; x=\x80"],
            &[b"city=Malm\xf6;token = abc"],
        ] {
            assert_eq!(cookie(&headers(COOKIE, cookies), "token").as_deref(), Some(&b"abc"[..]), "{cookies:?}");
        }
        assert_eq!(cookie(&headers(COOKIE, &[b"tokens=abc; token"]), "token"), None);
        assert_eq!(cookie(&headers(COOKIE, &[b"token=caf\xe9"]), "token").as_deref(), Some(&b"caf\xe9"[..]));
    }

    #[test]
    fn allow_lists_the_methods_that_the_host_answers_itself() {
        for (of_component, whole) in [
            (&["GET"][..], "GET, HEAD, OPTIONS"),
            (&["GET, POST"], "GET, HEAD, POST, OPTIONS"),
            (&["POST", "GET"], "POST, GET, HEAD, OPTIONS"),
            (&["PUT,,"], "PUT, OPTIONS"),
            (&["OPTIONS, HEAD, GET"], "OPTIONS, HEAD, GET"),
        ] {
            let values = of_component.iter().map(|value| value.as_bytes()).collect::<Vec<_>>();
            let mut headers = headers(ALLOW, &values);
            complete_allow(&mut headers);
            let allow = headers.get_all(ALLOW).into_iter().collect::<Vec<_>>();
            assert_eq!(allow, [whole], "{of_component:?}");
        }
        let mut silent = HeaderMap::new();
        complete_allow(&mut silent);
        assert!(silent.is_empty(), "only the component knows which methods it allows");
    }

    #[test]
    fn an_invalid_byte_hides_no_other_list_item() {
        let protocols = headers(SEC_WEBSOCKET_PROTOCOL, &[b"dormouse, \xe9, bearer.abc", b"last"]);
        let found = items(&protocols, SEC_WEBSOCKET_PROTOCOL).collect::<Vec<_>>();
        assert_eq!(found, [&b"dormouse"[..], b"\xe9", b"bearer.abc", b"last"]);
    }
}
