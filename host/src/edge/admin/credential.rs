//! The credential of a request, and heads that a proxy could read differently. It does not know which credential a
//! request needs: `admin` does, and `secret` and `sessions` know how each is compared.

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName};

use super::request::OPERATOR;
use super::secret::SecretHash;
use super::sessions::{SESSION, SignedIn};
use crate::edge::headers::repeated;
use crate::edge::http::authorization::bearer_tokens;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::Refusal;

/// Headers that a request may have once. Given two, a proxy and the host could each use a different one. Cookies are
/// not among them: a browser sends two of one name if they have two paths, and an id that is wrong opens nothing.
static ONCE: [HeaderName; 8] = [
    header::HOST,
    header::ORIGIN,
    header::CONTENT_TYPE,
    SESSION,
    OPERATOR,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-dest"),
];

/// A valid credential.
pub(super) struct Shown {
    /// The token that was required; absent if none was.
    pub(super) token: Option<SecretHash>,
    /// The operator of the session; absent if the token was shown, or none is required.
    pub(super) signed_in: Option<SignedIn>,
}

/// Refuses a head that a proxy and the host could read differently.
pub(super) fn check_single_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    let detail = match repeated(headers, &ONCE) {
        Some(name) => format!("the header `{name}` must not be repeated"),
        None if bearer_tokens(headers).nth(1).is_some() => {
            "a request must have one bearer token, and this one has several".to_owned()
        }
        None => return Ok(()),
    };
    Err(problem(StatusCode::BAD_REQUEST, &detail).into())
}

/// Whether a request shows the token that is required now. Without one, each does.
pub(super) fn shows_token(headers: &HeaderMap, token: Option<&SecretHash>) -> bool {
    let Some(token) = token else { return true };
    // A proxy may ask for its own password beside it, by another scheme.
    bearer_tokens(headers).next().is_some_and(|shown| token.is(&SecretHash::of(shown)))
}
