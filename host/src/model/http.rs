//! HTTP as a component sees it: whole, and without credentials.

use std::borrow::Cow;

/// The header that tells which room asks. Only the host sets it: neither a client nor a component can.
pub const CALLER: &str = "dormouse-caller";
/// The header that tells which post it is: the same each time it is tried. Of what a room sends, only the host sets it.
pub const POST_KEY: &str = "idempotency-key";

/// Whether a header has a name, however it is spelled: some servers take capitals and underscores for the same.
pub fn is_header(spelled: &str, name: &str) -> bool {
    let same = |(one, other): (u8, u8)| one.eq_ignore_ascii_case(&other) || (one == b'_' && other == b'-');
    let spelled = spelled.trim();
    spelled.len() == name.len() && spelled.bytes().zip(name.bytes()).all(same)
}

/// A header's value as text: UTF-8, or Latin-1 where it is not, as HTTP once had it. So one odd byte neither hides a header
/// nor makes two different values the same.
pub fn header_text(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.iter().map(|byte| char::from(*byte)).collect()),
    }
}

/// Who somebody is, as the host verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Stable and unique.
    pub id: String,
    /// For people to read.
    pub name: String,
}

/// One request, whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Upper case.
    pub method: String,
    /// Starts with `/`.
    pub path: String,
    /// What follows `?`.
    pub query: Option<String>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Who asks, where the host could verify it.
    pub user: Option<User>,
}

impl User {
    /// Somebody, by a stable id and a name for people to read.
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        User { id: id.into(), name: name.into() }
    }
}

impl Request {
    /// `GET` of a path, such as `/messages?limit=5`.
    pub fn get(path: &str) -> Self {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
        Request { method: "GET".into(), path: path.into(), query, ..Request::default() }
    }

    /// `POST` of a JSON value to a path.
    pub fn post_json(path: &str, value: &serde_json::Value) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        Request { method: "POST".into(), headers, body: value.to_string().into_bytes(), ..Request::get(path) }
    }

    /// Remove a header, however it is spelled.
    pub fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(spelled, _)| !is_header(spelled, name));
    }

    /// The same, asked by somebody.
    pub fn by(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }
}

/// One response, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body, from JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_no_utf8_is_read_as_latin_1() {
        assert_eq!(header_text("naïve 😀".as_bytes()), "naïve 😀");
        assert_eq!(header_text(b"na\xefve"), "naïve");
        assert_ne!(header_text(b"\xe8"), header_text(b"\xe9"));
    }

    #[test]
    fn a_header_is_known_by_its_name_however_it_is_spelled() {
        for spelled in ["dormouse-caller", "Dormouse-Caller", "dormouse_caller", " DORMOUSE_CALLER\t"] {
            assert!(is_header(spelled, CALLER), "{spelled:?}");
        }
        for other in ["dormouse-caller2", "dormousecaller", "", "dormouse.caller"] {
            assert!(!is_header(other, CALLER), "{other:?}");
        }
    }
}
