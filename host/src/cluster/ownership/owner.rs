//! The rooms that this node owns, claims or lets go: which statement each of them needs next, and what its answer
//! means.
//!
//! A room is claimed, read, and open. Each turn of an open room takes a position; those that write also take a number.
//! The next round of the room's lane carries all turns that wait. Its answer releases their outputs. After an answer
//! that says nothing, or that a fence did not match, the room is in doubt until a resolve has told its number. A room
//! that has lost its fence is dropped with all that it held back.
//!
//! It does not know sockets, outputs, contents and connections: its driver has them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::ids::{Fence, LaneId, NodeId, RoomId, StatementId, Tenure};
use super::message::Peer;
use super::statement::{Answer, Cached, Claimed, Commit, Proof, Resolved, Rows, Statement};
use crate::limits::{HAND_OVER_MS, ROOM_CHECK_MS, STATEMENT_ROOMS};

/// The fixed values of an owner.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// This node.
    pub me: NodeId,
    /// The lane of a room. It never changes while the room is open.
    pub lane_of: fn(RoomId) -> LaneId,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// An event waits for a room, and the room is not open here.
    Open(RoomId),
    /// A turn of an open room has run. It takes the next position, from 1 in each tenure; if it wrote something, it
    /// also takes the next number. A call that leaves a room in the middle of a turn is a turn without writes here.
    Turn {
        /// The room.
        room: RoomId,
        /// The tenure in which the turn began. The turn is ignored if that tenure has ended.
        tenure: Tenure,
        /// Whether the turn changes the stored content.
        writes: bool,
    },
    /// A room has no socket and no event. It is let go if all its turns are confirmed.
    Forget(RoomId),
    /// Another node should own the room. Ignored if the room is not open, or is on its way already.
    HandOver {
        /// The room.
        room: RoomId,
        /// The next owner.
        to: NodeId,
    },
    /// The last turn of a paused room has been reported; there is none until [`Effect::Resume`].
    Paused(RoomId),
    /// Another node says something about a room.
    Message {
        /// The other node.
        from: NodeId,
        /// The room.
        room: RoomId,
        /// The message.
        message: Peer,
    },
    /// The link to a node has ended; messages may be lost.
    LinkLost(NodeId),
    /// All nodes that this node believes to be dead. A wrong belief costs a reconnect, never a message.
    Dead(BTreeSet<NodeId>),
    /// A statement has ended.
    Answered {
        /// The statement.
        statement: StatementId,
        /// How it ended.
        answer: Answer,
    },
    /// A lane has a new connection, after a statement on it was lost.
    Connected(LaneId),
    /// Time has passed. Statements that could not run are tried again now, so this is also their backoff.
    Tick,
}

/// Something that the driver has to do. The order of effects matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Run this statement.
    Execute {
        /// Names the answer.
        id: StatementId,
        /// The lane; absent if any connection will do.
        lane: Option<LaneId>,
        /// The statement.
        statement: Statement,
    },
    /// The room is open: turns may run.
    Opened {
        /// The room.
        room: RoomId,
        /// The tenure that begins.
        tenure: Tenure,
        /// The number of the last commit.
        number: u64,
        /// True if the cache has the content; else the last read has it.
        cached: bool,
        /// The tenure that has ended, if the sockets of its accepted offer are in the room from the start. Their outputs
        /// are held until their edges ask for them with [`Up::Adopt`](super::Up::Adopt). If it is absent, an offer, if
        /// there was one, is void.
        continues: Option<Tenure>,
    },
    /// Another node owns the room: events that wait for it belong there.
    Elsewhere {
        /// The room.
        room: RoomId,
        /// The owner.
        owner: NodeId,
    },
    /// The turns up to this position are durable, and their outputs may leave.
    Release {
        /// The room.
        room: RoomId,
        /// Its tenure.
        tenure: Tenure,
        /// The position of the last of these turns.
        position: u64,
        /// The number of the last commit; commits up to it may enter the cache.
        number: u64,
    },
    /// The tenure has ended: drop the instance, and all outputs that were not released. Each edge that has had a socket
    /// in this tenure is told with [`Down::Moved`](super::Down::Moved), except after a hand-over.
    End {
        /// The room.
        room: RoomId,
        /// The tenure that ends.
        tenure: Tenure,
        /// Why.
        why: Ended,
    },
    /// Run no further turn of this room; its events wait.
    Pause(RoomId),
    /// Go on with the turns of this room.
    Resume(RoomId),
    /// Send a message to another owner.
    Send {
        /// The other node.
        to: NodeId,
        /// The room.
        room: RoomId,
        /// The message.
        message: Peer,
    },
    /// Offered sockets whose edge has not asked for them are removed from the room.
    AdoptionEnds(RoomId),
    /// The accepted offer of a room is void, and the room is not open: edges that ask for its sockets close them.
    OfferEnds(RoomId),
    /// The database has lost commits that it had confirmed. It is logged and counted; the room goes on with the rest.
    WentBack {
        /// The room.
        room: RoomId,
        /// The number that was confirmed.
        had: u64,
        /// The number that is stored now.
        has: u64,
    },
}

/// Why a tenure has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Another node claimed the room, or the database went back. Outputs that were held may be stored or not: sockets
    /// are closed with 1012.
    Fenced,
    /// The database refuses to store the writes. They are not stored, and sockets are closed.
    Refused,
    /// The room had no sockets and was let go.
    Forgotten,
    /// The next owner has it; edges are told with [`Down::HandedOver`](super::Down::HandedOver).
    HandedOver(NodeId),
}

/// The rooms of one node. See the [module](super).
#[derive(Debug)]
pub struct Owner {
    config: Config,
    rooms: BTreeMap<RoomId, Room>,
    lanes: BTreeMap<LaneId, Lane>,
    dead: BTreeSet<NodeId>,
    /// Rooms that wait for a claim.
    waiting: BTreeSet<RoomId>,
    /// True while a claim is in flight, or after one that failed, until the next tick.
    claims_wait: bool,
    /// Rooms that are let go with the next statement.
    letting_go: BTreeMap<RoomId, Fence>,
    lets_go: bool,
    /// Rooms with a deadline.
    timed: BTreeSet<RoomId>,
    /// When each open room is proved, even if it says nothing.
    checks: BTreeSet<(u64, RoomId)>,
    statements: BTreeMap<StatementId, Sent>,
    last_statement: u64,
    /// Milliseconds of the driver's monotonic clock.
    now: u64,
}

#[derive(Debug)]
enum Room {
    Opening(Opening),
    Open(Open),
    /// Another node wants to hand it over.
    Offered {
        from: NodeId,
        tenure: Tenure,
        until: u64,
        /// An event waits for the room.
        is_wanted: bool,
    },
}

#[derive(Debug)]
struct Opening {
    /// The claim that was acknowledged, while the room is read.
    claimed: Option<Claimed>,
    /// The tenure that was handed over, and its last number. The claim must find both, or frames are missing at the
    /// offered sockets.
    offer: Option<(Tenure, u64)>,
}

#[derive(Debug)]
struct Open {
    tenure: Tenure,
    fence: Fence,
    /// The last confirmed turn.
    confirmed: Mark,
    /// Turns that are not confirmed, in order.
    turns: VecDeque<Mark>,
    /// The last turn of the round that is in flight, or in doubt.
    sent: Option<Mark>,
    /// It shared a round that the database refused: the next one has no other room.
    is_alone: bool,
    leaving: Option<Leaving>,
    /// Until then the edges may ask for the sockets that came with the hand-over.
    adopts: Option<u64>,
    /// When it was claimed, or when its last round was sent.
    asked_at: u64,
}

/// A turn: its position, and the number of the last commit up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    position: u64,
    number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// Its last turns run, or are being confirmed.
    Draining { to: NodeId, until: u64, is_paused: bool },
    /// The next owner was asked.
    Offering { to: NodeId, until: u64 },
    /// The row is being changed.
    LettingGo { to: NodeId },
}

#[derive(Debug, Default)]
struct Lane {
    /// A statement is in flight, or there is no connection, or an error was answered since the last tick.
    is_busy: bool,
    waits_for_tick: bool,
    /// Open rooms with turns that were not sent.
    dirty: BTreeSet<RoomId>,
    /// The room with which the next round begins, after one that had no place for it.
    next: Option<RoomId>,
    in_doubt: BTreeSet<RoomId>,
}

#[derive(Debug)]
enum Sent {
    Claim(Vec<RoomId>),
    Read(Vec<RoomId>),
    Round(LaneId, Vec<RoomId>),
    Resolve(LaneId, Vec<RoomId>),
    LetGo,
    HandOver(RoomId, Tenure),
}

impl Open {
    /// Everything is confirmed, and no statement is in flight.
    fn is_quiet(&self) -> bool {
        self.turns.is_empty() && self.sent.is_none()
    }
}

impl Owner {
    /// A node that owns nothing.
    pub fn new(config: Config) -> Self {
        Owner {
            config,
            rooms: BTreeMap::new(),
            lanes: BTreeMap::new(),
            dead: BTreeSet::new(),
            waiting: BTreeSet::new(),
            claims_wait: false,
            letting_go: BTreeMap::new(),
            lets_go: false,
            timed: BTreeSet::new(),
            checks: BTreeSet::new(),
            statements: BTreeMap::new(),
            last_statement: 0,
            now: 0,
        }
    }

    /// The tenure in which a room is open here.
    pub fn tenure(&self, room: RoomId) -> Option<Tenure> {
        match self.rooms.get(&room)? {
            Room::Open(open) => Some(open.tenure),
            Room::Opening(_) | Room::Offered { .. } => None,
        }
    }

    /// Takes an input at a time, in milliseconds of a monotonic clock, and appends what the driver has to do.
    pub fn handle(&mut self, now: u64, input: Input, effects: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        match input {
            Input::Open(room) => self.open(room),
            Input::Turn { room, tenure, writes } => self.turn(room, tenure, writes),
            Input::Forget(room) => self.forget(room, effects),
            Input::HandOver { room, to } => self.hand_over(room, to, effects),
            Input::Paused(room) => self.paused(room, effects),
            Input::Message { from, room, message } => self.message(from, room, message, effects),
            Input::LinkLost(node) => self.link_lost(node, effects),
            Input::Dead(nodes) => self.dead = nodes,
            Input::Answered { statement, answer } => self.answered(statement, answer, effects),
            Input::Connected(lane) => self.lane(lane).is_busy = false,
            Input::Tick => self.tick(effects),
        }
        self.send_statements(effects);
    }

    fn open(&mut self, room: RoomId) {
        match self.rooms.get_mut(&room) {
            None => self.claim(room, None),
            Some(Room::Offered { is_wanted, .. }) => *is_wanted = true,
            Some(Room::Opening(_) | Room::Open(_)) => {}
        }
    }

    /// Lets a room wait for the next claim.
    fn claim(&mut self, room: RoomId, offer: Option<(Tenure, u64)>) {
        // The claim raises the epoch, so a release of an older tenure that is in flight changes nothing any more.
        self.letting_go.remove(&room);
        self.rooms.insert(room, Room::Opening(Opening { claimed: None, offer }));
        self.waiting.insert(room);
    }

    /// Claims a room once more, because the answer of the claim or of the read is missing or does not fit.
    fn claim_again(&mut self, room: RoomId) {
        if let Some(Room::Opening(opening)) = self.rooms.get_mut(&room) {
            opening.claimed = None;
            self.waiting.insert(room);
        }
    }

    fn turn(&mut self, room: RoomId, tenure: Tenure, writes: bool) {
        let lane = (self.config.lane_of)(room);
        let Some(open) = self.open_room(room).filter(|open| open.tenure == tenure) else { return };
        let last = open.turns.back().copied().unwrap_or(open.confirmed);
        open.turns.push_back(Mark { position: last.position + 1, number: last.number + u64::from(writes) });
        self.lane(lane).dirty.insert(room);
    }

    fn forget(&mut self, room: RoomId, effects: &mut Vec<Effect>) {
        let Some(open) = self.open_room(room) else { return };
        if open.is_quiet() && open.leaving.is_none() {
            let (tenure, fence) = (open.tenure, open.fence);
            self.letting_go.insert(room, fence);
            self.end(room, tenure, Ended::Forgotten, effects);
        }
    }

    fn hand_over(&mut self, room: RoomId, to: NodeId, effects: &mut Vec<Effect>) {
        let until = self.now + HAND_OVER_MS;
        let (me, is_dead) = (self.config.me, self.dead.contains(&to));
        let Some(open) = self.open_room(room) else { return };
        // Sockets that came with the last hand-over must have been adopted first: their edges may know only the owner
        // before.
        if open.leaving.is_none() && open.adopts.is_none() && to != me && !is_dead {
            open.leaving = Some(Leaving::Draining { to, until, is_paused: false });
            self.timed.insert(room);
            effects.push(Effect::Pause(room));
        }
    }

    fn paused(&mut self, room: RoomId, effects: &mut Vec<Effect>) {
        if let Some(Open { leaving: Some(Leaving::Draining { is_paused, .. }), .. }) = self.open_room(room) {
            *is_paused = true;
            self.continue_leaving(room, effects);
        }
    }

    /// Offers the room if it drains and everything is confirmed.
    fn continue_leaving(&mut self, room: RoomId, effects: &mut Vec<Effect>) {
        let Some(open) = self.open_room(room) else { return };
        if let Some(Leaving::Draining { to, until, is_paused: true }) = open.leaving
            && open.is_quiet()
        {
            open.leaving = Some(Leaving::Offering { to, until });
            effects.push(Effect::Send { to, room, message: Peer::Offer { tenure: open.tenure } });
        }
    }

    /// Ends a hand-over that has changed nothing yet.
    fn stay(&mut self, room: RoomId, effects: &mut Vec<Effect>) {
        if let Some(open) = self.open_room(room)
            && !matches!(open.leaving, None | Some(Leaving::LettingGo { .. }))
        {
            open.leaving = None;
            effects.push(Effect::Resume(room));
        }
    }

    fn message(&mut self, from: NodeId, room: RoomId, message: Peer, effects: &mut Vec<Effect>) {
        let is_offering = |open: &Open, ended: Tenure| {
            open.tenure == ended && matches!(open.leaving, Some(Leaving::Offering { to, .. }) if to == from)
        };
        match message {
            Peer::Offer { tenure } => {
                let is_free = matches!(self.rooms.get(&room), None | Some(Room::Offered { .. }));
                let message = if is_free { Peer::Accept { tenure } } else { Peer::Decline { tenure } };
                effects.push(Effect::Send { to: from, room, message });
                if is_free {
                    let is_wanted = matches!(self.rooms.get(&room), Some(Room::Offered { is_wanted: true, .. }));
                    let until = self.now + HAND_OVER_MS;
                    self.rooms.insert(room, Room::Offered { from, tenure, until, is_wanted });
                    self.timed.insert(room);
                }
            }
            Peer::Accept { tenure } => {
                let Some(open) = self.open_room(room).filter(|open| is_offering(open, tenure)) else { return };
                open.leaving = Some(Leaving::LettingGo { to: from });
                let statement = Statement::LetGo { rooms: vec![(room, open.fence)], next: Some(from) };
                self.execute(None, statement, Sent::HandOver(room, tenure), effects);
            }
            Peer::Decline { tenure } => {
                if self.open_room(room).is_some_and(|open| is_offering(open, tenure)) {
                    self.stay(room, effects);
                }
            }
            Peer::Yours { tenure, number } => {
                if matches!(self.rooms.get(&room), Some(Room::Offered { from: it, tenure: offered, .. })
                    if *it == from && *offered == tenure)
                {
                    self.claim(room, Some((tenure, number)));
                }
            }
        }
    }

    fn link_lost(&mut self, node: NodeId, effects: &mut Vec<Effect>) {
        for room in self.timed.iter().copied().collect::<Vec<_>>() {
            match self.rooms.get(&room) {
                Some(Room::Open(Open {
                    leaving: Some(Leaving::Draining { to, .. } | Leaving::Offering { to, .. }),
                    ..
                })) if *to == node => self.stay(room, effects),
                Some(Room::Offered { from, .. }) if *from == node => self.withdraw_offer(room, effects),
                _ => {}
            }
        }
    }

    /// Forgets an offer for which [`Peer::Yours`] has not come.
    fn withdraw_offer(&mut self, room: RoomId, effects: &mut Vec<Effect>) {
        if let Some(Room::Offered { is_wanted, .. }) = self.rooms.get(&room) {
            let is_wanted = *is_wanted;
            self.rooms.remove(&room);
            effects.push(Effect::OfferEnds(room));
            if is_wanted {
                self.claim(room, None);
            }
        }
    }

    fn tick(&mut self, effects: &mut Vec<Effect>) {
        self.claims_wait = self.statements.values().any(|sent| matches!(sent, Sent::Claim(_)));
        for lane in self.lanes.values_mut() {
            lane.waits_for_tick = false;
        }
        let now = self.now;
        for room in self.timed.iter().copied().collect::<Vec<_>>() {
            match self.rooms.get_mut(&room) {
                Some(Room::Offered { until, .. }) if *until <= now => self.withdraw_offer(room, effects),
                Some(Room::Open(open)) => {
                    if open.adopts.is_some_and(|until| until <= now) {
                        open.adopts = None;
                        effects.push(Effect::AdoptionEnds(room));
                    }
                    if let Some(Leaving::Draining { until, .. } | Leaving::Offering { until, .. }) = open.leaving
                        && until <= now
                    {
                        self.stay(room, effects);
                    }
                }
                Some(Room::Opening(_) | Room::Offered { .. }) | None => {}
            }
        }
        self.check_idle_rooms();
        let Owner { timed, rooms, .. } = self;
        timed.retain(|room| match rooms.get(room) {
            Some(Room::Offered { .. }) => true,
            Some(Room::Open(open)) => open.adopts.is_some() || open.leaving.is_some(),
            Some(Room::Opening(_)) | None => false,
        });
    }

    /// Proves rooms that have said nothing for a while. Else an owner that was replaced, and whose sockets only listen,
    /// would never learn of it, and they would hear nothing any more.
    fn check_idle_rooms(&mut self) {
        let now = self.now;
        while let Some((_, room)) = self.checks.first().copied().filter(|(due, _)| *due <= now) {
            self.checks.pop_first();
            let lane = (self.config.lane_of)(room);
            let Some(open) = self.open_room(room) else { continue };
            let due = open.asked_at + ROOM_CHECK_MS;
            if due <= now {
                self.lane(lane).dirty.insert(room);
            }
            self.checks.insert((due.max(now + 1), room));
        }
    }

    fn answered(&mut self, id: StatementId, answer: Answer, effects: &mut Vec<Effect>) {
        let Some(sent) = self.statements.remove(&id) else { return };
        if let Sent::Round(lane, _) | Sent::Resolve(lane, _) = &sent {
            let lane = self.lane(*lane);
            lane.is_busy = matches!(answer, Answer::Lost);
            lane.waits_for_tick = matches!(answer, Answer::Error { .. });
        }
        // A warning means that the outcome is unknown, so it is not success.
        let (rows, error) = match answer {
            Answer::Done { rows, warned: false } => (Some(rows), None),
            Answer::Error { retry } => (None, Some(retry)),
            Answer::Done { warned: true, .. } | Answer::Lost => (None, None),
        };
        match (sent, rows) {
            (Sent::Claim(rooms), Some(Rows::Claimed { claimed, elsewhere })) => {
                self.claimed(&rooms, claimed, elsewhere, effects);
            }
            (Sent::Claim(rooms) | Sent::Read(rooms), None) => {
                self.claims_wait = true;
                rooms.into_iter().for_each(|room| self.claim_again(room));
            }
            (Sent::Read(rooms), Some(Rows::Read(fences))) => {
                for room in rooms {
                    let fence = fences.iter().find(|(read, _)| *read == room).map(|(_, fence)| *fence);
                    self.read(room, fence, effects);
                }
            }
            (Sent::Round(_, rooms), Some(Rows::Confirmed(confirmed))) => {
                for room in rooms {
                    if confirmed.contains(&room) { self.confirm(room, effects) } else { self.doubt(room) }
                }
            }
            (Sent::Round(_, rooms), None) => match error {
                Some(retry) => self.rolled_back(&rooms, retry, effects),
                None => rooms.into_iter().for_each(|room| self.doubt(room)),
            },
            (Sent::Resolve(_, rooms), Some(Rows::Resolved(resolved))) => {
                for room in rooms {
                    self.resolved(room, resolved.iter().find(|row| row.room == room).copied(), effects);
                }
            }
            (Sent::Resolve(_, rooms), None) => rooms.into_iter().for_each(|room| self.doubt(room)),
            (Sent::HandOver(room, tenure), rows) => {
                let is_done = matches!(rows, Some(Rows::LetGo(rooms)) if rooms.contains(&room));
                self.handed_over(room, tenure, is_done, effects);
            }
            (Sent::LetGo, _) => self.lets_go = false,
            // The driver has mixed up two answers: the outcome is unknown, and the room claims or resolves it.
            (Sent::Claim(rooms) | Sent::Read(rooms), Some(_)) => {
                rooms.into_iter().for_each(|room| self.claim_again(room));
            }
            (Sent::Round(_, rooms) | Sent::Resolve(_, rooms), Some(_)) => {
                rooms.into_iter().for_each(|room| self.doubt(room));
            }
        }
    }

    fn claimed(
        &mut self,
        rooms: &[RoomId],
        claimed: Vec<Claimed>,
        elsewhere: Vec<(RoomId, NodeId)>,
        effects: &mut Vec<Effect>,
    ) {
        let is_answered = |room: &RoomId| {
            claimed.iter().any(|row| row.room == *room) || elsewhere.iter().any(|(other, _)| other == room)
        };
        // A row that changed its owner in between is in neither list: try again.
        let missing = rooms.iter().copied().filter(|room| !is_answered(room)).collect::<Vec<_>>();
        self.claims_wait = !missing.is_empty();
        missing.into_iter().for_each(|room| self.claim_again(room));
        let mut to_read = Vec::new();
        for row in claimed {
            let Some(Room::Opening(opening)) = self.rooms.get_mut(&row.room) else { continue };
            let mut had = row.cached.map_or(0, |cached| cached.number);
            if let Some((ended, number)) = opening.offer {
                if ended.0.token != row.old_token || number != row.number {
                    opening.offer = None;
                }
                had = had.max(number);
            }
            opening.claimed = Some(row);
            if had > row.number {
                effects.push(Effect::WentBack { room: row.room, had, has: row.number });
            }
            // The cache has all commits if the last of them is in it, and no other tenure was between.
            if row.cached == Some(Cached { number: row.number, token: row.old_token }) {
                self.opened(row.room, true, effects);
            } else {
                to_read.push(row.room);
            }
        }
        for (room, owner) in elsewhere {
            if self.dead.contains(&owner) || owner == self.config.me {
                self.claims_wait = true;
                self.claim_again(room);
            } else if matches!(self.rooms.get(&room), Some(Room::Opening(_))) {
                self.rooms.remove(&room);
                effects.push(Effect::Elsewhere { room, owner });
            }
        }
        if !to_read.is_empty() {
            self.execute(None, Statement::Read { rooms: to_read.clone() }, Sent::Read(to_read), effects);
        }
    }

    fn read(&mut self, room: RoomId, fence: Option<Fence>, effects: &mut Vec<Effect>) {
        let Some(Room::Opening(opening)) = self.rooms.get(&room) else { return };
        // The read may have come from a primary that was replaced, or another node has claimed the room.
        if fence.is_some() && fence == opening.claimed.map(|claimed| claimed.fence) {
            self.opened(room, false, effects);
        } else {
            self.claim_again(room);
        }
    }

    fn opened(&mut self, room: RoomId, cached: bool, effects: &mut Vec<Effect>) {
        let Some(Room::Opening(Opening { claimed: Some(claimed), offer })) = self.rooms.get(&room) else { return };
        let (tenure, number) = (Tenure(claimed.fence), claimed.number);
        let continues = offer.map(|(from, _)| from);
        let adopts = continues.map(|_| self.now + HAND_OVER_MS);
        let open = Open {
            tenure,
            fence: claimed.fence,
            confirmed: Mark { position: 0, number },
            turns: VecDeque::new(),
            sent: None,
            is_alone: false,
            leaving: None,
            adopts,
            asked_at: self.now,
        };
        self.rooms.insert(room, Room::Open(open));
        self.timed.insert(room);
        self.checks.insert((self.now + ROOM_CHECK_MS, room));
        effects.push(Effect::Opened { room, tenure, number, cached, continues });
    }

    /// The round with this room is confirmed.
    fn confirm(&mut self, room: RoomId, effects: &mut Vec<Effect>) {
        let lane = (self.config.lane_of)(room);
        let Some(open) = self.open_room(room) else { return };
        let Some(mark) = open.sent.take() else { return };
        open.turns.retain(|turn| turn.position > mark.position);
        let before = std::mem::replace(&mut open.confirmed, mark);
        open.is_alone = false;
        let (tenure, is_dirty, is_news) = (open.tenure, !open.turns.is_empty(), mark != before);
        if is_news {
            effects.push(Effect::Release { room, tenure, position: mark.position, number: mark.number });
        }
        if is_dirty {
            self.lane(lane).dirty.insert(room);
        }
        self.continue_leaving(room, effects);
    }

    /// The outcome of the round with this room is unknown, or its fence did not match.
    fn doubt(&mut self, room: RoomId) {
        let lane = (self.config.lane_of)(room);
        if self.open_room(room).is_some() {
            self.lane(lane).in_doubt.insert(room);
        }
    }

    fn resolved(&mut self, room: RoomId, row: Option<Resolved>, effects: &mut Vec<Effect>) {
        let lane = (self.config.lane_of)(room);
        let Some(open) = self.open_room(room) else { return };
        let (tenure, had) = (open.tenure, open.confirmed.number);
        let Some(row) = row else { return self.end(room, tenure, Ended::Fenced, effects) };
        open.fence.epoch = row.epoch;
        if open.sent.is_some_and(|sent| sent.number == row.number) {
            // It has happened. For turns without writes the resolve itself is the proof: it was sent after them.
            self.confirm(room, effects);
        } else if row.number == had {
            // It has not happened, and cannot happen any more.
            open.sent = None;
            self.lane(lane).dirty.insert(room);
        } else {
            if row.number < had {
                effects.push(Effect::WentBack { room, had, has: row.number });
            }
            self.end(room, tenure, Ended::Fenced, effects);
        }
    }

    /// A round was answered with an error, so nothing of it has happened.
    fn rolled_back(&mut self, rooms: &[RoomId], retry: bool, effects: &mut Vec<Effect>) {
        for &room in rooms {
            let lane = (self.config.lane_of)(room);
            let Some(open) = self.open_room(room) else { continue };
            if !retry && open.is_alone {
                let tenure = open.tenure;
                self.end(room, tenure, Ended::Refused, effects);
            } else {
                open.sent = None;
                open.is_alone |= !retry;
                self.lane(lane).dirty.insert(room);
            }
        }
    }

    fn handed_over(&mut self, room: RoomId, tenure: Tenure, is_done: bool, effects: &mut Vec<Effect>) {
        let Some(open) = self.open_room(room).filter(|open| open.tenure == tenure) else { return };
        let Some(Leaving::LettingGo { to }) = open.leaving else { return };
        let number = open.confirmed.number;
        if is_done {
            self.end(room, tenure, Ended::HandedOver(to), effects);
            effects.push(Effect::Send { to, room, message: Peer::Yours { tenure, number } });
        } else {
            self.end(room, tenure, Ended::Fenced, effects);
        }
    }

    fn end(&mut self, room: RoomId, tenure: Tenure, why: Ended, effects: &mut Vec<Effect>) {
        self.rooms.remove(&room);
        let lane = (self.config.lane_of)(room);
        self.lane(lane).dirty.remove(&room);
        self.lane(lane).in_doubt.remove(&room);
        effects.push(Effect::End { room, tenure, why });
    }

    /// Sends every statement that can be sent now.
    fn send_statements(&mut self, effects: &mut Vec<Effect>) {
        if !self.claims_wait && !self.waiting.is_empty() {
            self.claims_wait = true;
            let rooms = take(&mut self.waiting, STATEMENT_ROOMS);
            let dead = self.dead.iter().copied().collect();
            self.execute(None, Statement::Claim { rooms: rooms.clone(), dead }, Sent::Claim(rooms), effects);
        }
        if !self.lets_go && !self.letting_go.is_empty() {
            self.lets_go = true;
            let rooms = std::iter::from_fn(|| self.letting_go.pop_first()).take(STATEMENT_ROOMS).collect();
            self.execute(None, Statement::LetGo { rooms, next: None }, Sent::LetGo, effects);
        }
        for lane in self.lanes.keys().copied().collect::<Vec<_>>() {
            self.send_on(lane, effects);
        }
    }

    fn send_on(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        let now = self.now;
        let lane = self.lane(id);
        if lane.is_busy || lane.waits_for_tick {
            return;
        }
        let rooms = take(&mut lane.in_doubt, STATEMENT_ROOMS);
        if !rooms.is_empty() {
            lane.is_busy = true;
            let token = |room: &RoomId| self.open_room(*room).map(|open| (*room, open.tenure.0.token));
            let with_tokens = rooms.iter().filter_map(token).collect();
            return self.execute(
                Some(id),
                Statement::Resolve { rooms: with_tokens },
                Sent::Resolve(id, rooms),
                effects,
            );
        }
        // Else rooms that are always busy would keep those behind them from ever being sent.
        let first = lane.next.take().unwrap_or(RoomId(0));
        let waiting = lane.dirty.range(first..).chain(lane.dirty.range(..first)).copied().take(STATEMENT_ROOMS + 1);
        let waiting = waiting.collect::<Vec<_>>();
        let (mut commits, mut proofs, mut rooms) = (Vec::new(), Vec::new(), Vec::new());
        for room in waiting {
            let Some(open) = self.open_room(room) else { continue };
            let is_alone = open.is_alone;
            if rooms.len() == STATEMENT_ROOMS || (is_alone && !rooms.is_empty()) {
                self.lane(id).next = Some(room);
                break;
            }
            if open.sent.is_none() {
                let last = open.turns.back().copied().unwrap_or(open.confirmed);
                open.sent = Some(last);
                open.asked_at = now;
                let (fence, base, number) = (open.fence, open.confirmed.number, last.number);
                if number > base {
                    commits.push(Commit { room, fence, base, number });
                } else {
                    proofs.push(Proof { room, fence, number });
                }
                rooms.push(room);
            }
            self.lane(id).dirty.remove(&room);
            if is_alone {
                break;
            }
        }
        if !rooms.is_empty() {
            self.lane(id).is_busy = true;
            self.execute(Some(id), Statement::Round { commits, proofs }, Sent::Round(id, rooms), effects);
        }
    }

    fn execute(&mut self, lane: Option<LaneId>, statement: Statement, sent: Sent, effects: &mut Vec<Effect>) {
        self.last_statement += 1;
        let id = StatementId(self.last_statement);
        self.statements.insert(id, sent);
        effects.push(Effect::Execute { id, lane, statement });
    }

    fn open_room(&mut self, room: RoomId) -> Option<&mut Open> {
        match self.rooms.get_mut(&room)? {
            Room::Open(open) => Some(open),
            Room::Opening(_) | Room::Offered { .. } => None,
        }
    }

    fn lane(&mut self, lane: LaneId) -> &mut Lane {
        self.lanes.entry(lane).or_default()
    }
}

/// Takes the first rooms out of a set, at most this many.
fn take(rooms: &mut BTreeSet<RoomId>, most: usize) -> Vec<RoomId> {
    std::iter::from_fn(|| rooms.pop_first()).take(most).collect()
}
