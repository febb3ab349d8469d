//! Formats messages of a room as server-sent events.

use std::fmt::Write;

use serde_json::{Value, json};

/// Keeps an idle connection open.
pub const PING: &str = ": ping\n\n";

/// One message as an event. A message of the history has its number as the event's id: a reader that reconnects sends
/// the id, and gets the missed messages. `incarnation` comes from the history of this stream, and the number belongs to
/// it.
pub fn message(text: &str, incarnation: Option<&str>) -> String {
    let mut event = String::with_capacity(text.len() + 64);
    if let Some(id) = seq_of(text) {
        let incarnation = incarnation.map(|incarnation| format!(".{incarnation}")).unwrap_or_default();
        writeln!(event, "id: {id}{incarnation}").expect("a string takes what is written to it");
    }
    for line in text.split(['\n', '\r']) {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event
}

/// The last event of a stream that the room or the server ends on purpose. Without it the connection was lost.
pub fn close(code: u16, reason: &str) -> String {
    format!("event: close\ndata: {}\n\n", json!({ "code": code, "reason": reason }))
}

/// The incarnation in a `history`.
pub fn incarnation(text: &str) -> Option<String> {
    let message_json: Value = serde_json::from_str(text).ok()?;
    Some(message_json["incarnation"].as_str().filter(|_| message_json["type"] == "history")?.to_owned())
}

fn seq_of(text: &str) -> Option<u64> {
    let message_json: Value = serde_json::from_str(text).ok()?;
    match message_json["type"].as_str()? {
        "message" => message_json["message"]["seq"].as_u64(),
        "history" => message_json["messages"].as_array()?.last()?["seq"].as_u64(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_the_history_has_its_number_as_event_id() {
        for (text, id) in [
            (r#"{"type":"message","message":{"seq":7}}"#, "id: 7\n"),
            (r#"{"type":"history","messages":[{"seq":3},{"seq":4}]}"#, "id: 4\n"),
            (r#"{"type":"history","messages":[]}"#, ""),
            (r#"{"type":"user_joined","seq":5}"#, ""),
            (r#"{"type":"message"}"#, ""),
            ("no JSON", ""),
        ] {
            assert_eq!(message(text, None), format!("{id}data: {text}\n\n"));
        }
        let history = r#"{"type":"history","messages":[{"seq":3}],"incarnation":"0f"}"#;
        assert_eq!(incarnation(history).as_deref(), Some("0f"));
        assert_eq!(message(history, Some("0f")), format!("id: 3.0f\ndata: {history}\n\n"));
        assert_eq!(incarnation(r#"{"type":"message","incarnation":"0f"}"#), None);
    }

    #[test]
    fn no_text_can_forge_a_second_event() {
        assert_eq!(message("a\n\nevent: close\rb", None), "data: a\ndata: \ndata: event: close\ndata: b\n\n");
        assert_eq!(close(1001, "\n\nx"), "event: close\ndata: {\"code\":1001,\"reason\":\"\\n\\nx\"}\n\n");
    }
}
