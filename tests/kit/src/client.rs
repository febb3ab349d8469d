//! A client without a network: it keeps what it receives until the test asks for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::types::{Message, User};

/// A fake client of a room. A clone is the same client.
#[derive(Clone)]
pub struct TestClient {
    pub(crate) socket: u64,
    pub(crate) inbox: Arc<Inbox>,
    /// Its user.
    pub user: User,
}

/// Messages and close that one client has received.
#[derive(Default)]
pub(crate) struct Inbox(Mutex<Received>);

#[derive(Default)]
pub(crate) struct Received {
    /// Each with the id that the room gave it.
    pub(crate) messages: Vec<(Message, Option<String>)>,
    pub(crate) closed: Option<(u16, String)>,
}

impl Inbox {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Received> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TestClient {
    /// The messages since the last call, as JSON. Fails the test if a message is not JSON text.
    #[track_caller]
    pub fn received(&self) -> Vec<Value> {
        let mut received = Vec::new();
        for message in self.received_raw() {
            match &message {
                Message::Text(text) => match serde_json::from_str(text) {
                    Ok(value) => received.push(value),
                    Err(error) => panic!("{} received {text:?}, which is not JSON: {error}", self.user.name),
                },
                Message::Binary(bytes) => {
                    panic!("{} received {bytes:?}, which is binary, not JSON text", self.user.name)
                }
            }
        }
        received
    }

    /// The messages since the last call.
    pub fn received_raw(&self) -> Vec<Message> {
        self.received_with_ids().into_iter().map(|(message, _)| message).collect()
    }

    /// The messages since the last call, each with the id that the room gave it. On a real host only clients of
    /// server-sent events get the id.
    pub fn received_with_ids(&self) -> Vec<(Message, Option<String>)> {
        std::mem::take(&mut self.inbox.lock().messages)
    }

    /// The types of the messages since the last call, for tests that need no more.
    #[track_caller]
    pub fn received_types(&self) -> Vec<String> {
        self.received().iter().map(|received| received["type"].as_str().unwrap_or("none").to_owned()).collect()
    }

    /// The code and reason with which the room closed it, if it did.
    pub fn closed(&self) -> Option<(u16, String)> {
        self.inbox.lock().closed.clone()
    }
}

/// Checks that each client has received exactly this message since the last call.
#[track_caller]
pub fn assert_all_received<'a>(clients: impl IntoIterator<Item = &'a TestClient>, expected: &Value) {
    for client in clients {
        assert_eq!(client.received(), std::slice::from_ref(expected), "received by {:?}", client.user);
    }
}

/// Checks that no client has received a message since the last call.
#[track_caller]
pub fn assert_none_received<'a>(clients: impl IntoIterator<Item = &'a TestClient>) {
    for client in clients {
        let received = client.received();
        assert!(received.is_empty(), "{:?} received {received:?}", client.user);
    }
}

/// Discards what these clients have received.
pub fn discard_received<'a>(clients: impl IntoIterator<Item = &'a TestClient>) {
    for client in clients {
        client.received_raw();
    }
}
