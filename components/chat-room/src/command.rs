//! Parses the input of clients, from a socket or over HTTP.
//!
//! Only the fields named here are read: a `userId` or `userName` from a client has no effect.

use std::borrow::Cow;

use dormouse_room::json::{self, ClientError, TextField};
use dormouse_room::{Message, Request};
use serde::Deserialize;

use crate::idempotency::MessageKeys;
use crate::truncate::truncate;

/// The most bytes of a `clientId` or an `Idempotency-Key`. It bounds the storage keys that contain them.
const MAX_KEY_BYTES: usize = json::MAX_CLIENT_ID_BYTES;

/// A parsed message from a socket.
#[derive(Debug, PartialEq)]
pub(crate) enum Command<'a> {
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
    kind: TextField<'a>,
    #[serde(borrow, default)]
    content: TextField<'a>,
    #[serde(rename = "clientId", borrow, default)]
    client_id: TextField<'a>,
}

impl<'a> Command<'a> {
    pub(crate) fn parse(message: &'a Message) -> Result<Self, ClientError> {
        Self::from_fields(json::from_message(message)?).map_err(|error| error.for_message(message))
    }

    fn from_fields(fields: Fields<'a>) -> Result<Self, ClientError> {
        match fields.kind.as_str() {
            Some("message") => {
                let client_id = client_id(fields.client_id)?;
                Ok(Command::Message { content: content(fields.content)?, client_id })
            }
            Some("typing") => Ok(Command::Typing),
            Some("ping") => Ok(Command::Ping),
            Some(other) => Err(ClientError::unknown_type(other, &["message", "typing", "ping"])),
            None => Err(ClientError::new("bad_message", "type must be a string: message or typing")),
        }
    }
}

/// The parsed body and header of a POST.
#[derive(Debug, PartialEq)]
pub(crate) struct PostedMessage<'a> {
    pub(crate) content: Cow<'a, str>,
    /// The header `Idempotency-Key`, the usual way over HTTP.
    idempotency_key: Option<&'a str>,
    /// As over a socket: a client that lost its socket can send its remaining messages by POST.
    client_id: Option<Cow<'a, str>>,
}

impl<'a> PostedMessage<'a> {
    pub(crate) fn parse(request: &'a Request) -> Result<Self, ClientError> {
        Self::from_request(request).map_err(|error| error.for_body(request))
    }

    fn from_request(request: &'a Request) -> Result<Self, ClientError> {
        let idempotency_key = request.header("idempotency-key");
        if !idempotency_key.is_none_or(is_valid_key) {
            return Err(ClientError::new("bad_message", "Idempotency-Key must have 1 to 128 bytes"));
        }
        let fields: Fields = json::from_body(request)?;
        let client_id = client_id(fields.client_id)?;
        Ok(PostedMessage { content: content(fields.content)?, idempotency_key, client_id })
    }

    /// The keys that identify a retry. One of them is enough.
    pub(crate) fn keys(&self) -> MessageKeys<'_> {
        MessageKeys { client_id: self.client_id.as_deref(), idempotency_key: self.idempotency_key }
    }
}

fn content(text: TextField) -> Result<Cow<str>, ClientError> {
    let TextField::Text(text) = text else {
        return Err(ClientError::new("bad_message", "content must be a string"));
    };
    // Truncate first: the rest of a long text may be only blanks.
    let text = truncate(text);
    match text.trim().is_empty() {
        false => Ok(text),
        true => Err(ClientError::new("empty_content", "content must not be empty")),
    }
}

fn client_id(text: TextField) -> Result<Option<Cow<str>>, ClientError> {
    match text {
        TextField::Missing => Ok(None),
        TextField::Text(id) if is_valid_key(&id) => Ok(Some(id)),
        TextField::Text(_) | TextField::NotText => {
            Err(ClientError::new("bad_message", "clientId must be a string of 1 to 128 bytes"))
        }
    }
}

fn is_valid_key(text: &str) -> bool {
    (1..=MAX_KEY_BYTES).contains(&text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> ClientError {
        Command::parse(&Message::Text(text.into())).expect_err(text)
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
        let command = Command::Message { content: " hi ".into(), client_id: Some("c1".into()) };
        assert_eq!(Command::parse(&message).unwrap(), command);
    }

    #[test]
    fn the_types_of_the_protocol_are_known_and_no_other() {
        for (text, command) in
            [(r#"{"type":"typing","content":5}"#, Command::Typing), (r#"{"type": "ping"}"#, Command::Ping)]
        {
            assert_eq!(Command::parse(&Message::Text(text.into())).unwrap(), command);
        }
        assert_eq!(error_of(r#"{"type":"shout","content":"hi"}"#).code, "unknown_type");
        assert_eq!(error_of(r#"{"content":"hi"}"#).code, "bad_message");
        assert_eq!(error_of(r#"{"type":["message"],"content":"hi"}"#).code, "bad_message");
        assert_eq!(error_of("hello").code, "bad_json");
        assert_eq!(Command::parse(&Message::Binary(b"{}".into())).unwrap_err().code, "not_text");
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
            let error = error_of(&format!(r#"{{"type":"message","clientId":"c1"{content}}}"#));
            assert_eq!((error.code, error.client_id.as_deref()), (code, Some("c1")), "{content}");
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
            assert_eq!(error_of(text).client_id.as_deref(), Some("c1"), "{text}");
            let request = post(None, text.as_bytes());
            assert_eq!(PostedMessage::parse(&request).unwrap_err().client_id.as_deref(), Some("c1"), "{text}");
        }
        let keyed = post(Some(""), br#"{"content":"hi","clientId":"c1"}"#);
        assert_eq!(PostedMessage::parse(&keyed).unwrap_err().client_id.as_deref(), Some("c1"));
    }

    #[test]
    fn a_text_blank_after_truncation_is_empty() {
        let blanks = " ".repeat(2000);
        let error = error_of(&format!(r#"{{"type":"message","content":"{blanks}too late"}}"#));
        assert_eq!(error.code, "empty_content");
    }

    #[test]
    fn a_client_id_is_a_string_of_1_to_128_bytes() {
        let message_with_id =
            |id: &str| Message::Text(format!(r#"{{"type":"message","content":"hi","clientId":{id}}}"#));
        let quoted = |bytes: usize| format!("\"{}\"", "é".repeat(bytes / 2));
        assert!(Command::parse(&message_with_id(&quoted(128))).is_ok());
        for id in ["7", "null", "[]", "\"\"", &quoted(130)] {
            let error = Command::parse(&message_with_id(id)).unwrap_err();
            assert_eq!((error.code, error.client_id), ("bad_message", None), "{id}");
        }
    }

    #[test]
    fn a_post_has_content_and_idempotency_keys() {
        let keys_of = |key, body: &str| {
            let request = post(key, body.as_bytes());
            let posted = PostedMessage::parse(&request).unwrap();
            let MessageKeys { client_id, idempotency_key } = posted.keys();
            (client_id.map(str::to_owned), idempotency_key.map(str::to_owned))
        };
        let (plain, with_id) = (r#"{"content":" hi "}"#, r#"{"content":"hi","clientId":"c1"}"#);
        assert_eq!(PostedMessage::parse(&post(None, plain.as_bytes())).unwrap().content, " hi ");
        assert_eq!(keys_of(None, plain), (None, None));
        assert_eq!(keys_of(Some("k1"), plain), (None, Some("k1".into())));
        assert_eq!(keys_of(None, with_id), (Some("c1".into()), None));
        assert_eq!(keys_of(Some("k1"), with_id), (Some("c1".into()), Some("k1".into())));
    }

    #[test]
    fn a_post_without_content_is_an_error() {
        fn refused(key: Option<&str>, body: &[u8]) -> bool {
            PostedMessage::parse(&post(key, body)).is_err()
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
