//! The bearer tokens in the header `authorization`.
//!
//! The header has one credentials (RFC 9110, 11.6.2), but a proxy in front or a library may add its own beside ours: in
//! a line of its own, or in the same line, because recipients may join lines with a comma (5.3). Both mean the same
//! here. `credential` and the admin listener ask for the tokens.

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};

const BEARER: &[u8] = b"bearer";

/// Schemes that begin new credentials behind a comma: those of IANA's registry, and NTLM.
const SCHEMES: [&str; 15] = [
    "basic",
    "bearer",
    "concealed",
    "digest",
    "dpop",
    "gnap",
    "hoba",
    "mutual",
    "negotiate",
    "ntlm",
    "oauth",
    "privatetoken",
    "scram-sha-1",
    "scram-sha-256",
    "vapid",
];

/// All bearer tokens of a request. An empty one is none, and other schemes are skipped.
pub(in crate::edge) fn bearer_tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(AUTHORIZATION).into_iter().map(HeaderValue::as_bytes);
    lines.flat_map(Credentials).filter_map(bearer_token)
}

fn bearer_token(credentials: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = split_scheme(credentials.trim_ascii());
    let token = rest.trim_ascii();
    let is_bearer = scheme.eq_ignore_ascii_case(BEARER) && rest.first().is_some_and(u8::is_ascii_whitespace);
    (is_bearer && !token.is_empty()).then_some(token)
}

/// The rest of a line, as an iterator over its credentials.
struct Credentials<'a>(&'a [u8]);

impl<'a> Iterator for Credentials<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = self.0;
        if line.is_empty() {
            return None;
        }
        // A `token68` has no comma, so only the first comma can end whole credentials. A look at what precedes each
        // comma would take quadratic time, before the sender is known.
        let (mut is_quoted, mut is_escaped, mut is_first) = (false, false, true);
        for (at, byte) in line.iter().enumerate() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if is_quoted => is_escaped = true,
                b'"' => is_quoted = !is_quoted,
                b',' if !is_quoted => {
                    let is_behind_whole = is_first && is_whole(&line[..at]);
                    if begins_credentials(is_behind_whole, &line[at + 1..]) {
                        self.0 = &line[at + 1..];
                        return Some(&line[..at]);
                    }
                    is_first = false;
                }
                _ => {}
            }
        }
        self.0 = &[];
        Some(line)
    }
}

/// Whether new credentials begin behind a comma. Otherwise a parameter does, as Digest has several, or the comma
/// belongs to a name of dev auth, unless a known scheme follows. A scheme that is not known counts behind credentials
/// that are whole.
fn begins_credentials(is_behind_whole: bool, behind: &[u8]) -> bool {
    let (scheme, rest) = split_scheme(behind.trim_ascii_start());
    let ends = rest.first().is_none_or(|byte| byte.is_ascii_whitespace() || *byte == b',');
    let is_known = SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()));
    let parameter = rest.trim_ascii_start();
    let is_like_one = !scheme.is_empty() && !parameter.is_empty() && !parameter.starts_with(b"=");
    ends && (is_known || (is_like_one && is_behind_whole))
}

/// Whether credentials are a scheme and a `token68`.
fn is_whole(credentials: &[u8]) -> bool {
    let (_, token) = split_scheme(credentials.trim_ascii());
    let token = token.trim_ascii();
    !token.is_empty() && token.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte))
}

/// Splits off the scheme, which is a token.
fn split_scheme(credentials: &[u8]) -> (&[u8], &[u8]) {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = credentials.iter().position(|byte| !is_part(byte)).unwrap_or(credentials.len());
    credentials.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(lines: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        bearer_tokens(&headers).map(|token| String::from_utf8(token.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_list_in_one_line_means_the_same_as_several_lines() {
        for lines in [
            &["Bearer a.b-c="][..],
            &["bearer   a.b-c=  "],
            &["Basic eDp5", "Bearer a.b-c="],
            &["Basic eDp5, Bearer a.b-c="],
            &["Basic eDp5,BEARER a.b-c="],
            &["Bearer a.b-c=, Basic eDp5"],
            &["Bearer a.b-c=,Negotiate"],
            &["Bearer a.b-c=, ApiKey k"],
            &["ApiKey k, Bearer a.b-c="],
            &[r#"Digest username="x, Bearer y", realm="\", Bearer z", Bearer a.b-c="#],
            &["Digest a = b, c = d, Bearer a.b-c="],
            &["Negotiate, Bearer a.b-c="],
            &[", Bearer a.b-c="],
            &["Bearer , Bearer a.b-c="],
            &["Bearer", "Bearer a.b-c="],
        ] {
            assert_eq!(tokens(lines), ["a.b-c="], "{lines:?}");
        }
        assert_eq!(tokens(&["Bearer a, Bearer b"]), ["a", "b"]);
        assert_eq!(tokens(&["Bearer a", "Bearer b"]), ["a", "b"]);
    }

    #[test]
    fn an_empty_token_and_other_schemes_are_skipped() {
        for lines in [
            &[][..],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["Bearer , Basic eDp5"],
            &["Basic eDp5"],
            &["Bearers x"],
            &["Bearer:x"],
            &["Bearer=x"],
            &["Bearer\"x\""],
        ] {
            assert_eq!(tokens(lines), Vec::<String>::new(), "{lines:?}");
        }
    }

    /// In quadratic time it would take hours.
    #[test]
    fn a_long_line_takes_linear_time() {
        for line in [",a".repeat(1 << 20), ", ".repeat(1 << 20), format!("{}, a", " ".repeat(1 << 20))] {
            let line = format!("{}{line}", "A".repeat(1 << 20));
            assert_eq!(tokens(&[&line]), Vec::<String>::new());
        }
    }

    #[test]
    fn a_name_of_dev_auth_may_have_commas() {
        assert_eq!(tokens(&["Bearer 1:Müller, Ana Maria"]), ["1:Müller, Ana Maria"]);
        assert_eq!(tokens(&["Bearer 1:ana, Basic eDp5"]), ["1:ana"]);
        assert_eq!(tokens(&["Basic eDp5, Bearer 1:Müller, Ana"]), ["1:Müller, Ana"]);
    }
}
