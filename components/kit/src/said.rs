//! What clients say in JSON, read without trust.
//!
//! A client may send anything. Whatever is wrong with it is a [`Complaint`] to that client, never a failed turn: a
//! failed turn would cost the room its instance, and the operator a line in the log, for every joker. What a message
//! may mean is the room's business; here is only how to read its fields. [`Socket::complain`] tells the client.
//!
//! [`Socket::complain`]: crate::Socket::complain

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::error::Category;

use crate::{Message, Request, Response};

/// What a client sends to see whether anybody is still there. Give it to
/// [`set_auto_response`](crate::sockets::set_auto_response), and asking does not wake the room.
pub const PING: &str = r#"{"type":"ping"}"#;

/// The answer to [`PING`].
pub const PONG: &str = r#"{"type":"pong"}"#;

/// What is wrong with something a client said. As JSON it is the message that tells them:
/// `{"type":"error","code":…,"message":…}`, with `clientId` where they gave one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "error")]
pub struct Complaint {
    /// For programs: lower case with underscores, and always the same for the same mistake.
    pub code: &'static str,
    /// For people: what to send instead.
    pub message: &'static str,
    /// The sender's own name for what it said, so that it knows which of its messages failed.
    #[serde(rename = "clientId", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

impl Complaint {
    /// A complaint about something that has no `clientId`.
    pub fn new(code: &'static str, message: &'static str) -> Self {
        Complaint { code, message, client_id: None }
    }
}

impl From<Complaint> for Response {
    fn from(complaint: Complaint) -> Self {
        Response::problem(400, complaint.message)
    }
}

/// Read a message as a JSON object. Give `T` fields of type [`Text`], and only what is no JSON object at all, or has
/// the same field twice, is complained of here.
///
/// Codes: `not_text`, `bad_json`; `bad_message` where the object is not a `T`.
pub fn object<'a, T: Deserialize<'a>>(message: &'a Message) -> Result<T, Complaint> {
    match message.as_text() {
        Some(text) => read(text),
        None => Err(Complaint::new("not_text", "send JSON in a text message, not in a binary one")),
    }
}

/// Read the body of a request as a JSON object: as [`object`].
pub fn body<'a, T: Deserialize<'a>>(request: &'a Request) -> Result<T, Complaint> {
    match std::str::from_utf8(&request.body) {
        Ok(text) => read(text),
        Err(_) => Err(Complaint::new("bad_json", "this is not UTF-8")),
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Complaint> {
    // Without this look ahead, a derived `Deserialize` takes an array for an object's fields in order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Complaint::new("bad_json", "this is not a JSON object"));
    }
    serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data => Complaint::new("bad_message", "this has a field twice, or one of the wrong type"),
        Category::Syntax | Category::Eof | Category::Io => Complaint::new("bad_json", "this is not a JSON object"),
    })
}

/// A field that should be a string, as the client filled it. Reading it never fails, so that a room can say which field
/// is wrong, and to which message that belongs. Borrowed from the message where no escape stands in the way.
///
/// ```
/// use dormouse_room::{Message, said::{self, Text}};
///
/// #[derive(serde::Deserialize)]
/// struct Fields<'a> {
///     #[serde(borrow, default)]
///     status: Text<'a>,
/// }
///
/// let message = Message::Text(r#"{"status":"busy"}"#.into());
/// let fields: Fields = said::object(&message).unwrap();
/// assert_eq!(fields.status.as_str(), Some("busy"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Text<'a> {
    /// The field is not there.
    #[default]
    Missing,
    /// A string.
    Is(Cow<'a, str>),
    /// Something else: a number, null, an object.
    NotText,
}

impl Text<'_> {
    /// The string, where it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Text::Is(text) => Some(text),
            Text::Missing | Text::NotText => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text::Is(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text::Is(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Text::NotText)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Text::NotText)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Text::NotText)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Text::NotText)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Text::NotText)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text::NotText)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text::NotText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, default)]
        a: Text<'a>,
    }

    fn a(text: &str) -> Result<String, &'static str> {
        let message = Message::Text(text.to_owned());
        object::<Fields>(&message).map(|fields| format!("{:?}", fields.a)).map_err(|complaint| complaint.code)
    }

    #[test]
    fn a_string_is_borrowed_and_one_with_escapes_is_decoded() {
        let message = Message::Text(r#" {"a":"é","b":[{}]}"#.into());
        assert!(matches!(object(&message), Ok(Fields { a: Text::Is(Cow::Borrowed("é")) })));
        assert_eq!(a(r#"{"a":"\u00e9\n"}"#).unwrap(), r#"Is("é\n")"#);
    }

    #[test]
    fn a_field_that_is_missing_or_no_string_is_told_apart_and_fails_nothing() {
        assert_eq!(a("{}").unwrap(), "Missing");
        assert_eq!((Text::Missing.as_str(), Text::NotText.as_str()), (None, None));
        for other in ["null", "true", "1", "-1", "1.5", "[1,[2]]", r#"{"b":{"c":1}}"#] {
            assert_eq!(a(&format!(r#"{{"a":{other}}}"#)).unwrap(), "NotText", "{other}");
        }
    }

    #[test]
    fn what_is_no_json_object_is_complained_of_and_never_panics() {
        let deep = format!(r#"{{"a":{}"#, "[".repeat(100_000));
        let deep_elsewhere = format!(r#"{{"b":{}"#, r#"{"b":"#.repeat(100_000));
        for bad in ["", " ", "{", "[\"x\"]", "1", "null", "\"a\"", "{}{}", r#"{"a":"\ud83d"}"#, &deep, &deep_elsewhere]
        {
            assert_eq!(a(bad), Err("bad_json"), "{:.40}", bad);
        }
        assert_eq!(object::<Fields>(&Message::Binary(b"{}".to_vec())).unwrap_err().code, "not_text");
    }

    #[test]
    fn a_field_that_comes_twice_is_complained_of() {
        assert_eq!(a(r#"{"a":"x","a":"y"}"#), Err("bad_message"));
    }

    #[test]
    fn a_complaint_names_the_message_it_is_about_where_it_has_a_name() {
        let complaint = Complaint::new("bad_json", "no");
        assert_eq!(serde_json::to_string(&complaint).unwrap(), r#"{"type":"error","code":"bad_json","message":"no"}"#);
        let named = Complaint { client_id: Some("c1".into()), ..complaint };
        assert_eq!(
            serde_json::to_string(&named).unwrap(),
            r#"{"type":"error","code":"bad_json","message":"no","clientId":"c1"}"#
        );
    }
}
