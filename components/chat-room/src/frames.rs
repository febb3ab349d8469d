//! The frames that the room sends, and its answers over HTTP. Stored messages are already JSON: this module joins them
//! and never parses them.

use dormouse_room::Result;
use serde::Serialize;

use crate::chat_message::ChatMessage;

/// The most bytes of messages in one `history`, and in one answer over HTTP, even if the host allows more. More would
/// take long to read and to send, and a client can get the rest page by page.
const MAX_MESSAGES_BYTES: usize = 896 * 1024;

/// The bytes of a `history` or an answer beside its messages.
const ENVELOPE_BYTES: usize = 256;

/// The most bytes of messages in one `history`, if no frame may be longer than `max_frame`. The queue of a socket may
/// hold no more than one such frame, so an eighth is left for the frames that follow at once.
pub(crate) fn history_bytes(max_frame: usize) -> usize {
    MAX_MESSAGES_BYTES.min((max_frame - max_frame / 8).saturating_sub(ENVELOPE_BYTES))
}

/// The most bytes of messages in one answer to GET /messages.
pub(crate) const PAGE_BYTES: usize = MAX_MESSAGES_BYTES;

/// Frames about the users in the room.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum Frame<'a> {
    UserJoined { user_id: &'a str, user_name: &'a str, timestamp: u64 },
    UserLeft { user_id: &'a str, user_name: &'a str, timestamp: u64 },
    Typing { user_id: &'a str, user_name: &'a str },
}

/// The first frame of a socket. `resumed` is for a client that named the last message it has. `incarnation`, in
/// hexadecimal digits, identifies the numbering of the messages.
pub(crate) fn history(messages: &[Vec<u8>], resumed: Option<bool>, incarnation: &str) -> Result<String> {
    let mut json = Vec::with_capacity(array_len(messages) + 128);
    json.extend_from_slice(br#"{"type":"history","messages":"#);
    push_array(&mut json, messages);
    push_flag(&mut json, "resumed", resumed);
    json.extend_from_slice(format!(r#","incarnation":"{incarnation}"}}"#).as_bytes());
    Ok(String::from_utf8(json)?)
}

/// The answer to GET /messages. `has_more` is for a client that asked for a page.
pub(crate) fn messages(messages: &[Vec<u8>], has_more: Option<bool>) -> Vec<u8> {
    let mut json = Vec::with_capacity(array_len(messages) + 64);
    json.extend_from_slice(br#"{"messages":"#);
    push_array(&mut json, messages);
    push_flag(&mut json, "hasMore", has_more);
    json.push(b'}');
    json
}

/// The answer to POST /messages.
pub(crate) fn posted(message: &ChatMessage) -> Vec<u8> {
    [r#"{"success":true,"message":"#, message.json(), "}"].concat().into_bytes()
}

fn array_len(messages: &[Vec<u8>]) -> usize {
    messages.iter().map(|message| message.len() + 1).sum()
}

fn push_array(json: &mut Vec<u8>, messages: &[Vec<u8>]) {
    json.push(b'[');
    for (at, message) in messages.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        json.extend_from_slice(message);
    }
    json.push(b']');
}

fn push_flag(json: &mut Vec<u8>, name: &str, value: Option<bool>) {
    if let Some(value) = value {
        json.extend_from_slice(format!(r#","{name}":{value}"#).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_have_the_fields_of_the_protocol() {
        let json = |frame: &Frame| serde_json::to_string(frame).unwrap();
        let (user_id, user_name, timestamp) = ("u1", "Ana", 5);
        let user = r#""userId":"u1","userName":"Ana""#;
        let joined = Frame::UserJoined { user_id, user_name, timestamp };
        assert_eq!(json(&joined), format!(r#"{{"type":"user_joined",{user},"timestamp":5}}"#));
        let left = Frame::UserLeft { user_id, user_name, timestamp };
        assert_eq!(json(&left), format!(r#"{{"type":"user_left",{user},"timestamp":5}}"#));
        assert_eq!(json(&Frame::Typing { user_id, user_name }), format!(r#"{{"type":"typing",{user}}}"#));
    }

    #[test]
    fn a_core_client_gets_the_core_fields_and_the_incarnation() {
        let stored = [b"{}".to_vec(), b"{}".to_vec()];
        let expected = r#"{"type":"history","messages":[{},{}],"incarnation":"0f"}"#;
        assert_eq!(history(&stored, None, "0f").unwrap(), expected);
        assert_eq!(messages(&[], None), br#"{"messages":[]}"#);
    }

    #[test]
    fn a_client_that_asks_for_extensions_gets_them() {
        let expected = r#"{"type":"history","messages":[],"resumed":true,"incarnation":"0f"}"#;
        assert_eq!(history(&[], Some(true), "0f").unwrap(), expected);
        assert_eq!(messages(&[b"{}".to_vec()], Some(false)), br#"{"messages":[{}],"hasMore":false}"#);
    }

    #[test]
    fn a_history_fits_into_one_message() {
        for max_frame in [4_096, 10_000, 1 << 20, 16 << 20] {
            let messages = [vec![b'1'; history_bytes(max_frame) - 1]];
            let frame = history(&messages, Some(false), "0123456789abcdef").unwrap();
            assert!(frame.len() < max_frame, "{} B of {max_frame}", frame.len());
        }
        assert_eq!((history_bytes(0), history_bytes(16 << 20)), (0, 896 * 1024));
    }

    #[test]
    fn fifty_messages_of_maximum_length_fit() {
        // 2,000 control characters, six bytes each as JSON, and the longest names and ids, also of control characters.
        let longest = 2_000 * 6 + 2 * 256 * 6 + 128 * 6 + 200;
        assert!(50 * (longest + 1) <= history_bytes(1 << 20));
    }
}
