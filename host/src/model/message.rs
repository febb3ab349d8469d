//! What goes over a socket.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// One WebSocket message, whole.
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

    /// Its bytes, of either kind.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }
}

/// A message on its way out, shared by all who get it. The first of them encodes it for the wire, the rest reuse that.
#[derive(Debug, Clone)]
pub struct Said(Arc<Inner>);

/// How a message travels.
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
    /// Several, one behind the other.
    Together(Vec<Said>),
}

impl Said {
    /// A message that is to go out.
    pub fn new(message: Message) -> Self {
        Self::of(Content::One(message))
    }

    /// Several messages that go out to the same people, in one piece.
    pub fn together(said: Vec<Said>) -> Self {
        Self::of(Content::Together(said))
    }

    fn of(content: Content) -> Self {
        Said(Arc::new(Inner { content, frame: OnceLock::new(), event: OnceLock::new() }))
    }

    /// The message itself; absent where there are several.
    pub fn message(&self) -> Option<&Message> {
        match &self.0.content {
            Content::One(message) => Some(message),
            Content::Together(_) => None,
        }
    }

    /// The message itself, or the several that it is made of.
    pub fn parts(&self) -> Result<&Message, &[Said]> {
        match &self.0.content {
            Content::One(message) => Ok(message),
            Content::Together(said) => Err(said),
        }
    }

    /// Bytes of all that it says.
    pub fn len(&self) -> usize {
        match &self.0.content {
            Content::One(message) => message.len(),
            Content::Together(said) => said.iter().map(Said::len).sum(),
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes on the wire, made by `encode` the first time anybody asks for this form.
    pub fn encoded(&self, form: Form, encode: fn(&Message) -> Bytes) -> &Bytes {
        let encoded = match form {
            Form::Frame => &self.0.frame,
            Form::Event => &self.0.event,
        };
        encoded.get_or_init(|| match &self.0.content {
            Content::One(message) => encode(message),
            Content::Together(said) => {
                let mut all = Vec::with_capacity(said.iter().map(|said| said.encoded(form, encode).len()).sum());
                said.iter().for_each(|said| all.extend_from_slice(said.encoded(form, encode)));
                all.into()
            }
        })
    }
}
