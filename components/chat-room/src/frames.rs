//! What the room says: its frames, and its answers over HTTP. Stored messages are JSON already; they are joined here,
//! never read.

use dormouse_room::Result;
use serde::Serialize;

use crate::line::Line;

/// The most bytes of messages in one `history`. The host sends no message above 1 MiB, and lets no more than that wait
/// for a socket: the rest is for the messages that follow at once.
const MAX_HISTORY_BYTES: usize = 896 * 1024;

/// What happens to the people in the room.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum Frame<'a> {
    UserJoined { user_id: &'a str, user_name: &'a str, timestamp: u64 },
    UserLeft { user_id: &'a str, user_name: &'a str, timestamp: u64 },
    Typing { user_id: &'a str, user_name: &'a str },
}

/// The first frame of a socket. `resumed` is told to a client that said what it has seen.
pub(crate) fn history(messages: &[Vec<u8>], resumed: Option<bool>) -> Result<String> {
    let mut json = Vec::with_capacity(joined_len(messages) + 64);
    json.extend_from_slice(br#"{"type":"history","messages":"#);
    join(&mut json, messages);
    flag(&mut json, "resumed", resumed);
    json.push(b'}');
    Ok(String::from_utf8(json)?)
}

/// Whether all of these go into one `history`.
pub(crate) fn fit_together(messages: &[Vec<u8>]) -> bool {
    joined_len(messages) <= MAX_HISTORY_BYTES
}

/// As many of these as go into one `history`. The oldest are left out first.
pub(crate) fn newest_that_fit(messages: &[Vec<u8>]) -> &[Vec<u8>] {
    let mut endings = (0..messages.len()).map(|from| &messages[from..]);
    endings.find(|ending| fit_together(ending)).unwrap_or_default()
}

/// The answer to GET /messages. `has_more` is told to a client that asked for a page.
pub(crate) fn messages(messages: &[Vec<u8>], has_more: Option<bool>) -> Vec<u8> {
    let mut json = Vec::with_capacity(joined_len(messages) + 64);
    json.extend_from_slice(br#"{"messages":"#);
    join(&mut json, messages);
    flag(&mut json, "hasMore", has_more);
    json.push(b'}');
    json
}

/// The answer to POST /messages.
pub(crate) fn posted(line: &Line) -> Vec<u8> {
    [r#"{"success":true,"message":"#, line.json(), "}"].concat().into_bytes()
}

fn joined_len(messages: &[Vec<u8>]) -> usize {
    messages.iter().map(|message| message.len() + 1).sum()
}

fn join(json: &mut Vec<u8>, messages: &[Vec<u8>]) {
    json.push(b'[');
    for (at, message) in messages.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        json.extend_from_slice(message);
    }
    json.push(b']');
}

fn flag(json: &mut Vec<u8>, name: &str, value: Option<bool>) {
    if let Some(value) = value {
        json.extend_from_slice(format!(r#","{name}":{value}"#).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_size(bytes: usize, count: usize) -> Vec<Vec<u8>> {
        vec![vec![b'1'; bytes]; count]
    }

    #[test]
    fn the_frames_have_the_fields_of_the_protocol() {
        let json = |frame: &Frame| serde_json::to_string(frame).unwrap();
        let (user_id, user_name, timestamp) = ("u1", "Ana", 5);
        let who = r#""userId":"u1","userName":"Ana""#;
        let joined = Frame::UserJoined { user_id, user_name, timestamp };
        assert_eq!(json(&joined), format!(r#"{{"type":"user_joined",{who},"timestamp":5}}"#));
        let left = Frame::UserLeft { user_id, user_name, timestamp };
        assert_eq!(json(&left), format!(r#"{{"type":"user_left",{who},"timestamp":5}}"#));
        assert_eq!(json(&Frame::Typing { user_id, user_name }), format!(r#"{{"type":"typing",{who}}}"#));
    }

    #[test]
    fn a_client_of_the_core_protocol_is_told_the_core_alone() {
        let stored = [b"{}".to_vec(), b"{}".to_vec()];
        assert_eq!(history(&stored, None).unwrap(), r#"{"type":"history","messages":[{},{}]}"#);
        assert_eq!(messages(&[], None), br#"{"messages":[]}"#);
    }

    #[test]
    fn a_client_that_asks_for_more_is_told_more() {
        assert_eq!(history(&[], Some(true)).unwrap(), r#"{"type":"history","messages":[],"resumed":true}"#);
        assert_eq!(messages(&[b"{}".to_vec()], Some(false)), br#"{"messages":[{}],"hasMore":false}"#);
    }

    #[test]
    fn a_history_that_would_be_too_large_loses_its_oldest_messages() {
        let mut stored = of_size(100_000, 10);
        stored[0] = vec![b'0'; 100_000];
        assert!(!fit_together(&stored));
        let kept = newest_that_fit(&stored);
        assert_eq!(kept, &stored[1..]);
        assert!(fit_together(kept));
        assert!(history(kept, Some(false)).unwrap().len() < 1024 * 1024);
    }

    #[test]
    fn a_small_message_is_not_kept_past_a_large_one_that_is_left_out() {
        let mut stored = of_size(10, 3);
        stored[1] = vec![b'1'; 2 * 1024 * 1024];
        assert_eq!(newest_that_fit(&stored), &stored[2..]);
        assert!(newest_that_fit(&stored[..2]).is_empty());
    }

    #[test]
    fn fifty_of_the_longest_messages_fit() {
        // 2,000 control characters, six bytes each as JSON; names and ids of the longest, likewise.
        let longest = 2_000 * 6 + 2 * 256 * 6 + 128 * 6 + 200;
        assert_eq!(newest_that_fit(&of_size(longest, 50)).len(), 50);
    }
}
