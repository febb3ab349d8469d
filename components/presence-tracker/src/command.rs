//! Parses the input of clients, from a socket or over HTTP.

use dormouse_room::json::{self, ClientError, TextField};
use dormouse_room::{Message, Request};
use serde::Deserialize;

use crate::status::Status;

/// A parsed message from a socket.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Status(Status),
    Heartbeat,
    /// The host itself answers the usual spelling. This is another spelling, for example with a space.
    Ping,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: TextField<'a>,
    #[serde(borrow, default)]
    status: TextField<'a>,
}

impl Command {
    pub(crate) fn parse(message: &Message) -> Result<Self, ClientError> {
        Self::from_fields(&json::from_message(message)?).map_err(|error| error.for_message(message))
    }

    fn from_fields(fields: &Fields) -> Result<Self, ClientError> {
        match fields.kind.as_str() {
            Some("status") => Ok(Command::Status(status(&fields.status)?)),
            Some("heartbeat") => Ok(Command::Heartbeat),
            Some("ping") => Ok(Command::Ping),
            Some(other) => Err(ClientError::unknown_type(other, &["status", "heartbeat", "ping"])),
            None => Err(ClientError::new("bad_message", "type must be a string: status or heartbeat")),
        }
    }
}

/// Parses the body of a POST: a status or a heartbeat.
pub(crate) fn parse_post(request: &Request) -> Result<Command, ClientError> {
    let fields: Fields = json::from_body(request)?;
    match fields.kind.as_str() {
        Some("heartbeat") => Ok(Command::Heartbeat),
        _ => status(&fields.status).map(Command::Status).map_err(|error| error.for_body(request)),
    }
}

fn status(field: &TextField) -> Result<Status, ClientError> {
    match field.as_str() {
        Some(name) => {
            Status::from_name(name).ok_or(ClientError::new("bad_status", "status must be online, away or busy"))
        }
        None => Err(ClientError::new("bad_message", "status must be a string: online, away or busy")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Command, &'static str> {
        Command::parse(&Message::Text(text.into())).map_err(|error| error.code)
    }

    fn post(body: &[u8]) -> Result<Command, ClientError> {
        let (method, path) = ("POST".into(), "/update".into());
        parse_post(&Request { method, path, query: None, headers: vec![], body: body.into(), user: None })
    }

    #[test]
    fn the_types_of_the_protocol_are_known_and_no_other() {
        assert_eq!(read(r#"{"type":"status","status":"busy","userId":"eve"}"#), Ok(Command::Status(Status::Busy)));
        assert_eq!(read(r#"{"type":"heartbeat"}"#), Ok(Command::Heartbeat));
        assert_eq!(read(r#"{"type": "ping"}"#), Ok(Command::Ping));
        assert_eq!(read(r#"{"type":"shout"}"#), Err("unknown_type"));
        assert_eq!(read(r#"{"status":"busy"}"#), Err("bad_message"));
        assert_eq!(read("heartbeat"), Err("bad_json"));
    }

    #[test]
    fn an_error_has_the_client_id_that_can_be_found() {
        for text in [r#"{"type":"shout","clientId":"c1"}"#, r#"{"type":"status","status":7,"clientId":"c1"}"#] {
            let error = Command::parse(&Message::Text(text.into())).unwrap_err();
            assert_eq!(error.client_id.as_deref(), Some("c1"), "{text}");
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
        assert_eq!(post(br#"{"status":"away"}"#), Ok(Command::Status(Status::Away)));
        assert_eq!(post(br#"{"type":"heartbeat","status":"away"}"#), Ok(Command::Heartbeat));
        assert_eq!(post(br#"{"clientId":"c1"}"#).unwrap_err().client_id.as_deref(), Some("c1"));
        for body in [&b"\xff"[..], b"", b"away", b"[\"away\"]", b"{}", br#"{"status":"asleep"}"#] {
            assert!(post(body).is_err(), "{}", body.escape_ascii());
        }
    }
}
