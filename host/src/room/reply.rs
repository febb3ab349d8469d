//! The reply of a turn to the cause of its event.

use tokio::sync::oneshot;

use super::error::{ConnectError, RequestError, UserDataError};
use super::output_gate::HeldReply;
use super::seat::Seat;
use crate::model::{Answer, Response};

/// A reply, and the channel to its receiver.
pub(super) enum Reply {
    None,
    Connect(Result<Seat, ConnectError>, oneshot::Sender<Result<Seat, ConnectError>>),
    Request(Result<Response, RequestError>, oneshot::Sender<Result<Response, RequestError>>),
    UserData(Result<Answer, UserDataError>, oneshot::Sender<Result<Answer, UserDataError>>),
    /// The broadcast of the host is on its way.
    Broadcast(oneshot::Sender<Result<(), RequestError>>),
    /// The closes of so many sockets are on their way.
    Closed(usize, oneshot::Sender<usize>),
}

impl HeldReply for Reply {
    fn send(self) {
        match self {
            Reply::None => {}
            Reply::Connect(result, answer) => {
                // A seat without a receiver is closed when it is dropped.
                let _ = answer.send(result);
            }
            Reply::Request(result, answer) => {
                let _ = answer.send(result);
            }
            Reply::UserData(result, answer) => {
                let _ = answer.send(result);
            }
            Reply::Broadcast(answer) => {
                let _ = answer.send(Ok(()));
            }
            Reply::Closed(sockets, answer) => {
                let _ = answer.send(sockets);
            }
        }
    }
}
