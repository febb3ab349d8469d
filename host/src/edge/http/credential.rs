//! The credential of a request: where a token or a ticket may stand, and which of several counts.

use hyper::Request;
use hyper::header::HeaderMap;

use super::authorization::bearer_tokens;
use crate::edge::admission::origin::Origin;
use crate::edge::identity::verified::{Invalid, Verified};
use crate::edge::sockets::upgrade;
use crate::edge::{Edge, headers};

/// The prefix of a token in `Sec-WebSocket-Protocol`.
const BEARER_PROTOCOL: &[u8] = b"bearer.";

/// A verified user, and the kind of credential.
pub(in crate::edge) struct Bearer {
    pub(super) verified: Verified,
    /// The credential was a ticket and not the token itself.
    pub(super) by_ticket: bool,
}

/// Identifies the user; a revoked one is an error.
pub(in crate::edge) async fn identify(
    edge: &Edge,
    request: &Request<()>,
    origin: &Origin,
) -> Result<Option<Bearer>, Invalid> {
    let bearer = match credential(edge, request, origin)? {
        // It is used up now, perhaps at another node.
        Some(Credential::Ticket(ticket)) => match edge.take_ticket(&ticket).await {
            Some(verified) => Some(Bearer { verified, by_ticket: true }),
            None => return Err(Invalid("the ticket was used or has expired".into())),
        },
        Some(Credential::Token(verified)) => Some(Bearer { verified: *verified, by_ticket: false }),
        None => None,
    };
    if let Some(Bearer { verified, .. }) = &bearer {
        verified.check_revoked(&edge.revocations)?;
    }
    Ok(bearer)
}

/// The credential of a request.
enum Credential {
    /// A valid token.
    Token(Box<Verified>),
    /// A ticket, which may be valid.
    Ticket(String),
}

/// Verifies the first credential that is present; a later one is not tried if this one is invalid. An empty credential
/// is none.
fn credential(edge: &Edge, request: &Request<()>, origin: &Origin) -> Result<Option<Credential>, Invalid> {
    let by_token = |verified| Some(Credential::Token(Box::new(verified)));
    // An embedder may have verified the user already. Requests from the network cannot set extensions.
    if let Some(verified) = request.extensions().get::<Verified>() {
        return verified.clone().check().map(by_token);
    }
    let headers = request.headers();
    let query = request.uri().query().unwrap_or_default();
    let in_url = parameter(query, "token");
    // Refused even beside a valid credential: otherwise the bad habit would go unnoticed.
    if in_url.is_some() && !edge.verifier.is_dev() {
        return Err(Invalid(
            "a token in a URL is not accepted: it would end up in logs and histories; send it in the header \
             `authorization`, in the subprotocol `bearer.TOKEN` or in a cookie, or ask for a ticket"
                .into(),
        ));
    }
    let verify = |token: &str| edge.verifier.verify(token).map(by_token);
    if let Some(token) = bearer_tokens(headers).chain(protocol_tokens(headers)).next() {
        // A name in a dev token may be any UTF-8, but `to_str` accepts only ASCII.
        let token = std::str::from_utf8(token).map_err(|_| Invalid("the token is not UTF-8".into()))?;
        return verify(token);
    }
    // Browsers attach cookies to requests of any page, so a cookie counts only if the origin is trusted (CSRF).
    if *origin != Origin::Foreign
        && let Some(token) = cookie(headers, &edge.cookie)
    {
        return verify(&token);
    }
    if let Some(ticket) = parameter(query, "ticket") {
        return Ok(Some(Credential::Ticket(ticket)));
    }
    in_url.map_or(Ok(None), |token| verify(&token))
}

/// All tokens in `Sec-WebSocket-Protocol` but empty ones.
fn protocol_tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let tokens = upgrade::protocols(headers).filter_map(|protocol| protocol.strip_prefix(BEARER_PROTOCOL));
    tokens.filter(|token| !token.is_empty())
}

/// Whether a request has several tokens, of which a proxy and the host could each use another one.
pub(in crate::edge) fn has_two(headers: &HeaderMap) -> bool {
    bearer_tokens(headers).nth(1).is_some() || protocol_tokens(headers).nth(1).is_some()
}

/// The token of a cookie, which may be quoted and percent-encoded. An empty one is skipped.
pub(in crate::edge) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers::cookies(headers, name).map(unquoted);
    let value = values.find(|value| !value.is_empty())?;
    percent_encoding::percent_decode(value).decode_utf8().ok().map(Into::into)
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// The first value of a parameter that is not empty.
pub(in crate::edge) fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, value)| *key == name && !value.is_empty())?;
    percent_decode(&value.replace('+', " "))
}

pub(in crate::edge) fn percent_decode(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

pub(in crate::edge) fn without_credentials(query: &str) -> Option<String> {
    let secret = |pair: &&str| !matches!(pair.split_once('='), Some(("token" | "ticket", _)));
    let kept = query.split('&').filter(secret).collect::<Vec<_>>().join("&");
    (!kept.is_empty()).then_some(kept)
}
