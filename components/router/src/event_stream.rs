//! Marks requests for server-sent events, for networks that block WebSockets.
//!
//! The host opens such a stream if the destination of a `connect` has the header `accept: text/event-stream`, so only
//! this module may set it. A browser that reconnects sends the header `last-event-id`; this module turns it into the
//! parameters `since` and `incarnation`, which the room reads from every client.

use dormouse_room::Request;

const EVENT_STREAM: &str = "text/event-stream";

/// The request of a client that wants server-sent events.
pub(crate) fn for_event_stream(request: Request) -> Request {
    let query = match request.header("last-event-id").and_then(parse_event_id) {
        Some((seq, incarnation)) => Some(with_position(request.query.as_deref().unwrap_or_default(), seq, incarnation)),
        None => request.query.clone(),
    };
    let mut request = Request { query, ..for_websocket(request) };
    request.headers.push(("accept".into(), EVENT_STREAM.into()));
    request
}

/// The request of a client that wants a WebSocket.
pub(crate) fn for_websocket(mut request: Request) -> Request {
    request.headers.retain(|(name, _)| name != "accept");
    request
}

/// Parses an event's id: the number of its message, and after a dot the incarnation of that number, if the room sent
/// one.
fn parse_event_id(id: &str) -> Option<(u64, Option<&str>)> {
    let (seq, incarnation) = id.split_once('.').map_or((id, None), |(seq, incarnation)| (seq, Some(incarnation)));
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    incarnation.is_none_or(is_name).then_some(())?;
    Some((seq.parse().ok()?, incarnation))
}

/// Replaces the position in a query. The header is newer: a browser reconnects with the URL of its first request.
fn with_position(query: &str, seq: u64, incarnation: Option<&str>) -> String {
    let is_older = |pair: &str| pair.starts_with("since=") || pair.starts_with("incarnation=");
    let others = query.split('&').filter(|pair| !pair.is_empty() && !is_older(pair)).map(str::to_owned);
    let incarnation = incarnation.map(|incarnation| format!("incarnation={incarnation}"));
    others.chain([format!("since={seq}")]).chain(incarnation).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: Option<&str>, headers: &[(&str, &str)]) -> Request {
        Request {
            method: "GET".into(),
            path: "/events".into(),
            query: query.map(Into::into),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            body: Vec::new(),
            user: None,
        }
    }

    fn query(query: Option<&str>, last: &str) -> Option<String> {
        for_event_stream(request(query, &[("last-event-id", last)])).query
    }

    #[test]
    fn last_event_id_becomes_the_position_to_resume_from() {
        assert_eq!(query(None, "7").as_deref(), Some("since=7"));
        assert_eq!(query(Some("since=3&x=1"), "7").as_deref(), Some("x=1&since=7"));
        assert_eq!(query(Some("since=3"), "seven").as_deref(), Some("since=3"), "not a number");
        assert_eq!(query(None, "").as_deref(), None);
        assert_eq!(query(None, "7.0f").as_deref(), Some("since=7&incarnation=0f"));
        assert_eq!(query(Some("since=3&incarnation=0e&x=1"), "7.0f").as_deref(), Some("x=1&since=7&incarnation=0f"));
        assert_eq!(query(Some("since=3&incarnation=0e"), "7").as_deref(), Some("since=7"));
        for other in ["7.", "7.&a=1", "7.%20", ".0f", "x.0f"] {
            assert_eq!(query(Some("since=3"), other).as_deref(), Some("since=3"), "{other}");
        }
    }

    #[test]
    fn only_event_stream_requests_accept_events() {
        let received = request(None, &[("accept", "text/event-stream"), ("x-other", "1")]);
        assert_eq!(for_websocket(received).headers, [("x-other".into(), "1".into())]);
        let received = request(None, &[("accept", "*/*")]);
        assert_eq!(for_event_stream(received).headers, [("accept".into(), EVENT_STREAM.into())]);
    }
}
