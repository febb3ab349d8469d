//! One message of the room: `ChatMessage` in the protocol. It is serialized once; the stored JSON is a part of the sent
//! frame.

use std::borrow::Cow;

use dormouse_room::{Message, Result};
use serde::{Deserialize, Serialize};

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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deleted: Option<Deleted<'a>>,
}

/// The user who deleted a message, and the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deleted<'a> {
    #[serde(borrow)]
    pub(crate) by: Cow<'a, str>,
    pub(crate) at: u64,
}

/// A stored message, without its content.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stored<'a> {
    #[serde(borrow)]
    pub(crate) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) user_id: Cow<'a, str>,
    #[serde(borrow)]
    user_name: Cow<'a, str>,
    timestamp: u64,
    pub(crate) seq: u64,
    #[serde(borrow)]
    client_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) deleted: Option<Deleted<'a>>,
}

impl<'a> Stored<'a> {
    pub(crate) fn parse(json: &'a [u8]) -> Result<Self> {
        Ok(serde_json::from_slice(json)?)
    }

    /// The message that stays in the place of a deleted one. Its content is empty and not absent: clients that do not
    /// know `deleted` rely on it.
    pub(crate) fn tombstone(&self, id: &str, deleted: Deleted) -> Result<ChatMessage> {
        ChatMessage::new(Fields {
            id,
            user_id: &self.user_id,
            user_name: &self.user_name,
            content: "",
            timestamp: self.timestamp,
            seq: self.seq,
            client_id: self.client_id.as_deref(),
            deleted: Some(deleted),
        })
    }
}

impl Stored<'_> {
    /// The message that stays in the place of one whose author was erased: its place in the numbering, and its time.
    pub(crate) fn without_author(&self, deleted: Deleted) -> Result<ChatMessage> {
        ChatMessage::new(Fields {
            id: &self.id,
            user_id: "",
            user_name: "",
            content: "",
            timestamp: self.timestamp,
            seq: self.seq,
            client_id: None,
            deleted: Some(deleted),
        })
    }

    /// The same message, deleted by nobody who is named.
    pub(crate) fn without_deleter(&self) -> Result<ChatMessage> {
        let at = self.deleted.as_ref().map_or(0, |deleted| deleted.at);
        self.tombstone(&self.id, Deleted { by: "".into(), at })
    }
}

/// Whether a stored message has this id, which is a UUID. A search compares many messages, so it parses none.
pub(crate) fn has_id(json: &[u8], id: &str) -> bool {
    json.strip_prefix(br#"{"id":""#)
        .and_then(|rest| rest.strip_prefix(id.as_bytes()))
        .is_some_and(|rest| rest.starts_with(b"\""))
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
        ChatMessage::new(Fields { id, user_id, user_name, content, timestamp: 5, seq: 7, client_id, deleted: None })
            .unwrap()
    }

    #[test]
    fn a_message_has_the_fields_of_the_protocol() {
        let core = r#"{"id":"i","userId":"u\"1","userName":"Ana","content":"hi\n🐭","timestamp":5,"seq":7"#;
        assert_eq!(message(None).json(), format!("{core}}}"));
        assert_eq!(message(Some("c1")).json(), format!(r#"{core},"clientId":"c1"}}"#));
    }

    #[test]
    fn a_tombstone_keeps_everything_but_the_content() {
        let message = message(Some("c1"));
        let stored = Stored::parse(message.json().as_bytes()).unwrap();
        assert_eq!((&*stored.user_id, &stored.deleted), ("u\"1", &None));
        let tombstone = stored.tombstone("i", Deleted { by: "mo\n".into(), at: 9 }).unwrap();
        let place = r#"{"id":"i","userId":"u\"1","userName":"Ana","content":"","timestamp":5,"seq":7,"clientId":"c1""#;
        assert_eq!(tombstone.json(), format!(r#"{place},"deleted":{{"by":"mo\n","at":9}}}}"#));
        let again = Stored::parse(tombstone.json().as_bytes()).unwrap();
        assert_eq!(again.deleted, Some(Deleted { by: "mo\n".into(), at: 9 }));
    }

    #[test]
    fn a_stored_message_is_found_by_its_whole_id() {
        let message = message(None);
        let found = |id| has_id(message.json().as_bytes(), id);
        assert!(found("i") && !found("") && !found("id") && !has_id(br#"{"id":"id"}"#, "i"));
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
