//! Server-sent events (SSE): a socket that only receives, for networks that block WebSockets.
//!
//! To its room it is a socket like any other: it has a seat, receives the same messages, and the room learns of its
//! end. On the wire each message is one event with the same text. If the room gave the message an id, it is the event's
//! `id`, so that a browser can resume. The client sends its own messages in separate requests.

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
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Sleep;

use super::close::CloseReason;
use super::registry::TokenIdentity;
use crate::clock::{self, UnixMillis};
use crate::edge::access::socket_access::{Renewed, SocketAccess};
use crate::edge::admission::socket_permits::SocketPermits;
use crate::edge::identity::verified::Verified;
use crate::edge::listener::activity::Activity;
use crate::edge::response::body::Body;
use crate::edge::response::refusals::{not_connected, overloaded};
use crate::edge::{Edge, headers};
use crate::model::{self, Address, EventId, Form, Message, UserAccess};
use crate::room::{LocalSocket, Next};

const CONTENT_TYPE: &str = "text/event-stream";
/// A comment line: it shows proxies and clients that the connection is alive.
const SIGN_OF_LIFE: &[u8] = b": ping\n\n";

/// The pause before a new access is passed again to a room that had no space for it.
const LATE_ACCESS_PAUSE: Duration = Duration::from_millis(100);

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
    access: SocketAccess,
    admitted: SocketPermits,
    activity: Option<Arc<Activity>>,
) -> Response<Body> {
    let token = TokenIdentity::of(&verified);
    let user = verified.room_user().clone();
    let connect = edge.rooms.connect_event_stream(address, request, user.clone());
    let local_socket = match clock::timeout(edge.limits.answer_timeout, connect).await {
        Ok(Ok(local_socket)) => local_socket,
        Ok(Err(error)) => return not_connected(&edge.response_headers, address, error),
        // The room takes the seat back, since it was never taken.
        Err(_) => return overloaded("the room did not answer in time"),
    };
    let (answer_ends, ends) = watch::channel(access.ends_at());
    if verified.expires_at.is_some() || access.ends_at().is_some() {
        tokio::spawn(close_in_time(local_socket.client(), verified.expires_at, ends));
    }
    let registration = edge.sockets.register(local_socket.client(), Arc::new(user), token, access.room(), address);
    let left = local_socket.left();
    tokio::spawn(async move {
        left.await;
        drop(registration);
    });
    let stream = EventStream {
        answer_ends,
        permissions: access.first_frame().map(|frame| encode(&Message::Text(frame), None)),
        access,
        late_access: None,
        _admitted: admitted,
        local_socket,
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

/// Closes a stream when its token expires, or when an answer of the operator's server ends without a new one. The stream
/// does this itself, but is not polled while its client does not read: without this, the client would get all messages
/// that were sent meanwhile.
async fn close_in_time(
    client: Arc<dyn model::Client>,
    expires_at: Option<UnixMillis>,
    mut answer_ends: watch::Receiver<Option<Instant>>,
) {
    loop {
        let left = expires_at.map(|at| Duration::from_millis(at.saturating_sub(clock::unix_millis())));
        let ends_at = *answer_ends.borrow_and_update();
        let answer_left = ends_at.map(|at| at.saturating_duration_since(clock::monotonic()));
        if left.is_some_and(|left| left.is_zero()) {
            return CloseReason::Expired.end(&*client);
        }
        if answer_left.is_some_and(|left| left.is_zero()) {
            return CloseReason::AccessUnknown.end(&*client);
        }
        let Some(left) = left.into_iter().chain(answer_left).min() else { return };
        tokio::select! {
            () = clock::sleep(left) => {}
            changed = answer_ends.changed() => if changed.is_err() { return },
        }
    }
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
    local_socket: LocalSocket,
    /// The event with the client's permissions; it is sent after the room's first messages.
    permissions: Option<Bytes>,
    access: SocketAccess,
    /// When the answer of the operator's server ends. Dropping it ends [`close_in_time`].
    answer_ends: watch::Sender<Option<Instant>>,
    /// A new access that the room had no space for.
    late_access: Option<UserAccess>,
    /// The last event was sent.
    closed: bool,
    /// Resolves when the client has ended its half of an HTTP/1.1 connection; absent afterwards.
    input_ended: Option<InputEnded>,
    ping_every: Duration,
    /// When the identity that let it in expires.
    expires_at: Option<UnixMillis>,
    said_at: Instant,
    alarm: Pin<Box<Sleep>>,
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
            // Before the waiting events, which a busy room never lets run out.
            while let Poll::Ready(renewed) = self.access.poll(context) {
                self.renewed(renewed);
                // Not the whole time again: answers that come more often would keep the stream silent for ever.
                self.set_alarm(self.ping_every.saturating_sub(clock::since(self.said_at)));
            }
            if self.expires_at.take_if(|at| *at <= clock::unix_millis()).is_some() {
                self.local_socket.client().close(CloseReason::Expired.code(), &CloseReason::Expired.reason());
            }
            let mut events = self.take(context);
            if let Some(permissions) = self.permissions.take().filter(|_| !self.closed) {
                events = [events, permissions].concat().into();
            }
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
            self.pass_access();
            if self.expires_at.is_some_and(|at| at <= clock::unix_millis()) {
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

    /// Applies what a new answer of the operator's server allows.
    fn renewed(&mut self, renewed: Renewed) {
        self.answer_ends.send_replace(self.access.ends_at());
        if renewed != Renewed::Same {
            self.late_access = Some(self.access.of_user());
            self.pass_access();
        }
        match CloseReason::after(renewed) {
            Some(why) => why.end(&*self.local_socket.client()),
            None if renewed == Renewed::Changed => {
                self.permissions = self.access.frame().map(|frame| encode(&Message::Text(frame), None));
            }
            None => {}
        }
    }

    /// Passes the user's new access to the room. A room with a full queue gets it a little later.
    fn pass_access(&mut self) {
        if let Some(access) = self.late_access.take() {
            self.late_access = self.local_socket.try_set_access(access).err();
        }
    }

    /// All waiting events, in one piece.
    fn take(&mut self, context: &mut Context<'_>) -> Bytes {
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Poll::Ready(next) = self.local_socket.poll_next(context) {
            let events = match next {
                Next::Message(message) => message.encoded(Form::Event, encode).clone(),
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
        let after = if self.late_access.is_some() { after.min(LATE_ACCESS_PAUSE) } else { after };
        self.alarm.as_mut().reset((clock::monotonic() + after).into());
    }
}

fn goodbye(code: u16, reason: &str) -> Bytes {
    format!("event: close\ndata: {}\n\n", json!({ "code": code, "reason": reason })).into()
}

/// Encodes a message as one event. Events cannot carry bytes, so a binary message becomes an event `binary` in base64.
fn encode(message: &Message, id: Option<&EventId>) -> Bytes {
    let mut event = String::with_capacity(message.len() + 64);
    if let Some(id) = id {
        event.push_str("id: ");
        event.push_str(id.as_str());
        event.push('\n');
    }
    match message {
        Message::Text(text) => {
            // Any kind of line break ends a line of an event; the reader joins the lines again.
            for line in text.replace("\r\n", "\n").split(['\n', '\r']) {
                event.push_str("data: ");
                event.push_str(line);
                event.push('\n');
            }
        }
        Message::Binary(bytes) => {
            event.push_str("event: binary\ndata: ");
            BASE64_STANDARD.encode_string(bytes, &mut event);
            event.push('\n');
        }
    }
    event.push('\n');
    event.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OutboundMessage;

    fn event(text: &str, id: Option<&str>) -> String {
        let id = id.map(|id| EventId::new(id.into()).unwrap());
        String::from_utf8(encode(&Message::Text(text.into()), id.as_ref()).to_vec()).unwrap()
    }

    #[test]
    fn an_event_has_the_id_of_its_message() {
        assert_eq!(event("hello", Some("7.0f")), "id: 7.0f\ndata: hello\n\n");
        let bytes = encode(&Message::Binary(vec![0, 255]), EventId::new("a~b".into()).as_ref());
        assert_eq!(&bytes[..], b"id: a~b\nevent: binary\ndata: AP8=\n\n");
    }

    #[test]
    fn a_message_without_an_id_is_sent_as_it_is() {
        for text in [r#"{"type":"message","message":{"seq":7}}"#, r#"{"messages":[{"seq":7}]}"#, "id: 7", ""] {
            assert_eq!(event(text, None), format!("data: {text}\n\n"));
        }
    }

    #[test]
    fn merged_messages_keep_their_ids() {
        let with_id = |text: &str, id: &str| {
            OutboundMessage::with_id(Message::Text(text.into()), EventId::new(id.into()).unwrap())
        };
        let plain = OutboundMessage::new(Message::Text("two".into()));
        let together = OutboundMessage::together(vec![with_id("one", "1"), plain, with_id("three", "3")]);
        let events = together.encoded(Form::Event, encode);
        assert_eq!(&events[..], b"id: 1\ndata: one\n\ndata: two\n\nid: 3\ndata: three\n\n");
    }

    #[test]
    fn line_breaks_and_bytes_cannot_break_an_event() {
        assert_eq!(event("a\nid: 9\r\nb\rc", None), "data: a\ndata: id: 9\ndata: b\ndata: c\n\n");
        assert_eq!(&encode(&Message::Binary(vec![0, 255]), None)[..], b"event: binary\ndata: AP8=\n\n");
    }
}

#[cfg(test)]
mod fuzz {
    use dormouse_fuzz::{fuzz, mutated};

    use super::*;

    /// The events that a browser reads from a stream by the HTML standard: the data of each event, and its id.
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
                ("id", value) => id = Some(value.strip_prefix(' ').unwrap_or(value).to_owned()),
                _ => {}
            }
        }
        events
    }

    #[test]
    fn any_message_becomes_one_event_with_the_same_text() {
        const EXAMPLES: [&[u8]; 3] =
            [br#"{"type":"message","message":{"id":"a","seq":7}}"#, b"a\nid: 9\r\nevent: close\rdata: x\n\n: \n", b""];
        const IDS: [&[u8]; 3] = [b"7.0f", b"a b", b"\r\ndata: x"];
        fuzz((mutated(&EXAMPLES), mutated(&IDS)), |(bytes, id)| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let id = EventId::new(String::from_utf8_lossy(&id).into_owned());
            let event = String::from_utf8(encode(&Message::Text(text.clone()), id.as_ref()).to_vec()).unwrap();
            let events = read(&event);
            let [(sent_id, data)] = &events[..] else { panic!("{} events", events.len()) };
            assert_eq!(*data, text.replace("\r\n", "\n").replace('\r', "\n"));
            assert_eq!(sent_id.as_deref(), id.as_ref().map(EventId::as_str));
        });
    }
}
