//! Parses the input of clients, from a socket or over HTTP.
//!
//! Only the fields named here are read: a `userId` or `userName` from a client has no effect.

use std::borrow::Cow;

use dormouse_room::json::{self, ClientError, TextField};
use dormouse_room::{Message, Request};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::idempotency::MessageKeys;
use crate::mutes::MAX_SECONDS;
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
    /// Only for moderators.
    Delete(Target<'a>),
    Mute(MuteOrder<'a>),
    /// The host itself answers the usual spelling. This is another spelling, for example with a space.
    Ping,
}

/// A message to delete.
#[derive(Debug, PartialEq)]
pub(crate) struct Target<'a> {
    pub(crate) id: Cow<'a, str>,
    /// Its number, if the client knows it: the room then need not search.
    pub(crate) seq: Option<u64>,
}

/// A user to mute from now on, for this time. No time ends a mute.
#[derive(Debug, PartialEq)]
pub(crate) struct MuteOrder<'a> {
    pub(crate) user: Cow<'a, str>,
    pub(crate) seconds: u64,
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
        Self::from_fields(json::from_message(message)?, message).map_err(|error| error.for_message(message))
    }

    fn from_fields(fields: Fields<'a>, message: &'a Message) -> Result<Self, ClientError> {
        match fields.kind.as_str() {
            Some("message") => {
                let client_id = client_id(fields.client_id)?;
                Ok(Command::Message { content: content(fields.content)?, client_id })
            }
            Some("typing") => Ok(Command::Typing),
            Some("delete") => json::from_message::<OrderFields>(message)?.target().map(Command::Delete),
            Some("mute") => json::from_message::<OrderFields>(message)?.mute().map(Command::Mute),
            Some("ping") => Ok(Command::Ping),
            Some(other) => Err(ClientError::unknown_type(other, &["message", "typing", "delete", "mute", "ping"])),
            None => Err(ClientError::new("bad_message", "type must be a string: message or typing")),
        }
    }
}

/// The fields of the commands for moderators, which are rare: other messages are not searched for them.
#[derive(Deserialize)]
struct OrderFields<'a> {
    #[serde(borrow, default)]
    id: TextField<'a>,
    #[serde(default)]
    seq: NumberField,
    #[serde(borrow, default)]
    user: TextField<'a>,
    #[serde(default)]
    seconds: NumberField,
}

impl<'a> OrderFields<'a> {
    fn target(self) -> Result<Target<'a>, ClientError> {
        let TextField::Text(id) = self.id else {
            return Err(ClientError::new("bad_message", "id must be a string"));
        };
        match self.seq {
            NumberField::Missing => Ok(Target { id, seq: None }),
            NumberField::Number(seq) => Ok(Target { id, seq: Some(seq) }),
            NumberField::NotNumber => Err(ClientError::new("bad_message", "seq must be a whole number")),
        }
    }

    fn mute(self) -> Result<MuteOrder<'a>, ClientError> {
        let user = match self.user {
            TextField::Text(user) if is_user_id(&user) => user,
            _ => return Err(ClientError::new("bad_message", "user must be the id of a user, of 1 to 256 bytes")),
        };
        match self.seconds {
            NumberField::Number(seconds @ 0..=MAX_SECONDS) => Ok(MuteOrder { user, seconds }),
            _ => Err(ClientError::new("bad_message", format!("seconds must be 0 to {MAX_SECONDS}"))),
        }
    }
}

/// The body of POST /mutes.
pub(crate) fn posted_mute(request: &Request) -> Result<MuteOrder<'_>, ClientError> {
    json::from_body::<OrderFields>(request)?.mute().map_err(|error| error.for_body(request))
}

/// The longest id that the host gives a user, in bytes.
const MAX_USER_BYTES: usize = 256;

/// Whether a user can have this id. It bounds the storage keys and the frames that contain it.
pub(crate) fn is_user_id(text: &str) -> bool {
    (1..=MAX_USER_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Whether a message of this room can have this id.
pub(crate) fn is_message_id(text: &str) -> bool {
    let is_uuid_byte = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    text.len() == 36 && text.bytes().all(is_uuid_byte)
}

/// A field that should be a whole number. Reading it never fails, as with [`TextField`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum NumberField {
    #[default]
    Missing,
    Number(u64),
    NotNumber,
}

impl<'de> Deserialize<'de> for NumberField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(value.as_u64().map_or(NumberField::NotNumber, NumberField::Number))
    }
}

/// The parsed body and header of a POST.
#[derive(Debug, PartialEq)]
pub(crate) struct PostedMessage<'a> {
    pub(crate) content: Cow<'a, str>,
    /// The header `Idempotency-Key`, the usual way over HTTP.
    idempotency_key: Option<Cow<'a, str>>,
    /// As over a socket: a client that lost its socket can send its remaining messages by POST.
    client_id: Option<Cow<'a, str>>,
}

impl<'a> PostedMessage<'a> {
    pub(crate) fn parse(request: &'a Request) -> Result<Self, ClientError> {
        Self::from_request(request).map_err(|error| error.for_body(request))
    }

    fn from_request(request: &'a Request) -> Result<Self, ClientError> {
        let idempotency_key = request.header("idempotency-key").map(idempotency_key).transpose()?;
        let fields: Fields = json::from_body(request)?;
        let client_id = client_id(fields.client_id)?;
        Ok(PostedMessage { content: content(fields.content)?, idempotency_key, client_id })
    }

    /// The keys that identify a retry. One of them is enough.
    pub(crate) fn keys(&self) -> MessageKeys<'_> {
        MessageKeys { client_id: self.client_id.as_deref(), idempotency_key: self.idempotency_key.as_deref() }
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

/// The key in a value of the header. The draft of the IETF has a string in quotes (RFC 9651, 3.3.3); most clients leave
/// the quotes out, which means the same.
fn idempotency_key(value: &str) -> Result<Cow<'_, str>, ClientError> {
    let key = match value.strip_prefix('"') {
        Some(string) => unquoted(string).map(Cow::Owned),
        None => Some(Cow::Borrowed(value)),
    };
    // The host puts U+FFFD in the place of bytes that are no UTF-8, so different keys could become the same.
    key.filter(|key| is_valid_key(key) && !key.contains(char::REPLACEMENT_CHARACTER)).ok_or_else(|| {
        let problem = "Idempotency-Key must be a string in quotes, or a text without them, of 1 to 128 bytes";
        ClientError::new("bad_message", problem)
    })
}

/// The text of a string whose first quote is taken off; absent if it is malformed. Parameters behind it have no
/// meaning.
fn unquoted(string: &str) -> Option<String> {
    let mut chars = string.chars();
    let mut text = String::new();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => text.push(chars.next().filter(|char| matches!(char, '"' | '\\'))?),
            char @ ' '..='~' => text.push(char),
            _ => return None,
        }
    }
    let rest = chars.as_str().trim_start();
    (rest.is_empty() || rest.starts_with(';')).then_some(text)
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
    fn a_moderator_names_a_message_or_a_user() {
        let id = "0b9d6e5c-0000-4000-8000-00000000000a";
        for (text, command) in [
            (format!(r#"{{"type":"delete","id":"{id}"}}"#), Command::Delete(Target { id: id.into(), seq: None })),
            (
                format!(r#"{{"type":"delete","id":"{id}","seq":7}}"#),
                Command::Delete(Target { id: id.into(), seq: Some(7) }),
            ),
            (
                r#"{"type":"mute","user":"u1","seconds":0}"#.into(),
                Command::Mute(MuteOrder { user: "u1".into(), seconds: 0 }),
            ),
            (
                r#"{"seconds":2592000,"user":"a\"b","type":"mute"}"#.into(),
                Command::Mute(MuteOrder { user: "a\"b".into(), seconds: MAX_SECONDS }),
            ),
        ] {
            assert_eq!(Command::parse(&Message::Text(text.clone())).unwrap(), command, "{text}");
        }
        let long = format!(r#"{{"type":"mute","user":"{}","seconds":1}}"#, "u".repeat(257));
        for text in [
            r#"{"type":"delete"}"#,
            r#"{"type":"delete","id":7}"#,
            r#"{"type":"delete","id":"i","seq":"7"}"#,
            r#"{"type":"delete","id":"i","seq":-1}"#,
            r#"{"type":"delete","id":"i","seq":1.5}"#,
            r#"{"type":"mute","seconds":1}"#,
            r#"{"type":"mute","user":"","seconds":1}"#,
            r#"{"type":"mute","user":"a\nb","seconds":1}"#,
            r#"{"type":"mute","user":"u1"}"#,
            r#"{"type":"mute","user":"u1","seconds":"60"}"#,
            r#"{"type":"mute","user":"u1","seconds":-1}"#,
            r#"{"type":"mute","user":"u1","seconds":2592001}"#,
            &long,
        ] {
            assert_eq!(error_of(text).code, "bad_message", "{text:.80}");
        }
        assert_eq!(error_of(r#"{"type":"delete","clientId":"c1"}"#).client_id.as_deref(), Some("c1"));
    }

    #[test]
    fn an_id_of_a_message_is_a_uuid() {
        assert!(is_message_id("0b9d6e5c-0000-4000-8000-00000000000a"));
        for id in ["", "i", "0b9d6e5c-0000-4000-8000-00000000000", "0b9d6e5c-0000-4000-8000-00000000000\""] {
            assert!(!is_message_id(id), "{id}");
        }
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
        for id in ["7", "null", "[]", "\"\"", r#""\ud83d""#, r#""\udc00""#, &quoted(130)] {
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
    fn an_idempotency_key_may_be_a_string_in_quotes() {
        let key_of = |value: &str| {
            let request = post(Some(value), br#"{"content":"hi"}"#);
            PostedMessage::parse(&request).map(|posted| posted.keys().idempotency_key.map(str::to_owned))
        };
        for (value, key) in [
            ("k1", "k1"),
            (r#""k1""#, "k1"),
            (r#""k1";a=1"#, "k1"),
            (r#""a \"b\" \\""#, r#"a "b" \"#),
            ("a\"b", "a\"b"),
            ("clé", "clé"),
            (&format!("\"{}\"", "k".repeat(128)), &"k".repeat(128)),
        ] {
            assert_eq!(key_of(value).unwrap().as_deref(), Some(key), "{value}");
        }
        let long = format!("\"{}\"", "k".repeat(129));
        for value in [r#"""#, r#""""#, r#""k1"#, r#""k1"x"#, r#""k\1""#, r#""k1\"#, "\"clé\"", "k\u{fffd}", &long] {
            assert_eq!(key_of(value).unwrap_err().code, "bad_message", "{value}");
        }
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
