//! Reads the identity and the origin of a request from its headers.

/// The longest `userId` and `userName`, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// The scheme before a token in `Authorization`.
const BEARER: &str = "bearer ";

/// The cookie that may carry a token.
const COOKIE_NAME: &str = "dormouse_token";

/// The origin of a request. The host distinguishes the same cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Not from a page, or without a header that tells its origin.
    None,
    /// From a page of this server.
    Same,
    /// From another page of this machine.
    Allowed(String),
    /// From any other page.
    Foreign,
}

/// Headers, with names in lower case.
pub type Headers = [(String, String)];

/// The value of the first header with this name.
pub fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Whether an authority names this machine. This check stops DNS rebinding: a foreign page whose name resolves to this
/// machine still sends its own name.
pub fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    host.eq_ignore_ascii_case("localhost") || matches!(host, "127.0.0.1" | "[::1]")
}

/// The origin of a request.
pub fn origin(headers: &Headers, authority: &str) -> Origin {
    let Some(origin) = header(headers, "origin") else {
        let is_foreign = header(headers, "sec-fetch-site") == Some("cross-site");
        return if is_foreign { Origin::Foreign } else { Origin::None };
    };
    match origin.split_once("://") {
        Some((_, from)) if from.eq_ignore_ascii_case(authority) => Origin::Same,
        Some((_, from)) if is_loopback(from) => Origin::Allowed(origin.to_owned()),
        _ => Origin::Foreign,
    }
}

/// The id and the name of the user. The first credential in the request counts, valid or not. An empty one is none.
pub fn identify(headers: &Headers, query: &str, origin: &Origin) -> Result<Option<(String, String)>, String> {
    let mut tokens = headers.iter().filter(|(name, _)| name == "authorization").filter_map(|(_, value)| bearer(value));
    if let Some(token) = tokens.next() {
        return user(token).map(Some);
    }
    // CSRF: a browser adds a cookie by itself, so a cookie counts only if the page is not foreign.
    if *origin != Origin::Foreign
        && let Some(token) = cookie(headers)
    {
        return user(&token).map(Some);
    }
    if parameter(query, "ticket").is_some() {
        return Err("tickets need Dormouse itself: this server has none".into());
    }
    parameter(query, "token").map(|token| user(&token)).transpose()
}

/// The token in a value of `authorization`, unless it is empty. Another scheme is for another server, such as the
/// password for a proxy in front; it may stand in the same value, before a comma.
fn bearer(value: &str) -> Option<&str> {
    match value.trim_start().split_at_checked(BEARER.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER) => Some(token.trim()).filter(|it| !it.is_empty()),
        _ => bearer(value.split_once(',')?.1),
    }
}

/// The query without credentials, which no component may see.
pub fn without_credentials(query: &str) -> Option<String> {
    let is_secret = |pair: &&str| matches!(pair.split_once('='), Some(("token" | "ticket", _)));
    let rest = query.split('&').filter(|pair| !is_secret(pair)).collect::<Vec<_>>().join("&");
    (!rest.is_empty()).then_some(rest)
}

/// Whether a token is signed (JWT). Taken as a name, everybody in the room would read it, and could use it elsewhere.
fn is_signed(token: &str) -> bool {
    token.starts_with("eyJ") && token.split('.').count() == 3
}

/// The user in a token `ID:NAME`. It is trusted.
fn user(token: &str) -> Result<(String, String), String> {
    if is_signed(token) {
        return Err("this is a signed token, and this server checks none and knows no grants: use ID:NAME".into());
    }
    let (id, name) = token.split_once(':').unwrap_or((token, token));
    let name = if name.is_empty() { id } else { name };
    for (field, text) in [("user id", id), ("user name", name)] {
        if text.is_empty() || text.len() > MAX_NAME_BYTES || text.chars().any(char::is_control) {
            return Err(format!("the {field} must be 1 to {MAX_NAME_BYTES} bytes without control characters"));
        }
    }
    Ok((id.to_owned(), name.to_owned()))
}

fn cookie(headers: &Headers) -> Option<String> {
    let cookies = headers.iter().filter(|(name, _)| name == "cookie").map(|(_, value)| value);
    let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value.trim_matches('"'));
    percent_decode(values.find(|value| !value.is_empty())?)
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, value)| *key == name && !value.is_empty())?;
    percent_decode(&value.replace('+', " "))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        decoded.push(match byte {
            b'%' => (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8,
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn identified(pairs: &[(&str, &str)], query: &str) -> Result<Option<String>, String> {
        let headers = headers(pairs);
        let origin = origin(&headers, "localhost:8080");
        identify(&headers, query, &origin).map(|user| user.map(|(id, name)| format!("{id}/{name}")))
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for loopback in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080"] {
            assert!(is_loopback(loopback), "{loopback}");
        }
        for other in ["", "evil.example", "localhost.evil", "127.0.0.1.evil:80", "0.0.0.0", "10.0.0.1", "localhost:x"] {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[test]
    fn only_loopback_pages_may_send_requests() {
        let origin_of = |pairs: &[(&str, &str)]| origin(&headers(pairs), "localhost:8080");
        assert_eq!(origin_of(&[("origin", "http://localhost:8080")]), Origin::Same);
        assert_eq!(origin_of(&[("origin", "http://127.0.0.1:5173")]), Origin::Allowed("http://127.0.0.1:5173".into()));
        assert_eq!(origin_of(&[("origin", "http://localhost.evil")]), Origin::Foreign);
        assert_eq!(origin_of(&[("origin", "null")]), Origin::Foreign);
        assert_eq!(origin_of(&[("sec-fetch-site", "cross-site")]), Origin::Foreign);
        assert_eq!(origin_of(&[]), Origin::None);
    }

    #[test]
    fn only_the_first_credential_is_used() {
        let ana = Ok(Some("1/ana".to_owned()));
        assert_eq!(identified(&[("authorization", "Bearer 1:ana")], "token=2:bo"), ana);
        assert_eq!(identified(&[("cookie", "a=b; dormouse_token=1%3Aana")], "token=2:bo"), ana);
        assert_eq!(identified(&[], "since=5&token=1%3Aana"), ana);
        assert_eq!(identified(&[("authorization", "bearer 7")], ""), Ok(Some("7/7".into())));
        assert_eq!(identified(&[], "since=5"), Ok(None));
        assert_eq!(identified(&[("authorization", "Basic eA==")], "token=1:ana"), ana, "another scheme hides nothing");
        let both = [("authorization", "Basic eA=="), ("authorization", "Bearer 1:ana")];
        assert_eq!(identified(&both, ""), ana);
        assert_eq!(identified(&[("authorization", "é")], ""), Ok(None));
        for line in ["Basic eA==, Bearer 1:ana", "Basic eA==,bearer 1:ana", ", Bearer 1:ana"] {
            assert_eq!(identified(&[("authorization", line)], ""), ana, "{line}");
        }
        for (pairs, query) in [(&[("authorization", "Bearer :x")][..], ""), (&[], "token=:x"), (&[], "ticket=x")] {
            assert!(identified(pairs, query).is_err(), "{pairs:?} {query}");
        }
    }

    #[test]
    fn a_signed_token_is_not_a_name() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln";
        for (header, value) in
            [("authorization", format!("Bearer {token}")), ("cookie", format!("dormouse_token={token}"))]
        {
            assert!(identified(&[(header, &value)], "").is_err_and(|error| error.contains("signed token")), "{header}");
        }
        assert!(identified(&[], &format!("token={token}")).is_err());
        assert_eq!(identified(&[], "token=eyJ.a"), Ok(Some("eyJ.a/eyJ.a".into())));
    }

    #[test]
    fn an_empty_credential_hides_no_other() {
        let ana = Ok(Some("1/ana".to_owned()));
        for (authorization, cookie, query) in [
            ("Bearer ", "dormouse_token=1:ana", ""),
            ("Bearer", "dormouse_token=; dormouse_token=1:ana", ""),
            ("Bearer ", "dormouse_token=", "token=1:ana"),
            ("Bearer ", "dormouse_token=\"\"", "ticket=&token=&token=1:ana"),
        ] {
            assert_eq!(
                identified(&[("authorization", authorization), ("cookie", cookie)], query),
                ana,
                "{cookie} {query}"
            );
        }
        assert_eq!(identified(&[("authorization", "Bearer ")], "token=&ticket="), Ok(None));
    }

    #[test]
    fn a_cookie_in_a_cross_site_request_is_ignored() {
        assert_eq!(identified(&[("cookie", "dormouse_token=1:ana"), ("origin", "https://evil")], ""), Ok(None));
    }

    #[test]
    fn no_credential_enters_a_component() {
        assert_eq!(without_credentials("token=1:ana&since=5&ticket=x"), Some("since=5".into()));
        assert_eq!(without_credentials("token=1:ana"), None);
    }
}
