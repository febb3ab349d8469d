//! The frames that the room sends, and its answers over HTTP. Stored messages are already JSON: this module joins them
//! and never parses them.

use dormouse_room::json::ClientError;
use dormouse_room::{Response, Result};
use serde::Serialize;
use serde_json::Value;

use crate::chat_message::ChatMessage;
use crate::mutes::Mute;

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
    Muted(MuteNotice<'a>),
}

/// A mute, as clients see it. `seconds` is the time left, for clients whose clock is wrong; 0 if the mute has ended.
#[derive(Debug, Serialize)]
pub(crate) struct MuteNotice<'a> {
    user: &'a str,
    until: u64,
    seconds: u64,
    by: &'a str,
}

impl<'a> MuteNotice<'a> {
    pub(crate) fn new(mute: &'a Mute, now: u64) -> Self {
        MuteNotice { user: &mute.user, until: mute.until, seconds: mute.seconds_left(now), by: &mute.by }
    }
}

/// The answer to POST /mutes.
#[derive(Debug, Serialize)]
pub(crate) struct MutedAnswer<'a> {
    success: bool,
    mute: MuteNotice<'a>,
}

impl<'a> MutedAnswer<'a> {
    pub(crate) fn new(mute: &'a Mute, now: u64) -> Self {
        MutedAnswer { success: true, mute: MuteNotice::new(mute, now) }
    }
}

/// The answer to GET /mutes.
#[derive(Debug, Serialize)]
pub(crate) struct Mutes<'a> {
    pub(crate) mutes: Vec<MuteNotice<'a>>,
}

/// The parts of the first frame of a socket.
#[derive(Debug, Default)]
pub(crate) struct History<'a> {
    pub(crate) messages: &'a [Vec<u8>],
    /// For a client that named the last message it has.
    pub(crate) resumed: Option<bool>,
    /// Deletions that such a client may have missed, as JSON.
    pub(crate) deleted: &'a [Vec<u8>],
    /// The mute of the user, as JSON.
    pub(crate) muted: Option<&'a str>,
    /// Identifies the numbering of the messages, in hexadecimal digits.
    pub(crate) incarnation: &'a str,
}

impl History<'_> {
    pub(crate) fn to_json(&self) -> Result<String> {
        let mut json = Vec::with_capacity(array_len(self.messages) + array_len(self.deleted) + ENVELOPE_BYTES);
        json.extend_from_slice(br#"{"type":"history","messages":"#);
        push_array(&mut json, self.messages);
        push_flag(&mut json, "resumed", self.resumed);
        if !self.deleted.is_empty() {
            json.extend_from_slice(br#","deleted":"#);
            push_array(&mut json, self.deleted);
        }
        if let Some(muted) = self.muted {
            json.extend_from_slice(format!(r#","muted":{muted}"#).as_bytes());
        }
        json.extend_from_slice(format!(r#","incarnation":"{}"}}"#, self.incarnation).as_bytes());
        Ok(String::from_utf8(json)?)
    }
}

/// The frame about a deleted message. `deletion` is JSON.
pub(crate) fn deleted(deletion: &str) -> String {
    // A deletion is an object with fields, so a comma follows.
    [r#"{"type":"deleted","#, &deletion[1..]].concat()
}

/// The error for the message of a muted user.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "error")]
pub(crate) struct MutedError {
    code: &'static str,
    message: &'static str,
    #[serde(rename = "clientId", skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    until: u64,
    seconds: u64,
}

impl MutedError {
    pub(crate) fn new(mute: &Mute, now: u64) -> Self {
        let (until, seconds) = (mute.until, mute.seconds_left(now));
        let message = "you are muted here; you may send messages again when the time is over";
        MutedError { code: "muted", message, client_id: None, until, seconds }
    }

    pub(crate) fn with_client_id(self, client_id: Option<&str>) -> Self {
        MutedError { client_id: client_id.map(str::to_owned), ..self }
    }

    pub(crate) fn into_response(self) -> Result<Response> {
        let times = [("until", self.until.into()), ("seconds", self.seconds.into())];
        let client_id = self.client_id.map(|id| ("clientId", Value::from(id)));
        problem(403, self.message, [("code", self.code.into())].into_iter().chain(times).chain(client_id))
    }
}

/// The error for a moderator's command, from a user who is none. It names the permission, as the errors of the host do.
#[derive(Debug, Serialize)]
pub(crate) struct ForbiddenError {
    #[serde(flatten)]
    error: ClientError,
    permission: &'static str,
}

const MODERATE: &str = "moderate";

impl ForbiddenError {
    pub(crate) fn new() -> Self {
        let error = ClientError::new("forbidden", "this needs the permission `moderate`");
        ForbiddenError { error, permission: MODERATE }
    }

    pub(crate) fn for_message(self, message: &dormouse_room::Message) -> Self {
        ForbiddenError { error: self.error.for_message(message), ..self }
    }

    pub(crate) fn into_response(self) -> Result<Response> {
        problem(403, &self.error.message, [("permission", self.permission.into())])
    }
}

/// A problem document with further members.
fn problem<'a>(status: u16, detail: &str, members: impl IntoIterator<Item = (&'a str, Value)>) -> Result<Response> {
    let mut response = Response::problem(status, detail);
    let mut body: Value = response.read_json()?;
    for (name, value) in members {
        body[name] = value;
    }
    response.body = serde_json::to_vec(&body)?;
    Ok(response)
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

/// The answer to DELETE /messages/{id}. `deletion` is JSON.
pub(crate) fn deleted_answer(deletion: &str) -> Vec<u8> {
    [r#"{"success":true,"deleted":"#, deletion, "}"].concat().into_bytes()
}

/// The bytes of JSON values as an array.
pub(crate) fn array_len(messages: &[Vec<u8>]) -> usize {
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
    fn the_frames_of_moderation_have_the_fields_of_the_protocol() {
        let mute = Mute { user: "u\"1".into(), until: 61_500, by: "mo".into() };
        let frame = serde_json::to_string(&Frame::Muted(MuteNotice::new(&mute, 1_000))).unwrap();
        assert_eq!(frame, r#"{"type":"muted","user":"u\"1","until":61500,"seconds":61,"by":"mo"}"#);
        assert_eq!(deleted(r#"{"id":"i"}"#), r#"{"type":"deleted","id":"i"}"#);
        let error = MutedError::new(&mute, 1_000).with_client_id(Some("c1"));
        let json: Value = serde_json::from_str(&serde_json::to_string(&error).unwrap()).unwrap();
        assert_eq!((&json["type"], &json["code"], &json["clientId"]), (&"error".into(), &"muted".into(), &"c1".into()));
        assert_eq!((&json["until"], &json["seconds"]), (&61_500.into(), &61.into()));
        let refused = serde_json::to_value(ForbiddenError::new()).unwrap();
        assert_eq!((&refused["type"], &refused["permission"]), (&"error".into(), &"moderate".into()));
    }

    #[test]
    fn a_core_client_gets_the_core_fields_and_the_incarnation() {
        let messages_of_room = [b"{}".to_vec(), b"{}".to_vec()];
        let history = History { messages: &messages_of_room, incarnation: "0f", ..History::default() };
        let expected = r#"{"type":"history","messages":[{},{}],"incarnation":"0f"}"#;
        assert_eq!(history.to_json().unwrap(), expected);
        assert_eq!(messages(&[], None), br#"{"messages":[]}"#);
    }

    #[test]
    fn a_client_that_asks_for_extensions_gets_them() {
        let resumed = History { resumed: Some(true), incarnation: "0f", ..History::default() };
        let expected = r#"{"type":"history","messages":[],"resumed":true,"incarnation":"0f"}"#;
        assert_eq!(resumed.to_json().unwrap(), expected);
        let moderated = History { deleted: &[b"{}".to_vec()], muted: Some("{}"), ..resumed };
        let expected =
            r#"{"type":"history","messages":[],"resumed":true,"deleted":[{}],"muted":{},"incarnation":"0f"}"#;
        assert_eq!(moderated.to_json().unwrap(), expected);
        assert_eq!(messages(&[b"{}".to_vec()], Some(false)), br#"{"messages":[{}],"hasMore":false}"#);
    }

    #[test]
    fn a_history_fits_into_one_message() {
        for max_frame in [4_096, 10_000, 1 << 20, 16 << 20] {
            let messages = [vec![b'1'; history_bytes(max_frame) - 1]];
            let (messages, incarnation) = (&messages, "0123456789abcdef");
            let history = History { messages, incarnation, resumed: Some(false), ..History::default() };
            let frame = history.to_json().unwrap();
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
