//! The messages of links, as postcard writes them. Enums grow only at their end: an older node must be able to read what
//! it knows. It knows no connection; `convert` turns the types of the model into these.

use std::fmt;

use bytes::Bytes;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// From an edge to the owner of rooms. A socket has a number that the edge chose for this link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Up {
    /// A client wants a socket in a room.
    Connect(Box<Connect>),
    /// A client has sent a message.
    Message(u64, Content),
    /// The user of a client has other claims and permissions now.
    Access(u64, Access),
    /// A client has left. Nothing of the socket follows.
    Close(u64, Closed),
    /// So many bytes wait for a client.
    Buffered(u64, u64),
    /// A client has followed its room to this node, after [`Down::HandedOver`]. The messages that the node before has not
    /// run follow. Since version 2.
    Adopt(Box<Adopt>),
}

/// From the owner of rooms to an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Down {
    /// A socket is in its room.
    Seated(u64),
    /// A socket was refused. Nothing of it follows.
    Refused(u64, NotSeated),
    /// Messages of a room to sockets, in order.
    Say(Vec<u64>, Vec<Said>),
    /// The room has run so many messages of a socket.
    Done(u64, u32),
    /// The room has closed a socket.
    Close(u64, u16, String),
    /// The room knows that the client has left: all messages to it were sent. Nothing of the socket follows.
    Left(u64),
    /// The auto-response was given to the message of a socket with this number; the first message of the socket on this
    /// link has the number 0. Since version 2, in place of a [`Down::Done`].
    Answered(u64, u64),
    /// The room of a socket goes on at another node, and so may the socket. Nothing of it follows. Since version 2.
    HandedOver(u64, Box<HandedOver>),
}

/// One time for which a node has had a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenure {
    /// How often the room was claimed before.
    pub epoch: u64,
    /// A random number.
    pub token: u64,
}

/// A socket whose room goes on at another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// The namespace of the room.
    pub namespace: String,
    /// The name of the room.
    pub name: String,
    /// The number of the node.
    pub node: u64,
    /// The tenure that has ended.
    pub tenure: Tenure,
    /// The id of the socket in the room.
    pub id: u64,
}

/// A socket that follows its room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// The number of the socket on this link.
    pub socket: u64,
    /// The tenure that has ended.
    pub tenure: Tenure,
    /// The id of the socket in the room.
    pub id: u64,
}

/// A step of the hand-over of a room, from its owner to the next one. Since version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Passed {
    /// The room runs no more turns, and is offered. The answer is whether the receiver waits for it.
    Offer(Offer),
    /// The sender has let go of the room. The answer says nothing.
    Yours(Yours),
}

/// A room that is offered, with its sockets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The namespace of the room.
    pub namespace: String,
    /// The name of the room.
    pub name: String,
    /// The tenure that ends.
    pub tenure: Tenure,
    /// Its sockets, oldest first.
    pub sockets: Vec<OfferedSocket>,
    /// Its auto-response: the text, and the reply.
    pub auto_response: Option<(String, String)>,
}

/// A socket of such a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedSocket {
    /// Its id in the room.
    pub id: u64,
    /// The id and the name of its user.
    pub user: (String, String),
    /// The claims and permissions of the user.
    pub access: Access,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its attachment.
    pub attachment: Blob,
    /// When it connected, in milliseconds since 1970.
    pub since: u64,
    /// How its client is connected.
    pub kind: Kind,
}

/// A room that the sender has let go of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Yours {
    /// The namespace of the room.
    pub namespace: String,
    /// The name of the room.
    pub name: String,
    /// The tenure that has ended.
    pub tenure: Tenure,
    /// The number of its last commit.
    pub number: u64,
}

/// A client that wants a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// The number of the socket.
    pub socket: u64,
    /// The namespace of the room.
    pub namespace: String,
    /// The name of the room.
    pub name: String,
    /// The id and the name of the user.
    pub user: (String, String),
    /// The request that became the socket.
    pub request: Request,
    /// How the client is connected.
    pub kind: Kind,
}

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A WebSocket.
    WebSocket,
    /// Server-sent events.
    EventStream,
    /// Code of the process at the edge.
    Local,
}

/// A request as a room sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query.
    pub query: Option<String>,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Blob,
    /// The id and the name of the user.
    pub user: Option<(String, String)>,
    /// The claims and permissions of the user.
    pub access: Access,
}

/// An answer of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Blob,
}

/// Claims and permissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The claims as JSON.
    pub claims: String,
    /// One bit for each permission, in their order.
    pub permissions: u8,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Blob),
}

/// A message of a room, with its event id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The content.
    pub content: Content,
    /// The event id.
    pub id: Option<String>,
}

/// The close of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The code.
    pub code: u16,
    /// The reason.
    pub reason: String,
    /// Whether the closing handshake was completed.
    pub clean: bool,
}

/// Why a socket was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotSeated {
    /// The room refused, with this status and reason.
    Refused(u16, String),
    /// The room did not answer.
    NoAnswer(NoAnswer),
    /// The room answered the request.
    Answered(Response),
}

/// Why a room did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoAnswer {
    /// The node does not have the room. Its owner, if that is known.
    Elsewhere(Option<u64>),
    /// There is no such namespace.
    NoNamespace,
    /// The turn failed.
    Failed,
    /// Too many events wait.
    Overloaded,
    /// Too little memory.
    NoMemory,
    /// Too many rooms.
    TooManyRooms,
    /// The storage is not available.
    Broken,
    /// The disk is full.
    NoSpace,
    /// The node is shutting down.
    Draining,
}

/// A request to a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The namespace of the room.
    pub namespace: String,
    /// The name of the room.
    pub name: String,
    /// The request.
    pub request: Request,
    /// For a post of a room: the namespace and the name of that room, and the number of the post.
    pub post: Option<(String, String, u64)>,
}

/// The answer to it.
pub type Answered = Result<Response, NoAnswer>;

/// Something that every node must know. The content is JSON, which the edges of both nodes understand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// A user or a token is revoked.
    Revoked(String),
    /// A revocation was removed.
    Unrevoked(String),
}

/// The answer to it: nothing, or the problem.
pub type Taken = Result<(), String>;

/// A part of the data of a user in a room, to export or to erase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDataAsked {
    /// The namespace of the room.
    pub namespace: String,
    /// The name of the room.
    pub name: String,
    /// Whether it is erased.
    pub erase: bool,
    /// The id of the user.
    pub user: String,
    /// The `next` of the part before; absent for the first part.
    pub after: Option<String>,
}

/// A part of the data of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserData {
    /// It was exported: JSON texts, and where the next part begins.
    Exported(Vec<String>, Option<String>),
    /// It was erased: so many items, and where the next part begins.
    Erased(u32, Option<String>),
}

/// Why there is no such part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoUserData {
    /// The turn failed: the text for the operator.
    Turn(String),
    /// The room did not answer.
    NoAnswer(NoAnswer),
}

/// The answer to [`UserDataAsked`].
pub type UserDataAnswered = Result<UserData, NoUserData>;

/// Bytes. The sequence of numbers that serde would make of a `Vec<u8>` costs a call for each.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Blob(pub Vec<u8>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// A message with its length in four bytes before it.
pub(super) fn framed(message: &impl Serialize) -> Bytes {
    let message = postcard::to_allocvec(message).expect("postcard can write all of these types");
    let length = u32::try_from(message.len()).expect("no message of a room is so long");
    [&length.to_be_bytes()[..], &message].concat().into()
}

/// A message alone.
pub(super) fn plain(message: &impl Serialize) -> Bytes {
    postcard::to_allocvec(message).expect("postcard can write all of these types").into()
}
