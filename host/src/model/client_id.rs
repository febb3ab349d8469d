//! The `clientId` that a client may put into a message. The host reads it only to repeat it in its own errors, so that
//! the client knows which message failed.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Message, Permission};

/// The longest `clientId` that is repeated, in bytes: a UUID has 36.
const CLIENT_ID_BYTES: usize = 128;

/// The longest message that is searched for a `clientId`, in bytes. Messages of the shipped rooms are far shorter.
pub const LOOKED_INTO_BYTES: usize = 64 << 10;

/// The error for a message whose sender lacks a permission.
pub fn forbidden_frame(missing: Permission, about: &Message) -> String {
    let about = match about {
        Message::Text(text) => Some(text.as_str()),
        Message::Binary(_) => None,
    };
    let text = format!("sending here needs the permission `{missing}`");
    frame("forbidden", &text, Some(missing.name()), about)
}

/// An error of the host as a text message to the client. `about` is the message that it concerns.
pub fn error_frame(code: &str, message: &str, about: Option<&str>) -> String {
    frame(code, message, None, about)
}

fn frame(code: &str, message: &str, permission: Option<&str>, about: Option<&str>) -> String {
    #[derive(Serialize)]
    #[serde(tag = "type", rename = "error")]
    struct Frame<'a> {
        code: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        permission: Option<&'a str>,
        #[serde(rename = "clientId", skip_serializing_if = "Option::is_none")]
        client_id: Option<String>,
    }

    let frame = Frame { code, message, permission, client_id: about.and_then(client_id) };
    serde_json::to_string(&frame).expect("a struct of strings is JSON")
}

/// The `clientId` of a JSON object, if it has one.
fn client_id(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow, rename = "clientId")]
        client_id: Cow<'a, str>,
    }

    // Most messages outside of chats have none, and a search for the letters is cheaper than parsing.
    if text.len() > LOOKED_INTO_BYTES || !text.contains("clientId") {
        return None;
    }
    let named = serde_json::from_str::<Named>(text).ok()?;
    (1..=CLIENT_ID_BYTES).contains(&named.client_id.len()).then(|| named.client_id.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_message_if_that_has_a_name() {
        let named = |about| {
            let frame: serde_json::Value = serde_json::from_str(&error_frame("code", "why", about)).unwrap();
            assert_eq!(
                (&frame["type"], &frame["code"], &frame["message"]),
                (&"error".into(), &"code".into(), &"why".into())
            );
            frame.get("clientId").and_then(|id| id.as_str()).map(str::to_owned)
        };
        assert_eq!(named(Some(r#"{"type":"message","content":[{}],"clientId":"c1"}"#)).as_deref(), Some("c1"));
        assert_eq!(named(Some(r#"{"clientId":"\u00e9\""}"#)).as_deref(), Some("é\""));
        let long = format!(r#"{{"clientId":"{}"}}"#, "c".repeat(129));
        let large = format!(r#"{{"clientId":"c1","content":"{}"}}"#, "x".repeat(LOOKED_INTO_BYTES));
        for other in ["", "clientId", "{}", r#"{"clientId":7}"#, r#"{"clientId":""}"#, &long, &large] {
            assert_eq!(named(Some(other)), None, "{other:.80}");
        }
        assert_eq!(named(None), None);
    }
}
