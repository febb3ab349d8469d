//! The API of rooms for the code of an embedder.

use tokio::sync::oneshot;

use super::Rooms;
use super::error::{ConnectError, RequestError};
use super::incoming::Incoming;
use super::local_socket::LocalSocket;
use super::operator_request::{DeleteError, Deleted};
use crate::model::{
    Address, AddressError, Claims, Message, Permission, Permissions, Request, Response, StorageFailed, User, UserAccess,
};

/// Most names that [`Rooms::list`] returns in one call, which blocks on the disk.
pub const MAX_LISTED_NAMES: usize = 1_000;

/// One room of a host. Cheap to clone; making a handle wakes nothing.
#[derive(Clone)]
pub struct RoomHandle {
    rooms: Rooms,
    address: Address,
}

/// A room for a caller who may not do everything in it: the same checks as for clients from the network. Cheap to
/// clone.
#[derive(Clone)]
pub struct RestrictedRoom {
    room: RoomHandle,
    permissions: Permissions,
    claims: Claims,
    /// The permission that sending takes.
    to_send: Permission,
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

    /// Sends it a request as `request.user`, with the claims and permissions in `request.access`. The answer comes when
    /// its turn is durable.
    pub async fn request(&self, request: Request) -> Result<Response, RequestError> {
        self.rooms.request(&self.address, request).await
    }

    /// Connects to it from within this process, as `user`, with the claims and permissions in `request.access`.
    pub async fn connect(&self, request: Request, user: User) -> Result<LocalSocket, ConnectError> {
        self.rooms.connect_local(&self.address, request, user).await
    }

    /// The same room for a caller with only these permissions. A handle itself may do everything.
    pub fn restricted_to(&self, permissions: Permissions) -> RestrictedRoom {
        let namespace = self.rooms.namespace(self.address.namespace());
        let to_send = namespace.map_or(Permission::Write, |namespace| namespace.to_send);
        RestrictedRoom { room: self.clone(), permissions, claims: Claims::default(), to_send }
    }

    /// Broadcasts a message to all connected clients, as the system. The code of the room is not called and does not
    /// see it. The message comes after all earlier outputs of the room; this returns when it is on its way.
    pub async fn broadcast(&self, message: Message) -> Result<(), RequestError> {
        let (answer, answered) = oneshot::channel();
        self.rooms.0.deliver(&self.address, Incoming::Broadcast { message, answer })?;
        answered.await.unwrap_or(Err(RequestError::Broken))
    }

    /// Deletes it: see [`Rooms::delete`].
    pub async fn delete(&self, force: bool) -> Result<Deleted, DeleteError> {
        self.rooms.delete(&self.address, force).await
    }

    /// Drops its instance as soon as its turn is over. Its sockets stay open.
    pub fn hibernate(&self) {
        self.rooms.hibernate(&self.address);
    }
}

impl RestrictedRoom {
    /// The same room for a user with these claims: those of a token that you have verified yourself, for example.
    ///
    /// ```
    /// # use dormouse::model::{Claims, Permission, Permissions};
    /// # use dormouse::room::{RestrictedRoom, RoomHandle};
    /// fn for_host(room: &RoomHandle) -> RestrictedRoom {
    ///     let claims = serde_json::json!({ "role": "host" });
    ///     let claims = Claims::new(claims.as_object().expect("an object")).expect("it is short");
    ///     let permissions = Permissions::from_iter([Permission::Read, Permission::Write, Permission::Moderate]);
    ///     room.restricted_to(permissions).with_claims(claims)
    /// }
    /// ```
    #[must_use]
    pub fn with_claims(self, claims: Claims) -> Self {
        RestrictedRoom { claims, ..self }
    }

    /// Sends it a request as `request.user`, and tells it the claims and permissions. GET and HEAD take `read`, other
    /// methods `write`; without it the answer is a 403 with the name of the permission, and the room does not see the
    /// request.
    pub async fn request(&self, mut request: Request) -> Result<Response, RequestError> {
        let is_read = matches!(request.method.as_str(), "GET" | "HEAD");
        let needed = if is_read { Permission::Read } else { self.to_send };
        if !self.permissions.has(needed) {
            return Ok(forbidden(needed));
        }
        request.access = self.access();
        self.room.request(request).await
    }

    /// Connects to it from within this process, as `user`. Refused with 403 without `read`. Without `write` the socket
    /// only receives: the answer to each message is an error with the code `forbidden`, and the room does not see it.
    pub async fn connect(&self, mut request: Request, user: User) -> Result<LocalSocket, ConnectError> {
        if !self.permissions.has(Permission::Read) {
            return Err(ConnectError::Refused(403, needs(Permission::Read)));
        }
        request.access = self.access();
        Ok(self.room.connect(request, user).await?.restricted_to(self.permissions))
    }

    fn access(&self) -> UserAccess {
        UserAccess::new(self.claims.clone(), self.permissions)
    }
}

/// The answer to a request without a permission.
fn forbidden(missing: Permission) -> Response {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "detail": needs(missing),
        "permission": missing.name(),
    });
    let headers = vec![("content-type".to_owned(), "application/problem+json".to_owned())];
    Response { status: 403, headers, body: body.to_string().into_bytes() }
}

fn needs(missing: Permission) -> String {
    format!("this needs the permission `{missing}` in this room")
}
