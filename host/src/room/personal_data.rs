//! The data of a user in one room: a job of the operator asks for it, or erases it, part by part. Each part is a turn of
//! the room, in order with its events; `life/personal_data.rs` runs it. It does not know which rooms are asked, or why.

use tokio::sync::oneshot;

use super::Rooms;
use super::error::{RequestError, UserDataError};
use super::incoming::Incoming;
use super::peers::UserDataPart;
use crate::limits::ROOM_HOPS;
use crate::model::{Address, Answer, DataOf, ErasedData, Event, ExportedData, StorageFailed};
use crate::store::NotWritten;

impl Rooms {
    /// Whether the code of a namespace declares how the data of a user is exported and erased.
    pub fn declares_personal_data(&self, namespace: &str) -> bool {
        self.namespace(namespace).is_some_and(|namespace| namespace.code.stable().component.declares_personal_data())
    }

    /// The namespaces of all stored rooms, in order, also those that are not configured. Blocks on the disk.
    pub fn stored_namespaces(&self) -> Result<Vec<String>, StorageFailed> {
        self.0.store.namespaces()
    }

    /// A part of what a room keeps about a user. A room that sleeps wakes for it, and sleeps again. A room that another
    /// node runs is asked there.
    pub async fn export_user(&self, address: &Address, of: DataOf) -> Result<ExportedData, UserDataError> {
        match self.user_data(address, of, false).await? {
            UserDataPart::Exported(exported) => Ok(exported),
            UserDataPart::Erased(_) => Err(RequestError::Failed.into()),
        }
    }

    /// Erases a part of what a room keeps about a user. When this returns, it is durable.
    pub async fn erase_user(&self, address: &Address, of: DataOf) -> Result<ErasedData, UserDataError> {
        match self.user_data(address, of, true).await? {
            UserDataPart::Erased(erased) => Ok(erased),
            UserDataPart::Exported(_) => Err(RequestError::Failed.into()),
        }
    }

    /// Moves the stored use of a user to the users without a row of their own. Blocks until that is durable. Rooms
    /// report twice a minute, so what the user did in the last minute may come later.
    pub fn forget_usage_of(&self, user: &str) -> Result<(), NotWritten> {
        self.0.meter.forget_user(&self.0.store, user)
    }

    /// Whether a job with a low priority should wait: the process has too little memory, or the disk is behind.
    pub(crate) fn is_pressed(&self) -> bool {
        self.0.pressure.is_high() || self.0.store.is_behind()
    }

    /// Whether the host is shutting down.
    pub(crate) fn is_draining(&self) -> bool {
        self.0.is_draining()
    }

    /// Asks a room where it is: the node that should have it first, and then those that are named.
    async fn user_data(&self, address: &Address, of: DataOf, erase: bool) -> Result<UserDataPart, UserDataError> {
        let peers = self.0.peers.get();
        let mut node = peers.filter(|_| self.0.registry.get(address).is_none()).and_then(|peers| peers.place(address));
        for _ in 0..=ROOM_HOPS {
            let answered = match (peers, node) {
                (Some(peers), Some(node)) => peers.user_data(node, address.clone(), of.clone(), erase).await,
                _ => self.user_data_for_node(address, of.clone(), erase).await,
            };
            let Err(UserDataError::NoAnswer(RequestError::Moved(owner))) = answered else { return answered };
            // Without a name this node tries, which claims the room or learns who has it.
            node = owner.filter(|owner| Some(*owner) != node);
            if let (Some(peers), Some(owner)) = (peers, node) {
                peers.found(address, owner);
                node = node.filter(|owner| *owner != peers.this_node());
            }
        }
        Err(RequestError::Moved(node).into())
    }

    /// Asks a room of this node for a part of the data of a user, or to erase one.
    ///
    /// Fails: with [`RequestError::Moved`] if another node has the room.
    pub async fn user_data_for_node(
        &self,
        address: &Address,
        of: DataOf,
        erase: bool,
    ) -> Result<UserDataPart, UserDataError> {
        let (answer, answered) = oneshot::channel();
        let event = if erase { Event::EraseUser(of) } else { Event::ExportUser(of) };
        self.0.deliver(address, Incoming::UserData { event, answer })?;
        match answered.await.unwrap_or(Err(RequestError::Broken.into()))? {
            Answer::Exported(exported) => Ok(UserDataPart::Exported(exported)),
            Answer::Erased(erased) => Ok(UserDataPart::Erased(erased)),
            _ => Err(RequestError::Failed.into()),
        }
    }
}
