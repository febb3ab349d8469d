//! The interface `sockets`. A socket is a reader of server-sent events, and its own instance serves it.

use super::access::OPEN;
use super::room::access::PermissionSet;
use super::room::sockets::{EventError, Except, Filter, Guest, GuestSocket, Message, Socket, SocketError, User};
use super::{Disk, with_session};
use crate::session::Session;
use crate::state::{self, Change};

const MESSAGE_BYTES: usize = 1 << 20;
const TURN_OUTPUT_BYTES: usize = 16 << 20;
const EVENT_ID_BYTES: usize = 128;
const MAX_TAGS: usize = 10;
const TAG_BYTES: usize = 256;
const ATTACHMENT_BYTES: usize = 16_384;
const REASON_BYTES: usize = 123;

/// The content of a room's handle: the socket's id.
pub(super) struct Handle(u64);

/// A handle on a socket.
pub(super) fn handle(id: u64) -> Socket {
    Socket::new(Handle(id))
}

impl Handle {
    fn with_socket<T>(&self, look: impl FnOnce(&state::Socket) -> T) -> T {
        with_session(|session| {
            look(session.socket(self.0).expect("a room may not read a socket after the turn of its close"))
        })
    }

    fn send_event(&self, message: Message, id: Option<String>) -> Result<(), SocketError> {
        let is_connected = with_session(|session| session.state().sockets.contains_key(&self.0));
        if !is_connected {
            return Err(SocketError::Gone);
        }
        send_to(message, id, |_| vec![self.0])
    }

    /// Adds a change, if the client is connected.
    fn change(&self, change: Change) -> Result<(), SocketError> {
        with_session(|session| match session.state().sockets.contains_key(&self.0) {
            true => Ok(session.change(change)),
            false => Err(SocketError::Gone),
        })
    }
}

impl GuestSocket for Handle {
    fn id(&self) -> u64 {
        self.0
    }

    fn user(&self) -> User {
        self.with_socket(|socket| User { id: socket.user.0.clone(), name: socket.user.1.clone() })
    }

    fn claims_json(&self) -> String {
        "{}".to_owned()
    }

    fn permissions(&self) -> PermissionSet {
        OPEN
    }

    fn tags(&self) -> Vec<String> {
        self.with_socket(|socket| socket.tags.clone())
    }

    fn set_tags(&self, tags: Vec<String>) -> Result<(), SocketError> {
        if tags.len() > MAX_TAGS {
            return Err(SocketError::TooMany(MAX_TAGS as u32));
        }
        if tags.iter().any(|tag| tag.len() > TAG_BYTES) {
            return Err(SocketError::TooLarge(TAG_BYTES as u32));
        }
        self.change(Change::Tag(self.0, tags))
    }

    fn attachment(&self) -> Vec<u8> {
        self.with_socket(|socket| socket.attachment.clone())
    }

    fn set_attachment(&self, attachment: Vec<u8>) -> Result<(), SocketError> {
        if attachment.len() > ATTACHMENT_BYTES {
            return Err(SocketError::TooLarge(ATTACHMENT_BYTES as u32));
        }
        self.change(Change::Attach(self.0, attachment))
    }

    fn send(&self, message: Message) -> Result<(), SocketError> {
        self.send_event(message, None)
    }

    fn send_with_id(&self, message: Message, id: String) -> Result<(), EventError> {
        let id = check_event_id(id)?;
        self.send_event(message, Some(id)).map_err(EventError::NotSent)
    }

    fn close(&self, code: u16, reason: String) -> Result<(), SocketError> {
        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return Err(SocketError::BadCloseCode);
        }
        if reason.len() > REASON_BYTES {
            return Err(SocketError::TooLarge(REASON_BYTES as u32));
        }
        self.change(Change::Close(self.0, code, reason))
    }

    /// Never: readers only receive.
    fn auto_responded_at(&self) -> Option<u64> {
        None
    }

    /// Always 0: only the instance that serves a reader knows its queue.
    fn buffered(&self) -> u64 {
        0
    }
}

impl Guest for Disk {
    type Socket = Handle;

    fn all(filter: Filter) -> Vec<Socket> {
        with_session(|session| matching(session, &filter)).into_iter().map(handle).collect()
    }

    fn count(filter: Filter) -> u32 {
        with_session(|session| matching(session, &filter)).len() as u32
    }

    fn get(id: u64) -> Option<Socket> {
        with_session(|session| session.state().sockets.contains_key(&id)).then(|| handle(id))
    }

    fn broadcast(message: Message, filter: Filter) -> Result<(), SocketError> {
        send_to(message, None, |session| matching(session, &filter))
    }

    fn broadcast_with_id(message: Message, id: String, filter: Filter) -> Result<(), EventError> {
        let id = check_event_id(id)?;
        send_to(message, Some(id), |session| matching(session, &filter)).map_err(EventError::NotSent)
    }

    fn max_message_bytes() -> u32 {
        MESSAGE_BYTES as u32
    }

    /// Does nothing: readers send no messages.
    fn set_auto_response(_: String, _: String) -> Result<(), SocketError> {
        Ok(())
    }

    fn clear_auto_response() {}
}

fn check_event_id(id: String) -> Result<String, EventError> {
    let is_valid = (1..=EVENT_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if is_valid { Ok(id) } else { Err(EventError::BadId) }
}

fn send_to(message: Message, id: Option<String>, to: impl FnOnce(&Session) -> Vec<u64>) -> Result<(), SocketError> {
    let bytes = match &message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) => bytes.len(),
    };
    if bytes > MESSAGE_BYTES {
        return Err(SocketError::TooLarge(MESSAGE_BYTES as u32));
    }
    // Server-sent events are text.
    let Message::Text(text) = message else { return Ok(()) };
    with_session(|session| {
        session.turn().sent += bytes + id.as_ref().map_or(0, String::len);
        assert!(
            session.turn().sent <= TURN_OUTPUT_BYTES,
            "a room sent more than {TURN_OUTPUT_BYTES} bytes in one turn"
        );
        let to = to(session);
        if !to.is_empty() {
            session.change(match id {
                Some(id) => Change::SendWithId(id, text, to),
                None => Change::Send(text, to),
            });
        }
    });
    Ok(())
}

fn matching(session: &Session, filter: &Filter) -> Vec<u64> {
    let matches = |socket: &&state::Socket| {
        let is_excepted = match &filter.except {
            Except::Nobody => false,
            Except::Socket(id) => socket.id == *id,
            Except::User(id) => socket.user.0 == *id,
        };
        !is_excepted
            && filter.user.as_ref().is_none_or(|id| socket.user.0 == *id)
            && filter.tag.as_ref().is_none_or(|tag| socket.tags.contains(tag))
    };
    session.state().sockets.values().filter(matches).map(|socket| socket.id).collect()
}
