//! The sockets of this node in rooms of any node: which node owns each room, and which frames its sockets may get.
//!
//! All sockets of a room sit in one tenure of one owner, and frames of others are dropped. When the owner has said, as
//! its last message, that it handed the room over, the edge asks the next owner for the sockets. That one holds its
//! frames until then, so none comes too early, and none is missing: they go over the link that has asked. When anything
//! else happens to the owner, the sockets are closed with 1012 and their clients come back.
//!
//! It does not know clients, connections and the content of events (`E`) and frames (`F`).

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;

use super::ids::{NodeId, RoomId, SocketId, Tenure};
use super::message::{Down, To, Up};
use crate::limits::ROOM_HOPS;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EdgeInput<E, F> {
    /// A client wants a socket in a room.
    Connect {
        /// The new socket.
        socket: SocketId,
        /// The room.
        room: RoomId,
        /// The node that should own the room. It counts only if this edge knows no owner.
        place: NodeId,
        /// The event for the room.
        event: E,
    },
    /// A client has sent something. The caller reads no more from a client with too many events that are not taken.
    Event {
        /// Its socket.
        socket: SocketId,
        /// The event for the room.
        event: E,
    },
    /// A client has gone.
    Leave {
        /// Its socket.
        socket: SocketId,
        /// The event for the room.
        event: E,
    },
    /// The owner of a room says something.
    Message {
        /// The owner, or a node that was or will be.
        from: NodeId,
        /// The room.
        room: RoomId,
        /// The message.
        message: Down<F>,
    },
    /// The link to a node has ended; messages may be lost. A node that is believed to be dead has no link either.
    LinkLost(NodeId),
}

/// Something that the driver has to do. The order of effects matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EdgeEffect<E, F> {
    /// Send a message to the owner of a room. If there is no link, [`EdgeInput::LinkLost`] comes next.
    Send {
        /// The owner.
        to: NodeId,
        /// The room.
        room: RoomId,
        /// The message.
        message: Up<E>,
    },
    /// Write a frame to a client.
    Deliver {
        /// Its socket.
        socket: SocketId,
        /// The frame.
        frame: F,
    },
    /// The room has taken the events of a socket up to this number.
    Taken {
        /// The socket.
        socket: SocketId,
        /// The number of the event.
        number: u64,
    },
    /// Close a socket with 1012. It is unknown which of its last events the room has taken.
    Close(SocketId),
}

/// The sockets of one node. See the [module](super).
#[derive(Debug)]
pub struct Edge<E, F> {
    rooms: BTreeMap<RoomId, Room<E>>,
    room_of: BTreeMap<SocketId, RoomId>,
    frames: PhantomData<fn(F)>,
}

#[derive(Debug)]
struct Room<E> {
    owner: NodeId,
    sits: Sits,
    sockets: BTreeMap<SocketId, Socket<E>>,
    /// How often the room was elsewhere since a socket was seated.
    hops: usize,
}

/// The tenure of the seated sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sits {
    /// No socket is seated.
    Nowhere,
    In(Tenure),
    /// This one has ended. The new owner has not answered yet.
    After(Tenure),
}

#[derive(Debug)]
struct Socket<E> {
    is_seated: bool,
    has_left: bool,
    next: u64,
    /// Events that the owner has not taken, with their numbers.
    events: VecDeque<(u64, E)>,
}

type Effects<E, F> = Vec<EdgeEffect<E, F>>;

impl<E, F> Default for Edge<E, F> {
    fn default() -> Self {
        Edge { rooms: BTreeMap::new(), room_of: BTreeMap::new(), frames: PhantomData }
    }
}

impl<E: Clone, F: Clone> Edge<E, F> {
    /// How many events of a socket are not taken; 0 if it is closed.
    pub fn untaken(&self, socket: SocketId) -> usize {
        let room = self.room_of.get(&socket).and_then(|room| self.rooms.get(room));
        room.map_or(0, |room| room.sockets[&socket].events.len())
    }

    /// Takes an input, and appends what the driver has to do.
    pub fn handle(&mut self, input: EdgeInput<E, F>, effects: &mut Effects<E, F>) {
        match input {
            EdgeInput::Connect { socket, room, place, event } => {
                let state = self.rooms.entry(room).or_insert_with(|| Room::new(place));
                state.sockets.insert(socket, Socket::new());
                self.room_of.insert(socket, room);
                state.event(room, socket, event, effects);
            }
            EdgeInput::Event { socket, event } => {
                if let Some((id, room)) = self.room_mut(socket) {
                    room.event(id, socket, event, effects);
                }
            }
            EdgeInput::Leave { socket, event } => {
                if let Some((id, room)) = self.room_mut(socket) {
                    room.event(id, socket, event, effects);
                    room.sockets.entry(socket).and_modify(|socket| socket.has_left = true);
                }
            }
            EdgeInput::Message { from, room: id, message } => {
                if let Some(room) = self.rooms.get_mut(&id) {
                    room.message(id, from, message, effects);
                    self.tidy(id);
                } else if let Down::Seated { socket, .. } = message {
                    effects.push(EdgeEffect::Send { to: from, room: id, message: Up::Gone { socket } });
                }
            }
            EdgeInput::LinkLost(node) => {
                for id in self.rooms.keys().copied().collect::<Vec<_>>() {
                    let Some(room) = self.rooms.get_mut(&id) else { continue };
                    if room.owner == node {
                        room.close_all(|_| true, effects);
                        self.tidy(id);
                    }
                }
            }
        }
    }

    fn room_mut(&mut self, socket: SocketId) -> Option<(RoomId, &mut Room<E>)> {
        let id = *self.room_of.get(&socket)?;
        let room = self.rooms.get_mut(&id)?;
        room.sockets.get(&socket).is_some_and(|socket| !socket.has_left).then_some((id, room))
    }

    /// Forgets sockets that were closed, and a room without sockets.
    fn tidy(&mut self, id: RoomId) {
        let Some(room) = self.rooms.get(&id) else { return };
        self.room_of.retain(|socket, of| *of != id || room.sockets.contains_key(socket));
        if room.sockets.is_empty() {
            self.rooms.remove(&id);
        }
    }
}

impl<E> Socket<E> {
    fn new() -> Self {
        Socket { is_seated: false, has_left: false, next: 0, events: VecDeque::new() }
    }
}

impl<E: Clone> Room<E> {
    fn new(owner: NodeId) -> Self {
        Room { owner, sits: Sits::Nowhere, sockets: BTreeMap::new(), hops: 0 }
    }

    /// Passes an event of a socket to the owner, and keeps it until the owner has taken it.
    fn event<F>(&mut self, id: RoomId, socket: SocketId, event: E, effects: &mut Effects<E, F>) {
        let Some(state) = self.sockets.get_mut(&socket) else { return };
        let number = state.next;
        state.next += 1;
        state.events.push_back((number, event.clone()));
        effects.push(EdgeEffect::Send { to: self.owner, room: id, message: Up::Event { socket, number, event } });
    }

    fn message<F: Clone>(&mut self, id: RoomId, from: NodeId, message: Down<F>, effects: &mut Effects<E, F>) {
        if from != self.owner {
            // A node that was or will be the owner.
            if let Down::Seated { socket, .. } = message {
                effects.push(EdgeEffect::Send { to: from, room: id, message: Up::Gone { socket } });
            }
            return;
        }
        match message {
            Down::Seated { socket, tenure } => self.seated(id, socket, tenure, effects),
            Down::Say { tenure, to, frame } => {
                if self.sits == Sits::In(tenure) {
                    self.deliver(&to, &frame, effects);
                }
            }
            Down::Taken { socket, number } => {
                let Some(state) = self.sockets.get_mut(&socket) else { return };
                state.events.retain(|(event, _)| *event > number);
                effects.push(EdgeEffect::Taken { socket, number });
                if state.has_left && state.events.is_empty() {
                    self.sockets.remove(&socket);
                }
            }
            Down::Moved { tenure } => {
                // The owner may have dropped the answers to connects too.
                if self.sits == Sits::In(tenure) || self.sits == Sits::Nowhere {
                    self.give_up(id, effects);
                }
            }
            Down::HandedOver { tenure, to } => {
                if self.sits == Sits::In(tenure) {
                    self.follow(id, tenure, to, effects);
                }
            }
            Down::Elsewhere { socket, owner } => {
                if self.sockets.get(&socket).is_some_and(|socket| !socket.is_seated) {
                    self.look_elsewhere(id, owner, effects);
                }
            }
            Down::Adopted { from, tenure } => {
                if self.sits == Sits::After(from) {
                    self.sits = Sits::In(tenure);
                }
            }
            Down::NotAdopted { from } => {
                if self.sits == Sits::After(from) {
                    self.leave_tenure(effects);
                }
            }
        }
    }

    fn seated<F>(&mut self, id: RoomId, socket: SocketId, tenure: Tenure, effects: &mut Effects<E, F>) {
        if !self.sockets.contains_key(&socket) {
            effects.push(EdgeEffect::Send { to: self.owner, room: id, message: Up::Gone { socket } });
            return;
        }
        // Messages of one node come in order, so this is its newest tenure.
        if self.sits != Sits::In(tenure) {
            self.leave_tenure(effects);
        }
        self.sits = Sits::In(tenure);
        self.hops = 0;
        self.sockets.entry(socket).and_modify(|socket| socket.is_seated = true);
    }

    /// The owner has handed the room over: its sockets go on with the next owner.
    fn follow<F>(&mut self, id: RoomId, tenure: Tenure, to: NodeId, effects: &mut Effects<E, F>) {
        self.owner = to;
        self.sits = Sits::After(tenure);
        let seated = self.sockets.iter().filter(|(_, socket)| socket.is_seated).map(|(id, _)| *id);
        let message = Up::Adopt { tenure, sockets: seated.collect() };
        effects.push(EdgeEffect::Send { to, room: id, message });
        self.send_again(id, effects);
    }

    /// The node that was asked does not own the room. Sockets that were seated there sit nowhere.
    fn look_elsewhere<F>(&mut self, id: RoomId, owner: NodeId, effects: &mut Effects<E, F>) {
        self.leave_tenure(effects);
        self.sockets.retain(|_, socket| !socket.has_left);
        self.owner = owner;
        self.hops += 1;
        if self.hops > ROOM_HOPS {
            self.close_all(|_| true, effects);
        }
        self.send_again(id, effects);
    }

    /// Sends the events that the last owner has not taken to the owner of now.
    fn send_again<F>(&mut self, id: RoomId, effects: &mut Effects<E, F>) {
        for (socket, state) in &self.sockets {
            for (number, event) in &state.events {
                let message = Up::Event { socket: *socket, number: *number, event: event.clone() };
                effects.push(EdgeEffect::Send { to: self.owner, room: id, message });
            }
        }
    }

    fn deliver<F: Clone>(&self, to: &To, frame: &F, effects: &mut Effects<E, F>) {
        let is_addressed = |socket: &SocketId| match to {
            To::Everyone => true,
            To::Socket(only) => socket == only,
        };
        for (socket, state) in &self.sockets {
            if state.is_seated && !state.has_left && is_addressed(socket) {
                effects.push(EdgeEffect::Deliver { socket: *socket, frame: frame.clone() });
            }
        }
    }

    /// Closes the seated sockets. Those that still want to connect stay.
    fn leave_tenure<F>(&mut self, effects: &mut Effects<E, F>) {
        self.close_all(|socket| socket.is_seated, effects);
        self.sits = Sits::Nowhere;
    }

    /// Closes all sockets. The owner is told, in case that it still knows them.
    fn give_up<F>(&mut self, id: RoomId, effects: &mut Effects<E, F>) {
        for socket in self.sockets.keys() {
            effects.push(EdgeEffect::Send { to: self.owner, room: id, message: Up::Gone { socket: *socket } });
        }
        self.close_all(|_| true, effects);
    }

    fn close_all<F>(&mut self, which: impl Fn(&Socket<E>) -> bool, effects: &mut Effects<E, F>) {
        self.sockets.retain(|id, socket| {
            let is_closed = which(socket);
            if is_closed && !socket.has_left {
                effects.push(EdgeEffect::Close(*id));
            }
            !is_closed
        });
    }
}
