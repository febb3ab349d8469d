//! The events that enter a room, each with the way back for its answer.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::error::{ConnectError, RequestError, UserDataError};
use super::operator_request::OperatorRequest;
use super::posts::{Outcome, PostId};
use super::seat::Seat;
use crate::model::{Answer, Client, Close, Event, Message, PostNumber, Request, Response, SocketKey, User, UserAccess};
use crate::store::transfer::{CheckedImport, ImportError, Imported};

/// An event for a room, and where its answer goes.
pub(super) enum Incoming {
    Connect {
        request: Request,
        user: Arc<User>,
        client: Arc<dyn Client>,
        answer: oneshot::Sender<Result<Seat, ConnectError>>,
    },
    Message(SocketKey, Message),
    /// A client has shown a new token. The guest is not called.
    Access(SocketKey, UserAccess),
    Close(SocketKey, Close),
    TimersDue,
    Request {
        request: Request,
        /// Absent for a request that is not a post of a room.
        post: Option<PostId>,
        answer: oneshot::Sender<Result<Response, RequestError>>,
    },
    /// The host broadcasts a message.
    Broadcast {
        message: Message,
        answer: oneshot::Sender<Result<(), RequestError>>,
    },
    /// An operator asks something of the room. No turn runs for it.
    Operator(OperatorRequest),
    /// The operator fills a room that has no data.
    Import {
        import: CheckedImport,
        answer: oneshot::Sender<Result<Imported, ImportError>>,
    },
    /// An operator exports or erases a part of the data of a user.
    UserData {
        event: Event,
        answer: oneshot::Sender<Result<Answer, UserDataError>>,
    },
    /// One of the posts of this room was tried.
    Posted {
        number: PostNumber,
        outcome: Outcome,
    },
}

impl Incoming {
    /// Answers an event of a room that another node owns.
    pub(super) fn answer_moved(self) {
        // The receivers may have gone.
        match self {
            Incoming::Connect { answer, .. } => drop(answer.send(Err(RequestError::Moved.into()))),
            Incoming::Request { answer, .. } => drop(answer.send(Err(RequestError::Moved))),
            Incoming::Broadcast { answer, .. } => drop(answer.send(Err(RequestError::Moved))),
            Incoming::UserData { answer, .. } => drop(answer.send(Err(RequestError::Moved.into()))),
            Incoming::Import { answer, .. } => {
                drop(answer.send(Err(ImportError::Failed(RequestError::Moved.to_string()))));
            }
            // They have no answer, or their answer says that the room did not give one.
            Incoming::Message(..)
            | Incoming::Access(..)
            | Incoming::Close(..)
            | Incoming::TimersDue
            | Incoming::Operator(_)
            | Incoming::Posted { .. } => {}
        }
    }
}
