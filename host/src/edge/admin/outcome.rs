//! The outcome of an action of an operator, and who has the duty to record it.

use std::sync::Arc;

use hyper::StatusCode;

use crate::lock::Lock;

/// The id of the action that a request has recorded, as long as its outcome is not recorded.
#[derive(Clone, Default)]
pub(super) struct Recorded(Arc<Lock<Option<String>>>);

/// The outcome of an action.
pub(super) enum Outcome {
    Done,
    /// With the reason.
    Failed(String),
}

impl Recorded {
    /// Takes the duty to record the outcome, which the answer has otherwise: for an action that goes on behind it.
    pub(super) fn take(&self) -> Recorded {
        Recorded(Arc::new(Lock::new(self.take_id())))
    }

    /// Its action is this one.
    pub(super) fn set(&self, id: String) {
        *self.0.lock() = Some(id);
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.lock().is_some()
    }

    pub(super) fn take_id(&self) -> Option<String> {
        self.0.lock().take()
    }
}

impl Outcome {
    /// The outcome that an answer tells.
    pub(super) fn of(status: StatusCode) -> Self {
        if status.is_success() { Outcome::Done } else { Outcome::Failed(status.to_string()) }
    }
}
