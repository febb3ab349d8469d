//! The API of rooms for the code of an embedder.

use tokio::sync::oneshot;

use super::Rooms;
use super::error::{ConnectError, RequestError};
use super::incoming::Incoming;
use super::local_socket::LocalSocket;
use crate::model::{Address, AddressError, Message, Request, Response, StorageFailed, User};

/// Most names that [`Rooms::list`] returns in one call, which blocks on the disk.
pub const MAX_LISTED_NAMES: usize = 1_000;

/// One room of a host. Cheap to clone; making a handle wakes nothing.
#[derive(Clone)]
pub struct RoomHandle {
    rooms: Rooms,
    address: Address,
}

/// The reason why there is no such room.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RoomLookupError {
    /// No room can have this address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The configuration has no such namespace.
    #[error("there is no namespace {0}; the configuration lists the namespaces")]
    Namespace(String),
}

/// A room that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRoom {
    /// Its name.
    pub name: String,
    /// It has committed data, which survives a restart.
    pub stored: bool,
    /// It has sockets, or had an event recently.
    pub in_memory: bool,
}

impl Rooms {
    /// A room, by namespace and name. Every valid name is a room; a room without events is empty.
    pub fn get(&self, namespace: &str, name: &str) -> Result<RoomHandle, RoomLookupError> {
        let address = Address::new(namespace, name)?;
        match self.namespace(namespace) {
            Some(_) => Ok(RoomHandle { rooms: self.clone(), address }),
            None => Err(RoomLookupError::Namespace(namespace.into())),
        }
    }

    /// Rooms of a namespace, ordered by name, beginning after `after`: rooms with stored data, and rooms in memory. The
    /// list is complete if it is shorter than `limit`.
    ///
    /// Fails: if the disk cannot be read. Limit: [`MAX_LISTED_NAMES`].
    pub fn list(&self, namespace: &str, after: Option<&str>, limit: usize) -> Result<Vec<KnownRoom>, StorageFailed> {
        let limit = limit.min(MAX_LISTED_NAMES);
        let stored = self.0.store.names(namespace, after, limit)?;
        let is_behind = |name: &str| after.is_none_or(|after| name > after);
        let in_memory = self.0.registry.names(namespace, is_behind);
        let both = stored.iter().chain(&in_memory).cloned().collect::<std::collections::BTreeSet<_>>();
        let known = both.into_iter().take(limit).map(|name| KnownRoom {
            stored: stored.contains(&name),
            in_memory: in_memory.contains(&name),
            name,
        });
        Ok(known.collect())
    }
}

impl RoomHandle {
    /// Its address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sends it a request as `request.user`. The answer comes when its turn is durable.
    pub async fn request(&self, request: Request) -> Result<Response, RequestError> {
        self.rooms.request(&self.address, request).await
    }

    /// Connects to it from within this process, as `user`.
    pub async fn connect(&self, request: Request, user: User) -> Result<LocalSocket, ConnectError> {
        self.rooms.connect_local(&self.address, request, user).await
    }

    /// Broadcasts a message to all connected clients, as the system. The code of the room is not called and does not
    /// see it. The message comes after all earlier outputs of the room; this returns when it is on its way.
    pub async fn broadcast(&self, message: Message) -> Result<(), RequestError> {
        let (answer, answered) = oneshot::channel();
        self.rooms.0.deliver(&self.address, Incoming::Broadcast { message, answer })?;
        answered.await.unwrap_or(Err(RequestError::Broken))
    }

    /// Drops its instance as soon as its turn is over. Its sockets stay open.
    pub fn hibernate(&self) {
        self.rooms.hibernate(&self.address);
    }
}
