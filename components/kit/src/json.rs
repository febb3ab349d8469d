//! Reads JSON messages of clients without trusting them.
//!
//! A client may send anything. Invalid input becomes a [`ClientError`] to that client and never a failed turn: else
//! each bad message would cost the room its instance, and the operator a line in the log. This module only reads
//! fields; the room defines their meaning. [`Socket::send_error`] sends the error.
//!
//! [`Socket::send_error`]: crate::Socket::send_error

mod client_id;
mod surrogates;

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::error::Category;

use crate::{Message, Request, Response};

/// The message with which a client checks its connection. Pass it to
/// [`set_auto_response`](crate::sockets::set_auto_response), so that it does not wake the room.
pub const PING: &str = r#"{"type":"ping"}"#;

/// The answer to [`PING`].
pub const PONG: &str = r#"{"type":"pong"}"#;

/// An error in a client's input. As JSON it is the message to that client:
/// `{"type":"error","code":…,"message":…}`, with `clientId` if the client gave one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "error")]
pub struct ClientError {
    /// For programs: lower case with underscores. The same mistake always has the same code.
    pub code: &'static str,
    /// For people: how to correct the input.
    pub message: Cow<'static, str>,
    /// The sender's own id of the message, so that it knows which of its messages failed.
    #[serde(rename = "clientId", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

/// The longest `clientId`, in bytes: any UUID fits. A longer one is invalid, and an error does not repeat it.
pub const MAX_CLIENT_ID_BYTES: usize = 128;

impl ClientError {
    /// An error without a `clientId`. [`for_message`](Self::for_message) adds it.
    pub fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        ClientError { code, message: message.into(), client_id: None }
    }

    /// An error with the code `unknown_type`: it names the unknown `type` and lists the known ones.
    pub fn unknown_type(unknown: &str, known: &[&str]) -> Self {
        let message = format!("there is no type {:?}: type must be {}", truncated(unknown), joined_with_or(known));
        ClientError::new("unknown_type", message)
    }

    /// Adds the `clientId` of the message that the error is about, if it has one. This works even if the message is
    /// not valid JSON.
    pub fn for_message(self, message: &Message) -> Self {
        match message {
            Message::Text(text) => self.with_client_id_of(text.as_bytes()),
            Message::Binary(bytes) => self.with_client_id_of(bytes),
        }
    }

    /// Like [`for_message`](Self::for_message), for the body of a request.
    pub fn for_body(self, request: &Request) -> Self {
        self.with_client_id_of(&request.body)
    }

    fn with_client_id_of(self, bytes: &[u8]) -> Self {
        let client_id = self.client_id.or_else(|| client_id::find(bytes));
        ClientError { client_id, ..self }
    }

    /// The error as an HTTP response (RFC 9457), with the member `clientId` if there is one.
    pub fn into_response(self, status: u16) -> Response {
        let client_id = self.client_id.map(|id| ("clientId", Value::from(id)));
        Response::problem_with(status, &self.message, client_id)
    }
}

impl From<ClientError> for Response {
    fn from(error: ClientError) -> Self {
        error.into_response(400)
    }
}

/// Reads a message as a JSON object. If the fields of `T` have the type [`TextField`], this fails only for text that is
/// not a JSON object, or has a field twice. A lone half of a surrogate pair, which JSON allows and UTF-8 does not, is
/// read as U+FFFD.
///
/// A `clientId` with such a half is refused: with U+FFFD in its place, different ids would be equal.
///
/// Codes: `not_text`, `bad_json`; `unknown_type` if `T` is an enum and no variant has this `type`; `bad_message` if the
/// object is not a `T` for another reason.
pub fn from_message<'a, T: Deserialize<'a>>(message: &'a Message) -> Result<T, ClientError> {
    let read = match message.as_text() {
        Some(text) => read(text),
        None => Err(ClientError::new("not_text", "send JSON in a text message, not in a binary one")),
    };
    read.map_err(|error| error.for_message(message))
}

/// Reads the body of a request as a JSON object, like [`from_message`].
pub fn from_body<'a, T: Deserialize<'a>>(request: &'a Request) -> Result<T, ClientError> {
    let read = match std::str::from_utf8(&request.body) {
        Ok(text) => read(text),
        Err(_) => Err(ClientError::new("bad_json", "this is not UTF-8")),
    };
    read.map_err(|error| error.for_body(request))
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, ClientError> {
    // Without this check, a derived `Deserialize` accepts an array and takes its items for the fields in order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(ClientError::new("bad_json", "this is not a JSON object"));
    }
    let refused = |error: serde_json::Error| match error.classify() {
        Category::Data => data_error(text, &error.to_string()),
        Category::Syntax | Category::Eof | Category::Io => ClientError::new("bad_json", "this is not a JSON object"),
    };
    serde_json::from_str(text).or_else(|error| match surrogates::replaced(text) {
        Some(_) if client_id::has_lone_surrogate(text.as_bytes()) => {
            Err(ClientError::new("bad_message", "clientId must not have half of a surrogate pair"))
        }
        Some(replaced) => parse_owned(&replaced).map_err(refused),
        None => Err(refused(error)),
    })
}

/// Like `serde_json::from_str`, but the result does not borrow from the text.
fn parse_owned<'a, T: Deserialize<'a>>(text: &str) -> serde_json::Result<T> {
    let Fields(fields) = serde_json::from_str(text)?;
    T::deserialize(MapDeserializer::new(fields.into_iter()))
}

/// The fields of an object in their order. A duplicate field stays a duplicate.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = entries.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

/// Turns serde's error about an object into an error for the client.
fn data_error(text: &str, serde_error: &str) -> ClientError {
    #[derive(Deserialize)]
    struct Tagged<'a> {
        #[serde(rename = "type", borrow, default)]
        kind: TextField<'a>,
    }
    // The position does not help a client, which serialized an object and never saw the text.
    let problem = serde_error.rsplit_once(" at line ").map_or(serde_error, |(problem, _)| problem);
    if let Some((unknown, known)) =
        problem.strip_prefix("unknown variant `").and_then(|rest| rest.rsplit_once("`, expected "))
        && let Ok(tagged) = parse_owned::<Tagged>(surrogates::replaced(text).as_deref().unwrap_or(text))
        && tagged.kind.as_str() == Some(unknown)
    {
        let known = known.split('`').skip(1).step_by(2).collect::<Vec<_>>();
        return ClientError::unknown_type(unknown, &known);
    }
    ClientError::new("bad_message", truncated(problem).into_owned())
}

/// The most bytes of a client's input that an error repeats.
const MAX_ECHOED_BYTES: usize = 200;

fn truncated(text: &str) -> Cow<'_, str> {
    match text.len() <= MAX_ECHOED_BYTES {
        true => text.into(),
        false => format!("{}…", &text[..text.floor_char_boundary(MAX_ECHOED_BYTES)]).into(),
    }
}

/// Joins words: `a`, `a or b`, `a, b or c`.
fn joined_with_or(words: &[&str]) -> String {
    match words {
        [] => "left out".into(),
        [word] => (*word).into(),
        [words @ .., last] => format!("{} or {last}", words.join(", ")),
    }
}

/// A field that should be a string. Reading it never fails, so that a room can report which field is wrong, and in
/// which message. The text is borrowed from the message unless it has escapes.
///
/// ```
/// use dormouse_room::{Message, json::{self, TextField}};
///
/// #[derive(serde::Deserialize)]
/// struct Fields<'a> {
///     #[serde(borrow, default)]
///     status: TextField<'a>,
/// }
///
/// let message = Message::Text(r#"{"status":"busy"}"#.into());
/// let fields: Fields = json::from_message(&message).unwrap();
/// assert_eq!(fields.status.as_str(), Some("busy"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TextField<'a> {
    /// The field is not there.
    #[default]
    Missing,
    /// A string.
    Text(Cow<'a, str>),
    /// Something else: a number, null, an object.
    NotText,
}

impl TextField<'_> {
    /// The string, if the field is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            TextField::Text(text) => Some(text),
            TextField::Missing | TextField::NotText => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for TextField<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextFieldVisitor)
    }
}

struct TextFieldVisitor;

impl<'de> Visitor<'de> for TextFieldVisitor {
    type Value = TextField<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(TextField::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TextField::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(TextField::NotText)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(TextField::NotText)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(TextField::NotText)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(TextField::NotText)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(TextField::NotText)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(TextField::NotText)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(TextField::NotText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, default)]
        a: TextField<'a>,
    }

    fn a(text: &str) -> Result<String, &'static str> {
        let message = Message::Text(text.to_owned());
        from_message::<Fields>(&message).map(|fields| format!("{:?}", fields.a)).map_err(|error| error.code)
    }

    #[test]
    fn a_string_is_borrowed_and_one_with_escapes_is_decoded() {
        let message = Message::Text(r#" {"a":"é","b":[{}]}"#.into());
        assert!(matches!(from_message(&message), Ok(Fields { a: TextField::Text(Cow::Borrowed("é")) })));
        assert_eq!(a(r#"{"a":"\u00e9\n"}"#).unwrap(), r#"Text("é\n")"#);
    }

    #[test]
    fn missing_fields_and_fields_of_other_types_are_told_apart() {
        assert_eq!(a("{}").unwrap(), "Missing");
        assert_eq!((TextField::Missing.as_str(), TextField::NotText.as_str()), (None, None));
        for other in ["null", "true", "1", "-1", "1.5", "[1,[2]]", r#"{"b":{"c":1}}"#] {
            assert_eq!(a(&format!(r#"{{"a":{other}}}"#)).unwrap(), "NotText", "{other}");
        }
    }

    #[test]
    fn anything_but_a_json_object_is_an_error_and_no_panic() {
        let deep = format!(r#"{{"a":{}"#, "[".repeat(100_000));
        let deep_elsewhere = format!(r#"{{"b":{}"#, r#"{"b":"#.repeat(100_000));
        for bad in ["", " ", "{", "[\"x\"]", "1", "null", "\"a\"", "{}{}", r#"{"a":"\ud83"}"#, &deep, &deep_elsewhere] {
            assert_eq!(a(bad), Err("bad_json"), "{:.40}", bad);
        }
        assert_eq!(from_message::<Fields>(&Message::Binary(b"{}".to_vec())).unwrap_err().code, "not_text");
    }

    #[test]
    fn a_duplicate_field_is_an_error() {
        assert_eq!(a(r#"{"a":"x","a":"y"}"#), Err("bad_message"));
        assert_eq!(a(r#"{"a":"\ud83d","a":"y"}"#), Err("bad_message"));
    }

    #[test]
    fn a_lone_surrogate_becomes_the_replacement_character() {
        for (text, expected) in [
            (r#"{"a":"cut \ud83d"}"#, "cut \u{fffd}"),
            (r#"{"a":"\udc2d\ud83d\udc2d"}"#, "\u{fffd}🐭"),
            (r#"{"\ud83d":1,"a":"x"}"#, "x"),
            (r#"{"b":["\udc2d"],"a":"x"}"#, "x"),
        ] {
            assert_eq!(a(text).unwrap(), format!("Text({expected:?})"), "{text}");
        }
    }

    #[test]
    fn a_client_id_with_a_lone_surrogate_is_refused() {
        #[derive(Debug, Deserialize)]
        struct Named {
            #[serde(rename = "clientId")]
            client_id: String,
        }
        let named = |id: &str| from_message::<Named>(&Message::Text(format!(r#"{{"a":"\ud83d","clientId":"{id}"}}"#)));
        for id in [r"\ud83d", r"\udc00", r"a\uD83Db"] {
            let error = named(id).unwrap_err();
            assert_eq!((error.code, error.client_id), ("bad_message", None), "{id}");
            assert!(error.message.contains("clientId must not have half of a surrogate pair"), "{}", error.message);
        }
        for (id, read) in
            [("\u{fffd}", "\u{fffd}"), (r"\ufffd", "\u{fffd}"), (r"\ud83d\udc2d", "🐭"), (r"\\ud83d", r"\ud83d")]
        {
            assert_eq!(named(id).unwrap().client_id, read, "{id}");
        }
    }

    #[test]
    fn an_error_has_the_client_id_of_its_message() {
        for text in [r#"{"clientId":"c1","a":"x","a":"y"}"#, r#"{"clientId":"c1","a":"#, r#"{"a":nil,"clientId":"c1"}"#]
        {
            for message in [Message::Text(text.into()), Message::Binary(text.into())] {
                let error = from_message::<Fields>(&message).unwrap_err();
                assert_eq!(error.client_id.as_deref(), Some("c1"), "{message:?}");
            }
        }
        let answer = Response::from(
            ClientError::new("bad_json", "no").for_message(&Message::Text(r#"{"clientId":"c1"}"#.into())),
        );
        let problem: Value = answer.read_json().unwrap();
        assert_eq!((&problem["detail"], &problem["clientId"]), (&"no".into(), &"c1".into()));
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum Move {
        Place { at: u8 },
        GiveUp,
        Say { status: Status },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Status {
        Busy,
    }

    fn error_of(text: &str) -> (&'static str, String) {
        let error = from_message::<Move>(&Message::Text(text.into())).expect_err(text);
        (error.code, error.message.into_owned())
    }

    #[test]
    fn an_error_about_an_unknown_type_lists_the_known_ones() {
        let known = "type must be place, give_up or say";
        assert_eq!(error_of(r#"{"type":"dance"}"#), ("unknown_type", format!("there is no type \"dance\": {known}")));
        assert_eq!(error_of(r#"{"type":"a`, expected b"}"#).0, "unknown_type");
        assert_eq!(error_of(r#"{"type":"cut \ud83d"}"#).0, "unknown_type");
        let (code, long) = error_of(&format!(r#"{{"type":"{}"}}"#, "é\n".repeat(50_000).escape_debug()));
        assert!(code == "unknown_type" && long.len() < 600 && long.ends_with(known), "{long}");
    }

    #[test]
    fn other_errors_in_an_object_are_specific() {
        for (text, says) in [
            ("{}", "missing field `type`"),
            (r#"{"type":"place"}"#, "missing field `at`"),
            (r#"{"type":"place","at":"x"}"#, "invalid type: string \"x\", expected u8"),
            (r#"{"type":"place","at":1,"at":2}"#, "duplicate field `at`"),
            (r#"{"type":"say","status":"dance"}"#, "unknown variant `dance`, expected `busy`"),
        ] {
            assert_eq!(error_of(text), ("bad_message", says.to_owned()), "{text}");
        }
        let (_, long) = error_of(&format!(r#"{{"type":"place","at":"{}"}}"#, "x".repeat(9_000)));
        assert!(long.len() <= MAX_ECHOED_BYTES + "…".len(), "{} B", long.len());
    }

    #[test]
    fn an_error_has_a_client_id_only_if_it_was_given_one() {
        let error = ClientError::new("bad_json", "no");
        assert_eq!(serde_json::to_string(&error).unwrap(), r#"{"type":"error","code":"bad_json","message":"no"}"#);
        let named = ClientError { client_id: Some("c1".into()), ..error };
        assert_eq!(
            serde_json::to_string(&named).unwrap(),
            r#"{"type":"error","code":"bad_json","message":"no","clientId":"c1"}"#
        );
    }
}
