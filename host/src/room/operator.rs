//! Actions of an operator on one room: close its sockets, put it to sleep, delete it, follow it. The admin listener and
//! embedders call them; `life/operated.rs` does them in the room's own task, between two turns.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Rooms;
use super::error::RequestError;
use super::incoming::Incoming;
use super::mailbox::{Enqueued, Mailbox};
use super::operator_request::{DeleteError, Deleted, OperatorRequest, Slept};
use super::tail::{Tail, TailOf, TooManyTails};
use crate::clock;
use crate::model::{Address, Message};

/// How long a room may take to be put to sleep before the answer says why it is not: longer than any turn without
/// calls should take.
const SLEEP_TIMEOUT: Duration = Duration::from_secs(2);

impl Rooms {
    /// Closes all sockets of a room with this code and reason, behind the messages that wait for them. Their clients
    /// may come back. Returns how many there are; the room is told of each close, as of any other.
    pub async fn close_sockets(&self, address: &Address, code: u16, reason: &str) -> Result<usize, RequestError> {
        let (answer, answered) = oneshot::channel();
        let request = OperatorRequest::CloseSockets { code, reason: reason.into(), answer };
        if !self.ask(address, request) {
            return Ok(0);
        }
        answered.await.map_err(|_| RequestError::Broken)
    }

    /// Broadcasts a message to the clients of a room, as the system, and returns how many there are. The code of the
    /// room is not called and does not see it. A room without clients is not disturbed.
    pub async fn broadcast(&self, address: &Address, message: Message) -> Result<usize, RequestError> {
        let Some(mailbox) = self.0.registry.get(address) else { return Ok(0) };
        let sockets = mailbox.activity.numbers(clock::unix_millis()).sockets as usize;
        let (answer, answered) = oneshot::channel();
        if sockets == 0 {
            return Ok(0);
        }
        self.0.deliver(address, Incoming::Broadcast { message, answer })?;
        answered.await.unwrap_or(Err(RequestError::Broken))?;
        Ok(sockets)
    }

    /// Drops the instance of a room as soon as its turn is over, and says whether that is done after two seconds. Its
    /// sockets stay open, and the next event wakes it.
    pub async fn sleep(&self, address: &Address) -> Result<Slept, RequestError> {
        let Some(mailbox) = self.0.registry.get(address) else {
            return Ok(Slept { was_awake: false, asleep: true, because: Vec::new() });
        };
        let (answer, answered) = oneshot::channel();
        if mailbox.with_sleeping(|_| ()).is_some() || !self.ask(address, OperatorRequest::Sleep(answer)) {
            return Ok(Slept { was_awake: false, asleep: true, because: Vec::new() });
        }
        match clock::timeout(SLEEP_TIMEOUT, answered).await {
            Ok(slept) => slept.map_err(|_| RequestError::Broken),
            Err(_) => {
                let because = self.0.awake_because(address, &mailbox, None);
                Ok(Slept { was_awake: true, asleep: false, because })
            }
        }
    }

    /// Deletes a room: its storage, timers and posts. When this returns, the deletion is durable. Without `force` a room
    /// with sockets is refused; with it, they are closed. The address then means a new, empty room with another
    /// incarnation. Events that waited for the old room get no answer.
    pub async fn delete(&self, address: &Address, force: bool) -> Result<Deleted, DeleteError> {
        let namespace = self.0.namespaces.get(address.namespace()).ok_or(DeleteError::NotFound)?;
        if self.0.is_draining() {
            return Err(RequestError::Draining.into());
        }
        if self.0.registry.get(address).is_none() && !self.is_stored(address).await? {
            return Err(DeleteError::NotFound);
        }
        let (answer, answered) = oneshot::channel();
        let request = OperatorRequest::Delete { force, answer };
        self.0.enqueue(address, namespace, Incoming::Operator(request));
        answered.await.map_err(|_| RequestError::Broken)?
    }

    /// Follows what happens in rooms, from now on. It slows no room: at most 1,024 lines wait, and a reader that is too
    /// slow loses lines and is told how many.
    ///
    /// Fails: if 16 tails are open already.
    pub fn tail(&self, of: TailOf) -> Result<Tail, TooManyTails> {
        self.0.tails.open(of)
    }

    /// Passes a request to a room that is in memory. False if it is not.
    pub(super) fn ask(&self, address: &Address, request: OperatorRequest) -> bool {
        let Some(mailbox) = self.0.registry.get(address) else { return false };
        matches!(Mailbox::deliver(&mailbox, &self.0, Incoming::Operator(request)), Enqueued::Yes)
    }
}
