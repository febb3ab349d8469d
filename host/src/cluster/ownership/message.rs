//! The messages between nodes. A link between two nodes carries them in order in each direction, or breaks.

use super::ids::{NodeId, SocketId, Tenure};

/// From the owner of a room to the node that shall own it next, and back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// The sender has paused the room and wants to hand it over. The driver adds the sockets of the room.
    Offer {
        /// The tenure that ends.
        tenure: Tenure,
    },
    /// The receiver of the offer waits for [`Peer::Yours`].
    Accept {
        /// The tenure of the offer.
        tenure: Tenure,
    },
    /// The receiver of the offer holds the room itself.
    Decline {
        /// The tenure of the offer.
        tenure: Tenure,
    },
    /// The sender has let go of the room.
    Yours {
        /// The tenure that has ended.
        tenure: Tenure,
        /// The number of its last commit.
        number: u64,
    },
}

/// From an edge to the owner of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Up<E> {
    /// An event of a socket.
    Event {
        /// The socket.
        socket: SocketId,
        /// The number of the event among those of the socket; a connect is 0.
        number: u64,
        /// The event.
        event: E,
    },
    /// The socket has ended without an event, so the room gets a close.
    Gone {
        /// The socket.
        socket: SocketId,
    },
    /// The edge has got [`Down::HandedOver`]: from now on it takes the frames of the new owner, which has held them.
    Adopt {
        /// The tenure that has ended.
        tenure: Tenure,
        /// The sockets of this edge in the room. Others have ended.
        sockets: Vec<SocketId>,
    },
}

/// From the owner of a room to an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down<F> {
    /// The socket is in the room. It leaves the room as an output of the connect.
    Seated {
        /// The socket.
        socket: SocketId,
        /// The tenure of the owner.
        tenure: Tenure,
    },
    /// An output for sockets.
    Say {
        /// The tenure of the owner.
        tenure: Tenure,
        /// The sockets.
        to: To,
        /// The encoded message.
        frame: F,
    },
    /// The owner has run the events of a socket up to this number, and their outputs have left.
    Taken {
        /// The socket.
        socket: SocketId,
        /// The number of the event.
        number: u64,
    },
    /// The owner has dropped the room, and outputs may be missing: its sockets are closed with 1012.
    Moved {
        /// The tenure that has ended.
        tenure: Tenure,
    },
    /// The last message of a tenure. Nothing is missing, and another node goes on.
    HandedOver {
        /// The tenure that has ended.
        tenure: Tenure,
        /// The next owner.
        to: NodeId,
    },
    /// The receiver of a connect does not own the room.
    Elsewhere {
        /// The socket that wanted to connect.
        socket: SocketId,
        /// The owner.
        owner: NodeId,
    },
    /// The new owner has all the sockets of [`Up::Adopt`]. The frames that it has held follow.
    Adopted {
        /// The tenure that has ended.
        from: Tenure,
        /// The tenure that goes on with the sockets.
        tenure: Tenure,
    },
    /// The node does not have the sockets of [`Up::Adopt`]: they are closed with 1012.
    NotAdopted {
        /// The tenure that has ended.
        from: Tenure,
    },
}

/// The receivers of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// All sockets of the edge that were seated before this message.
    Everyone,
    /// One socket.
    Socket(SocketId),
}
