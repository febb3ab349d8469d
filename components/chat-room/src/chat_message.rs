//! One message of the room: `ChatMessage` in the protocol. It is serialized once; the stored JSON is a part of the sent
//! frame.

use dormouse_room::{Message, Result};
use serde::Serialize;

/// The text of a frame before and after the message.
const FRAME_START: &str = r#"{"type":"message","message":"#;
const FRAME_END: &str = "}";

/// A message, kept as the frame that is sent.
#[derive(Debug)]
pub(crate) struct ChatMessage(String);

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

impl ChatMessage {
    pub(crate) fn new(fields: Fields) -> Result<Self> {
        #[derive(Serialize)]
        struct Frame<'a> {
            r#type: &'static str,
            message: Fields<'a>,
        }
        Ok(ChatMessage(serde_json::to_string(&Frame { r#type: "message", message: fields })?))
    }

    /// The message from its stored JSON, which [`json`](ChatMessage::json) returned before.
    pub(crate) fn from_stored_json(json: &[u8]) -> Result<Self> {
        Ok(ChatMessage([FRAME_START, std::str::from_utf8(json)?, FRAME_END].concat()))
    }

    /// The message without its frame, as it is stored.
    pub(crate) fn json(&self) -> &str {
        &self.0[FRAME_START.len()..self.0.len() - FRAME_END.len()]
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

    fn message(client_id: Option<&str>) -> ChatMessage {
        let (id, user_id, user_name, content) = ("i", "u\"1", "Ana", "hi\n🐭");
        ChatMessage::new(Fields { id, user_id, user_name, content, timestamp: 5, seq: 7, client_id }).unwrap()
    }

    #[test]
    fn a_message_has_the_fields_of_the_protocol() {
        let core = r#"{"id":"i","userId":"u\"1","userName":"Ana","content":"hi\n🐭","timestamp":5,"seq":7"#;
        assert_eq!(message(None).json(), format!("{core}}}"));
        assert_eq!(message(Some("c1")).json(), format!(r#"{core},"clientId":"c1"}}"#));
    }

    #[test]
    fn a_stored_message_makes_the_same_frame_again() {
        let message = message(Some("c1"));
        let restored = ChatMessage::from_stored_json(message.json().as_bytes()).unwrap();
        assert_eq!(restored.0, message.0);
        let frame: serde_json::Value = serde_json::from_str(&restored.0).unwrap();
        assert_eq!((&frame["type"], &frame["message"]["seq"]), (&"message".into(), &7.into()));
    }
}
