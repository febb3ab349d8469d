//! A request to the admin listener, taken apart: the segments of its path, its query, and its body.
//!
//! It knows no route and no room. A name in a path is one segment, percent-encoded.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName};
use hyper::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::outcome::Recorded;
use super::secret::SecretHash;
use super::sessions::SignedIn;
use crate::clock;
use crate::edge::listener::reset::Watcher;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::Refusal;
use crate::limits::ADMIN_DISCARD_TIMEOUT;

/// The longest body in JSON, in bytes: the names of a user and of a room, with every character escaped.
const JSON_BYTES: usize = 8 << 10;
/// The header in which an operator's program names the person who acts, for the audit log.
pub(super) const OPERATOR: HeaderName = HeaderName::from_static("dormouse-operator");
/// The longest name of an operator that is kept, in characters.
const OPERATOR_CHARS: usize = 128;

/// A request whose sender showed the token.
pub(super) struct AdminRequest {
    pub(super) method: Method,
    /// The path and the query as they came.
    pub(super) uri: String,
    /// The node that has passed it on; absent if the operator asks this one.
    pub(super) via: Option<u64>,
    /// The decoded segments of the path; none for `/`.
    pub(super) segments: Vec<String>,
    /// The decoded parameters that no handler has taken yet.
    query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Incoming,
    /// The address of the client.
    pub(super) from: IpAddr,
    /// The operator, if the request belongs to a session of the dashboard.
    pub(super) signed_in: Option<SignedIn>,
    /// The token that was required when the request was admitted; absent if none was.
    pub(super) token: Option<SecretHash>,
    body_timeout: Duration,
    /// Notices when the client is gone.
    pub(super) watcher: Option<Arc<Watcher>>,
    /// The action that it has recorded.
    pub(super) recorded: Recorded,
}

/// A 400 that says what is wrong.
pub(super) fn bad(detail: impl Display) -> Refusal {
    problem(StatusCode::BAD_REQUEST, &detail.to_string()).into()
}

fn decoded(text: &str) -> Result<String, Refusal> {
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded.map_err(|_| bad("the path is not percent-encoded UTF-8"))?.into_owned())
}

impl AdminRequest {
    pub(super) fn new(request: Request<Incoming>, from: IpAddr, body_timeout: Duration) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let watcher = parts.extensions.remove();
        let path = parts.uri.path().strip_prefix('/').unwrap_or_default();
        let segments = path.split('/').filter(|_| !path.is_empty());
        let segments = segments.map(decoded).collect::<Result<_, _>>()?;
        let query = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let query = query.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Ok(AdminRequest {
            uri: parts.uri.path_and_query().map_or("/", |uri| uri.as_str()).to_owned(),
            via: None,
            method: parts.method,
            segments,
            query,
            headers: parts.headers,
            body,
            from,
            signed_in: None,
            token: None,
            body_timeout,
            watcher,
            recorded: Recorded::default(),
        })
    }

    /// Takes a parameter of the query.
    pub(super) fn parameter(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let Some(at) = self.query.iter().position(|(other, _)| other == name) else { return Ok(None) };
        let (_, value) = self.query.swap_remove(at);
        if self.query.iter().any(|(other, _)| other == name) {
            return Err(bad(format_args!("the parameter `{name}` is given twice")));
        }
        Ok(Some(value))
    }

    /// Takes a parameter and reads it. `expected` says what it may be, such as `true or false`.
    pub(super) fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Result<Option<T>, Refusal> {
        let Some(value) = self.parameter(name)? else { return Ok(None) };
        let parsed = value.parse().map_err(|_| bad(format_args!("the parameter `{name}` is {expected}")))?;
        Ok(Some(parsed))
    }

    /// Takes the parameter `limit`: the most items of an answer, at most `most`.
    pub(super) fn limit(&mut self, default: usize, most: usize) -> Result<usize, Refusal> {
        let expected = format!("a number from 1 to {most}");
        match self.parsed("limit", &expected)? {
            None => Ok(default),
            Some(limit) if (1..=most).contains(&limit) => Ok(limit),
            Some(_) => Err(bad(format_args!("the parameter `limit` is {expected}"))),
        }
    }

    /// Refuses parameters that no handler has taken: a misspelled filter must not show everything. Call it when all
    /// known ones are taken.
    pub(super) fn no_more_parameters(&self) -> Result<(), Refusal> {
        match self.query.first() {
            Some((name, _)) => Err(bad(format_args!("the parameter `{name}` is unknown here"))),
            None => Ok(()),
        }
    }

    /// The person who acts: the name that was given when a session began, or that the request's header
    /// `dormouse-operator` gives, without control characters.
    pub(super) fn operator(&self) -> Option<String> {
        if let Some(signed_in) = &self.signed_in {
            return signed_in.operator.clone();
        }
        let name = String::from_utf8_lossy(self.headers.get(OPERATOR)?.as_bytes());
        let name = name.chars().filter(|char| !char.is_control()).take(OPERATOR_CHARS).collect::<String>();
        (!name.is_empty()).then_some(name)
    }

    /// Reads a whole body of at most `most` bytes.
    pub(super) async fn bytes(&mut self, most: usize) -> Result<Bytes, Refusal> {
        self.bytes_within(most, self.body_timeout).await
    }

    /// Reads a whole body of at most `most` bytes, which may take this long.
    pub(super) async fn bytes_within(&mut self, most: usize, timeout: Duration) -> Result<Bytes, Refusal> {
        let refuse = |status, detail: &str| Err(Refusal::from(problem(status, detail)));
        let body = Limited::new(&mut self.body, most).collect();
        match clock::timeout(timeout, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                self.discard().await;
                refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
            }
            Ok(Err(_)) => refuse(StatusCode::BAD_REQUEST, "the body broke off"),
            Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
        }
    }

    /// Reads the rest of a body that is refused, for a while: the client sees the reason only if it can send the rest.
    pub(super) async fn discard(&mut self) {
        let rest = async { while let Some(Ok(_)) = self.body.frame().await {} };
        let _ = clock::timeout(ADMIN_DISCARD_TIMEOUT, rest).await;
    }

    /// As [`json`](Self::json), for a body that may be empty.
    pub(super) async fn optional_json<T: DeserializeOwned>(&mut self, shape: &str) -> Result<Option<T>, Refusal> {
        let body = self.bytes(JSON_BYTES).await?;
        if body.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&body).map(Some).map_err(|_| bad(format_args!("the body is {shape}")))
    }

    /// Reads a body in JSON. `shape` says what it may be.
    pub(super) async fn json<T: DeserializeOwned>(&mut self, shape: &str) -> Result<T, Refusal> {
        let body = self.bytes(JSON_BYTES).await?;
        serde_json::from_slice(&body).map_err(|_| bad(format_args!("the body is {shape}")))
    }
}
