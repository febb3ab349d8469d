//! The wire protocol: the JSON that clients send and get, and its frames.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use tungstenite::Message;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// The heartbeat of a client, and the answer.
const PING: &str = r#"{"type":"ping"}"#;
const PONG: &str = r#"{"type":"pong"}"#;
/// The most a message may hold, in UTF-16 code units: what JavaScript's `length` says.
const MAX_CONTENT_UNITS: usize = 2_000;
/// The most bytes of a `clientId`.
const CLIENT_ID_BYTES: usize = 128;
/// The text of a message frame before the ChatMessage, and after it.
const FRAME_START: &str = r#"{"type":"message","message":"#;
const FRAME_END: &str = "}";

/// The sender.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// A command of a client to its room.
pub(crate) enum Command<'a> {
    Message { content: Cow<'a, str>, client_id: Option<Cow<'a, str>> },
    Typing,
    Ping,
}

/// An error in a command of a client.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "error", rename_all = "camelCase")]
pub(crate) struct ClientError {
    code: &'static str,
    pub(crate) message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
}

/// A broadcast to all clients, or to the others.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum Broadcast<'a> {
    UserJoined { user_id: &'a str, user_name: &'a str, timestamp: u64 },
    UserLeft { user_id: &'a str, user_name: &'a str, timestamp: u64 },
    Typing { user_id: &'a str, user_name: &'a str },
}

/// A frame that a client may send. Its `userId` and `userName` are not read.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(rename = "clientId", borrow)]
    client_id: Option<Text<'a>>,
}

/// A string, borrowed from the message where no escape stands in the way.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Command<'a> {
    /// Read what came over a socket.
    pub(crate) fn parse(message: &'a Message) -> Result<Self, ClientError> {
        let Message::Text(text) = message else {
            return Err(ClientError::new("not_text", "send JSON in a text message, not in a binary one"));
        };
        if text.as_str() == PING {
            return Ok(Command::Ping);
        }
        let fields = Fields::read(text)?;
        match fields.kind.as_ref().map(|kind| &*kind.0) {
            Some("message") => {
                let client_id = fields.client_id.map(|id| id.0);
                if client_id.as_ref().is_some_and(|id| !(1..=CLIENT_ID_BYTES).contains(&id.len())) {
                    return Err(ClientError::new("bad_message", "clientId must be a string of 1 to 128 bytes"));
                }
                match content(fields.content) {
                    Ok(content) => Ok(Command::Message { content, client_id }),
                    Err(error) => Err(ClientError { client_id: client_id.map(Cow::into_owned), ..error }),
                }
            }
            Some("typing") => Ok(Command::Typing),
            Some("ping") => Ok(Command::Ping),
            Some(_) => Err(ClientError::new("unknown_type", "type must be message or typing")),
            None => Err(ClientError::new("bad_message", "type must be a string: message or typing")),
        }
    }
}

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Self, ClientError> {
        // Without this look ahead, a derived `Deserialize` takes an array for an object's fields in order.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(ClientError::new("bad_json", "this is not a JSON object"));
        }
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => ClientError::new("bad_message", "this has a field twice, or one of the wrong type"),
            Category::Syntax | Category::Eof | Category::Io => {
                ClientError::new("bad_json", "this is not a JSON object")
            }
        })
    }
}

impl ClientError {
    fn new(code: &'static str, message: &'static str) -> Self {
        ClientError { code, message, client_id: None }
    }
}

/// The content of a POST.
pub(crate) fn posted(body: &[u8]) -> Result<Cow<'_, str>, ClientError> {
    let text = std::str::from_utf8(body).map_err(|_| ClientError::new("bad_json", "this is not UTF-8"))?;
    content(Fields::read(text)?.content)
}

fn content(text: Option<Text>) -> Result<Cow<str>, ClientError> {
    let Some(Text(text)) = text else {
        return Err(ClientError::new("bad_message", "content must be a string"));
    };
    // Cut first: what is left of a long text may be nothing but blanks.
    let text = truncate(text);
    match text.trim().is_empty() {
        false => Ok(text),
        true => Err(ClientError::new("empty_content", "content must not be empty")),
    }
}

/// The beginning of a text, as much as a message may hold, never inside a surrogate pair.
fn truncate(text: Cow<'_, str>) -> Cow<'_, str> {
    // No character has more units than bytes, so most messages need no counting.
    if text.len() <= MAX_CONTENT_UNITS {
        return text;
    }
    let mut units = 0;
    let too_far = |(_, character): &(usize, char)| {
        units += character.len_utf16();
        units > MAX_CONTENT_UNITS
    };
    match (text.char_indices().find(too_far), text) {
        (None, text) => text,
        (Some((end, _)), Cow::Borrowed(text)) => Cow::Borrowed(&text[..end]),
        (Some((end, _)), Cow::Owned(mut text)) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

/// A ChatMessage.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChatMessage<'a> {
    id: &'a str,
    user_id: &'a str,
    user_name: &'a str,
    content: &'a str,
    timestamp: u64,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
}

/// A new message.
pub(crate) struct NewMessage {
    /// The frame that tells it.
    pub(crate) frame: Bytes,
    /// The ChatMessage alone: a piece of the frame.
    pub(crate) message: Bytes,
}

impl NewMessage {
    pub(crate) fn new(user: &User, content: &str, seq: u64, client_id: Option<&str>) -> Self {
        #[derive(Serialize)]
        struct Frame<'a> {
            r#type: &'static str,
            message: ChatMessage<'a>,
        }
        // The thread's own generator: a system call for each message would be dear, and an id promises no secret.
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        let mut id_text = uuid::Uuid::encode_buffer();
        let message = ChatMessage {
            id: id.hyphenated().encode_lower(&mut id_text),
            user_id: &user.id,
            user_name: &user.name,
            content,
            timestamp: now(),
            seq,
            client_id,
        };
        let json = json(&Frame { r#type: "message", message });
        let frame = frame(&json);
        let begin = frame.len() - json.len() + FRAME_START.len();
        let message = frame.slice(begin..frame.len() - FRAME_END.len());
        NewMessage { frame, message }
    }
}

/// A frame to one socket, or to several.
pub(crate) fn encode(value: &impl Serialize) -> Bytes {
    frame(&json(value))
}

/// The answer to a ping.
pub(crate) fn pong() -> Bytes {
    frame(PONG.as_bytes())
}

/// The first frame of a socket.
pub(crate) fn history<'a>(messages: impl Iterator<Item = &'a Bytes>) -> Bytes {
    frame(&list(r#"{"type":"history","messages":["#, messages))
}

/// The answer to GET /messages.
pub(crate) fn messages<'a>(messages: impl Iterator<Item = &'a Bytes>) -> Bytes {
    list(r#"{"messages":["#, messages).into()
}

/// The answer to POST /messages.
pub(crate) fn success(message: &[u8]) -> Bytes {
    [br#"{"success":true,"message":"#, message, b"}"].concat().into()
}

fn list<'a>(begin: &str, messages: impl Iterator<Item = &'a Bytes>) -> Vec<u8> {
    let mut json = begin.as_bytes().to_vec();
    for (at, message) in messages.enumerate() {
        if at > 0 {
            json.push(b',');
        }
        json.extend_from_slice(message);
    }
    json.extend_from_slice(b"]}");
    json
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and numbers are always JSON")
}

/// A text as one frame: header and payload in one buffer that all its receivers share.
fn frame(text: &[u8]) -> Bytes {
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
    let length = text.len() as u64;
    let mut frame = BytesMut::with_capacity(header.len(length) + text.len()).writer();
    header.format(length, &mut frame).expect("a buffer that grows takes all bytes");
    let mut frame = frame.into_inner();
    frame.put_slice(text);
    frame.freeze()
}

/// Now, in Unix milliseconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_fields_of_the_protocol() {
        let user = User { id: "u\"1".into(), name: "Ana".into() };
        let NewMessage { frame, message } = NewMessage::new(&user, "hi\n🐭", 7, Some("c1"));
        assert_eq!((&frame[..2], &frame[4..4 + FRAME_START.len()]), (&b"\x81\x7e"[..], FRAME_START.as_bytes()));
        assert_eq!(frame[4..], *[FRAME_START.as_bytes(), &message, FRAME_END.as_bytes()].concat());
        let text = std::str::from_utf8(&message).unwrap();
        let (id, rest) = text.strip_prefix(r#"{"id":""#).unwrap().split_at(36);
        assert_eq!(&id[14..15], "4", "a random uuid");
        let fields = r#"","userId":"u\"1","userName":"Ana","content":"hi\n🐭","timestamp":"#;
        let rest = rest.strip_prefix(fields).unwrap().trim_start_matches(|digit: char| digit.is_ascii_digit());
        assert_eq!(rest, r#","seq":7,"clientId":"c1"}"#);
    }

    #[test]
    fn any_input_is_parsed_or_an_error() {
        let code = |text: &str| Command::parse(&Message::Text(text.into())).err().map(|error| error.code);
        assert_eq!(code(r#"{"type":"message","content":"hi","userId":"eve"}"#), None);
        assert_eq!(code(r#"{ "type": "ping" }"#), None);
        assert_eq!(code("hello"), Some("bad_json"));
        assert_eq!(code(r#"["message","hi"]"#), Some("bad_json"));
        assert_eq!(code(r#"{"content":"hi"}"#), Some("bad_message"));
        assert_eq!(code(r#"{"type":"message","content":5}"#), Some("bad_message"));
        assert_eq!(code(r#"{"type":"shout"}"#), Some("unknown_type"));
        assert_eq!(code(r#"{"type":"message","content":" "}"#), Some("empty_content"));
    }

    #[test]
    fn truncation_never_splits_a_surrogate_pair() {
        let before = "é".repeat(1_999);
        assert_eq!(truncate(Cow::Owned(format!("{before}🐭tail"))), before);
        assert_eq!(truncate(Cow::Borrowed(&format!("{before}bc"))), format!("{before}b"));
    }
}
