//! Messages of sockets, and their encoded form that many clients share.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

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
    One(Message),
    /// Several messages in order.
    Together(Vec<OutboundMessage>),
}

impl OutboundMessage {
    /// An outgoing message.
    pub fn new(message: Message) -> Self {
        Self::of(Content::One(message))
    }

    /// Several messages for the same receivers, merged into one.
    pub fn together(messages: Vec<OutboundMessage>) -> Self {
        Self::of(Content::Together(messages))
    }

    fn of(content: Content) -> Self {
        OutboundMessage(Arc::new(Inner { content, frame: OnceLock::new(), event: OnceLock::new() }))
    }

    /// The message; absent if several were merged.
    pub fn message(&self) -> Option<&Message> {
        match &self.0.content {
            Content::One(message) => Some(message),
            Content::Together(_) => None,
        }
    }

    /// The message, or the merged messages.
    pub fn parts(&self) -> Result<&Message, &[OutboundMessage]> {
        match &self.0.content {
            Content::One(message) => Ok(message),
            Content::Together(messages) => Err(messages),
        }
    }

    /// The length of all its messages, in bytes.
    pub fn len(&self) -> usize {
        match &self.0.content {
            Content::One(message) => message.len(),
            Content::Together(messages) => messages.iter().map(OutboundMessage::len).sum(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes on the wire. `encode` runs only at the first call for this form.
    pub fn encoded(&self, form: Form, encode: fn(&Message) -> Bytes) -> &Bytes {
        let encoded = match form {
            Form::Frame => &self.0.frame,
            Form::Event => &self.0.event,
        };
        encoded.get_or_init(|| match &self.0.content {
            Content::One(message) => encode(message),
            Content::Together(messages) => {
                let mut all =
                    Vec::with_capacity(messages.iter().map(|message| message.encoded(form, encode).len()).sum());
                messages.iter().for_each(|message| all.extend_from_slice(message.encoded(form, encode)));
                all.into()
            }
        })
    }
}
