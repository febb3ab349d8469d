//! A client without a network: it keeps what it receives until the test asks for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::types::{Message, User};

/// A fake client of a room. A clone is the same client.
#[derive(Clone)]
pub struct TestClient {
    pub(crate) socket: u64,
    pub(crate) ear: Arc<Ear>,
    /// Its user.
    pub user: User,
}

/// Messages and close that one client has received.
#[derive(Default)]
pub(crate) struct Ear(Mutex<Heard>);

#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) messages: Vec<Message>,
    pub(crate) closed: Option<(u16, String)>,
}

impl Ear {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TestClient {
    /// The messages since the last call, as JSON. Fails the test if a message is not JSON text.
    #[track_caller]
    pub fn hears(&self) -> Vec<Value> {
        let mut heard = Vec::new();
        for message in self.hears_raw() {
            match &message {
                Message::Text(text) => match serde_json::from_str(text) {
                    Ok(value) => heard.push(value),
                    Err(error) => panic!("{} heard {text:?}, which is not JSON: {error}", self.user.name),
                },
                Message::Binary(bytes) => panic!("{} heard {bytes:?}, which is binary, not JSON text", self.user.name),
            }
        }
        heard
    }

    /// The messages since the last call.
    pub fn hears_raw(&self) -> Vec<Message> {
        std::mem::take(&mut self.ear.lock().messages)
    }

    /// The types of the messages since the last call, for tests that need no more.
    #[track_caller]
    pub fn hears_types(&self) -> Vec<String> {
        self.hears().iter().map(|heard| heard["type"].as_str().unwrap_or("none").to_owned()).collect()
    }

    /// The code and reason with which the room closed it, if it did.
    pub fn closed(&self) -> Option<(u16, String)> {
        self.ear.lock().closed.clone()
    }
}

/// Checks that each client has received exactly this message since the last call.
#[track_caller]
pub fn all_hear<'a>(clients: impl IntoIterator<Item = &'a TestClient>, expected: &Value) {
    for client in clients {
        assert_eq!(client.hears(), std::slice::from_ref(expected), "heard by {:?}", client.user);
    }
}

/// Checks that no client has received a message since the last call.
#[track_caller]
pub fn none_hears<'a>(clients: impl IntoIterator<Item = &'a TestClient>) {
    for client in clients {
        let heard = client.hears();
        assert!(heard.is_empty(), "{:?} heard {heard:?}", client.user);
    }
}

/// Discards what these clients have received.
pub fn hush<'a>(clients: impl IntoIterator<Item = &'a TestClient>) {
    for client in clients {
        client.hears_raw();
    }
}
