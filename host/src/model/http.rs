//! HTTP requests and responses as a component sees them: complete, and without credentials.

use std::borrow::Cow;

use super::UserAccess;

/// The header with the calling room. Only the host sets it: clients and components cannot.
pub const CALLER: &str = "dormouse-caller";
/// The request header in which a service names the user for whom it acts. No component sees it.
pub const ACT: &str = "dormouse-act";
/// The header with the key of a post, which is the same for each try. In requests of rooms only the host sets it.
pub const POST_KEY: &str = "idempotency-key";

/// The header with the trace and the span of a request's sender, as in W3C Trace Context.
pub const TRACE_PARENT: &str = "traceparent";
/// The header with what other systems add to that.
pub const TRACE_STATE: &str = "tracestate";

/// Whether `spelled` is the header `name`. Case is ignored, and `_` equals `-`, because some servers treat them alike.
pub fn is_header(spelled: &str, name: &str) -> bool {
    let same = |(one, other): (u8, u8)| one.eq_ignore_ascii_case(&other) || (one == b'_' && other == b'-');
    let spelled = spelled.trim();
    spelled.len() == name.len() && spelled.bytes().zip(name.bytes()).all(same)
}

/// The value of a header as text: UTF-8, or else Latin-1. So one odd byte does not hide a header, and different values
/// stay different.
pub fn header_text(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.iter().map(|byte| char::from(*byte)).collect()),
    }
}

/// A user, as verified by the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Stable and unique.
    pub id: String,
    /// For display.
    pub name: String,
}

/// A complete request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// In upper case.
    pub method: String,
    /// It begins with `/`.
    pub path: String,
    /// The text after `?`.
    pub query: Option<String>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The user, if the host could verify one.
    pub user: Option<User>,
    /// The claims and permissions of the user. No header carries them, so that no client and no component can set them.
    pub access: UserAccess,
}

impl User {
    /// A user with a stable id and a name for display.
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        User { id: id.into(), name: name.into() }
    }
}

impl Request {
    /// A `GET` request for a path, such as `/messages?limit=5`.
    pub fn get(path: &str) -> Self {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
        Request { method: "GET".into(), path: path.into(), query, ..Request::default() }
    }

    /// A `POST` request with a JSON value.
    pub fn post_json(path: &str, value: &serde_json::Value) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        Request { method: "POST".into(), headers, body: value.to_string().into_bytes(), ..Request::get(path) }
    }

    /// Removes a header, however it is spelled.
    pub fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(spelled, _)| !is_header(spelled, name));
    }

    /// The same request, sent by this user.
    pub fn by(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }
}

/// A complete response.
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
    /// Parses the body as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_value_that_is_not_utf8_is_read_as_latin_1() {
        assert_eq!(header_text("naïve 😀".as_bytes()), "naïve 😀");
        assert_eq!(header_text(b"na\xefve"), "naïve");
        assert_ne!(header_text(b"\xe8"), header_text(b"\xe9"));
    }

    #[test]
    fn header_names_ignore_case() {
        for spelled in ["dormouse-caller", "Dormouse-Caller", "dormouse_caller", " DORMOUSE_CALLER\t"] {
            assert!(is_header(spelled, CALLER), "{spelled:?}");
        }
        for other in ["dormouse-caller2", "dormousecaller", "", "dormouse.caller"] {
            assert!(!is_header(other, CALLER), "{other:?}");
        }
    }
}
