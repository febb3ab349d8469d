//! Rooms as an embedder's own code speaks to them.

use tokio::sync::oneshot;

use super::mailbox::Incoming;
use super::{ConnectError, NoAnswer, Rooms, Visitor};
use crate::model::{Address, AddressError, Message, Request, Response, StorageFailed, User};

/// Names that [`Rooms::list`] gives at most in one call.
pub const NAMES_A_LIST: usize = 1_000;

/// One room of a host. Cheap to clone; it wakes nothing until something is asked of it.
#[derive(Clone)]
pub struct RoomHandle {
    rooms: Rooms,
    address: Address,
}

/// Why there is no such room.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoRoom {
    /// No room can have this address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The configuration binds no such namespace.
    #[error("there is no namespace {0}; the configuration names those that there are")]
    Namespace(String),
}

/// A room that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRoom {
    /// Its name.
    pub name: String,
    /// It has committed something, and that is there after a restart.
    pub stored: bool,
    /// It has sockets, or had an event lately.
    pub in_memory: bool,
}

impl Rooms {
    /// A room, by namespace and name. Every name is a room; one that nobody spoke to yet is empty.
    pub fn get(&self, namespace: &str, name: &str) -> Result<RoomHandle, NoRoom> {
        let address = Address::new(namespace, name)?;
        match self.namespace(namespace) {
            Some(_) => Ok(RoomHandle { rooms: self.clone(), address }),
            None => Err(NoRoom::Namespace(namespace.into())),
        }
    }

    /// Rooms of a namespace, in the order of their names, beginning behind `after`: those that have stored something, and
    /// those that are in memory. The list is complete when it is shorter than `limit`.
    ///
    /// Fails: where the disk cannot be read.
    /// Limit: [`NAMES_A_LIST`].
    pub fn list(&self, namespace: &str, after: Option<&str>, limit: usize) -> Result<Vec<KnownRoom>, StorageFailed> {
        let limit = limit.min(NAMES_A_LIST);
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

    /// Ask it something, as whoever `request.user` says. The answer comes when the turn that gave it is durable.
    pub async fn request(&self, request: Request) -> Result<Response, NoAnswer> {
        self.rooms.request(&self.address, request).await
    }

    /// Connect to it from within this process, as `user`.
    pub async fn visit(&self, request: Request, user: User) -> Result<Visitor, ConnectError> {
        self.rooms.visit(&self.address, request, user).await
    }

    /// Say something to everybody who is connected, as the system: the room's code is not asked, and does not hear it.
    /// It is heard behind all that the room's turns said before; done when it is on its way.
    pub async fn broadcast(&self, message: Message) -> Result<(), NoAnswer> {
        let (answer, answered) = oneshot::channel();
        self.rooms.deliver(&self.address, Incoming::Say { message, answer })?;
        answered.await.unwrap_or(Err(NoAnswer::Broken))
    }

    /// Drop its instance, as soon as its turn is over. Its sockets stay open.
    pub fn hibernate(&self) {
        self.rooms.hibernate(&self.address);
    }
}
