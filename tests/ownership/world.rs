//! Several nodes, a database, clients, and all that may happen to them, in one thread and with a seed.
//!
//! For some seconds of simulated time messages and statements are late or lost, nodes pause and crash, and servers of
//! the database change their roles. Then everything works again, and each client has to come to rest.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use dormouse_ownership::ownership::{Answer, Down, Input, LaneId, NodeId, Peer, RoomId, SocketId, StatementId, Up};

use super::broken::Broken;
use super::client::{Client, Frame, FromClient, ToClient};
use super::database::{Database, Entry, Power, Reply, Request, Row, lost};
use super::judge::{Judge, Promise, Violation};
use super::node::{Node, Said};
use super::random::Random;

/// How long faults happen, in milliseconds.
const FAULTS: u64 = 4_000;
/// How long everything may take to come to rest afterwards.
const REST: u64 = 30_000;
/// How long a node waits for a statement.
const STATEMENT: u64 = 600;

/// A message on a link.
#[derive(Debug, Clone)]
pub(super) enum OnLink {
    Up(RoomId, Up<Said>),
    Down(RoomId, Down<Frame>),
    /// With the sockets of an offer, and their nodes.
    Peer(RoomId, Peer, Vec<(SocketId, NodeId, u8)>),
}

pub(super) enum Event {
    Link { from: usize, from_id: NodeId, to: usize, to_id: NodeId, generation: u64, message: OnLink },
    LinkLost { node: usize, id: NodeId, peer: usize, generation: u64 },
    Unreachable { node: usize, id: NodeId, peer: NodeId },
    Arrive { server: usize, boot: u64, request: Request, answer_in: Option<u64> },
    Answer { node: usize, id: NodeId, statement: StatementId, answer: Answer, content: Vec<(RoomId, Vec<Entry>)> },
    Timeout { node: usize, id: NodeId, statement: StatementId },
    Connected { node: usize, id: NodeId, lane: LaneId },
    Tick { node: usize, id: NodeId },
    Run { node: usize, id: NodeId, room: RoomId },
    Forget { node: usize, id: NodeId, room: RoomId },
    Suspect { node: usize, id: NodeId, suspect: NodeId, is_dead: bool },
    FromClient { node: usize, id: NodeId, message: FromClient },
    ToClient { client: usize, socket: SocketId, message: ToClient },
    ConnectTimeout { client: usize, socket: SocketId },
    Act { client: usize },
    Replicate,
    Fault,
    ResumeNode { node: usize, id: NodeId },
    Start { node: usize },
    ResumeServer { server: usize },
    Attach,
    Calm,
}

struct Item(u64, u64, Event);

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Item {}
impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// Which faults a seed has, and how often.
pub(super) struct Plan {
    /// Of a thousand statements.
    late: u64,
    lost: u64,
    unanswered: u64,
    /// Kinds of faults that this seed has.
    kinds: Vec<Kind>,
    /// How much of what clients do is messages, of a hundred.
    pub(super) talk: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    PauseNode,
    CrashNode,
    SuspectNode,
    CutLink,
    SlowLink,
    HandOver,
    Failover,
    PauseServer,
    RestartServer,
    CancelWaits,
    EndConnections,
    StallReplication,
    RefuseWrites,
    Restore,
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) now: u64,
    pub(super) random: Random,
    pub(super) broken: Broken,
    pub(super) database: Database,
    pub(super) nodes: Vec<Node>,
    pub(super) clients: Vec<Client>,
    pub(super) judge: Judge,
    pub(super) is_calm: bool,
    pub(super) violation: Option<Violation>,
    /// Turns are numbered over all rooms.
    pub(super) turns: u64,
    /// The lines of the trace, if it is wanted.
    pub(super) trace: Option<Vec<String>>,
    pub(super) rooms: usize,
    pub(super) plan: Plan,
    events: BinaryHeap<Reverse<Item>>,
    sequence: u64,
    /// The node that had each id.
    homes: Vec<usize>,
    next_socket: u64,
    /// By pair of nodes: how often the link was cut, until when it is down, until when it is slow.
    links: Vec<[u64; 3]>,
    /// When the last message on each link arrives, so that none overtakes another.
    arrivals: Vec<u64>,
    stalled_until: u64,
    /// The only server that a node reaches, while the database is split.
    sides: Vec<Option<usize>>,
    backup: Option<Vec<Row>>,
    pub(super) was_restored: bool,
}

/// Formats a line of the trace only if there is one.
macro_rules! trace {
    ($world:expr, $($format:tt)*) => {
        if $world.trace.is_some() {
            let line = format!($($format)*);
            $world.write(line);
        }
    };
}
pub(super) use trace;

impl World {
    pub(super) fn new(seed: u64, broken: Broken, is_traced: bool) -> Self {
        let mut random = Random::new(seed);
        let is_synchronous = !random.chance(250);
        let (nodes, rooms, clients) = (random.within(3, 5) as usize, random.within(1, 3) as usize, random.within(3, 5));
        let all = [
            Kind::PauseNode,
            Kind::CrashNode,
            Kind::SuspectNode,
            Kind::CutLink,
            Kind::SlowLink,
            Kind::HandOver,
            Kind::Failover,
            Kind::PauseServer,
            Kind::RestartServer,
            Kind::CancelWaits,
            Kind::EndConnections,
            Kind::StallReplication,
        ];
        // Few kinds together go deeper than all at once.
        let mut kinds = match random.index(8) {
            0 => vec![Kind::HandOver, Kind::HandOver, Kind::SlowLink, Kind::CutLink, Kind::SuspectNode],
            1 => vec![Kind::Failover, Kind::Failover, Kind::SuspectNode, Kind::StallReplication],
            2 | 4 => vec![Kind::Restore, Kind::SuspectNode, Kind::HandOver, Kind::CrashNode],
            3 => vec![Kind::StallReplication, Kind::CancelWaits, Kind::Failover, Kind::SuspectNode],
            _ => all.into_iter().filter(|_| random.chance(500)).collect(),
        };
        if random.chance(100) {
            kinds.push(Kind::RefuseWrites);
        }
        let plan = Plan {
            late: random.within(0, 60),
            lost: random.within(0, 30),
            unanswered: random.within(0, 60),
            kinds,
            talk: if random.chance(300) { 12 } else { 50 },
        };
        let mut world = World {
            seed,
            now: 0,
            broken,
            database: Database::new(rooms, is_synchronous, broken),
            nodes: Vec::new(),
            clients: (0..clients).map(|index| Client::new(index as u8, random.index(rooms))).collect(),
            judge: Judge::new(rooms, is_synchronous),
            is_calm: false,
            violation: None,
            turns: 0,
            trace: is_traced.then(Vec::new),
            rooms,
            plan,
            events: BinaryHeap::new(),
            sequence: 0,
            homes: Vec::new(),
            next_socket: 0,
            links: vec![[0; 3]; nodes * nodes],
            arrivals: vec![0; nodes * nodes],
            stalled_until: 0,
            sides: vec![None; nodes],
            backup: None,
            was_restored: false,
            random,
        };
        trace!(world, "{} nodes, {rooms} rooms, synchronous {is_synchronous}, {:?}", nodes, world.plan.kinds);
        for node in 0..nodes {
            let id = world.new_id(node);
            world.nodes.push(Node::new(id, nodes));
            world.connect_all(node);
            world.after(node as u64, Event::Tick { node, id });
        }
        for node in 0..nodes {
            for peer in 0..nodes {
                world.nodes[node].peers[peer] = (world.nodes[peer].id, 0);
            }
        }
        for client in 0..world.clients.len() {
            let first = world.random.within(1, 100);
            world.after(first, Event::Act { client });
        }
        world.after(5, Event::Replicate);
        world.after(100, Event::Fault);
        world.after(FAULTS, Event::Calm);
        world
    }

    /// Runs until all clients are at rest, or until a promise is broken.
    pub(super) fn run(&mut self) -> Result<(), Violation> {
        while let Some(Reverse(Item(time, _, event))) = self.events.pop() {
            self.now = time;
            self.happen(event);
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
            if self.is_calm && self.is_at_rest() {
                break;
            }
            if time > FAULTS + REST {
                let waits = self.clients.iter().map(|client| client.to_string()).collect::<Vec<_>>();
                return Err(Violation { promise: Promise::Progress, details: waits.join("; ") });
            }
        }
        self.judge.compare(&self.database)
    }

    fn is_at_rest(&self) -> bool {
        self.clients.iter().all(|client| client.is_at_rest(self.database.truth().rows[client.room].number))
    }

    pub(super) fn write(&mut self, line: String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now:>6} {line}"));
        }
    }

    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse(Item(self.now + delay, self.sequence, event)));
    }

    pub(super) fn fail(&mut self, promise: Promise, details: String) {
        self.violation.get_or_insert(Violation { promise, details });
    }

    pub(super) fn new_socket(&mut self) -> SocketId {
        self.next_socket += 1;
        SocketId(self.next_socket)
    }

    fn new_id(&mut self, node: usize) -> NodeId {
        self.homes.push(node);
        NodeId(self.homes.len() as u64)
    }

    /// The node that has or had this id.
    pub(super) fn home(&self, id: NodeId) -> usize {
        self.homes[id.0 as usize - 1]
    }

    fn lives(&self, id: NodeId) -> bool {
        let node = &self.nodes[self.home(id)];
        node.id == id && node.power != Power::Off
    }

    fn happen(&mut self, event: Event) {
        let (node, id) = match &event {
            Event::Link { to, to_id, .. } => (*to, *to_id),
            Event::LinkLost { node, id, .. }
            | Event::Unreachable { node, id, .. }
            | Event::Answer { node, id, .. }
            | Event::Timeout { node, id, .. }
            | Event::Connected { node, id, .. }
            | Event::Tick { node, id }
            | Event::Run { node, id, .. }
            | Event::Forget { node, id, .. }
            | Event::Suspect { node, id, .. }
            | Event::FromClient { node, id, .. } => (*node, *id),
            _ => return self.happen_outside(event),
        };
        if self.nodes[node].id != id || self.nodes[node].power == Power::Off {
            return;
        }
        if self.nodes[node].power == Power::Paused {
            return self.nodes[node].deferred.push(event);
        }
        match event {
            Event::Link { from, from_id, to, generation, message, .. } => {
                // What was sent on an older link is lost with it.
                if from != to && generation < self.nodes[to].peers[from].1 {
                    return;
                }
                // A new link ends the one before.
                if from != to && self.nodes[to].peers[from] != (from_id, generation) {
                    self.link_lost(to, from);
                }
                self.receive(to, from_id, message);
            }
            Event::LinkLost { node, peer, generation, .. } if self.nodes[node].peers[peer].1 < generation => {
                self.link_lost(node, peer);
            }
            Event::Unreachable { node, peer, .. } => self.lose_link_to(node, peer),
            Event::Answer { node, statement, answer, content, .. } => self.answer(node, statement, answer, content),
            Event::Timeout { node, statement, .. } => self.answer(node, statement, Answer::Lost, Vec::new()),
            Event::Connected { node, lane, .. } => self.connect_lane(node, lane),
            Event::Tick { node, id } => {
                self.own(node, Input::Tick);
                let delay = self.random.within(80, 120);
                self.after(delay, Event::Tick { node, id });
            }
            Event::Run { node, room, .. } => self.run_room(node, room),
            Event::Forget { node, room, .. } => self.forget_room(node, room),
            Event::Suspect { node, suspect, is_dead, .. } => self.suspect(node, suspect, is_dead),
            Event::FromClient { node, message, .. } => self.client_says(node, message),
            _ => {}
        }
    }

    fn happen_outside(&mut self, event: Event) {
        match event {
            Event::Arrive { server, boot, request, answer_in } => self.arrive(server, boot, request, answer_in),
            Event::ToClient { client, socket, message } => self.client_hears(client, socket, message),
            Event::ConnectTimeout { client, socket } => self.connect_timeout(client, socket),
            Event::Act { client } => self.act(client),
            Event::Replicate => {
                if self.now >= self.stalled_until {
                    let mut replies = Vec::new();
                    self.database.replicate(&mut replies);
                    self.reply(replies);
                }
                let delay = self.random.within(4, 12);
                self.after(delay, Event::Replicate);
            }
            Event::Fault if !self.is_calm => {
                if let Some(kind) = self.plan.kinds.get(self.random.index(self.plan.kinds.len().max(1))).copied() {
                    self.fault(kind);
                }
                let delay = self.random.within(20, 300);
                self.after(delay, Event::Fault);
            }
            Event::ResumeNode { node, id } => self.resume_node(node, id),
            Event::Start { node } => self.start(node),
            Event::ResumeServer { server } => self.resume_server(server),
            Event::Attach => {
                let mut replies = Vec::new();
                self.sides.fill(None);
                self.database.attach(&mut replies);
                trace!(self, "database: server {} follows again", 1 - self.database.primary);
                self.reply(replies);
            }
            Event::Calm => self.calm(),
            _ => {}
        }
    }

    // The network between nodes.

    fn pair(&self, one: usize, other: usize) -> usize {
        one.min(other) * self.nodes.len() + one.max(other)
    }

    pub(super) fn send(&mut self, from: usize, to_id: NodeId, message: OnLink) {
        let (to, from_id) = (self.home(to_id), self.nodes[from].id);
        if !self.lives(to_id) {
            let delay = self.random.within(1, 20);
            return self.after(delay, Event::Unreachable { node: from, id: from_id, peer: to_id });
        }
        let mut generation = 0;
        let mut delay = self.random.within(0, 2);
        if from != to {
            let pair = self.pair(from, to);
            let [_, down_until, slow_until] = self.links[pair];
            if self.now < down_until {
                self.cut(from, to, 0);
            }
            let (known, _) = self.nodes[from].peers[to];
            if known != to_id {
                // A new node at the same place: the link to the old one has ended.
                self.nodes[from].peers[to] = (to_id, self.links[pair][0]);
                self.after(0, Event::Unreachable { node: from, id: from_id, peer: known });
            }
            generation = self.nodes[from].peers[to].1;
            if generation < self.links[pair][0] {
                return; // The link has ended, and this end does not know it yet.
            }
            delay = self.random.within(1, 5) + slow_until.saturating_sub(self.now);
            if !self.is_calm && self.random.chance(20) {
                delay += self.random.within(5, 200);
            }
        }
        let at = from * self.nodes.len() + to;
        let arrival = self.arrivals[at].max(self.now + delay);
        self.arrivals[at] = arrival;
        self.after(arrival - self.now, Event::Link { from, from_id, to, to_id, generation, message });
    }

    /// Ends the link of two nodes. Each of them notices it at another time.
    fn cut(&mut self, one: usize, other: usize, down_for: u64) {
        let pair = self.pair(one, other);
        self.links[pair][0] += 1;
        self.links[pair][1] = self.links[pair][1].max(self.now + down_for);
        let generation = self.links[pair][0];
        for (node, peer) in [(one, other), (other, one)] {
            let delay = self.random.within(1, 100);
            let id = self.nodes[node].id;
            self.after(delay, Event::LinkLost { node, id, peer, generation });
        }
    }

    fn link_lost(&mut self, node: usize, peer: usize) {
        let (lost, _) = self.nodes[node].peers[peer];
        let generation = self.links[self.pair(node, peer)][0];
        self.nodes[node].peers[peer] = (self.nodes[peer].id, generation);
        self.lose_link_to(node, lost);
    }

    fn suspect(&mut self, node: usize, suspect: NodeId, is_dead: bool) {
        if !is_dead && !self.lives(suspect) {
            return;
        }
        let known = &mut self.nodes[node].dead;
        if is_dead {
            known.insert(suspect)
        } else {
            known.remove(&suspect)
        };
        let dead = known.clone();
        trace!(
            self,
            "n{node} believes {}",
            if is_dead { format!("that {suspect:?} is dead") } else { "it lives".into() }
        );
        self.own(node, Input::Dead(dead));
        let peer = self.home(suspect);
        if is_dead && self.nodes[peer].id == suspect {
            self.cut(node, peer, 0);
            self.link_lost(node, peer);
        } else if is_dead {
            self.lose_link_to(node, suspect);
        }
    }

    // The database.

    /// A server that takes writes, as far as a node can see.
    fn any_server(&mut self, node: usize) -> Option<usize> {
        let first = self.random.index(2);
        let is_reached = |server: &usize| self.sides[node].is_none_or(|side| side == *server);
        [first, 1 - first].into_iter().filter(is_reached).find(|server| {
            let server = &self.database.servers[*server];
            server.power == Power::Paused || (server.power == Power::Up && server.is_primary)
        })
    }

    /// Sends a statement on the connection of its lane, or on any.
    pub(super) fn execute(&mut self, node: usize, lane: Option<LaneId>, request: Request) {
        let id = self.nodes[node].id;
        let mut connection = match lane {
            Some(lane) => self.nodes[node].lanes[lane.0 as usize],
            None => self.any_connection(node),
        };
        // A connection that ended while it was idle was replaced, or is found to have ended now.
        let has_ended = |(server, boot): &(usize, u64)| self.database.servers[*server].boot != *boot;
        if let Some(lane) = lane.filter(|_| connection.as_ref().is_some_and(has_ended))
            && self.random.chance(500)
        {
            connection = self.any_connection(node);
            self.nodes[node].lanes[lane.0 as usize] = connection;
        }
        let statement = request.id;
        self.after(STATEMENT, Event::Timeout { node, id, statement });
        let Some((server, boot)) = connection else {
            let delay = self.random.within(5, 50);
            return self.after(delay, Event::Timeout { node, id, statement });
        };
        let travel = self.random.within(1, 6);
        let normal = Some(self.random.within(1, 6));
        let dice = if self.is_calm { 1_000 } else { self.random.within(0, 999) };
        let Plan { late, lost, unanswered, .. } = self.plan;
        let (arrives_in, answer_in) = if dice < late {
            // It runs after the node has given up its connection.
            (Some(self.random.within(20, 2_500)), None)
        } else if dice < late + lost {
            (None, None)
        } else if dice < late + lost + unanswered {
            (Some(travel), None)
        } else {
            (Some(travel), normal)
        };
        if answer_in.is_none() {
            let delay = self.random.within(5, 200);
            self.after(delay, Event::Timeout { node, id, statement });
        }
        if let Some(delay) = arrives_in {
            self.after(delay, Event::Arrive { server, boot, request, answer_in });
        }
    }

    fn arrive(&mut self, server: usize, boot: u64, mut request: Request, answer_in: Option<u64>) {
        let mut replies = Vec::new();
        if self.database.servers[server].boot == boot {
            // Where the answer goes is part of the request's way back; an absent node id stands for nowhere.
            if answer_in.is_none() {
                request.node = usize::MAX;
            }
            self.database.run(server, request, &mut replies);
        } else {
            replies.push(lost(request));
        }
        self.reply(replies);
    }

    pub(super) fn reply(&mut self, replies: Vec<Reply>) {
        for Reply { request, answer, content } in replies {
            trace!(self, "database: {:?} of {:?}: {:?} -> {answer:?}", request.id, request.me, request.statement);
            if request.node != usize::MAX {
                let (node, id, statement) = (request.node, request.me, request.id);
                let delay = self.random.within(1, 6);
                self.after(delay, Event::Answer { node, id, statement, answer, content });
            }
        }
    }

    fn any_connection(&mut self, node: usize) -> Option<(usize, u64)> {
        self.any_server(node).map(|server| (server, self.database.servers[server].boot))
    }

    fn connect_all(&mut self, node: usize) {
        let connection = self.any_connection(node);
        self.nodes[node].lanes.fill(connection);
    }

    fn connect_lane(&mut self, node: usize, lane: LaneId) {
        let id = self.nodes[node].id;
        match self.any_connection(node) {
            Some(connection) => {
                self.nodes[node].lanes[lane.0 as usize] = Some(connection);
                self.own(node, Input::Connected(lane));
            }
            None => {
                let delay = self.random.within(20, 60);
                self.after(delay, Event::Connected { node, id, lane });
            }
        }
    }

    // Faults.

    fn fault(&mut self, kind: Kind) {
        let node = self.random.index(self.nodes.len());
        let other = (node + 1 + self.random.index(self.nodes.len() - 1)) % self.nodes.len();
        let id = self.nodes[node].id;
        let primary = self.database.primary;
        let mut replies = Vec::new();
        trace!(self, "fault: {kind:?}, n{node}, n{other}");
        match kind {
            Kind::PauseNode if self.nodes[node].power == Power::Up => {
                self.nodes[node].power = Power::Paused;
                let length = self.random.within(50, 1_500);
                self.after(length, Event::ResumeNode { node, id });
                self.others_notice(node, 1_200);
            }
            Kind::CrashNode if self.nodes[node].power != Power::Off => self.crash(node),
            Kind::SuspectNode => {
                let suspect = self.nodes[other].id;
                self.suspect_for(node, suspect, 0);
            }
            Kind::CutLink => {
                let length = self.random.within(0, 400);
                self.cut(node, other, length);
            }
            Kind::SlowLink => {
                let pair = self.pair(node, other);
                self.links[pair][2] = self.now + self.random.within(20, 500);
            }
            Kind::HandOver => {
                for room in 0..self.rooms {
                    let room = RoomId(room as u64);
                    let owner = (0..self.nodes.len()).find(|node| {
                        self.nodes[*node].power == Power::Up && self.nodes[*node].owner.tenure(room).is_some()
                    });
                    if let Some(owner) = owner {
                        let to = self.nodes[other].id;
                        self.own(owner, Input::HandOver { room, to });
                    }
                }
            }
            Kind::Failover => {
                let may = !self.database.is_synchronous || self.database.servers[primary].waits;
                if self.database.is_attached && may && self.database.servers[1 - primary].power == Power::Up {
                    if self.random.chance(500) {
                        // It sleeps, and does not know that it was replaced.
                        self.database.servers[primary].power = Power::Paused;
                        let length = self.random.within(10, 600);
                        self.after(length, Event::ResumeServer { server: primary });
                    } else if self.random.chance(500) {
                        self.database.servers[primary].power = Power::Off;
                        self.database.restart(primary, &mut replies);
                    } else {
                        // It is cut off together with some nodes, which do not know that it was replaced.
                        for node in 0..self.nodes.len() {
                            if self.random.chance(400) {
                                self.sides[node] = Some(primary);
                                self.others_notice(node, 300);
                            }
                        }
                    }
                    self.database.promote();
                    let back = self.random.within(300, 2_500);
                    self.after(back, Event::Attach);
                }
            }
            Kind::PauseServer if self.database.servers[primary].power == Power::Up => {
                self.database.servers[primary].power = Power::Paused;
                let length = self.random.within(20, 500);
                self.after(length, Event::ResumeServer { server: primary });
            }
            Kind::RestartServer => {
                let server = self.random.index(2);
                if self.database.servers[server].power == Power::Up {
                    self.database.restart(server, &mut replies);
                }
            }
            Kind::CancelWaits => {
                let server = self.random.index(2);
                if self.database.servers[server].power == Power::Up {
                    self.database.end_waits(server, true, &mut replies);
                }
            }
            Kind::EndConnections => {
                let server = self.random.index(2);
                if self.database.servers[server].power == Power::Up {
                    self.database.end_waits(server, true, &mut replies);
                    replies.iter_mut().for_each(|reply| reply.answer = Answer::Lost);
                    self.database.servers[server].boot += 1;
                }
            }
            Kind::StallReplication => self.stalled_until = self.now + self.random.within(20, 400),
            Kind::RefuseWrites => {
                let room = RoomId(self.random.index(self.rooms) as u64);
                self.database.refuses = if self.random.chance(400) { Some(room) } else { None };
            }
            Kind::Restore => match self.backup.take() {
                None => self.backup = Some(self.database.truth().rows.clone()),
                Some(rows) => self.restore(&rows),
            },
            _ => {}
        }
        self.reply(replies);
    }

    /// Some of the other nodes believe for a while that this one is dead.
    fn others_notice(&mut self, node: usize, within: u64) {
        let id = self.nodes[node].id;
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            let delay = self.random.within(50, within);
            if self.random.chance(700) || self.is_calm {
                self.suspect_for(other, id, delay);
            }
        }
    }

    fn suspect_for(&mut self, node: usize, suspect: NodeId, delay: u64) {
        let id = self.nodes[node].id;
        let end = delay + self.random.within(200, 1_500);
        self.after(delay, Event::Suspect { node, id, suspect, is_dead: true });
        self.after(end, Event::Suspect { node, id, suspect, is_dead: false });
    }

    pub(super) fn crash(&mut self, node: usize) {
        trace!(self, "n{node} crashes");
        self.nodes[node].power = Power::Off;
        self.nodes[node].deferred.clear();
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.cut(node, other, 0);
        }
        self.others_notice(node, 400);
        for client in 0..self.clients.len() {
            if let Some((_, socket)) = self.clients[client].connection.filter(|(at, _)| *at == node) {
                let delay = self.random.within(1, 60);
                self.after(delay, Event::ToClient { client, socket, message: ToClient::Closed });
            }
        }
        let delay = self.random.within(50, 1_000);
        self.after(delay, Event::Start { node });
    }

    fn start(&mut self, node: usize) {
        if self.nodes[node].power != Power::Off {
            return;
        }
        let id = self.new_id(node);
        trace!(self, "n{node} starts as {id:?}");
        let mut fresh = Node::new(id, self.nodes.len());
        let old = &mut self.nodes[node];
        fresh.dead = old.dead.clone();
        fresh.dead.insert(old.id);
        fresh.cache = std::mem::take(&mut old.cache);
        // The cache is not synced: a crash may leave it older.
        if self.random.chance(250) {
            fresh.cache = std::mem::take(&mut old.older_cache);
        }
        self.nodes[node] = fresh;
        for peer in 0..self.nodes.len() {
            let generation = self.links[self.pair(node, peer)][0];
            self.nodes[node].peers[peer] = (self.nodes[peer].id, generation);
        }
        self.connect_all(node);
        let dead = self.nodes[node].dead.clone();
        self.own(node, Input::Dead(dead));
        self.after(50, Event::Tick { node, id });
    }

    fn resume_node(&mut self, node: usize, id: NodeId) {
        if self.nodes[node].id == id && self.nodes[node].power == Power::Paused {
            trace!(self, "n{node} goes on");
            self.nodes[node].power = Power::Up;
            for event in std::mem::take(&mut self.nodes[node].deferred) {
                self.happen(event);
            }
        }
    }

    fn resume_server(&mut self, server: usize) {
        if self.database.servers[server].power == Power::Paused {
            trace!(self, "database: server {server} goes on");
            let mut replies = Vec::new();
            self.database.resume(server, &mut replies);
            self.reply(replies);
        }
    }

    /// All nodes are stopped, an older backup is restored, and they start again.
    fn restore(&mut self, rows: &[Row]) {
        let mut replies = Vec::new();
        self.database.attach(&mut replies);
        self.database.restore(rows, &mut replies);
        drop(replies);
        trace!(self, "database: restored");
        self.was_restored = true;
        for node in 0..self.nodes.len() {
            if self.nodes[node].power != Power::Off {
                self.crash(node);
            }
        }
        self.judge.forget_all();
        for client in 0..self.clients.len() {
            let stored = self.database.truth().rows[self.clients[client].room].log.clone();
            self.clients[client].start_anew(&stored);
        }
        // What the nodes have sent before is gone with them.
        let kept = std::mem::take(&mut self.events).into_iter();
        let is_kept = |event: &Event| !matches!(event, Event::Arrive { .. } | Event::ToClient { .. });
        self.events = kept.filter(|Reverse(Item(_, _, event))| is_kept(event)).collect();
    }

    /// The faults end.
    fn calm(&mut self) {
        trace!(self, "the faults are over");
        self.is_calm = true;
        self.stalled_until = 0;
        self.sides.fill(None);
        self.database.refuses = None;
        self.links.iter_mut().for_each(|link| (link[1], link[2]) = (0, 0));
        self.resume_server(self.database.primary);
        let mut replies = Vec::new();
        self.database.attach(&mut replies);
        self.reply(replies);
        self.resume_server(1 - self.database.primary);
        for node in 0..self.nodes.len() {
            let id = self.nodes[node].id;
            self.resume_node(node, id);
            self.start(node);
        }
        let live = self.nodes.iter().map(|node| node.id).collect::<BTreeSet<_>>();
        let dead = (1..=self.homes.len() as u64).map(NodeId).filter(|id| !live.contains(id)).collect::<BTreeSet<_>>();
        for node in 0..self.nodes.len() {
            let news = dead.difference(&self.nodes[node].dead).copied().collect::<Vec<_>>();
            self.nodes[node].dead = dead.clone();
            self.own(node, Input::Dead(dead.clone()));
            news.into_iter().for_each(|gone| self.lose_link_to(node, gone));
        }
        // Verdicts of the time before would come later.
        let kept = std::mem::take(&mut self.events).into_iter();
        let is_kept = |event: &Event| !matches!(event, Event::Suspect { .. });
        self.events = kept.filter(|Reverse(Item(_, _, event))| is_kept(event)).collect();
    }
}
