//! The events that enter a room, each with the way back for its answer.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::error::{ConnectError, RequestError, UserDataError};
use super::operator_request::OperatorRequest;
use super::posts::{Outcome, PostId};
use super::seat::Seat;
use crate::limits::ROOM_HOPS;
use crate::model::{Answer, Client, Close, Event, Message, PostNumber, Request, Response, SocketKey, User, UserAccess};
use crate::store::transfer::{CheckedImport, ImportError, Imported};

/// An event for a room, and where its answer goes.
pub(super) enum Incoming {
    Connect {
        request: Request,
        user: Arc<User>,
        client: Arc<dyn Client>,
        hops: Hops,
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
        hops: Hops,
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
    /// The room came from another node: it is opened, so that its sockets are in it.
    Arrived,
    /// One of the posts of this room was tried.
    Posted {
        number: PostNumber,
        outcome: Outcome,
    },
}

/// How often an event was at a node that does not have its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hops(usize);

impl Hops {
    /// The event began at this node.
    pub(super) const NONE: Hops = Hops(0);
    /// It came from another node, which is told where the room is, and goes on by itself.
    pub(super) const OVER_LINK: Hops = Hops(usize::MAX);

    /// Whether the event may go to another node before it was tried here.
    pub(super) fn may_begin(self) -> bool {
        self == Self::NONE
    }

    /// Whether it may go on after a node did not have its room.
    pub(super) fn may_go_on(self) -> bool {
        self.0 < ROOM_HOPS
    }
}

impl Incoming {
    /// How often the event was elsewhere; absent for events that never go to another node.
    pub(super) fn hops(&self) -> Option<Hops> {
        match self {
            Incoming::Connect { hops, .. } | Incoming::Request { hops, .. } => Some(*hops),
            _ => None,
        }
    }

    /// Counts a node that did not have the room. Returns false if these are too many.
    pub(super) fn hop(&mut self) -> bool {
        match self {
            Incoming::Connect { hops, .. } | Incoming::Request { hops, .. } if hops.may_go_on() => {
                hops.0 += 1;
                true
            }
            _ => false,
        }
    }

    /// Answers an event of a room that another node owns, whose number may be known.
    pub(super) fn answer_moved(self, owner: Option<u64>) {
        let moved = RequestError::Moved(owner);
        // The receivers may have gone.
        match self {
            Incoming::Connect { answer, .. } => drop(answer.send(Err(moved.into()))),
            Incoming::Request { answer, .. } => drop(answer.send(Err(moved))),
            Incoming::Broadcast { answer, .. } => drop(answer.send(Err(moved))),
            Incoming::UserData { answer, .. } => drop(answer.send(Err(moved.into()))),
            Incoming::Import { answer, .. } => {
                drop(answer.send(Err(ImportError::Failed(moved.to_string()))));
            }
            // They have no answer, or their answer says that the room did not give one.
            Incoming::Message(..)
            | Incoming::Access(..)
            | Incoming::Close(..)
            | Incoming::TimersDue
            | Incoming::Operator(_)
            | Incoming::Arrived
            | Incoming::Posted { .. } => {}
        }
    }
}
