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

#[derive(Debug)]
struct Inner {
    message: Message,
    encoded: OnceLock<Bytes>,
}

impl Said {
    /// A message that is to go out.
    pub fn new(message: Message) -> Self {
        Said(Arc::new(Inner { message, encoded: OnceLock::new() }))
    }

    /// The message itself.
    pub fn message(&self) -> &Message {
        &self.0.message
    }

    /// Its form on the wire, made by `encode` the first time anybody asks.
    pub fn encoded(&self, encode: impl FnOnce(&Message) -> Bytes) -> &Bytes {
        self.0.encoded.get_or_init(|| encode(&self.0.message))
    }
}
