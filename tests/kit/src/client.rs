//! A client without a network: what it hears is kept until the test asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::model::{Message, User};

/// One fake client of a room. A clone is the same client.
#[derive(Clone)]
pub struct TestClient {
    pub(crate) socket: u64,
    pub(crate) ear: Arc<Ear>,
    /// Who it is.
    pub user: User,
}

/// What one client has heard.
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
    /// What it has heard since it was last asked, as JSON. Fails the test on anything that is no JSON text.
    #[track_caller]
    pub fn hears(&self) -> Vec<Value> {
        let mut heard = Vec::new();
        for message in self.hears_raw() {
            match &message {
                Message::Text(text) => match serde_json::from_str(text) {
                    Ok(value) => heard.push(value),
                    Err(error) => panic!("{} heard {text:?}, which is no JSON: {error}", self.user.name),
                },
                Message::Binary(bytes) => panic!("{} heard {bytes:?}, which is binary, not JSON text", self.user.name),
            }
        }
        heard
    }

    /// What it has heard since it was last asked.
    pub fn hears_raw(&self) -> Vec<Message> {
        std::mem::take(&mut self.ear.lock().messages)
    }

    /// The types of what it has heard since it was last asked, for tests that care about no more.
    #[track_caller]
    pub fn hears_types(&self) -> Vec<String> {
        self.hears().iter().map(|heard| heard["type"].as_str().unwrap_or("none").to_owned()).collect()
    }

    /// The code and reason with which the room closed it, if it did.
    pub fn closed(&self) -> Option<(u16, String)> {
        self.ear.lock().closed.clone()
    }
}

/// Each of them has heard this since it was last asked, and nothing else.
#[track_caller]
pub fn all_hear<'a>(clients: impl IntoIterator<Item = &'a TestClient>, expected: &Value) {
    for client in clients {
        assert_eq!(client.hears(), std::slice::from_ref(expected), "heard by {:?}", client.user);
    }
}

/// None of them has heard anything since it was last asked.
#[track_caller]
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
