//! Clients that talk, ask and listen, and check everything that they hear.
//!
//! A client numbers its messages. It sends those again that it has not seen, after it has connected anew and has seen
//! what it missed.

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use dormouse_ownership::ownership::{NodeId, SocketId};

use super::database::{Entry, Id};
use super::judge::Promise;
use super::node::Power;
use super::world::{Event, World, trace};

/// How many messages a client sends in all, and how many of them before it has seen the first.
const MESSAGES: u32 = 8;
const AHEAD: usize = 2;

pub(super) struct Client {
    index: u8,
    pub(super) room: usize,
    /// The node at the other end, and the socket there.
    pub(super) connection: Option<(usize, SocketId)>,
    is_welcome: bool,
    /// The highest number that was seen by anyone when it connected.
    floor: u64,
    /// The number of the last message that it has seen.
    seen: u64,
    last: u32,
    left: u32,
    unseen: VecDeque<u32>,
    is_asking: bool,
    /// When the last message in each direction arrives.
    arrivals: [u64; 2],
}

/// What a client tells its node.
pub(super) enum FromClient {
    Connect { client: usize, socket: SocketId, room: usize, since: u64 },
    Message(SocketId, Id),
    Ask(SocketId, u64),
    Typing(SocketId),
    Leave(SocketId),
}

/// What a node tells its client.
pub(super) enum ToClient {
    Frame(Frame),
    Closed,
}

/// An output of a turn.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) epoch: u64,
    /// The number of the turn, over all rooms.
    pub(super) turn: u64,
    /// The number of the last message of the room after the turn.
    pub(super) number: u64,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// The answer to a connect: messages that the client has not seen.
    Welcome(Rc<[Entry]>),
    Message(Id),
    /// The message was stored before.
    Known(Id),
    /// With the highest number that was seen by anyone before the question.
    Answer(u64),
    Typing,
    NotStored(Id),
}

impl Client {
    pub(super) fn new(index: u8, room: usize) -> Self {
        Client {
            index,
            room,
            connection: None,
            is_welcome: false,
            floor: 0,
            seen: 0,
            last: 0,
            left: MESSAGES,
            unseen: VecDeque::new(),
            is_asking: false,
            arrivals: [0; 2],
        }
    }

    /// It has seen everything, and waits for nothing.
    pub(super) fn is_at_rest(&self, number: u64) -> bool {
        self.left == 0 && self.unseen.is_empty() && !self.is_asking && self.is_welcome && self.seen == number
    }

    /// Everything that it knows is from a time that the database has forgotten.
    pub(super) fn start_anew(&mut self, stored: &[Entry]) {
        let last = stored.iter().filter(|(_, id)| id.0 == self.index).map(|(_, id)| id.1).max().unwrap_or(0);
        *self = Client { last, left: MESSAGES / 2, arrivals: self.arrivals, ..Client::new(self.index, self.room) };
    }

    fn closed(&mut self) {
        self.connection = None;
        self.is_welcome = false;
        self.is_asking = false;
    }

    fn sees(&mut self, (number, id): Entry) {
        self.seen = number;
        if id.0 == self.index {
            self.unseen.retain(|unseen| *unseen != id.1);
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Client { index, room, connection, is_welcome, seen, left, unseen, is_asking, .. } = self;
        write!(
            f,
            "c{index} in room {room} at {connection:?}, welcome {is_welcome}, has seen {seen}, has not seen {unseen:?}, \
             asks {is_asking}, wants to send {left}"
        )
    }
}

impl World {
    /// A client does something, if it can.
    pub(super) fn act(&mut self, client: usize) {
        let pause = if self.is_calm { self.random.within(5, 30) } else { self.random.within(20, 250) };
        self.after(pause, Event::Act { client });
        let Client { index, room, connection, is_welcome, .. } = self.clients[client];
        let Some((_, socket)) = connection else { return self.connect(client, room) };
        if !is_welcome {
            return;
        }
        let (this, talk) = (&mut self.clients[client], self.plan.talk);
        let dice = self.random.within(0, 99);
        if this.left > 0 && this.unseen.len() < AHEAD && (dice < talk || self.is_calm) {
            this.left -= 1;
            this.last += 1;
            this.unseen.push_back(this.last);
            let id = (index, this.last);
            self.tell_node(client, FromClient::Message(socket, id));
        } else if dice < 70 && !this.is_asking && !self.is_calm {
            this.is_asking = true;
            let floor = self.judge.floor(room);
            self.tell_node(client, FromClient::Ask(socket, floor));
        } else if dice < 85 && !self.is_calm {
            self.tell_node(client, FromClient::Typing(socket));
        } else if dice < 88 && !self.is_calm {
            self.tell_node(client, FromClient::Leave(socket));
            self.clients[client].closed();
        }
    }

    fn connect(&mut self, client: usize, room: usize) {
        let node = self.random.index(self.nodes.len());
        let socket = self.new_socket();
        let floor = self.judge.floor(room);
        let this = &mut self.clients[client];
        (this.connection, this.floor) = (Some((node, socket)), floor);
        let since = this.seen;
        trace!(self, "c{client} connects to n{node} as {socket:?} since {since}");
        self.tell_node(client, FromClient::Connect { client, socket, room, since });
        if !self.is_calm {
            self.after(1_500, Event::ConnectTimeout { client, socket });
        }
    }

    /// A client that is not welcomed tries another node, as long as there are faults.
    pub(super) fn connect_timeout(&mut self, client: usize, socket: SocketId) {
        let this = &self.clients[client];
        if !self.is_calm && !this.is_welcome && this.connection.is_some_and(|(_, now)| now == socket) {
            self.tell_node(client, FromClient::Leave(socket));
            self.clients[client].closed();
        }
    }

    fn tell_node(&mut self, client: usize, message: FromClient) {
        let Some((node, socket)) = self.clients[client].connection else { return };
        if self.nodes[node].power == Power::Off {
            let delay = self.random.within(1, 30);
            return self.after(delay, Event::ToClient { client, socket, message: ToClient::Closed });
        }
        let id: NodeId = self.nodes[node].id;
        let delay = self.arrival(client, 0);
        self.after(delay, Event::FromClient { node, id, message });
    }

    pub(super) fn tell_client(&mut self, client: usize, socket: SocketId, message: ToClient) {
        let delay = self.arrival(client, 1);
        self.after(delay, Event::ToClient { client, socket, message });
    }

    fn arrival(&mut self, client: usize, direction: usize) -> u64 {
        let arrival = self.now + self.random.within(1, 8);
        let last = &mut self.clients[client].arrivals[direction];
        *last = arrival.max(*last);
        *last - self.now
    }

    pub(super) fn client_hears(&mut self, client: usize, socket: SocketId, message: ToClient) {
        if self.clients[client].connection.is_none_or(|(_, now)| now != socket) {
            return;
        }
        match message {
            ToClient::Closed => {
                trace!(self, "c{client} is closed");
                self.clients[client].closed();
            }
            ToClient::Frame(frame) => self.hear(client, socket, frame),
        }
    }

    fn hear(&mut self, client: usize, socket: SocketId, frame: Frame) {
        trace!(self, "c{client} hears {frame:?}");
        let Client { room, seen, floor, .. } = self.clients[client];
        let Frame { epoch, turn, number, what } = frame;
        let is_strict = self.judge.is_strict;
        if !matches!(what, What::NotStored(_)) {
            self.judge.heard(room, epoch, turn);
        }
        let is_in_order = match &what {
            What::Welcome(_) => number >= seen,
            What::Message(_) => number == seen + 1,
            What::NotStored(_) => true,
            What::Known(_) | What::Answer(_) | What::Typing => number == seen,
        };
        if !is_in_order && is_strict {
            let details = format!("c{client} has seen {seen}, and hears {what:?} at {number}");
            return self.fail(Promise::NothingIsOutOfOrder, details);
        }
        if !is_in_order {
            // The database has lost something: the client begins again.
            self.clients[client].seen = 0;
            if !matches!(what, What::Welcome(_)) {
                self.tell_node(client, FromClient::Leave(socket));
                return self.clients[client].closed();
            }
        }
        let before = match &what {
            What::Welcome(_) => floor,
            What::Answer(floor) => *floor,
            _ => 0,
        };
        if number < before && is_strict {
            let details = format!("c{client} hears {what:?} at {number}, and {before} was seen before");
            return self.fail(Promise::NoStaleAnswer, details);
        }
        let this = &mut self.clients[client];
        let mut saw = Vec::new();
        match what {
            What::Welcome(entries) => {
                saw.extend(entries.iter().copied());
                this.is_welcome = true;
                saw.iter().for_each(|entry| this.sees(*entry));
                this.seen = number;
                let again = this.unseen.iter().map(|number| (this.index, *number)).collect::<Vec<_>>();
                again.into_iter().for_each(|id| self.tell_node(client, FromClient::Message(socket, id)));
            }
            What::Message(id) => {
                saw.push((number, id));
                this.sees((number, id));
            }
            What::Known(id) => this.unseen.retain(|unseen| *unseen != id.1),
            What::Answer(_) => this.is_asking = false,
            What::Typing => {}
            What::NotStored(id) => {
                this.unseen.retain(|unseen| *unseen != id.1);
                self.judge.refused(id);
            }
        }
        for entry in saw {
            if let Err(violation) = self.judge.saw(room, entry) {
                self.violation.get_or_insert(violation);
            }
        }
    }
}
