//! Parses the input of clients, from a socket or over HTTP.
//!
//! Only the fields named here are read: a `userId` or `userName` from a client has no effect.

use std::borrow::Cow;

use dormouse_room::json::{self, Complaint, Text};
use dormouse_room::{Message, Request};
use serde::Deserialize;

use crate::idempotency::Names;
use crate::truncate::cut;

/// The most bytes of a `clientId` or an `Idempotency-Key`. It bounds the storage keys that contain them.
const MAX_NAME_BYTES: usize = json::CLIENT_ID_BYTES;

/// A parsed message from a socket.
#[derive(Debug, PartialEq)]
pub(crate) enum Said<'a> {
    Message {
        content: Cow<'a, str>,
        client_id: Option<Cow<'a, str>>,
    },
    Typing,
    /// The host itself answers the usual spelling. This is another spelling, for example with a space.
    Ping,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    content: Text<'a>,
    #[serde(rename = "clientId", borrow, default)]
    client_id: Text<'a>,
}

impl<'a> Said<'a> {
    pub(crate) fn read(message: &'a Message) -> Result<Self, Complaint> {
        Self::of(json::object(message)?).map_err(|complaint| complaint.about(message))
    }

    fn of(fields: Fields<'a>) -> Result<Self, Complaint> {
        match fields.kind.as_str() {
            Some("message") => {
                let client_id = client_id(fields.client_id)?;
                Ok(Said::Message { content: content(fields.content)?, client_id })
            }
            Some("typing") => Ok(Said::Typing),
            Some("ping") => Ok(Said::Ping),
            Some(other) => Err(Complaint::unknown_type(other, &["message", "typing", "ping"])),
            None => Err(Complaint::new("bad_message", "type must be a string: message or typing")),
        }
    }
}

/// The parsed body and header of a POST.
#[derive(Debug, PartialEq)]
pub(crate) struct Posted<'a> {
    pub(crate) content: Cow<'a, str>,
    /// The header `Idempotency-Key`, the usual way over HTTP.
    idempotency_key: Option<&'a str>,
    /// As over a socket: a client that lost its socket can send its remaining messages by POST.
    client_id: Option<Cow<'a, str>>,
}

impl<'a> Posted<'a> {
    pub(crate) fn read(request: &'a Request) -> Result<Self, Complaint> {
        Self::of(request).map_err(|complaint| complaint.about_body(request))
    }

    fn of(request: &'a Request) -> Result<Self, Complaint> {
        let idempotency_key = request.header("idempotency-key");
        if !idempotency_key.is_none_or(is_name) {
            return Err(Complaint::new("bad_message", "Idempotency-Key must have 1 to 128 bytes"));
        }
        let fields: Fields = json::body(request)?;
        let client_id = client_id(fields.client_id)?;
        Ok(Posted { content: content(fields.content)?, idempotency_key, client_id })
    }

    /// The names that identify a retry. One of them is enough.
    pub(crate) fn names(&self) -> Names<'_> {
        Names { client_id: self.client_id.as_deref(), idempotency_key: self.idempotency_key }
    }
}

fn content(text: Text) -> Result<Cow<str>, Complaint> {
    let Text::Is(text) = text else {
        return Err(Complaint::new("bad_message", "content must be a string"));
    };
    // Cut first: the rest of a long text may be only blanks.
    let text = cut(text);
    match text.trim().is_empty() {
        false => Ok(text),
        true => Err(Complaint::new("empty_content", "content must not be empty")),
    }
}

fn client_id(text: Text) -> Result<Option<Cow<str>>, Complaint> {
    match text {
        Text::Missing => Ok(None),
        Text::Is(id) if is_name(&id) => Ok(Some(id)),
        Text::Is(_) | Text::NotText => {
            Err(Complaint::new("bad_message", "clientId must be a string of 1 to 128 bytes"))
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> Complaint {
        Said::read(&Message::Text(text.into())).expect_err(text)
    }

    fn post(key: Option<&str>, body: &[u8]) -> Request {
        Request {
            method: "POST".into(),
            path: "/messages".into(),
            query: None,
            headers: key.map(|key| ("idempotency-key".into(), key.into())).into_iter().collect(),
            body: body.into(),
            user: None,
        }
    }

    #[test]
    fn a_message_is_its_content_as_sent_and_its_client_id() {
        let message = Message::Text(r#"{"type":"message","content":" hi ","clientId":"c1","userId":"eve"}"#.into());
        let said = Said::Message { content: " hi ".into(), client_id: Some("c1".into()) };
        assert_eq!(Said::read(&message).unwrap(), said);
    }

    #[test]
    fn the_types_of_the_protocol_are_known_and_no_other() {
        for (text, said) in [(r#"{"type":"typing","content":5}"#, Said::Typing), (r#"{"type": "ping"}"#, Said::Ping)] {
            assert_eq!(Said::read(&Message::Text(text.into())).unwrap(), said);
        }
        assert_eq!(complaint(r#"{"type":"shout","content":"hi"}"#).code, "unknown_type");
        assert_eq!(complaint(r#"{"content":"hi"}"#).code, "bad_message");
        assert_eq!(complaint(r#"{"type":["message"],"content":"hi"}"#).code, "bad_message");
        assert_eq!(complaint("hello").code, "bad_json");
        assert_eq!(Said::read(&Message::Binary(b"{}".into())).unwrap_err().code, "not_text");
    }

    #[test]
    fn an_error_about_missing_content_has_the_client_id() {
        for (content, code) in [
            ("", "bad_message"),
            (r#","content":null"#, "bad_message"),
            (r#","content":{"a":1}"#, "bad_message"),
            (r#","content":"""#, "empty_content"),
            (r#","content":" \n\t ""#, "empty_content"),
        ] {
            let complaint = complaint(&format!(r#"{{"type":"message","clientId":"c1"{content}}}"#));
            assert_eq!((complaint.code, complaint.client_id.as_deref()), (code, Some("c1")), "{content}");
        }
    }

    #[test]
    fn every_error_has_the_client_id_that_can_be_found() {
        for text in [
            r#"{"type":"typo","clientId":"c1"}"#,
            r#"{"clientId":"c1"}"#,
            r#"{"type":"message","content":"a","content":"b","clientId":"c1"}"#,
            r#"{"type":"message","clientId":"c1","content":"cut o"#,
        ] {
            assert_eq!(complaint(text).client_id.as_deref(), Some("c1"), "{text}");
            let request = post(None, text.as_bytes());
            assert_eq!(Posted::read(&request).unwrap_err().client_id.as_deref(), Some("c1"), "{text}");
        }
        let keyed = post(Some(""), br#"{"content":"hi","clientId":"c1"}"#);
        assert_eq!(Posted::read(&keyed).unwrap_err().client_id.as_deref(), Some("c1"));
    }

    #[test]
    fn a_text_blank_after_truncation_is_empty() {
        let blanks = " ".repeat(2000);
        let complaint = complaint(&format!(r#"{{"type":"message","content":"{blanks}too late"}}"#));
        assert_eq!(complaint.code, "empty_content");
    }

    #[test]
    fn a_client_id_is_a_string_of_1_to_128_bytes() {
        let with = |id: &str| Message::Text(format!(r#"{{"type":"message","content":"hi","clientId":{id}}}"#));
        let quoted = |bytes: usize| format!("\"{}\"", "é".repeat(bytes / 2));
        assert!(Said::read(&with(&quoted(128))).is_ok());
        for id in ["7", "null", "[]", "\"\"", &quoted(130)] {
            let complaint = Said::read(&with(id)).unwrap_err();
            assert_eq!((complaint.code, complaint.client_id), ("bad_message", None), "{id}");
        }
    }

    #[test]
    fn a_post_has_content_and_idempotency_keys() {
        let named = |key, body: &str| {
            let request = post(key, body.as_bytes());
            let posted = Posted::read(&request).unwrap();
            let Names { client_id, idempotency_key } = posted.names();
            (client_id.map(str::to_owned), idempotency_key.map(str::to_owned))
        };
        let (plain, with_id) = (r#"{"content":" hi "}"#, r#"{"content":"hi","clientId":"c1"}"#);
        assert_eq!(Posted::read(&post(None, plain.as_bytes())).unwrap().content, " hi ");
        assert_eq!(named(None, plain), (None, None));
        assert_eq!(named(Some("k1"), plain), (None, Some("k1".into())));
        assert_eq!(named(None, with_id), (Some("c1".into()), None));
        assert_eq!(named(Some("k1"), with_id), (Some("c1".into()), Some("k1".into())));
    }

    #[test]
    fn a_post_without_content_is_an_error() {
        fn refused(key: Option<&str>, body: &[u8]) -> bool {
            Posted::read(&post(key, body)).is_err()
        }
        for body in [&b"\xff"[..], b"", b"hi", b"[\"hi\"]", b"{}", br#"{"content":1}"#, br#"{"content":"  "}"#] {
            assert!(refused(None, body), "{}", body.escape_ascii());
        }
        for body in [r#"{"content":"hi","clientId":""}"#, r#"{"content":"hi","clientId":7}"#] {
            assert!(refused(None, body.as_bytes()), "{body}");
        }
        for key in ["", &"k".repeat(129)] {
            assert!(refused(Some(key), br#"{"content":"hi"}"#), "{key}");
        }
        assert!(!refused(Some(&"k".repeat(128)), br#"{"content":"hi"}"#));
    }
}
