//! One message of the room: `ChatMessage` in the protocol. It is serialized once; the stored JSON is a part of the sent
//! frame.

use dormouse_room::{Message, Result};
use serde::Serialize;

/// The text of a frame before and after the message.
const BEFORE: &str = r#"{"type":"message","message":"#;
const AFTER: &str = "}";

/// A message, kept as the frame that is sent.
#[derive(Debug)]
pub(crate) struct Line(String);

/// The fields of a message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fields<'a> {
    pub(crate) id: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) user_name: &'a str,
    pub(crate) content: &'a str,
    pub(crate) timestamp: u64,
    pub(crate) seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<&'a str>,
}

impl Line {
    pub(crate) fn new(fields: Fields) -> Result<Self> {
        #[derive(Serialize)]
        struct Frame<'a> {
            r#type: &'static str,
            message: Fields<'a>,
        }
        Ok(Line(serde_json::to_string(&Frame { r#type: "message", message: fields })?))
    }

    /// The message from its stored JSON, which [`json`](Line::json) returned before.
    pub(crate) fn stored(json: &[u8]) -> Result<Self> {
        Ok(Line([BEFORE, std::str::from_utf8(json)?, AFTER].concat()))
    }

    /// The message without its frame, as it is stored.
    pub(crate) fn json(&self) -> &str {
        &self.0[BEFORE.len()..self.0.len() - AFTER.len()]
    }

    /// The length of the frame, in bytes.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_frame(self) -> Message {
        Message::Text(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(client_id: Option<&str>) -> Line {
        let (id, user_id, user_name, content) = ("i", "u\"1", "Ana", "hi\n🐭");
        Line::new(Fields { id, user_id, user_name, content, timestamp: 5, seq: 7, client_id }).unwrap()
    }

    #[test]
    fn a_message_has_the_fields_of_the_protocol() {
        let core = r#"{"id":"i","userId":"u\"1","userName":"Ana","content":"hi\n🐭","timestamp":5,"seq":7"#;
        assert_eq!(line(None).json(), format!("{core}}}"));
        assert_eq!(line(Some("c1")).json(), format!(r#"{core},"clientId":"c1"}}"#));
    }

    #[test]
    fn a_stored_message_makes_the_same_frame_again() {
        let line = line(Some("c1"));
        let again = Line::stored(line.json().as_bytes()).unwrap();
        assert_eq!(again.0, line.0);
        let frame: serde_json::Value = serde_json::from_str(&again.0).unwrap();
        assert_eq!((&frame["type"], &frame["message"]["seq"]), (&"message".into(), &7.into()));
    }
}
