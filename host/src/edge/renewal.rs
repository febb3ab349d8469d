//! A new token for an open WebSocket, so that it need not close when the old one expires.
//!
//! The client says `{"type":"identity","token":"…"}` and is answered in kind. The frame ends here: no room sees a token.

use serde::Deserialize;

use super::close::Why;
use super::identity::{Invalid, TOKEN_BYTES};
use super::listed::{Listed, Token};
use crate::clock::UnixMillis;

/// What such a frame begins with, letter for letter: every message of every client is compared with it.
const BEGINNING: &str = r#"{"type":"identity""#;
/// The longest such frame: a token, and what stands around it. A room that takes shorter messages has its clients renew
/// their tokens all the same.
pub(super) const FRAME_BYTES: usize = TOKEN_BYTES + 256;

/// What became of it.
pub(super) enum Renewal {
    /// It is good until then, and the client is to be told so.
    Until(Option<UnixMillis>, String),
    /// Nothing has changed, and the client is to be told why.
    Refused(String),
    /// The connection is to be closed.
    Never(Why),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame {
    #[serde(rename = "type")]
    _kind: String,
    token: String,
}

/// Whether a text is such a frame.
pub(super) fn is_asked(text: &str) -> bool {
    text.starts_with(BEGINNING)
}

/// Judge what it says, for the socket that it came from.
pub(super) fn renew(listed: &Listed, text: &str) -> Renewal {
    // Not serde's own words: they may quote the token.
    let frame = serde_json::from_str::<Frame>(text)
        .map_err(|_| Invalid(r#"say {"type":"identity","token":"TOKEN"} and nothing else"#.into()));
    let edge = listed.edge();
    let verified = frame.and_then(|frame| edge.verifier.verify(&frame.token));
    let verified = verified.and_then(|verified| edge.check_revoked(&verified).map(|()| verified));
    match verified {
        Ok(verified) if verified.user.id != listed.user().id => Renewal::Never(Why::SomebodyElse),
        Ok(verified) => {
            listed.set_token(Token::of(&verified));
            let until = verified.expires_at.map(|at| format!(r#","expiresAt":{at}"#)).unwrap_or_default();
            Renewal::Until(verified.expires_at, format!(r#"{{"type":"identity"{until}}}"#))
        }
        Err(Invalid(problem)) => {
            let problem = serde_json::Value::from(problem);
            Renewal::Refused(format!(r#"{{"type":"error","code":"invalid_token","message":{problem}}}"#))
        }
    }
}
