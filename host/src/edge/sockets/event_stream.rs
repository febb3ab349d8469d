//! Server-sent events (SSE): a socket that only receives, for networks that block WebSockets.
//!
//! To its room it is a socket like any other: it has a seat, receives the same messages, and the room learns of its
//! end. On the wire each message is one event with the same text. If the message has a number, the event's `id` carries
//! it, so that a browser can resume. The client sends its own messages in separate requests.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use hyper::Response;
use hyper::body::{Body as HttpBody, Frame};
use hyper::header::{self, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Sleep;

use super::close::CloseReason;
use super::registry::{Registration, TokenIdentity};
use crate::clock::{self, UnixMillis};
use crate::edge::admission::socket_permits::SocketPermits;
use crate::edge::identity::verified::Verified;
use crate::edge::listener::activity::Activity;
use crate::edge::response::body::Body;
use crate::edge::response::refusals::{not_connected, overloaded};
use crate::edge::{Edge, headers};
use crate::model::{self, Address, Form, Message, OutboundMessage};
use crate::room::{LocalSocket, Next};

const CONTENT_TYPE: &str = "text/event-stream";
/// The start of an event that a client can resume after.
const ID: &[u8] = b"id: ";
/// The longest name of an incarnation that is repeated in each event, in bytes.
const INCARNATION_BYTES: usize = 64;
/// A comment line: it shows proxies and clients that the connection is alive.
const SIGN_OF_LIFE: &[u8] = b": ping\n\n";

/// Returns whether the router's request to the room asks for events, with the header that an `EventSource` sends.
pub(in crate::edge) fn are_asked(request: &model::Request) -> bool {
    let accepted = request.headers.iter().filter(|(name, _)| name == "accept").map(|(_, value)| value.as_bytes());
    headers::has_item(accepted, CONTENT_TYPE)
}

/// Connects to the room, and answers with a stream of its messages.
pub(in crate::edge) async fn connect(
    edge: &Arc<Edge>,
    address: &Address,
    request: model::Request,
    verified: Verified,
    admitted: SocketPermits,
    activity: Option<Arc<Activity>>,
) -> Response<Body> {
    let token = TokenIdentity::of(&verified);
    let user = Arc::new(verified.user.clone());
    let visit = edge.rooms.connect_local(address, request, verified.user);
    let visitor = match clock::timeout(edge.limits.answer_timeout, visit).await {
        Ok(Ok(visitor)) => visitor,
        Ok(Err(error)) => return not_connected(&error),
        // The room takes the seat back, since it was never taken.
        Err(_) => return overloaded("the room did not answer in time"),
    };
    let stream = EventStream {
        _registration: edge.sockets.register(visitor.client(), user, token),
        _admitted: admitted,
        visitor,
        incarnation: Incarnation::Unknown,
        closed: false,
        input_ended: activity.map(|activity| Box::pin(async move { activity.input_ended().await }) as InputEnded),
        ping_every: edge.limits.ping_every,
        expires_at: verified.expires_at,
        said_at: clock::monotonic(),
        alarm: Box::pin(clock::timer(Duration::ZERO)),
    };
    let mut response = head();
    *response.body_mut() = Body::stream(stream);
    response
}

/// The answer's head, with an empty body.
pub(in crate::edge) fn head() -> Response<Body> {
    let mut response = Response::new(Body::default());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    // nginx, and proxies that follow it, do not buffer an answer with this header.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The body of an SSE answer, until the client disconnects or the host closes it.
pub(in crate::edge) struct EventStream {
    visitor: LocalSocket,
    incarnation: Incarnation,
    /// The last event was sent.
    closed: bool,
    /// Resolves when the client has ended its half of an HTTP/1.1 connection; absent afterwards.
    input_ended: Option<InputEnded>,
    ping_every: Duration,
    /// When the identity that let it in expires.
    expires_at: Option<UnixMillis>,
    said_at: Instant,
    alarm: Pin<Box<Sleep>>,
    _registration: Registration,
    _admitted: SocketPermits,
}

type InputEnded = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl HttpBody for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut().poll_next(context).map(|next| next.map(|events| Ok(Frame::data(events))))
    }
}

impl EventStream {
    /// The next piece to send; `None` after the close event.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.closed {
            return Poll::Ready(None);
        }
        loop {
            let events = self.take(context);
            if !events.is_empty() {
                self.said_at = clock::monotonic();
                return Poll::Ready(Some(events));
            }
            // The client may have closed the connection. Then it is reset as soon as something is sent.
            if self.input_ended.take_if(|ended| ended.as_mut().poll(context).is_ready()).is_some() {
                self.said_at = clock::monotonic();
                return Poll::Ready(Some(Bytes::from_static(SIGN_OF_LIFE)));
            }
            ready!(self.alarm.as_mut().poll(context));
            if self.expires_at.is_some_and(|at| at <= clock::unix_millis()) {
                self.visitor.client().close(CloseReason::Expired.code(), &CloseReason::Expired.reason());
                continue;
            }
            let quiet = clock::since(self.said_at);
            if quiet >= self.ping_every {
                self.said_at = clock::monotonic();
                return Poll::Ready(Some(Bytes::from_static(SIGN_OF_LIFE)));
            }
            self.set_alarm(self.ping_every - quiet);
        }
    }

    /// All waiting events, in one piece.
    fn take(&mut self, context: &mut Context<'_>) -> Bytes {
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Poll::Ready(next) = self.visitor.poll_next(context) {
            let events = match next {
                Next::Message(said) => self.incarnation.mark(&said),
                Next::Closed(code, reason) => {
                    self.closed = true;
                    goodbye(code, &reason)
                }
            };
            // Usually there is one, and its encoded bytes are shared with all other readers.
            if first.is_empty() {
                first = events;
            } else {
                if all.is_empty() {
                    all.extend_from_slice(&first);
                }
                all.extend_from_slice(&events);
            }
            if self.closed {
                break;
            }
        }
        if all.is_empty() { first } else { all.freeze() }
    }

    /// Wakes the stream after a while, or when the identity expires.
    fn set_alarm(&mut self, after: Duration) {
        let until_expiry = |at: UnixMillis| Duration::from_millis(at.saturating_sub(clock::unix_millis()));
        let after = self.expires_at.map_or(after, |at| after.min(until_expiry(at)));
        self.alarm.as_mut().reset((clock::monotonic() + after).into());
    }
}

/// The incarnation of the room's numbering that the events of one stream belong to. The first message of a chat tells
/// it. Each `id` repeats it, so that a browser that reconnects sends it beside the number.
enum Incarnation {
    /// No message was sent yet.
    Unknown,
    /// The room does not tell one.
    None,
    /// The text that follows the number.
    Is(String),
}

impl Incarnation {
    /// Encodes a message as one event, with the incarnation in its `id`.
    fn mark(&mut self, said: &OutboundMessage) -> Bytes {
        let message = match said.parts() {
            Ok(message) => message,
            Err(several) => {
                let marked = several.iter().map(|said| self.mark(said)).collect::<Vec<_>>();
                return marked.concat().into();
            }
        };
        if matches!(self, Incarnation::Unknown) {
            *self = Self::told_by(message);
        }
        let event = said.encoded(Form::Event, encode);
        match self {
            Incarnation::Is(name) if event.starts_with(ID) => {
                let end = event.iter().position(|byte| *byte == b'\n').unwrap_or(event.len());
                let mut marked = BytesMut::with_capacity(event.len() + 1 + name.len());
                marked.extend_from_slice(&event[..end]);
                marked.extend_from_slice(b".");
                marked.extend_from_slice(name.as_bytes());
                marked.extend_from_slice(&event[end..]);
                marked.freeze()
            }
            _ => event.clone(),
        }
    }

    fn told_by(message: &Message) -> Self {
        #[derive(Deserialize)]
        struct History {
            incarnation: Option<String>,
        }

        let Message::Text(text) = message else { return Incarnation::None };
        let told = serde_json::from_str::<History>(text).ok().and_then(|history| history.incarnation);
        let is_name = |name: &String| {
            (1..=INCARNATION_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        told.filter(is_name).map_or(Incarnation::None, Incarnation::Is)
    }
}

fn goodbye(code: u16, reason: &str) -> Bytes {
    format!("event: close\ndata: {}\n\n", json!({ "code": code, "reason": reason })).into()
}

/// Encodes a message as one event. Events cannot carry bytes, so a binary message becomes an event `binary` in base64.
fn encode(message: &Message) -> Bytes {
    let text = match message {
        Message::Text(text) => text,
        Message::Binary(bytes) => return format!("event: binary\ndata: {}\n\n", BASE64_STANDARD.encode(bytes)).into(),
    };
    let mut event = String::with_capacity(text.len() + 32);
    if let Some(seq) = place(text) {
        event.push_str(&format!("id: {seq}\n"));
    }
    // Any kind of line break ends a line of an event; the reader joins the lines again.
    for line in text.replace("\r\n", "\n").split(['\n', '\r']) {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event.into()
}

/// The message's number in its room's history, which `since` understands. The chat's `message` and `history` have it,
/// and so does any room that writes `seq` in the same places.
fn place(text: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        seq: Option<u64>,
    }

    #[derive(Deserialize)]
    struct Placed {
        message: Option<Numbered>,
        messages: Option<Vec<Numbered>>,
    }

    let placed = serde_json::from_str::<Placed>(text).ok()?;
    let last = || placed.messages.and_then(|messages| messages.into_iter().next_back());
    placed.message.or_else(last)?.seq
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> String {
        String::from_utf8(encode(&Message::Text(text.into())).to_vec()).unwrap()
    }

    #[test]
    fn a_numbered_message_has_an_event_id_to_resume_from() {
        let message = r#"{"type":"message","message":{"id":"a","seq":7}}"#;
        assert_eq!(event(message), format!("id: 7\ndata: {message}\n\n"));
        let history = r#"{"type":"history","messages":[{"seq":5},{"seq":6}]}"#;
        assert_eq!(event(history), format!("id: 6\ndata: {history}\n\n"));
    }

    #[test]
    fn a_message_without_a_number_has_no_event_id() {
        for text in [
            r#"{"type":"history","messages":[]}"#,
            r#"{"type":"error","message":"no"}"#,
            r#"{"type":"message","message":{"seq":-1}}"#,
            "hello",
            "",
        ] {
            assert_eq!(event(text), format!("data: {text}\n\n"));
        }
    }

    #[test]
    fn an_event_id_names_the_incarnation_of_the_history() {
        let said = |text: &str| OutboundMessage::new(Message::Text(text.into()));
        let mark = |incarnation: &mut Incarnation, said: &OutboundMessage| {
            String::from_utf8(incarnation.mark(said).to_vec()).unwrap()
        };
        let history = r#"{"type":"history","messages":[{"seq":5}],"incarnation":"0f"}"#;
        let message = r#"{"type":"message","message":{"seq":6}}"#;
        let mut incarnation = Incarnation::Unknown;
        assert_eq!(mark(&mut incarnation, &said(history)), format!("id: 5.0f\ndata: {history}\n\n"));
        let together = OutboundMessage::together(vec![said(message), said("hello"), said(message)]);
        let one = format!("id: 6.0f\ndata: {message}\n\n");
        assert_eq!(mark(&mut incarnation, &together), format!("{one}data: hello\n\n{one}"));
        for first in ["hello", r#"{"incarnation":7}"#, r#"{"incarnation":"a b"}"#, r#"{"incarnation":""}"#] {
            let mut incarnation = Incarnation::Unknown;
            mark(&mut incarnation, &said(first));
            mark(&mut incarnation, &said(history));
            assert_eq!(mark(&mut incarnation, &said(message)), format!("id: 6\ndata: {message}\n\n"), "{first}");
        }
    }

    #[test]
    fn line_breaks_and_bytes_cannot_break_an_event() {
        assert_eq!(event("a\nid: 9\r\nb\rc"), "data: a\ndata: id: 9\ndata: b\ndata: c\n\n");
        assert_eq!(&encode(&Message::Binary(vec![0, 255]))[..], b"event: binary\ndata: AP8=\n\n");
    }
}

#[cfg(test)]
mod fuzz {
    use dormouse_fuzz::{fuzz, mutated};

    use super::*;

    /// The events that a browser reads from a stream by the HTML standard: the data of each event, and the last number.
    fn read(stream: &str) -> Vec<(Option<String>, String)> {
        let mut events = Vec::new();
        let (mut data, mut id) = (None::<String>, None);
        for line in stream.split_terminator('\n') {
            match line.split_once(':').unwrap_or((line, "")) {
                ("", "") => events.extend(data.take().map(|data| (id.take(), data))),
                ("data", value) => {
                    let value = value.strip_prefix(' ').unwrap_or(value);
                    data = Some(data.map_or(value.to_owned(), |data| data + "\n" + value));
                }
                ("id", value) => id = Some(value.trim_start().to_owned()),
                _ => {}
            }
        }
        events
    }

    #[test]
    fn any_message_becomes_one_event_with_the_same_text() {
        const EXAMPLES: [&[u8]; 4] = [
            br#"{"type":"message","message":{"id":"a","seq":7}}"#,
            br#"{"type":"history","messages":[{"seq":5},{"seq":18446744073709551615}]}"#,
            b"a\nid: 9\r\nevent: close\rdata: x\n\n: \n",
            b"",
        ];
        fuzz(mutated(&EXAMPLES), |bytes| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let event = String::from_utf8(encode(&Message::Text(text.clone())).to_vec()).unwrap();
            let heard = read(&event);
            let [(id, data)] = &heard[..] else { panic!("{} events", heard.len()) };
            assert_eq!(*data, text.replace("\r\n", "\n").replace('\r', "\n"));
            assert_eq!(id.as_ref().map(|id| id.parse::<u64>().unwrap()), place(&text));
        });
    }
}
