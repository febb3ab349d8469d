//! A node: the driver of the product's rules. It runs the turns of rooms, and keeps their outputs and sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use dormouse_ownership::ownership::{
    Answer, Cached, Config, Down, Edge, EdgeEffect, EdgeInput, Effect, Ended, Fence, Input, LaneId, NodeId, Owner,
    Peer, RoomId, Rows, SocketId, Statement, StatementId, Tenure, To, Up,
};

use super::broken::Broken;
use super::client::{Frame, FromClient, ToClient, What};
use super::database::{Entry, Id, Request};
use super::judge::Promise;
use super::world::{Event, OnLink, World, trace};

pub(super) use super::database::Power;

/// The lanes of a node.
const LANES: u64 = 2;

fn lane_of(room: RoomId) -> LaneId {
    LaneId((room.0 / 2 % LANES) as u16)
}

/// An event of a socket.
#[derive(Debug, Clone)]
pub(super) enum Said {
    Connect { client: u8, since: u64 },
    Message(Id),
    Ask(u64),
    Typing,
    Leave,
}

/// An event that waits for its turn. One without a number comes from the node itself.
struct Waiting {
    edge: NodeId,
    socket: SocketId,
    number: Option<u64>,
    said: Said,
}

struct Socket {
    edge: NodeId,
    client: u8,
    /// Its edge has asked for it, after a hand-over.
    is_adopted: bool,
}

/// An open room.
struct Hosted {
    tenure: Tenure,
    is_paused: bool,
    position: u64,
    number: u64,
    /// What the instance knows: its storage, with the writes that are not confirmed.
    log: Vec<Entry>,
    sockets: BTreeMap<SocketId, Socket>,
    /// Nodes that have had a socket here.
    edges: BTreeSet<NodeId>,
    /// The tenure whose sockets came with a hand-over.
    continues: Option<Tenure>,
    /// Outputs for edges that have not asked for their offered sockets.
    holds: BTreeMap<NodeId, Vec<Down<Frame>>>,
    gate: VecDeque<Held>,
}

/// The outputs of a turn, until they are released.
struct Held {
    position: u64,
    /// The message that the turn stores.
    stores: Option<(SocketId, Id)>,
    outputs: Vec<(NodeId, Down<Frame>)>,
}

struct Flight {
    lane: Option<LaneId>,
    rooms: Vec<RoomId>,
    is_round: bool,
    /// The mistake of two lanes: the rules believe that it is confirmed; what they released waits here.
    released: Option<Vec<(RoomId, Tenure, u64, u64)>>,
    /// Sent again if the round before has not run yet: the mistake of two lanes.
    again: Option<(Request, u32)>,
}

type Cache = BTreeMap<RoomId, (Cached, Vec<Entry>)>;

/// Sockets that come with a room, with the edge and the client of each.
type Sockets = Vec<(SocketId, NodeId, u8)>;

pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) power: Power,
    pub(super) owner: Owner,
    edge: Edge<Said, Frame>,
    /// By index: the id of the node at the other end, and the generation of the link.
    pub(super) peers: Vec<(NodeId, u64)>,
    pub(super) dead: BTreeSet<NodeId>,
    pub(super) deferred: Vec<Event>,
    pub(super) lanes: [Option<(usize, u64)>; LANES as usize],
    pub(super) cache: Cache,
    pub(super) older_cache: Cache,
    inputs: VecDeque<Input>,
    is_busy: bool,
    in_flight: BTreeMap<StatementId, Flight>,
    /// The statement whose early answer is being taken: the mistake of two lanes.
    early: Option<StatementId>,
    hosted: BTreeMap<RoomId, Hosted>,
    mailboxes: BTreeMap<RoomId, VecDeque<Waiting>>,
    runs: BTreeSet<RoomId>,
    reads: BTreeMap<RoomId, Vec<Entry>>,
    /// Sockets of offers that have come, and of those that were accepted.
    offered: BTreeMap<RoomId, Vec<(SocketId, NodeId, u8)>>,
    accepted: BTreeMap<RoomId, (Tenure, Sockets)>,
    /// Edges that have asked for sockets of a room that is not open yet.
    adopting: BTreeMap<(RoomId, NodeId), (Tenure, Vec<SocketId>)>,
    clients: BTreeMap<SocketId, (usize, RoomId)>,
    /// What mistakes need to know: owner and tenure of the seated sockets, rooms that were taken for rolled back,
    /// contents that were read too early, fences of claims.
    seats: BTreeMap<RoomId, (NodeId, Tenure)>,
    denied: BTreeSet<RoomId>,
    read_early: BTreeMap<RoomId, Vec<Entry>>,
    claimed: BTreeMap<RoomId, Fence>,
}

impl Node {
    pub(super) fn new(id: NodeId, nodes: usize) -> Self {
        Node {
            id,
            power: Power::Up,
            owner: Owner::new(Config { me: id, lane_of }),
            edge: Edge::default(),
            peers: vec![(id, 0); nodes],
            dead: BTreeSet::new(),
            deferred: Vec::new(),
            lanes: [None; LANES as usize],
            cache: BTreeMap::new(),
            older_cache: BTreeMap::new(),
            inputs: VecDeque::new(),
            is_busy: false,
            in_flight: BTreeMap::new(),
            early: None,
            hosted: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            runs: BTreeSet::new(),
            reads: BTreeMap::new(),
            offered: BTreeMap::new(),
            accepted: BTreeMap::new(),
            adopting: BTreeMap::new(),
            clients: BTreeMap::new(),
            seats: BTreeMap::new(),
            denied: BTreeSet::new(),
            read_early: BTreeMap::new(),
            claimed: BTreeMap::new(),
        }
    }
}

impl World {
    /// Gives an input to the rules of a node, and carries out all effects before the next input.
    pub(super) fn own(&mut self, node: usize, input: Input) {
        self.nodes[node].inputs.push_back(input);
        if self.nodes[node].is_busy {
            return;
        }
        self.nodes[node].is_busy = true;
        while let Some(input) = self.nodes[node].inputs.pop_front() {
            let is_tick = matches!(input, Input::Tick);
            if !is_tick {
                trace!(self, "n{node} <- {input:?}");
            }
            let mut effects = Vec::new();
            self.nodes[node].owner.handle(self.now, input, &mut effects);
            for effect in effects {
                trace!(self, "n{node} -> {effect:?}");
                self.carry_out(node, effect);
            }
        }
        self.nodes[node].is_busy = false;
    }

    fn carry_out(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Execute { id, lane, statement } => self.start_statement(node, id, lane, statement),
            Effect::Opened { room, tenure, number, cached, continues } => {
                self.opened(node, room, tenure, number, cached, continues);
            }
            Effect::Elsewhere { room, owner } => {
                self.offer_ends(node, room);
                let mailbox = self.nodes[node].mailboxes.remove(&room).unwrap_or_default();
                for Waiting { edge, socket, said, .. } in mailbox {
                    if let Said::Connect { .. } = said {
                        self.send(node, edge, OnLink::Down(room, Down::Elsewhere { socket, owner }));
                    }
                }
            }
            Effect::Release { room, tenure, position, number } => {
                let early = self.nodes[node].early;
                if let Some(flight) = early.and_then(|id| self.nodes[node].in_flight.get_mut(&id)) {
                    flight.released.get_or_insert_default().push((room, tenure, position, number));
                } else {
                    self.release(node, room, tenure, position, number);
                }
            }
            Effect::End { room, tenure, why } => self.end(node, room, tenure, why),
            Effect::Pause(room) => {
                if let Some(hosted) = self.nodes[node].hosted.get_mut(&room) {
                    hosted.is_paused = true;
                }
                self.own(node, Input::Paused(room));
            }
            Effect::Resume(room) => {
                if let Some(hosted) = self.nodes[node].hosted.get_mut(&room) {
                    hosted.is_paused = false;
                }
                self.wake(node, room);
            }
            Effect::Send { to, room, message } => {
                let mut sockets = Vec::new();
                match message {
                    Peer::Offer { .. } => {
                        let hosted = &self.nodes[node].hosted[&room];
                        sockets.extend(hosted.sockets.iter().map(|(id, socket)| (*id, socket.edge, socket.client)));
                    }
                    Peer::Accept { tenure } => {
                        self.offer_ends(node, room);
                        let sockets = self.nodes[node].offered.remove(&room).unwrap_or_default();
                        self.nodes[node].accepted.insert(room, (tenure, sockets));
                    }
                    Peer::Decline { .. } | Peer::Yours { .. } => {}
                }
                self.send(node, to, OnLink::Peer(room, message, sockets));
            }
            Effect::AdoptionEnds(room) => {
                self.close_in_room(node, room, |socket| !socket.is_adopted);
                let holds = self.nodes[node].hosted.get_mut(&room).map(|hosted| std::mem::take(&mut hosted.holds));
                for (edge, messages) in holds.into_iter().flatten() {
                    self.send_all(node, edge, room, messages);
                }
            }
            Effect::OfferEnds(room) => self.offer_ends(node, room),
            Effect::WentBack { room, had, has } => {
                if self.judge.is_strict && !self.was_restored {
                    self.fail(Promise::NoFalseAlarm, format!("n{node}: {room:?} had {had}, has {has}"));
                }
            }
        }
    }

    fn start_statement(&mut self, node: usize, id: StatementId, lane: Option<LaneId>, statement: Statement) {
        let me = self.nodes[node].id;
        let (mut messages, mut rooms, mut is_round) = (Vec::new(), Vec::new(), false);
        match &statement {
            Statement::Round { commits, proofs } => {
                is_round = true;
                for commit in commits {
                    let hosted = &self.nodes[node].hosted[&commit.room];
                    let written = |(number, _): &&Entry| (commit.base + 1..=commit.number).contains(number);
                    messages.push(hosted.log.iter().filter(written).map(|(_, id)| *id).collect());
                    rooms.push(commit.room);
                }
                rooms.extend(proofs.iter().map(|proof| proof.room));
            }
            Statement::Claim { rooms: claimed, .. } if self.broken == Broken::ReadBeforeClaim => {
                for room in claimed {
                    let server = self.random.index(2);
                    let log = self.database.servers[server].rows[room.0 as usize].log.clone();
                    self.nodes[node].read_early.insert(*room, log);
                }
            }
            _ => {}
        }
        let released = (is_round && self.broken == Broken::TwoLanes && !self.is_calm).then(Vec::new);
        let is_early = released.is_some();
        let is_denied = is_round && rooms.iter().all(|room| self.nodes[node].denied.remove(room));
        let token = self.random.next();
        let request = Request { node, me, id, statement, messages, token };
        let is_proof = request.messages.is_empty();
        let again = is_early.then(|| (request.clone(), 20));
        self.nodes[node].in_flight.insert(id, Flight { lane, rooms: rooms.clone(), is_round, released, again });
        if is_denied {
            let answer = Answer::Error { retry: false };
            return self.after(1, Event::Answer { node, id: me, statement: id, answer, content: Vec::new() });
        }
        let is_idle = |room: &RoomId| self.nodes[node].hosted.get(room).is_none_or(|hosted| hosted.gate.is_empty());
        if self.broken == Broken::NoCheckOfIdleRooms && is_round && is_proof && rooms.iter().all(is_idle) {
            let answer = Answer::Done { rows: Rows::Confirmed(rooms), warned: false };
            return self.after(1, Event::Answer { node, id: me, statement: id, answer, content: Vec::new() });
        }
        self.execute(node, lane, request);
        if is_early {
            // The rules are told at once, so that the next round is in flight too.
            self.nodes[node].early = Some(id);
            let answer = Answer::Done { rows: Rows::Confirmed(rooms), warned: false };
            let mut effects = Vec::new();
            self.nodes[node].owner.handle(self.now, Input::Answered { statement: id, answer }, &mut effects);
            let released = effects.extract_if(.., |effect| matches!(effect, Effect::Release { .. }));
            released.collect::<Vec<_>>().into_iter().for_each(|effect| self.carry_out(node, effect));
            self.nodes[node].early = None;
            effects.into_iter().for_each(|effect| self.carry_out(node, effect));
        }
    }

    /// A statement ends, for the node.
    pub(super) fn answer(
        &mut self,
        node: usize,
        statement: StatementId,
        mut answer: Answer,
        content: Vec<(RoomId, Vec<Entry>)>,
    ) {
        let Some(mut flight) = self.nodes[node].in_flight.remove(&statement) else { return };
        if let Some((request, times)) = &mut flight.again
            && match &answer {
                Answer::Done { rows: Rows::Confirmed(rooms), .. } => rooms.is_empty() && *times > 0,
                _ => request.messages.is_empty() && *times > 0,
            }
        {
            *times -= 1;
            let request = request.clone();
            let lane = flight.lane;
            self.nodes[node].in_flight.insert(statement, flight);
            return self.execute(node, lane, request);
        }
        if let Some(lane) = flight.lane
            && answer == Answer::Lost
        {
            let id = self.nodes[node].id;
            self.nodes[node].lanes[lane.0 as usize] = None;
            let delay = self.random.within(2, 60);
            self.after(delay, Event::Connected { node, id, lane });
        }
        if let Some(released) = flight.released {
            let is_done = matches!(&answer, Answer::Done { rows: Rows::Confirmed(rooms), warned: false }
                if flight.rooms.iter().all(|room| rooms.contains(room)));
            if is_done {
                for (room, tenure, position, number) in released {
                    self.release(node, room, tenure, position, number);
                }
            } else {
                // The rules cannot take their step back: the process ends.
                self.crash(node);
            }
            return;
        }
        match &mut answer {
            Answer::Done { warned, .. } if self.broken == Broken::WarningMeansYes => *warned = false,
            Answer::Lost if self.broken == Broken::LostMeansNo && flight.is_round => {
                answer = Answer::Error { retry: false };
                self.nodes[node].denied.extend(&flight.rooms);
            }
            _ => {}
        }
        if let Answer::Done { rows: Rows::Claimed { claimed, .. }, .. } = &mut answer {
            for row in claimed {
                let this = &mut self.nodes[node];
                row.cached = this.cache.get(&row.room).map(|(cached, _)| *cached);
                if let Some(cached) = row.cached.as_mut().filter(|cached| cached.number == row.number)
                    && self.broken == Broken::CacheByNumber
                {
                    cached.token = row.old_token;
                }
                if self.broken == Broken::ReadBeforeClaim {
                    row.cached = None;
                }
                if self.broken == Broken::ReadAnywhere {
                    this.claimed.insert(row.room, row.fence);
                }
            }
        }
        if let Answer::Done { rows: Rows::Read(fences), .. } = &mut answer {
            for (room, fence) in fences {
                if self.broken == Broken::ReadAnywhere {
                    *fence = self.nodes[node].claimed[room];
                }
            }
        }
        for (room, log) in content {
            let early = self.nodes[node].read_early.remove(&room);
            self.nodes[node].reads.insert(room, early.unwrap_or(log));
        }
        self.own(node, Input::Answered { statement, answer });
    }

    fn opened(
        &mut self,
        node: usize,
        room: RoomId,
        tenure: Tenure,
        number: u64,
        cached: bool,
        continues: Option<Tenure>,
    ) {
        let this = &mut self.nodes[node];
        let read = this.reads.remove(&room);
        let log = if cached { this.cache[&room].1.clone() } else { read.unwrap_or_default() };
        let offered = match this.accepted.remove(&room) {
            Some((from, sockets)) if continues == Some(from) => sockets,
            _ => Vec::new(),
        };
        let socket = |(id, edge, client)| (id, Socket { edge, client, is_adopted: false });
        let edges = offered.iter().map(|(_, edge, _)| *edge).collect::<BTreeSet<_>>();
        let does_hold = !matches!(self.broken, Broken::NoHold | Broken::NoHandedOver);
        let holds = edges.iter().filter(|_| does_hold).map(|edge| (*edge, Vec::new())).collect();
        let sockets = offered.into_iter().map(socket).collect();
        let gate = VecDeque::new();
        let hosted =
            Hosted { tenure, is_paused: false, position: 0, number, log, sockets, edges, continues, holds, gate };
        this.hosted.insert(room, hosted);
        let asked = this.adopting.extract_if(.., |(of, _), _| *of == room).collect::<Vec<_>>();
        for ((_, edge), (from, sockets)) in asked {
            self.adopt(node, edge, room, from, sockets);
        }
        self.wake(node, room);
        self.forget_soon(node, room);
    }

    /// The accepted offer of a room leads to nothing.
    fn offer_ends(&mut self, node: usize, room: RoomId) {
        let this = &mut self.nodes[node];
        this.accepted.remove(&room);
        let asked = this.adopting.extract_if(.., |(of, _), _| *of == room).collect::<Vec<_>>();
        for ((_, edge), (from, _)) in asked {
            self.send(node, edge, OnLink::Down(room, Down::NotAdopted { from }));
        }
    }

    /// An edge asks for its sockets, those of `list`. Others have ended.
    fn adopt(&mut self, node: usize, edge: NodeId, room: RoomId, from: Tenure, list: Vec<SocketId>) {
        let this = &mut self.nodes[node];
        let has_broken_rule = matches!(self.broken, Broken::NoHold | Broken::NoHandedOver);
        let held = match this.hosted.get_mut(&room) {
            Some(hosted) if hosted.continues == Some(from) => {
                let held = hosted.holds.remove(&edge).or(has_broken_rule.then(Vec::new));
                for (id, socket) in hosted.sockets.iter_mut().filter(|_| held.is_some()) {
                    socket.is_adopted |= socket.edge == edge && list.contains(id);
                }
                held.map(|held| (hosted.tenure, held))
            }
            None if this.accepted.get(&room).is_some_and(|(accepted, _)| *accepted == from) => {
                this.adopting.insert((room, edge), (from, list));
                return;
            }
            _ => None,
        };
        match held {
            Some((tenure, held)) => {
                self.close_in_room(node, room, |socket| socket.edge == edge && !socket.is_adopted);
                self.send(node, edge, OnLink::Down(room, Down::Adopted { from, tenure }));
                self.send_all(node, edge, room, held);
            }
            None => self.send(node, edge, OnLink::Down(room, Down::NotAdopted { from })),
        }
    }

    fn send_all(&mut self, node: usize, edge: NodeId, room: RoomId, messages: Vec<Down<Frame>>) {
        for message in messages {
            self.send(node, edge, OnLink::Down(room, message));
        }
    }

    fn release(&mut self, node: usize, room: RoomId, tenure: Tenure, position: u64, number: u64) {
        let this = &mut self.nodes[node];
        let Some(hosted) = this.hosted.get_mut(&room).filter(|hosted| hosted.tenure == tenure) else { return };
        let mut outputs = Vec::new();
        while hosted.gate.front().is_some_and(|held| held.position <= position) {
            outputs.extend(hosted.gate.pop_front().expect("it is there").outputs);
        }
        let log = hosted.log.iter().filter(|(of, _)| *of <= number).copied().collect();
        let cached = (Cached { number, token: tenure.0.token }, log);
        if let Some(older) = this.cache.insert(room, cached)
            && self.random.chance(200)
        {
            this.older_cache.insert(room, older);
        }
        for (edge, message) in outputs {
            match self.nodes[node].hosted.get_mut(&room).and_then(|hosted| hosted.holds.get_mut(&edge)) {
                Some(held) => held.push(message),
                None => self.send(node, edge, OnLink::Down(room, message)),
            }
        }
        self.forget_soon(node, room);
    }

    fn end(&mut self, node: usize, room: RoomId, tenure: Tenure, why: Ended) {
        let Some(hosted) = self.nodes[node].hosted.remove(&room) else { return };
        if why == Ended::Refused {
            for (socket, id) in hosted.gate.iter().filter_map(|held| held.stores) {
                let Some(Socket { edge, .. }) = hosted.sockets.get(&socket) else { continue };
                let (epoch, turn, number) = (tenure.0.epoch, 0, 0);
                let frame = Frame { epoch, turn, number, what: What::NotStored(id) };
                let message = Down::Say { tenure, to: To::Socket(socket), frame };
                self.send(node, *edge, OnLink::Down(room, message));
            }
        }
        for edge in hosted.edges {
            let message = match why {
                Ended::HandedOver(to) => Down::HandedOver { tenure, to },
                Ended::Fenced | Ended::Refused | Ended::Forgotten => Down::Moved { tenure },
            };
            self.send(node, edge, OnLink::Down(room, message));
        }
        // Events of sockets that have sat here end with them. Others want to connect, here or elsewhere.
        let this = &mut self.nodes[node];
        if why == Ended::Fenced || why == Ended::Refused {
            this.cache.remove(&room);
        }
        let mailbox = this.mailboxes.entry(room).or_default();
        mailbox.retain(|waiting| !hosted.sockets.contains_key(&waiting.socket));
        self.wake(node, room);
    }

    /// The room learns that sockets have ended.
    fn close_in_room(&mut self, node: usize, room: RoomId, which: impl Fn(&Socket) -> bool) {
        let this = &mut self.nodes[node];
        let Some(hosted) = this.hosted.get(&room) else { return };
        let mailbox = this.mailboxes.entry(room).or_default();
        for (id, socket) in hosted.sockets.iter().filter(|(_, socket)| which(socket)) {
            mailbox.push_back(Waiting { edge: socket.edge, socket: *id, number: None, said: Said::Leave });
        }
        self.wake(node, room);
    }

    /// Lets the events of a room run, or opens it for them.
    fn wake(&mut self, node: usize, room: RoomId) {
        if self.nodes[node].mailboxes.get(&room).is_none_or(VecDeque::is_empty) {
            return;
        }
        match self.nodes[node].hosted.get(&room) {
            Some(hosted) if hosted.is_paused => {}
            Some(_) => {
                if self.nodes[node].runs.insert(room) {
                    let (id, delay) = (self.nodes[node].id, self.random.within(0, 4));
                    self.after(delay, Event::Run { node, id, room });
                }
            }
            None => self.own(node, Input::Open(room)),
        }
    }

    /// Runs the next event of a room.
    pub(super) fn run_room(&mut self, node: usize, room: RoomId) {
        self.nodes[node].runs.remove(&room);
        let this = &mut self.nodes[node];
        let Some(hosted) = this.hosted.get_mut(&room).filter(|hosted| !hosted.is_paused) else { return };
        let Some(waiting) = this.mailboxes.get_mut(&room).and_then(VecDeque::pop_front) else { return };
        let Waiting { edge, socket, number: event, said } = waiting;
        let is_connect = matches!(said, Said::Connect { .. });
        if hosted.sockets.contains_key(&socket) == is_connect {
            // A socket that has ended, or that has connected already.
            return self.wake(node, room);
        }
        let tenure = hosted.tenure;
        self.turns += 1;
        let (turn, epoch) = (self.turns, tenure.0.epoch);
        trace!(self, "n{node} turn {turn} of {room:?}: {socket:?} {said:?}");
        let hosted = self.nodes[node].hosted.get_mut(&room).expect("it was there");
        let (mut outputs, mut stores, mut answers) = (Vec::new(), None, None);
        let mut to_all = None;
        match said {
            Said::Connect { client, since } => {
                hosted.sockets.insert(socket, Socket { edge, client, is_adopted: true });
                hosted.edges.insert(edge);
                outputs.push((edge, Down::Seated { socket, tenure }));
                let missed = hosted.log.iter().filter(|(number, _)| *number > since).copied();
                answers = Some(What::Welcome(missed.collect::<Rc<[Entry]>>()));
            }
            Said::Message(id) => {
                let of_client = hosted.log.iter().rev().find(|(_, stored)| stored.0 == id.0);
                let last = of_client.map_or((id.0, 0), |(_, last)| *last);
                if id.1 <= last.1 {
                    answers = Some(What::Known(id));
                } else if self.judge.is_strict && !self.judge.follows(last, id) {
                    let details = format!("{id:?} comes after {last:?}");
                    return self.fail(Promise::NothingIsOutOfOrder, details);
                } else {
                    hosted.number += 1;
                    hosted.log.push((hosted.number, id));
                    stores = Some((socket, id));
                    to_all = Some(What::Message(id));
                }
            }
            Said::Ask(floor) => answers = Some(What::Answer(floor)),
            Said::Typing => to_all = Some(What::Typing),
            Said::Leave => drop(hosted.sockets.remove(&socket)),
        }
        let number = hosted.number;
        let frame = |what| Frame { epoch, turn, number, what };
        if let Some(what) = answers {
            outputs.push((edge, Down::Say { tenure, to: To::Socket(socket), frame: frame(what) }));
        }
        if let Some(what) = to_all {
            let edges = hosted.sockets.values().map(|socket| socket.edge).collect::<BTreeSet<_>>();
            let say = |edge| (edge, Down::Say { tenure, to: To::Everyone, frame: frame(what.clone()) });
            outputs.extend(edges.into_iter().map(say));
        }
        if let Some(number) = event {
            outputs.push((edge, Down::Taken { socket, number }));
        }
        hosted.position += 1;
        hosted.gate.push_back(Held { position: hosted.position, stores, outputs });
        let writes = stores.is_some();
        self.own(node, Input::Turn { room, tenure, writes });
        self.wake(node, room);
    }

    fn forget_soon(&mut self, node: usize, room: RoomId) {
        let id = self.nodes[node].id;
        if self.is_unused(node, room) {
            let delay = self.random.within(20, 300);
            self.after(delay, Event::Forget { node, id, room });
        }
    }

    fn is_unused(&self, node: usize, room: RoomId) -> bool {
        let this = &self.nodes[node];
        let has_events = this.mailboxes.get(&room).is_some_and(|mailbox| !mailbox.is_empty());
        let is_empty = |hosted: &Hosted| hosted.sockets.is_empty() && hosted.gate.is_empty();
        !has_events && this.hosted.get(&room).is_some_and(is_empty)
    }

    pub(super) fn forget_room(&mut self, node: usize, room: RoomId) {
        if self.is_unused(node, room) {
            self.own(node, Input::Forget(room));
        }
    }

    // Links.

    pub(super) fn receive(&mut self, node: usize, from: NodeId, message: OnLink) {
        trace!(self, "n{node} <- {from:?} {message:?}");
        match message {
            OnLink::Up(room, Up::Event { socket, number, event }) => {
                if let Said::Connect { .. } = event {
                    self.gives_up_offered(node, from, room);
                }
                let waiting = Waiting { edge: from, socket, number: Some(number), said: event };
                self.nodes[node].mailboxes.entry(room).or_default().push_back(waiting);
                self.wake(node, room);
            }
            OnLink::Up(room, Up::Gone { socket }) => {
                let this = &mut self.nodes[node];
                let mailbox = this.mailboxes.entry(room).or_default();
                mailbox.retain(|waiting| waiting.socket != socket);
                if this.hosted.contains_key(&room) {
                    mailbox.push_back(Waiting { edge: from, socket, number: None, said: Said::Leave });
                    self.wake(node, room);
                }
            }
            OnLink::Up(room, Up::Adopt { tenure, sockets }) => self.adopt(node, from, room, tenure, sockets),
            OnLink::Down(room, message) => self.receive_down(node, from, room, message),
            OnLink::Peer(room, message, sockets) => {
                if let Peer::Offer { .. } = message {
                    self.nodes[node].offered.insert(room, sockets);
                }
                self.own(node, Input::Message { from, room, message });
            }
        }
    }

    /// An edge that connects, and has not asked for its offered sockets before, has lost them.
    fn gives_up_offered(&mut self, node: usize, edge: NodeId, room: RoomId) {
        let hosted = self.nodes[node].hosted.get_mut(&room);
        if let Some(held) = hosted.and_then(|hosted| hosted.holds.remove(&edge)) {
            self.close_in_room(node, room, |socket| socket.edge == edge && !socket.is_adopted);
            self.send_all(node, edge, room, held);
        }
    }

    fn receive_down(&mut self, node: usize, from: NodeId, room: RoomId, message: Down<Frame>) {
        let seat = self.nodes[node].seats.get(&room).copied();
        match (&message, seat) {
            (Down::Seated { tenure, .. } | Down::Adopted { tenure, .. }, _) => {
                self.nodes[node].seats.insert(room, (from, *tenure));
            }
            (Down::Say { tenure, to, frame }, Some((owner, now))) => match self.broken {
                Broken::NoHandedOver if owner != from && *tenure > now => {
                    let message = Down::HandedOver { tenure: now, to: from };
                    self.edge(node, EdgeInput::Message { from: owner, room, message });
                    let message = Down::Adopted { from: now, tenure: *tenure };
                    self.edge(node, EdgeInput::Message { from, room, message });
                    self.nodes[node].seats.insert(room, (from, *tenure));
                }
                Broken::OldTenuresLetIn if *tenure < now => {
                    let is_addressed = |socket: &SocketId| matches!(to, To::Everyone) || *to == To::Socket(*socket);
                    let clients = self.nodes[node].clients.iter();
                    let clients = clients.filter(|(socket, (_, of))| *of == room && is_addressed(socket));
                    let clients = clients.map(|(socket, (client, _))| (*socket, *client)).collect::<Vec<_>>();
                    for (socket, client) in clients {
                        self.tell_client(client, socket, ToClient::Frame(frame.clone()));
                    }
                    return;
                }
                _ => {}
            },
            _ => {}
        }
        self.edge(node, EdgeInput::Message { from, room, message });
    }

    /// The link to a node has ended, at this end.
    pub(super) fn lose_link_to(&mut self, node: usize, peer: NodeId) {
        trace!(self, "n{node} has lost the link to {peer:?}");
        for mailbox in self.nodes[node].mailboxes.values_mut() {
            mailbox.retain(|waiting| waiting.edge != peer);
        }
        for room in self.nodes[node].hosted.keys().copied().collect::<Vec<_>>() {
            self.close_in_room(node, room, |socket| socket.edge == peer && socket.is_adopted);
        }
        self.nodes[node].adopting.retain(|(_, edge), _| *edge != peer);
        self.own(node, Input::LinkLost(peer));
        self.edge(node, EdgeInput::LinkLost(peer));
    }

    // The edge.

    pub(super) fn client_says(&mut self, node: usize, message: FromClient) {
        let input = match message {
            FromClient::Connect { client, socket, room, since } => {
                let id = RoomId(room as u64);
                self.nodes[node].clients.insert(socket, (client, id));
                let event = Said::Connect { client: client as u8, since };
                EdgeInput::Connect { socket, room: id, place: self.place(node, room), event }
            }
            FromClient::Message(socket, id) => EdgeInput::Event { socket, event: Said::Message(id) },
            FromClient::Ask(socket, floor) => EdgeInput::Event { socket, event: Said::Ask(floor) },
            FromClient::Typing(socket) => EdgeInput::Event { socket, event: Said::Typing },
            FromClient::Leave(socket) => {
                self.nodes[node].clients.remove(&socket);
                EdgeInput::Leave { socket, event: Said::Leave }
            }
        };
        self.edge(node, input);
    }

    /// The node that should own a room, as far as this node knows.
    fn place(&self, node: usize, room: usize) -> NodeId {
        let count = self.nodes.len();
        let first = (self.seed as usize + room * 3) % count;
        let known = |index: usize| if index == node { self.nodes[node].id } else { self.nodes[node].peers[index].0 };
        let places = (0..count).map(|offset| known((first + offset) % count));
        places.into_iter().find(|id| !self.nodes[node].dead.contains(id)).unwrap_or(self.nodes[node].id)
    }

    fn edge(&mut self, node: usize, input: EdgeInput<Said, Frame>) {
        let mut effects = Vec::new();
        self.nodes[node].edge.handle(input, &mut effects);
        for effect in effects {
            match effect {
                EdgeEffect::Send { to, room, message } => self.send(node, to, OnLink::Up(room, message)),
                EdgeEffect::Deliver { socket, frame } => {
                    if let Some((client, _)) = self.nodes[node].clients.get(&socket).copied() {
                        self.tell_client(client, socket, ToClient::Frame(frame));
                    }
                }
                EdgeEffect::Close(socket) => {
                    trace!(self, "n{node} closes {socket:?} with 1012");
                    if let Some((client, _)) = self.nodes[node].clients.remove(&socket) {
                        self.tell_client(client, socket, ToClient::Closed);
                    }
                }
                EdgeEffect::Taken { .. } => {}
            }
        }
    }
}
