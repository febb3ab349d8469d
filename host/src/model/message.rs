//! Messages of sockets, and their encoded form that many clients share.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::limits::{EVENT_ID_BYTES, OUTPUT_BYTES};

/// A complete WebSocket message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Message {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes, for both kinds.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }
}

/// The id of a message: a client of server-sent events gets it, and names the last one when it reconnects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventId(Box<str>);

impl EventId {
    /// An id of 1 to 128 visible ASCII characters. Absent for any other text: a line break would end the field of the
    /// event, and spaces at the ends would not come back in a header.
    pub fn new(id: String) -> Option<Self> {
        // A room makes one for each message, and nearly all are good: without an early end the loop is vectorised.
        let is_visible = id.bytes().fold(true, |so_far, byte| so_far & byte.is_ascii_graphic());
        let good = is_visible && (1..=EVENT_ID_BYTES).contains(&id.len());
        good.then(|| EventId(id.into_boxed_str()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An outgoing message, shared by all its receivers. The first one encodes it for the wire; the others reuse that.
#[derive(Debug, Clone)]
pub struct OutboundMessage(Arc<Inner>);

/// How a message is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As a WebSocket frame.
    Frame,
    /// As a server-sent event.
    Event,
}

#[derive(Debug)]
struct Inner {
    content: Content,
    frame: OnceLock<Bytes>,
    event: OnceLock<Bytes>,
}

#[derive(Debug)]
enum Content {
    One(Message, Option<EventId>),
    /// Several messages in order.
    Together(Vec<OutboundMessage>),
}

impl OutboundMessage {
    /// An outgoing message.
    pub fn new(message: Message) -> Self {
        Self::of(Content::One(message, None))
    }

    /// An outgoing message with an id.
    pub fn with_id(message: Message, id: EventId) -> Self {
        Self::of(Content::One(message, Some(id)))
    }

    /// Several messages for the same receivers, merged into one.
    pub fn together(messages: Vec<OutboundMessage>) -> Self {
        Self::of(Content::Together(messages))
    }

    fn of(content: Content) -> Self {
        OutboundMessage(Arc::new(Inner { content, frame: OnceLock::new(), event: OnceLock::new() }))
    }

    /// Whether this is the same message, and not only an equal one.
    pub fn is(&self, other: &OutboundMessage) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The message; absent if several were merged.
    pub fn message(&self) -> Option<&Message> {
        match &self.0.content {
            Content::One(message, _) => Some(message),
            Content::Together(_) => None,
        }
    }

    /// The id of the message; absent if it has none, or if several were merged.
    pub fn event_id(&self) -> Option<&EventId> {
        match &self.0.content {
            Content::One(_, id) => id.as_ref(),
            Content::Together(_) => None,
        }
    }

    /// The message, or the merged messages.
    pub fn parts(&self) -> Result<&Message, &[OutboundMessage]> {
        match &self.0.content {
            Content::One(message, _) => Ok(message),
            Content::Together(messages) => Err(messages),
        }
    }

    /// The length of all its messages, in bytes.
    pub fn len(&self) -> usize {
        match &self.0.content {
            Content::One(message, _) => message.len(),
            Content::Together(messages) => messages.iter().map(OutboundMessage::len).sum(),
        }
    }

    /// The bytes that it counts in a queue: its own, those of its id, and an overhead for each message, so that a flood
    /// of empty messages is bounded too.
    pub fn queue_bytes(&self) -> usize {
        match &self.0.content {
            Content::One(message, id) => message.len() + id.as_ref().map_or(0, |id| id.as_str().len()) + OUTPUT_BYTES,
            Content::Together(messages) => messages.iter().map(OutboundMessage::queue_bytes).sum(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes on the wire. `encode` runs only at the first call for this form.
    pub fn encoded(&self, form: Form, encode: fn(&Message, Option<&EventId>) -> Bytes) -> &Bytes {
        let encoded = match form {
            Form::Frame => &self.0.frame,
            Form::Event => &self.0.event,
        };
        encoded.get_or_init(|| match &self.0.content {
            Content::One(message, id) => encode(message, id.as_ref()),
            Content::Together(messages) => {
                let mut all =
                    Vec::with_capacity(messages.iter().map(|message| message.encoded(form, encode).len()).sum());
                messages.iter().for_each(|message| all.extend_from_slice(message.encoded(form, encode)));
                all.into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_has_1_to_128_visible_ascii_characters() {
        for id in ["7", "7.0f", "!~", &"x".repeat(128)] {
            assert_eq!(EventId::new(id.into()).expect(id).as_str(), id);
        }
        for id in ["", " ", "a b", " a", "a ", "\t", "a\nid: 9", "\r", "\0", "\u{7f}", "é", &"x".repeat(129)] {
            assert_eq!(EventId::new(id.into()), None, "{id:?}");
        }
    }
}
