//! The way to rooms that other nodes run, as the rooms of this node see it. The cluster implements it. Without a cluster
//! there is none.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::error::{ConnectError, RequestError, UserDataError};
use crate::model::{
    Address, AutoResponse, Client, Close, DataOf, ErasedData, ExportedData, Message, MovedRoom, PostNumber, Request,
    Response, Socket, TenureId, User, UserAccess,
};

/// An answer that may take a while.
pub type Answers<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The other nodes.
pub trait Peers: Send + Sync {
    /// The number of this node.
    fn this_node(&self) -> u64;

    /// The node that an event of a room should be tried at first; absent if that is this one.
    fn place(&self, address: &Address) -> Option<u64>;

    /// A node was found to own a room.
    fn found(&self, address: &Address, owner: u64);

    /// A room runs no more turns in this tenure, and shall go to another node. Its sockets are kept here until then.
    fn leaves(&self, address: &Address, tenure: TenureId, sockets: Vec<Socket>, auto_response: Option<AutoResponse>);

    /// A room has gone to another node, and the socket `socket` of a client of this node with it. Returns the place that
    /// the client has there. It takes everything, and nothing is sent before the caller lets it set out.
    fn takes_along(&self, to: &MovedRoom, socket: u64, client: Arc<dyn Client>) -> (Box<dyn FarSeat>, SetsOut);

    /// A room has gone to another node, and each of its sockets was told.
    fn gone(&self, address: &Address);

    /// A room was opened at this node. Returns the sockets that came with it, if the tenure that it continues is that of
    /// their node. Others that were announced with the room are closed.
    fn arrives(&self, address: &Address, continues: Option<TenureId>) -> Option<Arrived>;

    /// Asks a room at another node to accept a client.
    ///
    /// Fails: with [`RequestError::Moved`] if the room did not see the request, because the node does not have it or
    /// was not reached.
    fn connect(
        &self,
        node: u64,
        address: Address,
        request: Request,
        user: Arc<User>,
        client: Arc<dyn Client>,
    ) -> Answers<Result<Box<dyn FarSeat>, ConnectError>>;

    /// Sends a request to a room at another node. `post` names the post of a room that it is.
    ///
    /// Fails: as [`connect`](Self::connect).
    fn request(
        &self,
        node: u64,
        address: Address,
        request: Request,
        post: Option<(Address, PostNumber)>,
    ) -> Answers<Result<Response, RequestError>>;

    /// Asks a room at another node for a part of the data of a user, or to erase one.
    ///
    /// Fails: as [`connect`](Self::connect).
    fn user_data(
        &self,
        node: u64,
        address: Address,
        of: DataOf,
        erase: bool,
    ) -> Answers<Result<UserDataPart, UserDataError>>;
}

/// A part of the data of a user in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserDataPart {
    /// It was exported.
    Exported(ExportedData),
    /// It was erased.
    Erased(ErasedData),
}

/// Lets a place set out to its node.
pub type SetsOut = Box<dyn FnOnce() + Send>;

/// Takes the place in the room of a socket that came from another node.
pub type TakesSeat = Box<dyn FnOnce(Box<dyn FarSeat>) + Send>;

/// The sockets of a room that came from another node.
pub struct Arrived {
    /// Each socket, and the receiver of its place in the room.
    pub sockets: Vec<(Socket, TakesSeat)>,
    /// The auto-response of the room.
    pub auto_response: Option<AutoResponse>,
}

/// The place of a client in a room, if one of the two is at another node. Dropping it tells the room that the client is
/// lost.
pub trait FarSeat: Send + Sync {
    /// Delivers a message.
    fn message(&self, message: Message) -> Delivered;

    /// Replaces the claims and permissions of the user.
    ///
    /// Fails: with the access, while too much waits. [`Client::resume`] is called afterwards.
    fn set_access(&self, access: UserAccess) -> Result<(), UserAccess>;

    /// Tells the room that the client has left.
    fn close(&mut self, close: Close);

    /// The auto-response of the room to this text, if the room is here and has set one.
    fn auto_response(&self, _: &str) -> Option<String> {
        None
    }
}

/// The result of delivering a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The message waits for its turn.
    Yes,
    /// The queue of the room is full. [`Client::resume`] is called when it has space again.
    NotNow(Message),
    /// The room is broken; the client will be closed.
    Never,
}
