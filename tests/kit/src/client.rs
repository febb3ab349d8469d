//! A client without a network: what it hears is kept until the test asks.

use std::sync::{Arc, Mutex};

use dormouse::model::{Client, Message, Said, SocketKey, User};
use serde_json::Value;

/// One fake client of a room. A clone is the same client.
#[derive(Clone)]
pub struct TestClient {
    pub(crate) key: SocketKey,
    pub(crate) ear: Arc<Ear>,
    /// Who it is.
    pub user: User,
}

#[derive(Default)]
pub(crate) struct Ear {
    heard: Mutex<Vec<Message>>,
    closed: Mutex<Option<(u16, String)>>,
}

impl TestClient {
    /// What it has heard since it was last asked, as JSON. Fails the test on anything that is no JSON text.
    pub fn hears(&self) -> Vec<Value> {
        let parse = |message: Message| match &message {
            Message::Text(text) => {
                serde_json::from_str(text).unwrap_or_else(|error| panic!("{text:?} is no JSON: {error}"))
            }
            Message::Binary(bytes) => panic!("{bytes:?} is binary, not JSON text"),
        };
        self.hears_raw().into_iter().map(parse).collect()
    }

    /// What it has heard since it was last asked.
    pub fn hears_raw(&self) -> Vec<Message> {
        std::mem::take(&mut *self.ear.heard.lock().expect("no holder of this lock panics"))
    }

    /// The types of what it has heard since it was last asked, for tests that care about no more.
    pub fn hears_types(&self) -> Vec<String> {
        self.hears().iter().map(|heard| heard["type"].as_str().unwrap_or("none").to_owned()).collect()
    }

    /// The code and reason with which the room closed it, if it did.
    pub fn closed(&self) -> Option<(u16, String)> {
        self.ear.closed.lock().expect("no holder of this lock panics").clone()
    }
}

/// Each of them has heard this since it was last asked, and nothing else.
pub fn all_hear<'a>(clients: impl IntoIterator<Item = &'a TestClient>, expected: &Value) {
    for client in clients {
        assert_eq!(client.hears(), std::slice::from_ref(expected), "heard by {:?}", client.user);
    }
}

/// None of them has heard anything since it was last asked.
pub fn none_hears<'a>(clients: impl IntoIterator<Item = &'a TestClient>) {
    for client in clients {
        let heard = client.hears();
        assert!(heard.is_empty(), "{:?} heard {heard:?}", client.user);
    }
}

/// What they have heard until now is nothing to the test.
pub fn hush<'a>(clients: impl IntoIterator<Item = &'a TestClient>) {
    for client in clients {
        client.hears_raw();
    }
}

impl Client for Ear {
    fn say(&self, said: &Said) -> bool {
        self.heard.lock().expect("no holder of this lock panics").extend(said.message().cloned());
        false
    }

    fn flush(&self) {}

    fn close(&self, code: u16, reason: &str) {
        *self.closed.lock().expect("no holder of this lock panics") = Some((code, reason.into()));
    }

    fn taken(&self) {}

    fn resume(&self) {}

    fn buffered(&self) -> usize {
        0
    }
}
