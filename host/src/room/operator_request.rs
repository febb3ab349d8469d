//! Requests of an operator to one room, and the answers. The room's own task does it, between two turns.

use tokio::sync::oneshot;

use super::details::Parts;
use super::error::RequestError;
use super::wakefulness::AwakeBecause;
use crate::model::StorageFailed;

/// A request of an operator to a room. It comes before the events that wait.
pub(super) enum OperatorRequest {
    Look(oneshot::Sender<Parts>),
    CloseSockets { code: u16, reason: String, answer: oneshot::Sender<usize> },
    Sleep(oneshot::Sender<Slept>),
    Delete { force: bool, answer: oneshot::Sender<Result<Deleted, DeleteError>> },
}

/// The result of putting a room to sleep.
#[derive(Debug, Clone, PartialEq)]
pub struct Slept {
    /// It had an instance.
    pub was_awake: bool,
    /// It has no instance now.
    pub asleep: bool,
    /// Why it is still awake, or what will wake it soon.
    pub because: Vec<AwakeBecause>,
}

/// A room was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// So many sockets were closed.
    pub closed: usize,
}

fn sockets(count: &usize) -> String {
    if *count == 1 { "1 socket".to_owned() } else { format!("{count} sockets") }
}

/// Why a room was not deleted. Nothing of it was changed.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// Nothing is stored of it, and it is not in memory.
    #[error("there is no such room")]
    NotFound,
    /// It has sockets, and the deletion was not forced.
    #[error("the room has {}; force the deletion to close them first", sockets(.0))]
    HasSockets(usize),
    /// The room did not answer.
    #[error(transparent)]
    NoAnswer(#[from] RequestError),
    /// The disk could not be read.
    #[error(transparent)]
    Storage(#[from] StorageFailed),
}

/// A room that was deleted, and whom to tell when nothing of it is left in memory.
pub(super) struct Deletion {
    pub(super) answer: oneshot::Sender<Result<Deleted, DeleteError>>,
    pub(super) closed: usize,
}

impl Deletion {
    pub(super) fn done(self) {
        // The operator may have gone.
        let _ = self.answer.send(Ok(Deleted { closed: self.closed }));
    }
}
