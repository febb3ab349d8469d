//! The errors of rooms, for clients, embedders and the operator.

use crate::model::Response;
use crate::store::CommitError;

/// The reason why a room did not accept a client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The room refused the client.
    #[error("{1}")]
    Refused(u16, String),
    /// The room answered the client's request, and gave it no socket.
    #[error("the room answered with status {}", .0.status)]
    Answered(Response),
    /// The room did not answer.
    #[error(transparent)]
    NoAnswer(#[from] RequestError),
}

/// The reason why a room did not answer. The client may retry, unless the case says otherwise.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// The configuration has no such namespace. The author of the router must act.
    #[error("there is no namespace of that name")]
    NoNamespace,
    /// The turn failed; the log has the reason.
    #[error("the room failed")]
    Failed,
    /// Too many events wait for the room.
    #[error("the room is overloaded")]
    Overloaded,
    /// The process has too little memory for one more turn.
    #[error("the server has too little memory now")]
    NoMemory,
    /// The host has as many rooms in memory as it may have.
    #[error("there are too many rooms at once")]
    TooManyRooms,
    /// A commit of the room failed, or its storage cannot be read.
    #[error("the room's storage is not available")]
    Broken,
    /// Another server has the room: its number, if that is known. The room has not seen the request.
    #[error("the room is on another server now")]
    Moved(Option<u64>),
    /// The data disk is full.
    #[error("the server's disk is full")]
    NoSpace,
    /// The host is shutting down.
    #[error("the server is going away")]
    Draining,
}

impl RequestError {
    /// The reason in one word, for spans.
    pub(super) fn word(&self) -> &'static str {
        match self {
            RequestError::NoNamespace => "no_namespace",
            RequestError::Failed => "failed",
            RequestError::Overloaded => "overloaded",
            RequestError::NoMemory => "memory",
            RequestError::TooManyRooms => "rooms",
            RequestError::Broken => "broken",
            RequestError::Moved(_) => "moved",
            RequestError::NoSpace => "space",
            RequestError::Draining => "draining",
        }
    }

    /// The `code` of the error frame for a client that sent a message over a socket.
    pub(super) fn code(&self) -> &'static str {
        match self {
            RequestError::NoSpace => "storage_full",
            RequestError::Overloaded | RequestError::NoMemory | RequestError::TooManyRooms => "overloaded",
            RequestError::NoNamespace
            | RequestError::Failed
            | RequestError::Broken
            | RequestError::Moved(_)
            | RequestError::Draining => "room_failed",
        }
    }
}

/// Why a part of the data of a user was not exported or erased. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum UserDataError {
    /// The turn failed: the text for the operator.
    #[error("{0}")]
    Turn(String),
    /// The room did not answer.
    #[error(transparent)]
    NoAnswer(#[from] RequestError),
}

/// The reason why a host cannot do its work. The operator must act.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Unhealthy {
    /// Nothing can be written.
    #[error(transparent)]
    Disk(#[from] CommitError),
    /// Rooms cannot wake.
    #[error("a room has waited {seconds} s for one of the {awake_rooms} instances; raise `limits.awake_rooms`")]
    NoInstance {
        /// How long it has waited.
        seconds: u64,
        /// The limit.
        awake_rooms: u32,
    },
}
