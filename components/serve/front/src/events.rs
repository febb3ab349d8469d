//! Formats messages of a room as server-sent events.

use std::fmt::Write;

use serde_json::json;

/// Keeps an idle connection open.
pub const PING: &str = ": ping\n\n";

/// One message as an event, with the id that the room gave it: a reader that reconnects sends the id, and gets the
/// missed messages.
pub fn message(text: &str, id: Option<&str>) -> String {
    let mut event = String::with_capacity(text.len() + 64);
    if let Some(id) = id {
        writeln!(event, "id: {id}").expect("a string takes what is written to it");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_id_of_its_message() {
        let text = r#"{"type":"message","message":{"seq":7}}"#;
        assert_eq!(message(text, Some("7.0f")), format!("id: 7.0f\ndata: {text}\n\n"));
        assert_eq!(message(text, None), format!("data: {text}\n\n"));
    }

    #[test]
    fn no_text_can_forge_a_second_event() {
        assert_eq!(message("a\n\nevent: close\rb", None), "data: a\ndata: \ndata: event: close\ndata: b\n\n");
        assert_eq!(close(1001, "\n\nx"), "event: close\ndata: {\"code\":1001,\"reason\":\"\\n\\nx\"}\n\n");
    }
}
