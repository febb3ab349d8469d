//! A new token for an open WebSocket, so that it need not close when the old one expires.
//!
//! The client sends `{"type":"identity","token":"…"}` and gets an answer of the same type. The frame ends here, because
//! no room may see a token. It is recognised by its meaning and not by its spelling: spaces, the order of members,
//! repeated members and escaped letters do not matter. A malformed frame of this type is refused here as well, so that
//! its token goes no further.

use serde::Deserialize;

use super::close::CloseReason;
use super::registry::{Registration, TokenIdentity};
use crate::edge::identity::verified::{Invalid, Verified};
use crate::edge::identity::verifier::{TOKEN_BYTES, Verifier};

/// The member that holds a frame's type, and the type of these frames.
const TYPE: &[u8] = b"type";
const IDENTITY: &str = "identity";
/// The start of an escaped ASCII letter. Ordinary text has other escapes, or none.
const ESCAPED_LETTER: &str = r"\u00";
/// The longest such frame: a token and the JSON around it. It may be longer than the messages that the room takes.
pub(in crate::edge) const FRAME_BYTES: usize = TOKEN_BYTES + 256;

/// The outcome of a renewal.
pub(in crate::edge) enum Renewal {
    /// The new token is accepted.
    Accepted {
        /// The user of the token, with its claims and grants.
        verified: Verified,
        /// The answer.
        answer: String,
    },
    /// The token is refused and nothing changes; the text is the error frame.
    Refused(String),
    /// The connection must be closed.
    Never(CloseReason),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame {
    #[serde(rename = "type")]
    _kind: String,
    token: String,
}

/// Returns whether a text is such a frame. This runs for every message of every client, so it begins with two quick
/// searches that almost no other message passes.
pub(in crate::edge) fn is_asked(text: &str) -> bool {
    let text = text.trim_start_matches(|first: char| first.is_ascii_whitespace() || first == '\u{feff}');
    text.starts_with('{') && (text.contains(IDENTITY) || text.contains(ESCAPED_LETTER)) && has_type(text.as_bytes())
}

/// The same for bytes, since a client may send it as a binary message.
pub(in crate::edge) fn is_asked_in(bytes: &[u8]) -> Option<&str> {
    let may_be =
        bytes.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|first| matches!(first, b'{' | 0xef));
    may_be.then(|| std::str::from_utf8(bytes).ok()).flatten().filter(|text| is_asked(text))
}

/// Returns whether an object has a member `type` with the value `verifier`, at its own level. It need not be complete
/// or valid JSON, because a room may parse less strictly.
fn has_type(text: &[u8]) -> bool {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let (name, behind) = string(text, at);
                at = behind;
                if depth != 1 || !means(name, TYPE) {
                    continue;
                }
                let colon = skip_spaces(text, behind);
                let value = skip_spaces(text, colon + 1);
                if text.get(colon) == Some(&b':') && text.get(value) == Some(&b'"') {
                    let (value, behind) = string(text, value + 1);
                    at = behind;
                    if means(value, IDENTITY.as_bytes()) {
                        return true;
                    }
                }
            }
            _ => {}
        }
    }
    false
}

/// The content of a string that begins here, and the position after it. An unterminated string goes to the end of the
/// text.
fn string(text: &[u8], start: usize) -> (&[u8], usize) {
    let mut at = start;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return (&text[start..at], at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    (text.get(start..).unwrap_or_default(), text.len())
}

fn skip_spaces(text: &[u8], start: usize) -> usize {
    let spaces = text.get(start..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_whitespace());
    start + spaces.count()
}

/// Returns whether a string's raw content, with its escapes, equals a word of ASCII letters.
fn means(mut raw: &[u8], word: &[u8]) -> bool {
    for letter in word {
        let (read, rest) = match raw {
            [b'\\', b'u' | b'U', code @ ..] if code.len() >= 4 => (code_point(&code[..4]), &code[4..]),
            [byte, rest @ ..] => (Some(u32::from(*byte)), rest),
            [] => return false,
        };
        if read != Some(u32::from(*letter)) {
            return false;
        }
        raw = rest;
    }
    raw.is_empty()
}

fn code_point(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok())
}

/// Judges such a frame for the socket that sent it.
pub(in crate::edge) fn renew(verifier: &Verifier, registration: &Registration, text: &str) -> Renewal {
    // serde's own error might quote the token.
    let frame = serde_json::from_str::<Frame>(text)
        .map_err(|_| Invalid(r#"say {"type":"identity","token":"TOKEN"} and nothing else"#.into()));
    let verified = frame.and_then(|frame| verifier.verify(&frame.token));
    let verified = verified.and_then(|verified| verified.check_revoked(registration.revocations()).map(|()| verified));
    match verified {
        Ok(verified) => {
            let Some(verified) = registration.renewed(verified) else {
                return Renewal::Never(CloseReason::SomebodyElse);
            };
            registration.set_token(TokenIdentity::of(&verified));
            let until = verified.expires_at.map(|at| format!(r#","expiresAt":{at}"#)).unwrap_or_default();
            let answer = format!(r#"{{"type":"identity"{until}}}"#);
            Renewal::Accepted { verified, answer }
        }
        Err(Invalid(problem)) => {
            let problem = serde_json::Value::from(problem);
            Renewal::Refused(format!(r#"{{"type":"error","code":"invalid_token","message":{problem}}}"#))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_frame_is_recognised_by_its_parsed_type() {
        for frame in [
            r#"{"type":"identity","token":"x"}"#,
            r#"{"type": "identity", "token": "x"}"#,
            r#"{"token":"x","type":"identity"}"#,
            " \t\r\n{ \"token\" : \"x\" ,\n\"type\"\t:\r\"identity\" } ",
            "\u{feff}{\"type\":\"identity\"}",
            r#"{"\u0074ype":"identity","\u0074oken":"x"}"#,
            r#"{"type":"\u0069\u0064\u0065\u006E\u0074\u0069\u0074\u0079","token":"x"}"#,
            r#"{"\u0074\u0079\u0070\u0065":"\u0069dentity","token":"x"}"#,
            r#"{"type":"message","type":"identity","token":"x"}"#,
            r#"{"type":"identity","type":"message","token":"x"}"#,
            r#"{"type":7,"type":"identity","token":"x"}"#,
            r#"{"a":{"b":["c","}"]},"type":"identity","token":"x"}"#,
            r#"{"a":"\"}","b":"\\","type":"identity","token":"x"}"#,
            r#"{"a":"\ud83d","type":"identity","token":"x"}"#,
            // Not valid JSON, but a lenient room may still find a token in it.
            r#"{"type":"identity","token":"x""#,
            r#"{"type":"identity","token":"x",}"#,
            r#"{"token":"x","type":"identity"#,
            r#"{,"type":"identity" "token":"x"}"#,
        ] {
            assert!(is_asked(frame), "{frame}");
            assert!(is_asked_in(frame.as_bytes()).is_some(), "{frame}");
        }
    }

    #[test]
    fn a_frame_that_only_mentions_an_identity_is_a_message() {
        for message in [
            "",
            "{",
            "identity",
            r#""identity""#,
            r#"{"type":"message","content":"identity"}"#,
            r#"{"type":"message","content":"{\"type\":\"identity\"}"}"#,
            r#"{"type":"message","content":"caf\u00e9"}"#,
            r#"{"type":"message","data":{"type":"identity"}}"#,
            r#"{"type":"message","data":[{"type":"identity"}]}"#,
            r#"{"type":"identity-card"}"#,
            r#"{"type":["identity"]}"#,
            r#"{"types":"identity"}"#,
            r#"{"a":"type","b":"identity"}"#,
            r#"{"type":"iden","b":"tity identity"}"#,
            r#"{"type":"\u0069dentit"}"#,
            r#"{"type":"\u00"#,
            r#"{"type":"\"#,
            r#"[{"type":"identity"}]"#,
        ] {
            assert!(!is_asked(message), "{message}");
            assert!(is_asked_in(message.as_bytes()).is_none(), "{message}");
        }
        assert!(is_asked_in(b"\xff\xfe").is_none() && is_asked_in(b"{\"type\":\"identity\",\"\xff\":1}").is_none());
    }
}

#[cfg(test)]
mod fuzz {
    use dormouse_fuzz::{fuzz, mutated};
    use serde_json::Value;

    use super::*;

    /// However a frame is mutated: if JSON parses it as such a frame, it is recognised, and nothing panics.
    #[test]
    fn identity_frames_are_recognised_in_any_json_form() {
        const EXAMPLES: [&[u8]; 4] = [
            br#"{"type":"identity","token":"x"}"#,
            br#"{ "token" : "\u0078", "\u0074ype" : "\u0069dentity" }"#,
            br#"{"a":["}",{"type":"message"}],"type":"identity","type":"identity"}"#,
            br#"{"type":"message","content":"\"type\":\"identity\" caf\u00e9 \ud83d\ude00"}"#,
        ];
        fuzz(mutated(&EXAMPLES), |bytes| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let asked = is_asked(&text);
            assert_eq!(is_asked_in(text.as_bytes()).is_some(), asked);
            if let Ok(Value::Object(object)) = serde_json::from_str::<Value>(&text)
                && object.get("type").is_some_and(|kind| kind == IDENTITY)
            {
                assert!(asked, "{text:?}");
            }
        });
    }
}
