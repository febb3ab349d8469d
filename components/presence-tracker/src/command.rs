//! Parses the input of clients, from a socket or over HTTP.

use dormouse_room::json::{self, Complaint, Text};
use dormouse_room::{Message, Request};
use serde::Deserialize;

use crate::status::Status;

/// A parsed message from a socket.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    Status(Status),
    Heartbeat,
    /// The host itself answers the usual spelling. This is another spelling, for example with a space.
    Ping,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    status: Text<'a>,
}

impl Said {
    pub(crate) fn read(message: &Message) -> Result<Self, Complaint> {
        Self::of(&json::object(message)?).map_err(|complaint| complaint.about(message))
    }

    fn of(fields: &Fields) -> Result<Self, Complaint> {
        match fields.kind.as_str() {
            Some("status") => Ok(Said::Status(status(&fields.status)?)),
            Some("heartbeat") => Ok(Said::Heartbeat),
            Some("ping") => Ok(Said::Ping),
            Some(other) => Err(Complaint::unknown_type(other, &["status", "heartbeat", "ping"])),
            None => Err(Complaint::new("bad_message", "type must be a string: status or heartbeat")),
        }
    }
}

/// Parses the body of a POST: a status or a heartbeat.
pub(crate) fn posted(request: &Request) -> Result<Said, Complaint> {
    let fields: Fields = json::body(request)?;
    match fields.kind.as_str() {
        Some("heartbeat") => Ok(Said::Heartbeat),
        _ => status(&fields.status).map(Said::Status).map_err(|complaint| complaint.about_body(request)),
    }
}

fn status(text: &Text) -> Result<Status, Complaint> {
    match text.as_str() {
        Some(name) => Status::named(name).ok_or(Complaint::new("bad_status", "status must be online, away or busy")),
        None => Err(Complaint::new("bad_message", "status must be a string: online, away or busy")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Said, &'static str> {
        Said::read(&Message::Text(text.into())).map_err(|complaint| complaint.code)
    }

    fn post(body: &[u8]) -> Result<Said, Complaint> {
        let (method, path) = ("POST".into(), "/update".into());
        posted(&Request { method, path, query: None, headers: vec![], body: body.into(), user: None })
    }

    #[test]
    fn the_types_of_the_protocol_are_known_and_no_other() {
        assert_eq!(read(r#"{"type":"status","status":"busy","userId":"eve"}"#), Ok(Said::Status(Status::Busy)));
        assert_eq!(read(r#"{"type":"heartbeat"}"#), Ok(Said::Heartbeat));
        assert_eq!(read(r#"{"type": "ping"}"#), Ok(Said::Ping));
        assert_eq!(read(r#"{"type":"shout"}"#), Err("unknown_type"));
        assert_eq!(read(r#"{"status":"busy"}"#), Err("bad_message"));
        assert_eq!(read("heartbeat"), Err("bad_json"));
    }

    #[test]
    fn an_error_has_the_client_id_that_can_be_found() {
        for text in [r#"{"type":"shout","clientId":"c1"}"#, r#"{"type":"status","status":7,"clientId":"c1"}"#] {
            let complaint = Said::read(&Message::Text(text.into())).unwrap_err();
            assert_eq!(complaint.client_id.as_deref(), Some("c1"), "{text}");
        }
    }

    #[test]
    fn a_status_outside_the_three_is_an_error() {
        assert_eq!(read(r#"{"type":"status","status":"invisible"}"#), Err("bad_status"));
        for status in ["", r#","status":null"#, r#","status":["busy"]"#] {
            assert_eq!(read(&format!(r#"{{"type":"status"{status}}}"#)), Err("bad_message"), "{status}");
        }
    }

    #[test]
    fn a_post_is_a_status_and_anything_else_is_an_error() {
        assert_eq!(post(br#"{"status":"away"}"#), Ok(Said::Status(Status::Away)));
        assert_eq!(post(br#"{"type":"heartbeat","status":"away"}"#), Ok(Said::Heartbeat));
        assert_eq!(post(br#"{"clientId":"c1"}"#).unwrap_err().client_id.as_deref(), Some("c1"));
        for body in [&b"\xff"[..], b"", b"away", b"[\"away\"]", b"{}", br#"{"status":"asleep"}"#] {
            assert!(post(body).is_err(), "{}", body.escape_ascii());
        }
    }
}
